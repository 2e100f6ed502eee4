/* Every fault of the lab is caught, by checks that do not know it: each judges what a run has left
 * (files, journal, exit status) or what its losses say, and passes on the sound program.
 *
 * test_faults [SEEDS]: seeds on which the sound program and every fault are judged; without it the
 * sound program on three and faults on one. */
#include "tests/support.h"

#include "data/preference.h"
#include "data/prompts.h"
#include "data/store/store.h"
#include "policy/sft.h"
#include "reward/labeller.h"
#include "reward/reward_model.h"
#include "tests/toy_ppo.h"

enum { STEPS = 4, MOST = 64, TOKENS = MOST * TOY_POSITIONS, DEMONSTRATIONS = 12 };

static uint64_t sound_seeds = 3, fault_seeds = 1;

/* ---- what is judged ---- */

/* A PPO stage and what it left. */
typedef struct Trial {
    Toy toy;
    uint64_t seed;
    Status status;
    int files; /* rollout files of steps 1, 2, ... */
    RolloutFile file[STEPS];
    MetricColumns journal;
} Trial;

/* `plain` trains as people do; `still` never moves, has one epoch and lambda 1. NULL where the
 * fault lies in another stage. */
typedef struct Subject {
    Trial *plain, *still;
    const char *sft, *reward; /* run directories of those stages */
} Subject;

typedef bool Check(const Subject *subject);

static void look_at(Trial *trial)
{
    char path[600], name[32];
    for (int k = 0; k < STEPS; k++) {
        snprintf(name, sizeof name, "rollouts/%06d.h5", k + 1);
        toy_path(path, &trial->toy, name);
        if (!io_exists(path)) break;
        assert_ok(rollout_read(&trial->file[trial->files++], path, NULL, TOY_WORDS + 1));
    }
    toy_path(path, &trial->toy, "metrics.jsonl");
    assert_ok(metric_columns_read(&trial->journal, path));
}

static void trial_run(Trial *trial, const Fault *fault, uint64_t seed, bool still)
{
    *trial = (Trial){.seed = seed};
    Toy *toy = &trial->toy;
    *toy = (Toy){.config = toy_ppo_config(), .kind = toy_kind()};
    test_folder(toy->run);
    toy_publish_policy(toy->run, "sft", 3.0);
    toy_publish_reward_model(toy->run, true);
    toy->config.steps = STEPS;
    toy->config.temperature = 0.7;
    toy->config.kl_target = 0.6;
    toy->config.critic_optimiser.learning_rate = 1e-2;
    strcpy(toy->config.kl_controller, "adaptive");
    if (still) {
        toy->config.rollouts = MOST;
        toy->config.epochs = 1;
        toy->config.lambda = 1.0;
        toy->config.optimiser.learning_rate = toy->config.critic_optimiser.learning_rate = 0.0;
    }
    toy->task = (Task){.kind = &toy->kind, .config = &toy_config, .seed = seed};
    toy->stage = toy_stage(toy->run, "ppo", 1);
    toy->stage.seed = seed;
    toy->job = (PpoJob){.stage = &toy->stage,
                        .task = &toy->task,
                        .config = &toy->config,
                        .config_text = "{}",
                        .fault = fault,
                        .keep_every = still ? 100 : 1};
    trial->status = ppo_run(&toy->job);
    look_at(trial);
}

static void trial_end(Trial *trial)
{
    for (int k = 0; k < trial->files; k++) rollout_free(&trial->file[k]);
    metric_columns_free(&trial->journal);
    toy_end(&trial->toy);
}

static int64_t first_of(const Rollout *r, int i)
{
    return r->offset[i] + r->prompt_length[i];
}

/* A metric of the journal, NULL where no row was written. */
static const double *column(const Trial *trial, const char *name)
{
    return trial->journal.rows > 0 ? metric_column(&trial->journal, name) : NULL;
}

static bool near(double a, double b, double tolerance)
{
    return fabs(a - b) <= tolerance * (1.0 + fabs(b));
}

/* The network that a PPO step began with: the SFT policy, or that of the checkpoint before. */
static void network_before(Model *model, AdamW *moments, const Trial *trial, const char *name,
                           int step)
{
    char folder[STAGE_PATH], stage[600];
    Manifest manifest;
    if (step > 1) {
        snprintf(stage, sizeof stage, "%s/ppo", trial->toy.run);
        assert_ok(checkpoint_at(folder, &manifest, stage, step - 1));
        assert_ok(network_read(model, moments, folder, name, &manifest));
        return;
    }
    const bool policy = strcmp(name, "policy") == 0;
    snprintf(stage, sizeof stage, "%s/%s", trial->toy.run, policy ? "sft" : "reward");
    if (policy) {
        assert_ok(network_read(model, NULL, stage, "policy", NULL));
        return;
    }
    Model judge = {0};
    assert_ok(network_read(&judge, NULL, stage, "model", NULL));
    ModelShape shape = judge.shape;
    shape.head = HEAD_VALUE;
    assert_ok(model_init(model, shape));
    model_value_from_score(model, &judge);
    model_free(&judge);
}

