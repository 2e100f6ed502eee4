#include "data/json.h"

#include "data/io.h"
#include "data/json_scan.h"

#include <assert.h>
#include <cjson/cJSON.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const double integer_max = 9007199254740992.0; /* 2^53 */

struct JsonDocument {
    cJSON *tree;
    Status code;
    int line; /* number of the first line */
    Bytes name, text;
    JsonPlaces places;
};

static void *claim(size_t bytes)
{
    void *block;
    return memory_claim(&block, bytes) == STATUS_OK ? block : NULL;
}

/* cJSON's heap is ours, so that a test can make it fail too. */
static void route_memory(void)
{
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = claim, .free_fn = memory_release});
}

static void position_of(const JsonDocument *document, size_t offset, int *line, int *column)
{
    const char *text = document->text.data;
    size_t start = strncmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    *line = document->line;
    *column = 1;
    for (; start < offset; start++) {
        const bool continues = ((unsigned char)text[start] & 0xc0) == 0x80;
        if (text[start] == '\n') {
            (*line)++;
            *column = 1;
        } else if (!continues) {
            (*column)++;
        }
    }
}

static Status context_at(Status status, const JsonDocument *document, size_t offset)
{
    int line, column;
    position_of(document, offset, &line, &column);
    return status_context(status, "%s:%d:%d", document->name.data, line, column);
}

/* Gives every place its node; scanner and cJSON walk in the same order. */
static size_t place_items(JsonPlaces *places, size_t index, const cJSON *item)
{
    assert(index < places->count);
    places->place[index++].item = item;
    for (const cJSON *child = item->child; child != NULL; child = child->next) {
        index = place_items(places, index, child);
    }
    return index;
}

static Status check_numbers(const JsonDocument *document)
{
    for (size_t i = 0; i < document->places.count; i++) {
        const JsonPlace *place = &document->places.place[i];
        const cJSON *item = place->item;
        if (!cJSON_IsNumber(item) || isfinite(item->valuedouble)) continue;
        return context_at(status_fail(document->code, "number out of range"), document,
                          place->value);
    }
    return STATUS_OK;
}

static int compare_members(const void *left, const void *right)
{
    const JsonPlace *a = *(const JsonPlace *const *)left;
    const JsonPlace *b = *(const JsonPlace *const *)right;
    if (a->parent != b->parent) return a->parent < b->parent ? -1 : 1;
    const int order = strcmp(((const cJSON *)a->item)->string, ((const cJSON *)b->item)->string);
    return order != 0 ? order : (a->value > b->value) - (a->value < b->value);
}

static Status fail_repeated(const JsonDocument *document, const JsonPlace *first,
                            const JsonPlace *again)
{
    int line, column;
    position_of(document, first->key, &line, &column);
    const Status status = status_fail(document->code, "%s: repeated, first at %d:%d",
                                      ((const cJSON *)again->item)->string, line, column);
    return context_at(status, document, again->key);
}

/* cJSON keeps both members of {"a":1,"a":2} and finds the first. Sorted by object and key, equal
 * ones lie side by side; the earliest repetition in the text is reported. */
static Status check_repeated(const JsonDocument *document)
{
    const JsonPlaces *places = &document->places;
    void *block;
    TRY(memory_claim(&block, places->count * sizeof(JsonPlace *)));
    const JsonPlace **member = block;
    size_t count = 0;
    for (size_t i = 0; i < places->count; i++) {
        if (((const cJSON *)places->place[i].item)->string != NULL) {
            member[count++] = &places->place[i];
        }
    }
    qsort(member, count, sizeof *member, compare_members);

    const JsonPlace *first = NULL, *again = NULL;
    for (size_t i = 1; i < count; i++) {
        const cJSON *left = member[i - 1]->item, *right = member[i]->item;
        if (member[i - 1]->parent != member[i]->parent) continue;
        if (strcmp(left->string, right->string) != 0) continue;
        if (again == NULL || member[i]->key < again->key) {
            first = member[i - 1];
            again = member[i];
        }
    }
    const Status status = again == NULL ? STATUS_OK : fail_repeated(document, first, again);
    memory_release(block);
    return status;
}

static Status parse_text(JsonDocument *document)
{
    const Bytes *text = &document->text;
    const size_t start = strncmp(text->data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    size_t stopped;
    const Status status =
        json_scan(&document->places, &stopped, document->code, text->data, start, text->count);
    if (status == STATUS_FAILED) return status_context(status, "%s", document->name.data);
    if (status != STATUS_OK) return context_at(status, document, stopped);

    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, route_memory);
    document->tree =
        cJSON_ParseWithLengthOpts(text->data + start, text->count - start + 1, NULL, 0);
    if (document->tree == NULL) {
        return status_fail(STATUS_FAILED, "%s: no memory for the tree of %zu bytes of JSON",
                           document->name.data, text->count);
    }
    const size_t placed = place_items(&document->places, 0, document->tree);
    assert(placed == document->places.count);
    TRY(check_numbers(document));
    return check_repeated(document);
}

Status json_parse_line(JsonDocument **document, Status code, const char *name, int line,
                       const char *text, size_t count)
{
    *document = NULL;
    void *block;
    TRY(memory_claim(&block, sizeof **document));
    JsonDocument *made = block;
    made->code = code;
    made->line = line;
    Status status = bytes_text(&made->name, name);
    if (status == STATUS_OK) status = bytes_append(&made->text, text, count);
    if (status == STATUS_OK) status = parse_text(made);
    if (status == STATUS_OK) {
        *document = made;
    } else {
        json_free(made);
    }
    return status;
}

