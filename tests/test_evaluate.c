/* evaluate: statistics by hand, and the stage on a toy run. */
#include "tests/support.h"
#include "tests/toy_run.h"

#include "data/json.h"
#include "data/store/store.h"
#include "ppo/best_of_n.h"
#include "ppo/evaluate.h"
#include "ppo/evaluation.h"
#include "reward/labeller.h"
#include "reward/reward_model.h"

#include <sys/wait.h>

static void statistics_match_hand_numbers(void **state)
{
    (void)state;
    static const double value[4] = {1, 2, 4, 9}, other[4] = {1, 3, 3, 3};
    const Estimate estimate = estimate_of(value, 4);
    assert_close(estimate.mean, 4, 0, 0);
    assert_close(estimate.std, sqrt(38.0 / 3), 1e-12, 0);
    assert_close(estimate.error, sqrt(38.0 / 12), 1e-12, 0);
    assert_true(isnan(estimate_of(value, 1).error) && estimate_of(value, 1).mean == 1);

    const Estimate wins = win_rate(value, other, 4); /* tie, lost, won, won */
    assert_close(wins.mean, 0.625, 0, 0);
    assert_close(wins.error, sqrt((0.125 * 0.125 + 0.625 * 0.625 + 2 * 0.375 * 0.375) / 3 / 4),
                 1e-12, 0);
    assert_close(win_rate(other, value, 4).mean, 0.375, 0, 0);
}

/* ---- the stage ---- */

static const EvaluateConfig plain = {
    .prompts = 64, .samples = 3, .best_of_prompts = 5, .best_of_pool = 8};

static void made_by(const char *run, const TaskKind *kind)
{
    const Task task = {.kind = kind, .config = &toy_config, .seed = 5};
    const LabelConfig label = {.pairs = 500,
                               .held_out = 0.2,
                               .temperature = 0.25,
                               .annotators = 1,
                               .sampling_temperature = 1.0};
    const RewardConfig reward = {
        .epochs = 2,
        .batch = 32,
        .shards = 2,
        .causal = true,
        .normalise_answers = 200,
        .optimiser = {.learning_rate = 1e-2,
                      .schedule = "constant",
                      .beta1 = 0.9,
                      .beta2 = 0.999,
                      .epsilon = 1e-8,
                      .max_grad_norm = 1.0},
    };
    Stage first = toy_stage(run, "label", 1), second = toy_stage(run, "reward", 1);
    const LabelJob label_job = {.stage = &first, .task = &task, .config = &label};
    const RewardJob reward_job = {
        .stage = &second, .task = &task, .config = &reward, .sampling_temperature = 1.0};
    assert_ok(label_run(&label_job));
    assert_ok(reward_run(&reward_job));
}

static Status evaluate_life(const char *run, const TaskKind *kind, const EvaluateConfig *config,
                            int threads, StageHooks hooks)
{
    const Task task = {.kind = kind, .config = &toy_config, .seed = 5};
    Stage stage = toy_stage(run, "evaluate", threads);
    stage.hooks = hooks;
    const EvaluateJob job = {.stage = &stage, .task = &task, .config = config, .temperature = 1.0};
    return evaluate_run(&job);
}

static Status evaluate(const char *run, const TaskKind *kind, const EvaluateConfig *config,
                       int threads)
{
    return evaluate_life(run, kind, config, threads, (StageHooks){0});
}

static Json read_card(JsonDocument **document, const char *run)
{
    char path[128];
    snprintf(path, sizeof path, "%s/evaluate/scorecard.json", run);
    assert_ok(json_read(document, STATUS_DATA, path, 1 << 20, NULL));
    return json_root(*document);
}

/* The number at "policies.sft.kl.mean". */
static double at(Json root, const char *path)
{
    char part[64];
    while (*path) {
        size_t n = strcspn(path, ".");
        memcpy(part, path, n);
        part[n] = '\0';
        root = json_find(root, part);
        if (root.item == NULL) return NAN;
        path += n + (path[n] == '.');
    }
    double number;
    assert_ok(json_number(&number, root));
    return number;
}

/* A run whose "ppo" and "pretrain" are other untrained policies. */
static void whole_run(char run[64], const TaskKind *kind)
{
    toy_run(run);
    made_by(run, kind);
    toy_publish_policy(run, "pretrain", 0.5);
    toy_publish_policy(run, "ppo", 4.0);
}