/* Log-probabilities of sequences by a model. */
static void log_probabilities(float *logp, const Model *model, const Sequences *sequences,
                              const BlockPlan *plan, double temperature)
{
    PpoScorer scorer;
    const PpoNetworks networks = {.policy = model};
    const PpoScores scores = {.logp = logp};
    assert_ok(ppo_scorer_init(&scorer, model->shape, 256, TOY_POSITIONS, 1));
    assert_ok(ppo_score(&scorer, &scores, &networks, sequences, plan, temperature));
    ppo_scorer_free(&scorer);
}

static bool same_logp(const float *expected, const Model *model, const Rollout *r,
                      double temperature)
{
    float logp[TOKENS];
    BlockPlan plan;
    const Sequences sequences = rollout_sequences(r);
    assert_ok(rollout_plan(&plan, r));
    log_probabilities(logp, model, &sequences, &plan, temperature);
    block_plan_free(&plan);
    for (int64_t t = 0; t < r->tokens; t++) {
        if (r->is_response[t] && !near((double)expected[t], (double)logp[t], 1e-5)) return false;
    }
    return true;
}

/* Whether `holds` of every rollout file of a trial. */
static bool all_files(const Trial *trial, bool (*holds)(const Trial *trial, const Rollout *r))
{
    for (int k = 0; trial != NULL && k < trial->files; k++) {
        if (!holds(trial, &trial->file[k].rollout)) return false;
    }
    return true;
}

/* ---- checks ---- */

static bool invariants_hold(const Subject *subject)
{
    return (subject->plain == NULL || subject->plain->status == STATUS_OK) &&
           (subject->still == NULL || subject->still->status == STATUS_OK);
}

static bool rewards_of_file(const Trial *trial, const Rollout *r)
{
    (void)trial;
    for (int i = 0; i < r->count; i++) {
        for (int64_t t = first_of(r, i); t < r->offset[i + 1]; t++) {
            const double penalty = r->kl_coef * ((double)r->logp[t] - (double)r->reference_logp[t]);
            const double score = t == r->offset[i + 1] - 1 ? (double)r->score[i] : 0.0;
            if (!near((double)r->reward[t], score - penalty, 1e-6)) return false;
        }
    }
    return true;
}

static bool rewards_follow_their_definition(const Subject *subject)
{
    return all_files(subject->plain, rewards_of_file);
}

/* Before the first update there is no divergence to pay for. */
static bool at_first_only_ends_are_paid(const Subject *subject)
{
    if (subject->plain == NULL) return true;
    const Rollout *r = &subject->plain->file[0].rollout;
    for (int i = 0; i < r->count; i++) {
        const int64_t last = r->offset[i + 1] - 1;
        for (int64_t t = first_of(r, i); t < last; t++) {
            if (r->reward[t] != 0.0f) return false;
        }
        if (r->reward[last] != r->score[i]) return false;
    }
    return true;
}

/* A_t = sum over k of (gamma lambda)^k delta_{t+k}, in O(T^2). */
static bool advantages_of_file(const Trial *trial, const Rollout *r)
{
    const PpoConfig *config = &trial->toy.config;
    for (int i = 0; i < r->count; i++) {
        const int64_t end = r->offset[i + 1];
        for (int64_t t = first_of(r, i); t < end; t++) {
            double sum = 0.0;
            for (int64_t s = t; s < end; s++) {
                const double next = s + 1 < end ? (double)r->value[s + 1] : 0.0;
                const double delta =
                    (double)r->reward[s] + config->gamma * next - (double)r->value[s];
                sum += pow(config->gamma * config->lambda, (double)(s - t)) * delta;
            }
            if (!near((double)r->advantage[t], sum, 1e-5)) return false;
            if (!near((double)r->returns[t], sum + (double)r->value[t], 1e-5)) return false;
        }
    }
    return true;
}

static bool advantages_follow_their_definition(const Subject *subject)
{
    return all_files(subject->plain, advantages_of_file);
}

static bool returns_of_file(const Trial *trial, const Rollout *r)
{
    (void)trial;
    for (int i = 0; i < r->count; i++) {
        double left = 0.0;
        for (int64_t t = r->offset[i + 1] - 1; t >= first_of(r, i); t--) {
            left += (double)r->reward[t];
            if (!near((double)r->returns[t], left, 1e-5)) return false;
        }
    }
    return true;
}

/* With lambda 1 the critic cancels: a return is what was paid from there on. */
static bool returns_forget_the_critic(const Subject *subject)
{
    return all_files(subject->still, returns_of_file);
}

static bool k3_is_of_the_right_side(const Subject *subject)
{
    const double *logged =
        subject->plain != NULL ? column(subject->plain, "objective/kl_k3") : NULL;
    for (int k = 0; logged != NULL && k < subject->plain->journal.rows; k++) {
        const Rollout *r = &subject->plain->file[k].rollout;
        double sum = 0.0;
        for (int64_t t = 0; t < r->tokens; t++) {
            const double change = (double)r->logp[t] - (double)r->reference_logp[t];
            if (r->is_response[t]) sum += exp(-change) - 1.0 + change;
        }
        if (!near(logged[k], sum / r->count, 1e-9)) return false;
    }
    return true;
}

