/* SPDX-License-Identifier: MIT */
/* What chunk_sum.comp and chunk_output.comp share: features of a chunk of tokens made in place, and running
 * sums over the chunks of a segment, all products by cooperative matrices of float16 factors and float32
 * sums.
 *
 * Of feature f, with R[f] a whole exponent, a workgroup keeps
 *   S[f][c] 2^R[f] = sum_j phi_j[f] v_j[c]       in matrices (sums_of), times WEIGHT
 *   z[f]    2^R[f] = sum_j |phi_j[f]|            norm[f]
 * and a chunk of keys comes in as weights phi_j[f] 2^(13 - R[f]), R first raised to what the chunk's largest
 * key or the norm asks for. float16 holds weights down to 2^-27 of the largest with all its bits.
 *
 * Features are exponents of 2 or, of LINEAR maps, values. A chunk's rows lie in shared memory as they came,
 * then as exponents (codes), then as weights. Where a code says too little - beyond LIMIT, or where
 * rows do not see what the exponents stand for (chunk_output.comp) - the chunk's tokens are taken one by one,
 * features made in float32: what a row sees is then all there is.
 *
 * bfloat16 numbers become float16 ones times a power of two that brings a chunk's largest to 2^14: of keys
 * and queries their own (unit_of), of values one that only falls (value_bits).
 *
 * Rows in shared memory are of uint4, 8 numbers; they begin in different banks. */
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_control_flow_attributes : require
#pragma use_vulkan_memory_model
#include "kernels.h"
#include "bindings.glsl"
#include "logscale.glsl"

layout(local_size_x = DJ_CHUNK_THREADS) in;
layout(constant_id = 0) const uint DIM = 64;
layout(constant_id = 1) const uint FEATURES = 64;
layout(constant_id = 2) const uint VALUE_DIM = 64;
layout(constant_id = 3) const uint CHUNK = 64; /* tokens */
layout(constant_id = 4) const uint FEATURE = DJ_FEATURE_EXPONENTIAL;
layout(constant_id = 5) const uint OPTIONS = DJ_CHUNK_TRANSFORM; /* DJ_CHUNK_*, any together */
layout(constant_id = 6) const uint COLUMNS = 64; /* of a workgroup */
layout(constant_id = 7) const uint DENOMINATOR = DJ_DENOMINATOR_PLAIN;
layout(constant_id = 8) const uint SUBGROUP = 32;
layout(constant_id = 9) const uint M = 16;
layout(constant_id = 10) const uint N = 16;
layout(constant_id = 11) const uint K = 16;

const uint THREADS = DJ_CHUNK_THREADS, SUBGROUPS = THREADS / SUBGROUP;
const bool LINEAR = (OPTIONS & DJ_CHUNK_LINEAR) != 0;
const bool TRANSFORM = (OPTIONS & DJ_CHUNK_TRANSFORM) != 0; /* by a matrix */
const bool BFLOAT = (OPTIONS & DJ_CHUNK_BFLOAT) != 0;       /* q, k, v, o are bfloat16; else float16 */
const uint WIDEST = DIM > FEATURES ? DIM : FEATURES;
const uint ROW = ((WIDEST > CHUNK ? WIDEST : CHUNK) + 8) / 8; /* uint4 from row to row */
const uint VALUE_ROW = (COLUMNS + 8) / 8;
const float WEIGHT_BITS = 13.0, WEIGHT_UNSCALE = 1.0 / 8192.0;
const float NONE = -20000.0; /* the code of nothing */
const float LIMIT = 1000.0;  /* of codes */
const float NEVER = -1.0e5;  /* exponent of weights that are 0 */
const float LARGE = BFLOAT ? 40.0 : 5.0; /* of numbers times the largest factor: exponents of 2 */

PUSH(chunk_push)
BUFFER_ALIGNED(0, readonly, Queries, uvec4, queries, 16)
BUFFER_ALIGNED(1, readonly, Keys, uvec4, keys, 16)
BUFFER_ALIGNED(2, readonly, Values, uvec4, values_in, 16)
BUFFER_ALIGNED(3, writeonly, Outputs, uvec4, outputs, 16)
BUFFER_ALIGNED(4, , Records, float, records, 16)
BUFFER(5, readonly, Tables, float, tables)
BUFFER_ALIGNED(6, readonly, Matrix, uvec4, matrix, 16) /* [FEATURES][DIM] of float16, then what those lack */
#define SPANS 7
#include "spans.glsl"

