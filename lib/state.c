/* SPDX-License-Identifier: MIT */
/* State slots: their size, the rules for a call's slot indices, saving and loading. */
#include "attention.h"

#include "copier.h"
#include "kernels.h"
#include "size.h"

#include <inttypes.h>
#include <string.h>

static_assert(DJ_KERNEL_STATE_LAYOUT == DJ_STATE_LAYOUT, "state layout");
static_assert(sizeof(struct dj_state_header) == 4 * DJ_STATE_HEADER_WORDS, "state header");

uint64_t dj_state_block_size(const struct dj_attention *plan)
{
    return 4 * DJ_STATE_SIZE((uint64_t)plan->features, plan->value_dim);
}

uint64_t dj_state_slot_size(const struct dj_attention *plan)
{
    if (plan->kind->softmax)
        return 0;
    return sizeof(struct dj_state_header) + plan->key_heads * dj_state_block_size(plan);
}

bool dj_slots_used(const struct dj_attention_args *args)
{
    return dj_indices_given(&args->slots_in) || dj_indices_given(&args->slots_out);
}

/* The pool itself, as far as it is known. */
static dj_result check_pool(const struct dj_attention *plan, const struct dj_attention_args *args)
{
    const struct dj_log *log = &plan->context->log;
    if (plan->kind->softmax)
        return dj_fail(log, DJ_ERROR_STATELESS, "attention: a state for %s", plan->kind->name);
    if (args->state != NULL && args->state->context != plan->context)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: the state buffer is another context's, or was destroyed");
    if (args->state_offset % 16 != 0)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: state_offset %" PRIu64 " is no multiple of 16",
                       args->state_offset);
    const uint64_t slot = dj_state_slot_size(plan);
    const uint64_t size = args->state != NULL ? args->state->size : UINT64_MAX;
    if (args->state_offset > size || args->slot_count > (size - args->state_offset) / slot)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: %u slots of %" PRIu64 " bytes from %" PRIu64
                       " on exceed the state buffer's %" PRIu64,
                       args->slot_count, slot, args->state_offset, size);
    const uint64_t range = plan->context->info.max_storage_range;
    if (slot > range - plan->context->info.offset_alignment)
        return dj_fail(log, DJ_ERROR_LIMIT,
                       "attention: a state slot of %" PRIu64
                       " bytes exceeds the device's binding range %" PRIu64,
                       slot, range);
    return DJ_SUCCESS;
}

uint64_t dj_state_reach(const struct dj_context *context)
{
    return context->device_addresses ? UINT64_C(4) * INT32_MAX : context->info.max_storage_range;
}

/* Slots that are chosen on the device must be reached together. */
static dj_result check_device_indices(const struct dj_attention *plan,
                                      const struct dj_attention_args *args)
{
    const struct dj_context *const context = plan->context;
    const uint64_t pool =
        args->slot_count * dj_state_slot_size(plan) + context->info.offset_alignment;
    const bool device = args->slots_in.buffer != NULL || args->accepted.buffer != NULL ||
                        args->slots_out.buffer != NULL;
    if (device && pool > dj_state_reach(context))
        return dj_fail(&context->log, DJ_ERROR_LIMIT,
                       "attention: a pool of %" PRIu64
                       " bytes with slot indices in a buffer exceeds the %" PRIu64
                       " that are reached %s",
                       pool, dj_state_reach(context),
                       context->device_addresses ? "by address" : "by one binding");
    return DJ_SUCCESS;
}

dj_result dj_slots_check(const struct dj_call *call)
{
    const struct dj_attention *const plan = call->plan;
    const struct dj_attention_args *const args = call->args;
    const uint64_t sequences = call->keys.sequences;
    const struct dj_log *log = &plan->context->log;
    const uint64_t snapshots = args->snapshots > 0 ? args->snapshots : 1;
    const bool accepted = dj_indices_given(&args->accepted);
    const bool given = accepted || dj_indices_given(&args->slots_in) ||
                       dj_indices_given(&args->slots_out) || args->snapshots > 1;
    if (given && plan->kind->softmax)
        return dj_fail(log, DJ_ERROR_STATELESS, "attention: state slots for %s", plan->kind->name);
    if (args->snapshots > DJ_MOST_SNAPSHOTS)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "attention: %u snapshots, at most %d",
                       args->snapshots, DJ_MOST_SNAPSHOTS);
    if (args->state == NULL && (call->placed || !given))
        return given ? dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                               "attention: slots without a state buffer")
                     : DJ_SUCCESS;
    if (accepted && !dj_indices_given(&args->slots_in))
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "attention: accepted without slots_in");
    dj_result result = check_pool(plan, args);
    if (result == DJ_SUCCESS)
        result = dj_indices_check(plan->context, "slots_in", &args->slots_in,
                                  dj_times(sequences, accepted ? snapshots : 1));
    if (result == DJ_SUCCESS)
        result = dj_indices_check(plan->context, "accepted", &args->accepted, sequences);
    if (result == DJ_SUCCESS)
        result = dj_indices_check(plan->context, "slots_out", &args->slots_out,
                                  dj_times(sequences, snapshots));
    return result != DJ_SUCCESS ? result : check_device_indices(plan, args);
}