static bool coefficient_follows_the_journal(const Subject *subject)
{
    const Trial *trial = subject->plain;
    const double *coefficient = trial != NULL ? column(trial, "objective/kl_coef") : NULL;
    if (coefficient == NULL) return true;
    const double *kl = column(trial, "objective/kl");
    for (int k = 1; k < trial->journal.rows; k++) {
        const double next =
            ppo_config_next_kl_coef(&trial->toy.config, coefficient[k - 1], kl[k - 1]);
        if (coefficient[k] != next) return false;
    }
    return true;
}

static bool coefficient_follows_the_files(const Subject *subject)
{
    const Trial *trial = subject->plain;
    for (int k = 1; trial != NULL && k < trial->files; k++) {
        const Rollout *r = &trial->file[k - 1].rollout;
        double kl = 0.0;
        for (int i = 0; i < r->count; i++) kl += (double)r->kl[i] / r->count;
        const double error = fmin(fmax(kl / trial->toy.config.kl_target - 1.0, -0.2), 0.2);
        /* a horizon of five batches */
        if (!near(trial->file[k].rollout.kl_coef, r->kl_coef * (1.0 + error / 5.0), 1e-6)) {
            return false;
        }
    }
    return true;
}

static bool hashes_of_file(const Trial *trial, const Rollout *r)
{
    Model policy = {0}, judge = {0};
    char folder[600];
    snprintf(folder, sizeof folder, "%s/sft", trial->toy.run);
    assert_ok(network_read(&policy, NULL, folder, "policy", NULL));
    snprintf(folder, sizeof folder, "%s/reward", trial->toy.run);
    assert_ok(network_read(&judge, NULL, folder, "model", NULL));
    const bool same = digest_equal(model_digest(&policy), r->reference) &&
                      digest_equal(model_digest(&judge), r->reward_model);
    model_free(&policy);
    model_free(&judge);
    return same;
}

static bool frozen_networks_are_those_published(const Subject *subject)
{
    return all_files(subject->plain, hashes_of_file);
}

static bool reference_of_file(const Trial *trial, const Rollout *r)
{
    Model reference = {0};
    network_before(&reference, NULL, trial, "policy", 1);
    const bool same = same_logp(r->reference_logp, &reference, r, trial->toy.config.temperature);
    model_free(&reference);
    return same;
}

static bool sft_policy_says_reference_logp(const Subject *subject)
{
    return all_files(subject->plain, reference_of_file);
}

static bool policy_of_file(const Trial *trial, const Rollout *r)
{
    Model policy = {0};
    network_before(&policy, NULL, trial, "policy", (int)r->step);
    const bool same = same_logp(r->logp, &policy, r, trial->toy.config.temperature);
    model_free(&policy);
    return same;
}

static bool checkpoint_says_logp(const Subject *subject)
{
    return all_files(subject->plain, policy_of_file);
}

/* E[-log p] is the entropy, if the tokens come from p: their sums lie within five errors. */
static bool surprise_is_the_entropy(const Subject *subject)
{
    const Trial *trial = subject->still;
    const double *entropy = trial != NULL ? column(trial, "policy/sampling_entropy") : NULL;
    double excess = 0.0, variance = 0.0;
    for (int k = 0; entropy != NULL && k < trial->journal.rows; k++) {
        const Rollout *r = &trial->file[k].rollout;
        for (int64_t t = 0; t < r->tokens; t++) {
            if (!r->is_response[t]) continue;
            const double more = -(double)r->logp[t] - entropy[k];
            excess += more;
            variance += more * more;
        }
    }
    return fabs(excess) <= 5.0 * sqrt(variance);
}

static bool answers_of_file(const Trial *trial, const Rollout *r)
{
    const Toy *toy = &trial->toy;
    GenerateRequest request[MOST];
    uint8_t terminated[MOST];
    Tokenizer *tokenizer;
    Sequences prompts = {0}, answers = {0};
    Model policy = {0};
    const GenerateConfig config = {.temperature = toy->config.temperature,
                                   .top_p = 1.0,
                                   .response_tokens = TOY_ANSWER,
                                   .end = TOY_WORDS,
                                   .threads = 1,
                                   .seed = trial->seed,
                                   .stage = RNG_PPO,
                                   .purpose = RNG_SAMPLING,
                                   .step = (uint64_t)r->step};
    for (int i = 0; i < r->count; i++) {
        request[i] = (GenerateRequest){.prompt_id = r->prompt_id[i], .prompt = i};
    }
    network_before(&policy, NULL, trial, "policy", (int)r->step);
    assert_ok(stage_read_tokenizer(&tokenizer, toy->run, "sft"));
    assert_ok(prompts_read(&prompts, &toy->task, tokenizer, TASK_TRAIN, r->prompt_id, r->count));
    assert_ok(generate(&answers, terminated, &policy, &prompts, request, r->count, &config));
    const bool same = sequences_tokens(&answers) == r->tokens &&
                      memcmp(answers.token, r->id, (size_t)r->tokens * sizeof *r->id) == 0 &&
                      memcmp(terminated, r->terminated, (size_t)r->count * sizeof *terminated) == 0;
    sequences_free(&answers);
    sequences_free(&prompts);
    tokenizer_free(tokenizer);
    model_free(&policy);
    return same;
}

static bool answers_are_drawn_again(const Subject *subject)
{
    return all_files(subject->plain, answers_of_file);
}

