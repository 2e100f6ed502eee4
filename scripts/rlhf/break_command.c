/* rlhf break: the table of faults, and which of them a run was made with. */
#include "data/json.h"
#include "ppo/faults.h"
#include "scripts/rlhf/command_list.h"
#include "scripts/rlhf/run.h"

static Status list_json(FILE *out)
{
    Bytes text = {0};
    JsonWriter json = json_writer(&text, 2);
    json_open(&json, NULL, '[');
    for (int i = 0; i < fault_count; i++) {
        const Fault *fault = &faults[i];
        json_open(&json, NULL, '{');
        json_put_text(&json, "name", fault->name);
        json_put_text(&json, "stage", fault->stage);
        json_put_text(&json, "what", fault->what);
        json_put_text(&json, "where_it_bit", fault->bit);
        json_put_text(&json, "gives_it_away", fault->sign);
        if (fault->needs != NULL) json_put_text(&json, "needs", fault->needs);
        json_close(&json);
    }
    json_close(&json);
    const Status status = json_done(&json);
    if (status == STATUS_OK) fputs(text.data, out);
    bytes_free(&text);
    return status;
}

static void print_fault(FILE *out, const Fault *fault)
{
    fprintf(out, "%s (%s)\n", fault->name, fault->stage);
    fprintf(out, "  mistake  %s\n", fault->what);
    fprintf(out, "  it bit   %s\n", fault->bit);
    fprintf(out, "  curves   %s\n", fault->sign);
    if (fault->needs != NULL) fprintf(out, "  needs    %s\n", fault->needs);
}

static Status list(const Cli *cli)
{
    if (cli_has(cli, "--json")) return list_json(cli->out);
    for (int i = 0; i < fault_count; i++) print_fault(cli->out, &faults[i]);
    fprintf(cli->out, "\nrlhf run PRESET --break FAULT makes one; --break hidden:SEED one of those "
                      "of ppo, unnamed\n");
    return STATUS_OK;
}

static Status reveal_json(FILE *out, const char *setting, const Fault *fault)
{
    Bytes text = {0};
    JsonWriter json = json_writer(&text, 2);
    json_open(&json, NULL, '{');
    json_put_text(&json, "break", setting);
    json_put_text(&json, "fault", fault != NULL ? fault->name : "");
    json_close(&json);
    const Status status = json_done(&json);
    if (status == STATUS_OK) fputs(text.data, out);
    bytes_free(&text);
    return status;
}

static Status reveal(const Cli *cli)
{
    char run[STAGE_PATH];
    Settings settings;
    const Fault *fault;
    TRY(run_path(run, cli_value(cli, "--reveal")));
    TRY(settings_of_run(&settings, run));
    TRY(fault_find(&fault, settings.fault, &settings.ppo));
    if (cli_has(cli, "--json")) return reveal_json(cli->out, settings.fault, fault);
    if (fault == NULL) {
        fprintf(cli->out, "%s: sound, nothing was broken\n", run);
    } else {
        print_fault(cli->out, fault);
    }
    return STATUS_OK;
}

Status command_break(Cli *cli)
{
    if (!cli_has(cli, "--reveal")) return list(cli);
    if (cli_has(cli, "--list")) {
        return status_fail(STATUS_USAGE, "--list and --reveal exclude each other");
    }
    return reveal(cli);
}
