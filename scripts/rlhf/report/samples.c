#include "scripts/rlhf/report/samples.h"

#include "scripts/rlhf/terminal.h"

enum { RUNS_SHOWN = 4, TEXT_SHOWN = 4096 };

int sample_choice(int i, int chosen, int count)
{
    return chosen > 1 ? (int)((int64_t)i * (count - 1) / (chosen - 1)) : count - 1;
}

/* Text with visible escapes; what lies beyond TEXT_SHOWN bytes is counted. */
static Status escape(Bytes *safe, const Bytes *text)
{
    const size_t shown = text->count < TEXT_SHOWN ? text->count : TEXT_SHOWN;
    TRY(bytes_text(safe, ""));
    TRY(terminal_escape(safe, text->data, shown));
    if (shown == text->count) return STATUS_OK;
    return bytes_print(safe, " [%zu more bytes]", text->count - shown);
}

Status sample_text(Page *page, const char *kind, const Bytes *text)
{
    Bytes safe = {0};
    const Status status = escape(&safe, text);
    if (status == STATUS_OK) {
        page_print(page, "<span class=\"%s\" dir=\"auto\">", kind);
        page_text(page, safe.data, safe.count);
        page_print(page, "</span>");
    }
    bytes_free(&safe);
    return status;
}

Status sample_data(Page *page, const char *key, const Bytes *text)
{
    Bytes safe = {0};
    const Status status = escape(&safe, text);
    if (status == STATUS_OK) json_put_bytes(&page->data, key, safe.data, safe.count);
    bytes_free(&safe);
    return status;
}

static Status show_run(Page *page, const ReportRun *run, int index, int shown)
{
    const bool single = shown == 1;
    const SampleBudget budget = {single ? 6 : 3, single ? 64 : 32, single ? 3000 : 1200};
    if (single) {
        page_print(page, "<div class=\"run-samples\">\n");
    } else {
        page_print(page, "<details class=\"run-samples\"%s>\n<summary>", index == 0 ? " open" : "");
        page_string(page, run->name);
        page_print(page, "</summary>\n");
    }
    json_open(&page->data, NULL, '{');
    Status status = report_fixed_prompts(page, run, &budget);
    if (status == STATUS_OK) status = report_rollouts(page, run, &budget);
    json_close(&page->data);
    page_print(page, single ? "</div>\n" : "</details>\n");
    return status;
}

void report_samples(Page *page, const Report *report)
{
    const int shown = report->groups < RUNS_SHOWN ? report->groups : RUNS_SHOWN;
    page_section(
        page, "samples", "What it writes",
        "Numbers say that something changed; the text says what. Characters that a browser "
        "would act on are shown as escapes.");
    if (report->runs > shown) {
        page_print(page, "<p>Of %d runs, %s shown: the first of %s.</p>\n", report->runs,
                   shown == 1 ? "one is" : "some are",
                   report->groups > shown ? "the first settings" : "each of the settings");
    }
    json_open(&page->data, "samples", '[');
    for (int g = 0; g < shown && page->status == STATUS_OK; g++) {
        page->status = show_run(page, &report->run[report->group[g].first], g, shown);
    }
    json_close(&page->data);
}
