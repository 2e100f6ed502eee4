/* Alarms of PPO: what its steps say, in the order they come. */
#include "ppo/doctor_checks.h"

Status doctor_ppo(Examination *examination)
{
    (void)examination;
    return STATUS_OK;
}
