/* The scripts and styles of the page, built into the binary by CMake: dygraphs, as Debian has it,
 * then ours. */
#ifndef SCRIPTS_RLHF_REPORT_ASSETS_H
#define SCRIPTS_RLHF_REPORT_ASSETS_H

#include <stddef.h>

typedef struct ReportAsset {
    const char *name;
    const unsigned char *bytes;
    size_t count;
    const char *sha256; /* of the bytes, in hex */
} ReportAsset;

extern const ReportAsset report_scripts[], report_styles[];
extern const int report_script_count, report_style_count;

#endif
