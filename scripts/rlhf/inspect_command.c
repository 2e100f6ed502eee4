/* rlhf inspect: the answers of one PPO step, or every token of one of them. It only looks. */
#include "scripts/rlhf/command_list.h"
#include "scripts/rlhf/inspect.h"
#include "scripts/rlhf/run.h"

#include <stdlib.h>
#include <string.h>

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
    const Column *column = inspect_column(by);
    if (look->view.gap == NULL && (strcmp(by, "gold") == 0 || strcmp(by, "gap") == 0)) {
        return status_fail(STATUS_DATA, "%s: this task has no gold reward to tell the %s by",
                           look->view.run, by);
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
    TRY(list_rows(look, 0, look->view.file.rollout.count));
    if (worst > 0) TRY(sort_rows(look, "gap"));
    if (worst > 0 && worst < look->rows) look->rows = (int)worst;
    return by != NULL ? sort_rows(look, by) : STATUS_OK;
}

static Status choose_tokens(Look *look)
{
    const Rollout *rollout = &look->view.file.rollout;
    if (look->sample >= rollout->count) {
        return status_fail(STATUS_USAGE, "--sample %lld: step %lld has samples 0 to %d",
                           (long long)look->sample, (long long)rollout->step, rollout->count - 1);
    }
    const int64_t first = rollout->offset[look->sample];
    return list_rows(look, first, rollout->offset[look->sample + 1] - first);
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
    for (int i = 0; i < (int)(sizeof keys / sizeof keys[0]) && !known; i++)
        known = strcmp(by, keys[i]) == 0;
    if (known) return STATUS_OK;
    return status_fail(STATUS_USAGE, "--sort %s: expected score, gold, kl, gap or length", by);
}

static Status inspect(Look *look, const Cli *cli)
{
    char run[STAGE_PATH];
    int64_t step;
    TRY(cli_integer(&step, cli, "--step", 0, 1, 1e9));
    TRY(read_flags(look, cli));
    TRY(run_path(run, cli->word[0]));
    TRY(run_rollout_open(&look->view, run, step));
    TRY(look->sample >= 0 ? choose_tokens(look) : choose_answers(look, cli));
    return inspect_show(look);
}

Status command_inspect(Cli *cli)
{
    Look look = {.out = cli->out};
    const Status status = inspect(&look, cli);
    run_rollout_close(&look.view);
    memory_release(look.row);
    bytes_free(&look.text);
    bytes_free(&look.cell);
    return status;
}
