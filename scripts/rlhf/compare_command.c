/* rlhf compare A B...: what each later run has otherwise than the first: settings, scorecard and
 * the first step at which the journals part. It only looks. */
#include "data/io.h"
#include "data/json.h"
#include "data/metrics.h"
#include "scripts/rlhf/command_list.h"
#include "scripts/rlhf/run.h"
#include "scripts/rlhf/scorecard.h"
#include "scripts/rlhf/terminal.h"

#include <math.h>
#include <string.h>

enum { NUMBER_TEXT = 48 };

/* The first run and another. */
typedef struct Pair {
    FILE *out;        /* of the tables */
    JsonWriter *json; /* NULL: tables */
    char run[2][STAGE_PATH];
} Pair;

static void heading(const Pair *pair, const char *text)
{
    const Terminal terminal = terminal_of(pair->out);
    fprintf(pair->out, "\n%s%s%s\n", terminal_bold(&terminal), text, terminal_plain(&terminal));
}

/* ---- settings ---- */

static void show_settings(const Pair *pair, char *text)
{
    if (pair->json == NULL) {
        heading(pair, "settings");
        fputs(text != NULL ? text : "equal\n", pair->out);
        return;
    }
    json_open(pair->json, "settings", '[');
    for (char *line = text; line != NULL && *line != '\0';) {
        char *end = strchr(line, '\n');
        json_put_bytes(pair->json, NULL, line, (size_t)(end - line));
        line = end + 1;
    }
    json_close(pair->json);
}

static Status compare_settings(const Pair *pair)
{
    Settings settings[2];
    const ConfigTable table = settings_table();
    Bytes text = {0};
    int differences;
    for (int r = 0; r < 2; r++) TRY(settings_of_run(&settings[r], pair->run[r]));
    const Status status = config_diff(&text, &differences, &table, &settings[0], &settings[1]);
    if (status == STATUS_OK) show_settings(pair, text.data);
    bytes_free(&text);
    return status;
}

/* ---- scorecards ---- */

/* The runs' errors are taken as independent. */
static Estimate difference_of(const Estimate value[2])
{
    return (Estimate){.mean = value[1].mean - value[0].mean,
                      .error = hypot(value[0].error, value[1].error),
                      .deviation = NAN};
}

static void put_estimate(JsonWriter *json, const char *key, const Estimate *estimate)
{
    json_open(json, key, '{');
    if (isfinite(estimate->mean)) json_put_number(json, "mean", estimate->mean);
    if (isfinite(estimate->error)) json_put_number(json, "stderr", estimate->error);
    json_close(json);
}

static void print_estimate(FILE *out, const Estimate *estimate, bool with_sign)
{
    char text[NUMBER_TEXT] = "-";
    if (isfinite(estimate->mean)) {
        int length = snprintf(text, sizeof text, with_sign ? "%+.3g" : "%.3g", estimate->mean);
        if (isfinite(estimate->error)) {
            snprintf(text + length, sizeof text - (size_t)length, " ± %.2g", estimate->error);
        }
    }
    const int missing = 19 - terminal_columns(text, strlen(text));
    fprintf(out, "%*s%s", missing > 0 ? missing : 0, "", text);
}

static void show_measure(const Pair *pair, const char *policy, const char *measure,
                         const Estimate value[2])
{
    const Estimate difference = difference_of(value);
    if (isnan(value[0].mean) && isnan(value[1].mean)) return;
    if (pair->json == NULL) {
        fprintf(pair->out, "%-10s %-9s", policy, measure);
        print_estimate(pair->out, &value[0], false);
        print_estimate(pair->out, &value[1], false);
        print_estimate(pair->out, &difference, true);
        fputc('\n', pair->out);
        return;
    }
    json_open(pair->json, NULL, '{');
    json_put_text(pair->json, "policy", policy);
    json_put_text(pair->json, "measure", measure);
    put_estimate(pair->json, "first", &value[0]);
    put_estimate(pair->json, "other", &value[1]);
    put_estimate(pair->json, "difference", &difference);
    json_close(pair->json);
}

