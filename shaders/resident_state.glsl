/* SPDX-License-Identifier: MIT */
/* The resident kernel's sums outside its registers: the block of the state in the carry, a pair of floats
 * for each sum, and the workgroup's own memory behind it, through which a span's sums go to the state.
 * Whatever lies in memory is written and read by one lane alone, a column's sums by the column's and a
 * feature's numbers by lane f % LANES (what a lane without a column or feature reads of another's is never
 * used), so that no barrier is needed: on CPU devices one costs a copy of all registers. The including
 * shader declares carry, the sizes and the registers. */

/* Where a carry's counts of tokens are, behind its states, and the states of groups' second and further
 * members behind them. */
uint carry_tokens()
{
    return gl_NumWorkGroups.y * DJ_STATE_SIZE(FEATURES, VALUE_DIM);
}

uint carry_members()
{
    return carry_tokens() + 2 * (gl_NumWorkGroups.y / push.heads);
}

/* The first of the lane's columns of a strip, from the workgroup's first on. */
uint strip_column(uint strip)
{
    return strip * STRIP + lane * EACH;
}

uint own_sums(uint f, uint strip)
{
    return own + f * COLUMNS + strip_column(strip);
}

/* Numbers of each feature, behind the sums. */
const uint NORM = 0, NORM_LOW = 1, PEAK = 2, RECENT_NORM = 3, WANTED = 4;
const uint READ_AHEAD = 5; /* one word: no compiler drops what is stored */

uint own_number(uint which, uint f)
{
    return own + FEATURES * COLUMNS + which * FEATURES + f;
}

/* Whether the lane has columns of a strip. */
bool has_columns(uint strip)
{
    return VALUE_DIM % COLUMNS == 0 || strip_column(strip) < columns;
}

