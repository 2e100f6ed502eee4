#include "policy/language_loss.h"

#include "policy/kernels.h"

#include <string.h>

enum { SLICE_LOGITS = 1 << 23 };

/* The targets of a sequence are the rows from the first with a loss up to the one before the
 * last. */
static int first_target(const LanguageLoss *loss, int member)
{
    const int prompt = loss->response_only ? loss->sequences->prompt[member] : 0;
    return prompt > 1 ? prompt - 1 : 0;
}

/* One run of target rows: `rows` of them from row `start` of the block. */
typedef struct Run {
    int start, rows;
} Run;

static Run target_run(const LanguageLoss *loss, const Block *block, int s)
{
    const int skipped = first_target(loss, block->member[s]);
    const int length = block->start[s + 1] - block->start[s];
    const int rows = length - 1 - skipped;
    return (Run){block->start[s] + skipped, rows > 0 ? rows : 0};
}

static int gather_targets(float *rows, const LanguageLoss *loss, const TrainerBlock *block)
{
    const int C = block->model->shape.channels;
    int n = 0;
    for (int s = 0; s < block->block->sequences; s++) {
        const Run run = target_run(loss, block->block, s);
        memcpy(row_at(rows, n, C), row_of(block->activations->hidden, run.start, C),
               sizeof *rows * (size_t)run.rows * (size_t)C);
        n += run.rows;
    }
    return n;
}

static void scatter_targets(const float *drows, const LanguageLoss *loss, const TrainerBlock *block)
{
    const int C = block->model->shape.channels;
    float *dhidden = block->activations->dhidden;
    memset(dhidden, 0, sizeof *dhidden * (size_t)block->block->rows * (size_t)C);
    int n = 0;
    for (int s = 0; s < block->block->sequences; s++) {
        const Run run = target_run(loss, block->block, s);
        memcpy(row_at(dhidden, run.start, C), row_of(drows, n, C),
               sizeof *drows * (size_t)run.rows * (size_t)C);
        n += run.rows;
    }
}

/* One target: adds to the sums; the logits become the gradient where it is wanted:
 * d(-logp / tokens) / dlogit = (probability - [is target]) / tokens. */
static void target_loss(double sums[TRAINER_SUMS], float *logits, int V, int32_t target,
                        double tokens, bool backward)
{
    sums[1] += 1.0;
    if (!any_above(logits, logits[target], V)) sums[2] += 1.0;
    sums[0] -= token_score(backward ? logits : NULL, logits, V, 1.0, target).logp;
    if (!backward) return;
    logits[target] -= 1.0f;
    scale_row(logits, (float)(1.0 / tokens), V);
}

/* The token of every target row of a block, in the order of the rows. */
typedef struct Targets {
    const LanguageLoss *loss;
    const Block *block;
    int sequence, row; /* of the next target: row within its run */
} Targets;

static int32_t next_target(Targets *targets)
{
    Run run = target_run(targets->loss, targets->block, targets->sequence);
    while (targets->row == run.rows) {
        targets->row = 0;
        run = target_run(targets->loss, targets->block, ++targets->sequence);
    }
    const Sequences *sequences = targets->loss->sequences;
    const int64_t first = sequences->offset[targets->block->member[targets->sequence]];
    const int place = run.start - targets->block->start[targets->sequence] + targets->row++;
    return sequences->token[first + place + 1];
}

/* The next n target rows, from `rows` on. */
static void head_slice(double sums[TRAINER_SUMS], Targets *targets, const TrainerBlock *block,
                       const float *rows, float *drows, int n)
{
    const int V = block->model->shape.vocabulary;
    const bool backward = block->gradient != NULL;
    language_head_forward(block->logits, rows, block->model, n);
    for (int row = 0; row < n; row++) {
        target_loss(sums, row_at(block->logits, row, V), V, next_target(targets),
                    targets->loss->tokens, backward);
    }
    if (!backward) return;
    language_head_backward(drows, block->gradient, block->logits, rows, block->model, n);
}

/* A block's logits are worked through in slices where the vocabulary is large, so that the rest of
 * their memory is never touched. */
Status language_loss(void *context, double sums[TRAINER_SUMS], TrainerBlock *block)
{
    const LanguageLoss *loss = context;
    const int V = block->model->shape.vocabulary, C = block->model->shape.channels;
    const int n = gather_targets(block->rows, loss, block);
    const int most = V < SLICE_LOGITS ? SLICE_LOGITS / V : 1;
    Targets targets = {.loss = loss, .block = block->block};
    for (int first = 0; first < n; first += most) {
        const int rows = n - first < most ? n - first : most;
        head_slice(sums, &targets, block, row_of(block->rows, first, C),
                   row_at(block->drows, first, C), rows);
    }
    if (block->gradient != NULL) scatter_targets(block->drows, loss, block);
    return STATUS_OK;
}

double language_targets(const Sequences *sequences, const BlockPlan *plan, const int *index,
                        int count, bool response_only)
{
    const LanguageLoss loss = {.sequences = sequences, .response_only = response_only};
    double tokens = 0.0;
    for (int k = 0; k < count; k++) {
        for (int m = plan->first[index[k]]; m < plan->first[index[k] + 1]; m++) {
            const int member = plan->member[m];
            const int64_t length = sequences_length(sequences, member);
            const int64_t rows = length - 1 - first_target(&loss, member);
            if (rows > 0) tokens += (double)rows;
        }
    }
    return tokens;
}
