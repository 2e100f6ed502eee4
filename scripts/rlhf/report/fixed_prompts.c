#include "scripts/rlhf/report/samples.h"

#include "data/io.h"
#include "data/prompts.h"
#include "ppo/sample_file.h"

#include <math.h>

enum { STEPS_SHOWN = 60 };

/* The file, and how it is shown. */
typedef struct FixedPrompts {
    SampleFile file;
    Tokenizer *tokenizer;
    int prompts, steps; /* steps * prompts samples in all */
    int shown;          /* steps that are shown */
    Bytes prompt, response;
} FixedPrompts;

/* Samples come step by step, the same prompts in each. */
static Status find_shape(FixedPrompts *fixed, const char *path, const SampleBudget *budget)
{
    const SampleFile *file = &fixed->file;
    while (fixed->prompts < file->count && file->step[fixed->prompts] == file->step[0]) {
        fixed->prompts++;
    }
    for (int i = 0; i < file->count; i++) {
        const int column = i % fixed->prompts;
        if (file->step[i] != file->step[i - column] ||
            file->prompt_id[i] != file->prompt_id[column] || file->count % fixed->prompts != 0) {
            return status_fail(STATUS_DATA, "%s: steps do not have the same prompts", path);
        }
    }
    if (fixed->prompts == 0) return STATUS_OK;
    fixed->steps = file->count / fixed->prompts;
    const int64_t each = sequences_tokens(&file->answers) / fixed->steps + 1;
    const int64_t most = budget->tokens * 8 / each;
    fixed->shown = fixed->steps < STEPS_SHOWN ? fixed->steps : STEPS_SHOWN;
    if (fixed->shown > most) fixed->shown = most > 2 ? (int)most : 2;
    return STATUS_OK;
}

/* Sample of prompt `column` at the shown step `i`. */
static int sample_at(const FixedPrompts *fixed, int i, int column)
{
    return sample_choice(i, fixed->shown, fixed->steps) * fixed->prompts + column;
}

static Status decode(FixedPrompts *fixed, int sample)
{
    TaskAnswer answer;
    bytes_clear(&fixed->prompt);
    bytes_clear(&fixed->response);
    return answer_read(&answer, &fixed->prompt, &fixed->response, &fixed->file.answers, sample,
                       fixed->tokenizer);
}

static Status write_cell(Page *page, FixedPrompts *fixed, int sample)
{
    const SampleFile *file = &fixed->file;
    TRY(decode(fixed, sample));
    page_print(page, "<td>");
    TRY(sample_text(page, "said", &fixed->response));
    page_print(page, "<span class=\"worth\">score ");
    page_number(page, (double)file->score[sample]);
    if (isfinite(file->gold[sample])) {
        page_print(page, ", gold ");
        page_number(page, (double)file->gold[sample]);
    }
    page_print(page, "%s</span></td>", file->terminated[sample] ? "" : ", no end");
    return STATUS_OK;
}

static Status write_table(Page *page, FixedPrompts *fixed)
{
    const int last = fixed->shown - 1;
    const long long step = (long long)fixed->file.step[sample_at(fixed, last, 0)];
    page_print(page,
               "<h3>The same prompts through time</h3>\n<div class=\"fixed-controls\" "
               "hidden></div>\n<table class=\"fixed-prompts\">\n<thead><tr><th scope=\"col\">"
               "prompt</th><th scope=\"col\">before PPO</th><th scope=\"col\" class=\"now\">"
               "after step %lld</th></tr></thead>\n<tbody>\n",
               step);
    for (int p = 0; p < fixed->prompts; p++) {
        TRY(decode(fixed, sample_at(fixed, 0, p)));
        page_print(page, "<tr><th scope=\"row\">");
        TRY(sample_text(page, "asked", &fixed->prompt));
        page_print(page, "</th>");
        TRY(write_cell(page, fixed, sample_at(fixed, 0, p)));
        TRY(write_cell(page, fixed, sample_at(fixed, last, p)));
        page_print(page, "</tr>\n");
    }
    page_print(page, "</tbody>\n</table>\n");
    return STATUS_OK;
}

/* {"steps": [...], "answers": [[{text, score, gold, ended} a prompt] a step]} */
static Status write_data(Page *page, FixedPrompts *fixed)
{
    JsonWriter *data = &page->data;
    const SampleFile *file = &fixed->file;
    json_open(data, "fixed", '{');
    json_open(data, "steps", '[');
    for (int i = 0; i < fixed->shown; i++) {
        json_put_integer(data, NULL, file->step[sample_at(fixed, i, 0)]);
    }
    json_close(data);
    json_open(data, "answers", '[');
    for (int i = 0; i < fixed->shown; i++) {
        json_open(data, NULL, '[');
        for (int p = 0; p < fixed->prompts; p++) {
            const int sample = sample_at(fixed, i, p);
            TRY(decode(fixed, sample));
            json_open(data, NULL, '{');
            TRY(sample_data(page, "text", &fixed->response));
            json_put_float(data, "score", file->score[sample]);
            json_put_float(data, "gold", file->gold[sample]);
            json_put_bool(data, "ended", file->terminated[sample] != 0);
            json_close(data);
        }
        json_close(data);
    }
    json_close(data);
    json_close(data);
    return STATUS_OK;
}

Status report_fixed_prompts(Page *page, const ReportRun *run, const SampleBudget *budget)
{
    char path[STAGE_PATH];
    FixedPrompts fixed = {0};
    TRY(path_join(path, run->path, "ppo/samples.h5"));
    if (!io_exists(path)) {
        page_print(page, "<p>No samples of the fixed prompts yet.</p>\n");
        return STATUS_OK;
    }
    Status status = stage_read_tokenizer(&fixed.tokenizer, run->path, "sft");
    if (status == STATUS_OK) {
        status =
            sample_file_of_run(&fixed.file, run->path, tokenizer_vocabulary(fixed.tokenizer));
    }
    if (status == STATUS_OK) status = find_shape(&fixed, path, budget);
    if (status == STATUS_OK && fixed.steps > 0) {
        status = write_table(page, &fixed);
        if (status == STATUS_OK) status = write_data(page, &fixed);
    }
    sample_file_free(&fixed.file);
    tokenizer_free(fixed.tokenizer);
    bytes_free(&fixed.prompt);
    bytes_free(&fixed.response);
    return status;
}
