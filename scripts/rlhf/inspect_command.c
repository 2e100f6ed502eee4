/* rlhf inspect: the answers of one PPO step, or every token of one of them. It only looks; what is
 * shown stands in ppo/rollouts/, but for k1 and the gap, which are made of it here. */
#include "data/json.h"
#include "data/prompts.h"
#include "data/rollout.h"
#include "scripts/rlhf/command_list.h"
#include "scripts/rlhf/run.h"
#include "scripts/rlhf/terminal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWER_COLUMNS = 30 };

typedef struct Look {
    FILE *out;
    bool json, csv; /* neither: a table */
    char run[STAGE_PATH];
    RolloutFile file;
    Tokenizer *tokenizer;
    int64_t sample; /* whose tokens are shown; -1: none */
    double *gap;    /* (N) z(score) - z(gold) over the step; NULL without gold */
    int64_t *row;   /* answers, or tokens of the sample, in the order shown */
    int rows;
    Bytes text, cell; /* of one row: as it is, and safe to show */
} Look;

typedef enum ColumnKind { COLUMN_INTEGER, COLUMN_NUMBER, COLUMN_FLAG } ColumnKind;

typedef struct Column {
    const char *name;
    ColumnKind kind;
    int width;
    double (*value)(const Look *look, int64_t row); /* NAN: nothing to show */
} Column;

/* Numbers, then one text a row. */
typedef struct Table {
    const Column *column;
    int columns;
    const char *text_name;
    Status (*read_text)(Look *look, int64_t row); /* into look->text */
    int text_width;                               /* 0: whole and in quotes, spaces count */
} Table;

/* ---- what there is to show ---- */

/* NAME(look, row) for a column of the file. */
#define ANSWER_VALUE(name_, member_)                                                               \
    static double name_(const Look *look, int64_t row)                                             \
    {                                                                                              \
        return (double)look->file.rollout.member_[row];                                            \
    }
ANSWER_VALUE(answer_prompt_id, prompt_id)
ANSWER_VALUE(answer_score, score)
ANSWER_VALUE(answer_gold, gold)
ANSWER_VALUE(answer_kl, kl)
ANSWER_VALUE(answer_length, response_length)
ANSWER_VALUE(answer_ended, terminated)
ANSWER_VALUE(token_id, id)

static double answer_sample(const Look *look, int64_t row)
{
    (void)look;
    return (double)row;
}

static double answer_gap(const Look *look, int64_t row)
{
    return look->gap != NULL ? look->gap[row] : NAN;
}

/* Prompt tokens carry zeros that mean nothing. */
#define TOKEN_VALUE(name_, member_)                                                                \
    static double name_(const Look *look, int64_t row)                                             \
    {                                                                                              \
        const Rollout *rollout = &look->file.rollout;                                              \
        return rollout->is_response[row] ? (double)rollout->member_[row] : NAN;                    \
    }
TOKEN_VALUE(token_logp, logp)
TOKEN_VALUE(token_reference, reference_logp)
TOKEN_VALUE(token_reward, reward)
TOKEN_VALUE(token_value, value)
TOKEN_VALUE(token_advantage, advantage)
TOKEN_VALUE(token_return, returns)

static double token_position(const Look *look, int64_t row)
{
    return (double)(row - look->file.rollout.offset[look->sample]);
}

static double token_prompt(const Look *look, int64_t row)
{
    return !look->file.rollout.is_response[row];
}

static double token_k1(const Look *look, int64_t row)
{
    return token_logp(look, row) - token_reference(look, row);
}

static Status answer_text(Look *look, int64_t row)
{
    const Rollout *rollout = &look->file.rollout;
    const int32_t prompt = rollout->prompt_length[row];
    return tokenizer_decode(&look->text, look->tokenizer,
                            rollout->id + rollout->offset[row] + prompt,
                            (size_t)rollout->response_length[row]);
}

static Status token_text(Look *look, int64_t row)
{
    const int32_t *id = look->file.rollout.id + row;
    if (*id == tokenizer_end(look->tokenizer)) return bytes_text(&look->text, "<|endoftext|>");
    return tokenizer_decode(&look->text, look->tokenizer, id, 1);
}

static const Column answer_columns[] = {
    {"sample", COLUMN_INTEGER, 6, answer_sample},
    {"prompt_id", COLUMN_INTEGER, 9, answer_prompt_id},
    {"score", COLUMN_NUMBER, 9, answer_score},
    {"gold", COLUMN_NUMBER, 9, answer_gold},
    {"gap", COLUMN_NUMBER, 8, answer_gap},
    {"kl", COLUMN_NUMBER, 9, answer_kl},
    {"length", COLUMN_INTEGER, 6, answer_length},
    {"ended", COLUMN_FLAG, 5, answer_ended},
};

