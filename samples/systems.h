/* SPDX-License-Identifier: MIT */
/* The attention systems by the names that the programs take, and the numbers of their feature maps:
 * which they are, how they are called in files, how they are drawn. */
#ifndef DJ_SAMPLES_SYSTEMS_H
#define DJ_SAMPLES_SYSTEMS_H

#include <dijiang/features.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One set holds as many floats as numbers_size says. */
enum number_kind {
    NUMBERS_FREQUENCIES = 0,      /* t[m] */
    NUMBERS_WEIGHTS = 1,          /* D[m]; absent, they are 1 but where weighted */
    NUMBERS_DIRECTIONS = 2,       /* V[m][d] */
    NUMBERS_KEY_PROJECTION = 3,   /* E[m][T] */
    NUMBERS_VALUE_PROJECTION = 4, /* F[m][T] */
    NUMBERS_KINDS = 5,
};

struct system {
    const char *name;
    uint32_t map;    /* enum dj_map */
    uint32_t takes;  /* 1 << enum number_kind, any together */
    bool orthogonal; /* directions are orthogonal where they are drawn */
    bool weighted;   /* weights are drawn where they are absent, and not 1 */
};

/* "f32" and so on, by enum dj_type; NULL after the last. */
extern const char *const dtype_names[];

/* All of them, in the order of the help texts. */
#define SYSTEM_COUNT 13
extern const struct system systems[SYSTEM_COUNT];

/* The system of that name, or NULL. */
const struct system *system_find(const char *name);

bool system_takes(const struct system *system, enum number_kind kind);

/* Whether the number of features can be chosen; if not, it follows from the dimension. */
bool system_has_features(const struct system *system);

/* Whether phi is the exponential of something linear in x and |x|^2. */
bool system_is_exponential(const struct system *system);

/* Whether its keys can be normalised: phi(k) divided by phi(0).phi(k). */
bool system_can_normalise_keys(const struct system *system);

/* Whether attention is linear, with a state; exact softmax and Linformer have none. */
bool system_has_state(const struct system *system);

/* Whether a denominator is what the library takes by default. */
bool system_normalises(const struct system *system);

/* 1 for softmax-dct, as the paper's reference implementation, else 1 / sqrt(dim). */
float system_scale(const struct system *system, uint64_t dim);

/* The numbers of one map. */
struct numbers {
    const struct system *system;
    uint32_t dim;      /* d */
    uint32_t features; /* m, also of the systems that have no choice; 0 for exact softmax */
    uint32_t heads;    /* sets in each array; 0: one for all heads */
    uint32_t tokens;   /* T of Linformer, else 0 */
    float *arrays[NUMBERS_KINDS]; /* NULL: none */
};

/* m where the system has no choice of it, or the default. */
uint32_t numbers_features(const struct system *system, uint32_t dim);

/* Floats of one set. */
size_t numbers_size(const struct numbers *numbers, enum number_kind kind);

/* Draws an array that the system takes, one set for all heads: frequencies as the paper does,
 * directions on the sphere (PFF), Gaussian (PRF) or orthogonal (Performer), Linformer's projections
 * from N(0, 1/m), as that paper's Theorem 1, weights as exp(z / 2) with a normal z. Returns what
 * the library's functions do. */
dj_result numbers_draw(struct numbers *numbers, enum number_kind kind, uint64_t seed);

/* Draws whatever the system takes and numbers lack; weights only where it is weighted. */
dj_result numbers_draw_missing(struct numbers *numbers, uint64_t seed);

/* Creates the features, or sets *features to NULL for a system that takes no numbers. */
dj_result numbers_create(dj_context *context, const struct numbers *numbers,
                         dj_features **features);

void numbers_free(struct numbers *numbers);

#endif