static void the_scorecard_holds_every_policy(void **state)
{
    (void)state;
    char run[64];
    const TaskKind kind = toy_kind();
    whole_run(run, &kind);
    assert_ok(evaluate(run, &kind, &plain, 2));
    JsonDocument *document;
    const Json card = read_card(&document, run);
    assert_close(at(card, "prompts"), 64, 0, 0);
    assert_close(at(card, "seed"), 5, 0, 0);
    static const char *const stages[] = {"pretrain", "sft", "ppo"};
    static const char *const keys[] = {"gold", "scores", "kl", "kl_exact", "length"};
    for (int s = 0; s < 3; s++) {
        for (int k = 0; k < 5; k++) {
            char path[64];
            snprintf(path, sizeof path, "policies.%s.%s.mean", stages[s], keys[k]);
            assert_true(isfinite(at(card, path)));
            snprintf(path, sizeof path, "policies.%s.%s.stderr", stages[s], keys[k]);
            const double error = at(card, path);
            snprintf(path, sizeof path, "policies.%s.%s.std", stages[s], keys[k]);
            assert_close(error, at(card, path) / 8, 1e-12, 1e-12);
        }
    }
    assert_close(at(card, "policies.sft.kl.mean"), 0, 0, 0);
    assert_close(at(card, "policies.sft.kl_exact.std"), 0, 0, 0);
    const double exact = at(card, "policies.ppo.kl_exact.mean");
    assert_true(exact > 0.01);
    assert_close(at(card, "policies.ppo.kl.mean"), exact, 4 * at(card, "policies.ppo.kl.stderr"),
                 0);
    assert_close(at(card, "policies.sft.scores.mean"), 0, 0.5, 0);
    const double terminated = at(card, "policies.sft.terminated");
    assert_true(terminated > 0.3 && terminated < 0.9);
    assert_true(isnan(at(card, "policies.sft.well_formed.mean"))); /* the task does not say */
    assert_true(isfinite(at(card, "win_rate.ppo_over_sft.stderr")));
    assert_true(isfinite(at(card, "win_rate.ppo_over_pretrain.mean")));
    assert_true(isfinite(at(card, "win_rate.sft_over_pretrain.mean")));
    assert_true(at(card, "reward_model.gold_accuracy") > 0.8);
    assert_true(at(card, "reward_model.gold_spearman") > 0.6);
    assert_close(at(card, "sft_heldout.loss"), 1.75, 0, 0);
    assert_close(at(card, "sft_heldout.floor"), 1.5, 0, 0);
    json_free(document);
}

static void the_judge_is_told_on_the_scale_of_its_loss(void **state)
{
    (void)state;
    char run[64], path[128];
    const TaskKind kind = toy_kind();
    toy_run(run);
    made_by(run, &kind);
    assert_ok(evaluate(run, &kind, &plain, 1));
    JsonDocument *document, *other;
    const Json card = read_card(&document, run);
    snprintf(path, sizeof path, "%s/reward/calibration.json", run);
    assert_ok(json_read(&other, STATUS_DATA, path, 1 << 20, NULL));
    static const char *const keys[] = {"pairs", "accuracy", "gold_accuracy", "ceiling",
                                       "nll",   "ece",      "brier"};
    for (int k = 0; k < 7; k++) {
        char key[64];
        snprintf(key, sizeof key, "reward_model.%s", keys[k]);
        assert_close(at(card, key), at(json_root(other), keys[k]), 1e-5, 1e-5);
    }
    json_free(other);
    json_free(document);
}

static void what_has_not_run_is_left_out(void **state)
{
    (void)state;
    char run[64];
    const TaskKind kind = toy_kind();
    toy_run(run);
    assert_fails(evaluate(run, &kind, &plain, 1), STATUS_DATA, "run: rlhf reward");
    made_by(run, &kind);
    EvaluateConfig config = plain;
    config.best_of_prompts = 0;
    assert_ok(evaluate(run, &kind, &config, 1));
    JsonDocument *document;
    const Json card = read_card(&document, run);
    assert_int_equal(json_count(json_find(card, "policies")), 1);
    assert_int_equal(json_count(json_find(card, "win_rate")), 0);
    assert_null(json_find(card, "best_of_n").item);
    json_free(document);
}

static void without_gold_the_proxy_decides_and_says_so(void **state)
{
    (void)state;
    char run[64];
    TaskKind kind = toy_kind();
    whole_run(run, &kind);
    kind.gold = NULL;
    assert_ok(evaluate(run, &kind, &plain, 1));
    JsonDocument *document;
    const Json card = read_card(&document, run);
    assert_null(json_find(card, "win_rate").item);
    assert_true(isfinite(at(card, "win_rate_by_proxy.ppo_over_sft.mean")));
    assert_true(isnan(at(card, "policies.ppo.gold.mean")));
    assert_true(isfinite(at(card, "policies.ppo.scores.mean")));
    assert_true(isnan(at(card, "reward_model.gold_spearman")));
    json_free(document);
}

