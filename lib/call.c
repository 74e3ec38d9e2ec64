/* SPDX-License-Identifier: MIT */
/* One call of an attention plan: its checks, its indices, its spans. */
#include "attention.h"

#include "kernels.h"
#include "size.h"

#include <inttypes.h>
#include <string.h>

static_assert(DJ_ELEMENT_FLOAT32 == DJ_FLOAT32 && DJ_ELEMENT_FLOAT16 == DJ_FLOAT16 &&
                  DJ_ELEMENT_BFLOAT16 == DJ_BFLOAT16,
              "element types");
static_assert(DJ_KERNEL_SPANS_WHOLE == DJ_SPANS_WHOLE && DJ_KERNEL_SPANS_PADDED == DJ_SPANS_PADDED,
              "kinds of spans");

static dj_result check_shape(const struct dj_log *log, const char *name,
                             const struct dj_tensor *tensor, const uint64_t want[4],
                             const char *hint)
{
    const uint64_t *const s = tensor->shape;
    if (s[0] != want[0] || s[1] != want[1] || s[2] != want[2] || s[3] != want[3])
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: %s has shape [%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64
                       "], not [%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "]%s",
                       name, s[0], s[1], s[2], s[3], want[0], want[1], want[2], want[3], hint);
    return DJ_SUCCESS;
}

/* What a wrong shape is likely to be. */
static const char *shape_hint(const struct dj_attention *plan, const struct dj_tensor *tensor,
                              const uint64_t want[4])
{
    const uint64_t *const s = tensor->shape;
    if (s[2] != want[2] && s[1] == want[2])
        return ": [B,T,H,d], which dj_tensor_swap makes of [B,H,T,d]";
    if (plan->causal && s[1] != want[1])
        return ": where it is causal, k, v and o have as many tokens as q";
    return "";
}

static dj_result check_tensors(const struct dj_call *call)
{
    const struct dj_attention *const plan = call->plan;
    const struct dj_attention_args *const args = call->args;
    const struct dj_log *log = &plan->context->log;
    const uint64_t batch = args->q.shape[0], queries = args->q.shape[1];
    const uint64_t keys = plan->causal ? queries : args->k.shape[1];
    const struct {
        const char *name;
        const struct dj_tensor *tensor;
        uint32_t type;
        uint64_t shape[4];
    } rows[] = {
        {"q", &args->q, plan->q_type, {batch, queries, plan->heads, plan->dim}},
        {"k", &args->k, plan->k_type, {batch, keys, plan->key_heads, plan->dim}},
        {"v", &args->v, plan->v_type, {batch, keys, plan->key_heads, plan->value_dim}},
        {"o", &args->o, plan->o_type, {batch, queries, plan->heads, plan->value_dim}},
    };
    for (int i = 0; i < 4; i++) {
        dj_result result = check_shape(log, rows[i].name, rows[i].tensor, rows[i].shape,
                                       shape_hint(plan, rows[i].tensor, rows[i].shape));
        if (result == DJ_SUCCESS)
            result = dj_tensor_check(plan->context, rows[i].name, rows[i].tensor, rows[i].type,
                                     i == 3, call->placed);
        if (result != DJ_SUCCESS)
            return result;
    }
    for (int i = 0; i < 3; i++) {
        const dj_result result =
            dj_tensor_check_apart(log, "attention: o", &args->o, rows[i].name, rows[i].tensor);
        if (result != DJ_SUCCESS)
            return result;
    }
    const uint64_t longest = queries > keys ? queries : keys;
    if (longest > UINT32_MAX - DJ_TILE_TOKENS)
        return dj_fail(log, DJ_ERROR_LIMIT,
                       "attention: %" PRIu64 " tokens in one call, at most 2^32 - 33", longest);
    return DJ_SUCCESS;
}

static dj_result check_features(const struct dj_attention *plan, const struct dj_features *features)
{
    const struct dj_log *log = &plan->context->log;
    const struct dj_map_kind *const kind = plan->kind;
    const bool wanted = kind->frequencies || kind->directions || kind->projections;
    if (wanted != (features != NULL))
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "attention: features %s, and %s takes %s",
                       wanted ? "are NULL" : "are given", kind->name, wanted ? "some" : "none");
    if (features == NULL)
        return DJ_SUCCESS;
    if (features->context != plan->context)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: features are another context's, or were destroyed");
    if (features->map != plan->map || features->dim != plan->dim ||
        features->features != plan->features)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: %u features of %s, dim %u, for a plan of %u of %s, dim %u",
                       features->features, dj_map_find(features->map)->name, features->dim,
                       plan->features, plan->kind->name, plan->dim);
    if (features->heads != 0 && features->heads != plan->key_heads)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: features of %u heads for a plan of %u key heads",
                       features->heads, plan->key_heads);
    if (kind->projections && features->tokens != plan->max_tokens)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: projections over %u tokens for a plan of %u", features->tokens,
                       plan->max_tokens);
    return DJ_SUCCESS;
}

