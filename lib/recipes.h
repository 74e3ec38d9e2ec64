/* SPDX-License-Identifier: MIT */
/* The recipes of a context: those its plans use and those of its cache, for as long as it lives. */
#ifndef DJ_LIB_RECIPES_H
#define DJ_LIB_RECIPES_H

#include "log.h"
#include "recipe.h"

#include <pthread.h>
#include <stdatomic.h>

struct dj_context;

enum dj_verdict {        /* of a recipe's trial on this device and driver */
    DJ_VERDICT_NONE = 0, /* not tried yet */
    DJ_VERDICT_RIGHT = 1,
    DJ_VERDICT_WRONG = 2,
};

struct dj_recipe_entry {
    struct dj_recipe recipe; /* immutable */
    atomic_uint verdict;     /* enum dj_verdict */
    struct dj_recipe_entry *next;
};

/* A list that only grows. Zeroed, it is valid but for the lock. */
struct dj_recipes {
    pthread_mutex_t lock; /* of the list's head; never held while a recipe is made */
    struct dj_recipe_entry *first;
    bool generator; /* this context holds glslang started */
};

/* Initialises the lock; false if that fails. */
bool dj_recipes_init(struct dj_recipes *recipes);
void dj_recipes_finish(struct dj_recipes *recipes);

/* The key that a transform's recipe has in this library on this device: its own limits, or those
 * that prebuilt recipes are made for. False in a library without recipes. */
bool dj_recipes_key(const struct dj_context *context, uint32_t type, uint32_t length,
                    struct dj_recipe_key *key);

/* The recipe of a transform: the context's list (which a cache has filled), else one that the
 * library was built with, else a generated one. The entry lives as long as the context.
 * Thread-safe. Returns DJ_SUCCESS; DJ_ERROR_UNSUPPORTED (there is none; logged at debug level only,
 * since the caller may fall back); DJ_ERROR_COMPILER, logged at that level;
 * DJ_ERROR_OUT_OF_HOST_MEMORY. */
dj_result dj_recipes_get(struct dj_context *context, uint32_t type, uint32_t length, uint32_t level,
                         struct dj_recipe_entry **entry);

/* The newest entry; the list from there on never changes. Thread-safe. */
struct dj_recipe_entry *dj_recipes_first(struct dj_context *context);

/* Puts a list of entries, linked by next, before the context's own; those whose key is there
 * already, or that this library would not look for on this device, are freed. Thread-safe. */
void dj_recipes_add(struct dj_context *context, struct dj_recipe_entry *list);

void dj_recipe_entries_free(struct dj_recipe_entry *list);

#endif
