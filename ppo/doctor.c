#include "ppo/doctor.h"

#include "data/io.h"
#include "data/json.h"
#include "ppo/doctor_checks.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { CONFIG_BYTES = 1 << 20 };

/* In the order of a run. A finding belongs to the stage to mend, not always to the one whose files
 * gave it away. */
static const char *const order[] = {"pretrain", "sft", "label", "reward", "ppo"};
enum { STAGES_SEEN = sizeof order / sizeof order[0] };

static int place_of(const char *stage)
{
    int place = 0;
    while (place < STAGES_SEEN && strcmp(order[place], stage) != 0) place++;
    return place;
}

void doctor_note(Diagnosis *diagnosis, const Check *check, bool ill, int64_t step,
                 const char *format, ...)
{
    if (diagnosis->count == DIAGNOSIS_MAX) return;
    Finding *finding = &diagnosis->finding[diagnosis->count++];
    *finding = (Finding){.mark = ill ? check->mark : FINDING_FINE,
                         .stage = check->stage,
                         .name = check->name,
                         .step = ill ? step : 0,
                         .cause = ill ? check->cause : NULL,
                         .advice = ill ? check->advice : NULL};
    va_list values;
    va_start(values, format);
    vsnprintf(finding->evidence, sizeof finding->evidence, format, values);
    va_end(values);
}

Status doctor_journal(MetricColumns *columns, const Examination *examination, const char *stage)
{
    char folder[PATH_TEXT], path[PATH_TEXT];
    TRY(path_join(folder, examination->run, stage));
    TRY(path_join(path, folder, "metrics.jsonl"));
    return metric_columns_read(columns, path);
}

double doctor_last(const MetricColumns *columns, const char *name)
{
    const double *value = metric_column(columns, name);
    for (int i = columns->rows - 1; value != NULL && i >= 0; i--) {
        if (!isnan(value[i])) return value[i];
    }
    return NAN;
}

double doctor_first(const MetricColumns *columns, const char *name)
{
    const double *value = metric_column(columns, name);
    for (int i = 0; value != NULL && i < columns->rows; i++) {
        if (!isnan(value[i])) return value[i];
    }
    return NAN;
}

/* ---- config.json ---- */

static Status read_settings(DoctorSettings *settings, Json root)
{
    Json ppo;
    TRY(json_get(&ppo, root, "ppo"));
    return json_get_number(&settings->critic_warmup, ppo, "critic_warmup");
}

static Status open_settings(Examination *examination)
{
    char path[PATH_TEXT];
    JsonDocument *document;
    TRY(path_join(path, examination->run, "config.json"));
    TRY(json_read(&document, STATUS_DATA, path, CONFIG_BYTES, NULL));
    const Status status = read_settings(&examination->settings, json_root(document));
    json_free(document);
    return status;
}

/* ---- the examination ---- */

/* A stage that is finished; PPO as soon as it has a step. */
static Status is_there(bool *there, const char *run, int stage)
{
    char folder[PATH_TEXT], path[PATH_TEXT];
    const bool ppo = stage == STAGES_SEEN - 1;
    TRY(path_join(folder, run, order[stage]));
    TRY(path_join(path, folder, ppo ? "metrics.jsonl" : "manifest.json"));
    *there = io_exists(path);
    return STATUS_OK;
}

/* Findings about an earlier stage made in a later one go to where they belong. */
static void sort_by_stage(Diagnosis *diagnosis)
{
    for (int i = 1; i < diagnosis->count; i++) {
        const Finding moved = diagnosis->finding[i];
        int j = i;
        for (; j > 0 && place_of(diagnosis->finding[j - 1].stage) > place_of(moved.stage); j--) {
            diagnosis->finding[j] = diagnosis->finding[j - 1];
        }
        diagnosis->finding[j] = moved;
    }
}

Status doctor_examine(Diagnosis *diagnosis, const char *run, const char *stage)
{
    static Status (*const look[STAGES_SEEN])(Examination *) = {
        doctor_pretrain, doctor_sft, doctor_label, doctor_reward, doctor_ppo};
    *diagnosis = (Diagnosis){0};
    Examination examination = {.diagnosis = diagnosis, .run = run, .labelled = NAN};
    TRY(open_settings(&examination));
    for (int i = 0; i < STAGES_SEEN; i++) {
        bool there;
        if (stage != NULL && strcmp(stage, order[i]) != 0) continue;
        TRY(is_there(&there, run, i));
        if (there) TRY(look[i](&examination));
    }
    sort_by_stage(diagnosis);
    return STATUS_OK;
}

/* ---- what comes of it ---- */

static bool is_worse(const Finding *a, const Finding *than)
{
    if (than == NULL || a->mark != than->mark) return than == NULL || a->mark > than->mark;
    const int place = place_of(a->stage), other = place_of(than->stage);
    return place < other || (place == other && a->step < than->step);
}

const Finding *diagnosis_worst(const Diagnosis *diagnosis, const char *stage)
{
    const Finding *worst = NULL;
    for (int i = 0; i < diagnosis->count; i++) {
        const Finding *finding = &diagnosis->finding[i];
        if (finding->mark == FINDING_FINE) continue;
        if (stage != NULL && strcmp(stage, finding->stage) != 0) continue;
        if (is_worse(finding, worst)) worst = finding;
    }
    return worst;
}

const char *diagnosis_stage(const Diagnosis *diagnosis)
{
    const char *first = NULL;
    for (int i = 0; i < diagnosis->count; i++) {
        const Finding *finding = &diagnosis->finding[i];
        if (finding->mark == FINDING_FINE) continue;
        if (first == NULL || place_of(finding->stage) < place_of(first)) first = finding->stage;
    }
    return first;
}

bool diagnosis_gate_failed(const Diagnosis *diagnosis)
{
    const Finding *worst = diagnosis_worst(diagnosis, NULL);
    return worst != NULL && worst->mark == FINDING_FAILED;
}

void diagnosis_verdict(char text[VERDICT_TEXT], const Diagnosis *diagnosis)
{
    const Finding *worst = diagnosis_worst(diagnosis, NULL);
    if (worst == NULL) {
        snprintf(text, VERDICT_TEXT, "fine: %d check%s", diagnosis->count,
                 diagnosis->count == 1 ? "" : "s");
    } else {
        snprintf(text, VERDICT_TEXT, "%s: %s, %s: %s", finding_mark_text(worst->mark), worst->stage,
                 worst->name, worst->evidence);
    }
}

const char *finding_mark_text(FindingMark mark)
{
    static const char *const text[] = {"fine", "alarm", "failed"};
    return text[mark];
}
