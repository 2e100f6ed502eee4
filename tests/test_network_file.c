#include "tests/support.h"

#include "data/io.h"
#include "data/memory.h"
#include "data/rng.h"
#include "data/store/store.h"
#include "policy/network_file.h"

static const ModelShape shapes[] = {
    {13, 9, 8, 2, 3, true, HEAD_LANGUAGE},
    {13, 9, 8, 4, 1, false, HEAD_SCORE},
    {13, 9, 6, 3, 2, true, HEAD_VALUE},
};

static void make_network(Model *model, AdamW *adamw, ModelShape shape)
{
    assert_ok(model_init(model, shape));
    assert_ok(adamw_init(adamw, model));
    Rng rng = rng_stream(2, RNG_TEST, RNG_WORLD, 0, 0, 0);
    for (size_t i = 0; i < model->count; i++) {
        model->flat[i] = (float)rng_uniform(&rng) - 0.5f;
        adamw->m[i] = (float)rng_uniform(&rng) - 0.5f;
        adamw->v[i] = (float)rng_uniform(&rng);
    }
    adamw->step = 17;
    if (shape.head == HEAD_SCORE) {
        model->reward_gain = 1.75f;
        model->reward_bias = -0.3f;
    }
}

static void assert_equal_networks(const Model *a, const Model *b, const AdamW *m, const AdamW *n)
{
    assert_memory_equal(&a->shape, &b->shape, offsetof(ModelShape, causal));
    assert_int_equal(a->shape.causal, b->shape.causal);
    assert_int_equal(a->shape.head, b->shape.head);
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->flat, b->flat, a->count * sizeof(float));
    assert_true(a->reward_gain == b->reward_gain && a->reward_bias == b->reward_bias);
    if (n == NULL) return;
    assert_int_equal(m->step, n->step);
    assert_memory_equal(m->m, n->m, m->count * sizeof(float));
    assert_memory_equal(m->v, n->v, m->count * sizeof(float));
}

static void networks_come_back_to_the_bit(void **state)
{
    (void)state;
    char folder[64];
    test_folder(folder);
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        Model model, read, weights;
        AdamW adamw, read_adamw;
        char names[NETWORK_FILES_MAX][128];
        int count = 0;
        make_network(&model, &adamw, shapes[s]);
        assert_ok(network_write(names, &count, folder, "policy", &model, &adamw, 12));
        assert_int_equal(count, 1);
        assert_string_equal(names[0], "policy.h5");
        assert_ok(network_read(&read, &read_adamw, folder, "policy", NULL, NULL));
        assert_equal_networks(&model, &read, &adamw, &read_adamw);
        assert_ok(network_read(&weights, NULL, folder, "policy", NULL, NULL));
        assert_equal_networks(&model, &weights, NULL, NULL);
        model_free(&model);
        model_free(&read);
        model_free(&weights);
        adamw_free(&adamw);
        adamw_free(&read_adamw);
    }
    assert_ok(io_remove_tree(folder));
}

static void large_networks_go_on_in_further_files(void **state)
{
    (void)state;
    char folder[64];
    test_folder(folder);
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        Model model, read;
        AdamW adamw, read_adamw;
        char names[NETWORK_FILES_MAX][128];
        int count = 0;
        make_network(&model, &adamw, shapes[s]);
        assert_ok(network_write_parts(names, &count, folder, "critic", &model, &adamw, 12,
                                      model.count * sizeof(float) / 2));
        assert_in_range(count, 5, 9);
        assert_string_equal(names[1], "critic-2.h5");
        assert_ok(network_read(&read, &read_adamw, folder, "critic", NULL, NULL));
        assert_equal_networks(&model, &read, &adamw, &read_adamw);
        model_free(&read);
        adamw_free(&read_adamw);

        /* without the last file a slice of the moments is gone, without the second a weight */
        char path[256];
        snprintf(path, sizeof path, "%s/%.99s", folder, names[count - 1]);
        assert_ok(io_remove(path));
        assert_fails(network_read(&read, &read_adamw, folder, "critic", NULL, NULL), STATUS_DATA,
                     "critic.h5: /adam: ");
        snprintf(path, sizeof path, "%s/%.99s", folder, names[1]);
        assert_ok(io_remove(path));
        assert_fails(network_read(&read, NULL, folder, "critic", NULL, NULL), STATUS_DATA,
                     "missing");
        model_free(&model);
        adamw_free(&adamw);
        for (int i = 0; i < count; i++) {
            snprintf(path, sizeof path, "%s/%.99s", folder, names[i]);
            assert_ok(io_remove(path));
        }
    }
    assert_ok(io_remove_tree(folder));
}

