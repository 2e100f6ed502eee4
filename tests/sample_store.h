/* An HDF5 file with one column of each type, and the schema it is read by. */
#ifndef TESTS_SAMPLE_STORE_H
#define TESTS_SAMPLE_STORE_H

#include "data/store/store.h"

static const float weights[6] = {1.5f, -2.25f, 3e-30f, 4e30f, -0.0f, 0.1f};
static const int32_t ids[5] = {7, -1, 2147483647, 0, -2147483647 - 1};
static const int64_t longs[2] = {INT64_MIN, INT64_MAX};
static const uint64_t bits[1] = {0xfedcba9876543210ULL};
static const uint8_t flags[3] = {0, 1, 255};
static const double reals[2] = {0.1, -1e300};
static const Digest hash = {.high = 0x8000000000000001ULL, .low = 42};

static inline void fill(StoreImage *image)
{
    const size_t two_by_three[2] = {2, 3}, five = 5, two = 2, one = 1, three = 3, none = 0;
    Texts texts = {0};
    assert_ok(store_put(image, "/model/h.0.weight", STORE_F32, 2, two_by_three, weights, false));
    assert_ok(store_put(image, "/token/id", STORE_I32, 1, &five, ids, true));
    assert_ok(store_put(image, "/token/deep/long", STORE_I64, 1, &two, longs, true));
    assert_ok(store_put(image, "/bits", STORE_U64, 1, &one, bits, true));
    assert_ok(store_put(image, "/flags", STORE_U8, 1, &three, flags, true));
    assert_ok(store_put(image, "/reals", STORE_F64, 1, &two, reals, true));
    assert_ok(store_put(image, "/one", STORE_F64, 0, NULL, reals, true));
    assert_ok(store_put(image, "/empty", STORE_I32, 1, &none, NULL, true));
    assert_ok(texts_add(&texts, "caf\xC3\xA9", 5));
    assert_ok(texts_add(&texts, "a\xFF\0b", 4));
    assert_ok(texts_add(&texts, "", 0));
    assert_ok(store_put_texts(image, "/text/answer", &texts));
    texts_free(&texts);
    assert_ok(store_put_text(image, "/", "config", "{\"a\": 1}"));
    assert_ok(store_put_integer(image, "/", "step", -5));
    assert_ok(store_put_number(image, "/model", "kl_coef", 0.05));
    assert_ok(store_put_digest(image, "/", "policy_hash", hash));
    assert_ok(store_put_text(image, "/reals", "units", "nats"));
    assert_ok(store_put_scale(image, "/flags", "/token/id"));
    assert_ok(store_put_scale(image, "/flags", "/reals"));
}

static inline Digest write_sample(const char *path)
{
    StoreImage *image;
    Digest digest;
    assert_ok(store_create(&image));
    fill(image);
    assert_ok(store_publish(image, path, &digest));
    return digest;
}

enum { SAMPLE_FIELDS = 13 };
static const StoreField sample[SAMPLE_FIELDS] = {
    {.name = "/model/h.0.weight", .type = STORE_F32, .rank = 2, .extent = {2, -1}},
    {.name = "/token/id", .type = STORE_I32, .rank = 1, .extent = {-1}},
    {.name = "/token/deep/long", .type = STORE_I64, .rank = 1, .extent = {2}},
    {.name = "/bits", .type = STORE_U64, .rank = 1, .extent = {-1}},
    {.name = "/flags", .type = STORE_U8, .rank = 1, .extent = {-1}},
    {.name = "/reals", .type = STORE_F64, .rank = 1, .extent = {-1}},
    {.name = "/one", .type = STORE_F64},
    {.name = "/empty", .type = STORE_I32, .rank = 1, .extent = {-1}},
    {.name = "/", .attribute = "step", .type = STORE_I64},
    {.name = "/model", .attribute = "kl_coef", .type = STORE_F64},
    {.name = "/", .attribute = "policy_hash", .type = STORE_U64, .rank = 1, .extent = {2}},
    {.name = "/no/such", .type = STORE_F32, .rank = 1, .extent = {-1}, .optional = true},
    {.name = "/", .attribute = "none", .type = STORE_I64, .optional = true},
};

#endif
