/* Writes what this program's network computes, for tests/oracle_transformer.py to compare with
 * PyTorch: dump_transformer FOLDER. A case is CASE.bin, float32 arrays end to end, and CASE.txt, a
 * line an array: name, rows, columns (0: one-dimensional). */
#include "data/io.h"
#include "data/rng.h"
#include "policy/gemm.h"
#include "policy/language_loss.h"
#include "policy/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEQUENCES = 5, ROWS = 147, LONGEST = 90, STEPS = 10 };
static const int lengths[SEQUENCES] = {7, 1, LONGEST, 33,
                                       16}; /* LONGEST: several tiles of attention */

typedef struct Dump {
    Bytes values, index;
} Dump;

static Status dump_array(Dump *dump, const char *name, const float *data, int rows, int columns)
{
    const size_t count = (size_t)rows * (size_t)(columns > 0 ? columns : 1);
    TRY(bytes_print(&dump->index, "%s %d %d\n", name, rows, columns));
    return bytes_append(&dump->values, data, sizeof *data * count);
}

/* Every tensor under its name on disk, a layer at a time. */
static Status dump_model(Dump *dump, const char *kind, const Model *model)
{
    ModelWeightInfo info[MODEL_WEIGHT_KINDS];
    const int count = model_weight_list(info, model->shape);
    for (int i = 0; i < count; i++) {
        const int layers = info[i].layered ? model->shape.layers : 1;
        const size_t size = info[i].size / (size_t)layers;
        for (int l = 0; l < layers; l++) {
            char name[128], layer[32] = "";
            if (info[i].layered) snprintf(layer, sizeof layer, "transformer.h.%d.", l);
            snprintf(name, sizeof name, "%s/%s%s", kind, layer, info[i].name);
            TRY(dump_array(dump, name, model->flat + info[i].start + (size_t)l * size, info[i].rows,
                           info[i].columns));
        }
    }
    return STATUS_OK;
}

static Status dump_tokens(Dump *dump, const Sequences *sequences)
{
    float token[ROWS], length[SEQUENCES], prompt[SEQUENCES];
    for (int t = 0; t < ROWS; t++) token[t] = (float)sequences->token[t];
    for (int s = 0; s < SEQUENCES; s++) {
        length[s] = (float)lengths[s];
        prompt[s] = (float)sequences->prompt[s];
    }
    TRY(dump_array(dump, "token", token, ROWS, 0));
    TRY(dump_array(dump, "length", length, SEQUENCES, 0));
    return dump_array(dump, "prompt", prompt, SEQUENCES, 0);
}

static Status dump_publish(const Dump *dump, const char *folder, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s.bin", folder, name);
    TRY(io_publish(path, dump->values.data, dump->values.count));
    snprintf(path, sizeof path, "%s/%s.txt", folder, name);
    return io_publish(path, dump->index.data, dump->index.count);
}

/* A loss with a given slope by every output: what PyTorch calls backward(slope). Context: a Dump.
 */
static Status probe_loss(void *context, double sums[TRAINER_SUMS], TrainerBlock *block)
{
    (void)sums;
    Dump *dump = context;
    const Model *model = block->model;
    Activations *a = block->activations;
    const bool language = model->shape.head == HEAD_LANGUAGE;
    const int N = block->block->rows, width = language ? model->shape.vocabulary : 1;
    float *out = language ? block->logits : block->scalar;
    if (language) language_head_forward(out, a->hidden, model, N);
    if (!language) scalar_head_forward(out, a->hidden, model, N);
    TRY(dump_array(dump, "output", out, N, width));

    Rng rng = rng_stream(4, RNG_TEST, RNG_WORLD, 0, 0, 0);
    for (int i = 0; i < N * width; i++) out[i] = (float)(rng_uniform(&rng) - 0.5);
    TRY(dump_array(dump, "slope", out, N, width));
    if (language) language_head_backward(a->dhidden, block->gradient, out, a->hidden, model, N);
    if (!language) scalar_head_backward(a->dhidden, block->gradient, out, a->hidden, model, N);
    return STATUS_OK;
}

static void randomise(Model *model)
{
    model_randomise(model, 6, RNG_TEST, false);
    Rng rng = rng_stream(5, RNG_TEST, RNG_WORLD, 0, 0, 0);
    for (size_t i = 0; i < model->count; i++) {
        model->flat[i] += (float)(0.3 * (rng_uniform(&rng) - 0.5));
    }
}