Status json_parse(JsonDocument **document, Status code, const char *name, const char *text,
                  size_t count)
{
    return json_parse_line(document, code, name, 1, text, count);
}

Status json_read(JsonDocument **document, Status code, const char *path, size_t cap,
                 const Digest *expected)
{
    *document = NULL;
    Bytes text = {0};
    Status status = io_read(&text, path, cap);
    if (status == STATUS_OK && expected != NULL &&
        !digest_equal(digest_of(text.data, text.count), *expected)) {
        status = status_fail(code, "%s: its hash is not the one expected", path);
    }
    if (status == STATUS_OK) status = json_parse(document, code, path, text.data, text.count);
    bytes_free(&text);
    return status;
}

void json_free(JsonDocument *document)
{
    if (document == NULL) return;
    cJSON_Delete(document->tree);
    memory_release(document->places.place);
    bytes_free(&document->text);
    bytes_free(&document->name);
    memory_release(document);
}

static const cJSON *node(Json value)
{
    return value.item;
}

Json json_root(const JsonDocument *document)
{
    return (Json){document, document->tree};
}

JsonKind json_kind(Json value)
{
    const cJSON *item = node(value);
    if (cJSON_IsBool(item)) return JSON_BOOL;
    if (cJSON_IsNumber(item)) return JSON_NUMBER;
    if (cJSON_IsString(item)) return JSON_TEXT;
    if (cJSON_IsArray(item)) return JSON_ARRAY;
    if (cJSON_IsObject(item)) return JSON_OBJECT;
    return JSON_NULL;
}

const char *json_key(Json value)
{
    return node(value)->string;
}

Json json_first(Json container)
{
    const cJSON *item = node(container);
    return (Json){container.document, item != NULL ? item->child : NULL};
}

Json json_next(Json value)
{
    return (Json){value.document, node(value)->next};
}

Json json_find(Json object, const char *key)
{
    return (Json){object.document, cJSON_GetObjectItemCaseSensitive(node(object), key)};
}

int json_count(Json container)
{
    return cJSON_GetArraySize(node(container));
}

static const JsonPlace *place_of(Json value)
{
    const JsonPlaces *places = &value.document->places;
    size_t i = 0;
    while (i < places->count && places->place[i].item != value.item) i++;
    assert(i < places->count);
    return &places->place[i];
}

Status json_context(Status status, Json value)
{
    if (status == STATUS_OK) return STATUS_OK;
    return context_at(status, value.document, place_of(value)->key);
}

Status json_fail(Json value, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    const Status status = status_fail_list(value.document->code, format, values);
    va_end(values);
    return json_context(status, value);
}

static Status fail_kind(Json value, const char *expected)
{
    static const char *const found[] = {"null", "true or false", "a number",
                                        "text", "an array",      "an object"};
    const char *key = json_key(value);
    return json_fail(value, "%s%sexpected %s, found %s", key != NULL ? key : "",
                     key != NULL ? ": " : "", expected, found[json_kind(value)]);
}

Status json_number(double *out, Json value)
{
    if (json_kind(value) != JSON_NUMBER) return fail_kind(value, "a number");
    *out = node(value)->valuedouble;
    return STATUS_OK;
}

/* 2^53 + 1 reads as the double 2^53, so at the limit the digits themselves decide. */
static bool integer_is_exact(Json value, double number)
{
    if (number != trunc(number) || fabs(number) > integer_max) return false;
    if (fabs(number) < integer_max) return true;
    const char *digits = value.document->text.data + place_of(value)->value;
    if (*digits == '-') digits++;
    return strncmp(digits, "9007199254740992", 16) == 0 &&
           strchr("0123456789.eE", digits[16]) == NULL;
}

Status json_integer(int64_t *out, Json value)
{
    if (json_kind(value) != JSON_NUMBER) return fail_kind(value, "an integer");
    const double number = node(value)->valuedouble;
    if (!integer_is_exact(value, number)) {
        char text[32];
        json_number_text(text, number);
        const char *key = json_key(value);
        return json_fail(value, "%s%sexpected an integer of at most 2^53, found %s",
                         key != NULL ? key : "", key != NULL ? ": " : "", text);
    }
    *out = (int64_t)number;
    return STATUS_OK;
}

Status json_bool(bool *out, Json value)
{
    if (json_kind(value) != JSON_BOOL) return fail_kind(value, "true or false");
    *out = cJSON_IsTrue(node(value));
    return STATUS_OK;
}

Status json_text(const char **out, Json value)
{
    if (json_kind(value) != JSON_TEXT) return fail_kind(value, "text");
    *out = node(value)->valuestring;
    return STATUS_OK;
}

bool json_is_plain(const char *text)
{
    size_t left = strlen(text);
    while (left > 0 && (unsigned char)*text >= 0x20) {
        const size_t length = json_utf8_length(text, left);
        if (length == 0) break;
        text += length;
        left -= length;
    }
    return left == 0;
}

Status json_get(Json *member, Json object, const char *key)
{
    *member = (Json){0};
    if (json_kind(object) != JSON_OBJECT) return fail_kind(object, "an object");
    *member = json_find(object, key);
    if (member->item == NULL) return json_fail(object, "%s: missing", key);
    return STATUS_OK;
}

Status json_get_number(double *out, Json object, const char *key)
{
    Json member;
    TRY(json_get(&member, object, key));
    return json_number(out, member);
}

Status json_get_integer(int64_t *out, Json object, const char *key)
{
    Json member;
    TRY(json_get(&member, object, key));
    return json_integer(out, member);
}

Status json_get_text(const char **out, Json object, const char *key)
{
    Json member;
    TRY(json_get(&member, object, key));
    return json_text(out, member);
}