static dj_result check_spans(struct dj_call *call)
{
    const struct dj_attention *const plan = call->plan;
    const struct dj_attention_args *const args = call->args;
    const struct dj_log *log = &plan->context->log;
    const struct dj_spans *const own = &args->query_spans;
    dj_result result = dj_spans_check(plan->context, "spans", &args->spans, args->k.shape[0],
                                      args->k.shape[1], &call->keys);
    if (result == DJ_SUCCESS)
        result = dj_spans_check(plan->context, "query_spans", own, args->q.shape[0],
                                args->q.shape[1], &call->queries);
    if (result != DJ_SUCCESS)
        return result;
    if (!plan->causal && call->keys.sequences != call->queries.sequences)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: %" PRIu64 " sequences in spans, %" PRIu64 " in query_spans",
                       call->keys.sequences, call->queries.sequences);
    if (!plan->causal)
        return DJ_SUCCESS;
    if (own->kind != DJ_SPANS_WHOLE)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: query_spans of causal attention, where spans hold for all");
    call->queries = call->keys;
    return DJ_SUCCESS;
}

/* Numbers of tokens that a map is bound to. */
static dj_result check_lengths(const struct dj_call *call)
{
    const struct dj_attention *const plan = call->plan;
    const struct dj_log *log = &plan->context->log;
    const uint64_t keys = call->keys.longest, queries = call->queries.longest;
    const uint64_t longest = keys > queries ? keys : queries;
    if (plan->map == DJ_MAP_COSFORMER && longest > plan->max_tokens)
        return dj_fail(log, DJ_ERROR_TOKEN_COUNT,
                       "attention: %" PRIu64 " tokens, cosFormer's max_tokens is %u", longest,
                       plan->max_tokens);
    if (plan->map != DJ_MAP_LINFORMER)
        return DJ_SUCCESS;
    if (dj_spans_ragged(&call->keys))
        return dj_fail(log, DJ_ERROR_TOKEN_COUNT,
                       "attention: spans of kind %u, where Linformer takes whole rows of keys",
                       call->keys.spans->kind);
    if (keys != plan->max_tokens)
        return dj_fail(log, DJ_ERROR_TOKEN_COUNT,
                       "attention: %" PRIu64 " tokens, Linformer's max_tokens is %u", keys,
                       plan->max_tokens);
    return DJ_SUCCESS;
}

static bool is_given(const struct dj_tensor *scales)
{
    return scales->buffer != NULL || scales->shape[3] != 0;
}

static dj_result check_one_scale(const struct dj_call *call, const char *name,
                                 const struct dj_tensor *scales, uint64_t heads, uint64_t tokens)
{
    const struct dj_attention *const plan = call->plan;
    const struct dj_log *log = &plan->context->log;
    if (!is_given(scales))
        return DJ_SUCCESS;
    if (plan->normalise || plan->kind->exponential || plan->kind->softmax)
        return dj_fail(log, DJ_ERROR_UNSUPPORTED, "attention: %s for %s%s", name, plan->kind->name,
                       plan->normalise ? " with a normaliser" : "");
    const uint64_t want[4] = {1, 1, heads, scales->shape[3]};
    dj_result result = check_shape(log, name, scales, want, "");
    if (result == DJ_SUCCESS)
        result = dj_tensor_check(plan->context, name, scales, DJ_FLOAT32, false, call->placed);
    if (result != DJ_SUCCESS)
        return result;
    if (scales->shape[3] > DJ_MOST_PLACES)
        return dj_fail(log, DJ_ERROR_LIMIT, "attention: %s has %" PRIu64 " places, at most %u",
                       name, scales->shape[3], DJ_MOST_PLACES);
    if (!dj_tensor_binds(plan->context, scales, want))
        return dj_fail(log, DJ_ERROR_LIMIT,
                       "attention: %s of %" PRIu64 " heads and %" PRIu64
                       " places span more than the %" PRIu64 " bytes that the device can bind",
                       name, heads, scales->shape[3], plan->context->info.max_storage_range);
    if (tokens > scales->shape[3])
        return dj_fail(log, DJ_ERROR_TOKEN_COUNT,
                       "attention: %" PRIu64 " tokens, %s has %" PRIu64 " places", tokens, name,
                       scales->shape[3]);
    return dj_tensor_check_apart(log, "attention: o", &call->args->o, name, scales);
}

