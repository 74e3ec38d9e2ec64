/* SPDX-License-Identifier: MIT */
/* The chunked kernels: the tiled family's three phases with segments of a sequence for tiles, each
 * of which a workgroup goes through in chunks, features made and multiplied in place by cooperative
 * matrices. */
#include "attention.h"

#include "chunk_matrix.h"
#include "kernels.h"
#include "piece.h"
#include "pipeline.h"
#include "shaders.h"
#include "size.h"

#include <math.h>

enum {
    MOST_WIDTH = 128, /* of rows, features, values */
};

static bool has_halves(const struct dj_attention *plan)
{
    return plan->chunked.half_sum.handle != VK_NULL_HANDLE;
}

#if DJ_HAVE_MATRICES
/* Maps whose features can be told from a value and two numbers: chunk_features.glsl. */
static bool knows_map(const struct dj_map_kind *kind)
{
    if (kind->projection == DJ_PROJECTION_DCT)
        return kind->feature == DJ_FEATURE_EXPONENTIAL;
    return kind->projection == DJ_PROJECTION_NONE &&
           (kind->feature == DJ_FEATURE_ELU || kind->feature == DJ_FEATURE_RELU ||
            kind->feature == DJ_FEATURE_IDENTITY);
}

/* Whole matrices fill it. */
static bool is_whole(const struct dj_device_info *info, uint32_t width)
{
    return width % 16 == 0 && width % info->matrix_rows == 0 && width % info->matrix_columns == 0 &&
           width % info->matrix_terms == 0 && width <= MOST_WIDTH;
}

/* Maps whose features are near 1 whatever is near 1 or less, so that float16 numbers hold them;
 * what others have is the inputs' own scale. */
static bool has_features_near_one(const struct dj_map_kind *kind)
{
    return kind->feature == DJ_FEATURE_EXPONENTIAL || kind->feature == DJ_FEATURE_ELU;
}

bool dj_chunked_fits(const struct dj_attention *plan, const struct dj_attention_params *params)
{
    const struct dj_context *const context = plan->context;
    const struct dj_device_info *const info = &context->info;
    const bool chosen =
        params->family == DJ_FAMILY_RESIDENT || params->dct_path != DJ_DCT_PATH_DEFAULT;
    const bool halves = plan->q_type == DJ_FLOAT16 && plan->k_type == DJ_FLOAT16 &&
                        plan->v_type == DJ_FLOAT16 && plan->o_type == DJ_FLOAT16;
    const bool measured = has_features_near_one(plan->kind) && !plan->key_normalise;
    const bool wanted = context->matrices_asked || measured;
    return context->matrices > 0 && context->chunked && wanted && !chosen && halves &&
           plan->causal && params->decay == NULL && plan->heads > 0 && knows_map(plan->kind) &&
           is_whole(info, plan->dim) && is_whole(info, plan->features) &&
           is_whole(info, plan->value_dim);
}

/* Tokens of a chunk and columns of a workgroup: most of both for which there is shared memory. */
static bool find_shape(const struct dj_attention *plan, uint32_t *chunk, uint32_t *columns)
{
    static const uint32_t chunks[] = {64, 32};
    static const uint32_t columns_of[] = {64, 48, 32, 16};
    const struct dj_device_info *const info = &plan->context->info;
    for (int c = 0; c < 4; c++) {
        const uint32_t each = plan->value_dim < columns_of[c] ? plan->value_dim : columns_of[c];
        for (int t = 0; t < 2; t++) {
            uint32_t width = plan->dim > plan->features ? plan->dim : plan->features;
            width = width > chunks[t] ? width : chunks[t];
            width = width > each ? width : each;
            if (plan->value_dim % each == 0 && each % info->matrix_columns == 0 &&
                DJ_CHUNK_SHARED(width, plan->features, each, chunks[t]) <= info->shared_memory) {
                *chunk = chunks[t];
                *columns = each;
                return true;
            }
        }
    }
    return false;
}

