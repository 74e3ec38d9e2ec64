/* SPDX-License-Identifier: MIT */
/* The tiled kernel family: how a call is cut into parts, and the three phases of each. */
#include "attention.h"

#include "feature_map.h"
#include "kernels.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>

/* Scratch memory that is useful: enough for any GPU to be busy, little enough for caches. */
static const uint64_t USEFUL_SCRATCH = (uint64_t)64 << 20;

static uint64_t round_up(uint64_t value, uint64_t multiple)
{
    return (value + multiple - 1) / multiple * multiple;
}

/* Floats of a tile's record. */
static uint64_t record_size(const struct dj_attention *plan)
{
    return DJ_RECORD_SIZE((uint64_t)plan->dim, plan->value_dim);
}

static uint64_t tile_count(uint64_t tokens)
{
    return (tokens + DJ_TILE_TOKENS - 1) / DJ_TILE_TOKENS;
}

/* Bytes of each region for boxes of this size. */
struct region_sizes {
    uint64_t rows, tiles, carry;
};

static struct region_sizes region_sizes(const struct dj_attention *plan, const uint64_t size[3])
{
    const uint64_t alignment = plan->context->info.offset_alignment;
    const uint64_t heads = size[0] * size[2], rows = heads * size[1];
    return (struct region_sizes){
        .rows = round_up(round_up(rows, dj_transform_row_multiple(plan->transform)) * plan->dim * 4,
                         alignment),
        .tiles = round_up(heads * tile_count(size[1]) * record_size(plan) * 4, alignment),
        .carry =
            round_up(heads * dj_state_block_size(plan) + size[0] * 2 * sizeof(uint32_t), alignment),
    };
}

/* Bytes of scratch for boxes of this size; UINT64_MAX if they are beyond a limit of the device. */
static uint64_t scratch_cost(const void *user, const uint64_t size[3])
{
    const struct dj_attention *const plan = user;
    const struct dj_device_info *const info = &plan->context->info;
    const struct region_sizes sizes = region_sizes(plan, size);
    const uint64_t range = info->max_storage_range, heads = size[0] * size[2];
    if (sizes.rows > range || sizes.tiles > range || sizes.carry > range ||
        heads > info->max_workgroups[1] || tile_count(size[1]) > info->max_workgroups[0] ||
        heads * size[1] > dj_transform_max_rows(plan->transform))
        return UINT64_MAX;
    return 2 * sizes.rows + sizes.tiles + sizes.carry;
}

/* Whether all slots cannot be bound at once. */
static bool pool_is_large(const struct dj_attention *plan, const struct dj_attention_args *args)
{
    const struct dj_device_info *const info = &plan->context->info;
    return dj_slots_used(args) &&
           args->slot_count * dj_state_slot_size(plan) + info->offset_alignment >
               info->max_storage_range;
}

dj_result dj_tiled_layout(const struct dj_attention *plan, const struct dj_attention_args *args,
                          uint64_t budget, struct dj_tiled_layout *layout)
{
    const struct dj_log *log = &plan->context->log;
    const struct dj_tensor *const tensors[4] = {&args->q, &args->k, &args->v, &args->o};
    /* without tokens the tensors are not touched, and state moves as if there were one tile of none
     */
    const bool tokens = args->q.shape[1] > 0;
    const uint64_t granule[3] = {1, DJ_TILE_TOKENS, 1};
    struct dj_tensor empty = {.shape = {args->q.shape[0], 1, args->q.shape[2], 1}};
    const struct dj_tensor *const no_tensors[1] = {&empty};

    layout->slot_bound = pool_is_large(plan, args);
    const uint64_t most[3] = {layout->slot_bound ? 1 : UINT64_MAX, UINT64_MAX, UINT64_MAX};
    /* the smallest box there can be: a tile, or all tokens where they are fewer */
    const uint64_t shortest = args->q.shape[1] < DJ_TILE_TOKENS ? args->q.shape[1] : DJ_TILE_TOKENS;
    const uint64_t one[3] = {1, shortest > 0 ? shortest : 1, 1};
    const uint64_t least = scratch_cost(plan, one);
    if (budget == 0)
        budget = least > USEFUL_SCRATCH ? least : USEFUL_SCRATCH;
    if (budget < least && least < UINT64_MAX)
        return dj_fail(log, DJ_ERROR_SCRATCH,
                       "attention: one tile needs %" PRIu64 " bytes of scratch, %" PRIu64
                       " are given",
                       least, budget);
    if (!dj_grid_fit(plan->context, tokens ? tensors : no_tensors, tokens ? 4 : 1, granule, most,
                     scratch_cost, plan, budget, &layout->grid))
        return dj_fail(log, DJ_ERROR_LIMIT,
                       "attention: %d tokens of one head span more than the %" PRIu64
                       " bytes that the device can bind",
                       DJ_TILE_TOKENS, plan->context->info.max_storage_range);
    const struct region_sizes sizes = region_sizes(plan, layout->grid.size);
    layout->keys = sizes.rows;
    layout->tiles = 2 * sizes.rows;
    layout->carry = layout->tiles + sizes.tiles;
    layout->total = layout->carry + sizes.carry;
    const uint64_t *const boxes = layout->grid.boxes;
    layout->passes = plan->causal || !tokens ? 1 : 2;
    layout->parts = layout->passes * boxes[0] * boxes[1] * boxes[2];
    return DJ_SUCCESS;
}

