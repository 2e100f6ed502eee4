/* decode-rdb FILE.rdb: writes the lines of every character vector in an R lazy-load database to
 * standard output, in the order in which they are stored.
 *
 * The file is a sequence of objects; each is the uncompressed length (4 bytes, big-endian) and a
 * zlib stream, whose content is R's XDR serialisation ("R Internals", chapter 1.8). Only objects
 * whose top level is a character vector are written. Where an object's compressed stream ends,
 * the next begins. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { EXIT_DATA = 4, EXIT_WRITE = 5, OBJECT_MAX = 1 << 28 };
enum { TYPE_MASK = 0xff, CHARACTER_STRING = 9, CHARACTER_VECTOR = 16 }; /* R's SEXP types */

/* Bytes of a file or an object and how far they were read. */
typedef struct Reader {
    const unsigned char *bytes;
    size_t count, position;
    bool failed; /* something lay beyond the end */
} Reader;

static int32_t read_integer(Reader *reader)
{
    if (reader->failed || reader->count - reader->position < 4) {
        reader->failed = true;
        return 0;
    }
    const unsigned char *b = reader->bytes + reader->position;
    reader->position += 4;
    return (int32_t)((uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3]);
}

static const unsigned char *read_bytes(Reader *reader, int32_t count)
{
    if (reader->failed || count < 0 || reader->count - reader->position < (size_t)count) {
        reader->failed = true;
        return NULL;
    }
    const unsigned char *bytes = reader->bytes + reader->position;
    reader->position += (size_t)count;
    return bytes;
}

/* "X\n", format version, two versions of R; since version 3 also the name of an encoding. */
static void skip_header(Reader *reader)
{
    const unsigned char *magic = read_bytes(reader, 2);
    if (magic == NULL || memcmp(magic, "X\n", 2) != 0) reader->failed = true;
    const int32_t version = read_integer(reader);
    read_integer(reader);
    read_integer(reader);
    if (version == 3) read_bytes(reader, read_integer(reader));
    if (version != 2 && version != 3) reader->failed = true;
}

/* False: the object is damaged. */
static bool write_object(Reader *object)
{
    skip_header(object);
    const int32_t type = read_integer(object) & TYPE_MASK;
    if (object->failed) return false;
    if (type != CHARACTER_VECTOR) return true;
    const int32_t lines = read_integer(object);
    for (int32_t i = 0; i < lines && !object->failed; i++) {
        if ((read_integer(object) & TYPE_MASK) != CHARACTER_STRING) return false;
        const int32_t length = read_integer(object);
        const unsigned char *text = read_bytes(object, length);
        if (text == NULL) return false;
        fwrite(text, 1, (size_t)length, stdout);
        putchar('\n');
    }
    return !object->failed;
}

/* Inflates the object at the reader's position and moves behind it; NULL: damaged. */
static unsigned char *inflate_object(size_t *count, Reader *file)
{
    const int32_t length = read_integer(file);
    if (file->failed || length <= 0 || length > OBJECT_MAX) return NULL;
    unsigned char *object = malloc((size_t)length);
    unsigned char *packed = malloc(file->count - file->position + 1);
    z_stream stream = {0};
    bool whole = false;
    if (object != NULL && packed != NULL && inflateInit(&stream) == Z_OK) {
        memcpy(packed, file->bytes + file->position, file->count - file->position);
        stream.next_in = packed;
        stream.avail_in = (uInt)(file->count - file->position);
        stream.next_out = object;
        stream.avail_out = (uInt)length;
        whole = inflate(&stream, Z_FINISH) == Z_STREAM_END && stream.avail_out == 0;
        file->position += stream.total_in;
        inflateEnd(&stream);
    }
    free(packed);
    *count = (size_t)length;
    if (whole) return object;
    free(object);
    return NULL;
}

static int write_file(Reader *file, const char *path)
{
    while (file->position < file->count) {
        const size_t start = file->position;
        Reader object = {0};
        unsigned char *bytes = inflate_object(&object.count, file);
        object.bytes = bytes;
        const bool whole = bytes != NULL && write_object(&object);
        free(bytes);
        if (!whole) {
            fprintf(stderr, "decode-rdb: %s: damaged object at byte %zu\n", path, start);
            return EXIT_DATA;
        }
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "decode-rdb: cannot write to standard output\n");
        return EXIT_WRITE;
    }
    return EXIT_SUCCESS;
}

/* The whole file in memory; NULL: unreadable, empty or too large. */
static unsigned char *load(size_t *count, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) return NULL;
    unsigned char *bytes = malloc(OBJECT_MAX);
    *count = bytes != NULL ? fread(bytes, 1, OBJECT_MAX, file) : 0;
    const bool whole = *count > 0 && *count < OBJECT_MAX && !ferror(file);
    fclose(file);
    if (whole) return bytes;
    free(bytes);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: decode-rdb FILE.rdb > TEXT\n");
        return 2;
    }
    Reader file = {0};
    unsigned char *bytes = load(&file.count, argv[1]);
    if (bytes == NULL) {
        fprintf(stderr, "decode-rdb: %s: missing, empty or too large\n", argv[1]);
        return EXIT_DATA;
    }
    file.bytes = bytes;
    const int result = write_file(&file, argv[1]);
    free(bytes);
    return result;
}