static bool same_text(const Rollout *r, int64_t a, int64_t a_count, int64_t b, int64_t b_count)
{
    return a_count == b_count && memcmp(r->id + a, r->id + b, (size_t)a_count * sizeof *r->id) == 0;
}

static bool variety_of_file(const Trial *trial, const Rollout *r)
{
    (void)trial;
    for (int i = 0; i < r->count; i++) {
        for (int j = 0; j < i; j++) {
            if (!same_text(r, r->offset[i], r->prompt_length[i], r->offset[j],
                           r->prompt_length[j])) {
                continue;
            }
            if (!same_text(r, first_of(r, i), r->response_length[i], first_of(r, j),
                           r->response_length[j])) {
                return true;
            }
        }
    }
    return false;
}

static bool equal_prompts_get_different_answers(const Subject *subject)
{
    return all_files(subject->plain, variety_of_file);
}

/* Update k from its file and the checkpoint before gives the networks of file k + 1. */
static bool update_gives(const Trial *trial, int k)
{
    Model policy = {0}, critic = {0};
    AdamW policy_moments = {0}, critic_moments = {0};
    PpoUpdater updater;
    PpoUpdateReport report;
    network_before(&policy, &policy_moments, trial, "policy", k);
    network_before(&critic, &critic_moments, trial, "critic", k);
    assert_ok(
        ppo_updater_init(&updater, &policy, &critic, &trial->toy.config, 256, TOY_POSITIONS, 1));
    if (k > 1) {
        adamw_free(&updater.policy.adamw);
        adamw_free(&updater.critic.adamw);
        updater.policy.adamw = policy_moments;
        updater.critic.adamw = critic_moments;
    }
    const PpoUpdateJob job = {
        .rollout = &trial->file[k - 1].rollout, .config = &trial->toy.config, .seed = trial->seed};
    const Rollout *next = &trial->file[k].rollout;
    const bool same = ppo_update(&report, &updater, &job) == STATUS_OK &&
                      digest_equal(model_digest(&policy), next->policy) &&
                      digest_equal(model_digest(&critic), next->critic);
    ppo_updater_free(&updater);
    model_free(&policy);
    model_free(&critic);
    return same;
}

static bool updates_come_out_again(const Subject *subject)
{
    for (int k = 1; subject->plain != NULL && k < subject->plain->files; k++) {
        if (!update_gives(subject->plain, k)) return false;
    }
    return true;
}

/* Mean over minibatches of the mean over their tokens, blocks in the order of the step. */
static double minibatch_mean(const Trial *trial, const Rollout *r, const double *token_loss)
{
    const PpoConfig *config = &trial->toy.config;
    const int minibatches = (int)config->minibatches, parts = minibatches * (int)config->shards;
    int blocks = 0, order[2 * MOST];
    for (int i = 0; i < r->count; i++) blocks = r->block[i] >= blocks ? r->block[i] + 1 : blocks;
    blocks = (blocks + parts - 1) / parts * parts;
    for (int b = 0; b < blocks; b++) order[b] = b;
    Rng rng = rng_stream(trial->seed, RNG_PPO, RNG_ORDER, (uint64_t)r->step, 0, 0);
    rng_shuffle(&rng, order, blocks);
    double mean = 0.0;
    for (int m = 0; m < minibatches; m++) {
        double sum = 0.0, tokens = 0.0;
        for (int b = m * blocks / minibatches; b < (m + 1) * blocks / minibatches; b++) {
            for (int i = 0; i < r->count; i++) {
                if (r->block[i] != order[b]) continue;
                for (int64_t t = first_of(r, i); t < r->offset[i + 1]; t++) sum += token_loss[t];
                tokens += r->response_length[i];
            }
        }
        mean += sum / tokens / minibatches;
    }
    return mean;
}

/* Of networks that do not move: ratio 1, values as they were. */
static bool losses_of_file(const Trial *trial, const Rollout *r, double policy_loss,
                           double value_loss)
{
    double policy[TOKENS], value[TOKENS], n = 0.0, mean = 0.0, variance = 0.0;
    for (int64_t t = 0; t < r->tokens; t++) {
        n += r->is_response[t];
        mean += r->is_response[t] ? (double)r->advantage[t] : 0.0;
    }
    mean /= n;
    for (int64_t t = 0; t < r->tokens; t++) {
        const double off = (double)r->advantage[t] - mean;
        variance += r->is_response[t] ? off * off / n : 0.0;
    }
    for (int64_t t = 0; t < r->tokens; t++) {
        const double error = (double)r->value[t] - (double)r->returns[t];
        policy[t] = -((double)r->advantage[t] - mean) / sqrt(variance);
        value[t] = 0.5 * error * error;
    }
    return near(policy_loss, minibatch_mean(trial, r, policy), 1e-5) &&
           near(value_loss, minibatch_mean(trial, r, value), 1e-5);
}

static bool losses_of_still_networks_follow_from_the_file(const Subject *subject)
{
    const Trial *trial = subject->still;
    const double *policy = trial != NULL ? column(trial, "loss/policy_avg") : NULL;
    if (policy == NULL) return true;
    const double *value = column(trial, "loss/value_avg");
    for (int k = 0; k < trial->journal.rows; k++) {
        if (!losses_of_file(trial, &trial->file[k].rollout, policy[k], value[k])) return false;
    }
    return true;
}

