/* SPDX-License-Identifier: MIT */
/* How long the dispatches of a recording take: a timestamp at its start and after each of them. */
#ifndef DJ_LIB_TIMINGS_H
#define DJ_LIB_TIMINGS_H

#include "context.h"

#include <dijiang/recorder.h>

/* All zero: nothing is timed, and only dj_timings_create does anything. */
struct dj_timings {
    VkQueryPool pool;
    const char **kernels; /* of each dispatch, whose names are static */
    uint64_t *ticks;      /* room for the answer */
    uint32_t room, count; /* of dispatches */
    uint64_t mask;        /* of a timestamp's valid bits */
    double tick;          /* nanoseconds */
};

/* For so many dispatches. Returns DJ_SUCCESS; DJ_ERROR_UNSUPPORTED, logged, where one of the
 * context's queue families has no timestamps; or what allocating fails with, with nothing left
 * behind. */
dj_result dj_timings_create(struct dj_context *context, uint32_t dispatches,
                            struct dj_timings *timings);
void dj_timings_destroy(const struct dj_context *context, struct dj_timings *timings);

/* Starts a recording, and notes that a dispatch of that kernel was just recorded. */
void dj_timings_start(const struct dj_context *context, struct dj_timings *timings,
                      VkCommandBuffer command);
void dj_timings_add(const struct dj_context *context, struct dj_timings *timings,
                    VkCommandBuffer command, const char *kernel);

/* The times, once what was recorded has run; found: as many as there are. DJ_ERROR_TIMEOUT, logged,
 * if it has not. */
dj_result dj_timings_read(struct dj_context *context, const struct dj_timings *timings,
                          struct dj_timing *found);

#endif