uint32_t dj_tiled_dispatches(const struct dj_attention *plan)
{
    /* both transforms, both feature maps, sum, scan, output; state from a slot and to a slot */
    return 2 * dj_transform_dispatches(plan->transform) + 7;
}

/* What the steps of a part share. */
struct part {
    const struct dj_attention *plan;
    struct dj_recorder *recorder;
    const struct dj_attention_args *args;
    const VkDescriptorBufferInfo *slots;
    struct dj_box box;
    uint32_t sequences, tokens, heads, tiles;
    bool first, last; /* of its sequences' parts along the tokens */
    bool slot_bound;
    VkDescriptorBufferInfo queries, keys, tile_records, carry, decay;
};

static VkDescriptorBufferInfo scratch_region(const struct dj_attention_args *args, uint64_t offset,
                                             uint64_t size)
{
    return (VkDescriptorBufferInfo){.buffer = args->scratch.buffer->handle,
                                    .offset = args->scratch.offset + offset,
                                    .range = size};
}

/* A view in the order of packed rows: sequence, head, token. */
static struct dj_view packed_view(const struct dj_tensor *tensor, const struct dj_box *box)
{
    struct dj_view view = dj_tensor_view(tensor, box);
    const uint32_t token = view.stride[1];
    view.stride[1] = view.stride[2];
    view.stride[2] = token;
    return view;
}

static void record_transform(const struct part *part, const struct dj_tensor *x,
                             const VkDescriptorBufferInfo *packed)
{
    const struct dj_view view = packed_view(x, &part->box);
    const uint32_t count[3] = {part->sequences, part->heads, part->tokens};
    dj_transform_record(part->plan->transform, part->recorder, &view, count,
                        sqrtf(part->plan->scale), packed);
}

static void record_features(const struct part *part, const VkDescriptorBufferInfo *packed)
{
    const struct dj_features *const features = part->args->features;
    const uint32_t rows = part->sequences * part->heads * part->tokens;
    const struct features_push push = {
        .rows = rows,
        .tokens = part->tokens,
        .heads = part->heads,
        .first_head = (uint32_t)part->box.start[2],
        .head_stride = features->head_stride,
        .weights = features->weights,
    };
    const VkDescriptorBufferInfo bindings[] = {
        *packed,
        dj_transform_scale(part->plan->transform),
        {.buffer = features->tables->handle, .range = features->tables->size},
    };
    uint32_t groups[3];
    dj_transform_fold(part->plan->context, (rows + DJ_FEATURE_ROWS - 1) / DJ_FEATURE_ROWS, groups);
    dj_recorder_dispatch(part->recorder, part->plan->pipelines.features, bindings, 3, &push,
                         sizeof push, groups);
}

static void record_sum(const struct part *part)
{
    const struct dj_attention *const plan = part->plan;
    const struct dj_view v = packed_view(&part->args->v, &part->box);
    const struct tile_sum_push push = {
        .tokens = part->tokens,
        .tiles = part->tiles,
        .heads = part->heads,
        .first_head = (uint32_t)part->box.start[2],
        .v_base = v.base,
        .v_stride = {v.stride[0], v.stride[1], v.stride[2]},
    };
    const VkDescriptorBufferInfo bindings[] = {part->keys, v.binding, part->tile_records,
                                               part->decay};
    const uint32_t blocks = ((plan->dim + DJ_TILE_FEATURES - 1) / DJ_TILE_FEATURES) *
                            ((plan->value_dim + DJ_TILE_VALUES - 1) / DJ_TILE_VALUES);
    dj_recorder_dispatch(part->recorder, plan->pipelines.sum, bindings, 4, &push, sizeof push,
                         (uint32_t[3]){part->tiles, part->sequences * part->heads, blocks});
}

