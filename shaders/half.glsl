/* SPDX-License-Identifier: MIT */
/* What half_sum.comp and half_output.comp share: the work of chunk_sum.comp and chunk_output.comp where
 * features are float16 numbers as they are. A workgroup keeps, in float32,
 *   S[f][c] = sum_j phi_j[f] v_j[c],   z[f] = sum_j |phi_j[f]|,
 * features in a unit of the head's (find_unit), those of normalised keys in one of their own (key_exponent).
 *
 * What may go wrong is found out on the way. The words for it:
 *   failing   this invocation has seen a number that float16 cannot hold well enough (docs/mathematics.md, section
 *             6.4); exponents of features are collected in largest_exponent instead;
 *   failed    shared: not 0 if the segment is to be done again by chunk_sum.comp or chunk_output.comp, which find that
 *             in its notes (kernels.h);
 *   spoiled   shared: not 0 if a number that is NaN or Inf was taken as 0 in products. The sums or outputs that it
 *             reaches are overwritten with NaN; spoiled_from, keys_spoiled and rows_spoiled say which.
 * Shared words such as failed and spoiled are marks (MARK). They lie in the padding of the values' rows: at d = m = 64
 * half_output.comp's arrays take all of 48 KB, where matrices have 16 columns.
 *
 * A chunk's rows and the features are shared out in strips of M, columns in PARTS: subgroup s has strip
 * s % ROW_STRIPS of the chunk and of the sums (and those that are so many further on), and part
 * s / ROW_STRIPS of columns. Rows in shared memory are of uvec4, 8 numbers; they begin in different banks. */
#define RECORD vec4
#include "chunk_types.glsl"

layout(local_size_x_id = 13) in;
layout(constant_id = 13) const uint THREADS = 128;

const bool TRANSFORM = FEATURE == DJ_FEATURE_EXPONENTIAL; /* by a matrix */
const bool FAR = (OPTIONS & DJ_HALF_FAR_MATRIX) != 0, NEAR = TRANSFORM && !FAR;
const bool ELU = FEATURE == DJ_FEATURE_ELU || FEATURE == DJ_FEATURE_ELU_VALUE;
const bool SIGNED = FEATURE == DJ_FEATURE_IDENTITY;
const bool KEY_NORMALISE = (OPTIONS & DJ_HALF_KEY_NORMALISE) != 0; /* of maps with a transform */
const uint SUBGROUPS = THREADS / SUBGROUP, ROW_STRIPS = CHUNK / M, PARTS = SUBGROUPS / ROW_STRIPS;
/* What a row may have to hold: numbers, features, scores, outputs; uvec4 from row to row. */
const uint WIDER = DIM > FEATURES ? DIM : FEATURES, WIDE = CHUNK > COLUMNS ? CHUNK : COLUMNS;
const uint ROW = ((WIDER > WIDE ? WIDER : WIDE) + 8) / 8;
const uint VALUE_ROW = (COLUMNS + 8) / 8, MATRIX_ROW = (DIM + 8) / 8;
const uint SECTION = CHUNK * ROW; /* of `rows` */
const uint BEHIND = SECTIONS == 1 ? SECTION : 0; /* from rows to their features */
/* A subgroup's strips of features, and tiles of N columns. Norms are one more tile, which of sums the last part has. */
const uint STRIPS = (FEATURES / M + ROW_STRIPS - 1) / ROW_STRIPS;
const bool WHOLE_STRIPS = FEATURES % (ROW_STRIPS * M) == 0;
const uint TILES = COLUMNS / N / PARTS;
const uint ROW_NORMS = SECTIONS == 2 && PARTS == 1 ? 1 : 0; /* of outputs the first part, in norms_of[0] or, if it is the
                                                             * last too, in one more */
/* ... and its share of a chunk's features: so many sections or, where there are more parts than those, one of
 * SPLIT parts of a section's columns. */
const uint SHARES = SECTIONS > PARTS ? SECTIONS / PARTS : 1, SPLIT = PARTS > SECTIONS ? PARTS / SECTIONS : 1;
const uint BLOCKS = VALUE_DIM / COLUMNS, NOTE_SIZE = DJ_NOTE_SIZE(VALUE_DIM, GROUP * BLOCKS);
const uint NOWHERE = 0xffffffffu;
const float MOST_EXPONENT = 13.0; /* of 2, of a feature: its float16 number is a normal one */
const float MOST_VALUE = 8192.0;
/* Of normalised keys: 2^SUM_BITS is what a key's weighted sum of features becomes, so that those are near 1 again. */
const float SUM_BITS = FEATURES > 64 ? 7.0 : FEATURES > 32 ? 6.0 : FEATURES > 16 ? 5.0 : 4.0;
const float MOST_SQUARES = 115.0; /* of 8 numbers times the largest factor: docs/mathematics.md, section 6.4 */