static const Column token_columns[] = {
    {"position", COLUMN_INTEGER, 8, token_position},
    {"prompt", COLUMN_FLAG, 6, token_prompt},
    {"id", COLUMN_INTEGER, 5, token_id},
    {"logp", COLUMN_NUMBER, 9, token_logp},
    {"reference", COLUMN_NUMBER, 9, token_reference},
    {"k1", COLUMN_NUMBER, 8, token_k1},
    {"reward", COLUMN_NUMBER, 8, token_reward},
    {"value", COLUMN_NUMBER, 8, token_value},
    {"advantage", COLUMN_NUMBER, 9, token_advantage},
    {"return", COLUMN_NUMBER, 8, token_return},
};

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

static const Table answers = {answer_columns, COUNT(answer_columns), "answer", answer_text,
                              ANSWER_COLUMNS};
static const Table tokens = {token_columns, COUNT(token_columns), "token", token_text, 0};

/* ---- showing it ---- */

static Status read_cell(Look *look, const Table *table, int64_t row)
{
    bytes_clear(&look->text);
    bytes_clear(&look->cell);
    TRY(bytes_text(&look->text, ""));
    TRY(bytes_text(&look->cell, ""));
    TRY(table->read_text(look, row));
    return terminal_escape(&look->cell, look->text.data, look->text.count);
}

static void print_value(FILE *out, const Column *column, double value)
{
    if (column->kind == COLUMN_FLAG || isnan(value)) {
        const bool set = column->kind == COLUMN_FLAG && value != 0;
        fprintf(out, "%*s ", column->width, set ? column->name : "");
    } else {
        fprintf(out, "%*.*f ", column->width, column->kind == COLUMN_INTEGER ? 0 : 4, value);
    }
}

static Status print_table(Look *look, const Table *table, const int64_t *row, int rows)
{
    const Terminal terminal = terminal_of(look->out);
    fputs(terminal_bold(&terminal), look->out);
    for (int c = 0; c < table->columns; c++) {
        fprintf(look->out, "%*s ", table->column[c].width, table->column[c].name);
    }
    fprintf(look->out, " %s%s\n", table->text_name, terminal_plain(&terminal));
    Bytes words = {0};
    Status status = STATUS_OK;
    for (int i = 0; i < rows && status == STATUS_OK; i++) {
        for (int c = 0; c < table->columns; c++) {
            print_value(look->out, &table->column[c], table->column[c].value(look, row[i]));
        }
        bytes_clear(&words);
        status = read_cell(look, table, row[i]);
        if (status == STATUS_OK && table->text_width > 0) {
            status = terminal_wrap(&words, look->cell.data, 0, table->text_width, 1);
        } else if (status == STATUS_OK) {
            status = bytes_print(&words, "\"%s\"", look->cell.data);
        }
        if (status == STATUS_OK) fprintf(look->out, " %s\n", words.data != NULL ? words.data : "");
    }
    bytes_free(&words);
    return status;
}

static Status print_csv(Look *look, const Table *table)
{
    for (int c = 0; c < table->columns; c++) fprintf(look->out, "%s,", table->column[c].name);
    fprintf(look->out, "%s\n", table->text_name);
    for (int i = 0; i < look->rows; i++) {
        for (int c = 0; c < table->columns; c++) {
            char number[32] = "";
            const double value = table->column[c].value(look, look->row[i]);
            if (isfinite(value)) json_number_text(number, value);
            fprintf(look->out, "%s,", number);
        }
        TRY(read_cell(look, table, look->row[i]));
        fputc('"', look->out);
        for (const char *at = look->cell.data; *at != '\0'; at++) {
            if (*at == '"') fputc('"', look->out);
            fputc(*at, look->out);
        }
        fputs("\"\n", look->out);
    }
    return STATUS_OK;
}

static void put_values(JsonWriter *json, const Look *look, const Table *table, int64_t row)
{
    for (int c = 0; c < table->columns; c++) {
        const Column *column = &table->column[c];
        const double value = column->value(look, row);
        if (isnan(value)) continue;
        if (column->kind == COLUMN_FLAG) json_put_bool(json, column->name, value != 0);
        if (column->kind == COLUMN_INTEGER) json_put_integer(json, column->name, (int64_t)value);
        if (column->kind == COLUMN_NUMBER) json_put_number(json, column->name, value);
    }
}

static Status put_rows(JsonWriter *json, Look *look, const Table *table)
{
    for (int i = 0; i < look->rows; i++) {
        json_open(json, NULL, '{');
        put_values(json, look, table, look->row[i]);
        TRY(read_cell(look, table, look->row[i]));
        json_put_bytes(json, table->text_name, look->text.data, look->text.count);
        json_close(json);
    }
    return STATUS_OK;
}