/* The pool, or slot number `slot` of it, as a binding; *base: words to slot 0 or to that slot. */
static VkDescriptorBufferInfo bind_slots(const struct part *part, int32_t slot, uint32_t *base)
{
    const struct dj_attention_args *const args = part->args;
    const uint64_t size = dj_state_slot_size(part->plan);
    const uint64_t alignment = part->plan->context->info.offset_alignment;
    uint64_t first = args->state_offset, length = args->slot_count * size;
    if (part->slot_bound) {
        first += slot >= 0 ? (uint64_t)slot * size : 0;
        length = size;
    }
    const uint64_t aligned = first / alignment * alignment;
    *base = (uint32_t)((first - aligned) / 4);
    return (VkDescriptorBufferInfo){
        .buffer = args->state->handle, .offset = aligned, .range = first - aligned + length};
}

/* Where one scan takes the state from and leaves it. */
struct scan_way {
    uint32_t read; /* DJ_SCAN_EMPTY, _CARRY or _SLOTS */
    bool write_carry, write_slots;
    int32_t slot; /* the one to bind where the whole pool cannot be */
};

static void record_scan_way(const struct part *part, struct scan_way way, uint32_t tiles)
{
    const struct dj_attention *const plan = part->plan;
    const struct dj_attention_args *const args = part->args;
    struct tile_scan_push push = {
        .tokens = part->tokens,
        .tiles = tiles,
        .heads = part->heads,
        .first_head = (uint32_t)part->box.start[2],
        .read = way.read,
        .write_carry = way.write_carry,
        .write_slots = way.write_slots,
        .slot_words = part->slot_bound ? 0 : (uint32_t)(dj_state_slot_size(plan) / 4),
        .first_index = (uint32_t)part->box.start[0],
        .carry_tokens = part->sequences * part->heads * (uint32_t)(dj_state_block_size(plan) / 4),
        .plan_heads = plan->heads,
        .tokens_added = (uint32_t)args->q.shape[1],
        .map = plan->map,
    };
    /* what the kernel will not touch is bound to something harmless all the same */
    VkDescriptorBufferInfo bindings[] = {part->tile_records, part->carry, part->carry, part->carry,
                                         part->decay};
    if (way.read == DJ_SCAN_SLOTS || way.write_slots) {
        bindings[1] = bind_slots(part, way.slot, &push.slots_base);
        bindings[3] = *part->slots;
    }
    dj_recorder_dispatch(part->recorder, plan->pipelines.scan, bindings, 5, &push, sizeof push,
                         (uint32_t[3]){plan->dim, part->sequences * part->heads, 1});
}

/* One dispatch; three where the slots that are read and written cannot be bound together, the state
 * then going by the carry. */
static void record_scan(const struct part *part)
{
    const struct dj_attention_args *const args = part->args;
    const uint64_t sequence = part->box.start[0];
    const bool slots = part->slots->buffer != VK_NULL_HANDLE && args->slot_count > 0;
    const bool from_slots = slots && args->slots_in != NULL && part->first;
    const bool to_slots = slots && args->slots_out != NULL && part->last;
    struct scan_way way = {
        .read = !part->first ? DJ_SCAN_CARRY
                : from_slots ? DJ_SCAN_SLOTS
                             : DJ_SCAN_EMPTY,
        .write_carry = !part->last || !part->plan->causal,
        .write_slots = to_slots,
    };
    if (!part->slot_bound) {
        record_scan_way(part, way, part->tiles);
        return;
    }
    if (from_slots) {
        const struct scan_way in = {
            .read = DJ_SCAN_SLOTS, .write_carry = true, .slot = args->slots_in[sequence]};
        record_scan_way(part, in, 0);
        dj_recorder_write_to_read(part->recorder);
        way.read = DJ_SCAN_CARRY;
    }
    way.write_carry = way.write_carry || to_slots;
    way.write_slots = false;
    record_scan_way(part, way, part->tiles);
    if (to_slots) {
        const struct scan_way out = {
            .read = DJ_SCAN_CARRY, .write_slots = true, .slot = args->slots_out[sequence]};
        dj_recorder_write_to_read(part->recorder);
        record_scan_way(part, out, 0);
    }
}

/* Enough workgroups to fill a large GPU; beyond that each does several column blocks, which saves
 * computing the scores again. */
static uint32_t column_shares(const struct part *part)
{
    const uint32_t blocks = (part->plan->value_dim + DJ_TILE_VALUES - 1) / DJ_TILE_VALUES;
    return (uint64_t)part->tiles * part->sequences * part->heads < 1024 ? blocks : 1;
}

