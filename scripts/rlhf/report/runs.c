#include "scripts/rlhf/report/report.h"

#include "data/io.h"
#include "scripts/rlhf/run.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

int report_stage(const char *name)
{
    int index;
    const Status status = pipeline_find(&index, name);
    assert(status == STATUS_OK);
    (void)status;
    return index;
}

const double *report_column(const ReportRun *run, const char *stage, const char *metric)
{
    return metric_column(&run->journal[report_stage(stage)], metric);
}

void report_setting(char text[CONFIG_TEXT], const Settings *settings, const ConfigSection *section,
                    const ConfigField *field)
{
    const void *place = (const char *)settings + section->offset + field->offset;
    switch (field->type) {
    case CONFIG_INTEGER:
        snprintf(text, CONFIG_TEXT, "%lld", (long long)*(const int64_t *)place);
        break;
    case CONFIG_REAL: {
        char number[32];
        json_number_text(number, *(const double *)place);
        snprintf(text, CONFIG_TEXT, "%s", number);
        break;
    }
    case CONFIG_FLAG:
        snprintf(text, CONFIG_TEXT, "%s", *(const bool *)place ? "true" : "false");
        break;
    case CONFIG_CHOICE:
    case CONFIG_STRING:
        snprintf(text, CONFIG_TEXT, "%s", (const char *)place);
        break;
    }
}

/* ---- reading ---- */

static Status read_journals(ReportRun *run)
{
    for (int s = 0; s < STAGES; s++) {
        char folder[STAGE_PATH], path[STAGE_PATH];
        TRY(path_join(folder, run->path, pipeline_stages[s].name));
        TRY(path_join(path, folder, "metrics.jsonl"));
        if (io_exists(path)) TRY(metric_columns_read(&run->journal[s], path));
    }
    return STATUS_OK;
}

static Status read_run(ReportRun *run, const char *path)
{
    char card[STAGE_PATH];
    TRY(run_path(run->path, path));
    TRY(settings_of_run(&run->settings, run->path));
    TRY(read_journals(run));
    TRY(path_join(card, run->path, "evaluate/scorecard.json"));
    run->scored = io_exists(card);
    return run->scored ? scorecard_read(&run->card, run->path) : STATUS_OK;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

static void name_runs(Report *report)
{
    for (int i = 0; i < report->runs; i++) {
        ReportRun *run = &report->run[i];
        run->name = last_part(run->path);
        for (int j = 0; j < report->runs; j++) {
            if (j != i && strcmp(run->name, last_part(report->run[j].path)) == 0) {
                run->name = run->path;
                break;
            }
        }
    }
}

/* ---- grouping ---- */

static bool is_seed(const ConfigSection *section, const ConfigField *field)
{
    return section->name[0] == '\0' && strcmp(field->name, "seed") == 0;
}

static bool is_equal(const Settings *a, const Settings *b, const ConfigSection *section,
                     const ConfigField *field)
{
    char first[CONFIG_TEXT], second[CONFIG_TEXT];
    report_setting(first, a, section, field);
    report_setting(second, b, section, field);
    return strcmp(first, second) == 0;
}

static bool are_seeds_of_one(const Settings *a, const Settings *b)
{
    const ConfigTable table = settings_table();
    for (size_t s = 0; s < table.count; s++) {
        const ConfigSection *section = &table.sections[s];
        for (size_t f = 0; f < section->count; f++) {
            const ConfigField *field = &section->fields[f];
            if (!is_seed(section, field) && !is_equal(a, b, section, field)) return false;
        }
    }
    return true;
}

/* Do the groups differ in it? */
static bool sets_apart(const Report *report, const ConfigSection *section, const ConfigField *field)
{
    const Settings *first = &report->run[report->group[0].first].settings;
    for (int g = 1; g < report->groups; g++) {
        const Settings *other = &report->run[report->group[g].first].settings;
        if (!is_equal(first, other, section, field)) return true;
    }
    return false;
}

/* "kl_coef=0.05, epochs=2", cut with an ellipsis where it does not fit. */
static void label_group(ReportGroup *group, const Report *report)
{
    const ConfigTable table = settings_table();
    const Settings *settings = &report->run[group->first].settings;
    size_t length = 0;
    for (size_t s = 0; s < table.count; s++) {
        const ConfigSection *section = &table.sections[s];
        for (size_t f = 0; f < section->count; f++) {
            const ConfigField *field = &section->fields[f];
            char value[CONFIG_TEXT], part[2 * CONFIG_TEXT];
            if (is_seed(section, field) || !sets_apart(report, section, field)) continue;
            report_setting(value, settings, section, field);
            const int need = snprintf(part, sizeof part, "%s%s=%s", length > 0 ? ", " : "",
                                      field->name, value[0] != '\0' ? value : "none");
            if (length + (size_t)need + sizeof ", ..." > sizeof group->label) {
                snprintf(group->label + length, sizeof group->label - length, "%s",
                         length > 0 ? ", ..." : "...");
                return;
            }
            memcpy(group->label + length, part, (size_t)need + 1);
            length += (size_t)need;
        }
    }
}

static void group_runs(Report *report)
{
    for (int i = 0; i < report->runs; i++) {
        ReportRun *run = &report->run[i];
        int g = 0;
        while (g < report->groups &&
               !are_seeds_of_one(&run->settings, &report->run[report->group[g].first].settings)) {
            g++;
        }
        if (g == report->groups) report->group[report->groups++] = (ReportGroup){.first = i};
        report->group[g].runs++;
        run->group = g;
    }
    if (report->groups == 1) {
        ReportGroup *only = &report->group[0];
        if (only->runs == 1) {
            snprintf(only->label, sizeof only->label, "%.127s", report->run[0].name);
        } else {
            snprintf(only->label, sizeof only->label, "%d seeds", only->runs);
        }
        return;
    }
    for (int g = 0; g < report->groups; g++) label_group(&report->group[g], report);
}

Status report_read(Report *report, const char *const *path, int count)
{
    *report = (Report){0};
    void *block;
    TRY(memory_claim(&block, (size_t)count * sizeof *report->run));
    report->run = block;
    TRY(memory_claim(&block, (size_t)count * sizeof *report->group));
    report->group = block;
    for (int i = 0; i < count; i++) {
        report->runs++;
        TRY(read_run(&report->run[i], path[i]));
    }
    name_runs(report);
    group_runs(report);
    return STATUS_OK;
}

void report_free(Report *report)
{
    for (int i = 0; i < report->runs; i++) {
        for (int s = 0; s < STAGES; s++) metric_columns_free(&report->run[i].journal[s]);
    }
    memory_release(report->run);
    memory_release(report->group);
    *report = (Report){0};
}