shared uvec4 rows[2 * SECTION];
shared uvec4 values[(3 - SECTIONS) * CHUNK * VALUE_ROW];
shared uvec4 transform[NEAR ? FEATURES * MATRIX_ROW : 1]; /* [FEATURES][DIM] */
shared float factor_of[FEATURES];  /* t, and what the matrix's row is to be multiplied by */
shared float bias_of[FEATURES];    /* log2 D less the unit's exponent */
shared float number[CHUNK];        /* 0, 1, .. */
/* Of half_output.comp's rows what outputs are to be divided by; of normalised keys, until they are, weights D of the
 * features, in the unit, as pairs of float16. */
shared float norm_of_row[DJ_HALF_ROW_WORDS(FEATURES, CHUNK)];
/* All begin at multiples of 16 bytes, so that matrices may be loaded from each. Marks lie behind the numbers of the
 * values' first rows. */
#define MARK(i) values[(i) / 4 * VALUE_ROW + VALUE_ROW - 1][(i) % 4]
const uint MARKS = 16;
#define failed MARK(0)         /* not 0: the segment is to be done again */
#define largest_factor MARK(1)
#define bias_sum MARK(2)       /* times BIAS_UNIT, as a whole number */
#define spoiled MARK(3)        /* not 0: there are NaN or Inf */
#define keys_spoiled MARK(4)   /* the complement of the segment's first token whose key has NaN or Inf, or 0 */
#define keys_spoiled_from (~keys_spoiled)
#define spoiled_from(c) MARK(MARKS + (c)) /* the segment's first token whose value in the column is NaN or Inf */
const float MOST_BIAS = 30000.0, BIAS_UNIT = 256.0;
#define dropped_features MARK(13) /* how many have D = 0, where keys are normalised */
/* The bias that they have: their features are 1, as far as they are looked at, and keys' are then made 0. */
const float DROPPED = 1.0e-12;
#define RECORDS(at) records.data[(at) / 4][(at) % 4]

uint t, head, count; /* tokens of the chunk */
float unit, unit_exponent; /* what a feature counts is unit 2^unit_exponent */
float most_squares;
uint largest_exponent = 0; /* in size, as bits: those of NaN and Inf are larger */
bool failing = false;

SUMS sums_of[STRIPS * TILES];
SUMS norms_of[STRIPS + ROW_NORMS];
RIGHT terms_of[TILES]; /* values, by load_values */

/* Orders a subgroup's accesses to shared memory. */
void subgroup_barrier()
{
    controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);
}

/* A chunk's rows of a tensor, `rest` of them, from an element on, 8 numbers at once, 0 beyond the last: to
 * registers, so that all are under way together, and from there to shared memory. */
#define LOADS(width) ((CHUNK * (width) / 8 + THREADS - 1) / THREADS)
#define EACH_LOAD(width) \
    [[unroll]] for (uint l = 0, i = t; l < LOADS(width); l++, i += THREADS)
#define LOAD_ROWS(taken, rest, source, from, step, width) \
    EACH_LOAD(width) { \
        taken[l] = i / ((width) / 8) < min(rest, CHUNK) ? source.data[((from) + i / ((width) / 8) * (step)) / 8 + i % ((width) / 8)] \
                                            : uvec4(0); \
    }
#define STORE_ROWS(taken, target, to, stride, width) \
    EACH_LOAD(width) { \
        if (i / ((width) / 8) < CHUNK) \
            target[(to) + i / ((width) / 8) * (stride) + i % ((width) / 8)] = taken[l]; \
    }

/* Whether 8 numbers are small enough for the matrix as it is; NaN and Inf are not. */
bool is_small(uvec4 eight)
{
    f16vec2 squares = f16vec2(0.0);
    [[unroll]] for (uint n = 0; n < 4; n++) {
        const f16vec2 two = unpackFloat2x16(eight[n]);
        squares += two * two;
    }
    return floatBitsToUint(float(squares.x) + float(squares.y)) <= floatBitsToUint(most_squares);
}

