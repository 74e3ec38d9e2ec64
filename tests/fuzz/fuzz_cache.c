/* SPDX-License-Identifier: MIT */
/* Any bytes as a cache: taken or refused, and what is taken is written again and taken again. The
 * hash would keep mutations out, so it is made right first. */
#include "fuzz.h"

#include "../null_device.h"

#include <dijiang/attention.h>
#include <dijiang/cache.h>

#include <string.h>

enum {
    HASH_AT = 64,
    HEADER = 72
};

static struct null_engine engine;
static dj_context *context;

static void start(void)
{
    if (context != NULL)
        return;
    null_device_set(NULL);
    null_engine_init(&engine);
    const struct dj_import_params params = null_engine_params(&engine);
    FUZZ_ASSERT(dj_context_import(&params, &context) == DJ_SUCCESS);
}

/* FNV-1a over all other bytes, as lib/cache.c says. */
static void mend_hash(uint8_t *bytes, size_t size)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < size; i++) {
        if (i < HASH_AT || i >= HEADER)
            hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    for (int i = 0; i < 8; i++)
        bytes[HASH_AT + i] = (uint8_t)(hash >> 8 * i);
}

/* Plans read the choices that are for them; the corpus has some for this one. */
static void make_plan(dj_context *taker)
{
    const struct dj_attention_params params = {
        .map = DJ_MAP_ELU, .heads = 2, .dim = 16, .family = DJ_FAMILY_TUNED};
    dj_attention *plan;
    FUZZ_ASSERT(dj_attention_create(taker, &params, &plan) == DJ_SUCCESS);
    dj_attention_destroy(&plan);
}

static void try_cache(const uint8_t *data, size_t size)
{
    const dj_result checked = dj_cache_check(context, data, size);
    FUZZ_ASSERT(checked == DJ_SUCCESS || checked == DJ_ERROR_CACHE);
    struct dj_import_params params = null_engine_params(&engine);
    dj_context *taker;
    params.cache = data;
    params.cache_size = size;
    FUZZ_ASSERT(dj_context_import(&params, &taker) == DJ_SUCCESS);
    uint64_t saved = 0;
    FUZZ_ASSERT(dj_cache_save(taker, NULL, &saved) == DJ_SUCCESS);
    uint8_t *const again = malloc(saved);
    FUZZ_ASSERT(again != NULL && dj_cache_save(taker, again, &saved) == DJ_SUCCESS);
    FUZZ_ASSERT(dj_cache_check(context, again, saved) == DJ_SUCCESS);
    free(again);
    make_plan(taker);
    dj_context_destroy(&taker);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    start();
    try_cache(data, size);
    if (size < HEADER)
        return 0;
    uint8_t *const mended = malloc(size);
    FUZZ_ASSERT(mended != NULL);
    memcpy(mended, data, size);
    /* the length of the whole, too */
    for (int i = 0; i < 8; i++)
        mended[56 + i] = (uint8_t)((uint64_t)size >> 8 * i);
    mend_hash(mended, size);
    try_cache(mended, size);
    free(mended);
    return 0;
}