/* Begins with a state: none, one that came in as the first member's, or what an earlier piece left. */
void adopt()
{
    const uint source = gl_WorkGroupID.y * DJ_STATE_SIZE(FEATURES, VALUE_DIM);
    for (uint f = lane; f < FEATURES; f += LANES) {
        carry.data[own_number(WANTED, f)] = EMPTY;
        carry.data[own_number(RECENT_NORM, f)] = 0.0;
        if (push.read != DJ_RESIDENT_OWN) {
            const float norm = carry.data[source + DJ_STATE_NORM(FEATURES, VALUE_DIM) + f];
            const bool some = push.read == DJ_RESIDENT_CARRY && norm != 0.0;
            carry.data[own_number(NORM, f)] = some ? norm : 0.0;
            carry.data[own_number(NORM_LOW, f)] =
                some ? carry.data[source + DJ_STATE_NORM_LOW(FEATURES, VALUE_DIM) + f] : 0.0;
            carry.data[own_number(PEAK, f)] =
                some ? carry.data[source + DJ_STATE_PEAK(FEATURES, VALUE_DIM) + f] : EMPTY;
        }
    }
    const bool is_there = push.read == DJ_RESIDENT_OWN || (push.read == DJ_RESIDENT_CARRY && state == source);
    const uint low = DJ_STATE_LOW(FEATURES, VALUE_DIM);
    [[dont_unroll]] for (uint n = 0; n < FEATURES * STRIPS; n++) {
        const uint f = n / STRIPS, strip = n % STRIPS;
        for (uint i = 0; i < EACH; i++) {
            const uint at = f * VALUE_DIM + first_column + strip_column(strip) + i;
            carry.data[own_sums(f, strip) + i] = 0.0;
            if (!is_there && has_columns(strip)) {
                carry.data[state + at] = push.read == DJ_RESIDENT_CARRY ? carry.data[source + at] : 0.0;
                carry.data[state + low + at] =
                    push.read == DJ_RESIDENT_CARRY ? carry.data[source + low + at] : 0.0;
            }
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
void settle(uint count, float headroom)
{
    const vec3 aged = decay_power(head, count), last = decay_power(head, max(count, 1) - 1);
    const float once = decay_power(head, 1).y;
    [[dont_unroll]] for (uint first = 0; first < FEATURES; first += LANES) {
        const uint own_feature = min(first + lane, FEATURES - 1);
        float norm = carry.data[own_number(NORM, own_feature)];
        float norm_low = carry.data[own_number(NORM_LOW, own_feature)];
        const float old = carry.data[own_number(PEAK, own_feature)];
        /* of the two parts, from what `load_sums` made of the peak */
        const float of_state = old + aged.y, of_recent = old + once + last.y;
        const float both = max(of_state, of_recent);
        const float state_factor = exp2i(of_state - both);
        const float recent_factor = last.x * exp2i(of_recent - both);
        if (DECAY) {
            multiply(norm, norm_low, aged.x, aged.z);
            norm *= state_factor;
            norm_low *= state_factor;
        }
        add(norm, norm_low, carry.data[own_number(RECENT_NORM, own_feature)] * recent_factor);
        /* NaN keeps the exponent that it has; 0 has none */
        const bool some = norm != 0.0;
        const float true_peak = is_finite(norm) && norm > 1.2e-38 ? both + exponent_of(norm) : both;
        const float least = max(some ? true_peak : EMPTY, carry.data[own_number(WANTED, own_feature)]);
        const float then = least > EMPTY ? least + headroom : EMPTY;
        const float new_factor = some ? exp2i(both - then) : 0.0;
        if (first + lane < FEATURES) {
            carry.data[own_number(NORM, own_feature)] = norm * new_factor;
            carry.data[own_number(NORM_LOW, own_feature)] = norm_low * new_factor;
            carry.data[own_number(PEAK, own_feature)] = then;
        }
        [[dont_unroll]] for (uint n = 0; n < min(LANES, FEATURES - first) * STRIPS; n++) {
            const uint of_lane = n / STRIPS, f = first + of_lane, strip = n % STRIPS;
            const float to_state = from_lane(state_factor, of_lane);
            const float to_recent = from_lane(recent_factor, of_lane);
            const float shift = from_lane(new_factor, of_lane);
            for (uint i = 0; i < EACH && has_columns(strip); i++) {
                const uint at = state + f * VALUE_DIM + first_column + strip_column(strip) + i;
                float high = carry.data[at], low = carry.data[at + DJ_STATE_LOW(FEATURES, VALUE_DIM)];
                if (DECAY) {
                    multiply(high, low, aged.x, aged.z);
                    high *= to_state;
                    low *= to_state;
                }
                add(high, low, carry.data[own_sums(f, strip) + i] * to_recent);
                carry.data[at] = high * shift;
                carry.data[at + DJ_STATE_LOW(FEATURES, VALUE_DIM)] = low * shift;
            }
        }
    }
}

/* A lane's sums of feature f, `factor` times what is settled, to registers. */
void load_sum(uint strip, uint f, float factor)
{
    const uint first = state + first_column + min(strip_column(strip), columns - EACH); /* feature 0's */
    floats sum;
    if (VECTORS) {
        sum = Sums(word_address(uvec2(carry), first)).data[f * VALUE_DIM / EACH];
    } else {
        [[unroll]] for (uint i = 0; i < EACH; i++)
            sum[i] = carry.data[first + f * VALUE_DIM + i];
    }
    held[strip * FEATURES + f] = sum * factor;
    recent[strip * FEATURES + f] = floats(0.0);
}

/* A whole state, as publish left it in the carry. */
void load_state()
{
    float norm, whole; /* of feature f - f % LANES + lane */
    [[unroll]] for (uint f = 0; f < FEATURES; f++) {
        load_sum(0, f, 1.0);
        if (STRIPS > 1)
            load_sum(1, f, 1.0);
        if (f % LANES == 0) {
            const uint own_feature = min(f + lane, FEATURES - 1);
            norm = carry.data[state + DJ_STATE_NORM(FEATURES, VALUE_DIM) + own_feature];
            whole = norm == 0.0 ? EMPTY : carry.data[state + DJ_STATE_PEAK(FEATURES, VALUE_DIM) + own_feature];
        }
        held_norm[f] = from_lane(norm, f % LANES);
        peak[f] = from_lane(whole, f % LANES);
    }
}

/* What was added to them, to the workgroup's memory. */
void store_sum(uint strip, uint f)
{
    const uint first = own_sums(0, strip);
    const floats sum = recent[strip * FEATURES + f];
    if (VECTORS) {
        Sums(word_address(uvec2(carry), first)).data[f * COLUMNS / EACH] = sum;
    } else {
        [[unroll]] for (uint i = 0; i < EACH; i++)
            carry.data[first + f * COLUMNS + i] = sum[i];
    }
}

/* What is settled, brought forward to the next token, to registers. */
void load_sums()
{
    const vec3 once = decay_power(head, 1);
    float norm, of_tokens; /* of feature f - f % LANES + lane */
    [[unroll]] for (uint f = 0; f < FEATURES; f++) {
        load_sum(0, f, once.x);
        if (STRIPS > 1)
            load_sum(1, f, once.x);
        if (f % LANES == 0) {
            const uint own_feature = min(f + lane, FEATURES - 1);
            const float whole = carry.data[own_number(PEAK, own_feature)];
            norm = carry.data[own_number(NORM, own_feature)] * once.x;
            of_tokens = whole == EMPTY ? EMPTY : whole + once.y;
        }
        recent_norm[f] = 0.0;
        held_norm[f] = from_lane(norm, f % LANES);
        peak[f] = from_lane(of_tokens, f % LANES);
    }
}

/* What read_ahead read, so that it is read. */
void keep_ahead()
{
    carry.data[own_number(READ_AHEAD, 0)] = uintBitsToFloat(ahead);
}

/* What was added since, and the exponents that the token `lane_of` wants. */
void store_sums(uint lane_of, bool raise)
{
    const float once = decay_power(head, 1).y;
    float norm, wanted; /* of feature f - f % LANES + lane */
    [[unroll]] for (uint f = 0; f < FEATURES; f++) {
        store_sum(0, f);
        if (STRIPS > 1)
            store_sum(1, f);
        const float a = from_lane(key[f], lane_of);
        const bool may_be_own = lane >= f % LANES; /* the last f that may is the lane's */
        norm = may_be_own ? recent_norm[f] : norm;
        wanted = may_be_own ? a : wanted;
        const uint own_feature = f - f % LANES + lane;
        if ((f % LANES == LANES - 1 || f == FEATURES - 1) && own_feature < FEATURES) {
            carry.data[own_number(RECENT_NORM, own_feature)] = norm;
            carry.data[own_number(WANTED, own_feature)] =
                raise && is_finite(wanted) ? exponent(wanted) - once : EMPTY;
        }
    }
    if (lane == 0)
        keep_ahead();
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
        const uint at = carry_tokens() + 2 * sequence;
        const uint low = push.read == DJ_RESIDENT_EMPTY ? 0 : floatBitsToUint(carry.data[at]);
        const uint high = push.read == DJ_RESIDENT_EMPTY ? 0 : floatBitsToUint(carry.data[at + 1]);
        uint carry_bit;
        const uint sum = uaddCarry(low, tokens, carry_bit);
        carry.data[at] = uintBitsToFloat(sum);
        carry.data[at + 1] = uintBitsToFloat(high + carry_bit);
    }
}