static void files_carry_the_names_and_shapes_of_gpt2(void **state)
{
    (void)state;
    char folder[64], path[128], names[NETWORK_FILES_MAX][128];
    int count = 0;
    test_folder(folder);
    Model model;
    AdamW adamw;
    make_network(&model, &adamw, shapes[1]);
    assert_ok(network_write(names, &count, folder, "model", &model, NULL, 12));
    static const StoreField schema[] = {
        {"/model/transformer.wte.weight", NULL, STORE_F32, 2, {13, 8}, false},
        {"/model/transformer.wpe.weight", NULL, STORE_F32, 2, {9, 8}, false},
        {"/model/transformer.h.0.ln_1.weight", NULL, STORE_F32, 1, {8}, false},
        {"/model/transformer.h.0.attn.c_attn.weight", NULL, STORE_F32, 2, {8, 24}, false},
        {"/model/transformer.h.0.attn.c_attn.bias", NULL, STORE_F32, 1, {24}, false},
        {"/model/transformer.h.0.mlp.c_fc.weight", NULL, STORE_F32, 2, {8, 32}, false},
        {"/model/transformer.h.0.mlp.c_proj.weight", NULL, STORE_F32, 2, {32, 8}, false},
        {"/model/transformer.ln_f.bias", NULL, STORE_F32, 1, {8}, false},
        {"/model/score.weight", NULL, STORE_F32, 2, {1, 8}, false},
        {"/model", "eos_token_id", STORE_I64, 0, {0}, false},
        {"/model", "layer_norm_epsilon", STORE_F64, 0, {0}, false},
        {"/model", "reward_gain", STORE_F64, 0, {0}, false},
        {"/model/v_head.summary.weight", NULL, STORE_F32, 2, {1, 8}, true},
        {"/adam/m", NULL, STORE_F32, 1, {-1}, true},
    };
    StoreContent content;
    snprintf(path, sizeof path, "%s/model.h5", folder);
    assert_ok(store_read(&content, path, NULL, schema, 14));
    assert_memory_equal(content.array[6].data, model.weight.down_weight, 4 * 32 * 8);
    assert_int_equal(*(const int64_t *)content.array[9].data, 12);
    assert_true(*(const double *)content.array[10].data == 1e-5);
    assert_true(*(const double *)content.array[11].data == 1.75);
    assert_false(content.array[12].present);
    assert_false(content.array[13].present);
    store_content_free(&content);
    model_free(&model);
    adamw_free(&adamw);
    assert_ok(io_remove_tree(folder));
}

static double liars_epsilon = 1e-5;

/* A network whose attributes say one thing and whose tensors another. */
static void write_liar(const char *path, int64_t channels, int64_t heads, size_t columns)
{
    StoreImage *image;
    float *zeros;
    void *block;
    const size_t size[2] = {13, columns};
    assert_ok(memory_claim(&block, sizeof(float) * 13 * 4096));
    zeros = block;
    assert_ok(store_create(&image));
    assert_ok(store_put(image, "/model/transformer.wte.weight", STORE_F32, 2, size, zeros, false));
    const size_t filler[2] = {1, 2048};
    assert_ok(store_put(image, "/model/filler", STORE_F32, 2, filler, zeros, false));
    assert_ok(store_put_integer(image, "/model", "n_layer", 1));
    assert_ok(store_put_integer(image, "/model", "n_head", heads));
    assert_ok(store_put_integer(image, "/model", "n_embd", channels));
    assert_ok(store_put_integer(image, "/model", "n_positions", 9));
    assert_ok(store_put_integer(image, "/model", "vocab_size", 13));
    assert_ok(store_put_integer(image, "/model", "causal", 1));
    assert_ok(store_put_number(image, "/model", "layer_norm_epsilon", liars_epsilon));
    assert_ok(store_publish(image, path, NULL));
    memory_release(block);
}

static void another_epsilon_is_refused(void **state)
{
    (void)state;
    char folder[64], path[128];
    test_folder(folder);
    snprintf(path, sizeof path, "%s/policy.h5", folder);
    Model model;
    liars_epsilon = 1e-6;
    write_liar(path, 8, 2, 8);
    liars_epsilon = 1e-5;
    assert_fails(network_read(&model, NULL, folder, "policy", NULL, NULL), STATUS_DATA,
                 "policy.h5: layer_norm_epsilon = 1e-06: this program computes with 1e-05");
    assert_ok(io_remove_tree(folder));
}