static dj_result check_range(const struct dj_log *log, const char *name, const int32_t *slots,
                             uint64_t count, uint32_t slot_count)
{
    for (uint64_t n = 0; slots != NULL && n < count; n++) {
        if (slots[n] < -1 || (slots[n] >= 0 && (uint32_t)slots[n] >= slot_count))
            return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                           "attention: %s[%" PRIu64 "] is %d, neither -1 nor one of %u slots", name,
                           n, slots[n], slot_count);
    }
    return DJ_SUCCESS;
}

/* Heapsort, since recording may not allocate and the C library's qsort may. */
static void sift_down(uint64_t *heap, uint64_t root, uint64_t count)
{
    for (uint64_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && heap[child + 1] > heap[child])
            child++;
        if (heap[root] >= heap[child])
            return;
        const uint64_t swap = heap[root];
        heap[root] = heap[child];
        heap[child] = swap;
    }
}

static void sort(uint64_t *values, uint64_t count)
{
    for (uint64_t i = count / 2; i > 0; i--)
        sift_down(values, i - 1, count);
    for (uint64_t i = count; i > 1; i--) {
        const uint64_t swap = values[0];
        values[0] = values[i - 1];
        values[i - 1] = swap;
        sift_down(values, 0, i - 1);
    }
}

/* A written slot and its place in slots_out in one sortable number. */
static uint64_t pack_slot(int32_t slot, uint64_t place)
{
    return (uint64_t)(uint32_t)slot << 32 | place;
}

static uint32_t packed_slot(uint64_t packed)
{
    return (uint32_t)(packed >> 32);
}

/* The place of the first of `count` sorted values that is at least `least`. */
static uint64_t lower_bound(const uint64_t *values, uint64_t count, uint64_t least)
{
    uint64_t low = 0;
    while (low < count) {
        const uint64_t middle = low + (count - low) / 2;
        if (values[middle] < least)
            low = middle + 1;
        else
            count = middle;
    }
    return low;
}

int32_t dj_slot_in(const struct dj_call *call, uint64_t n)
{
    const struct dj_attention_args *const args = call->args;
    if (args->slots_in.host == NULL)
        return -1;
    if (!dj_indices_given(&args->accepted))
        return args->slots_in.host[n];
    const int32_t which = args->accepted.host != NULL ? args->accepted.host[n] : -1;
    return which < 0 || (uint32_t)which >= call->snapshots
               ? -1
               : args->slots_in.host[n * call->snapshots + (uint32_t)which];
}

/* No two sequences write one slot, and none is another's input, nor a snapshot of one's own. */
static dj_result check_aliases(const struct dj_call *call, uint64_t *work)
{
    const struct dj_log *log = &call->plan->context->log;
    const int32_t *const out = call->args->slots_out.host;
    const uint64_t sequences = call->keys.sequences, snapshots = call->snapshots;
    uint64_t count = 0;
    for (uint64_t i = 0; i < sequences * snapshots; i++) {
        if (out[i] >= 0)
            work[count++] = pack_slot(out[i], i);
    }
    sort(work, count);
    for (uint64_t i = 1; i < count; i++) {
        if (packed_slot(work[i]) == packed_slot(work[i - 1]))
            return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                           "attention: slots_out[%u] and [%u] are both %u", (uint32_t)work[i - 1],
                           (uint32_t)work[i], packed_slot(work[i]));
    }
    for (uint64_t n = 0; n < sequences; n++) {
        const int32_t slot = dj_slot_in(call, n);
        if (slot < 0)
            continue;
        const uint64_t at = lower_bound(work, count, pack_slot(slot, 0));
        if (at < count && packed_slot(work[at]) == (uint32_t)slot &&
            (snapshots > 1 || (uint32_t)work[at] != n))
            return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                           "attention: sequence %" PRIu64
                           " continues slot %d, which slots_out[%u] overwrites",
                           n, slot, (uint32_t)work[at]);
    }
    return DJ_SUCCESS;
}

dj_result dj_slots_check_indices(const struct dj_call *call, uint64_t *work)
{
    const struct dj_log *log = &call->plan->context->log;
    const struct dj_attention_args *const args = call->args;
    const uint64_t sequences = call->keys.sequences;
    const uint64_t inputs = sequences * (dj_indices_given(&args->accepted) ? call->snapshots : 1);
    dj_result result = check_range(log, "slots_in", args->slots_in.host, inputs, args->slot_count);
    if (result == DJ_SUCCESS)
        result = check_range(log, "slots_out", args->slots_out.host, sequences * call->snapshots,
                             args->slot_count);
    if (result == DJ_SUCCESS && args->slots_out.host != NULL)
        result = check_aliases(call, work);
    return result;
}

