/* rlhf verify DIR and rlhf ppo DIR --from-rollouts K: is a run what it says? Both only look: they
 * take no lock and change nothing. */
#include "data/json.h"
#include "data/parallel.h"
#include "policy/gemm.h"
#include "ppo/verify.h"
#include "scripts/rlhf/command_list.h"
#include "scripts/rlhf/pipeline.h"
#include "scripts/rlhf/run.h"
#include "scripts/rlhf/terminal.h"

#include <stdlib.h>
#include <string.h>

enum { LIVES_BYTES_MAX = 1 << 26 };

/* A run directory opened for looking. */
typedef struct Subject {
    char run[STAGE_PATH];
    Settings settings;
    Options options;
    Pipeline pipeline;
} Subject;

static Status subject_open(Subject *subject, const Cli *cli)
{
    const ConfigTable table = options_table();
    *subject = (Subject){0};
    TRY(gemm_setup());
    TRY(run_path(subject->run, cli->word[0]));
    TRY(settings_of_run(&subject->settings, subject->run));
    config_defaults(&table, &subject->options);
    for (int i = 0; i < cli->givens; i++) {
        const Given *given = &cli->given[i];
        if (strcmp(given->flag->name, "--set") != 0) continue;
        TRY(settings_set(&subject->settings, &subject->options, given->value));
    }
    if (subject->options.threads == 0) subject->options.threads = parallel_cpus();
    subject->pipeline = (Pipeline){
        .settings = &subject->settings, .options = &subject->options, .run = subject->run};
    return pipeline_open(&subject->pipeline);
}

/* Bits depend on the BLAS kernel: where a life of the run had another, a difference may be that. */
static bool other_kernel(char kernel[64], Json lives)
{
    for (Json life = json_first(lives); life.item != NULL; life = json_next(life)) {
        const char *name;
        if (json_get_text(&name, life, "blas_kernel") != STATUS_OK) continue;
        if (strcmp(name, gemm_kernel()) == 0) continue;
        snprintf(kernel, 64, "%s", name);
        return true;
    }
    return false;
}

static Status add_kernel(Status status, const char *run)
{
    if (status != STATUS_BROKEN) return status;
    char reason[1024], path[STAGE_PATH + 16], kernel[64];
    snprintf(reason, sizeof reason, "%s", status_message());
    snprintf(path, sizeof path, "%s/run.json", run);
    JsonDocument *document = NULL;
    const bool other =
        json_read(&document, STATUS_DATA, path, LIVES_BYTES_MAX, NULL) == STATUS_OK &&
        other_kernel(kernel, json_find(json_root(document), "lives"));
    json_free(document);
    status = status_fail(STATUS_BROKEN, "%s", reason);
    if (!other) return status;
    return status_context(status,
                          "made with the BLAS kernel %s, repeated with %s, whose bits differ",
                          kernel, gemm_kernel());
}

/* ---- rlhf ppo DIR --from-rollouts K ---- */

static void print_update(FILE *out, const Replay *replay)
{
    const long long step = (long long)replay->run.state.step;
    fprintf(out, "update %lld  its metrics are those of the run", step);
    if (replay->as_next_rollout) {
        fprintf(out, ", its weights those of rollouts/%06lld.h5", step + 1);
    }
    if (replay->as_checkpoint) {
        fprintf(out, ", its weights and moments those of checkpoints/step-%06lld", step);
    }
    if (replay->as_published) {
        fprintf(out, ", its weights those of policy.h5 and critic.h5");
    }
    fputc('\n', out);
    fflush(out);
}

static Status replay_to(FILE *out, Replay *replay, int64_t last)
{
    if (last > replay->steps) {
        return status_fail(STATUS_USAGE, "--from-rollouts %lld: the run has done %lld updates",
                           (long long)last, (long long)replay->steps);
    }
    TRY(replay_seek(replay, last - 1));
    const long long first = (long long)replay->run.state.step + 1;
    if (first == 1) {
        fprintf(out, "from the networks before step 1\n");
    } else {
        fprintf(out, "from checkpoints/step-%06lld\n", first - 1);
    }
    while (replay->run.state.step < last) {
        TRY(replay_update(replay));
        print_update(out, replay);
    }
    fprintf(out, "update%s %lld", first < last ? "s" : "", first);
    if (first < last) fprintf(out, " to %lld", (long long)last);
    fprintf(out, " repeated from the stored rollouts: equal to the bit\n");
    return STATUS_OK;
}

