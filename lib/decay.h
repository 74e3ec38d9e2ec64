/* SPDX-License-Identifier: MIT */
/* Powers of the heads' decays, the exponent kept apart: gamma^-span may be beyond a double's range.
 */
#ifndef DJ_LIB_DECAY_H
#define DJ_LIB_DECAY_H

#include "context.h"

struct dj_buffer;

/* gamma as a mantissa in [1, 2), the exponent, what the mantissa lacks, and 0. */
void dj_decay_split(double gamma, float power[4]);

/* A table of DJ_DECAY_POWERS(span) for each of `heads`; decay NULL: of one, whose gamma is 1.
 * Errors are logged. */
dj_result dj_decay_create(struct dj_context *context, const float *decay, uint32_t heads,
                          uint32_t span, struct dj_buffer **table);

#endif
