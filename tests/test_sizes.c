/* SPDX-License-Identifier: MIT */
/* Sizes whose products exceed 32, 63 or 64 bits: what is asked for is refused, or answered rightly,
 * as arithmetic in 128 bits says. Buffers of any size are made up, since nothing here runs. */
#include "harness.h"

#include <dijiang/dct.h>

#include "../lib/buffer.h"
#include "../lib/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 wide;

static const uint64_t extremes[] = {0,
                                    1,
                                    2,
                                    3,
                                    4,
                                    31,
                                    33,
                                    1000,
                                    65536,
                                    (1ull << 31) - 1,
                                    1ull << 31,
                                    (1ull << 31) + 1,
                                    UINT32_MAX - 33,
                                    UINT32_MAX - 32,
                                    UINT32_MAX,
                                    1ull << 32,
                                    (1ull << 32) + 4,
                                    1ull << 40,
                                    1ull << 60,
                                    (1ull << 62) - 1,
                                    1ull << 62,
                                    (1ull << 63) - 1,
                                    1ull << 63,
                                    (1ull << 63) + 4,
                                    UINT64_MAX - 3,
                                    UINT64_MAX - 1,
                                    UINT64_MAX};
enum {
    EXTREMES = sizeof extremes / sizeof *extremes
};

/* A context that logs nothing, for thousands of refusals. */
static dj_context *quiet;

static int open_quiet(void **state)
{
    struct dj_device_info info;
    char index[16];
    if (harness_setup(state) != 0)
        return -1;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    snprintf(index, sizeof index, "%u", info.index);
    HARNESS_OK(dj_context_create(&(struct dj_context_params){.device = index}, &quiet));
    return 0;
}

static int close_quiet(void **state)
{
    dj_context_destroy(&quiet);
    return harness_teardown(state);
}

static uint64_t extreme(void)
{
    return extremes[harness_random() % EXTREMES];
}

/* A small number more often than not, so that some calls are fine. */
static uint64_t some_size(void)
{
    return harness_random() % 3 ? extremes[harness_random() % 9] : extreme();
}

static struct dj_buffer make_up(dj_context *context, uint64_t size)
{
    return (struct dj_buffer){.context = context, .size = size};
}

/* A tensor in a buffer: without gaps where that fits 64 bits, or with any strides and offset. */
static struct dj_tensor draw_tensor(dj_buffer *buffer, const uint64_t shape[4])
{
    struct dj_tensor tensor;
    dj_tensor_init(&tensor, buffer, 0, DJ_FLOAT32, shape);
    if (harness_random() % 2)
        tensor.offset = harness_random() % 2 ? some_size() * 4 : some_size();
    for (int i = 0; i < 3; i++)
        if (harness_random() % 6 == 0)
            tensor.stride[i] = harness_random() % 2 ? 0 : some_size();
    return tensor;
}

static bool is_empty(const struct dj_tensor *t)
{
    return t->shape[0] == 0 || t->shape[1] == 0 || t->shape[2] == 0 || t->shape[3] == 0;
}

/* One past the last byte; what 64 bits do not hold is enough to know. */
static wide end_of(const struct dj_tensor *t)
{
    wide last = t->shape[3] - 1;
    for (int i = 0; i < 3; i++) {
        const wide reach = (wide)(t->shape[i] - 1) * t->stride[i];
        last += reach > UINT64_MAX ? (wide)UINT64_MAX + 1 : reach;
    }
    return (last + 1) * 4 + t->offset;
}

/* Whether two indices lead to one element, as far as sorted strides can tell. */
static bool steps_on_itself(const struct dj_tensor *t)
{
    bool done[4] = {false};
    wide reach = 1;
    for (int n = 0; n < 4; n++) {
        int least = -1;
        for (int i = 0; i < 4; i++)
            if (!done[i] && (least < 0 || t->stride[i] < t->stride[least]))
                least = i;
        done[least] = true;
        if (t->shape[least] > 1 && t->stride[least] < reach)
            return true;
        if (t->shape[least] > 1)
            reach += (wide)(t->shape[least] - 1) * t->stride[least];
    }
    return false;
}

