/* SPDX-License-Identifier: MIT */
/* The softmax family: exact attention in quadratic time, and Linformer's over projected keys. */
#include "softmax.h"

#include "feature_map.h"
#include "kernels.h"
#include "pipeline.h"
#include "shaders.h"
#include "size.h"
#include "tuning.h"

enum {
    WIDE = 192 /* d + e, above which a lane has one row of queries */
};

/* What the steps of a piece share. */
struct piece {
    const struct dj_call *call;
    struct dj_recorder *recorder;
    const struct dj_layout *layout;
    const struct dj_call_indices *indices;
    struct dj_softmax_piece cut;
    struct dj_binding query_table, key_table;
};

/* A region of scratch memory; no buffer if it is empty. */
static struct dj_binding region(const struct piece *piece, enum dj_softmax_region which)
{
    const struct dj_layout *const layout = piece->layout;
    const uint64_t end = which + 1 < DJ_SOFTMAX_REGIONS ? layout->region[which + 1] : layout->total;
    if (end == layout->region[which])
        return (struct dj_binding){.buffer = VK_NULL_HANDLE};
    return dj_scratch_region(piece->call->args, layout->region[which], end);
}

static struct piece make_piece(const struct dj_call *call, struct dj_recorder *recorder,
                               struct dj_layout *layout, const struct dj_call_indices *indices,
                               uint64_t index)
{
    struct piece piece = {.call = call,
                          .recorder = recorder,
                          .layout = layout,
                          .indices = indices,
                          .cut = dj_softmax_cut(call, layout, index)};
    piece.query_table = region(&piece, DJ_SOFTMAX_QUERY_TABLE);
    piece.key_table = call->plan->causal ? piece.query_table : region(&piece, DJ_SOFTMAX_KEY_TABLE);
    return piece;
}

static void record_table(const struct piece *piece, const struct dj_span_set *set,
                         struct dj_binding table)
{
    const struct dj_box *const box = &piece->cut.queries;
    if (table.buffer != VK_NULL_HANDLE)
        dj_call_record_spans(piece->call, piece->recorder, piece->indices, set, box->start[0],
                             box->count[0], 0, true, table);
}

/* The piece's rows of k or v. */
static struct dj_rows key_rows(const struct piece *piece, const struct dj_tensor *tensor)
{
    return dj_call_rows(piece->call, &piece->call->keys, tensor, &piece->cut.keys, 0,
                        piece->key_table);
}

/* projected (+)= E x, E at matrix floats from the features' start. */
static void record_project(const struct piece *piece, struct dj_pipeline pipeline,
                           const struct dj_tensor *tensor, uint32_t matrix,
                           enum dj_softmax_region sums, enum dj_softmax_region lacking)
{
    const struct dj_attention *const plan = piece->call->plan;
    const struct dj_features *const features = piece->call->args->features;
    const struct dj_rows x = key_rows(piece, tensor);
    const struct rows_project_push push = {
        .tokens = x.count[2],
        .heads = x.count[1],
        .first_head = (uint32_t)piece->cut.keys.start[2],
        .matrix = matrix + (uint32_t)piece->cut.keys.start[1],
        .head_stride = features->head_stride,
        .row_stride = plan->max_tokens,
        .carry = (piece->cut.first ? 0 : DJ_CARRY_READ) | (piece->cut.last ? 0 : DJ_CARRY_WRITE),
        .base = x.view.base,
        .stride = {x.view.stride[0], x.view.stride[1], x.view.stride[2]},
    };
    struct dj_binding bindings[4] = {x.view.binding, dj_buffer_whole(features->tables),
                                     region(piece, sums), region(piece, lacking)};
    if (bindings[3].buffer == VK_NULL_HANDLE) /* not touched, but bound all the same */
        bindings[3] = bindings[2];
    const uint32_t columns = (uint32_t)tensor->shape[3];
    const uint32_t groups[3] = {(uint32_t)dj_divide_up(columns, DJ_TILE_VALUES),
                                x.count[0] * x.count[1],
                                (uint32_t)dj_divide_up(plan->features, DJ_TILE_TOKENS)};
    dj_recorder_dispatch(piece->recorder, pipeline, bindings, 4, &push, sizeof push, groups);
}

