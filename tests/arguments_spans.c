/* SPDX-License-Identifier: MIT */
/* What is wrong with spans and query_spans. */
#include "arguments.h"

#define HOST(field, ...) \
    { \
        static const int32_t values[] = {__VA_ARGS__}; \
        args->field.indices.host = values; \
    }

/* Valid spans that mutations then spoil. Row 0 holds tokens 4 .. 33, row 1 is empty. */
#define PADDED(field, ...) \
    args->field.kind = DJ_SPANS_PADDED; \
    HOST(field, __VA_ARGS__)

/* Three sequences in one row of 80 tokens, the second empty; slots for each. */
#define PACKED(field, n, ...) \
    args->field.kind = DJ_SPANS_PACKED; \
    args->field.count = (n); \
    HOST(field, __VA_ARGS__)
#define ONE_ROW \
    call_reshape(args, 1, 80); \
    if (args->state) { \
        static const int32_t slots[] = {0, 3, 5}; \
        args->slots_out.host = slots; \
    }

/* In the call's index buffer: {0, 20, 40, 0, 1, 2, ..}. */
#define IN_BUFFER(field, words) \
    args->field.indices = \
        (struct dj_indices){.buffer = call->indices, .offset = 4 * (uint64_t)(words)};

CALL_MUTATION(kind_3, args->spans.kind = 3;)
CALL_MUTATION(kind_huge, args->spans.kind = UINT32_MAX;)
CALL_MUTATION(whole_indices, HOST(spans, 0, 40, 0, 40))
CALL_MUTATION(whole_buffer, IN_BUFFER(spans, 0))
CALL_MUTATION(whole_count, args->spans.count = CALL_BATCH;)
CALL_MUTATION(padding_set, PADDED(spans, 4, 30, 0, 0) args->spans.padding = 1;)
CALL_MUTATION(reserved_first, PADDED(spans, 4, 30, 0, 0) args->spans.reserved[0] = 1;)
CALL_MUTATION(reserved_last, args->spans.reserved[1] = 1;)
CALL_MUTATION(indices_reserved, PADDED(spans, 4, 30, 0, 0) args->spans.indices.reserved[0] = 1;)
CALL_MUTATION(indices_reserved_last,
              PADDED(spans, 4, 30, 0, 0) args->spans.indices.reserved[1] = 1;)

CALL_MUTATION(padded, PADDED(spans, 4, 30, 0, 0))
CALL_MUTATION(padded_whole, PADDED(spans, 0, 40, 39, 1))
CALL_MUTATION(padded_end, PADDED(spans, 40, 0, 0, 40))
CALL_MUTATION(padded_none, args->spans.kind = DJ_SPANS_PADDED;)
CALL_MUTATION(padded_count, PADDED(spans, 4, 30, 0, 0) args->spans.count = CALL_BATCH;)
CALL_MUTATION(padded_start_negative, PADDED(spans, 4, 30, -1, 2))
CALL_MUTATION(padded_length_negative, PADDED(spans, 4, -30, 0, 0))
CALL_MUTATION(padded_start_beyond, PADDED(spans, 4, 30, 41, 0))
CALL_MUTATION(padded_too_long, PADDED(spans, 4, 30, 0, 41))
CALL_MUTATION(padded_end_beyond, PADDED(spans, 11, 30, 0, 0))
CALL_MUTATION(padded_sum_overflows, PADDED(spans, 4, 30, INT32_MAX, INT32_MAX))
CALL_MUTATION(padded_both, PADDED(spans, 0, 20, 0, 20) args->spans.indices.buffer = call->indices;)
CALL_MUTATION(padded_buffer, args->spans.kind = DJ_SPANS_PADDED; IN_BUFFER(spans, 0))
CALL_MUTATION(padded_buffer_longest, args->spans.kind = DJ_SPANS_PADDED;
              IN_BUFFER(spans, 0) args->spans.longest = 25;)
CALL_MUTATION(padded_buffer_odd, args->spans.kind = DJ_SPANS_PADDED;
              IN_BUFFER(spans, 0) args->spans.indices.offset = 2;)
