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

/* Dispatches per dj_transform_record. */
uint32_t dj_transform_dispatches(const struct dj_transform *transform);

/* Records packed[row][i] = unscaled transform of factor * x[row], where the rows of x are those of
 * a view, row = (i0 * count[1] + i1) * count[2] + i2, at element base + i0 stride[0] + i1 stride[1]
 * + i2 stride[2]. The orthonormal result is packed[row][i] * scale[i], scale being what
 * dj_transform_scale binds. packed holds rows rounded up to the row multiple, length floats each.
 * Begins assuming x is readable and packed writable; ends with packed written, not yet visible. */
void dj_transform_record(const struct dj_transform *transform, struct dj_recorder *recorder,
                         const struct dj_view *x, const uint32_t count[3], float factor,
                         const VkDescriptorBufferInfo *packed);

/* float scale[length], as a binding. */
VkDescriptorBufferInfo dj_transform_scale(const struct dj_transform *transform);

/* Workgroup counts for kernels that number their groups by y * (groups in x) + x; surplus ones at
 * the end must find nothing to do. */
void dj_transform_fold(const struct dj_context *context, uint64_t count, uint32_t groups[3]);

#endif
