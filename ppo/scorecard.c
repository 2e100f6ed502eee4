#include "ppo/evaluation.h"

#include "data/json.h"
#include "data/memory.h"
#include "data/prompts.h"
#include "data/store/store.h"
#include "policy/inputs.h"
#include "ppo/best_of_n.h"

#include <math.h>
#include <stdio.h>

/* Keys in the scorecard, names in samples.h5. */
const char *const evaluation_measure[MEASURES] = {
    [MEASURE_GOLD] = "gold",
    [MEASURE_SCORE] = "scores",
    [MEASURE_KL] = "kl",
    [MEASURE_KL_EXACT] = "kl_exact",
    [MEASURE_LENGTH] = "length",
    [MEASURE_WELL_FORMED] = "well_formed",
    [MEASURE_TERMINATED] = "terminated",
};

/* Left out where nothing is known. */
static void put_estimate(JsonWriter *w, const char *key, Estimate estimate, bool with_std)
{
    if (isnan(estimate.mean)) return;
    json_open(w, key, '{');
    json_put_number(w, "mean", estimate.mean);
    json_put_number(w, "stderr", estimate.error);
    if (with_std) json_put_number(w, "std", estimate.std);
    json_close(w);
}

static void put_known(JsonWriter *w, const char *key, double value)
{
    if (!isnan(value)) json_put_number(w, key, value);
}

static void put_policies(JsonWriter *w, const Evaluation *e)
{
    json_open(w, "policies", '{');
    for (int which = 0; which < POLICIES; which++) {
        const PolicyAnswers *p = &e->policy[which];
        if (!p->present) continue;
        json_open(w, policy_stage[which], '{');
        for (int m = 0; m < MEASURE_TERMINATED; m++) {
            put_estimate(w, evaluation_measure[m], estimate_of(p->value[m], e->count), true);
        }
        json_put_number(w, evaluation_measure[MEASURE_TERMINATED],
                        estimate_of(p->value[MEASURE_TERMINATED], e->count).mean);
        json_close(w);
    }
    json_close(w);
}

/* By gold; by proxy where the task has none, and the key says so. */
static void put_win_rates(JsonWriter *w, const Evaluation *e)
{
    static const int versus[][2] = {
        {POLICY_PPO, POLICY_SFT}, {POLICY_PPO, POLICY_PRETRAIN}, {POLICY_SFT, POLICY_PRETRAIN}};
    const bool gold = e->job->task->kind->gold != NULL;
    const int by = gold ? MEASURE_GOLD : MEASURE_SCORE;
    json_open(w, gold ? "win_rate" : "win_rate_by_proxy", '{');
    for (size_t v = 0; v < sizeof versus / sizeof versus[0]; v++) {
        const PolicyAnswers *a = &e->policy[versus[v][0]], *b = &e->policy[versus[v][1]];
        if (!a->present || !b->present) continue;
        char key[64];
        snprintf(key, sizeof key, "%s_over_%s", policy_stage[versus[v][0]],
                 policy_stage[versus[v][1]]);
        put_estimate(w, key, win_rate(a->value[by], b->value[by], e->count), false);
    }
    json_close(w);
}

static void put_judge(JsonWriter *w, const Evaluation *e)
{
    const Calibration *c = &e->judge;
    json_open(w, "reward_model", '{');
    json_put_integer(w, "pairs", c->pairs);
    put_known(w, "accuracy", c->accuracy);
    put_known(w, "gold_accuracy", c->gold_accuracy);
    put_known(w, "ceiling", c->ceiling);
    put_known(w, "nll", c->nll);
    put_known(w, "ece", c->ece);
    put_known(w, "brier", c->brier);
    put_known(w, "gold_spearman", e->gold_spearman);
    put_known(w, "length_correlation", e->length_correlation);
    if (!isnan(c->gold_accuracy)) {
        json_open(w, "margin_accuracy", '[');
        for (int b = 0; b < MARGIN_BINS; b++) json_put_number(w, NULL, c->margin_accuracy[b]);
        json_close(w);
        json_open(w, "margin_pairs", '[');
        for (int b = 0; b < MARGIN_BINS; b++) json_put_integer(w, NULL, c->margin_pairs[b]);
        json_close(w);
    }
    json_close(w);
}

static void put_best_of_n(JsonWriter *w, const BestOfN *best)
{
    if (best->prompts == 0) return;
    json_open(w, "best_of_n", '{');
    json_put_integer(w, "prompts", best->prompts);
    json_put_integer(w, "pool", best->pool);
    json_put_number(w, "unique", best->unique);
    json_open(w, "sizes", '[');
    for (int s = 0; s < best->sizes; s++) {
        json_open(w, NULL, '{');
        json_put_integer(w, "n", best->n[s]);
        json_put_number(w, "kl_bound", best_of_n_kl(best->n[s]));
        put_estimate(w, "gold", best->gold[s], true);
        put_estimate(w, "scores", best->score[s], true);
        json_close(w);
    }
    json_close(w);
    json_close(w);
}

