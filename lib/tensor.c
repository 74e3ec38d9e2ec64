/* SPDX-License-Identifier: MIT */
#include "tensor.h"

#include "size.h"

#include <assert.h>
#include <inttypes.h>

uint64_t dj_type_size(uint32_t type)
{
    switch (type) {
    case DJ_FLOAT32:
        return 4;
    case DJ_FLOAT16:
    case DJ_BFLOAT16:
        return 2;
    default:
        return 0;
    }
}

static const char *type_name(uint32_t type)
{
    static const char *const names[] = {"float32", "float16", "bfloat16"};
    return type <= DJ_BFLOAT16 ? names[type] : "of no known type";
}

void dj_tensor_init(struct dj_tensor *tensor, dj_buffer *buffer, uint64_t offset, uint32_t type,
                    const uint64_t shape[4])
{
    struct dj_tensor made = {.buffer = buffer, .offset = offset, .type = type};
    uint64_t stride = 1;
    for (int i = 3; i >= 0; i--) {
        made.shape[i] = shape[i];
        made.stride[i] = stride;
        stride *= shape[i];
    }
    *tensor = made; /* whose shape may be the one that was given */
}

void dj_tensor_swap(struct dj_tensor *tensor, uint32_t a, uint32_t b)
{
    if (a > 3 || b > 3)
        return;
    const uint64_t shape = tensor->shape[a], stride = tensor->stride[a];
    tensor->shape[a] = tensor->shape[b];
    tensor->stride[a] = tensor->stride[b];
    tensor->shape[b] = shape;
    tensor->stride[b] = stride;
}

static bool is_empty(const struct dj_tensor *tensor)
{
    for (int i = 0; i < 4; i++) {
        if (tensor->shape[i] == 0)
            return true;
    }
    return false;
}

/* Elements from the first to one past the last of a piece of `count` of the first three dimensions;
 * false if that does not fit 64 bits. */
static bool span(const struct dj_tensor *tensor, const uint64_t count[3], uint64_t *elements)
{
    uint64_t last = tensor->shape[3] - 1;
    for (int i = 0; i < 3; i++) {
        uint64_t reach;
        if (__builtin_mul_overflow(count[i] - 1, tensor->stride[i], &reach) ||
            __builtin_add_overflow(last, reach, &last))
            return false;
    }
    return !__builtin_add_overflow(last, (uint64_t)1, elements);
}

/* Sorted by stride, each dimension must step over all that the smaller ones reach. This refuses
 * some exotic interleavings that do not overlap, and no tensor that any model has. */
static bool overlaps_itself(const struct dj_tensor *tensor)
{
    uint32_t order[4] = {0, 1, 2, 3};
    for (int i = 1; i < 4; i++) {
        for (int j = i; j > 0 && tensor->stride[order[j]] < tensor->stride[order[j - 1]]; j--) {
            const uint32_t swap = order[j];
            order[j] = order[j - 1];
            order[j - 1] = swap;
        }
    }
    uint64_t reach = 1;
    for (int i = 0; i < 4; i++) {
        const uint64_t count = tensor->shape[order[i]], stride = tensor->stride[order[i]];
        if (count <= 1)
            continue;
        if (stride < reach)
            return true;
        reach += (count - 1) * stride;
    }
    return false;
}

/* Without 16-bit storage two invocations would share the words at the ends of rows of 2-byte
 * elements.
 */
static dj_result check_words(const struct dj_context *context, const char *name,
                             const struct dj_tensor *tensor)
{
    if (dj_type_size(tensor->type) == 4 || context->storage_16bit)
        return DJ_SUCCESS;
    bool odd = tensor->offset % 4 != 0;
    for (int i = 0; i < 3; i++)
        odd = odd || (tensor->shape[i] > 1 && tensor->stride[i] % 2 != 0);
    if (odd)
        return dj_fail(
            &context->log, DJ_ERROR_UNSUPPORTED,
            "%s: without 16-bit storage, 2-byte elements need an offset in steps of 4 "
            "bytes and even strides; these are %" PRIu64 " and %" PRIu64 ", %" PRIu64 ", %" PRIu64,
            name, tensor->offset, tensor->stride[0], tensor->stride[1], tensor->stride[2]);
    return DJ_SUCCESS;
}