static dj_result check_scales(const struct dj_call *call)
{
    const struct dj_attention_args *const args = call->args;
    const dj_result result = check_one_scale(call, "query_scales", &args->query_scales,
                                             call->plan->heads, call->queries.longest);
    return result != DJ_SUCCESS ? result
                                : check_one_scale(call, "key_scales", &args->key_scales,
                                                  call->plan->key_heads, call->keys.longest);
}

/* A call's indices and how many numbers each has, in the order of struct dj_call_indices. */
struct numbers {
    const struct dj_indices *indices;
    uint64_t count;
};

static void list_indices(const struct dj_call *call, struct numbers list[DJ_INDEX_RANGES])
{
    const struct dj_attention_args *const args = call->args;
    const uint64_t sequences = call->keys.sequences;
    const uint64_t inputs = dj_indices_given(&args->accepted) ? call->snapshots : 1;
    list[0] = (struct numbers){&args->spans.indices, dj_spans_numbers(&call->keys)};
    list[1] = (struct numbers){&args->query_spans.indices, dj_spans_numbers(&call->queries)};
    list[2] = (struct numbers){&args->slots_in, sequences * inputs};
    list[3] = (struct numbers){&args->accepted, sequences};
    list[4] = (struct numbers){&args->slots_out, sequences * call->snapshots};
}

/* Those that the call reads: without slots only the spans. */
static int indices_read(const struct dj_call *call)
{
    return call->slots ? DJ_INDEX_RANGES : 2;
}

const char *const dj_call_index_names[DJ_INDEX_RANGES] = {"spans.indices", "query_spans.indices",
                                                          "slots_in", "accepted", "slots_out"};

void dj_call_index_ranges(const struct dj_call *call, struct dj_tensor ranges[DJ_INDEX_RANGES])
{
    struct numbers list[DJ_INDEX_RANGES];
    list_indices(call, list);
    for (int i = 0; i < DJ_INDEX_RANGES; i++)
        ranges[i] = dj_tensor_of_range(list[i].indices->buffer, list[i].indices->offset,
                                       list[i].indices->buffer != NULL ? list[i].count * 4 : 0);
}

void dj_call_tensors(const struct dj_attention_args *args,
                     struct dj_named_tensor tensors[DJ_TENSORS_OF_CALL])
{
    const struct dj_named_tensor all[DJ_TENSORS_OF_CALL] = {
        {"q", &args->q},
        {"k", &args->k},
        {"v", &args->v},
        {"o", &args->o},
        {"query_scales", &args->query_scales},
        {"key_scales", &args->key_scales},
    };
    memcpy(tensors, all, sizeof all);
}

/* The pool may share memory with no tensor, nor may indices that are read with what is written. */
static dj_result check_memory(const struct dj_call *call)
{
    const struct dj_attention *const plan = call->plan;
    const struct dj_attention_args *const args = call->args;
    const struct dj_log *log = &plan->context->log;
    const struct dj_tensor pool = dj_tensor_of_range(args->state, args->state_offset,
                                                     args->slot_count * dj_state_slot_size(plan));
    static const char pool_name[] = "attention: the pool of state slots";
    struct dj_named_tensor tensors[DJ_TENSORS_OF_CALL];
    dj_call_tensors(args, tensors);
    dj_result result = DJ_SUCCESS;
    for (int i = 0; result == DJ_SUCCESS && call->slots && i < DJ_TENSORS_OF_CALL; i++)
        result = dj_tensor_check_apart(log, pool_name, &pool, tensors[i].name, tensors[i].tensor);
    struct dj_tensor ranges[DJ_INDEX_RANGES];
    dj_call_index_ranges(call, ranges);
    for (int i = 0; result == DJ_SUCCESS && i < DJ_INDEX_RANGES; i++) {
        const char *const name = dj_call_index_names[i];
        result = dj_tensor_check_apart(log, "attention: o", &args->o, name, &ranges[i]);
        if (result == DJ_SUCCESS && call->slots)
            result = dj_tensor_check_apart(log, pool_name, &pool, name, &ranges[i]);
    }
    return result;
}

