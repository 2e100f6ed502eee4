#include "reward/reward_model.h"

#include "data/memory.h"
#include "data/prompts.h"
#include "data/rng.h"
#include "policy/inputs.h"
#include "policy/network_file.h"
#include "reward/calibration_file.h"
#include "reward/reward_pairs.h"
#include "reward/reward_scale.h"

#include <inttypes.h>
#include <math.h>

static const ConfigField reward_fields[] = {
    FIELD_INTEGER(RewardConfig, epochs, 2, 1, 1000, "passes over the training pairs"),
    FIELD_INTEGER(RewardConfig, batch, 64, 1, 1e6, "pairs a step"),
    FIELD_INTEGER(RewardConfig, shards, 8, 1, 1024,
                  "parts that a step's gradient is summed in; part of the result"),
    FIELD_INTEGER(RewardConfig, evaluate_every, 50, 0, 1e9,
                  "steps between looks at the held-out pairs; 0: only at the end"),
    FIELD_FLAG(RewardConfig, causal, 1, "false: the network reads the answer in both directions"),
    FIELD_INTEGER(RewardConfig, normalise_answers, 512, 2, 1e6,
                  "fresh answers of the fine-tuned policy that get mean 0 and deviation 1"),
    {.name = "margin",
     .type = CONFIG_REAL,
     .offset = offsetof(RewardConfig, loss.margin),
     .maximum = 100,
     .help = "by how much the preferred answer must win"},
    {.name = "centring",
     .type = CONFIG_REAL,
     .offset = offsetof(RewardConfig, loss.centring),
     .maximum = 100,
     .help = "weight of (chosen + rejected)^2, which holds scores around 0"},
    {.name = "label_smoothing",
     .type = CONFIG_REAL,
     .offset = offsetof(RewardConfig, loss.label_smoothing),
     .maximum = 0.5,
     .help = "share of labels taken to be wrong"},
    OPTIMISER_SHAPED_FIELDS(RewardConfig, optimiser, "", "linear", 1e-3, 0, 0.1, 0.999, 1e-8, 0.01),
};

const ConfigSection reward_section = {
    .name = "reward",
    .fields = reward_fields,
    .count = sizeof reward_fields / sizeof reward_fields[0],
    .help = "a reward model from the labelled pairs",
};

enum {
    LOSS,
    ACCURACY,
    MIN_REWARD,
    MEAN_REWARD,
    MAX_REWARD,
    MARGIN,
    CHOSEN,
    REJECTED,
    RATE,
    GRAD_NORM,
    HELDOUT_ACCURACY,
    HELDOUT_NLL,
    EPOCH,
    SKIPPED,
    METRICS
};

static const MetricInfo reward_metric_list[METRICS] = {
    [LOSS] = {"loss", "nats a pair", "-log sigmoid(chosen - rejected - margin) and its extras",
              "pairs of the step", 0, 0.6931, "above log 2: worse than a coin"},
    [ACCURACY] = {"accuracy", "share", "pairs with chosen > rejected, ties half / pairs",
                  "pairs of the step", 0.5, 1, "near 0.5: nothing learned yet"},
    [MIN_REWARD] = {"min_reward", "1", "smallest score of the bare head", "answers of the step",
                    NAN, NAN, "far below the others: one kind of answer rules the loss"},
    [MEAN_REWARD] = {"mean_reward", "1", "mean score of the bare head", "answers of the step", NAN,
                     NAN, "far from 0: it drifts, which normalising undoes"},
    [MAX_REWARD] = {"max_reward", "1", "largest score of the bare head", "answers of the step", NAN,
                    NAN, "far above the others: one kind of answer rules the loss"},
    [MARGIN] = {"margin", "1", "mean of chosen - rejected", "pairs of the step", 0, NAN,
                "growing without end while held-out accuracy stands: overfitting"},
    [CHOSEN] = {"chosen_reward", "1", "mean score of preferred answers", "pairs of the step", NAN,
                NAN, "moving with rejected_reward: drift, not learning"},
    [REJECTED] = {"rejected_reward", "1", "mean score of the other answers", "pairs of the step",
                  NAN, NAN, "moving with chosen_reward: drift, not learning"},
    [RATE] = {"learning_rate", "1", "learning rate of the step", "the step", NAN, NAN,
              "held too high: loss jumps and heldout/nll rises"},
    [GRAD_NORM] = {"grad_norm", "1", "global norm of the gradient before clipping", "the step", 0,
                   100, "high: the learning rate is too large"},
    [HELDOUT_ACCURACY] = {"heldout/accuracy", "share", "accuracy, on pairs it never trains on",
                          "held-out pairs", 0.5, 1, "falling while accuracy rises: overfitting"},
    [HELDOUT_NLL] = {"heldout/nll", "nats a pair", "mean of -log sigmoid(chosen - rejected)",
                     "held-out pairs", 0, 0.6931, "rising: overconfident; fewer epochs"},
    [EPOCH] = {"epoch", "epochs", "pairs seen / training pairs", "the run", NAN, NAN,
               "above 1 or 2: reward models overfit soon"},
    [SKIPPED] = SKIPPED_METRIC_ROW("skipped_updates"),
};