/* The keys of an attention kernel: the call's, or Linformer's projected ones. */
static void set_keys(const struct piece *piece, struct softmax_push *push,
                     struct dj_binding bindings[7])
{
    const struct dj_attention *const plan = piece->call->plan;
    const struct dj_attention_args *const args = piece->call->args;
    if (plan->map == DJ_MAP_LINFORMER) {
        const uint32_t heads = (uint32_t)piece->cut.keys.count[2], rows = plan->features;
        const uint32_t k_row = plan->dim, v_row = plan->value_dim;
        push->key_tokens = rows;
        bindings[1] = region(piece, DJ_SOFTMAX_PROJECTED_K);
        bindings[2] = region(piece, DJ_SOFTMAX_PROJECTED_V);
        const uint32_t k_stride[3] = {heads * rows * k_row, rows * k_row, k_row};
        const uint32_t v_stride[3] = {heads * rows * v_row, rows * v_row, v_row};
        for (int i = 0; i < 3; i++) {
            push->k_stride[i] = k_stride[i];
            push->v_stride[i] = v_stride[i];
        }
        return;
    }
    if (piece->call->keys.longest == 0) /* key_tokens is 0 */
        return;
    const struct dj_rows k = key_rows(piece, &args->k), v = key_rows(piece, &args->v);
    push->key_tokens = k.count[2];
    push->key_ragged = k.ragged;
    push->key_start = k.start;
    push->key_origin = k.origin;
    push->k_base = k.view.base;
    push->v_base = v.view.base;
    for (int i = 0; i < 3; i++) {
        push->k_stride[i] = k.view.stride[i];
        push->v_stride[i] = v.view.stride[i];
    }
    bindings[1] = k.view.binding;
    bindings[2] = v.view.binding;
    if (k.ragged)
        bindings[6] = k.spans;
}

static void record_attend(const struct piece *piece)
{
    const struct dj_call *const call = piece->call;
    const struct dj_attention *const plan = call->plan;
    const struct dj_rows q = dj_call_rows(call, &call->queries, &call->args->q, &piece->cut.queries,
                                          0, piece->query_table);
    const struct dj_rows o = dj_call_rows(call, &call->queries, &call->args->o, &piece->cut.queries,
                                          0, piece->query_table);
    struct softmax_push push = {
        .tokens = q.count[2],
        .ragged = q.ragged,
        .start = q.start,
        .origin = q.origin,
        .heads = q.count[1],
        .group = plan->group,
        .shift = (uint32_t)(piece->cut.queries.start[2] % plan->group),
        .scale = plan->scale,
        .q_base = q.view.base,
        .q_stride = {q.view.stride[0], q.view.stride[1], q.view.stride[2]},
        .o_base = o.view.base,
        .o_stride = {o.view.stride[0], o.view.stride[1], o.view.stride[2]},
    };
    /* what the kernel will not touch is bound to something harmless all the same */
    const struct dj_binding none = q.view.binding, carry = region(piece, DJ_SOFTMAX_CARRY);
    const bool carried = carry.buffer != VK_NULL_HANDLE && !(piece->cut.first && piece->cut.last);
    struct dj_binding bindings[7] = {
        none, none, none, o.view.binding, carried ? carry : none, q.ragged ? q.spans : none, none};
    set_keys(piece, &push, bindings);
    if (carried)
        push.carry =
            (piece->cut.first ? 0 : DJ_CARRY_READ) | (piece->cut.last ? 0 : DJ_CARRY_WRITE);
    const uint32_t groups[3] = {(uint32_t)dj_divide_up(q.count[2], dj_softmax_rows(plan)),
                                q.count[0] * q.count[1], dj_softmax_shares(plan)};
    dj_recorder_dispatch(piece->recorder,
                         carried ? plan->softmax.attend_carried : plan->softmax.attend, bindings, 7,
                         &push, sizeof push, groups);
}

/* 1. spans of the box's sequences, where they differ;
 * 2. Linformer: keys and values projected, a box of tokens at a time;
 * 3. outputs, of the last box of keys, or sums in the carry. */
static void record(const struct dj_call *call, struct dj_recorder *recorder,
                   struct dj_layout *layout, const struct dj_call_indices *indices, uint64_t index)
{
    const struct dj_attention *const plan = call->plan;
    const struct dj_attention_args *const args = call->args;
    const struct piece piece = make_piece(call, recorder, layout, indices, index);
    record_table(&piece, &call->queries, piece.query_table);
    if (!plan->causal)
        record_table(&piece, &call->keys, piece.key_table);
    if (piece.cut.projects) {
        record_project(&piece, plan->softmax.project_keys, &args->k, 0, DJ_SOFTMAX_PROJECTED_K,
                       DJ_SOFTMAX_LACKING_K);
        record_project(&piece, plan->softmax.project_values, &args->v, args->features->weights,
                       DJ_SOFTMAX_PROJECTED_V, DJ_SOFTMAX_LACKING_V);
    }
    if (piece.cut.attends) {
        if (piece.cut.projects || layout->total > 0)
            dj_recorder_write_to_read(recorder);
        record_attend(&piece);
    }
}

