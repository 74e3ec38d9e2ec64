/* SPDX-License-Identifier: MIT */
/* Contexts on an engine's device, which stays the engine's. */
#include "engine.h"
#include "problem.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct problem_params shape = {.normalise = true, SHAPE(2, 70, 3, 20, 24)};

/* Solves a problem on a context that may submit. */
static void assert_attends(dj_context *context, const struct problem *problem, float **output)
{
    struct placed placed;
    problem_place(problem, context, LAYOUT_HEADS_FIRST, &placed);
    HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
    float *const got = placed_output(&placed);
    problem_assert(problem, got, "imported");
    placed_finish(&placed);
    if (output)
        *output = got;
    else
        free(got);
}

/* Whether reads of other invocations are of use on a device that has all that it offers. */
static bool wants_reads(const struct engine *engine, const struct dj_device_info *info)
{
    return engine_offers(engine, "VK_EXT_shader_subgroup_ballot") && info->whole_subgroups &&
           (info->subgroup_size == 4 || info->subgroup_size == 16);
}

/* A context uses what its device was made with: all that it offers, or nothing. */
static void assert_uses(const dj_context *context, const struct engine *engine, bool bare)
{
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(context, &info));
    const uint32_t offered = (info.push_descriptor ? DJ_USE_PUSH_DESCRIPTORS : 0) |
                             (info.buffer_device_address ? DJ_USE_DEVICE_ADDRESSES : 0) |
                             (info.storage_16bit ? DJ_USE_STORAGE_16BIT : 0) |
                             (info.signed_zero_inf_nan ? DJ_USE_FLOAT_CONTROLS : 0) |
                             (info.whole_subgroups ? DJ_USE_SUBGROUPS : 0) |
                             (wants_reads(engine, &info) ? DJ_USE_READ_INVOCATION : 0);
    assert_int_equal(dj_context_uses(context), bare ? 0 : offered);
    assert_int_equal(dj_context_uses(NULL), 0);
    if (!bare)
        assert_int_equal((engine->wants.buffer_usage & VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT) !=
                             0,
                         info.buffer_device_address);
}

/* Right, with everything and with nothing enabled; with everything the same bits as on a context of
 * the library's own. Without float controls a compiler has other freedoms. */
static void imported_devices_attend(void **state)
{
    (void)state;
    struct problem problem;
    problem_init(&problem, &shape);
    problem_solve(&problem);
    for (uint32_t device = 0; device < harness_device_count(); device++) {
        for (int bare = 0; bare < 2; bare++) {
            struct engine engine;
            engine_init(&engine, &(struct engine_options){.device = device, .bare = bare});
            struct dj_import_params params = engine_params(&engine);
            dj_context *context;
            HARNESS_OK(dj_context_import(&params, &context));
            assert_uses(context, &engine, bare);
            float *got, *want = problem_run(&problem, device, LAYOUT_HEADS_FIRST);
            assert_attends(context, &problem, &got);
            const uint32_t unlike =
                dj_context_uses(context) ^ dj_context_uses(harness_context(device));
            if (!(unlike & DJ_USE_FLOAT_CONTROLS))
                problem_assert_bits(&problem, want, got, problem_output_size(&problem),
                                    "own and not");
            free(got);
            free(want);
            dj_context_destroy(&context);
            assert_null(context);
            engine_finish(&engine);
        }
    }
    problem_finish(&problem);
}

/* What one engine's context uses, and its output. */
static float *attend_on(const struct engine_options *options, const struct problem *problem,
                        uint32_t *uses)
{
    struct engine engine;
    engine_init(&engine, options);
    struct dj_import_params params = engine_params(&engine);
    params.matrices = DJ_ON;
    dj_context *context;
    HARNESS_OK(dj_context_import(&params, &context));
    *uses = dj_context_uses(context);
    float *got;
    assert_attends(context, problem, &got);
    dj_context_destroy(&context);
    engine_finish(&engine);
    return got;
}

/* What became part of Vulkan is used as the extensions of 1.1 are: by the structs of the versions,
 * without those extensions, and only where the features are enabled. Float controls have none;
 * reads of invocations became no part, and shuffles in their place give the same bits. */
