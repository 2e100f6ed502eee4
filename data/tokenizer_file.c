/* tokenizer.json as Hugging Face's tokenizers library writes it: model BPE with GPT-2's byte
 * alphabet, or WordLevel. */
#include "data/json.h"
#include "data/tokenizer_private.h"

#include <stdlib.h>
#include <string.h>

enum { TOKENIZER_FILE_CAP = 32 << 20 };

/* Ids below this are bytes that stand for themselves; the others borrow U+0100 and up. */
enum { PRINTABLE_BYTES = 188 };

/* Appends the bytes in GPT-2's alphabet: each byte one character, none of them blank. */
static Status spell(Bytes *out, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const unsigned char byte = (unsigned char)bytes[i];
        const int32_t id = byte_token(byte);
        const unsigned c = id < PRINTABLE_BYTES ? byte : 256u + (unsigned)(id - PRINTABLE_BYTES);
        if (c < 0x80) {
            TRY(bytes_append(out, &(char){(char)c}, 1));
        } else {
            TRY(bytes_append(out, (const char[]){(char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f))},
                             2));
        }
    }
    return STATUS_OK;
}

/* The spelling of id, in `scratch`, NUL-ended. */
static Status spell_token(Bytes *scratch, const Tokenizer *tokenizer, int32_t id)
{
    size_t count;
    const char *bytes = texts_at(&tokenizer->token, id, &count);
    bytes_clear(scratch);
    return tokenizer->word_level ? bytes_append(scratch, bytes, count)
                                 : spell(scratch, bytes, count);
}

static void write_end_token(JsonWriter *json, const Tokenizer *tokenizer)
{
    json_open(json, "added_tokens", '[');
    json_open(json, NULL, '{');
    json_put_integer(json, "id", tokenizer_end(tokenizer));
    json_put_text(json, "content", END_OF_TEXT);
    json_put_bool(json, "single_word", false);
    json_put_bool(json, "lstrip", false);
    json_put_bool(json, "rstrip", false);
    json_put_bool(json, "normalized", false);
    json_put_bool(json, "special", true);
    json_close(json);
    json_close(json);
}

/* A "pre_tokenizer" or "decoder" of type ByteLevel. */
static void write_byte_level(JsonWriter *json, const char *key)
{
    json_open(json, key, '{');
    json_put_text(json, "type", "ByteLevel");
    json_put_bool(json, "add_prefix_space", false);
    json_put_bool(json, "trim_offsets", true);
    json_put_bool(json, "use_regex", true);
    json_close(json);
}

static Status write_vocabulary(JsonWriter *json, const Tokenizer *tokenizer, Bytes *scratch)
{
    json_open(json, "vocab", '{');
    for (int32_t id = 0; id < tokenizer->token.count; id++) {
        TRY(spell_token(scratch, tokenizer, id));
        json_put_integer(json, scratch->data, id);
    }
    json_put_integer(json, END_OF_TEXT, tokenizer_end(tokenizer));
    json_close(json);
    return STATUS_OK;
}

static Status write_merges(JsonWriter *json, const Tokenizer *tokenizer, Bytes *scratch)
{
    Bytes line = {0};
    Status status = STATUS_OK;
    json_open(json, "merges", '[');
    for (int i = 0; i < tokenizer->merges && status == STATUS_OK; i++) {
        bytes_clear(&line);
        status = spell_token(scratch, tokenizer, tokenizer->merge[i].left);
        if (status == STATUS_OK) status = bytes_print(&line, "%s ", scratch->data);
        if (status == STATUS_OK)
            status = spell_token(scratch, tokenizer, tokenizer->merge[i].right);
        if (status == STATUS_OK) status = bytes_text(&line, scratch->data);
        if (status == STATUS_OK) json_put_text(json, NULL, line.data);
    }
    json_close(json);
    bytes_free(&line);
    return status;
}

