/* SPDX-License-Identifier: MIT */
/* Contexts whose caches are tried: the lines they log are kept instead of printed, and what making
 * plans took is counted. Looks inside the library. */
#ifndef DJ_TESTS_CACHES_H
#define DJ_TESTS_CACHES_H

#include "harness.h"

#include "../lib/cache.h"

enum {
    LINES = 16
};

/* The last lines, from the first on until there are more than LINES; whoever counts sets 0. */
extern char lines[LINES][256];
extern uint32_t line_count;

/* Whether a line of that level has that text. */
bool logged(uint32_t level, const char *text);

/* On the device of a harness context, with its validation, which must have said nothing when it is
 * done. Lines are counted anew. */
dj_context *context_on(uint32_t device, const void *cache, uint64_t size);
void done(dj_context **context);

/* Counts the kernels that are generated and the trials that are submitted from now on. */
void watch(dj_context *context);
void assert_took(uint64_t kernels, uint32_t trials);

dj_dct *plan(dj_context *context, uint32_t type, uint32_t length);

/* Makes plans of three kernels, and of a length without one. */
void make_plans(dj_context *context);

#endif
