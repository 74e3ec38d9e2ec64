/* SPDX-License-Identifier: MIT */
#include <dijiang/dijiang.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static const struct {
    dj_result result;
    int value;
    const char *name;
} pinned[] = {
    /* written out again, so that a change of the header's table shows */
    {DJ_SUCCESS, 0, "DJ_SUCCESS"},
    {DJ_ERROR_INVALID_ARGUMENT, -1, "DJ_ERROR_INVALID_ARGUMENT"},
    {DJ_ERROR_OUT_OF_HOST_MEMORY, -2, "DJ_ERROR_OUT_OF_HOST_MEMORY"},
    {DJ_ERROR_OUT_OF_DEVICE_MEMORY, -3, "DJ_ERROR_OUT_OF_DEVICE_MEMORY"},
    {DJ_ERROR_NO_LOADER, -4, "DJ_ERROR_NO_LOADER"},
    {DJ_ERROR_NO_DEVICE, -5, "DJ_ERROR_NO_DEVICE"},
    {DJ_ERROR_DEVICE_NOT_FOUND, -6, "DJ_ERROR_DEVICE_NOT_FOUND"},
    {DJ_ERROR_DEVICE_UNSUITABLE, -7, "DJ_ERROR_DEVICE_UNSUITABLE"},
    {DJ_ERROR_DEVICE_LOST, -8, "DJ_ERROR_DEVICE_LOST"},
    {DJ_ERROR_NO_VALIDATION, -9, "DJ_ERROR_NO_VALIDATION"},
    {DJ_ERROR_UNSUPPORTED, -10, "DJ_ERROR_UNSUPPORTED"},
    {DJ_ERROR_LIMIT, -11, "DJ_ERROR_LIMIT"},
    {DJ_ERROR_RECORDER_FULL, -12, "DJ_ERROR_RECORDER_FULL"},
    {DJ_ERROR_RECORDER_STATE, -13, "DJ_ERROR_RECORDER_STATE"},
    {DJ_ERROR_TIMEOUT, -14, "DJ_ERROR_TIMEOUT"},
    {DJ_ERROR_COMPILER, -15, "DJ_ERROR_COMPILER"},
    {DJ_ERROR_VERSION, -16, "DJ_ERROR_VERSION"},
    {DJ_ERROR_VULKAN, -17, "DJ_ERROR_VULKAN"},
    {DJ_ERROR_SCRATCH, -18, "DJ_ERROR_SCRATCH"},
    {DJ_ERROR_STATELESS, -19, "DJ_ERROR_STATELESS"},
    {DJ_ERROR_NORMALISER, -20, "DJ_ERROR_NORMALISER"},
    {DJ_ERROR_TOKEN_COUNT, -21, "DJ_ERROR_TOKEN_COUNT"},
    {DJ_ERROR_STATE_FORMAT, -22, "DJ_ERROR_STATE_FORMAT"},
    {DJ_ERROR_FILE, -23, "DJ_ERROR_FILE"},
    {DJ_ERROR_NO_QUEUE, -24, "DJ_ERROR_NO_QUEUE"},
    {DJ_ERROR_CACHE, -25, "DJ_ERROR_CACHE"},
    {DJ_ERROR_CANCELLED, -26, "DJ_ERROR_CANCELLED"},
};
enum {
    PINNED = sizeof(pinned) / sizeof(pinned[0])
};

static void test_values_and_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < PINNED; i++) {
        assert_int_equal(pinned[i].result, pinned[i].value);
        assert_string_equal(dj_result_name(pinned[i].result), pinned[i].name);
    }
}

static void test_table_is_complete(void **state)
{
    (void)state;
    size_t count = 0;
#define COUNT(name, value, text) count++;
    DJ_RESULTS(COUNT)
#undef COUNT
    assert_int_equal(count, PINNED);
}

static void test_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < PINNED; i++) {
        const char *text = dj_result_str(pinned[i].result);
        assert_true(strlen(text) > 0);
        assert_int_not_equal(text[strlen(text) - 1], '.');
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(text, dj_result_str(pinned[j].result));
    }
}

static void test_unknown(void **state)
{
    (void)state;
    const int unknown[] = {1, -27, -1000, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        assert_string_equal(dj_result_str((dj_result)unknown[i]), "unknown result");
        assert_string_equal(dj_result_name((dj_result)unknown[i]), "unknown result");
    }
}

static void test_version(void **state)
{
    (void)state;
    assert_int_equal(dj_version(),
                     DJ_VERSION_MAJOR * 1000000 + DJ_VERSION_MINOR * 1000 + DJ_VERSION_PATCH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_and_names),
        cmocka_unit_test(test_table_is_complete),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_version),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