static void newer_versions_need_no_extensions(void **state)
{
    (void)state;
    static const uint32_t versions[] = {VK_API_VERSION_1_2, VK_API_VERSION_1_3};
    struct problem problem; /* of a dim that resident kernels have */
    problem_init(&problem, &(struct problem_params){.normalise = true, SHAPE(2, 70, 3, 32, 24)});
    problem_solve(&problem);
    for (uint32_t device = 0; device < harness_device_count(); device++) {
        const uint32_t version = engine_device_version(device);
        const struct engine_options by_extensions = {.device = device};
        const uint32_t needed = DJ_USE_SUBGROUPS | DJ_USE_DEVICE_ADDRESSES;
        uint32_t want_uses, got_uses;
        problem.plan_params.family = DJ_FAMILY_DEFAULT;
        free(attend_on(&by_extensions, &problem, &want_uses));
        const uint32_t family =
            (want_uses & needed) == needed ? DJ_FAMILY_RESIDENT : DJ_FAMILY_DEFAULT;
        problem.plan_params.family = family;
        float *const want = attend_on(&by_extensions, &problem, &want_uses);
        for (size_t v = 0; v < sizeof versions / sizeof *versions; v++) {
            struct engine_options options = {
                .device = device, .api_version = versions[v], .core = true};
            if (version < versions[v]) {
                print_message("# device %u has no Vulkan 1.%zu\n", device, v + 2);
                continue;
            }
            float *const got = attend_on(&options, &problem, &got_uses);
            assert_int_equal(got_uses, want_uses & ~(uint32_t)DJ_USE_READ_INVOCATION);
            problem_assert_bits(&problem, want, got, problem_output_size(&problem),
                                "by extensions and by version");
            free(got);
            options.bare = true;
            problem.plan_params.family = DJ_FAMILY_DEFAULT;
            free(attend_on(&options, &problem, &got_uses));
            problem.plan_params.family = family;
            assert_int_equal(got_uses, want_uses & DJ_USE_FLOAT_CONTROLS);
        }
        free(want);
    }
    problem_finish(&problem);
}

/* With every quirk there is, and whatever the environment says of them. */
static void imported_devices_attend_in_spite_of_quirks(void **state)
{
    (void)state;
    struct problem problem;
    problem_init(&problem, &shape);
    problem_solve(&problem);
    char all[4096] = "none";
    for (uint32_t i = 0; i < dj_quirk_count(); i++) {
        struct dj_quirk quirk;
        HARNESS_OK(dj_quirk_get(i, &quirk));
        snprintf(all + strlen(all), sizeof all - strlen(all), ",+%s", quirk.name);
    }
    struct engine engine;
    engine_init(&engine, NULL);
    setenv("DIJIANG_QUIRKS", "nonsense", 1);
    for (int with = 0; with < 2; with++) {
        struct dj_import_params params = engine_params(&engine);
        params.quirks = with ? all : "none";
        dj_context *context;
        HARNESS_OK(dj_context_import(&params, &context));
        struct dj_device_info info;
        HARNESS_OK(dj_context_device(context, &info));
        assert_true(info.quirks == (with ? ((uint64_t)1 << dj_quirk_count()) - 1 : 0));
        assert_attends(context, &problem, NULL);
        dj_context_destroy(&context);
    }
    unsetenv("DIJIANG_QUIRKS");
    engine_finish(&engine);
    problem_finish(&problem);
}

/* Every line of a context's log. */
struct lines {
    char text[8192];
    size_t used;
};

static void collect_line(void *user, uint32_t level, const char *message)
{
    struct lines *const lines = user;
    const size_t room = sizeof lines->text - lines->used;
    const int length = snprintf(lines->text + lines->used, room, "%u %s\n", level, message);
    assert_true(length > 0 && (size_t)length < room);
    lines->used += (size_t)length;
}

