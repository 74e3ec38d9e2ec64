/* SPDX-License-Identifier: MIT */
#include "projection.h"

#include "dct_matrix.h"
#include "kernels.h"
#include "pipeline.h"
#include "random.h"
#include "shaders.h"
#include "size.h"

#include <stdlib.h>
#include <string.h>

enum {
    TRANSFORMS = 3 /* DCT-II, III, IV; further blocks are the first one's with flipped signs */
};

struct dj_projection {
    struct dj_context *context;
    uint32_t kind, dim, features;
    uint32_t blocks; /* of d, with DJ_PROJECTION_DCT; else 1 */
    uint32_t first_transform;
    bool squares;
    struct dj_transform *transforms[TRANSFORMS];
    struct dj_pipeline kernel; /* without transforms: a copy, or a matrix product */
    struct dj_buffer *scale;   /* [features] */
    uint32_t signs[8];         /* of the block after the transforms */
};

/* Bits of splitmix64's sequence from state 3: what the definition of WDCF
 * with m > 3 d says. */
static void draw_signs(uint32_t signs[8])
{
    uint64_t state = TRANSFORMS;
    for (int i = 0; i < 4; i++) {
        const uint64_t z = dj_random_next(&state);
        signs[2 * i] = (uint32_t)z;
        signs[2 * i + 1] = (uint32_t)(z >> 32);
    }
}

static dj_result create_scale(struct dj_projection *projection)
{
    float scale[DJ_MOST_FEATURES];
    for (uint32_t i = 0; i < projection->features; i++) {
        scale[i] = 1.0f;
        if (projection->kind == DJ_PROJECTION_DCT)
            scale[i] = dj_transform_scales(
                projection->transforms[i / projection->dim % TRANSFORMS])[i % projection->dim];
    }
    return dj_buffer_create_table(projection->context, scale, projection->features * sizeof *scale,
                                  "projection scales", &projection->scale);
}

static dj_result create_kernels(struct dj_projection *projection, uint32_t path)
{
    struct dj_context *const context = projection->context;
    dj_result result = DJ_SUCCESS;
    if (projection->kind == DJ_PROJECTION_NONE)
        return dj_pipeline_get(context, &dj_shader_rows_load, NULL, &projection->kernel);
    if (projection->kind == DJ_PROJECTION_MATRIX)
        return dj_dense_pipeline(context, &projection->kernel);
    for (uint32_t b = 0; result == DJ_SUCCESS && b < projection->blocks && b < TRANSFORMS; b++)
        result = dj_transform_create(context, projection->first_transform + b, projection->dim,
                                     path, &projection->transforms[b]);
    return result;
}

dj_result dj_projection_create(struct dj_context *context, const struct dj_map_kind *kind,
                               uint32_t dim, uint32_t features, uint32_t path,
                               struct dj_projection **projection)
{
    *projection = NULL;
    struct dj_projection *made = calloc(1, sizeof *made);
    if (made == NULL)
        return dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY, "projection: out of memory");
    *made = (struct dj_projection){
        .context = context,
        .kind = kind->projection,
        .dim = dim,
        .features = features,
        .blocks = kind->projection == DJ_PROJECTION_DCT ? (uint32_t)dj_divide_up(features, dim) : 1,
        .first_transform = kind->first_transform,
        .squares = kind->squares,
    };
    draw_signs(made->signs);
    dj_result result = create_kernels(made, path);
    if (result == DJ_SUCCESS)
        result = create_scale(made);
    if (result != DJ_SUCCESS)
        dj_projection_destroy(&made);
    *projection = made;
    return result;
}

void dj_projection_destroy(struct dj_projection **projection)
{
    if (*projection == NULL)
        return;
    dj_buffer_destroy(&(*projection)->scale);
    for (int b = 0; b < TRANSFORMS; b++)
        dj_transform_destroy(&(*projection)->transforms[b]);
    free(*projection);
    *projection = NULL;
}

uint32_t dj_projection_width(const struct dj_projection *projection)
{
    return projection->kind == DJ_PROJECTION_MATRIX ? projection->features : projection->dim;
}

uint64_t dj_projection_max_rows(const struct dj_projection *projection)
{
    uint64_t most = (uint64_t)projection->context->info.max_workgroups[1] * DJ_DENSE_TILE;
    for (int b = 0; b < TRANSFORMS && projection->transforms[b] != NULL; b++) {
        const uint64_t rows = dj_transform_max_rows(projection->transforms[b]);
        most = rows < most ? rows : most;
    }
    return most;
}

/* Bytes of one block. */
static uint64_t block_size(const struct dj_projection *projection, uint64_t rows)
{
    const uint64_t alignment = projection->context->info.offset_alignment;
    uint64_t padded = rows;
    for (int b = 0; b < TRANSFORMS && projection->transforms[b] != NULL; b++) {
        const uint64_t multiple = dj_transform_row_multiple(projection->transforms[b]);
        const uint64_t up = dj_round_up(rows, multiple);
        padded = up > padded ? up : padded;
    }
    const uint64_t bytes = padded * dj_projection_width(projection) * sizeof(float);
    return dj_round_up(bytes, alignment);
}

uint64_t dj_projection_size(const struct dj_projection *projection, uint64_t rows)
{
    const uint64_t alignment = projection->context->info.offset_alignment;
    const uint64_t squares = projection->squares ? rows * sizeof(float) : 0;
    return projection->blocks * block_size(projection, rows) + dj_round_up(squares, alignment);
}

