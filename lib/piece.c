/* SPDX-License-Identifier: MIT */
/* What the linear families share of recording a piece: its memory, its rows, its states. */
#include "piece.h"

#include "kernels.h"
#include "pipeline.h"
#include "size.h"

static struct dj_binding region(const struct dj_piece *piece, enum dj_tiled_region which)
{
    const struct dj_layout *const layout = piece->layout;
    return dj_scratch_region(piece->call->args, layout->region[which],
                             which + 1 < DJ_TILED_REGIONS ? layout->region[which + 1]
                                                          : layout->total);
}

/* The carry of the piece's sequences and heads, and the one behind it if it is written. */
static struct dj_binding carry_region(const struct dj_piece *piece)
{
    const struct dj_layout *const layout = piece->layout;
    const uint64_t number = layout->copies > 0 ? piece->cut.carry : 0;
    const uint64_t start = layout->region[DJ_TILED_CARRY] + number * layout->carry;
    return dj_scratch_region(piece->call->args, start,
                             start + (piece->cut.forks ? 2 : 1) * layout->carry);
}

static const struct dj_span_set *side(const struct dj_piece *piece, bool queries)
{
    return queries ? &piece->call->queries : &piece->call->keys;
}

struct dj_rows dj_piece_rows(const struct dj_piece *piece, const struct dj_tensor *tensor,
                             bool queries, uint32_t member)
{
    struct dj_tensor view = *tensor;
    struct dj_box box = piece->cut.box;
    const uint32_t group = piece->plan->group;
    if (queries && piece->layout->apart) {
        view.offset += member * view.stride[2] * dj_type_size(view.type);
        view.stride[2] *= group;
        view.shape[2] = piece->plan->key_heads;
    } else if (queries) {
        box.start[2] *= group;
        box.count[2] *= group;
    }
    return dj_call_rows(piece->call, side(piece, queries), &view, &box, piece->cut.snapshot,
                        piece->table);
}

void dj_piece_spans(const struct dj_piece *piece)
{
    if (piece->table.buffer == VK_NULL_HANDLE)
        return;
    dj_call_record_spans(piece->call, piece->recorder, piece->indices,
                         side(piece, piece->cut.queries), piece->cut.box.start[0],
                         piece->cut.box.count[0], piece->cut.snapshot, piece->cut.fresh,
                         piece->table);
    dj_recorder_write_to_read(piece->recorder);
}

struct dj_piece dj_piece_make(const struct dj_call *call, struct dj_recorder *recorder,
                              struct dj_layout *layout, const struct dj_call_indices *indices,
                              uint64_t index)
{
    const struct dj_attention *const plan = call->plan;
    struct dj_piece piece = {
        .call = call,
        .plan = plan,
        .recorder = recorder,
        .layout = layout,
        .indices = indices,
        .cut = dj_tiled_cut(call, layout, index),
        .decay = dj_buffer_whole(plan->decay),
    };
    piece.sequences = (uint32_t)piece.cut.box.count[0];
    piece.heads = (uint32_t)piece.cut.box.count[2];
    piece.tokens = (uint32_t)piece.cut.tokens;
    piece.tiles = (uint32_t)dj_tiled_count(call, piece.tokens);
    piece.projected = region(&piece, DJ_TILED_PROJECTED);
    piece.queries = region(&piece, DJ_TILED_QUERIES);
    piece.keys = region(&piece, DJ_TILED_KEYS);
    piece.records = region(&piece, DJ_TILED_RECORDS);
    piece.carry = carry_region(&piece);
    const bool table = dj_call_has_table(call, side(&piece, piece.cut.queries));
    if (table)
        piece.table = region(&piece, DJ_TILED_TABLE);
    piece.tile_tokens =
        table && call->family == &dj_family_chunked ? 0 : (uint32_t)dj_tiled_tokens(call);
    return piece;
}

