#include "tests/support.h"

#include "data/memory.h"
#include "policy/blocks.h"
#include "policy/decode.h"
#include "policy/gemm.h"
#include "policy/generate.h"
#include "policy/sampling.h"
#include "policy/transformer.h"

#include <gsl/gsl_cdf.h>

enum { V = 29, C = 24, HEADS = 3, LAYERS = 2, POSITIONS = 40, END = 28 };

static const ModelShape shape = {V, POSITIONS, C, HEADS, LAYERS, true, HEAD_LANGUAGE};

/* A network whose next-token distributions are far from flat. */
static void make_model(Model *model)
{
    assert_ok(model_init(model, shape));
    model_randomise(model, 7, RNG_TEST, false);
    ModelWeightInfo info[MODEL_WEIGHT_KINDS];
    const int kinds = model_weight_list(info, shape);
    for (int k = 0; k < kinds; k++) {
        if (info[k].columns == 0) continue;
        for (size_t i = 0; i < info[k].size; i++) model->flat[info[k].start + i] *= 12.0f;
    }
}

/* `count` prompts of 1 to 9 tokens, none of them the end. */
static void make_prompts(Sequences *prompts, int count)
{
    Rng rng = rng_stream(3, RNG_TEST, RNG_PROMPT, 0, 0, 0);
    for (int p = 0; p < count; p++) {
        int32_t token[9];
        const int length = 1 + (p * 5) % 9;
        for (int t = 0; t < length; t++) token[t] = rng_below(&rng, END);
        assert_ok(sequences_add(prompts, token, length, NULL, 0));
    }
}

static GenerateConfig plain_config(int response_tokens)
{
    return (GenerateConfig){.temperature = 1.0,
                            .top_p = 1.0,
                            .response_tokens = response_tokens,
                            .end = END,
                            .threads = 2,
                            .seed = 11,
                            .stage = RNG_TEST,
                            .purpose = RNG_SAMPLING,
                            .step = 4};
}

/* Logits (tokens, V) of one sequence by the full forward. */
static float *full_logits(const Model *model, const int32_t *token, int count)
{
    Sequences sequences = {0};
    BlockPlan plan;
    Block block;
    Activations activations;
    const int32_t length = count;
    assert_ok(sequences_add(&sequences, NULL, 0, token, count));
    assert_ok(block_plan_cut(&plan, &length, 1, 1, 1));
    Arena arena = arena_measure();
    block_layout(&block, &arena, plan.rows, 1);
    activations_layout(&activations, &arena, model->shape, plan.rows, plan.longest, false);
    assert_ok(arena_init(&arena, arena.used));
    block_layout(&block, &arena, plan.rows, 1);
    activations_layout(&activations, &arena, model->shape, plan.rows, plan.longest, false);
    block_fill(&block, &plan, 0, &sequences);
    transformer_forward(&activations, model, &block);
    void *logits;
    assert_ok(memory_claim(&logits, sizeof(float) * (size_t)(count * V)));
    language_head_forward(logits, activations.hidden, model, count);
    arena_free(&arena);
    block_plan_free(&plan);
    sequences_free(&sequences);
    return logits;
}

