#include "data/manifest.h"

#include "data/json.h"
#include "data/path.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Version 1 did not end in a hash of its own; no single bit makes a 1 of the 2. */
enum { FORMAT_VERSION = 2, FORMAT_UNSEALED = 1 };
static const size_t manifest_max = (size_t)1 << 20;

/* A name that stays inside the folder. */
static bool is_inside(const char *name)
{
    if (*name == '\0' || *name == '/' || strlen(name) >= sizeof((ManifestFile *)0)->name) {
        return false;
    }
    for (const char *part = name; part != NULL; part = strchr(part, '/')) {
        if (*part == '/') part++;
        if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0')) return false;
    }
    return true;
}

const ManifestFile *manifest_find(const Manifest *manifest, const char *name)
{
    for (int i = 0; i < manifest->count; i++) {
        if (strcmp(manifest->file[i].name, name) == 0) return &manifest->file[i];
    }
    return NULL;
}

Status manifest_digest(const Digest **digest, const Manifest *manifest, const char *folder,
                       const char *name)
{
    const ManifestFile *file = manifest_find(manifest, name);
    *digest = file != NULL ? &file->digest : NULL;
    if (file != NULL) return STATUS_OK;
    return status_fail(STATUS_DATA, "%s/manifest.json: it does not name %s", folder, name);
}

Status manifest_add_known(Manifest *manifest, const char *name, uint64_t size, Digest digest)
{
    if (!is_inside(name)) return status_fail(STATUS_DATA, "%.200s: not a name for a file", name);
    const ManifestFile *known = manifest_find(manifest, name);
    if (known == NULL && manifest->count == MANIFEST_FILES_MAX) {
        return status_fail(STATUS_DATA, "%s: more than %d files", name, MANIFEST_FILES_MAX);
    }
    const int index = known != NULL ? (int)(known - manifest->file) : manifest->count++;
    ManifestFile *file = &manifest->file[index];
    if (known == NULL) snprintf(file->name, sizeof file->name, "%s", name);
    file->size = size;
    file->digest = digest;
    return STATUS_OK;
}

Status manifest_add(Manifest *manifest, const char *folder, const char *name)
{
    char path[PATH_TEXT];
    Digest digest;
    uint64_t size;
    TRY(path_join(path, folder, name));
    TRY(io_digest(&digest, &size, path, UINT64_MAX));
    return manifest_add_known(manifest, name, size, digest);
}

static void put_file(JsonWriter *writer, const char *key, const ManifestFile *file)
{
    char digest[DIGEST_TEXT];
    digest_text(digest, file->digest);
    json_open(writer, key, '{');
    json_put_text(writer, "name", file->name);
    json_put_integer(writer, "size", (int64_t)file->size);
    json_put_text(writer, "xxh3_128", digest);
    json_close(writer);
}

/* The last lines: the hash of all that stands before them. */
enum { SEAL_TEXT = 64 };

static int write_seal(char seal[SEAL_TEXT], const char *text, size_t count)
{
    char digest[DIGEST_TEXT];
    digest_text(digest, digest_of(text, count));
    return snprintf(seal, SEAL_TEXT, ",\n  \"xxh3_128\": \"%s\"\n}\n", digest);
}

/* A flipped bit anywhere, and be it in a blank, must not make another manifest of this one. */
static Status check_seal(const Bytes *text, const char *path)
{
    char seal[SEAL_TEXT];
    const size_t length = (size_t)write_seal(seal, "", 0);
    if (text->count >= length) {
        const size_t before = text->count - length;
        write_seal(seal, text->data, before);
        if (memcmp(text->data + before, seal, length) == 0) return STATUS_OK;
    }
    return status_fail(STATUS_DATA, "%s: does not end in the hash of its text", path);
}

static Status write_text(Bytes *out, const Manifest *manifest)
{
    char made_from[DIGEST_TEXT];
    digest_text(made_from, manifest->made_from);
    JsonWriter writer = json_writer(out, 2);
    json_open(&writer, NULL, '{');
    json_put_integer(&writer, "format_version", FORMAT_VERSION);
    json_put_text(&writer, "stage", manifest->stage);
    json_put_integer(&writer, "step", manifest->step);
    json_put_text(&writer, "made_from", made_from);
    if (manifest->made_by[0] != '\0') json_put_text(&writer, "made_by", manifest->made_by);
    if (manifest->journal.name[0] != '\0') put_file(&writer, "journal", &manifest->journal);
    json_open(&writer, "files", '[');
    for (int i = 0; i < manifest->count; i++) put_file(&writer, NULL, &manifest->file[i]);
    json_close(&writer);
    TRY(writer.status);
    char seal[SEAL_TEXT];
    return bytes_append(out, seal, (size_t)write_seal(seal, out->data, out->count));
}

