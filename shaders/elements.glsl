/* SPDX-License-Identifier: MIT */
/* Elements of 32 or 16 bits in buffers of 32-bit words; no 16-bit feature of the device is used here.
 * The including shader defines VECTORS, a constant: neighbouring words are read and written together, if there are
 * addresses. It is meant for GPUs, where an address takes as many instructions as what is done with its word (counted
 * in what Mesa compiles, docs/performance.md); Mesa 26.1 aborts where a CPU device's vectors of 16 lanes are moved
 * so. */
#ifdef ADDRESSES
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Pairs
{
    uvec2 data[];
};
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Fours
{
    uvec4 data[];
};

/* The address of a word of what begins at `start`, as a buffer's name converts to it. */
uvec2 word_address(uvec2 start, uint word)
{
    uint carry_bit;
    const uint low = uaddCarry(start.x, word << 2, carry_bit);
    return uvec2(low, start.y + (word >> 30) + carry_bit);
}

#define PAIR_AT(words, at) Pairs(word_address(uvec2(words), at)).data[0]
#define FOUR_AT(words, at) Fours(word_address(uvec2(words), at)).data[0]
#define PAIR(words, at) (VECTORS ? PAIR_AT(words, at) : TWO_WORDS(words, at))
#define FOUR(words, at) (VECTORS ? FOUR_AT(words, at) : FOUR_WORDS(words, at))
#else
#define PAIR(words, at) TWO_WORDS(words, at)
#define FOUR(words, at) FOUR_WORDS(words, at)
#endif
#define TWO_WORDS(words, at) uvec2(words.data[at], words.data[(at) + 1])
#define FOUR_WORDS(words, at) uvec4(TWO_WORDS(words, at), TWO_WORDS(words, (at) + 2))

/* The word that holds element `at`. */
uint element_word(uint type, uint at)
{
    return type == DJ_ELEMENT_FLOAT32 ? at : at >> 1;
}

float from_half(uint bits)
{
    /* subnormals by hand: unpackHalf2x16 may flush them */
    const float small = float(bits & 0x3ffu) * 5.9604644775390625e-8;
    const float subnormal = (bits & 0x8000u) != 0 ? -small : small;
    return (bits & 0x7c00u) == 0 ? subnormal : unpackHalf2x16(bits & 0xffffu).x;
}

/* An element of 2 bytes. */
float small_value(uint type, uint bits)
{
    return type == DJ_ELEMENT_FLOAT16 ? from_half(bits) : uintBitsToFloat(bits << 16);
}

/* Element `at`, given its word. */
float element_value(uint type, uint word, uint at)
{
    if (type == DJ_ELEMENT_FLOAT32)
        return uintBitsToFloat(word);
    return small_value(type, (at & 1) != 0 ? word >> 16 : word & 0xffffu);
}

/* Four elements of 2 bytes that lie in two words. */
vec4 small_values(uint type, uvec2 pair)
{
    return vec4(small_value(type, pair.x & 0xffffu), small_value(type, pair.x >> 16),
                small_value(type, pair.y & 0xffffu), small_value(type, pair.y >> 16));
}

/* Two words that four elements of 2 bytes from `at` on would fill, given the words from its own on and the last's. */
uvec2 aligned(uint at, uvec2 pair, uint last)
{
    return (at & 1) != 0 ? pair >> 16 | uvec2(pair.y, last) << 16 : pair;
}

/* Element `at` of a buffer. */
#define ELEMENT(words, type, at) element_value(type, words.data[element_word(type, at)], at)
#define ELEMENTS(words, type, at) /* four of them */ \
    (type == DJ_ELEMENT_FLOAT32 ? uintBitsToFloat(FOUR(words, at)) \
                                : small_values(type, aligned(at, PAIR(words, (at) >> 1), words.data[((at) + 3) >> 1])))

/* To nearest, ties to even; packHalf2x16 may round otherwise. */
uint to_half(float x)
{
    const uint bits = floatBitsToUint(x), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    if (size > 0x7f800000u)
        return sign | 0x7e00u;
    if (size >= 0x477ff000u) /* 65520 and more */
        return sign | 0x7c00u;
    if (size < 0x38800000u) /* below 2^-14: steps of 2^-24 */
        return sign | uint(roundEven(uintBitsToFloat(size) * 16777216.0));
    return sign | (size + 0xfffu + (size >> 13 & 1u) - 0x38000000u) >> 13;
}

uint to_bfloat(float x)
{
    const uint bits = floatBitsToUint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return bits >> 16 | 0x40u;
    return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

/* The 16 bits that store x. */
uint to_element(uint type, float x)
{
    return type == DJ_ELEMENT_FLOAT16 ? to_half(x) : to_bfloat(x);
}
