/* The task `reviews`: prompts, documents and demonstrations drawn from the grammar. */
#include "data/tasks/reviews.h"

#include "data/tasks/kinds.h"

#include <math.h>

enum { HELD_OUT_DOCUMENTS = 1000, HELD_OUT_DEMONSTRATIONS = 1000 };

/* The prompts of each split in an order of the seed's. */
typedef struct ReviewWorld {
    int count[2];
    int number[2][REVIEW_PROMPTS];
} ReviewWorld;

static Status open_reviews(Task *task, const TaskConfig *config, uint64_t seed)
{
    (void)config;
    TRY(memory_claim(&task->world, sizeof(ReviewWorld)));
    ReviewWorld *world = task->world;
    for (int number = 0; number < REVIEW_PROMPTS; number++) {
        const TaskSplit split = review_prompt_held_out(number) ? TASK_HELD_OUT : TASK_TRAIN;
        world->number[split][world->count[split]++] = number;
    }
    for (int split = 0; split < 2; split++) {
        Rng rng = rng_stream(seed, RNG_TASK, RNG_PROMPT, (uint64_t)split, 0, 0);
        rng_shuffle(&rng, world->number[split], world->count[split]);
    }
    return STATUS_OK;
}

static void close_reviews(Task *task)
{
    memory_release(task->world);
    task->world = NULL;
}

/* A prompt of the split, any with the same chance. */
static int draw_prompt(const ReviewWorld *world, TaskSplit split, Rng *rng)
{
    return world->number[split][rng_below(rng, world->count[split])];
}

/* Half of the documents say first what they are about, so that the words of prompts are known
 * before fine-tuning. */
static Status write_document(Bytes *text, const Task *task, TaskSplit split, int index)
{
    Rng rng = rng_stream(task->seed, RNG_TASK, RNG_DOCUMENT, (uint64_t)split, (uint64_t)index, 0);
    const int number = draw_prompt(task->world, split, &rng);
    if (rng_uniform(&rng) < 0.5) TRY(review_opening_write(text, number));
    Review review;
    review_draw(&review, &rng, review_prompt_thing(number));
    return review_write(text, &review);
}

static Status documents(Texts *texts, const Task *task, TaskSplit split)
{
    const int64_t count = split == TASK_TRAIN ? task->config->documents : HELD_OUT_DOCUMENTS;
    Bytes text = {0};
    Status status = STATUS_OK;
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        bytes_clear(&text);
        status = write_document(&text, task, split, i);
        if (status == STATUS_OK) status = texts_add(texts, text.data, text.count);
    }
    bytes_free(&text);
    return status;
}

static Status prompt(Bytes *text, const Task *task, TaskSplit split, int64_t index)
{
    const ReviewWorld *world = task->world;
    return review_prompt_write(text, world->number[split][index % world->count[split]]);
}

static Status demonstration(Bytes *prompt_text, Bytes *response, const Task *task, TaskSplit split,
                            int64_t index)
{
    Rng rng =
        rng_stream(task->seed, RNG_TASK, RNG_DEMONSTRATION, (uint64_t)split, (uint64_t)index, 0);
    const int number = draw_prompt(task->world, split, &rng);
    Review review;
    review_draw(&review, &rng, review_prompt_thing(number));
    TRY(review_prompt_write(prompt_text, number));
    return review_write(response, &review);
}

static int64_t demonstration_count(const Task *task, TaskSplit split)
{
    return split == TASK_TRAIN ? task->config->demonstrations : HELD_OUT_DEMONSTRATIONS;
}

static void read_answer(ReviewReading *reading, const TaskAnswer *answer)
{
    review_read(reading, answer->response, answer->response_count,
                review_thing_in(answer->prompt, answer->prompt_count));
}

static double gold(const Task *task, const TaskAnswer *answer)
{
    (void)task;
    ReviewReading reading;
    read_answer(&reading, answer);
    return review_gold(&reading, answer->terminated);
}

static bool gold_term(GoldTerm *term, const Task *task, int index)
{
    (void)task;
    return review_term(term, index);
}

static void gold_amounts(double *amount, const Task *task, const TaskAnswer *answer)
{
    (void)task;
    ReviewReading reading;
    read_answer(&reading, answer);
    review_amounts(amount, &reading, answer->terminated);
}

static double annotator_gold(const Task *task, const TaskAnswer *answer, int annotator)
{
    (void)annotator;
    return gold(task, answer);
}

static int annotators(const Task *task)
{
    (void)task;
    return 1;
}

static double well_formed(const Task *task, const TaskAnswer *answer)
{
    (void)task;
    ReviewReading reading;
    read_answer(&reading, answer);
    return reading.illegal == 0;
}

/* -infinity for what the grammar could not have said. */
static double log_probability(const Task *task, const TaskAnswer *answer)
{
    (void)task;
    const int thing = review_thing_in(answer->prompt, answer->prompt_count);
    ReviewReading reading;
    review_read(&reading, answer->response, answer->response_count, thing);
    if (reading.illegal > 0 || thing < 0) return -INFINITY;
    return review_log_probability(&reading.review, thing);
}

const TaskKind reviews_task = {
    .name = "reviews",
    .summary = "reviews of places from a grammar, judged by hidden weights of their adjectives",
    .open = open_reviews,
    .close = close_reviews,
    .documents = documents,
    .prompt = prompt,
    .demonstration = demonstration,
    .demonstration_count = demonstration_count,
    .gold = gold,
    .gold_term = gold_term,
    .gold_amounts = gold_amounts,
    .annotator_gold = annotator_gold,
    .annotators = annotators,
    .well_formed = well_formed,
    .log_probability = log_probability,
};