static void best_of_n_raises_the_proxy(void **state)
{
    (void)state;
    char run[64];
    const TaskKind kind = toy_kind();
    toy_run(run);
    made_by(run, &kind);
    assert_ok(evaluate(run, &kind, &plain, 1));
    JsonDocument *document;
    const Json card = read_card(&document, run);
    assert_close(at(card, "best_of_n.pool"), 8, 0, 0);
    assert_close(at(card, "best_of_n.prompts"), 5, 0, 0);
    const double unique = at(card, "best_of_n.unique");
    assert_true(unique > 4 && unique <= 8);
    double last = -INFINITY;
    int n = 1;
    for (Json size = json_first(json_find(json_find(card, "best_of_n"), "sizes"));
         size.item != NULL; size = json_next(size), n *= 2) {
        assert_close(at(size, "n"), n, 0, 0);
        assert_close(at(size, "kl_bound"), best_of_n_kl(n), 1e-12, 0);
        assert_true(at(size, "scores.mean") > last);
        assert_true(isfinite(at(size, "gold.stderr")));
        last = at(size, "scores.mean");
    }
    assert_int_equal(n, 16);
    json_free(document);
}

static void the_samples_are_the_first_answers_side_by_side(void **state)
{
    (void)state;
    char run[64], path[128];
    const TaskKind kind = toy_kind();
    whole_run(run, &kind);
    assert_ok(evaluate(run, &kind, &plain, 1));
    snprintf(path, sizeof path, "%s/evaluate/samples.h5", run);
    const StoreField schema[] = {
        {.name = "/sample/prompt_id", .type = STORE_I64, .rank = 1, .extent = {3}},
        {.name = "/pretrain/offset", .type = STORE_I64, .rank = 1, .extent = {4}},
        {.name = "/sft/offset", .type = STORE_I64, .rank = 1, .extent = {4}},
        {.name = "/ppo/offset", .type = STORE_I64, .rank = 1, .extent = {4}},
        {.name = "/ppo/id", .type = STORE_I32, .rank = 1, .extent = {-1}},
        {.name = "/ppo/scores", .type = STORE_F64, .rank = 1, .extent = {3}},
        {.name = "/sft/kl", .type = STORE_F64, .rank = 1, .extent = {3}},
    };
    StoreContent content = {0};
    assert_ok(store_read(&content, path, NULL, schema, 7));
    const int64_t *prompt = content.array[0].data, *offset = content.array[3].data;
    assert_int_equal(prompt[2], 2);
    assert_int_equal(offset[3], content.array[4].count);
    assert_close(((const double *)content.array[6].data)[1], 0, 0, 0);
    store_content_free(&content);
}

static void threads_change_no_byte(void **state)
{
    (void)state;
    char run[64], path[128];
    const TaskKind kind = toy_kind();
    whole_run(run, &kind);
    static const char *const files[] = {"scorecard.json", "samples.h5", "metrics.jsonl"};
    Bytes bytes[2][3] = {0};
    for (int threads = 1; threads <= 2; threads++) {
        assert_ok(evaluate(run, &kind, &plain, threads));
        for (int f = 0; f < 3; f++) {
            snprintf(path, sizeof path, "%s/evaluate/%s", run, files[f]);
            assert_ok(io_read(&bytes[threads - 1][f], path, 1 << 24));
        }
    }
    for (int f = 0; f < 3; f++) {
        assert_int_equal(bytes[0][f].count, bytes[1][f].count);
        assert_memory_equal(bytes[0][f].data, bytes[1][f].data, bytes[0][f].count);
        for (int r = 0; r < 2; r++) bytes_free(&bytes[r][f]);
    }
}

/* ---- its checkpoints ---- */

/* The hooks of a life: what it was asked and told. */
typedef struct Visitor {
    int questions, patience; /* asked to stop at that question; 0: never */
    int rows;                /* policies told of */
    int wishes, granted;     /* questions for a checkpoint; after that one it dies; 0: never */
} Visitor;

enum { DEATH = 77 };

static void count_row(void *context, const StageProgress *progress)
{
    (void)progress;
    ((Visitor *)context)->rows++;
}

static bool out_of_patience(void *context)
{
    Visitor *visitor = context;
    return ++visitor->questions >= visitor->patience && visitor->patience > 0;
}

static bool one_is_wanted(void *context)
{
    Visitor *visitor = context;
    if (++visitor->wishes == visitor->granted + 1 && visitor->granted > 0) _exit(DEATH);
    return visitor->wishes == visitor->granted;
}