/* Checks for dj_state_save and dj_state_load, and where the slot lies. */
static dj_result find_slot(const struct dj_attention *plan, const struct dj_attention_args *args,
                           uint32_t slot, const void *data, uint64_t size, uint64_t *offset)
{
    if (plan == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    const struct dj_log *log = &plan->context->log;
    if (plan->kind->softmax)
        return dj_fail(log, DJ_ERROR_STATELESS, "state: %s has none", plan->kind->name);
    if (args == NULL || data == NULL || args->state == NULL)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "state: %s is NULL",
                       args == NULL   ? "args"
                       : data == NULL ? "data"
                                      : "the buffer");
    if (!dj_reserved_is_zero(log, args->reserved, 4, "dj_attention_args"))
        return DJ_ERROR_VERSION;
    if (args->padding != 0)
        return dj_fail(log, DJ_ERROR_VERSION, "dj_attention_args.padding is %u, not 0",
                       args->padding);
    const dj_result result = check_pool(plan, args);
    if (result != DJ_SUCCESS)
        return result;
    if (slot >= args->slot_count)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "state: slot %u in a pool of %u", slot,
                       args->slot_count);
    if (size != dj_state_slot_size(plan))
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "state: size %" PRIu64 ", a slot has %" PRIu64 " bytes", size,
                       dj_state_slot_size(plan));
    *offset = args->state_offset + slot * size;
    return DJ_SUCCESS;
}

dj_result dj_state_save(const dj_attention *plan, const struct dj_attention_args *args,
                        uint32_t slot, void *data, uint64_t size)
{
    uint64_t offset = 0;
    const dj_result result = find_slot(plan, args, slot, data, size, &offset);
    return result != DJ_SUCCESS
               ? result
               : dj_buffer_read_for("dj_state_save", args->state, offset, data, size);
}

static bool is_zero(const unsigned char *data, uint64_t size)
{
    for (uint64_t i = 0; i < size; i++) {
        if (data[i] != 0)
            return false;
    }
    return true;
}

/* A slot that takes several copies must not be taken for a state when only some were made: until
 * the last one its header names no layout. */
static dj_result load_slot(dj_buffer *pool, uint64_t offset, const void *data, uint64_t size)
{
    static const char name[] = "dj_state_load";
    const uint64_t header = sizeof(struct dj_state_header);
    const struct dj_state_header none = {.layout = UINT32_MAX};
    if (dj_buffer_map(pool) != NULL || size <= DJ_COPIER_PIECE)
        return dj_buffer_write_for(name, pool, offset, data, size);
    dj_result result = dj_buffer_write_for(name, pool, offset, &none, header);
    if (result == DJ_SUCCESS)
        result = dj_buffer_write_for(name, pool, offset + header, (const char *)data + header,
                                     size - header);
    return result == DJ_SUCCESS ? dj_buffer_write_for(name, pool, offset, data, header) : result;
}

dj_result dj_state_load(const dj_attention *plan, const struct dj_attention_args *args,
                        uint32_t slot, const void *data, uint64_t size)
{
    uint64_t offset = 0;
    const dj_result result = find_slot(plan, args, slot, data, size, &offset);
    if (result != DJ_SUCCESS)
        return result;
    struct dj_state_header header;
    memcpy(&header, data, sizeof header);
    const bool empty = header.layout == 0 && is_zero(data, size);
    if (!empty && (header.layout != DJ_STATE_LAYOUT || header.map != plan->map ||
                   header.key_heads != plan->key_heads || header.dim != plan->dim ||
                   header.value_dim != plan->value_dim || header.features != plan->features))
        return dj_fail(&plan->context->log, DJ_ERROR_STATE_FORMAT,
                       "state: layout 0x%x, map %u, %u key heads, d %u, e %u, m %u; the plan's are "
                       "0x%x, %u, %u, %u, %u, %u",
                       header.layout, header.map, header.key_heads, header.dim, header.value_dim,
                       header.features, DJ_STATE_LAYOUT, plan->map, plan->key_heads, plan->dim,
                       plan->value_dim, plan->features);
    for (size_t i = 0; i < sizeof header.reserved / sizeof *header.reserved; i++) {
        if (header.reserved[i] != 0)
            return dj_fail(&plan->context->log, DJ_ERROR_STATE_FORMAT,
                           "state: reserved[%zu] is %u and must be 0", i, header.reserved[i]);
    }
    return load_slot(args->state, offset, data, size);
}
