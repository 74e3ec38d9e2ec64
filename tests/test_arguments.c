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

static const struct CMUnitTest general_tests[] = {
    HARNESS_TEST(null_calls_are_refused),
    HARNESS_TEST(recorders_must_record_and_have_room),
    HARNESS_TEST(contexts_do_not_mix),
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
