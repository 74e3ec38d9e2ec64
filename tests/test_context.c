/* SPDX-License-Identifier: MIT */
/* Listing, choosing and opening devices, and every way in which that fails. */
#include "harness.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the library under test calls: a program's own dlopen comes before the C library's. */
static bool hide_loader;
void *dlopen(const char *file, int mode);
void *dlopen(const char *file, int mode)
{
    if (hide_loader && file && strstr(file, "vulkan"))
        return NULL;
    void *(*real)(const char *, int) = NULL;
    *(void **)&real = dlsym(RTLD_NEXT, "dlopen");
    return real(file, mode);
}

/* Log lines of contexts made here. */
static char last_line[4096];
static uint32_t last_level, line_count;

static void log_line(void *user, uint32_t level, const char *message)
{
    assert_ptr_equal(user, &last_line);
    assert_null(strchr(message, '\n'));
    snprintf(last_line, sizeof(last_line), "%s", message);
    last_level = level;
    line_count++;
}

static struct dj_context_params logged(void)
{
    last_line[0] = '\0';
    line_count = 0;
    return (struct dj_context_params){.log = log_line, .log_user = &last_line};
}

static const char *const variables[] = {
    "DIJIANG_DEVICE",    "DIJIANG_VALIDATION",       "DIJIANG_PUSH_DESCRIPTORS",
    "DIJIANG_QUIRKS",    "DIJIANG_DEVICE_ADDRESSES", "DIJIANG_16BIT_STORAGE",
    "DIJIANG_SUBGROUPS", "DIJIANG_MATRICES",         "DIJIANG_THREADS",
    "VK_DRIVER_FILES",   "VK_ICD_FILENAMES",         "VK_LAYER_PATH"};
enum {
    VARIABLES = sizeof(variables) / sizeof(variables[0]),
    OURS = 9,
};
static char *kept[VARIABLES];

/* Each test starts without our variables and leaves all as it found them. */
static int keep_environment(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIABLES; i++) {
        const char *value = getenv(variables[i]);
        kept[i] = value ? strdup(value) : NULL;
        if (i < OURS)
            unsetenv(variables[i]);
    }
    return 0;
}

static int restore_environment(void **state)
{
    for (size_t i = 0; i < VARIABLES; i++) {
        if (kept[i])
            setenv(variables[i], kept[i], 1);
        else
            unsetenv(variables[i]);
        free(kept[i]);
    }
    hide_loader = false;
    return harness_check_validation(state);
}

#define ENVIRONMENT_TEST(function) \
    cmocka_unit_test_setup_teardown(function, keep_environment, restore_environment)

static void expect_failure(const struct dj_context_params *params, dj_result want,
                           const char *part_of_log)
{
    dj_context *context = (dj_context *)&last_line; /* any garbage: must become NULL */
    const dj_result got = dj_context_create(params, &context);
    assert_string_equal(dj_result_name(got), dj_result_name(want));
    assert_null(context);
    assert_int_equal(last_level, DJ_LOG_ERROR);
    assert_int_equal(line_count, 1);
    if (!strstr(last_line, part_of_log))
        fail_msg("log line \"%s\" does not contain \"%s\"", last_line, part_of_log);
}

static void test_default(void **state)
{
    (void)state;
    dj_context *context = NULL;
    HARNESS_OK(dj_context_create(NULL, &context));
    assert_non_null(context);
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(context, &info));
    assert_true(strlen(info.name) > 0);
    assert_string_equal(info.unsuitable, "");
    assert_true(info.api_version >= 1u << 22);
    assert_true(info.max_invocations >= 128);
    assert_true(info.shared_memory >= 16384);
    assert_true(info.storage_buffers >= 8);
    assert_true(info.push_constants >= 128);
    assert_true(info.subgroup_size_min <= info.subgroup_size);
    assert_true(info.subgroup_size <= info.subgroup_size_max);
    assert_true(info.max_allocation >= 1u << 30); /* Vulkan's minimum */
    assert_true(info.max_storage_range >= 1u << 27);
    assert_true(info.offset_alignment > 0 && info.offset_alignment <= 256);
    assert_true(info.device_memory > 0);
    assert_int_equal(dj_context_validation_count(context), 0);
    dj_context_destroy(&context);
    assert_null(context);
}