/* What must be said of one tensor. */
static dj_result verdict(const struct dj_tensor *t, bool output)
{
    if (is_empty(t))
        return DJ_SUCCESS;
    if (t->offset % 4 != 0 || (t->shape[3] > 1 && t->stride[3] != 1))
        return DJ_ERROR_INVALID_ARGUMENT;
    /* elements, then bytes, then the end must each fit */
    if (end_of(t) > UINT64_MAX)
        return DJ_ERROR_LIMIT;
    if (end_of(t) > t->buffer->size || (output && steps_on_itself(t)))
        return DJ_ERROR_INVALID_ARGUMENT;
    return DJ_SUCCESS;
}

static uint64_t saturated(wide value)
{
    return value > UINT64_MAX ? UINT64_MAX : (uint64_t)value;
}

/* Elements that the smallest piece of a tensor spans: `tokens` tokens of one head or row. */
static wide least_span(const struct dj_tensor *t, uint64_t tokens)
{
    const uint64_t count = t->shape[1] < tokens ? t->shape[1] : tokens;
    return count == 0 ? 0 : (wide)(count - 1) * t->stride[1] + t->shape[3];
}

static void dct_tensors_of_any_size(void **state)
{
    (void)state;
    dj_context *context = quiet;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(context, &info));
    const struct dj_dct_params params = {.type = 2, .length = 4, .path = DJ_DCT_PATH_DENSE};
    dj_dct *plan = NULL;
    HARNESS_OK(dj_dct_create(context, &params, &plan));
    size_t counts[3] = {0};
    for (int n = 0; n < 20000; n++) {
        const uint64_t shape[4] = {some_size(), some_size(), some_size(), 4};
        struct dj_buffer buffers[2] = {make_up(context, extreme()), make_up(context, extreme())};
        const struct dj_dct_args args = {.input = draw_tensor(&buffers[0], shape),
                                         .output = draw_tensor(&buffers[1], shape)};
        dj_result want = verdict(&args.input, false);
        if (want == DJ_SUCCESS)
            want = verdict(&args.output, true);
        struct dj_needs needs;
        const dj_result got = dj_dct_needs(plan, &args, &needs);
        if (got == DJ_ERROR_LIMIT && want == DJ_SUCCESS) {
            /* too many dispatches for rows whose gaps, or whose number, are too large */
            const wide rows = (wide)shape[0] * shape[1] * shape[2];
            assert_true(rows > 1u << 20);
            continue;
        }
        if (got != want)
            fail_msg("draw %d: result %d, should be %d: shape %llu %llu %llu", n, got, want,
                     (unsigned long long)shape[0], (unsigned long long)shape[1],
                     (unsigned long long)shape[2]);
        counts[got == DJ_SUCCESS ? 0 : got == DJ_ERROR_LIMIT ? 1 : 2]++;
        if (got == DJ_SUCCESS && !is_empty(&args.input)) {
            const wide rows = (wide)shape[0] * shape[1] * shape[2];
            assert_int_equal(needs.bytes, saturated(rows * 32));
            assert_in_range(needs.scratch_size, 16, info.max_storage_range);
            assert_true(needs.parts > 0 && needs.dispatches >= needs.parts);
        }
    }
    assert_true(counts[0] > 100 && counts[1] > 100 && counts[2] > 100);
    dj_dct_destroy(&plan);
}

