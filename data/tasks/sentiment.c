/* The task `sentiment`: go on with a sentence of Jane Austen's. Gold is how good the words of the
 * answer are to VADER's ten raters, as long as it stays prose. */
#include "data/tasks/kinds.h"
#include "data/tasks/lexicon.h"
#include "data/tasks/ngram.h"
#include "data/tasks/prose.h"
#include "data/tasks/vader.h"

#include "data/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HELD_OUT_DEMONSTRATIONS = 1000, FILE_CAP = 64 << 20 };

/* How a measure of fluency (data/tasks/ngram.h) is spread over true continuations. */
typedef struct Ordinary {
    double mean, sd;
} Ordinary;

typedef struct SentimentWorld {
    Texts part[PROSE_PARTS];
    Passage *passage[2]; /* by TaskSplit, in an order of the seed's */
    int passages[2];
    Lexicon corpus; /* every word of the book */
    Vader vader;
    Ngram *fluency;
    Ordinary logp, gain; /* of true continuations */
    Digest digest;
} SentimentWorld;

static ProsePart part_of(TaskSplit split)
{
    return split == TASK_TRAIN ? PROSE_TRAIN : PROSE_HELD_OUT;
}

/* ---- opening ---- */

/* Reads a file of the data folder: $RLHF_DATA, or rlhf/ in the user's data home. */
static Status read_data(Bytes *text, const char *file, const char *name)
{
    const char *own = getenv("RLHF_DATA"), *data_home = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");
    Bytes path = {0};
    Status status;
    if (own != NULL && own[0] != '\0') {
        status = bytes_print(&path, "%s/%s", own, file);
    } else if (data_home != NULL && data_home[0] != '\0') {
        status = bytes_print(&path, "%s/rlhf/%s", data_home, file);
    } else {
        status = bytes_print(&path, "%s/.local/share/rlhf/%s", home != NULL ? home : "", file);
    }
    if (status == STATUS_OK && !io_exists(path.data)) {
        status =
            status_fail(STATUS_DATA, "%s: missing; run: scripts/fetch-data %s", path.data, name);
    }
    if (status == STATUS_OK) status = io_read(text, path.data, FILE_CAP);
    bytes_free(&path);
    return status;
}

static Status collect_words(Lexicon *lexicon, const Texts *texts)
{
    for (int i = 0; i < texts->count; i++) {
        size_t count, position = 0;
        const char *text = texts_at(texts, i, &count);
        ProseWord word;
        while (word_next(&word, text, count, &position)) {
            int number;
            if (word.letters) TRY(lexicon_add(&number, lexicon, word.text, word.count));
        }
    }
    return STATUS_OK;
}

static void shuffle(Passage *list, int count, Rng *rng)
{
    for (int i = count - 1; i > 0; i--) {
        const int j = rng_below(rng, i + 1);
        const Passage kept = list[i];
        list[i] = list[j];
        list[j] = kept;
    }
}

/* Bytes that are sure to fit into the longest answer, though no tokenizer exists yet. A byte is at
 * most a token; with 1 024 ids no continuation of Austen's has under 1.77 bytes a token. */
static size_t longest_bytes(const TaskConfig *config)
{
    const int64_t tokens = config->response_tokens - 1; /* without the end */
    return (size_t)(config->vocabulary < 1024 ? tokens : tokens * 7 / 4);
}

static Status find_passages(SentimentWorld *world, const TaskConfig *config, uint64_t seed)
{
    const PassageLimits limits = {
        .prompt_words = (int)config->prompt_words,
        .shortest_words = 5,
        .longest_words = 18,
        .longest_bytes = longest_bytes(config),
    };
    for (int split = 0; split < 2; split++) {
        const Texts *paragraphs = &world->part[part_of((TaskSplit)split)];
        TRY(prose_passages(&world->passage[split], &world->passages[split], paragraphs, &limits));
        if (world->passages[split] == 0) {
            return status_fail(STATUS_DATA,
                               "austen.txt: no sentence has a beginning of %lld words and fits "
                               "into %lld tokens",
                               (long long)config->prompt_words, (long long)config->response_tokens);
        }
        Rng rng = rng_stream(seed, RNG_TASK, RNG_PROMPT, (uint64_t)split, 0, 0);
        shuffle(world->passage[split], world->passages[split], &rng);
    }
    return STATUS_OK;
}

static const char *passage_text(const SentimentWorld *world, TaskSplit split,
                                const Passage *passage)
{
    size_t count;
    return texts_at(&world->part[part_of(split)], passage->paragraph, &count);
}

static NgramScore score_passage(const SentimentWorld *world, TaskSplit split,
                                const Passage *passage)
{
    const char *text = passage_text(world, split, passage);
    return ngram_score(world->fluency, text + passage->start,
                       (size_t)(passage->middle - passage->start), text + passage->middle,
                       (size_t)(passage->end - passage->middle));
}

