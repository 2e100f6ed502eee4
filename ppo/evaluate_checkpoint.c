#include "ppo/evaluation.h"
#include "reward/answer_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char pools_file[] = "pools.h5";

enum { POOLS_VERSION = 1, NAME = 32 };

static void policy_file(char name[NAME], int which)
{
    snprintf(name, NAME, "%s.h5", policy_stage[which]);
}

static void name_measures(AnswerColumn column[MEASURES], const PolicyAnswers *p)
{
    for (int m = 0; m < MEASURES; m++) {
        column[m] = (AnswerColumn){evaluation_measure[m], STORE_F64, p->value[m]};
    }
}

/* ---- writing ---- */

static Status put_pools(StoreImage *image, const BestOfN *best)
{
    const size_t extent[2] = {(size_t)best->sizes, (size_t)best->prompts};
    TRY(store_put_text(image, "/", "format", "rlhf pools"));
    TRY(store_put_integer(image, "/", "format_version", POOLS_VERSION));
    TRY(store_put_integer(image, "/", "done", best->done));
    TRY(store_put_number(image, "/", "unique", best->unique));
    TRY(store_put(image, "/pool/gold", STORE_F64, 2, extent, best->prompt_gold, false));
    return store_put(image, "/pool/score", STORE_F64, 2, extent, best->prompt_score, false);
}

static Status write_pools(const BestOfN *best, const char *folder)
{
    char path[PATH_TEXT];
    TRY(path_join(path, folder, pools_file));
    StoreImage *image;
    TRY(store_create(&image));
    const Status status = put_pools(image, best);
    if (status == STATUS_OK) return store_publish(image, path, NULL);
    store_discard(image);
    return status_context(status, "%s", path);
}

Status evaluation_save(Evaluation *e)
{
    Stage *stage = e->job->stage;
    char folder[STAGE_PATH], name[POLICIES][NAME];
    const char *names[POLICIES + 1];
    int count = 0;
    TRY(stage_checkpoint_begin(stage, folder, e->step));
    for (int which = 0; which < POLICIES; which++) {
        if (!e->policy[which].present) continue;
        AnswerColumn column[MEASURES];
        name_measures(column, &e->policy[which]);
        policy_file(name[which], which);
        TRY(answer_file_write(&e->policy[which].answers, column, MEASURES, folder, name[which]));
        names[count++] = name[which];
    }
    if (e->best.done > 0) {
        TRY(write_pools(&e->best, folder));
        names[count++] = pools_file;
    }
    return stage_checkpoint(stage, folder, e->step, names, count, NULL, 0);
}

/* ---- reading ---- */

static Status take_pools(BestOfN *best, const StoreArray *array, int done)
{
    const int64_t version = *(const int64_t *)array[0].data;
    const int64_t stored = *(const int64_t *)array[1].data;
    if (version != POOLS_VERSION || stored != done) {
        return status_fail(STATUS_DATA,
                           "format version %" PRId64 " and %" PRId64 " prompts, not %d and %d",
                           version, stored, POOLS_VERSION, done);
    }
    best->done = done;
    best->unique = *(const double *)array[2].data;
    memcpy(best->prompt_gold, array[3].data, sizeof(double) * array[3].count);
    memcpy(best->prompt_score, array[4].data, sizeof(double) * array[4].count);
    return STATUS_OK;
}

static Status read_pools(Evaluation *e, const ManifestFile *file, int done)
{
    BestOfN *best = &e->best;
    char path[PATH_TEXT];
    TRY(path_join(path, e->job->stage->checkpoint, pools_file));
    if (file == NULL) return status_fail(STATUS_DATA, "%s: not in the manifest", path);
    const StoreField schema[] = {
        {.name = "/", .attribute = "format_version", .type = STORE_I64},
        {.name = "/", .attribute = "done", .type = STORE_I64},
        {.name = "/", .attribute = "unique", .type = STORE_F64},
        {.name = "/pool/gold",
         .type = STORE_F64,
         .rank = 2,
         .extent = {best->sizes, best->prompts}},
        {.name = "/pool/score",
         .type = STORE_F64,
         .rank = 2,
         .extent = {best->sizes, best->prompts}},
    };
    StoreContent content;
    TRY(store_read(&content, path, &file->digest, schema, 5));
    const Status status = take_pools(best, content.array, done);
    store_content_free(&content);
    return status_context(status, "%s", path);
}

static Status read_policy(Evaluation *e, int which, const char *name)
{
    const Stage *stage = e->job->stage;
    PolicyAnswers *p = &e->policy[which];
    AnswerColumn column[MEASURES];
    TRY(policy_answers_claim(p, e->count));
    name_measures(column, p);
    TRY(answer_file_read(&p->answers, column, MEASURES, e->count, stage->checkpoint, name,
                         &stage->checkpoint_manifest, tokenizer_vocabulary(e->tokenizer)));
    p->present = true;
    return STATUS_OK;
}

Status evaluation_load(Evaluation *e)
{
    const Stage *stage = e->job->stage;
    if (!stage->resumed) return STATUS_OK;
    const Manifest *manifest = &stage->checkpoint_manifest;
    e->step = stage->step;
    for (int which = 0; which < POLICIES; which++) {
        char name[NAME];
        policy_file(name, which);
        if (manifest_find(manifest, name) != NULL) TRY(read_policy(e, which, name));
    }
    if (stage->step <= POLICIES) return STATUS_OK;
    if (stage->step - POLICIES > e->best.prompts) {
        return status_fail(STATUS_DATA, "%s: step %" PRId64 " of %d", stage->checkpoint,
                           stage->step, POLICIES + e->best.prompts);
    }
    return read_pools(e, manifest_find(manifest, pools_file), (int)stage->step - POLICIES);
}
