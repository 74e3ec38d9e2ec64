/* SPDX-License-Identifier: MIT */
/* Every allocation and every Vulkan call of every operation fails in turn, once and from then on:
 * the right result comes back, one line says why, outputs are NULL, nothing leaks, and the same
 * objects do the same operation right afterwards. On the null device; the linker wraps the C
 * library's functions and the loader (tests/meson.build). */
#include "host_calls.h"
#include "operations.h"

#include "../lib/context.h"
#include "../lib/dct_matrix.h"
#include "../lib/pipeline.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a generated transform gives, where it is tried: the first dispatch loads, the second works
 * in place, and its outputs are scaled afterwards. */
static void transform(const struct null_dispatch *dispatch)
{
    static const float *input;
    static uint64_t count;
    if (dispatch->data[0] == NULL) /* bound by addresses: not the trial */
        return;
    if (dispatch->data[0] != dispatch->data[1]) {
        input = dispatch->data[0];
        count = dispatch->range[0] / sizeof(float);
        return;
    }
    float *const output = dispatch->data[0];
    float scale[OPERATION_LENGTH];
    dj_dct_scales(DJ_DCT_2, OPERATION_LENGTH, scale);
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t k = i % OPERATION_LENGTH;
        double sum = 0;
        for (uint64_t n = 0; n < OPERATION_LENGTH; n++)
            sum += (double)input[i - k + n] *
                   cos(acos(-1.0) * (double)((2 * n + 1) * k) / (2 * OPERATION_LENGTH));
        output[i] = (float)(sqrt((k == 0 ? 1.0 : 2.0) / OPERATION_LENGTH) * sum / (double)scale[k]);
    }
}

/* What the world's own plans use: put aside meanwhile, so that every operation makes its kernels
 * anew. */
static struct dj_kept_pipeline *put_aside[2];

static void put_kernels_aside(struct world *world)
{
    dj_context *const contexts[] = {world->context, world->own};
    for (int i = 0; i < 2 && contexts[i] != NULL; i++)
        put_aside[i] = atomic_exchange(&contexts[i]->pipelines, NULL);
}

static void forget_kernels(struct world *world)
{
    dj_context *const contexts[] = {world->context, world->own};
    for (int i = 0; i < 2 && contexts[i] != NULL; i++)
        dj_pipelines_finish(contexts[i]);
}

static void put_kernels_back(struct world *world)
{
    dj_context *const contexts[] = {world->context, world->own};
    forget_kernels(world);
    for (int i = 0; i < 2 && contexts[i] != NULL; i++)
        atomic_store(&contexts[i]->pipelines, put_aside[i]);
}

/* Counts that a failure must leave as they were. */
struct counts {
    uint64_t objects;
    int64_t blocks;
    int files; /* open, of the first 64 */
};

static struct counts counts(void)
{
    int files = 0;
    for (int file = 0; file < 64; file++)
        files += fcntl(file, F_GETFD) >= 0;
    return (struct counts){null_objects(), host_blocks(), files};
}

static void assert_counts(const struct counts *before, const char *name, const char *what)
{
    if (null_objects() != before->objects)
        fail_msg("%s, %s: %llu objects before, now %s", name, what,
                 (unsigned long long)before->objects, null_objects_text());
    if (host_blocks() != before->blocks)
        fail_msg("%s, %s: %lld blocks are left", name, what,
                 (long long)(host_blocks() - before->blocks));
    if (counts().files != before->files)
        fail_msg("%s, %s: a file is left open", name, what);
}

/* An operation without faults succeeds and says nothing. */
static void assert_works(const struct operation *operation, struct world *world, const char *after)
{
    const struct counts before = counts();
    operation_errors = operation_kernels_missed = 0;
    const dj_result result = operation->run(world);
    if (result != DJ_SUCCESS || operation_errors > 0)
        fail_msg("%s after %s: %s, %u lines, the last %s", operation->name, after,
                 dj_result_name(result), operation_errors, operation_last_error);
    forget_kernels(world);
    assert_counts(&before, operation->name, "without faults");
}

static void assert_failed(const struct operation *operation, const char *what, dj_result result,
                          dj_result want)
{
    if (result != want || operation_errors != 1)
        fail_msg("%s, %s: %s, not %s, %u lines, the last %s", operation->name, what,
                 dj_result_name(result), dj_result_name(want), operation_errors,
                 operation_last_error);
}