static void show_cards(const Pair *pair, const Scorecard card[2])
{
    if (pair->json == NULL) {
        fprintf(pair->out, "%-20s%19s%19s%19s\n", "", "first", "other", "other - first");
    }
    for (int i = 0; i < card[0].count; i++) {
        const PolicyScore *a = &card[0].policy[i], *b = scorecard_policy(&card[1], a->name);
        if (b == NULL) continue;
        show_measure(pair, a->name, "gold", (const Estimate[]){a->gold, b->gold});
        show_measure(pair, a->name, "scores", (const Estimate[]){a->score, b->score});
        show_measure(pair, a->name, "kl", (const Estimate[]){a->kl, b->kl});
        show_measure(pair, a->name, "length", (const Estimate[]){a->length, b->length});
    }
    show_measure(pair, "ppo", "win_rate", (const Estimate[]){card[0].win_rate, card[1].win_rate});
}

static Status compare_cards(const Pair *pair)
{
    Scorecard card[2];
    char path[STAGE_PATH];
    bool all = true;
    if (pair->json == NULL) heading(pair, "scorecards");
    for (int r = 0; r < 2; r++) {
        TRY(path_join(path, pair->run[r], "evaluate/scorecard.json"));
        if (io_exists(path)) {
            TRY(scorecard_read(&card[r], pair->run[r]));
            continue;
        }
        all = false;
        if (pair->json == NULL) fprintf(pair->out, "%s: not there yet\n", path);
    }
    if (pair->json != NULL) json_open(pair->json, "scorecard", '[');
    if (all) show_cards(pair, card);
    if (pair->json != NULL) json_close(pair->json);
    return STATUS_OK;
}

/* ---- journals ---- */

/* Where two journals part; `value` NAN: the journal does not have it. */
typedef struct Parting {
    int row; /* the rows before are equal */
    int64_t step;
    const char *metric; /* NULL: one journal has a step that the other has not */
    double value[2];
} Parting;

static double value_at(const double *column, int row)
{
    return column != NULL ? column[row] : NAN;
}

