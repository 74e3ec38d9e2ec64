/* SPDX-License-Identifier: MIT */
/* SPIR-V modules, and what is added to them for a device. */
#ifndef DJ_LIB_SPIRV_H
#define DJ_LIB_SPIRV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DJ_SPIRV_MOST_ADDED = 17 /* words */
};

/* A compute module that asks for SignedZeroInfNanPreserve of 32-bit floats, and of 16-bit ones if
 * it has them: NaN, Inf and the sign of 0 are then as IEEE 754 has them, and no compiler may assume
 * that they do not occur. Writes to `out`, which has room for count + DJ_SPIRV_MOST_ADDED words,
 * and returns how many there are; 0 if the module is not one that this function knows, such as one
 * that asks for it already: instructions in the order of the specification, one entry point, of
 * compute, and no further modes of floats. */
size_t dj_spirv_preserve_nan(const uint32_t *words, size_t count, uint32_t *out);

#endif
