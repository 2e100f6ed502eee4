#include "scripts/rlhf/report/judged.h"

#include "data/io.h"
#include "data/prompts.h"
#include "policy/inputs.h"
#include "ppo/policy_samples.h"
#include "scripts/rlhf/rollout_of_run.h"

#include <math.h>
#include <string.h>

const JudgedAnswer *judged_answer(const Judged *judged, int index)
{
    return (const JudgedAnswer *)(const void *)judged->answers.data + index;
}

const double *judged_amounts(const Judged *judged, int index)
{
    return (const double *)(const void *)judged->amounts.data +
           (size_t)index * (size_t)judged->terms;
}

void judged_free(Judged *judged)
{
    bytes_free(&judged->answers);
    bytes_free(&judged->amounts);
}

/* What is open while answers are read. */
typedef struct Reader {
    Judged *judged;
    const ReportRun *run;
    Task task; /* open where gold has terms */
    Bytes prompt, response;
} Reader;

static Status find_terms(Reader *reader)
{
    const TaskConfig *config = &reader->run->settings.task;
    int kinds;
    const TaskKind *const *kind = task_kinds(&kinds);
    for (int k = 0; k < kinds; k++) {
        if (strcmp(kind[k]->name, config->name) != 0 || kind[k]->gold_term == NULL) continue;
        TRY(task_open(&reader->task, config, (uint64_t)reader->run->settings.seed));
        Judged *judged = reader->judged;
        while (judged->terms < JUDGED_TERMS_MAX &&
               kind[k]->gold_term(&judged->term[judged->terms], &reader->task, judged->terms)) {
            judged->terms++;
        }
    }
    return STATUS_OK;
}

static Status add(Reader *reader, const JudgedAnswer *row, const TaskAnswer *answer)
{
    Judged *judged = reader->judged;
    double amount[JUDGED_TERMS_MAX];
    if (!isfinite(row->score)) return STATUS_OK;
    if (judged->terms > 0) {
        reader->task.kind->gold_amounts(amount, &reader->task, answer);
        TRY(bytes_append(&judged->amounts, amount, sizeof *amount * (size_t)judged->terms));
    }
    TRY(bytes_append(&judged->answers, row, sizeof *row));
    judged->count++;
    return STATUS_OK;
}

/* ---- evaluate/samples.h5 ---- */

static Status add_samples(Reader *reader, const PolicySamples *samples, const Tokenizer *tokenizer,
                          int policy)
{
    for (int i = 0; i < samples->count; i++) {
        TaskAnswer answer;
        const JudgedAnswer row = {
            .policy = policy,
            .score = samples->score[i],
            .gold = samples->gold[i],
            .length = (double)sequences_response(&samples->answers, i),
        };
        TRY(answer_read(&answer, &reader->prompt, &reader->response, &samples->answers, i,
                        tokenizer));
        TRY(add(reader, &row, &answer));
    }
    return STATUS_OK;
}

static Status read_policies(Reader *reader, const char *path, const Tokenizer *tokenizer)
{
    static const char *const policy[] = {
        [JUDGED_PRETRAIN] = "pretrain", [JUDGED_SFT] = "sft", [JUDGED_PPO] = "ppo"};
    for (int p = JUDGED_PRETRAIN; p <= JUDGED_PPO; p++) {
        PolicySamples samples;
        TRY(policy_samples_read(&samples, path, policy[p], tokenizer_vocabulary(tokenizer)));
        const Status status = add_samples(reader, &samples, tokenizer, p);
        policy_samples_free(&samples);
        TRY(status);
    }
    return STATUS_OK;
}

static Status read_samples(Reader *reader)
{
    char path[STAGE_PATH];
    TRY(path_join(path, reader->run->path, "evaluate/samples.h5"));
    if (!io_exists(path)) return STATUS_OK;
    Tokenizer *tokenizer;
    TRY(stage_read_tokenizer(&tokenizer, reader->run->path, "sft"));
    const Status status = read_policies(reader, path, tokenizer);
    tokenizer_free(tokenizer);
    return status;
}

/* ---- ppo/rollouts ---- */

static Status add_rollouts(Reader *reader, const RunRollout *view, int policy)
{
    const Rollout *rollout = &view->file.rollout;
    for (int i = 0; i < rollout->count; i++) {
        const JudgedAnswer row = {
            .policy = policy,
            .score = (double)rollout->raw_score[i],
            .gold = (double)rollout->gold[i],
            .length = (double)rollout->response_length[i],
        };
        bytes_clear(&reader->prompt);
        bytes_clear(&reader->response);
        TRY(run_rollout_prompt(&reader->prompt, view, i));
        TRY(run_rollout_answer(&reader->response, view, i));
        const TaskAnswer answer = {
            .prompt = reader->prompt.data != NULL ? reader->prompt.data : "",
            .prompt_count = reader->prompt.count,
            .response = reader->response.data != NULL ? reader->response.data : "",
            .response_count = reader->response.count,
            .terminated = rollout->terminated[i] != 0,
        };
        TRY(add(reader, &row, &answer));
    }
    return STATUS_OK;
}

static Status read_step(Reader *reader, int64_t step, int policy)
{
    RunRollout view;
    TRY(run_rollout_open(&view, reader->run->path, step));
    const Status status = add_rollouts(reader, &view, policy);
    run_rollout_close(&view);
    reader->judged->steps++;
    return status;
}

static Status read_steps(Reader *reader, const StepList *list)
{
    const int wanted = list->count < JUDGED_STEPS ? list->count : JUDGED_STEPS;
    for (int i = 0; i < wanted; i++) {
        const int place = wanted > 1 ? (int)((int64_t)i * (list->count - 1) / (wanted - 1)) : 0;
        const int64_t step = list->step[place];
        TRY(read_step(reader, step,
                      step == 1         ? JUDGED_SFT
                      : i == wanted - 1 ? JUDGED_PPO
                                        : JUDGED_BETWEEN));
    }
    return STATUS_OK;
}

static Status read_rollouts(Reader *reader)
{
    char folder[STAGE_PATH];
    TRY(path_join(folder, reader->run->path, "ppo/rollouts"));
    /* before the first step is done the folder may be empty, which rollout_steps refuses */
    if (!io_exists(folder) || reader->run->journal[report_stage("ppo")].rows == 0) {
        return STATUS_OK;
    }
    StepList list = {0};
    Status status = rollout_steps(&list, reader->run->path);
    if (status == STATUS_OK) status = read_steps(reader, &list);
    memory_release(list.step);
    return status;
}

Status judged_read(Judged *judged, const ReportRun *run)
{
    Reader reader = {.judged = judged, .run = run};
    Status status = find_terms(&reader);
    if (status == STATUS_OK) status = read_samples(&reader);
    if (status == STATUS_OK) status = read_rollouts(&reader);
    bytes_free(&reader.response);
    bytes_free(&reader.prompt);
    task_close(&reader.task);
    return status;
}