/* The program's own losses over the answers of file 1, with whatever the caller has put into the
 * file's columns: the mean over response tokens. */
static double program_loss(const Trial *trial, const Rollout *r, Model *model,
                           const float *advantage)
{
    const bool policy = model->shape.head == HEAD_LANGUAGE;
    const Sequences sequences = rollout_sequences(r);
    PpoLoss loss = {.rollout = r,
                    .sequences = &sequences,
                    .config = &trial->toy.config,
                    .advantage = advantage,
                    .fault = trial->toy.job.fault};
    for (int i = 0; i < r->count; i++) loss.tokens += r->response_length[i];
    double sums[TRAINER_SUMS] = {0};
    BlockPlan plan;
    Trainer trainer;
    assert_ok(rollout_plan(&plan, r));
    assert_ok(trainer_init(&trainer, model, 0, 1, 256, TOY_POSITIONS, plan.blocks));
    assert_ok(trainer_measure(sums, &trainer, &sequences, &plan,
                              policy ? ppo_policy_loss : ppo_value_loss, &loss));
    trainer_free(&trainer);
    block_plan_free(&plan);
    return sums[policy ? (int)POLICY_SUM_LOSS : (int)VALUE_SUM_LOSS] / loss.tokens;
}

static bool policy_corner(const Trial *trial, Model *policy, double ratio, float advantage,
                          double expected)
{
    float logp[TOKENS], advantages_[TOKENS];
    Rollout r = trial->file[0].rollout;
    for (int64_t t = 0; t < r.tokens; t++) {
        logp[t] = (float)((double)r.logp[t] - log(ratio));
        advantages_[t] = advantage;
    }
    r.logp = logp;
    return near(program_loss(trial, &r, policy, advantages_), expected, 1e-5);
}

/* The four corners of the clip, ratio 1.5 and 0.5, advantage +1 and -1. */
static bool clip_has_its_corners(const Subject *subject)
{
    const Trial *trial = subject->plain;
    if (trial == NULL) return true;
    Model policy = {0};
    network_before(&policy, NULL, trial, "policy", 1);
    const bool right = policy_corner(trial, &policy, 1.5, 1.0f, -1.2) &&
                       policy_corner(trial, &policy, 1.5, -1.0f, 1.5) &&
                       policy_corner(trial, &policy, 0.5, 1.0f, -0.5) &&
                       policy_corner(trial, &policy, 0.5, -1.0f, 0.8);
    model_free(&policy);
    return right;
}

/* A value 0.5 above the old one, a return 1 above: max(0.5^2, 0.8^2) / 2. */
static bool value_clip_is_around_the_old_value(const Subject *subject)
{
    const Trial *trial = subject->plain;
    if (trial == NULL) return true;
    Model critic = {0};
    float value[TOKENS], returns[TOKENS];
    Rollout r = trial->file[0].rollout;
    for (int64_t t = 0; t < r.tokens; t++) {
        value[t] = r.value[t] - 0.5f;
        returns[t] = value[t] + 1.0f;
    }
    r.value = value;
    r.returns = returns;
    network_before(&critic, NULL, trial, "critic", 1);
    const bool right = near(program_loss(trial, &r, &critic, r.advantage), 0.32, 1e-5);
    model_free(&critic);
    return right;
}

/* ---- checks of the stages before ---- */

static const char *const demonstrated[3] = {" good fine plain", " bad poor plain fine",
                                            " fine good"};
static const int32_t demonstrated_id[3][5] = {
    {1, 2, 3, TOY_WORDS, 0}, {5, 4, 3, 2, TOY_WORDS}, {2, 1, TOY_WORDS, 0, 0}};

static Status demonstration(Bytes *prompt, Bytes *response, const Task *task, TaskSplit split,
                            int64_t index)
{
    TRY(toy_prompt(prompt, task, split, index));
    return bytes_text(response, demonstrated[index % 3]);
}

static int64_t demonstrations(const Task *task, TaskSplit split)
{
    (void)task;
    (void)split;
    return DEMONSTRATIONS;
}

/* The last number of a metric that a stage logged. */
static double last_logged(const char *run, const char *stage, const char *name)
{
    char path[600];
    MetricColumns columns = {0};
    snprintf(path, sizeof path, "%s/%s/metrics.jsonl", run, stage);
    assert_ok(metric_columns_read(&columns, path));
    const double number = metric_column(&columns, name)[columns.rows - 1];
    metric_columns_free(&columns);
    return number;
}

static void sft_run_on_toy(const char *run, const Fault *fault, uint64_t seed)
{
    TaskKind kind = toy_kind();
    kind.demonstration = demonstration;
    kind.demonstration_count = demonstrations;
    const Task task = {.kind = &kind, .config = &toy_config, .seed = seed};
    SftConfig config;
    const ConfigTable table = {&sft_section, 1};
    config_defaults(&table, &config);
    config.epochs = 60;
    config.batch = DEMONSTRATIONS;
    config.shards = 2;
    config.evaluate_every = 0;
    config.optimiser.learning_rate = 2e-2;
    toy_publish_policy(run, "pretrain", 1.0);
    Stage stage = toy_stage(run, "sft", 1);
    stage.seed = seed;
    const SftJob job = {.stage = &stage,
                        .task = &task,
                        .config = &config,
                        .alter_labels = fault != NULL ? fault->labels : NULL};
    assert_ok(sft_run(&job));
    stage_close(&stage);
}

