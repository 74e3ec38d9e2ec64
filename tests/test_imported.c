/* SPDX-License-Identifier: MIT */
/* What a context does with what its engine gave it: queue families, allocation callbacks, a queue
 * and its lock, pipeline caches. Counted on the null device, call by call. */
#include "host_calls.h"
#include "null_loader.h"
#include "problem.h"

#include "../lib/context.h"

#include <dijiang/cache.h>

#include <stdlib.h>
#include <string.h>

/* The ways to bind, and the kinds of memory. */
static const struct variant {
    bool push, addresses, unified;
} variants[] = {
    {false, false, false},
    {true, false, true},
    {true, true, false},
};
enum {
    VARIANTS = sizeof variants / sizeof *variants,
    LENGTH = 8, /* of the transform */
};

#define GENERATED (DJ_HAVE_VKFFT || DJ_HAVE_PREBUILT ? DJ_DCT_PATH_GENERATED : DJ_DCT_PATH_DENSE)

static void start(struct null_engine *engine, int variant)
{
    struct null_settings settings = null_least();
    settings.queue_families = 3;
    settings.push_descriptors = variants[variant].push;
    settings.device_addresses = variants[variant].addresses;
    settings.unified = variants[variant].unified;
    settings.float_controls = settings.storage_16bit = variant > 0;
    null_device_set(&settings);
    null_engine_init(engine);
}

static void finish(struct null_engine *engine)
{
    null_engine_finish(engine);
    if (null_objects() > 0)
        fail_msg("there are still %s", null_objects_text());
    if (null_misuses() > 0)
        fail_msg("misuse: %s", null_last_misuse());
}

static int forget_hooks(void **state)
{
    (void)state;
    null_on_call = NULL;
    null_on_buffer = NULL;
    null_on_module = NULL;
    null_address_shift = 0;
    return 0;
}

/* Everything that is made for the calls of one map. */
struct work {
    struct problem problem;
    dj_attention *plan;
    dj_features *features; /* or NULL */
    struct dj_attention_args args;
    struct dj_needs needs; /* in parts */
    dj_recorder *recorder;
};

static void work_init(struct work *work, dj_context *context, int map)
{
    static const int32_t slots[2] = {1, 0};
    const struct problem_params params = {
        .map = map, SHAPE(2, 70, 2, 16, 16), .normalise = problem_may_normalise(map)};
    *work = (struct work){.args.max_work = 1};
    problem_init(&work->problem, &params);
    HARNESS_OK(dj_attention_create(context, &work->problem.plan_params, &work->plan));
    work->features = problem_features(&work->problem, context);
    work->args.features = work->features;
    struct dj_tensor *const tensors[] = {&work->args.q, &work->args.k, &work->args.v,
                                         &work->args.o};
    for (int i = 0; i < 4; i++)
        HARNESS_OK(dj_tensor_create(context, DJ_FLOAT32, (const uint64_t[4]){2, 70, 2, 16}, NULL,
                                    tensors[i]));
    struct dj_attention_args *const args = &work->args;
    if (map != DJ_MAP_SOFTMAX && map != DJ_MAP_LINFORMER) {
        HARNESS_OK(dj_attention_needs(work->plan, NULL, &work->needs));
        args->state = harness_buffer(context, NULL, 2 * work->needs.slot_size);
        args->slot_count = 2;
        args->slots_in.host = args->slots_out.host = slots;
    }
    HARNESS_OK(dj_attention_needs(work->plan, args, &work->needs));
    args->scratch.size = work->needs.scratch_size;
    args->scratch.buffer = harness_buffer(context, NULL, args->scratch.size);
    HARNESS_OK(dj_recorder_create(
        context, &(struct dj_recorder_params){.dispatches = 4096, .ring_size = UINT64_C(1) << 20},
        &work->recorder));
}

