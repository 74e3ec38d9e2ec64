/* SPDX-License-Identifier: MIT */
/* Every rule of a call in <dijiang/attention.h>, broken one at a time: the result code, a line that
 * names the rule, and an unchanged world. Plans are in test_plans.c, saved states in
 * test_saved.c. */
#include "arguments.h"

#include <stdlib.h>
#include <string.h>

static void null_calls_are_refused(void **state)
{
    (void)state;
    struct call call;
    call_init(&call, harness_context(0), BASE_CAUSAL);
    dj_recorder *recorder = NULL;
    HARNESS_OK(dj_recorder_create(harness_context(0), NULL, &recorder));
    HARNESS_OK(dj_recorder_begin(recorder));
    struct dj_needs needs;
    HARNESS_RESULT(dj_attention_needs(NULL, &call.args, &needs), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_attention_needs(call.plan, &call.args, NULL), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_attention_record(NULL, recorder, &call.args), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_attention_record(call.plan, NULL, &call.args), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_attention_record(call.plan, recorder, NULL), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_attention_record_part(NULL, recorder, &call.args, 0),
                   DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_attention_record_part(call.plan, NULL, &call.args, 0),
                   DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_attention_record_part(call.plan, recorder, NULL, 0),
                   DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_attention_run_with(NULL, &call.args, NULL), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_attention_run_with(call.plan, NULL, NULL), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_attention_run(NULL, &call.args), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_attention_run(call.plan, NULL), DJ_ERROR_INVALID_ARGUMENT);
    dj_recorder_destroy(&recorder);
    call_assert_untouched(&call);
    call_finish(&call);
}

static void recorders_must_record_and_have_room(void **state)
{
    (void)state;
    struct call call;
    call_init(&call, harness_context(0), BASE_CAUSAL);
    const dj_attention *plan = call.plan;
    const struct dj_needs *needs = &call.needs;
    assert_true(needs->dispatches > 1 && needs->ring_size > 0); /* it has slots */
    for (uint32_t calls = 0; calls < 2; calls++) { /* that fit: by dispatches none, by ring one */
        const struct dj_recorder_params params = {.dispatches = calls ? 3 * needs->dispatches
                                                                      : needs->dispatches - 1,
                                                  .ring_size = needs->ring_size};
        dj_recorder *recorder = NULL;
        HARNESS_OK(dj_recorder_create(harness_context(0), &params, &recorder));
        HARNESS_RESULT(dj_attention_record(plan, recorder, &call.args), DJ_ERROR_RECORDER_STATE);
        HARNESS_OK(dj_recorder_begin(recorder));
        if (calls)
            HARNESS_OK(dj_attention_record(plan, recorder, &call.args));
        HARNESS_RESULT(dj_attention_record(plan, recorder, &call.args), DJ_ERROR_RECORDER_FULL);
        HARNESS_OK(dj_recorder_begin(recorder)); /* drops what was recorded */
        HARNESS_OK(dj_recorder_submit(recorder));
        HARNESS_RESULT(dj_attention_record(plan, recorder, &call.args), DJ_ERROR_RECORDER_STATE);
        HARNESS_OK(dj_recorder_wait(recorder, UINT64_MAX));
        dj_recorder_destroy(&recorder);
    }
    call_assert_untouched(&call);
    call_finish(&call);
}

/* A recorder of one context is refused by another's plan. */
static void contexts_do_not_mix(void **state)
{
    (void)state;
    struct call call;
    call_init(&call, harness_context(0), BASE_CAUSAL);
    dj_recorder *recorder = NULL;
    HARNESS_OK(dj_recorder_create(call.other, NULL, &recorder));
    HARNESS_OK(dj_recorder_begin(recorder));
    HARNESS_RESULT(dj_attention_record(call.plan, recorder, &call.args), DJ_ERROR_INVALID_ARGUMENT);
    dj_recorder_destroy(&recorder);
    call_assert_untouched(&call);
    call_finish(&call);
}

