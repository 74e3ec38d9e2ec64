/* SPDX-License-Identifier: MIT */
/* Caches: a context's pipeline cache and recipes as one block of bytes. */
#ifndef DJ_LIB_CACHE_H
#define DJ_LIB_CACHE_H

#include "context.h"

#include <dijiang/cache.h>

/* What a cache is for. */
struct dj_cache_identity {
    uint32_t vendor, device, driver; /* as VkPhysicalDeviceProperties has them */
    uint8_t uuid[VK_UUID_SIZE];      /* pipelineCacheUUID */
};

struct dj_cache_identity dj_cache_identity(const struct dj_context *context);

/* Adds a cache to the context; no bytes are no cache. Reads data during the call only. The
 * context's pipeline cache is merged into: nobody else may use it meanwhile.
 *
 * Returns DJ_SUCCESS, or the reason why it is not used, logged at warning level, or at info level
 * if it is only another device's, driver's or version's: DJ_ERROR_CACHE, also where the driver
 * refuses its own data, or DJ_ERROR_OUT_OF_HOST_MEMORY. The context is as it was. */
dj_result dj_context_load_cache(struct dj_context *context, const void *data, uint64_t size);

/* As dj_cache_save, but DJ_ERROR_LIMIT is not logged: the caller asks again. */
dj_result dj_cache_write(struct dj_context *context, void *data, uint64_t *size);

#endif