/* How the kernels for features as float16 numbers do a plan: tokens of a chunk, columns of a
 * workgroup, parts of these that its subgroups share, whether the transform's matrix stays in the
 * device's memory. */
struct half_shape {
    uint32_t chunk, columns, parts;
    bool far;
};

static uint32_t count_subgroups(const struct dj_attention *plan, const struct half_shape *shape)
{
    return shape->chunk / plan->context->info.matrix_rows * shape->parts;
}

/* The most of four parts: so many subgroups hide each other's latencies, with registers enough for
 * what each has (docs/performance.md, "Chunks"). */
static bool find_parts(const struct dj_attention *plan, struct half_shape *shape)
{
    const struct dj_context *const context = plan->context;
    const uint32_t tiles = shape->columns / context->info.matrix_columns;
    const uint32_t feature_tiles = plan->features / context->info.matrix_columns;
    for (shape->parts = 4; shape->parts > 0; shape->parts /= 2) {
        const uint32_t threads = count_subgroups(plan, shape) * context->matrices;
        if (tiles % shape->parts == 0 && feature_tiles % shape->parts == 0 &&
            threads % (shape->columns / 8) == 0 && threads <= context->info.max_invocations &&
            count_subgroups(plan, shape) <= context->max_subgroups)
            return true;
    }
    return false;
}

static bool find_half_shape(const struct dj_attention *plan, struct half_shape *shape)
{
    static const struct half_shape shapes[] = {{.chunk = 64, .columns = 64},
                                               {.chunk = 64, .columns = 32},
                                               {.chunk = 64, .columns = 16},
                                               {.chunk = 32, .columns = 64, .far = true},
                                               {.chunk = 32, .columns = 32, .far = true},
                                               {.chunk = 32, .columns = 16, .far = true}};
    const struct dj_device_info *const info = &plan->context->info;
    const bool transform = plan->kind->projection == DJ_PROJECTION_DCT;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        *shape = shapes[i];
        shape->far = shape->far && transform;
        uint32_t width = plan->dim > plan->features ? plan->dim : plan->features;
        width = width > shape->chunk ? width : shape->chunk;
        width = width > shape->columns ? width : shape->columns;
        const uint32_t matrix =
            transform && !shape->far ? DJ_HALF_MATRIX(plan->dim, plan->features) : 16;
        if (plan->value_dim % shape->columns == 0 && shape->columns % info->matrix_columns == 0 &&
            find_parts(plan, shape) &&
            DJ_HALF_SHARED(width, matrix, plan->features, shape->columns, info->matrix_columns,
                           shape->chunk) <= info->shared_memory)
            return true;
    }
    return false;
}

/* Those kernels, which are tried first. */
static dj_result create_halves(struct dj_attention *plan, struct dj_constants constants)
{
    struct dj_context *const context = plan->context;
    const struct dj_device_info *const info = &context->info;
    struct half_shape shape;
    if (info->matrix_rows > 16 || info->matrix_columns > 16 || !find_half_shape(plan, &shape))
        return DJ_SUCCESS;
    constants.values[3] = shape.chunk;
    constants.values[5] =
        (shape.far ? DJ_HALF_FAR_MATRIX : 0) | (plan->key_normalise ? DJ_HALF_KEY_NORMALISE : 0);
    constants.values[6] = shape.columns;
    constants.values[constants.count++] = count_subgroups(plan, &shape) * context->matrices;
    struct dj_pipeline output;
    dj_result result = dj_pipeline_try(context, &dj_shader_half_output, &constants, &output);
    if (result == DJ_SUCCESS)
        result = dj_pipeline_try(context, &dj_shader_half_sum, &constants, &plan->chunked.half_sum);
    if (result == DJ_SUCCESS) {
        plan->chunked.half_output = output;
        plan->chunked.half_columns = shape.columns;
    }
    return result == DJ_ERROR_UNSUPPORTED ? DJ_SUCCESS : result;
}

