/* SPDX-License-Identifier: MIT */
/* The fits, of one head each. */
#ifndef DJ_CALIBRATE_FIT_H
#define DJ_CALIBRATE_FIT_H

#include "block.h"

#include <dijiang/calibrate.h>

/* What the fits of a head share. */
struct dj_fitting {
    const struct dj_samples *samples;
    struct dj_block *judge; /* by which choices are made */
    bool key_normalise;
    double squares; /* c of exp(-c |x|^2) in the map: 0 or 1/2; least squares only */
    uint64_t seed;
    uint32_t pairs, steps;
    void (*progress)(void *user, float share); /* may be NULL; shares of this fit */
    void *progress_user;
};

/* Chooses law and scale of t and, if weigh, fits w to each candidate; else w is 1 / features. law
 * receives the choice, as does alpha: the rms of t in units of sqrt(dim). False: no memory. */
bool dj_fit_radius(const struct dj_fitting *fitting, bool weigh, struct dj_numbers *numbers,
                   uint32_t *law, double *alpha);

/* Fits w to given t by non-negative least squares. False: no memory. */
bool dj_fit_weights(const struct dj_fitting *fitting, struct dj_numbers *numbers);

/* Fits t and w by Adam from where they are; leaves them there if that was better. False: no memory.
 */
bool dj_fit_gradient(const struct dj_fitting *fitting, struct dj_numbers *numbers);

#endif
