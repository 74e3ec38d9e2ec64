/* SPDX-License-Identifier: MIT */
/* Exponents, norms and sums over chunks (chunk.glsl). */

/* partial[8 t ..] = for each of 8 neighbouring columns `both` over every GROUPS-th row, x and what there was, y;
 * then `result`, for one column, over all rows. */
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

/* R and its consequences for feature f, given the largest exponent of its keys. */
void raise_peak(uint f, float exponent)
{
    const float raised = max(norm_peak(f), exponent);
    next_peak[f] = raised;
    rescale[f] = norm[f] == 0.0 ? 1.0 : exp2i(peak[f] - raised);
    feature_bias[KEYS * FEATURES + f] = raised == EMPTY ? 0.0 : -raised;
}

/* Takes what raise_peak found: the norm is then at the scale of R, and below 2 unless R is too large a number
 * to follow it. */
void take_peaks()
{
    for (uint f = t; f < FEATURES; f += THREADS) {
        const float z = norm[f] * rescale[f];
        peak[f] = next_peak[f];
        norm[f] = z;
        if (is_finite(z) && z >= 2.0)
            atomicMax(norm_bits, uint(exponent_of(z)), gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
    }
}

/* The largest codes of the chunk's keys, and R. */
void find_peaks()
{
    FOLD_COLUMNS(rows, ROW, FEATURES, NONE, x > y ? x : y)
    for (uint f = t; f < FEATURES; f += THREADS) {
        FOLD_GROUPS(code, FEATURES, f, x > y ? x : y)
        const float exponent = from_code(code);
        if (exponent != EMPTY && abs(exponent) > LIMIT)
            FLAG(narrow);
        raise_peak(f, exponent);
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

/* S at the scale of R. */
void rescale_sums()
{
    EACH_STRIP(FEATURES) {
        SUMS scale;
        coopMatLoad(scale, rescale, strip_row(FEATURES, s), 0, BY_COLUMN);
        EACH_TILE(FEATURES, COLUMNS) {
            [[unroll]] for (uint i = 0; i < scale.length(); i++)
                sums_of[TILE(FEATURES, COLUMNS)][i] *= scale[i];
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

void start_sums()
{
    EACH_STRIP(FEATURES) EACH_TILE(FEATURES, COLUMNS)
        sums_of[TILE(FEATURES, COLUMNS)] = SUMS(0.0);
    for (uint f = t; f < FEATURES; f += THREADS) {
        peak[f] = EMPTY;
        norm[f] = 0.0;
    }
}