#define SUMS coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
#define HALVES coopmat<float16_t, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
#define LEFT coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA>
#define RIGHT coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB>
const int BY_ROW = gl_CooperativeMatrixLayoutRowMajor, BY_COLUMN = gl_CooperativeMatrixLayoutColumnMajor;

/* How the subgroups share a product of so many rows: STRIPS of M rows each or, where there are more
 * subgroups than those, one strip of which each has one of PARTS' columns. */
#define STRIPS(rows) (((rows) / M + SUBGROUPS - 1) / SUBGROUPS)
#define PARTS(rows) ((rows) / M < SUBGROUPS ? SUBGROUPS / ((rows) / M) : 1)
#define TILES(rows, columns) (((columns) / N + PARTS(rows) - 1) / PARTS(rows))

uint strip_row(uint rows, uint i)
{
    return PARTS(rows) > 1 ? gl_SubgroupID % (rows / M) * M : (gl_SubgroupID + i * SUBGROUPS) * M;
}

uint tile_column(uint rows, uint columns, uint i)
{
    const uint part = PARTS(rows) > 1 ? gl_SubgroupID / (rows / M) : 0;
    return (part * TILES(rows, columns) + i) * N;
}

/* For every tile of the subgroup's share: i its number, row and column where it lies. */
#define EACH_STRIP(rows) \
    [[unroll]] for (uint s = 0; s < STRIPS(rows); s++) \
        if (strip_row(rows, s) < (rows))
#define EACH_TILE(rows, columns) \
    [[unroll]] for (uint n = 0; n < TILES(rows, columns); n++) \
        if (tile_column(rows, columns, n) < (columns))
#define TILE(rows, columns) (s * TILES(rows, columns) + n)
#define TILE_COUNT(rows, columns) (STRIPS(rows) * TILES(rows, columns))

/* Sections of what is per row: keys, then, where there are SECTIONS 2, queries. */
const uint KEYS = 0, QUERIES = 1;
const uint SECTION = CHUNK * ROW; /* of `rows` */
shared uvec4 rows[SECTIONS * SECTION];
shared uvec4 values[CHUNK * VALUE_ROW];
shared float partial[THREADS * 8];
shared float factor_of[FEATURES], bias_of[FEATURES];       /* code = factor y + bias */
shared float peak[FEATURES], norm[FEATURES];                /* R, z */
shared float next_peak[FEATURES];                           /* R with the chunk's keys */
shared float rescale[FEATURES];                             /* 2^(R before - R) */
shared float feature_bias[SECTIONS * FEATURES];             /* exponents added to features' for weights */
shared float row_bias[SECTIONS * CHUNK];
shared uint first_spoiled[COLUMNS];                         /* the first value of a column that is no number */
shared float spoil[COLUMNS];                                /* 0, or NaN where there is one */
shared uint narrow, spoiled;                                /* not 0: tokens are to be taken one by one; there is one */
shared uint large[2];                                       /* of this chunk and the next; not 0: see LARGE */
shared uint most[2 * 3];                                    /* the largest numbers of keys, queries, values, as bits */

uint t, head, count;     /* tokens of the chunk */
float unit_of[SECTIONS]; /* what a number in shared memory is worth */
float value_bits;        /* values' unit: its exponent */
float value_rescale = 1.0; /* ... from what it was when sums were last added to */

SUMS sums_of[TILE_COUNT(FEATURES, COLUMNS)];
SUMS features_of[SECTIONS * TILE_COUNT(CHUNK, FEATURES)];
#define FEATURE_TILE(section) ((section) * TILE_COUNT(CHUNK, FEATURES) + TILE(CHUNK, FEATURES))

float half_at(uvec4 eight, uint i)
{
    const vec2 two = unpackHalf2x16(eight[i / 2]);
    return two[i % 2];
}

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

/* Products with the matrix, of which float16 numbers hold 11 bits: of rows of numbers above a limit those
 * that they lack, too. */