/* All that the library reads of the environment, and what would change a context of its own. */
enum {
    VARIABLES = 8
};
static const char *const variables[VARIABLES][2] = {
    {"DIJIANG_DEVICE", "no such device"}, {"DIJIANG_QUIRKS", "nonsense"},
    {"DIJIANG_VALIDATION", "1"},          {"DIJIANG_PUSH_DESCRIPTORS", "0"},
    {"DIJIANG_DEVICE_ADDRESSES", "0"},    {"DIJIANG_16BIT_STORAGE", "0"},
    {"DIJIANG_SUBGROUPS", "0"},           {"DIJIANG_MATRICES", "1"},
};

static void set_environment(bool set)
{
    for (size_t i = 0; i < VARIABLES; i++) {
        if (set)
            assert_int_equal(setenv(variables[i][0], variables[i][1], 1), 0);
        else
            assert_int_equal(unsetenv(variables[i][0]), 0);
    }
}

/* Contexts of the library's own are changed by what is set; so that the test below says something.
 */
static void assert_environment_matters(bool layer)
{
    const uint32_t switched =
        DJ_USE_PUSH_DESCRIPTORS | DJ_USE_DEVICE_ADDRESSES | DJ_USE_STORAGE_16BIT | DJ_USE_SUBGROUPS;
    struct dj_context_params params = {.log = harness_log_line,
                                       .validation = layer ? DJ_DEFAULT : DJ_OFF};
    dj_context *context;
    HARNESS_RESULT(dj_context_create(&params, &context), DJ_ERROR_DEVICE_NOT_FOUND);
    params.device = "0";
    HARNESS_RESULT(dj_context_create(&params, &context), DJ_ERROR_INVALID_ARGUMENT);
    params.quirks = "none";
    params.validation = DJ_OFF;
    HARNESS_OK(dj_context_create(&params, &context));
    assert_int_equal(dj_context_uses(context) & switched, 0);
    dj_context_destroy(&context);
}

/* What is used, what is logged and each bit of the output are the same whatever it says. */
static void the_environment_is_not_asked(void **state)
{
    (void)state;
    struct problem problem;
    problem_init(&problem, &shape);
    problem_solve(&problem);
    char *kept[VARIABLES];
    for (size_t i = 0; i < VARIABLES; i++) {
        const char *const was = getenv(variables[i][0]);
        kept[i] = was ? strdup(was) : NULL;
    }
    struct lines lines[2] = {{.used = 0}};
    uint32_t uses[2];
    struct dj_device_info infos[2];
    float *got[2];
    struct engine engine;
    engine_init(&engine, NULL);
    for (int set = 0; set < 2; set++) {
        set_environment(set);
        if (set)
            assert_environment_matters(engine.validation);
        struct dj_import_params params = engine_params(&engine);
        params.log = collect_line;
        params.log_user = &lines[set];
        params.log_level = DJ_LOG_DEBUG;
        dj_context *context;
        HARNESS_OK(dj_context_import(&params, &context));
        uses[set] = dj_context_uses(context);
        HARNESS_OK(dj_context_device(context, &infos[set]));
        assert_attends(context, &problem, &got[set]);
        dj_context_destroy(&context);
    }
    for (size_t i = 0; i < VARIABLES; i++) {
        if (kept[i])
            setenv(variables[i][0], kept[i], 1);
        else
            unsetenv(variables[i][0]);
        free(kept[i]);
    }
    engine_finish(&engine);
    assert_int_equal(uses[0], uses[1]);
    assert_true(infos[0].quirks == infos[1].quirks);
    assert_string_equal(lines[0].text, lines[1].text);
    assert_non_null(strstr(lines[0].text, infos[0].name));
    problem_assert_bits(&problem, got[0], got[1], problem_output_size(&problem), "environment");
    free(got[0]);
    free(got[1]);
    problem_finish(&problem);
}

