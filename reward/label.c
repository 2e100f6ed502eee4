#include "reward/labeller.h"

#include "data/memory.h"
#include "data/preference.h"
#include "data/prompts.h"
#include "policy/generate.h"
#include "policy/inputs.h"
#include "reward/answer_file.h"
#include "reward/task_pairs.h"

#include <gsl/gsl_statistics_double.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Pairs between two rows of the journal, and between two commits: a quarter of them, up to 512. */
enum { CHUNK = 512, CHUNKS = 4 };

static const char answers_file[] = "answers.h5";

enum { PAIRS, TIES, IDENTICAL, FLIPPED, GOLD_MEAN, GOLD_STD, LENGTH, TERMINATED, METRICS };

static const MetricInfo label_metric_list[METRICS] = {
    [PAIRS] = {"pairs", "pairs", "pairs drawn or read so far; in the last row, pairs kept",
               "the stage", NAN, NAN, "no pairs: nothing to train a reward model on"},
    [TIES] = {"ties", "pairs", "pairs dropped because both answers have exactly the same gold",
              "the stage", NAN, NAN, "many: gold is coarse, or the policy says little"},
    [IDENTICAL] = {"identical", "pairs", "pairs dropped because both answers are the same tokens",
                   "the stage", NAN, NAN, "many: the policy has collapsed to a few answers"},
    [FLIPPED] = {"flipped", "share", "pairs whose label goes against gold / pairs", "pairs kept", 0,
                 0.35, "high: the labeller is too noisy to learn from"},
    [GOLD_MEAN] = {"gold/mean", "gold", "mean of gold", "answers", NAN, NAN,
                   "what PPO has to raise; at the task's best already: nothing to learn"},
    [GOLD_STD] = {"gold/std", "gold", "population standard deviation of gold: the labeller's sigma",
                  "answers", NAN, NAN, "near zero: the answers do not differ in quality"},
    [LENGTH] = {"length/mean", "tokens", "mean response length, the end included", "answers", NAN,
                NAN, "at task.response_tokens: the answers are cut off"},
    [TERMINATED] = {"terminated", "share", "answers that ended by themselves / answers", "answers",
                    0.5, 1, "low: the answers are cut off; raise task.response_tokens"},
};

const MetricTable label_metrics = {.metrics = label_metric_list, .count = METRICS};

typedef struct Labelling {
    const LabelJob *job;
    Tokenizer *tokenizer;
    Model policy;
    int pairs, annotators, chunk;
    int64_t steps;       /* chunks, and one that labels */
    int64_t step;        /* chunks done */
    Sequences answers;   /* pair i: answers 2i and 2i + 1 */
    double *gold;        /* (2 pairs) */
    double *seen;        /* (2 pairs) gold as the pair's annotator sees it */
    uint8_t *terminated; /* (2 pairs) */
    Arena answering;     /* what generate() keeps from call to call */
    Preferences kept;
    int ties, identical, flipped;
} Labelling;

static bool brings_pairs(const Task *task)
{
    return task->kind->pair != NULL && task->kind->pair_count(task) > 0;
}

/* One row over the first `answers` answers; `flipped` is known at the end only. */
static Status record(Labelling *l, int64_t step, int answers, int64_t tokens, bool last)
{
    double value[METRICS], length = 0.0, terminated = 0.0;
    for (int i = 0; i < answers; i++) {
        length += (double)sequences_response(&l->answers, i);
        terminated += l->terminated[i];
    }
    value[PAIRS] = last ? l->kept.count : answers / 2;
    value[TIES] = l->ties;
    value[IDENTICAL] = l->identical;
    value[FLIPPED] = last && l->job->task->kind->gold ? (double)l->flipped / l->kept.count : NAN;
    const double mean = gsl_stats_mean(l->gold, 1, (size_t)answers);
    value[GOLD_MEAN] = mean;
    value[GOLD_STD] = gsl_stats_sd_with_fixed_mean(l->gold, 1, (size_t)answers, mean);
    value[LENGTH] = length / answers;
    value[TERMINATED] = terminated / answers;
    static const char *const shown[] = {"pairs", "gold/mean", "flipped", NULL};
    return stage_record(l->job->stage, step, l->steps, tokens, value, shown);
}