CALL_MUTATION(padded_buffer_short, args->spans.kind = DJ_SPANS_PADDED; IN_BUFFER(spans, 61))
CALL_MUTATION(padded_buffer_fits, args->spans.kind = DJ_SPANS_PADDED; IN_BUFFER(spans, 60))
CALL_MUTATION(padded_buffer_beyond, args->spans.kind = DJ_SPANS_PADDED; IN_BUFFER(spans, 1 << 20))
CALL_MUTATION(padded_buffer_overflows, args->spans.kind = DJ_SPANS_PADDED;
              IN_BUFFER(spans, 0) args->spans.indices.offset = UINT64_MAX - 3;)
CALL_MUTATION(padded_buffer_foreign, args->spans.kind = DJ_SPANS_PADDED;
              IN_BUFFER(spans, 0) args->spans.indices.buffer = call->foreign;)

CALL_MUTATION(packed, ONE_ROW PACKED(spans, 3, 0, 30, 30, 80))
CALL_MUTATION(packed_inside, ONE_ROW PACKED(spans, 3, 10, 30, 31, 70))
CALL_MUTATION(packed_empty, ONE_ROW PACKED(spans, 3, 80, 80, 80, 80))
CALL_MUTATION(packed_no_sequences, ONE_ROW PACKED(spans, 0, 5))
CALL_MUTATION(packed_rows, PACKED(spans, 2, 0, 20, 40))
CALL_MUTATION(packed_no_rows, ONE_ROW PACKED(spans, 3, 0, 0, 0, 0) call_reshape(args, 0, 80);)
CALL_MUTATION(packed_none, ONE_ROW args->spans.kind = DJ_SPANS_PACKED; args->spans.count = 3;)
CALL_MUTATION(packed_falls, ONE_ROW PACKED(spans, 3, 0, 30, 29, 80))
CALL_MUTATION(packed_falls_last, ONE_ROW PACKED(spans, 3, 0, 30, 80, 79))
CALL_MUTATION(packed_negative, ONE_ROW PACKED(spans, 3, -1, 30, 30, 80))
CALL_MUTATION(packed_beyond, ONE_ROW PACKED(spans, 3, 0, 30, 30, 81))
CALL_MUTATION(packed_far_beyond, ONE_ROW PACKED(spans, 3, 0, 30, 30, INT32_MAX))
CALL_MUTATION(packed_count_huge, ONE_ROW PACKED(spans, 1u << 31, 0, 30, 30, 80))
CALL_MUTATION(packed_both,
              ONE_ROW PACKED(spans, 2, 0, 20, 40) args->spans.indices.buffer = call->indices;)
CALL_MUTATION(packed_buffer, ONE_ROW PACKED(spans, 2, 0) IN_BUFFER(spans, 0))
CALL_MUTATION(packed_buffer_short, ONE_ROW PACKED(spans, 2, 0) IN_BUFFER(spans, 62))
CALL_MUTATION(packed_buffer_fits, ONE_ROW PACKED(spans, 2, 0) IN_BUFFER(spans, 61))
CALL_MUTATION(packed_buffer_count_large, ONE_ROW PACKED(spans, 1 << 20, 0) IN_BUFFER(spans, 0))
CALL_MUTATION(packed_buffer_odd,
              ONE_ROW PACKED(spans, 2, 0) IN_BUFFER(spans, 0) args->spans.indices.offset = 1;)
CALL_MUTATION(packed_buffer_foreign, ONE_ROW PACKED(spans, 2, 0) IN_BUFFER(spans, 0)
                                         args->spans.indices.buffer = call->foreign;)
CALL_MUTATION(packed_same_slots,
              ONE_ROW PACKED(spans, 3, 0, 30, 30, 80) static const int32_t slots[] = {0, 3, 0};
              args->slots_out.host = slots;)
CALL_MUTATION(packed_slot_beyond,
              ONE_ROW PACKED(spans, 3, 0, 30, 30, 80) static const int32_t slots[] = {0, 3,
                                                                                      CALL_SLOTS};
              args->slots_out.host = slots;)

