#include "ppo/ppo_metrics.h"

#include "policy/guard.h"
#include "ppo/kl.h"

#include <math.h>
#include <string.h>

static const MetricInfo metrics[PPO_METRICS] = {
    [PPO_KL] = {"objective/kl", "nats a sequence",
                "mean over sequences of sum_t (logp_t - reference_logp_t)",
                "sequences of the batch", -0.5, 20,
                "above: the policy has left the reference, raise kl_coef"},
    [PPO_KL_K2] = {"objective/kl_k2", "nats a sequence",
                   "mean over sequences of sum_t (logp_t - reference_logp_t)^2 / 2",
                   "sequences of the batch", 0, 20,
                   "biased; far from objective/kl: rare large moves"},
    [PPO_KL_K3] = {"objective/kl_k3", "nats a sequence",
                   "mean over sequences of sum_t (e^-c_t - 1 + c_t), c = logp - reference_logp",
                   "sequences of the batch", 0, 20,
                   "a heavy tail: the mean of a batch fails above about half a nat, where "
                   "objective/kl and policy/kl_exact still hold; negative: a bug"},
    [PPO_ENTROPY] = {"objective/entropy", "nats a sequence", "mean over sequences of -sum_t logp_t",
                     "sequences of the batch", NAN, NAN,
                     "falling to 0: the policy gives one answer; grows with length"},
    [PPO_NON_SCORE_REWARD] = {"objective/non_score_reward", "reward a sequence",
                              "mean over sequences of sum_t -kl_coef (logp_t - reference_logp_t)",
                              "sequences of the batch", NAN, NAN,
                              "what the KL penalty takes; larger than scores: kl_coef is too high"},
    [PPO_RLHF_REWARD] = {"objective/rlhf_reward", "reward a sequence", "scores + non_score_reward",
                         "sequences of the batch", NAN, NAN,
                         "what PPO maximises; falling: the update is broken or too large"},
    [PPO_SCORES] = {"objective/scores", "standard deviations of the SFT policy's scores",
                    "mean of score, after the missing-EOS rule", "sequences of the batch", NAN, NAN,
                    "the proxy; rising while gold falls: over-optimisation"},
    [PPO_SCORES_STD] = {"objective/scores_std", "standard deviations of the SFT policy's scores",
                        "population standard deviation of score", "sequences of the batch", NAN,
                        NAN, "0: all answers score alike and nothing can be learned"},
    [PPO_RAW_SCORES] = {"objective/raw_scores", "standard deviations of the SFT policy's scores",
                        "mean of the reward model's normalised output", "sequences of the batch",
                        NAN, NAN, "above scores: answers run out of places"},
    [PPO_GOLD] = {"objective/gold", "gold reward", "mean of the task's true reward",
                  "sequences of the batch", NAN, NAN,
                  "what the simulated human really wants; nothing in training reads it"},
    [PPO_KL_COEF] = {"objective/kl_coef", "reward a nat", "coefficient in force in this iteration",
                     "nothing", NAN, NAN, "climbing without end: the target is too low"},
    [PPO_LENGTH] = {"objective/length", "tokens", "mean response length, EOS included",
                    "sequences of the batch", NAN, NAN,
                    "drifting to the limit: the reward model likes length"},
    [PPO_TERMINATED] = {"objective/terminated", "share", "answers that ended with EOS / answers",
                        "sequences of the batch", 0.5, 1, "low: answers run out of places"},
    [PPO_UNIQUE] = {"objective/unique", "share", "different answers / answers",
                    "sequences of the batch", 0.3, 1, "low: the policy repeats itself"},
    [PPO_EOS_TOKENS] = {"val/num_eos_tokens", "tokens", "number of EOS tokens in the responses",
                        "nothing: a count; an answer holds one at most", NAN, NAN,
                        "low beside ppo.rollouts: answers run out of places"},
    [PPO_EXPLAINED_VAR] = {"val/explained_var", "share",
                           "1 - mean (return - value)^2 / var(return)",
                           "response tokens of the batch", 0, 1,
                           "below 0: the critic is worse than a constant"},
    [PPO_KL_EXACT] = {"policy/kl_exact", "nats a sequence",
                      "mean over sequences of sum_t sum_v pi(v) (log pi(v) - log reference(v))",
                      "sequences of the batch, states as visited", 0, 20,
                      "objective/kl without its sampling noise in the tokens"},
    [PPO_SAMPLING_ENTROPY] = {"policy/sampling_entropy", "nats a token",
                              "mean of -sum_v pi(v) log pi(v) when sampled",
                              "response tokens of the batch", 0, NAN, "falling to 0: collapse"},
    [PPO_APPROXKL] = {"policy/approxkl_avg", "nats a token", "mean of (logp - old_logp)^2 / 2",
                      "response tokens, then minibatches of all epochs", 0, 0.05,
                      "above: steps are too large, lower the learning rate or the epochs"},
    [PPO_APPROXKL_K3] = {"policy/approxkl3_avg", "nats a token",
                         "mean of ratio - 1 - log ratio: KL from the sampler to the policy",
                         "response tokens, then minibatches of all epochs", 0, 0.05,
                         "as policy/approxkl_avg; far above it: a few ratios are huge"},
    [PPO_CLIPFRAC] = {"policy/clipfrac_avg", "share", "tokens whose clipped branch is the larger",
                      "response tokens, then minibatches of all epochs", 0, 0.3,
                      "above: steps are too large; always 0: steps are tiny"},
    [PPO_UPDATE_ENTROPY] = {"policy/entropy_avg", "nats a token", "mean of -sum_v pi(v) log pi(v)",
                            "response tokens, then minibatches of all epochs", 0, NAN,
                            "falling to 0: collapse"},
    [PPO_POLICY_LOSS] = {"loss/policy_avg", "whitened reward",
                         "mean of max(-A ratio, -A clip(ratio, 1 - eps, 1 + eps))",
                         "response tokens, then minibatches of all epochs", -0.5, 0.1,
                         "its size says little; not near 0: advantages are not whitened"},
    [PPO_VALUE_LOSS] = {"loss/value_avg", "reward squared",
                        "mean of max((V - R)^2, (V_clipped - R)^2) / 2",
                        "response tokens, then minibatches of all epochs", 0, NAN,
                        "rising: the critic lags behind the policy"},
    [PPO_VALUE_CLIPFRAC] = {"val/clipfrac_avg", "share",
                            "tokens whose clipped branch is the larger",
                            "response tokens, then minibatches of all epochs", 0, 0.5,
                            "high: the value clip holds the critic back"},
    [PPO_RATIO] = {"val/ratio", "1", "mean of exp(logp - old_logp)",
                   "response tokens, then minibatches of all epochs", 0.9, 1.1,
                   "far from 1: the policy moved away from its samples"},
    [PPO_RATIO_VAR] = {"val/ratio_var", "1", "variance of the minibatches' mean ratios (n - 1)",
                       "minibatches of all epochs", 0, 0.01, "above: steps are too large"},
    [PPO_FIRST_RATIO] = {"val/first_ratio_deviation", "1", "mean of |ratio - 1|",
                         "response tokens of the first minibatch", 0, 0,
                         "not 0: sampled and trained log-probabilities disagree, a bug"},
    [PPO_POLICY_NORM] = {"policy/grad_norm", "1", "global norm of the gradient before clipping",
                         "minibatches of all epochs", 0, NAN,
                         "spikes: the learning rate is too high"},
    [PPO_CRITIC_NORM] = {"val/grad_norm", "1", "global norm of the gradient before clipping",
                         "minibatches of all epochs", 0, NAN,
                         "spikes: the learning rate is too high"},
    [PPO_EPOCHS] = {"policy/epochs", "epochs", "passes made before target_kl ended the update",
                    "nothing", NAN, NAN, "below ppo.epochs: the update was ended early"},
    [PPO_LR] = {"lr", "1", "learning rate of the policy; 0 while only the critic is trained",
                "nothing", NAN, NAN,
                "held too high: policy/approxkl_avg and policy/clipfrac_avg climb; see "
                "ppo.learning_rate and ppo.schedule"},
    [PPO_CRITIC_LR] =
        {"critic_lr", "1", "learning rate of the critic", "nothing", NAN, NAN,
         "held too low: val/explained_var stays near 0; see ppo.critic_learning_rate"},
    [PPO_EPISODE] = {"episode", "answers", "answers generated so far", "nothing", NAN, NAN,
                     "what runs of different ppo.rollouts are compared by"},
    [PPO_EXACT_KL] = {"exact/kl", "nats a sequence",
                      "sum over prefixes of pi(prefix) sum_v pi(v) (log pi(v) - log reference(v))",
                      "prompts", 0, 20, "far from objective/kl: the estimate or the samples lie"},
    [PPO_EXACT_KL_K1] = {"exact/kl_k1", "nats a sequence",
                         "sum over answers of pi(y) sum_t (logp_t - reference_logp_t)", "prompts",
                         0, 20, "not exact/kl: the estimator is wrong, a bug"},
    [PPO_EXACT_KL_K3] = {"exact/kl_k3", "nats a sequence",
                         "sum over answers of pi(y) sum_t (e^-c_t - 1 + c_t), "
                         "c = logp - reference_logp",
                         "prompts", 0, 20,
                         "not exact/kl: a bug; objective/kl_k3 below it at a large KL: its heavy "
                         "tail is seldom sampled"},
    [PPO_EXACT_GOLD] = {"exact/gold", "gold reward", "sum over answers of pi(y) gold(y)", "prompts",
                        NAN, NAN, "falling while exact/proxy rises: over-optimisation"},
    [PPO_EXACT_PROXY] = {"exact/proxy", "standard deviations of the SFT policy's scores",
                         "sum over answers of pi(y) score(y), after the missing-EOS rule",
                         "prompts", NAN, NAN, "what objective/scores estimates"},
    [PPO_EXACT_ENTROPY] = {"exact/entropy", "nats a sequence",
                           "-sum over answers of pi(y) log pi(y)", "prompts", NAN, NAN,
                           "falling to 0: the policy gives one answer to a prompt"},
    [PPO_EXACT_OBJECTIVE] = {"exact/objective", "reward a sequence", "J = proxy - kl_coef kl",
                             "prompts", NAN, NAN,
                             "what PPO maximises; falling: the update is broken or too large"},
    [PPO_EXACT_OPTIMUM] = {"exact/optimum", "reward a sequence",
                           "J* = kl_coef log sum_y reference(y) exp(score(y) / kl_coef); the best "
                           "score where kl_coef is 0",
                           "prompts", NAN, NAN, "moves with kl_coef alone"},
    [PPO_EXACT_REGRET] = {"exact/regret", "reward a sequence", "J* - J = kl_coef KL(pi || pi*)",
                          "prompts", 0, NAN, "no longer falling: PPO is stuck below the optimum"},
    [PPO_EXACT_OPTIMUM_KL] = {"exact/optimum_kl", "nats a sequence",
                              "KL(pi* || pi), pi*(y) = reference(y) exp(score(y) / kl_coef) / Z",
                              "prompts", 0, NAN,
                              "large with a small regret: good answers are no longer sampled"},
    [PPO_EXACT_COSINE] = {"exact/gradient_cosine", "1",
                          "cosine of PPO's first gradient over the whole batch and dJ / dweights",
                          "nothing", 0, 1,
                          "around 0: noise, take more rollouts; below 0 for long: a bug"},
    [PPO_SKIPPED] = SKIPPED_METRIC_ROW("policy/skipped_updates"),
    [PPO_CRITIC_SKIPPED] = SKIPPED_METRIC_ROW("val/skipped_updates"),
};

