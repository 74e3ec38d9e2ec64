#version 450
/* SPDX-License-Identifier: MIT */
/* Outputs of a segment of tokens. For each chunk, with S, z, R before it (chunk.glsl; at the start of the
 * segment, what the scan left in the record), row i has weights
 *   w_i[f] = phi_i[f] 2^(R[f] - c_i),   c_i = max_f (exponent of phi_i[f] + R[f]),
 *   num_i  = sum_f w_i[f] S[f] + sum_{j<=i} A_ij v_j,   A_ij = sum_f w_i[f] phi_j[f] 2^-R[f],
 *   den_i  likewise with z and 1.
 * R comes from all keys of the chunk, of which a row sees those up to itself, and the first one and the
 * state in any case: where these alone would give one a c_i that is smaller by more than GROWTH, the
 * chunk's tokens are taken one by one.
 *
 * Factors of the products: weights times 2^13; scores times 2^6; sums times a power of two of their column's
 * that brings the largest value seen to 2^12, or less by the largest norm's exponent, should that be above 0: a
 * sum is at most the norm times twice that value.
 *
 * Workgroup (x, y, z): segment, sequence and query head, block of columns. */
#extension GL_GOOGLE_include_directive : require
#define SECTIONS 2
#include "chunk.glsl"
#include "denominator.glsl"

const float GROWTH = 8.0;
const float SCORE_SCALE = 64.0, SCORE_UNSCALE = 1.0 / SCORE_SCALE;
const float VALUE_BITS = 12.0;

shared uvec4 state[FEATURES * VALUE_ROW];              /* S, of float16 */
shared float seen_peak[FEATURES];                      /* R of what every row sees */
shared float centre[CHUNK];                            /* c_i */
shared float row_factor[CHUNK], row_factor_more[CHUNK]; /* from sums to outputs */
shared float number[CHUNK];                            /* 0, 1, .. */
shared float largest_value[COLUMNS];
shared float column_up[COLUMNS], column_down[COLUMNS]; /* the power of two; from sums to scores' scale */

SUMS scores_of[TILE_COUNT(CHUNK, CHUNK)];
SUMS outputs_of[TILE_COUNT(CHUNK, COLUMNS)];

void load_state(uint record, uint c0)
{
    for (uint f = t; f < FEATURES; f += THREADS) {
        norm[f] = records.data[record + DJ_RECORD_BEFORE_NORM(FEATURES, VALUE_DIM) + f];
        peak[f] = norm[f] == 0.0 ? EMPTY : records.data[record + DJ_RECORD_BEFORE_PEAK(FEATURES, VALUE_DIM) + f];
    }
    for (uint c = t; c < COLUMNS; c += THREADS) {
        float largest = 0.0;
        for (uint f = 0; f < FEATURES; f++) {
            const float x = abs(records.data[record + f * VALUE_DIM + c0 + c]);
            largest = is_finite(x) && x > largest ? x : largest;
        }
        largest_value[c] = largest;
    }
    for (uint i = t; i < CHUNK; i += THREADS)
        number[i] = float(i);
    EACH_STRIP(FEATURES) EACH_TILE(FEATURES, COLUMNS) {
        const uint column = tile_column(FEATURES, COLUMNS, n);
        SUMS sums;
        coopMatLoad(sums, records.data, record + strip_row(FEATURES, s) * VALUE_DIM + c0 + column, VALUE_DIM, BY_ROW);
        [[unroll]] for (uint i = 0; i < sums.length(); i++)
            sums[i] *= 1.0 / WEIGHT_UNSCALE;
        sums_of[TILE(FEATURES, COLUMNS)] = sums;
    }
}

/* The exponent of queries' weights, and R of what every row sees, given that of the chunk's first key. */
void describe_peak(uint f, float first)
{
    feature_bias[QUERIES * FEATURES + f] = next_peak[f] == EMPTY ? NEVER : next_peak[f];
    seen_peak[f] = max(norm_peak(f), first);
}

/* EMPTY: the row has nothing in common with any key. */
void set_centre(uint row, float c)
{
    centre[row] = c == EMPTY ? 0.0 : c;
    row_bias[QUERIES * CHUNK + row] = c == EMPTY ? NEVER : WEIGHT_BITS - c;
}

/* The larger of a maximum and an exponent; EMPTY if neither is one. */
float with_exponent(float largest, float of_query, float of_keys)
{
    return of_query == EMPTY || of_keys == EMPTY ? largest : max(largest, of_query + of_keys);
}