static void record_output(const struct part *part)
{
    const struct dj_attention *const plan = part->plan;
    const struct dj_view v = packed_view(&part->args->v, &part->box);
    const struct dj_view o = packed_view(&part->args->o, &part->box);
    const uint32_t m = plan->dim, e = plan->value_dim;
    struct tile_output_push push = {
        .tokens = part->tokens,
        .tiles = part->tiles,
        .heads = part->heads,
        .first_head = (uint32_t)part->box.start[2],
        .v_base = v.base,
        .v_stride = {v.stride[0], v.stride[1], v.stride[2]},
        .o_base = o.base,
        .o_stride = {o.stride[0], o.stride[1], o.stride[2]},
        .before = DJ_RECORD_SIZE(m, e),
        .before_head = part->tiles * DJ_RECORD_SIZE(m, e),
        .before_norm = DJ_RECORD_BEFORE_NORM(m, e),
        .before_peak = DJ_RECORD_BEFORE_PEAK(m, e),
    };
    VkDescriptorBufferInfo before = part->tile_records;
    if (!plan->causal) { /* the whole state, as the scan left it in the carry */
        before = part->carry;
        push.before = 0;
        push.before_head = DJ_STATE_SIZE(m, e);
        push.before_norm = DJ_STATE_NORM(m, e);
        push.before_peak = DJ_STATE_PEAK(m, e);
    }
    const VkDescriptorBufferInfo bindings[] = {
        part->queries, part->keys, v.binding, o.binding, part->tile_records, before, part->decay};
    dj_recorder_dispatch(
        part->recorder, plan->pipelines.output, bindings, 7, &push, sizeof push,
        (uint32_t[3]){part->tiles, part->sequences * part->heads, column_shares(part)});
}

/* Which box part number `index` is, in which pass (without a causal mask: 0 sums, 1 outputs).
 * Tokens run fastest, then passes, so that a carry lives from one part to the next. */
static struct dj_box find_box(const struct dj_tiled_layout *layout, uint64_t index, uint64_t *pass,
                              bool *first, bool *last)
{
    const uint64_t *const boxes = layout->grid.boxes;
    const uint64_t token = index % boxes[1];
    *pass = index / boxes[1] % layout->passes;
    const uint64_t rest = index / boxes[1] / layout->passes;
    *first = token == 0;
    *last = token == boxes[1] - 1;
    return dj_grid_box(&layout->grid, rest / boxes[2], token, rest % boxes[2]);
}

static struct part make_part(const struct dj_attention *plan, struct dj_recorder *recorder,
                             const struct dj_attention_args *args,
                             const struct dj_tiled_layout *layout,
                             const VkDescriptorBufferInfo *slots, struct dj_box box)
{
    const uint32_t tokens = args->q.shape[1] > 0 ? (uint32_t)box.count[1] : 0;
    return (struct part){
        .plan = plan,
        .recorder = recorder,
        .args = args,
        .slots = slots,
        .box = box,
        .sequences = (uint32_t)box.count[0],
        .tokens = tokens,
        .heads = (uint32_t)box.count[2],
        .tiles = (uint32_t)tile_count(tokens),
        .slot_bound = layout->slot_bound,
        .queries = scratch_region(args, 0, layout->keys),
        .keys = scratch_region(args, layout->keys, layout->keys),
        .tile_records = scratch_region(args, layout->tiles, layout->carry - layout->tiles),
        .carry = scratch_region(args, layout->carry, layout->total - layout->carry),
        .decay = {.buffer = plan->decay->handle, .range = plan->decay->size},
    };
}

/* 1. queries and keys -> logarithms of features, packed;  2. sums of every tile;
 * 3. scan over tiles, state in and out;                   4. outputs of every tile.
 * Causal: all four. Otherwise 1 to 3 for the keys in the first pass, 1 and 4 for the queries in the
 * second, when the carry holds all keys. */
void dj_tiled_record(const struct dj_attention *plan, struct dj_recorder *recorder,
                     const struct dj_attention_args *args, const struct dj_tiled_layout *layout,
                     const VkDescriptorBufferInfo *slots, uint64_t index)
{
    assert(index < layout->parts);
    const bool tokens = args->q.shape[1] > 0;
    uint64_t pass;
    bool first, last;
    const struct dj_box box = find_box(layout, index, &pass, &first, &last);
    struct part part = make_part(plan, recorder, args, layout, slots, box);
    part.first = first;
    part.last = last;

    const bool keys = pass == 0, queries = plan->causal || pass == 1;
    if (tokens) {
        if (queries)
            record_transform(&part, &args->q, &part.queries);
        if (keys)
            record_transform(&part, &args->k, &part.keys);
        dj_recorder_write_to_read(recorder);
        if (queries)
            record_features(&part, &part.queries);
        if (keys)
            record_features(&part, &part.keys);
        dj_recorder_write_to_read(recorder);
    }
    if (keys) {
        if (tokens) {
            record_sum(&part);
            dj_recorder_write_to_read(recorder);
        }
        record_scan(&part);
    }
    if (tokens && queries) {
        if (keys)
            dj_recorder_write_to_read(recorder);
        record_output(&part);
    }
}
