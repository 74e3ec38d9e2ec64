/* SPDX-License-Identifier: MIT */
/* Storage types on the host: rounding to nearest, ties to even, beyond the range to Inf. */
#ifndef DJ_TESTS_HALF_H
#define DJ_TESTS_HALF_H

#include <stddef.h>
#include <stdint.h>

uint16_t half_from_float(float x);
float half_to_float(uint16_t bits);
uint16_t bfloat_from_float(float x);
float bfloat_to_float(uint16_t bits);

/* Elements of enum dj_type `type`: n floats into memory that need not be aligned, and back. */
void half_store(uint32_t type, void *to, const float *x, size_t n);
void half_load(uint32_t type, float *x, const void *from, size_t n);
/* x[i] as it is after a store and a load. */
void half_round(uint32_t type, float *x, size_t n);

#endif
