/* SPDX-License-Identifier: MIT */
/* What suits a kind of device, as a table, and what was measured on one, as a list of choices. */
#ifndef DJ_LIB_TUNING_H
#define DJ_LIB_TUNING_H

#include "bytes.h"
#include "context.h"

struct dj_tuning {
    uint32_t step_fewest, step_most; /* invocations of the step kernel: powers of two */
    uint32_t step_ahead;             /* features whose sums that has under way at once: 1, 2, 4 */
    uint32_t dense_ahead;            /* rows whose elements a product of rows has so: 1, 2, 4, 8 */
    uint32_t sum_ahead;              /* loads that an invocation of a tile's sums has so: 1 to 8 */
    uint32_t output_ahead;           /* ... of its outputs: 1, 2, 4 */
    uint32_t scan_ahead;             /* tiles whose numbers the scan has under way at once */
    uint32_t two_strips;             /* heads from which on a resident workgroup has two strips */
    bool resident;                   /* sums in registers where that can be, without being asked */
};

/* Of an enum dj_device_type. */
const struct dj_tuning *dj_tuning_of(uint32_t device_type);

/* What a choice is for: the numbers of a plan, and a size of calls. */
enum {
    DJ_CHOICE_KEY = 12,
    DJ_CHOICE_SIZES = 32 * 16 /* dj_choice_size */
};
struct dj_choice_key {
    uint32_t words[DJ_CHOICE_KEY];
};
struct dj_choice {
    struct dj_choice *next;
    struct dj_choice_key key;
    uint32_t size, family; /* enum dj_family */
};

/* Calls of about as many sequences and tokens: within the same powers of two. */
uint32_t dj_choice_size(uint64_t sequences, uint64_t tokens);

/* Keeps a choice for as long as the context lives, unless there is one for that key and size.
 * Returns the one that there then is; NULL: there is no memory, which is not logged. Thread-safe.
 */
const struct dj_choice *dj_choices_add(struct dj_context *context, const struct dj_choice *choice);

/* The choice for a key and size, or NULL. Thread-safe. */
const struct dj_choice *dj_choices_find(const struct dj_context *context,
                                        const struct dj_choice_key *key, uint32_t size);

/* The newest; the list from there on never changes. */
const struct dj_choice *dj_choices_first(const struct dj_context *context);
void dj_choices_finish(struct dj_context *context);
void dj_choices_free(struct dj_choice *list);

/* As bytes. Reading breaks the reader at what is no choice; the list is to be freed either way. */
void dj_choices_write(const struct dj_choice *first, struct dj_writer *writer);
struct dj_choice *dj_choices_read(struct dj_reader *reader);

#endif
