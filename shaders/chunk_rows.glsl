/* SPDX-License-Identifier: MIT */
/* Rows of a chunk: from memory to shared memory, as float16 in units of powers of two (chunk.glsl). */

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

/* The size of numbers above which the matrix's 11 bits are too few: an error of 2^-12 in each, with terms of
 * any sign, is then 2^-10 of an exponent of e at most; for bfloat16 eight times as much. */
float large_number;

/* The largest size of 16-bit numbers of which Inf has the bits `none`; these do not count. */
uint largest_bits(uint largest, uvec4 eight, uint none)
{
    [[unroll]] for (uint n = 0; n < 4; n++) {
        const uint a = eight[n] & 0x7fffu, b = eight[n] >> 16 & 0x7fffu;
        largest = max(largest, max(a < none ? a : 0, b < none ? b : 0));
    }
    return largest;
}

/* What rows that were loaded are worth, for all invocations behind a barrier. */
#define SURVEY_ROWS(taken, width, which, chunk) \
    { \
        uint largest = 0; \
        [[unroll]] for (uint l = 0; l < LOADS(width); l++) \
            largest = largest_bits(largest, taken[l], BFLOAT ? 0x7f80u : 0x7c00u); \
        if (BFLOAT) \
            atomicMax(most[chunk % 2 * 3 + which], largest, gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed); \
        if (TRANSFORM && which < 2 && bits_value(largest) > large_number) \
            FLAG(large[chunk % 2]); \
    }

float bits_value(uint bits)
{
    return BFLOAT ? uintBitsToFloat(bits << 16) : unpackHalf2x16(bits).x;
}

/* The exponent of the unit in which the largest number is 2^14 to 2^15. */
float unit_bits(uint bits)
{
    return clamp(exponent_of(bits_value(bits)) - 14.0, -126.0, 126.0);
}

/* bfloat16 to float16, in units of 2^bits. */
#define CONVERT_ROWS(taken, width, bits) \
    [[unroll]] for (uint l = 0; l < LOADS(width); l++) { \
        [[unroll]] for (uint n = 0; n < 4; n++) { \
            const uint two = taken[l][n]; \
            taken[l][n] = packHalf2x16(vec2(uintBitsToFloat(two << 16), uintBitsToFloat(two & 0xffff0000u)) * \
                                       exp2i(-(bits))); \
        } \
    }

/* The chunk's units; marks of the next. */
void set_units(uint chunk)
{
    [[unroll]] for (uint section = 0; section < SECTIONS; section++)
        unit_of[section] = BFLOAT ? exp2i(unit_bits(most[chunk % 2 * 3 + section])) : 1.0;
    if (!BFLOAT)
        return;
    const uint largest = most[chunk % 2 * 3 + 2];
    const float bits = largest == 0 ? value_bits : max(value_bits, unit_bits(largest));
    value_rescale *= exp2i(value_bits - bits);
    value_bits = bits;
}

void clear_next(uint chunk)
{
    if (t < 3)
        most[(chunk + 1) % 2 * 3 + t] = 0;
    if (t == 0)
        large[(chunk + 1) % 2] = 0;
}

/* Marks of the chunk to come, as far as rows do not make them while they are loaded. */
void clear_marks()
{
    for (uint c = t; c < COLUMNS; c += THREADS)
        first_spoiled[c] = CHUNK;
    if (t == 0)
        narrow = spoiled = 0;
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
