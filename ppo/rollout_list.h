/* ppo/rollouts/manifest.json: the rollout files of a stage that has published, by step, with their
 * hashes. A stage at work tells them in rollouts.jsonl (ppo_run.h), which is not read here. */
#ifndef PPO_ROLLOUT_LIST_H
#define PPO_ROLLOUT_LIST_H

#include "data/json.h"
#include "data/manifest.h"

enum { ROLLOUT_LIST_VERSION = 1, ROLLOUT_NAME = 32 };

/* "000001.h5": the file of a step. */
void rollout_file_name(char name[ROLLOUT_NAME], int64_t step);

typedef struct RolloutList {
    int count;
    Digest *digest; /* (count) of the files of steps 1, 2, ... */
} RolloutList;

/* Of the files in `folder`; empty where nothing is published. Free with rollout_list_free. */
Status rollout_list_read(RolloutList *list, const char *folder);
void rollout_list_free(RolloutList *list); /* fine on a zeroed one */
/* NULL: it does not name that step's file. */
const Digest *rollout_list_digest(const RolloutList *list, int64_t step);

/* Its parts, for who looks at each: the array of files, which lives with the document, and an
 * entry, which must be that of `step`. */
Status rollout_list_open(JsonDocument **document, Json *files, const char *folder);
Status rollout_list_entry(ManifestFile *file, Json entry, int64_t step);
void rollout_list_put(JsonWriter *json, int64_t step, uint64_t size, Digest digest);

#endif
