#include "ppo/difference.h"

#include "policy/network_file.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* The bits of a zero's sign count, those of a NaN do not. */
static bool same_float(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (!isfinite(a) && !isfinite(b));
}

static bool same_double(double a, double b)
{
    return a == b || (!isfinite(a) && !isfinite(b));
}

/* Index of the first difference; `count` where there is none. */
static size_t first_difference(const float *a, const float *b, size_t count)
{
    if (memcmp(a, b, count * sizeof *a) == 0) return count;
    size_t i = 0;
    while (i < count && same_float(a[i], b[i])) i++;
    return i;
}

Status difference_tokens(const char *file, const char *column, const Rollout *rollout,
                         const float *found, const float *again)
{
    const size_t count = (size_t)rollout->tokens;
    const size_t at = first_difference(found, again, count);
    if (at == count) return STATUS_OK;
    int sequence = 0;
    while (rollout->offset[sequence + 1] <= (int64_t)at) sequence++;
    return status_fail(STATUS_BROKEN,
                       "%s: sequence %d, token %" PRId64 ": %s is %.9g, computed again %.9g", file,
                       sequence, (int64_t)at - rollout->offset[sequence], column, (double)found[at],
                       (double)again[at]);
}

Status difference_sequences(const char *file, const char *column, int count, const float *found,
                            const float *again)
{
    const size_t at = first_difference(found, again, (size_t)count);
    if (at == (size_t)count) return STATUS_OK;
    return status_fail(STATUS_BROKEN, "%s: sequence %zu: %s is %.9g, computed again %.9g", file, at,
                       column, (double)found[at], (double)again[at]);
}

Status difference_metrics(const char *file, const MetricColumns *journal, const MetricTable *table,
                          int64_t step, const double *value, int first, int last)
{
    for (int m = first; m <= last; m++) {
        const double *column = metric_column(journal, table->metrics[m].name);
        const double found = column != NULL ? column[step - 1] : (double)NAN;
        if (same_double(found, value[m])) continue;
        return status_fail(STATUS_BROKEN, "%s: step %" PRId64 ": %s is %.17g, computed again %.17g",
                           file, step, table->metrics[m].name, found, value[m]);
    }
    return STATUS_OK;
}

/* `kind` says whether weights or moments are compared. */
static Status compare_tensors(const char *folder, const char *name, const char *kind,
                              const Model *model, const float *found, const float *again)
{
    const size_t at = first_difference(found, again, model->count);
    if (at == model->count) return STATUS_OK;
    char tensor[128];
    size_t place;
    model_weight_at(tensor, &place, model->shape, at);
    return status_fail(STATUS_BROKEN, "%s/%s.h5: %s%s, element %zu: is %.9g, computed again %.9g",
                       folder, name, kind, tensor, place, (double)found[at], (double)again[at]);
}

static Status compare_network(const char *folder, const char *name, const Model *found,
                              const AdamW *moments, const Model *again, const AdamW *adamw)
{
    const ModelShape *a = &found->shape, *b = &again->shape;
    if (a->vocabulary != b->vocabulary || a->positions != b->positions ||
        a->channels != b->channels || a->heads != b->heads || a->layers != b->layers ||
        a->causal != b->causal || a->head != b->head) {
        return status_fail(STATUS_BROKEN, "%s/%s.h5: not of the shape of this run", folder, name);
    }
    TRY(compare_tensors(folder, name, "", again, found->flat, again->flat));
    if (adamw == NULL) return STATUS_OK;
    if (moments->step != adamw->step) {
        return status_fail(STATUS_BROKEN,
                           "%s/%s.h5: after %" PRId64 " updates, computed again %" PRId64, folder,
                           name, moments->step, adamw->step);
    }
    TRY(compare_tensors(folder, name, "first moment of ", again, moments->m, adamw->m));
    return compare_tensors(folder, name, "second moment of ", again, moments->v, adamw->v);
}

Status difference_network(const char *folder, const char *name, const Manifest *manifest,
                          const Model *model, const AdamW *adamw)
{
    Model found = {0};
    AdamW moments = {0};
    Status status =
        network_read(&found, adamw != NULL ? &moments : NULL, folder, name, manifest, NULL);
    if (status == STATUS_OK) {
        status = compare_network(folder, name, &found, &moments, model, adamw);
    }
    model_free(&found);
    adamw_free(&moments);
    return status;
}

Status difference_digest(const char *file, const char *what, Digest found, Digest again)
{
    if (digest_equal(found, again)) return STATUS_OK;
    char is[DIGEST_TEXT], computed[DIGEST_TEXT];
    digest_text(is, found);
    digest_text(computed, again);
    return status_fail(STATUS_BROKEN, "%s: %s is %s, computed again %s", file, what, is, computed);
}
