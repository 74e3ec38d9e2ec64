/* SPDX-License-Identifier: MIT */
/* Rows of a chunk: from memory to shared memory (chunk.glsl). */

/* A chunk's rows of a tensor from an element on, 8 numbers at once, 0 beyond the last: to registers, so that
 * all are under way together, and from there to shared memory. */
#define LOADS(width) ((CHUNK * (width) / 8 + THREADS - 1) / THREADS)
#define LOAD_ROWS(taken, source, from, step, width) \
    uvec4 taken[LOADS(width)]; \
    [[unroll]] for (uint l = 0; l < LOADS(width); l++) { \
        const uint i = l * THREADS + t, row = i / ((width) / 8), at = i % ((width) / 8); \
        taken[l] = row < count ? source.data[((from) + row * (step)) / 8 + at] : uvec4(0); \
    }
#define STORE_ROWS(taken, target, to, stride, width) \
    [[unroll]] for (uint l = 0; l < LOADS(width); l++) { \
        const uint i = l * THREADS + t, row = i / ((width) / 8), at = i % ((width) / 8); \
        if (row < CHUNK) \
            target[(to) + row * (stride) + at] = taken[l]; \
    }

/* The size of numbers above which the matrix's 11 bits are too few. If all are of that size, errors of 2^-12
 * in each entry, their signs at random, come to 2^-10 in an exponent of e. */
float large_number;

/* The larger of a number's size and what there was, as bits; one that is none does not count. */
uint larger_bits(uint largest, uint bits)
{
    const uint size = bits & 0x7fffu;
    return size < 0x7c00u ? max(largest, size) : largest;
}

/* Whether rows that were loaded have larger ones, for all invocations behind a barrier. */
#define FIND_LARGE(taken, chunk) \
    if (TRANSFORM) { \
        uint largest = 0; \
        [[unroll]] for (uint l = 0; l < LOADS(DIM); l++) { \
            [[unroll]] for (uint n = 0; n < 4; n++) \
                largest = larger_bits(larger_bits(largest, taken[l][n]), taken[l][n] >> 16); \
        } \
        if (unpackHalf2x16(largest).x > large_number) \
            FLAG(large(chunk)); \
    }

/* Marks of the chunk to come, as far as rows do not make them while they are loaded. */
void clear_marks()
{
    for (uint c = t; c < COLUMNS; c += THREADS)
        first_spoiled[c] = CHUNK;
    if (t == 0)
        narrow = spoiled = norm_bits = 0;
}

/* Values that are no numbers leave the products, where 0 times one would be none, too. */
void take_spoiled_values()
{
    for (uint i = t; i < CHUNK * (COLUMNS / 8); i += THREADS) {
        const uint row = i / (COLUMNS / 8), at = i % (COLUMNS / 8);
        uvec4 eight = values[row * VALUE_ROW + at];
        bool changed = false;
        [[unroll]] for (uint n = 0; n < 8; n++) {
            const uint mask = n % 2 == 0 ? 0x7c00u : 0x7c000000u;
            if ((eight[n / 2] & mask) == mask) {
                eight[n / 2] &= n % 2 == 0 ? 0xffff0000u : 0xffffu;
                atomicMin(first_spoiled[at * 8 + n], row, gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
                changed = true;
            }
        }
        if (changed) {
            values[row * VALUE_ROW + at] = eight;
            FLAG(spoiled);
        }
    }
}
