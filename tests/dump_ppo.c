/* Prints what this program makes of a batch of answers, for tests/oracle_ppo.py to compare with
 * PyTorch: rewards, advantages, whitening, both losses and their gradients by hidden states and by
 * the weights of the heads. A line: name, count, numbers. */
#include "data/rng.h"
#include "policy/gemm.h"
#include "policy/trainer.h"
#include "ppo/advantage.h"
#include "ppo/ppo_update.h"

#include <stdio.h>
#include <stdlib.h>

enum { SEQUENCES = 9, V = 11, C = 8, LONGEST = 14, TOKENS = SEQUENCES * LONGEST };

static void show(const char *name, const float *x, int64_t count)
{
    printf("%s %lld", name, (long long)count);
    for (int64_t i = 0; i < count; i++) printf(" %.9g", (double)x[i]);
    printf("\n");
}

static void fill(float *x, int64_t count, double low, double high, Rng *rng)
{
    for (int64_t i = 0; i < count; i++) x[i] = (float)(low + (high - low) * rng_uniform(rng));
}

/* Random answers of 1 to 8 tokens in one block. */
static void draw_rollout(Rollout *rollout, Rng *rng)
{
    int64_t at = 0;
    rollout->count = SEQUENCES;
    rollout->kl_coef = 0.3;
    for (int i = 0; i < SEQUENCES; i++) {
        rollout->offset[i] = at;
        rollout->prompt_length[i] = 1 + rng_below(rng, 5);
        rollout->response_length[i] = i == 0 ? 1 : 1 + rng_below(rng, 8);
        rollout->score[i] = (float)(4.0 * rng_uniform(rng) - 2.0);
        for (int t = 0; t < rollout->prompt_length[i] + rollout->response_length[i]; t++, at++) {
            rollout->id[at] = rng_below(rng, V);
            rollout->is_response[at] = t >= rollout->prompt_length[i];
        }
    }
    rollout->offset[SEQUENCES] = rollout->tokens = at;
    fill(rollout->logp, at, -3.2, -1.6, rng);
    fill(rollout->reference_logp, at, -3.2, -1.6, rng);
    fill(rollout->value, at, -0.6, 0.6, rng);
}

static Model head(ModelHead kind, Rng *rng)
{
    Model model;
    const ModelShape shape = {.vocabulary = V,
                              .positions = LONGEST,
                              .channels = C,
                              .heads = 2,
                              .layers = 1,
                              .causal = true,
                              .head = kind};
    if (model_init(&model, shape) != STATUS_OK) exit(1);
    fill(model.flat, (int64_t)model.count, -0.6, 0.6, rng);
    return model;
}

/* One loss on given hidden states. */
static void show_loss(const char *name, TrainerLoss *loss, PpoLoss *context, ModelHead kind,
                      Rng *rng)
{
    static float hidden[TOKENS * C], dhidden[TOKENS * C], rows[TOKENS * C], drows[TOKENS * C];
    static float logits[TOKENS * V], scalar[TOKENS], dscalar[TOKENS];
    static int32_t start[SEQUENCES + 1], member[SEQUENCES];
    const Rollout *rollout = context->rollout;
    const int64_t tokens = rollout->tokens;
    Model model = head(kind, rng), gradient = head(kind, rng);
    for (size_t i = 0; i < gradient.count; i++) gradient.flat[i] = 0.0f;
    fill(hidden, tokens * C, -1, 1, rng);
    for (int i = 0; i < SEQUENCES; i++) {
        start[i] = (int32_t)rollout->offset[i];
        member[i] = i;
    }
    start[SEQUENCES] = (int32_t)tokens;
    Activations activations = {.hidden = hidden, .dhidden = dhidden};
    const Block block = {.sequences = SEQUENCES,
                         .rows = (int)tokens,
                         .token = rollout->id,
                         .start = start,
                         .member = member};
    TrainerBlock work = {.model = &model,
                         .gradient = &gradient,
                         .activations = &activations,
                         .block = &block,
                         .logits = logits,
                         .rows = rows,
                         .drows = drows,
                         .scalar = scalar,
                         .dscalar = dscalar};
    double sums[TRAINER_SUMS] = {0};
    if (loss(context, sums, &work) != STATUS_OK) exit(1);

    char line[64];
    snprintf(line, sizeof line, "%s_hidden", name);
    show(line, hidden, tokens * C);
    snprintf(line, sizeof line, "%s_dhidden", name);
    show(line, dhidden, tokens * C);
    const bool language = kind == HEAD_LANGUAGE;
    snprintf(line, sizeof line, "%s_weight", name);
    show(line, language ? model.weight.token_embedding : model.weight.value_weight,
         language ? V * C : C);
    snprintf(line, sizeof line, "%s_dweight", name);
    show(line, language ? gradient.weight.token_embedding : gradient.weight.value_weight,
         language ? V * C : C);
    if (!language) show("value_bias", model.weight.value_bias, 1);
    if (!language) show("value_dbias", gradient.weight.value_bias, 1);
    printf("%s_sums %d", name, TRAINER_SUMS);
    for (int i = 0; i < TRAINER_SUMS; i++) printf(" %.17g", sums[i]);
    printf("\n");
    model_free(&model);
    model_free(&gradient);
}

