/* SPDX-License-Identifier: MIT */
/* What the device can do at most, measured: the roofline that results are held against. */
#ifndef DJ_SAMPLES_BENCH_CEILINGS_H
#define DJ_SAMPLES_BENCH_CEILINGS_H

#include "bench_gpu.h"

#include <stdbool.h>

struct bench_ceilings {
    double copy;         /* bytes read and written per second */
    double fma;          /* float32 operations per second, two in a multiply-add */
    double matrix;       /* the same by cooperative matrices of float16; 0: none */
    const char *without; /* why none */
};

/* Bytes read and written per second by copies, the best of some. Returns an enum program_exit,
 * having said why. */
int bench_ceilings_copy(struct bench_gpu *gpu, double *rate);

/* Measures each by a small kernel whose result was checked, and takes the best of some runs.
 * Returns an enum program_exit, having said why. */
int bench_ceilings_measure(struct bench_gpu *gpu, struct bench_ceilings *ceilings);

/* Seconds that the roofline allows: the longer of arithmetic and memory. Only calls on 2-byte
 * elements are held against the matrix units. *arithmetic: which of the two it is. 0: no ceilings.
 */
double bench_ceilings_allow(const struct bench_ceilings *ceilings, uint32_t type, double flops,
                            double bytes, bool *arithmetic);

#endif