static void work_finish(struct work *work)
{
    struct dj_tensor *const tensors[] = {&work->args.q, &work->args.k, &work->args.v,
                                         &work->args.o};
    for (int i = 0; i < 4; i++)
        dj_buffer_destroy(&tensors[i]->buffer);
    dj_buffer_destroy(&work->args.state);
    dj_buffer_destroy(&work->args.scratch.buffer);
    dj_recorder_destroy(&work->recorder);
    dj_features_destroy(&work->features);
    dj_attention_destroy(&work->plan);
    problem_finish(&work->problem);
}

/* The call whole, and part by part. */
static void work_record(struct work *work, VkCommandBuffer command)
{
    HARNESS_OK(dj_recorder_begin_on(work->recorder, command));
    HARNESS_OK(dj_attention_record(work->plan, work->recorder, &work->args));
    HARNESS_OK(dj_recorder_begin_on(work->recorder, command));
    assert_true(work->needs.parts > 1);
    for (uint32_t part = 0; part < work->needs.parts; part++)
        HARNESS_OK(dj_attention_record_part(work->plan, work->recorder, &work->args, part));
}

static void transform(dj_context *context, VkCommandBuffer command)
{
    dj_dct *plan;
    dj_recorder *recorder;
    struct dj_dct_args args = {.barriers = DJ_BARRIER_BEFORE};
    const uint64_t shape[4] = {1, 1, 5, LENGTH};
    HARNESS_OK(dj_dct_create(
        context, &(struct dj_dct_params){.type = DJ_DCT_2, .length = LENGTH, .path = GENERATED},
        &plan));
    HARNESS_OK(dj_tensor_create(context, DJ_FLOAT32, shape, NULL, &args.input));
    HARNESS_OK(dj_tensor_create(context, DJ_FLOAT32, shape, NULL, &args.output));
    HARNESS_OK(dj_recorder_create(context, NULL, &recorder));
    HARNESS_OK(dj_recorder_begin_on(recorder, command));
    struct dj_needs needs;
    HARNESS_OK(dj_dct_needs(plan, &args, &needs));
    args.scratch.size = needs.scratch_size;
    args.scratch.buffer = harness_buffer(context, NULL, needs.scratch_size);
    HARNESS_OK(dj_dct_record(plan, recorder, &args));
    dj_recorder_destroy(&recorder);
    dj_buffer_destroy(&args.scratch.buffer);
    dj_buffer_destroy(&args.input.buffer);
    dj_buffer_destroy(&args.output.buffer);
    dj_dct_destroy(&plan);
}

static void make_buffers(dj_context *context)
{
    for (uint32_t memory = 0; memory <= DJ_MEMORY_DOWNLOAD; memory++) {
        dj_buffer *buffer;
        HARNESS_OK(dj_buffer_create(
            context, &(struct dj_buffer_params){.size = 64, .memory = memory}, &buffer));
        dj_buffer_destroy(&buffer);
    }
}

/* What needs no queue: a context's buffers, numbers, plans and recordings. */
static void create_and_record(dj_context *context, VkCommandBuffer command)
{
    make_buffers(context);
    for (int map = 0; map < DJ_MAP_COUNT; map++) {
        struct work work;
        work_init(&work, context, map);
        work_record(&work, command);
        work_finish(&work);
    }
    transform(context, command);
}

/* What submits: a run, and copies where memory is not mapped. */
static void submit(dj_context *context)
{
    struct work work;
    char data[64] = "";
    work_init(&work, context, DJ_MAP_WDCF);
    HARNESS_OK(dj_attention_run(work.plan, &work.args));
    HARNESS_OK(dj_buffer_write(work.args.q.buffer, 0, data, sizeof data));
    HARNESS_OK(dj_buffer_read(work.args.o.buffer, 0, data, sizeof data));
    work_finish(&work);
}

static void *save_cache(dj_context *context, uint64_t *size)
{
    *size = 0;
    HARNESS_OK(dj_cache_save(context, NULL, size));
    void *const cache = malloc(*size);
    assert_non_null(cache);
    HARNESS_OK(dj_cache_save(context, cache, size));
    return cache;
}

