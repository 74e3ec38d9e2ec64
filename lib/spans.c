/* SPDX-License-Identifier: MIT */
#include "spans.h"

#include <inttypes.h>

bool dj_indices_given(const struct dj_indices *indices)
{
    return indices->host != NULL || indices->buffer != NULL;
}

dj_result dj_indices_check(const struct dj_context *context, const char *name,
                           const struct dj_indices *indices, uint64_t count)
{
    const struct dj_log *log = &context->log;
    if (!dj_reserved_is_zero(log, indices->reserved, 2, name))
        return DJ_ERROR_VERSION;
    if (count > context->info.max_storage_range / sizeof(int32_t) - 64)
        return dj_fail(log, DJ_ERROR_LIMIT, "%s: %" PRIu64 " numbers exceed the binding range",
                       name, count);
    if (indices->host != NULL && indices->buffer != NULL)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "%s: given both on host and in a buffer",
                       name);
    if (indices->buffer == NULL)
        return DJ_SUCCESS;
    if (indices->buffer->context != context)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "%s: the buffer is another context's, or was destroyed", name);
    const uint64_t size = indices->buffer->size;
    if (indices->offset % 4 != 0 || indices->offset > size ||
        count > (size - indices->offset) / sizeof(int32_t))
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "%s: %" PRIu64 " numbers from %" PRIu64 " on in a buffer of %" PRIu64
                       " bytes; the offset must be a multiple of 4",
                       name, count, indices->offset, size);
    return DJ_SUCCESS;
}

uint64_t dj_indices_ring_size(const struct dj_context *context, const struct dj_indices *indices,
                              uint64_t count)
{
    return indices->host != NULL ? dj_recorder_ring_size(context, count * sizeof(int32_t)) : 0;
}

struct dj_bound_indices dj_indices_bind(struct dj_recorder *recorder,
                                        const struct dj_indices *indices, uint64_t count)
{
    const uint64_t size = count * sizeof(int32_t);
    struct dj_bound_indices bound = {.base = 0};
    if (count > 0 && indices->host != NULL)
        bound.binding = dj_recorder_ring_push(recorder, indices->host, size);
    if (count > 0 && indices->buffer != NULL) {
        const uint64_t alignment = dj_recorder_context(recorder)->info.offset_alignment;
        const uint64_t aligned = indices->offset / alignment * alignment;
        bound.base = (uint32_t)((indices->offset - aligned) / sizeof(int32_t));
        bound.binding = (struct dj_binding){.buffer = indices->buffer,
                                            .offset = aligned,
                                            .range = indices->offset - aligned + size};
    }
    return bound;
}

bool dj_spans_on_device(const struct dj_span_set *set)
{
    return set->spans->indices.buffer != NULL;
}

bool dj_spans_ragged(const struct dj_span_set *set)
{
    return set->spans->kind != DJ_SPANS_WHOLE;
}

struct dj_span dj_span_of(const struct dj_span_set *set, uint64_t n)
{
    const int32_t *const host = set->spans->indices.host;
    switch (set->spans->kind) {
    case DJ_SPANS_PADDED:
        return (struct dj_span){(uint64_t)host[2 * n], (uint64_t)host[2 * n + 1]};
    case DJ_SPANS_PACKED:
        return (struct dj_span){(uint64_t)host[n], (uint64_t)(host[n + 1] - host[n])};
    default:
        return (struct dj_span){0, set->row_tokens};
    }
}

/* The host's indices against the row; the longest sequence on the way. */
static dj_result check_host(const struct dj_log *log, const char *name, struct dj_span_set *set)
{
    const int32_t *const host = set->spans->indices.host;
    const bool packed = set->spans->kind == DJ_SPANS_PACKED;
    set->longest = 0;
    for (uint64_t n = 0; n < set->sequences; n++) {
        const int32_t a = host[packed ? n : 2 * n], b = host[packed ? n + 1 : 2 * n + 1];
        const int64_t end = packed ? b : (int64_t)a + b;
        if (a < 0 || b < 0 || end < a || (uint64_t)end > set->row_tokens)
            return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                           "%s: sequence %" PRIu64 " %s %d, %s %d, in a row of %" PRIu64 " tokens",
                           name, n, packed ? "begins at" : "has start", a,
                           packed ? "ends at" : "length", b, set->row_tokens);
        const uint64_t length = dj_span_of(set, n).count;
        set->longest = length > set->longest ? length : set->longest;
    }
    return DJ_SUCCESS;
}

