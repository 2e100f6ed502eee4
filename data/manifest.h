/* manifest.json: what a folder holds, written last, so a folder without a valid one was never
 * finished. It names size and XXH3-128 of every file, and is bound to what the files were made
 * from: the settings that count and the manifests of the stages before. It ends in the hash of its
 * own text (from format version 2 on): a flipped bit in it is found like one in a file. */
#ifndef DATA_MANIFEST_H
#define DATA_MANIFEST_H

#include "data/io.h"
#include "data/status.h"

#include <stdint.h>

enum { MANIFEST_FILES_MAX = 64, MADE_BY = 96 };

typedef struct ManifestFile {
    char name[128]; /* inside the folder */
    uint64_t size;
    Digest digest;
} ManifestFile;

typedef struct Manifest {
    char stage[32];
    int64_t step;    /* of a checkpoint; the last step of a finished stage */
    Digest made_from; /* settings and inputs; see stage.h */
    char made_by[MADE_BY]; /* of a checkpoint: the program and its BLAS kernel; "": not said */
    ManifestFile journal; /* of a checkpoint: the stage's metrics.jsonl up to here; name "": none */
    int count;
    ManifestFile file[MANIFEST_FILES_MAX];
    Digest own;      /* of manifest.json itself; filled by read and write */
} Manifest;

/* Adds a file that lies in `folder` already: measures and hashes it. A name that is there already
 * is replaced. */
Status manifest_add(Manifest *manifest, const char *folder, const char *name);
/* The same where size and digest are known. */
Status manifest_add_known(Manifest *manifest, const char *name, uint64_t size, Digest digest);
const ManifestFile *manifest_find(const Manifest *manifest, const char *name); /* NULL: none */

/* The digest of a file of `folder` that the manifest must name; else STATUS_DATA. */
Status manifest_digest(const Digest **digest, const Manifest *manifest, const char *folder,
                       const char *name);

/* Publishes folder/manifest.json and fills manifest->own. */
Status manifest_write(Manifest *manifest, const char *folder);
/* Missing, broken or foreign: STATUS_DATA with the path. */
Status manifest_read(Manifest *manifest, const char *folder);
/* Size and hash of every file it names (`journal` is not one of them); the first that differs is
 * named: STATUS_DATA. */
Status manifest_verify(const Manifest *manifest, const char *folder);
/* The same for one of them. */
Status manifest_verify_file(const ManifestFile *file, const char *folder);

#endif
