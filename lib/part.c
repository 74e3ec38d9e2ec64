/* SPDX-License-Identifier: MIT */
/* What the linear families share of recording a piece: its memory, its rows, its states. */
#include "part.h"

#include "kernels.h"
#include "pipeline.h"

static struct dj_binding region(const struct dj_part *part, enum dj_tiled_region which)
{
    const struct dj_layout *const layout = part->layout;
    return dj_scratch_region(part->call->args, layout->region[which],
                             which + 1 < DJ_TILED_REGIONS ? layout->region[which + 1]
                                                          : layout->total);
}

/* The carry of the piece's sequences and heads, and the one behind it if it is written. */
static struct dj_binding carry_region(const struct dj_part *part)
{
    const struct dj_layout *const layout = part->layout;
    const uint64_t number = layout->copies > 0 ? part->cut.carry : 0;
    const uint64_t start = layout->region[DJ_TILED_CARRY] + number * layout->carry;
    return dj_scratch_region(part->call->args, start,
                             start + (part->cut.forks ? 2 : 1) * layout->carry);
}

static const struct dj_span_set *side(const struct dj_part *part, bool queries)
{
    return queries ? &part->call->queries : &part->call->keys;
}

struct dj_rows dj_part_rows(const struct dj_part *part, const struct dj_tensor *tensor,
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

void dj_part_spans(const struct dj_part *part)
{
    if (part->table.buffer == VK_NULL_HANDLE)
        return;
    dj_call_record_spans(part->call, part->recorder, part->indices, side(part, part->cut.queries),
                         part->cut.box.start[0], part->cut.box.count[0], part->cut.snapshot,
                         part->cut.fresh, part->table);
    dj_recorder_write_to_read(part->recorder);
}

struct dj_part dj_part_make(const struct dj_call *call, struct dj_recorder *recorder,
                            struct dj_layout *layout, const struct dj_call_indices *indices,
                            uint64_t index)
{
    const struct dj_attention *const plan = call->plan;
    struct dj_part part = {
        .call = call,
        .plan = plan,
        .recorder = recorder,
        .layout = layout,
        .indices = indices,
        .cut = dj_tiled_cut(call, layout, index),
        .decay = dj_buffer_whole(plan->decay),
    };
    part.sequences = (uint32_t)part.cut.box.count[0];
    part.heads = (uint32_t)part.cut.box.count[2];
    part.tokens = (uint32_t)part.cut.tokens;
    part.tile_tokens = (uint32_t)dj_tiled_tokens(call);
    part.tiles = (part.tokens + part.tile_tokens - 1) / part.tile_tokens;
    part.projected = region(&part, DJ_TILED_PROJECTED);
    part.queries = region(&part, DJ_TILED_QUERIES);
    part.keys = region(&part, DJ_TILED_KEYS);
    part.records = region(&part, DJ_TILED_RECORDS);
    part.carry = carry_region(&part);
    if (dj_call_has_table(call, side(&part, part.cut.queries)))
        part.table = region(&part, DJ_TILED_TABLE);
    return part;
}

void dj_part_move(const struct dj_part *part, struct dj_scan_way way, uint32_t tiles)
{
    const struct dj_attention *const plan = part->plan;
    const struct dj_call *const call = part->call;
    const struct dj_call_indices *const indices = part->indices;
    struct tile_scan_push push = {
        .tokens = part->tokens,
        .ragged = part->table.buffer != VK_NULL_HANDLE,
        .start = (uint32_t)part->cut.box.start[1],
        .tiles = tiles,
        .tile_tokens = part->tile_tokens,
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
    struct dj_binding bindings[8] = {part->carry, part->carry, part->carry, part->carry,
                                     part->decay, part->carry, part->carry, part->carry};
    if (tiles > 0)
        bindings[0] = part->records;
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
static void record_scan_bound(const struct dj_part *part, struct dj_scan_way way)
{
    const bool apart = way.read == DJ_SCAN_SLOTS && way.write_slots != 0;
    if (apart)
        way.write_slots = DJ_WRITE_STATE;
    dj_part_move(part, way, part->tiles);
    if (!apart)
        return;
    way.write_carry = false;
    way.write_slots = DJ_WRITE_HEADER;
    dj_recorder_write_to_read(part->recorder);
    dj_part_move(part, way, part->tiles);
}

void dj_part_scan(const struct dj_part *part)
{
    const struct dj_call *const call = part->call;
    const struct dj_indices *const out = &call->args->slots_out;
    const bool from_slots =
        part->cut.first && call->slots && dj_indices_given(&call->args->slots_in);
    const bool kept = part->layout->copies > 0;
    const bool to_slots = part->cut.publishes && call->slots && dj_indices_given(out) && !kept;
    struct dj_scan_way way = {
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
        const struct dj_scan_way in = {
            .read = DJ_SCAN_SLOTS, .write_carry = true, .slot = dj_slot_in(call, sequence)};
        dj_part_move(part, in, 0);
        dj_recorder_write_to_read(part->recorder);
        way.read = DJ_SCAN_CARRY;
    }
    way.write_carry = way.write_carry || to_slots;
    way.write_slots = 0;
    dj_part_move(part, way, part->tiles);
    if (to_slots) {
        const struct dj_scan_way last = {
            .read = DJ_SCAN_CARRY,
            .write_slots = DJ_WRITE_STATE | DJ_WRITE_HEADER,
            .slot = out->host[sequence * call->snapshots + part->cut.snapshot]};
        dj_recorder_write_to_read(part->recorder);
        dj_part_move(part, last, 0);
    }
}

void dj_part_copy(const struct dj_part *part)
{
    const struct dj_call *const call = part->call;
    struct dj_scan_way way = {.read = DJ_SCAN_CARRY,
                              .write_slots = DJ_WRITE_STATE | DJ_WRITE_HEADER};
    if (part->layout->slot_bound)
        way.slot = call->args->slots_out
                       .host[part->cut.box.start[0] * call->snapshots + part->cut.snapshot];
    dj_part_move(part, way, 0);
}
