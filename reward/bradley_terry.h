/* Bradley-Terry preference loss (Bradley and Terry 1952; Ouyang et al. 2022, equation 1) with the
 * variants people use. Pure functions of scores; everything in double. */
#ifndef REWARD_BRADLEY_TERRY_H
#define REWARD_BRADLEY_TERRY_H

typedef struct BradleyTerryConfig {
    double margin;   /* subtracted from the gap (Touvron et al. 2023, section 3.2.2) */
    double centring; /* weight of (chosen + rejected)^2 (Eisenstein et al. 2023, equation 2) */
    double label_smoothing; /* share of labels taken to be wrong */
} BradleyTerryConfig;

double softplus(double x); /* log(1 + e^x) without overflow */
double sigmoid(double x);

/* One pair:
 *   gap  = chosen - rejected - margin
 *   loss = (1 - s) softplus(-gap) + s softplus(gap) + centring (chosen + rejected)^2
 * *dchosen and *drejected are its derivatives; `margin` is the pair's own. */
double bradley_terry_pair(double *dchosen, double *drejected, double chosen, double rejected,
                          double margin, const BradleyTerryConfig *config);

#endif