/* The rule's word stands in the line that was logged. */
static void assert_logged(const char *word)
{
    if (!line_has_word(harness_log_last(), word))
        fail_msg("\"%s\" is not in \"%s\"", word, harness_log_last());
    harness_log_clear();
}

/* One part of a call by a recorder with room for exactly that; parts that do not exist, and the
 * next one, for which no room is left. */
static void parts_are_checked(void **state)
{
    (void)state;
    struct call call;
    call_init(&call, harness_context(0), BASE_CAUSAL);
    struct dj_attention_args args = call.args;
    struct dj_needs needs;
    args.max_work = call.needs.flops / 3;
    args.scratch = (struct dj_scratch){0};
    HARNESS_OK(dj_attention_needs(call.plan, &args, &needs));
    assert_true(needs.parts > 2);
    const struct dj_recorder_params params = {.dispatches = needs.dispatches,
                                              .ring_size = needs.ring_size};
    dj_recorder *recorder = NULL, *foreign = NULL;
    HARNESS_OK(dj_recorder_create(harness_context(0), &params, &recorder));
    HARNESS_OK(dj_recorder_create(call.other, &params, &foreign));
    HARNESS_OK(dj_recorder_begin(recorder));
    dj_buffer *scratch = harness_poisoned(harness_context(0), needs.scratch_size);
    const uint32_t wrong[] = {needs.parts, needs.parts + 1, UINT32_MAX};
    harness_log_clear();
    HARNESS_RESULT(dj_attention_record_part(call.plan, recorder, &args, 0), DJ_ERROR_SCRATCH);
    assert_logged("scratch");
    args.scratch = (struct dj_scratch){.buffer = scratch, .size = needs.scratch_size};
    for (size_t i = 0; i < 3; i++) {
        HARNESS_RESULT(dj_attention_record_part(call.plan, recorder, &args, wrong[i]),
                       DJ_ERROR_INVALID_ARGUMENT);
        assert_logged("part");
    }
    HARNESS_RESULT(dj_attention_record_part(call.plan, foreign, &args, 0),
                   DJ_ERROR_INVALID_ARGUMENT);
    assert_logged("recorder");
    args.slots_out.host = (const int32_t[]){0, 0};
    HARNESS_RESULT(dj_attention_record_part(call.plan, recorder, &args, 0),
                   DJ_ERROR_INVALID_ARGUMENT);
    assert_logged("slots_out");
    args.slots_out = call.args.slots_out;
    HARNESS_OK(dj_attention_record_part(call.plan, recorder, &args, needs.parts - 1));
    HARNESS_RESULT(dj_attention_record_part(call.plan, recorder, &args, 0), DJ_ERROR_RECORDER_FULL);
    HARNESS_OK(dj_recorder_begin(recorder)); /* drops what was recorded */
    HARNESS_OK(dj_recorder_submit(recorder));
    HARNESS_RESULT(dj_attention_record_part(call.plan, recorder, &args, 0),
                   DJ_ERROR_RECORDER_STATE);
    harness_assert_poisoned(scratch, 0, needs.scratch_size);
    dj_recorder_destroy(&recorder);
    dj_recorder_destroy(&foreign);
    dj_buffer_destroy(&scratch);
    call_assert_untouched(&call);
    call_finish(&call);
}

static uint32_t go_on(void *user, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    ++*(uint32_t *)user;
    return 0;
}