/* Copies a tensor of a placed problem into a wrapped buffer of the engine's. */
static void wrap(struct engine *engine, dj_context *context, struct dj_tensor *tensor,
                 struct engine_buffer *own)
{
    const uint64_t size = dj_buffer_size(tensor->buffer);
    *own = engine_buffer_create(engine, size);
    memcpy(own->mapped, dj_buffer_map(tensor->buffer), size);
    const struct dj_wrap_params params = engine_buffer_params(own);
    HARNESS_OK(dj_buffer_wrap(context, &params, &tensor->buffer));
    assert_int_equal(dj_buffer_size(tensor->buffer), size);
    assert_true(dj_buffer_handle(tensor->buffer) == own->buffer);
    assert_ptr_equal(dj_buffer_map(tensor->buffer), own->mapped);
}

/* What an engine does each frame: its buffers, its command buffer, its submission; two in flight,
 * each with a recorder; the library has no queue at all. */
static void engines_record_and_submit_themselves(void **state)
{
    (void)state;
    struct problem problem;
    problem_init(&problem, &shape);
    problem_solve(&problem);
    for (uint32_t device = 0; device < harness_device_count(); device++) {
        struct engine engine;
        engine_init(&engine, &(struct engine_options){.device = device});
        struct dj_import_params params = engine_params(&engine);
        params.queue = VK_NULL_HANDLE;
        dj_context *context;
        HARNESS_OK(dj_context_import(&params, &context));
        struct placed placed;
        problem_place(&problem, context, LAYOUT_PLAIN, &placed);
        HARNESS_RESULT(dj_attention_run(placed.plan, &placed.args), DJ_ERROR_NO_QUEUE);
        dj_buffer *const buffers[4] = {placed.args.q.buffer, placed.args.k.buffer,
                                       placed.args.v.buffer, placed.args.o.buffer};
        struct engine_buffer own[5];
        struct dj_tensor *const tensors[4] = {&placed.args.q, &placed.args.k, &placed.args.v,
                                              &placed.args.o};
        for (int i = 0; i < 4; i++)
            wrap(&engine, context, tensors[i], &own[i]);
        struct dj_needs needs;
        HARNESS_OK(dj_attention_needs(placed.plan, &placed.args, &needs));
        own[4] = engine_buffer_create(&engine, needs.scratch_size);
        const struct dj_wrap_params scratch = engine_buffer_params(&own[4]);
        HARNESS_OK(dj_buffer_wrap(context, &scratch, &placed.args.scratch.buffer));
        placed.args.scratch.size = needs.scratch_size;
        placed.args.barriers = DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_HOST;

        dj_recorder *recorders[2];
        for (int i = 0; i < 2; i++)
            HARNESS_OK(dj_recorder_create(context, NULL, &recorders[i]));
        HARNESS_RESULT(dj_recorder_begin(recorders[0]), DJ_ERROR_NO_QUEUE);
        void *const poisoned = malloc(own[3].size);
        assert_non_null(poisoned);
        memcpy(poisoned, own[3].mapped, own[3].size);
        for (int frame = 0; frame < 4; frame++) {
            dj_recorder *const recorder = recorders[frame % 2];
            const VkCommandBuffer command = engine_command(&engine);
            HARNESS_OK(dj_recorder_begin_on(recorder, command));
            HARNESS_OK(dj_attention_record(placed.plan, recorder, &placed.args));
            HARNESS_RESULT(dj_recorder_submit(recorder), DJ_ERROR_RECORDER_STATE);
            engine_submit(&engine, command);
            HARNESS_OK(
                dj_buffer_read(placed.args.o.buffer, 0, dj_buffer_map(buffers[3]), own[3].size));
            float *const got = placed_output(&placed);
            problem_assert(&problem, got, "an engine's frame");
            free(got);
            memcpy(own[3].mapped, poisoned, own[3].size);
        }
        free(poisoned);
        for (int i = 0; i < 2; i++)
            dj_recorder_destroy(&recorders[i]);
        dj_buffer_destroy(&placed.args.scratch.buffer);
        for (int i = 0; i < 4; i++)
            dj_buffer_destroy(&tensors[i]->buffer);
        for (int i = 0; i < 5; i++)
            engine_buffer_destroy(&engine, &own[i]);
        placed_finish(&placed);
        dj_context_destroy(&context);
        engine_finish(&engine);
    }
    problem_finish(&problem);
}