/* ---- pairs of our own: two answers a prompt from the policy ---- */

/* Gold of answers [first, last), truly and as their annotators see it; of pairs that the task
 * brings it is not known. */
static Status read_gold(Labelling *l, int first, int last)
{
    const Task *task = l->job->task;
    Bytes prompt = {0}, response = {0};
    Status status = STATUS_OK;
    for (int i = first; i < last && status == STATUS_OK; i++) {
        l->gold[i] = l->seen[i] = NAN;
        if (brings_pairs(task)) continue;
        TaskAnswer answer;
        status = answer_read(&answer, &prompt, &response, &l->answers, i, l->tokenizer);
        if (status != STATUS_OK) break;
        l->gold[i] = task->kind->gold(task, &answer);
        l->seen[i] = task->kind->annotator_gold
                         ? task->kind->annotator_gold(task, &answer, i / 2 % l->annotators)
                         : l->gold[i];
    }
    bytes_free(&response);
    bytes_free(&prompt);
    return status;
}

/* Answers 0 and 1 to the prompts of pairs [first, first + count), at most CHUNK. */
static Status draw_answers(Labelling *l, int first, int count)
{
    const LabelJob *job = l->job;
    const GenerateConfig config = {
        .temperature = job->config->sampling_temperature,
        .top_p = 1.0,
        .response_tokens = (int)job->task->config->response_tokens,
        .end = tokenizer_end(l->tokenizer),
        .threads = job->stage->threads,
        .kept = &l->answering,
        .hooks = &job->stage->hooks,
        .seed = job->stage->seed,
        .stage = RNG_LABEL,
        .purpose = RNG_SAMPLING,
    };
    int64_t index[CHUNK];
    GenerateRequest request[2 * CHUNK];
    for (int i = 0; i < count; i++) {
        index[i] = first + i;
        request[2 * i] = (GenerateRequest){.prompt_id = index[i], .sample = 0, .prompt = i};
        request[2 * i + 1] = (GenerateRequest){.prompt_id = index[i], .sample = 1, .prompt = i};
    }
    Sequences prompts = {0};
    Status status = prompts_read(&prompts, job->task, l->tokenizer, TASK_TRAIN, index, count);
    if (status == STATUS_OK) {
        status = generate(&l->answers, l->terminated + 2 * first, &l->policy, &prompts, request,
                          2 * count, &config);
    }
    sequences_free(&prompts);
    return status;
}

/* Pairs [first, first + count) that the task brings. */
static Status read_pairs(Labelling *l, int first, int count)
{
    memset(l->terminated + 2 * first, 1, 2 * (size_t)count);
    return task_pairs_read(&l->answers, l->job->task, l->tokenizer, l->policy.shape.positions,
                           first, count);
}

/* ---- chunk by chunk ---- */

/* Answers are a function of the seed and their pair, so those of whole chunks are all that a
 * checkpoint needs: gold is read again. */
static Status commit(Labelling *l)
{
    Stage *stage = l->job->stage;
    char folder[STAGE_PATH];
    const AnswerColumn terminated = {"terminated", STORE_U8, l->terminated};
    const char *const names[] = {answers_file};
    TRY(stage_checkpoint_begin(stage, folder, l->step));
    TRY(answer_file_write(&l->answers, &terminated, 1, folder, answers_file));
    return stage_checkpoint(stage, folder, l->step, names, 1, NULL, 0);
}

/* Pairs in the first `chunks` chunks. */
static int pairs_in(const Labelling *l, int64_t chunks)
{
    const int64_t pairs = chunks * l->chunk;
    return pairs < l->pairs ? (int)pairs : l->pairs;
}

/* Leaves after the last whole chunk, committed. */
static Status stop(Labelling *l)
{
    if (l->step > 0 && l->job->stage->last_step != l->step) TRY(commit(l));
    return status_fail(STATUS_STOPPED, "stopped after %d of %d pairs", pairs_in(l, l->step),
                       l->pairs);
}

