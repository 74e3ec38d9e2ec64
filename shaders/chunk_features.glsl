/* SPDX-License-Identifier: MIT */
/* From a chunk's rows to features, their codes and their weights (chunk.glsl), and one token's in float32. */

/* Products with the matrix, of which float16 numbers hold 11 bits: of rows of numbers above a limit those
 * that they lack, too. */
void project(uint chunk)
{
    const bool exactly = large(chunk) != 0;
    EACH_STRIP(CHUNK) {
        const uint row = strip_row(CHUNK, s) * ROW;
        if (!TRANSFORM) {
            [[unroll]] for (uint section = 0; section < SECTIONS; section++) {
                EACH_TILE(CHUNK, FEATURES) {
                    HALVES x;
                    coopMatLoad(x, rows, section * SECTION + row + tile_column(CHUNK, FEATURES, n) / 8, ROW, BY_ROW);
                    features_of[FEATURE_TILE(section)] = SUMS(x);
                }
            }
            continue;
        }
        [[unroll]] for (uint section = 0; section < SECTIONS; section++) {
            EACH_TILE(CHUNK, FEATURES)
                features_of[FEATURE_TILE(section)] = SUMS(0.0);
        }
        [[unroll]] for (uint k = 0; k < DIM; k += K) {
            LEFT a[SECTIONS];
            [[unroll]] for (uint section = 0; section < SECTIONS; section++)
                coopMatLoad(a[section], rows, section * SECTION + row + k / 8, ROW, BY_ROW);
            EACH_TILE(CHUNK, FEATURES) {
                const uint from = (tile_column(CHUNK, FEATURES, n) * DIM + k) / 8;
                RIGHT b;
                coopMatLoad(b, matrix.data, from, DIM / 8, BY_COLUMN);
                [[unroll]] for (uint section = 0; section < SECTIONS; section++)
                    features_of[FEATURE_TILE(section)] = coopMatMulAdd(a[section], b, features_of[FEATURE_TILE(section)]);
                if (exactly) {
                    coopMatLoad(b, matrix.data, from + DIM * FEATURES / 8, DIM / 8, BY_COLUMN);
                    [[unroll]] for (uint section = 0; section < SECTIONS; section++)
                        features_of[FEATURE_TILE(section)] = coopMatMulAdd(a[section], b, features_of[FEATURE_TILE(section)]);
                }
            }
        }
    }
}

/* What maps.glsl asks for, of the feature that feature_of is at. */
float projected_value, table_factor, table_bias;

float projected(uint row, uint i)
{
    return projected_value;
}

float frequency(uint i)
{
    return table_factor;
}

float log_weight(uint i)
{
    return table_bias;
}

float square_sum(uint row)
{
    return 0.0;
}

#define WITHOUT_PLACES
#include "maps.glsl"

/* A feature from its projected value y: an exponent of 2 or, of LINEAR maps, itself. */
float feature_of(float y, float factor, float bias)
{
    projected_value = FEATURE == DJ_FEATURE_EXPONENTIAL ? y : y * factor;
    table_factor = factor;
    table_bias = bias;
    const float a = feature(0, 0);
    if (LINEAR)
        return a;
    return is_finite(a) ? a * (FEATURE == DJ_FEATURE_ELU ? LOG2E : 1.0) : nan();
}

/* The exponent of a feature, as a whole number no smaller; EMPTY if it is 0, dropped or no number. */
float exponent_above(float a)
{
    if (!is_finite(a) || (LINEAR ? a == 0.0 : a < -1.0e32))
        return EMPTY;
    return LINEAR ? exponent_of(abs(a)) + 1.0 : ceil(a);
}

/* The same as float16, and back: the same number where its size is at most LIMIT. */
float code_of(float exponent)
{
    return exponent == EMPTY ? NONE : clamp(exponent, -MOST_CODE, MOST_CODE);
}

float from_code(float code)
{
    return code < -MOST_CODE - 500.0 ? EMPTY : code;
}

