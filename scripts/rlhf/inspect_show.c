#include "data/json.h"
#include "scripts/rlhf/inspect.h"
#include "scripts/rlhf/terminal.h"

#include <math.h>
#include <string.h>

enum { ANSWER_COLUMNS = 30 };

/* ---- columns ---- */

/* NAME(look, row) for a column of the file. */
#define ANSWER_VALUE(name_, member_)                                                               \
    static double name_(const Look *look, int64_t row)                                             \
    {                                                                                              \
        return (double)look->view.file.rollout.member_[row];                                       \
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
    return look->view.gap != NULL ? look->view.gap[row] : NAN;
}

/* Prompt tokens carry zeros that mean nothing. */
#define TOKEN_VALUE(name_, member_)                                                                \
    static double name_(const Look *look, int64_t row)                                             \
    {                                                                                              \
        const Rollout *rollout = &look->view.file.rollout;                                         \
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
    return (double)(row - look->view.file.rollout.offset[look->sample]);
}

static double token_prompt(const Look *look, int64_t row)
{
    return !look->view.file.rollout.is_response[row];
}

static double token_k1(const Look *look, int64_t row)
{
    return look->view.file.rollout.is_response[row] ? run_rollout_k1(&look->view, row) : NAN;
}

static Status answer_text(Look *look, int64_t row)
{
    return run_rollout_answer(&look->text, &look->view, row);
}

static Status token_text(Look *look, int64_t row)
{
    return run_rollout_token(&look->text, &look->view, row);
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

const Table inspect_answers = {answer_columns, COUNT(answer_columns), "answer", answer_text,
                               ANSWER_COLUMNS};
const Table inspect_tokens = {token_columns, COUNT(token_columns), "token", token_text, 0};

const Column *inspect_column(const char *name)
{
    for (int c = 0; c < inspect_answers.columns; c++) {
        if (strcmp(inspect_answers.column[c].name, name) == 0) return &inspect_answers.column[c];
    }
    return NULL;
}

/* ---- three forms ---- */

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
    const Rollout *rollout = &look->view.file.rollout;
    Bytes text = {0};
    JsonWriter json = json_writer(&text, 2);
    json_open(&json, NULL, '{');
    json_put_text(&json, "run", look->view.run);
    json_put_integer(&json, "step", rollout->step);
    json_put_number(&json, "kl_coef", rollout->kl_coef);
    json_put_number(&json, "temperature", rollout->temperature);
    if (look->sample >= 0) put_values(&json, look, &inspect_answers, look->sample);
    json_open(&json, look->sample >= 0 ? "tokens" : "samples", '[');
    Status status = put_rows(&json, look, table);
    json_close(&json);
    json_close(&json);
    if (status == STATUS_OK) status = json_done(&json);
    if (status == STATUS_OK) fputs(text.data, look->out);
    bytes_free(&text);
    return status;
}

Status inspect_show(Look *look)
{
    const Table *table = look->sample >= 0 ? &inspect_tokens : &inspect_answers;
    if (look->csv) return print_csv(look, table);
    if (look->json) return print_json(look, table);
    TRY(terminal_write(look->out, look->view.run, strlen(look->view.run)));
    fprintf(look->out, ", step %lld\n\n", (long long)look->view.file.rollout.step);
    if (look->sample >= 0) {
        TRY(print_table(look, &inspect_answers, &look->sample, 1));
        fputc('\n', look->out);
    }
    return print_table(look, table, look->row, look->rows);
}
