/* rlhf report: reads the runs, lets every part write its section, publishes the page. */
#include "scripts/rlhf/report/report.h"

#include "data/io.h"
#include "scripts/rlhf/command_list.h"
#include "scripts/rlhf/run.h"
#include "scripts/rlhf/terminal.h"

#include <stdio.h>
#include <string.h>

static void title_of(char title[256], const Report *report)
{
    if (report->runs == 1) {
        snprintf(title, 256, "%.200s", report->run[0].name);
    } else if (report->groups == 1) {
        snprintf(title, 256, "%.200s and %d more", report->run[0].name, report->runs - 1);
    } else {
        snprintf(title, 256, "%d runs, %d settings", report->runs, report->groups);
    }
}

static void about_of(char about[256], const Report *report)
{
    const Settings *settings = &report->run[0].settings;
    snprintf(about, 256, "RLHF on the task %.100s, from pretraining to PPO. %s",
             settings->task.name,
             report->runs == 1 ? "One run." : "Several runs, grouped by settings.");
}

static Status write_page(Bytes *document, const Report *report)
{
    Page page;
    char title[256], about[256];
    page_open(&page);
    report_story(&page, report);
    report_frontier(&page, report);
    report_judge(&page, report);
    report_samples(&page, report);
    report_curves(&page, report);
    report_settings(&page, report);
    title_of(title, report);
    about_of(about, report);
    const Status status = page_finish(document, &page, title, about);
    page_free(&page);
    return status;
}

static Status publish(const Cli *cli, const Report *report)
{
    Bytes document = {0};
    char path[STAGE_PATH], size[16];
    const char *wanted = cli_value(cli, "--output");
    Status status = wanted != NULL ? run_path(path, wanted)
                                   : path_join(path, report->run[0].path, "report.html");
    if (status == STATUS_OK) status = write_page(&document, report);
    if (status == STATUS_OK) status = io_publish(path, document.data, document.count);
    if (status == STATUS_OK) {
        fprintf(cli->out, "%s: %s, opens in any browser, offline\n", path,
                bytes_text_of(size, (double)document.count));
    }
    bytes_free(&document);
    return status;
}

Status command_report(Cli *cli)
{
    Report report;
    Status status = report_read(&report, cli->word, cli->words);
    if (status == STATUS_OK) status = publish(cli, &report);
    report_free(&report);
    return status;
}
