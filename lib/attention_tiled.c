/* SPDX-License-Identifier: MIT */
/* The tiled kernel family: the three phases of a piece of a call. */
#include "attention.h"

#include "decay.h"
#include "kernels.h"
#include "piece.h"
#include "pipeline.h"
#include "shaders.h"
#include "tuning.h"

#include <math.h>

/* Members of a group that take dispatches of their own. */
static uint32_t member_count(const struct dj_call *call, const struct dj_layout *layout)
{
    return layout->apart ? call->plan->group : 1;
}

/* Rows projected -> features. */
static void record_features(const struct dj_piece *piece, const struct dj_rows *x, bool queries,
                            uint32_t member, struct dj_binding out)
{
    const struct dj_attention *const plan = piece->plan;
    const struct dj_attention_args *const args = piece->call->args;
    const struct dj_features *const numbers = args->features;
    const struct dj_tensor *const scales = queries ? &args->query_scales : &args->key_scales;
    const uint32_t rows = x->count[0] * x->count[1] * x->count[2];
    const uint32_t group = queries && !piece->layout->apart ? plan->group : 1;
    struct features_push push = {
        .tokens = x->count[2],
        .ragged = x->ragged,
        .start = x->start,
        .origin = x->origin,
        .rows = rows,
        .heads = x->count[1],
        .group = group,
        .first_head = (uint32_t)piece->cut.box.start[2],
        .head_stride = numbers != NULL ? numbers->head_stride : 0,
        .weights = numbers != NULL ? numbers->weights : 0,
        .block_stride = dj_projection_block_stride(plan->projection, rows),
        .squares = dj_projection_squares(plan->projection, rows),
        .square_factor = numbers != NULL ? numbers->square_factor : 0.0f,
        .max_tokens = plan->max_tokens,
    };
    struct dj_binding bindings[6] = {piece->projected,
                                     dj_projection_scale(plan->projection),
                                     dj_projection_scale(plan->projection),
                                     out,
                                     x->ragged ? x->spans : piece->projected,
                                     piece->projected};
    if (numbers != NULL)
        bindings[2] = dj_buffer_whole(numbers->tables);
    if (scales->buffer != NULL) {
        const struct dj_box all = {.count = {1, 1, scales->shape[2]}};
        const struct dj_view view = dj_tensor_view(scales, &all);
        const uint32_t step = queries && piece->layout->apart ? plan->group : 1;
        push.scales = (uint32_t)scales->shape[3];
        push.scales_base = view.base + member * view.stride[2];
        push.scales_stride = view.stride[2] * step;
        push.scales_head = push.first_head * group;
        bindings[5] = view.binding;
    }
    uint32_t groups[3];
    dj_transform_fold(plan->context, (rows + DJ_FEATURE_ROWS - 1) / DJ_FEATURE_ROWS, groups);
    dj_recorder_dispatch(piece->recorder,
                         queries ? plan->tiled.query_features : plan->tiled.key_features, bindings,
                         6, &push, sizeof push, groups);
}

/* A tensor of queries or keys -> features: the projection's memory is free before and after. */
static void record_side(const struct dj_piece *piece, const struct dj_tensor *tensor, bool queries,
                        uint32_t member, struct dj_binding out)
{
    const struct dj_attention *const plan = piece->plan;
    const struct dj_rows x = dj_piece_rows(piece, tensor, queries, member);
    dj_projection_record(plan->projection, piece->recorder, &x, sqrtf(plan->scale),
                         (uint32_t)piece->cut.box.start[2],
                         queries && !piece->layout->apart ? plan->group : 1,
                         piece->call->args->features, &piece->projected);
    dj_recorder_write_to_read(piece->recorder);
    record_features(piece, &x, queries, member, out);
    dj_recorder_write_to_read(piece->recorder);
}

static void record_sum(const struct dj_piece *piece)
{
    const struct dj_attention *const plan = piece->plan;
    const struct dj_rows v = dj_piece_rows(piece, &piece->call->args->v, false, 0);
    const struct tile_sum_push push = {
        .tokens = piece->tokens,
        .ragged = v.ragged,
        .start = v.start,
        .origin = v.origin,
        .tiles = piece->tiles,
        .heads = piece->heads,
        .first_head = (uint32_t)piece->cut.box.start[2],
        .v_base = v.view.base,
        .v_stride = {v.view.stride[0], v.view.stride[1], v.view.stride[2]},
    };
    const struct dj_binding bindings[] = {piece->keys, v.view.binding, piece->records, piece->decay,
                                          v.ragged ? v.spans : piece->keys};
    const uint32_t blocks = ((plan->features + DJ_TILE_FEATURES - 1) / DJ_TILE_FEATURES) *
                            ((plan->value_dim + DJ_TILE_VALUES - 1) / DJ_TILE_VALUES);
    dj_recorder_dispatch(piece->recorder, plan->tiled.sum, bindings, 5, &push, sizeof push,
                         (uint32_t[3]){piece->tiles, piece->sequences * piece->heads, blocks});
}

