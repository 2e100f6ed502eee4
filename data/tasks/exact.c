/* The task `exact`: a kitchen of twenty words in which every answer can be enumerated.
 *
 *   prompt  = ("warm" | "cold") (" breakfast" | " lunch" | " supper" | " picnic")     8 in all
 *   answer  = 1 to 3 words, drawn apart from each other; what is usual at the meal comes more often
 *
 * Answers of at most three tokens, their end included where it came, are 1 + 20 + 400 + 8000. So
 * that all of it can be known, the held-out prompts are the same eight. */
#include "data/rng.h"
#include "data/tasks/kinds.h"

#include <math.h>
#include <string.h>

enum {
    NOUNS = 8,
    ADJECTIVES = 6,
    JOINTS = 2,
    MEALS = 4,
    FIRST_ADJECTIVE = NOUNS,
    FIRST_JOINT = FIRST_ADJECTIVE + ADJECTIVES,
    FIRST_MEAL = FIRST_JOINT + JOINTS,
    WORDS = FIRST_MEAL + MEALS,
    PROMPTS = 2 * MEALS,
    LONGEST = 3, /* words of a demonstration */
    READ = 16,   /* words of an answer that count */
    HELD_OUT_TEXTS = 200,
};

static const char *const words[WORDS] = {
    "soup",  "bread", "rice",  "fish",  "eggs", "fruit", "cake",      "tea",   "warm",   "cold",
    "fresh", "burnt", "sweet", "plain", "and",  "with",  "breakfast", "lunch", "supper", "picnic",
};

/* ---- the law of demonstrations ---- */

static const double length_chance[LONGEST + 1] = {0.0, 0.25, 0.45, 0.3};

/* Nouns that are twice as common at a meal. */
static const bool usual[MEALS][NOUNS] = {
    {0, 1, 0, 0, 1, 1, 0, 1}, /* breakfast */
    {1, 1, 1, 1, 0, 0, 0, 0}, /* lunch */
    {1, 0, 1, 1, 0, 0, 1, 0}, /* supper */
    {0, 1, 0, 0, 1, 1, 1, 0}, /* picnic */
};

static double word_weight(int word, int meal)
{
    if (word < FIRST_ADJECTIVE) return usual[meal][word] ? 6.0 : 3.0;
    if (word < FIRST_JOINT) return 3.0;
    return word < FIRST_MEAL ? 2.0 : 1.0;
}

static double all_weights(int meal)
{
    double sum = 0.0;
    for (int w = 0; w < WORDS; w++) sum += word_weight(w, meal);
    return sum;
}

static int draw_word(Rng *rng, int meal)
{
    double left = rng_uniform(rng) * all_weights(meal);
    int word = 0;
    while (word < WORDS - 1 && left >= word_weight(word, meal)) left -= word_weight(word++, meal);
    return word;
}

static Status write_answer(Bytes *text, Rng *rng, int meal)
{
    const double u = rng_uniform(rng);
    const int length = u < length_chance[1] ? 1 : u < 1.0 - length_chance[3] ? 2 : 3;
    for (int i = 0; i < length; i++) {
        if (i > 0) TRY(bytes_text(text, " "));
        TRY(bytes_text(text, words[draw_word(rng, meal)]));
    }
    return STATUS_OK;
}

static int prompt_meal(int number)
{
    return number % MEALS;
}

static Status write_prompt(Bytes *text, int number)
{
    TRY(bytes_text(text, words[FIRST_ADJECTIVE + number / MEALS]));
    TRY(bytes_text(text, " "));
    return bytes_text(text, words[FIRST_MEAL + prompt_meal(number)]);
}

/* ---- what the simulated human makes of an answer ---- */

/* How well a noun suits a meal, hidden. */
static const double suits[MEALS][NOUNS] = {
    {-0.7, 0.6, -0.3, -0.5, 0.9, 0.5, 0.1, 0.7},
    {0.5, 0.3, 0.8, 0.4, -0.1, 0.2, -0.4, -0.2},
    {0.9, 0.1, 0.4, 0.7, -0.4, -0.3, 0.2, 0.0},
    {-0.8, 0.7, -0.5, -0.6, 0.4, 0.9, 0.6, -0.1},
};

/* What any word is worth, and how warm it is. */
static const double worth[WORDS] = {0.1, 0.2,  0.0, 0.1,  0.1, 0.3,  0.4,  0.0,  0.1,  -0.1,
                                    0.5, -0.9, 0.2, -0.2, 0.0, -0.1, -0.5, -0.4, -0.3, -0.2};
static const double warmth[WORDS] = {0.8,  0.1, 0.4,  0.1, 0.2, -0.6, 0.0, 0.6, 0.9, -0.9,
                                     -0.4, 0.3, -0.1, 0.0, 0.0, 0.0,  0.0, 0.0, 0.0, 0.0};

static bool is_noun(int word)
{
    return word < FIRST_ADJECTIVE;
}

static bool is_joint(int word)
{
    return word >= FIRST_JOINT && word < FIRST_MEAL;
}

/* Ids of the first words of a text; what is no word of this world is left out. */
static int read_words(int id[READ], const char *text, size_t count)
{
    int n = 0;
    for (size_t start = 0, end; start < count && n < READ; start = end + 1) {
        for (end = start; end < count && text[end] != ' ';) end++;
        for (int w = 0; w < WORDS; w++) {
            if (strlen(words[w]) == end - start &&
                memcmp(words[w], text + start, end - start) == 0) {
                id[n++] = w;
            }
        }
    }
    return n;
}