/* Buffers made since 0 was written, by how they are shared: by families 2 and 0, by none, or by
 * others. */
static struct {
    uint32_t named, none, others;
} shared;

static void count_shared(const VkBufferCreateInfo *info)
{
    uint32_t families = 0;
    for (uint32_t i = 0; i < info->queueFamilyIndexCount; i++)
        families |= 1u << info->pQueueFamilyIndices[i];
    const bool concurrent = info->sharingMode == VK_SHARING_MODE_CONCURRENT;
    if (concurrent && info->queueFamilyIndexCount == 2 && families == (1u << 2 | 1u << 0))
        shared.named++;
    else if (!concurrent && info->queueFamilyIndexCount == 0)
        shared.none++;
    else
        shared.others++;
}

/* Makes and uses everything on a context of family 2's queue, some of it from family 0. */
static void use_families(int variant, const uint32_t *families, uint32_t count)
{
    struct null_engine engine;
    dj_context *context;
    start(&engine, variant);
    struct dj_import_params params = null_engine_params(&engine);
    params.queue_family = 2;
    params.queue = engine.queues[2];
    params.queue_families = families;
    params.queue_family_count = count;
    shared.named = shared.none = shared.others = 0;
    null_on_buffer = count_shared;
    HARNESS_OK(dj_context_import(&params, &context));
    for (uint32_t family = 0; family < 3; family += 2) {
        VkCommandPool pool;
        const VkCommandBuffer command = null_engine_command_of(&engine, family, &pool);
        create_and_record(context, command);
        null_engine_command_finish(&engine, pool);
    }
    submit(context);
    null_on_buffer = NULL;
    dj_context_destroy(&context);
    finish(&engine);
}

/* The library's own buffers, each of them, and no matter how often a family is named. */
static void buffers_are_shared_by_the_named_families(void **state)
{
    (void)state;
    static const uint32_t both[] = {0, 2, 0}, own[] = {2, 2};
    for (int variant = 0; variant < VARIANTS; variant++) {
        use_families(variant, both, 3);
        assert_true(shared.named > 50);
        assert_int_equal(shared.none + shared.others, 0);
        use_families(variant, both, 1); /* the queue's own need not be named */
        assert_true(shared.named > 50);
        assert_int_equal(shared.none + shared.others, 0);
        use_families(variant, own, 2);
        assert_true(shared.none > 50);
        assert_int_equal(shared.named + shared.others, 0);
    }
}

static int64_t allocations_live;
static char allocations_user;

static VKAPI_ATTR void *VKAPI_CALL take(void *user, size_t size, size_t alignment,
                                        VkSystemAllocationScope scope)
{
    (void)scope;
    void *block = NULL;
    assert_ptr_equal(user, &allocations_user);
    allocations_live++;
    return posix_memalign(&block, alignment, size) == 0 ? block : NULL;
}

static VKAPI_ATTR void VKAPI_CALL give(void *user, void *block)
{
    assert_ptr_equal(user, &allocations_user);
    allocations_live -= block != NULL;
    free(block);
}