static const MetricAlias reward_aliases[] = {
    {"loss", "TRL loss; OpenRLHF loss and loss_mean; open-instruct train/rm/loss"},
    {"accuracy", "TRL accuracy; OpenRLHF acc and acc_mean; open-instruct train/rm/accuracy"},
    {"min_reward", "TRL min_reward"},
    {"mean_reward", "TRL mean_reward"},
    {"max_reward", "TRL max_reward"},
    {"margin", "TRL margin; open-instruct train/rm/reward_margin"},
    {"chosen_reward", "OpenRLHF chosen_reward; open-instruct train/rm/chosen_rewards"},
    {"rejected_reward", "OpenRLHF reject_reward; open-instruct train/rm/rejected_rewards"},
    {"learning_rate", "TRL learning_rate; OpenRLHF lr; open-instruct train/rm/lr"},
    {"grad_norm", "TRL grad_norm; OpenRLHF grad_norm"},
    {NULL, NULL},
};

const MetricTable reward_metrics = {
    .metrics = reward_metric_list, .count = METRICS, .aliases = reward_aliases};

typedef struct Training {
    const RewardJob *job;
    Tokenizer *tokenizer;
    Pairs train, held_out;
    int64_t next_prompt; /* the first that no pair was drawn for */
    int64_t steps;
    Minibatches batches; /* of `train` */
    BlockPlan held_out_plan;
    int *block; /* 0, 1, 2, ...: all blocks of a minibatch */
    Model model;
    Trainer trainer;
} Training;

static void alter_answers(Pairs *pairs, const RewardJob *job)
{
    job->alter_answers(&pairs->answers);
    for (int i = 0; i < pairs->answers.count; i++) {
        pairs->length[i] = (int32_t)sequences_length(&pairs->answers, i);
    }
}

static Status read_pairs(Training *t, int positions)
{
    char path[STAGE_PATH];
    Digest digest;
    TRY(stage_input(path, &digest, t->job->stage->run, "label", "comparisons.h5"));
    Preferences all = {0};
    Status status = preferences_read(&all, path, &digest, tokenizer_vocabulary(t->tokenizer));
    if (status == STATUS_OK) status = pairs_take(&t->train, &all, 0, positions);
    if (status == STATUS_OK) status = pairs_take(&t->held_out, &all, 1, positions);
    for (int i = 0; i < all.count; i++) {
        if (all.prompt_id[i] >= t->next_prompt) t->next_prompt = all.prompt_id[i] + 1;
    }
    preferences_free(&all);
    if (status == STATUS_OK && t->job->alter_answers != NULL) {
        alter_answers(&t->train, t->job);
        alter_answers(&t->held_out, t->job);
    }
    if (status == STATUS_OK && t->train.count == 0) {
        status = status_fail(STATUS_DATA, "%s: no pairs to train on", path);
    }
    return status;
}

static Status plan_blocks(Training *t)
{
    const RewardConfig *config = t->job->config;
    TRY(minibatches_cut(&t->batches, &t->train, config->epochs, config->batch, (int)config->shards,
                        t->job->stage->seed));
    t->steps = t->batches.steps;
    if (t->held_out.count == 0) return STATUS_OK;
    return block_plan_cut(&t->held_out_plan, t->held_out.length, 2 * t->held_out.count, 2, 1);
}

/* ---- the network ---- */

static Status start_model(Training *t, const Model *policy)
{
    ModelShape shape = policy->shape;
    shape.head = HEAD_SCORE;
    TRY(model_init(&t->model, shape));
    model_copy(&t->model, policy);
    model_randomise(&t->model, t->job->stage->seed, RNG_REWARD, true);
    t->model.shape.causal = t->job->config->causal;
    t->model.reward_gain = 1.0F;
    t->model.reward_bias = 0.0F;
    return STATUS_OK;
}

static int larger(int a, int b)
{
    return a > b ? a : b;
}

static Status start_trainer(Training *t)
{
    const BlockPlan *held_out = &t->held_out_plan;
    int rows = held_out->rows, longest = held_out->longest, blocks = held_out->blocks;
    for (int64_t step = 0; step < t->steps; step++) {
        rows = larger(rows, t->batches.plan[step].rows);
        longest = larger(longest, t->batches.plan[step].longest);
        blocks = larger(blocks, t->batches.plan[step].blocks);
    }
    void *block;
    TRY(memory_claim(&block, sizeof *t->block * (size_t)blocks));
    t->block = block;
    for (int i = 0; i < blocks; i++) t->block[i] = i;
    return trainer_init(&t->trainer, &t->model, (int)t->job->config->shards, t->job->stage->threads,
                        rows, longest, blocks);
}