void project(uint chunk)
{
    const bool exactly = large[chunk % 2] != 0;
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

/* A feature from its projected value y: an exponent of 2 or, of LINEAR maps, itself. */
float feature_of(float y, float factor, float bias)
{
    const float x = y * factor;
    switch (FEATURE) {
    case DJ_FEATURE_ELU:
        return !is_finite(x) ? nan() : x < 0.0 ? x * 1.44269504 : log2(1.0 + x);
    case DJ_FEATURE_ELU_VALUE:
        return !is_finite(x) ? nan() : x < 0.0 ? exp2(x * 1.44269504) : 1.0 + x;
    case DJ_FEATURE_RELU:
        return !is_finite(x) ? nan() : max(x, 0.0);
    case DJ_FEATURE_IDENTITY:
        return x;
    default:
        return is_finite(x) ? x + bias : nan();
    }
}

/* The exponent of a feature: NONE if it is 0 or no number. */
float exponent_code(float a)
{
    if (!is_finite(a) || (LINEAR && a == 0.0))
        return NONE;
    return LINEAR ? log2(abs(a)) : a;
}

/* A feature times 2^(by_feature + by_row). */
float weight_of(float a, float by_feature, float by_row)
{
    precise float exponent = LINEAR ? by_feature : a + by_feature;
    exponent = exponent + by_row;
    return LINEAR ? a * exp2(exponent) : exp2(exponent);
}

/* From projected values to features, whose codes take the rows' place. */
void write_codes(uint section)
{
    EACH_STRIP(CHUNK) EACH_TILE(CHUNK, FEATURES) {
        const uint column = tile_column(CHUNK, FEATURES, n);
        SUMS factor, bias;
        HALVES code;
        coopMatLoad(factor, factor_of, column, 0, BY_ROW);
        coopMatLoad(bias, bias_of, column, 0, BY_ROW);
        [[unroll]] for (uint i = 0; i < factor.length(); i++) {
            const float a = feature_of(features_of[FEATURE_TILE(section)][i] * unit_of[section], factor[i], bias[i]);
            features_of[FEATURE_TILE(section)][i] = a;
            code[i] = float16_t(clamp(exponent_code(a), NONE, -NONE));
        }
        coopMatStore(code, rows, section * SECTION + strip_row(CHUNK, s) * ROW + column / 8, ROW, BY_ROW);
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
            HALVES weight;
            coopMatLoad(by_feature, feature_bias, section * FEATURES + column, 0, BY_ROW);
            [[unroll]] for (uint i = 0; i < by_feature.length(); i++)
                weight[i] = float16_t(weight_of(features_of[FEATURE_TILE(section)][i], by_feature[i], by_row[i]));
            coopMatStore(weight, rows, section * SECTION + row * ROW + column / 8, ROW, BY_ROW);
        }
    }
}

/* partial[8 of t] = of each of 8 neighbouring columns, `both` over every GROUPS-th row; then of all rows
 * by add_groups. */
#define GROUPS(width) (THREADS / ((width) / 8))
#define FOLD_COLUMNS(source, stride, width, start, both) \
    if (t < GROUPS(width) * ((width) / 8)) { \
        float total[8]; \
        [[unroll]] for (uint i = 0; i < 8; i++) \
            total[i] = start; \
        [[unroll]] for (uint first = 0; first < CHUNK; first += GROUPS(width)) { \
            const uint row = first + t / ((width) / 8); \
            if (row < count) { \
                const uvec4 eight = source[row * (stride) + t % ((width) / 8)]; \
                [[unroll]] for (uint i = 0; i < 8; i++) { \
                    const float x = half_at(eight, i), y = total[i]; \
                    total[i] = both; \
                } \
            } \
        } \
        [[unroll]] for (uint i = 0; i < 8; i++) \
            partial[t * 8 + i] = total[i]; \
    } \
    barrier();
#define FOLD_GROUPS(result, width, column, both) \
    float result = partial[column]; \
    for (uint group = 1; group < GROUPS(width); group++) { \
        const float x = partial[group * (width) + (column)], y = result; \
        result = both; \
    }

/* The exponent of feature f's norm. */
float norm_peak(uint f)
{
    const float z = norm[f];
    return z == 0.0 ? EMPTY : is_finite(z) ? peak[f] + exponent_of(z) : peak[f];
}

/* R and its consequences for feature f, given the largest code of its keys. */
void raise_peak(uint f, float code)
{
    const float raised = max(norm_peak(f), code > 0.5 * NONE ? ceil(code) : EMPTY);
    next_peak[f] = raised;
    rescale[f] = norm[f] == 0.0 ? 1.0 : exp2i(peak[f] - raised);
    feature_bias[KEYS * FEATURES + f] = raised < -1.0e30 ? 0.0 : -raised;
}

