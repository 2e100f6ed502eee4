/* What earlier stages published, read by the stages after them. */
#ifndef POLICY_INPUTS_H
#define POLICY_INPUTS_H

#include "data/stage.h"
#include "policy/model.h"

/* run/STAGE/NAME.h5, checked against that stage's manifest and, as network_read does, `expected`.
 * Missing or not matching: STATUS_DATA that says what to run. */
Status input_network(Model *model, const char *run, const char *stage, const char *name,
                     const ModelShape *expected);

/* Publishes the tokenizer.json of `from` again, byte for byte, in this stage's folder. */
Status input_copy_tokenizer(const Stage *stage, const char *from);

/* Path of a file in this stage's folder; `path` has STAGE_PATH bytes. */
Status stage_path(char *path, const Stage *stage, const char *file);

#endif