const MetricTable ppo_metrics = {.metrics = metrics, .count = PPO_METRICS, .aliases = ppo_aliases};

/* Whether answer i is the first of its tokens. */
static bool first_of_its_kind(const Rollout *rollout, int i)
{
    const size_t length = (size_t)rollout->response_length[i];
    const int32_t *answer = rollout->id + rollout->offset[i] + rollout->prompt_length[i];
    for (int j = 0; j < i; j++) {
        const int32_t *other = rollout->id + rollout->offset[j] + rollout->prompt_length[j];
        if (rollout->response_length[j] == rollout->response_length[i] &&
            memcmp(other, answer, length * sizeof *answer) == 0) {
            return false;
        }
    }
    return true;
}

/* Adds what the tokens of sequence i say. */
static void add_sequence(double *value, const Rollout *rollout, int i)
{
    double k1 = 0.0, k2 = 0.0, k3 = 0.0, logp = 0.0;
    for (int64_t t = rollout->offset[i] + rollout->prompt_length[i]; t < rollout->offset[i + 1];
         t++) {
        const double change = (double)rollout->logp[t] - (double)rollout->reference_logp[t];
        k1 += kl_k1(change);
        k2 += kl_k2(change);
        k3 += kl_k3(change);
        logp += (double)rollout->logp[t];
    }
    const double score = (double)rollout->score[i], penalty = -rollout->kl_coef * k1;
    value[PPO_KL] += k1;
    value[PPO_KL_K2] += k2;
    value[PPO_KL_K3] += k3;
    value[PPO_ENTROPY] -= logp;
    value[PPO_NON_SCORE_REWARD] += penalty;
    value[PPO_RLHF_REWARD] += score + penalty;
    value[PPO_SCORES] += score;
    value[PPO_SCORES_STD] += score * score;
    value[PPO_RAW_SCORES] += (double)rollout->raw_score[i];
    value[PPO_GOLD] += (double)rollout->gold[i];
    value[PPO_LENGTH] += rollout->response_length[i];
    value[PPO_TERMINATED] += rollout->terminated[i];
    value[PPO_UNIQUE] += first_of_its_kind(rollout, i);
}

