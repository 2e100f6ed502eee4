#include "data/run_dir.h"

#include "data/io.h"
#include "data/json.h"

#include <stdio.h>
#include <string.h>

static const size_t lives_max = (size_t)1 << 26; /* bytes of run.json */

Status run_dir_open(RunDir *run, const char *path)
{
    *run = (RunDir){.lock = -1};
    char lock[PATH_TEXT];
    TRY(path_join(lock, path, "lock"));
    TRY(io_make_folder(path));
    TRY(io_lock(&run->lock, lock));
    snprintf(run->path, sizeof run->path, "%s", path);
    return STATUS_OK;
}

void run_dir_close(RunDir *run)
{
    if (run->lock >= 0) io_unlock(run->lock);
    run->lock = -1;
}

bool run_dir_exists(const char *path)
{
    char config[PATH_TEXT];
    return path_join(config, path, "config.json") == STATUS_OK && io_exists(config);
}

Status run_dir_write_config(const RunDir *run, const char *text)
{
    char path[PATH_TEXT];
    TRY(path_join(path, run->path, "config.json"));
    return io_publish(path, text, strlen(text));
}

/* The lives before, then this one. */
static Status write_lives(Bytes *out, const JsonDocument *before, const JsonDocument *entry)
{
    JsonWriter writer = json_writer(out, 2);
    json_open(&writer, NULL, '{');
    json_put_integer(&writer, "format_version", 1);
    json_open(&writer, "lives", '[');
    if (before != NULL) {
        const Json lives = json_find(json_root(before), "lives");
        if (lives.item == NULL || json_kind(lives) != JSON_ARRAY) {
            return json_fail(json_root(before), "lives: no such array");
        }
        for (Json life = json_first(lives); life.item != NULL; life = json_next(life)) {
            json_put_value(&writer, NULL, life);
        }
    }
    json_put_value(&writer, NULL, json_root(entry));
    json_close(&writer);
    json_close(&writer);
    return json_done(&writer);
}

Status run_dir_add_life(const RunDir *run, const char *entry)
{
    char path[PATH_TEXT];
    TRY(path_join(path, run->path, "run.json"));
    JsonDocument *life = NULL, *before = NULL;
    Bytes text = {0};
    Status status = json_parse(&life, STATUS_DATA, "entry of run.json", entry, strlen(entry));
    if (status == STATUS_OK && io_exists(path)) {
        status = json_read(&before, STATUS_DATA, path, lives_max);
    }
    if (status == STATUS_OK) status = write_lives(&text, before, life);
    if (status == STATUS_OK) status = io_publish(path, text.data, text.count);
    json_free(before);
    json_free(life);
    bytes_free(&text);
    return status;
}