CALL_MUTATION(query_kind, args->query_spans.kind = DJ_SPANS_PADDED;)
CALL_MUTATION(query_padded, PADDED(spans, 4, 30, 0, 0) PADDED(query_spans, 4, 30, 0, 0))
CALL_MUTATION(query_indices, HOST(query_spans, 0, 40, 0, 40))
CALL_MUTATION(query_count, args->query_spans.count = 1;)
CALL_MUTATION(query_longest, args->query_spans.longest = 1;)
CALL_MUTATION(query_padding, args->query_spans.padding = 1;)
CALL_MUTATION(query_reserved, args->query_spans.reserved[0] = 1;)

#define INVALID DJ_ERROR_INVALID_ARGUMENT

static const struct mutation causal_mutations[] = {
    {"kind 3", "spans|kind", INVALID, NEEDS_AGREES, kind_3},
    {"kind 2^32 - 1", "spans|kind", INVALID, NEEDS_AGREES, kind_huge},
    {"whole rows with indices", "spans|indices", INVALID, NEEDS_AGREES, whole_indices},
    {"whole rows with indices in a buffer", "spans|indices", INVALID, NEEDS_AGREES, whole_buffer},
    {"whole rows with a count", "spans|count", INVALID, NEEDS_AGREES, whole_count},
    {"padding", "padding", DJ_ERROR_VERSION, NEEDS_AGREES, padding_set},
    {"reserved", "reserved", DJ_ERROR_VERSION, NEEDS_AGREES, reserved_first},
    {"reserved of unused spans", "reserved", DJ_ERROR_VERSION, NEEDS_AGREES, reserved_last},
    {"reserved of the indices", "reserved", DJ_ERROR_VERSION, NEEDS_AGREES, indices_reserved},
    {"last reserved of the indices", "reserved", DJ_ERROR_VERSION, NEEDS_AGREES,
     indices_reserved_last},

    {"padded", "", DJ_SUCCESS, NEEDS_AGREES, padded},
    {"padded, whole rows", "", DJ_SUCCESS, NEEDS_AGREES, padded_whole},
    {"padded, nothing at the end", "", DJ_SUCCESS, NEEDS_AGREES, padded_end},
    {"padded without indices", "spans|indices", INVALID, NEEDS_AGREES, padded_none},
    {"padded with a count", "spans|count", INVALID, NEEDS_AGREES, padded_count},
    {"a negative start", "spans", INVALID, NEEDS_AGREES, padded_start_negative},
    {"a negative length", "spans", INVALID, NEEDS_AGREES, padded_length_negative},
    {"a start beyond the row", "spans", INVALID, NEEDS_AGREES, padded_start_beyond},
    {"longer than the row", "spans", INVALID, NEEDS_AGREES, padded_too_long},
    {"an end beyond the row", "spans", INVALID, NEEDS_AGREES, padded_end_beyond},
    {"an end that overflows", "spans", INVALID, NEEDS_AGREES, padded_sum_overflows},
    {"padded by host and buffer", "spans|indices", INVALID, NEEDS_AGREES, padded_both},
    {"padded by a buffer", "", DJ_SUCCESS, NEEDS_AGREES, padded_buffer},
    {"padded by a buffer, 25 at most", "", DJ_SUCCESS, NEEDS_AGREES, padded_buffer_longest},
    {"padded by byte 2 of a buffer", "spans|offset", INVALID, NEEDS_AGREES, padded_buffer_odd},
    {"padded by too short a buffer", "spans|indices", INVALID, NEEDS_AGREES, padded_buffer_short},
    {"padded by a buffer's end", "", DJ_SUCCESS, NEEDS_AGREES, padded_buffer_fits},
    {"padded by what is beyond a buffer", "spans|indices", INVALID, NEEDS_AGREES,
     padded_buffer_beyond},
    {"padded by an offset that overflows", "spans|indices", INVALID, NEEDS_AGREES,
     padded_buffer_overflows},
    {"padded by another context's buffer", "spans|context", INVALID, NEEDS_AGREES,
     padded_buffer_foreign},

    {"packed", "", DJ_SUCCESS, NEEDS_AGREES, packed},
    {"packed inside the row", "", DJ_SUCCESS, NEEDS_AGREES, packed_inside},
    {"packed and empty", "", DJ_SUCCESS, NEEDS_AGREES, packed_empty},
    {"packed, no sequences", "", DJ_SUCCESS, NEEDS_AGREES, packed_no_sequences},
    {"packed in two rows", "spans|packed", INVALID, NEEDS_AGREES, packed_rows},
    {"packed in no row", "spans|packed", INVALID, NEEDS_AGREES, packed_no_rows},
    {"packed without indices", "spans|indices", INVALID, NEEDS_AGREES, packed_none},
    {"packed indices that fall", "spans", INVALID, NEEDS_AGREES, packed_falls},
    {"packed indices that fall at last", "spans", INVALID, NEEDS_AGREES, packed_falls_last},
    {"a negative packed index", "spans", INVALID, NEEDS_AGREES, packed_negative},
    {"a packed index beyond the row", "spans", INVALID, NEEDS_AGREES, packed_beyond},
    {"a packed index far beyond", "spans", INVALID, NEEDS_AGREES, packed_far_beyond},
    {"2^31 sequences", "spans|count", INVALID, NEEDS_AGREES, packed_count_huge},
    {"packed by host and buffer", "spans|indices", INVALID, NEEDS_AGREES, packed_both},
    {"packed by a buffer", "", DJ_SUCCESS, NEEDS_AGREES, packed_buffer},
    {"packed by too short a buffer", "spans|indices", INVALID, NEEDS_AGREES, packed_buffer_short},
    {"packed by a buffer's end", "", DJ_SUCCESS, NEEDS_AGREES, packed_buffer_fits},
    {"2^20 sequences in a short buffer", "spans|indices", INVALID, NEEDS_AGREES,
     packed_buffer_count_large},
    {"packed by byte 1 of a buffer", "spans|offset", INVALID, NEEDS_AGREES, packed_buffer_odd},
    {"packed by another context's buffer", "spans|context", INVALID, NEEDS_AGREES,
     packed_buffer_foreign},
    {"packed sequences with one slot", "slots_out", INVALID, NEEDS_BLIND, packed_same_slots},
    {"a packed sequence's slot beyond the pool", "slots_out", INVALID, NEEDS_BLIND,
     packed_slot_beyond},

    {"query_spans of a kind, causal", "query_spans", INVALID, NEEDS_AGREES, query_kind},
    {"query_spans like spans, causal", "query_spans", INVALID, NEEDS_AGREES, query_padded},
    {"query_spans with indices, causal", "query_spans", INVALID, NEEDS_AGREES, query_indices},
    {"query_spans with a count, causal", "query_spans", INVALID, NEEDS_AGREES, query_count},
    {"query_spans with longest, causal", "query_spans", INVALID, NEEDS_AGREES, query_longest},
    {"query_spans with padding", "query_spans", DJ_ERROR_VERSION, NEEDS_AGREES, query_padding},
    {"query_spans with reserved", "query_spans|reserved", DJ_ERROR_VERSION, NEEDS_AGREES,
     query_reserved},
};

