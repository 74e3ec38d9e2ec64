/* SPDX-License-Identifier: MIT */
/* dijiang-bench's parts: what was asked for, and the measurement of one case. */
#ifndef DJ_SAMPLES_BENCH_H
#define DJ_SAMPLES_BENCH_H

#include "systems.h"

#include <dijiang/dijiang.h>

#include <stdbool.h>
#include <stdint.h>

enum {
    BENCH_CHECK_STEPS = 70, /* decoding is checked over these: more than any tile or fold of 64 */
    BENCH_MAX_REPEATS = 1000,
};

struct settings {
    const char *only, *features, *dtype, *device;
    bool json, no_cache;
    uint64_t batch, heads, key_heads, dim, value_dim, tokens, repeat; /* 0: default */

    const struct system *system; /* what features names */
    uint32_t type;               /* dtype as enum dj_type */
};

struct measured {
    const char *name;
    const struct system *system;
    bool decode;     /* token by token, on a state */
    uint64_t tokens; /* per sequence and repetition */
    double median;   /* seconds; 0: not measured */
    double ratio;    /* of softmax's median to that of the linear case before it; 0: none */
};

/* Checks and times a case: fills in m->median. Returns an enum program_exit, having said why. */
int bench_measure(dj_context *context, const struct settings *settings, struct measured *m);

#endif
