/* Gates of the language model: has it learned to speak, and then to answer? */
#include "ppo/doctor_checks.h"

#include <math.h>

/* Loss left of what the network began with, where it knew no more than the vocabulary. Knowing how
 * often each token comes leaves about three quarters. */
static const double untaught = 0.6;
/* Nats a token above the best that any model could do. */
static const double far_from_floor = 0.25;

static const Check learned = {
    "pretrain", "language", FINDING_FAILED,
    "the language model has hardly learned more than how often each token comes",
    "--set pretrain.steps=... (more), or another pretrain.learning_rate"};

Status doctor_pretrain(Examination *examination)
{
    MetricColumns columns = {0};
    TRY(doctor_journal(&columns, examination, "pretrain"));
    const double begun = doctor_first(&columns, "loss"),
                 left = doctor_last(&columns, "heldout/loss");
    doctor_note(examination->diagnosis, &learned, !(left < untaught * begun), 0,
                "held-out loss %.2f nats a token, %.0f %% of the %.2f it began with", left,
                100 * left / begun, begun);
    metric_columns_free(&columns);
    return STATUS_OK;
}

static const Check near_floor = {
    "sft", "answers", FINDING_FAILED,
    "the policy does not speak like the demonstrations: too little of them, or wrong labels",
    "--set sft.epochs=... (more), sft.learning_rate; look at what the loss is taken over"};

static void note_loss(Examination *examination, const MetricColumns *columns)
{
    const double loss = doctor_last(columns, "heldout/loss");
    const double floor = doctor_last(columns, "heldout/floor"),
                 first = doctor_first(columns, "loss");
    if (isnan(floor)) {
        doctor_note(examination->diagnosis, &near_floor, !(loss <= first), 0,
                    "held-out loss %.2f nats a token; the first batch had %.2f", loss, first);
        return;
    }
    doctor_note(examination->diagnosis, &near_floor, !(loss - floor <= far_from_floor), 0,
                "held-out loss %.2f nats a token, %.2f above the floor of %.2f", loss, loss - floor,
                floor);
}

Status doctor_sft(Examination *examination)
{
    MetricColumns columns = {0};
    TRY(doctor_journal(&columns, examination, "sft"));
    note_loss(examination, &columns);
    metric_columns_free(&columns);
    return STATUS_OK;
}
