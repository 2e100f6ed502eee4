#include "scripts/rlhf/report/report.h"

void report_frontier(Page *page, const Report *report)
{
    (void)page;
    (void)report;
}
