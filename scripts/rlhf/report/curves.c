#include "scripts/rlhf/report/report.h"

void report_curves(Page *page, const Report *report)
{
    (void)page;
    (void)report;
}