static void causal_spans_are_checked(void **state)
{
    (void)state;
    CALL_TRY_ALL(harness_context(0), BASE_CAUSAL, causal_mutations);
}

/* Softmax has spans and no slots. */
static const struct mutation softmax_mutations[] = {
    {"padded", "", DJ_SUCCESS, NEEDS_AGREES, padded},
    {"an end beyond the row", "spans", INVALID, NEEDS_AGREES, padded_end_beyond},
    {"packed", "", DJ_SUCCESS, NEEDS_AGREES, packed},
    {"packed in two rows", "spans|packed", INVALID, NEEDS_AGREES, packed_rows},
    {"packed indices that fall", "spans", INVALID, NEEDS_AGREES, packed_falls},
    {"packed by too short a buffer", "spans|indices", INVALID, NEEDS_AGREES, packed_buffer_short},
    {"query_spans like spans, causal", "query_spans", INVALID, NEEDS_AGREES, query_padded},
};

static void softmax_spans_are_checked(void **state)
{
    (void)state;
    CALL_TRY_ALL(harness_context(0), BASE_SOFTMAX, softmax_mutations);
}

/* Without a causal mask: 24 queries of 40 keys, two rows. */
#define ONE_ROW_FULL \
    ONE_ROW \
    args->q.shape[1] = args->o.shape[1] = 2 * CALL_QUERIES;

