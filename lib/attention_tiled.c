/* SPDX-License-Identifier: MIT */
/* The tiled kernel family: the three phases of a piece of a call. */
#include "attention.h"

#include "kernels.h"
#include "pipeline.h"
#include "shaders.h"
#include "tiled.h"

#include <math.h>
#include <stdlib.h>

/* What the steps of a piece share. */
struct part {
    const struct dj_call *call;
    const struct dj_attention *plan;
    struct dj_recorder *recorder;
    const struct dj_layout *layout;
    const struct dj_call_indices *indices;
    struct dj_tiled_part cut;
    uint32_t sequences, tokens, heads, tiles; /* of the box; key heads */
    struct dj_binding projected, queries, keys, records, carry, table, decay;
};

static struct dj_binding region(const struct part *part, enum dj_tiled_region which)
{
    const struct dj_layout *const layout = part->layout;
    return dj_scratch_region(part->call->args, layout->region[which],
                             which + 1 < DJ_TILED_REGIONS ? layout->region[which + 1]
                                                          : layout->total);
}

/* The carry of the piece's sequences and heads, and the one behind it if it is written. */
static struct dj_binding carry_region(const struct part *part)
{
    const struct dj_layout *const layout = part->layout;
    const uint64_t number = layout->copies > 0 ? part->cut.carry : 0;
    const uint64_t start = layout->region[DJ_TILED_CARRY] + number * layout->carry;
    return dj_scratch_region(part->call->args, start,
                             start + (part->cut.forks ? 2 : 1) * layout->carry);
}

static const struct dj_span_set *side(const struct part *part, bool queries)
{
    return queries ? &part->call->queries : &part->call->keys;
}

/* The rows of one of the call's tensors in the part's box. Of q and o those of all query heads, or
 * where they are apart those of number `member` of every group. */
static struct dj_rows find_rows(const struct part *part, const struct dj_tensor *tensor,
                                bool queries, uint32_t member)
{
    struct dj_tensor view = *tensor;
    struct dj_box box = part->cut.box;
    const uint32_t group = part->plan->group;
    if (queries && part->layout->apart) {
        view.offset += member * view.stride[2] * dj_type_size(view.type);
        view.stride[2] *= group;
        view.shape[2] = part->plan->key_heads;
    } else if (queries) {
        box.start[2] *= group;
        box.count[2] *= group;
    }
    return dj_call_rows(part->call, side(part, queries), &view, &box, part->cut.snapshot,
                        part->table);
}

/* Members of a group that take dispatches of their own. */
static uint32_t member_count(const struct dj_call *call, const struct dj_layout *layout)
{
    return layout->apart ? call->plan->group : 1;
}

/* Packed features of one member. */
static struct dj_binding member_features(const struct part *part, uint32_t member)
{
    struct dj_binding features = part->queries;
    features.range /= member_count(part->call, part->layout);
    features.offset += member * features.range;
    return features;
}