static Status resume(Labelling *l)
{
    const Stage *stage = l->job->stage;
    if (!stage->resumed) return STATUS_OK;
    if (stage->step < 1 || stage->step >= l->steps) {
        return status_fail(STATUS_DATA, "%s: step %" PRId64 " of %" PRId64, stage->checkpoint,
                           stage->step, l->steps);
    }
    const int answers = 2 * pairs_in(l, stage->step);
    const AnswerColumn terminated = {"terminated", STORE_U8, l->terminated};
    TRY(answer_file_read(&l->answers, &terminated, 1, answers, stage->checkpoint, answers_file,
                         &stage->checkpoint_manifest, tokenizer_vocabulary(l->tokenizer)));
    l->step = stage->step;
    return read_gold(l, 0, answers);
}

static Status one_chunk(Labelling *l)
{
    const int first = pairs_in(l, l->step), end = pairs_in(l, l->step + 1);
    const int64_t before = sequences_tokens(&l->answers);
    TRY(brings_pairs(l->job->task) ? read_pairs(l, first, end - first)
                                   : draw_answers(l, first, end - first));
    TRY(read_gold(l, 2 * first, 2 * end));
    TRY(record(l, l->step + 1, 2 * end, sequences_tokens(&l->answers) - before, false));
    l->step++;
    return stage_checkpoint_due(l->job->stage) ? commit(l) : STATUS_OK;
}

/* All pairs, drawn or read. */
static Status gather(Labelling *l)
{
    const ModelShape expected = {.vocabulary = tokenizer_vocabulary(l->tokenizer)};
    TRY(input_network(&l->policy, l->job->stage->run, "sft", "policy", &expected));
    TRY(resume(l));
    while (l->step < l->steps - 1) {
        if (stage_should_stop(l->job->stage)) return stop(l);
        const Status status = one_chunk(l);
        if (status == STATUS_STOPPED) return stop(l);
        TRY(status);
    }
    return STATUS_OK;
}

/* ---- which answer is preferred ---- */

static bool same_answer(const Sequences *answers, int a, int b)
{
    const int64_t length = sequences_length(answers, a);
    return length == sequences_length(answers, b) &&
           memcmp(answers->token + answers->offset[a], answers->token + answers->offset[b],
                  sizeof *answers->token * (size_t)length) == 0;
}

/* True where the second answer of pair i is preferred. */
static bool prefers_second(const Labelling *l, int i, double sigma)
{
    const LabelJob *job = l->job;
    if (brings_pairs(job->task)) return false;
    const int a = 2 * i, b = a + 1;
    const double temperature =
        labeller_temperature(job->config, job->stage->seed, i % l->annotators);
    const double chance = labeller_probability(
        l->seen[a], l->seen[b], (double)sequences_response(&l->answers, a),
        (double)sequences_response(&l->answers, b), sigma, temperature, job->config);
    Rng rng = rng_stream(job->stage->seed, RNG_LABEL, RNG_LABELLER, 0, (uint64_t)i, 0);
    return !(rng_uniform(&rng) < chance);
}

static Status keep_answer(int32_t *completion, Labelling *l, int index)
{
    const Sequences *from = &l->answers;
    const int32_t *token = from->token + from->offset[index];
    const int32_t prompt = from->prompt[index];
    *completion = l->kept.completion.count;
    return sequences_add(&l->kept.completion, token, prompt, token + prompt,
                         sequences_response(from, index));
}

static Status keep_pair(Labelling *l, int i, double sigma, uint8_t split)
{
    const int second = prefers_second(l, i, sigma);
    const int chosen = 2 * i + second, rejected = 2 * i + 1 - second;
    Preference pair = {
        .prompt_id = i,
        .gold_margin = (float)(l->gold[chosen] - l->gold[rejected]),
        .flipped = l->gold[chosen] < l->gold[rejected],
        .annotator = i % l->annotators,
        .split = split,
    };
    l->flipped += pair.flipped;
    TRY(keep_answer(&pair.chosen, l, chosen));
    TRY(keep_answer(&pair.rejected, l, rejected));
    return preferences_add(&l->kept, pair);
}