/* Whatever a context makes, it makes and destroys by its engine's callbacks. */
static void callbacks_are_of_every_call(void **state)
{
    (void)state;
    static const enum null_function makers[] = {
        NULL_vkAllocateMemory,       NULL_vkCreateBuffer,
        NULL_vkCreateCommandPool,    NULL_vkCreateComputePipelines,
        NULL_vkCreateDescriptorPool, NULL_vkCreateDescriptorSetLayout,
        NULL_vkCreateFence,          NULL_vkCreatePipelineCache,
        NULL_vkCreatePipelineLayout, NULL_vkCreateShaderModule,
    };
    enum {
        MAKERS = sizeof makers / sizeof *makers
    };
    const VkAllocationCallbacks callbacks = {
        .pUserData = &allocations_user, .pfnAllocation = take, .pfnFree = give};
    uint64_t calls[MAKERS];
    for (int i = 0; i < MAKERS; i++)
        calls[i] = null_calls(makers[i]);
    for (int variant = 0; variant < VARIANTS; variant++) {
        struct null_engine engine;
        dj_context *context;
        VkCommandPool pool;
        start(&engine, variant);
        const VkCommandBuffer command = null_engine_command(&engine, &pool);
        struct dj_import_params params = null_engine_params(&engine);
        params.allocator = &callbacks;
        const uint64_t without = null_made_without_callbacks();
        for (int loaded = 0; loaded < 2; loaded++) { /* from a cache */
            HARNESS_OK(dj_context_import(&params, &context));
            create_and_record(context, command);
            submit(context);
            free((void *)params.cache);
            params.cache = save_cache(context, &params.cache_size);
            dj_context_destroy(&context);
        }
        free((void *)params.cache);
        assert_int_equal(null_made_without_callbacks(), without);
        assert_int_equal(allocations_live, 0);
        null_engine_command_finish(&engine, pool);
        finish(&engine);
    }
    for (int i = 0; i < MAKERS; i++)
        assert_true(null_calls(makers[i]) > calls[i]);
}

/* Calls that submit or wait. */
static uint64_t queue_calls(void)
{
    return null_calls(NULL_vkQueueSubmit) + null_calls(NULL_vkWaitForFences) +
           null_calls(NULL_vkQueueWaitIdle) + null_calls(NULL_vkDeviceWaitIdle);
}

/* Though the context has a queue. */
static void what_does_not_run_submits_nothing(void **state)
{
    (void)state;
    for (int variant = 0; variant < VARIANTS; variant++) {
        struct null_engine engine;
        dj_context *context;
        VkCommandPool pool;
        start(&engine, variant);
        const VkCommandBuffer command = null_engine_command(&engine, &pool);
        struct dj_import_params params = null_engine_params(&engine);
        const uint64_t before = queue_calls();
        HARNESS_OK(dj_context_import(&params, &context));
        create_and_record(context, command);
        void *const cache = save_cache(context, &params.cache_size);
        dj_context_destroy(&context);
        params.cache = cache;
        HARNESS_OK(dj_context_import(&params, &context));
        create_and_record(context, command);
        assert_int_equal(queue_calls(), before);
        submit(context);
        assert_true(queue_calls() > before);
        const uint64_t submitted = queue_calls();
        dj_context_destroy(&context);
        assert_int_equal(queue_calls(), submitted);
        free(cache);
        null_engine_command_finish(&engine, pool);
        finish(&engine);
    }
}

/* The engine's lock, and what was called while it or a mutex of the library's was held. */
static struct {
    int64_t held;
    uint64_t locked, unlocked; /* submissions */
    uint64_t others;           /* calls under a lock that are neither submissions nor look-ups */
} queue;

static void lock_queue(void *user)
{
    assert_ptr_equal(user, &queue);
    queue.held++;
}

static void unlock_queue(void *user)
{
    assert_ptr_equal(user, &queue);
    queue.held--;
}

static void watch_locks(enum null_function function)
{
    const int64_t held = queue.held + host_mutexes_held();
    switch (function) {
    case NULL_vkQueueSubmit:
        *(held == 1 ? &queue.locked : &queue.unlocked) += 1;
        break;
    case NULL_vkGetInstanceProcAddr: /* volk's, under its own */
    case NULL_vkGetDeviceProcAddr:
        break;
    case NULL_vkCreateInstance: /* what loaders do not lock (vk.h) */
    case NULL_vkEnumeratePhysicalDevices:
    case NULL_vkCreateDevice:
    case NULL_vkDestroyDevice:
    case NULL_vkDestroyInstance:
        queue.others += held != 1;
        break;
    default:
        queue.others += held != 0;
    }
}