static StageHooks visit(Visitor *visitor)
{
    return (StageHooks){visitor, count_row, out_of_patience, one_is_wanted};
}

static int64_t newest(const char *run)
{
    char folder[128];
    int64_t *steps;
    int count;
    snprintf(folder, sizeof folder, "%s/evaluate", run);
    assert_ok(checkpoint_steps(&steps, &count, folder));
    const int64_t step = count > 0 ? steps[count - 1] : 0;
    memory_release(steps);
    return step;
}

enum { PUBLISHED = 5 };

static Digest published_digest(const char *run, int f)
{
    static const char *const files[PUBLISHED] = {"scorecard.json", "samples.h5", "metrics.jsonl",
                                                 "metrics.h5", "manifest.json"};
    char path[128];
    Digest digest;
    uint64_t size;
    snprintf(path, sizeof path, "%s/evaluate/%s", run, files[f]);
    assert_ok(io_digest(&digest, &size, path, UINT64_MAX));
    return digest;
}

static void forget(const char *run)
{
    char path[128];
    snprintf(path, sizeof path, "%s/evaluate", run);
    assert_ok(io_remove_tree(path));
}

/* Asked at any moment it commits whole policies and pools; the next life does the rest alone. */
static void a_stopped_stage_goes_on_to_the_same_bytes(void **state)
{
    (void)state;
    char run[64];
    const TaskKind kind = toy_kind();
    whole_run(run, &kind);
    Visitor all = {0};
    Digest whole[PUBLISHED];
    assert_ok(evaluate_life(run, &kind, &plain, 1, visit(&all)));
    for (int f = 0; f < PUBLISHED; f++) whole[f] = published_digest(run, f);
    bool stopped_at[9] = {false};
    for (int patience = 1; patience < all.questions; patience += all.questions / 12) {
        forget(run);
        Visitor first = {.patience = patience}, second = {0};
        const Status status = evaluate_life(run, &kind, &plain, 1, visit(&first));
        assert_fails(status, STATUS_STOPPED, first.rows < 3 ? "stopped after policy" : "stopped ");
        const int64_t step = newest(run);
        assert_true(step <= 3 ? step == first.rows : first.rows == 3);
        stopped_at[step] = true;
        assert_ok(evaluate_life(run, &kind, &plain, 2, visit(&second)));
        assert_int_equal(first.rows + second.rows, 3);
        assert_int_equal(second.wishes, 8 - step);
        for (int f = 0; f < PUBLISHED; f++) {
            assert_true(digest_equal(whole[f], published_digest(run, f)));
        }
    }
    int places = 0;
    for (int step = 0; step < 9; step++) places += stopped_at[step];
    assert_true(places >= 4 && stopped_at[0] && stopped_at[3]);
}

static void a_killed_stage_goes_on_from_what_was_asked_for(void **state)
{
    (void)state;
    char run[64];
    const TaskKind kind = toy_kind();
    whole_run(run, &kind);
    Digest whole[PUBLISHED];
    assert_ok(evaluate(run, &kind, &plain, 1));
    for (int f = 0; f < PUBLISHED; f++) whole[f] = published_digest(run, f);
    for (int granted = 2; granted < 8; granted += 3) {
        forget(run);
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            Visitor visitor = {.granted = granted};
            _exit(evaluate_life(run, &kind, &plain, 1, visit(&visitor)) == STATUS_OK ? 0 : 1);
        }
        int ending;
        assert_int_equal(waitpid(child, &ending, 0), child);
        assert_true(WIFEXITED(ending) && WEXITSTATUS(ending) == DEATH);
        assert_int_equal(newest(run), granted);
        Visitor second = {0};
        assert_ok(evaluate_life(run, &kind, &plain, 2, visit(&second)));
        assert_int_equal(second.wishes, 8 - granted);
        for (int f = 0; f < PUBLISHED; f++) {
            assert_true(digest_equal(whole[f], published_digest(run, f)));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics_match_hand_numbers),
        cmocka_unit_test(the_scorecard_holds_every_policy),
        cmocka_unit_test(the_judge_is_told_on_the_scale_of_its_loss),
        cmocka_unit_test(what_has_not_run_is_left_out),
        cmocka_unit_test(without_gold_the_proxy_decides_and_says_so),
        cmocka_unit_test(best_of_n_raises_the_proxy),
        cmocka_unit_test(the_samples_are_the_first_answers_side_by_side),
        cmocka_unit_test(threads_change_no_byte),
        cmocka_unit_test(a_stopped_stage_goes_on_to_the_same_bytes),
        cmocka_unit_test(a_killed_stage_goes_on_from_what_was_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