static dj_result check_fields(const struct dj_log *log, const char *name,
                              const struct dj_spans *spans, uint64_t rows)
{
    if (!dj_reserved_is_zero(log, spans->reserved, 2, name))
        return DJ_ERROR_VERSION;
    if (spans->padding != 0)
        return dj_fail(log, DJ_ERROR_VERSION, "%s: padding is %u, not 0", name, spans->padding);
    if (spans->kind > DJ_SPANS_PACKED)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "%s: unknown kind %u", name, spans->kind);
    static const char *const kinds[] = {"DJ_SPANS_WHOLE", "DJ_SPANS_PADDED", "DJ_SPANS_PACKED"};
    const bool given = dj_indices_given(&spans->indices);
    if ((spans->kind == DJ_SPANS_WHOLE) == given)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "%s: %s %s indices", name,
                       kinds[spans->kind], given ? "takes no" : "needs");
    if (spans->kind != DJ_SPANS_PACKED && spans->count != 0)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "%s: count %u is of packed spans only", name,
                       spans->count);
    if (spans->kind == DJ_SPANS_PACKED && (rows != 1 || spans->count > INT32_MAX))
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "%s: %u packed sequences in a batch of %" PRIu64
                       ", which must be 1, and at most 2^31 - 1 sequences",
                       name, spans->count, rows);
    if (spans->longest != 0 && spans->indices.buffer == NULL)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "%s: longest is %u, which only indices in a buffer take", name,
                       spans->longest);
    return DJ_SUCCESS;
}

dj_result dj_spans_check(const struct dj_context *context, const char *name,
                         const struct dj_spans *spans, uint64_t rows, uint64_t row_tokens,
                         struct dj_span_set *set)
{
    const struct dj_log *const log = &context->log;
    dj_result result = check_fields(log, name, spans, rows);
    if (result != DJ_SUCCESS)
        return result;
    const bool packed = spans->kind == DJ_SPANS_PACKED;
    *set = (struct dj_span_set){
        .spans = spans,
        .sequences = packed ? spans->count : rows,
        .row_tokens = row_tokens,
        .longest = row_tokens,
    };
    if (spans->kind == DJ_SPANS_WHOLE)
        return DJ_SUCCESS;
    if (packed && spans->count == 0 && row_tokens > 0)
        dj_log_line(log, DJ_LOG_INFO,
                    "%s: count is 0, so that no sequence is in the row of %" PRIu64 " tokens", name,
                    row_tokens);
    if (row_tokens > INT32_MAX)
        return dj_fail(log, DJ_ERROR_LIMIT, "%s: rows of %" PRIu64 " tokens, at most 2^31 - 1",
                       name, row_tokens);
    const uint64_t numbers = packed ? set->sequences + 1 : 2 * set->sequences;
    result = dj_indices_check(context, name, &spans->indices, numbers);
    if (result == DJ_SUCCESS && spans->indices.host != NULL)
        result = check_host(log, name, set);
    if (spans->longest != 0 && spans->longest < row_tokens)
        set->longest = spans->longest;
    return result;
}

uint64_t dj_spans_numbers(const struct dj_span_set *set)
{
    switch (set->spans->kind) {
    case DJ_SPANS_PADDED:
        return 2 * set->sequences;
    case DJ_SPANS_PACKED:
        return set->sequences + 1;
    default:
        return 0;
    }
}

uint64_t dj_spans_longest(const struct dj_span_set *set, uint64_t sequence, uint64_t sequences)
{
    if (!dj_spans_ragged(set) || dj_spans_on_device(set))
        return set->longest;
    uint64_t longest = 0;
    for (uint64_t n = sequence; n < sequence + sequences; n++) {
        const uint64_t count = dj_span_of(set, n).count;
        longest = count > longest ? count : longest;
    }
    return longest;
}

/* The tokens of a sequence that dj_spans_box asks for, as a part of the row. */
static struct dj_span wanted_tokens(struct dj_span span, uint64_t start, uint64_t count,
                                    uint64_t back)
{
    if (back > 0) {
        start = span.count >= back ? span.count - back : span.count;
        count = 1;
    }
    if (span.count <= start)
        return (struct dj_span){span.first, 0};
    const uint64_t left = span.count - start;
    return (struct dj_span){span.first + start, count < left ? count : left};
}

struct dj_box dj_spans_box(const struct dj_span_set *set, uint64_t sequence, uint64_t sequences,
                           uint64_t start, uint64_t count, uint64_t back)
{
    const bool packed = set->spans->kind == DJ_SPANS_PACKED;
    uint64_t first = 0, end = set->row_tokens;
    if (!dj_spans_on_device(set)) {
        first = set->row_tokens;
        end = 0;
        const uint64_t last = dj_spans_ragged(set) ? sequence + sequences : sequence + 1;
        for (uint64_t n = sequence; n < last; n++) {
            const struct dj_span part = wanted_tokens(dj_span_of(set, n), start, count, back);
            if (part.count == 0)
                continue;
            first = part.first < first ? part.first : first;
            end = part.first + part.count > end ? part.first + part.count : end;
        }
    }
    const bool any = end > first;
    return (struct dj_box){
        .start = {packed ? 0 : sequence, any ? first : 0, 0},
        .count = {packed ? 1 : sequences, any ? end - first : 0, 0},
    };
}
