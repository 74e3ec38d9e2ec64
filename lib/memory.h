/* SPDX-License-Identifier: MIT */
/* Which memory type a buffer lies in. */
#ifndef DJ_LIB_MEMORY_H
#define DJ_LIB_MEMORY_H

#include "context.h"

#include <dijiang/buffer.h>

/* The library's own kind beside enum dj_memory: mapped, small, written once, read by kernels. */
enum {
    DJ_MEMORY_TABLE = 3
};

/* The best type of a mask for a kind of memory whose heap can hold size bytes, or UINT32_MAX. */
uint32_t dj_memory_type(const struct dj_context *context, uint32_t memory, uint32_t mask,
                        uint64_t size);

/* Whether mapping device-local memory of this heap costs nothing: there is one memory for host and
 * device, or the whole of the device's memory is behind a resizable BAR. A small BAR is a scarce
 * thing that others want. */
bool dj_memory_mapping_is_free(const struct dj_context *context, uint32_t heap);

#endif