/* An imported queue's is the engine's, an own one's a mutex: compilers, waits and all else go
 * without. */
static void queues_are_locked_for_submissions_alone(void **state)
{
    (void)state;
    for (int own = 0; own < 2; own++) {
        struct null_engine engine;
        dj_context *context;
        VkCommandPool pool;
        start(&engine, 0);
        const VkCommandBuffer command = null_engine_command(&engine, &pool);
        struct dj_import_params params = null_engine_params(&engine);
        params.lock_queue = lock_queue;
        params.unlock_queue = unlock_queue;
        params.queue_user = &queue;
        queue.locked = queue.unlocked = queue.others = 0;
        null_on_call = watch_locks;
        if (own)
            HARNESS_OK(dj_context_create(&(struct dj_context_params){.log = harness_log_line,
                                                                     .validation = DJ_OFF,
                                                                     .threads = DJ_OFF},
                                         &context));
        else
            HARNESS_OK(dj_context_import(&params, &context));
        const uint64_t waits = null_calls(NULL_vkWaitForFences);
        submit(context);
        if (!own) /* it tries kernels, and the engine's command buffer is another device's */
            create_and_record(context, command);
        assert_true(null_calls(NULL_vkWaitForFences) > waits);
        assert_true(queue.locked > 2);
        assert_int_equal(queue.unlocked, 0);
        assert_int_equal(queue.others, 0);
        assert_int_equal(queue.held, 0);
        dj_context_destroy(&context);
        assert_int_equal(queue.others, 0);
        null_on_call = NULL;
        null_engine_command_finish(&engine, pool);
        finish(&engine);
    }
}

/* The driver's bytes in a cache (lib/cache.c), and the pipelines that they are of. */
static uint64_t saved_pipelines(const uint8_t *cache)
{
    uint64_t size = 0;
    for (int i = 0; i < 8; i++)
        size |= (uint64_t)cache[48 + i] << 8 * i;
    return size == 0 ? 0 : (size - sizeof(VkPipelineCacheHeaderVersionOne)) / 16;
}

/* The cache of a context that made everything, to be freed. */
static uint8_t *fill_cache(const struct dj_import_params *params, VkCommandBuffer command,
                           uint64_t *size)
{
    dj_context *context;
    HARNESS_OK(dj_context_import(params, &context));
    create_and_record(context, command);
    uint8_t *const data = save_cache(context, size);
    dj_context_destroy(&context);
    return data;
}

static void saved_pipelines_reach_the_driver(void **state)
{
    (void)state;
    struct null_engine engine;
    dj_context *context;
    VkCommandPool pool;
    start(&engine, 1);
    const VkCommandBuffer command = null_engine_command(&engine, &pool);
    struct dj_import_params params = null_engine_params(&engine);
    const uint64_t before = null_calls(NULL_vkCreateComputePipelines);
    uint8_t *const first = fill_cache(&params, command, &params.cache_size);
    const uint64_t made = null_calls(NULL_vkCreateComputePipelines) - before;
    assert_true(made > 10);
    assert_int_equal(saved_pipelines(first), made);
    /* the driver says what it has: what it was given, before anything is made */
    params.cache = first;
    uint64_t size;
    HARNESS_OK(dj_context_import(&params, &context));
    uint8_t *const second = save_cache(context, &size);
    dj_context_destroy(&context);
    assert_int_equal(saved_pipelines(second), made);
    assert_int_equal(size, params.cache_size);
    free(second);
    free(first);
    null_engine_command_finish(&engine, pool);
    finish(&engine);
}

#define CALL(name) ((PFN_##name)null_get_instance_proc_addr(engine.instance, #name))