/* Weights, outputs and gradients of the sequences as one block. */
static Status run_probe(Dump *dump, Model *model, const Sequences *sequences)
{
    const int32_t block[SEQUENCES] = {0};
    int32_t length[SEQUENCES];
    const int index[1] = {0};
    for (int s = 0; s < SEQUENCES; s++) length[s] = lengths[s];
    BlockPlan plan;
    Trainer trainer;
    double sums[TRAINER_SUMS];
    TRY(dump_tokens(dump, sequences));
    TRY(dump_model(dump, "weight", model));
    TRY(block_plan_from(&plan, block, length, SEQUENCES));
    Status status = trainer_init(&trainer, model, 1, 1, plan.rows, plan.longest, 1);
    if (status == STATUS_OK) {
        status = trainer_gradient(sums, &trainer, sequences, &plan, index, 1, probe_loss, dump);
    }
    if (status == STATUS_OK) status = dump_model(dump, "gradient", &trainer.gradient[0]);
    trainer_free(&trainer);
    block_plan_free(&plan);
    return status;
}

/* Ten steps of fine-tuning on the responses, clipped, with decay: the weights afterwards. */
static Status run_training(Dump *dump, Model *model, const Sequences *sequences)
{
    const OptimiserConfig config = {
        .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-5, .weight_decay = 0.1, .max_grad_norm = 1.0};
    int32_t length[SEQUENCES];
    const int index[4] = {0, 1, 2, 3};
    for (int s = 0; s < SEQUENCES; s++) length[s] = lengths[s];
    BlockPlan plan;
    Trainer trainer;
    double sums[TRAINER_SUMS], norm;
    TRY(dump_tokens(dump, sequences));
    TRY(dump_model(dump, "weight", model));
    TRY(block_plan_cut(&plan, length, SEQUENCES, 1, 4));
    LanguageLoss loss = {sequences, true, language_targets(sequences, &plan, index, 4, true)};
    Status status = trainer_init(&trainer, model, 4, 2, plan.rows, plan.longest, 4);
    for (int step = 0; status == STATUS_OK && step < STEPS; step++) {
        status = trainer_step(sums, &norm, &trainer, sequences, &plan, index, 4, language_loss,
                              &loss, &config, 1e-3);
        const float seen[2] = {(float)(sums[0] / sums[1]), (float)norm};
        char name[32];
        snprintf(name, sizeof name, "step/%d", step);
        if (status == STATUS_OK) status = dump_array(dump, name, seen, 2, 0);
    }
    if (status == STATUS_OK) status = dump_model(dump, "trained", model);
    trainer_free(&trainer);
    block_plan_free(&plan);
    return status;
}

typedef Status Run(Dump *dump, Model *model, const Sequences *sequences);

static Status dump_case(const char *folder, const char *name, bool causal, ModelHead head, Run *run)
{
    const ModelShape shape = {.vocabulary = 37,
                              .positions = LONGEST,
                              .channels = 48,
                              .heads = 4,
                              .layers = 3,
                              .causal = causal,
                              .head = head};
    int32_t token[ROWS], prompt[SEQUENCES];
    int64_t offset[SEQUENCES + 1] = {0};
    Rng rng = rng_stream(3, RNG_TEST, RNG_WORLD, 0, 0, 0);
    for (int s = 0; s < SEQUENCES; s++) {
        offset[s + 1] = offset[s] + lengths[s];
        prompt[s] = lengths[s] / 3;
    }
    for (int t = 0; t < ROWS; t++) token[t] = rng_below(&rng, shape.vocabulary);
    const Sequences sequences = {
        .count = SEQUENCES, .token = token, .offset = offset, .prompt = prompt};

    Model model;
    Dump dump = {0};
    TRY(model_init(&model, shape));
    randomise(&model);
    Status status = run(&dump, &model, &sequences);
    if (status == STATUS_OK) status = dump_publish(&dump, folder, name);
    bytes_free(&dump.values);
    bytes_free(&dump.index);
    model_free(&model);
    return status;
}

static Status dump_all(const char *folder)
{
    TRY(gemm_setup());
    TRY(dump_case(folder, "causal", true, HEAD_LANGUAGE, run_probe));
    TRY(dump_case(folder, "bidirectional", false, HEAD_LANGUAGE, run_probe));
    TRY(dump_case(folder, "causal_score", true, HEAD_SCORE, run_probe));
    TRY(dump_case(folder, "bidirectional_score", false, HEAD_SCORE, run_probe));
    TRY(dump_case(folder, "causal_value", true, HEAD_VALUE, run_probe));
    return dump_case(folder, "trained", true, HEAD_LANGUAGE, run_training);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: dump_transformer FOLDER\n");
        return STATUS_USAGE;
    }
    const Status status = dump_all(argv[1]);
    if (status != STATUS_OK) fprintf(stderr, "dump_transformer: %s\n", status_message());
    return (int)status;
}
