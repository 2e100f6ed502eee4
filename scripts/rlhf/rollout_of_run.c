#include "scripts/rlhf/rollout_of_run.h"

#include "data/prompts.h"
#include "ppo/rollout_list.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- which file ---- */

static Status rollout_folder(char folder[STAGE_PATH], const char *run)
{
    TRY(path_join(folder, run, "ppo/rollouts"));
    if (io_exists(folder)) return STATUS_OK;
    return status_fail(STATUS_DATA, "%s: missing; run: rlhf ppo %s", folder, run);
}

/* The step of "000012.h5"; 0 where the name is another. */
static int64_t step_of(const Texts *names, int index)
{
    size_t count;
    const char *name = texts_at(names, index, &count);
    const bool is_file = count > 3 && memcmp(name + count - 3, ".h5", 3) == 0;
    return is_file ? strtoll(name, NULL, 10) : 0;
}

static Status take_steps(StepList *steps, const Texts *names, const char *folder)
{
    void *block;
    TRY(memory_claim(&block, ((size_t)names->count + 1) * sizeof *steps->step));
    steps->step = block;
    for (int i = 0; i < names->count; i++) {
        const int64_t step = step_of(names, i);
        if (step > 0) steps->step[steps->count++] = step;
    }
    return steps->count > 0 ? STATUS_OK : status_fail(STATUS_DATA, "%s: empty", folder);
}

Status rollout_steps(StepList *steps, const char *run)
{
    char folder[STAGE_PATH];
    Texts names = {0};
    TRY(rollout_folder(folder, run));
    Status status = io_list(&names, folder);
    if (status == STATUS_OK) status = take_steps(steps, &names, folder);
    texts_free(&names);
    return status;
}

/* "1 to 8, 10" */
static Status print_steps(Bytes *text, const StepList *steps)
{
    for (int i = 0; i < steps->count;) {
        const int64_t first = steps->step[i++];
        int64_t last = first;
        while (i < steps->count && steps->step[i] == last + 1) last = steps->step[i++];
        TRY(bytes_print(text, text->count > 0 ? ", %lld" : "%lld", (long long)first));
        if (last > first) TRY(bytes_print(text, " to %lld", (long long)last));
    }
    return STATUS_OK;
}

static Status find_step(char path[STAGE_PATH], const StepList *steps, const char *folder,
                        int64_t wanted)
{
    char name[ROLLOUT_NAME];
    rollout_file_name(name, wanted);
    TRY(path_join(path, folder, name));
    if (io_exists(path)) return STATUS_OK;
    Bytes text = {0};
    Status status = print_steps(&text, steps);
    if (status == STATUS_OK) {
        status = status_fail(STATUS_DATA, "%s: no step %lld; there are %s", folder,
                             (long long)wanted, text.data);
    }
    bytes_free(&text);
    return status;
}

/* The rollouts of `step`, of the last one where it is 0, checked where they have a hash. */
static Status read_step(RolloutFile *file, const char *folder, const StepList *steps, int64_t step,
                        int vocabulary)
{
    char path[STAGE_PATH];
    RolloutList list;
    const int64_t wanted = step > 0 ? step : steps->step[steps->count - 1];
    TRY(find_step(path, steps, folder, wanted));
    TRY(rollout_list_read(&list, folder));
    const Status status = rollout_read(file, path, rollout_list_digest(&list, wanted), vocabulary);
    rollout_list_free(&list);
    return status;
}

/* ---- the gap ---- */

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

static Status measure_gaps(RunRollout *view)
{
    const Rollout *rollout = &view->file.rollout;
    void *gap;
    if (rollout->count == 0 || !has_gold(rollout)) return STATUS_OK;
    TRY(memory_claim(&gap, (size_t)rollout->count * sizeof *view->gap));
    view->gap = gap;
    add_standardised(view->gap, rollout->score, rollout->count, 1);
    add_standardised(view->gap, rollout->gold, rollout->count, -1);
    return STATUS_OK;
}

/* ---- the view ---- */

static Status read_view(RunRollout *view, int64_t step)
{
    char folder[STAGE_PATH];
    StepList steps = {0};
    TRY(rollout_folder(folder, view->run));
    TRY(stage_read_tokenizer(&view->tokenizer, view->run, "sft"));
    Status status = rollout_steps(&steps, view->run);
    if (status == STATUS_OK) {
        status =
            read_step(&view->file, folder, &steps, step, tokenizer_vocabulary(view->tokenizer));
    }
    memory_release(steps.step);
    return status == STATUS_OK ? measure_gaps(view) : status;
}

Status run_rollout_open(RunRollout *view, const char *run, int64_t step)
{
    *view = (RunRollout){0};
    if (strlen(run) >= sizeof view->run) {
        return status_fail(STATUS_USAGE, "%.40s...: the path is too long", run);
    }
    snprintf(view->run, sizeof view->run, "%s", run);
    const Status status = read_view(view, step);
    if (status != STATUS_OK) run_rollout_close(view);
    return status;
}

void run_rollout_close(RunRollout *view)
{
    tokenizer_free(view->tokenizer);
    rollout_free(&view->file);
    memory_release(view->gap);
    *view = (RunRollout){0};
}

Status run_rollout_prompt(Bytes *text, const RunRollout *view, int64_t row)
{
    const Rollout *rollout = &view->file.rollout;
    return tokenizer_decode(text, view->tokenizer, rollout->id + rollout->offset[row],
                            (size_t)rollout->prompt_length[row]);
}

Status run_rollout_answer(Bytes *text, const RunRollout *view, int64_t row)
{
    const Rollout *rollout = &view->file.rollout;
    const int64_t first = rollout->offset[row] + rollout->prompt_length[row];
    return tokenizer_decode(text, view->tokenizer, rollout->id + first,
                            (size_t)rollout->response_length[row]);
}

Status run_rollout_token(Bytes *text, const RunRollout *view, int64_t token)
{
    const int32_t *id = view->file.rollout.id + token;
    if (*id == tokenizer_end(view->tokenizer)) return bytes_text(text, "<|endoftext|>");
    return tokenizer_decode(text, view->tokenizer, id, 1);
}

double run_rollout_k1(const RunRollout *view, int64_t token)
{
    const Rollout *rollout = &view->file.rollout;
    return (double)rollout->logp[token] - (double)rollout->reference_logp[token];
}
