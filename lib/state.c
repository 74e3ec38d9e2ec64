/* SPDX-License-Identifier: MIT */
/* State slots: their size, and the rules for a call's slot indices. */
#include "attention.h"

#include "kernels.h"

static_assert(DJ_KERNEL_STATE_LAYOUT == DJ_STATE_LAYOUT, "state layout");
static_assert(sizeof(struct dj_state_header) == 4 * DJ_STATE_HEADER_WORDS, "state header");

uint64_t dj_state_block_size(const struct dj_attention *plan)
{
    return 4 * DJ_STATE_SIZE((uint64_t)plan->dim, plan->value_dim);
}

uint64_t dj_state_slot_size(const struct dj_attention *plan)
{
    return sizeof(struct dj_state_header) + plan->heads * dj_state_block_size(plan);
}

bool dj_slots_used(const struct dj_attention_args *args)
{
    return args->state != NULL && (args->slots_in != NULL || args->slots_out != NULL);
}

dj_result dj_slots_check(const struct dj_attention *plan, const struct dj_attention_args *args,
                         uint64_t batch)
{
    const struct dj_log *log = &plan->context->log;
    if (args->state == NULL) {
        if (args->slots_in != NULL || args->slots_out != NULL)
            return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                           "attention: slots without a state buffer");
        return DJ_SUCCESS;
    }
    if (args->state->context != plan->context)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: the state buffer is another context's");
    if (args->state_offset % 16 != 0)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: state_offset %llu is no multiple of 16",
                       (unsigned long long)args->state_offset);
    const uint64_t slot = dj_state_slot_size(plan), size = args->state->size;
    if (args->state_offset > size || args->slot_count > (size - args->state_offset) / slot)
        return dj_fail(
            log, DJ_ERROR_INVALID_ARGUMENT,
            "attention: %u slots of %llu bytes from %llu on exceed the state buffer's %llu",
            args->slot_count, (unsigned long long)slot, (unsigned long long)args->state_offset,
            (unsigned long long)size);
    if (slot > plan->context->info.max_storage_range - plan->context->info.offset_alignment)
        return dj_fail(
            log, DJ_ERROR_LIMIT,
            "attention: a state slot of %llu bytes exceeds the device's binding range %llu",
            (unsigned long long)slot, (unsigned long long)plan->context->info.max_storage_range);
    if (batch > plan->context->info.max_storage_range / (2 * sizeof(int32_t)))
        return dj_fail(
            log, DJ_ERROR_LIMIT,
            "attention: the slot indices of %llu sequences exceed the device's binding range",
            (unsigned long long)batch);
    return DJ_SUCCESS;
}

static dj_result check_range(const struct dj_log *log, const char *name, const int32_t *slots,
                             uint64_t batch, uint32_t slot_count)
{
    for (uint64_t b = 0; slots != NULL && b < batch; b++) {
        if (slots[b] < -1 || (slots[b] >= 0 && (uint32_t)slots[b] >= slot_count))
            return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                           "attention: %s[%llu] is %d, outside -1 to %lld", name,
                           (unsigned long long)b, slots[b], (long long)slot_count - 1);
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

/* A written slot and its sequence in one sortable number. */
static uint64_t pack_slot(int32_t slot, uint64_t sequence)
{
    return (uint64_t)(uint32_t)slot << 32 | sequence;
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

dj_result dj_slots_check_indices(const struct dj_attention *plan,
                                 const struct dj_attention_args *args, uint64_t batch,
                                 uint64_t *work)
{
    const struct dj_log *log = &plan->context->log;
    dj_result result = check_range(log, "slots_in", args->slots_in, batch, args->slot_count);
    if (result == DJ_SUCCESS)
        result = check_range(log, "slots_out", args->slots_out, batch, args->slot_count);
    if (result != DJ_SUCCESS || args->slots_out == NULL)
        return result;

    uint64_t count = 0;
    for (uint64_t b = 0; b < batch; b++) {
        if (args->slots_out[b] >= 0)
            work[count++] = pack_slot(args->slots_out[b], b);
    }
    sort(work, count);
    for (uint64_t i = 1; i < count; i++) {
        if (packed_slot(work[i]) == packed_slot(work[i - 1]))
            return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                           "attention: slots_out of sequences %u and %u are both %u",
                           (uint32_t)work[i - 1], (uint32_t)work[i], packed_slot(work[i]));
    }
    for (uint64_t b = 0; args->slots_in != NULL && b < batch; b++) {
        const int32_t slot = args->slots_in[b];
        if (slot < 0)
            continue;
        const uint64_t at = lower_bound(work, count, pack_slot(slot, 0));
        if (at < count && packed_slot(work[at]) == (uint32_t)slot && (uint32_t)work[at] != b)
            return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                           "attention: slots_in[%llu] is %d, slots_out of sequence %u",
                           (unsigned long long)b, slot, (uint32_t)work[at]);
    }
    return DJ_SUCCESS;
}