static pthread_mutex_t engine_lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t locks;
static void lock_queue(void *user)
{
    pthread_mutex_lock(user);
    locks++;
}
static void unlock_queue(void *user)
{
    pthread_mutex_unlock(user);
}

struct allocations {
    pthread_mutex_t lock;
    int64_t count, live;
};

static VKAPI_ATTR void *VKAPI_CALL count_allocation(void *user, size_t size, size_t alignment,
                                                    VkSystemAllocationScope scope)
{
    (void)scope;
    struct allocations *const allocations = user;
    void *memory = NULL;
    if (posix_memalign(&memory, alignment < 16 ? 16 : alignment, size) != 0)
        return NULL;
    pthread_mutex_lock(&allocations->lock);
    allocations->count++;
    allocations->live++;
    pthread_mutex_unlock(&allocations->lock);
    return memory;
}

static VKAPI_ATTR void VKAPI_CALL count_free(void *user, void *memory)
{
    struct allocations *const allocations = user;
    if (!memory)
        return;
    free(memory);
    pthread_mutex_lock(&allocations->lock);
    allocations->live--;
    pthread_mutex_unlock(&allocations->lock);
}

/* No driver resizes what it gave to a smaller size: growing by a new block is right. */
static VKAPI_ATTR void *VKAPI_CALL count_reallocation(void *user, void *old, size_t size,
                                                      size_t alignment,
                                                      VkSystemAllocationScope scope)
{
    if (!old)
        return count_allocation(user, size, alignment, scope);
    if (size == 0) {
        count_free(user, old);
        return NULL;
    }
    return realloc(old, size);
}

/* Callbacks, a pipeline cache and several queue families are used, and given back as they were. */
static void callbacks_are_called(void **state)
{
    (void)state;
    struct problem problem;
    problem_init(&problem, &shape);
    problem_solve(&problem);
    struct engine engine;
    engine_init(&engine, NULL);
    struct allocations allocations = {.lock = PTHREAD_MUTEX_INITIALIZER};
    VkAllocationCallbacks callbacks = {.pUserData = &allocations,
                                       .pfnAllocation = count_allocation,
                                       .pfnReallocation = count_reallocation,
                                       .pfnFree = count_free};
    VkPipelineCache cache;
    const VkPipelineCacheCreateInfo cache_info = {.sType =
                                                      VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    ENGINE_OK(engine.vk.vkCreatePipelineCache(engine.device, &cache_info, NULL, &cache));
    const uint32_t families[] = {engine.queue_family, engine.queue_family};
    struct dj_import_params params = engine_params(&engine);
    params.allocator = &callbacks;
    params.pipeline_cache = cache;
    params.queue_families = families;
    params.queue_family_count = 2;
    params.lock_queue = lock_queue;
    params.unlock_queue = unlock_queue;
    params.queue_user = &engine_lock;
    locks = 0;
    dj_context *context;
    HARNESS_OK(dj_context_import(&params, &context));
    memset(&callbacks, 0, sizeof callbacks); /* copied */
    struct placed placed;
    problem_place(&problem, context, LAYOUT_PLAIN, &placed);
    assert_int_equal(locks, 0); /* creating submits nothing */
    HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
    assert_true(locks > 0);
    placed_finish(&placed);
    dj_context_destroy(&context);
    assert_true(allocations.count > 0);
    assert_int_equal(allocations.live, 0);
    size_t size = 0;
    ENGINE_OK(engine.vk.vkGetPipelineCacheData(engine.device, cache, &size, NULL));
    engine.vk.vkDestroyPipelineCache(engine.device, cache, NULL);
    engine_finish(&engine);
    problem_finish(&problem);
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(imported_devices_attend),
    HARNESS_TEST(newer_versions_need_no_extensions),
    HARNESS_TEST(imported_devices_attend_in_spite_of_quirks),
    HARNESS_TEST(the_environment_is_not_asked),
    HARNESS_TEST(engines_record_and_submit_themselves),
    HARNESS_TEST(callbacks_are_called),
};
HARNESS_MAIN(tests)