/* The centres of rows, and whether they see enough. */
void find_centres()
{
    const uint row = t % CHUNK;
    float largest = EMPTY, seen = EMPTY;
    for (uint eight = t / CHUNK; eight < FEATURES / 8; eight += LANES) {
        const uvec4 codes = rows[QUERIES * SECTION + row * ROW + eight];
        [[unroll]] for (uint i = 0; i < 8; i++) {
            const uint f = eight * 8 + i;
            const float exponent = from_code(half_at(codes, i));
            if (exponent != EMPTY && abs(exponent) > LIMIT)
                FLAG(narrow);
            largest = with_exponent(largest, exponent, next_peak[f]);
            seen = with_exponent(seen, exponent, seen_peak[f]);
        }
    }
    partial[t] = largest;
    partial[THREADS + t] = seen;
    barrier();
    if (t < CHUNK) {
        for (uint i = 1; i < LANES; i++) {
            largest = max(largest, partial[i * CHUNK + t]);
            seen = max(seen, partial[THREADS + i * CHUNK + t]);
        }
        set_centre(t, largest);
        if (t < count && largest != EMPTY && (seen == EMPTY || largest - seen > GROWTH))
            FLAG(narrow);
    }
}

/* False: the chunk's tokens are to be taken one by one. */
bool weigh_rows(uint chunk)
{
    project(chunk);
    barrier();
    write_codes(KEYS);
    write_codes(QUERIES);
    barrier();
    if (KEY_NORMALISE)
        normalise_keys();
    find_peaks();
    for (uint f = t; f < FEATURES; f += THREADS)
        describe_peak(f, from_code(half_at(rows[KEYS * SECTION + f / 8], f % 8)));
    barrier();
    find_centres();
    barrier();
    if (narrow != 0)
        return false;
    write_weights(KEYS);
    write_weights(QUERIES);
    return true;
}

void weigh_single_row()
{
    find_single(KEYS);
    find_single(QUERIES);
    barrier();
    if (KEY_NORMALISE)
        normalise_single_key();
    for (uint f = t; f < FEATURES; f += THREADS) {
        raise_peak(f, exponent_above(partial[f]));
        describe_peak(f, EMPTY);
    }
    barrier();
    float c = EMPTY;
    for (uint f = 0; f < FEATURES; f++)
        c = with_exponent(c, exponent_above(partial[FEATURES + f]), next_peak[f]);
    if (t == 0) {
        set_centre(0, c);
        row_bias[KEYS * CHUNK] = WEIGHT_BITS;
    } else if (t < CHUNK) {
        set_centre(t, 0.0);
    }
    barrier();
    write_single(KEYS);
    write_single(QUERIES);
}

/* The powers of two of columns. */
void scale_columns()
{
    FOLD_COLUMNS(values, VALUE_ROW, COLUMNS, 0.0, abs(x) > y ? abs(x) : y)
    for (uint c = t; c < COLUMNS; c += THREADS) {
        FOLD_GROUPS(largest, COLUMNS, c, x > y ? x : y)
        largest_value[c] = max(largest_value[c], largest);
        const float bits = clamp(VALUE_BITS - float(norm_bits) - exponent_of(largest_value[c]), -100.0, 100.0);
        column_up[c] = exp2i(bits) * WEIGHT_UNSCALE;
        column_down[c] = exp2i(-bits) * (WEIGHT_UNSCALE * SCORE_SCALE);
    }
}

/* The sums as factors. */
void write_state()
{
    EACH_STRIP(FEATURES) EACH_TILE(FEATURES, COLUMNS) {
        const uint column = tile_column(FEATURES, COLUMNS, n);
        SUMS up;
        SUMS factor;
        coopMatLoad(up, column_up, column, 0, BY_ROW);
        [[unroll]] for (uint i = 0; i < up.length(); i++)
            factor[i] = sums_of[TILE(FEATURES, COLUMNS)][i] * up[i];
        coopMatStore(HALVES(factor), state, strip_row(FEATURES, s) * VALUE_ROW + column / 8, VALUE_ROW, BY_ROW);
    }
}