static Status print_json(Look *look, const Table *table)
{
    const Rollout *rollout = &look->file.rollout;
    Bytes text = {0};
    JsonWriter json = json_writer(&text, 2);
    json_open(&json, NULL, '{');
    json_put_text(&json, "run", look->run);
    json_put_integer(&json, "step", rollout->step);
    json_put_number(&json, "kl_coef", rollout->kl_coef);
    json_put_number(&json, "temperature", rollout->temperature);
    if (look->sample >= 0) put_values(&json, look, &answers, look->sample);
    json_open(&json, look->sample >= 0 ? "tokens" : "samples", '[');
    Status status = put_rows(&json, look, table);
    json_close(&json);
    json_close(&json);
    if (status == STATUS_OK) status = json_done(&json);
    if (status == STATUS_OK) fputs(text.data, look->out);
    bytes_free(&text);
    return status;
}

static Status show(Look *look)
{
    const Table *table = look->sample >= 0 ? &tokens : &answers;
    if (look->csv) return print_csv(look, table);
    if (look->json) return print_json(look, table);
    fprintf(look->out, "%s, step %lld\n\n", look->run, (long long)look->file.rollout.step);
    if (look->sample >= 0) {
        TRY(print_table(look, &answers, &look->sample, 1));
        fputc('\n', look->out);
    }
    return print_table(look, table, look->row, look->rows);
}

/* ---- which rows ---- */

static bool has_gold(const Rollout *rollout)
{
    for (int i = 0; i < rollout->count; i++) {
        if (!isfinite(rollout->gold[i])) return false;
    }
    return true;
}

/* Adds `sign` times the standardised values. Values that are all equal add nothing; measured from
 * the first one, they have a variance of exactly 0. */
static void add_standardised(double *sum, const float *value, int count, double sign)
{
    const double origin = (double)value[0];
    double mean = 0, square = 0;
    for (int i = 0; i < count; i++) mean += ((double)value[i] - origin) / count;
    for (int i = 0; i < count; i++) square += pow((double)value[i] - origin - mean, 2) / count;
    for (int i = 0; i < count && square > 0; i++) {
        sum[i] += sign * ((double)value[i] - origin - mean) / sqrt(square);
    }
}

static Status measure_gaps(Look *look)
{
    const Rollout *rollout = &look->file.rollout;
    void *gap;
    if (!has_gold(rollout)) return STATUS_OK;
    TRY(memory_claim(&gap, (size_t)rollout->count * sizeof *look->gap));
    look->gap = gap;
    add_standardised(look->gap, rollout->score, rollout->count, 1);
    add_standardised(look->gap, rollout->gold, rollout->count, -1);
    return STATUS_OK;
}

typedef struct Ranked {
    double key;
    int64_t row;
} Ranked;