Status manifest_write(Manifest *manifest, const char *folder)
{
    char path[PATH_TEXT];
    TRY(path_join(path, folder, "manifest.json"));
    Bytes text = {0};
    Status status = write_text(&text, manifest);
    if (status == STATUS_OK) status = io_publish(path, text.data, text.count);
    if (status == STATUS_OK) manifest->own = digest_of(text.data, text.count);
    bytes_free(&text);
    return status;
}

static Status take_digest(Digest *digest, Json object, const char *key)
{
    const char *text;
    TRY(json_get_text(&text, object, key));
    if (digest_parse(digest, text)) return STATUS_OK;
    return json_fail(object, "%s: not 32 hex digits", key);
}

static Status take_file(ManifestFile *file, Json object)
{
    const char *name;
    int64_t size;
    TRY(json_get_text(&name, object, "name"));
    TRY(json_get_integer(&size, object, "size"));
    if (!is_inside(name)) return json_fail(object, "name: must stay inside the folder");
    if (size < 0) return json_fail(object, "size = %" PRId64 ": must not be negative", size);
    TRY(take_digest(&file->digest, object, "xxh3_128"));
    snprintf(file->name, sizeof file->name, "%s", name);
    file->size = (uint64_t)size;
    return STATUS_OK;
}

static Status take_files(Manifest *manifest, Json files)
{
    for (Json entry = json_first(files); entry.item != NULL; entry = json_next(entry)) {
        ManifestFile file;
        TRY(take_file(&file, entry));
        if (manifest_find(manifest, file.name) != NULL) {
            return json_fail(entry, "%s: named twice", file.name);
        }
        TRY(json_context(manifest_add_known(manifest, file.name, file.size, file.digest), entry));
    }
    return STATUS_OK;
}

static Status check_version(Json root, const Bytes *text, const char *path)
{
    int64_t version;
    TRY(json_get_integer(&version, root, "format_version"));
    if (version == FORMAT_UNSEALED) return STATUS_OK;
    if (version != FORMAT_VERSION) {
        return json_fail(root, "format_version = %" PRId64 ": this program reads %d", version,
                         FORMAT_VERSION);
    }
    return check_seal(text, path);
}

static Status take_name(char *name, size_t size, Json root, const char *key)
{
    const char *text;
    TRY(json_get_text(&text, root, key));
    if (strlen(text) >= size) return json_fail(root, "%s: name too long", key);
    snprintf(name, size, "%s", text);
    return STATUS_OK;
}

static Status take_manifest(Manifest *manifest, Json root)
{
    TRY(take_name(manifest->stage, sizeof manifest->stage, root, "stage"));
    TRY(json_get_integer(&manifest->step, root, "step"));
    TRY(take_digest(&manifest->made_from, root, "made_from"));
    if (json_find(root, "made_by").item != NULL) {
        TRY(take_name(manifest->made_by, sizeof manifest->made_by, root, "made_by"));
    }

    const Json journal = json_find(root, "journal");
    if (journal.item != NULL) TRY(take_file(&manifest->journal, journal));
    const Json files = json_find(root, "files");
    if (files.item == NULL || json_kind(files) != JSON_ARRAY) {
        return json_fail(root, "files: no such array");
    }
    return take_files(manifest, files);
}

Status manifest_read(Manifest *manifest, const char *folder)
{
    *manifest = (Manifest){0};
    char path[PATH_TEXT];
    TRY(path_join(path, folder, "manifest.json"));
    Bytes text = {0};
    JsonDocument *document = NULL;
    Status status = io_read(&text, path, manifest_max);
    if (status == STATUS_OK) {
        status = json_parse(&document, STATUS_DATA, path, text.data, text.count);
    }
    if (status == STATUS_OK) status = check_version(json_root(document), &text, path);
    if (status == STATUS_OK) status = take_manifest(manifest, json_root(document));
    if (status == STATUS_OK) manifest->own = digest_of(text.data, text.count);
    json_free(document);
    bytes_free(&text);
    return status;
}

Status manifest_verify_file(const ManifestFile *file, const char *folder)
{
    char path[PATH_TEXT], found[DIGEST_TEXT], expected[DIGEST_TEXT];
    TRY(path_join(path, folder, file->name));
    uint64_t size;
    TRY(io_size(&size, path));
    if (size != file->size) {
        return status_fail(STATUS_DATA, "%s: %" PRIu64 " bytes, not %" PRIu64, path, size,
                           file->size);
    }
    Digest digest;
    TRY(io_digest(&digest, &size, path, size));
    if (digest_equal(digest, file->digest)) return STATUS_OK;
    digest_text(found, digest);
    digest_text(expected, file->digest);
    return status_fail(STATUS_DATA, "%s: its hash is %s, not %s", path, found, expected);
}

Status manifest_verify(const Manifest *manifest, const char *folder)
{
    for (int i = 0; i < manifest->count; i++) {
        TRY(manifest_verify_file(&manifest->file[i], folder));
    }
    return STATUS_OK;
}
