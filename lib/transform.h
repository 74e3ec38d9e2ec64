/* SPDX-License-Identifier: MIT */
/* Transforms of packed rows: the part of a DCT that dj_dct and dj_attention share. */
#ifndef DJ_LIB_TRANSFORM_H
#define DJ_LIB_TRANSFORM_H

#include "recorder.h"
#include "tensor.h"

#include <dijiang/dct.h>

/* An immutable transform of one type and length: pipelines and tables. */
struct dj_transform;

/* path: enum dj_dct_path. Returns as dj_dct_create. */
dj_result dj_transform_create(struct dj_context *context, uint32_t type, uint32_t length,
                              uint32_t path, struct dj_transform **transform);
void dj_transform_destroy(struct dj_transform **transform);

/* Rows of a packed buffer are a multiple of this: kernels touch whole groups. */
uint32_t dj_transform_row_multiple(const struct dj_transform *transform);

/* The most rows one dj_transform_record may have, by workgroup counts and binding range; a multiple
 * of the above. */
uint64_t dj_transform_max_rows(const struct dj_transform *transform);

/* Multiply-adds of a row, or what takes as long. */
uint64_t dj_transform_row_work(const struct dj_transform *transform);

/* Dispatches per dj_transform_record. */
uint32_t dj_transform_dispatches(const struct dj_transform *transform);

/* Rows of a view: row = (i0 * count[1] + i1) * count[2] + i2 starts at element base + i0 stride[0]
 * + i1 stride[1] + i2 stride[2] of the view, where i2 is a token: if ragged, of a sequence i0 that
 * the table spans and DJ_SPAN_BOX describe. */
struct dj_rows {
    struct dj_view view;
    uint32_t count[3];
    uint32_t ragged, start, origin;
    struct dj_binding spans; /* no buffer unless ragged */
    uint32_t signs[8]; /* bit i % 32 of word i / 32: element i of each row, up to 256, changes its
                        * sign first */
};

/* The members of a DJ_ROWS_VIEW. */
#define DJ_ROWS_PUSH(r) \
    .tokens = (r)->count[2], .ragged = (r)->ragged, .start = (r)->start, .origin = (r)->origin, \
    .rows = (r)->count[0] * (r)->count[1] * (r)->count[2], .count1 = (r)->count[1], \
    .base = (r)->view.base, \
    .stride = {(r)->view.stride[0], (r)->view.stride[1], (r)->view.stride[2]}, \
    .type = (r)->view.type

/* The pipeline of rows_dense.comp. */
dj_result dj_dense_pipeline(struct dj_context *context, struct dj_pipeline *pipeline);

/* Records packed[row][i] = unscaled transform of factor * x[row]. The orthonormal result is
 * packed[row][i] * scale[i], scale being what dj_transform_scale binds. packed holds rows rounded
 * up to the row multiple, length floats each. Begins assuming x is readable and packed writable;
 * ends with packed written, not yet visible. */
void dj_transform_record(const struct dj_transform *transform, struct dj_recorder *recorder,
                         const struct dj_rows *x, float factor, const struct dj_binding *packed);

/* float scale[length], on the host. */
const float *dj_transform_scales(const struct dj_transform *transform);

/* float scale[length], as a binding. */
struct dj_binding dj_transform_scale(const struct dj_transform *transform);

/* Workgroup counts for kernels that number their groups by y * (groups in x) + x; surplus ones at
 * the end must find nothing to do. */
void dj_transform_fold(const struct dj_context *context, uint64_t count, uint32_t groups[3]);

#endif