static void published_policy(Model *policy, Tokenizer **tokenizer, const char *run)
{
    char folder[600];
    snprintf(folder, sizeof folder, "%s/sft", run);
    assert_ok(network_read(policy, NULL, folder, "policy", NULL));
    assert_ok(stage_read_tokenizer(tokenizer, run, "sft"));
}

/* heldout/loss is minus the mean log-probability of the response tokens of the demonstrations. */
static bool published_policy_has_the_logged_loss(const Subject *subject)
{
    if (subject->sft == NULL) return true;
    TaskKind kind = toy_kind();
    kind.demonstration = demonstration;
    const Task task = {.kind = &kind, .config = &toy_config};
    Model policy = {0};
    Tokenizer *tokenizer;
    Sequences held_out = {0};
    float logp[DEMONSTRATIONS * TOY_POSITIONS];
    int32_t length[DEMONSTRATIONS];
    BlockPlan plan;
    published_policy(&policy, &tokenizer, subject->sft);
    assert_ok(demonstrations_read(&held_out, &task, tokenizer, TASK_HELD_OUT, 0, DEMONSTRATIONS,
                                  TOY_POSITIONS));
    for (int i = 0; i < held_out.count; i++) length[i] = (int32_t)sequences_length(&held_out, i);
    assert_ok(block_plan_cut(&plan, length, held_out.count, 1, 1));
    log_probabilities(logp, &policy, &held_out, &plan, 1.0);
    double sum = 0.0, tokens = 0.0;
    for (int i = 0; i < held_out.count; i++) {
        for (int64_t t = held_out.offset[i] + held_out.prompt[i]; t < held_out.offset[i + 1]; t++) {
            sum -= (double)logp[t];
            tokens += 1.0;
        }
    }
    block_plan_free(&plan);
    sequences_free(&held_out);
    tokenizer_free(tokenizer);
    model_free(&policy);
    return near(last_logged(subject->sft, "sft", "heldout/loss"), sum / tokens, 1e-4);
}

/* What was shown sixty times is known by heart: the likeliest answers are the demonstrations. */
static bool demonstrations_are_learned(const Subject *subject)
{
    if (subject->sft == NULL) return true;
    TaskKind kind = toy_kind();
    const Task task = {.kind = &kind, .config = &toy_config};
    Model policy = {0};
    Tokenizer *tokenizer;
    Sequences prompts = {0}, answers = {0};
    uint8_t terminated[3];
    GenerateRequest request[3];
    const int64_t index[3] = {0, 1, 2};
    const GenerateConfig config = {.temperature = 0.01,
                                   .top_p = 1.0,
                                   .response_tokens = TOY_ANSWER,
                                   .end = TOY_WORDS,
                                   .threads = 1,
                                   .stage = RNG_TEST,
                                   .purpose = RNG_SAMPLING};
    for (int i = 0; i < 3; i++) request[i] = (GenerateRequest){.prompt_id = i, .prompt = i};
    published_policy(&policy, &tokenizer, subject->sft);
    assert_ok(prompts_read(&prompts, &task, tokenizer, TASK_TRAIN, index, 3));
    assert_ok(generate(&answers, terminated, &policy, &prompts, request, 3, &config));
    bool learned = true;
    for (int i = 0; i < 3; i++) {
        const int32_t *id = answers.token + answers.offset[i] + answers.prompt[i];
        for (int64_t t = 0; learned && t < sequences_response(&answers, i); t++) {
            learned = t < 5 && id[t] == demonstrated_id[i][t];
        }
    }
    sequences_free(&answers);
    sequences_free(&prompts);
    tokenizer_free(tokenizer);
    model_free(&policy);
    return learned;
}

static void reward_run_on_toy(const char *run, const Fault *fault, uint64_t seed)
{
    const TaskKind kind = toy_kind();
    const Task task = {.kind = &kind, .config = &toy_config, .seed = seed};
    const LabelConfig labels = {.pairs = 200,
                                .held_out = 0.25,
                                .temperature = 0.25,
                                .annotators = 1,
                                .sampling_temperature = 1.0};
    RewardConfig config;
    const ConfigTable table = {&reward_section, 1};
    config_defaults(&table, &config);
    config.batch = 32;
    config.shards = 2;
    config.evaluate_every = 0;
    config.normalise_answers = 64;
    config.optimiser.learning_rate = 1e-2;
    toy_publish_policy(run, "sft", 1.0);
    Stage label = toy_stage(run, "label", 1), reward = toy_stage(run, "reward", 1);
    label.seed = reward.seed = seed;
    const LabelJob first = {.stage = &label, .task = &task, .config = &labels};
    assert_ok(label_run(&first));
    const RewardJob job = {.stage = &reward,
                           .task = &task,
                           .config = &config,
                           .sampling_temperature = 1.0,
                           .alter_answers = fault != NULL ? fault->answers : NULL};
    assert_ok(reward_run(&job));
}

