/* SPDX-License-Identifier: MIT */
/* Every allocation and every Vulkan call of every operation fails in turn, once and from then on:
 * the right result comes back, one line says why, outputs are NULL, nothing leaks, and the same
 * objects do the same operation right afterwards. On the null device; the linker wraps the C
 * library's functions and the loader (tests/meson.build). */
#include "host_calls.h"
#include "null_loader.h"

#include "harness.h"

#include "../lib/dct_matrix.h"

#include <dijiang/dijiang.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char last_line[1024];
static uint32_t error_lines;

static void log_line(void *user, uint32_t level, const char *message)
{
    (void)user;
    if (level != DJ_LOG_ERROR)
        return;
    error_lines++;
    snprintf(last_line, sizeof last_line, "%s", message);
}

enum {
    DIM = 16,
    TOKENS = 40,
    HEADS = 2,
    PROJECTED = 8, /* Linformer's rows */
    LENGTH = 8,    /* of transforms */
};

/* What operations work on, made without faults. */
struct world {
    uint64_t objects; /* that were there before */
    struct null_engine engine;
    dj_context *context; /* imported */
    dj_context *own;     /* or NULL */
    dj_features *features;
    dj_attention *plans[3]; /* tiled, softmax, Linformer */
    dj_dct *dct;
    struct dj_tensor q, k, v, o, rows;
    dj_buffer *state, *scratch;
    dj_recorder *recorder;
    struct dj_needs needs; /* of plans[0]'s call */
};

static const struct dj_attention_params plan_params[] = {
    {.map = DJ_MAP_WDCF, .heads = HEADS, .dim = DIM, .dct_path = DJ_DCT_PATH_DENSE},
    {.map = DJ_MAP_SOFTMAX, .heads = HEADS, .dim = DIM},
    {.map = DJ_MAP_LINFORMER,
     .heads = HEADS,
     .dim = DIM,
     .features = PROJECTED,
     .max_tokens = TOKENS},
};
static const float numbers[2 * PROJECTED * TOKENS + DIM * DIM] = {1.0f};
static const struct dj_features_params feature_params[] = {
    {.map = DJ_MAP_WDCF, .dim = DIM, .frequencies = numbers},
    {.map = DJ_MAP_PRF, .dim = DIM, .directions = numbers},
    {.map = DJ_MAP_LINFORMER,
     .dim = DIM,
     .features = PROJECTED,
     .tokens = TOKENS,
     .key_projection = numbers,
     .value_projection = numbers},
};
static const struct dj_dct_params dct_params = {
    .type = DJ_DCT_2, .length = LENGTH, .path = DJ_DCT_PATH_DENSE};

static const int32_t slots_in[2] = {0, -1}, slots_out[2] = {0, 1};

static struct dj_attention_args args_of(const struct world *world, dj_features *features)
{
    return (struct dj_attention_args){
        .q = world->q, .k = world->k, .v = world->v, .o = world->o, .features = features};
}

static struct dj_attention_args state_args(const struct world *world)
{
    struct dj_attention_args args = args_of(world, world->features);
    args.state = world->state;
    args.slot_count = 2;
    args.slots_in.host = slots_in;
    args.slots_out.host = slots_out;
    return args;
}

static void world_init(struct world *world, const struct null_settings *settings)
{
    *world = (struct world){.objects = null_objects()};
    null_device_set(settings);
    null_engine_init(&world->engine);
    struct dj_import_params params = null_engine_params(&world->engine);
    params.log = log_line;
    HARNESS_OK(dj_context_import(&params, &world->context));
    const uint64_t shape[4] = {2, TOKENS, HEADS, DIM}, rows[4] = {1, 1, 5, LENGTH};
    struct dj_tensor *const tensors[] = {&world->q, &world->k, &world->v, &world->o};
    for (int i = 0; i < 4; i++)
        HARNESS_OK(dj_tensor_create(world->context, DJ_FLOAT32, shape, NULL, tensors[i]));
    HARNESS_OK(dj_tensor_create(world->context, DJ_FLOAT32, rows, NULL, &world->rows));
    HARNESS_OK(dj_features_create(world->context, &feature_params[0], &world->features));
    for (int i = 0; i < 3; i++)
        HARNESS_OK(dj_attention_create(world->context, &plan_params[i], &world->plans[i]));
    HARNESS_OK(dj_dct_create(world->context, &dct_params, &world->dct));
    HARNESS_OK(dj_attention_needs(world->plans[0], NULL, &world->needs));
    world->state = harness_buffer(world->context, NULL, 2 * world->needs.slot_size);
    const struct dj_attention_args args = state_args(world);
    HARNESS_OK(dj_attention_needs(world->plans[0], &args, &world->needs));
    world->scratch = harness_buffer(world->context, NULL, world->needs.scratch_size);
    HARNESS_OK(dj_recorder_create(world->context, NULL, &world->recorder));
}