/* Rows projected -> features. */
static void record_features(const struct part *part, const struct dj_rows *x, bool queries,
                            uint32_t member, struct dj_binding out)
{
    const struct dj_attention *const plan = part->plan;
    const struct dj_attention_args *const args = part->call->args;
    const struct dj_features *const numbers = args->features;
    const struct dj_tensor *const scales = queries ? &args->query_scales : &args->key_scales;
    const uint32_t rows = x->count[0] * x->count[1] * x->count[2];
    const uint32_t group = queries && !part->layout->apart ? plan->group : 1;
    struct features_push push = {
        .tokens = x->count[2],
        .ragged = x->ragged,
        .start = x->start,
        .origin = x->origin,
        .rows = rows,
        .heads = x->count[1],
        .group = group,
        .first_head = (uint32_t)part->cut.box.start[2],
        .head_stride = numbers != NULL ? numbers->head_stride : 0,
        .weights = numbers != NULL ? numbers->weights : 0,
        .block_stride = dj_projection_block_stride(plan->projection, rows),
        .squares = dj_projection_squares(plan->projection, rows),
        .square_factor = numbers != NULL ? numbers->square_factor : 0.0f,
        .max_tokens = plan->max_tokens,
    };
    struct dj_binding bindings[6] = {part->projected,
                                     dj_projection_scale(plan->projection),
                                     dj_projection_scale(plan->projection),
                                     out,
                                     x->ragged ? x->spans : part->projected,
                                     part->projected};
    if (numbers != NULL)
        bindings[2] =
            (struct dj_binding){.buffer = numbers->tables, .range = numbers->tables->size};
    if (scales->buffer != NULL) {
        const struct dj_box all = {.count = {1, 1, scales->shape[2]}};
        const struct dj_view view = dj_tensor_view(scales, &all);
        const uint32_t step = queries && part->layout->apart ? plan->group : 1;
        push.scales = (uint32_t)scales->shape[3];
        push.scales_base = view.base + member * view.stride[2];
        push.scales_stride = view.stride[2] * step;
        push.scales_head = push.first_head * group;
        bindings[5] = view.binding;
    }
    uint32_t groups[3];
    dj_transform_fold(plan->context, (rows + DJ_FEATURE_ROWS - 1) / DJ_FEATURE_ROWS, groups);
    dj_recorder_dispatch(part->recorder,
                         queries ? plan->tiled.query_features : plan->tiled.key_features, bindings,
                         6, &push, sizeof push, groups);
}

/* A tensor of queries or keys -> features: the projection's memory is free before and after. */
static void record_side(const struct part *part, const struct dj_tensor *tensor, bool queries,
                        uint32_t member, struct dj_binding out)
{
    const struct dj_attention *const plan = part->plan;
    const struct dj_rows x = find_rows(part, tensor, queries, member);
    dj_projection_record(plan->projection, part->recorder, &x, sqrtf(plan->scale),
                         (uint32_t)part->cut.box.start[2],
                         queries && !part->layout->apart ? plan->group : 1,
                         part->call->args->features, &part->projected);
    dj_recorder_write_to_read(part->recorder);
    record_features(part, &x, queries, member, out);
    dj_recorder_write_to_read(part->recorder);
}

static void record_sum(const struct part *part)
{
    const struct dj_attention *const plan = part->plan;
    const struct dj_rows v = find_rows(part, &part->call->args->v, false, 0);
    const struct tile_sum_push push = {
        .tokens = part->tokens,
        .ragged = v.ragged,
        .start = v.start,
        .origin = v.origin,
        .tiles = part->tiles,
        .heads = part->heads,
        .first_head = (uint32_t)part->cut.box.start[2],
        .v_base = v.view.base,
        .v_stride = {v.view.stride[0], v.view.stride[1], v.view.stride[2]},
    };
    const struct dj_binding bindings[] = {part->keys, v.view.binding, part->records, part->decay,
                                          v.ragged ? v.spans : part->keys};
    const uint32_t blocks = ((plan->features + DJ_TILE_FEATURES - 1) / DJ_TILE_FEATURES) *
                            ((plan->value_dim + DJ_TILE_VALUES - 1) / DJ_TILE_VALUES);
    dj_recorder_dispatch(part->recorder, plan->tiled.sum, bindings, 5, &push, sizeof push,
                         (uint32_t[3]){part->tiles, part->sequences * part->heads, blocks});
}

/* Where one scan takes the state from and leaves it. */
struct scan_way {
    uint32_t read; /* DJ_SCAN_EMPTY, _CARRY or _SLOTS */
    bool write_carry;
    uint32_t write_slots; /* DJ_WRITE_*, any together */
    int32_t slot;         /* the one to bind where the whole pool cannot be */
};

