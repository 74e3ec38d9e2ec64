/* SPDX-License-Identifier: MIT */
/* Which kernel family was measured to be the quicker one, as a list that goes with the cache. */
#ifndef DJ_LIB_CHOICES_H
#define DJ_LIB_CHOICES_H

#include "bytes.h"
#include "context.h"

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