/* Enough workgroups to fill a large GPU; beyond that each does several column blocks, which saves
 * computing the scores again. */
static uint32_t column_shares(const struct dj_piece *piece)
{
    const uint32_t blocks = (piece->plan->value_dim + DJ_TILE_VALUES - 1) / DJ_TILE_VALUES;
    return (uint64_t)piece->tiles * piece->sequences * piece->heads < 1024 ? blocks : 1;
}

static void record_output(const struct dj_piece *piece, uint32_t member)
{
    const struct dj_attention *const plan = piece->plan;
    const struct dj_attention_args *const args = piece->call->args;
    const struct dj_rows o = dj_piece_rows(piece, &args->o, true, member);
    const uint32_t m = plan->features, e = plan->value_dim;
    const uint32_t group = piece->layout->apart ? 1 : plan->group;
    struct tile_output_push push = {
        .tokens = piece->tokens,
        .ragged = o.ragged,
        .start = o.start,
        .origin = o.origin,
        .tiles = piece->tiles,
        .heads = piece->heads,
        .first_head = (uint32_t)piece->cut.box.start[2],
        .group = group,
        .o_base = o.view.base,
        .o_stride = {o.view.stride[0], o.view.stride[1], o.view.stride[2]},
        .before = DJ_RECORD_SIZE(m, e),
        .before_head = piece->tiles * DJ_RECORD_SIZE(m, e),
        .before_norm = DJ_RECORD_BEFORE_NORM(m, e),
        .before_peak = DJ_RECORD_BEFORE_PEAK(m, e),
    };
    struct dj_binding bindings[8] = {
        piece->queries, piece->keys,    piece->queries, o.view.binding,
        piece->records, piece->records, piece->decay,   o.ragged ? o.spans : piece->queries};
    if (plan->causal) {
        const struct dj_rows v = dj_piece_rows(piece, &args->v, false, 0);
        push.v_base = v.view.base;
        for (int i = 0; i < 3; i++)
            push.v_stride[i] = v.view.stride[i];
        bindings[2] = v.view.binding;
    } else { /* the whole state, as the scan left it in the carry */
        bindings[5] = piece->carry;
        push.before = 0;
        push.before_head = DJ_STATE_SIZE(m, e);
        push.before_norm = DJ_STATE_NORM(m, e);
        push.before_peak = DJ_STATE_PEAK(m, e);
    }
    dj_recorder_dispatch(
        piece->recorder, plan->tiled.output, bindings, 8, &push, sizeof push,
        (uint32_t[3]){piece->tiles, piece->sequences * piece->heads * group, column_shares(piece)});
}

/* 1. spans of the box's sequences, where they differ;
 * 2. keys and queries -> features, packed;  3. sums of every tile;
 * 4. scan over tiles, state in and out;     5. outputs of every tile.
 * Causal: all. Otherwise 2 to 4 for the keys in the first pass, 2 and 5 for the queries in the
 * second, when the carry holds all keys. Members of a group that are apart do 2 and 5 for their
 * queries one after another, in the same memory: the barrier behind a projection stands between an
 * output and the features that take the place of what it read. A copy: 4 without tiles, from the
 * carry. */
static void record(const struct dj_call *call, struct dj_recorder *recorder,
                   struct dj_layout *layout, const struct dj_call_indices *indices, uint64_t index)
{
    const struct dj_piece piece = dj_piece_make(call, recorder, layout, indices, index);
    const bool keys = !piece.cut.queries, queries = call->plan->causal || piece.cut.queries;
    const uint32_t members = member_count(call, layout);
    if (piece.cut.copies) {
        dj_piece_copy(&piece);
        return;
    }
    dj_piece_spans(&piece);
    if (keys && piece.tokens > 0) {
        record_side(&piece, &call->args->k, false, 0, piece.keys);
        record_sum(&piece);
    }
    if (keys) {
        dj_recorder_write_to_read(recorder);
        dj_piece_scan(&piece);
    }
    for (uint32_t member = 0; queries && piece.tokens > 0 && member < members; member++) {
        record_side(&piece, &call->args->q, true, member, piece.queries);
        record_output(&piece, member);
    }
}

static uint32_t dispatches(const struct dj_call *call, const struct dj_layout *layout)
{
    /* the table; projection and features; the sum, the scan with state from and to a slot; output
     */
    const uint32_t side_count = dj_projection_dispatches(call->plan->projection) + 1;
    return 1 + side_count + 4 + member_count(call, layout) * (side_count + 1);
}

/* The kernels of a sum and of an output. */
struct products {
    const struct dj_shader *sum, *output;
};

static struct products plain_products(const struct dj_attention *plan)
{
    return (struct products){&dj_shader_tile_sum, plan->small_outputs ? &dj_shader_tile_output_16
                                                                      : &dj_shader_tile_output};
}

