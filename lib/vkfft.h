/* SPDX-License-Identifier: MIT */
/* VkFFT and glslang. lib/vkfft.c is the only file that sees VkFFT, lib/glslang.cpp the only one
 * that sees glslang. */
#ifndef DJ_LIB_VKFFT_H
#define DJ_LIB_VKFFT_H

#include "recipe.h"
#include "vk_result.h"

#if DJ_HAVE_VKFFT

/* Starts glslang in this process, or counts one more user of it; false on failure. Between the two,
 * generating costs less. Thread-safe. */
bool dj_vkfft_acquire(void);
void dj_vkfft_release(void);

/* VkFFT's version, struct dj_recipe_key's generator. */
uint32_t dj_vkfft_version(void);

/* Generates the recipe of a key with this generator, on no device; dj_recipe_finish frees it. Locks
 * what glslang does. Thread-safe. Returns DJ_SUCCESS, also with an empty recipe (not one pass, or
 * Bluestein's or Rader's algorithm: why is logged at debug level); DJ_ERROR_COMPILER, logged at
 * that level; DJ_ERROR_OUT_OF_HOST_MEMORY. */
dj_result dj_vkfft_generate(const struct dj_log *log, uint32_t level,
                            const struct dj_recipe_key *key, struct dj_recipe *recipe);

/* How many kernels glslang has compiled in this process so far. */
uint64_t dj_vkfft_compilations(void);

#else

static inline uint64_t dj_vkfft_compilations(void)
{
    return 0;
}

#endif

#endif
