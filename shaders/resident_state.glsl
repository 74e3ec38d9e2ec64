/* SPDX-License-Identifier: MIT */
/* The resident kernel's sums outside its registers: the block of the state in the carry, a pair of floats
 * for each sum, and the workgroup's own memory behind it, through which a span's sums go to the state.
 * The including shader declares carry, the sizes and the registers. */

uint own_sums(uint f)
{
    return own + f * COLUMNS + lane * EACH;
}

/* Numbers of each feature, behind the sums. */
const uint NORM = 0, NORM_LOW = 1, PEAK = 2, RECENT_NORM = 3, WANTED = 4, SHIFT = 5, RECENT_SHIFT = 6;
const uint READ_AHEAD = SHIFT; /* until `settle` writes there: no compiler drops what is stored */

uint own_number(uint which, uint f)
{
    return own + FEATURES * COLUMNS + which * FEATURES + f;
}

/* Whether the lane has columns that are there. */
bool has_columns(uint first_column)
{
    return VALUE_DIM % COLUMNS == 0 || first_column + lane * EACH < VALUE_DIM;
}

/* Begins with a state: none, one that came in as the first member's, or what an earlier piece left. */
void adopt(uint first_column)
{
    const uint source = gl_WorkGroupID.y * DJ_STATE_SIZE(FEATURES, VALUE_DIM);
    for (uint f = lane; f < FEATURES; f += LANES) {
        carry.data[own_number(WANTED, f)] = EMPTY;
        carry.data[own_number(RECENT_NORM, f)] = 0.0;
        if (push.read == DJ_RESIDENT_OWN)
            continue;
        const float norm = carry.data[source + DJ_STATE_NORM(FEATURES, VALUE_DIM) + f];
        const bool some = push.read == DJ_RESIDENT_CARRY && norm != 0.0;
        carry.data[own_number(NORM, f)] = some ? norm : 0.0;
        carry.data[own_number(NORM_LOW, f)] =
            some ? carry.data[source + DJ_STATE_NORM_LOW(FEATURES, VALUE_DIM) + f] : 0.0;
        carry.data[own_number(PEAK, f)] =
            some ? carry.data[source + DJ_STATE_PEAK(FEATURES, VALUE_DIM) + f] : EMPTY;
    }
    const uint low = DJ_STATE_LOW(FEATURES, VALUE_DIM);
    [[dont_unroll]] for (uint f = 0; f < FEATURES; f++) {
        for (uint i = 0; i < EACH; i++) {
            const uint at = f * VALUE_DIM + first_column + lane * EACH + i;
            carry.data[own_sums(f) + i] = 0.0;
            if (push.read == DJ_RESIDENT_OWN || !has_columns(first_column) ||
                (push.read == DJ_RESIDENT_CARRY && state == source))
                continue;
            carry.data[state + at] = push.read == DJ_RESIDENT_CARRY ? carry.data[source + at] : 0.0;
            carry.data[state + low + at] =
                push.read == DJ_RESIDENT_CARRY ? carry.data[source + low + at] : 0.0;
        }
    }
}

/* (high, low) + y, renormalised. */
void add(inout float high, inout float low, float y)
{
    float error;
    const float sum = two_sum(high, y, error);
    precise float rest = low + error;
    precise float total = sum + rest;
    precise float taken = total - sum;
    precise float left = rest - taken;
    high = total;
    low = left;
}

/* Adds what `count` tokens left in `recent` to the state, ages it, and finds exponents under which the
 * norms are 2^-headroom and keys of the exponents WANTED are at most 2^-headroom. */
void settle(uint first_column, uint count, float headroom)
{
    const vec3 aged = decay_power(head, count), last = decay_power(head, max(count, 1) - 1);
    const float once = decay_power(head, 1).y;
    subgroupBarrier();
    for (uint f = lane; f < FEATURES; f += LANES) {
        float high = carry.data[own_number(NORM, f)], low = carry.data[own_number(NORM_LOW, f)];
        const float old = carry.data[own_number(PEAK, f)], wanted = carry.data[own_number(WANTED, f)];
        /* of the two parts, from what `load_sums` made of the peak */
        const float of_state = old + aged.y, of_recent = old + once + last.y;
        const float both = max(of_state, of_recent);
        const float to_recent = last.x * exp2i(of_recent - both);
        if (DECAY) {
            multiply(high, low, aged.x, aged.z);
            high *= exp2i(of_state - both);
            low *= exp2i(of_state - both);
        }
        add(high, low, carry.data[own_number(RECENT_NORM, f)] * to_recent);
        /* NaN keeps the exponent that it has; 0 has none */
        const bool some = high != 0.0;
        const float true_peak = is_finite(high) && high > 1.2e-38 ? both + exponent_of(high) : both;
        const float least = max(some ? true_peak : EMPTY, wanted);
        const float then = least > EMPTY ? least + headroom : EMPTY;
        const float shift = some ? exp2i(both - then) : 0.0;
        carry.data[own_number(NORM, f)] = high * shift;
        carry.data[own_number(NORM_LOW, f)] = low * shift;
        carry.data[own_number(PEAK, f)] = then;
        carry.data[own_number(SHIFT, f)] = shift;
        carry.data[own_number(RECENT_SHIFT, f)] = of_state - both;
        carry.data[own_number(WANTED, f)] = of_recent - both;
    }
    subgroupBarrier();
    [[dont_unroll]] for (uint f = 0; f < FEATURES; f++) {
        const float shift = carry.data[own_number(SHIFT, f)];
        const float to_state = exp2i(carry.data[own_number(RECENT_SHIFT, f)]);
        const float to_recent = last.x * exp2i(carry.data[own_number(WANTED, f)]);
        for (uint i = 0; i < EACH && has_columns(first_column); i++) {
            const uint at = state + f * VALUE_DIM + first_column + lane * EACH + i;
            float high = carry.data[at], low = carry.data[at + DJ_STATE_LOW(FEATURES, VALUE_DIM)];
            if (DECAY) {
                multiply(high, low, aged.x, aged.z);
                high *= to_state;
                low *= to_state;
            }
            add(high, low, carry.data[own_sums(f) + i] * to_recent);
            carry.data[at] = high * shift;
            carry.data[at + DJ_STATE_LOW(FEATURES, VALUE_DIM)] = low * shift;
        }
    }
    subgroupBarrier();
}

