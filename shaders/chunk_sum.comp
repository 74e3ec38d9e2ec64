#version 450
/* SPDX-License-Identifier: MIT */
/* Sums of a segment of tokens, for the scan: S, z and P of its record (kernels.h), P being R of chunk.glsl.
 *
 * Workgroup (x, y, z): segment, sequence and key head, block of columns. */
#extension GL_GOOGLE_include_directive : require
#define SECTIONS 1
#include "chunk.glsl"

void take_single_key()
{
    find_single(KEYS);
    barrier();
    if (KEY_NORMALISE)
        normalise_single_key();
    for (uint f = t; f < FEATURES; f += THREADS)
        raise_peak(f, exponent_above(partial[f]));
    if (t == 0)
        row_bias[KEYS * CHUNK] = WEIGHT_BITS;
    barrier();
    write_single(KEYS);
}

/* False: the chunk's tokens are to be taken one by one. */
bool take_keys(uint chunk)
{
    project(chunk);
    barrier();
    write_codes(KEYS);
    barrier();
    if (KEY_NORMALISE)
        normalise_keys();
    find_peaks();
    barrier();
    if (narrow != 0)
        return false;
    write_weights(KEYS);
    return true;
}

void write_record(uint record, uint c0)
{
    EACH_STRIP(FEATURES) EACH_TILE(FEATURES, COLUMNS) {
        SUMS sums = sums_of[TILE(FEATURES, COLUMNS)];
        [[unroll]] for (uint i = 0; i < sums.length(); i++)
            sums[i] *= WEIGHT_UNSCALE;
        coopMatStore(sums, records.data,
                     record + strip_row(FEATURES, s) * VALUE_DIM + c0 + tile_column(FEATURES, COLUMNS, n),
                     VALUE_DIM, BY_ROW);
    }
    for (uint f = t; c0 == 0 && f < FEATURES; f += THREADS) {
        records.data[record + DJ_RECORD_NORM(FEATURES, VALUE_DIM) + f] = norm[f];
        records.data[record + DJ_RECORD_PEAK(FEATURES, VALUE_DIM) + f] = norm[f] == 0.0 ? EMPTY : peak[f];
    }
}

void main()
{
    t = gl_LocalInvocationID.x;
    const Segment segment = find_segment(1);
    if (segment.end <= segment.start || !is_wanted(segment.tile, 0, VALUE_DIM / NOTED))
        return;
    head = segment.head;
    load_map();
    start_sums();
    uint singles = 0, chunk = 0; /* tokens to be taken one by one; chunks so far */
    for (uint first = segment.start; first < segment.end; first += count) {
        count = singles > 0 ? 1 : min(segment.end - first, CHUNK);
        LOAD_ROWS(new_keys, keys, segment.k + first * push.k_stride[2], push.k_stride[2], DIM)
        LOAD_ROWS(new_values, values_in, segment.v + first * push.v_stride[2], push.v_stride[2], COLUMNS)
        FIND_LARGE(new_keys, chunk)
        STORE_ROWS(new_keys, rows, KEYS * SECTION, ROW, DIM)
        STORE_ROWS(new_values, values, 0, VALUE_ROW, COLUMNS)
        clear_marks();
        barrier();
        if (t == 0)
            large(chunk + 1) = 0;
        take_spoiled_values();
        if (singles > 0) {
            take_single_key();
            singles--;
        } else if (!take_keys(chunk)) {
            singles = count;
            count = 0;
        }
        chunk++;
        barrier();
        if (count == 0)
            continue;
        take_peaks();
        barrier();
        rescale_sums();
        add_sums();
        add_norms();
        if (spoiled != 0)
            spoil_sums();
        barrier();
    }
    write_record(segment.tile * DJ_RECORD_SIZE(FEATURES, VALUE_DIM), segment.c0);
}
