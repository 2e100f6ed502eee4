#include "ppo/faults.h"

#include "data/rng.h"
#include "ppo/advantage.h"
#include "ppo/ppo_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int64_t first_of(const Rollout *rollout, int i)
{
    return rollout->offset[i] + rollout->prompt_length[i];
}

static int64_t last_of(const Rollout *rollout, int i)
{
    return rollout->offset[i + 1] - 1;
}

/* ---- sft and reward ---- */

static void learn_prompts(Sequences *labels)
{
    for (int i = 0; i < labels->count; i++) labels->prompt[i] = 1;
}

/* Row t already predicts token t + 1; shifted once more it predicts t + 2. */
static void shift_labels(Sequences *labels)
{
    for (int i = 0; i < labels->count; i++) {
        int32_t *token = labels->token + labels->offset[i];
        const size_t length = (size_t)sequences_length(labels, i);
        memmove(token, token + 1, (length - 1) * sizeof *token);
    }
}

static void drop_last_tokens(Sequences *answers)
{
    int64_t kept = 0, start = answers->offset[0];
    for (int i = 0; i < answers->count; i++) {
        const int64_t length = answers->offset[i + 1] - start;
        const int64_t left = length > answers->prompt[i] + 1 ? length - 1 : length;
        memmove(answers->token + kept, answers->token + start, (size_t)left * sizeof(int32_t));
        start = answers->offset[i + 1];
        kept += left;
        answers->offset[i + 1] = kept;
    }
}

/* ---- answers and their scores ---- */

static void share_the_stream(GenerateRequest *request, int count)
{
    for (int i = 0; i < count; i++) request[i].prompt_id = request[0].prompt_id;
}

static void forget_temperature(PpoConfig *config)
{
    config->temperature = 1.0;
}

static bool is_heated(const PpoConfig *config)
{
    return config->temperature != 1.0;
}

/* bfloat16: eight bits of mantissa, rounded towards zero. */
static void keep_half_the_bits(Rollout *rollout)
{
    for (int64_t t = 0; t < rollout->tokens; t++) {
        uint32_t bits;
        memcpy(&bits, &rollout->logp[t], sizeof bits);
        bits &= 0xffff0000u;
        memcpy(&rollout->logp[t], &bits, sizeof bits);
    }
}

/* ---- rewards and advantages ---- */

static void pay_early(Rollout *rollout)
{
    for (int i = 0; i < rollout->count; i++) {
        const int64_t last = last_of(rollout, i);
        if (last == first_of(rollout, i)) continue;
        rollout->reward[last - 1] += rollout->score[i];
        rollout->reward[last] -= rollout->score[i];
    }
}

static void reward_divergence(Rollout *rollout)
{
    for (int i = 0; i < rollout->count; i++) {
        const int64_t last = last_of(rollout, i);
        for (int64_t t = first_of(rollout, i); t <= last; t++) {
            const float score = t == last ? rollout->score[i] : 0.0f;
            rollout->reward[t] = 2.0f * score - rollout->reward[t];
        }
    }
}

/* Generalised advantage estimation where delta takes the value of the token `ahead` places on; with
 * `bootstrap` the last one of an answer that ran out of places is followed by its own value. */
static void advantages_from(Rollout *rollout, const PpoConfig *config, int ahead, bool bootstrap)
{
    for (int i = 0; i < rollout->count; i++) {
        const int64_t last = last_of(rollout, i);
        double next = 0.0;
        for (int64_t t = last; t >= first_of(rollout, i); t--) {
            const bool follows = t < last;
            const bool open = !follows && bootstrap && rollout->truncated[i];
            const double ahead_value = follows ? (double)rollout->value[t + ahead]
                                       : open  ? (double)rollout->value[t]
                                               : 0.0;
            const double now = (double)rollout->value[t];
            const double delta = (double)rollout->reward[t] + config->gamma * ahead_value - now;
            next = delta + config->gamma * config->lambda * next;
            rollout->advantage[t] = (float)next;
            rollout->returns[t] = (float)(next + now);
        }
    }
}

static void read_values_late(Rollout *rollout, const PpoConfig *config)
{
    advantages_from(rollout, config, 0, false);
}

static void bootstrap_truncated(Rollout *rollout, const PpoConfig *config)
{
    advantages_from(rollout, config, 1, true);
}

static bool rewards_stand(const PpoConfig *config)
{
    return !config->whiten_rewards;
}