/* Lets the n-th allocation fail, for every n; returns how many there are. */
static uint64_t fail_allocations(const struct operation *operation, struct world *world,
                                 bool lasting)
{
    for (uint64_t n = 1;; n++) {
        char what[64];
        snprintf(what, sizeof what, "allocation %llu%s", (unsigned long long)n,
                 lasting ? " and all after it" : "");
        const struct counts before = counts();
        operation_errors = operation_kernels_missed = operation_choices_missed = 0;
        host_fail_at(n, lasting);
        const dj_result result = operation->run(world);
        const bool failed = host_fault();
        host_fail_at(0, false);
        forget_kernels(world);
        if (!failed)
            return n - 1;
        /* a choice that there is no memory for can be measured again */
        if (result != DJ_SUCCESS || operation_errors > 0 || operation_choices_missed != 1)
            assert_failed(operation, what, result, DJ_ERROR_OUT_OF_HOST_MEMORY);
        assert_counts(&before, operation->name, what);
        assert_works(operation, world, what);
    }
}

static const struct {
    VkResult code;
    dj_result result;
} codes[] = {
    {VK_ERROR_OUT_OF_HOST_MEMORY, DJ_ERROR_OUT_OF_HOST_MEMORY},
    {VK_ERROR_OUT_OF_DEVICE_MEMORY, DJ_ERROR_OUT_OF_DEVICE_MEMORY},
    {VK_ERROR_INITIALIZATION_FAILED, DJ_ERROR_VULKAN},
    {VK_ERROR_FRAGMENTED_POOL, DJ_ERROR_OUT_OF_DEVICE_MEMORY},
    {VK_ERROR_UNKNOWN, DJ_ERROR_VULKAN},
    {(VkResult)-12345, DJ_ERROR_VULKAN},
};
enum {
    CODES = sizeof codes / sizeof *codes
};

/* Calls whose failure changes nothing: names, idling at the end, a memory type that is full, a
 * kernel that others stand in for, a list without devices where an engine has its own. */
static bool may_succeed(const char *function, VkResult code)
{
    return strcmp(function, "vkSetDebugUtilsObjectNameEXT") == 0 ||
           (strcmp(function, "vkEnumeratePhysicalDevices") == 0 &&
            code == VK_ERROR_INITIALIZATION_FAILED) ||
           strcmp(function, "vkDeviceWaitIdle") == 0 || strcmp(function, "vkQueueWaitIdle") == 0 ||
           (strcmp(function, "vkAllocateMemory") == 0 && code == VK_ERROR_OUT_OF_DEVICE_MEMORY) ||
           ((strcmp(function, "vkCreateComputePipelines") == 0 ||
             strcmp(function, "vkCreateShaderModule") == 0) &&
            operation_kernels_missed == 1);
}

static dj_result wanted(const struct operation *operation, const char *function, int code)
{
    if (strcmp(operation->name, "load_cache_file") == 0 &&
        codes[code].result != DJ_ERROR_OUT_OF_HOST_MEMORY)
        return DJ_ERROR_CACHE; /* the driver does not take it */
    if (strcmp(operation->name, "dct_tried") == 0 && operation_kernels_missed == 1)
        return DJ_ERROR_COMPILER; /* the driver refused what was generated, and that was asked for
                                   */
    const bool imports =
        strcmp(operation->name, "import") == 0 || strcmp(operation->name, "first_plans") == 0;
    if (strcmp(function, "vkEnumeratePhysicalDevices") == 0 && !imports &&
        codes[code].code == VK_ERROR_INITIALIZATION_FAILED)
        return DJ_ERROR_NO_DEVICE; /* the loader's word for it */
    return codes[code].result;
}

static uint64_t fail_calls(const struct operation *operation, struct world *world, int code,
                           bool lasting)
{
    for (uint64_t n = 1;; n++) {
        const char *function;
        char what[128];
        const struct counts before = counts();
        operation_errors = operation_kernels_missed = 0;
        null_fail_at(n, codes[code].code, lasting);
        const dj_result result = operation->run(world);
        const bool failed = null_fault(&function);
        null_fail_at(0, VK_SUCCESS, false);
        forget_kernels(world);
        if (!failed)
            return n - 1;
        snprintf(what, sizeof what, "%s with VkResult %d%s", function, codes[code].code,
                 lasting ? ", and all after it" : "");
        if (result != DJ_SUCCESS || operation_errors > 0 ||
            !may_succeed(function, codes[code].code))
            assert_failed(operation, what, result, wanted(operation, function, code));
        assert_counts(&before, operation->name, what);
        assert_works(operation, world, what);
    }
}