static Status write_document(Bytes *out, const Tokenizer *tokenizer, Bytes *scratch)
{
    JsonWriter json = json_writer(out, 1);
    json_open(&json, NULL, '{');
    json_put_text(&json, "version", "1.0");
    write_end_token(&json, tokenizer);
    if (tokenizer->word_level) {
        json_open(&json, "pre_tokenizer", '{');
        json_put_text(&json, "type", "WhitespaceSplit");
        json_close(&json);
    } else {
        write_byte_level(&json, "pre_tokenizer");
        write_byte_level(&json, "decoder");
    }
    json_open(&json, "model", '{');
    json_put_text(&json, "type", tokenizer->word_level ? "WordLevel" : "BPE");
    TRY(write_vocabulary(&json, tokenizer, scratch));
    if (tokenizer->word_level)
        json_put_text(&json, "unk_token", END_OF_TEXT);
    else
        TRY(write_merges(&json, tokenizer, scratch));
    json_close(&json);
    json_close(&json);
    return json_done(&json);
}

Status tokenizer_write(const Tokenizer *tokenizer, const char *path)
{
    Bytes out = {0}, scratch = {0};
    Status status = write_document(&out, tokenizer, &scratch);
    if (status == STATUS_OK) status = io_publish(path, out.data, out.count);
    bytes_free(&out);
    bytes_free(&scratch);
    return status;
}

/* The vocabulary of a file, by id and by name. */
typedef struct Entry {
    const char *text;
    int32_t id;
} Entry;

typedef struct Vocabulary {
    Entry *entry;      /* (count) sorted by text */
    const char **text; /* (count) by id */
    int count;
} Vocabulary;

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const Entry *)a)->text, ((const Entry *)b)->text);
}

/* Every id from 0 to count - 1 must occur once; the last one ends an answer. */
static Status read_vocabulary(Vocabulary *vocabulary, Json vocab)
{
    vocabulary->count = json_count(vocab);
    void *entry, *text;
    TRY(memory_claim(&entry, (size_t)vocabulary->count * sizeof *vocabulary->entry));
    vocabulary->entry = entry;
    TRY(memory_claim(&text, (size_t)vocabulary->count * sizeof *vocabulary->text));
    vocabulary->text = text;

    int i = 0;
    for (Json member = json_first(vocab); member.item != NULL; member = json_next(member), i++) {
        int64_t id;
        TRY(json_integer(&id, member));
        if (id < 0 || id >= vocabulary->count) {
            return json_fail(member, "id %lld is not in [0, %d)", (long long)id, vocabulary->count);
        }
        if (vocabulary->text[id] != NULL) {
            return json_fail(member, "id %lld occurs twice", (long long)id);
        }
        vocabulary->text[id] = json_key(member);
        vocabulary->entry[i] = (Entry){json_key(member), (int32_t)id};
    }
    if (vocabulary->count == 0 ||
        strcmp(vocabulary->text[vocabulary->count - 1], END_OF_TEXT) != 0) {
        return json_fail(vocab, "the last id is not %s", END_OF_TEXT);
    }
    qsort(vocabulary->entry, (size_t)vocabulary->count, sizeof *vocabulary->entry, compare_entries);
    return STATUS_OK;
}

static int32_t vocabulary_find(const Vocabulary *vocabulary, const char *text)
{
    const Entry wanted = {text, 0};
    const Entry *found = bsearch(&wanted, vocabulary->entry, (size_t)vocabulary->count,
                                 sizeof *vocabulary->entry, compare_entries);
    return found != NULL ? found->id : -1;
}