/* Whether one of 8 numbers is NaN or Inf. */
bool has_nonfinite(uvec4 eight)
{
    const uvec4 all_ones = (eight & 0x7c007c00u) + 0x04000400u; /* exponents, carried into the sign's place */
    const uvec2 two = all_ones.xy | all_ones.zw;
    return ((two.x | two.y) & 0x80008000u) != 0;
}

void note_exponent(float x)
{
    largest_exponent = max(largest_exponent, floatBitsToUint(x) & 0x7fffffffu);
}

/* Features of 8 numbers, of maps without a transform; beyond the chunk's last row all are 0. */
uvec4 features_of(uvec4 eight, bool within)
{
    if (ELU) {
        [[unroll]] for (uint n = 0; n < 4; n++) {
            const vec2 x = unpackHalf2x16(eight[n]) * push.factor, exponent = min(x, 0.0) * LOG2E;
            note_exponent(min(exponent.x, exponent.y));
            failing = failing || max(x.x, x.y) > MOST_VALUE;
            eight[n] = within ? packHalf2x16(exp2(exponent) + max(x, 0.0)) : 0u;
        }
    } else if (!SIGNED) {
        eight &= ~((eight >> 15 & 0x10001u) * 0xffffu); /* what has a sign is 0 */
    }
    return eight;
}

/* Of rows of keys or queries that were loaded: what the matrix is not good enough for fails; eight numbers of which one
 * is NaN or Inf become 0, `mark` saying that row i / (DIM / 8) had some. Features, if they take no matrix. */
#define CHECK_ROWS(taken, mark) \
    EACH_LOAD(DIM) { \
        if (TRANSFORM ? !is_small(taken[l]) : has_nonfinite(taken[l])) { \
            if (has_nonfinite(taken[l])) { \
                taken[l] = uvec4(0); \
                FLAG(spoiled); \
                mark; \
            } else { \
                failing = true; \
            } \
        } \
        if (!TRANSFORM) \
            taken[l] = features_of(taken[l], i / (DIM / 8) < count); \
    }
#define CHECK_KEYS(taken, first) \
    CHECK_ROWS(taken, atomicMax(keys_spoiled, ~((first) + i / (DIM / 8)), gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed))

/* Values that are NaN or Inf become 0. */
#define CHECK_VALUES(taken, first) \
    EACH_LOAD(COLUMNS) { \
        if (has_nonfinite(taken[l])) \
            taken[l] = take_spoiled_values(taken[l], (first) + i / (COLUMNS / 8), i % (COLUMNS / 8) * 8); \
    }