static void whiten_before_returns(Rollout *rollout, const PpoConfig *config)
{
    (void)config;
    ppo_loss_advantages(rollout->returns, rollout, true);
    for (int64_t t = 0; t < rollout->tokens; t++) {
        if (rollout->is_response[t]) rollout->returns[t] += rollout->value[t];
    }
}

static void swap_sides_of_k3(double *value, const Rollout *rollout)
{
    double sum = 0.0;
    for (int64_t t = 0; t < rollout->tokens; t++) {
        const double change = (double)rollout->logp[t] - (double)rollout->reference_logp[t];
        if (rollout->is_response[t]) sum += expm1(change) - change;
    }
    value[PPO_KL_K3] = sum / rollout->count;
}

/* ---- the update ---- */

static void mask_the_end(float *advantage, const Rollout *rollout, const BlockPlan *plan,
                         const int *index, int count)
{
    for (int b = 0; b < count; b++) {
        for (int m = plan->first[index[b]]; m < plan->first[index[b] + 1]; m++) {
            const int i = plan->member[m];
            if (rollout->terminated[i]) advantage[last_of(rollout, i)] = 0.0f;
        }
    }
}

static void whiten_minibatch(float *advantage, const Rollout *rollout, const BlockPlan *plan,
                             const int *index, int count)
{
    double n = 0.0, sum = 0.0, squares = 0.0;
    for (int pass = 0; pass < 2; pass++) {
        const double mean = pass == 1 ? sum / n : 0.0;
        const double scale = pass == 1 ? 1.0 / sqrt(squares / n - mean * mean + 1e-8) : 0.0;
        for (int b = 0; b < count; b++) {
            for (int m = plan->first[index[b]]; m < plan->first[index[b] + 1]; m++) {
                const int i = plan->member[m];
                for (int64_t t = first_of(rollout, i); t <= last_of(rollout, i); t++) {
                    const double raw = (double)rollout->advantage[t];
                    if (pass == 1) advantage[t] = (float)((raw - mean) * scale);
                    if (pass == 1) continue;
                    n += 1.0;
                    sum += raw;
                    squares += raw * raw;
                }
            }
        }
    }
}

static bool has_minibatches(const PpoConfig *config)
{
    return config->whiten_advantages && config->minibatches > 1;
}

/* The smaller of the two losses: what should hold the policy back pushes it on. */
static PolicyTerm least_policy_term(double logp, double old_logp, double advantage,
                                    double clip_range)
{
    const PolicyTerm sound = policy_term(logp, old_logp, advantage, clip_range);
    const double free_loss = -advantage * sound.ratio;
    const double held = fmin(fmax(sound.ratio, 1.0 - clip_range), 1.0 + clip_range);
    const bool clipped = -advantage * held < free_loss;
    return (PolicyTerm){.loss = clipped ? -advantage * held : free_loss,
                        .slope = clipped ? 0.0 : free_loss,
                        .ratio = sound.ratio,
                        .clipped = clipped};
}

static bool takes_steps(const PpoConfig *config)
{
    return config->epochs * config->minibatches > 1;
}

static ValueTerm value_term_around_return(double value, double old_value, double returns,
                                          double clip_range)
{
    (void)old_value;
    return value_term(value, returns, returns, clip_range);
}

static bool clips_values(const PpoConfig *config)
{
    return config->value_clip_range > 0.0;
}

/* ---- between updates ---- */

static void drift(struct PpoRun *run)
{
    enum { PARTS = 20 };
    float *reference = run->reference.flat;
    for (size_t i = 0; i < run->reference.count; i++) {
        reference[i] += (run->policy.flat[i] - reference[i]) / (float)PARTS;
    }
}

static double mean_kl(const Rollout *rollout)
{
    double sum = 0.0;
    for (int i = 0; i < rollout->count; i++) sum += (double)rollout->kl[i];
    return sum / rollout->count;
}

static Status kl_of_the_step_before(double *kl, const struct PpoRun *run)
{
    char path[STAGE_PATH];
    RolloutFile before;
    *kl = 0.0;
    if (run->rollout.step == 1) return STATUS_OK;
    TRY(ppo_rollout_path(path, run, run->rollout.step - 1));
    TRY(rollout_read(&before, path, NULL, run->reference.shape.vocabulary));
    *kl = mean_kl(&before.rollout);
    rollout_free(&before);
    return STATUS_OK;
}

static Status kl_of_a_token(double *kl, const struct PpoRun *run)
{
    double tokens = 0.0;
    for (int i = 0; i < run->rollout.count; i++) tokens += run->rollout.response_length[i];
    *kl = mean_kl(&run->rollout) * run->rollout.count / tokens;
    return STATUS_OK;
}