/* A call of a plan of 2 heads, d = e = 4: what is right, and whether the answer is. */
static void try_call(const dj_attention *plan, bool causal, size_t counts[3])
{
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(quiet, &info));
    const uint64_t B = some_size(), T = some_size(), Tq = causal ? T : some_size();
    const uint64_t keys[4] = {B, T, 2, 4}, queries[4] = {B, Tq, 2, 4};
    struct dj_buffer buffers[4];
    for (int i = 0; i < 4; i++)
        buffers[i] = make_up(quiet, harness_random() % 2 ? UINT64_MAX : extreme());
    const struct dj_attention_args args = {.q = draw_tensor(&buffers[0], queries),
                                           .k = draw_tensor(&buffers[1], keys),
                                           .v = draw_tensor(&buffers[2], keys),
                                           .o = draw_tensor(&buffers[3], queries)};
    const struct dj_tensor *const tensors[4] = {&args.q, &args.k, &args.v, &args.o};
    dj_result want = DJ_SUCCESS;
    for (int i = 0; want == DJ_SUCCESS && i < 4; i++)
        want = verdict(tensors[i], i == 3);
    if (want == DJ_SUCCESS && (T > UINT32_MAX - 32 || Tq > UINT32_MAX - 32))
        want = DJ_ERROR_LIMIT;
    struct dj_needs needs;
    const dj_result got = dj_attention_needs(plan, &args, &needs);
    if (got == DJ_ERROR_LIMIT && want == DJ_SUCCESS) {
        bool wide_rows = false;
        for (int i = 0; i < 4; i++)
            wide_rows = wide_rows || least_span(tensors[i], 32) > info.max_storage_range / 4 - 64;
        assert_true(wide_rows || (wide)B * (T + Tq) > 1u << 25 || (wide)T * Tq > 1ull << 50);
        return;
    }
    if (got != want)
        fail_msg("result %d, should be %d: B %llu, T %llu, Tq %llu", got, want,
                 (unsigned long long)B, (unsigned long long)T, (unsigned long long)Tq);
    counts[got == DJ_SUCCESS ? 0 : got == DJ_ERROR_LIMIT ? 1 : 2]++;
    if (got == DJ_SUCCESS && B > 0 && Tq > 0) {
        const wide rows = (wide)B * ((wide)T + Tq) * 2;
        assert_int_equal(needs.bytes, saturated(rows * 8 * 4));
        assert_true((needs.flops > 0 || T == 0) && needs.parts > 0);
        assert_true(needs.dispatches >= needs.parts);
        assert_true(needs.scratch_size < 1ull << 33);
    }
}

static void attention_tensors_of_any_size(void **state)
{
    (void)state;
    dj_context *context = quiet;
    static const struct {
        uint32_t map;
        bool causal;
    } cases[] = {{DJ_MAP_ELU, true}, {DJ_MAP_ELU, false}, {DJ_MAP_SOFTMAX, false}};
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        const struct dj_attention_params params = {
            .map = cases[n].map, .heads = 2, .dim = 4, .causal = cases[n].causal ? DJ_ON : DJ_OFF};
        dj_attention *plan = NULL;
        size_t counts[3] = {0};
        HARNESS_OK(dj_attention_create(context, &params, &plan));
        for (int i = 0; i < 20000; i++)
            try_call(plan, cases[n].causal, counts);
        assert_true(counts[0] > 100 && counts[1] > 100 && counts[2] > 100);
        dj_attention_destroy(&plan);
    }
}

/* A call of two sequences with a pool, for what slots and spans may be. */
struct slots_call {
    dj_attention *plan;
    struct dj_buffer tensor, pool, indices;
    struct dj_attention_args args;
    struct dj_needs needs;
};

static void slots_init(struct slots_call *call, dj_context *context, uint64_t rows, uint64_t tokens)
{
    const struct dj_attention_params params = {.map = DJ_MAP_ELU, .heads = 1, .dim = 4};
    memset(call, 0, sizeof *call);
    HARNESS_OK(dj_attention_create(context, &params, &call->plan));
    HARNESS_OK(dj_attention_needs(call->plan, NULL, &call->needs));
    call->tensor = make_up(context, UINT64_MAX);
    call->pool = make_up(context, UINT64_MAX);
    call->indices = make_up(context, UINT64_MAX);
    const uint64_t shape[4] = {rows, tokens, 1, 4};
    struct dj_tensor *const tensors[4] = {&call->args.q, &call->args.k, &call->args.v,
                                          &call->args.o};
    for (int i = 0; i < 4; i++)
        dj_tensor_init(tensors[i], &call->tensor, (uint64_t)i << 50, DJ_FLOAT32, shape);
}

