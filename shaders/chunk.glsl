/* SPDX-License-Identifier: MIT */
/* What chunk_sum.comp and chunk_output.comp share: features of a chunk of tokens made in place, and running
 * sums over the chunks of a segment, all products by cooperative matrices of float16 factors and float32
 * sums.
 *
 * Of feature f, with R[f] a whole exponent, a workgroup keeps
 *   S[f][c] 2^R[f] = sum_j phi_j[f] v_j[c]       in matrices (sums_of), times 2^13
 *   z[f]    2^R[f] = sum_j |phi_j[f]|            norm[f]
 * and a chunk of keys comes in as weights phi_j[f] 2^(13 - R[f]), R first raised to what the chunk's largest
 * key or the norm asks for. float16 holds weights down to 2^-27 of the largest with all its bits.
 *
 * Features are exponents of 2 or, of LINEAR maps, values. A chunk's rows lie in shared memory as they came,
 * then as exponents (codes), then as weights. Where a code says too little - its size is above LIMIT, or
 * rows do not see what the exponents stand for (chunk_output.comp) - the chunk's tokens are taken one by one,
 * features made in float32: what a row sees is then all there is.
 *
 * Rows in shared memory are of uint4, 8 numbers; they begin in different banks. */
#define RECORD float
#include "chunk_types.glsl"

layout(local_size_x = DJ_CHUNK_THREADS) in;
layout(constant_id = 13) const uint NOTED = 1; /* blocks of columns that notes of outputs are of */

const uint THREADS = DJ_CHUNK_THREADS, SUBGROUPS = THREADS / SUBGROUP;
const bool LINEAR = (OPTIONS & DJ_CHUNK_LINEAR) != 0;
const bool TRANSFORM = (OPTIONS & DJ_CHUNK_TRANSFORM) != 0; /* by a matrix */
const bool KEY_NORMALISE = (OPTIONS & DJ_CHUNK_KEY_NORMALISE) != 0;
/* What a row may have to hold: numbers, features, scores, outputs; uint4 from row to row. */
const uint WIDER = DIM > FEATURES ? DIM : FEATURES, WIDE = CHUNK > COLUMNS ? CHUNK : COLUMNS;
const uint ROW = ((WIDER > WIDE ? WIDER : WIDE) + 8) / 8;
const uint VALUE_ROW = (COLUMNS + 8) / 8;
const float WEIGHT_BITS = 13.0, WEIGHT_UNSCALE = 1.0 / 8192.0;
const float NONE = -20000.0;                 /* the code of nothing; all others are below this in size: */
const float MOST_CODE = 19000.0;
const float LIMIT = 1000.0;                  /* of codes */
const float NEVER = -3.0e38;                 /* exponent of weights that are 0 */
const float LARGE = 5.0;                     /* of numbers times the largest factor: exponents of 2 */
const float MATRIX_UNSCALE = 1.0 / 256.0;    /* of the matrix, whose low part would be below float16's normal numbers */

const uint LANES = THREADS / CHUNK; /* invocations that share a row */

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

/* For every strip s of the subgroup's share of a product, and every tile n in it. */
#define EACH_STRIP(rows) \
    [[unroll]] for (uint s = 0; s < STRIPS(rows); s++) \
        if (strip_row(rows, s) < (rows))
#define EACH_TILE(rows, columns) \
    [[unroll]] for (uint n = 0; n < TILES(rows, columns); n++) \
        if (tile_column(rows, columns, n) < (columns))
/* The tile's number in the share, and how many there are. */
#define TILE(rows, columns) (s * TILES(rows, columns) + n)
#define TILE_COUNT(rows, columns) (STRIPS(rows) * TILES(rows, columns))

/* Sections of what is per row: keys, then, where there are SECTIONS 2, queries. */
const uint KEYS = 0, QUERIES = 1;
const uint SECTION = CHUNK * ROW; /* of `rows` */
shared uvec4 rows[SECTIONS * SECTION];
shared uvec4 values[CHUNK * VALUE_ROW];
shared float partial[THREADS * 8];
shared float factor_of[FEATURES], bias_of[FEATURES]; /* t and ln D of exponents of 2; else a factor */
shared float peak[FEATURES], norm[FEATURES];          /* R, z */
shared float next_peak[FEATURES];                     /* R with the chunk's keys */
shared float rescale[FEATURES];                       /* 2^(R before - R) */
shared float feature_bias[SECTIONS * FEATURES];       /* exponents added to features' for weights */
shared float row_bias[SECTIONS * CHUNK];
shared uint first_spoiled[COLUMNS];                   /* the first value of a column that is no number */
shared float spoil[COLUMNS];                          /* 0, or NaN where there is one */
/* All are of whole 64 bytes, so that matrices may be loaded from each. */
shared uint marks[16];
#define narrow marks[0]    /* not 0: tokens are to be taken one by one */
#define spoiled marks[1]   /* not 0: a value is no number */
#define norm_bits marks[4] /* the largest norm's exponent, if it is above 0 */
#define large(chunk) marks[2 + (chunk) % 2] /* not 0: see LARGE; of this chunk and the next */

uint t, head, count; /* tokens of the chunk */

SUMS sums_of[TILE_COUNT(FEATURES, COLUMNS)];
SUMS features_of[SECTIONS * TILE_COUNT(CHUNK, FEATURES)];
#define FEATURE_TILE(section) ((section) * TILE_COUNT(CHUNK, FEATURES) + TILE(CHUNK, FEATURES))

float half_at(uvec4 eight, uint i)
{
    const vec2 two = unpackHalf2x16(eight[i / 2]);
    return two[i % 2];
}

/* Whether there is something to do in a segment: always, or only where one of its blocks' notes, which are so far
 * apart, says so. */
bool is_wanted(uint tile, uint first, uint step)
{
    bool failed = (OPTIONS & DJ_CHUNK_FAILED) == 0;
    const uint at = push.notes + tile * DJ_NOTE_SIZE(VALUE_DIM, GROUP * NOTED) + first;
    for (uint i = 0; !failed && i < NOTED; i++)
        failed = records.data[at + i * step] == DJ_NOTE_FAILED;
    return failed;
}

#include "chunk_rows.glsl"
#include "chunk_features.glsl"
#include "chunk_sums.glsl"