int main(void)
{
    static float compact[TOKENS], whitened[TOKENS];
    if (gemm_setup() != STATUS_OK) return 1;
    Rng rng = rng_stream(2, RNG_TEST, RNG_ORACLE, 0, 0, 0);
    Rollout rollout;
    Arena plan = arena_measure(), arena;
    rollout_layout(&rollout, &plan, SEQUENCES, TOKENS);
    if (arena_init(&arena, plan.used) != STATUS_OK) return 1;
    rollout_layout(&rollout, &arena, SEQUENCES, TOKENS);
    draw_rollout(&rollout, &rng);

    PpoConfig config = {.gamma = 0.97,
                        .lambda = 0.9,
                        .clip_range = 0.2,
                        .value_clip_range = 0.25,
                        .entropy_coef = 0.15,
                        .temperature = 0.8,
                        .whiten_rewards = true};
    ppo_shape(&rollout, compact, &config);
    int n = 0;
    for (int64_t t = 0; t < rollout.tokens; t++) {
        if (rollout.is_response[t]) whitened[n++] = rollout.advantage[t];
    }
    whiten(whitened, n, false);
    show("whitened", whitened, n);
    float *advantage = compact;
    for (int64_t t = rollout.tokens - 1, k = n - 1; t >= 0; t--) {
        advantage[t] = rollout.is_response[t] ? whitened[k--] : 0.0f;
    }

    printf("offset %d", SEQUENCES + 1);
    for (int i = 0; i <= SEQUENCES; i++) printf(" %lld", (long long)rollout.offset[i]);
    printf("\nprompt_length %d", SEQUENCES);
    for (int i = 0; i < SEQUENCES; i++) printf(" %d", rollout.prompt_length[i]);
    printf("\nid %lld", (long long)rollout.tokens);
    for (int64_t t = 0; t < rollout.tokens; t++) printf(" %d", rollout.id[t]);
    printf("\n");
    show("score", rollout.score, SEQUENCES);
    show("logp", rollout.logp, rollout.tokens);
    show("reference_logp", rollout.reference_logp, rollout.tokens);
    show("old_value", rollout.value, rollout.tokens);
    show("reward", rollout.reward, rollout.tokens);
    show("advantage", rollout.advantage, rollout.tokens);
    show("returns", rollout.returns, rollout.tokens);

    const Sequences sequences = rollout_sequences(&rollout);
    PpoLoss loss = {.rollout = &rollout,
                    .sequences = &sequences,
                    .config = &config,
                    .advantage = advantage,
                    .tokens = n};
    show_loss("policy", ppo_policy_loss, &loss, HEAD_LANGUAGE, &rng);
    show_loss("value", ppo_value_loss, &loss, HEAD_VALUE, &rng);
    arena_free(&arena);
    return 0;
}