static void record_scan_way(const struct part *part, struct scan_way way, uint32_t tiles)
{
    const struct dj_attention *const plan = part->plan;
    const struct dj_call *const call = part->call;
    const struct dj_call_indices *const indices = part->indices;
    struct tile_scan_push push = {
        .tokens = part->tokens,
        .ragged = part->table.buffer != VK_NULL_HANDLE,
        .start = (uint32_t)part->cut.box.start[1],
        .tiles = tiles,
        .heads = part->heads,
        .first_head = (uint32_t)part->cut.box.start[2],
        .read = way.read,
        .write_carry = way.write_carry,
        .write_slots = way.write_slots,
        .slot_count = call->args->slot_count,
        .first_index = (uint32_t)part->cut.box.start[0],
        .snapshots = call->snapshots,
        .snapshot = part->cut.snapshot,
        .accepted = indices->accepted.binding.buffer != VK_NULL_HANDLE,
        .in_base = indices->slots_in.base,
        .accepted_base = indices->accepted.base,
        .out_base = indices->slots_out.base,
        .carry_tokens = part->sequences * part->heads * (uint32_t)(dj_state_block_size(plan) / 4),
        .carry_out = part->cut.forks ? (uint32_t)(part->layout->carry / 4) : 0,
        .plan_heads = plan->key_heads,
        .dim = plan->dim,
        .map = plan->map,
    };
    /* what the kernel will not touch is bound to something harmless all the same */
    struct dj_binding bindings[8] = {part->records, part->carry, part->carry, part->carry,
                                     part->decay,   part->carry, part->carry, part->carry};
    if (way.read == DJ_SCAN_SLOTS || way.write_slots)
        bindings[1] = dj_call_slots(call, part->layout->slot_bound, way.slot, &push.slots_base,
                                    &push.slot_words);
    if (indices->slots_in.binding.buffer != VK_NULL_HANDLE)
        bindings[3] = indices->slots_in.binding;
    if (push.ragged)
        bindings[5] = part->table;
    if (indices->slots_out.binding.buffer != VK_NULL_HANDLE)
        bindings[6] = indices->slots_out.binding;
    if (push.accepted)
        bindings[7] = indices->accepted.binding;
    dj_recorder_dispatch(part->recorder, plan->tiled.scan, bindings, 8, &push, sizeof push,
                         (uint32_t[3]){way.write_slots == DJ_WRITE_HEADER ? 1 : plan->features,
                                       part->sequences * part->heads, 1});
}

/* Where the whole pool can be bound. A slot that is read may be written too, and every workgroup
 * judges it by its header: that is then written by a dispatch of its own. */
static void record_scan_bound(const struct part *part, struct scan_way way)
{
    const bool apart = way.read == DJ_SCAN_SLOTS && way.write_slots != 0;
    if (apart)
        way.write_slots = DJ_WRITE_STATE;
    record_scan_way(part, way, part->tiles);
    if (!apart)
        return;
    way.write_carry = false;
    way.write_slots = DJ_WRITE_HEADER;
    dj_recorder_write_to_read(part->recorder);
    record_scan_way(part, way, part->tiles);
}

/* One dispatch, or two; three where the slots that are read and written cannot be bound together,
 * the state then going by the carry. */
