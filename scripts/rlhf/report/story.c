#include "scripts/rlhf/report/report.h"

void report_story(Page *page, const Report *report)
{
    (void)page;
    (void)report;
}
