/* SPDX-License-Identifier: MIT */
#ifndef DJ_LIB_TRANSFORM_CHECK_H
#define DJ_LIB_TRANSFORM_CHECK_H

#include "transform.h"

/* Runs one group of rows on the context's queue and compares it with the host's transform: a
 * generator or a driver may be wrong without saying so. Returns DJ_SUCCESS; DJ_ERROR_COMPILER,
 * logged at that level, if the rows differ by more than DJ_TRANSFORM_ERROR; or why it could not be
 * run. */
dj_result dj_transform_check(const struct dj_transform *transform, struct dj_context *context,
                             uint32_t type, uint32_t length, uint32_t level);

#define DJ_TRANSFORM_ERROR 1e-6 /* relative rms, what dj_dct promises */

#endif
