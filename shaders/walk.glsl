/* SPDX-License-Identifier: MIT */
/* Walks through an array of registers in a rolled loop: element 0 is the one at hand, and NEXT moves the
 * others towards it; to fill the array, NEXT and then write its last element. An index that only the loop
 * knows would move the array to memory; unrolled, each load and store becomes branches for every lane on
 * CPU devices, which take seconds to compile them. */
#extension GL_EXT_control_flow_attributes : require

#define NEXT(array) \
    [[unroll]] for (int next = 1; next < (array).length(); next++) \
        (array)[next - 1] = (array)[next];
