#include "scripts/rlhf/report/report.h"

void report_samples(Page *page, const Report *report)
{
    (void)page;
    (void)report;
}
