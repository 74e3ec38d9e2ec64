/* SPDX-License-Identifier: MIT */
#include "recipes.h"

#include "context.h"
#include "vkfft.h"

#if DJ_HAVE_PREBUILT
#include "prebuilt.h"
#endif

#include <stdlib.h>

bool dj_recipes_init(struct dj_recipes *recipes)
{
    return pthread_mutex_init(&recipes->lock, NULL) == 0;
}

static void entry_free(struct dj_recipe_entry *entry)
{
    dj_recipe_finish(&entry->recipe);
    free(entry);
}

void dj_recipe_entries_free(struct dj_recipe_entry *list)
{
    while (list != NULL) {
        struct dj_recipe_entry *const next = list->next;
        entry_free(list);
        list = next;
    }
}

void dj_recipes_finish(struct dj_recipes *recipes)
{
    dj_recipe_entries_free(recipes->first);
#if DJ_HAVE_VKFFT
    if (recipes->generator)
        dj_vkfft_release();
#endif
    pthread_mutex_destroy(&recipes->lock);
}

bool dj_recipes_key(const struct dj_context *context, uint32_t type, uint32_t length,
                    struct dj_recipe_key *key)
{
    *key = (struct dj_recipe_key){.type = type, .length = length};
#if DJ_HAVE_PREBUILT
    (void)context;
    key->generator = dj_prebuilt_generator;
    key->limits = DJ_PREBUILT_LIMITS;
    return true;
#elif DJ_HAVE_VKFFT
    VkPhysicalDeviceProperties properties;
    context->vk.vkGetPhysicalDeviceProperties(context->physical, &properties);
    key->generator = dj_vkfft_version();
    key->limits.shared_memory = context->info.shared_memory;
    key->limits.max_invocations = context->info.max_invocations;
    for (int i = 0; i < 3; i++)
        key->limits.max_size[i] = properties.limits.maxComputeWorkGroupSize[i];
    key->limits.vendor_id = context->info.vendor_id;
    return true;
#else
    (void)context;
    return false;
#endif
}

static struct dj_recipe_entry *find(struct dj_recipe_entry *list, const struct dj_recipe_key *key)
{
    while (list != NULL && !dj_recipe_key_equal(&list->recipe.key, key))
        list = list->next;
    return list;
}

struct dj_recipe_entry *dj_recipes_first(struct dj_context *context)
{
    struct dj_recipes *const recipes = &context->recipes;
    pthread_mutex_lock(&recipes->lock);
    struct dj_recipe_entry *const first = recipes->first;
    pthread_mutex_unlock(&recipes->lock);
    return first;
}

/* Adds the entry, or frees it where another thread was faster: then that one's serves both. */
static struct dj_recipe_entry *entry_add(struct dj_recipes *recipes, struct dj_recipe_entry *entry)
{
    pthread_mutex_lock(&recipes->lock);
    struct dj_recipe_entry *const other = find(recipes->first, &entry->recipe.key);
    if (other == NULL) {
        entry->next = recipes->first;
        recipes->first = entry;
    }
    pthread_mutex_unlock(&recipes->lock);
    if (other == NULL)
        return entry;
    entry_free(entry);
    return other;
}

void dj_recipes_add(struct dj_context *context, struct dj_recipe_entry *list)
{
    while (list != NULL) {
        struct dj_recipe_entry *const entry = list;
        const struct dj_recipe_key *const has = &entry->recipe.key;
        struct dj_recipe_key wanted;
        list = entry->next;
        if (dj_recipes_key(context, has->type, has->length, &wanted) &&
            dj_recipe_key_equal(has, &wanted))
            entry_add(&context->recipes, entry);
        else
            entry_free(entry);
    }
}

#if DJ_HAVE_PREBUILT

/* The embedded recipe, which is right but for the memory it takes. */
static dj_result make(struct dj_context *context, const struct dj_recipe_key *key, uint32_t level,
                      struct dj_recipe *recipe)
{
    (void)level; /* nothing is generated */
    const uint32_t number = dj_prebuilt_number(key->type, key->length);
    if (number == DJ_PREBUILT_COUNT) {
        dj_log_line(&context->log, DJ_LOG_DEBUG,
                    "DCT-%u of length %u: this library was built with kernels for multiples of %d "
                    "up to %d",
                    key->type, key->length, DJ_PREBUILT_STEP, DJ_PREBUILT_MAX_LENGTH);
        *recipe = (struct dj_recipe){.key = *key};
        return DJ_SUCCESS;
    }
    const uint32_t start = dj_prebuilt_offsets[number];
    struct dj_reader reader = {.data = dj_prebuilt_data + start,
                               .left = dj_prebuilt_offsets[number + 1] - start};
    dj_recipe_read(recipe, &reader);
    return !reader.broken
               ? DJ_SUCCESS
               : dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY,
                         "DCT-%u of length %u: no memory for a kernel", key->type, key->length);
}

#elif DJ_HAVE_VKFFT

/* glslang stays started for the context's next recipe. */
static void generator_hold(struct dj_recipes *recipes)
{
    if (!dj_vkfft_acquire())
        return; /* dj_vkfft_generate says so */
    pthread_mutex_lock(&recipes->lock);
    const bool held = recipes->generator;
    recipes->generator = true;
    pthread_mutex_unlock(&recipes->lock);
    if (held)
        dj_vkfft_release();
}

static dj_result make(struct dj_context *context, const struct dj_recipe_key *key, uint32_t level,
                      struct dj_recipe *recipe)
{
    generator_hold(&context->recipes);
    return dj_vkfft_generate(&context->log, level, key, recipe);
}

#else

static dj_result make(struct dj_context *context, const struct dj_recipe_key *key, uint32_t level,
                      struct dj_recipe *recipe)
{
    (void)context;
    (void)level;
    *recipe = (struct dj_recipe){.key = *key};
    return DJ_SUCCESS;
}

#endif

dj_result dj_recipes_get(struct dj_context *context, uint32_t type, uint32_t length, uint32_t level,
                         struct dj_recipe_entry **entry)
{
    struct dj_recipe_key key;
    *entry = NULL;
    if (!dj_recipes_key(context, type, length, &key)) {
        dj_log_line(&context->log, DJ_LOG_DEBUG,
                    "DCT-%u of length %u: this library was built without VkFFT", type, length);
        return DJ_ERROR_UNSUPPORTED;
    }
    struct dj_recipe_entry *found = find(dj_recipes_first(context), &key);
    if (found == NULL) {
        struct dj_recipe_entry *const made = calloc(1, sizeof *made);
        if (made == NULL)
            return dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY, "DCT kernel: out of memory");
        const dj_result result = make(context, &key, level, &made->recipe);
        if (result != DJ_SUCCESS) {
            entry_free(made);
            return result;
        }
        found = entry_add(&context->recipes, made);
    }
    if (found->recipe.words_size == 0)
        return DJ_ERROR_UNSUPPORTED;
    *entry = found;
    return DJ_SUCCESS;
}
