/* SPDX-License-Identifier: MIT */
/* Projections: from rows of queries or keys to what a feature map works on. */
#ifndef DJ_LIB_PROJECTION_H
#define DJ_LIB_PROJECTION_H

#include "feature_map.h"
#include "map.h"
#include "transform.h"

struct dj_projection;

/* A map's projection from d to `features` numbers (for DJ_PROJECTION_NONE: d). path: enum
 * dj_dct_path. Returns as dj_dct_create. */
dj_result dj_projection_create(struct dj_context *context, const struct dj_map_kind *kind,
                               uint32_t dim, uint32_t features, uint32_t path,
                               struct dj_projection **projection);
void dj_projection_destroy(struct dj_projection **projection);

/* Floats of a projected row, in each of its blocks. */
uint32_t dj_projection_width(const struct dj_projection *projection);

/* The most rows of one recording, and the bytes that so many take, a multiple of the device's
 * offset alignment. */
uint64_t dj_projection_max_rows(const struct dj_projection *projection);
uint64_t dj_projection_size(const struct dj_projection *projection, uint64_t rows);

/* Dispatches per recording. */
uint32_t dj_projection_dispatches(const struct dj_projection *projection);

/* Where the projected rows lie, for `rows` of them: floats from one block to the next, and from the
 * first row to the rows' |x|^2 (0: not there). */
uint32_t dj_projection_block_stride(const struct dj_projection *projection, uint64_t rows);
uint32_t dj_projection_squares(const struct dj_projection *projection, uint64_t rows);

/* float scale[features], by which projected numbers are to be multiplied. */
struct dj_binding dj_projection_scale(const struct dj_projection *projection);

/* DJ_PROJECTION_DCT: matrix[dim][features], what x[n] contributes to number k; false without
 * memory. */
bool dj_projection_matrix(const struct dj_projection *projection, float *matrix);

/* Records the projection of factor * x. Row i1 of x belongs to key head first_head + i1 / group,
 * whose numbers in features are taken (NULL: the projection needs none). Begins assuming x is
 * readable and packed writable; ends with packed written, not yet visible. */
void dj_projection_record(const struct dj_projection *projection, struct dj_recorder *recorder,
                          const struct dj_rows *x, float factor, uint32_t first_head,
                          uint32_t group, const struct dj_features *features,
                          const struct dj_binding *packed);

#endif
