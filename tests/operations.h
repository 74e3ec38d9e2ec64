/* SPDX-License-Identifier: MIT */
/* Everything that a program asks of the library, one operation after another, each cleaning up
 * after itself: what test_failures.c lets fail. */
#ifndef DJ_TESTS_OPERATIONS_H
#define DJ_TESTS_OPERATIONS_H

#include "null_loader.h"

#include "harness.h"

#include <dijiang/dijiang.h>

enum {
    OPERATION_LENGTH = 8, /* of the transforms, all of them DCT-II */
};

/* What operations work on, made without faults. */
struct world {
    uint64_t objects; /* that were there before */
    struct null_engine engine;
    dj_context *context; /* imported */
    dj_context *own;     /* or NULL */
    dj_features *features;
    dj_attention *plans[3]; /* tiled, softmax, Linformer */
    dj_dct *dct;
    struct dj_tensor q, k, v, o, rows;
    dj_buffer *state, *scratch;
    dj_recorder *recorder;
    struct dj_needs needs; /* of plans[0]'s call */
};

/* cmocka group set-up, before any world: generates the kernel of the transforms' length, and tunes
 * a plan. Contexts of worlds are given both as a cache, so that only operation_generation
 * generates. Makes a folder for cache files, which the tear-down removes. */
int operations_setup(void **state);
int operations_teardown(void **state);

/* A null device with as little as can be, or with all that it can offer but 2-byte storage. */
struct null_settings operation_settings(bool rich);

/* Made on an imported context over these settings of the null device; what is left at the end
 * fails. world_own adds a context of the library's own. */
void world_init(struct world *world, const struct null_settings *settings);
void world_own(struct world *world);
void world_finish(struct world *world);

/* Makes a plan of a generated kernel and destroys it. */
void operation_generate(dj_context *context, uint32_t length);

/* Gives a context that cache. */
dj_result operation_load_cache(dj_context *context);

/* Returns the first result that was not DJ_SUCCESS; asserts that outputs of calls that failed are
 * NULL. */
struct operation {
    const char *name;
    dj_result (*run)(struct world *world);
};
extern const struct operation operations[];
extern const size_t operation_count;
extern const struct operation operation_generation; /* not among them: it takes long */
const struct operation *operation_named(const char *name);

/* The log of all contexts here: error lines since 0 was written, and the last one; lines that say
 * that a kernel is done without, or a choice of a cache. */
extern uint32_t operation_errors, operation_kernels_missed, operation_choices_missed;
extern char operation_last_error[1024];
void operation_log(void *user, uint32_t level, const char *message);

#endif
