/* The same prompts answered before and after PPO. */
#include "scripts/rlhf/summary.h"

#include "scripts/rlhf/policy_of_run.h"
#include "scripts/rlhf/terminal.h"

#include <math.h>

enum { PROMPTS = 3, LABEL = 18, TEXT_WIDTH = 78 };

static Status print_text(FILE *out, const char *label, const char *text, size_t count, bool ended)
{
    Bytes safe = {0}, wrapped = {0};
    Status status = terminal_escape(&safe, text != NULL ? text : "", count);
    if (status == STATUS_OK && !ended) status = bytes_text(&safe, " [no end]");
    if (status == STATUS_OK && safe.count > 0) {
        const char *start = safe.data;
        while (*start == ' ') start++;
        status = terminal_wrap(&wrapped, start, LABEL + 2, TEXT_WIDTH, 3);
    }
    if (status == STATUS_OK) {
        fprintf(out, "  %-*s%s\n", LABEL, label, wrapped.count > 0 ? wrapped.data : "");
    }
    bytes_free(&safe);
    bytes_free(&wrapped);
    return status;
}

static Status print_answer(FILE *out, const RunPolicy *policy, const Sequences *answers, int index,
                           bool with_prompt)
{
    Bytes prompt = {0}, response = {0};
    TaskAnswer answer;
    Status status = answer_read(&answer, &prompt, &response, answers, index, policy->tokenizer);
    if (status == STATUS_OK && with_prompt) {
        status = print_text(out, "prompt", answer.prompt, answer.prompt_count, true);
    }
    if (status == STATUS_OK) {
        const TaskKind *kind = policy->task.kind;
        const double gold = kind->gold != NULL ? kind->gold(&policy->task, &answer) : NAN;
        char label[32];
        snprintf(label, sizeof label, isfinite(gold) ? "%-4s gold %5.2f" : "%-4s", policy->which,
                 gold);
        status = print_text(out, label, answer.response, answer.response_count, answer.terminated);
    }
    bytes_free(&prompt);
    bytes_free(&response);
    return status;
}

static Status answer_prompts(Sequences *answers, const RunPolicy *policy)
{
    Sequences prompts = {0};
    const int64_t index[PROMPTS] = {0, 1, 2};
    const Sampling sampling = {.temperature = policy->settings.ppo.temperature,
                               .top_p = 1,
                               .seed = (uint64_t)policy->settings.seed,
                               .samples = 1};
    Status status =
        prompts_read(&prompts, &policy->task, policy->tokenizer, TASK_HELD_OUT, index, PROMPTS);
    if (status == STATUS_OK) status = run_policy_answer(answers, policy, &prompts, &sampling);
    sequences_free(&prompts);
    return status;
}

Status summary_answers(FILE *out, const char *run)
{
    char source[2][STAGE_PATH];
    snprintf(source[0], sizeof source[0], "%.300s@sft", run);
    snprintf(source[1], sizeof source[1], "%.300s@ppo", run);
    RunPolicy policy[2] = {0};
    Sequences answers[2] = {0};
    Status status = STATUS_OK;
    for (int p = 0; p < 2 && status == STATUS_OK; p++) {
        status = run_policy_open(&policy[p], source[p]);
        if (status == STATUS_OK) status = answer_prompts(&answers[p], &policy[p]);
    }
    for (int i = 0; i < PROMPTS && status == STATUS_OK; i++) {
        fputc('\n', out);
        status = print_answer(out, &policy[0], &answers[0], i, true);
        if (status == STATUS_OK) status = print_answer(out, &policy[1], &answers[1], i, false);
    }
    for (int p = 0; p < 2; p++) {
        run_policy_close(&policy[p]);
        sequences_free(&answers[p]);
    }
    return status;
}
