#include "policy/guard.h"

#include "data/io.h"
#include "data/json.h"
#include "data/path.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { GUARD_BYTES_MAX = 1 << 12 };

/* The least standard deviation, in means: losses that were all alike do not make a spike of the
 * first that is not. */
static const double least_deviation = 1e-3;

bool not_finite(double x)
{
    const uint64_t exponent = UINT64_C(0x7ff) << 52;
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits & exponent) == exponent;
}

static Status judge_broken(Guard *guard, Status found, double loss)
{
    if (guard->in_a_row + 1 < GUARD_IN_A_ROW) {
        guard->in_a_row++;
        guard->skipped++;
        return STATUS_OK;
    }
    if (found == STATUS_OK) found = status_fail(STATUS_DIVERGED, "the loss is %g", loss);
    return status_context(found, "%d updates in a row were not finite", GUARD_IN_A_ROW);
}

static void take_loss(Guard *guard, double loss)
{
    const double away = loss - guard->mean;
    const double weight =
        guard->losses < GUARD_WARMUP ? 1.0 / (double)(guard->losses + 1) : 1.0 / GUARD_WARMUP;
    guard->mean += weight * away;
    guard->variance = (1.0 - weight) * (guard->variance + weight * away * away);
    guard->losses++;
}

static Status judge_spike(bool *skip, Guard *guard, double loss, const OptimiserConfig *config)
{
    const double deviation = fmax(sqrt(guard->variance), least_deviation * fabs(guard->mean));
    const double limit = guard->mean + config->spike_sigmas * deviation;
    if (guard->losses < GUARD_WARMUP || loss <= limit) {
        take_loss(guard, loss);
        guard->spikes = 0;
        return STATUS_OK;
    }
    *skip = true;
    if (strcmp(config->on_spike, "skip") == 0) {
        guard->mean += (limit - guard->mean) / GUARD_WARMUP;
        guard->skipped++;
        if (++guard->spikes == GUARD_WARMUP) *guard = (Guard){.skipped = guard->skipped};
        return STATUS_OK;
    }
    return status_fail(STATUS_DIVERGED,
                       "the loss is %g, above %g: %g standard deviations over its "
                       "running mean of %g",
                       loss, limit, config->spike_sigmas, guard->mean);
}

Status guard_judge(bool *skip, Guard *guard, Status found, double loss,
                   const OptimiserConfig *config)
{
    *skip = found != STATUS_OK || not_finite(loss);
    if (*skip) return judge_broken(guard, found, loss);
    const bool off = config->on_spike[0] == '\0' || strcmp(config->on_spike, "off") == 0;
    if (!off) TRY(judge_spike(skip, guard, loss, config));
    guard->in_a_row = 0;
    return STATUS_OK;
}

double guard_metric(const Guard *guard)
{
    return guard->skipped > 0 ? (double)guard->skipped : (double)NAN;
}

/* `reason`, what is kept, and what changes the outcome: going on alone repeats it. */
static Status diverged(const Stage *stage, const char *reason, const char *kept)
{
    const char *name = stage->name;
    return status_fail(STATUS_DIVERGED,
                       "%.800s%s; to try: a lower %s.learning_rate or gradients clipped sooner "
                       "(%s.max_grad_norm), by --set with --restart %s",
                       reason, kept, name, name, name);
}

Status guard_keep(const Stage *stage, int64_t step, GuardSave *save, void *context)
{
    char reason[STATUS_TEXT], kept[2 * STAGE_PATH + 128] = "";
    status_keep(reason);
    if (stage->last_step == step || save(context, step) == STATUS_OK) {
        snprintf(kept, sizeof kept,
                 "; kept: %s/checkpoints/step-%06" PRId64 ", from which rlhf resume %s repeats it",
                 stage->folder, step, stage->run);
    }
    return diverged(stage, reason, kept);
}

Status guard_explain(const Stage *stage, Status status, const char *dump)
{
    if (status != STATUS_DIVERGED && status != STATUS_BROKEN) return status;
    const bool dumped = dump != NULL && io_exists(dump);
    char reason[STATUS_TEXT], kept[2 * STAGE_PATH + 128], newest[STAGE_PATH + 64];
    status_keep(reason);
    snprintf(newest, sizeof newest, "nothing of the stage yet");
    if (stage->last_step >= 0) {
        snprintf(newest, sizeof newest, "%s/checkpoints/step-%06" PRId64, stage->folder,
                 stage->last_step);
    }
    snprintf(kept, sizeof kept, "; kept: %s%s%s", dumped ? dump : "", dumped ? " and " : "",
             newest);
    if (status == STATUS_DIVERGED) return diverged(stage, reason, kept);
    return status_fail(status, "%.800s%s", reason, kept);
}

static Status write_text(Bytes *text, const Guard *guard)
{
    JsonWriter json = json_writer(text, 2);
    json_open(&json, NULL, '{');
    json_put_integer(&json, "skipped", guard->skipped);
    json_put_integer(&json, "in_a_row", guard->in_a_row);
    json_put_integer(&json, "losses", guard->losses);
    json_put_number(&json, "mean", guard->mean);
    json_put_number(&json, "variance", guard->variance);
    if (guard->spikes > 0) json_put_integer(&json, "spikes", guard->spikes);
    json_close(&json);
    return json_done(&json);
}

Status guard_write(char names[][128], int *count, const char *folder, const char *name,
                   const Guard *guard)
{
    if (guard->skipped == 0 && guard->losses == 0) return STATUS_OK;
    char path[PATH_TEXT];
    snprintf(names[*count], 128, "%s-guard.json", name);
    TRY(path_join(path, folder, names[*count]));
    Bytes text = {0};
    Status status = write_text(&text, guard);
    if (status == STATUS_OK) status = io_publish(path, text.data, text.count);
    bytes_free(&text);
    if (status == STATUS_OK) ++*count;
    return status;
}

static Status parse(Guard *guard, Json root)
{
    TRY(json_get_integer(&guard->skipped, root, "skipped"));
    TRY(json_get_integer(&guard->in_a_row, root, "in_a_row"));
    TRY(json_get_integer(&guard->losses, root, "losses"));
    TRY(json_get_number(&guard->mean, root, "mean"));
    TRY(json_get_number(&guard->variance, root, "variance"));
    const Json spikes = json_find(root, "spikes");
    return spikes.item != NULL ? json_get_integer(&guard->spikes, root, "spikes") : STATUS_OK;
}

Status guard_read(Guard *guard, const char *folder, const char *name, const Manifest *manifest)
{
    *guard = (Guard){0};
    char file[128], path[PATH_TEXT];
    snprintf(file, sizeof file, "%s-guard.json", name);
    const ManifestFile *known = manifest_find(manifest, file);
    if (known == NULL) return STATUS_OK;
    TRY(path_join(path, folder, file));
    JsonDocument *document = NULL;
    TRY(json_read(&document, STATUS_DATA, path, GUARD_BYTES_MAX, &known->digest));
    const Status status = parse(guard, json_root(document));
    json_free(document);
    return status;
}