/* All pipelines are made through it; nothing else happens to it, nor is it in what is saved. */
static void a_pipeline_cache_of_the_engines_is_used(void **state)
{
    (void)state;
    struct null_engine engine;
    dj_context *context;
    VkCommandPool pool;
    start(&engine, 1);
    const VkCommandBuffer command = null_engine_command(&engine, &pool);
    struct dj_import_params params = null_engine_params(&engine);
    uint8_t *const filled = fill_cache(&params, command, &params.cache_size);
    params.cache = filled;

    const VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    assert_int_equal(
        CALL(vkCreatePipelineCache)(engine.device, &info, NULL, &params.pipeline_cache),
        VK_SUCCESS);
    const uint64_t caches = null_calls(NULL_vkCreatePipelineCache),
                   destroyed = null_calls(NULL_vkDestroyPipelineCache),
                   pipelines = null_calls(NULL_vkCreateComputePipelines);
    HARNESS_OK(dj_context_import(&params, &context));
    create_and_record(context, command);
    uint64_t size;
    uint8_t *const saved = save_cache(context, &size);
    assert_int_equal(saved_pipelines(saved), 0);
    dj_context_destroy(&context);
    assert_int_equal(null_calls(NULL_vkCreatePipelineCache), caches);
    assert_int_equal(null_calls(NULL_vkDestroyPipelineCache), destroyed);
    const uint64_t made = null_calls(NULL_vkCreateComputePipelines) - pipelines;
    size_t bytes = 0;
    assert_int_equal(
        CALL(vkGetPipelineCacheData)(engine.device, params.pipeline_cache, &bytes, NULL),
        VK_SUCCESS);
    assert_true(made > 10);
    assert_int_equal(bytes, sizeof(VkPipelineCacheHeaderVersionOne) + 16 * made);
    CALL(vkDestroyPipelineCache)(engine.device, params.pipeline_cache, NULL);
    free(saved);
    free(filled);
    null_engine_command_finish(&engine, pool);
    finish(&engine);
}

static uint32_t modules_that_read;

static void count_reads(const VkShaderModuleCreateInfo *info)
{
    modules_that_read += null_module_reads(info);
}

/* Whether kernels that hold sums in registers read each other's values there, and do the calls. */
static void assert_reads(dj_context *context, uint32_t lanes, bool wanted)
{
    const struct dj_attention_params params = {.map = DJ_MAP_IDENTITY, .heads = 1, .dim = 32};
    struct dj_attention_args args = {.slot_count = 0};
    struct dj_tensor *const tensors[] = {&args.q, &args.k, &args.v, &args.o};
    struct dj_needs needs;
    dj_attention *plan;
    assert_int_equal((dj_context_uses(context) & DJ_USE_READ_INVOCATION) != 0, wanted);
    modules_that_read = 0;
    HARNESS_OK(dj_attention_create(context, &params, &plan));
    assert_int_equal(modules_that_read, wanted);
    for (int i = 0; i < 4; i++)
        HARNESS_OK(dj_tensor_create(context, DJ_FLOAT32, (const uint64_t[4]){1, 8, 1, 32}, NULL,
                                    tensors[i]));
    HARNESS_OK(dj_attention_needs(plan, &args, &needs));
    assert_int_equal(needs.family, lanes == 16 && !wanted ? DJ_FAMILY_TILED : DJ_FAMILY_RESIDENT);
    for (int i = 0; i < 4; i++)
        dj_buffer_destroy(&tensors[i]->buffer);
    dj_attention_destroy(&plan);
    dj_context_destroy(&context);
}

/* With subgroups of 4 and 16, where their extension is there and enabled, and nowhere else; without
 * it tiles are for 16. */
