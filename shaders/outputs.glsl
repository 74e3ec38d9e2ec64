/* SPDX-License-Identifier: MIT */
/* Writes results, four neighbours at a time. The including shader defines OUTPUTS, their binding, and the
 * constant O_TYPE. With STORAGE_16, 2-byte elements may begin anywhere; without it a row begins with
 * a whole word, so that no two invocations share one. */
#ifdef STORAGE_16
#extension GL_EXT_shader_16bit_storage : require
BUFFER(OUTPUTS, writeonly, Outputs16, uint16_t, outputs16)
#endif
BUFFER(OUTPUTS, writeonly, Outputs, uint, outputs)

void store_four(uint at, vec4 values)
{
    if (O_TYPE == DJ_ELEMENT_FLOAT32) {
#ifdef ADDRESSES
        if (VECTORS) {
            FOUR_AT(outputs, at) = floatBitsToUint(values);
            return;
        }
#endif
        for (uint n = 0; n < 4; n++)
            outputs.data[at + n] = floatBitsToUint(values[n]);
        return;
    }
    uint bits[4];
    for (uint n = 0; n < 4; n++)
        bits[n] = to_element(O_TYPE, values[n]);
#ifdef STORAGE_16
    if (!VECTORS || (at & 1) != 0) {
        for (uint n = 0; n < 4; n++)
            outputs16.data[at + n] = uint16_t(bits[n]);
        return;
    }
#endif
    const uvec2 pair = uvec2(bits[0] | bits[1] << 16, bits[2] | bits[3] << 16);
#ifdef ADDRESSES
    if (VECTORS) {
        PAIR_AT(outputs, at >> 1) = pair;
        return;
    }
#endif
    outputs.data[at >> 1] = pair.x;
    outputs.data[(at >> 1) + 1] = pair.y;
}
