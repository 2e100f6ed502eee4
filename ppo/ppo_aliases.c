/* What other frameworks call the metrics of PPO and evaluation, as they log them; where unit, sign
 * or mean differ it stands behind the name. OpenAI: lm-human-preferences. */
#include "ppo/ppo_metrics.h"

#include <stddef.h>

const MetricAlias ppo_aliases[] = {
    {"objective/kl",
     "TRL objective/kl; OpenAI objective/kl; alpaca_farm objective/kl_sum_seq and "
     "objective/kl_avg_seq (nats a token); OpenRLHF train/kl (nats a token); verl "
     "actor/reward_kl_penalty (nats a token); NeMo-RL kl_penalty (inside the loss); trlX "
     "policy/sqrt_kl (its square root; policy/kl_per_token is the square root of the mean a "
     "token); safe-rlhf train/kl_divergence; RL4LMs rollout_info/kl_div_mean; NeMo-Aligner "
     "init_policy_kl"},
    {"objective/kl_k3", "TRL objective/kl where kl_estimator is k3"},
    {"objective/entropy",
     "TRL objective/entropy; OpenAI objective/entropy; alpaca_farm objective/entropies"},
    {"objective/non_score_reward",
     "TRL objective/non_score_reward; alpaca_farm objective/non_score_rewards; RL4LMs "
     "rollout_info/ep_kl_rew"},
    {"objective/rlhf_reward",
     "TRL objective/rlhf_reward; OpenAI objective/score_total; OpenRLHF train/return (about: after "
     "the KL penalty); verl critic/rewards/mean; NeMo-Aligner rewards_with_kl; "
     "safe-rlhf train/reward_with_kl_penalty; alpaca_farm objective/shaped_rewards"},
    {"objective/scores",
     "TRL objective/scores; OpenAI objective/score; alpaca_farm objective/rewards; OpenRLHF "
     "train/reward and rollout/reward_mean; verl critic/score/mean; NeMo-RL reward; NeMo-Aligner "
     "rewards; trlX rollout_scores/mean; DeepSpeed-Chat reward; safe-rlhf train/reward (all in "
     "the units of their reward model, not standard deviations of SFT's)"},
    {"objective/scores_std", "OpenRLHF rollout/reward_std; trlX rollout_scores/std"},
    {"objective/kl_coef",
     "OpenAI objective/kl_coef; alpaca_farm objective/kl_coef; verl "
     "actor/reward_kl_penalty_coeff; trlX kl_ctl_value; RL4LMs rollout_info/kl_coeff; TRL fixes "
     "it and logs nothing"},
    {"objective/length",
     "OpenRLHF train/response_length; verl response_length/mean; NeMo-Aligner response_lengths; "
     "RL4LMs rollout_info/ep_lens; safe-rlhf train/mean_generated_length"},
    {"objective/terminated", "NeMo-Aligner fraction_of_samples_properly_ended; OpenRLHF "
                             "train/truncated (the other answers: "
                             "1 minus it); verl response_length/clip_ratio (1 minus it)"},
    {"val/num_eos_tokens", "TRL val/num_eos_tokens"},
    {"val/explained_var",
     "OpenAI ppo/val/var_explained; verl critic/vf_explained_var; NeMo-RL critic/explained_var; "
     "RL4LMs ppo/explained_variance; TRL has none"},
    {"policy/approxkl_avg",
     "TRL policy/approxkl_avg; OpenAI ppo/policy/approxkl; trlX policy/approx_kl; RL4LMs "
     "ppo/approx_kl; OpenRLHF train/ppo_kl and verl actor/ppo_kl (mean of old_logp - logp: either "
     "sign); NeMo-RL policy_kl_error"},
    {"policy/clipfrac_avg",
     "TRL policy/clipfrac_avg; OpenAI ppo/policy/clipfrac; OpenRLHF train/ppo_clip_ratio; verl "
     "actor/pg_clipfrac; trlX policy/clipfrac"},
    {"policy/entropy_avg",
     "TRL policy/entropy_avg; OpenAI ppo/policy/entropy; verl actor/entropy; NeMo-RL "
     "approx_entropy (from sampled tokens); RL4LMs ppo/entropy_loss (other sign)"},
    {"loss/policy_avg",
     "TRL loss/policy_avg; OpenAI ppo/loss/policy; OpenRLHF train/policy_loss; verl actor/pg_loss; "
     "NeMo-RL loss; trlX losses/policy_loss; RL4LMs ppo/policy_gradient_loss; DeepSpeed-Chat "
     "actor_loss; safe-rlhf train/actor_loss"},
    {"loss/value_avg",
     "TRL loss/value_avg; OpenAI ppo/loss/value; OpenRLHF train/critic_loss; verl critic/vf_loss; "
     "NeMo-RL critic/loss; trlX losses/value_loss; RL4LMs ppo/value_loss; DeepSpeed-Chat "
     "critic_loss; safe-rlhf train/reward_critic_loss"},
    {"val/clipfrac_avg",
     "TRL val/clipfrac_avg; OpenAI ppo/val/clipfrac; verl critic/vf_clipfrac; NeMo-RL "
     "critic/vf_clipfrac; trlX values/clipfrac"},
    {"val/ratio", "TRL val/ratio; NeMo-RL probs_ratio; NeMo-Aligner ppo_ratio; trlX ratio"},
    {"val/ratio_var", "TRL val/ratio_var"},
    {"policy/grad_norm", "OpenRLHF train/actor_grad_norm; verl actor/grad_norm; NeMo-RL grad_norm"},
    {"val/grad_norm",
     "OpenRLHF train/critic_grad_norm; verl critic/grad_norm; NeMo-RL critic/grad_norm"},
    {"lr", "TRL lr; OpenRLHF train/actor_lr; verl actor/lr; trlX learning_rate_group_0; safe-rlhf "
           "train/actor_lr"},
    {"critic_lr", "OpenRLHF train/critic_lr; verl critic/lr; NeMo-RL critic/lr; safe-rlhf "
                  "train/reward_critic_lr; TRL has one rate for both"},
    {"episode", "TRL episode; OpenAI elapsed/episodes"},
    {NULL, NULL},
};