static void world_finish(struct world *world)
{
    dj_recorder_destroy(&world->recorder);
    dj_buffer_destroy(&world->scratch);
    dj_buffer_destroy(&world->state);
    dj_dct_destroy(&world->dct);
    for (int i = 0; i < 3; i++)
        dj_attention_destroy(&world->plans[i]);
    dj_features_destroy(&world->features);
    struct dj_tensor *const tensors[] = {&world->q, &world->k, &world->v, &world->o, &world->rows};
    for (int i = 0; i < 5; i++)
        dj_buffer_destroy(&tensors[i]->buffer);
    dj_context_destroy(&world->own);
    dj_context_destroy(&world->context);
    null_engine_finish(&world->engine);
    if (null_objects() != world->objects)
        fail_msg("%llu objects were there, now %s", (unsigned long long)world->objects,
                 null_objects_text());
    if (null_misuses() > 0)
        fail_msg("misuse: %s", null_last_misuse());
}

/* An output that a failing call must overwrite. */
#define OLD(type) ((type *)(uintptr_t)0x10)

/* Keeps the result of a call that makes something; what it made must be NULL unless it succeeded.
 */
#define MAKE(result, call, handle) \
    do { \
        (result) = (call); \
        assert_true(((result) == DJ_SUCCESS) == ((handle) != NULL)); \
    } while (0)

static dj_result create_context(uint32_t validation)
{
    dj_context *context = OLD(dj_context);
    dj_result result;
    MAKE(result,
         dj_context_create(&(struct dj_context_params){.log = log_line, .validation = validation},
                           &context),
         context);
    dj_context_destroy(&context);
    return result;
}

static dj_result do_create_context(struct world *world)
{
    (void)world;
    return create_context(DJ_OFF);
}

static dj_result do_create_validated(struct world *world)
{
    (void)world;
    return create_context(DJ_ON);
}

static dj_result do_list_devices(struct world *world)
{
    (void)world;
    struct dj_device_info info;
    uint32_t count = 1;
    const dj_result result =
        dj_device_list(&(struct dj_context_params){.log = log_line}, &info, &count);
    if (result == DJ_SUCCESS && count == 0) { /* which is no failure, and needs no line */
        error_lines++;
        return DJ_ERROR_NO_DEVICE;
    }
    assert_int_equal(count, result == DJ_SUCCESS ? 1 : 0);
    return result;
}

static dj_result do_import(struct world *world)
{
    struct dj_import_params params = null_engine_params(&world->engine);
    dj_context *context = OLD(dj_context);
    dj_result result;
    params.log = log_line;
    MAKE(result, dj_context_import(&params, &context), context);
    dj_context_destroy(&context);
    return result;
}

static dj_result do_buffers(struct world *world)
{
    char data[64] = "dijiang";
    dj_result result = DJ_SUCCESS;
    for (uint32_t memory = 0; result == DJ_SUCCESS && memory <= DJ_MEMORY_DOWNLOAD; memory++) {
        dj_buffer *buffer = OLD(dj_buffer);
        MAKE(result,
             dj_buffer_create(world->context,
                              &(struct dj_buffer_params){.size = sizeof data, .memory = memory},
                              &buffer),
             buffer);
        if (result == DJ_SUCCESS)
            result = dj_buffer_write(buffer, 0, data, sizeof data);
        if (result == DJ_SUCCESS)
            result = dj_buffer_read(buffer, 0, data, sizeof data);
        dj_buffer_destroy(&buffer);
    }
    return result;
}

static dj_result do_wrap(struct world *world)
{
    const struct dj_wrap_params params = {.buffer = dj_buffer_handle(world->state),
                                          .size = dj_buffer_size(world->state),
                                          .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT};
    dj_buffer *buffer = OLD(dj_buffer);
    dj_result result;
    MAKE(result, dj_buffer_wrap(world->context, &params, &buffer), buffer);
    dj_buffer_destroy(&buffer);
    return result;
}