static void what_does_not_fit_is_refused_by_name(void **state)
{
    (void)state;
    char folder[64], path[128];
    test_folder(folder);
    snprintf(path, sizeof path, "%s/policy.h5", folder);
    Model model;
    write_liar(path, 8, 2, 7);
    assert_fails(network_read(&model, NULL, folder, "policy", NULL, NULL), STATUS_DATA,
                 "policy.h5: /model/transformer.wte.weight: dimension 1 is 7, not 8");
    write_liar(path, 8, 2, 8);
    assert_fails(network_read(&model, NULL, folder, "policy", NULL, NULL), STATUS_DATA,
                 "policy.h5: /model/transformer.wpe.weight: missing");
    write_liar(path, 8, 3, 8);
    assert_fails(network_read(&model, NULL, folder, "policy", NULL, NULL), STATUS_DATA,
                 "policy.h5: n_embd = 8 is no multiple of n_head = 3");
    write_liar(path, 1 << 20, 2, 8);
    assert_fails(network_read(&model, NULL, folder, "policy", NULL, NULL), STATUS_DATA,
                 "policy.h5: n_embd = 1048576: must be in [1, 65536]");
    write_liar(path, 65536, 2, 8);
    assert_fails(network_read(&model, NULL, folder, "policy", NULL, NULL), STATUS_DATA,
                 "bytes cannot hold 51542");
    assert_null(model.flat);
    assert_ok(io_remove_tree(folder));
}

static void damaged_and_missing_files_are_refused(void **state)
{
    (void)state;
    char folder[64], path[128], names[NETWORK_FILES_MAX][128];
    int count = 0;
    test_folder(folder);
    snprintf(path, sizeof path, "%s/policy.h5", folder);
    Model model, read;
    AdamW adamw, read_adamw;
    make_network(&model, &adamw, shapes[0]);
    assert_fails(network_read(&read, NULL, folder, "policy", NULL, NULL), STATUS_DATA, "policy.h5");
    assert_ok(network_write(names, &count, folder, "policy", &model, NULL, 12));
    assert_fails(network_read(&read, &read_adamw, folder, "policy", NULL, NULL), STATUS_DATA,
                 "policy.h5: /adam: 0 of ");

    Manifest manifest = {0};
    Bytes bytes = {0};
    assert_ok(io_read(&bytes, path, 1 << 20));
    assert_fails(network_read(&read, NULL, folder, "policy", &manifest, NULL), STATUS_DATA,
                 "manifest.json: it does not name policy.h5");
    assert_ok(manifest_add_known(&manifest, "policy.h5", bytes.count,
                                 digest_of(bytes.data, bytes.count)));
    assert_ok(network_read(&read, NULL, folder, "policy", &manifest, NULL));
    model_free(&read);
    bytes.data[bytes.count / 2] ^= 1;
    assert_ok(io_publish(path, bytes.data, bytes.count));
    assert_fails(network_read(&read, NULL, folder, "policy", &manifest, NULL), STATUS_DATA,
                 "policy.h5");

    for (size_t length = 0; length < bytes.count; length += bytes.count / 7) {
        assert_ok(io_publish(path, bytes.data, length));
        assert_fails(network_read(&read, NULL, folder, "policy", NULL, NULL), STATUS_DATA,
                     "policy.h5");
        assert_null(read.flat);
    }
    bytes_free(&bytes);
    model_free(&model);
    adamw_free(&adamw);
    assert_ok(io_remove_tree(folder));
}

