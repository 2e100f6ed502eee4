/* comparisons.h5: pairs of answers to one prompt, one of them preferred. */
#ifndef DATA_PREFERENCE_H
#define DATA_PREFERENCE_H

#include "data/io.h"
#include "data/sequences.h"
#include "data/status.h"
#include "data/tokenizer.h"

/* Zero-initialise. Completion c is sequence c: the prompt's tokens and the answer's, <|endoftext|>
 * included where the answer ended. */
typedef struct Preferences {
    int count;
    int64_t *prompt_id;    /* (count) index in the task's stream of prompts */
    int32_t *chosen;       /* (count) completion */
    int32_t *rejected;     /* (count) completion */
    float *gold_margin;    /* (count) gold of chosen - gold of rejected; NaN without gold */
    uint8_t *flipped;      /* (count) the label goes against gold */
    int32_t *annotator;    /* (count) */
    uint8_t *split;        /* (count) 0 train, 1 held out */
    int capacity;
    Sequences completion;
} Preferences;

typedef struct Preference {
    int64_t prompt_id;
    int32_t chosen, rejected;
    float gold_margin;
    uint8_t flipped;
    int32_t annotator;
    uint8_t split;
} Preference;

Status preferences_add(Preferences *preferences, Preference pair);
void preferences_free(Preferences *preferences);

/* /pair/MEMBER and /completion/{token, offset, prompt_length}. `tokenizer` gives /text/{prompt,
 * chosen, rejected} of the first 64 pairs; NULL: no text. */
Status preferences_write(const Preferences *preferences, const Tokenizer *tokenizer,
                         const char *path);
/* No pairs, ids outside [0, vocabulary), offsets that fall, completions that are not there:
 * STATUS_DATA. */
Status preferences_read(Preferences *preferences, const char *path, const Digest *expected,
                        int vocabulary);

#endif