static void test_destroy_null(void **state)
{
    (void)state;
    dj_context *context = NULL;
    dj_context_destroy(NULL);
    dj_context_destroy(&context);
}

static void test_null_arguments(void **state)
{
    (void)state;
    struct dj_context_params params = logged();
    HARNESS_RESULT(dj_context_create(&params, NULL), DJ_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(last_line, "NULL"));
    HARNESS_RESULT(dj_context_create(NULL, NULL), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_device_list(NULL, NULL, NULL), DJ_ERROR_INVALID_ARGUMENT);
    struct dj_device_info info;
    HARNESS_RESULT(dj_context_device(NULL, &info), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_context_device(harness_context(0), NULL), DJ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(dj_context_validation_count(NULL), 0);
}

static void test_reserved(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct dj_context_params params = logged();
        params.reserved[i] = 9;
        expect_failure(&params, DJ_ERROR_VERSION, "reserved[");
        uint32_t count = 5;
        HARNESS_RESULT(dj_device_list(&params, NULL, &count), DJ_ERROR_VERSION);
        assert_int_equal(count, 0);
    }
}

static void test_unknown_switch(void **state)
{
    (void)state;
    struct dj_context_params params = logged();
    params.validation = 3;
    expect_failure(&params, DJ_ERROR_INVALID_ARGUMENT, "validation is 3");
    params = logged();
    params.push_descriptors = UINT32_MAX;
    expect_failure(&params, DJ_ERROR_INVALID_ARGUMENT, "push_descriptors is 4294967295");
    params = logged();
    params.device_addresses = 4;
    expect_failure(&params, DJ_ERROR_INVALID_ARGUMENT, "device_addresses is 4");
    params = logged();
    params.storage_16bit = 3;
    expect_failure(&params, DJ_ERROR_INVALID_ARGUMENT, "storage_16bit is 3");
    params = logged();
    params.subgroups = 9;
    expect_failure(&params, DJ_ERROR_INVALID_ARGUMENT, "subgroups is 9");
    params = logged();
    params.matrices = 9;
    expect_failure(&params, DJ_ERROR_INVALID_ARGUMENT, "matrices is 9");
    params = logged();
    params.threads = 3;
    expect_failure(&params, DJ_ERROR_INVALID_ARGUMENT, "threads is 3");
}

static void test_list(void **state)
{
    (void)state;
    uint32_t all = 0;
    HARNESS_OK(dj_device_list(NULL, NULL, &all));
    assert_true(all > 0);
    struct dj_device_info infos[32];
    memset(infos, 0xa5, sizeof(infos));
    uint32_t count = 32;
    HARNESS_OK(dj_device_list(NULL, infos, &count));
    assert_int_equal(count, all);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(infos[i].index, i);
        assert_true(strlen(infos[i].name) > 0);
        for (int j = 0; j < 7; j++)
            assert_int_equal(infos[i].reserved[j], 0);
    }
    assert_int_equal((unsigned char)infos[count].name[0], 0xa5); /* nothing beyond */

    memset(infos, 0xa5, sizeof(infos));
    count = 0; /* no room at all: the number alone */
    HARNESS_OK(dj_device_list(NULL, infos, &count));
    assert_int_equal(count, all);
    assert_int_equal((unsigned char)infos[0].name[0], 0xa5);
}

static void test_index_and_name(void **state)
{
    (void)state;
    struct dj_device_info want, got;
    HARNESS_OK(dj_context_device(harness_context(0), &want));
    char text[256];
    for (int form = 0; form < 3; form++) {
        if (form == 0)
            snprintf(text, sizeof(text), "%u", want.index);
        else
            snprintf(text, sizeof(text), "%.6s", want.name + (form == 2 ? 1 : 0));
        for (char *c = text; form == 2 && *c; c++) /* any case */
            *c = (char)(*c >= 'a' && *c <= 'z' ? *c - 32 : *c);
        struct dj_context_params params = logged();
        params.device = text;
        dj_context *context;
        HARNESS_OK(dj_context_create(&params, &context));
        HARNESS_OK(dj_context_device(context, &got));
        assert_string_equal(got.name, want.name);
        dj_context_destroy(&context);
    }
}

