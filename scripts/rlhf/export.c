/* rlhf export: comparisons and rollouts as JSONL, in TRL's field names or HH's form. */
#include "data/json.h"
#include "data/preference.h"
#include "data/prompts.h"
#include "data/rollout.h"
#include "ppo/rollout_list.h"
#include "scripts/rlhf/command_list.h"
#include "scripts/rlhf/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Export {
    const char *run;
    bool hh;
    Tokenizer *tokenizer;
    Bytes text;                  /* the file */
    Bytes first, second, prompt; /* decoded, of one row */
} Export;

static void export_free(Export *export)
{
    tokenizer_free(export->tokenizer);
    bytes_free(&export->text);
    bytes_free(&export->first);
    bytes_free(&export->second);
    bytes_free(&export->prompt);
}

/* Prompt and answer as one text with turns; a prompt that has none becomes the human's. */
static Status join_turns(Bytes *answer, const Bytes *prompt)
{
    Bytes whole = {0};
    const bool turns = prompt->count >= 8 && memcmp(prompt->data, "\n\nHuman:", 8) == 0;
    Status status = turns ? STATUS_OK : bytes_text(&whole, "\n\nHuman: ");
    if (status == STATUS_OK) status = bytes_append(&whole, prompt->data, prompt->count);
    if (status == STATUS_OK && !turns) status = bytes_text(&whole, "\n\nAssistant:");
    if (status == STATUS_OK) status = bytes_append(&whole, answer->data, answer->count);
    bytes_free(answer);
    *answer = whole;
    return status;
}

static Status decode(Bytes *text, const Export *export, const int32_t *id, int64_t count)
{
    bytes_clear(text);
    return tokenizer_decode(text, export->tokenizer, id, (size_t)count);
}

/* Completion `index` parted into prompt and answer. */
static Status decode_completion(Bytes *answer, Export *export, const Sequences *sequences,
                                int32_t index)
{
    const int32_t *token = sequences->token + sequences->offset[index];
    const int64_t prompt = sequences->prompt[index];
    TRY(decode(&export->prompt, export, token, prompt));
    return decode(answer, export, token + prompt, sequences_response(sequences, index));
}

static Status pair_row(Export *export, const Preferences *pairs, int index)
{
    TRY(decode_completion(&export->first, export, &pairs->completion, pairs->chosen[index]));
    TRY(decode_completion(&export->second, export, &pairs->completion, pairs->rejected[index]));
    if (export->hh) {
        TRY(join_turns(&export->first, &export->prompt));
        TRY(join_turns(&export->second, &export->prompt));
    }
    JsonWriter json = json_writer(&export->text, 0);
    json_open(&json, NULL, '{');
    if (!export->hh) {
        json_put_bytes(&json, "prompt", export->prompt.data, export->prompt.count);
    }
    json_put_bytes(&json, "chosen", export->first.data, export->first.count);
    json_put_bytes(&json, "rejected", export->second.data, export->second.count);
    json_close(&json);
    TRY(json_done(&json));
    return bytes_text(&export->text, "\n");
}

static Status export_pairs(Export *export)
{
    char path[STAGE_PATH];
    Digest digest;
    Preferences pairs = {0};
    TRY(stage_input(path, &digest, export->run, "label", "comparisons.h5"));
    TRY(stage_read_tokenizer(&export->tokenizer, export->run, "label"));
    Status status =
        preferences_read(&pairs, path, &digest, tokenizer_vocabulary(export->tokenizer));
    for (int i = 0; i < pairs.count && status == STATUS_OK; i++) {
        status = pair_row(export, &pairs, i);
    }
    preferences_free(&pairs);
    return status;
}

static Status rollout_row(Export *export, const Rollout *rollout, int index)
{
    const int32_t *id = rollout->id + rollout->offset[index];
    const int32_t prompt = rollout->prompt_length[index];
    TRY(decode(&export->prompt, export, id, prompt));
    TRY(decode(&export->first, export, id + prompt, rollout->response_length[index]));
    JsonWriter json = json_writer(&export->text, 0);
    json_open(&json, NULL, '{');
    json_put_bytes(&json, "prompt", export->prompt.data, export->prompt.count);
    json_put_bytes(&json, "completion", export->first.data, export->first.count);
    json_put_integer(&json, "step", rollout->step);
    json_put_integer(&json, "prompt_id", rollout->prompt_id[index]);
    json_put_number(&json, "score", (double)rollout->score[index]);
    if (isfinite(rollout->gold[index])) {
        json_put_number(&json, "gold", (double)rollout->gold[index]);
    }
    json_put_number(&json, "kl", (double)rollout->kl[index]);
    json_put_bool(&json, "terminated", rollout->terminated[index] != 0);
    json_close(&json);
    TRY(json_done(&json));
    return bytes_text(&export->text, "\n");
}

static Status export_rollout_file(Export *export, const char *path, const Digest *expected)
{
    RolloutFile file = {0};
    Status status = rollout_read(&file, path, expected, tokenizer_vocabulary(export->tokenizer));
    for (int i = 0; status == STATUS_OK && i < file.rollout.count; i++) {
        status = rollout_row(export, &file.rollout, i);
    }
    rollout_free(&file);
    return status;
}

static Status export_rollout_files(Export *export, const char *folder, const Texts *names,
                                   const RolloutList *list)
{
    for (int i = 0; i < names->count; i++) {
        char file[128], path[STAGE_PATH];
        size_t count;
        const char *name = texts_at(names, i, &count);
        if (count < 3 || memcmp(name + count - 3, ".h5", 3) != 0) continue;
        snprintf(file, sizeof file, "%.*s", (int)(count < 100 ? count : 100), name);
        TRY(path_join(path, folder, file));
        TRY(export_rollout_file(export, path, rollout_list_digest(list, strtoll(file, NULL, 10))));
    }
    return STATUS_OK;
}

static Status export_rollouts(Export *export)
{
    char folder[STAGE_PATH];
    Texts names = {0};
    RolloutList list = {0};
    TRY(path_join(folder, export->run, "ppo/rollouts"));
    if (!io_exists(folder)) {
        return status_fail(STATUS_DATA, "%s: missing; run: rlhf ppo %s", folder, export->run);
    }
    TRY(stage_read_tokenizer(&export->tokenizer, export->run, "sft"));
    Status status = io_list(&names, folder);
    if (status == STATUS_OK) status = rollout_list_read(&list, folder);
    if (status == STATUS_OK) status = export_rollout_files(export, folder, &names, &list);
    rollout_list_free(&list);
    texts_free(&names);
    return status;
}

Status command_export(Cli *cli)
{
    char run[STAGE_PATH];
    TRY(run_path(run, cli->word[0]));
    const char *what = cli->word[1], *output = cli_value(cli, "--output");
    const bool pairs = strcmp(what, "pairs") == 0;
    if (!pairs && strcmp(what, "rollouts") != 0) {
        return status_fail(STATUS_USAGE, "%s: expected pairs or rollouts", what);
    }
    if (output == NULL) return status_fail(STATUS_USAGE, "-o FILE is missing");
    Export export = {.run = run, .hh = cli_has(cli, "--hh")};
    if (export.hh && !pairs) return status_fail(STATUS_USAGE, "--hh: only pairs have this form");
    Status status = pairs ? export_pairs(&export) : export_rollouts(&export);
    if (status == STATUS_OK && strcmp(output, "-") == 0) {
        fwrite(export.text.data, 1, export.text.count, cli->out);
    } else if (status == STATUS_OK) {
        status = io_publish(output, export.text.data, export.text.count);
    }
    export_free(&export);
    return status;
}