static void reads_of_invocations_take_their_extension(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {4, 8, 16, 32};
    null_on_module = count_reads;
    for (int n = 0; n < 8; n++) {
        const uint32_t lanes = sizes[n / 2];
        const bool offered = n & 1, of_use = lanes == 4 || lanes == 16;
        struct null_settings settings = null_least();
        settings.type = VK_PHYSICAL_DEVICE_TYPE_CPU;
        settings.device_addresses = settings.whole_subgroups = true;
        settings.subgroup_size = lanes;
        settings.subgroup_ballot = offered;
        null_device_set(&settings);
        struct null_engine engine;
        dj_context *context;
        null_engine_init(&engine);
        struct dj_import_params params = null_engine_params(&engine);
        HARNESS_OK(dj_context_import(&params, &context));
        assert_reads(context, lanes, offered && of_use);
        const char *left[16];
        params.device_extension_count = 0;
        params.device_extensions = left;
        for (uint32_t i = 0; i < engine.wants.extension_count; i++) {
            if (strcmp(engine.wants.extensions[i], VK_EXT_SHADER_SUBGROUP_BALLOT_EXTENSION_NAME) !=
                0)
                left[params.device_extension_count++] = engine.wants.extensions[i];
        }
        HARNESS_OK(dj_context_import(&params, &context));
        assert_reads(context, lanes, false);
        HARNESS_OK(dj_context_create(&(struct dj_context_params){.log = harness_log_line,
                                                                 .quirks = "none",
                                                                 .threads = DJ_OFF},
                                     &context));
        assert_reads(context, lanes, offered && of_use);
        finish(&engine);
    }
}

/* Kernels load by four floats from scratch memory and slots: a buffer that begins elsewhere is
 * refused. */
static void addresses_are_multiples_of_16(void **state)
{
    (void)state;
    static const uint64_t shifts[] = {0, 4, 8, 16, 20};
    for (size_t i = 0; i < sizeof shifts / sizeof *shifts; i++) {
        struct null_engine engine;
        dj_context *context;
        dj_buffer *own, *wrapped = NULL;
        int variant = 0;
        while (!variants[variant].addresses)
            variant++;
        start(&engine, variant);
        struct dj_import_params params = null_engine_params(&engine);
        params.log = harness_log_line;
        HARNESS_OK(dj_context_import(&params, &context));
        own = harness_buffer(context, NULL, 64);
        null_address_shift = shifts[i];
        const dj_result want = shifts[i] % 16 == 0 ? DJ_SUCCESS : DJ_ERROR_INVALID_ARGUMENT;
        HARNESS_RESULT(dj_buffer_wrap(context,
                                      &(struct dj_wrap_params){
                                          .buffer = dj_buffer_handle(own),
                                          .size = 64,
                                          .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                                                   VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT},
                                      &wrapped),
                       want);
        assert_int_equal(wrapped != NULL, want == DJ_SUCCESS);
        null_address_shift = 0;
        dj_buffer_destroy(&wrapped);
        dj_buffer_destroy(&own);
        harness_log_clear();
        dj_context_destroy(&context);
        assert_string_equal(harness_log_last(), "");
        finish(&engine);
    }
}

/* A context that goes before its buffers says so. */
static void buffers_left_behind_are_counted(void **state)
{
    (void)state;
    struct null_engine engine;
    dj_context *context;
    dj_buffer *wrapped;
    start(&engine, 0);
    struct dj_import_params params = null_engine_params(&engine);
    params.log = harness_log_line;
    HARNESS_OK(dj_context_import(&params, &context));
    dj_buffer *own = harness_buffer(context, NULL, 64);
    HARNESS_OK(
        dj_buffer_wrap(context,
                       &(struct dj_wrap_params){.buffer = dj_buffer_handle(own),
                                                .size = 64,
                                                .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                                                         VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT},
                       &wrapped));
    dj_buffer_destroy(&own);
    harness_log_clear();
    dj_context_destroy(&context);
    assert_non_null(strstr(harness_log_last(), ": 1 buffers"));
    harness_log_clear();
    free(wrapped); /* of the object there is no more than this: the Vulkan buffer was another's */
    finish(&engine);
}

/* What of the mapped memory of wrapped and own buffers is read by copies: that which is not cached,
 * if there is cached memory to copy to. */
