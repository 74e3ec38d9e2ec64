/* SPDX-License-Identifier: MIT */
/* dijiang-bench's parts: what is measured, how, and what came of it. */
#ifndef DJ_SAMPLES_BENCH_H
#define DJ_SAMPLES_BENCH_H

#include "bench_ceilings.h"
#include "bench_gpu.h"
#include "bench_random.h"
#include "bench_repeat.h"
#include "systems.h"

#include <dijiang/dijiang.h>

#include <stdbool.h>
#include <stdint.h>

enum {
    BENCH_CHECK_STEPS = 70, /* decoding is checked over these: more than any tile or fold of 64 */
    BENCH_MAX_CASES = 64,
    BENCH_MAX_KERNELS = 12,
    BENCH_KERNEL_RUNS = 5, /* at most, for the times of kernels; the one of median length is told */
};

/* What was asked for; NULL and 0: nothing said. */
struct settings {
    const char *suite, *only, *features, *dtype, *device, *output;
    bool key_normalise, json, no_cache, no_ceilings;
    uint64_t batch, heads, key_heads, dim, value_dim, tokens, repeat;
};

enum bench_kind {
    BENCH_PREFILL,
    BENCH_SOFTMAX,  /* prefill by exact softmax */
    BENCH_DECODE,   /* token by token, on a state */
    BENCH_DCT,      /* of as many rows as there are queries */
    BENCH_FEATURES, /* prefill with values of 4 columns: the map, and little besides */
};
extern const char *const bench_kinds[]; /* their names, NULL after the last */

/* All dispatches of a kernel in one call. */
struct bench_kernel {
    const char *name; /* struct dj_timing's */
    uint64_t dispatches;
    double seconds;
};

struct bench_case {
    enum bench_kind kind;
    const struct system *system; /* NULL: none, of a DCT */
    bool key_normalise;
    uint32_t type; /* enum dj_type */
    uint64_t batch, heads, key_heads, dim, value_dim;
    uint64_t tokens; /* per sequence and repetition */

    struct bench_times times;                       /* count 0: not measured */
    struct bench_kernel kernels[BENCH_MAX_KERNELS]; /* in the order of their first dispatch */
    size_t kernel_count;                            /* 0: not measured, or no timestamps */
    uint32_t family;                                /* enum dj_family, which did it; 0, of a DCT */
    uint64_t flops, bytes;                          /* that the algorithm must spend and move */
    double allowed;                                 /* seconds by the roofline; 0: not known */
    bool arithmetic;                                /* ... which arithmetic decides, not memory */
    double ratio;   /* of softmax's median to that of the linear case before it; 0: none */
    double skipped; /* seconds that a repetition was expected to take: too many; 0: not skipped */
};

/* The cases that were asked for, at most BENCH_MAX_CASES. Returns an enum program_exit. */
int bench_choose(const struct settings *settings, struct bench_case *cases, size_t *count);

/* Repeats a case as bench_repeat does, after bench_gpu_warm_up, 0: at least 5 times and for
 * bench_gpu_seconds. */
dj_result bench_repeat_case(const struct bench_gpu *gpu, const struct bench_case *c,
                            uint64_t repeat, dj_result (*run)(void *user, struct bench_time *time),
                            void *user, struct bench_times *times);

/* Runs a case a few times more, by a recorder with timings, of a size that is enough for the call,
 * in place of *recorder, for the case's kernels. */
dj_result bench_time_kernels(const struct bench_gpu *gpu, const struct dj_needs *needs,
                             dj_recorder **recorder,
                             dj_result (*run)(void *user, struct bench_time *time), void *user,
                             struct bench_case *c);

/* Check a case, then time it. Return an enum program_exit, having said why. */
int bench_measure_attention(struct bench_gpu *gpu, uint64_t repeat, struct bench_case *c);
int bench_measure_dct(struct bench_gpu *gpu, uint64_t repeat, struct bench_case *c);

/* A result that strays from the host's: says so. */
int bench_judge(const struct bench_case *c, double error, double bound);

void bench_print_header(const struct bench_gpu *gpu, const struct bench_ceilings *ceilings);
void bench_print_row(const struct bench_case *c);
int bench_print_json(const struct bench_gpu *gpu, const struct bench_ceilings *ceilings,
                     const struct bench_case *cases, size_t count);

/* bench.json in a directory, and where the program draws, bench.png and bench.svg. */
int bench_write_json(const struct bench_gpu *gpu, const struct bench_ceilings *ceilings,
                     const struct bench_case *cases, size_t count, const char *directory);
int bench_draw(const struct bench_gpu *gpu, const struct bench_case *cases, size_t count,
               const char *directory);

#endif