/* Bits are promised to be equal, so any difference counts. */
static bool is_equal(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

/* Looks for an earlier row than parting->row where metric `name` differs. */
static void part_by(Parting *parting, const MetricColumns journal[2], const char *name)
{
    const double *a = metric_column(&journal[0], name), *b = metric_column(&journal[1], name);
    for (int i = 0; i < parting->row; i++) {
        const double x = value_at(a, i), y = value_at(b, i);
        if (is_equal(x, y)) continue;
        *parting = (Parting){i, journal[0].step[i], name, {x, y}};
        return;
    }
}

/* False: equal from the first row to the last. */
static bool find_parting(Parting *parting, const MetricColumns journal[2])
{
    const int least = journal[0].rows < journal[1].rows ? journal[0].rows : journal[1].rows;
    const int most = journal[0].rows > journal[1].rows ? journal[0].rows : journal[1].rows;
    *parting = (Parting){.step = INT64_MAX, .value = {NAN, NAN}};
    while (parting->row < least && journal[0].step[parting->row] == journal[1].step[parting->row]) {
        parting->row++;
    }
    for (int r = 0; r < 2 && parting->row < most; r++) {
        if (parting->row >= journal[r].rows) continue;
        const int64_t step = journal[r].step[parting->row];
        if (step < parting->step) parting->step = step;
    }
    const int shared = parting->row;
    for (int r = 0; r < 2; r++) {
        for (int c = 0; c < journal[r].columns; c++) part_by(parting, journal, journal[r].name[c]);
    }
    return parting->row < shared || shared < most;
}

/* "equal: 40 records", or where they part and how. */
static void print_parting(const Pair *pair, const char *stage, const Parting *parting,
                          const MetricColumns journal[2])
{
    fprintf(pair->out, "%-10s ", stage);
    if (parting == NULL) {
        fprintf(pair->out, "equal: %d records\n", journal[0].rows);
    } else if (parting->metric == NULL) {
        const int longer =
            journal[1].rows > parting->row && journal[1].step[parting->row] == parting->step;
        fprintf(pair->out, "equal before step %lld, which only %s has\n", (long long)parting->step,
                pair->run[longer]);
    } else {
        char number[2][32] = {"none", "none"};
        for (int r = 0; r < 2; r++) {
            if (!isnan(parting->value[r])) json_number_text(number[r], parting->value[r]);
        }
        fprintf(pair->out, "part at step %lld: %s %s -> %s\n", (long long)parting->step,
                parting->metric, number[0], number[1]);
    }
}

static void put_parting(const Pair *pair, const char *stage, const Parting *parting)
{
    JsonWriter *json = pair->json;
    json_open(json, NULL, '{');
    json_put_text(json, "stage", stage);
    json_put_bool(json, "equal", parting == NULL);
    if (parting != NULL) json_put_integer(json, "step", parting->step);
    if (parting != NULL && parting->metric != NULL) {
        json_put_text(json, "metric", parting->metric);
        json_put_number(json, "first", parting->value[0]);
        json_put_number(json, "other", parting->value[1]);
    }
    json_close(json);
}

static Status compare_journal(const Pair *pair, const char *stage)
{
    MetricColumns journal[2] = {{0}};
    char path[2][STAGE_PATH];
    for (int r = 0; r < 2; r++) {
        char folder[STAGE_PATH];
        TRY(path_join(folder, pair->run[r], stage));
        TRY(path_join(path[r], folder, "metrics.jsonl"));
    }
    if (!io_exists(path[0]) && !io_exists(path[1])) return STATUS_OK;
    Status status = STATUS_OK;
    for (int r = 0; r < 2 && status == STATUS_OK; r++) {
        if (io_exists(path[r])) status = metric_columns_read(&journal[r], path[r]);
    }
    Parting parting;
    if (status == STATUS_OK) {
        const Parting *found = find_parting(&parting, journal) ? &parting : NULL;
        if (pair->json != NULL) {
            put_parting(pair, stage, found);
        } else {
            print_parting(pair, stage, found, journal);
        }
    }
    for (int r = 0; r < 2; r++) metric_columns_free(&journal[r]);
    return status;
}

static Status compare_journals(const Pair *pair)
{
    if (pair->json != NULL) {
        json_open(pair->json, "journals", '[');
    } else {
        heading(pair, "journals");
    }
    for (int i = 0; i < STAGES; i++) TRY(compare_journal(pair, pipeline_stages[i].name));
    if (pair->json != NULL) json_close(pair->json);
    return STATUS_OK;
}

/* ---- the command ---- */

static Status compare_pair(const Pair *pair)
{
    if (pair->json != NULL) {
        json_open(pair->json, NULL, '{');
        json_put_text(pair->json, "run", pair->run[1]);
    } else {
        fprintf(pair->out, "first: %s, other: %s\n", pair->run[0], pair->run[1]);
    }
    TRY(compare_settings(pair));
    TRY(compare_cards(pair));
    TRY(compare_journals(pair));
    if (pair->json != NULL) json_close(pair->json);
    return STATUS_OK;
}

static Status compare_all(const Cli *cli, JsonWriter *json)
{
    Pair pair = {.out = cli->out, .json = json};
    TRY(run_path(pair.run[0], cli->word[0]));
    if (json != NULL) {
        json_open(json, NULL, '{');
        json_put_text(json, "first", pair.run[0]);
        json_open(json, "others", '[');
    }
    for (int i = 1; i < cli->words; i++) {
        TRY(run_path(pair.run[1], cli->word[i]));
        if (json == NULL && i > 1) fputc('\n', cli->out);
        TRY(compare_pair(&pair));
    }
    if (json == NULL) return STATUS_OK;
    json_close(json);
    json_close(json);
    return json_done(json);
}

Status command_compare(Cli *cli)
{
    Bytes text = {0};
    JsonWriter json = json_writer(&text, 2);
    const Status status = compare_all(cli, cli_has(cli, "--json") ? &json : NULL);
    if (status == STATUS_OK && text.count > 0) fputs(text.data, cli->out);
    bytes_free(&text);
    return status;
}