static double explained_variance(const Rollout *rollout)
{
    double count = 0.0, mean = 0.0, error = 0.0, variance = 0.0;
    for (int64_t t = 0; t < rollout->tokens; t++) {
        if (!rollout->is_response[t]) continue;
        count += 1.0;
        mean += (double)rollout->returns[t];
    }
    mean /= count;
    for (int64_t t = 0; t < rollout->tokens; t++) {
        if (!rollout->is_response[t]) continue;
        const double returns = (double)rollout->returns[t];
        const double miss = returns - (double)rollout->value[t];
        error += miss * miss;
        variance += (returns - mean) * (returns - mean);
    }
    return variance > 0.0 ? 1.0 - error / variance : NAN;
}

void ppo_rollout_metrics(double *value, const Rollout *rollout)
{
    for (int m = PPO_KL; m <= PPO_EXPLAINED_VAR; m++) value[m] = 0.0;
    for (int i = 0; i < rollout->count; i++) add_sequence(value, rollout, i);
    value[PPO_EOS_TOKENS] = value[PPO_TERMINATED];
    for (int m = PPO_KL; m < PPO_EOS_TOKENS; m++) value[m] /= rollout->count;
    value[PPO_SCORES_STD] =
        sqrt(fmax(value[PPO_SCORES_STD] - value[PPO_SCORES] * value[PPO_SCORES], 0.0));
    value[PPO_KL_COEF] = rollout->kl_coef;
    value[PPO_EXPLAINED_VAR] = explained_variance(rollout);
}