/* "left right": both sides must have ids already. */
static Status read_merge(Tokenizer *tokenizer, Json line, const Vocabulary *vocabulary,
                         Bytes *scratch)
{
    const char *text;
    TRY(json_text(&text, line));
    const char *blank = strchr(text, ' ');
    if (blank == NULL) return json_fail(line, "a merge is two tokens with a blank between");
    bytes_clear(scratch);
    TRY(bytes_append(scratch, text, (size_t)(blank - text)));
    const int32_t left = vocabulary_find(vocabulary, scratch->data);
    const int32_t right = vocabulary_find(vocabulary, blank + 1);
    const int32_t known = tokenizer->token.count;
    if (left < 0 || right < 0 || left >= known || right >= known) {
        return json_fail(line, "merge \"%s\": a side is no token yet", text);
    }
    TRY(tokenizer_add_merge(tokenizer, left, right));
    TRY(spell_token(scratch, tokenizer, known));
    if (known >= vocabulary->count - 1 || strcmp(scratch->data, vocabulary->text[known]) != 0) {
        return json_fail(line, "merge \"%s\" does not make id %d of the vocabulary", text, known);
    }
    return STATUS_OK;
}

static Status read_bpe(Tokenizer **tokenizer, Json model, Json vocab, const Vocabulary *vocabulary,
                       Bytes *scratch)
{
    if (vocabulary->count < BYTE_TOKENS + 1) {
        return json_fail(vocab, "%d ids are too few for a byte-level vocabulary",
                         vocabulary->count);
    }
    TRY(tokenizer_new_bytes(tokenizer));
    for (int32_t id = 0; id < BYTE_TOKENS; id++) {
        TRY(spell_token(scratch, *tokenizer, id));
        if (strcmp(scratch->data, vocabulary->text[id]) != 0) {
            return json_fail(vocab, "id %d is \"%s\", not the byte \"%s\"", id,
                             vocabulary->text[id], scratch->data);
        }
    }
    const Json merges = json_find(model, "merges");
    if (merges.item == NULL) return json_fail(model, "merges: missing");
    for (Json line = json_first(merges); line.item != NULL; line = json_next(line)) {
        TRY(read_merge(*tokenizer, line, vocabulary, scratch));
    }
    if (tokenizer_vocabulary(*tokenizer) != vocabulary->count) {
        return json_fail(merges, "%d merges do not make %d ids", (*tokenizer)->merges,
                         vocabulary->count);
    }
    return STATUS_OK;
}

static Status read_model(Tokenizer **tokenizer, Json root, Vocabulary *vocabulary, Bytes *scratch)
{
    const Json model = json_find(root, "model");
    if (model.item == NULL) return json_fail(root, "model: missing");
    const char *type;
    TRY(json_get_text(&type, model, "type"));
    const Json vocab = json_find(model, "vocab");
    if (vocab.item == NULL || json_kind(vocab) != JSON_OBJECT) {
        return json_fail(model, "vocab: missing");
    }
    TRY(read_vocabulary(vocabulary, vocab));
    if (strcmp(type, "WordLevel") == 0) {
        return tokenizer_words(tokenizer, vocabulary->text, vocabulary->count - 1);
    }
    if (strcmp(type, "BPE") == 0) return read_bpe(tokenizer, model, vocab, vocabulary, scratch);
    return json_fail(model, "type \"%s\" is neither BPE nor WordLevel", type);
}

Status tokenizer_read(Tokenizer **tokenizer, const char *path, const Digest *expected)
{
    *tokenizer = NULL;
    Bytes text = {0}, scratch = {0};
    Vocabulary vocabulary = {0};
    JsonDocument *document = NULL;
    Status status = io_read(&text, path, TOKENIZER_FILE_CAP);
    if (status == STATUS_OK && expected != NULL &&
        !digest_equal(digest_of(text.data, text.count), *expected)) {
        status = status_fail(STATUS_DATA, "%s: its hash is not the one in the manifest", path);
    }
    if (status == STATUS_OK) {
        status = json_parse(&document, STATUS_DATA, path, text.data, text.count);
    }
    if (status == STATUS_OK) {
        status = read_model(tokenizer, json_root(document), &vocabulary, &scratch);
    }
    if (status != STATUS_OK) {
        tokenizer_free(*tokenizer);
        *tokenizer = NULL;
    }
    json_free(document);
    memory_release(vocabulary.entry);
    memory_release(vocabulary.text);
    bytes_free(&text);
    bytes_free(&scratch);
    return status;
}
