/* Between the parts of the doctor: what they look at and how they say what they saw. */
#ifndef PPO_DOCTOR_CHECKS_H
#define PPO_DOCTOR_CHECKS_H

#include "data/metrics.h"
#include "data/path.h"
#include "ppo/doctor.h"

/* The settings that checks lean on, from config.json. */
typedef struct DoctorSettings {
    double critic_warmup; /* ppo.critic_warmup */
} DoctorSettings;

typedef struct Examination {
    Diagnosis *diagnosis;
    const char *run;
    DoctorSettings settings;
    double labelled; /* answers that the reward model was trained on; NAN: not known */
} Examination;

/* What a check looks for. */
typedef struct Check {
    const char *stage, *name;
    FindingMark mark; /* where it is ill */
    const char *cause, *advice;
} Check;

/* Adds what `check` saw; `ill` gives it the check's mark. */
void doctor_note(Diagnosis *diagnosis, const Check *check, bool ill, int64_t step,
                 const char *format, ...) __attribute__((format(printf, 5, 6)));

Status doctor_pretrain(Examination *examination); /* doctor_language.c */
Status doctor_sft(Examination *examination);
Status doctor_label(Examination *examination); /* doctor_judge.c */
Status doctor_reward(Examination *examination);
Status doctor_ppo(Examination *examination); /* doctor_alarms.c */

/* run/stage/metrics.jsonl. */
Status doctor_journal(MetricColumns *columns, const Examination *examination, const char *stage);
/* The last value of a column that is a number; NAN: there is none. */
double doctor_last(const MetricColumns *columns, const char *name);
double doctor_first(const MetricColumns *columns, const char *name);

#endif