static dj_result create(struct dj_attention *plan, const struct dj_attention_params *params)
{
    struct dj_context *const context = plan->context;
    const struct dj_device_info *const info = &context->info;
    if (!dj_chunked_fits(plan, params))
        return DJ_SUCCESS;
    const uint32_t options =
        (plan->linear ? DJ_CHUNK_LINEAR : 0) |
        (plan->kind->projection == DJ_PROJECTION_DCT ? DJ_CHUNK_TRANSFORM : 0) |
        (plan->key_normalise ? DJ_CHUNK_KEY_NORMALISE : 0);
    uint32_t chunk, columns;
    if (!find_shape(plan, &chunk, &columns))
        return DJ_SUCCESS;
    struct dj_constants constants = {
        .count = 13,
        .subgroup = context->matrices,
        .values = {plan->dim, plan->features, plan->value_dim, chunk, plan->feature, options,
                   columns, plan->denominator, context->matrices, info->matrix_rows,
                   info->matrix_columns, info->matrix_terms, plan->group}};
    plan->chunked.columns = columns;
    dj_result result = create_halves(plan, constants);
    if (has_halves(plan)) {
        constants.values[5] |= DJ_CHUNK_FAILED;
        constants.values[constants.count++] = plan->value_dim / plan->chunked.half_columns;
    }
    if (result == DJ_SUCCESS && !context->matrices_asked && !has_halves(plan))
        return DJ_SUCCESS; /* kernels with exponents alone are not faster than tiles */
    if (result == DJ_SUCCESS)
        result =
            dj_pipeline_try(context, &dj_shader_chunk_output, &constants, &plan->chunked.output);
    if (result == DJ_SUCCESS)
        result = dj_pipeline_try(context, &dj_shader_chunk_sum, &constants, &plan->chunked.sum);
    if (result == DJ_SUCCESS)
        return dj_chunk_matrix_create(plan);
    plan->chunked.sum = plan->chunked.half_sum = plan->chunked.half_output =
        (struct dj_pipeline){0};
    return result == DJ_ERROR_UNSUPPORTED ? DJ_SUCCESS : result;
}
#else
bool dj_chunked_fits(const struct dj_attention *plan, const struct dj_attention_params *params)
{
    (void)plan;
    (void)params;
    return false;
}

static dj_result create(struct dj_attention *plan, const struct dj_attention_params *params)
{
    (void)plan;
    (void)params;
    return DJ_SUCCESS;
}
#endif

/* Rows begin at multiples of 16 bytes. */
static bool is_aligned(const struct dj_tensor *tensor)
{
    bool aligned = tensor->offset % 16 == 0;
    for (int i = 0; i < 3; i++)
        aligned = aligned && (tensor->shape[i] <= 1 || tensor->stride[i] % 8 == 0);
    return aligned;
}

bool dj_chunked_can(const struct dj_call *call)
{
    const struct dj_attention_args *const args = call->args;
    const uint64_t segment = DJ_SEGMENT_TOKENS(call->keys.longest);
    const uint32_t group = call->plan->group;
    return call->plan->chunked.sum.handle != VK_NULL_HANDLE && call->states == 1 &&
           args->query_scales.shape[3] == 0 && args->key_scales.shape[3] == 0 &&
           is_aligned(&args->q) && is_aligned(&args->k) && is_aligned(&args->v) &&
           is_aligned(&args->o) &&
           (group == 1 || (dj_call_binds(call, &args->q) && dj_call_binds(call, &args->o))) &&
           dj_call_binds_tokens(call, &call->queries, &args->q, segment, group) &&
           dj_call_binds_tokens(call, &call->queries, &args->o, segment, group) &&
           dj_call_binds_tokens(call, &call->keys, &args->k, segment, 1) &&
           dj_call_binds_tokens(call, &call->keys, &args->v, segment, 1);
}

uint64_t dj_chunked_notes(const struct dj_attention *plan)
{
    if (!has_halves(plan))
        return 0;
    const uint32_t blocks = plan->value_dim / plan->chunked.half_columns;
    return DJ_NOTE_SIZE((uint64_t)plan->value_dim, plan->group * blocks);
}