static Ordinary ordinary(double sum, double squares, int count)
{
    const double mean = sum / count, variance = squares / count - mean * mean;
    return (Ordinary){mean, sqrt(fmax(variance, 0.01))};
}

static void measure_ordinary(SentimentWorld *world)
{
    double logp = 0, logp_squares = 0, gain = 0, gain_squares = 0;
    const int count = world->passages[TASK_HELD_OUT];
    for (int i = 0; i < count; i++) {
        const NgramScore score =
            score_passage(world, TASK_HELD_OUT, &world->passage[TASK_HELD_OUT][i]);
        logp += score.logp;
        logp_squares += score.logp * score.logp;
        gain += score.gain;
        gain_squares += score.gain * score.gain;
    }
    world->logp = ordinary(logp, logp_squares, count);
    world->gain = ordinary(gain, gain_squares, count);
}

static Status build(SentimentWorld *world, const Bytes *book, const Bytes *ratings,
                    const TaskConfig *config, uint64_t seed)
{
    const Digest files[] = {digest_of(book->data, book->count),
                            digest_of(ratings->data, ratings->count)};
    world->digest = digest_of(files, sizeof files);
    TRY(status_context(vader_parse(&world->vader, ratings->data, ratings->count),
                       "vader_lexicon.txt"));
    TRY(status_context(prose_cut(world->part, book->data, book->count), "austen.txt"));
    for (int part = 0; part < PROSE_PARTS; part++) {
        TRY(collect_words(&world->corpus, &world->part[part]));
    }
    TRY(find_passages(world, config, seed));
    TRY(ngram_train(&world->fluency, &world->part[PROSE_FLUENCY]));
    measure_ordinary(world);
    return STATUS_OK;
}

static Status open_sentiment(Task *task, const TaskConfig *config, uint64_t seed)
{
    Bytes book = {0}, ratings = {0};
    TRY(memory_claim(&task->world, sizeof(SentimentWorld)));
    Status status = read_data(&book, "austen.txt", "austen");
    if (status == STATUS_OK) status = read_data(&ratings, "vader_lexicon.txt", "vader");
    if (status == STATUS_OK) status = build(task->world, &book, &ratings, config, seed);
    bytes_free(&book);
    bytes_free(&ratings);
    return status;
}

static void close_sentiment(Task *task)
{
    SentimentWorld *world = task->world;
    if (world == NULL) return;
    for (int part = 0; part < PROSE_PARTS; part++) texts_free(&world->part[part]);
    memory_release(world->passage[TASK_TRAIN]);
    memory_release(world->passage[TASK_HELD_OUT]);
    lexicon_free(&world->corpus);
    vader_free(&world->vader);
    ngram_free(world->fluency);
    memory_release(world);
    task->world = NULL;
}

/* ---- text ---- */

static Status documents(Texts *texts, const Task *task, TaskSplit split)
{
    const SentimentWorld *world = task->world;
    const Texts *part = &world->part[part_of(split)];
    for (int i = 0; i < part->count; i++) {
        size_t count;
        const char *text = texts_at(part, i, &count);
        TRY(texts_add(texts, text, count));
    }
    return STATUS_OK;
}

/* Prompts walk the passages from the front, demonstrations from the back, so that they meet late.
 */
static Status prompt(Bytes *text, const Task *task, TaskSplit split, int64_t index)
{
    const SentimentWorld *world = task->world;
    const Passage *passage = &world->passage[split][index % world->passages[split]];
    const char *paragraph = passage_text(world, split, passage);
    return bytes_append(text, paragraph + passage->start,
                        (size_t)(passage->middle - passage->start));
}

static Status demonstration(Bytes *prompt_text, Bytes *response, const Task *task, TaskSplit split,
                            int64_t index)
{
    const SentimentWorld *world = task->world;
    const int count = world->passages[split];
    const int64_t place = count - 1 - index % count;
    TRY(prompt(prompt_text, task, split, place));
    const Passage *passage = &world->passage[split][place];
    return bytes_append(response, passage_text(world, split, passage) + passage->middle,
                        (size_t)(passage->end - passage->middle));
}

static int64_t demonstration_count(const Task *task, TaskSplit split)
{
    const SentimentWorld *world = task->world;
    const int64_t wanted =
        split == TASK_TRAIN ? task->config->demonstrations : HELD_OUT_DEMONSTRATIONS;
    return wanted < world->passages[split] ? wanted : world->passages[split];
}

/* ---- gold ---- */

enum { WORDS_READ = 256, NEGATION_REACH = 3, EVERY_RATER = -1, PENALTY_MOST = 3 };

static bool negates(const ProseWord *word)
{
    static const char *const words[] = {"not",     "never",   "no",       "nor",
                                        "neither", "none",    "cannot",   "nothing",
                                        "nowhere", "without", "scarcely", "hardly"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strlen(words[i]) == word->count && memcmp(words[i], word->text, word->count) == 0) {
            return true;
        }
    }
    return word->count > 3 && memcmp(word->text + word->count - 3, "n't", 3) == 0;
}