static void start(struct world *world, int variant)
{
    const struct null_settings settings = operation_settings(variant == 1);
    world_init(world, &settings);
    world_own(world);
    put_kernels_aside(world);
    null_on_dispatch = transform;
}

static void finish(struct world *world)
{
    null_on_dispatch = NULL;
    put_kernels_back(world);
    world_finish(world);
}

static void every_allocation_fails(void **state)
{
    (void)state;
    for (int variant = 0; variant < 2; variant++) {
        struct world world;
        start(&world, variant);
        uint64_t sum = 0;
        for (size_t i = 0; i < operation_count; i++) {
            assert_works(&operations[i], &world, "nothing");
            const uint64_t count = fail_allocations(&operations[i], &world, false);
            assert_int_equal(fail_allocations(&operations[i], &world, true), count);
            sum += count;
        }
        assert_true(sum > 90);
        finish(&world);
    }
}

/* The context does without the cache, or without one of its choices, and a warning says so. */
static void allocations_of_a_cache_fail(void **state)
{
    (void)state;
    struct world world;
    start(&world, 0);
    dj_context *const contexts[] = {world.context, world.own};
    for (int i = 0; i < 2; i++) {
        uint32_t choices = 0;
        for (uint64_t n = 1;; n++) {
            const struct counts before = counts();
            operation_errors = operation_choices_missed = 0;
            host_fail_at(n, false);
            const dj_result result = operation_load_cache(contexts[i]);
            const bool failed = host_fault();
            host_fail_at(0, false);
            assert_int_equal(operation_errors, 0);
            assert_counts(&before, "load_cache", failed ? "without memory" : "with memory");
            if (!failed) {
                assert_int_equal(result, DJ_SUCCESS);
                /* a choice at least, with an entry and its words */
                assert_true(n > (DJ_HAVE_VKFFT || DJ_HAVE_PREBUILT ? 3 : 1));
                assert_int_equal(choices, 1);
                break;
            }
            choices += operation_choices_missed;
            HARNESS_RESULT(result, operation_choices_missed == 1 ? DJ_SUCCESS
                                                                 : DJ_ERROR_OUT_OF_HOST_MEMORY);
        }
    }
    finish(&world);
}

/* A kernel that its trial finds wrong, then one that is known to be: an error where it was
 * demanded, else the dense one takes over and the call has not failed. */
static void wrong_kernels_are_errors_where_demanded(void **state)
{
    (void)state;
    if (!DJ_HAVE_VKFFT && !DJ_HAVE_PREBUILT) {
        print_message("# built without VkFFT: no kernel to find wrong\n");
        return;
    }
    struct world world;
    start(&world, 0);
    null_on_dispatch = NULL; /* nothing is transformed */
    struct dj_recipe_entry *const entry = dj_recipes_first(world.own);
    assert_int_equal(entry->recipe.key.length, OPERATION_LENGTH);
    for (int demanded = 0; demanded < 2; demanded++) {
        const struct dj_dct_params params = {.type = DJ_DCT_2,
                                             .length = OPERATION_LENGTH,
                                             .path = demanded ? DJ_DCT_PATH_GENERATED
                                                              : DJ_DCT_PATH_DEFAULT};
        atomic_store(&entry->verdict, DJ_VERDICT_NONE);
        for (uint32_t turn = 0; turn < 2; turn++) {
            dj_dct *plan;
            operation_errors = 0;
            HARNESS_RESULT(dj_dct_create(world.own, &params, &plan),
                           demanded ? DJ_ERROR_COMPILER : DJ_SUCCESS);
            assert_int_equal(operation_errors, demanded);
            assert_int_equal(atomic_load(&entry->verdict), DJ_VERDICT_WRONG);
            dj_dct_destroy(&plan);
        }
    }
    assert_non_null(strstr(operation_last_error, "was wrong on this device"));
    finish(&world);
}

static void every_call_fails(void **state)
{
    (void)state;
    for (int variant = 0; variant < 2; variant++) {
        struct world world;
        start(&world, variant);
        uint64_t sum = 0;
        for (size_t i = 0; i < operation_count; i++) {
            for (int code = 0; code < CODES; code++) {
                const uint64_t count = fail_calls(&operations[i], &world, code, false);
                fail_calls(&operations[i], &world, code, true);
                sum += count;
            }
        }
        assert_true(sum > 400 * CODES);
        finish(&world);
    }
}