/* A feature times 2^(by_feature + by_row). */
float weight_of(float a, float by_feature, float by_row)
{
    precise float exponent = LINEAR ? by_feature : a + by_feature;
    exponent = exponent + by_row;
    if (!LINEAR)
        return exp2(exponent);
    precise float first = a * exp2_halves(exponent).x;
    return first == 0.0 || by_feature == NEVER || by_row == NEVER ? a * 0.0 : first * exp2_halves(exponent).y;
}

/* From projected values to features, whose codes take the rows' place. */
void write_codes(uint section)
{
    EACH_STRIP(CHUNK) EACH_TILE(CHUNK, FEATURES) {
        const uint column = tile_column(CHUNK, FEATURES, n);
        SUMS factor;
        SUMS bias;
        SUMS code;
        coopMatLoad(factor, factor_of, column, 0, BY_ROW);
        coopMatLoad(bias, bias_of, column, 0, BY_ROW);
        [[unroll]] for (uint i = 0; i < factor.length(); i++) {
            const float a = feature_of(features_of[FEATURE_TILE(section)][i], factor[i], bias[i]);
            features_of[FEATURE_TILE(section)][i] = a;
            code[i] = code_of(exponent_above(a));
        }
        coopMatStore(HALVES(code), rows, section * SECTION + strip_row(CHUNK, s) * ROW + column / 8, ROW, BY_ROW);
    }
}

/* Keys' features less row_bias, and their codes. */
void subtract_by_row()
{
    EACH_STRIP(CHUNK) {
        SUMS by_row;
        coopMatLoad(by_row, row_bias, KEYS * CHUNK + strip_row(CHUNK, s), 0, BY_COLUMN);
        EACH_TILE(CHUNK, FEATURES) {
            SUMS code;
            [[unroll]] for (uint i = 0; i < by_row.length(); i++) {
                const float a = features_of[FEATURE_TILE(KEYS)][i] - by_row[i];
                features_of[FEATURE_TILE(KEYS)][i] = a;
                code[i] = code_of(exponent_above(a));
            }
            coopMatStore(HALVES(code), rows,
                         KEYS * SECTION + strip_row(CHUNK, s) * ROW + tile_column(CHUNK, FEATURES, n) / 8, ROW, BY_ROW);
        }
    }
}

/* Weights in the place of codes. */
void write_weights(uint section)
{
    EACH_STRIP(CHUNK) {
        const uint row = strip_row(CHUNK, s);
        SUMS by_row;
        coopMatLoad(by_row, row_bias, section * CHUNK + row, 0, BY_COLUMN);
        EACH_TILE(CHUNK, FEATURES) {
            const uint column = tile_column(CHUNK, FEATURES, n);
            SUMS by_feature;
            SUMS weight;
            coopMatLoad(by_feature, feature_bias, section * FEATURES + column, 0, BY_ROW);
            [[unroll]] for (uint i = 0; i < by_feature.length(); i++)
                weight[i] = weight_of(features_of[FEATURE_TILE(section)][i], by_feature[i], by_row[i]);
            coopMatStore(HALVES(weight), rows, section * SECTION + row * ROW + column / 8, ROW, BY_ROW);
        }
    }
}

/* One token: its features, in float32, partial[] from section * FEATURES on. */
void find_single(uint section)
{
    for (uint f = t; f < FEATURES; f += THREADS) {
        float y = 0.0;
        if (TRANSFORM) {
            [[dont_unroll]] for (uint n = 0; n < DIM; n++) {
                const uint at = f * DIM + n;
                const float entry = half_at(matrix.data[at / 8], at % 8) +
                                    half_at(matrix.data[(DIM * FEATURES + at) / 8], at % 8);
                y += half_at(rows[section * SECTION + n / 8], n % 8) * entry;
            }
        } else {
            y = half_at(rows[section * SECTION + f / 8], f % 8);
        }
        partial[section * FEATURES + f] = feature_of(y, factor_of[f], bias_of[f]);
    }
}

/* The exponent of a key's feature in the sum that normalises it. */
float weighted(float exponent, uint f)
{
    return exponent == EMPTY || bias_of[f] < -1.0e32 ? EMPTY : exponent + bias_of[f];
}

/* Of the chunk's keys, whose codes are there: exponents less that of the sum over the features, weighted by D. The
 * weights that are summed, float16 numbers, take the codes' place meanwhile. For all invocations behind a barrier, as is
 * what follows. */