static void pools_of_any_size(void **state)
{
    (void)state;
    dj_context *context = quiet;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(context, &info));
    const wide reach = dj_context_uses(context) & DJ_USE_DEVICE_ADDRESSES
                           ? (wide)4 * INT32_MAX /* words */
                           : info.max_storage_range;
    struct slots_call call;
    slots_init(&call, context, 2, 3);
    static const int32_t out[2] = {0, 1};
    call.args.state = &call.pool;
    const uint64_t slot = call.needs.slot_size;
    size_t counts[3] = {0};
    for (int n = 0; n < 20000; n++) {
        const bool device = harness_random() % 2;
        call.pool.size = extreme();
        call.args.state_offset = harness_random() % 2 ? 0 : extreme();
        call.args.slot_count = (uint32_t)extreme();
        call.args.slots_out = (struct dj_indices){.host = device ? NULL : out,
                                                  .buffer = device ? &call.indices : NULL};
        const wide pool = (wide)call.args.slot_count * slot;
        dj_result want = DJ_SUCCESS;
        if (call.args.state_offset % 16 != 0 || call.args.state_offset + pool > call.pool.size ||
            call.args.state_offset > call.pool.size)
            want = DJ_ERROR_INVALID_ARGUMENT;
        else if (device && pool + info.offset_alignment > reach)
            want = DJ_ERROR_LIMIT;
        struct dj_needs needs;
        const dj_result got = dj_attention_needs(call.plan, &call.args, &needs);
        if (got != want)
            fail_msg("result %d, should be %d: %u slots from %llu on in %llu", got, want,
                     call.args.slot_count, (unsigned long long)call.args.state_offset,
                     (unsigned long long)call.pool.size);
        counts[got == DJ_SUCCESS ? 0 : got == DJ_ERROR_LIMIT ? 1 : 2]++;
    }
    assert_true(counts[0] > 100 && counts[1] > 10 && counts[2] > 100);
    dj_attention_destroy(&call.plan);
}

/* States are copied from and to slots that are there. */
static void slots_beyond_the_pool_are_no_states(void **state)
{
    (void)state;
    struct slots_call call;
    slots_init(&call, quiet, 1, 1);
    call.args.state = &call.pool;
    void *data = calloc(1, call.needs.slot_size);
    assert_non_null(data);
    for (int n = 0; n < 5000; n++) {
        call.pool.size = harness_random() % 2 ? some_size() : call.needs.slot_size * 3;
        call.args.state_offset = extreme();
        call.args.slot_count = (uint32_t)extreme();
        const uint32_t slot = (uint32_t)extreme();
        const uint64_t size = harness_random() % 2 ? call.needs.slot_size : extreme();
        const wide end =
            (wide)call.args.state_offset + (wide)call.args.slot_count * call.needs.slot_size;
        if (call.args.state_offset % 16 == 0 && end <= call.pool.size &&
            slot < call.args.slot_count && size == call.needs.slot_size)
            continue; /* which would be done */
        HARNESS_RESULT(dj_state_save(call.plan, &call.args, slot, data, size),
                       DJ_ERROR_INVALID_ARGUMENT);
        HARNESS_RESULT(dj_state_load(call.plan, &call.args, slot, data, size),
                       DJ_ERROR_INVALID_ARGUMENT);
    }
    free(data);
    dj_attention_destroy(&call.plan);
}

