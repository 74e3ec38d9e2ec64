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

/* S and z with the chunk's keys and values. */
void add_chunk()
{
    [[unroll]] for (uint k = 0; k < CHUNK; k += K) {
        LEFT a[STRIPS];
        EACH_STRIP coopMatLoad(a[s], rows, k * ROW + strip_feature(s) / 8, ROW, BY_COLUMN);
        [[unroll]] for (uint n = 0; n < TILES; n++) {
            const RIGHT b = load_values(k, n);
            EACH_STRIP sums_of[s * TILES + n] = coopMatMulAdd(factor_for(n, a[s]), b, sums_of[s * TILES + n]);
        }
    }
}

void write_record(uint record, uint c0)
{
    EACH_STRIP {
        [[unroll]] for (uint n = 0; n < NORMS; n++)
            coopMatStore(sums_of[s * TILES + n] * unit, records.data,
                         (record + strip_feature(s) * VALUE_DIM + c0 + tile_column(n)) / 4, VALUE_DIM / 4, BY_ROW);
        if (part() == 0)
            coopMatStore(sums_of[s * TILES + NORMS], rows, strip_feature(s) * N / 4, N / 4, BY_ROW);
    }
    barrier();
    for (uint f = t; c0 == 0 && f < FEATURES; f += THREADS) {
        const float norm = uintBitsToFloat(rows[f * N / 4].x);
        atomicMax(largest_norm, floatBitsToUint(norm), gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
        RECORDS(record + DJ_RECORD_NORM(FEATURES, VALUE_DIM) + f) = keys_spoiled_from != NOWHERE ? nan() : norm * unit;
        RECORDS(record + DJ_RECORD_PEAK(FEATURES, VALUE_DIM) + f) = norm == 0.0 ? EMPTY : unit_exponent;
    }
}

/* Adds NaN to the sums of columns that NaN or Inf reaches: from a key all of them, from a value its own. */
void spoil_sums()
{
    for (uint c = t; c < COLUMNS; c += THREADS)
        spoiled_from[c] = keys_spoiled_from != NOWHERE || spoiled_from[c] != NOWHERE ? floatBitsToUint(nan()) : 0;
    barrier();
    EACH_STRIP {
        [[unroll]] for (uint n = 0; n < NORMS; n++) {
            SUMS term;
            coopMatLoad(term, spoiled_from, tile_column(n), 0, BY_ROW);
            sums_of[s * TILES + n] += term;
        }
    }
}

/* An invocation's values: all of the same 8 columns. */
uvec4 largest_low = uvec4(0), largest_high = uvec4(0);
vec4 sizes_low = vec4(0.0), sizes_high = vec4(0.0);

void note_values(uvec4 eight)
{
    largest_low = max(largest_low, eight & 0x7fffu);
    largest_high = max(largest_high, eight & 0x7fff0000u);
    [[unroll]] for (uint n = 0; n < 4; n++) {
        const vec2 sizes = unpackHalf2x16(eight[n] & 0x7fff7fffu);
        sizes_low[n] += sizes.x;
        sizes_high[n] += sizes.y;
    }
}

float largest_value(uint column)
{
    return unpackHalf2x16(largest_of[column]).x;
}

void note_sizes(uint column, float sizes)
{
    if (sizes > 0.0)
        atomicAdd(sizes_of[column], uint(sizes / largest_value(column) * SIZE_UNITS), gl_ScopeWorkgroup, 0,
                  gl_SemanticsRelaxed);
}

void collect_values()
{
    const uint column = t % EIGHTS * 8;
    [[unroll]] for (uint n = 0; n < 4; n++) {
        atomicMax(largest_of[column + 2 * n], largest_low[n], gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
        atomicMax(largest_of[column + 2 * n + 1], largest_high[n] >> 16, gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
    }
    barrier();
    [[unroll]] for (uint n = 0; n < 4; n++) {
        note_sizes(column + 2 * n, sizes_low[n]);
        note_sizes(column + 2 * n + 1, sizes_high[n]);
    }
}

void write_notes(uint note, uint c0)
{
    for (uint c = t; c < COLUMNS; c += THREADS) {
        RECORDS(note + c0 + c) = failed != 0 ? DJ_NOTE_FAILED : largest_value(c);
        RECORDS(note + DJ_NOTE_SIZES(VALUE_DIM) + c0 + c) = float(sizes_of[c]) / SIZE_UNITS * largest_value(c);
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
    }
    for (uint first = segment.start; first < segment.end; first += CHUNK) {
        count = min(segment.end - first, CHUNK);
        CHECK_KEYS(new_keys, first)
        CHECK_VALUES(new_values, first)
        EACH_LOAD(COLUMNS) note_values(new_values[l]);
        barrier();
        STORE_ROWS(new_keys, rows, 0, ROW, DIM)
        STORE_ROWS(new_values, values, 0, VALUE_ROW, COLUMNS)
        barrier();
        LOAD_KEYS(first + CHUNK)
        if (TRANSFORM) {
            make_features();
            barrier();
        }
        add_chunk();
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