CALL_MUTATION(full_both_padded, PADDED(spans, 4, 30, 0, 0) PADDED(query_spans, 0, 24, 3, 5))
CALL_MUTATION(full_queries_padded, PADDED(query_spans, 0, 24, 3, 5))
CALL_MUTATION(full_queries_beyond, PADDED(query_spans, 0, 25, 3, 5))
CALL_MUTATION(full_queries_negative, PADDED(query_spans, 0, 24, -3, 5))
CALL_MUTATION(full_queries_none, args->query_spans.kind = DJ_SPANS_PADDED;)
CALL_MUTATION(full_queries_kind, args->query_spans.kind = 3;)
CALL_MUTATION(full_queries_odd, args->query_spans.kind = DJ_SPANS_PADDED;
              IN_BUFFER(query_spans, 3) args->query_spans.indices.offset = 2;)
CALL_MUTATION(full_queries_short, args->query_spans.kind = DJ_SPANS_PADDED;
              IN_BUFFER(query_spans, 61))
CALL_MUTATION(full_both_packed,
              ONE_ROW_FULL PACKED(spans, 3, 0, 30, 30, 80) PACKED(query_spans, 3, 0, 0, 40, 48))
CALL_MUTATION(full_other_count,
              ONE_ROW_FULL PACKED(spans, 3, 0, 30, 30, 80) PACKED(query_spans, 2, 0, 40, 48))
CALL_MUTATION(full_keys_packed, ONE_ROW_FULL PACKED(spans, 3, 0, 30, 30, 80))
CALL_MUTATION(full_queries_packed,
              ONE_ROW_FULL PACKED(query_spans, 3, 0, 0, 40, 48) args->slots_out.host = NULL;)
CALL_MUTATION(full_one_packed, ONE_ROW_FULL PACKED(spans, 1, 0, 80))
CALL_MUTATION(full_query_rows, PACKED(query_spans, 2, 0, 12, 24))
CALL_MUTATION(full_queries_fall,
              ONE_ROW_FULL PACKED(spans, 3, 0, 30, 30, 80) PACKED(query_spans, 3, 0, 41, 40, 48))
CALL_MUTATION(full_queries_far,
              ONE_ROW_FULL PACKED(spans, 3, 0, 30, 30, 80) PACKED(query_spans, 3, 0, 0, 40, 49))

static const struct mutation full_mutations[] = {
    {"keys and queries padded", "", DJ_SUCCESS, NEEDS_AGREES, full_both_padded},
    {"queries padded", "", DJ_SUCCESS, NEEDS_AGREES, full_queries_padded},
    {"queries beyond their row", "query_spans", INVALID, NEEDS_AGREES, full_queries_beyond},
    {"queries from -3 on", "query_spans", INVALID, NEEDS_AGREES, full_queries_negative},
    {"queries without indices", "query_spans", INVALID, NEEDS_AGREES, full_queries_none},
    {"queries of kind 3", "query_spans", INVALID, NEEDS_AGREES, full_queries_kind},
    {"queries by byte 2 of a buffer", "query_spans", INVALID, NEEDS_AGREES, full_queries_odd},
    {"queries by too short a buffer", "query_spans", INVALID, NEEDS_AGREES, full_queries_short},
    {"keys and queries packed", "", DJ_SUCCESS, NEEDS_AGREES, full_both_packed},
    {"three keys' sequences, two queries'", "spans|query_spans", INVALID, NEEDS_AGREES,
     full_other_count},
    {"three keys' sequences, one row of queries", "spans|query_spans", INVALID, NEEDS_AGREES,
     full_keys_packed},
    {"three queries' sequences, one row of keys", "spans|query_spans", INVALID, NEEDS_AGREES,
     full_queries_packed},
    {"one packed sequence, one row of queries", "", DJ_SUCCESS, NEEDS_AGREES, full_one_packed},
    {"queries packed in two rows", "query_spans|packed", INVALID, NEEDS_AGREES, full_query_rows},
    {"queries' indices that fall", "query_spans", INVALID, NEEDS_AGREES, full_queries_fall},
    {"queries' indices beyond the row", "query_spans", INVALID, NEEDS_AGREES, full_queries_far},
    {"query_spans with padding", "query_spans", DJ_ERROR_VERSION, NEEDS_AGREES, query_padding},
    {"query_spans with reserved", "query_spans|reserved", DJ_ERROR_VERSION, NEEDS_AGREES,
     query_reserved},
};

