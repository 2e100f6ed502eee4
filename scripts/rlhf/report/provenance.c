#include "scripts/rlhf/report/report.h"

void report_settings(Page *page, const Report *report)
{
    (void)page;
    (void)report;
}