static uint32_t dispatches(const struct dj_call *call, const struct dj_layout *layout)
{
    (void)layout;
    /* two tables or projections, or one and both, and the outputs */
    return call->plan->map == DJ_MAP_LINFORMER ? 4 : 3;
}

static dj_result create_projections(struct dj_attention *plan)
{
    struct dj_constants constants = {.count = 3,
                                     .values = {plan->dim, plan->features, plan->k_type}};
    dj_result result = dj_pipeline_get(plan->context, &dj_shader_rows_project, &constants,
                                       &plan->softmax.project_keys);
    constants.values[0] = plan->value_dim;
    constants.values[2] = plan->v_type;
    if (result == DJ_SUCCESS)
        result = dj_pipeline_get(plan->context, &dj_shader_rows_project, &constants,
                                 &plan->softmax.project_values);
    return result;
}

/* Rows of queries to a lane, where lanes have them: of wide heads one, since the kernel is compiled
 * for each of their numbers. */
static uint32_t rows_of_lane(const struct dj_attention *plan)
{
    const struct dj_context *const context = plan->context;
    const bool offered = context->subgroups > 0 && context->device_addresses;
    const uint32_t rows = dj_tuning_of(context->info.type)->softmax_rows;
    if (!offered || !dj_tuning_permutes(context))
        return 0;
    return rows > 1 && plan->dim + plan->value_dim > WIDE ? 1 : rows;
}

/* The kernel whose lanes have rows of queries; it can do what comes in several boxes of keys, too.
 * DJ_ERROR_UNSUPPORTED: there is none, or the driver refuses it. */
static dj_result create_lanes(struct dj_attention *plan, struct dj_constants constants)
{
    struct dj_context *const context = plan->context;
    const uint32_t rows = rows_of_lane(plan);
    if (rows == 0)
        return DJ_ERROR_UNSUPPORTED;
    constants.subgroup = constants.values[2] = context->subgroups;
    constants.read_invocation = context->read_invocation;
    constants.values[8] = rows;
    const struct dj_shader *const shader =
        plan->small_outputs ? &dj_shader_softmax_lanes_16 : &dj_shader_softmax_lanes;
    const dj_result result = dj_pipeline_try(context, shader, &constants, &plan->softmax.attend);
    plan->softmax.attend_carried = plan->softmax.attend;
    plan->softmax.rows = result == DJ_SUCCESS ? rows * context->subgroups : 0;
    return result;
}

/* The kernel whose workgroups share tiles. */
static dj_result create_tiles(struct dj_attention *plan, struct dj_constants constants)
{
    struct dj_context *const context = plan->context;
    const struct dj_shader *const shader =
        plan->small_outputs ? &dj_shader_softmax_16 : &dj_shader_softmax;
    constants.values[2] = dj_softmax_blocks(plan) * DJ_TILE_THREADS;
    const dj_result result = dj_pipeline_get(context, shader, &constants, &plan->softmax.attend);
    if (result != DJ_SUCCESS || plan->map == DJ_MAP_LINFORMER)
        return result;
    constants.values[8] = 1;
    return dj_pipeline_get(context, shader, &constants, &plan->softmax.attend_carried);
}

static dj_result create(struct dj_attention *plan, const struct dj_attention_params *params)
{
    (void)params;
    const bool projected = plan->map == DJ_MAP_LINFORMER;
    const struct dj_constants constants = {
        .count = 9,
        .values = {plan->dim, plan->value_dim, 0, plan->causal, plan->q_type,
                   projected ? DJ_FLOAT32 : plan->k_type, projected ? DJ_FLOAT32 : plan->v_type,
                   plan->o_type, 0}};
    dj_result result = create_lanes(plan, constants);
    if (result == DJ_ERROR_UNSUPPORTED)
        result = create_tiles(plan, constants);
    return result == DJ_SUCCESS && projected ? create_projections(plan) : result;
}

const struct dj_kernel_family dj_family_softmax = {
    .name = DJ_FAMILY_SOFTMAX,
    .dispatches = dispatches,
    .layout = dj_softmax_layout,
    .record = record,
    .create = create,
};