/* Those of cooperative matrices, for tensors whose rounding is as coarse as float16's. */
static bool find_matrix_products(const struct dj_attention *plan, struct products *products)
{
    const struct dj_context *const context = plan->context;
    if (!context->matrices_asked || plan->q_type == DJ_FLOAT32 || plan->k_type == DJ_FLOAT32 ||
        plan->v_type == DJ_FLOAT32 || plan->o_type == DJ_FLOAT32)
        return false;
#if DJ_HAVE_MATRICES
    *products = (struct products){&dj_shader_tile_sum_matrix, plan->small_outputs
                                                                  ? &dj_shader_tile_output_matrix_16
                                                                  : &dj_shader_tile_output_matrix};
    return true;
#else
    (void)products;
    return false;
#endif
}

static dj_result create_products(struct dj_attention *plan, bool decay)
{
    struct dj_context *const context = plan->context;
    const struct dj_device_info *const info = &context->info;
    const struct dj_tuning *const tuning = dj_tuning_of(info->type);
    struct dj_constants output = {
        .count = 13,
        .subgroup = context->matrices,
        .values = {plan->features, plan->value_dim, decay, plan->linear, plan->v_type,
                   tuning->output_ahead, plan->o_type, plan->causal, context->matrices,
                   info->matrix_rows, info->matrix_columns, info->matrix_terms, plan->denominator}};
    struct dj_constants sum = output; /* but for what it has no part in: others may share it */
    sum.values[5] = tuning->sum_ahead;
    sum.values[6] = sum.values[7] = sum.values[12] = 0;
    struct products products;
    if (find_matrix_products(plan, &products)) {
        dj_result result = dj_pipeline_try(context, products.output, &output, &plan->tiled.output);
        if (result == DJ_SUCCESS)
            result = dj_pipeline_try(context, products.sum, &sum, &plan->tiled.sum);
        if (result != DJ_ERROR_UNSUPPORTED)
            return result;
    }
    products = plain_products(plan);
    output.subgroup = sum.subgroup = 0;
    sum.count = 6;
    dj_result result = dj_pipeline_get(context, products.output, &output, &plan->tiled.output);
    if (result == DJ_SUCCESS)
        result = dj_pipeline_get(context, products.sum, &sum, &plan->tiled.sum);
    return result;
}

static dj_result create(struct dj_attention *plan, const struct dj_attention_params *params)
{
    const bool decay = params->decay != NULL;
    struct dj_context *const context = plan->context;
    struct dj_constants features = {
        .count = 4,
        .values = {dj_projection_width(plan->projection), plan->features, plan->feature, 0}};
    const struct dj_tuning *const tuning = dj_tuning_of(context->info.type);
    const uint32_t each = tuning->scan_fours ? 4 : 1;
    plan->tiled.scan_rows = each == 1 ? 1 : DJ_TILE_THREADS / (plan->value_dim / each);
    const uint32_t ahead =
        dj_chunked_fits(plan, params) ? tuning->scan_ahead_chunked : tuning->scan_ahead;
    const struct dj_constants scan = {
        .count = 5, .values = {plan->features, plan->value_dim, decay, ahead, each}};
    dj_result result =
        dj_pipeline_get(context, &dj_shader_features, &features, &plan->tiled.query_features);
    features.values[3] = plan->key_normalise;
    if (result == DJ_SUCCESS && plan->key_normalise) {
        result =
            dj_pipeline_get(context, &dj_shader_features, &features, &plan->tiled.key_features);
    } else if (result == DJ_SUCCESS) {
        plan->tiled.key_features = plan->tiled.query_features;
    }
    if (result == DJ_SUCCESS)
        result = dj_pipeline_get(context, &dj_shader_tile_scan, &scan, &plan->tiled.scan);
    return result == DJ_SUCCESS ? create_products(plan, decay) : result;
}

/* Where the resident kernel does all but a few kinds of calls, a product does the transforms of
 * those about as fast as a generated kernel, and nothing is generated, compiled and tried for it.
 */
static uint32_t choose_path(const struct dj_attention *plan,
                            const struct dj_attention_params *params)
{
    const bool fused = plan->resident.shader != NULL && params->family != DJ_FAMILY_TUNED;
    return fused && params->dct_path == DJ_DCT_PATH_DEFAULT ? DJ_DCT_PATH_DENSE : params->dct_path;
}

dj_result dj_tiled_prepare(struct dj_attention *plan, const struct dj_attention_params *params)
{
    dj_result result = dj_projection_create(plan->context, plan->kind, plan->dim, plan->features,
                                            choose_path(plan, params), &plan->projection);
    if (result == DJ_SUCCESS)
        result = dj_decay_create(plan->context, params->decay, plan->key_heads, DJ_TILE_TOKENS,
                                 &plan->decay);
    return result;
}

const struct dj_kernel_family dj_family_tiled = {
    .name = DJ_FAMILY_TILED,
    .dispatches = dispatches,
    .layout = dj_tiled_layout,
    .record = record,
    .create = create,
};