static void test_not_found(void **state)
{
    (void)state;
    const char *const texts[] = {"1000", "99999999999999999999999999", "no such device", "-1",
                                 "0x0"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct dj_context_params params = logged();
        params.device = texts[i];
        expect_failure(&params, DJ_ERROR_DEVICE_NOT_FOUND, texts[i]);
        assert_non_null(strstr(last_line, "0: ")); /* it lists what there is */
    }
}

static void test_environment_device(void **state)
{
    (void)state;
    setenv("DIJIANG_DEVICE", "1000", 1);
    struct dj_context_params params = logged();
    expect_failure(&params, DJ_ERROR_DEVICE_NOT_FOUND, "DIJIANG_DEVICE \"1000\"");
    dj_context *context;
    params.device = "0"; /* a parameter wins */
    HARNESS_OK(dj_context_create(&params, &context));
    dj_context_destroy(&context);
    setenv("DIJIANG_DEVICE", "", 1); /* as if it were not set */
    HARNESS_OK(dj_context_create(NULL, &context));
    dj_context_destroy(&context);
}

static void test_environment_push_descriptors(void **state)
{
    (void)state;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    for (int off = 0; off < 2; off++) {
        for (uint32_t wanted = DJ_DEFAULT; wanted <= DJ_OFF; wanted++) {
            setenv("DIJIANG_PUSH_DESCRIPTORS", off ? "0" : "1", 1);
            struct dj_context_params params = logged();
            params.log_level = DJ_LOG_INFO;
            params.push_descriptors = wanted;
            dj_context *context;
            HARNESS_OK(dj_context_create(&params, &context));
            dj_context_destroy(&context);
            const bool on = info.push_descriptor && (wanted == DJ_ON || (!off && !wanted));
            assert_non_null(strstr(last_line, on ? "push descriptors" : "descriptor sets"));
        }
    }
}

static void test_environment_device_addresses(void **state)
{
    (void)state;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    for (int off = 0; off < 2; off++) {
        for (uint32_t wanted = DJ_DEFAULT; wanted <= DJ_OFF; wanted++) {
            setenv("DIJIANG_DEVICE_ADDRESSES", off ? "0" : "1", 1);
            struct dj_context_params params = logged();
            params.log_level = DJ_LOG_INFO;
            params.device_addresses = wanted;
            dj_context *context;
            HARNESS_OK(dj_context_create(&params, &context));
            dj_context_destroy(&context);
            const bool on = info.buffer_device_address && (wanted == DJ_ON || (!off && !wanted));
            assert_int_equal(strstr(last_line, "device addresses") != NULL, on);
        }
    }
}

static void test_environment_16bit_storage(void **state)
{
    (void)state;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    for (int off = 0; off < 2; off++) {
        for (uint32_t wanted = DJ_DEFAULT; wanted <= DJ_OFF; wanted++) {
            setenv("DIJIANG_16BIT_STORAGE", off ? "0" : "1", 1);
            struct dj_context_params params = logged();
            params.log_level = DJ_LOG_INFO;
            params.storage_16bit = wanted;
            dj_context *context;
            HARNESS_OK(dj_context_create(&params, &context));
            dj_context_destroy(&context);
            const bool on = info.storage_16bit && (wanted == DJ_ON || (!off && !wanted));
            assert_int_equal(strstr(last_line, "16-bit storage") != NULL, on);
        }
    }
}