/* How a run is to submit; nothing is submitted, and progress not asked, where that is wrong. */
static void runs_are_checked(void **state)
{
    (void)state;
    struct call call;
    call_init(&call, harness_context(0), BASE_CAUSAL);
    uint32_t asked = 0;
    for (size_t i = 0; i < 4; i++) {
        struct dj_run_params run = {.progress = go_on, .user = &asked};
        run.reserved[i] = 1;
        HARNESS_RESULT(dj_attention_run_with(call.plan, &call.args, &run), DJ_ERROR_VERSION);
        assert_logged("reserved");
    }
    const struct dj_run_params run = {.progress = go_on, .user = &asked};
    HARNESS_RESULT(dj_attention_run_with(call.plan, NULL, &run), DJ_ERROR_INVALID_ARGUMENT);
    assert_logged("dj_attention_run_with");
    HARNESS_RESULT(dj_attention_run(call.plan, NULL), DJ_ERROR_INVALID_ARGUMENT);
    assert_logged("dj_attention_run");
    struct dj_attention_args args = call.args;
    args.scratch.size = 64;
    HARNESS_RESULT(dj_attention_run_with(call.plan, &args, &run), DJ_ERROR_SCRATCH);
    args = call.args;
    args.slots_out.host = (const int32_t[]){0, CALL_SLOTS};
    args.padding = 1;
    HARNESS_RESULT(dj_attention_run_with(call.plan, &args, &run), DJ_ERROR_VERSION);
    assert_int_equal(asked, 0);
    call_assert_untouched(&call);
    call_finish(&call);
}

/* What a call needs is the same before any memory is there, which nothing else puts up with. */
static void needs_want_no_buffers(void **state)
{
    (void)state;
    for (enum base base = 0; base < BASE_COUNT; base++) {
        struct call call;
        call_init(&call, harness_context(0), base);
        dj_recorder *recorder = NULL;
        HARNESS_OK(dj_recorder_create(harness_context(0), NULL, &recorder));
        HARNESS_OK(dj_recorder_begin(recorder));
        struct dj_attention_args args = call.args;
        struct dj_tensor *const tensors[] = {
            &args.q, &args.k, &args.v, &args.o, &args.query_scales, &args.key_scales};
        args.scratch = (struct dj_scratch){0};
        args.state = NULL;
        for (size_t i = 0; i < sizeof(tensors) / sizeof(*tensors); i++)
            tensors[i]->buffer = NULL;
        struct dj_needs needs;
        HARNESS_OK(dj_attention_needs(call.plan, &args, &needs));
        assert_memory_equal(&needs, &call.needs, sizeof(needs));
        args.scratch = call.args.scratch;
        HARNESS_RESULT(dj_attention_record(call.plan, recorder, &args), DJ_ERROR_INVALID_ARGUMENT);
        HARNESS_RESULT(dj_attention_record_part(call.plan, recorder, &args, 0),
                       DJ_ERROR_INVALID_ARGUMENT);
        HARNESS_RESULT(dj_attention_run(call.plan, &args), DJ_ERROR_INVALID_ARGUMENT);
        args.o.stride[0] = 0; /* what can be known is checked */
        HARNESS_RESULT(dj_attention_needs(call.plan, &args, &needs), DJ_ERROR_INVALID_ARGUMENT);
        dj_recorder_destroy(&recorder);
        call_assert_untouched(&call);
        call_finish(&call);
    }
}

/* States that scratch memory would have to keep, more than an allocation or a part can hold. */
static void kept_states_have_limits(void **state)
{
    (void)state;
    enum {
        ROWS = 1 << 15,
        MOST = 64 /* snapshots */
    };
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    if (info.max_storage_range < sizeof(int32_t) * ROWS * MOST)
        harness_skip("so many indices are beyond the binding range of %llu bytes",
                     (unsigned long long)info.max_storage_range);
    int32_t *slots = calloc(ROWS * MOST, sizeof(*slots));
    assert_non_null(slots);
    for (int large = 0; large < 2; large++) {
        const uint32_t d = large ? 256 : 4;
        dj_attention *plan = NULL;
        HARNESS_OK(dj_attention_create(
            harness_context(0),
            &(struct dj_attention_params){.map = DJ_MAP_ELU, .heads = 1, .dim = d}, &plan));
        const uint64_t shape[4] = {ROWS, 1, 1, d};
        dj_buffer *in = harness_buffer(harness_context(0), NULL, 4 << 20);
        dj_buffer *out = harness_buffer(harness_context(0), NULL, UINT64_C(4) * ROWS * d);
        struct dj_attention_args args = {.state = in, .slot_count = 1, .snapshots = MOST};
        struct dj_needs needs;
        dj_tensor_init(&args.o, out, 0, DJ_FLOAT32, shape);
        dj_tensor_init(&args.q, in, 0, DJ_FLOAT32, shape);
        args.q.stride[0] = 0;
        args.k = args.v = args.q;
        args.state_offset = 1 << 20;
        args.slots_out.host = slots;
        args.max_work = 1;
        harness_log_clear();
        HARNESS_RESULT(dj_attention_needs(plan, &args, &needs), DJ_ERROR_LIMIT);
        assert_logged(large ? "states" : "dispatches");
        if (!large) { /* larger parts copy more states in a dispatch */
            args.max_work = 1 << 20;
            HARNESS_OK(dj_attention_needs(plan, &args, &needs));
        }
        args.max_work = 0;
        HARNESS_OK(dj_attention_needs(plan, &args, &needs));
        dj_buffer_destroy(&in);
        dj_buffer_destroy(&out);
        dj_attention_destroy(&plan);
    }
    free(slots);
}