/* heldout/nll is that of the published model's scores of the answers in comparisons.h5. */
static bool published_judge_has_the_logged_nll(const Subject *subject)
{
    if (subject->reward == NULL) return true;
    char path[600], folder[600];
    Preferences pairs = {0};
    Model judge = {0};
    float score[512];
    snprintf(path, sizeof path, "%s/label/comparisons.h5", subject->reward);
    snprintf(folder, sizeof folder, "%s/reward", subject->reward);
    assert_ok(preferences_read(&pairs, path, NULL, TOY_WORDS + 1));
    assert_ok(network_read(&judge, NULL, folder, "model", NULL));
    assert_true(pairs.completion.count <= 512);
    assert_ok(reward_score(score, &judge, &pairs.completion, 1));
    double nll = 0.0, count = 0.0;
    for (int i = 0; i < pairs.count; i++) {
        if (pairs.split[i] != 1) continue;
        const double gap = ((double)score[pairs.chosen[i]] - (double)score[pairs.rejected[i]]) /
                           (double)judge.reward_gain;
        nll += log1p(exp(-gap));
        count += 1.0;
    }
    model_free(&judge);
    preferences_free(&pairs);
    return near(last_logged(subject->reward, "reward", "heldout/nll"), nll / count, 1e-4);
}

/* ---- which check catches what ---- */

#define CHECKS(X)                                                                                  \
    X(invariants_hold)                                                                             \
    X(rewards_follow_their_definition)                                                             \
    X(at_first_only_ends_are_paid)                                                                 \
    X(advantages_follow_their_definition)                                                          \
    X(returns_forget_the_critic)                                                                   \
    X(k3_is_of_the_right_side)                                                                     \
    X(coefficient_follows_the_journal)                                                             \
    X(coefficient_follows_the_files)                                                               \
    X(frozen_networks_are_those_published)                                                         \
    X(sft_policy_says_reference_logp)                                                              \
    X(checkpoint_says_logp)                                                                        \
    X(surprise_is_the_entropy)                                                                     \
    X(answers_are_drawn_again)                                                                     \
    X(equal_prompts_get_different_answers)                                                         \
    X(updates_come_out_again)                                                                      \
    X(losses_of_still_networks_follow_from_the_file)                                               \
    X(clip_has_its_corners)                                                                        \
    X(value_clip_is_around_the_old_value)                                                          \
    X(published_policy_has_the_logged_loss)                                                        \
    X(demonstrations_are_learned)                                                                  \
    X(published_judge_has_the_logged_nll)

#define CHECK_ROW(name) {#name, name},
static const struct {
    const char *name;
    Check *holds;
} checks[] = {CHECKS(CHECK_ROW)};
enum { CHECK_COUNT = sizeof checks / sizeof checks[0], CAUGHT_BY_MOST = 4 };

/* At least these catch the fault, at every seed. Two of a row are independent: neither calls the
 * other's code. */
static const struct {
    const char *fault;
    Check *caught_by[CAUGHT_BY_MOST];
} expected[] = {
    {"sft-prompt-loss", {published_policy_has_the_logged_loss}},
    {"sft-label-shift", {published_policy_has_the_logged_loss, demonstrations_are_learned}},
    {"reward-wrong-token", {published_judge_has_the_logged_nll}},
    {"shared-seed", {answers_are_drawn_again, equal_prompts_get_different_answers}},
    {"temperature-forgotten", {checkpoint_says_logp, surprise_is_the_entropy}},
    {"low-precision", {invariants_hold, checkpoint_says_logp, at_first_only_ends_are_paid}},
    {"score-early", {rewards_follow_their_definition, at_first_only_ends_are_paid}},
    {"kl-sign", {invariants_hold, rewards_follow_their_definition}},
    {"gae-off-by-one", {advantages_follow_their_definition, returns_forget_the_critic}},
    {"bootstrap-truncated", {advantages_follow_their_definition, returns_forget_the_critic}},
    {"returns-whitened",
     {invariants_hold, advantages_follow_their_definition, returns_forget_the_critic}},
    {"k3-reversed", {k3_is_of_the_right_side}},
    {"eos-left-out", {updates_come_out_again, losses_of_still_networks_follow_from_the_file}},
    {"whiten-minibatch", {updates_come_out_again, losses_of_still_networks_follow_from_the_file}},
    {"clip-min", {updates_come_out_again, clip_has_its_corners}},
    {"value-clip-anchor", {updates_come_out_again, value_clip_is_around_the_old_value}},
    {"reference-drift",
     {invariants_hold, frozen_networks_are_those_published, sft_policy_says_reference_logp}},
    {"stale-kl", {coefficient_follows_the_journal, coefficient_follows_the_files}},
    {"token-kl", {coefficient_follows_the_journal, coefficient_follows_the_files}},
};