/* Also of what is not given: a newer program may give it in a way that only it knows. The tensors
 * and spans that every call has are looked at where they are checked. */
static bool reserved_is_zero(const struct dj_log *log, const struct dj_attention_args *args)
{
    const struct {
        const char *name;
        const uint64_t *reserved;
        uint32_t count, padding;
    } parts[] = {
        {"dj_attention_args", args->reserved, 4, args->padding},
        {"dj_scratch", args->scratch.reserved, 2, 0},
        {"query_scales", args->query_scales.reserved, 2, args->query_scales.padding},
        {"key_scales", args->key_scales.reserved, 2, args->key_scales.padding},
        {"spans.indices", args->spans.indices.reserved, 2, 0},
        {"query_spans.indices", args->query_spans.indices.reserved, 2, 0},
        {"slots_in", args->slots_in.reserved, 2, 0},
        {"accepted", args->accepted.reserved, 2, 0},
        {"slots_out", args->slots_out.reserved, 2, 0},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!dj_reserved_is_zero(log, parts[i].reserved, parts[i].count, parts[i].name))
            return false;
        if (parts[i].padding != 0) {
            dj_fail(log, DJ_ERROR_VERSION, "%s.padding is %u, not 0", parts[i].name,
                    parts[i].padding);
            return false;
        }
    }
    return true;
}

dj_result dj_call_check(const struct dj_attention *plan, const struct dj_attention_args *args,
                        bool placed, struct dj_call *call)
{
    const struct dj_log *log = &plan->context->log;
    *call = (struct dj_call){.plan = plan,
                             .args = args,
                             .placed = placed,
                             .snapshots = args->snapshots > 0 ? args->snapshots : 1,
                             .states = 1};
    if (!reserved_is_zero(log, args))
        return DJ_ERROR_VERSION;
    if ((args->barriers & ~(uint32_t)DJ_BARRIERS) != 0)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "attention: barriers 0x%x has unknown bits",
                       args->barriers);
    dj_result result = check_tensors(call);
    if (result == DJ_SUCCESS)
        result = check_features(plan, args->features);
    if (result == DJ_SUCCESS)
        result = check_spans(call);
    if (result == DJ_SUCCESS)
        result = dj_slots_check(call);
    if (result == DJ_SUCCESS)
        result = check_lengths(call);
    if (result == DJ_SUCCESS)
        result = check_scales(call);
    if (result != DJ_SUCCESS)
        return result;
    call->slots = dj_slots_used(args) && args->slot_count > 0;
    if (call->slots && dj_indices_given(&args->slots_out))
        call->states = call->snapshots;
    const bool places =
        plan->kind->places || is_given(&args->query_scales) || is_given(&args->key_scales);
    call->seen = places && call->slots && dj_indices_given(&args->slots_in);
    return check_memory(call);
}

uint64_t dj_call_ring_size(const struct dj_call *call)
{
    struct numbers list[DJ_INDEX_RANGES];
    list_indices(call, list);
    uint64_t size = 0;
    for (int i = 0; i < indices_read(call); i++)
        size += dj_indices_ring_size(call->plan->context, list[i].indices, list[i].count);
    return size;
}

struct dj_call_indices dj_call_bind(const struct dj_call *call, struct dj_recorder *recorder)
{
    struct numbers list[DJ_INDEX_RANGES];
    list_indices(call, list);
    struct dj_bound_indices bound[DJ_INDEX_RANGES] = {{.base = 0}};
    for (int i = 0; i < indices_read(call); i++)
        bound[i] = dj_indices_bind(recorder, list[i].indices, list[i].count);
    return (struct dj_call_indices){bound[0], bound[1], bound[2], bound[3], bound[4]};
}

struct dj_binding dj_call_slots(const struct dj_call *call, bool slot_bound, int32_t slot,
                                uint32_t *base, uint32_t *words)
{
    const struct dj_attention_args *const args = call->args;
    const uint64_t size = dj_state_slot_size(call->plan);
    const uint64_t alignment = call->plan->context->info.offset_alignment;
    uint64_t first = args->state_offset, length = args->slot_count * size;
    if (slot_bound) {
        first += slot >= 0 ? (uint64_t)slot * size : 0;
        length = size;
    }
    const uint64_t aligned = first / alignment * alignment;
    *base = (uint32_t)((first - aligned) / 4);
    *words = slot_bound ? 0 : (uint32_t)(size / 4);
    return (struct dj_binding){
        .buffer = args->state, .offset = aligned, .range = first - aligned + length};
}