static Status replay_subject(FILE *out, const Subject *subject, int64_t last)
{
    int index;
    Stage stage;
    PipelineSources sources;
    TRY(pipeline_find(&index, "ppo"));
    TRY(pipeline_stage(&stage, &sources, &subject->pipeline, index));
    const PpoJob job = pipeline_ppo_job(&subject->pipeline, &stage);
    Replay replay;
    Status status = replay_open(&replay, &job);
    if (status == STATUS_OK) status = replay_to(out, &replay, last);
    replay_close(&replay);
    bytes_free(&sources.text);
    return add_kernel(status, subject->run);
}

Status command_ppo(Cli *cli)
{
    if (!cli_has(cli, "--from-rollouts")) return command_stage(cli);
    if (cli_has(cli, "--restart")) {
        return status_fail(STATUS_USAGE, "--from-rollouts and --restart exclude each other");
    }
    int64_t last;
    Subject subject;
    TRY(cli_integer(&last, cli, "--from-rollouts", 0, 1, 1e9));
    Status status = subject_open(&subject, cli);
    if (status == STATUS_OK) status = replay_subject(cli->out, &subject, last);
    pipeline_close(&subject.pipeline);
    return status;
}

/* ---- rlhf verify DIR ---- */

typedef struct Verification {
    const Subject *subject;
    FILE *out;           /* of the table; NULL: none */
    int64_t first, last; /* updates to repeat; first 0: those after kept checkpoints */
    VerifyReport report;
} Verification;

/* "3..7" or "3". */
static Status read_steps(Verification *verification, const char *text)
{
    if (text == NULL) return STATUS_OK;
    char *end;
    verification->first = verification->last = strtoll(text, &end, 10);
    if (end != text && strncmp(end, "..", 2) == 0) {
        const char *second = end + 2;
        verification->last = strtoll(second, &end, 10);
        if (end == second) end = NULL;
    }
    if (end == NULL || end == text || *end != '\0' || verification->first < 1 ||
        verification->last < verification->first) {
        return status_fail(STATUS_USAGE, "--steps %s: expected A..B with 1 <= A <= B", text);
    }
    return STATUS_OK;
}

/* What a stage was made from; its inputs must still be there. */
static Status stage_files(Verification *verification, int index)
{
    const Pipeline *pipeline = &verification->subject->pipeline;
    Digest made_from;
    const Status status = pipeline_made_from(&made_from, pipeline, index);
    if (status == STATUS_DATA) {
        return status_context(STATUS_BROKEN, "%s/%s", pipeline->run, pipeline_stages[index].name);
    }
    TRY(status);
    return verify_files(&verification->report, pipeline->run, pipeline_stages[index].name,
                        made_from);
}

static bool is_finished(const char *run, const char *stage)
{
    char path[STAGE_PATH];
    snprintf(path, sizeof path, "%.320s/%s/manifest.json", run, stage);
    return io_exists(path);
}

static Status all_files(Verification *verification)
{
    const char *run = verification->subject->run;
    for (int i = 0; i < STAGES; i++) {
        if (is_finished(run, pipeline_stages[i].name)) {
            TRY(stage_files(verification, i));
        } else if (verification->out != NULL) {
            fprintf(verification->out, "%-9s not finished: its files have no hashes yet\n",
                    pipeline_stages[i].name);
        }
    }
    char size[16];
    const VerifyReport *report = &verification->report;
    if (verification->out == NULL) return STATUS_OK;
    fprintf(verification->out,
            "files     %lld, published by %d stages, %s: sizes and hashes hold\n",
            (long long)report->files, report->stages, bytes_text_of(size, (double)report->bytes));
    fflush(verification->out);
    return STATUS_OK;
}