static void record_scan(const struct part *part)
{
    const struct dj_call *const call = part->call;
    const struct dj_indices *const out = &call->args->slots_out;
    const bool from_slots =
        part->cut.first && call->slots && dj_indices_given(&call->args->slots_in);
    const bool kept = part->layout->copies > 0;
    const bool to_slots = part->cut.publishes && call->slots && dj_indices_given(out) && !kept;
    struct scan_way way = {
        .read = !part->cut.first ? DJ_SCAN_CARRY
                : from_slots     ? DJ_SCAN_SLOTS
                                 : DJ_SCAN_EMPTY,
        .write_carry = !part->cut.last || !part->plan->causal || kept,
        .write_slots = to_slots ? DJ_WRITE_STATE | DJ_WRITE_HEADER : 0,
    };
    if (!part->layout->slot_bound) {
        record_scan_bound(part, way);
        return;
    }
    const uint64_t sequence = part->cut.box.start[0];
    if (from_slots) {
        const struct scan_way in = {
            .read = DJ_SCAN_SLOTS, .write_carry = true, .slot = dj_slot_in(call, sequence)};
        record_scan_way(part, in, 0);
        dj_recorder_write_to_read(part->recorder);
        way.read = DJ_SCAN_CARRY;
    }
    way.write_carry = way.write_carry || to_slots;
    way.write_slots = 0;
    record_scan_way(part, way, part->tiles);
    if (to_slots) {
        const struct scan_way last = {
            .read = DJ_SCAN_CARRY,
            .write_slots = DJ_WRITE_STATE | DJ_WRITE_HEADER,
            .slot = out->host[sequence * call->snapshots + part->cut.snapshot]};
        dj_recorder_write_to_read(part->recorder);
        record_scan_way(part, last, 0);
    }
}

/* A kept state to the slots of its snapshot. */
static void record_copy(const struct part *part)
{
    const struct dj_call *const call = part->call;
    struct scan_way way = {.read = DJ_SCAN_CARRY, .write_slots = DJ_WRITE_STATE | DJ_WRITE_HEADER};
    if (part->layout->slot_bound)
        way.slot = call->args->slots_out
                       .host[part->cut.box.start[0] * call->snapshots + part->cut.snapshot];
    record_scan_way(part, way, 0);
}

/* Enough workgroups to fill a large GPU; beyond that each does several column blocks, which saves
 * computing the scores again. */
static uint32_t column_shares(const struct part *part)
{
    const uint32_t blocks = (part->plan->value_dim + DJ_TILE_VALUES - 1) / DJ_TILE_VALUES;
    return (uint64_t)part->tiles * part->sequences * part->heads < 1024 ? blocks : 1;
}

static void record_output(const struct part *part, uint32_t member)
{
    const struct dj_attention *const plan = part->plan;
    const struct dj_attention_args *const args = part->call->args;
    const struct dj_rows o = find_rows(part, &args->o, true, member);
    const uint32_t m = plan->features, e = plan->value_dim;
    const uint32_t group = part->layout->apart ? 1 : plan->group;
    struct tile_output_push push = {
        .tokens = part->tokens,
        .ragged = o.ragged,
        .start = o.start,
        .origin = o.origin,
        .tiles = part->tiles,
        .heads = part->heads,
        .first_head = (uint32_t)part->cut.box.start[2],
        .group = group,
        .o_base = o.view.base,
        .o_stride = {o.view.stride[0], o.view.stride[1], o.view.stride[2]},
        .before = DJ_RECORD_SIZE(m, e),
        .before_head = part->tiles * DJ_RECORD_SIZE(m, e),
        .before_norm = DJ_RECORD_BEFORE_NORM(m, e),
        .before_peak = DJ_RECORD_BEFORE_PEAK(m, e),
    };
    const struct dj_binding queries = member_features(part, member);
    struct dj_binding bindings[8] = {
        queries,       part->keys,    queries,     o.view.binding,
        part->records, part->records, part->decay, o.ragged ? o.spans : queries};
    if (plan->causal) {
        const struct dj_rows v = find_rows(part, &args->v, false, 0);
        push.v_base = v.view.base;
        for (int i = 0; i < 3; i++)
            push.v_stride[i] = v.view.stride[i];
        bindings[2] = v.view.binding;
    } else { /* the whole state, as the scan left it in the carry */
        bindings[5] = part->carry;
        push.before = 0;
        push.before_head = DJ_STATE_SIZE(m, e);
        push.before_norm = DJ_STATE_NORM(m, e);
        push.before_peak = DJ_STATE_PEAK(m, e);
    }
    dj_recorder_dispatch(
        part->recorder, plan->tiled.output, bindings, 8, &push, sizeof push,
        (uint32_t[3]){part->tiles, part->sequences * part->heads * group, column_shares(part)});
}