static void cached_memory_is_worth_a_copy(void **state)
{
    (void)state;
    struct null_engine engine;
    dj_context *context;
    char data[64] = "";
    start(&engine, 0);
    const struct dj_import_params params = null_engine_params(&engine);
    HARNESS_OK(dj_context_import(&params, &context));
    for (int cached = 1; cached >= 0; cached--) {
        for (uint32_t i = 0; cached == 0 && i < context->memory.memoryTypeCount; i++)
            context->memory.memoryTypes[i].propertyFlags &=
                ~(VkMemoryPropertyFlags)VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
        dj_buffer *own, *wrapped;
        HARNESS_OK(dj_buffer_create(
            context, &(struct dj_buffer_params){.size = 64, .memory = DJ_MEMORY_UPLOAD}, &own));
        const struct dj_wrap_params wrap = {.buffer = dj_buffer_handle(own),
                                            .size = 64,
                                            .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                                                     VK_BUFFER_USAGE_TRANSFER_SRC_BIT,
                                            .mapped = dj_buffer_map(own)};
        HARNESS_OK(dj_buffer_wrap(context, &wrap, &wrapped));
        dj_buffer *const buffers[] = {own, wrapped};
        strcpy(dj_buffer_map(own), "dijiang");
        for (int i = 0; i < 2; i++) {
            const uint64_t copies = null_recorded().copies;
            HARNESS_OK(dj_buffer_read(buffers[i], 0, data, sizeof data));
            assert_int_equal(null_recorded().copies - copies, cached);
            if (!cached)
                assert_string_equal(data, "dijiang");
        }
        dj_buffer_destroy(&wrapped);
        dj_buffer_destroy(&own);
    }
    dj_context_destroy(&context);
    finish(&engine);
}

/* Devices of an instance: one more than the engine's, or all but that. */
static VkPhysicalDevice listed[2];
static uint32_t listed_count;

static VKAPI_ATTR VkResult VKAPI_CALL list_devices(VkInstance instance, uint32_t *count,
                                                   VkPhysicalDevice *devices)
{
    (void)instance;
    for (uint32_t i = 0; devices != NULL && i < listed_count && i < *count; i++)
        devices[i] = listed[i];
    *count = listed_count;
    return VK_SUCCESS;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_proc_addr(VkInstance instance, const char *name)
{
    return strcmp(name, "vkEnumeratePhysicalDevices") == 0
               ? (PFN_vkVoidFunction)list_devices
               : null_get_instance_proc_addr(instance, name);
}

/* The place of the engine's device in its instance's list, where it is in it. */
static void devices_are_found_in_the_list(void **state)
{
    (void)state;
    struct null_engine engine;
    dj_context *context;
    struct dj_device_info info;
    start(&engine, 0);
    struct dj_import_params params = null_engine_params(&engine);
    params.get_instance_proc_addr = get_proc_addr;
    listed[0] = (VkPhysicalDevice)(void *)&listed; /* another one, which nobody asks anything */
    for (uint32_t n = 0; n < 3; n++) {
        listed_count = n;
        listed[1] = engine.physical;
        HARNESS_OK(dj_context_import(&params, &context));
        HARNESS_OK(dj_context_device(context, &info));
        assert_int_equal(info.index, n == 2 ? 1 : UINT32_MAX);
        dj_context_destroy(&context);
    }
    finish(&engine);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, harness_reseed, forget_hooks)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(buffers_are_shared_by_the_named_families),
        TEST(callbacks_are_of_every_call),
        TEST(what_does_not_run_submits_nothing),
        TEST(queues_are_locked_for_submissions_alone),
        TEST(saved_pipelines_reach_the_driver),
        TEST(a_pipeline_cache_of_the_engines_is_used),
        TEST(reads_of_invocations_take_their_extension),
        TEST(addresses_are_multiples_of_16),
        TEST(buffers_left_behind_are_counted),
        TEST(cached_memory_is_worth_a_copy),
        TEST(devices_are_found_in_the_list),
    };
    harness_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
