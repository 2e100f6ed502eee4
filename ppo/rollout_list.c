#include "ppo/rollout_list.h"

#include "data/path.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LIST_BYTES_MAX = 1 << 28 };

void rollout_file_name(char name[ROLLOUT_NAME], int64_t step)
{
    snprintf(name, ROLLOUT_NAME, "%06" PRId64 ".h5", step);
}

static Status find_files(Json *files, Json root)
{
    int64_t version;
    TRY(json_get_integer(&version, root, "format_version"));
    if (version != ROLLOUT_LIST_VERSION) {
        return json_fail(root, "format_version = %" PRId64 ": this program reads %d", version,
                         ROLLOUT_LIST_VERSION);
    }
    *files = json_find(root, "files");
    if (files->item == NULL || json_kind(*files) != JSON_ARRAY) {
        return json_fail(root, "files: no such array");
    }
    return STATUS_OK;
}

Status rollout_list_open(JsonDocument **document, Json *files, const char *folder)
{
    char path[PATH_TEXT];
    *document = NULL;
    TRY(path_join(path, folder, "manifest.json"));
    TRY(json_read(document, STATUS_DATA, path, LIST_BYTES_MAX, NULL));
    const Status status = find_files(files, json_root(*document));
    if (status != STATUS_OK) {
        json_free(*document);
        *document = NULL;
    }
    return status;
}

Status rollout_list_entry(ManifestFile *file, Json entry, int64_t step)
{
    const char *name, *digest;
    int64_t size;
    TRY(json_get_text(&name, entry, "name"));
    TRY(json_get_integer(&size, entry, "size"));
    TRY(json_get_text(&digest, entry, "xxh3_128"));
    *file = (ManifestFile){0};
    rollout_file_name(file->name, step);
    if (strcmp(name, file->name) != 0) {
        return json_fail(entry, "names %s, not %s", name, file->name);
    }
    if (size < 0 || !digest_parse(&file->digest, digest)) {
        return json_fail(entry, "no size, or not 32 hex digits");
    }
    file->size = (uint64_t)size;
    return STATUS_OK;
}

void rollout_list_put(JsonWriter *json, int64_t step, uint64_t size, Digest digest)
{
    char name[ROLLOUT_NAME], hex[DIGEST_TEXT];
    rollout_file_name(name, step);
    digest_text(hex, digest);
    json_open(json, NULL, '{');
    json_put_text(json, "name", name);
    json_put_integer(json, "size", (int64_t)size);
    json_put_text(json, "xxh3_128", hex);
    json_close(json);
}

static Status take_digests(RolloutList *list, Json files)
{
    void *block;
    TRY(memory_claim(&block, (size_t)json_count(files) * sizeof *list->digest));
    list->digest = block;
    for (Json entry = json_first(files); entry.item != NULL; entry = json_next(entry)) {
        ManifestFile file;
        TRY(rollout_list_entry(&file, entry, list->count + 1));
        list->digest[list->count++] = file.digest;
    }
    return STATUS_OK;
}

Status rollout_list_read(RolloutList *list, const char *folder)
{
    char path[PATH_TEXT];
    JsonDocument *document;
    Json files;
    *list = (RolloutList){0};
    TRY(path_join(path, folder, "manifest.json"));
    if (!io_exists(path)) return STATUS_OK;
    TRY(rollout_list_open(&document, &files, folder));
    const Status status = take_digests(list, files);
    json_free(document);
    if (status != STATUS_OK) rollout_list_free(list);
    return status;
}

void rollout_list_free(RolloutList *list)
{
    memory_release(list->digest);
    *list = (RolloutList){0};
}

const Digest *rollout_list_digest(const RolloutList *list, int64_t step)
{
    return step >= 1 && step <= list->count ? &list->digest[step - 1] : NULL;
}
