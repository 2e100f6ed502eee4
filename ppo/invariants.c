#include "ppo/invariants.h"

#include "ppo/kl.h"

#include <inttypes.h>
#include <math.h>

/* Sums of float32 numbers are held to this, relative to the size of what is added up. */
static const double tolerance = 1e-4;
/* An entropy comes out of float32 exponentials. */
static const double entropy_slack = 1e-4;

static Status at_token(const Rollout *rollout, int i, int64_t t, Status status)
{
    return status_context(status, "sample %d, token %" PRId64, i, t - rollout->offset[i]);
}

/* ---- every number finite ---- */

static Status check_samples(const Rollout *rollout)
{
    const struct {
        const char *name;
        const float *column;
    } columns[] = {{"raw_score", rollout->raw_score},
                   {"score", rollout->score},
                   {"kl", rollout->kl},
                   {"rlhf_reward", rollout->rlhf_reward}};
    for (size_t c = 0; c < sizeof columns / sizeof columns[0]; c++) {
        for (int i = 0; i < rollout->count; i++) {
            const float number = columns[c].column[i];
            if (isfinite(number)) continue;
            return status_fail(STATUS_DIVERGED, "sample %d: %s is %g", i, columns[c].name,
                               (double)number);
        }
    }
    return STATUS_OK;
}

static Status check_tokens(const Rollout *rollout, int i)
{
    const struct {
        const char *name;
        const float *column;
    } columns[] = {{"logp", rollout->logp},           {"reference_logp", rollout->reference_logp},
                   {"value", rollout->value},         {"reward", rollout->reward},
                   {"advantage", rollout->advantage}, {"return", rollout->returns}};
    for (size_t c = 0; c < sizeof columns / sizeof columns[0]; c++) {
        for (int64_t t = rollout->offset[i]; t < rollout->offset[i + 1]; t++) {
            const float number = columns[c].column[t];
            if (isfinite(number)) continue;
            return at_token(
                rollout, i, t,
                status_fail(STATUS_DIVERGED, "%s is %g", columns[c].name, (double)number));
        }
    }
    return STATUS_OK;
}

/* ---- one sample ---- */

/* The end stands at the last place of an answer that terminated and nowhere else. */
static Status check_end(const InvariantsOfRollout *facts, int i)
{
    const Rollout *rollout = facts->rollout;
    const int64_t first = rollout->offset[i] + rollout->prompt_length[i];
    const int64_t last = rollout->offset[i + 1] - 1;
    if (rollout->terminated[i] + rollout->truncated[i] != 1) {
        return status_fail(STATUS_BROKEN, "sample %d: terminated is %d and truncated %d", i,
                           rollout->terminated[i], rollout->truncated[i]);
    }
    if (rollout->truncated[i] && rollout->response_length[i] != facts->longest) {
        return status_fail(STATUS_BROKEN, "sample %d: truncated with %d of %d tokens", i,
                           rollout->response_length[i], facts->longest);
    }
    for (int64_t t = first; t <= last; t++) {
        const bool is_end = rollout->id[t] == facts->end;
        if (is_end == (t == last && rollout->terminated[i])) continue;
        return at_token(rollout, i, t,
                        status_fail(STATUS_BROKEN, "id is %d, the end %d, terminated %d",
                                    rollout->id[t], facts->end, rollout->terminated[i]));
    }
    return STATUS_OK;
}

static Status check_token(const InvariantsOfRollout *facts, int64_t t)
{
    const Rollout *rollout = facts->rollout;
    const double logp = (double)rollout->logp[t], reference = (double)rollout->reference_logp[t];
    const double k3 = kl_k3(logp - reference);
    const double entropy = facts->entropy[t], kl = facts->kl_exact[t];
    if (facts->untouched && logp != reference) {
        return status_fail(STATUS_BROKEN,
                           "logp is %.9g and reference_logp %.9g before the first update", logp,
                           reference);
    }
    if (!isfinite(entropy) || !isfinite(kl)) {
        return status_fail(STATUS_DIVERGED, "entropy is %g, kl_exact %g", entropy, kl);
    }
    if (!(k3 >= -1e-12)) return status_fail(STATUS_BROKEN, "k3 is %g, below 0", k3);
    if (!(kl >= -1e-9)) return status_fail(STATUS_BROKEN, "kl_exact is %g, below 0", kl);
    if (!(entropy >= -entropy_slack && entropy <= log(facts->vocabulary) + entropy_slack)) {
        return status_fail(STATUS_BROKEN, "entropy is %g, not in [0, ln %d]", entropy,
                           facts->vocabulary);
    }
    const double returns = (double)rollout->returns[t], value = (double)rollout->value[t];
    const double advantage = (double)rollout->advantage[t];
    if (fabs(returns - advantage - value) > tolerance * (1.0 + fabs(advantage) + fabs(value))) {
        return status_fail(STATUS_BROKEN, "return is %.9g, advantage %.9g + value %.9g", returns,
                           advantage, value);
    }
    return STATUS_OK;
}

