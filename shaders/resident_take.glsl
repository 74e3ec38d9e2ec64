/* SPDX-License-Identifier: MIT */
/* What the resident kernel does with weights and values: the sums of a strip of columns, and outputs. The
 * including shader declares the tensors, the sizes and the registers. */

/* factor y 2^c gamma^n, one by one as in denominator.glsl, the factor (1 or 1e6) into a half of 2^c: y 2^c
 * alone may be below the normal numbers. */
floats unscaled(floats y, vec3 power, float centre, float factor)
{
    const vec2 halves = exp2_halves(centre + power.y);
    precise floats x = y * power.x;
    x = x * (halves.x * factor);
    x = x * halves.y;
    return x;
}

/* Without branches: they cost more than what they save. */
floats finish(floats y, float den, vec3 power, float centre)
{
    if (DENOMINATOR == DJ_DENOMINATOR_NONE)
        return unscaled(y, power, centre, 1.0);
    const floats ratio = den == 0.0 ? floats(0.0) : y / den; /* 0: no key was seen */
    if (DENOMINATOR == DJ_DENOMINATOR_PLAIN)
        return ratio;
    const floats small = DENOMINATOR == DJ_DENOMINATOR_ZERO ? floats(0.0) : unscaled(y, power, centre, 1e6);
    const bool is_small = den != 0.0 && unscaled(floats(den), power, centre, 1.0).x < 1e-6;
    return is_small ? small : ratio;
}

void store_columns(uint at, floats y)
{
    if (O_TYPE == DJ_ELEMENT_FLOAT32) {
        outputs.data[at] = floatBitsToUint(y.x);
        outputs.data[at + 1] = floatBitsToUint(y.y);
#if EACH == 4
        outputs.data[at + 2] = floatBitsToUint(y.z);
        outputs.data[at + 3] = floatBitsToUint(y.w);
#endif
    } else {
        outputs.data[at >> 1] = to_element(O_TYPE, y.x) | to_element(O_TYPE, y.y) << 16;
#if EACH == 4
        outputs.data[(at >> 1) + 1] = to_element(O_TYPE, y.z) | to_element(O_TYPE, y.w) << 16;
#endif
    }
}

/* What two tokens see of the sums of features from `group` on, and what they add to them: a straight line. */
void take_group(uint strip, uint group, uint lanes[2], floats v[2], inout floats sums[2], inout float last)
{
    if (group < FEATURES && APART(group)) {
        floats seen[2] = {floats(0.0), floats(0.0)};
        float some = 0.0;
        [[unroll]] for (uint f = group; f < min(group + GROUP, FEATURES); f++) {
            const uint row = strip * FEATURES + f;
            const float key0 = ADDS ? from_lane(key_weight[f], lanes[0]) : 0.0;
            const float key1 = ADDS ? from_lane(key_weight[f], lanes[1]) : 0.0;
            if (SEES) {
                const float query0 = from_lane(query_weight[f], lanes[0]);
                const float query1 = from_lane(query_weight[f], lanes[1]);
                if (READS)
                    some += query1 * key0;
                const floats before = ADDS ? recent[row] + held[row] : held[row];
                seen[0] += query0 * before;
                seen[1] += query1 * before;
            }
            if (ADDS)
                recent[row] += key0 * v[0] + key1 * v[1];
        }
        sums[0] += seen[0];
        sums[1] += seen[1];
        last += some;
    }
}

/* The token of lane `from` and, if count is above 1, the next one, `since` tokens and more after the sums
 * began: o = S w' + what they see of themselves and of each other, S += w v. In pairs, so that the rows
 * of S come from memory and go there half as often. Values are loaded of tokens up to last_token whatever the token, since
 * Mesa 26.1 loads what all invocations share even when a loop has ended. */
void take(uint strip, uint from, uint count, uint token, uint last_token, uint since, vec2 scales)
{
    const uint lanes[2] = {from, min(from + 1, LANES - 1)};
    const uint column = strip_column(strip), own_column = min(column, columns - EACH);
    floats v[2], sums[2];
    [[unroll]] for (uint t = 0; t < 2; t++) {
        v[t] = floats(0.0);
        if (ADDS) {
            const uint row = v_row + min(token + t, last_token) * push.v_stride[2] + own_column;
            [[unroll]] for (uint i = 0; i < EACH; i++)
                v[t][i] = ELEMENT(values, V_TYPE, row + i);
            v[t] = t < count ? v[t] : floats(0.0);
        }
        sums[t] = floats(0.0);
        if (ADDS && SEES)
            sums[t] = from_lane(score, lanes[t]) * v[t];
    }
    if (ADDS && SEES && !READS)
        sums[1] += from_lane(last_score, lanes[1]) * v[0];
    float last = 0.0; /* the same score, as READS has it */
    take_group(strip, 0, lanes, v, sums, last);
    take_group(strip, GROUP, lanes, v, sums, last);
    take_group(strip, 2 * GROUP, lanes, v, sums, last);
    take_group(strip, 3 * GROUP, lanes, v, sums, last);
#if WIDEST > 4 * GROUP
    take_group(strip, 4 * GROUP, lanes, v, sums, last);
    take_group(strip, 5 * GROUP, lanes, v, sums, last);
    take_group(strip, 6 * GROUP, lanes, v, sums, last);
    take_group(strip, 7 * GROUP, lanes, v, sums, last);
#endif
#if WIDEST > 16 * GROUP
#error "more groups of features than are taken"
#elif WIDEST > 8 * GROUP
    take_group(strip, 8 * GROUP, lanes, v, sums, last);
    take_group(strip, 9 * GROUP, lanes, v, sums, last);
    take_group(strip, 10 * GROUP, lanes, v, sums, last);
    take_group(strip, 11 * GROUP, lanes, v, sums, last);
    take_group(strip, 12 * GROUP, lanes, v, sums, last);
    take_group(strip, 13 * GROUP, lanes, v, sums, last);
    take_group(strip, 14 * GROUP, lanes, v, sums, last);
    take_group(strip, 15 * GROUP, lanes, v, sums, last);
#endif
    if (ADDS && SEES && READS)
        sums[1] += last * v[0];
    if (SEES) {
        [[unroll]] for (uint t = 0; t < 2; t++) {
            const vec3 power = decay_power(head, min(since + t, SPAN));
            const float den = from_lane(scales.x, lanes[t]);
            const float centre = from_lane(scales.y, lanes[t]);
            sums[t] = finish(sums[t], den, power, centre);
            if (has_columns(strip) && t < count)
                store_columns(o_row + (token + t) * push.o_stride[2] + column, sums[t]);
        }
    }
}

/* The tokens of lanes from .. to - 1, lane 0's being `first`. */
void take_strip(uint strip, uint from, uint to, uint first, uint start, vec2 scales)
{
    [[dont_unroll]] for (uint at = from; at < to; at += 2)
        take(strip, at, to - at, first + at, first + to - 1, first + at - start, scales);
}