static int highest_first(const void *a, const void *b)
{
    const Ranked *x = a, *y = b;
    if (x->key != y->key) return x->key > y->key ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static Status sort_rows(Look *look, const char *by)
{
    const Column *column = NULL;
    for (int c = 0; c < answers.columns; c++) {
        if (strcmp(answers.column[c].name, by) == 0) column = &answers.column[c];
    }
    if (look->gap == NULL && (column->value == answer_gold || column->value == answer_gap)) {
        return status_fail(STATUS_DATA, "%s: this task has no gold reward to tell the %s by",
                           look->run, by);
    }
    void *block;
    TRY(memory_claim(&block, (size_t)look->rows * sizeof(Ranked)));
    Ranked *ranked = block;
    for (int i = 0; i < look->rows; i++) {
        ranked[i] = (Ranked){column->value(look, look->row[i]), look->row[i]};
    }
    qsort(ranked, (size_t)look->rows, sizeof *ranked, highest_first);
    for (int i = 0; i < look->rows; i++) look->row[i] = ranked[i].row;
    memory_release(block);
    return STATUS_OK;
}

static Status list_rows(Look *look, int64_t first, int64_t count)
{
    void *row;
    TRY(memory_claim(&row, (size_t)count * sizeof *look->row));
    look->row = row;
    look->rows = (int)count;
    for (int i = 0; i < look->rows; i++) look->row[i] = first + i;
    return STATUS_OK;
}

static Status choose_answers(Look *look, const Cli *cli)
{
    const char *by = cli_value(cli, "--sort");
    int64_t worst;
    TRY(cli_integer(&worst, cli, "--worst-gap", 0, 1, 1e9));
    TRY(list_rows(look, 0, look->file.rollout.count));
    if (worst > 0) TRY(sort_rows(look, "gap"));
    if (worst > 0 && worst < look->rows) look->rows = (int)worst;
    return by != NULL ? sort_rows(look, by) : STATUS_OK;
}

static Status choose_tokens(Look *look)
{
    const Rollout *rollout = &look->file.rollout;
    if (look->sample >= rollout->count) {
        return status_fail(STATUS_USAGE, "--sample %lld: step %lld has samples 0 to %d",
                           (long long)look->sample, (long long)rollout->step, rollout->count - 1);
    }
    const int64_t first = rollout->offset[look->sample];
    return list_rows(look, first, rollout->offset[look->sample + 1] - first);
}

/* ---- which file ---- */

/* "1 to 8, 10" of the files there are; *last is the newest step, 0 where there is none. */
static Status list_steps(Bytes *text, int64_t *last, const char *folder)
{
    Texts names = {0};
    int64_t first = 0;
    *last = 0;
    Status status = io_list(&names, folder);
    for (int i = 0; i <= names.count && status == STATUS_OK; i++) {
        size_t count = 0;
        const char *name = i < names.count ? texts_at(&names, i, &count) : NULL;
        const bool is_file = count > 3 && memcmp(name + count - 3, ".h5", 3) == 0;
        const int64_t step = is_file ? strtoll(name, NULL, 10) : 0;
        if (i < names.count && step < 1) continue;
        if (step == *last + 1 && *last > 0) {
            *last = step;
            continue;
        }
        if (*last > 0) {
            status = bytes_print(text, text->count > 0 ? ", %lld" : "%lld", (long long)first);
            if (status == STATUS_OK && *last > first) {
                status = bytes_print(text, " to %lld", (long long)*last);
            }
        }
        if (step > 0) first = *last = step;
    }
    texts_free(&names);
    return status;
}

static Status find_file(char path[STAGE_PATH], const Look *look, int64_t step)
{
    char folder[STAGE_PATH], name[32];
    Bytes steps = {0};
    int64_t last = 0;
    TRY(path_join(folder, look->run, "ppo/rollouts"));
    if (!io_exists(folder)) {
        return status_fail(STATUS_DATA, "%s: missing; run: rlhf ppo %s", folder, look->run);
    }
    Status status = list_steps(&steps, &last, folder);
    if (status == STATUS_OK && last == 0) status = status_fail(STATUS_DATA, "%s: empty", folder);
    snprintf(name, sizeof name, "%06lld.h5", (long long)(step > 0 ? step : last));
    if (status == STATUS_OK) status = path_join(path, folder, name);
    if (status == STATUS_OK && !io_exists(path)) {
        status = status_fail(STATUS_DATA, "%s: no step %lld; there are %s", folder, (long long)step,
                             steps.data);
    }
    bytes_free(&steps);
    return status;
}

static Status read_flags(Look *look, const Cli *cli)
{
    static const char *const keys[] = {"score", "gold", "kl", "gap", "length"};
    const char *by = cli_value(cli, "--sort");
    look->json = cli_has(cli, "--json");
    look->csv = cli_has(cli, "--csv");
    if (look->json && look->csv) {
        return status_fail(STATUS_USAGE, "--csv and --json exclude each other");
    }
    TRY(cli_integer(&look->sample, cli, "--sample", -1, 0, 1e9));
    if (look->sample >= 0 && (by != NULL || cli_has(cli, "--worst-gap"))) {
        return status_fail(STATUS_USAGE, "--sample shows tokens in order: no --sort, --worst-gap");
    }
    bool known = by == NULL;
    for (int i = 0; i < COUNT(keys) && !known; i++) known = strcmp(by, keys[i]) == 0;
    if (known) return STATUS_OK;
    return status_fail(STATUS_USAGE, "--sort %s: expected score, gold, kl, gap or length", by);
}

static Status inspect(Look *look, const Cli *cli)
{
    char path[STAGE_PATH];
    int64_t step;
    TRY(cli_integer(&step, cli, "--step", 0, 1, 1e9));
    TRY(read_flags(look, cli));
    TRY(run_path(look->run, cli->word[0]));
    TRY(find_file(path, look, step));
    TRY(stage_read_tokenizer(&look->tokenizer, look->run, "sft"));
    TRY(rollout_read(&look->file, path, NULL, tokenizer_vocabulary(look->tokenizer)));
    TRY(measure_gaps(look));
    TRY(look->sample >= 0 ? choose_tokens(look) : choose_answers(look, cli));
    return show(look);
}

Status command_inspect(Cli *cli)
{
    Look look = {.out = cli->out};
    const Status status = inspect(&look, cli);
    tokenizer_free(look.tokenizer);
    rollout_free(&look.file);
    memory_release(look.gap);
    memory_release(look.row);
    bytes_free(&look.text);
    bytes_free(&look.cell);
    return status;
}