/* Three sequences worked through as rows of shared calls, ragged and in uneven bites. */
static void decoding_agrees_with_the_full_forward(void **state)
{
    (void)state;
    enum { SLOTS = 3, LONG = 33 };
    static const int length[SLOTS] = {LONG, 7, 20};
    Model model;
    make_model(&model);
    Decoder decoder;
    Arena arena = arena_measure();
    decoder_layout(&decoder, &arena, shape, SLOTS + 1, LONG, 64);
    assert_ok(arena_init(&arena, arena.used));
    decoder_layout(&decoder, &arena, shape, SLOTS + 1, LONG, 64);

    int32_t token[SLOTS][LONG];
    float *expected[SLOTS];
    Rng rng = rng_stream(5, RNG_TEST, RNG_PROMPT, 0, 0, 0);
    for (int s = 0; s < SLOTS; s++) {
        for (int t = 0; t < length[s]; t++) token[s][t] = rng_below(&rng, V);
        expected[s] = full_logits(&model, token[s], length[s]);
    }
    int done[SLOTS] = {0}, bite = 0;
    double largest = 0.0;
    while (done[0] < length[0]) {
        int32_t row_token[64], slot[64], position[64];
        int n = 0;
        for (int s = 0; s < SLOTS; s++) {
            for (int k = 0; k < 1 + (bite + s) % 5 && done[s] < length[s]; k++) {
                row_token[n] = token[s][done[s]];
                slot[n] = s;
                position[n++] = done[s]++;
            }
        }
        bite++;
        decode_rows(&decoder, &model, row_token, slot, position, n);
        float logits[64 * V];
        language_head_forward(logits, decoder.hidden, &model, n);
        for (int i = 0; i < n; i++) {
            for (int v = 0; v < V; v++) {
                const float wanted = expected[slot[i]][position[i] * V + v];
                assert_close((double)logits[i * V + v], (double)wanted, 1e-4, 0.0);
                largest = fmax(largest, fabs((double)wanted));
            }
        }
    }
    assert_true(largest > 1.0);

    /* a copied prefix is as good as one worked through */
    decode_copy(&decoder, SLOTS, 2, length[2] - 1);
    decode_rows(&decoder, &model, &token[2][length[2] - 1], &(int32_t){SLOTS},
                &(int32_t){length[2] - 1}, 1);
    float logits[V];
    language_head_forward(logits, decoder.hidden, &model, 1);
    for (int v = 0; v < V; v++) {
        assert_close((double)logits[v], (double)expected[2][(length[2] - 1) * V + v], 1e-4, 0.0);
    }
    for (int s = 0; s < SLOTS; s++) memory_release(expected[s]);
    arena_free(&arena);
    model_free(&model);
}

/* Chance of a chi-square as large as that of `count` draws against softmax(logits / temperature).
 */
static double chance_of(const int *drawn, int count, const float *logits, double temperature)
{
    double square = 0.0;
    int cells = 0;
    double rest_expected = 0.0, rest_drawn = 0.0;
    for (int v = 0; v < V; v++) {
        const double expected = count * exp(token_score(NULL, logits, V, temperature, v).logp);
        if (expected < 5.0) {
            rest_expected += expected;
            rest_drawn += drawn[v];
            continue;
        }
        square += pow(drawn[v] - expected, 2.0) / expected;
        cells++;
    }
    if (rest_expected > 0.0) {
        square += pow(rest_drawn - rest_expected, 2.0) / rest_expected;
        cells++;
    }
    return gsl_cdf_chisq_Q(square, cells - 1);
}

static void draw_first_tokens(int drawn[V], int count, double temperature, float **logits)
{
    Model model;
    Sequences prompts = {0}, answers = {0};
    make_model(&model);
    make_prompts(&prompts, 2);
    void *request, *terminated;
    assert_ok(memory_claim(&request, sizeof(GenerateRequest) * (size_t)count));
    assert_ok(memory_claim(&terminated, (size_t)count));
    for (int i = 0; i < count; i++) {
        ((GenerateRequest *)request)[i] =
            (GenerateRequest){.prompt_id = 1, .sample = i, .prompt = 1};
    }
    GenerateConfig config = plain_config(1);
    config.temperature = temperature;
    assert_ok(generate(&answers, terminated, &model, &prompts, request, count, &config));
    memset(drawn, 0, sizeof(int) * V);
    for (int i = 0; i < count; i++) drawn[answers.token[answers.offset[i + 1] - 1]]++;
    const int length = (int)sequences_length(&prompts, 1);
    *logits = full_logits(&model, prompts.token + prompts.offset[1], length);
    memmove(*logits, *logits + (length - 1) * V, sizeof(float) * V);
    memory_release(request);
    memory_release(terminated);
    sequences_free(&prompts);
    sequences_free(&answers);
    model_free(&model);
}