/* Scores, and what the rows see of the state. */
void multiply_queries()
{
    EACH_STRIP(CHUNK) {
        const uint row = strip_row(CHUNK, s);
        EACH_TILE(CHUNK, CHUNK) scores_of[TILE(CHUNK, CHUNK)] = SUMS(0.0);
        EACH_TILE(CHUNK, COLUMNS) outputs_of[TILE(CHUNK, COLUMNS)] = SUMS(0.0);
        [[unroll]] for (uint k = 0; k < FEATURES; k += K) {
            LEFT a;
            coopMatLoad(a, rows, QUERIES * SECTION + row * ROW + k / 8, ROW, BY_ROW);
            EACH_TILE(CHUNK, CHUNK) {
                const uint column = tile_column(CHUNK, CHUNK, n);
                if (column < row + M) {
                    RIGHT b;
                    coopMatLoad(b, rows, column * ROW + k / 8, ROW, BY_COLUMN);
                    scores_of[TILE(CHUNK, CHUNK)] = coopMatMulAdd(a, b, scores_of[TILE(CHUNK, CHUNK)]);
                }
            }
            EACH_TILE(CHUNK, COLUMNS) {
                RIGHT b;
                coopMatLoad(b, state, k * VALUE_ROW + tile_column(CHUNK, COLUMNS, n) / 8, VALUE_ROW, BY_ROW);
                outputs_of[TILE(CHUNK, COLUMNS)] = coopMatMulAdd(a, b, outputs_of[TILE(CHUNK, COLUMNS)]);
            }
        }
    }
}

/* The terms of a strip's product with the values: what its last row sees, in whole matrices. */
uint strip_terms(uint row)
{
    return (row + M + K - 1) / K * K;
}

/* Scores in the place of queries: 0 for keys that a row does not see. */
void write_scores()
{
    EACH_STRIP(CHUNK) {
        const uint row = strip_row(CHUNK, s);
        SUMS row_number;
        coopMatLoad(row_number, number, row, 0, BY_COLUMN);
        EACH_TILE(CHUNK, CHUNK) {
            const uint column = tile_column(CHUNK, CHUNK, n);
            if (column < strip_terms(row)) {
                SUMS column_number;
                SUMS factor;
                coopMatLoad(column_number, number, column, 0, BY_ROW);
                [[unroll]] for (uint i = 0; i < column_number.length(); i++) {
                    const float score = scores_of[TILE(CHUNK, CHUNK)][i] * (WEIGHT_UNSCALE * WEIGHT_UNSCALE * SCORE_SCALE);
                    factor[i] = row_number[i] >= column_number[i] ? score : 0.0;
                }
                coopMatStore(HALVES(factor), rows, QUERIES * SECTION + row * ROW + column / 8, ROW, BY_ROW);
            }
        }
    }
}

/* The invocation's share of its row's sum over norms. */
float norm_share()
{
    const uint row = t % CHUNK;
    float sum = 0.0;
    for (uint eight = t / CHUNK; eight < FEATURES / 8; eight += LANES) {
        const uvec4 weights = rows[QUERIES * SECTION + row * ROW + eight];
        [[unroll]] for (uint i = 0; i < 8; i++)
            sum += half_at(weights, i) * norm[eight * 8 + i];
    }
    return sum * WEIGHT_UNSCALE;
}

/* ... over scores. */
float score_share()
{
    const uint row = t % CHUNK;
    float sum = 0.0;
    for (uint eight = t / CHUNK; eight * 8 <= row; eight += LANES) {
        const uvec4 scores = rows[QUERIES * SECTION + row * ROW + eight];
        [[unroll]] for (uint i = 0; i < 8; i++)
            sum += eight * 8 + i <= row ? half_at(scores, i) : 0.0;
    }
    return sum * SCORE_UNSCALE;
}

/* From sums to outputs: finish() of denominator.glsl, as factors of a row (there are none of
 * DJ_DENOMINATOR_CLAMP); 0: so are its outputs. */
void set_factor(uint row, float den)
{
    const vec3 scale = vec3(1.0, exp2_halves(centre[row]));
    float factor = SCORE_UNSCALE, more = 1.0;
    if (DENOMINATOR == DJ_DENOMINATOR_NONE) {
        factor *= scale.y;
        more = scale.z;
    } else if (den == 0.0 || is_least(den, scale)) {
        factor = 0.0;
    } else {
        factor /= den;
    }
    row_factor[row] = factor;
    row_factor_more[row] = more;
}

void add_values()
{
    EACH_STRIP(CHUNK) {
        const uint row = strip_row(CHUNK, s);
        EACH_TILE(CHUNK, COLUMNS) {
            SUMS down;
            coopMatLoad(down, column_down, tile_column(CHUNK, COLUMNS, n), 0, BY_ROW);
            [[unroll]] for (uint i = 0; i < down.length(); i++)
                outputs_of[TILE(CHUNK, COLUMNS)][i] *= down[i];
        }
        [[unroll]] for (uint k = 0; k < CHUNK; k += K) {
            if (k < strip_terms(row)) {
                LEFT a;
                coopMatLoad(a, rows, QUERIES * SECTION + row * ROW + k / 8, ROW, BY_ROW);
                EACH_TILE(CHUNK, COLUMNS) {
                    RIGHT b;
                    coopMatLoad(b, values, k * VALUE_ROW + tile_column(CHUNK, COLUMNS, n) / 8, VALUE_ROW, BY_ROW);
                    outputs_of[TILE(CHUNK, COLUMNS)] = coopMatMulAdd(a, b, outputs_of[TILE(CHUNK, COLUMNS)]);
                }
            }
        }
    }
}

