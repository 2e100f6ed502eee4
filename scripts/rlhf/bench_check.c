/* rlhf bench --check: one set of weights and tokens, and what this program makes of them, so that
 * another program can show that it does the same work.
 *
 * Files are flat: .f32 and .i32, little endian. Networks lie in the order of the weight list. */
#include "scripts/rlhf/bench.h"

#include "data/io.h"
#include "data/json.h"
#include "policy/language_loss.h"

enum { CHECK_SEED = 3, PATH = 1024 };
static const double WEIGHT_SPREAD = 0.1, LOGP_SPREAD = 0.4, VALUE_SPREAD = 0.6;
static const double CHECK_RATE = 1e-3;

typedef struct Check {
    const char *folder;
    BenchSizes sizes;
    BenchTraining training;
    BenchPpo ppo;
    Rng rng;
    JsonWriter *json;
} Check;

static Status write_array(const Check *check, const char *name, const void *array, size_t count)
{
    char path[PATH];
    snprintf(path, sizeof path, "%s/%s", check->folder, name);
    return io_publish(path, array, count * sizeof(float));
}

/* Adds noise to every number, so that no bias is zero and no gain is one. */
static void disturb(float *x, size_t count, double spread, Rng *rng)
{
    for (size_t i = 0; i < count; i++) x[i] += (float)(spread * (2.0 * rng_uniform(rng) - 1.0));
}

static double response_mean(const Rollout *rollout, const float *column)
{
    double sum = 0.0, count = 0.0;
    for (int64_t t = 0; t < rollout->tokens; t++) {
        if (!rollout->is_response[t]) continue;
        sum += (double)column[t];
        count += 1.0;
    }
    return sum / count;
}

/* ---- language modelling ---- */

static Status check_training(Check *check)
{
    BenchTraining *training = &check->training;
    training->optimiser.learning_rate = CHECK_RATE;
    disturb(training->model.flat, training->model.count, WEIGHT_SPREAD, &check->rng);
    TRY(write_array(check, "language.f32", training->model.flat, training->model.count));
    TRY(write_array(check, "text.i32", training->text.token,
                    (size_t)sequences_tokens(&training->text)));
    TRY(bench_training_step(training));
    json_put_number(check->json, "language_loss", training->loss);
    TRY(bench_training_step(training));
    json_put_number(check->json, "language_loss_after", training->loss);
    return STATUS_OK;
}

/* ---- PPO ---- */

static Status write_networks(Check *check)
{
    const struct {
        const char *name;
        Model *model;
    } network[] = {{"policy.f32", &check->ppo.policy},
                   {"reference.f32", &check->ppo.reference},
                   {"reward.f32", &check->ppo.reward_model},
                   {"critic.f32", &check->ppo.critic}};
    for (size_t i = 0; i < sizeof network / sizeof network[0]; i++) {
        Model *model = network[i].model;
        disturb(model->flat, model->count, WEIGHT_SPREAD, &check->rng);
        TRY(write_array(check, network[i].name, model->flat, model->count));
    }
    return STATUS_OK;
}

static Status write_rollout(const Check *check)
{
    const Rollout *rollout = &check->ppo.rollout;
    const size_t tokens = (size_t)rollout->tokens;
    TRY(write_array(check, "rollout.i32", rollout->id, tokens));
    TRY(write_array(check, "old_logp.f32", rollout->logp, tokens));
    TRY(write_array(check, "old_value.f32", rollout->value, tokens));
    TRY(write_array(check, "advantage.f32", check->ppo.updater.advantage, tokens));
    return write_array(check, "return.f32", rollout->returns, tokens);
}

/* The reference's likeliest answers, decoded with the cache, and their log-probability by a whole
 * forward. */
static Status check_greedy(Check *check, Sequences *answers)
{
    BenchPpo *ppo = &check->ppo;
    Rollout *rollout = &ppo->rollout;
    const GenerateConfig config = {.top_p = 1.0,
                                   .response_tokens = check->sizes.response,
                                   .end = BENCH_END,
                                   .never_end = true,
                                   .threads = check->sizes.threads,
                                   .stage = RNG_PPO,
                                   .purpose = RNG_SAMPLING};
    TRY(generate(answers, rollout->terminated, &ppo->reference, &ppo->prompts, ppo->request,
                 rollout->count, &config));
    TRY(write_array(check, "greedy.i32", answers->token, (size_t)sequences_tokens(answers)));
    const PpoNetworks networks = {.policy = &ppo->reference};
    const PpoScores scores = {.logp = rollout->logp};
    TRY(ppo_score(&ppo->scorer, &scores, &networks, answers, &ppo->plan, 1.0));
    json_put_number(check->json, "greedy_logp", response_mean(rollout, rollout->logp));
    return STATUS_OK;
}

static void put_scores(const Check *check)
{
    const Rollout *rollout = &check->ppo.rollout;
    double score = 0.0;
    for (int i = 0; i < rollout->count; i++) score += (double)rollout->raw_score[i];
    json_put_number(check->json, "logp", response_mean(rollout, rollout->logp));
    json_put_number(check->json, "reference_logp", response_mean(rollout, rollout->reference_logp));
    json_put_number(check->json, "value", response_mean(rollout, rollout->value));
    json_put_number(check->json, "score", score / rollout->count);
    json_put_number(check->json, "return", response_mean(rollout, rollout->returns));
}