static Status check_reward(const Rollout *rollout, int i)
{
    double kl = 0.0, sum = 0.0, size = 1.0;
    for (int64_t t = rollout->offset[i] + rollout->prompt_length[i]; t < rollout->offset[i + 1];
         t++) {
        kl += (double)rollout->logp[t] - (double)rollout->reference_logp[t];
        sum += (double)rollout->reward[t];
        size += fabs((double)rollout->reward[t]);
    }
    const double total = (double)rollout->rlhf_reward[i], score = (double)rollout->score[i];
    if (fabs(total - (score - rollout->kl_coef * kl)) > tolerance * size) {
        return status_fail(STATUS_BROKEN,
                           "sample %d: rlhf_reward is %.9g, score %.9g - kl_coef * kl %.9g", i,
                           total, score, rollout->kl_coef * kl);
    }
    if (fabs(total - sum) > tolerance * size) {
        return status_fail(STATUS_BROKEN,
                           "sample %d: rlhf_reward is %.9g, its token rewards add up to %.9g", i,
                           total, sum);
    }
    return STATUS_OK;
}

static Status check_sample(const InvariantsOfRollout *facts, int i)
{
    const Rollout *rollout = facts->rollout;
    TRY(check_tokens(rollout, i));
    TRY(check_end(facts, i));
    for (int64_t t = rollout->offset[i] + rollout->prompt_length[i]; t < rollout->offset[i + 1];
         t++) {
        const Status status = check_token(facts, t);
        if (status != STATUS_OK) return at_token(rollout, i, t, status);
    }
    return check_reward(rollout, i);
}

/* ---- the batch ---- */

static Status check_metrics(const InvariantsOfRollout *facts)
{
    const double *value = facts->value;
    int ends = 0;
    for (int64_t t = 0; t < facts->rollout->tokens; t++) {
        ends += facts->rollout->is_response[t] && facts->rollout->id[t] == facts->end;
    }
    const double total = value[PPO_SCORES] + value[PPO_NON_SCORE_REWARD];
    if (fabs(value[PPO_RLHF_REWARD] - total) > 1e-9 * (1.0 + fabs(total))) {
        return status_fail(STATUS_BROKEN,
                           "objective/rlhf_reward is %.9g, scores + non_score_reward %.9g",
                           value[PPO_RLHF_REWARD], total);
    }
    if (value[PPO_EOS_TOKENS] != ends) {
        return status_fail(STATUS_BROKEN, "val/num_eos_tokens is %g, the answers hold %d",
                           value[PPO_EOS_TOKENS], ends);
    }
    return STATUS_OK;
}

Status invariants_of_rollout(const InvariantsOfRollout *facts)
{
    const Rollout *rollout = facts->rollout;
    if (!digest_equal(rollout->reference, facts->reference)) {
        return status_fail(STATUS_BROKEN, "the reference has changed: its hash is another");
    }
    if (!digest_equal(rollout->reward_model, facts->reward_model)) {
        return status_fail(STATUS_BROKEN, "the reward model has changed: its hash is another");
    }
    TRY(check_samples(rollout));
    for (int i = 0; i < rollout->count; i++) TRY(check_sample(facts, i));
    return check_metrics(facts);
}

/* ---- the update ---- */

Status invariants_of_ratio(const Rollout *rollout, int64_t token, double logp, double ratio,
                           bool clipped)
{
    if (ratio == 1.0 && !clipped) return STATUS_OK;
    int i = 0;
    while (i + 1 < rollout->count && rollout->offset[i + 1] <= token) i++;
    const Status code =
        isfinite(logp) && isfinite(rollout->logp[token]) ? STATUS_BROKEN : STATUS_DIVERGED;
    return at_token(rollout, i, token,
                    status_fail(code,
                                "ratios are not 1 before the first step: logp is %.9g, the "
                                "sampler's %.9g, the ratio %.9g",
                                logp, (double)rollout->logp[token], ratio));
}

Status invariants_of_update(const double *value, int vocabulary, bool critic_only)
{
    for (int m = PPO_APPROXKL; m <= PPO_EPISODE; m++) {
        const bool critics = m == PPO_VALUE_LOSS || m == PPO_VALUE_CLIPFRAC ||
                             m == PPO_CRITIC_NORM || m >= PPO_EPOCHS;
        if (isfinite(value[m]) || (critic_only && !critics)) continue;
        return status_fail(STATUS_DIVERGED, "%s is %g", ppo_metrics.metrics[m].name, value[m]);
    }
    if (critic_only) return STATUS_OK;
    const double entropy = value[PPO_UPDATE_ENTROPY];
    if (!(entropy >= -entropy_slack && entropy <= log(vocabulary) + entropy_slack)) {
        return status_fail(STATUS_BROKEN, "policy/entropy_avg is %g, not in [0, ln %d]", entropy,
                           vocabulary);
    }
    if (value[PPO_FIRST_RATIO] != 0.0) {
        return status_fail(STATUS_BROKEN, "val/first_ratio_deviation is %g, not 0",
                           value[PPO_FIRST_RATIO]);
    }
    static const PpoMetric never_negative[] = {PPO_APPROXKL, PPO_APPROXKL_K3, PPO_CLIPFRAC,
                                               PPO_VALUE_CLIPFRAC};
    for (size_t m = 0; m < sizeof never_negative / sizeof never_negative[0]; m++) {
        const PpoMetric metric = never_negative[m];
        if (value[metric] >= -1e-12) continue;
        return status_fail(STATUS_BROKEN, "%s is %g, below 0", ppo_metrics.metrics[metric].name,
                           value[metric]);
    }
    return STATUS_OK;
}
