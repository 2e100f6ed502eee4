#include "data/run_dir.h"

#include "data/io.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { FORMAT_VERSION = 1 };
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

static Status find_lives(Json *lives, const JsonDocument *document)
{
    const Json root = json_root(document);
    int64_t version;
    TRY(json_get_integer(&version, root, "format_version"));
    if (version != FORMAT_VERSION) {
        return json_fail(root, "format_version = %jd: this program reads %d", (intmax_t)version,
                         FORMAT_VERSION);
    }
    *lives = json_find(root, "lives");
    if (lives->item != NULL && json_kind(*lives) == JSON_ARRAY) return STATUS_OK;
    return json_fail(root, "lives: no such array");
}

static bool is_last(Json life)
{
    return json_next(life).item == NULL;
}

/* run.json as it stands; *document is NULL where there is none. */
static Status read_lives(JsonDocument **document, Json *lives, const char *path)
{
    *document = NULL;
    *lives = (Json){0};
    if (!io_exists(path)) return STATUS_OK;
    TRY(json_read(document, STATUS_DATA, path, lives_max, NULL));
    return find_lives(lives, *document);
}

static JsonWriter begin_lives(Bytes *out)
{
    JsonWriter writer = json_writer(out, 2);
    json_open(&writer, NULL, '{');
    json_put_integer(&writer, "format_version", FORMAT_VERSION);
    json_open(&writer, "lives", '[');
    return writer;
}

static Status publish_lives(JsonWriter *writer, const char *path)
{
    json_close(writer);
    json_close(writer);
    TRY(json_done(writer));
    return io_publish(path, writer->out->data, writer->out->count);
}

Status run_dir_add_life(RunDir *run, const char *entry)
{
    char path[PATH_TEXT];
    TRY(path_join(path, run->path, "run.json"));
    JsonDocument *life = NULL, *before = NULL;
    Json lives;
    Bytes text = {0};
    Status status = json_parse(&life, STATUS_DATA, "entry of run.json", entry, strlen(entry));
    if (status == STATUS_OK) status = read_lives(&before, &lives, path);
    if (status == STATUS_OK) {
        JsonWriter writer = begin_lives(&text);
        Json one = before != NULL ? json_first(lives) : (Json){0};
        for (; one.item != NULL; one = json_next(one)) json_put_value(&writer, NULL, one);
        json_put_value(&writer, NULL, json_root(life));
        status = publish_lives(&writer, path);
    }
    run->has_life = status == STATUS_OK;
    json_free(before);
    json_free(life);
    bytes_free(&text);
    return status;
}

/* The life's members, then how it ended; what an earlier end said is replaced. */
static void write_ended(JsonWriter *writer, Json life, int exit_status, const char *reason)
{
    char now_text[32];
    const time_t now = time(NULL);
    struct tm utc;
    strftime(now_text, sizeof now_text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    json_open(writer, NULL, '{');
    for (Json member = json_first(life); member.item != NULL; member = json_next(member)) {
        const char *key = json_key(member);
        if (strcmp(key, "end") != 0) json_put_value(writer, key, member);
    }
    json_open(writer, "end", '{');
    json_put_text(writer, "time", now_text);
    json_put_integer(writer, "exit_status", exit_status);
    json_put_text(writer, "reason", reason);
    json_close(writer);
    json_close(writer);
}

Status run_dir_end_life(const RunDir *run, int exit_status, const char *reason)
{
    char path[PATH_TEXT];
    TRY(path_join(path, run->path, "run.json"));
    JsonDocument *document = NULL;
    Json lives;
    Bytes text = {0};
    Status status = read_lives(&document, &lives, path);
    if (status == STATUS_OK && document != NULL) {
        JsonWriter writer = begin_lives(&text);
        for (Json life = json_first(lives); life.item != NULL; life = json_next(life)) {
            if (is_last(life)) {
                write_ended(&writer, life, exit_status, reason);
            } else {
                json_put_value(&writer, NULL, life);
            }
        }
        status = publish_lives(&writer, path);
    }
    json_free(document);
    bytes_free(&text);
    return status;
}

static Status take_text(char *text, size_t size, Json object, const char *key)
{
    const char *found;
    TRY(json_get_text(&found, object, key));
    snprintf(text, size, "%.*s", (int)size - 1, found);
    return STATUS_OK;
}

static Status take_life(RunLife *life, Json object)
{
    TRY(take_text(life->started, sizeof life->started, object, "started"));
    TRY(take_text(life->host, sizeof life->host, object, "host"));
    TRY(json_get_integer(&life->process, object, "process"));
    const Json end = json_find(object, "end");
    if (end.item == NULL) return STATUS_OK;
    life->ended = true;
    TRY(json_get_integer(&life->exit_status, end, "exit_status"));
    TRY(take_text(life->ended_at, sizeof life->ended_at, end, "time"));
    return take_text(life->reason, sizeof life->reason, end, "reason");
}

Status run_dir_lives(JsonDocument **document, Json *first, const char *path)
{
    *document = NULL;
    *first = (Json){0};
    char file[PATH_TEXT];
    Json lives;
    TRY(path_join(file, path, "run.json"));
    const Status status = read_lives(document, &lives, file);
    if (status == STATUS_OK && *document != NULL) *first = json_first(lives);
    return status;
}

Status run_dir_last_life(RunLife *life, const char *path)
{
    *life = (RunLife){0};
    JsonDocument *document;
    Json one;
    Status status = run_dir_lives(&document, &one, path);
    for (; one.item != NULL && status == STATUS_OK; one = json_next(one)) {
        life->lives++;
        if (is_last(one)) status = take_life(life, one);
    }
    json_free(document);
    return status;
}
