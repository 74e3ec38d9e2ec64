#version 450
/* SPDX-License-Identifier: MIT */
/* Sums of a segment of tokens, for the scan: S, z and P of its record (kernels.h), P being the unit's exponent;
 * and notes of the columns' values, or that all this failed.
 *
 * Workgroup (x, y, z): segment, sequence and key head, block of columns. */
#extension GL_GOOGLE_include_directive : require
#define SECTIONS 1
#include "half.glsl"

const uint EIGHTS = COLUMNS / 8; /* which divide THREADS: an invocation's values are all of the same columns */

shared uint largest_of[COLUMNS]; /* of values, as bits of float16 */
shared uint sizes_of[COLUMNS];   /* the sum of their sizes, in units of the largest over SIZE_UNITS */
#define largest_norm MARK(5)
const float SIZE_UNITS = 4096.0;

void write_record(uint record, uint c0)
{
    EACH_STRIP {
        [[unroll]] for (uint n = 0; n < TILES; n++)
            coopMatStore(sums_of[s * TILES + n] * unit, records.data,
                         (record + strip_feature(s) * VALUE_DIM + c0 + tile_column(n)) / 4, VALUE_DIM / 4, BY_ROW);
        if (has_sum_norms())
            coopMatStore(norms_of[s], rows, strip_feature(s) * N / 4, N / 4, BY_ROW);
    }
    barrier();
    for (uint f = t; c0 == 0 && f < FEATURES; f += THREADS) {
        const float norm = uintBitsToFloat(rows[f * N / 4].x);
        atomicMax(largest_norm, floatBitsToUint(norm), gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
        RECORDS(record + DJ_RECORD_NORM(FEATURES, VALUE_DIM) + f) = keys_spoiled_from != NOWHERE ? nan() : norm * unit;
        RECORDS(record + DJ_RECORD_PEAK(FEATURES, VALUE_DIM) + f) = norm == 0.0 ? EMPTY : key_exponent();
    }
}

/* Adds NaN to the sums of columns that NaN or Inf reaches: from a key all of them, from a value its own. */
void spoil_sums()
{
    for (uint c = t; c < COLUMNS; c += THREADS)
        rows[c / 4][c % 4] = keys_spoiled_from != NOWHERE || spoiled_from(c) != NOWHERE ? floatBitsToUint(nan()) : 0;
    barrier();
    EACH_STRIP {
        [[unroll]] for (uint n = 0; n < TILES; n++) {
            SUMS term;
            coopMatLoad(term, rows, tile_column(n) / 4, 0, BY_ROW);
            sums_of[s * TILES + n] += term;
        }
    }
    barrier();
}

/* An invocation's values: all of the same 8 columns. Sizes are summed in float16, in units of SIZE_UNIT: what they are
 * for is a matter of powers of two. Those below 2^-19 count as 0, which write_notes makes up for. */
f16vec2 largest[4] = f16vec2[4](f16vec2(0.0), f16vec2(0.0), f16vec2(0.0), f16vec2(0.0));
f16vec2 sizes[4] = f16vec2[4](f16vec2(0.0), f16vec2(0.0), f16vec2(0.0), f16vec2(0.0));
const float SIZE_UNIT = 64.0;

void note_values(uvec4 eight)
{
    [[unroll]] for (uint n = 0; n < 4; n++) {
        const f16vec2 two = unpackFloat2x16(eight[n] & 0x7fff7fffu);
        largest[n] = max(largest[n], two);
        sizes[n] += two * float16_t(1.0 / SIZE_UNIT);
    }
}

float largest_value(uint column)
{
    return unpackHalf2x16(largest_of[column]).x;
}

void note_sizes(uint column, float16_t own)
{
    const float largest = largest_value(column), sum = min(float(own), 60000.0) * SIZE_UNIT; /* of Inf, too */
    if (sum > 0.0)
        atomicAdd(sizes_of[column], uint(sum / largest * SIZE_UNITS), gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
}

void collect_values()
{
    const uint column = t % EIGHTS * 8;
    [[unroll]] for (uint n = 0; n < 4; n++) {
        const uint two = packFloat2x16(largest[n]);
        atomicMax(largest_of[column + 2 * n], two & 0xffffu, gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
        atomicMax(largest_of[column + 2 * n + 1], two >> 16, gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
    }
    barrier();
    [[unroll]] for (uint n = 0; n < 4; n++) {
        note_sizes(column + 2 * n, sizes[n].x);
        note_sizes(column + 2 * n + 1, sizes[n].y);
    }
}

void write_notes(uint note, uint c0)
{
    for (uint c = t; c < COLUMNS; c += THREADS) {
        RECORDS(note + c0 + c) = failed != 0 ? DJ_NOTE_FAILED : largest_value(c);
        /* not less than the largest, where all are too small for the unit */
        RECORDS(note + DJ_NOTE_SIZES(VALUE_DIM) + c0 + c) = max(float(sizes_of[c]) / SIZE_UNITS, 1.0) * largest_value(c);
    }
    if (c0 == 0 && t == 0)
        RECORDS(note + DJ_NOTE_NORM(VALUE_DIM)) = uintBitsToFloat(largest_norm);
}

/* Keys and values of a chunk. */
#define LOAD_KEYS(first) { \
    const uint rest = max(segment.end, first) - (first); \
    LOAD_ROWS(new_keys, rest, keys, segment.k + (first) * push.k_stride[2], push.k_stride[2], DIM) \
    LOAD_ROWS(new_values, rest, values_in, segment.v + (first) * push.v_stride[2], push.v_stride[2], COLUMNS) \
}

void main()
{
    t = gl_LocalInvocationID.x;
    const Segment segment = find_segment(1);
    if (segment.end <= segment.start)
        return;
    head = segment.head;
    uvec4 new_keys[LOADS(DIM)], new_values[LOADS(COLUMNS)];
    LOAD_KEYS(segment.start)
    load_map();
    for (uint c = t; c < COLUMNS; c += THREADS)
        largest_of[c] = sizes_of[c] = 0;
    barrier();
    find_unit();
    EACH_STRIP {
        [[unroll]] for (uint n = 0; n < TILES; n++)
            sums_of[s * TILES + n] = SUMS(0.0);
        norms_of[s] = SUMS(0.0);
    }
    uint turn = 0;
    for (uint first = segment.start; first < segment.end; first += CHUNK, turn ^= 1) {
        const uint keys_at = TRANSFORM ? 0 : turn * SECTION, values_at = turn * CHUNK * VALUE_ROW;
        count = min(segment.end - first, CHUNK);
        CHECK_KEYS(new_keys, first)
        CHECK_VALUES(new_values, first)
        EACH_LOAD(COLUMNS) note_values(new_values[l]);
        STORE_ROWS(new_keys, rows, keys_at, ROW, DIM)
        STORE_ROWS(new_values, values, values_at, VALUE_ROW, COLUMNS)
        barrier();
        LOAD_KEYS(first + CHUNK)
        if (TRANSFORM) {
            if (KEY_NORMALISE)
                write_weights();
            make_features();
            barrier();
            if (KEY_NORMALISE)
                normalise_keys(SECTION);
        }
        [[unroll]] for (uint k = 0; k < CHUNK; k += K) {
            load_values(values_at + k * VALUE_ROW);
            add_keys((TRANSFORM ? SECTION : keys_at) + k * ROW);
        }
    }
    collect_values();
    collect_failures();
    barrier();
    if (spoiled != 0)
        spoil_sums();
    write_record(segment.tile * DJ_RECORD_SIZE(FEATURES, VALUE_DIM), segment.c0);
    barrier();
    write_notes(push.notes + segment.tile * NOTE_SIZE, segment.c0);
}