static void samples_follow_the_probabilities(void **state)
{
    (void)state;
    enum { DRAWS = 20000 };
    const double temperature[] = {1.0, 0.7};
    for (int i = 0; i < 2; i++) {
        int drawn[V];
        float *logits;
        draw_first_tokens(drawn, DRAWS, temperature[i], &logits);
        assert_true(chance_of(drawn, DRAWS, logits, temperature[i]) > 0.001);
        assert_true(chance_of(drawn, DRAWS, logits, temperature[1 - i]) < 1e-6);
        memory_release(logits);
    }
}

enum { REQUESTS = 150, PROMPTS = 40, RESPONSE = 24 };

static void run_requests(Sequences *answers, uint8_t terminated[REQUESTS], int group, int threads)
{
    Model model;
    Sequences prompts = {0};
    GenerateRequest request[REQUESTS];
    make_model(&model);
    make_prompts(&prompts, PROMPTS);
    for (int i = 0; i < REQUESTS; i++) {
        request[i] = (GenerateRequest){1000 + i % PROMPTS, i / PROMPTS, i % PROMPTS};
    }
    GenerateConfig config = plain_config(RESPONSE);
    config.group = group;
    config.threads = threads;
    assert_ok(generate(answers, terminated, &model, &prompts, request, REQUESTS, &config));
    sequences_free(&prompts);
    model_free(&model);
}

static void assert_same(const Sequences *a, const Sequences *b)
{
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->offset, b->offset, sizeof *a->offset * (size_t)(a->count + 1));
    assert_memory_equal(a->token, b->token, sizeof *a->token * (size_t)sequences_tokens(a));
}

static void neither_threads_nor_groups_change_the_tokens(void **state)
{
    (void)state;
    static const int groups[] = {0, 0, 0, 1, 7, 200}, threads[] = {2, 3, 8, 2, 2, 2};
    uint8_t ended[REQUESTS], other_ended[REQUESTS];
    Sequences answers = {0};
    run_requests(&answers, ended, 0, 1);
    for (int i = 0; i < 6; i++) {
        Sequences other = {0};
        run_requests(&other, other_ended, groups[i], threads[i]);
        assert_same(&answers, &other);
        assert_memory_equal(ended, other_ended, sizeof ended);
        sequences_free(&other);
    }
    sequences_free(&answers);
}