static dj_result do_tensor(struct world *world)
{
    struct dj_tensor tensor = {.buffer = OLD(dj_buffer)};
    dj_result result;
    MAKE(result,
         dj_tensor_create(world->context, DJ_FLOAT32, (const uint64_t[4]){1, 1, 2, DIM}, numbers,
                          &tensor),
         tensor.buffer);
    dj_buffer_destroy(&tensor.buffer);
    return result;
}

static dj_result do_features(struct world *world)
{
    dj_result result = DJ_SUCCESS;
    for (int i = 0; result == DJ_SUCCESS && i < 3; i++) {
        dj_features *features = OLD(dj_features);
        MAKE(result, dj_features_create(world->context, &feature_params[i], &features), features);
        dj_features_destroy(&features);
    }
    return result;
}

static dj_result create_plan(dj_context *context, const struct dj_attention_params *params)
{
    dj_attention *plan = OLD(dj_attention);
    dj_result result;
    MAKE(result, dj_attention_create(context, params, &plan), plan);
    dj_attention_destroy(&plan);
    return result;
}

static dj_result do_plan_transformed(struct world *world)
{
    static const float decay[HEADS] = {0.5f, 1.0f};
    struct dj_attention_params params = plan_params[0];
    params.features = 4 * DIM; /* three transforms */
    params.decay = decay;
    return create_plan(world->context, &params);
}

static dj_result do_plan_matrix(struct world *world)
{
    return create_plan(world->context, &(struct dj_attention_params){
                                           .map = DJ_MAP_PRF, .heads = HEADS, .dim = DIM});
}

static dj_result do_plan_plain(struct world *world)
{
    return create_plan(world->context, &(struct dj_attention_params){
                                           .map = DJ_MAP_ELU, .heads = HEADS, .dim = DIM});
}

static dj_result do_plan_softmax(struct world *world)
{
    return create_plan(world->context, &plan_params[1]);
}

static dj_result do_plan_linformer(struct world *world)
{
    return create_plan(world->context, &plan_params[2]);
}

static dj_result create_dct(dj_context *context, uint32_t path)
{
    dj_dct *plan = OLD(dj_dct);
    dj_result result;
    MAKE(result,
         dj_dct_create(context,
                       &(struct dj_dct_params){.type = DJ_DCT_2, .length = LENGTH, .path = path},
                       &plan),
         plan);
    dj_dct_destroy(&plan);
    return result;
}

static dj_result do_dct_dense(struct world *world)
{
    return create_dct(world->context, DJ_DCT_PATH_DENSE);
}

static dj_result do_dct_generated(struct world *world)
{
    return create_dct(world->context, DJ_DCT_PATH_DEFAULT);
}

/* With the trial that contexts of the library's own make. */
static dj_result do_dct_tried(struct world *world)
{
    return create_dct(world->own, DJ_DCT_PATH_GENERATED);
}

static dj_result do_record(struct world *world)
{
    dj_recorder *recorder = OLD(dj_recorder);
    dj_result result;
    struct dj_attention_args args = state_args(world);
    args.scratch =
        (struct dj_scratch){.buffer = world->scratch, .size = dj_buffer_size(world->scratch)};
    MAKE(result, dj_recorder_create(world->context, NULL, &recorder), recorder);
    for (int turn = 0; result == DJ_SUCCESS && turn < 2; turn++) {
        result = dj_recorder_begin(recorder);
        if (result == DJ_SUCCESS)
            result = dj_attention_record(world->plans[0], recorder, &args);
        if (result == DJ_SUCCESS)
            result = dj_recorder_submit(recorder);
        if (result == DJ_SUCCESS)
            result = dj_recorder_wait(recorder, UINT64_MAX);
    }
    dj_recorder_destroy(&recorder);
    return result;
}

/* A recorder that lives on: what failed is done again on it, from where it stands. */
static dj_result do_record_again(struct world *world)
{
    dj_recorder *const recorder = world->recorder;
    dj_result result = dj_recorder_wait(recorder, UINT64_MAX);
    if (result == DJ_SUCCESS)
        result = dj_recorder_begin(recorder);
    if (result == DJ_SUCCESS)
        result = dj_recorder_barrier(recorder, DJ_BARRIER_BEFORE);
    if (result == DJ_SUCCESS)
        result = dj_recorder_submit(recorder);
    if (result == DJ_SUCCESS)
        result = dj_recorder_wait(recorder, UINT64_MAX);
    return result;
}