/* Indices in buffers of any size, of as many sequences and snapshots as there may be. */
static void indices_of_any_number(void **state)
{
    (void)state;
    dj_context *context = quiet;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(context, &info));
    struct slots_call call;
    slots_init(&call, context, 1, 40);
    call.args.state = &call.pool;
    call.args.slot_count = 5;
    const uint64_t most = info.max_storage_range / 4 - 64;
    size_t counts[3] = {0};
    for (int n = 0; n < 20000; n++) {
        const uint32_t count = (uint32_t)extreme(), K = (uint32_t)(harness_random() % 66);
        const uint64_t states = K ? K : 1, offset = harness_random() % 3 ? 0 : extreme();
        call.indices.size = extreme();
        const struct dj_indices indices = {.buffer = &call.indices, .offset = offset};
        call.args.spans = (struct dj_spans){.kind = DJ_SPANS_PACKED,
                                            .count = count,
                                            .longest = (uint32_t)extreme(),
                                            .indices = {.buffer = &call.indices}};
        call.args.slots_out = indices;
        call.args.snapshots = K;
        const wide bytes = (wide)count * states * 4 + offset;
        dj_result want = DJ_SUCCESS;
        if (count > INT32_MAX)
            want = DJ_ERROR_INVALID_ARGUMENT;
        else if ((wide)count + 1 > most)
            want = DJ_ERROR_LIMIT;
        else if (((wide)count + 1) * 4 > call.indices.size || K > 64)
            want = DJ_ERROR_INVALID_ARGUMENT;
        else if ((wide)count * states > most)
            want = DJ_ERROR_LIMIT;
        else if (offset % 4 != 0 || bytes > call.indices.size)
            want = DJ_ERROR_INVALID_ARGUMENT;
        struct dj_needs needs;
        const dj_result got = dj_attention_needs(call.plan, &call.args, &needs);
        if (got != want)
            fail_msg("result %d, should be %d: %u sequences, %u snapshots, from %llu on in %llu",
                     got, want, count, K, (unsigned long long)offset,
                     (unsigned long long)call.indices.size);
        counts[got == DJ_SUCCESS ? 0 : got == DJ_ERROR_LIMIT ? 1 : 2]++;
    }
    assert_true(counts[0] > 100 && counts[1] > 100 && counts[2] > 100);
    dj_attention_destroy(&call.plan);
}

/* Kernels read 2-byte elements by words of 4 bytes, which a buffer of the caller's must hold; the
 * library's own are rounded up. */
static void last_words_are_whole(void **state)
{
    (void)state;
    const struct dj_attention_params params = {.map = DJ_MAP_ELU,
                                               .heads = 1,
                                               .dim = 4,
                                               .q_type = DJ_FLOAT16,
                                               .k_type = DJ_FLOAT16,
                                               .v_type = DJ_FLOAT16,
                                               .o_type = DJ_FLOAT16};
    static const uint64_t shape[4] = {1, 1, 1, 4};
    dj_attention *plan = NULL;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(quiet, &info));
    if (!info.storage_16bit)
        harness_skip("without 16-bit storage offsets are even");
    HARNESS_OK(dj_attention_create(quiet, &params, &plan));
    for (int n = 0; n < 4; n++) {
        struct dj_buffer inputs = make_up(quiet, 1024), output = make_up(quiet, n & 1 ? 12 : 10);
        struct dj_attention_args args = {0};
        struct dj_needs needs;
        output.wrapped = n & 2;
        dj_tensor_init(&args.q, &inputs, 0, DJ_FLOAT16, shape);
        args.k = args.v = args.q;
        dj_tensor_init(&args.o, &output, 2, DJ_FLOAT16, shape);
        HARNESS_RESULT(dj_attention_needs(plan, &args, &needs),
                       n == 2 ? DJ_ERROR_INVALID_ARGUMENT : DJ_SUCCESS);
    }
    dj_attention_destroy(&plan);
}

