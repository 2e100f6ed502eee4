/* A tokenizer.json; one that is accepted encodes, decodes and is written again. */
#include "tests/fuzz/fuzz.h"

#include "data/tokenizer.h"

static void round_trip(const Tokenizer *tokenizer)
{
    static const char text[] = "the cat's 12 caf\xc3\xa9s\n\n  sat\xff";
    Tokens tokens = {0};
    Bytes back = {0};
    const Status status = tokenizer_encode(&tokens, tokenizer, text, sizeof text - 1);
    for (size_t i = 0; i < tokens.count; i++) {
        FUZZ_MUST(tokens.id[i] >= 0 && tokens.id[i] < tokenizer_vocabulary(tokenizer));
    }
    FUZZ_MUST(tokenizer_decode(&back, tokenizer, tokens.id, tokens.count) == STATUS_OK);
    /* A word list has few words; bytes always come back. */
    if (status == STATUS_OK && tokens.count > 0 && tokenizer_vocabulary(tokenizer) > 256) {
        FUZZ_MUST(back.count > 0);
    }
    tokens_free(&tokens);
    bytes_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    Tokenizer *tokenizer, *again;
    const char *path = fuzz_file("tokenizer.json", bytes, count);
    const Status status = tokenizer_read(&tokenizer, path, NULL);
    FUZZ_MUST(status == STATUS_OK || status == STATUS_DATA);
    if (status != STATUS_OK) return 0;

    round_trip(tokenizer);
    FUZZ_MUST(tokenizer_write(tokenizer, path) == STATUS_OK);
    FUZZ_MUST(tokenizer_read(&again, path, NULL) == STATUS_OK);
    FUZZ_MUST(tokenizer_vocabulary(again) == tokenizer_vocabulary(tokenizer));
    tokenizer_free(again);
    tokenizer_free(tokenizer);
    return 0;
}
