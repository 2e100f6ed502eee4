/* Settings, lives and files: what anybody needs to get the same bytes again, and what to be wary
 * of. */
#include "data/io.h"
#include "data/manifest.h"
#include "scripts/rlhf/report/report.h"
#include "scripts/rlhf/terminal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LIVES_BYTES = 1 << 22, KERNEL_TEXT = 64 };

/* ---- settings ---- */

static const Settings *settings_of(const Report *report, int group)
{
    return &report->run[report->group[group].first].settings;
}

/* A setting of which group 0 may have the default, the others the same or not. */
static void print_setting(Page *page, const Report *report, const ConfigSection *section,
                          const ConfigField *field, const Settings *defaults)
{
    char first[CONFIG_TEXT], value[CONFIG_TEXT], usual[CONFIG_TEXT];
    const bool is_seed = section->name[0] == '\0' && strcmp(field->name, "seed") == 0;
    bool differs = false;
    report_setting(first, settings_of(report, 0), section, field);
    report_setting(usual, defaults, section, field);
    for (int g = 1; g < report->groups && !is_seed; g++) {
        report_setting(value, settings_of(report, g), section, field);
        differs = differs || strcmp(value, first) != 0;
    }
    page_print(page, "<tr%s><th><code>%s%s%s</code></th>", differs ? " class=\"differs\"" : "",
               section->name, section->name[0] != '\0' ? "." : "", field->name);
    if (is_seed) {
        page_print(page, "<td colspan=\"%d\">", report->groups);
        for (int r = 0; r < report->runs; r++) {
            page_print(page, "%s%lld", r > 0 ? ", " : "", (long long)report->run[r].settings.seed);
        }
        page_print(page, "</td>");
    } else {
        for (int g = 0; g < report->groups; g++) {
            report_setting(value, settings_of(report, g), section, field);
            page_print(page, "<td%s>", strcmp(value, usual) != 0 ? " class=\"chosen\"" : "");
            page_string(page, value);
            page_print(page, "</td>");
        }
    }
    page_print(page, "<td class=\"help\">");
    page_string(page, field->help);
    page_print(page, "</td></tr>\n");
}

/* Is a setting that is seldom written down written in any group? */
static bool is_given(const Report *report, const ConfigSection *section, const ConfigField *field)
{
    char value[CONFIG_TEXT];
    for (int g = 0; g < report->groups; g++) {
        report_setting(value, settings_of(report, g), section, field);
        if (value[0] != '\0') return true;
    }
    return false;
}

static void print_settings(Page *page, const Report *report)
{
    static Settings defaults; /* large */
    const ConfigTable table = settings_table();
    config_defaults(&table, &defaults);
    page_print(page, "<h3>Settings</h3>\n<p class=\"about\">Strong: not the default.%s</p>\n",
               report->groups > 1 ? " Coloured rows: the groups differ." : "");
    page_print(page, "<div class=\"wide\"><table class=\"settings\">\n<thead><tr><th>setting</th>");
    for (int g = 0; g < report->groups; g++) {
        page_print(page, "<th>");
        page_string(page, report->groups > 1 ? report->group[g].label : "value");
        page_print(page, "</th>");
    }
    page_print(page, "<th>what it is</th></tr></thead>\n<tbody>\n");
    for (size_t s = 0; s < table.count; s++) {
        for (size_t f = 0; f < table.sections[s].count; f++) {
            const ConfigField *field = &table.sections[s].fields[f];
            if (field->quiet && !is_given(report, &table.sections[s], field)) continue;
            print_setting(page, report, &table.sections[s], field, &defaults);
        }
    }
    page_print(page, "</tbody></table></div>\n");
}

/* ---- lives ---- */

static const char *const life_keys[] = {"started", "host",        "cpus", "threads", "rlhf",
                                        "blas",    "blas_kernel", "hdf5", "gsl"};
enum { LIFE_KEYS = sizeof life_keys / sizeof life_keys[0] };

static void print_value(Page *page, Json value)
{
    const char *text;
    double number;
    if (value.item != NULL && json_kind(value) == JSON_TEXT &&
        json_text(&text, value) == STATUS_OK) {
        page_string(page, text);
    } else if (value.item != NULL && json_kind(value) == JSON_NUMBER &&
               json_number(&number, value) == STATUS_OK) {
        page_number(page, number);
    } else {
        page_print(page, "–");
    }
}

/* Takes the kernel of a life; true where it is another than the one before. */
static bool is_other_kernel(char kernel[KERNEL_TEXT], Json life)
{
    const char *text;
    const Json value = json_find(life, "blas_kernel");
    if (value.item == NULL || json_kind(value) != JSON_TEXT ||
        json_text(&text, value) != STATUS_OK) {
        return false;
    }
    const bool other = kernel[0] != '\0' && strncmp(kernel, text, KERNEL_TEXT - 1) != 0;
    snprintf(kernel, KERNEL_TEXT, "%s", text);
    return other;
}

static void print_lives_of(Page *page, const ReportRun *run, char kernel[KERNEL_TEXT],
                           bool *kernels)
{
    char path[STAGE_PATH];
    JsonDocument *document;
    if (path_join(path, run->path, "run.json") != STATUS_OK ||
        json_read(&document, STATUS_DATA, path, LIVES_BYTES, NULL) != STATUS_OK) {
        page_print(page, "<tr><th>");
        page_string(page, run->name);
        page_print(page, "</th><td colspan=\"%d\" class=\"none\">", LIFE_KEYS);
        page_string(page, status_message());
        page_print(page, "</td></tr>\n");
        return;
    }
    const Json root = json_root(document);
    const Json lives = json_kind(root) == JSON_OBJECT ? json_find(root, "lives") : (Json){0};
    for (Json life = lives.item != NULL ? json_first(lives) : (Json){0}; life.item != NULL;
         life = json_next(life)) {
        if (json_kind(life) != JSON_OBJECT) continue;
        *kernels = is_other_kernel(kernel, life) || *kernels;
        page_print(page, "<tr><th>");
        page_string(page, run->name);
        page_print(page, "</th>");
        for (int k = 0; k < LIFE_KEYS; k++) {
            page_print(page, "<td>");
            print_value(page, json_find(life, life_keys[k]));
            page_print(page, "</td>");
        }
        page_print(page, "</tr>\n");
    }
    json_free(document);
}

