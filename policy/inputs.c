#include "policy/inputs.h"

#include "policy/network_file.h"

#include <stdio.h>
#include <string.h>

enum { TOKENIZER_BYTES_MAX = 256 << 20 };

Status stage_path(char *path, const Stage *stage, const char *file)
{
    return path_join(path, stage->folder, file);
}

Status input_network(Model *model, const char *run, const char *stage, const char *name,
                     const ModelShape *expected)
{
    char file[128], folder[STAGE_PATH];
    snprintf(file, sizeof file, "%s.h5", name);
    TRY(stage_input(folder, NULL, run, stage, file));
    *strrchr(folder, '/') = '\0';

    Manifest manifest = {0};
    TRY(manifest_read(&manifest, folder));
    return network_read(model, NULL, folder, name, &manifest, expected);
}

Status input_copy_tokenizer(const Stage *stage, const char *from)
{
    char source[STAGE_PATH], target[STAGE_PATH];
    TRY(stage_input(source, NULL, stage->run, from, "tokenizer.json"));
    TRY(stage_path(target, stage, "tokenizer.json"));
    Bytes bytes = {0};
    Status status = io_read(&bytes, source, TOKENIZER_BYTES_MAX);
    if (status == STATUS_OK) status = io_publish(target, bytes.data, bytes.count);
    bytes_free(&bytes);
    return status;
}