/* What of a tensor depends on its buffer; end: one past its last byte. */
static dj_result check_place(const struct dj_context *context, const char *name,
                             const struct dj_tensor *tensor, uint64_t end)
{
    const struct dj_log *log = &context->log;
    const struct dj_buffer *const buffer = tensor->buffer;
    if (buffer == NULL)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "%s: the buffer is NULL", name);
    if (buffer->context != context)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "%s: the buffer is another context's, or was destroyed", name);
    if (end > buffer->size)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "%s: its last byte is %llu, its buffer has %llu bytes", name,
                       (unsigned long long)end - 1, (unsigned long long)buffer->size);
    if (buffer->wrapped && end % 4 != 0 && buffer->size - end < 4 - end % 4)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "%s: its last word of 4 bytes, which kernels read, exceeds the wrapped "
                       "buffer of %llu bytes",
                       name, (unsigned long long)buffer->size);
    return DJ_SUCCESS;
}

static dj_result fail_layout(const struct dj_log *log, dj_result result, const char *name,
                             const struct dj_tensor *tensor, const char *what)
{
    const uint64_t *const n = tensor->shape, *const s = tensor->stride;
    return dj_fail(log, result,
                   "%s: %s, with shape [%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64
                   "] and strides [%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64
                   "] from byte %" PRIu64 " on",
                   name, what, n[0], n[1], n[2], n[3], s[0], s[1], s[2], s[3], tensor->offset);
}

dj_result dj_tensor_check(const struct dj_context *context, const char *name,
                          const struct dj_tensor *tensor, uint32_t type, bool output, bool placed)
{
    const struct dj_log *log = &context->log;
    if (tensor->type != type)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "%s: elements are %s (%u), must be %s", name,
                       type_name(tensor->type), tensor->type, type_name(type));
    const uint64_t element = dj_type_size(type);
    if (tensor->padding != 0)
        return dj_fail(log, DJ_ERROR_VERSION, "%s: padding is %u, not 0", name, tensor->padding);
    if (!dj_reserved_is_zero(log, tensor->reserved, 2, name))
        return DJ_ERROR_VERSION;
    if (is_empty(tensor))
        return DJ_SUCCESS;
    if (tensor->offset % element != 0)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "%s: offset %" PRIu64 " is no multiple of %" PRIu64, name, tensor->offset,
                       element);
    if (tensor->shape[3] > 1 && tensor->stride[3] != 1)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "%s: the last dimension's stride is %llu, not 1", name,
                       (unsigned long long)tensor->stride[3]);
    uint64_t elements, bytes, end;
    if (!span(tensor, tensor->shape, &elements) ||
        __builtin_mul_overflow(elements, element, &bytes) ||
        __builtin_add_overflow(bytes, tensor->offset, &end))
        return fail_layout(log, DJ_ERROR_LIMIT, name, tensor, "its last byte is beyond 64 bits");
    if (placed || tensor->buffer != NULL) {
        const dj_result result = check_place(context, name, tensor, end);
        if (result != DJ_SUCCESS)
            return result;
    }
    if (output && overlaps_itself(tensor))
        return fail_layout(log, DJ_ERROR_INVALID_ARGUMENT, name, tensor,
                           "an output overlaps itself");
    return check_words(context, name, tensor);
}

/* One buffer, or one VkBuffer wrapped twice. */
static bool share_buffer(const struct dj_tensor *a, const struct dj_tensor *b)
{
    if (a->buffer == NULL || b->buffer == NULL)
        return false; /* where they will lie is not known yet */
    return a->buffer == b->buffer ||
           (a->buffer->handle != VK_NULL_HANDLE && a->buffer->handle == b->buffer->handle);
}

bool dj_tensor_overlap(const struct dj_tensor *a, const struct dj_tensor *b)
{
    if (is_empty(a) || is_empty(b) || !share_buffer(a, b))
        return false;
    uint64_t a_span, b_span;
    if (!span(a, a->shape, &a_span) || !span(b, b->shape, &b_span))
        return true;
    return a->offset < b->offset + b_span * dj_type_size(b->type) &&
           b->offset < a->offset + a_span * dj_type_size(a->type);
}