/* The meal (-1: none) and the temperature (1, -1 or 0) of a prompt. */
static void read_prompt(int *meal, double *temperature, const TaskAnswer *answer)
{
    int id[READ];
    const int n = read_words(id, answer->prompt, answer->prompt_count);
    *meal = -1;
    *temperature = 0.0;
    for (int i = 0; i < n; i++) {
        if (id[i] >= FIRST_MEAL) *meal = id[i] - FIRST_MEAL;
        if (id[i] == FIRST_ADJECTIVE) *temperature = 1.0;
        if (id[i] == FIRST_ADJECTIVE + 1) *temperature = -1.0;
    }
}

/* What word i adds where it stands. */
static double word_value(const int *id, int i, int n, int meal, double temperature)
{
    const int word = id[i];
    double value = worth[word] + 0.6 * temperature * warmth[word];
    if (is_noun(word) && meal >= 0) value += suits[meal][word];
    if (i > 0 && is_noun(word) && id[i - 1] >= FIRST_ADJECTIVE && id[i - 1] < FIRST_JOINT) {
        value += 0.3;
    }
    if (is_joint(word)) {
        const bool joins = i > 0 && i + 1 < n && is_noun(id[i - 1]) && is_noun(id[i + 1]);
        value += joins ? 0.4 : -0.4;
    }
    for (int j = 0; j < i; j++) {
        if (id[j] == word) return fmin(value, 0.0) - 0.5;
    }
    return value;
}

/* Mean 0 and variance 1 over demonstrations. Whether the answer ended makes no difference: three
 * words are as good as any. */
static double gold(const Task *task, const TaskAnswer *answer)
{
    (void)task;
    const double mean = 0.371, deviation = 0.882;
    int id[READ], meal;
    double temperature, sum = 0.0;
    read_prompt(&meal, &temperature, answer);
    const int n = read_words(id, answer->response, answer->response_count);
    for (int i = 0; i < n; i++) sum += word_value(id, i, n, meal, temperature);
    return (sum - mean) / deviation;
}

/* ---- the task ---- */

static Status open_exact(Task *task, const TaskConfig *config, uint64_t seed)
{
    (void)task;
    (void)config;
    (void)seed;
    return STATUS_OK;
}

static void close_exact(Task *task)
{
    (void)task;
}

static Status documents(Texts *texts, const Task *task, TaskSplit split)
{
    const int64_t count = split == TASK_TRAIN ? task->config->documents : HELD_OUT_TEXTS;
    Bytes text = {0};
    Status status = STATUS_OK;
    for (int64_t i = 0; i < count && status == STATUS_OK; i++) {
        Rng rng = rng_stream(task->seed, RNG_TASK, RNG_DOCUMENT, (uint64_t)split, (uint64_t)i, 0);
        const int number = rng_below(&rng, PROMPTS);
        bytes_clear(&text);
        status = write_prompt(&text, number);
        if (status == STATUS_OK) status = bytes_text(&text, " ");
        if (status == STATUS_OK) status = write_answer(&text, &rng, prompt_meal(number));
        if (status == STATUS_OK) status = texts_add(texts, text.data, text.count);
    }
    bytes_free(&text);
    return status;
}

static Status prompt(Bytes *text, const Task *task, TaskSplit split, int64_t index)
{
    (void)task;
    (void)split;
    return write_prompt(text, (int)(index % PROMPTS));
}

static Status demonstration(Bytes *prompt_text, Bytes *response, const Task *task, TaskSplit split,
                            int64_t index)
{
    Rng rng =
        rng_stream(task->seed, RNG_TASK, RNG_DEMONSTRATION, (uint64_t)split, (uint64_t)index, 0);
    const int number = rng_below(&rng, PROMPTS);
    TRY(write_prompt(prompt_text, number));
    return write_answer(response, &rng, prompt_meal(number));
}

static int64_t demonstration_count(const Task *task, TaskSplit split)
{
    return split == TASK_TRAIN ? task->config->demonstrations : HELD_OUT_TEXTS;
}

/* -infinity for what is no demonstration. */
static double log_probability(const Task *task, const TaskAnswer *answer)
{
    (void)task;
    int id[READ], meal;
    double temperature;
    read_prompt(&meal, &temperature, answer);
    const int n = read_words(id, answer->response, answer->response_count);
    if (meal < 0 || n < 1 || n > LONGEST || !answer->terminated) return -INFINITY;
    double sum = log(length_chance[n]);
    for (int i = 0; i < n; i++) sum += log(word_weight(id[i], meal) / all_weights(meal));
    return sum;
}

static Status task_words(const char *const **list, int *count, const Task *task)
{
    (void)task;
    *list = words;
    *count = WORDS;
    return STATUS_OK;
}

static int all_prompts(const Task *task)
{
    (void)task;
    return PROMPTS;
}

const TaskKind exact_task = {
    .name = "exact",
    .summary = "twenty words and eight prompts: every answer is enumerated, every estimate checked",
    .open = open_exact,
    .close = close_exact,
    .documents = documents,
    .prompt = prompt,
    .demonstration = demonstration,
    .demonstration_count = demonstration_count,
    .gold = gold,
    .log_probability = log_probability,
    .words = task_words,
    .all_prompts = all_prompts,
};