/* What an answer is made of. */
typedef struct Reading {
    int words;       /* words proper */
    int known;       /* of them in the corpus */
    int repetitions; /* words of four letters and more that were there before */
    double rating;   /* sum over the distinct words */
} Reading;

/* How far behind the text's last negation its end is, in words; NEGATION_REACH or more: too far. */
static int since_negation(const char *text, size_t count)
{
    int since = NEGATION_REACH;
    size_t position = 0;
    ProseWord word;
    while (word_next(&word, text, count, &position)) {
        if (word.letters) since = negates(&word) ? 0 : since + 1;
    }
    return since;
}

/* VADER's rating of a word by one rater or by all (their mean); turned by a negation before it with
 * VADER's factor. */
static double rate(const SentimentWorld *world, const ProseWord *word, int rater, bool negated)
{
    const VaderWord *rated = vader_find(&world->vader, word->text, word->count);
    if (rated == NULL || negates(word)) return 0;
    const double rating = rater == EVERY_RATER ? rated->mean : rated->rating[rater];
    return negated ? -0.74 * rating : rating;
}

static void read_answer(Reading *reading, const SentimentWorld *world, const TaskAnswer *answer,
                        int rater)
{
    *reading = (Reading){0};
    ProseWord seen[WORDS_READ];
    int since = since_negation(answer->prompt, answer->prompt_count);
    size_t position = 0;
    ProseWord word;
    while (reading->words < WORDS_READ &&
           word_next(&word, answer->response, answer->response_count, &position)) {
        if (!word.letters) continue;
        bool again = false;
        for (int i = 0; i < reading->words; i++) again = again || word_equal(&seen[i], &word);
        if (!again) reading->rating += rate(world, &word, rater, since < NEGATION_REACH);
        reading->repetitions += again && word.count >= 4;
        reading->known += lexicon_find(&world->corpus, word.text, word.count) >= 0;
        since = negates(&word) ? 0 : since + 1;
        seen[reading->words++] = word;
    }
}

/* In standard deviations, how far an answer is below what is ordinary, by likelihood (words that
 * there are) or by gain (in an order that there is), whichever is worse. The first is free, each
 * more costs 2, up to 3. */
static double fluency_penalty(const SentimentWorld *world, const TaskAnswer *answer)
{
    const NgramScore score = ngram_score(world->fluency, answer->prompt, answer->prompt_count,
                                         answer->response, answer->response_count);
    if (score.words == 0) return PENALTY_MOST;
    const double below = fmax((world->logp.mean - score.logp) / world->logp.sd,
                              (world->gain.mean - score.gain) / world->gain.sd);
    return fmin(fmax(2 * (below - 1), 0), PENALTY_MOST);
}

/* pleasure - penalty - repetitions / 2 - max(0, 5 - words) / 2 - [no end], with pleasure
 * 2.5 tanh(rating / 3). What is no prose cannot please: a pleasure above 0 fades as the penalty for
 * fluency grows. The answer ends if it ends a sentence and says so. */
static double judge(const Task *task, const TaskAnswer *answer, int rater)
{
    const SentimentWorld *world = task->world;
    Reading reading;
    read_answer(&reading, world, answer, rater);
    const bool ends =
        answer->terminated && prose_ends_sentence(answer->response, answer->response_count);
    const int missing = reading.words < 5 ? 5 - reading.words : 0;
    const double penalty = fluency_penalty(world, answer);
    double pleasure = 2.5 * tanh(reading.rating / 3);
    if (pleasure > 0) pleasure *= 1 - penalty / PENALTY_MOST;
    return pleasure - penalty - 0.5 * reading.repetitions - 0.5 * missing - (ends ? 0 : 1);
}

static double gold(const Task *task, const TaskAnswer *answer)
{
    return judge(task, answer, EVERY_RATER);
}

static double annotator_gold(const Task *task, const TaskAnswer *answer, int annotator)
{
    return judge(task, answer, annotator % VADER_RATERS);
}

static int annotators(const Task *task)
{
    (void)task;
    return VADER_RATERS;
}

static double well_formed(const Task *task, const TaskAnswer *answer)
{
    Reading reading;
    read_answer(&reading, task->world, answer, EVERY_RATER);
    return reading.words > 0 ? (double)reading.known / reading.words : 0;
}

static Status data_digest(Digest *digest, const Task *task)
{
    const SentimentWorld *world = task->world;
    *digest = world->digest;
    return STATUS_OK;
}

const TaskKind sentiment_task = {
    .name = "sentiment",
    .summary = "go on with a sentence of Jane Austen's, judged by VADER's ratings of its words",
    .open = open_sentiment,
    .close = close_sentiment,
    .documents = documents,
    .prompt = prompt,
    .demonstration = demonstration,
    .demonstration_count = demonstration_count,
    .gold = gold,
    .annotator_gold = annotator_gold,
    .annotators = annotators,
    .well_formed = well_formed,
    .data_digest = data_digest,
};