void dj_piece_move(const struct dj_piece *piece, struct dj_scan_way way, uint32_t tiles)
{
    const struct dj_attention *const plan = piece->plan;
    const struct dj_call *const call = piece->call;
    const struct dj_call_indices *const indices = piece->indices;
    struct tile_scan_push push = {
        .tokens = piece->tokens,
        .ragged = piece->table.buffer != VK_NULL_HANDLE,
        .start = (uint32_t)piece->cut.box.start[1],
        .tiles = tiles,
        .tile_tokens = piece->tile_tokens,
        .heads = piece->heads,
        .first_head = (uint32_t)piece->cut.box.start[2],
        .read = way.read,
        .write_carry = way.write_carry,
        .write_slots = way.write_slots,
        .slot_count = call->args->slot_count,
        .first_index = (uint32_t)piece->cut.box.start[0],
        .snapshots = call->snapshots,
        .snapshot = piece->cut.snapshot,
        .accepted = indices->accepted.binding.buffer != VK_NULL_HANDLE,
        .in_base = indices->slots_in.base,
        .accepted_base = indices->accepted.base,
        .out_base = indices->slots_out.base,
        .carry_tokens = piece->sequences * piece->heads * (uint32_t)(dj_state_block_size(plan) / 4),
        .carry_out = piece->cut.forks ? (uint32_t)(piece->layout->carry / 4) : 0,
        .plan_heads = plan->key_heads,
        .dim = plan->dim,
        .map = plan->map,
    };
    /* what the kernel will not touch is bound to something harmless all the same */
    struct dj_binding bindings[8] = {piece->carry, piece->carry, piece->carry, piece->carry,
                                     piece->decay, piece->carry, piece->carry, piece->carry};
    if (tiles > 0)
        bindings[0] = piece->records;
    if (way.read == DJ_SCAN_SLOTS || way.write_slots)
        bindings[1] = dj_call_slots(call, piece->layout->slot_bound, way.slot, &push.slots_base,
                                    &push.slot_words);
    if (indices->slots_in.binding.buffer != VK_NULL_HANDLE)
        bindings[3] = indices->slots_in.binding;
    if (push.ragged)
        bindings[5] = piece->table;
    if (indices->slots_out.binding.buffer != VK_NULL_HANDLE)
        bindings[6] = indices->slots_out.binding;
    if (push.accepted)
        bindings[7] = indices->accepted.binding;
    const uint32_t workgroups = (uint32_t)dj_divide_up(plan->features, plan->tiled.scan_rows);
    dj_recorder_dispatch(piece->recorder, plan->tiled.scan, bindings, 8, &push, sizeof push,
                         (uint32_t[3]){way.write_slots == DJ_WRITE_HEADER ? 1 : workgroups,
                                       piece->sequences * piece->heads, 1});
}

/* Where the whole pool can be bound. A slot that is read may be written too, and every workgroup
 * judges it by its header: that is then written by a dispatch of its own. */
static void record_scan_bound(const struct dj_piece *piece, struct dj_scan_way way)
{
    const bool apart = way.read == DJ_SCAN_SLOTS && way.write_slots != 0;
    if (apart)
        way.write_slots = DJ_WRITE_STATE;
    dj_piece_move(piece, way, piece->tiles);
    if (!apart)
        return;
    way.write_carry = false;
    way.write_slots = DJ_WRITE_HEADER;
    dj_recorder_write_to_read(piece->recorder);
    dj_piece_move(piece, way, piece->tiles);
}

void dj_piece_scan(const struct dj_piece *piece)
{
    const struct dj_call *const call = piece->call;
    const struct dj_indices *const out = &call->args->slots_out;
    const bool from_slots =
        piece->cut.first && call->slots && dj_indices_given(&call->args->slots_in);
    const bool kept = piece->layout->copies > 0;
    const bool to_slots = piece->cut.publishes && call->slots && dj_indices_given(out) && !kept;
    struct dj_scan_way way = {
        .read = !piece->cut.first ? DJ_SCAN_CARRY
                : from_slots      ? DJ_SCAN_SLOTS
                                  : DJ_SCAN_EMPTY,
        .write_carry = !piece->cut.last || !piece->plan->causal || kept,
        .write_slots = to_slots ? DJ_WRITE_STATE | DJ_WRITE_HEADER : 0,
    };
    if (!piece->layout->slot_bound) {
        record_scan_bound(piece, way);
        return;
    }
    const uint64_t sequence = piece->cut.box.start[0];
    if (from_slots) {
        const struct dj_scan_way in = {
            .read = DJ_SCAN_SLOTS, .write_carry = true, .slot = dj_slot_in(call, sequence)};
        dj_piece_move(piece, in, 0);
        dj_recorder_write_to_read(piece->recorder);
        way.read = DJ_SCAN_CARRY;
    }
    way.write_carry = way.write_carry || to_slots;
    way.write_slots = 0;
    dj_piece_move(piece, way, piece->tiles);
    if (to_slots) {
        const struct dj_scan_way last = {
            .read = DJ_SCAN_CARRY,
            .write_slots = DJ_WRITE_STATE | DJ_WRITE_HEADER,
            .slot = out->host[sequence * call->snapshots + piece->cut.snapshot]};
        dj_recorder_write_to_read(piece->recorder);
        dj_piece_move(piece, last, 0);
    }
}

void dj_piece_copy(const struct dj_piece *piece)
{
    const struct dj_call *const call = piece->call;
    struct dj_scan_way way = {.read = DJ_SCAN_CARRY,
                              .write_slots = DJ_WRITE_STATE | DJ_WRITE_HEADER};
    if (piece->layout->slot_bound)
        way.slot = call->args->slots_out
                       .host[piece->cut.box.start[0] * call->snapshots + piece->cut.snapshot];
    dj_piece_move(piece, way, 0);
}
