#include "scripts/rlhf/report/samples.h"

#include "data/io.h"
#include "scripts/rlhf/rollout_of_run.h"
#include "scripts/rlhf/terminal.h"

#include <math.h>
#include <string.h>

/* One step's file while it is written. */
typedef struct Writer {
    Page *page;
    RunRollout view;
    int rows;          /* shown: the first ones, a fair sample */
    Bytes text, piece; /* as it is; of the token at hand */
} Writer;

/* ---- tokens as text ---- */

/* Bytes at the end of `text` that begin a character of UTF-8 which is not whole yet. */
static size_t unfinished(const Bytes *text)
{
    for (size_t back = 1; back <= 3 && back <= text->count; back++) {
        const unsigned char byte = (unsigned char)text->data[text->count - back];
        if ((byte & 0xc0) == 0x80) continue;
        const size_t length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
        return length > back ? back : 0;
    }
    return 0;
}

/* The texts of an answer's tokens. A character that is spread over several belongs to the last, so
 * that the texts end to end are the answer. */
static Status put_token_texts(Writer *writer, int64_t first, int64_t end)
{
    Bytes *text = &writer->text, *piece = &writer->piece;
    bytes_clear(text);
    json_open(&writer->page->data, "tokens", '[');
    for (int64_t t = first; t < end; t++) {
        TRY(run_rollout_token(text, &writer->view, t));
        const size_t left = t + 1 < end ? unfinished(text) : 0;
        const size_t whole = text->count - left;
        bytes_clear(piece);
        TRY(bytes_text(piece, ""));
        TRY(terminal_escape(piece, text->data, whole));
        json_put_bytes(&writer->page->data, NULL, piece->data, piece->count);
        if (left > 0) memmove(text->data, text->data + whole, left);
        text->count = left;
    }
    json_close(&writer->page->data);
    return STATUS_OK;
}

/* ---- the data ---- */

static void put_floats(Writer *writer, const char *key, const float *value, int64_t first,
                       int64_t end)
{
    json_open(&writer->page->data, key, '[');
    for (int64_t t = first; t < end; t++) json_put_float(&writer->page->data, NULL, value[t]);
    json_close(&writer->page->data);
}

static Status put_row(Writer *writer, int row)
{
    const Rollout *rollout = &writer->view.file.rollout;
    JsonWriter *data = &writer->page->data;
    const int64_t first = rollout->offset[row] + rollout->prompt_length[row];
    const int64_t end = rollout->offset[row + 1];
    json_open(data, NULL, '{');
    json_put_integer(data, "sample", row);
    bytes_clear(&writer->text);
    TRY(run_rollout_prompt(&writer->text, &writer->view, row));
    TRY(sample_data(writer->page, "prompt", &writer->text));
    json_put_float(data, "score", rollout->score[row]);
    if (writer->view.gap != NULL) {
        json_put_float(data, "gold", rollout->gold[row]);
        json_put_number(data, "gap", writer->view.gap[row]);
    }
    json_put_float(data, "kl", rollout->kl[row]);
    json_put_integer(data, "length", rollout->response_length[row]);
    json_put_bool(data, "ended", rollout->terminated[row] != 0);
    TRY(put_token_texts(writer, first, end));
    put_floats(writer, "logp", rollout->logp, first, end);
    put_floats(writer, "reference", rollout->reference_logp, first, end);
    put_floats(writer, "reward", rollout->reward, first, end);
    put_floats(writer, "value", rollout->value, first, end);
    put_floats(writer, "advantage", rollout->advantage, first, end);
    put_floats(writer, "return", rollout->returns, first, end);
    json_close(data);
    return STATUS_OK;
}

static Status put_step(Writer *writer)
{
    const Rollout *rollout = &writer->view.file.rollout;
    JsonWriter *data = &writer->page->data;
    json_open(data, NULL, '{');
    json_put_integer(data, "step", rollout->step);
    json_put_number(data, "kl_coef", rollout->kl_coef);
    json_put_integer(data, "count", rollout->count);
    json_open(data, "rows", '[');
    for (int row = 0; row < writer->rows; row++) TRY(put_row(writer, row));
    json_close(data);
    json_close(data);
    return STATUS_OK;
}

/* ---- without script: the newest step as a table ---- */