/* The last byte of a tensor that is not empty; UINT64_MAX if it is beyond 64 bits. */
static uint64_t last_byte(const struct dj_tensor *tensor)
{
    uint64_t elements;
    if (!span(tensor, tensor->shape, &elements))
        return UINT64_MAX;
    return dj_plus(tensor->offset, dj_times(elements, dj_type_size(tensor->type)) - 1);
}

dj_result dj_tensor_check_apart(const struct dj_log *log, const char *a_name,
                                const struct dj_tensor *a, const char *b_name,
                                const struct dj_tensor *b)
{
    if (!dj_tensor_overlap(a, b))
        return DJ_SUCCESS;
    return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                   "%s overlaps %s: bytes %" PRIu64 " to %" PRIu64 " and %" PRIu64 " to %" PRIu64
                   " of one buffer",
                   a_name, b_name, a->offset, last_byte(a), b->offset, last_byte(b));
}

bool dj_tensor_same(const struct dj_tensor *a, const struct dj_tensor *b)
{
    if (a->buffer != b->buffer || a->offset != b->offset || a->type != b->type)
        return false;
    for (int i = 0; i < 4; i++) {
        if (a->shape[i] != b->shape[i] || (a->shape[i] > 1 && a->stride[i] != b->stride[i]))
            return false;
    }
    return true;
}

struct dj_tensor dj_tensor_of_range(dj_buffer *buffer, uint64_t offset, uint64_t size)
{
    struct dj_tensor tensor;
    dj_tensor_init(&tensor, buffer, offset, DJ_FLOAT32,
                   (const uint64_t[4]){1, 1, 1, dj_divide_up(size, 4)});
    return tensor;
}

dj_result dj_scratch_check(const struct dj_context *context, const struct dj_scratch *scratch,
                           uint64_t need, const struct dj_named_tensor *tensors,
                           uint32_t tensor_count)
{
    const struct dj_log *log = &context->log;
    const uint64_t alignment = context->info.offset_alignment;
    if (!dj_reserved_is_zero(log, scratch->reserved, 2, "dj_scratch"))
        return DJ_ERROR_VERSION;
    if (scratch->buffer == NULL)
        return dj_fail(log, DJ_ERROR_SCRATCH,
                       "no scratch memory was given, %" PRIu64 " bytes are needed", need);
    if (scratch->buffer->context != context)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "the scratch memory is another context's, or was destroyed");
    if (scratch->offset % alignment != 0)
        return dj_fail(log, DJ_ERROR_SCRATCH,
                       "scratch: offset %" PRIu64 " is no multiple of %" PRIu64, scratch->offset,
                       alignment);
    const uint64_t size = scratch->buffer->size;
    if (scratch->size < need || scratch->offset > size || scratch->size > size - scratch->offset)
        return dj_fail(log, DJ_ERROR_SCRATCH,
                       "scratch: %" PRIu64 " bytes from %" PRIu64 " on in a buffer of %" PRIu64
                       ", %" PRIu64 " are needed",
                       scratch->size, scratch->offset, size, need);
    const struct dj_tensor range =
        dj_tensor_of_range(scratch->buffer, scratch->offset, scratch->size);
    dj_result result = DJ_SUCCESS;
    for (uint32_t i = 0; result == DJ_SUCCESS && i < tensor_count; i++)
        result = dj_tensor_check_apart(log, "the scratch memory", &range, tensors[i].name,
                                       tensors[i].tensor);
    return result;
}

/* Halves dimension i of a box to a multiple of its granule; false if it is one granule already. */
static bool halve(uint64_t size[3], int i, const uint64_t granule[3])
{
    if (size[i] <= granule[i])
        return false;
    size[i] = dj_round_up(dj_divide_up(size[i], 2), granule[i]);
    return true;
}

/* The dimension of a box that can still be halved and whose weight is the largest, or -1. */
static int widest(const uint64_t size[3], const uint64_t granule[3], const uint64_t weight[3])
{
    int best = -1;
    for (int i = 0; i < 3; i++) {
        if (size[i] > granule[i] && (best < 0 || weight[i] > weight[best]))
            best = i;
    }
    return best;
}

