/* SPDX-License-Identifier: MIT */
/* Drivers' known troubles: the table, which of it concerns a device, and what follows. */
#ifndef DJ_LIB_QUIRKS_H
#define DJ_LIB_QUIRKS_H

#include "device.h"

#include <dijiang/quirks.h>

/* What a context does without. */
enum dj_avoid {
    DJ_AVOID_PUSH_DESCRIPTORS,
    DJ_AVOID_DEVICE_ADDRESSES,
    DJ_AVOID_FLOAT_CONTROLS,
    DJ_AVOID_SPECIALIZATION,
    DJ_AVOID_GENERATED_DCT, /* unless DJ_DCT_PATH_GENERATED asks for it */
    DJ_AVOID_LONG_SUBMISSIONS,
    DJ_AVOID_PIPELINE_CACHE, /* of the context's own; a caller's is the caller's choice */
    DJ_AVOID_COUNT,
};

/* The rows that concern a described device. */
uint64_t dj_quirks_match(const struct dj_device *device);

/* Changes a set of rows as text says (struct dj_context_params says how). where: the text's origin,
 * for the log line. Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT, and *quirks as it was. */
dj_result dj_quirks_switch(const struct dj_log *log, const char *where, const char *text,
                           uint64_t *quirks);

/* The same for an own context: what params says, or the environment. */
dj_result dj_quirks_switch_own(const struct dj_log *log, const struct dj_context_params *params,
                               uint64_t *quirks);

/* Takes back what context->info.quirks do without; after what is enabled was decided, and before an
 * own device is made. */
void dj_quirks_apply(struct dj_context *context);

/* Whether a context does without something that it has no flag for. */
bool dj_quirks_avoid(const struct dj_context *context, enum dj_avoid avoid);

/* A line for each of context->info.quirks. */
void dj_quirks_log(const struct dj_context *context);

#endif
