/* Parts of the story that are told in words. */
#ifndef SCRIPTS_RLHF_REPORT_STORY_H
#define SCRIPTS_RLHF_REPORT_STORY_H

#include "scripts/rlhf/report/report.h"

/* What became of each group of runs, one box each. */
void story_verdicts(Page *page, const Report *report);
/* What the doctor found. */
void story_findings(Page *page, const Report *report);

#endif
