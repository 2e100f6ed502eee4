#include "data/event_record.h"

#include <string.h>

enum { HEAD = 12, TAIL = 4 }; /* of a record: length and its check; check of the data */
enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

static void put_little(unsigned char *out, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) out[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t get_little(const char *bytes, int count)
{
    uint64_t value = 0;
    for (int i = count - 1; i >= 0; i--) value = value << 8 | (unsigned char)bytes[i];
    return value;
}

/* CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), half a byte at a time. */
static uint32_t crc32c(const unsigned char *bytes, size_t count)
{
    static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
                                       0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
                                       0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                       0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

uint32_t record_check(const void *bytes, size_t count)
{
    const uint32_t crc = crc32c(bytes, count);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

Status record_append(Bytes *out, const void *data, size_t count)
{
    unsigned char head[HEAD], tail[TAIL];
    put_little(head, count, 8);
    put_little(head + 8, record_check(head, 8), 4);
    put_little(tail, record_check(data, count), 4);
    TRY(bytes_append(out, head, sizeof head));
    TRY(bytes_append(out, data, count));
    return bytes_append(out, tail, sizeof tail);
}

bool record_at(const char **data, size_t *size, size_t *whole, const char *bytes, size_t count)
{
    if (count < HEAD + TAIL || record_check(bytes, 8) != get_little(bytes + 8, 4)) return false;
    const uint64_t length = get_little(bytes, 8);
    if (length > count - HEAD - TAIL) return false;
    *data = bytes + HEAD;
    *size = (size_t)length;
    *whole = HEAD + *size + TAIL;
    return record_check(*data, *size) == get_little(*data + *size, 4);
}

static Status put_varint(Bytes *out, uint64_t value)
{
    unsigned char bytes[10];
    size_t count = 0;
    do {
        bytes[count++] = (unsigned char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        value >>= 7;
    } while (value > 0);
    return bytes_append(out, bytes, count);
}

static Status put_fixed(Bytes *out, uint64_t value, int bytes)
{
    unsigned char little[8];
    put_little(little, value, bytes);
    return bytes_append(out, little, (size_t)bytes);
}

static Status put_key(Bytes *out, unsigned field, unsigned wire)
{
    return put_varint(out, field << 3 | wire);
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

Status field_integer(Bytes *out, unsigned field, int64_t value)
{
    TRY(put_key(out, field, WIRE_VARINT));
    return put_varint(out, (uint64_t)value);
}

Status field_double(Bytes *out, unsigned field, double value)
{
    TRY(put_key(out, field, WIRE_64));
    return put_fixed(out, bits_of(value), 8);
}

Status field_float(Bytes *out, unsigned field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    TRY(put_key(out, field, WIRE_32));
    return put_fixed(out, bits, 4);
}

Status field_bytes(Bytes *out, unsigned field, const void *bytes, size_t count)
{
    TRY(put_key(out, field, WIRE_BYTES));
    TRY(put_varint(out, count));
    return bytes_append(out, count > 0 ? bytes : "", count);
}

Status field_text(Bytes *out, unsigned field, const char *text)
{
    return field_bytes(out, field, text, strlen(text));
}

Status field_doubles(Bytes *out, unsigned field, const double *values, size_t count)
{
    TRY(put_key(out, field, WIRE_BYTES));
    TRY(put_varint(out, 8 * count));
    for (size_t i = 0; i < count; i++) TRY(put_fixed(out, bits_of(values[i]), 8));
    return STATUS_OK;
}

/* Reads a varint and moves *at behind it. */
static bool take_varint(uint64_t *value, size_t *at, const char *message, size_t count)
{
    *value = 0;
    for (int shift = 0; shift < 64 && *at < count; shift += 7) {
        const unsigned char byte = (unsigned char)message[(*at)++];
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

bool field_find_integer(int64_t *value, unsigned field, const char *message, size_t count)
{
    *value = 0;
    for (size_t at = 0; at < count;) {
        uint64_t key, number;
        if (!take_varint(&key, &at, message, count)) return false;
        size_t skip = 0;
        switch (key & 7) {
        case WIRE_VARINT:
            if (!take_varint(&number, &at, message, count)) return false;
            if (key >> 3 == field) *value = (int64_t)number;
            break;
        case WIRE_64:
            skip = 8;
            break;
        case WIRE_32:
            skip = 4;
            break;
        case WIRE_BYTES:
            if (!take_varint(&number, &at, message, count) || number > count - at) return false;
            skip = (size_t)number;
            break;
        default:
            return false;
        }
        if (skip > count - at) return false;
        at += skip;
    }
    return true;
}