static void groups_follow_from_shape_and_count_alone(void **state)
{
    (void)state;
    const ModelShape tiny = {.layers = 2, .channels = 64, .positions = 32};
    const ModelShape small = {.layers = 4, .channels = 128, .positions = 96};
    const ModelShape gpt2 = {.layers = 12, .channels = 768, .positions = 1024};
    static const struct {
        int count, small, gpt2; /* GPT-2's cache takes 75.5 MB a sequence: 3 fit */
    } cases[] = {{1, 1, 1},  {2, 1, 1},   {3, 2, 2},   {4, 2, 2},  {8, 4, 2},    {15, 8, 3},
                 {16, 4, 2}, {48, 12, 3}, {64, 16, 3}, {65, 9, 3}, {128, 16, 3}, {256, 16, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(generate_group(small, cases[i].count), cases[i].small);
        assert_int_equal(generate_group(gpt2, cases[i].count), cases[i].gpt2);
    }
    assert_int_equal(generate_group(tiny, 48), 12);
    assert_int_equal(generate_group(tiny, 256), 64);
    const ModelShape huge = {.layers = 48, .channels = 1600, .positions = 1024};
    assert_int_equal(generate_group(huge, 128), 1);
}

/* Memory of an earlier call is used again, whatever lies in it, and nothing more is claimed. */
static void kept_memory_is_used_again(void **state)
{
    (void)state;
    enum { FEW = 40 };
    Model model;
    Sequences prompts = {0}, fresh = {0}, again = {0};
    Arena kept = {0};
    GenerateRequest request[FEW];
    uint8_t ended[FEW];
    make_model(&model);
    make_prompts(&prompts, FEW);
    for (int i = 0; i < FEW; i++) request[i] = (GenerateRequest){i, 0, i};
    GenerateConfig config = plain_config(RESPONSE);
    assert_ok(generate(&fresh, ended, &model, &prompts, request, FEW, &config));
    config.kept = &kept;
    config.seed++;
    assert_ok(generate(&again, ended, &model, &prompts, request, FEW, &config));
    const void *base = kept.base;
    memset(kept.base, 0xff, kept.capacity); /* NaN, and -1 */
    const int64_t room = again.token_capacity;
    assert_true(room >= sequences_tokens(&fresh));
    again.count = 0;
    config.seed--;
    memory_fault(1, 1);
    const Status status = generate(&again, ended, &model, &prompts, request, FEW, &config);
    memory_fault(0, 0);
    assert_ok(status);
    assert_same(&fresh, &again);
    assert_ptr_equal(kept.base, base);
    sequences_free(&fresh);
    sequences_free(&again);
    sequences_free(&prompts);
    arena_free(&kept);
    model_free(&model);
}

static bool asked_often(void *context)
{
    int *left = context;
    return --*left < 0;
}

/* Groups of two: two tokens into the second, nothing is kept of either; asked no more, the answers
 * are those of a call that nobody disturbed. */
static void generation_leaves_between_tokens_when_asked(void **state)
{
    (void)state;
    enum { FEW = 4 };
    Model model = {0};
    Sequences prompts = {0}, whole = {0}, answers = {0};
    GenerateRequest request[FEW];
    uint8_t ended[FEW];
    make_model(&model);
    make_prompts(&prompts, FEW);
    for (int i = 0; i < FEW; i++) request[i] = (GenerateRequest){i, 0, i};
    GenerateConfig config = plain_config(5);
    config.never_end = true;
    config.group = 2;
    config.threads = 1;
    assert_ok(generate(&whole, ended, &model, &prompts, request, FEW, &config));
    int left = 1000;
    const StageHooks hooks = {.context = &left, .should_stop = asked_often};
    config.hooks = &hooks;
    assert_ok(generate(&answers, ended, &model, &prompts, request, FEW, &config));
    assert_int_equal(left, 1000 - 2 * 5); /* once a token */
    sequences_free(&answers);
    for (int questions = 0; questions < 10; questions++) {
        left = questions;
        assert_fails(generate(&answers, ended, &model, &prompts, request, FEW, &config),
                     STATUS_STOPPED, "stopped");
        assert_true(left >= -2); /* the second group is hardly begun */
        assert_int_equal(answers.count, 0);
    }
    left = 1000;
    config.threads = 2;
    assert_ok(generate(&answers, ended, &model, &prompts, request, FEW, &config));
    assert_same(&whole, &answers);
    sequences_free(&answers);
    sequences_free(&whole);
    sequences_free(&prompts);
    model_free(&model);
}

/* Every answer is its prompt, then at most RESPONSE tokens, the end at most once and then last. */
static void answers_stop_at_the_end_or_at_the_limit(void **state)
{
    (void)state;
    uint8_t ended[REQUESTS];
    Sequences answers = {0}, prompts = {0};
    int stopped = 0, cut = 0;
    run_requests(&answers, ended, 0, 2);
    make_prompts(&prompts, PROMPTS);
    for (int i = 0; i < REQUESTS; i++) {
        const int prompt = i % PROMPTS;
        const int32_t *token = answers.token + answers.offset[i];
        const int64_t length = sequences_length(&prompts, prompt);
        const int64_t response = sequences_response(&answers, i);
        assert_int_equal(answers.prompt[i], length);
        assert_memory_equal(token, prompts.token + prompts.offset[prompt],
                            sizeof *token * (size_t)length);
        assert_in_range(response, 1, RESPONSE);
        for (int64_t t = 0; t + 1 < response; t++) assert_int_not_equal(token[length + t], END);
        assert_int_equal(token[length + response - 1] == END, ended[i]);
        if (ended[i]) {
            stopped++;
        } else {
            assert_int_equal(response, RESPONSE);
            cut++;
        }
    }
    assert_true(stopped > 10 && cut > 0);
    sequences_free(&answers);
    sequences_free(&prompts);
}

static void never_end_draws_no_end(void **state)
{
    (void)state;
    Model model;
    Sequences prompts = {0}, answers = {0};
    GenerateRequest request[64];
    uint8_t ended[64];
    make_model(&model);
    make_prompts(&prompts, 8);
    for (int i = 0; i < 64; i++) request[i] = (GenerateRequest){i, 0, i % 8};
    GenerateConfig config = plain_config(31);
    config.never_end = true;
    assert_ok(generate(&answers, ended, &model, &prompts, request, 64, &config));
    for (int i = 0; i < 64; i++) assert_int_equal(sequences_response(&answers, i), 31);
    sequences_free(&answers);
    sequences_free(&prompts);
    model_free(&model);
}

/* An answer belongs to its name (prompt id, sample), not to its place among the requests. */
static void answers_do_not_depend_on_their_neighbours(void **state)
{
    (void)state;
    enum { N = 64 };
    Model model;
    Sequences prompts = {0}, forward = {0}, backward = {0};
    GenerateRequest request[N], reversed[N];
    uint8_t ended[N];
    int distinct = 0;
    make_model(&model);
    make_prompts(&prompts, 1);
    for (int i = 0; i < N; i++) {
        request[i] = (GenerateRequest){9, i, 0};
        reversed[N - 1 - i] = request[i];
    }
    const GenerateConfig config = plain_config(RESPONSE);
    assert_ok(generate(&forward, ended, &model, &prompts, request, N, &config));
    assert_ok(generate(&backward, ended, &model, &prompts, reversed, N, &config));
    for (int i = 0; i < N; i++) {
        const int64_t length = sequences_length(&forward, i);
        assert_int_equal(length, sequences_length(&backward, N - 1 - i));
        assert_memory_equal(forward.token + forward.offset[i],
                            backward.token + backward.offset[N - 1 - i],
                            sizeof(int32_t) * (size_t)length);
        if (i > 0 &&
            (length != sequences_length(&forward, i - 1) ||
             memcmp(forward.token + forward.offset[i], forward.token + forward.offset[i - 1],
                    sizeof(int32_t) * (size_t)length) != 0)) {
            distinct++;
        }
    }
    assert_true(distinct > N * 3 / 4);
    sequences_free(&forward);
    sequences_free(&backward);
    sequences_free(&prompts);
    model_free(&model);
}

static void temperature_zero_takes_the_most_likely(void **state)
{
    (void)state;
    Model model;
    Sequences prompts = {0}, answers = {0};
    const GenerateRequest request[2] = {{0, 0, 3}, {0, 1, 3}};
    uint8_t ended[2];
    make_model(&model);
    make_prompts(&prompts, 4);
    GenerateConfig config = plain_config(8);
    config.temperature = 0.0;
    assert_ok(generate(&answers, ended, &model, &prompts, request, 2, &config));
    const int length = (int)sequences_length(&answers, 0);
    float *logits = full_logits(&model, answers.token, length);
    for (int t = answers.prompt[0]; t < length; t++) {
        const float *row = logits + (t - 1) * V;
        for (int v = 0; v < V; v++) assert_true(row[v] <= row[answers.token[t]] + 1e-4f);
    }
    assert_int_equal(length, sequences_length(&answers, 1));
    assert_memory_equal(answers.token, answers.token + length, sizeof(int32_t) * (size_t)length);
    memory_release(logits);
    sequences_free(&answers);
    sequences_free(&prompts);
    model_free(&model);
}

/* Probabilities 0.5, 0.2, 0.2, 0.1; the cumulative sums in order of id are 0.2, 0.7, 0.8, 1. */
static void top_k_and_top_p_by_hand(void **state)
{
    (void)state;
    const float logits[4] = {logf(0.2f), logf(0.5f), logf(0.1f), logf(0.2f)};
    static const struct {
        int top_k;
        double top_p;
        int32_t never;
        double uniform;
        int32_t token;
    } cases[] = {
        {0, 1.0, -1, 0.0, 0},      {0, 1.0, -1, 0.199, 0},  {0, 1.0, -1, 0.201, 1},
        {0, 1.0, -1, 0.699, 1},    {0, 1.0, -1, 0.701, 2},  {0, 1.0, -1, 0.801, 3},
        {0, 1.0, -1, 0.999999, 3}, {1, 1.0, -1, 0.999, 1}, /* the one most likely */
        {2, 1.0, -1, 0.28, 0},     {2, 1.0, -1, 0.29, 1}, /* ids 0 and 1: 2/7 and 5/7; 0 before 3 */
        {3, 1.0, -1, 0.9, 3},                             /* all but id 2: 2/9, 5/9, 2/9 */
        {0, 0.5, -1, 0.999, 1},                           /* 0.5 is enough */
        {0, 0.51, -1, 0.2, 0},                            /* ids 1 and 0 */
        {0, 0.51, -1, 0.999, 1},   {0, 0.89, -1, 0.999, 3}, /* all but id 2 */
        {3, 0.7, -1, 0.999, 1},                          /* of 0.9, 0.63 is wanted: ids 1 and 0 */
        {0, 1.0, 1, 0.39, 0},      {0, 1.0, 1, 0.41, 2}, /* without id 1: 0.4, 0.2, 0.4 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const SamplingConfig config = {1.0, cases[i].top_k, cases[i].top_p, cases[i].never};
        float probability[4];
        SamplingCandidate candidate[4];
        int32_t token;
        assert_ok(
            sampling_draw(&token, probability, candidate, logits, 4, &config, cases[i].uniform));
        if (token != cases[i].token) print_error("case %zu\n", i);
        assert_int_equal(token, cases[i].token);
    }
    const SamplingConfig greedy = {0.0, 0, 1.0, 1};
    float probability[4];
    SamplingCandidate candidate[4];
    int32_t token;
    assert_ok(sampling_draw(&token, probability, candidate, logits, 4, &greedy, 0.9));
    assert_int_equal(token, 0); /* 0 and 3 tie, 1 is barred */
}

static void bad_prompts_and_networks_are_named(void **state)
{
    (void)state;
    Model model;
    Sequences prompts = {0}, answers = {0};
    GenerateRequest request[2] = {{0, 0, 0}, {0, 0, 3}};
    uint8_t ended[2];
    make_model(&model);
    make_prompts(&prompts, 3);
    int32_t token[POSITIONS] = {0};
    assert_ok(sequences_add(&prompts, token, 17, NULL, 0));
    assert_ok(sequences_add(&prompts, token, 0, NULL, 0));
    const GenerateConfig config = plain_config(RESPONSE);
    assert_fails(generate(&answers, ended, &model, &prompts, request, 2, &config), STATUS_DATA,
                 "prompt 3: 17 tokens and 24 of answer do not fit in 40 positions");
    request[1].prompt = 4;
    assert_fails(generate(&answers, ended, &model, &prompts, request, 2, &config), STATUS_DATA,
                 "prompt 4 is empty");
    request[1].prompt = 1;
    model.weight.norm_bias[0] = NAN;
    assert_fails(generate(&answers, ended, &model, &prompts, request, 2, &config), STATUS_DIVERGED,
                 "answer 0, token 0: the logits are not finite");
    assert_int_equal(answers.count, 0);
    sequences_free(&answers);
    sequences_free(&prompts);
    model_free(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding_agrees_with_the_full_forward),
        cmocka_unit_test(samples_follow_the_probabilities),
        cmocka_unit_test(neither_threads_nor_groups_change_the_tokens),
        cmocka_unit_test(groups_follow_from_shape_and_count_alone),
        cmocka_unit_test(kept_memory_is_used_again),
        cmocka_unit_test(generation_leaves_between_tokens_when_asked),
        cmocka_unit_test(answers_stop_at_the_end_or_at_the_limit),
        cmocka_unit_test(never_end_draws_no_end),
        cmocka_unit_test(answers_do_not_depend_on_their_neighbours),
        cmocka_unit_test(temperature_zero_takes_the_most_likely),
        cmocka_unit_test(top_k_and_top_p_by_hand),
        cmocka_unit_test(bad_prompts_and_networks_are_named),
    };
    if (gemm_setup() != STATUS_OK) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