static void spans_without_a_mask_are_checked(void **state)
{
    (void)state;
    CALL_TRY_ALL(harness_context(0), BASE_FULL, full_mutations);
}

/* Maps that limit the length of a sequence and not that of a row. */

CALL_MUTATION(most_packed, ONE_ROW PACKED(spans, 2, 0, CALL_MOST, 80))
CALL_MUTATION(most_packed_apart, ONE_ROW PACKED(spans, 2, 1, CALL_MOST + 1, 80))
CALL_MUTATION(too_many_packed, ONE_ROW PACKED(spans, 2, 0, CALL_MOST + 1, 80))
CALL_MUTATION(too_many_packed_last, ONE_ROW PACKED(spans, 2, 0, 80 - CALL_MOST - 1, 80))
CALL_MUTATION(too_many_padded, call_reshape(args, 2, 60); PADDED(spans, 0, 1, 5, CALL_MOST + 1))
CALL_MUTATION(most_padded, call_reshape(args, 2, 60); PADDED(spans, 0, 1, 5, CALL_MOST))

static const struct mutation cosformer_mutations[] = {
    {"M packed tokens", "", DJ_SUCCESS, NEEDS_AGREES, most_packed},
    {"M packed tokens behind others", "", DJ_SUCCESS, NEEDS_AGREES, most_packed_apart},
    {"M + 1 packed tokens", "tokens|longest|max_tokens", DJ_ERROR_TOKEN_COUNT, NEEDS_AGREES,
     too_many_packed},
    {"M + 1 packed tokens at last", "tokens|longest|max_tokens", DJ_ERROR_TOKEN_COUNT, NEEDS_AGREES,
     too_many_packed_last},
    {"M + 1 padded tokens", "tokens|longest|max_tokens", DJ_ERROR_TOKEN_COUNT, NEEDS_AGREES,
     too_many_padded},
    {"M padded tokens", "", DJ_SUCCESS, NEEDS_AGREES, most_padded},
};

static void cosformer_spans_are_checked(void **state)
{
    (void)state;
    CALL_TRY_ALL(harness_context(0), BASE_COSFORMER, cosformer_mutations);
}

CALL_MUTATION(linformer_whole, PADDED(spans, 0, CALL_LINFORMER_TOKENS, 0, CALL_LINFORMER_TOKENS))
CALL_MUTATION(linformer_padded,
              PADDED(spans, 0, CALL_LINFORMER_TOKENS, 1, CALL_LINFORMER_TOKENS - 1))
CALL_MUTATION(linformer_queries, PADDED(query_spans, 0, 3, 20, 4))
CALL_MUTATION(linformer_packed,
              args->k.shape[0] = args->v.shape[0] = args->q.shape[0] = args->o.shape[0] = 1;
              args->k.shape[1] = args->v.shape[1] = 2 * CALL_LINFORMER_TOKENS;
              PACKED(spans, 2, 0, CALL_LINFORMER_TOKENS, 2 * CALL_LINFORMER_TOKENS)
                  PACKED(query_spans, 2, 0, 4, CALL_QUERIES))
