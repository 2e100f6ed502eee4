/* What pretraining does, without a task: steps, a checkpoint, and answers of what was trained. */
#include "scripts/rlhf/bench.h"

#include "data/io.h"
#include "data/memory.h"
#include "policy/language_loss.h"
#include "policy/network_file.h"

static Status plan_training(BenchTraining *training, const BenchSizes *sizes)
{
    void *memory;
    TRY(memory_claim(&memory, (size_t)sizes->batch * sizeof(int32_t)));
    int32_t *length = memory;
    for (int i = 0; i < sizes->batch; i++) length[i] = sizes->prompt + sizes->response;
    const Status status = block_plan_cut(&training->plan, length, sizes->batch, 1, sizes->shards);
    memory_release(memory);
    TRY(status);
    TRY(memory_claim(&memory, (size_t)training->plan.blocks * sizeof *training->order));
    training->order = memory;
    for (int b = 0; b < training->plan.blocks; b++) training->order[b] = b;
    return STATUS_OK;
}

static Status training_init(BenchTraining *training, const BenchSizes *sizes)
{
    training->sizes = *sizes;
    training->optimiser = bench_optimiser();
    TRY(bench_random_model(&training->model, bench_shape(sizes, HEAD_LANGUAGE), BENCH_SEED));
    TRY(bench_random_sequences(&training->text, sizes->batch, sizes->prompt, sizes->response,
                               sizes->vocabulary));
    TRY(plan_training(training, sizes));
    return trainer_init(&training->trainer, &training->model, sizes->shards, sizes->threads,
                        training->plan.rows, training->plan.longest, training->plan.blocks);
}

Status bench_training_init(BenchTraining *training, const BenchSizes *sizes)
{
    *training = (BenchTraining){0};
    const Status status = training_init(training, sizes);
    if (status != STATUS_OK) bench_training_free(training);
    return status;
}

void bench_training_free(BenchTraining *training)
{
    trainer_free(&training->trainer);
    block_plan_free(&training->plan);
    memory_release(training->order);
    sequences_free(&training->text);
    sequences_free(&training->prompts);
    memory_release(training->request);
    memory_release(training->terminated);
    arena_free(&training->answering);
    model_free(&training->model);
    *training = (BenchTraining){0};
}

Status bench_training_step(void *context)
{
    BenchTraining *training = context;
    double sums[TRAINER_SUMS], norm;
    LanguageLoss loss = {.sequences = &training->text};
    loss.tokens = language_targets(&training->text, &training->plan, training->order,
                                   training->plan.blocks, false);
    TRY(trainer_step(sums, &norm, &training->trainer, &training->text, &training->plan,
                     training->order, training->plan.blocks, language_loss, &loss,
                     &training->optimiser, training->optimiser.learning_rate));
    training->loss = sums[0] / sums[1];
    return STATUS_OK;
}

/* Policy and moments, as a stage's checkpoint has them, written and synced. */
Status bench_training_checkpoint(void *context)
{
    const BenchTraining *training = context;
    char folder[BENCH_FOLDER], names[NETWORK_FILES_MAX][128];
    int count = 0;
    TRY(bench_folder(folder));
    const Status status = network_write(names, &count, folder, "policy", &training->model,
                                        &training->trainer.adamw, BENCH_END);
    const Status removed = io_remove_tree(folder);
    return status != STATUS_OK ? status : removed;
}

static Status claim_requests(BenchTraining *training)
{
    const BenchSizes *sizes = &training->sizes;
    void *memory;
    TRY(bench_random_sequences(&training->prompts, sizes->batch, sizes->prompt, 0,
                               sizes->vocabulary));
    TRY(memory_claim(&memory, (size_t)sizes->batch));
    training->terminated = memory;
    TRY(memory_claim(&memory, (size_t)sizes->batch * sizeof *training->request));
    training->request = memory;
    for (int i = 0; i < sizes->batch; i++) {
        training->request[i] = (GenerateRequest){.prompt_id = i, .prompt = i};
    }
    return STATUS_OK;
}

Status bench_training_answers(void *context)
{
    BenchTraining *training = context;
    if (training->request == NULL) TRY(claim_requests(training));
    const GenerateConfig config = {.temperature = 1.0,
                                   .top_p = 1.0,
                                   .response_tokens = training->sizes.response,
                                   .end = BENCH_END,
                                   .never_end = true,
                                   .threads = training->sizes.threads,
                                   .kept = &training->answering,
                                   .seed = BENCH_SEED,
                                   .stage = RNG_PRETRAIN,
                                   .purpose = RNG_SAMPLING};
    Sequences answers = {0};
    const Status status =
        generate(&answers, training->terminated, &training->model, &training->prompts,
                 training->request, training->sizes.batch, &config);
    sequences_free(&answers);
    return status;
}
