/* SPDX-License-Identifier: MIT */
/* Elements of 2 bytes: float32 to and from the types of half the size. */
#ifndef DJ_SAMPLES_ELEMENT_H
#define DJ_SAMPLES_ELEMENT_H

#include <stddef.h>
#include <stdint.h>

/* The float32 that a binary16 pattern stands for, exactly. */
float element_from_half(uint16_t half);

/* Copies count elements of an enum dj_type to float32, exactly, or back: rounded to nearest, ties
 * to even, beyond the type's range to Inf; NaN stays one. */
void element_read(uint32_t type, const void *elements, float *data, size_t count);
void element_write(uint32_t type, const float *data, void *elements, size_t count);

#endif
