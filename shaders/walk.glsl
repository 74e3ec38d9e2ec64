/* SPDX-License-Identifier: MIT */
/* Walks through an array of registers in a rolled loop: its element 0 is the one at hand, NEXT moves the
 * others up. An index that only the loop knows would move the array to memory; unrolled, every load and
 * store becomes branches for each lane on CPU devices, which take seconds to compile them. */
#define NEXT(array) \
    for (int next = 1; next < (array).length(); next++) \
        (array)[next - 1] = (array)[next];