static void print_lives(Page *page, const Report *report)
{
    char kernel[KERNEL_TEXT] = "";
    bool kernels = false;
    page_print(page, "<h3>Lives</h3>\n<p class=\"about\">One row for each time the run was started "
                     "or gone on with. Nothing here changes a result but the BLAS kernel.</p>\n"
                     "<div class=\"wide\"><table>\n<thead><tr><th>run</th>");
    for (int k = 0; k < LIFE_KEYS; k++) page_print(page, "<th>%s</th>", life_keys[k]);
    page_print(page, "</tr></thead>\n<tbody>\n");
    for (int r = 0; r < report->runs; r++) {
        print_lives_of(page, &report->run[r], kernel, &kernels);
    }
    page_print(page, "</tbody></table></div>\n");
    if (kernels) {
        page_print(page, "<p class=\"warning\">Not all of this was computed with the same BLAS "
                         "kernel: equal settings and seed do not give equal bits here.</p>\n");
    }
}

/* ---- files ---- */

/* What a manifest says of a file, and whether the file is like that by its size. */
static void print_file(Page *page, const char *stage, const char *folder, const ManifestFile *file)
{
    char path[STAGE_PATH], size[16], hash[DIGEST_TEXT];
    uint64_t bytes = 0;
    const bool there = path_join(path, folder, file->name) == STATUS_OK && io_exists(path) &&
                       io_size(&bytes, path) == STATUS_OK;
    digest_text(hash, file->digest);
    page_print(page, "<tr><td>%s/", stage);
    page_string(page, file->name);
    page_print(page, "</td><td class=\"count\"><span class=\"number\" title=\"%llu\">%s</span>",
               (unsigned long long)file->size, bytes_text_of(size, (double)file->size));
    page_print(page, "</td><td class=\"hash\">%s</td><td>%s</td></tr>\n", hash,
               !there                ? "missing"
               : bytes != file->size ? "changed since"
                                     : "");
}

static void print_files_of(Page *page, const ReportRun *run)
{
    page_print(page, "<details><summary>");
    page_string(page, run->name);
    page_print(page,
               "</summary>\n<div class=\"wide\"><table>\n<thead><tr><th>file</th>"
               "<th class=\"count\">size</th><th>XXH3-128</th><th></th></tr></thead><tbody>\n");
    for (int s = 0; s < STAGES; s++) {
        Manifest manifest;
        char folder[STAGE_PATH], path[STAGE_PATH];
        const char *stage = pipeline_stages[s].name;
        if (path_join(folder, run->path, stage) != STATUS_OK ||
            path_join(path, folder, "manifest.json") != STATUS_OK || !io_exists(path)) {
            continue;
        }
        if (manifest_read(&manifest, folder) != STATUS_OK) {
            page_print(page, "<tr><td colspan=\"4\">");
            page_string(page, status_message());
            page_print(page, "</td></tr>\n");
            continue;
        }
        for (int f = 0; f < manifest.count; f++) {
            print_file(page, stage, folder, &manifest.file[f]);
        }
    }
    page_print(page, "</tbody></table></div>\n</details>\n");
}

/* ---- warnings ---- */

/* Checkpoints of a stage that were found damaged and moved aside. */
static int damaged_of(const ReportRun *run, const char *stage)
{
    char folder[STAGE_PATH];
    Texts names = {0};
    Status status = path_join(folder, run->path, stage);
    if (status == STATUS_OK) status = checkpoint_damaged(&names, folder);
    const int damaged = status == STATUS_OK ? names.count : 0;
    texts_free(&names);
    return damaged;
}

static void print_warnings(Page *page, const Report *report)
{
    for (int r = 0; r < report->runs; r++) {
        const ReportRun *run = &report->run[r];
        if (run->settings.fault[0] != '\0') {
            page_print(page, "<p class=\"warning\">");
            page_string(page, run->name);
            page_print(page, " was broken on purpose: ");
            page_string(page, run->settings.fault);
            page_print(page, "</p>\n");
        }
        for (int s = 0; s < STAGES; s++) {
            const int damaged = damaged_of(run, pipeline_stages[s].name);
            if (damaged == 0) continue;
            page_print(page, "<p class=\"warning\">");
            page_string(page, run->name);
            page_print(page,
                       ": %d checkpoint%s of %s found damaged and moved aside; the run went "
                       "on from an older one</p>\n",
                       damaged, damaged == 1 ? " was" : "s were", pipeline_stages[s].name);
        }
    }
}

void report_settings(Page *page, const Report *report)
{
    page_section(page, "settings", "Settings and provenance",
                 "Equal settings, seed and BLAS kernel give equal bytes.");
    print_warnings(page, report);
    print_settings(page, report);
    print_lives(page, report);
    page_print(page, "<h3>Files</h3>\n<p class=\"about\">As the manifests name them; rlhf verify "
                     "checks every byte.</p>\n");
    for (int r = 0; r < report->runs; r++) print_files_of(page, &report->run[r]);
}
