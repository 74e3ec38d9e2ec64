/* SPDX-License-Identifier: MIT */
/* Recipes: DCT kernels as plain data, in memory and as bytes. */
#ifndef DJ_LIB_RECIPE_H
#define DJ_LIB_RECIPE_H

#include "bytes.h"

enum dj_recipe_role { /* what a binding of the kernel is */
    DJ_RECIPE_UNUSED = 0,
    DJ_RECIPE_INPUT = 1,
    DJ_RECIPE_OUTPUT = 2,
    DJ_RECIPE_TABLE = 3, /* the recipe's table */
};

enum {
    DJ_RECIPE_BINDINGS = 4,
    DJ_RECIPE_MAX_PUSH = 128,        /* bytes */
    DJ_RECIPE_MAX_WORDS = 1 << 20,   /* of SPIR-V, 32 bits each */
    DJ_RECIPE_MAX_TABLE = 1 << 22,   /* bytes */
    DJ_RECIPE_MAX_GROUP_ROWS = 1024, /* rows_per_group */
};

/* The device limits that shape a kernel. */
struct dj_recipe_limits {
    uint32_t shared_memory;   /* bytes */
    uint32_t max_invocations; /* of a workgroup */
    uint32_t max_size[3];     /* of a workgroup, per axis */
    uint32_t vendor_id;       /* 0: no vendor's tuning */
};

/* What a recipe is made from: equal keys, equal recipes. */
struct dj_recipe_key {
    uint32_t generator; /* VkFFT's version, as VkFFTGetVersion has it */
    uint32_t type, length;
    struct dj_recipe_limits limits;
};

/* A kernel that transforms packed f32 rows of key.length in place (input and output are the same
 * buffer), FFTW's unnormalised definitions: DCT-II 2 sum x[n] cos(pi (n+1/2) k / N), DCT-III
 * x[0] + 2 sum_{n>0} x[n] cos(pi n (k+1/2) / N), DCT-IV 2 sum x[n] cos(pi (n+1/2)(k+1/2) / N).
 * Whole workgroups touch rows_per_group rows each: the buffer is padded to that.
 *
 * Without words it says that there is no such kernel, which takes as long to find out; then all but
 * the key is 0. */
struct dj_recipe {
    struct dj_recipe_key key;
    uint32_t *words; /* SPIR-V, without debug names */
    size_t words_size;
    void *table; /* contents of the DJ_RECIPE_TABLE binding; NULL if there is none */
    size_t table_size;
    uint32_t roles[DJ_RECIPE_BINDINGS]; /* enum dj_recipe_role */
    uint32_t rows_per_group;
    uint32_t max_rows; /* of one dispatch; a multiple of rows_per_group. Row groups go along y */
    uint32_t push[DJ_RECIPE_MAX_PUSH / 4]; /* push constants, the same for every dispatch */
    uint32_t push_size;                    /* bytes */
};

bool dj_recipe_key_equal(const struct dj_recipe_key *a, const struct dj_recipe_key *b);

/* Takes instructions that only name things out of the words. */
void dj_recipe_strip(struct dj_recipe *recipe);

/* The breach of the rules above, or NULL: sizes, roles, and SPIR-V as far as its instructions fill
 * the words exactly. */
const char *dj_recipe_flaw(const struct dj_recipe *recipe);

/* Appends the recipe, which has no flaw. */
void dj_recipe_write(const struct dj_recipe *recipe, struct dj_writer *writer);

/* Reads what dj_recipe_write wrote, one recipe, and nothing else: any other bytes break the reader,
 * want of memory starves it, and the recipe is then empty. The words and the table are the caller's
 * to give to dj_recipe_finish. */
void dj_recipe_read(struct dj_recipe *recipe, struct dj_reader *reader);

/* Frees words and table, and leaves all zero. */
void dj_recipe_finish(struct dj_recipe *recipe);

#endif