static Status label_all(Labelling *l)
{
    const double sigma = gsl_stats_sd_with_fixed_mean(
        l->gold, 1, 2 * (size_t)l->pairs, gsl_stats_mean(l->gold, 1, 2 * (size_t)l->pairs));
    const int held_out = (int)lround(l->job->config->held_out * l->pairs);
    for (int i = 0; i < l->pairs; i++) {
        if (same_answer(&l->answers, 2 * i, 2 * i + 1)) {
            l->identical++;
        } else if (l->gold[2 * i] == l->gold[2 * i + 1]) {
            l->ties++;
        } else {
            TRY(keep_pair(l, i, sigma, i >= l->pairs - held_out));
        }
    }
    if (l->kept.count == 0) {
        return status_fail(STATUS_DATA, "no pairs left: of %d, %d identical and %d ties in gold",
                           l->pairs, l->identical, l->ties);
    }
    return STATUS_OK;
}

/* ---- the stage ---- */

static Status count_pairs(Labelling *l)
{
    const Task *task = l->job->task;
    const LabelConfig *config = l->job->config;
    int64_t pairs = config->pairs;
    l->annotators = 1;
    if (brings_pairs(task)) {
        pairs = task->kind->pair_count(task);
    } else if (task->kind->gold == NULL) {
        return status_fail(STATUS_DATA,
                           "no pairs: task %s has no gold reward and brings none; set "
                           "task.pair_file",
                           task->kind->name);
    } else {
        const int raters = task->kind->annotators ? task->kind->annotators(task) : 0;
        l->annotators = (int)config->annotators;
        if (raters > 0 && l->annotators > raters) l->annotators = raters;
    }
    if (pairs < 1) return status_fail(STATUS_DATA, "no pairs: label.pairs is 0");
    if (pairs > 100000000) {
        return status_fail(STATUS_DATA, "%lld pairs: at most 100000000", (long long)pairs);
    }
    l->pairs = (int)pairs;
    l->chunk = (l->pairs + CHUNKS - 1) / CHUNKS;
    if (l->chunk > CHUNK) l->chunk = CHUNK;
    l->steps = (l->pairs + l->chunk - 1) / l->chunk + 1;
    return STATUS_OK;
}

static Status label_claim(Labelling *l)
{
    const size_t answers = 2 * (size_t)l->pairs;
    void *block[3] = {0};
    Status status = memory_claim(&block[0], sizeof *l->gold * answers);
    if (status == STATUS_OK) status = memory_claim(&block[1], sizeof *l->seen * answers);
    if (status == STATUS_OK) status = memory_claim(&block[2], sizeof *l->terminated * answers);
    l->gold = block[0];
    l->seen = block[1];
    l->terminated = block[2];
    return status;
}

static Status label_publish(Labelling *l)
{
    Stage *stage = l->job->stage;
    char path[STAGE_PATH];
    TRY(stage_path(path, stage, "comparisons.h5"));
    TRY(preferences_write(&l->kept, l->tokenizer, path));
    TRY(input_copy_tokenizer(stage, "sft"));
    static const char *const names[] = {"comparisons.h5", "tokenizer.json"};
    return stage_finish(stage, l->steps, names, 2, NULL, 0);
}

static Status label_stage(Labelling *l)
{
    TRY(stage_open(l->job->stage, &label_metrics));
    TRY(count_pairs(l));
    TRY(stage_read_tokenizer(&l->tokenizer, l->job->stage->run, "sft"));
    TRY(label_claim(l));
    TRY(gather(l));
    TRY(label_all(l));
    TRY(record(l, l->steps, 2 * l->pairs, 0, true));
    return label_publish(l);
}

Status label_run(const LabelJob *job)
{
    Labelling labelling = {.job = job};
    const Status status = label_stage(&labelling);
    stage_close(job->stage);
    preferences_free(&labelling.kept);
    sequences_free(&labelling.answers);
    arena_free(&labelling.answering);
    memory_release(labelling.terminated);
    memory_release(labelling.seen);
    memory_release(labelling.gold);
    model_free(&labelling.policy);
    tokenizer_free(labelling.tokenizer);
    return status;
}