void normalise_keys()
{
    const uint row = t % CHUNK;
    float largest = EMPTY;
    for (uint eight = t / CHUNK; eight < FEATURES / 8; eight += LANES) {
        const uvec4 codes = rows[KEYS * SECTION + row * ROW + eight];
        [[unroll]] for (uint i = 0; i < 8; i++) {
            const float exponent = from_code(half_at(codes, i));
            if (row < count && exponent != EMPTY && abs(exponent) > LIMIT)
                FLAG(narrow);
            largest = max(largest, weighted(exponent, eight * 8 + i));
        }
    }
    partial[t] = largest;
    for (uint f = t; f < FEATURES; f += THREADS)
        feature_bias[KEYS * FEATURES + f] = bias_of[f];
    barrier();
    for (uint j = t; j < CHUNK; j += THREADS) {
        largest = partial[j];
        for (uint i = 1; i < LANES; i++)
            largest = max(largest, partial[i * CHUNK + j]);
        row_bias[KEYS * CHUNK + j] = j < count && largest != EMPTY ? WEIGHT_BITS - largest : NEVER;
    }
    barrier();
    write_weights(KEYS);
    barrier();
    float sum = 0.0;
    for (uint eight = t / CHUNK; eight < FEATURES / 8; eight += LANES) {
        [[unroll]] for (uint i = 0; i < 8; i++)
            sum += half_at(rows[KEYS * SECTION + row * ROW + eight], i);
    }
    partial[t] = sum;
    barrier();
    for (uint j = t; j < CHUNK; j += THREADS) {
        sum = partial[j];
        for (uint i = 1; i < LANES; i++)
            sum += partial[i * CHUNK + j];
        row_bias[KEYS * CHUNK + j] = j < count ? log2(sum) - row_bias[KEYS * CHUNK + j] : 0.0;
    }
    barrier();
    subtract_by_row();
    barrier();
}

/* The same of the one token, in partial[]. */
void normalise_single_key()
{
    float largest = EMPTY, sum = 0.0;
    for (uint f = 0; f < FEATURES; f++)
        largest = max(largest, weighted(exponent_above(partial[KEYS * FEATURES + f]), f));
    for (uint f = 0; f < FEATURES; f++)
        sum += exp2(partial[KEYS * FEATURES + f] + bias_of[f] - largest);
    barrier();
    for (uint f = t; f < FEATURES; f += THREADS)
        partial[KEYS * FEATURES + f] -= largest + log2(sum);
    barrier();
}

/* A section's first row is its weights, all others are 0. */
void write_single(uint section)
{
    for (uint i = t; i < CHUNK * (FEATURES / 8); i += THREADS) {
        const uint row = i / (FEATURES / 8), at = i % (FEATURES / 8);
        uvec4 eight = uvec4(0);
        if (row == 0) {
            float weight[8];
            [[unroll]] for (uint n = 0; n < 8; n++) {
                const uint f = section * FEATURES + at * 8 + n;
                weight[n] = weight_of(partial[f], feature_bias[f], row_bias[section * CHUNK]);
            }
            [[unroll]] for (uint n = 0; n < 4; n++)
                eight[n] = packHalf2x16(vec2(weight[2 * n], weight[2 * n + 1]));
        }
        rows[section * SECTION + row * ROW + at] = eight;
    }
}

/* Numbers of the head's map. */
void load_map()
{
    const uint table = head * push.head_stride;
    for (uint f = t; f < FEATURES; f += THREADS) {
        const bool exponential = FEATURE == DJ_FEATURE_EXPONENTIAL;
        factor_of[f] = push.factor * (TRANSFORM ? MATRIX_UNSCALE : 1.0) *
                       (exponential ? tables.data[table + f] * LOG2E : 1.0);
        bias_of[f] = exponential ? tables.data[push.weights + table + f] * LOG2E : 0.0;
    }
    if (t < 2)
        large(t) = 0;
    barrier();
    float largest = 1.0e-6;
    for (uint f = 0; TRANSFORM && f < FEATURES; f++)
        largest = max(largest, abs(factor_of[f]));
    large_number = LARGE / largest * MATRIX_UNSCALE;
}