Status evaluation_write_scorecard(const Evaluation *e)
{
    const EvaluateJob *job = e->job;
    Bytes text = {0};
    JsonWriter w = json_writer(&text, 2);
    json_open(&w, NULL, '{');
    json_put_text(&w, "task", job->task->kind->name);
    json_put_integer(&w, "seed", (int64_t)job->stage->seed);
    json_put_integer(&w, "prompts", e->count);
    json_put_number(&w, "temperature", job->temperature);
    put_policies(&w, e);
    put_win_rates(&w, e);
    put_judge(&w, e);
    json_open(&w, "sft_heldout", '{');
    put_known(&w, "loss", e->sft_loss);
    put_known(&w, "floor", e->sft_floor);
    json_close(&w);
    put_best_of_n(&w, &e->best);
    json_close(&w);
    char path[STAGE_PATH];
    Status status = json_done(&w);
    if (status == STATUS_OK) status = stage_path(path, job->stage, "scorecard.json");
    if (status == STATUS_OK) status = io_publish(path, text.data, text.count);
    bytes_free(&text);
    return status;
}

/* ---- samples.h5 ---- */

/* /text/NAME: the first `count` prompts, or the answers to them. */
static Status put_texts(StoreImage *image, const Evaluation *e, const Sequences *sequences,
                        int count, const char *name, bool responses)
{
    Texts texts = {0};
    Bytes prompt = {0}, response = {0};
    Status status = STATUS_OK;
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        TaskAnswer answer;
        status = answer_read(&answer, &prompt, &response, sequences, i, e->tokenizer);
        if (status != STATUS_OK) break;
        status = responses ? texts_add(&texts, answer.response, answer.response_count)
                           : texts_add(&texts, answer.prompt, answer.prompt_count);
    }
    char path[STORE_NAME];
    snprintf(path, sizeof path, "/text/%s", name);
    if (status == STATUS_OK) status = store_put_texts(image, path, &texts);
    bytes_free(&response);
    bytes_free(&prompt);
    texts_free(&texts);
    return status;
}

static Status put_column(StoreImage *image, const char *group, const char *name, StoreType type,
                         size_t count, const void *data, bool packed)
{
    char path[STORE_NAME];
    snprintf(path, sizeof path, "/%s/%s", group, name);
    return store_put(image, path, type, 1, &count, data, packed);
}

static Status put_policy(StoreImage *image, const Evaluation *e, int which, int count)
{
    const PolicyAnswers *p = &e->policy[which];
    const char *group = policy_stage[which];
    const size_t n = (size_t)count;
    TRY(put_column(image, group, "offset", STORE_I64, n + 1, p->answers.offset, true));
    TRY(put_column(image, group, "id", STORE_I32, (size_t)p->answers.offset[count],
                   p->answers.token, true));
    TRY(put_column(image, group, "prompt_length", STORE_I32, n, p->answers.prompt, true));
    for (int m = 0; m < MEASURES; m++) {
        TRY(put_column(image, group, evaluation_measure[m], STORE_F64, n, p->value[m], false));
    }
    return put_texts(image, e, &p->answers, count, group, true);
}

static Status put_samples(StoreImage *image, const Evaluation *e, int count)
{
    TRY(store_put_integer(image, "/", "format_version", 1));
    TRY(store_put_number(image, "/", "temperature", e->job->temperature));
    TRY(store_put_text(image, "/", "format",
                       "rlhf samples: one answer a prompt, policy by policy"));
    TRY(store_put_text(image, "/", "stage", "evaluate"));
    TRY(put_column(image, "sample", "prompt_id", STORE_I64, (size_t)count, e->prompt_id, true));
    TRY(put_texts(image, e, &e->policy[POLICY_SFT].answers, count, "prompt", false));
    for (int which = 0; which < POLICIES; which++) {
        if (e->policy[which].present) TRY(put_policy(image, e, which, count));
    }
    return STATUS_OK;
}

Status evaluation_write_samples(const Evaluation *e)
{
    const int64_t wanted = e->job->config->samples;
    const int count = wanted < e->count ? (int)wanted : e->count;
    char path[STAGE_PATH];
    TRY(stage_path(path, e->job->stage, "samples.h5"));
    StoreImage *image;
    TRY(store_create(&image));
    const Status status = put_samples(image, e, count);
    if (status != STATUS_OK) {
        store_discard(image);
        return status;
    }
    return store_publish(image, path, NULL);
}
