/* SPDX-License-Identifier: MIT */
/* What dijiang has a use for on a device beyond Vulkan 1.1, and what of it is enabled. */
#ifndef DJ_LIB_WANTS_H
#define DJ_LIB_WANTS_H

#include "device.h"

#include <dijiang/vulkan.h>

/* Bits of a set of wants. */
enum dj_want_bit {
    DJ_WANT_PUSH_DESCRIPTOR = 1 << 0,
    DJ_WANT_DEVICE_ADDRESS = 1 << 1,
    DJ_WANT_STORAGE_16BIT = 1 << 2,
    DJ_WANT_FLOAT_CONTROLS = 1 << 3,     /* SignedZeroInfNanPreserve */
    DJ_WANT_SUBGROUPS = 1 << 4,          /* of a size that is asked for, and full ones */
    DJ_WANT_PORTABILITY_SUBSET = 1 << 5, /* not a choice where the device has it */
    DJ_WANT_FLOAT16 = 1 << 6,
    DJ_WANT_MEMORY_MODEL = 1 << 7,
    DJ_WANT_MATRIX = 1 << 8,
    DJ_WANT_READ_INVOCATION = 1 << 9,
    DJ_WANT_ALL = (1 << 10) - 1,
    DJ_WANT_MATRICES = DJ_WANT_FLOAT16 | DJ_WANT_MEMORY_MODEL | DJ_WANT_MATRIX, /* each is of no
                                                                                 * use alone */
};

/* Fills in all that a described device supports of a set of wants. */
void dj_wants_fill(const struct dj_device *device, uint32_t set, struct dj_device_wants *wants);

/* The set of wants that a caller enabled on a device of api_version, by his extensions and chain of
 * features (struct dj_import_params), and that the device supports; a feature that is named in vain
 * is logged. *narrow: the Vulkan memory model is enabled without the device's scope. */
uint32_t dj_wants_enabled(const struct dj_log *log, const struct dj_device *device,
                          uint32_t api_version, const char *const *extensions,
                          uint32_t extension_count, const void *features, bool *narrow);

#endif