static dj_result do_run(struct world *world)
{
    const struct dj_attention_args args = state_args(world);
    return dj_attention_run(world->plans[0], &args);
}

static dj_result do_run_softmax(struct world *world)
{
    const struct dj_attention_args args = args_of(world, NULL);
    return dj_attention_run(world->plans[1], &args);
}

static dj_result do_run_linformer(struct world *world)
{
    dj_features *features = OLD(dj_features);
    dj_result result;
    MAKE(result, dj_features_create(world->context, &feature_params[2], &features), features);
    const struct dj_attention_args args = args_of(world, features);
    if (result == DJ_SUCCESS)
        result = dj_attention_run(world->plans[2], &args);
    dj_features_destroy(&features);
    return result;
}

static dj_result do_run_dct(struct world *world)
{
    const struct dj_dct_args args = {.input = world->rows, .output = world->rows};
    return dj_dct_run(world->dct, &args);
}

static unsigned char slot[1 << 16];

static dj_result do_save(struct world *world)
{
    const struct dj_attention_args args = state_args(world);
    assert_true(world->needs.slot_size <= sizeof slot);
    return dj_state_save(world->plans[0], &args, 1, slot, world->needs.slot_size);
}

static dj_result do_load(struct world *world)
{
    const struct dj_attention_args args = state_args(world);
    memset(slot, 0, sizeof slot);
    return dj_state_load(world->plans[0], &args, 1, slot, world->needs.slot_size);
}

struct operation {
    const char *name;
    dj_result (*run)(struct world *world);
};
#define OPERATION(name) \
    { \
#name, do_##name \
    }
static const struct operation operations[] = {
    OPERATION(create_context),
    OPERATION(create_validated),
    OPERATION(list_devices),
    OPERATION(import),
    OPERATION(buffers),
    OPERATION(wrap),
    OPERATION(tensor),
    OPERATION(features),
    OPERATION(plan_transformed),
    OPERATION(plan_matrix),
    OPERATION(plan_plain),
    OPERATION(plan_softmax),
    OPERATION(plan_linformer),
    OPERATION(dct_dense),
    OPERATION(dct_generated),
    OPERATION(dct_tried),
    OPERATION(record),
    OPERATION(record_again),
    OPERATION(run),
    OPERATION(run_softmax),
    OPERATION(run_linformer),
    OPERATION(run_dct),
    OPERATION(save),
    OPERATION(load),
};
enum {
    OPERATIONS = sizeof operations / sizeof *operations
};

/* What a generated transform gives, where it is tried: the first dispatch loads, the second works
 * in place, and its outputs are scaled afterwards. */
static void transform(const struct null_dispatch *dispatch)
{
    static const float *input;
    static uint64_t count;
    if (dispatch->data[0] != dispatch->data[1]) {
        input = dispatch->data[0];
        count = dispatch->range[0] / sizeof(float);
        return;
    }
    float *const output = dispatch->data[0];
    float scale[LENGTH];
    dj_dct_scales(DJ_DCT_2, LENGTH, scale);
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t k = i % LENGTH;
        double sum = 0;
        for (uint64_t n = 0; n < LENGTH; n++)
            sum += (double)input[i - k + n] *
                   cos(acos(-1.0) * (double)((2 * n + 1) * k) / (2 * LENGTH));
        output[i] = (float)(sqrt((k == 0 ? 1.0 : 2.0) / LENGTH) * sum / (double)scale[k]);
    }
}

/* Counts that a failure must leave as they were. */
struct counts {
    uint64_t objects;
    int64_t blocks;
};

static struct counts counts(void)
{
    return (struct counts){null_objects(), host_blocks()};
}

static void assert_counts(const struct counts *before, const char *name, const char *what)
{
    if (null_objects() != before->objects)
        fail_msg("%s, %s: %llu objects before, now %s", name, what,
                 (unsigned long long)before->objects, null_objects_text());
    if (host_blocks() != before->blocks)
        fail_msg("%s, %s: %lld blocks are left", name, what,
                 (long long)(host_blocks() - before->blocks));
}

