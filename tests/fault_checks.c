#include "tests/fault_checks.h"

#include "data/prompts.h"
#include "policy/generate.h"

enum { TOKENS = MOST * TOY_POSITIONS };

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

void trial_run(Trial *trial, const Fault *fault, uint64_t seed, bool still)
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
                        .sources = "{}",
                        .fault = fault,
                        .keep_every = still ? 100 : 1};
    trial->status = ppo_run(&toy->job);
    look_at(trial);
}

void trial_end(Trial *trial)
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

bool near(double a, double b, double tolerance)
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
        assert_ok(network_read(model, moments, folder, name, &manifest, NULL));
        return;
    }
    const bool policy = strcmp(name, "policy") == 0;
    snprintf(stage, sizeof stage, "%s/%s", trial->toy.run, policy ? "sft" : "reward");
    if (policy) {
        assert_ok(network_read(model, NULL, stage, "policy", NULL, NULL));
        return;
    }
    Model judge = {0};
    assert_ok(network_read(&judge, NULL, stage, "model", NULL, NULL));
    ModelShape shape = judge.shape;
    shape.head = HEAD_VALUE;
    assert_ok(model_init(model, shape));
    model_value_from_score(model, &judge);
    model_free(&judge);
}

/* Log-probabilities of sequences by a model. */
void log_probabilities(float *logp, const Model *model, const Sequences *sequences,
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

bool invariants_hold(const Subject *subject)
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

bool rewards_follow_their_definition(const Subject *subject)
{
    return all_files(subject->plain, rewards_of_file);
}

/* Before the first update there is no divergence to pay for. */
bool at_first_only_ends_are_paid(const Subject *subject)
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

bool advantages_follow_their_definition(const Subject *subject)
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
bool returns_forget_the_critic(const Subject *subject)
{
    return all_files(subject->still, returns_of_file);
}

bool k3_is_of_the_right_side(const Subject *subject)
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

bool coefficient_follows_the_journal(const Subject *subject)
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

bool coefficient_follows_the_files(const Subject *subject)
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
    assert_ok(network_read(&policy, NULL, folder, "policy", NULL, NULL));
    snprintf(folder, sizeof folder, "%s/reward", trial->toy.run);
    assert_ok(network_read(&judge, NULL, folder, "model", NULL, NULL));
    const bool same = digest_equal(model_digest(&policy), r->reference) &&
                      digest_equal(model_digest(&judge), r->reward_model);
    model_free(&policy);
    model_free(&judge);
    return same;
}

bool frozen_networks_are_those_published(const Subject *subject)
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

bool sft_policy_says_reference_logp(const Subject *subject)
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

bool checkpoint_says_logp(const Subject *subject)
{
    return all_files(subject->plain, policy_of_file);
}

/* E[-log p] is the entropy, if the tokens come from p: their sums lie within five errors. */
bool surprise_is_the_entropy(const Subject *subject)
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

bool answers_are_drawn_again(const Subject *subject)
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

bool equal_prompts_get_different_answers(const Subject *subject)
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

bool updates_come_out_again(const Subject *subject)
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

bool losses_of_still_networks_follow_from_the_file(const Subject *subject)
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
bool clip_has_its_corners(const Subject *subject)
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
bool value_clip_is_around_the_old_value(const Subject *subject)
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