/* VkFFT's allocations while it plans and writes a kernel. */
static void every_allocation_of_a_generation_fails(void **state)
{
    (void)state;
    struct world world;
    start(&world, 0);
    operation_generate(world.context, 2 * OPERATION_LENGTH); /* glslang stays started */
    forget_kernels(&world);
    assert_true(fail_allocations(&operation_generation, &world, false) > (DJ_HAVE_VKFFT ? 100 : 3));
    finish(&world);
}

/* Calls that need the device, each of which must say that it is lost. The recorder is idle, or
 * records (begun). */
static void assert_lost(struct world *world, bool begun)
{
    static const char *const harmless[] = {
        "create_context",  "create_validated", "list_devices", "import", /* not of this context */
        "first_plans",     "dct_tried",                                  /* nor these */
        "check_cache",     "save_cache", /* kept for the next process, which may find it well */
        "save_cache_file", "load_cache_file",
    };
    for (size_t i = 0; i < operation_count; i++) {
        bool tried = true;
        for (size_t j = 0; j < sizeof harmless / sizeof *harmless; j++)
            tried = tried && strcmp(operations[i].name, harmless[j]) != 0;
        if (!tried)
            continue;
        const struct counts before = counts();
        operation_errors = 0;
        assert_failed(&operations[i], "the device is lost", operations[i].run(world),
                      DJ_ERROR_DEVICE_LOST);
        assert_counts(&before, operations[i].name, "the device is lost");
    }
    dj_recorder *const recorder = world->recorder;
    VkCommandPool pool;
    const VkCommandBuffer command = null_engine_command(&world->engine, &pool);
    if (begun) {
        HARNESS_OK(dj_recorder_barrier(recorder, DJ_BARRIER_BEFORE)); /* recording asks nobody */
        HARNESS_RESULT(dj_recorder_submit(recorder), DJ_ERROR_DEVICE_LOST);
    }
    HARNESS_RESULT(dj_recorder_begin(recorder), DJ_ERROR_DEVICE_LOST);
    HARNESS_RESULT(dj_recorder_begin_on(recorder, command), DJ_ERROR_DEVICE_LOST);
    HARNESS_RESULT(dj_recorder_wait(recorder, 0), DJ_ERROR_DEVICE_LOST);
    null_engine_command_finish(&world->engine, pool);
}

/* The device is lost at the n-th call of an operation, for every n. */
static uint64_t lose_device(const struct operation *operation, const struct null_settings *settings)
{
    for (uint64_t n = 1;; n++) {
        struct world world;
        const char *function;
        char what[128];
        world_init(&world, settings);
        const bool begun = n % 2 == 0 && strcmp(operation->name, "record_again") != 0;
        if (begun)
            HARNESS_OK(dj_recorder_begin(world.recorder));
        put_kernels_aside(&world);
        operation_errors = 0;
        null_fail_at(n, VK_ERROR_DEVICE_LOST, false);
        const dj_result result = operation->run(&world);
        const bool failed = null_fault(&function);
        null_fail_at(0, VK_SUCCESS, false);
        if (failed) {
            snprintf(what, sizeof what, "%s with VK_ERROR_DEVICE_LOST", function);
            assert_failed(operation, what, result, DJ_ERROR_DEVICE_LOST);
            assert_lost(&world, begun);
        } else {
            assert_int_equal(result, DJ_SUCCESS);
        }
        put_kernels_back(&world);
        world_finish(&world); /* nothing is left, and nothing was misused */
        if (!failed)
            return n - 1;
    }
}

static void lost_devices_stay_lost(void **state)
{
    (void)state;
    static const char *const list[] = {"buffers",      "plan_linformer", "record",   "record_again",
                                       "run",          "run_dct",        "features", "save",
                                       "record_parts", "run_with"};
    for (int variant = 0; variant < 2; variant++) {
        const struct null_settings settings = operation_settings(variant == 1);
        uint64_t sum = 0;
        for (size_t i = 0; i < sizeof list / sizeof *list; i++)
            sum += lose_device(operation_named(list[i]), &settings);
        assert_true(sum > 60);
    }
}

/* Another call finds the device lost while this one waits, for work that ends all the same. */
static dj_context *losing;

static void lose_meanwhile(enum null_function function)
{
    if (function == NULL_vkWaitForFences)
        atomic_store(&losing->lost, true);
}

