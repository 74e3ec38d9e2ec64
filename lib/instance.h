/* SPDX-License-Identifier: MIT */
/* The instance inside a context: loader, layers, messenger. Needs and fills nothing else of it. */
#ifndef DJ_LIB_INSTANCE_H
#define DJ_LIB_INSTANCE_H

#include "context.h"

/* Fills the log from params (NULL: defaults) and checks them. */
dj_result dj_params_init(struct dj_context *context, const struct dj_context_params *params);

/* Makes the instance. DJ_ERROR_NO_DEVICE if the loader found no driver. The context must not move
 * until dj_instance_finish. */
dj_result dj_instance_init(struct dj_context *context, const struct dj_context_params *params);

/* Undoes dj_instance_init, also where it failed half-way. */
void dj_instance_finish(struct dj_context *context);

struct dj_named_switch {
    const char *name; /* struct and member */
    uint32_t value;
};

/* Whether switches are some, else logged. */
dj_result dj_switches_check(const struct dj_log *log, const struct dj_named_switch *switches,
                            size_t count);

/* What is wanted or, if that is the default, what a variable says: DJ_ON if it is "1", DJ_OFF if it
 * is "0". If it is anything else but empty, that is ignored, and a warning logged. */
uint32_t dj_switch_wanted(const struct dj_log *log, uint32_t wanted, const char *variable);

/* ... and if it says neither, the standard. */
bool dj_switch_resolve(const struct dj_log *log, uint32_t wanted, bool standard,
                       const char *variable);

#endif