static void what_a_network_must_be_is_checked_in_one_place(void **state)
{
    (void)state;
    static const struct {
        ModelShape expected;
        const char *refusal; /* NULL: fine */
    } cases[] = {
        {{13, 9, 8, 2, 3, true, HEAD_LANGUAGE}, NULL},
        {{.vocabulary = 13}, NULL},
        {{.vocabulary = 12}, "policy.h5: vocab_size is 13, not 12"},
        {{.vocabulary = 14}, "policy.h5: vocab_size is 13, not 14"},
        {{.positions = 10}, "policy.h5: n_positions is 9, not 10"},
        {{.channels = 6}, "policy.h5: n_embd is 8, not 6"},
        {{.heads = 4}, "policy.h5: n_head is 2, not 4"},
        {{.layers = 1}, "policy.h5: n_layer is 3, not 1"},
        {{.head = HEAD_SCORE}, "policy.h5: it is a language model, not a reward model"},
        {{.head = HEAD_VALUE}, "policy.h5: it is a language model, not a critic"},
    };
    char folder[64], names[2 * NETWORK_FILES_MAX][128];
    int count = 0;
    test_folder(folder);
    Model model, read;
    AdamW adamw;
    make_network(&model, &adamw, shapes[0]);
    assert_ok(network_write(names, &count, folder, "policy", &model, NULL, 12));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const ModelShape *expected = &cases[i].expected;
        if (cases[i].refusal == NULL) {
            assert_ok(network_read(&read, NULL, folder, "policy", NULL, expected));
            model_free(&read);
        } else {
            assert_fails(network_read(&read, NULL, folder, "policy", NULL, expected), STATUS_DATA,
                         cases[i].refusal);
            assert_null(read.flat);
        }
    }
    model_free(&model);
    adamw_free(&adamw);

    /* A reward model may read both ways, but not where it is said to be causal. */
    make_network(&model, &adamw, shapes[1]);
    assert_ok(network_write(names, &count, folder, "model", &model, NULL, 12));
    ModelShape expected = {.head = HEAD_SCORE};
    assert_ok(network_read(&read, NULL, folder, "model", NULL, &expected));
    model_free(&read);
    expected.causal = true;
    assert_fails(network_read(&read, NULL, folder, "model", NULL, &expected), STATUS_DATA,
                 "model.h5: causal is 0, not 1");
    model_free(&model);
    adamw_free(&adamw);
    assert_ok(io_remove_tree(folder));
}

static void holes_do_not_count_as_weights(void **state)
{
    (void)state;
    char folder[64], path[128];
    test_folder(folder);
    snprintf(path, sizeof path, "%s/policy.h5", folder);
    Model model;
    write_liar(path, 4096, 2, 8);
    assert_fails(network_read(&model, NULL, folder, "policy", NULL, NULL), STATUS_DATA,
                 "bytes cannot hold 201");
    snprintf(path, sizeof path, "%s/policy-2.h5", folder);
    assert_ok(io_publish(path, "", 0));
    assert_int_equal(truncate(path, (off_t)1 << 40), 0);
    assert_fails(network_read(&model, NULL, folder, "policy", NULL, NULL), STATUS_DATA,
                 "policy-2.h5: 1099511627776 bytes, at most 1073741824");
    assert_null(model.flat);
    assert_ok(io_remove_tree(folder));
}

static void numbers_that_are_none_are_named(void **state)
{
    (void)state;
    char folder[64], names[NETWORK_FILES_MAX][128];
    test_folder(folder);
    Model model, read;
    AdamW adamw, read_adamw;
    make_network(&model, &adamw, shapes[0]);
    const size_t bias = (size_t)(model.weight.norm_bias - model.flat);
    const struct {
        float *place, bad;
        const char *refusal;
    } cases[] = {
        {&model.flat[5], NAN, "policy.h5: /model/transformer.wte.weight: value 5 is nan"},
        {&model.flat[bias], INFINITY, "policy.h5: /model/transformer.ln_f.bias: value 0 is inf"},
        {&adamw.m[2], -INFINITY, "policy.h5: /adam/m: value 2 is -inf"},
        {&adamw.v[7], NAN, "policy.h5: /adam/v: value 7 is nan"},
        {&adamw.v[3], -1.0f, "policy.h5: /adam/v: value 3 is -1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int count = 0;
        const float good = *cases[i].place;
        *cases[i].place = cases[i].bad;
        assert_ok(network_write(names, &count, folder, "policy", &model, &adamw, 12));
        assert_fails(network_read(&read, &read_adamw, folder, "policy", NULL, NULL), STATUS_DATA,
                     cases[i].refusal);
        assert_null(read.flat);
        assert_null(read_adamw.m);
        *cases[i].place = good;
    }
    int count = 0;
    adamw.step = -1;
    assert_ok(network_write(names, &count, folder, "policy", &model, &adamw, 12));
    assert_fails(network_read(&read, &read_adamw, folder, "policy", NULL, NULL), STATUS_DATA,
                 "policy.h5: /adam: step is -1");
    model_free(&model);
    adamw_free(&adamw);
    assert_ok(io_remove_tree(folder));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_come_back_to_the_bit),
        cmocka_unit_test(large_networks_go_on_in_further_files),
        cmocka_unit_test(files_carry_the_names_and_shapes_of_gpt2),
        cmocka_unit_test(another_epsilon_is_refused),
        cmocka_unit_test(what_does_not_fit_is_refused_by_name),
        cmocka_unit_test(damaged_and_missing_files_are_refused),
        cmocka_unit_test(what_a_network_must_be_is_checked_in_one_place),
        cmocka_unit_test(holes_do_not_count_as_weights),
        cmocka_unit_test(numbers_that_are_none_are_named),
    };
    store_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