uint64_t dj_spans_table_size(uint64_t sequences)
{
    return sequences * 2 * 4 * sizeof(uint32_t);
}

bool dj_call_has_table(const struct dj_call *call, const struct dj_span_set *set)
{
    return dj_spans_ragged(set) || call->seen || call->states > 1;
}

void dj_call_record_spans(const struct dj_call *call, struct dj_recorder *recorder,
                          const struct dj_call_indices *indices, const struct dj_span_set *set,
                          uint64_t sequence, uint64_t count, uint32_t snapshot, bool fresh,
                          struct dj_binding table)
{
    const bool queries = set == &call->queries && !call->plan->causal;
    const struct dj_bound_indices *const spans = queries ? &indices->query_spans : &indices->spans;
    struct spans_push push = {
        .kind = set->spans->kind,
        .sequences = (uint32_t)count,
        .first_index = (uint32_t)sequence,
        .row_tokens = (uint32_t)set->row_tokens,
        .longest = (uint32_t)set->longest,
        .snapshots = call->snapshots,
        .states = queries ? 1 : call->states,
        .snapshot = queries ? 0 : snapshot,
        .seen = !call->seen ? DJ_SEEN_NONE
                : fresh     ? DJ_SEEN_SLOTS
                            : DJ_SEEN_KEPT,
        .slot_count = call->args->slot_count,
        .accepted = indices->accepted.binding.buffer != VK_NULL_HANDLE,
        .in_base = indices->slots_in.base,
        .accepted_base = indices->accepted.base,
        .indices_base = spans->base,
    };
    /* what the kernel will not touch is bound to something harmless all the same */
    struct dj_binding bindings[5] = {table, table, table, table, table};
    if (spans->binding.buffer != VK_NULL_HANDLE)
        bindings[1] = spans->binding;
    if (push.seen == DJ_SEEN_SLOTS) {
        const bool pool_fits = dj_call_pool_fits(call);
        bindings[2] = dj_call_slots(call, !pool_fits, pool_fits ? -1 : dj_slot_in(call, sequence),
                                    &push.slots_base, &push.slot_words);
        bindings[3] = indices->slots_in.binding;
    }
    if (push.accepted)
        bindings[4] = indices->accepted.binding;
    const uint32_t groups[3] = {(uint32_t)dj_divide_up(count, DJ_SPAN_THREADS), 1, 1};
    dj_recorder_dispatch(recorder, call->plan->spans, bindings, 5, &push, sizeof push, groups);
}

bool dj_call_pool_fits(const struct dj_call *call)
{
    const struct dj_context *const context = call->plan->context;
    return !call->slots || call->args->slot_count * dj_state_slot_size(call->plan) +
                                   context->info.offset_alignment <=
                               dj_state_reach(context);
}

struct dj_rows dj_call_rows(const struct dj_call *call, const struct dj_span_set *set,
                            const struct dj_tensor *tensor, const struct dj_box *box,
                            uint32_t snapshot, struct dj_binding table)
{
    const uint64_t back = snapshot > 0 ? call->states - snapshot : 0;
    struct dj_box piece =
        dj_spans_box(set, box->start[0], box->count[0], box->start[1], box->count[1], back);
    piece.start[2] = box->start[2];
    piece.count[2] = box->count[2];
    const bool ragged = dj_call_has_table(call, set);
    struct dj_rows rows = {
        .count = {(uint32_t)box->count[0], (uint32_t)box->count[2], (uint32_t)box->count[1]},
        .ragged = ragged,
        .start = (uint32_t)box->start[1],
        .origin = (uint32_t)piece.start[1],
        .spans = table,
    };
    /* where no sequence has tokens kernels may load one, and replace it */
    if (piece.count[1] == 0)
        piece.count[1] = 1;
    rows.view = dj_tensor_view(tensor, &piece);
    /* kernels count sequences, heads, tokens */
    const uint32_t token = rows.view.stride[1];
    rows.view.stride[1] = rows.view.stride[2];
    rows.view.stride[2] = token;
    if (set->spans->kind == DJ_SPANS_PACKED)
        rows.view.stride[0] = 0;
    return rows;
}