/* From the last checkpoint, or from the SFT policy. */
static Status start_network(Training *t, const Model *policy)
{
    const Stage *stage = t->job->stage;
    if (!stage->resumed) {
        TRY(start_model(t, policy));
        return start_trainer(t);
    }
    AdamW moments = {0};
    ModelShape expected = policy->shape;
    expected.head = HEAD_SCORE;
    expected.causal = t->job->config->causal;
    Status status = network_read(&t->model, &moments, stage->checkpoint, "model",
                                 &stage->checkpoint_manifest, &expected);
    if (status == STATUS_OK) status = start_trainer(t);
    if (status == STATUS_OK) {
        adamw_free(&t->trainer.adamw);
        t->trainer.adamw = moments;
        status =
            guard_read(&t->trainer.guard, stage->checkpoint, "model", &stage->checkpoint_manifest);
    } else {
        adamw_free(&moments);
    }
    return status;
}

static Status commit(void *context, int64_t step)
{
    Training *t = context;
    Stage *stage = t->job->stage;
    char folder[STAGE_PATH], names[NETWORK_FILES_MAX + 1][128];
    const char *list[NETWORK_FILES_MAX + 1];
    int count = 0;
    TRY(stage_checkpoint_begin(stage, folder, step));
    TRY(network_write(names, &count, folder, "model", &t->model, &t->trainer.adamw,
                      tokenizer_end(t->tokenizer)));
    TRY(guard_write(names, &count, folder, "model", &t->trainer.guard));
    for (int i = 0; i < count; i++) list[i] = names[i];
    return stage_checkpoint(stage, folder, step, list, count, NULL, 0);
}

/* ---- steps ---- */

/* Gaps of the held-out pairs, by the weights as they are. */
static Status measure_held_out(Training *t)
{
    Pairs *p = &t->held_out;
    if (p->count == 0) return STATUS_OK;
    double sums[TRAINER_SUMS] = {0};
    PreferenceLoss loss = {.config = &t->job->config->loss, .pairs = p->count, .score = p->score};
    TRY(status_context(
        trainer_measure(sums, &t->trainer, &p->answers, &t->held_out_plan, preference_loss, &loss),
        "held out"));
    for (int i = 0; i < p->count; i++) p->gap[i] = p->score[2 * i] - p->score[2 * i + 1];
    return STATUS_OK;
}

/* What the scores of a minibatch say; the plan names its sequences, pairs adjacent. */
static void describe(double value[METRICS], const Training *t, const BlockPlan *plan, int pairs)
{
    double chosen = 0.0, rejected = 0.0, right = 0.0, low = INFINITY, high = -INFINITY;
    for (int i = 0; i < 2 * pairs; i += 2) {
        const double c = t->train.score[plan->member[i]], r = t->train.score[plan->member[i + 1]];
        chosen += c;
        rejected += r;
        right += c > r ? 1.0 : c < r ? 0.0 : 0.5;
        low = fmin(low, fmin(c, r));
        high = fmax(high, fmax(c, r));
    }
    value[ACCURACY] = right / pairs;
    value[MIN_REWARD] = low;
    value[MEAN_REWARD] = (chosen + rejected) / (2.0 * pairs);
    value[MAX_REWARD] = high;
    value[MARGIN] = (chosen - rejected) / pairs;
    value[CHOSEN] = chosen / pairs;
    value[REJECTED] = rejected / pairs;
}

static Status look_at_held_out(double value[METRICS], Training *t, int64_t done)
{
    const int64_t every = t->job->config->evaluate_every;
    value[HELDOUT_ACCURACY] = value[HELDOUT_NLL] = NAN;
    if (done < t->steps && (every == 0 || done % every != 0)) return STATUS_OK;
    TRY(measure_held_out(t));
    Calibration held_out;
    calibrate(&held_out, t->held_out.gap, t->held_out.gold_margin, t->held_out.count, NAN);
    value[HELDOUT_ACCURACY] = held_out.accuracy;
    value[HELDOUT_NLL] = held_out.nll;
    return STATUS_OK;
}