static bool fit_span(const struct dj_tensor *tensor, const uint64_t granule[3], uint64_t limit,
                     uint64_t size[3])
{
    for (;;) {
        uint64_t elements;
        if (span(tensor, size, &elements) && elements <= limit)
            return true;
        const uint64_t weight[3] = {(size[0] - 1) * tensor->stride[0],
                                    (size[1] - 1) * tensor->stride[1],
                                    (size[2] - 1) * tensor->stride[2]};
        const int i = widest(size, granule, weight);
        if (i < 0 || !halve(size, i, granule))
            return false;
    }
}

bool dj_grid_fit(const struct dj_context *context, const struct dj_tensor *const *tensors,
                 uint32_t tensor_count, const uint64_t granule[3], const uint64_t most[3],
                 uint64_t (*cost)(const void *user, const uint64_t size[3]), const void *user,
                 uint64_t budget, struct dj_grid *grid)
{
    uint64_t range = context->info.max_storage_range - context->info.offset_alignment;
    if (range > UINT32_MAX) /* kernels index by 32 bits */
        range = UINT32_MAX;
    uint64_t *const size = grid->size;
    for (int i = 0; i < 3; i++) {
        grid->shape[i] = size[i] = tensors[0]->shape[i];
        if (most != NULL && size[i] > most[i])
            size[i] = most[i];
    }
    for (uint32_t t = 0; t < tensor_count; t++) {
        if (!fit_span(tensors[t], granule, range / dj_type_size(tensors[t]->type), size))
            return false;
    }
    while (cost != NULL && cost(user, size) > budget) {
        const uint64_t weight[3] = {size[0] / granule[0], size[1] / granule[1],
                                    size[2] / granule[2]};
        const int i = widest(size, granule, weight);
        if (i < 0 || !halve(size, i, granule))
            return false;
    }
    for (int i = 0; i < 3; i++)
        grid->boxes[i] = dj_divide_up(grid->shape[i], size[i]);
    return true;
}

struct dj_box dj_grid_box(const struct dj_grid *grid, uint64_t i, uint64_t j, uint64_t k)
{
    const uint64_t index[3] = {i, j, k};
    struct dj_box box;
    for (int n = 0; n < 3; n++) {
        assert(index[n] < grid->boxes[n]);
        box.start[n] = index[n] * grid->size[n];
        const uint64_t left = grid->shape[n] - box.start[n];
        box.count[n] = left < grid->size[n] ? left : grid->size[n];
    }
    return box;
}

bool dj_tensor_binds(const struct dj_context *context, const struct dj_tensor *tensor,
                     const uint64_t count[3])
{
    uint64_t elements;
    uint64_t range = context->info.max_storage_range - context->info.offset_alignment;
    if (range > UINT32_MAX)
        range = UINT32_MAX;
    return is_empty(tensor) ||
           (span(tensor, count, &elements) && elements <= range / dj_type_size(tensor->type));
}

struct dj_view dj_tensor_view(const struct dj_tensor *tensor, const struct dj_box *box)
{
    const uint64_t alignment = tensor->buffer->context->info.offset_alignment;
    const uint64_t element = dj_type_size(tensor->type);
    uint64_t first = tensor->offset, elements = 0;
    for (int i = 0; i < 3; i++)
        first += box->start[i] * tensor->stride[i] * element;
    const bool fits = span(tensor, box->count, &elements);
    assert(fits);
    (void)fits;
    const uint64_t aligned = first / alignment * alignment;
    struct dj_view view = {
        /* whole words: kernels read 2-byte elements by them */
        .binding = {.buffer = tensor->buffer,
                    .offset = aligned,
                    .range = dj_round_up(first - aligned + elements * element, 4)},
        .base = (uint32_t)((first - aligned) / element),
        .type = tensor->type,
    };
    /* a dimension of one element may have any stride, which need not fit */
    for (int i = 0; i < 3; i++)
        view.stride[i] = box->count[i] > 1 ? (uint32_t)tensor->stride[i] : 0;
    return view;
}