static void record_kernel(const struct dj_piece *piece, struct dj_pipeline kernel, uint32_t columns,
                          uint32_t members)
{
    const struct dj_attention *const plan = piece->plan;
    const struct dj_attention_args *const args = piece->call->args;
    const struct dj_features *const numbers = args->features;
    const struct dj_rows q = dj_piece_rows(piece, &args->q, true, 0);
    const struct dj_rows k = dj_piece_rows(piece, &args->k, false, 0);
    const struct dj_rows v = dj_piece_rows(piece, &args->v, false, 0);
    const struct dj_rows o = dj_piece_rows(piece, &args->o, true, 0);
    const struct chunk_push push = {
        .tokens = piece->tokens,
        .ragged = k.ragged,
        .start = k.start,
        .origin = k.origin,
        .tiles = piece->tiles,
        .heads = piece->heads,
        .first_head = (uint32_t)piece->cut.box.start[2],
        .tile_tokens = piece->tile_tokens,
        .group = plan->group,
        .head_stride = numbers != NULL ? numbers->head_stride : 0,
        .weights = numbers != NULL ? numbers->weights : 0,
        .factor = sqrtf(plan->scale),
        .notes = piece->sequences * piece->heads * piece->tiles *
                 (uint32_t)DJ_RECORD_SIZE(plan->features, plan->value_dim),
        DJ_PIECE_TENSORS(q, k, v, o),
    };
    const struct dj_binding matrix = dj_buffer_whole(plan->chunked.matrix);
    /* what the kernel will not touch is bound to something harmless all the same */
    struct dj_binding bindings[8] = {
        q.view.binding, k.view.binding, v.view.binding, o.view.binding,
        piece->records, matrix,         matrix,         k.ragged ? k.spans : matrix};
    if (numbers != NULL)
        bindings[5] = dj_buffer_whole(numbers->tables);
    dj_recorder_dispatch(piece->recorder, kernel, bindings, 8, &push, sizeof push,
                         (uint32_t[3]){piece->tiles, piece->sequences * piece->heads * members,
                                       plan->value_dim / columns});
}

/* Sums or outputs of every segment: by the kernel for features as float16 numbers, if there is one,
 * and where that fails by the other. */
static void record_phase(const struct dj_piece *piece, struct dj_pipeline half,
                         struct dj_pipeline kernel, uint32_t members)
{
    if (half.handle != VK_NULL_HANDLE) {
        record_kernel(piece, half, piece->plan->chunked.half_columns, members);
        dj_recorder_write_to_read(piece->recorder);
    }
    record_kernel(piece, kernel, piece->plan->chunked.columns, members);
}

/* 1. spans of the box's sequences, where they differ;  2. sums of every segment;
 * 3. scan over segments, state in and out;  4. outputs of every segment. */
static void record(const struct dj_call *call, struct dj_recorder *recorder,
                   struct dj_layout *layout, const struct dj_call_indices *indices, uint64_t index)
{
    const struct dj_piece piece = dj_piece_make(call, recorder, layout, indices, index);
    if (piece.cut.copies) {
        dj_piece_copy(&piece);
        return;
    }
    dj_piece_spans(&piece);
    const struct dj_attention *const plan = call->plan;
    if (piece.tokens > 0)
        record_phase(&piece, plan->chunked.half_sum, plan->chunked.sum, 1);
    dj_recorder_write_to_read(recorder);
    dj_piece_scan(&piece);
    if (piece.tokens == 0)
        return;
    dj_recorder_write_to_read(recorder);
    record_phase(&piece, plan->chunked.half_output, plan->chunked.output, plan->group);
}

static uint32_t dispatches(const struct dj_call *call, const struct dj_layout *layout)
{
    (void)call;
    (void)layout;
    return 8; /* the table; two sums, the scan with state from and to a slot; two outputs */
}

/* To callers it is the tiled family: the same phases, with longer tiles. */
const struct dj_kernel_family dj_family_chunked = {
    .name = DJ_FAMILY_TILED,
    .dispatches = dispatches,
    .layout = dj_tiled_layout,
    .record = record,
    .create = create,
};