static struct part make_part(const struct dj_call *call, struct dj_recorder *recorder,
                             struct dj_layout *layout, const struct dj_call_indices *indices,
                             uint64_t index)
{
    const struct dj_attention *const plan = call->plan;
    struct part part = {
        .call = call,
        .plan = plan,
        .recorder = recorder,
        .layout = layout,
        .indices = indices,
        .cut = dj_tiled_cut(call, layout, index),
        .decay = {.buffer = plan->decay, .range = plan->decay->size},
    };
    part.sequences = (uint32_t)part.cut.box.count[0];
    part.heads = (uint32_t)part.cut.box.count[2];
    part.tokens = (uint32_t)part.cut.tokens;
    part.tiles = (part.tokens + DJ_TILE_TOKENS - 1) / DJ_TILE_TOKENS;
    part.projected = region(&part, DJ_TILED_PROJECTED);
    part.queries = region(&part, DJ_TILED_QUERIES);
    part.keys = region(&part, DJ_TILED_KEYS);
    part.records = region(&part, DJ_TILED_RECORDS);
    part.carry = carry_region(&part);
    if (dj_call_has_table(call, side(&part, part.cut.queries)))
        part.table = region(&part, DJ_TILED_TABLE);
    return part;
}

/* 1. spans of the box's sequences, where they differ;
 * 2. keys and queries -> features, packed;  3. sums of every tile;
 * 4. scan over tiles, state in and out;     5. outputs of every tile.
 * Causal: all. Otherwise 2 to 4 for the keys in the first pass, 2 and 5 for the queries in the
 * second, when the carry holds all keys. A copy: 4 without tiles, from the carry. */
static void record(const struct dj_call *call, struct dj_recorder *recorder,
                   struct dj_layout *layout, const struct dj_call_indices *indices, uint64_t index)
{
    const struct part part = make_part(call, recorder, layout, indices, index);
    const bool keys = !part.cut.queries, queries = call->plan->causal || part.cut.queries;
    const uint32_t members = member_count(call, layout);
    if (part.cut.copies) {
        record_copy(&part);
        return;
    }
    if (part.table.buffer != VK_NULL_HANDLE) {
        dj_call_record_spans(call, recorder, indices, side(&part, part.cut.queries),
                             part.cut.box.start[0], part.cut.box.count[0], part.cut.snapshot,
                             part.cut.fresh, part.table);
        dj_recorder_write_to_read(recorder);
    }
    if (keys && part.tokens > 0) {
        record_side(&part, &call->args->k, false, 0, part.keys);
        record_sum(&part);
    }
    if (keys) {
        dj_recorder_write_to_read(recorder);
        record_scan(&part);
    }
    for (uint32_t member = 0; queries && part.tokens > 0 && member < members; member++)
        record_side(&part, &call->args->q, true, member, member_features(&part, member));
    for (uint32_t member = 0; queries && part.tokens > 0 && member < members; member++)
        record_output(&part, member);
}

static uint32_t dispatches(const struct dj_call *call, const struct dj_layout *layout)
{
    /* the table; projection and features; the sum, the scan with state from and to a slot; output
     */
    const uint32_t side_count = dj_projection_dispatches(call->plan->projection) + 1;
    return 1 + side_count + 4 + member_count(call, layout) * (side_count + 1);
}

/* gamma^n as mantissa in [1, 2), exponent, and what the mantissa lacks. In double with the exponent
 * kept apart: gamma^-32 may be beyond a double's range. */
static void decay_power(double gamma, int n, float power[4])
{
    double mantissa = 1.0;
    int exponent = 0, step;
    const double factor = n < 0 ? 1.0 / gamma : gamma;
    for (int i = abs(n); i > 0; i--) {
        mantissa = 2.0 * frexp(mantissa * factor, &step);
        exponent += step - 1;
    }
    power[0] = (float)mantissa;
    power[1] = (float)exponent;
    power[2] = (float)(mantissa - (double)power[0]);
    power[3] = 0.0f;
}

