/* SPDX-License-Identifier: MIT */
/* Elements of 32 or 16 bits in buffers of 32-bit words; no 16-bit feature of the device is used here. */

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

/* Element `at`, given its word. */
float element_value(uint type, uint word, uint at)
{
    if (type == DJ_ELEMENT_FLOAT32)
        return uintBitsToFloat(word);
    const uint bits = (at & 1) != 0 ? word >> 16 : word & 0xffffu;
    return type == DJ_ELEMENT_FLOAT16 ? from_half(bits) : uintBitsToFloat(bits << 16);
}

/* Element `at` of a buffer. */
#define ELEMENT(words, type, at) element_value(type, words.data[element_word(type, at)], at)
#define ELEMENTS(words, type, at) /* four of them */ \
    vec4(ELEMENT(words, type, at), ELEMENT(words, type, (at) + 1), \
         ELEMENT(words, type, (at) + 2), ELEMENT(words, type, (at) + 3))

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