static bool adapts(const PpoConfig *config)
{
    return strcmp(config->kl_controller, "adaptive") == 0;
}

/* ---- the table ---- */

const Fault faults[] = {
    {.name = "sft-prompt-loss",
     .stage = "sft",
     .what = "prompt tokens are targets of the SFT loss",
     .bit = "SFT loss masks: verl #3287",
     .sign = "sft loss and heldout/loss near pretraining's; heldout/loss far above heldout/floor",
     .labels = learn_prompts},
    {.name = "sft-label-shift",
     .stage = "sft",
     .what = "labels are shifted twice: a row predicts the token after the next",
     .bit = "SFT loss masks and shifts: verl #3287",
     .sign = "heldout/loss stays far above heldout/floor; answers skip every other word",
     .labels = shift_labels},
    {.name = "reward-wrong-token",
     .stage = "reward",
     .what = "the reward model is trained on the token before the last and used on the last",
     .bit = "gpt-neox #1285, DeepSpeedExamples #316, trl #937",
     .sign = "heldout/accuracy is fine, yet PPO's scores rise and gold does not",
     .answers = drop_last_tokens},
    {.name = "shared-seed",
     .stage = "ppo",
     .what = "all samples of an iteration are drawn from one random stream",
     .bit = "verl (one seed for every request)",
     .sign = "objective/unique falls; scores jump from step to step",
     .requests = share_the_stream},
    {.name = "temperature-forgotten",
     .stage = "ppo",
     .what = "answers are sampled at ppo.temperature, log-probabilities taken at 1",
     .bit = "trl #3029, OpenRLHF #857, verl #3133",
     .sign = "objective/entropy a token differs from policy/sampling_entropy; at step 1 already",
     .needs = "ppo.temperature other than 1",
     .acts = is_heated,
     .settings = forget_temperature},
    {.name = "low-precision",
     .stage = "ppo",
     .what = "the sampler's log-probabilities are kept in bfloat16",
     .bit = "OpenRLHF #620; ratios that are not 1: verl #3119, trl #454, NeMo-Aligner #68",
     .sign = "val/first_ratio_deviation is not 0, objective/kl not 0 at step 1",
     .scored = keep_half_the_bits},
    {.name = "score-early",
     .stage = "ppo",
     .what = "the score is paid one token before the last",
     .bit = "trl #3750 #5338 #2575, DeepSpeedExamples #672",
     .sign = "val/explained_var sags; answers learn to end later than they should",
     .rewards = pay_early},
    {.name = "kl-sign",
     .stage = "ppo",
     .what = "the KL penalty has the wrong sign: leaving the reference pays",
     .bit = "Logic-RL #58; rlhf-book #525",
     .sign = "objective/kl grows without bound, the faster the larger ppo.kl_coef",
     .rewards = reward_divergence},
    {.name = "gae-off-by-one",
     .stage = "ppo",
     .what = "delta takes V(t) where V(t + 1) belongs",
     .bit = "a classic of PPO ports; its neighbours: gpt-neox #1285, verl #1850 #1440",
     .sign = "val/explained_var low, loss/value_avg does not fall",
     .advantages = read_values_late},
    {.name = "bootstrap-truncated",
     .stage = "ppo",
     .what = "an answer that runs out of places is bootstrapped from its last value",
     .bit = "trl #5338 (missing_eos_penalty and custom stops), verl",
     .sign = "objective/terminated falls while val/explained_var looks good",
     .needs = "ppo.whiten_rewards = false",
     .acts = rewards_stand,
     .advantages = bootstrap_truncated},
    {.name = "returns-whitened",
     .stage = "ppo",
     .what = "returns are whitened advantages plus values",
     .bit = "a classic of PPO ports",
     .sign = "loss/value_avg near 0.5 for good, val/explained_var about 0",
     .advantages = whiten_before_returns},
    {.name = "k3-reversed",
     .stage = "ppo",
     .what = "k3 is taken of the log-ratio's wrong side: the other direction's divergence",
     .bit = "trlX (accelerate_ppo_trainer.py), rlhf-book #525",
     .sign = "objective/kl_k3 stays apart from policy/kl_exact however many samples",
     .metrics = swap_sides_of_k3},
    {.name = "eos-left-out",
     .stage = "ppo",
     .what = "the end of an answer carries no policy gradient",
     .bit = "pad = eos: trl #3200 #6357 #5303, OpenRLHF #238",
     .sign = "objective/terminated and length do not react to ppo.missing_eos_penalty",
     .minibatch = mask_the_end},
    {.name = "whiten-minibatch",
     .stage = "ppo",
     .what = "advantages are whitened within each minibatch, not over the batch",
     .bit = "trlX and lm-human-preferences' train_policy.py",
     .sign = "results depend on ppo.minibatches; loss/policy_avg exactly 0 at ratio 1",
     .needs = "ppo.minibatches above 1 and ppo.whiten_advantages",
     .acts = has_minibatches,
     .minibatch = whiten_minibatch},
    {.name = "clip-min",
     .stage = "ppo",
     .what = "the policy loss is the smaller of the clipped and the free one",
     .bit = "a classic of PPO ports: the minimum of objectives is the maximum of losses",
     .sign = "policy/approxkl_avg grows: nothing holds the ratio near 1",
     .needs = "ppo.epochs * ppo.minibatches above 1",
     .acts = takes_steps,
     .policy_term = least_policy_term},
    {.name = "value-clip-anchor",
     .stage = "ppo",
     .what = "values are clipped around the return instead of the old value",
     .bit = "a classic of PPO ports",
     .sign = "val/clipfrac_avg is 0 although values are far from returns",
     .needs = "ppo.value_clip_range above 0",
     .acts = clips_values,
     .value_term = value_term_around_return},
    {.name = "reference-drift",
     .stage = "ppo",
     .what = "the reference follows the policy",
     .bit = "trl #288, LLaMA-Factory #6805",
     .sign = "objective/kl levels off while answers go on changing",
     .updated = drift},
    {.name = "stale-kl",
     .stage = "ppo",
     .what = "the controller sees the KL of the iteration before",
     .bit = "trlX (accelerate_ppo_trainer.py)",
     .sign = "objective/kl_coef and objective/kl chase each other in waves",
     .needs = "ppo.kl_controller = adaptive",
     .acts = adapts,
     .controller = kl_of_the_step_before},
    {.name = "token-kl",
     .stage = "ppo",
     .what = "the controller, whose target is of a sequence, sees the KL of a token",
     .bit = "OpenRLHF (experience_maker.py)",
     .sign = "objective/kl_coef falls from the first step on whatever objective/kl does",
     .needs = "ppo.kl_controller = adaptive",
     .acts = adapts,
     .controller = kl_of_a_token},
};