/* A value that is neither 0 nor 1 is as none, and one line says so; an empty one is none. */
static void test_environment_with_other_words(void **state)
{
    (void)state;
    struct dj_device_info info;
    dj_context *context;
    HARNESS_OK(dj_context_create(NULL, &context));
    HARNESS_OK(dj_context_device(context, &info));
    const uint32_t uses = dj_context_uses(context);
    dj_context_destroy(&context);
    const struct {
        const char *name;
        bool asked; /* on this device */
    } switches[] = {
        {"DIJIANG_VALIDATION", true},
        {"DIJIANG_MATRICES", true},
        {"DIJIANG_THREADS", true},
        {"DIJIANG_PUSH_DESCRIPTORS", info.push_descriptor},
        {"DIJIANG_DEVICE_ADDRESSES", info.buffer_device_address},
        {"DIJIANG_16BIT_STORAGE", info.storage_16bit},
        {"DIJIANG_SUBGROUPS", info.whole_subgroups},
    };
    static const char *const values[] = {"", "0", "on", "2", "01"};
    for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++) {
        for (size_t n = 0; n < sizeof(values) / sizeof(values[0]); n++) {
            struct dj_context_params params = logged();
            char want[120];
            setenv(switches[i].name, values[n], 1);
            HARNESS_OK(dj_context_create(&params, &context));
            if (n != 1)
                assert_int_equal(dj_context_uses(context), uses);
            dj_context_destroy(&context);
            snprintf(want, sizeof(want), "%s is \"%s\" and is ignored: it must be 0 or 1",
                     switches[i].name, values[n]);
            const bool said = n > 1 && switches[i].asked;
            assert_int_equal(line_count, said);
            assert_string_equal(last_line, said ? want : "");
            if (said)
                assert_int_equal(last_level, DJ_LOG_WARNING);
        }
        unsetenv(switches[i].name);
    }
    /* a parameter is heard, and the variable not read */
    setenv("DIJIANG_THREADS", "on", 1);
    struct dj_context_params params = logged();
    params.threads = DJ_OFF;
    HARNESS_OK(dj_context_create(&params, &context));
    dj_context_destroy(&context);
    assert_int_equal(line_count, 0);
}

static void test_environment_validation(void **state)
{
    (void)state;
    setenv("DIJIANG_VALIDATION", "1", 1);
    struct dj_context_params params = logged();
    params.log_level = DJ_LOG_INFO;
    dj_context *context;
    const dj_result result = dj_context_create(&params, &context);
    if (result == DJ_ERROR_NO_VALIDATION) { /* a machine without the layer: refused by name */
        assert_null(context);
        assert_false(getenv("DIJIANG_TEST_VALIDATION") && atoi(getenv("DIJIANG_TEST_VALIDATION")));
        unsetenv("DIJIANG_VALIDATION");
        return;
    }
    HARNESS_OK(result);
    assert_non_null(strstr(last_line, "validation"));
    dj_context_destroy(&context);
    params.validation = DJ_OFF; /* a parameter wins */
    HARNESS_OK(dj_context_create(&params, &context));
    assert_null(strstr(last_line, "validation"));
    dj_context_destroy(&context);
}

static void test_no_validation_layer(void **state)
{
    (void)state;
    setenv("VK_LAYER_PATH", "/nonexistent", 1);
    struct dj_context_params params = logged();
    params.validation = DJ_ON;
    expect_failure(&params, DJ_ERROR_NO_VALIDATION, "VK_LAYER_KHRONOS_validation");
    uint32_t count = 1;
    HARNESS_RESULT(dj_device_list(&params, NULL, &count), DJ_ERROR_NO_VALIDATION);
    assert_int_equal(count, 0);
}

static void test_no_driver(void **state)
{
    (void)state;
    setenv("VK_DRIVER_FILES", "/nonexistent", 1);
    setenv("VK_ICD_FILENAMES", "/nonexistent", 1);
    struct dj_context_params params = logged();
    expect_failure(&params, DJ_ERROR_NO_DEVICE, "no Vulkan");
    params.device = "0"; /* naming one does not help */
    line_count = 0;
    expect_failure(&params, DJ_ERROR_NO_DEVICE, "no Vulkan");
    uint32_t count = 1;
    line_count = 0;
    HARNESS_OK(dj_device_list(&params, NULL, &count));
    assert_int_equal(count, 0);
    assert_int_equal(line_count, 0);
}