uvec4 take_spoiled_values(uvec4 eight, uint token, uint column)
{
    FLAG(spoiled);
    [[unroll]] for (uint n = 0; n < 8; n++) {
        const uint mask = n % 2 == 0 ? 0x7c00u : 0x7c000000u;
        if ((eight[n / 2] & mask) == mask) {
            eight[n / 2] &= n % 2 == 0 ? 0xffff0000u : 0xffffu;
            atomicMin(spoiled_from(column + n), token, gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
        }
    }
    return eight;
}

uint strip_row()
{
    return gl_SubgroupID % ROW_STRIPS * M;
}

uint part()
{
    return gl_SubgroupID / ROW_STRIPS;
}

/* Features of the subgroup's share: where sums alone are made, in the other section, and 0 of keys beyond the chunk's
 * last; else in their rows' place, where those keys are seen by no row that counts. */
void make_features()
{
    const uint row = strip_row(), first = PARTS > 1 ? part() % SECTIONS : 0;
    LEFT a[SHARES * (DIM / K)];
    [[unroll]] for (uint k = 0; k < DIM / K; k++) {
        [[unroll]] for (uint section = 0; section < SHARES; section++)
            coopMatLoad(a[section * (DIM / K) + k], rows, (first + section) * SECTION + row * ROW + k * K / 8, ROW, BY_ROW);
    }
    if (BEHIND == 0 && SPLIT > 1)
        barrier();
    else if (BEHIND == 0)
        subgroup_barrier();
    const uint columns = FEATURES / SPLIT, first_column = part() / SECTIONS * columns;
    [[unroll]] for (uint n = 0; n < columns / N; n++) {
        const uint column = (SPLIT > 1 ? first_column : 0) + n * N;
        SUMS exponents[SHARES];
        SUMS factor;
        SUMS bias;
        coopMatLoad(bias, bias_of, column, 0, BY_ROW);
        coopMatLoad(factor, factor_of, column, 0, BY_ROW);
        [[unroll]] for (uint section = 0; section < SHARES; section++)
            exponents[section] = SUMS(0.0);
        [[unroll]] for (uint k = 0; k < DIM / K; k++) {
            RIGHT b;
            if (FAR)
                coopMatLoad(b, matrix.data, (column * DIM + k * K) / 8, DIM / 8, BY_COLUMN);
            else
                coopMatLoad(b, transform, column * MATRIX_ROW + k * K / 8, MATRIX_ROW, BY_COLUMN);
            [[unroll]] for (uint section = 0; section < SHARES; section++)
                exponents[section] = coopMatMulAdd(a[section * (DIM / K) + k], b, exponents[section]);
        }
        [[unroll]] for (uint section = 0; section < SHARES; section++) {
            [[unroll]] for (uint i = 0; i < exponents[section].length(); i++) {
                const float exponent = exponents[section][i] * factor[i] + bias[i];
                note_exponent(exponent);
                exponents[section][i] = exp2(exponent);
            }
            if (BEHIND != 0 && count < CHUNK) {
                SUMS place;
                coopMatLoad(place, number, row, 0, BY_COLUMN);
                [[unroll]] for (uint i = 0; i < place.length(); i++)
                    exponents[section][i] = place[i] < float(count) ? exponents[section][i] : 0.0;
            }
            coopMatStore(HALVES(exponents[section]), rows, BEHIND + (first + section) * SECTION + row * ROW + column / 8, ROW,
                         BY_ROW);
        }
    }
}

/* D of a feature in the unit. */
float weight_of(float bias)
{
    failing = failing || bias >= 15.99; /* beyond float16 */
    return bias == DROPPED ? 0.0 : exp2(bias);
}

/* ... of all, for normalise_keys. */
void write_weights()
{
    for (uint i = t; i < FEATURES / 2; i += THREADS)
        norm_of_row[i] = uintBitsToFloat(packHalf2x16(vec2(weight_of(bias_of[2 * i]), weight_of(bias_of[2 * i + 1]))));
}

/* Of the chunk's keys, their features, whose rows begin at a uvec4, over their sum weighted by D; a subgroup has its
 * part of columns. For all invocations behind a barrier, as is what follows. */
void normalise_keys(uint at)
{
    const uint row = strip_row(), columns = FEATURES / PARTS;
    SUMS factor = SUMS(0.0);
    [[unroll]] for (uint k = 0; k < FEATURES / K; k++) {
        LEFT a;
        RIGHT b;
        coopMatLoad(a, rows, at + row * ROW + k * K / 8, ROW, BY_ROW);
        coopMatLoad(b, norm_of_row, k * K / 2, 0, BY_COLUMN);
        factor = coopMatMulAdd(a, b, factor);
    }
    SUMS place;
    coopMatLoad(place, number, row, 0, BY_COLUMN);
    [[unroll]] for (uint i = 0; i < factor.length(); i++)
        factor[i] = place[i] < float(count) ? exp2i(SUM_BITS) / factor[i] : 0.0;
    if (PARTS > 1)
        barrier();
    else
        subgroup_barrier();
    [[unroll]] for (uint n = 0; n < columns / N; n++) {
        const uint column = part() * columns + n * N, from = at + row * ROW + column / 8;
        HALVES features;
        SUMS bias;
        coopMatLoad(features, rows, from, ROW, BY_ROW);
        coopMatLoad(bias, bias_of, column, 0, BY_ROW);
        SUMS normalised = SUMS(features);
        [[unroll]] for (uint i = 0; i < factor.length(); i++) {
            const float x = normalised[i] * factor[i];
            const bool good = x >= exp2i(-MOST_EXPONENT) && x <= exp2i(MOST_EXPONENT);
            const bool is_dropped = bias[i] == DROPPED;
            failing = failing || (place[i] < float(count) && !is_dropped && !good);
            normalised[i] = is_dropped ? 0.0 : x;
        }
        coopMatStore(HALVES(normalised), rows, from, ROW, BY_ROW);
    }
    barrier();
}

/* The exponent of keys' unit: phi(k) / sum_f D[f] phi(k)[f], features in 2^unit_exponent and the sum in its square. */
float key_exponent()
{
    return KEY_NORMALISE ? -unit_exponent - SUM_BITS : unit_exponent;
}

#define EACH_STRIP \
    [[unroll]] for (uint s = 0; s < STRIPS; s++) \
        if (WHOLE_STRIPS || strip_feature(s) < FEATURES)

uint strip_feature(uint s)
{
    return (gl_SubgroupID % ROW_STRIPS + s * ROW_STRIPS) * M;
}

/* The first column of tile n. */
uint tile_column(uint n)
{
    return (part() * TILES + n) * N;
}

bool has_sum_norms()
{
    return PARTS == 1 || part() == PARTS - 1;
}

/* What a factor is for norms: without signs. */
LEFT norm_factor(LEFT a)
{
    if (SIGNED) {
        [[unroll]] for (uint i = 0; i < a.length(); i++)
            a[i] = abs(a[i]);
    }
    return a;
}

/* K of a chunk's values, from one uvec4 on: terms_of. */
void load_values(uint at)
{
    [[unroll]] for (uint n = 0; n < TILES; n++)
        coopMatLoad(terms_of[n], values, at + tile_column(n) / 8, VALUE_ROW, BY_ROW);
}

/* S and z with these and their keys, whose rows begin at a uvec4. */
void add_keys(uint at)
{
    LEFT a[STRIPS];
    EACH_STRIP coopMatLoad(a[s], rows, at + strip_feature(s) / 8, ROW, BY_COLUMN);
    EACH_STRIP {
        [[unroll]] for (uint n = 0; n < TILES; n++)
            sums_of[s * TILES + n] = coopMatMulAdd(a[s], terms_of[n], sums_of[s * TILES + n]);
    }
    if (has_sum_norms()) {
        EACH_STRIP norms_of[s] = coopMatMulAdd(norm_factor(a[s]), RIGHT(float16_t(1.0)), norms_of[s]);
    }
}

/* Numbers of the head's map; its unit is known behind the next barrier. */
void load_map()
{
    for (uint i = t; i < MARKS; i += THREADS)
        MARK(i) = 0;
    for (uint i = t; i < CHUNK; i += THREADS)
        number[i] = float(i);
    for (uint c = t; c < COLUMNS; c += THREADS)
        spoiled_from(c) = NOWHERE;
    if (!TRANSFORM) {
        barrier();
        return;
    }
    const uint table = head * push.head_stride;
    const float scale = push.factor * LOG2E;
    [[unroll]] for (uint l = 0, i = t; NEAR && l < (FEATURES * DIM / 8 + THREADS - 1) / THREADS; l++, i += THREADS) {
        if (i < FEATURES * (DIM / 8))
            transform[i / (DIM / 8) * MATRIX_ROW + i % (DIM / 8)] = matrix.data[i];
    }
    barrier();
    for (uint f = t; f < FEATURES; f += THREADS) {
        const float bias = tables.data[push.weights + table + f] * LOG2E, factor = scale * tables.data[table + f];
        const uint row_factor = 2 * FEATURES * DIM / 8 + f / 4;
        const bool is_dropped = KEY_NORMALISE && bias < -1.0e32;
        if (is_dropped) {
            bias_of[f] = DROPPED;
            factor_of[f] = 0.0;
            atomicAdd(dropped_features, 1, gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
            continue;
        }
        bias_of[f] = bias;
        factor_of[f] = factor * uintBitsToFloat(matrix.data[row_factor][f % 4]);
        atomicAdd(bias_sum, uint(int(clamp(bias, -MOST_BIAS, MOST_BIAS) * BIAS_UNIT)), gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
        atomicMax(largest_factor, floatBitsToUint(abs(factor)), gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
    }
}

/* 2^(the mean of log2 D), or what q and k are multiplied by, which maps without a transform leave out. */
void find_unit()
{
    unit = TRANSFORM || ELU ? 1.0 : push.factor;
    unit_exponent = 0.0;
    if (!TRANSFORM)
        return;
    const float largest = max(uintBitsToFloat(largest_factor), 1.0e-6);
    const uint some = KEY_NORMALISE ? FEATURES - dropped_features : FEATURES;
    unit_exponent = roundEven(float(int(bias_sum)) / (BIAS_UNIT * float(some)));
    most_squares = min(MOST_SQUARES / (largest * largest), 60000.0);
    for (uint f = t; f < FEATURES; f += THREADS)
        bias_of[f] -= KEY_NORMALISE && bias_of[f] == DROPPED ? 0.0 : unit_exponent;
}

/* For all invocations behind a barrier. */
void collect_failures()
{
    if (failing || largest_exponent > floatBitsToUint(MOST_EXPONENT))
        FLAG(failed);
}