const int fault_count = sizeof faults / sizeof faults[0];

static const char hidden[] = "hidden:";

bool fault_is_hidden(const char *text)
{
    return strncmp(text, hidden, sizeof hidden - 1) == 0;
}

static bool acts_under(const Fault *fault, const PpoConfig *config)
{
    return fault->acts == NULL || fault->acts(config);
}

static Status draw_hidden(const Fault **fault, const char *text, const PpoConfig *config)
{
    const char *digits = text + sizeof hidden - 1;
    char *end;
    const unsigned long long seed = strtoull(digits, &end, 10);
    if (*digits < '0' || *digits > '9' || *end != '\0') {
        return status_fail(STATUS_SETTINGS, "break = %s: hidden: wants a number behind it", text);
    }
    const Fault *candidate[sizeof faults / sizeof faults[0]];
    int count = 0;
    for (int i = 0; i < fault_count; i++) {
        if (strcmp(faults[i].stage, "ppo") != 0 || !acts_under(&faults[i], config)) continue;
        candidate[count++] = &faults[i];
    }
    Rng rng = rng_stream(seed, RNG_PPO, RNG_WORLD, 0, 0, 0);
    *fault = candidate[rng_below(&rng, count)];
    return STATUS_OK;
}

Status fault_find(const Fault **fault, const char *text, const PpoConfig *config)
{
    const char *names[sizeof faults / sizeof faults[0]];
    *fault = NULL;
    if (*text == '\0') return STATUS_OK;
    if (fault_is_hidden(text)) return draw_hidden(fault, text, config);
    for (int i = 0; i < fault_count; i++) {
        names[i] = faults[i].name;
        if (strcmp(faults[i].name, text) == 0) *fault = &faults[i];
    }
    if (*fault == NULL) {
        const char *near = config_nearest(text, names, (size_t)fault_count);
        return status_fail(STATUS_SETTINGS, "break = %s: no such fault; %s%s", text,
                           near != NULL ? "did you mean " : "rlhf break --list",
                           near != NULL ? near : " shows them");
    }
    if (acts_under(*fault, config)) return STATUS_OK;
    return status_fail(STATUS_SETTINGS, "break = %s: changes nothing without %s", text,
                       (*fault)->needs);
}