/* Outputs in the place of scores. */
void write_outputs()
{
    EACH_STRIP(CHUNK) {
        const uint row = strip_row(CHUNK, s);
        SUMS factor;
        SUMS more;
        coopMatLoad(factor, row_factor, row, 0, BY_COLUMN);
        coopMatLoad(more, row_factor_more, row, 0, BY_COLUMN);
        EACH_TILE(CHUNK, COLUMNS) {
            SUMS result;
            [[unroll]] for (uint i = 0; i < factor.length(); i++)
                result[i] = factor[i] == 0.0 ? 0.0 : outputs_of[TILE(CHUNK, COLUMNS)][i] * factor[i] * more[i];
            coopMatStore(HALVES(result), rows, QUERIES * SECTION + row * ROW + tile_column(CHUNK, COLUMNS, n) / 8, ROW, BY_ROW);
        }
    }
}

/* The outputs of the chunk's rows, whose weights are there; then the state behind it. */
void take_rows(uint outputs_base)
{
    take_peaks();
    scale_columns();
    rescale_sums();
    barrier();
    write_state();
    float share = norm_share();
    barrier();
    multiply_queries();
    barrier();
    write_scores();
    barrier();
    share += score_share();
    partial[t] = share;
    add_values();
    barrier();
    if (t < CHUNK) {
        float den = 0.0;
        for (uint i = 0; i < LANES; i++)
            den += partial[i * CHUNK + t];
        set_factor(t, den);
    }
    barrier();
    write_outputs();
    add_sums();
    add_norms();
    if (spoiled != 0)
        spoil_sums();
    barrier();
    for (uint i = t; i < count * (COLUMNS / 8); i += THREADS) {
        const uint row = i / (COLUMNS / 8), at = i % (COLUMNS / 8);
        uvec4 eight = rows[QUERIES * SECTION + row * ROW + at];
        [[unroll]] for (uint n = 0; spoiled != 0 && n < 8; n++)
            eight[n / 2] |= row < first_spoiled[at * 8 + n] ? 0u : n % 2 == 0 ? 0x7e00u : 0x7e000000u;
        outputs.data[(outputs_base + row * push.o_stride[2]) / 8 + at] = eight;
    }
}

void main()
{
    t = gl_LocalInvocationID.x;
    const Segment segment = find_segment(push.group);
    if (segment.end <= segment.start ||
        !is_wanted(segment.tile, DJ_NOTE_OUTPUTS(VALUE_DIM) + segment.member * NOTED, 1))
        return;
    head = segment.head;
    load_map();
    load_state(segment.tile * DJ_RECORD_SIZE(FEATURES, VALUE_DIM), segment.c0);
    uint singles = 0, chunk = 0; /* tokens to be taken one by one; chunks so far */
    for (uint first = segment.start; first < segment.end; first += count) {
        count = singles > 0 ? 1 : min(segment.end - first, CHUNK);
        LOAD_ROWS(new_keys, keys, segment.k + first * push.k_stride[2], push.k_stride[2], DIM)
        LOAD_ROWS(new_queries, queries, segment.q + first * push.q_stride[2], push.q_stride[2], DIM)
        LOAD_ROWS(new_values, values_in, segment.v + first * push.v_stride[2], push.v_stride[2], COLUMNS)
        FIND_LARGE(new_keys, chunk)
        FIND_LARGE(new_queries, chunk)
        STORE_ROWS(new_keys, rows, KEYS * SECTION, ROW, DIM)
        STORE_ROWS(new_queries, rows, QUERIES * SECTION, ROW, DIM)
        STORE_ROWS(new_values, values, 0, VALUE_ROW, COLUMNS)
        clear_marks();
        barrier();
        if (t == 0)
            large(chunk + 1) = 0;
        take_spoiled_values();
        if (singles > 0) {
            weigh_single_row();
            singles--;
        } else if (!weigh_rows(chunk)) {
            singles = count;
            count = 0;
        }
        chunk++;
        barrier();
        if (count == 0)
            continue;
        take_rows(segment.o + first * push.o_stride[2]);
        barrier();
    }
}
