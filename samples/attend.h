/* SPDX-License-Identifier: MIT */
/* dijiang-attend's parts: what was asked for, the file's problem, and the device's work on it. */
#ifndef DJ_SAMPLES_ATTEND_H
#define DJ_SAMPLES_ATTEND_H

#include "safetensors.h"
#include "systems.h"

#include <dijiang/dijiang.h>

#include <stdbool.h>
#include <stdint.h>

struct settings {
    const char *input, *output, *form, *features, *dtype, *layout, *device;
    bool no_causal, no_normalise, key_normalise, no_key_normalise, no_decay, check, no_cache;
    uint64_t features_count, max_tokens; /* 0: default */
    uint64_t seed;
    float scale; /* 0: the system's default */

    const struct system *system; /* what form and features come to */
    uint32_t type;               /* dtype as enum dj_type */
};

/* The file's tensors and what they hold, [B,H,T,..] as there. Pointers to tensors are NULL for
 * those that are absent or not wanted. */
struct problem {
    struct safetensors *file;
    const struct safetensors_tensor *tensor_q, *tensor_k, *tensor_v, *tensor_out, *tensor_decay;
    const struct safetensors_tensor *tensor_numbers[NUMBERS_KINDS];
    uint64_t batch, heads, key_heads, query_tokens, tokens, dim, value_dim;
    uint64_t out_shape[4], out_count;
    uint32_t max_tokens; /* of the plan */
    bool causal, normalised;
    bool keys_normalised, keys_by_file; /* the latter: because its metadata says so */
    float scale;
    struct numbers numbers;
    float *q, *k, *v, *out, *result, *decay;
};

/* "[2,4,130,64]", shortened where a hostile file has many dimensions. */
struct shape_text {
    char text[120];
};
struct shape_text shape_text(const struct safetensors_tensor *tensor);

/* Opens the file and checks every shape; reads no data yet. These three return an enum
 * program_exit, having said why. */
int problem_open(const struct settings *settings, struct problem *p);

/* Reads or draws all that was described. */
int problem_read(const struct settings *settings, struct problem *p);

void problem_close(struct problem *p);

/* One tensor is one buffer: says so before gigabytes are read in vain. */
int device_check_size(const struct settings *settings, const struct problem *p,
                      const struct dj_device_info *info);

/* What took how many seconds. A driver may compile kernels when a plan is made and when they first
 * run. */
struct device_times {
    double context; /* and its cache, loaded */
    double plan;    /* with the feature map */
    double runs[2];
};

/* Computes p->result twice, and sets times but for the context's. */
int device_run(dj_context *context, const struct settings *settings, const struct problem *p,
               struct device_times *times);

#endif
