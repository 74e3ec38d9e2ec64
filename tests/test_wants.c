/* SPDX-License-Identifier: MIT */
/* What an engine is told to enable on its device, and what a context makes of less. */
#include "engine.h"
#include "problem.h"
#include "shim.h"

#include <stdlib.h>
#include <string.h>

static void wants_say_what_is_enabled(void **state)
{
    (void)state;
    struct engine engine; /* told what the harness's devices were told */
    engine_init(&engine, &(struct engine_options){.shim = shim_between});
    const struct dj_device_wants *const wants = &engine.wants;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    assert_string_equal(wants->unsuitable, "");
    assert_true(wants->count >= 4);
    uint32_t extensions = 0;
    for (uint32_t i = 0; i < wants->count; i++) {
        const struct dj_want *const want = &wants->wants[i];
        assert_true(strlen(want->name) > 0 && strlen(want->unlocks) > 0);
        assert_true(want->extension != NULL || want->feature != NULL);
        extensions += want->supported && want->extension;
        if (strcmp(want->name, "push descriptors") == 0)
            assert_int_equal(want->supported, info.push_descriptor);
        if (strcmp(want->name, "16-bit storage") == 0)
            assert_int_equal(want->supported, info.storage_16bit);
    }
    assert_int_equal(extensions, wants->extension_count);
    struct dj_device_wants none;
    HARNESS_RESULT(dj_device_wants(NULL, engine.instance, engine.physical_device, &none),
                   DJ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(none.count, 0);
    HARNESS_RESULT(
        dj_device_wants(engine.get_instance_proc_addr, NULL, engine.physical_device, &none),
        DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_device_wants(engine.get_instance_proc_addr, engine.instance, NULL, &none),
                   DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_device_wants(engine.get_instance_proc_addr, engine.instance,
                                   engine.physical_device, NULL),
                   DJ_ERROR_INVALID_ARGUMENT);
    engine_finish(&engine);
}

/* Cooperative matrices are used where all that they take is said to be enabled, and asked for or
 * the default. */
static void matrices_take_all_of_it(void **state)
{
    (void)state;
    static const char *const needed[] = {"VK_KHR_cooperative_matrix", "VK_KHR_vulkan_memory_model",
                                         "VK_KHR_shader_float16_int8",
                                         "VK_EXT_subgroup_size_control"};
    struct engine engine;
    struct dj_device_info info;
    engine_init(&engine, &(struct engine_options){.shim = shim_between});
    struct dj_import_params params = engine_params(&engine);
    dj_context *context;
    HARNESS_OK(dj_context_import(&params, &context));
    HARNESS_OK(dj_context_device(context, &info));
    const bool standard = strncmp(info.driver, "NVIDIA ", 7) == 0; /* its own driver */
    assert_int_equal((dj_context_uses(context) & DJ_USE_MATRICES) != 0,
                     standard && info.matrix_rows > 0);
    dj_context_destroy(&context);
    params.matrices = DJ_OFF;
    HARNESS_OK(dj_context_import(&params, &context));
    assert_int_equal(dj_context_uses(context) & DJ_USE_MATRICES, 0);
    dj_context_destroy(&context);
    params.matrices = DJ_ON;
    HARNESS_OK(dj_context_import(&params, &context));
    const bool used = dj_context_uses(context) & DJ_USE_MATRICES;
    assert_int_equal(used, info.matrix_rows > 0);
    dj_context_destroy(&context);
    if (!used)
        print_message("# the device has no cooperative matrices, or this build knows none\n");
    for (size_t n = 0; n < sizeof needed / sizeof *needed; n++) {
        const char *left[16];
        uint32_t count = 0;
        for (uint32_t i = 0; i < engine.wants.extension_count; i++) {
            if (strcmp(engine.wants.extensions[i], needed[n]) != 0)
                left[count++] = engine.wants.extensions[i];
        }
        params.device_extensions = left;
        params.device_extension_count = count;
        params.log_level = DJ_LOG_ERROR; /* features that are named in vain are warned of */
        HARNESS_OK(dj_context_import(&params, &context));
        assert_int_equal(dj_context_uses(context) & DJ_USE_MATRICES, 0);
        dj_context_destroy(&context);
    }
    params = engine_params(&engine);
    params.matrices = DJ_ON;
    params.features = NULL;
    HARNESS_OK(dj_context_import(&params, &context));
    assert_int_equal(dj_context_uses(context) & DJ_USE_MATRICES, 0);
    dj_context_destroy(&context);
    engine_finish(&engine);
}

/* Whether a token of an engine's takes one dispatch; its output is right either way. */
static bool has_step(const struct dj_import_params *params, const struct problem *problem)
{
    dj_context *context;
    struct placed placed;
    struct dj_needs needs;
    HARNESS_OK(dj_context_import(params, &context));
    problem_place(problem, context, LAYOUT_PLAIN, &placed);
    HARNESS_OK(dj_attention_needs(placed.plan, &placed.args, &needs));
    HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
    float *const got = placed_output(&placed);
    problem_assert(problem, got, "a single token");
    free(got);
    placed_finish(&placed);
    dj_context_destroy(&context);
    return needs.dispatches == 1;
}

/* With the Vulkan memory model, but not the device's scope, tokens go through tiles one by one too:
 * by the model's own struct, and by that of Vulkan 1.2. */
static void a_narrow_memory_model_has_no_step(void **state)
{
    (void)state;
    struct problem problem;
    problem_init(&problem, &(struct problem_params){SHAPE(2, 1, 2, 16, 8), .normalise = true});
    problem_solve(&problem);
    for (int core = 0; core < 2 && (!core || engine_device_version(0) >= VK_API_VERSION_1_2);
         core++) {
        struct engine engine;
        engine_init(&engine, &(struct engine_options){.api_version = core ? VK_API_VERSION_1_2 : 0,
                                                      .core = core});
        for (int narrow = 0; narrow < 2; narrow++) {
            struct dj_import_params params = engine_params(&engine);
            VkPhysicalDeviceVulkanMemoryModelFeatures model = {
                .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES,
                .pNext = (void *)params.features,
                .vulkanMemoryModel = VK_TRUE,
                .vulkanMemoryModelDeviceScope = !narrow};
            params.log_level = DJ_LOG_ERROR; /* where the device has none it is named in vain */
            if (core) {
                engine.core_12.vulkanMemoryModel = VK_TRUE;
                engine.core_12.vulkanMemoryModelDeviceScope = !narrow;
            } else {
                params.features = &model;
            }
            assert_int_equal(has_step(&params, &problem), !narrow);
        }
        engine_finish(&engine);
    }
    problem_finish(&problem);
}

/* Of a plan's call, at best; dj_import_params.matrices as given. */
static uint64_t scratch_size(const struct engine *engine, const struct problem *problem,
                             uint32_t matrices)
{
    struct dj_import_params params = engine_params(engine);
    params.matrices = matrices;
    dj_context *context;
    struct placed placed;
    struct dj_needs needs;
    HARNESS_OK(dj_context_import(&params, &context));
    problem_place(problem, context, LAYOUT_PLAIN, &placed);
    HARNESS_OK(dj_attention_needs(placed.plan, &placed.args, &needs));
    placed_finish(&placed);
    dj_context_destroy(&context);
    return needs.scratch_size;
}

/* By NVIDIA's driver float16 calls of some maps go in chunks unless that is refused, if there are
 * kernels that need no exponents. In chunks less lies in scratch memory. */
static void chunks_are_the_default_by_nvidias_driver(void **state)
{
    (void)state;
    static const struct {
        uint32_t map, dim, type;
        bool key_normalise, chunks;
    } calls[] = {
        {DJ_MAP_WDCF, 64, DJ_FLOAT16, false, true},   {DJ_MAP_WDCF, 64, DJ_FLOAT16, true, false},
        {DJ_MAP_ELU, 64, DJ_FLOAT16, false, true},    {DJ_MAP_RELU, 64, DJ_FLOAT16, false, false},
        {DJ_MAP_WDCF, 64, DJ_BFLOAT16, false, false}, {DJ_MAP_WDCF, 20, DJ_FLOAT16, false, false}};
    for (int nvidia = 0; nvidia < 2; nvidia++) {
        struct engine engine;
        struct dj_device_info info;
        dj_context *context;
        shim_promise(&(struct shim_promise){.discrete = true,
                                            .driver = nvidia ? VK_DRIVER_ID_NVIDIA_PROPRIETARY
                                                             : VK_DRIVER_ID_MESA_LLVMPIPE});
        engine_init(&engine, &(struct engine_options){.shim = shim_between});
        const struct dj_import_params params = engine_params(&engine);
        HARNESS_OK(dj_context_import(&params, &context));
        HARNESS_OK(dj_context_device(context, &info));
        const bool has = info.matrix_rows > 0;
        assert_int_equal((dj_context_uses(context) & DJ_USE_MATRICES) != 0, has && nvidia);
        dj_context_destroy(&context);
        if (!has)
            print_message("# the device has no cooperative matrices, or this build knows none\n");
        for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
            const uint32_t type = calls[i].type;
            struct problem problem;
            problem_init(&problem, &(struct problem_params){SHAPE(1, 1000, 1, calls[i].dim, 64),
                                                            .map = calls[i].map, .normalise = true,
                                                            .key_normalise = calls[i].key_normalise,
                                                            .q_type = type, .k_type = type,
                                                            .v_type = type, .o_type = type});
            const uint64_t unasked = scratch_size(&engine, &problem, DJ_DEFAULT);
            const uint64_t refused = scratch_size(&engine, &problem, DJ_OFF);
            if (has && nvidia && calls[i].chunks)
                assert_true(unasked < refused / 2);
            else
                assert_int_equal(unasked, refused);
            problem_finish(&problem);
        }
        engine_finish(&engine);
    }
    shim_promise(&(struct shim_promise){.without = 0});
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(wants_say_what_is_enabled),
    HARNESS_TEST(matrices_take_all_of_it),
    HARNESS_TEST(a_narrow_memory_model_has_no_step),
    HARNESS_TEST(chunks_are_the_default_by_nvidias_driver),
};
HARNESS_MAIN(tests)