uint64_t dj_layout_find(const struct dj_call *call, struct dj_layout *layout,
                        uint64_t (*count)(const struct dj_call *call,
                                          const struct dj_layout *layout, uint64_t box),
                        uint64_t *index)
{
    const uint64_t heads = layout->head_boxes;
    if (!dj_spans_ragged(&call->keys) && !dj_spans_ragged(&call->queries)) {
        const uint64_t parts = count(call, layout, 0) * heads, box = *index / parts;
        *index %= parts;
        return box;
    }
    if (*index < layout->cursor.first)
        layout->cursor.box = layout->cursor.first = 0;
    for (;;) { /* boxes differ in length */
        const uint64_t parts = count(call, layout, layout->cursor.box) * heads;
        if (*index - layout->cursor.first < parts)
            break;
        layout->cursor.first += parts;
        layout->cursor.box++;
    }
    *index -= layout->cursor.first;
    return layout->cursor.box;
}

uint64_t dj_layout_pieces(const struct dj_call *call, const struct dj_layout *layout,
                          uint64_t (*count)(const struct dj_call *call,
                                            const struct dj_layout *layout, uint64_t box))
{
    const uint64_t boxes = layout->sequence_boxes;
    uint64_t pieces = 0;
    if (!dj_spans_ragged(&call->keys) && !dj_spans_ragged(&call->queries))
        pieces = dj_times(count(call, layout, 0), boxes);
    else
        for (uint64_t box = 0; box < boxes; box++)
            pieces = dj_plus(pieces, count(call, layout, box));
    return dj_times(pieces, layout->head_boxes);
}

uint64_t dj_regions_cost(const struct dj_device_info *info, const uint64_t *sizes, int count)
{
    uint64_t total = 0;
    for (int i = 0; i < count; i++) {
        if (sizes[i] > info->max_storage_range || sizes[i] > UINT32_MAX)
            return UINT64_MAX;
        total += sizes[i];
    }
    return total;
}

void dj_regions_place(const uint64_t *sizes, int count, struct dj_layout *layout)
{
    layout->total = 0;
    for (int i = 0; i < count; i++) {
        layout->region[i] = layout->total;
        layout->total += sizes[i];
    }
}

struct dj_binding dj_scratch_region(const struct dj_attention_args *args, uint64_t offset,
                                    uint64_t end)
{
    return (struct dj_binding){.buffer = args->scratch.buffer,
                               .offset = args->scratch.offset + offset,
                               .range = end - offset};
}

bool dj_call_binds(const struct dj_call *call, const struct dj_tensor *tensor)
{
    return dj_tensor_binds(call->plan->context, tensor, tensor->shape);
}

bool dj_call_binds_tokens(const struct dj_call *call, const struct dj_span_set *set,
                          const struct dj_tensor *tensor, uint64_t tokens, uint64_t heads)
{
    const uint64_t most = tokens < set->longest ? tokens : set->longest;
    const uint64_t box[4] = {1, most > 0 ? most : 1, heads, tensor->shape[3]};
    return dj_tensor_binds(call->plan->context, tensor, box);
}

dj_result dj_call_most_sequences(const struct dj_call *call, const struct dj_span_set *set,
                                 const struct dj_tensor *a, const struct dj_tensor *b,
                                 uint64_t *most)
{
    if (!dj_spans_ragged(set) || (dj_call_binds(call, a) && dj_call_binds(call, b)))
        return DJ_SUCCESS;
    *most = 1;
    if (dj_spans_on_device(set))
        return dj_fail(&call->plan->context->log, DJ_ERROR_LIMIT,
                       "attention: with spans in a buffer a tensor may not exceed the device's "
                       "binding range of %" PRIu64 " bytes",
                       call->plan->context->info.max_storage_range);
    return DJ_SUCCESS;
}

struct dj_tensor dj_call_boxed(const struct dj_span_set *set, const struct dj_tensor *tensor,
                               uint64_t tokens, uint64_t unit)
{
    struct dj_tensor view = *tensor;
    view.shape[0] = set->sequences;
    view.shape[1] = tokens;
    view.shape[2] /= unit;
    view.shape[3] += (unit - 1) * view.stride[2];
    view.stride[2] *= unit;
    if (set->spans->kind == DJ_SPANS_PACKED)
        view.stride[0] = 0;
    return view;
}

dj_result dj_call_fail_limit(const struct dj_call *call)
{
    return dj_fail(&call->plan->context->log, DJ_ERROR_LIMIT,
                   "attention: %d tokens of one head span more than the %" PRIu64
                   " bytes that the device can bind",
                   DJ_TILE_TOKENS, call->plan->context->info.max_storage_range);
}
