/* rlhf generate and rlhf chat: a policy of a run answers. */
#include "scripts/rlhf/command_list.h"
#include "scripts/rlhf/policy_of_run.h"
#include "scripts/rlhf/terminal.h"

#include "data/json.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

static Status read_sampling(Sampling *sampling, const Cli *cli, const RunPolicy *policy)
{
    int64_t top_k, seed;
    TRY(cli_number(&sampling->temperature, cli, "--temperature", policy->settings.ppo.temperature,
                   0, 100));
    TRY(cli_integer(&top_k, cli, "--top-k", 0, 0, 1000000));
    TRY(cli_number(&sampling->top_p, cli, "--top-p", 1, 1e-6, 1));
    TRY(cli_integer(&seed, cli, "--seed", policy->settings.seed, 0, (int64_t)1 << 53));
    sampling->top_k = (int)top_k;
    sampling->seed = (uint64_t)seed;
    sampling->samples = 1;
    return STATUS_OK;
}

static Status add_prompt(Sequences *prompts, const RunPolicy *policy, const char *text,
                         size_t count)
{
    Tokens tokens = {0};
    Status status = tokenizer_encode(&tokens, policy->tokenizer, text, count);
    if (status == STATUS_OK && tokens.count == 0) {
        status = status_fail(STATUS_USAGE, "the prompt is empty");
    }
    if (status == STATUS_OK) {
        status = sequences_add(prompts, tokens.id, (int64_t)tokens.count, NULL, 0);
    }
    tokens_free(&tokens);
    return status;
}

/* One answer on one line, safe for a terminal, also one behind a pipe; the exact text is --json's.
 * `prompt`: in front of it. */
static Status show_answer(FILE *out, const TaskAnswer *answer, double gold, bool prompt)
{
    Bytes text = {0};
    Status status = STATUS_OK;
    if (prompt) status = terminal_escape(&text, answer->prompt, answer->prompt_count);
    if (status == STATUS_OK) {
        status = terminal_escape(&text, answer->response, answer->response_count);
    }
    if (status == STATUS_OK) {
        fprintf(out, "%s%s", text.count > 0 ? text.data : "",
                answer->terminated ? "" : " [no end]");
        if (gold == gold) fprintf(out, "   (gold %.2f)", gold);
        fputc('\n', out);
    }
    bytes_free(&text);
    return status;
}

static Status write_json_answer(FILE *out, const TaskAnswer *answer, double gold)
{
    Bytes line = {0};
    JsonWriter json = json_writer(&line, 0);
    json_open(&json, NULL, '{');
    json_put_bytes(&json, "prompt", answer->prompt, answer->prompt_count);
    json_put_bytes(&json, "completion", answer->response, answer->response_count);
    json_put_bool(&json, "terminated", answer->terminated);
    if (gold == gold) json_put_number(&json, "gold", gold);
    json_close(&json);
    const Status status = json_done(&json);
    if (status == STATUS_OK) fprintf(out, "%s\n", line.data);
    bytes_free(&line);
    return status;
}

static Status show_all(const Cli *cli, const RunPolicy *policy, const Sequences *answers,
                       bool prompts_too)
{
    for (int i = 0; i < answers->count; i++) {
        Bytes prompt = {0}, response = {0};
        TaskAnswer answer;
        Status status = answer_read(&answer, &prompt, &response, answers, i, policy->tokenizer);
        if (status == STATUS_OK) {
            const TaskKind *kind = policy->task.kind;
            const double gold = kind->gold != NULL ? kind->gold(&policy->task, &answer) : NAN;
            if (cli_has(cli, "--json")) {
                status = write_json_answer(cli->out, &answer, gold);
            } else {
                status = show_answer(cli->out, &answer, gold, prompts_too);
            }
        }
        bytes_free(&prompt);
        bytes_free(&response);
        TRY(status);
    }
    return STATUS_OK;
}

static Status generate_from(const Cli *cli, const RunPolicy *policy, Sequences *prompts,
                            Sequences *answers)
{
    Sampling sampling;
    int64_t count;
    TRY(read_sampling(&sampling, cli, policy));
    TRY(cli_integer(&count, cli, "--count", 1, 1, 10000));
    const char *prompt = cli_value(cli, "--prompt");
    if (prompt != NULL) {
        TRY(add_prompt(prompts, policy, prompt, strlen(prompt)));
        sampling.samples = (int)count;
    } else {
        for (int64_t i = 0; i < count; i++) {
            TRY(prompts_read(prompts, &policy->task, policy->tokenizer, TASK_HELD_OUT, &i, 1));
        }
    }
    TRY(run_policy_answer(answers, policy, prompts, &sampling));
    return show_all(cli, policy, answers, prompt == NULL);
}

Status command_generate(Cli *cli)
{
    RunPolicy policy;
    Sequences prompts = {0}, answers = {0};
    Status status = run_policy_open(&policy, cli->word[0]);
    if (status == STATUS_OK) status = generate_from(cli, &policy, &prompts, &answers);
    sequences_free(&prompts);
    sequences_free(&answers);
    run_policy_close(&policy);
    return status;
}

static Status answer_line(const Cli *cli, const RunPolicy *policy, const Sampling *sampling,
                          const char *line, size_t count)
{
    Sequences prompts = {0}, answers = {0};
    Status status = add_prompt(&prompts, policy, line, count);
    if (status == STATUS_OK) status = run_policy_answer(&answers, policy, &prompts, sampling);
    if (status == STATUS_OK) status = show_all(cli, policy, &answers, false);
    sequences_free(&prompts);
    sequences_free(&answers);
    return status;
}

static Status chat(const Cli *cli, const RunPolicy *policy)
{
    Sampling sampling;
    TRY(read_sampling(&sampling, cli, policy));
    const bool live = isatty(STDIN_FILENO) && terminal_of(cli->errors).live;
    if (live) {
        fprintf(cli->errors, "%s answers; an empty line or end of file leaves\n", policy->which);
    }
    char line[4096];
    for (;;) {
        if (live) fputs("> ", cli->errors);
        if (fgets(line, sizeof line, stdin) == NULL) return STATUS_OK;
        const size_t count = strcspn(line, "\n");
        if (count == 0) return STATUS_OK;
        const Status status = answer_line(cli, policy, &sampling, line, count);
        if (status != STATUS_OK && !live) return status;
        if (status != STATUS_OK) fprintf(cli->errors, "%s\n", status_message());
        sampling.seed++;
        fflush(cli->out);
    }
}

Status command_chat(Cli *cli)
{
    RunPolicy policy;
    Status status = run_policy_open(&policy, cli->word[0]);
    if (status == STATUS_OK) status = chat(cli, &policy);
    run_policy_close(&policy);
    return status;
}