static Status write_row(Writer *writer, int row)
{
    Page *page = writer->page;
    const Rollout *rollout = &writer->view.file.rollout;
    page_print(page, "<tr><td class=\"count\">%d</td><td class=\"answer\">", row);
    bytes_clear(&writer->text);
    TRY(run_rollout_prompt(&writer->text, &writer->view, row));
    TRY(sample_text(page, "asked", &writer->text));
    bytes_clear(&writer->text);
    TRY(run_rollout_answer(&writer->text, &writer->view, row));
    page_print(page, " ");
    TRY(sample_text(page, "said", &writer->text));
    page_print(page, "%s</td><td class=\"count\">",
               rollout->terminated[row] ? "" : " <span class=\"worth\">no end</span>");
    page_number(page, (double)rollout->score[row]);
    if (writer->view.gap != NULL) {
        page_print(page, "</td><td class=\"count\">");
        page_number(page, (double)rollout->gold[row]);
        page_print(page, "</td><td class=\"count\">");
        page_number(page, writer->view.gap[row]);
    }
    page_print(page, "</td><td class=\"count\">");
    page_number(page, (double)rollout->kl[row]);
    page_print(page, "</td><td class=\"count\">%d</td></tr>\n", (int)rollout->response_length[row]);
    return STATUS_OK;
}

static Status write_table(Writer *writer)
{
    static const char *const keys[] = {"score", "gold", "gap", "kl", "length"};
    static const char *const names[] = {"score", "gold", "gap", "KL", "tokens"};
    Page *page = writer->page;
    const Rollout *rollout = &writer->view.file.rollout;
    page_print(page,
               "<div class=\"rollout-controls\" hidden></div>\n<table class=\"rollouts\">\n"
               "<caption>Step %lld: %d of %d answers. KL in nats a sequence%s.</caption>\n"
               "<thead><tr><th scope=\"col\" class=\"count\" data-key=\"sample\">row</th>"
               "<th scope=\"col\" class=\"answer\">prompt and answer</th>",
               (long long)rollout->step, writer->rows, rollout->count,
               writer->view.gap != NULL ? "; gap: z(score) - z(gold) over all answers of the step"
                                        : "");
    for (int k = 0; k < 5; k++) {
        if (writer->view.gap == NULL && (k == 1 || k == 2)) continue;
        page_print(page, "<th scope=\"col\" class=\"count\" data-key=\"%s\">%s</th>", keys[k],
                   names[k]);
    }
    page_print(page, "</tr></thead>\n<tbody>\n");
    for (int row = 0; row < writer->rows; row++) TRY(write_row(writer, row));
    page_print(page, "</tbody>\n</table>\n");
    return STATUS_OK;
}

/* ---- which steps and rows ---- */

/* The first rows whose answers have up to budget->tokens together; always one. */
static int rows_within(const Rollout *rollout, const SampleBudget *budget)
{
    int64_t tokens = 0;
    int rows = 0;
    while (rows < rollout->count && rows < budget->rows) {
        tokens += rollout->response_length[rows];
        if (rows > 0 && tokens > budget->tokens) break;
        rows++;
    }
    return rows;
}

static Status show_step(Page *page, const char *run, int64_t step, bool newest,
                        const SampleBudget *budget)
{
    Writer writer = {.page = page};
    TRY(run_rollout_open(&writer.view, run, step));
    writer.rows = rows_within(&writer.view.file.rollout, budget);
    Status status = put_step(&writer);
    if (status == STATUS_OK && newest) status = write_table(&writer);
    run_rollout_close(&writer.view);
    bytes_free(&writer.text);
    bytes_free(&writer.piece);
    return status;
}

Status report_rollouts(Page *page, const ReportRun *run, const SampleBudget *budget)
{
    char folder[STAGE_PATH];
    StepList steps = {0};
    TRY(path_join(folder, run->path, "ppo/rollouts"));
    if (!io_exists(folder) || run->journal[report_stage("ppo")].rows == 0) {
        page_print(page, "<p>No rollouts yet.</p>\n");
        return STATUS_OK;
    }
    Status status = rollout_steps(&steps, run->path);
    const int shown = steps.count < budget->steps ? steps.count : budget->steps;
    page_print(page, "<div class=\"rollout-block\">\n<h3>Rollouts, token by token</h3>\n");
    json_open(&page->data, "rollouts", '[');
    for (int i = 0; i < shown && status == STATUS_OK; i++) {
        const int64_t step = steps.step[sample_choice(i, shown, steps.count)];
        status = show_step(page, run->path, step, i == shown - 1, budget);
    }
    json_close(&page->data);
    page_print(page, "</div>\n");
    memory_release(steps.step);
    return status;
}
