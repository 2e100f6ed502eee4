/* Networks on disk, under Hugging Face's GPT-2 names: /model/... datasets; on /model the attributes
 * n_layer n_head n_embd n_positions vocab_size layer_norm_epsilon causal eos_token_id, and
 * reward_gain and reward_bias of a reward model; in checkpoints also /adam/m and /adam/v (flat) and
 * the attribute step. A file holds at most 128 MB of tensors, or one that is larger (memory holds
 * it twice while it is written): larger networks go on in "policy-2.h5", ...: attributes and scalar
 * heads in the first file, moments last and in slices. */
#ifndef POLICY_NETWORK_FILE_H
#define POLICY_NETWORK_FILE_H

#include "data/manifest.h"
#include "policy/model.h"
#include "policy/optimiser.h"

enum { NETWORK_FILES_MAX = 32, NETWORK_FILE_BYTES = 128 << 20 };

/* Publishes folder/NAME.h5 (and -2, ...); appends the file names to names[*count]. `adamw` may be
 * NULL. */
Status network_write(char names[][128], int *count, const char *folder, const char *name,
                     const Model *model, const AdamW *adamw, int32_t end);

/* The same with at most `bytes` bytes of tensors a file (one tensor, where it alone is larger). */
Status network_write_parts(char names[][128], int *count, const char *folder, const char *name,
                           const Model *model, const AdamW *adamw, int32_t end, size_t bytes);

/* Makes *model (zeroed or freed) out of folder/NAME.h5, files checked against `manifest` where it
 * is not NULL; `adamw` NULL: weights only. Who goes on to use the network with ids, sequences or
 * moments of other files says in `expected` what it must be; NULL is anything, as is in it a size
 * of 0, and for a reward model `causal` false (the other two always are). What is missing, of
 * another shape or not finite: STATUS_DATA, e.g. "runs/a/sft/policy.h5: n_embd is 96, not 64". */
Status network_read(Model *model, AdamW *adamw, const char *folder, const char *name,
                    const Manifest *manifest, const ModelShape *expected);

#endif