static Status one_step(Training *t, int64_t step)
{
    const RewardConfig *config = t->job->config;
    const BlockPlan *plan = &t->batches.plan[step];
    const int pairs = minibatch_pairs(&t->batches, step);
    PreferenceLoss loss = {.config = &config->loss, .pairs = pairs, .score = t->train.score};
    double value[METRICS], sums[TRAINER_SUMS] = {0};
    for (int i = 0; i < METRICS; i++) value[i] = NAN;
    value[RATE] = schedule_rate(&config->optimiser, step, t->steps);
    t->trainer.units = pairs;
    TRY(trainer_step(sums, &value[GRAD_NORM], &t->trainer, &t->train.answers, plan, t->block,
                     plan->blocks, preference_loss, &loss, &config->optimiser, value[RATE]));
    value[SKIPPED] = guard_metric(&t->trainer.guard);
    value[LOSS] = sums[0] / pairs;
    if (!not_finite(value[LOSS])) describe(value, t, plan, pairs);
    TRY(look_at_held_out(value, t, step + 1));
    const int64_t place = step % t->batches.steps_an_epoch;
    value[EPOCH] = (double)(step / t->batches.steps_an_epoch) +
                   (double)(place * config->batch + pairs) / t->train.count;

    int64_t tokens = 0;
    for (int i = 0; i < 2 * pairs; i++) tokens += t->train.length[plan->member[i]];
    static const char *const shown[] = {"loss", "accuracy", "heldout/nll", NULL};
    return stage_record(t->job->stage, step + 1, t->steps, tokens, value, shown);
}

static Status all_steps(Training *t)
{
    Stage *stage = t->job->stage;
    for (int64_t step = stage->step; step < t->steps; step++) {
        Status status = one_step(t, step);
        status = t->trainer.refused ? guard_keep(stage, step, commit, t)
                                    : guard_explain(stage, status, NULL);
        TRY(status_context(status, "step %" PRId64, step + 1));
        const int64_t done = step + 1;
        const bool stop = done < t->steps && stage_should_stop(stage);
        if (stop || stage_checkpoint_due(stage)) TRY(commit(t, done));
        if (stop) {
            return status_fail(STATUS_STOPPED, "stopped after step %" PRId64 " of %" PRId64, done,
                               t->steps);
        }
    }
    return STATUS_OK;
}

/* ---- the stage ---- */

/* Scores in units of those of fresh answers. Where it is left, the last step stays. */
static Status normalise(Training *t, RewardScale *scale)
{
    const Stage *stage = t->job->stage;
    const Status status = reward_normalise(scale, &t->model, t->job, t->tokenizer, t->next_prompt);
    if (status != STATUS_STOPPED) return status;
    if (stage->last_step != t->steps) TRY(commit(t, t->steps));
    return status_fail(STATUS_STOPPED, "stopped after step %" PRId64 " of %" PRId64 ", unscaled",
                       t->steps, t->steps);
}

static Status publish(Training *t)
{
    Stage *stage = t->job->stage;
    RewardScale scale;
    Calibration calibration;
    TRY(measure_held_out(t));
    TRY(normalise(t, &scale));
    calibrate(&calibration, t->held_out.gap, t->held_out.gold_margin, t->held_out.count,
              scale.gold_std);
    TRY(calibration_write(stage, &calibration, &scale, &t->model));

    char names[NETWORK_FILES_MAX][128];
    const char *list[NETWORK_FILES_MAX + 2];
    int count = 0;
    TRY(network_write(names, &count, stage->folder, "model", &t->model, NULL,
                      tokenizer_end(t->tokenizer)));
    for (int i = 0; i < count; i++) list[i] = names[i];
    list[count++] = "calibration.json";
    list[count++] = "tokenizer.json";
    TRY(input_copy_tokenizer(stage, "sft"));
    return stage_finish(stage, t->steps, list, count, NULL, 0);
}

static Status train(Training *t, Model *policy)
{
    TRY(stage_open(t->job->stage, &reward_metrics));
    TRY(stage_read_tokenizer(&t->tokenizer, t->job->stage->run, "sft"));
    const ModelShape expected = {.vocabulary = tokenizer_vocabulary(t->tokenizer)};
    TRY(input_network(policy, t->job->stage->run, "sft", "policy", &expected));
    TRY(read_pairs(t, policy->shape.positions));
    TRY(plan_blocks(t));
    TRY(start_network(t, policy));
    model_free(policy);
    TRY(all_steps(t));
    return guard_explain(t->job->stage, publish(t), NULL);
}

Status reward_run(const RewardJob *job)
{
    Training training = {.job = job};
    Model policy = {0};
    const Status status = train(&training, &policy);
    stage_close(job->stage);
    trainer_free(&training.trainer);
    model_free(&training.model);
    model_free(&policy);
    memory_release(training.block);
    block_plan_free(&training.held_out_plan);
    minibatches_free(&training.batches);
    pairs_free(&training.held_out);
    pairs_free(&training.train);
    tokenizer_free(training.tokenizer);
    return status;
}
