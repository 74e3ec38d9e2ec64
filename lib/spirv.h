/* SPDX-License-Identifier: MIT */
/* SPIR-V modules, and what is changed in them for a device. */
#ifndef DJ_LIB_SPIRV_H
#define DJ_LIB_SPIRV_H

#include <stddef.h>
#include <stdint.h>

enum {
    DJ_SPIRV_MOST_ADDED = 26 /* words */
};

/* Bits of a set of changes. */
enum dj_spirv_change {
    /* it asks for SignedZeroInfNanPreserve of 32-bit floats, and of 16-bit ones if it has them:
     * NaN, Inf and the sign of 0 are then as IEEE 754 has them, and no compiler may assume that
     * they do not occur */
    DJ_SPIRV_PRESERVE_NAN = 1 << 0,
    /* shuffles, which must be from one lane to all, read that lane's value (SPV_KHR_shader_ballot)
     */
    DJ_SPIRV_READ_INVOCATION = 1 << 1,
};

/* A compute module with changes. Writes to `out`, which has room for count + DJ_SPIRV_MOST_ADDED
 * words, and returns how many there are; 0 if the module is not one that this function knows, such
 * as one that asks for SignedZeroInfNanPreserve already: instructions in the order of the
 * specification, one entry point, of compute, and no further modes of floats. */
size_t dj_spirv_change(const uint32_t *words, size_t count, uint32_t changes, uint32_t *out);

/* Makes values[i] the default of the specialization constant i of 32 bits, or of a bool, in a
 * module that is valid. */
void dj_spirv_specialize(uint32_t *words, size_t count, const uint32_t *values,
                         uint32_t values_count);

#endif
