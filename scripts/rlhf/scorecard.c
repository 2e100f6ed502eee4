#include "scripts/rlhf/scorecard.h"

#include "data/json.h"
#include "data/stage.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SCORECARD_BYTES = 1 << 20 };

static Status read_number(double *number, Json object, const char *key)
{
    *number = NAN;
    if (object.item == NULL) return STATUS_OK;
    const Json value = json_find(object, key);
    if (value.item == NULL || json_kind(value) == JSON_NULL) return STATUS_OK;
    return json_number(number, value);
}

static Status read_estimate(Estimate *estimate, Json object, const char *key)
{
    const Json value = object.item != NULL ? json_find(object, key) : (Json){0};
    TRY(read_number(&estimate->mean, value, "mean"));
    TRY(read_number(&estimate->error, value, "stderr"));
    return read_number(&estimate->deviation, value, "std");
}

static Status read_policy(PolicyScore *policy, Json object)
{
    snprintf(policy->name, sizeof policy->name, "%.31s", json_key(object));
    TRY(read_estimate(&policy->gold, object, "gold"));
    TRY(read_estimate(&policy->score, object, "scores"));
    TRY(read_estimate(&policy->kl, object, "kl"));
    TRY(read_estimate(&policy->length, object, "length"));
    return read_number(&policy->terminated, object, "terminated");
}

static Status read_size(BestOfSize *size, Json object)
{
    int64_t n;
    TRY(json_get_integer(&n, object, "n"));
    TRY(json_get_number(&size->kl, object, "kl_bound"));
    if (n < 1 || n > INT_MAX || !(size->kl >= 0.0)) {
        return json_fail(object, "best of %" PRId64 " at %g nats makes no sense", n, size->kl);
    }
    size->n = (int)n;
    TRY(read_estimate(&size->gold, object, "gold"));
    return read_estimate(&size->score, object, "scores");
}

static Status read_best_of_n(Scorecard *card, Json best)
{
    if (best.item == NULL) return STATUS_OK;
    const Json sizes = json_find(best, "sizes");
    if (sizes.item == NULL) return json_fail(best, "sizes: missing");
    for (Json s = json_first(sizes); s.item != NULL; s = json_next(s)) {
        if (card->sizes == SCORECARD_SIZES) {
            return json_fail(s, "more than %d sizes", (int)SCORECARD_SIZES);
        }
        TRY(read_size(&card->best[card->sizes++], s));
    }
    return STATUS_OK;
}

static Status read_card(Scorecard *card, Json root)
{
    double prompts;
    TRY(json_get_number(&prompts, root, "prompts"));
    card->prompts = (int)prompts;
    const Json policies = json_find(root, "policies");
    if (policies.item == NULL) return json_fail(root, "policies: missing");
    for (Json p = json_first(policies); p.item != NULL && card->count < SCORECARD_POLICIES;
         p = json_next(p)) {
        TRY(read_policy(&card->policy[card->count++], p));
    }
    TRY(read_estimate(&card->win_rate, json_find(root, "win_rate"), "ppo_over_sft"));
    const Json judge = json_find(root, "reward_model");
    TRY(read_number(&card->accuracy, judge, "accuracy"));
    TRY(read_number(&card->gold_accuracy, judge, "gold_accuracy"));
    TRY(read_number(&card->ceiling, judge, "ceiling"));
    return read_best_of_n(card, json_find(root, "best_of_n"));
}

Status scorecard_read(Scorecard *card, const char *run)
{
    *card = (Scorecard){0};
    char path[STAGE_PATH];
    TRY(path_join(path, run, "evaluate/scorecard.json"));
    JsonDocument *document;
    TRY(json_read(&document, STATUS_DATA, path, SCORECARD_BYTES, NULL));
    const Status status = read_card(card, json_root(document));
    json_free(document);
    return status;
}

const PolicyScore *scorecard_policy(const Scorecard *card, const char *name)
{
    for (int i = 0; i < card->count; i++) {
        if (strcmp(card->policy[i].name, name) == 0) return &card->policy[i];
    }
    return NULL;
}

double scorecard_gain(const Scorecard *card)
{
    const PolicyScore *ppo = scorecard_policy(card, "ppo"), *sft = scorecard_policy(card, "sft");
    if (ppo == NULL || sft == NULL) return NAN;
    return (ppo->gold.mean - sft->gold.mean) / sft->gold.deviation;
}