static void test_no_loader(void **state)
{
    (void)state;
    hide_loader = true;
    struct dj_context_params params = logged();
    expect_failure(&params, DJ_ERROR_NO_LOADER, "libvulkan");
    uint32_t count = 1;
    HARNESS_RESULT(dj_device_list(&params, NULL, &count), DJ_ERROR_NO_LOADER);
    assert_int_equal(count, 0);
    hide_loader = false;
    dj_context *context; /* and it works again once there is one */
    HARNESS_OK(dj_context_create(NULL, &context));
    dj_context_destroy(&context);
}

static void test_log_levels(void **state)
{
    (void)state;
    for (uint32_t level = 0; level <= DJ_LOG_DEBUG; level++) {
        struct dj_context_params params = logged();
        params.log_level = level;
        dj_context *context;
        HARNESS_OK(dj_context_create(&params, &context));
        dj_context_destroy(&context);
        if (level >= DJ_LOG_INFO)
            assert_true(line_count >= 1);
        else
            assert_int_equal(line_count, 0);
    }
    assert_int_equal(last_level, DJ_LOG_INFO);
}

static void use(dj_context *context, uint8_t value)
{
    dj_buffer *buffer;
    HARNESS_OK(dj_buffer_create(context, &(struct dj_buffer_params){.size = 64}, &buffer));
    uint8_t written[64], read[64] = {0};
    memset(written, value, sizeof(written));
    HARNESS_OK(dj_buffer_write(buffer, 0, written, sizeof(written)));
    HARNESS_OK(dj_buffer_read(buffer, 0, read, sizeof(read)));
    assert_memory_equal(written, read, sizeof(read));
    dj_buffer_destroy(&buffer);
}

static void test_two_contexts(void **state)
{
    (void)state;
    dj_context *a, *b;
    HARNESS_OK(dj_context_create(NULL, &a));
    HARNESS_OK(dj_context_create(NULL, &b));
    assert_ptr_not_equal(a, b);
    use(a, 1);
    use(b, 2);
    dj_context_destroy(&a); /* the other one must not feel it */
    use(b, 3);
    dj_context_destroy(&b);
}

static void *thread_main(void *unused)
{
    (void)unused;
    for (int i = 0; i < 4; i++) {
        dj_context *context = NULL;
        if (dj_context_create(NULL, &context) != DJ_SUCCESS)
            return "dj_context_create";
        dj_buffer *buffer = NULL;
        if (dj_buffer_create(context, &(struct dj_buffer_params){.size = 64}, &buffer) !=
            DJ_SUCCESS)
            return "dj_buffer_create";
        dj_buffer_destroy(&buffer);
        dj_context_destroy(&context);
    }
    return NULL;
}

static void test_contexts_on_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, thread_main, NULL), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
}

static const struct CMUnitTest tests[] = {
    ENVIRONMENT_TEST(test_default),
    ENVIRONMENT_TEST(test_destroy_null),
    ENVIRONMENT_TEST(test_null_arguments),
    ENVIRONMENT_TEST(test_reserved),
    ENVIRONMENT_TEST(test_unknown_switch),
    ENVIRONMENT_TEST(test_list),
    ENVIRONMENT_TEST(test_index_and_name),
    ENVIRONMENT_TEST(test_not_found),
    ENVIRONMENT_TEST(test_environment_device),
    ENVIRONMENT_TEST(test_environment_push_descriptors),
    ENVIRONMENT_TEST(test_environment_device_addresses),
    ENVIRONMENT_TEST(test_environment_16bit_storage),
    ENVIRONMENT_TEST(test_environment_with_other_words),
    ENVIRONMENT_TEST(test_environment_validation),
    ENVIRONMENT_TEST(test_no_validation_layer),
    ENVIRONMENT_TEST(test_no_driver),
    ENVIRONMENT_TEST(test_no_loader),
    ENVIRONMENT_TEST(test_log_levels),
    ENVIRONMENT_TEST(test_two_contexts),
    ENVIRONMENT_TEST(test_contexts_on_threads),
};

HARNESS_MAIN(tests)
