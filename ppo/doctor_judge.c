/* Gates of the judge: the labels, and the reward model that learned from them. */
#include "ppo/doctor_checks.h"

Status doctor_label(Examination *examination)
{
    (void)examination;
    return STATUS_OK;
}

Status doctor_reward(Examination *examination)
{
    (void)examination;
    return STATUS_OK;
}