/* Takes what raise_peak found: the norm is then at the scale of R. */
void take_peaks()
{
    for (uint f = t; f < FEATURES; f += THREADS) {
        peak[f] = next_peak[f];
        norm[f] *= rescale[f];
    }
}

/* The largest codes of the chunk's keys, and R. */
void find_peaks()
{
    FOLD_COLUMNS(rows, ROW, FEATURES, NONE, x > y ? x : y)
    for (uint f = t; f < FEATURES; f += THREADS) {
        FOLD_GROUPS(code, FEATURES, f, x > y ? x : y)
        if (code > LIMIT)
            FLAG(narrow);
        raise_peak(f, code);
    }
    for (uint j = t; j < CHUNK; j += THREADS)
        row_bias[KEYS * CHUNK + j] = j < count ? WEIGHT_BITS : NEVER;
}

/* The norm with the chunk's keys, as they were rounded. */
void add_norms()
{
    FOLD_COLUMNS(rows, ROW, FEATURES, 0.0, abs(x) + y)
    for (uint f = t; f < FEATURES; f += THREADS) {
        FOLD_GROUPS(sum, FEATURES, f, x + y)
        norm[f] += sum * WEIGHT_UNSCALE;
    }
}

/* S at the scale of R, in values' unit. */
void rescale_sums()
{
    EACH_STRIP(FEATURES) {
        SUMS scale;
        coopMatLoad(scale, rescale, strip_row(FEATURES, s), 0, BY_COLUMN);
        EACH_TILE(FEATURES, COLUMNS) {
            [[unroll]] for (uint i = 0; i < scale.length(); i++)
                sums_of[TILE(FEATURES, COLUMNS)][i] *= scale[i] * value_rescale;
        }
    }
}

/* S with the chunk's keys and values. */
void add_sums()
{
    EACH_STRIP(FEATURES) {
        const uint f = strip_row(FEATURES, s);
        [[unroll]] for (uint k = 0; k < CHUNK; k += K) {
            LEFT a;
            coopMatLoad(a, rows, k * ROW + f / 8, ROW, BY_COLUMN);
            EACH_TILE(FEATURES, COLUMNS) {
                RIGHT b;
                coopMatLoad(b, values, k * VALUE_ROW + tile_column(FEATURES, COLUMNS, n) / 8, VALUE_ROW, BY_ROW);
                sums_of[TILE(FEATURES, COLUMNS)] = coopMatMulAdd(a, b, sums_of[TILE(FEATURES, COLUMNS)]);
            }
        }
    }
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

/* What became of a column with one is none. */
void spoil_sums()
{
    for (uint c = t; c < COLUMNS; c += THREADS)
        spoil[c] = first_spoiled[c] < CHUNK ? nan() : 0.0;
    barrier();
    EACH_STRIP(FEATURES) EACH_TILE(FEATURES, COLUMNS) {
        SUMS term;
        coopMatLoad(term, spoil, tile_column(FEATURES, COLUMNS, n), 0, BY_ROW);
        [[unroll]] for (uint i = 0; i < term.length(); i++)
            sums_of[TILE(FEATURES, COLUMNS)][i] += term[i];
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
        partial[section * FEATURES + f] = feature_of(y * unit_of[section], factor_of[f], bias_of[f]);
    }
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

void start_sums()
{
    value_bits = BFLOAT ? -126.0 : 0.0;
    EACH_STRIP(FEATURES) EACH_TILE(FEATURES, COLUMNS)
        sums_of[TILE(FEATURES, COLUMNS)] = SUMS(0.0);
    for (uint f = t; f < FEATURES; f += THREADS) {
        peak[f] = EMPTY;
        norm[f] = 0.0;
    }
}

/* Numbers of the head's map. */
void load_map()
{
    const uint table = head * push.head_stride;
    for (uint f = t; f < FEATURES; f += THREADS) {
        const bool exponential = FEATURE == DJ_FEATURE_EXPONENTIAL;
        factor_of[f] = push.factor * (exponential ? tables.data[table + f] * 1.44269504 : 1.0);
        bias_of[f] = exponential ? tables.data[push.weights + table + f] * 1.44269504 : 0.0;
    }
    if (t < 2)
        large[t] = 0;
    if (t < 6)
        most[t] = 0;
    barrier();
    float largest = 1.0e-3;
    for (uint f = 0; TRANSFORM && f < FEATURES; f++)
        largest = max(largest, abs(factor_of[f]));
    large_number = LARGE / largest;
}
