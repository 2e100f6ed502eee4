/* What the event file of the stage has beside the metrics: distributions and sample texts. */
#include "data/prompts.h"
#include "ppo/ppo_run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SAMPLE_CELLS = 4 };

/* logp - reference_logp, or the advantage, of response tokens end to end; returns how many. */
static size_t gather_tokens(float *compact, const Rollout *rollout, bool ratio)
{
    size_t n = 0;
    for (int64_t t = 0; t < rollout->tokens; t++) {
        if (!rollout->is_response[t]) continue;
        compact[n++] =
            ratio ? rollout->logp[t] - rollout->reference_logp[t] : rollout->advantage[t];
    }
    return n;
}

Status ppo_events_rollout(PpoRun *run)
{
    const Rollout *rollout = &run->rollout;
    EventLog *events = &run->job->stage->events;
    const size_t count = (size_t)rollout->count;
    size_t n = gather_tokens(run->compact, rollout, true);
    TRY(events_histogram(events, "rollout/log_ratio", run->compact, n));
    n = gather_tokens(run->compact, rollout, false);
    TRY(events_histogram(events, "rollout/advantage", run->compact, n));
    TRY(events_histogram(events, "rollout/score", rollout->score, count));
    for (size_t i = 0; i < count; i++) run->compact[i] = (float)rollout->response_length[i];
    return events_histogram(events, "rollout/response_length", run->compact, count);
}

static Status add_number(Texts *cells, float number)
{
    char text[32] = "";
    if (isfinite(number)) snprintf(text, sizeof text, "%.3f", (double)number);
    return texts_add(cells, text, strlen(text));
}

static Status add_row(Texts *cells, const PpoRun *run, int index, Bytes *prompt, Bytes *response)
{
    const PpoSamples *samples = &run->samples;
    TaskAnswer answer;
    bytes_clear(prompt);
    bytes_clear(response);
    TRY(answer_read(&answer, prompt, response, &samples->answers, index, run->tokenizer));
    TRY(texts_add(cells, answer.prompt, answer.prompt_count));
    TRY(texts_add(cells, answer.response, answer.response_count));
    TRY(add_number(cells, samples->score[index]));
    return add_number(cells, samples->gold[index]);
}

Status ppo_events_samples(const PpoRun *run, int64_t step)
{
    static const char *const heading[SAMPLE_CELLS] = {"prompt", "answer", "score", "gold"};
    EventLog *events = &run->job->stage->events;
    if (!events->open) return STATUS_OK;
    Texts cells = {0};
    Bytes prompt = {0}, response = {0};
    Status status = STATUS_OK;
    for (int i = 0; i < SAMPLE_CELLS && status == STATUS_OK; i++) {
        status = texts_add(&cells, heading[i], strlen(heading[i]));
    }
    for (int i = run->samples.count - PPO_SAMPLE_PROMPTS; i < run->samples.count; i++) {
        if (status == STATUS_OK) status = add_row(&cells, run, i, &prompt, &response);
    }
    if (status == STATUS_OK) {
        status = events_table(events, "samples/text_summary", &cells, SAMPLE_CELLS);
    }
    texts_free(&cells);
    bytes_free(&prompt);
    bytes_free(&response);
    return status == STATUS_OK ? events_write(events, step) : status;
}