uint32_t dj_projection_dispatches(const struct dj_projection *projection)
{
    if (projection->kind != DJ_PROJECTION_DCT)
        return 1;
    uint32_t count = 0;
    for (uint32_t b = 0; b < projection->blocks; b++)
        count += dj_transform_dispatches(projection->transforms[b % TRANSFORMS]);
    return count;
}

uint32_t dj_projection_block_stride(const struct dj_projection *projection, uint64_t rows)
{
    return projection->blocks > 1 ? (uint32_t)(block_size(projection, rows) / sizeof(float)) : 0;
}

uint32_t dj_projection_squares(const struct dj_projection *projection, uint64_t rows)
{
    return projection->squares ? (uint32_t)(block_size(projection, rows) / sizeof(float)) : 0;
}

struct dj_binding dj_projection_scale(const struct dj_projection *projection)
{
    return dj_buffer_whole(projection->scale);
}

static void record_copy(const struct dj_projection *projection, struct dj_recorder *recorder,
                        const struct dj_rows *x, float factor, const struct dj_binding *packed)
{
    const struct rows_load_push push = {
        DJ_ROWS_PUSH(x),
        .row_length = projection->dim,
        .padded = x->count[0] * x->count[1] * x->count[2],
        .factor = factor,
        .first = factor,
    };
    const struct dj_binding bindings[3] = {x->view.binding, *packed,
                                           x->ragged ? x->spans : *packed};
    const uint64_t each = DJ_ROWS_THREADS * DJ_ROWS_EACH;
    uint32_t groups[3];
    dj_transform_fold(projection->context,
                      dj_divide_up((uint64_t)push.rows * projection->dim, each), groups);
    dj_recorder_dispatch(recorder, projection->kernel, bindings, 3, &push, sizeof push, groups);
}

bool dj_projection_matrix(const struct dj_projection *projection, float *matrix)
{
    const uint32_t d = projection->dim, m = projection->features;
    float *const square = malloc((size_t)d * d * sizeof *square);
    bool made = square != NULL;
    for (uint32_t b = 0; made && b < projection->blocks; b++) {
        made = dj_dct_matrix(projection->first_transform + b % TRANSFORMS, d, square);
        for (uint32_t n = 0; made && n < d; n++) {
            const bool flips = b >= TRANSFORMS && (projection->signs[n / 32] >> n % 32 & 1) != 0;
            for (uint32_t k = 0; k < d && b * d + k < m; k++)
                matrix[(size_t)n * m + b * d + k] = flips ? -square[n * d + k] : square[n * d + k];
        }
    }
    free(square);
    return made;
}

static void record_matrix(const struct dj_projection *projection, struct dj_recorder *recorder,
                          const struct dj_rows *x, float factor, uint32_t first_head,
                          uint32_t group, const struct dj_features *features,
                          const struct dj_binding *packed)
{
    const bool by_head = features->heads > 0;
    const uint64_t rows = (uint64_t)x->count[0] * x->count[1] * x->count[2];
    const struct rows_dense_push push = {
        DJ_ROWS_PUSH(x),
        .terms = projection->dim,
        .columns = projection->features,
        .factor = factor,
        .squares = dj_projection_squares(projection, rows),
        .by_head = by_head,
        .head_stride = by_head ? projection->dim * projection->features : 0,
        .first_head = first_head,
        .group = group,
    };
    const struct dj_binding bindings[4] = {
        x->view.binding, *packed, dj_features_directions(features), x->ragged ? x->spans : *packed};
    const uint32_t counted = by_head ? (uint32_t)rows / x->count[1] : (uint32_t)rows;
    const uint32_t groups[3] = {(uint32_t)dj_divide_up(projection->features, DJ_DENSE_TILE),
                                (uint32_t)dj_divide_up(counted, DJ_DENSE_TILE),
                                by_head ? x->count[1] : 1};
    dj_recorder_dispatch(recorder, projection->kernel, bindings, 4, &push, sizeof push, groups);
}

static void record_blocks(const struct dj_projection *projection, struct dj_recorder *recorder,
                          const struct dj_rows *x, float factor, const struct dj_binding *packed)
{
    const uint64_t rows = (uint64_t)x->count[0] * x->count[1] * x->count[2];
    const uint64_t size = block_size(projection, rows);
    for (uint32_t b = 0; b < projection->blocks; b++) {
        struct dj_rows block = *x;
        if (b >= TRANSFORMS)
            memcpy(block.signs, projection->signs, sizeof block.signs);
        const struct dj_binding part = {
            .buffer = packed->buffer, .offset = packed->offset + b * size, .range = size};
        dj_transform_record(projection->transforms[b % TRANSFORMS], recorder, &block, factor,
                            &part);
    }
}

void dj_projection_record(const struct dj_projection *projection, struct dj_recorder *recorder,
                          const struct dj_rows *x, float factor, uint32_t first_head,
                          uint32_t group, const struct dj_features *features,
                          const struct dj_binding *packed)
{
    if (projection->kind == DJ_PROJECTION_NONE)
        record_copy(projection, recorder, x, factor, packed);
    else if (projection->kind == DJ_PROJECTION_MATRIX)
        record_matrix(projection, recorder, x, factor, first_head, group, features, packed);
    else
        record_blocks(projection, recorder, x, factor, packed);
}
