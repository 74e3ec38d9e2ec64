/* SPDX-License-Identifier: MIT */
#ifndef DJ_CALIBRATE_CALIBRATION_H
#define DJ_CALIBRATE_CALIBRATION_H

#include "log.h"

#include <dijiang/calibrate.h>

/* A calibration with room for its numbers, which are 0, in one allocation; or NULL. */
struct dj_calibration *dj_calibration_allocate(uint32_t map, uint32_t dim, uint32_t features,
                                               uint32_t heads);

/* Whether map, dim, features and heads are within their ranges; result is what a breach returns,
 * name what the log line starts with. */
dj_result dj_calibration_check_shape(const struct dj_log *report, dj_result result,
                                     const char *name, uint32_t map, uint64_t dim,
                                     uint64_t features, uint64_t heads);

/* The index of the first number that is not finite, or count. */
uint64_t dj_first_not_finite(const float *x, uint64_t count);

#endif