CALL_MUTATION(linformer_packed_short,
              args->k.shape[0] = args->v.shape[0] = args->q.shape[0] = args->o.shape[0] = 1;
              args->k.shape[1] = args->v.shape[1] = 2 * CALL_LINFORMER_TOKENS;
              PACKED(spans, 2, 0, CALL_LINFORMER_TOKENS, 2 * CALL_LINFORMER_TOKENS - 1)
                  PACKED(query_spans, 2, 0, 4, CALL_QUERIES))

static const struct mutation linformer_mutations[] = {
    {"whole rows by indices", "spans", DJ_ERROR_TOKEN_COUNT, NEEDS_AGREES, linformer_whole},
    {"T - 1 padded tokens", "spans", DJ_ERROR_TOKEN_COUNT, NEEDS_AGREES, linformer_padded},
    {"queries padded", "", DJ_SUCCESS, NEEDS_AGREES, linformer_queries},
    {"T packed tokens each", "spans", DJ_ERROR_TOKEN_COUNT, NEEDS_AGREES, linformer_packed},
    {"T - 1 packed tokens at last", "spans", DJ_ERROR_TOKEN_COUNT, NEEDS_AGREES,
     linformer_packed_short},
};

static void linformer_spans_are_checked(void **state)
{
    (void)state;
    CALL_TRY_ALL(harness_context(0), BASE_LINFORMER, linformer_mutations);
}

static const struct mutation scaled_mutations[] = {
    {"P + 1 packed tokens", "scales|query_scales|key_scales", DJ_ERROR_TOKEN_COUNT, NEEDS_AGREES,
     too_many_packed},
    {"P + 1 padded tokens", "scales|query_scales|key_scales", DJ_ERROR_TOKEN_COUNT, NEEDS_AGREES,
     too_many_padded},
};

static void scaled_spans_are_checked(void **state)
{
    (void)state;
    CALL_TRY_ALL(harness_context(0), BASE_SCALED, scaled_mutations);
}

/* Spans in a buffer need tensors that one binding reaches. */
static void device_spans_need_tensors_in_reach(void **state)
{
    (void)state;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    const uint64_t size = info.max_storage_range + (1 << 20);
    if (size > info.max_allocation || size > UINT64_C(1) << 30) {
        print_message("# a binding reaches %llu bytes: too much to exceed\n",
                      (unsigned long long)info.max_storage_range);
        return;
    }
    struct call call;
    call_init(&call, harness_context(0), BASE_SOFTMAX);
    dj_buffer *large = harness_buffer(harness_context(0), NULL, size);
    for (size_t i = 0; i < 4; i++) {
        struct dj_attention_args args = call.args;
        struct dj_tensor *const t = (struct dj_tensor *[]){&args.q, &args.k, &args.v, &args.o}[i];
        struct dj_needs needs;
        t->buffer = large;
        t->stride[1] = info.max_storage_range / 4 / (CALL_TOKENS - 1) / 4 * 4 + 8;
        t->stride[0] = t->stride[2] * t->shape[2];
        args.spans =
            (struct dj_spans){.kind = DJ_SPANS_PADDED, .indices = {.buffer = call.indices}};
        HARNESS_RESULT(dj_attention_run(call.plan, &args), DJ_ERROR_LIMIT);
        args.spans = (struct dj_spans){0};
        HARNESS_OK(dj_attention_needs(call.plan, &args, &needs));
    }
    dj_buffer_destroy(&large);
    call_finish(&call);
}

const struct CMUnitTest span_tests[] = {
    HARNESS_TEST(causal_spans_are_checked),           HARNESS_TEST(softmax_spans_are_checked),
    HARNESS_TEST(spans_without_a_mask_are_checked),   HARNESS_TEST(cosformer_spans_are_checked),
    HARNESS_TEST(linformer_spans_are_checked),        HARNESS_TEST(scaled_spans_are_checked),
    HARNESS_TEST(device_spans_need_tensors_in_reach),
};
const size_t span_test_count = sizeof(span_tests) / sizeof(*span_tests);
