/* SPDX-License-Identifier: MIT */
/* Cooperative matrices, where the headers and the compiler of the build know them
 * (DJ_BENCH_MATRIX) and the device has them; elsewhere these functions find none. */
#ifndef DJ_SAMPLES_BENCH_MATRIX_H
#define DJ_SAMPLES_BENCH_MATRIX_H

#include "bench_gpu.h"

#include <stddef.h>

/* Before a device is made: adds the extensions to names, which has room, and returns the chain of
 * features, static, with next behind it. next itself: there are none. */
const void *bench_matrix_enable(VkPhysicalDevice physical, const char **names, uint32_t *count,
                                void *next);

/* A size that the device multiplies: float16 factors, float32 sums. */
struct bench_matrix {
    uint32_t m, n, k;
    const uint32_t *code; /* bench_matrix.comp */
    size_t size;
};

/* The largest of them; false where there is none. */
bool bench_matrix_find(const struct bench_gpu *gpu, struct bench_matrix *matrix);

/* Why there is none, for people. */
const char *bench_matrix_reason(const struct bench_gpu *gpu);

#endif
