/* rlhf doctor DIR: what ppo/doctor saw, as a table, then what is wrong in plain words. */
#include "data/json.h"
#include "ppo/doctor.h"
#include "scripts/rlhf/command_list.h"
#include "scripts/rlhf/run.h"
#include "scripts/rlhf/terminal.h"

enum { WIDTH = 100, EVIDENCE_COLUMN = 37, LINES = 6 };

/* `text` from column `indent` on, the line already begun. */
static Status print_wrapped(FILE *out, const char *text, int indent)
{
    Bytes lines = {0};
    const Status status = terminal_wrap(&lines, text, indent, WIDTH - indent, LINES);
    if (status == STATUS_OK) fprintf(out, "%s\n", lines.data);
    bytes_free(&lines);
    return status;
}

static Status print_row(FILE *out, const Terminal *terminal, const Finding *finding)
{
    const bool ill = finding->mark != FINDING_FINE;
    fprintf(out, "%-9s %-17s %s%-7s%s  ", finding->stage, finding->name,
            ill ? terminal_bold(terminal) : "", finding_mark_text(finding->mark),
            ill ? terminal_plain(terminal) : "");
    return print_wrapped(out, finding->evidence, EVIDENCE_COLUMN);
}

static Status print_finding(FILE *out, const Finding *finding)
{
    Bytes text = {0};
    Status status = bytes_print(&text, "%s. Likely %s. What to set: %s.", finding->evidence,
                                finding->cause, finding->advice);
    fprintf(out, "\n%s, %s\n  ", finding->stage, finding->name);
    if (status == STATUS_OK) status = print_wrapped(out, text.data, 2);
    bytes_free(&text);
    return status;
}

static Status print_diagnosis(FILE *out, const Diagnosis *diagnosis)
{
    const Terminal terminal = terminal_of(out);
    const char *stage = diagnosis_stage(diagnosis);
    for (int i = 0; i < diagnosis->count; i++) {
        TRY(print_row(out, &terminal, &diagnosis->finding[i]));
    }
    if (stage == NULL) {
        fprintf(out, "\nnothing wrong in %d checks\n", diagnosis->count);
        return STATUS_OK;
    }
    fprintf(out, "\n%sto mend first: %s%s\n", terminal_bold(&terminal), stage,
            terminal_plain(&terminal));
    for (int i = 0; i < diagnosis->count; i++) {
        const Finding *finding = &diagnosis->finding[i];
        if (finding->mark != FINDING_FINE) TRY(print_finding(out, finding));
    }
    return STATUS_OK;
}

static void put_finding(JsonWriter *json, const Finding *finding)
{
    json_open(json, NULL, '{');
    json_put_text(json, "stage", finding->stage);
    json_put_text(json, "name", finding->name);
    json_put_text(json, "mark", finding_mark_text(finding->mark));
    if (finding->step > 0) json_put_integer(json, "step", finding->step);
    json_put_text(json, "evidence", finding->evidence);
    if (finding->cause != NULL) json_put_text(json, "cause", finding->cause);
    if (finding->advice != NULL) json_put_text(json, "advice", finding->advice);
    json_close(json);
}

static Status put_diagnosis(FILE *out, const char *run, const Diagnosis *diagnosis)
{
    Bytes text = {0};
    JsonWriter json = json_writer(&text, 2);
    const char *stage = diagnosis_stage(diagnosis);
    json_open(&json, NULL, '{');
    json_put_text(&json, "run", run);
    json_put_bool(&json, "healthy", stage == NULL);
    json_put_bool(&json, "gate_failed", diagnosis_gate_failed(diagnosis));
    if (stage != NULL) json_put_text(&json, "stage", stage);
    json_open(&json, "findings", '[');
    for (int i = 0; i < diagnosis->count; i++) put_finding(&json, &diagnosis->finding[i]);
    json_close(&json);
    json_close(&json);
    const Status status = json_done(&json);
    if (status == STATUS_OK) fputs(text.data, out);
    bytes_free(&text);
    return status;
}

Status command_doctor(Cli *cli)
{
    char run[STAGE_PATH];
    Diagnosis diagnosis;
    int index;
    const char *stage = cli_value(cli, "--stage");
    TRY(run_path(run, cli->word[0]));
    if (stage != NULL) TRY(pipeline_find(&index, stage));
    TRY(doctor_examine(&diagnosis, run, stage));
    TRY(cli_has(cli, "--json") ? put_diagnosis(cli->out, run, &diagnosis)
                               : print_diagnosis(cli->out, &diagnosis));
    if (!diagnosis_gate_failed(&diagnosis)) return STATUS_OK;
    const Finding *worst = diagnosis_worst(&diagnosis, NULL);
    return status_fail(STATUS_GATE, "%s: the gate of %s failed: %s", run, worst->stage,
                       worst->name);
}