/* An operation without faults succeeds and says nothing. */
static void assert_works(const struct operation *operation, struct world *world, const char *after)
{
    const struct counts before = counts();
    error_lines = 0;
    const dj_result result = operation->run(world);
    if (result != DJ_SUCCESS || error_lines > 0)
        fail_msg("%s after %s: %s, %u lines, the last %s", operation->name, after,
                 dj_result_name(result), error_lines, last_line);
    assert_counts(&before, operation->name, "without faults");
}

static void assert_failed(const struct operation *operation, const char *what, dj_result result,
                          dj_result want)
{
    if (result != want || error_lines != 1)
        fail_msg("%s, %s: %s, not %s, %u lines, the last %s", operation->name, what,
                 dj_result_name(result), dj_result_name(want), error_lines, last_line);
}

static void own_context(struct world *world)
{
    HARNESS_OK(dj_context_create(&(struct dj_context_params){.log = log_line}, &world->own));
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
        error_lines = 0;
        host_fail_at(n, lasting);
        const dj_result result = operation->run(world);
        const bool failed = host_fault();
        host_fail_at(0, false);
        if (!failed)
            return n - 1;
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

/* Calls whose failure changes nothing: names, idling at the end, a memory type that is full. */
static bool may_succeed(const char *function, VkResult code)
{
    return strcmp(function, "vkSetDebugUtilsObjectNameEXT") == 0 ||
           strcmp(function, "vkDeviceWaitIdle") == 0 || strcmp(function, "vkQueueWaitIdle") == 0 ||
           (strcmp(function, "vkAllocateMemory") == 0 && code == VK_ERROR_OUT_OF_DEVICE_MEMORY);
}

static dj_result wanted(const char *function, int code)
{
    if (strcmp(function, "vkEnumeratePhysicalDevices") == 0 &&
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
        error_lines = 0;
        null_fail_at(n, codes[code].code, lasting);
        const dj_result result = operation->run(world);
        const bool failed = null_fault(&function);
        null_fail_at(0, VK_SUCCESS, false);
        if (!failed)
            return n - 1;
        snprintf(what, sizeof what, "%s with VkResult %d%s", function, codes[code].code,
                 lasting ? ", and all after it" : "");
        if (result != DJ_SUCCESS || error_lines > 0 || !may_succeed(function, codes[code].code))
            assert_failed(operation, what, result, wanted(function, code));
        assert_counts(&before, operation->name, what);
        assert_works(operation, world, what);
    }
}

/* The settings under which everything is tried. */
static struct null_settings settings_of(int variant)
{
    struct null_settings settings = null_least();
    settings.layer = true;
    settings.unified = variant == 1;
    settings.push_descriptors = settings.device_addresses = variant == 1;
    return settings;
}

static void start(struct world *world, int variant)
{
    const struct null_settings settings = settings_of(variant);
    world_init(world, &settings);
    own_context(world);
    null_on_dispatch = transform;
}

static void finish(struct world *world)
{
    null_on_dispatch = NULL;
    world_finish(world);
}

/* A generated kernel that is kept: of the transforms' length, so that theirs is generated once (its
 * generation has a test of its own); of another, so that glslang stays started. */
static dj_dct *keep_kernel(const struct world *world, uint32_t length)
{
    dj_dct *kept = NULL;
    const struct dj_dct_params params = {
        .type = DJ_DCT_2, .length = length, .path = DJ_DCT_PATH_GENERATED};
    HARNESS_OK(dj_dct_create(world->context, &params, &kept));
    return kept;
}

static void every_allocation_fails(void **state)
{
    (void)state;
    for (int variant = 0; variant < 2; variant++) {
        struct world world;
        start(&world, variant);
        dj_dct *kept = keep_kernel(&world, LENGTH);
        uint64_t sum = 0;
        for (int i = 0; i < OPERATIONS; i++) {
            assert_works(&operations[i], &world, "nothing");
            const uint64_t count = fail_allocations(&operations[i], &world, false);
            assert_int_equal(fail_allocations(&operations[i], &world, true), count);
            sum += count;
        }
        assert_true(sum > 50);
        dj_dct_destroy(&kept);
        finish(&world);
    }
}

static void every_call_fails(void **state)
{
    (void)state;
    for (int variant = 0; variant < 2; variant++) {
        struct world world;
        start(&world, variant);
        dj_dct *kept = keep_kernel(&world, LENGTH);
        uint64_t sum = 0;
        for (int i = 0; i < OPERATIONS; i++) {
            for (int code = 0; code < CODES; code++) {
                const uint64_t count = fail_calls(&operations[i], &world, code, false);
                fail_calls(&operations[i], &world, code, true);
                sum += count;
            }
        }
        assert_true(sum > 200 * CODES);
        dj_dct_destroy(&kept);
        finish(&world);
    }
}

/* VkFFT's allocations while it plans and writes a kernel. */
static void every_allocation_of_a_generation_fails(void **state)
{
    (void)state;
    struct world world;
    start(&world, 0);
    dj_dct *kept = keep_kernel(&world, 2 * LENGTH);
    const struct operation operation = OPERATION(dct_generated);
    assert_true(fail_allocations(&operation, &world, false) > 100);
    dj_dct_destroy(&kept);
    finish(&world);
}

/* Calls that need the device, each of which must say that it is lost. The recorder is idle, or
 * records (begun). */
static void assert_lost(struct world *world, bool begun)
{
    static const char *const harmless[] = {"create_context", "create_validated", "list_devices",
                                           "import", "dct_tried"}; /* not of this context */
    for (int i = 0; i < OPERATIONS; i++) {
        bool tried = true;
        for (size_t j = 0; j < sizeof harmless / sizeof *harmless; j++)
            tried = tried && strcmp(operations[i].name, harmless[j]) != 0;
        if (!tried)
            continue;
        const struct counts before = counts();
        error_lines = 0;
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
        const bool begun = n % 2 == 0 && operation->run != do_record_again;
        if (begun)
            HARNESS_OK(dj_recorder_begin(world.recorder));
        error_lines = 0;
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
        world_finish(&world); /* nothing is left, and nothing was misused */
        if (!failed)
            return n - 1;
    }
}

static void lost_devices_stay_lost(void **state)
{
    (void)state;
    const struct operation list[] = {
        OPERATION(buffers), OPERATION(plan_linformer), OPERATION(record),   OPERATION(record_again),
        OPERATION(run),     OPERATION(run_dct),        OPERATION(features), OPERATION(save)};
    for (int variant = 0; variant < 2; variant++) {
        const struct null_settings settings = settings_of(variant);
        struct world other;
        world_init(&other, &settings);
        dj_dct *kept = keep_kernel(&other, LENGTH);
        uint64_t sum = 0;
        for (size_t i = 0; i < sizeof list / sizeof *list; i++)
            sum += lose_device(&list[i], &settings);
        assert_true(sum > 40);
        dj_dct_destroy(&kept);
        world_finish(&other);
    }
}

/* A context is made with what the device lost during creation cannot give. */
static void devices_lost_at_creation(void **state)
{
    (void)state;
    const struct operation list[] = {OPERATION(create_context), OPERATION(import)};
    struct world world;
    start(&world, 0);
    for (int i = 0; i < 2; i++) {
        for (uint64_t n = 1;; n++) {
            const struct counts before = counts();
            error_lines = 0;
            null_fail_at(n, VK_ERROR_DEVICE_LOST, false);
            const dj_result result = list[i].run(&world);
            const char *function;
            const bool failed = null_fault(&function);
            null_fail_at(0, VK_SUCCESS, false);
            if (!failed)
                break;
            if (strcmp(function, "vkDeviceWaitIdle") != 0)
                assert_failed(&list[i], function, result, DJ_ERROR_DEVICE_LOST);
            assert_counts(&before, list[i].name, function);
        }
    }
    finish(&world);
}

/* The loader's word for a system without a driver. */
static void no_driver_is_no_device(void **state)
{
    (void)state;
    const struct operation operation = OPERATION(create_context);
    const char *function;
    null_device_set(NULL);
    for (uint64_t n = 1;; n++) {
        error_lines = 0;
        null_fail_at(n, VK_ERROR_INCOMPATIBLE_DRIVER, false);
        const dj_result result = operation.run(NULL);
        assert_true(null_fault(&function));
        if (strcmp(function, "vkCreateInstance") == 0) {
            assert_failed(&operation, function, result, DJ_ERROR_NO_DEVICE);
            break;
        }
    }
    null_fail_at(0, VK_SUCCESS, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_fails),
        cmocka_unit_test(every_call_fails),
        cmocka_unit_test(lost_devices_stay_lost),
        cmocka_unit_test(devices_lost_at_creation),
        cmocka_unit_test(no_driver_is_no_device),
        cmocka_unit_test(every_allocation_of_a_generation_fails),
    };
    harness_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
