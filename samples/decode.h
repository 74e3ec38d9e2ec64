/* SPDX-License-Identifier: MIT */
/* dijiang-decode's parts: the run, the histories that it decodes on, and what came of it. */
#ifndef DJ_SAMPLES_DECODE_H
#define DJ_SAMPLES_DECODE_H

#include "bench_gpu.h"
#include "bench_repeat.h"

#include <dijiang/dijiang.h>

#include <stdint.h>

enum {
    DECODE_MAX_LAYERS = 36,
    DECODE_MAX_POINTS = 25,
    DECODE_MAX_HISTORY = 1 << 24,
};

/* The attention of a model; hidden size is heads * dim. */
struct decode_model {
    const char *name;
    uint32_t layers, heads, dim;
};

enum decode_system {
    DECODE_LINEAR, /* WDCF, on a state */
    DECODE_EXACT,  /* softmax, on a KV cache */
    DECODE_SYSTEMS,
};

/* One token of each sequence through all layers. */
struct decode_result {
    struct bench_times times; /* count 0: not measured */
    uint64_t bytes;           /* of state or KV cache, over all layers */
    double error, bound;      /* of the first step against the host */
};

struct decode_point {
    uint64_t history; /* tokens that a step's token sees, itself included */
    struct decode_result results[DECODE_SYSTEMS];
    char omitted[160]; /* why exact attention was not measured; empty: it was */
};

struct decode_run {
    const struct decode_model *model;
    uint32_t type; /* enum dj_type of q, k, v, the cache and the result */
    const char *type_name;
    uint64_t batch, repeat;
    double copy; /* bytes per second that the device copies, read and written */
    struct decode_point points[DECODE_MAX_POINTS]; /* from short to long */
    uint32_t count;
};

/* Elements of one token in q, k or v. */
uint64_t decode_width(const struct decode_run *run);

/* Bytes of the whole KV cache. */
double decode_cache_bytes(const struct decode_run *run, uint64_t history);

/* Tokens per second that reading the cache at the rate of copies would allow. */
double decode_memory_speed(const struct decode_run *run, uint64_t history);

/* What is held between steps. A layer's tensors of one token are [B,1,H,d]. */
struct decode_memory {
    struct decode_layer {
        dj_buffer *state; /* 2 B slots: the history's, and those that are timed */
        dj_buffer *k, *v; /* KV cache [B,longest,H,d]; NULL: none */
        dj_buffer *o;
    } layers[DECODE_MAX_LAYERS];
    dj_buffer *q, *k, *v; /* the step's token, for all layers */
    uint64_t slot_size;
    uint64_t longest; /* tokens that the caches have room for */
};

/* Makes the memory, caches as long as the longest history that fits; says of the others in the run
 * why not. decode_memory_destroy is due in any case. */
dj_result decode_memory_create(struct bench_gpu *gpu, struct decode_run *run, uint64_t slot_size,
                               struct decode_memory *memory);
void decode_memory_destroy(struct decode_memory *memory);

/* q (0), k (1) or v (2) of tokens first .. first + count - 1 of sequence b as [count][H][d],
 * random; the token of a step differs from what a history without the step would hold. */
void decode_tokens(const struct decode_run *run, int which, uint64_t b, uint64_t first,
                   uint64_t count, float *data);

/* Checks and measures all points, and calls done after each. Returns an enum program_exit, having
 * said why, unless it was interrupted. */
int decode_measure(struct bench_gpu *gpu, struct decode_run *run,
                   void (*done)(const struct decode_run *run, const struct decode_point *point));

void decode_print_header(const struct bench_gpu *gpu, const struct decode_run *run);
void decode_print_row(const struct decode_run *run, const struct decode_point *point);
int decode_print_json(const struct bench_gpu *gpu, const struct decode_run *run);

/* Writes decode.csv, decode.png and decode.svg there. */
int decode_write(const struct bench_gpu *gpu, const struct decode_run *run, const char *directory);

#endif
