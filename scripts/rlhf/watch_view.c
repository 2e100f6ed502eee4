/* What `watch` reads, again and again, of files that are being written. */
#include "data/io.h"
#include "data/prompts.h"
#include "ppo/sample_file.h"
#include "scripts/rlhf/terminal.h"
#include "scripts/rlhf/watch.h"

#include <math.h>

enum { LAST_DRAWN = 4 }; /* ppo: evaluation has no curves */

static int stage_at_work(const RunStatus *run)
{
    int at = WATCH_NONE;
    for (int i = 0; i < STAGES; i++) {
        if (run->stage[i].state == STAGE_BEGUN) return i;
        if (run->stage[i].state == STAGE_FINISHED) at = i;
    }
    return at;
}

static Status read_journal(WatchView *view)
{
    metric_columns_free(&view->journal);
    memory_release(view->step);
    view->step = NULL;
    view->drawn = view->at < LAST_DRAWN ? view->at : LAST_DRAWN;
    while (view->drawn > 0 && view->run.stage[view->drawn].times.steps < 2) view->drawn--;
    if (view->drawn == WATCH_NONE) return STATUS_OK;

    char folder[STAGE_PATH], path[STAGE_PATH];
    TRY(path_join(folder, view->pipeline->run, pipeline_stages[view->drawn].name));
    TRY(path_join(path, folder, "metrics.jsonl"));
    if (!io_exists(path)) return STATUS_OK;
    TRY(metric_columns_read(&view->journal, path));
    void *steps;
    TRY(memory_claim(&steps, (size_t)view->journal.rows * sizeof(double)));
    view->step = steps;
    for (int i = 0; i < view->journal.rows; i++) view->step[i] = (double)view->journal.step[i];
    return STATUS_OK;
}

/* Adds a text of a model without what would move the cursor, leading spaces left out. */
static Status add_safe(Texts *texts, Bytes *safe, const char *text, size_t count, const char *tail)
{
    while (count > 0 && *text == ' ') {
        text++;
        count--;
    }
    bytes_clear(safe);
    TRY(terminal_escape(safe, text, count));
    TRY(bytes_text(safe, tail));
    return texts_add(texts, safe->data, safe->count);
}

static Status add_sample(WatchView *view, const SampleFile *file, int index, Bytes *prompt,
                         Bytes *response, Bytes *safe)
{
    TaskAnswer answer;
    char tail[64];
    bytes_clear(prompt);
    bytes_clear(response);
    TRY(answer_read(&answer, prompt, response, &file->answers, index, view->tokenizer));
    snprintf(tail, sizeof tail,
             isfinite(file->gold[index]) ? "  [score %.2f, gold %.2f]" : "  [score %.2f]",
             (double)file->score[index], (double)file->gold[index]);
    TRY(add_safe(&view->prompts, safe, answer.prompt, answer.prompt_count, tail));
    return add_safe(&view->answers, safe, answer.response, answer.response_count,
                    file->terminated[index] ? "" : " [no end]");
}

/* The answers of the newest step. */
static Status take_samples(WatchView *view, const SampleFile *file)
{
    Bytes prompt = {0}, response = {0}, safe = {0};
    Status status = STATUS_OK;
    texts_free(&view->prompts);
    texts_free(&view->answers);
    view->sample_step = file->step[file->count - 1];
    for (int i = 0; i < file->count && status == STATUS_OK; i++) {
        if (file->step[i] != view->sample_step) continue;
        status = add_sample(view, file, i, &prompt, &response, &safe);
    }
    bytes_free(&prompt);
    bytes_free(&response);
    bytes_free(&safe);
    return status;
}

static Status read_samples(WatchView *view)
{
    char path[STAGE_PATH];
    uint64_t size;
    TRY(path_join(path, view->pipeline->run, "ppo/samples.h5"));
    if (!io_exists(path)) {
        view->sample_step = WATCH_NONE;
        view->samples_size = 0;
        return STATUS_OK;
    }
    TRY(io_size(&size, path));
    if (size == view->samples_size) return STATUS_OK; /* it grows with every step drawn */
    if (view->tokenizer == NULL) {
        TRY(stage_read_tokenizer(&view->tokenizer, view->pipeline->run, "sft"));
    }
    SampleFile file;
    TRY(sample_file_of_run(&file, view->pipeline->run, tokenizer_vocabulary(view->tokenizer)));
    const Status status = file.count > 0 ? take_samples(view, &file) : STATUS_OK;
    sample_file_free(&file);
    if (status == STATUS_OK) view->samples_size = size;
    return status;
}

Status watch_read(WatchView *view)
{
    run_status_free(&view->run);
    TRY(run_status_read(&view->run, view->pipeline));
    view->at = stage_at_work(&view->run);
    TRY(read_journal(view));
    return read_samples(view);
}

void watch_free(WatchView *view)
{
    run_status_free(&view->run);
    metric_columns_free(&view->journal);
    memory_release(view->step);
    texts_free(&view->prompts);
    texts_free(&view->answers);
    tokenizer_free(view->tokenizer);
    *view = (WatchView){.pipeline = view->pipeline};
}