static void devices_lost_during_waits(void **state)
{
    (void)state;
    static const char *const list[] = {"buffers",  "record",  "record_parts", "run",
                                       "run_with", "run_dct", "save"};
    for (int variant = 0; variant < 2; variant++) {
        const struct null_settings settings = operation_settings(variant == 1);
        struct world world;
        world_init(&world, &settings);
        losing = world.context;
        null_on_call = lose_meanwhile;
        for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
            const uint64_t waits = null_calls(NULL_vkWaitForFences);
            operation_errors = 0;
            const dj_result result = operation_named(list[i])->run(&world);
            if (null_calls(NULL_vkWaitForFences) > waits)
                assert_failed(operation_named(list[i]), "lost during a wait", result,
                              DJ_ERROR_DEVICE_LOST);
            else /* all of its memory is mapped */
                assert_true(variant == 1 && result == DJ_SUCCESS);
            atomic_store(&losing->lost, false);
        }
        const uint32_t word = 0;
        HARNESS_RESULT(dj_buffer_write(world.state, 0, &word, sizeof word),
                       variant == 1 ? DJ_SUCCESS : DJ_ERROR_DEVICE_LOST);
        atomic_store(&losing->lost, false);
        HARNESS_OK(dj_recorder_begin(world.recorder));
        HARNESS_OK(dj_recorder_submit(world.recorder));
        operation_errors = 0;
        HARNESS_RESULT(dj_recorder_wait(world.recorder, UINT64_MAX), DJ_ERROR_DEVICE_LOST);
        assert_int_equal(operation_errors, 1);
        atomic_store(&losing->lost, false);
        HARNESS_OK(dj_recorder_begin(world.recorder)); /* it has waited */
        HARNESS_OK(dj_recorder_submit(world.recorder));
        null_fail_at(1, VK_TIMEOUT, false);
        HARNESS_RESULT(dj_recorder_wait(world.recorder, 1), DJ_ERROR_DEVICE_LOST);
        null_fail_at(0, VK_SUCCESS, false);
        atomic_store(&losing->lost, false);
        HARNESS_OK(dj_recorder_begin(world.recorder));
        null_on_call = NULL;
        world_finish(&world);
    }
}

/* A context is made with what the device lost during creation cannot give. */
static void devices_lost_at_creation(void **state)
{
    (void)state;
    const struct operation *const list[] = {operation_named("create_context"),
                                            operation_named("import")};
    struct world world;
    start(&world, 0);
    for (int i = 0; i < 2; i++) {
        for (uint64_t n = 1;; n++) {
            const struct counts before = counts();
            operation_errors = 0;
            null_fail_at(n, VK_ERROR_DEVICE_LOST, false);
            const dj_result result = list[i]->run(&world);
            const char *function;
            const bool failed = null_fault(&function);
            null_fail_at(0, VK_SUCCESS, false);
            if (!failed)
                break;
            if (strcmp(function, "vkDeviceWaitIdle") != 0)
                assert_failed(list[i], function, result, DJ_ERROR_DEVICE_LOST);
            assert_counts(&before, list[i]->name, function);
        }
    }
    finish(&world);
}

/* The loader's word for a system without a driver. */
static void no_driver_is_no_device(void **state)
{
    (void)state;
    const struct operation *const operation = operation_named("create_context");
    const char *function;
    null_device_set(NULL);
    for (uint64_t n = 1;; n++) {
        operation_errors = 0;
        null_fail_at(n, VK_ERROR_INCOMPATIBLE_DRIVER, false);
        const dj_result result = operation->run(NULL);
        assert_true(null_fault(&function));
        if (strcmp(function, "vkCreateInstance") == 0) {
            assert_failed(operation, function, result, DJ_ERROR_NO_DEVICE);
            break;
        }
    }
    null_fail_at(0, VK_SUCCESS, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_fails),
        cmocka_unit_test(allocations_of_a_cache_fail),
        cmocka_unit_test(wrong_kernels_are_errors_where_demanded),
        cmocka_unit_test(every_call_fails),
        cmocka_unit_test(lost_devices_stay_lost),
        cmocka_unit_test(devices_lost_during_waits),
        cmocka_unit_test(devices_lost_at_creation),
        cmocka_unit_test(no_driver_is_no_device),
        cmocka_unit_test(every_allocation_of_a_generation_fails),
    };
    harness_prepare();
    return cmocka_run_group_tests(tests, operations_setup, operations_teardown);
}