static dj_result create_decay(struct dj_attention *plan, const float *decay)
{
    /* a binding is never empty, even if no kernel reads it */
    const size_t heads = decay != NULL && plan->key_heads > 0 ? plan->key_heads : 1;
    float(*const powers)[4] = malloc(heads * DJ_DECAY_POWERS * sizeof *powers);
    if (powers == NULL)
        return dj_fail(&plan->context->log, DJ_ERROR_OUT_OF_HOST_MEMORY,
                       "attention: no host memory for the decay of %zu heads", heads);
    for (size_t h = 0; h < heads; h++) {
        const double gamma = decay != NULL && plan->key_heads > 0 ? (double)decay[h] : 1.0;
        for (uint32_t n = 0; n <= DJ_TILE_TOKENS; n++) {
            decay_power(gamma, (int)n, powers[h * DJ_DECAY_POWERS + n]);
            decay_power(gamma, -(int)n, powers[h * DJ_DECAY_POWERS + DJ_TILE_TOKENS + 1 + n]);
        }
    }
    const dj_result result = dj_buffer_create_table(
        plan->context, powers, heads * DJ_DECAY_POWERS * sizeof *powers, "decay", &plan->decay);
    free(powers);
    return result;
}

static dj_result create_pipelines(struct dj_attention *plan, bool decay)
{
    struct dj_context *const context = plan->context;
    const struct dj_map_kind *const kind = plan->kind;
    const bool plain = !plan->normalise && kind->plain_feature != 0;
    struct dj_constants features = {.count = 4,
                                    .values = {dj_projection_width(plan->projection),
                                               plan->features,
                                               plain ? kind->plain_feature : kind->feature, 0}};
    const uint32_t denominator = plan->normalise ? kind->denominator : DJ_DENOMINATOR_NONE;
    struct dj_constants tiles = {.count = 3, .values = {plan->features, plan->value_dim, decay}};
    dj_result result =
        dj_pipeline_create(context, &dj_shader_features, &features, &plan->tiled.query_features);
    features.values[3] = plan->key_normalise;
    if (result == DJ_SUCCESS && plan->key_normalise) {
        result =
            dj_pipeline_create(context, &dj_shader_features, &features, &plan->tiled.key_features);
    } else if (result == DJ_SUCCESS) {
        plan->tiled.key_features = plan->tiled.query_features;
        plan->tiled.key_features.shared = true;
    }
    if (result == DJ_SUCCESS)
        result = dj_pipeline_create(context, &dj_shader_tile_scan, &tiles, &plan->tiled.scan);
    tiles =
        (struct dj_constants){.count = 8,
                              .values = {plan->features, plan->value_dim, decay, plan->linear,
                                         plan->v_type, plan->o_type, plan->causal, denominator}};
    const bool halves = plan->o_type != DJ_FLOAT32 && context->storage_16bit;
    if (result == DJ_SUCCESS)
        result =
            dj_pipeline_create(context, halves ? &dj_shader_tile_output_16 : &dj_shader_tile_output,
                               &tiles, &plan->tiled.output);
    tiles.count = 5;
    if (result == DJ_SUCCESS)
        result = dj_pipeline_create(context, &dj_shader_tile_sum, &tiles, &plan->tiled.sum);
    return result;
}

static dj_result create(struct dj_attention *plan, const struct dj_attention_params *params)
{
    dj_result result = dj_projection_create(plan->context, plan->kind, plan->dim, plan->features,
                                            params->dct_path, &plan->projection);
    if (result == DJ_SUCCESS)
        result = create_decay(plan, params->decay);
    if (result == DJ_SUCCESS)
        result = create_pipelines(plan, params->decay != NULL);
    return result;
}

const struct dj_kernel_family dj_family_tiled = {
    .dispatches = dispatches,
    .layout = dj_tiled_layout,
    .record = record,
    .create = create,
};
