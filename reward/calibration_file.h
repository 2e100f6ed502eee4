/* reward/calibration.json: how good a trained judge is, and the scale it was put on. */
#ifndef REWARD_CALIBRATION_FILE_H
#define REWARD_CALIBRATION_FILE_H

#include "data/stage.h"
#include "reward/calibration.h"
#include "reward/reward_scale.h"

#include <stdbool.h>

/* Publishes calibration.json in the stage's folder. What is NaN becomes null. */
Status calibration_write(const Stage *stage, const Calibration *calibration,
                         const RewardScale *scale, const Model *model);

/* The file read back; null is NaN again. */
typedef struct CalibrationFile {
    Calibration calibration;
    RewardScale scale;
    bool binned; /* the bins of the reliability diagram are there; older runs have none */
} CalibrationFile;

/* Reads run/reward/calibration.json. Missing, mistyped, a share outside [0, 1], bins that do not
 * add up to the pairs: STATUS_DATA with the place. */
Status calibration_read(CalibrationFile *file, const char *run);

#endif
