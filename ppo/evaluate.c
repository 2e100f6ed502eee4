#include "ppo/evaluate.h"

#include "data/memory.h"
#include "data/preference.h"
#include "data/prompts.h"
#include "policy/inputs.h"
#include "ppo/evaluation.h"
#include "ppo/ppo_metrics.h"
#include "reward/reward_model.h"
#include "reward/reward_pairs.h"

#include <gsl/gsl_statistics_double.h>
#include <math.h>
#include <stdio.h>

static const ConfigField evaluate_fields[] = {
    FIELD_INTEGER(EvaluateConfig, prompts, 512, 1, 1e6, "held-out prompts, one answer each"),
    FIELD_INTEGER(EvaluateConfig, samples, 16, 1, 1e4, "prompts shown side by side"),
    FIELD_INTEGER(EvaluateConfig, best_of_prompts, 64, 0, 1e5,
                  "prompts of the best-of-n pool; 0: no best-of-n"),
    FIELD_INTEGER(EvaluateConfig, best_of_pool, 64, 1, 4096, "answers a prompt in that pool"),
};

const ConfigSection evaluate_section = {
    .name = "evaluate",
    .fields = evaluate_fields,
    .count = sizeof evaluate_fields / sizeof evaluate_fields[0],
    .help = "every stage's policy on the same held-out prompts",
};

/* The first rows follow the measures; a row of the journal is one policy, 1 pretrain to 3 ppo. */
static const MetricInfo evaluate_metric_list[MEASURES] = {
    [MEASURE_GOLD] = {"objective/gold", "gold", "mean of gold", "held-out prompts", NAN, NAN,
                      "below sft's after ppo: the proxy was over-optimised"},
    [MEASURE_SCORE] = {"objective/scores", "standard deviations of SFT's score",
                       "mean of the reward model's normalised output", "held-out prompts", NAN, NAN,
                       "high while gold is low: the proxy was over-optimised"},
    [MEASURE_KL] = {"objective/kl", "nats a sequence",
                    "mean of sum_t (logp_t - logp_t of the SFT policy)", "held-out prompts", 0, 20,
                    "high: the policy has left the text it was taught"},
    [MEASURE_KL_EXACT] = {"objective/kl_exact", "nats a sequence",
                          "mean of sum_t KL(policy || SFT policy) of the state before token t",
                          "held-out prompts", 0, 20, "far from objective/kl: too few prompts"},
    [MEASURE_LENGTH] = {"length/mean", "tokens", "mean response length, the end included",
                        "held-out prompts", NAN, NAN,
                        "far above sft's after ppo: the reward model likes length"},
    [MEASURE_WELL_FORMED] = {"well_formed", "share", "mean share of the answer that is well formed",
                             "held-out prompts", 0.9, 1, "low: the policy has left the language"},
    [MEASURE_TERMINATED] = {"terminated", "share", "answers that ended by themselves / answers",
                            "held-out prompts", 0.5, 1, "low: answers are cut off"},
};

const MetricTable evaluate_metrics = {
    .metrics = evaluate_metric_list, .count = MEASURES, .aliases = ppo_aliases};

/* ---- what goes in ---- */

static bool published(const char *run, const char *stage)
{
    char path[STAGE_PATH];
    const int length = snprintf(path, sizeof path, "%s/%s/manifest.json", run, stage);
    return length < STAGE_PATH && io_exists(path);
}

static Status read_networks(Evaluation *e)
{
    const char *run = e->job->stage->run;
    TRY(stage_read_tokenizer(&e->tokenizer, run, "sft"));
    ModelShape expected = {.vocabulary = tokenizer_vocabulary(e->tokenizer)};
    TRY(input_network(&e->sft, run, "sft", "policy", &expected));
    expected.head = HEAD_SCORE;
    return input_network(&e->reward_model, run, "reward", "model", &expected);
}

static Status read_prompts(Evaluation *e)
{
    e->count = (int)e->job->config->prompts;
    void *block;
    TRY(memory_claim(&block, sizeof *e->prompt_id * (size_t)e->count));
    e->prompt_id = block;
    for (int i = 0; i < e->count; i++) e->prompt_id[i] = i;
    return prompts_read(&e->prompts, e->job->task, e->tokenizer, TASK_HELD_OUT, e->prompt_id,
                        e->count);
}

static double last_known(const MetricColumns *columns, const char *name)
{
    const double *value = metric_column(columns, name);
    for (int row = columns->rows - 1; value != NULL && row >= 0; row--) {
        if (!isnan(value[row])) return value[row];
    }
    return NAN;
}

/* What SFT's own journal says of its held-out loss. */
static Status read_sft_loss(Evaluation *e)
{
    char path[STAGE_PATH];
    TRY(stage_input(path, NULL, e->job->stage->run, "sft", "metrics.jsonl"));
    MetricColumns columns = {0};
    const Status status = metric_columns_read(&columns, path);
    if (status == STATUS_OK) {
        e->sft_loss = last_known(&columns, "heldout/loss");
        e->sft_floor = last_known(&columns, "heldout/floor");
    }
    metric_columns_free(&columns);
    return status;
}

/* ---- the policies ---- */

static Status record(const Evaluation *e, int which)
{
    double value[MEASURES];
    for (int m = 0; m < MEASURES; m++) {
        value[m] = gsl_stats_mean(e->policy[which].value[m], 1, (size_t)e->count);
    }
    static const char *const shown[] = {"objective/gold", "objective/scores", "objective/kl", NULL};
    return stage_record(e->job->stage, which + 1, POLICIES,
                        sequences_tokens(&e->policy[which].answers), value, shown);
}

