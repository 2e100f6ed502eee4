#include "scripts/rlhf/report/report.h"

void report_judge(Page *page, const Report *report)
{
    (void)page;
    (void)report;
}