/* One step of each network on all rollouts; the losses before and after it. */
static Status check_losses(Check *check, const char *name, Trainer *trainer, TrainerLoss *loss,
                           PpoLoss *context)
{
    const BenchPpo *ppo = &check->ppo;
    const OptimiserConfig *optimiser = &check->training.optimiser;
    for (int step = 0; step < 2; step++) {
        double sums[TRAINER_SUMS], norm;
        char key[64];
        snprintf(key, sizeof key, "%s_loss%s", name, step == 0 ? "" : "_after");
        TRY(trainer_step(sums, &norm, trainer, context->sequences, &ppo->plan, ppo->updater.order,
                         ppo->plan.blocks, loss, context, optimiser, CHECK_RATE));
        json_put_number(check->json, key, sums[0] / context->tokens);
    }
    return STATUS_OK;
}

static Status check_update(Check *check)
{
    BenchPpo *ppo = &check->ppo;
    Rollout *rollout = &ppo->rollout;
    const Sequences sequences = rollout_sequences(rollout);
    PpoLoss loss = {.rollout = rollout,
                    .sequences = &sequences,
                    .config = &ppo->config,
                    .advantage = ppo->updater.advantage,
                    .tokens = (double)rollout->count * check->sizes.response};
    for (int b = 0; b < ppo->plan.blocks; b++) ppo->updater.order[b] = b;
    TRY(check_losses(check, "policy", &ppo->updater.policy, ppo_policy_loss, &loss));
    return check_losses(check, "value", &ppo->updater.critic, ppo_value_loss, &loss);
}

/* Old log-probabilities and values are moved away from what the networks say, so that both
 * branches of both clipped losses are taken. */
static Status check_ppo(Check *check)
{
    BenchPpo *ppo = &check->ppo;
    Rollout *rollout = &ppo->rollout;
    TRY(write_networks(check));
    TRY(bench_ppo_parts(ppo, BENCH_SHAPE + 1));
    put_scores(check);
    disturb(rollout->logp, (size_t)rollout->tokens, LOGP_SPREAD, &check->rng);
    disturb(rollout->value, (size_t)rollout->tokens, VALUE_SPREAD, &check->rng);
    ppo_loss_advantages(ppo->updater.advantage, rollout, true);
    TRY(write_rollout(check));

    Sequences answers = {0};
    TRY(check_update(check));
    const Status status = check_greedy(check, &answers);
    sequences_free(&answers);
    return status;
}

/* What the other program must know beside the sizes. */
static Status write_settings(const Check *check)
{
    const OptimiserConfig *optimiser = &check->training.optimiser;
    const PpoConfig *config = &check->ppo.config;
    Bytes text = {0};
    JsonWriter json = json_writer(&text, 2);
    json_open(&json, NULL, '{');
    json_put_number(&json, "learning_rate", CHECK_RATE);
    json_put_number(&json, "beta1", optimiser->beta1);
    json_put_number(&json, "beta2", optimiser->beta2);
    json_put_number(&json, "epsilon", optimiser->epsilon);
    json_put_number(&json, "weight_decay", optimiser->weight_decay);
    json_put_number(&json, "max_grad_norm", optimiser->max_grad_norm);
    json_put_number(&json, "kl_coef", config->kl_coef);
    json_put_number(&json, "gamma", config->gamma);
    json_put_number(&json, "lambda", config->lambda);
    json_put_number(&json, "clip_range", config->clip_range);
    json_put_number(&json, "value_clip_range", config->value_clip_range);
    json_close(&json);
    char path[PATH];
    snprintf(path, sizeof path, "%s/settings.json", check->folder);
    Status status = json_done(&json);
    if (status == STATUS_OK) status = io_publish(path, text.data, text.count);
    bytes_free(&text);
    return status;
}

static Status run_check(Check *check)
{
    TRY(io_make_folder(check->folder));
    TRY(bench_training_init(&check->training, &check->sizes));
    TRY(bench_ppo_init(&check->ppo, &check->sizes));
    TRY(write_settings(check));
    TRY(check_training(check));
    return check_ppo(check);
}

Status bench_check(FILE *out, const BenchSizes *sizes, const char *folder)
{
    Bytes text = {0};
    JsonWriter json = json_writer(&text, 2);
    Check check = {.folder = folder,
                   .sizes = *sizes,
                   .rng = rng_stream(CHECK_SEED, RNG_PPO, RNG_WORLD, 0, 0, 0),
                   .json = &json};
    check.sizes.minibatches = 1;
    json_open(&json, NULL, '{');
    Status status = run_check(&check);
    json_close(&json);
    if (status == STATUS_OK) status = json_done(&json);
    if (status == STATUS_OK) fputs(text.data, out);
    bench_ppo_free(&check.ppo);
    bench_training_free(&check.training);
    bytes_free(&text);
    return status;
}