/* What is settled, brought forward to the next token, to registers. */
void load_sums(uint first_column)
{
    const vec3 once = decay_power(head, 1);
    const uint columns = state + min(first_column + lane * EACH, VALUE_DIM - EACH);
    Sums4 fours = Sums4(word_address(uvec2(carry), columns));
    Sums2 twos = Sums2(word_address(uvec2(carry), columns));
    [[unroll]] for (uint f = 0; f < FEATURES; f++) {
        vec4 four = vec4(0.0);
        if (EACH == 4)
            four = fours.data[f * VALUE_DIM / 4];
        else
            four.xy = twos.data[f * VALUE_DIM / 2];
        [[unroll]] for (uint i = 0; i < EACH; i++) {
            held[f * EACH + i] = four[i] * once.x;
            recent[f * EACH + i] = 0.0;
        }
    }
    Sums4 norms = Sums4(word_address(uvec2(carry), own_number(NORM, 0)));
    Sums4 peaks = Sums4(word_address(uvec2(carry), own_number(PEAK, 0)));
    [[unroll]] for (uint f = 0; f < FEATURES; f += 4) {
        const vec4 norm = norms.data[f / 4], whole = peaks.data[f / 4];
        [[unroll]] for (uint n = 0; n < 4; n++) {
            recent_norm[f + n] = 0.0;
            held_norm[f + n] = norm[n] * once.x;
            peak[f + n] = whole[n] == EMPTY ? EMPTY : whole[n] + once.y;
        }
    }
}

/* What was added since, and the exponents that the token `lane_of` wants. */
void store_sums(uint lane_of, bool raise)
{
    Sums4 fours = Sums4(word_address(uvec2(carry), own_sums(0)));
    Sums2 twos = Sums2(word_address(uvec2(carry), own_sums(0)));
    [[unroll]] for (uint f = 0; f < FEATURES; f++) {
        vec4 four = vec4(0.0);
        [[unroll]] for (uint i = 0; i < EACH; i++)
            four[i] = recent[f * EACH + i];
        if (EACH == 4)
            fours.data[f * COLUMNS / 4] = four;
        else
            twos.data[f * COLUMNS / 2] = four.xy;
    }
    Sums4 norms = Sums4(word_address(uvec2(carry), own_number(RECENT_NORM, 0)));
    Sums4 wanted = Sums4(word_address(uvec2(carry), own_number(WANTED, 0)));
    const float once = decay_power(head, 1).y;
    if (lane == lane_of) {
        [[unroll]] for (uint f = 0; f < FEATURES; f += 4) {
            vec4 norm, n;
            [[unroll]] for (uint i = 0; i < 4; i++) {
                const float a = key[f + i];
                norm[i] = recent_norm[f + i];
                n[i] = raise && is_finite(a) ? exponent(a) - once : EMPTY;
            }
            norms.data[f / 4] = norm;
            wanted.data[f / 4] = n;
        }
        carry.data[own_number(READ_AHEAD, 0)] = uintBitsToFloat(ahead);
    }
}

/* What the carry's state says besides the sums. */
void publish(uint tokens)
{
    for (uint f = lane; f < FEATURES; f += LANES) {
        const float norm = carry.data[own_number(NORM, f)];
        carry.data[state + DJ_STATE_NORM(FEATURES, VALUE_DIM) + f] = norm;
        carry.data[state + DJ_STATE_NORM_LOW(FEATURES, VALUE_DIM) + f] = carry.data[own_number(NORM_LOW, f)];
        carry.data[state + DJ_STATE_PEAK(FEATURES, VALUE_DIM) + f] =
            norm == 0.0 ? 0.0 : carry.data[own_number(PEAK, f)];
    }
    if (gl_WorkGroupID.x == 0 && gl_WorkGroupID.y % push.heads == 0 && lane == 0) {
        const uint at = push.carry_tokens + 2 * sequence;
        const uint low = push.read == DJ_RESIDENT_EMPTY ? 0 : floatBitsToUint(carry.data[at]);
        const uint high = push.read == DJ_RESIDENT_EMPTY ? 0 : floatBitsToUint(carry.data[at + 1]);
        uint carry_bit;
        const uint sum = uaddCarry(low, tokens, carry_bit);
        carry.data[at] = uintBitsToFloat(sum);
        carry.data[at + 1] = uintBitsToFloat(high + carry_bit);
    }
}