/* Sizes that no call may have, asked of before there is any memory. */
static void sizes_have_bounds(void **state)
{
    (void)state;
    dj_attention *plan = NULL;
    const struct dj_attention_params params = {
        .map = DJ_MAP_ELU, .heads = 1, .dim = 4, .normalise = DJ_OFF};
    HARNESS_OK(dj_attention_create(harness_context(0), &params, &plan));
    struct dj_attention_args args = {.max_work = 1};
    struct dj_tensor *const tensors[] = {&args.q, &args.k, &args.v, &args.o};
    struct dj_needs needs;
    for (int i = 0; i < 4; i++)
        dj_tensor_init(tensors[i], NULL, 0, DJ_FLOAT32,
                       (const uint64_t[4]){1 << 20, 1 << 20, 1, 4});
    harness_log_clear();
    HARNESS_RESULT(dj_attention_needs(plan, &args, &needs), DJ_ERROR_LIMIT);
    assert_logged("pieces");
    for (int i = 0; i < 4; i++)
        dj_tensor_init(tensors[i], NULL, 0, DJ_FLOAT32, (const uint64_t[4]){1, 1, 1, 4});
    dj_tensor_init(&args.key_scales, NULL, 0, DJ_FLOAT32,
                   (const uint64_t[4]){1, 1, 1, (1 << 30) + 1});
    HARNESS_RESULT(dj_attention_needs(plan, &args, &needs), DJ_ERROR_LIMIT);
    assert_logged("1073741824");
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    if (info.max_storage_range < UINT64_C(4) << 30) {
        args.key_scales.shape[3] = 1 << 30;
        HARNESS_RESULT(dj_attention_needs(plan, &args, &needs), DJ_ERROR_LIMIT);
        assert_logged("bind");
    }
    dj_attention_destroy(&plan);
}

static const struct CMUnitTest general_tests[] = {
    HARNESS_TEST(null_calls_are_refused),  HARNESS_TEST(recorders_must_record_and_have_room),
    HARNESS_TEST(contexts_do_not_mix),     HARNESS_TEST(parts_are_checked),
    HARNESS_TEST(sizes_have_bounds),       HARNESS_TEST(runs_are_checked),
    HARNESS_TEST(kept_states_have_limits), HARNESS_TEST(needs_want_no_buffers),
};

int main(void)
{
    enum {
        MOST = 32
    };
    static struct CMUnitTest tests[MOST];
    const struct {
        const struct CMUnitTest *tests;
        size_t count;
    } parts[] = {
        {general_tests, sizeof(general_tests) / sizeof(*general_tests)},
        {tensor_tests, tensor_test_count},
        {slot_tests, slot_test_count},
        {span_tests, span_test_count},
    };
    size_t count = 0;
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        assert_true(count + parts[i].count <= MOST);
        memcpy(tests + count, parts[i].tests, parts[i].count * sizeof(*tests));
        count += parts[i].count;
    }
    harness_prepare();
    return harness_status(
        _cmocka_run_group_tests("tests", tests, count, harness_setup, harness_teardown));
}