/* Every check of the program with this fault, or of the sound one; which of them fail. */
static void judge(bool failed[CHECK_COUNT], const Fault *fault, uint64_t seed)
{
    static Trial plain, still;
    char sft[64], reward[64];
    Subject subject = {0};
    if (fault == NULL || strcmp(fault->stage, "ppo") == 0) {
        trial_run(&plain, fault, seed, false);
        trial_run(&still, fault, seed, true);
        subject.plain = &plain;
        subject.still = &still;
    }
    if (fault == NULL || strcmp(fault->stage, "sft") == 0) {
        test_folder(sft);
        sft_run_on_toy(sft, fault, seed);
        subject.sft = sft;
    }
    if (fault == NULL || strcmp(fault->stage, "reward") == 0) {
        test_folder(reward);
        reward_run_on_toy(reward, fault, seed);
        subject.reward = reward;
    }
    for (int c = 0; c < CHECK_COUNT; c++) failed[c] = !checks[c].holds(&subject);
    if (subject.plain != NULL) trial_end(&plain);
    if (subject.still != NULL) trial_end(&still);
    if (subject.sft != NULL) assert_ok(io_remove_tree(sft));
    if (subject.reward != NULL) assert_ok(io_remove_tree(reward));
}

static void every_check_passes_on_the_sound_program(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= sound_seeds; seed++) {
        bool failed[CHECK_COUNT];
        judge(failed, NULL, seed);
        for (int c = 0; c < CHECK_COUNT; c++) {
            if (!failed[c]) continue;
            print_error("seed %d: %s fails\n", (int)seed, checks[c].name);
            fail();
        }
    }
}

static void assert_caught(const bool failed[CHECK_COUNT], int row, uint64_t seed)
{
    for (int k = 0; k < CAUGHT_BY_MOST && expected[row].caught_by[k] != NULL; k++) {
        for (int c = 0; c < CHECK_COUNT; c++) {
            if (checks[c].holds != expected[row].caught_by[k] || failed[c]) continue;
            print_error("seed %d: %s does not catch %s\n", (int)seed, checks[c].name,
                        expected[row].fault);
            fail();
        }
    }
}

static void every_fault_is_caught(void **state)
{
    (void)state;
    assert_int_equal(sizeof expected / sizeof expected[0], fault_count);
    assert_true(fault_count >= 16);
    int twice = 0;
    for (int i = 0; i < fault_count; i++) {
        assert_string_equal(expected[i].fault, faults[i].name);
        assert_non_null(expected[i].caught_by[0]);
        twice += expected[i].caught_by[1] != NULL;
    }
    assert_true(2 * twice >= fault_count);
    for (int i = 0; i < fault_count; i++) {
        for (uint64_t seed = 1; seed <= fault_seeds; seed++) {
            bool failed[CHECK_COUNT];
            judge(failed, &faults[i], seed);
            assert_caught(failed, i, seed);
        }
    }
}

/* ---- the lab ---- */

static void faults_are_found_by_name(void **state)
{
    (void)state;
    const Fault *fault;
    PpoConfig config = toy_ppo_config();
    assert_ok(fault_find(&fault, "", &config));
    assert_null(fault);
    assert_ok(fault_find(&fault, "score-early", &config));
    assert_string_equal(fault->name, "score-early");
    assert_fails(fault_find(&fault, "score-erly", &config), STATUS_SETTINGS,
                 "break = score-erly: no such fault; did you mean score-early");
    assert_fails(fault_find(&fault, "stale-kl", &config), STATUS_SETTINGS,
                 "changes nothing without ppo.kl_controller = adaptive");
    assert_fails(fault_find(&fault, "hidden:x", &config), STATUS_SETTINGS, "wants a number");
    assert_false(fault_is_hidden("score-early"));
}

/* Equal seeds hide equal faults; only faults of ppo that act are hidden. */
static void hidden_faults_act(void **state)
{
    (void)state;
    const PpoConfig config = toy_ppo_config(); /* temperature 1, a fixed coefficient */
    int seen = 0;
    bool found[32] = {false};
    for (int seed = 0; seed < 400; seed++) {
        char text[32];
        const Fault *fault, *again;
        snprintf(text, sizeof text, "hidden:%d", seed);
        assert_true(fault_is_hidden(text));
        assert_ok(fault_find(&fault, text, &config));
        assert_ok(fault_find(&again, text, &config));
        assert_ptr_equal(fault, again);
        assert_string_equal(fault->stage, "ppo");
        assert_true(fault->acts == NULL || fault->acts(&config));
        seen += !found[fault - faults];
        found[fault - faults] = true;
    }
    int possible = 0;
    for (int i = 0; i < fault_count; i++) {
        possible += strcmp(faults[i].stage, "ppo") == 0 &&
                    (faults[i].acts == NULL || faults[i].acts(&config));
    }
    assert_int_equal(seen, possible);
}

static void every_fault_is_described(void **state)
{
    (void)state;
    for (int i = 0; i < fault_count; i++) {
        const Fault *fault = &faults[i];
        assert_true(fault->what[0] != '\0' && fault->bit[0] != '\0' && fault->sign[0] != '\0');
        assert_int_equal(fault->needs != NULL, fault->acts != NULL);
        for (int j = 0; j < i; j++) assert_string_not_equal(fault->name, faults[j].name);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) sound_seeds = fault_seeds = (uint64_t)atoi(argv[1]);
    store_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_check_passes_on_the_sound_program),
        cmocka_unit_test(every_fault_is_caught),
        cmocka_unit_test(faults_are_found_by_name),
        cmocka_unit_test(hidden_faults_act),
        cmocka_unit_test(every_fault_is_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