/* Real buffers, tensors and recorders: only what the device may have is tried. */
static void memory_of_any_size(void **state)
{
    (void)state;
    dj_context *context = quiet;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(context, &info));
    for (int n = 0; n < 3000; n++) {
        const uint64_t shape[4] = {extreme(), some_size(), some_size(), extreme()};
        const wide size = (wide)4 * shape[0] * shape[1];
        const bool empty = !shape[0] || !shape[1] || !shape[2] || !shape[3];
        /* a product of four may exceed 128 bits, of three by the last may not */
        const bool huge = !empty && (size > UINT64_MAX || size * shape[2] > UINT64_MAX ||
                                     size * shape[2] * shape[3] > info.max_allocation);
        struct dj_tensor tensor;
        if (huge) {
            HARNESS_RESULT(dj_tensor_create(context, DJ_FLOAT32, shape, NULL, &tensor),
                           DJ_ERROR_LIMIT);
            assert_null(tensor.buffer);
        } else if (empty) {
            HARNESS_OK(dj_tensor_create(context, DJ_FLOAT32, shape, NULL, &tensor));
            dj_buffer_destroy(&tensor.buffer);
        }
    }
    for (int i = 0; i < EXTREMES; i++) {
        if (extremes[i] <= info.max_allocation)
            continue;
        dj_buffer *buffer = NULL;
        dj_recorder *recorder = NULL;
        HARNESS_RESULT(
            dj_buffer_create(context, &(struct dj_buffer_params){.size = extremes[i]}, &buffer),
            DJ_ERROR_LIMIT);
        HARNESS_RESULT(dj_recorder_create(context,
                                          &(struct dj_recorder_params){.ring_size = extremes[i]},
                                          &recorder),
                       DJ_ERROR_LIMIT);
    }
}

static void copies_of_any_size(void **state)
{
    (void)state;
    uint8_t data[64] = {0}, read[64];
    dj_buffer *buffer = harness_buffer(quiet, data, sizeof data);
    for (int i = 0; i < EXTREMES * EXTREMES; i++) {
        const uint64_t offset = extremes[i / EXTREMES], size = extremes[i % EXTREMES];
        const dj_result want =
            (wide)offset + size <= sizeof data ? DJ_SUCCESS : DJ_ERROR_INVALID_ARGUMENT;
        HARNESS_RESULT(dj_buffer_write(buffer, offset, data, size), want);
        HARNESS_RESULT(dj_buffer_read(buffer, offset, read, size), want);
    }
    dj_buffer_destroy(&buffer);
}

/* More numbers than the device binds are refused before they are read: there are only 4 here. */
static void too_many_features_are_not_read(void **state)
{
    (void)state;
    dj_context *context = quiet;
    static const float numbers[4] = {1, 1, 1, 1};
    const struct {
        uint32_t heads, features, tokens;
    } cases[] = {{0, 1024, UINT32_MAX}, {65535, 1024, UINT32_MAX}, {65535, 1, UINT32_MAX},
                 {0, 1, UINT32_MAX},    {4, 1024, 1u << 30},       {16, 1, 1u << 31}};
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        const struct dj_features_params params = {.map = DJ_MAP_LINFORMER,
                                                  .dim = 4,
                                                  .heads = cases[n].heads,
                                                  .features = cases[n].features,
                                                  .tokens = cases[n].tokens,
                                                  .key_projection = numbers,
                                                  .value_projection = numbers};
        dj_features *features = NULL;
        HARNESS_RESULT(dj_features_create(context, &params, &features), DJ_ERROR_LIMIT);
        assert_null(features);
    }
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(dct_tensors_of_any_size),
    HARNESS_TEST(attention_tensors_of_any_size),
    HARNESS_TEST(pools_of_any_size),
    HARNESS_TEST(slots_beyond_the_pool_are_no_states),
    HARNESS_TEST(indices_of_any_number),
    HARNESS_TEST(last_words_are_whole),
    HARNESS_TEST(memory_of_any_size),
    HARNESS_TEST(copies_of_any_size),
    HARNESS_TEST(too_many_features_are_not_read),
};

int main(void)
{
    harness_prepare();
    return cmocka_run_group_tests(tests, open_quiet, close_quiet);
}