static Status evaluate_policies(Evaluation *e)
{
    Stage *stage = e->job->stage;
    for (int which = (int)e->step; which < POLICIES; which++) {
        TRY(stage_leave(&stage->hooks));
        if (!published(stage->run, policy_stage[which])) continue;
        TRY(evaluate_policy(e, which));
        TRY(record(e, which));
        e->step = which + 1;
        if (stage_checkpoint_due(stage)) TRY(evaluation_save(e));
    }
    return STATUS_OK;
}

/* ---- the judge, on pairs drawn exactly like those it was trained on ---- */

static Status judge_pairs(Evaluation *e, const Pairs *pairs)
{
    void *block;
    TRY(memory_claim(&block, sizeof(float) * 2 * (size_t)pairs->count));
    const float *score = block;
    const Status status = reward_score_in(e->job->stage, block, &e->reward_model, &pairs->answers);
    if (status == STATUS_OK) {
        /* the gain put scores on SFT's scale; likelihood is told on the scale of the loss */
        for (int i = 0; i < pairs->count; i++) {
            pairs->gap[i] = ((double)score[2 * i] - (double)score[2 * i + 1]) /
                            (double)e->reward_model.reward_gain;
        }
        const double *gold = e->policy[POLICY_SFT].value[MEASURE_GOLD];
        calibrate(&e->judge, pairs->gap, pairs->gold_margin, pairs->count,
                  gsl_stats_sd_with_fixed_mean(gold, 1, (size_t)e->count,
                                               gsl_stats_mean(gold, 1, (size_t)e->count)));
    }
    memory_release(block);
    return status;
}

static Status judge_answers(Evaluation *e)
{
    const PolicyAnswers *sft = &e->policy[POLICY_SFT];
    const double *score = sft->value[MEASURE_SCORE], *gold = sft->value[MEASURE_GOLD];
    void *scratch;
    TRY(memory_claim(&scratch, sizeof(double) * 2 * (size_t)e->count));
    e->gold_spearman = isnan(gold[0]) ? NAN : rank_correlation(score, gold, e->count, scratch);
    e->length_correlation = linear_correlation(score, sft->value[MEASURE_LENGTH], e->count);
    memory_release(scratch);
    return STATUS_OK;
}

static Status evaluate_judge(Evaluation *e)
{
    char path[STAGE_PATH];
    Digest digest;
    TRY(stage_input(path, &digest, e->job->stage->run, "label", "comparisons.h5"));
    Preferences all = {0};
    Pairs pairs = {0};
    Status status = preferences_read(&all, path, &digest, tokenizer_vocabulary(e->tokenizer));
    if (status == STATUS_OK) {
        status = pairs_take(&pairs, &all, 1, e->reward_model.shape.positions);
    }
    if (status == STATUS_OK) status = judge_pairs(e, &pairs);
    if (status == STATUS_OK) status = judge_answers(e);
    pairs_free(&pairs);
    preferences_free(&all);
    return status;
}

/* ---- the stage ---- */

static Status read_inputs(Evaluation *e)
{
    TRY(read_networks(e));
    TRY(read_prompts(e));
    return read_sft_loss(e);
}

/* From e->step on; the judge, a pass over the held-out pairs, is asked anew in every life. */
static Status measure(Evaluation *e)
{
    TRY(evaluate_policies(e));
    TRY(evaluate_judge(e));
    return evaluate_best_of_n(e);
}

/* Leaves after the last whole policy or pool, committed. */
static Status stop(Evaluation *e)
{
    if (e->step > 0 && e->job->stage->last_step != e->step) TRY(evaluation_save(e));
    if (e->step <= POLICIES) {
        return status_fail(STATUS_STOPPED, "stopped after policy %d of %d", (int)e->step, POLICIES);
    }
    return status_fail(STATUS_STOPPED, "stopped at best of n, after prompt %d of %d", e->best.done,
                       e->best.prompts);
}

static Status evaluate_all(Evaluation *e)
{
    Stage *stage = e->job->stage;
    TRY(stage_open(stage, &evaluate_metrics));
    TRY(read_inputs(e));
    TRY(evaluate_pools_claim(e));
    TRY(evaluation_load(e));
    const Status status = measure(e);
    if (status == STATUS_STOPPED) return stop(e);
    TRY(status);
    TRY(evaluation_write_scorecard(e));
    TRY(evaluation_write_samples(e));
    static const char *const names[] = {"scorecard.json", "samples.h5"};
    return stage_finish(stage, POLICIES, names, 2, NULL, 0);
}

Status evaluate_run(const EvaluateJob *job)
{
    Evaluation evaluation = {.job = job, .sft_loss = NAN, .sft_floor = NAN};
    const Status status = evaluate_all(&evaluation);
    stage_close(job->stage);
    for (int which = 0; which < POLICIES; which++) {
        sequences_free(&evaluation.policy[which].answers);
        arena_free(&evaluation.policy[which].arena);
    }
    arena_free(&evaluation.best.arena);
    memory_release(evaluation.prompt_id);
    sequences_free(&evaluation.prompts);
    model_free(&evaluation.reward_model);
    model_free(&evaluation.sft);
    tokenizer_free(evaluation.tokenizer);
    return status;
}