static Status all_numbers(Verification *verification, Replay *replay)
{
    FILE *out = verification->out;
    VerifyReport *report = &verification->report;
    if (verification->last > replay->steps) {
        return status_fail(STATUS_USAGE, "--steps: the run has done %lld updates",
                           (long long)replay->steps);
    }
    TRY(verify_rollouts(report, replay));
    if (out != NULL) {
        fprintf(out,
                "rollouts  %lld, with %lld answers, %lld tokens: rewards, advantages, returns, "
                "objective/* come out again\n",
                (long long)report->rollouts, (long long)report->answers, (long long)report->tokens);
        fflush(out);
    }
    TRY(verify_updates(report, replay, verification->first, verification->last));
    if (out != NULL) {
        fprintf(
            out,
            "updates   %lld, with %lld tokens scored again: weights, moments, policy/*, loss/*, "
            "val/* equal to the bit\n",
            (long long)report->updates, (long long)report->scored);
    }
    return STATUS_OK;
}

static bool has_begun(const char *run)
{
    char path[STAGE_PATH];
    snprintf(path, sizeof path, "%.320s/ppo/metrics.jsonl", run);
    return io_exists(path);
}

/* What is wrong in the numbers of a damaged file is worth knowing: `files` is how those were. */
static Status verify_ppo(Verification *verification, Status files, const PpoJob *job)
{
    if (files == STATUS_BROKEN) return verify_locate(files, job);
    Replay replay;
    Status status = replay_open(&replay, job);
    if (status == STATUS_OK) status = all_numbers(verification, &replay);
    replay_close(&replay);
    return add_kernel(status, verification->subject->run);
}

/* The files first. */
static Status verify_subject(Verification *verification)
{
    const Subject *subject = verification->subject;
    int index;
    Stage stage;
    PipelineSources sources;
    Status status = all_files(verification);
    if (!has_begun(subject->run) || (status != STATUS_OK && status != STATUS_BROKEN)) return status;
    char reason[1024];
    snprintf(reason, sizeof reason, "%s", status_message());
    TRY(pipeline_find(&index, "ppo"));
    const bool known = pipeline_stage(&stage, &sources, &subject->pipeline, index) == STATUS_OK;
    if (!known || status == STATUS_BROKEN) status = status_fail(STATUS_BROKEN, "%s", reason);
    if (!known) return status;
    const PpoJob job = pipeline_ppo_job(&subject->pipeline, &stage);
    status = verify_ppo(verification, status, &job);
    bytes_free(&sources.text);
    return status;
}

static Status print_report(FILE *out, const Verification *verification, const char *difference)
{
    const VerifyReport *report = &verification->report;
    Bytes text = {0};
    JsonWriter json = json_writer(&text, 2);
    json_open(&json, NULL, '{');
    json_put_text(&json, "run", verification->subject->run);
    json_put_bool(&json, "verified", difference == NULL);
    if (difference != NULL) json_put_text(&json, "difference", difference);
    json_put_integer(&json, "stages", report->stages);
    json_put_integer(&json, "files", report->files);
    json_put_integer(&json, "bytes", (int64_t)report->bytes);
    json_put_integer(&json, "rollouts", report->rollouts);
    json_put_integer(&json, "answers", report->answers);
    json_put_integer(&json, "tokens", report->tokens);
    json_put_integer(&json, "updates", report->updates);
    json_put_integer(&json, "tokens_scored", report->scored);
    json_close(&json);
    const Status status = json_done(&json);
    if (status == STATUS_OK) fputs(text.data, out);
    bytes_free(&text);
    return status;
}

static Status verify_and_report(Cli *cli, Verification *verification)
{
    const bool json = cli_has(cli, "--json");
    verification->out = json ? NULL : cli->out;
    const Status status = verify_subject(verification);
    if (!json || (status != STATUS_OK && status != STATUS_BROKEN)) return status;
    char difference[1024];
    snprintf(difference, sizeof difference, "%s", status_message());
    TRY(print_report(cli->out, verification, status == STATUS_OK ? NULL : difference));
    return status == STATUS_OK ? STATUS_OK : status_fail(STATUS_BROKEN, "%s", difference);
}

Status command_verify(Cli *cli)
{
    Subject subject;
    Verification verification = {.subject = &subject};
    TRY(read_steps(&verification, cli_value(cli, "--steps")));
    Status status = subject_open(&subject, cli);
    if (status == STATUS_OK) status = verify_and_report(cli, &verification);
    pipeline_close(&subject.pipeline);
    return status;
}
