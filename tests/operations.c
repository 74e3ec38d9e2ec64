/* SPDX-License-Identifier: MIT */
#include "operations.h"

#include "../lib/cache.h"
#include "../lib/choices.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char operation_last_error[1024];
uint32_t operation_errors, operation_kernels_missed, operation_choices_missed;
static uint32_t caches_unused; /* lines that say so: warnings, since all goes on without */

void operation_log(void *user, uint32_t level, const char *message)
{
    (void)user;
    operation_kernels_missed += strstr(message, "the driver cannot make the kernel") == message;
    operation_choices_missed += strstr(message, "the cache: no memory for a choice") == message;
    caches_unused += strstr(message, "the cache is not used") == message;
    if (level != DJ_LOG_ERROR)
        return;
    operation_errors++;
    snprintf(operation_last_error, sizeof operation_last_error, "%s", message);
}

/* The path of transforms that VkFFT generates, where the library has it or its kernels. */
#define GENERATED (DJ_HAVE_VKFFT || DJ_HAVE_PREBUILT ? DJ_DCT_PATH_GENERATED : DJ_DCT_PATH_DENSE)

enum {
    DIM = 16,
    TOKENS = 40,
    HEADS = 2,
    PROJECTED = 8, /* Linformer's rows */
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
    .type = DJ_DCT_2, .length = OPERATION_LENGTH, .path = DJ_DCT_PATH_DENSE};

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

/* The kernel of the transforms' length, not yet tried, and a choice, as a cache: contexts that are
 * given it never generate, which has a test of its own. */
static unsigned char kernels[1 << 18];
static uint64_t kernels_size;

/* An output that a failing call must overwrite. */
#define OLD(type) ((type *)(uintptr_t)0x10)

/* Keeps the result of a call that makes something; what it made must be NULL unless it succeeded.
 */
#define MAKE(result, call, handle) \
    do { \
        (result) = (call); \
        assert_true(((result) == DJ_SUCCESS) == ((handle) != NULL)); \
    } while (0)

static dj_result create_plan(dj_context *context, const struct dj_attention_params *params)
{
    dj_attention *plan = OLD(dj_attention);
    dj_result result;
    MAKE(result, dj_attention_create(context, params, &plan), plan);
    dj_attention_destroy(&plan);
    return result;
}

static dj_result create_dct(dj_context *context, uint32_t path)
{
    dj_dct *plan = OLD(dj_dct);
    dj_result result;
    MAKE(result,
         dj_dct_create(
             context,
             &(struct dj_dct_params){.type = DJ_DCT_2, .length = OPERATION_LENGTH, .path = path},
             &plan),
         plan);
    dj_dct_destroy(&plan);
    return result;
}

static const struct dj_attention_params plain_params = {
    .map = DJ_MAP_ELU, .heads = HEADS, .dim = DIM};
static const struct dj_attention_params tuned_params = {
    .map = DJ_MAP_ELU, .heads = HEADS, .dim = DIM, .family = DJ_FAMILY_TUNED};

/* Plans that between them have all the pipelines that plans share, which live as long as the
 * context. Worlds have had them: only do_first_plans is where making those fails. */
static dj_result first_plans(dj_context *context)
{
    const dj_result result = create_plan(context, &plain_params);
    return result == DJ_SUCCESS ? create_dct(context, DJ_DCT_PATH_DENSE) : result;
}

void world_init(struct world *world, const struct null_settings *settings)
{
    *world = (struct world){.objects = null_objects()};
    null_device_set(settings);
    null_engine_init(&world->engine);
    struct dj_import_params params = null_engine_params(&world->engine);
    params.log = operation_log;
    params.cache = kernels;
    params.cache_size = kernels_size;
    HARNESS_OK(dj_context_import(&params, &world->context));
    const uint64_t shape[4] = {2, TOKENS, HEADS, DIM}, rows[4] = {1, 1, 5, OPERATION_LENGTH};
    struct dj_tensor *const tensors[] = {&world->q, &world->k, &world->v, &world->o};
    for (int i = 0; i < 4; i++)
        HARNESS_OK(dj_tensor_create(world->context, DJ_FLOAT32, shape, NULL, tensors[i]));
    HARNESS_OK(dj_tensor_create(world->context, DJ_FLOAT32, rows, NULL, &world->rows));
    HARNESS_OK(dj_features_create(world->context, &feature_params[0], &world->features));
    for (int i = 0; i < 3; i++)
        HARNESS_OK(dj_attention_create(world->context, &plan_params[i], &world->plans[i]));
    HARNESS_OK(dj_dct_create(world->context, &dct_params, &world->dct));
    HARNESS_OK(first_plans(world->context));
    HARNESS_OK(dj_attention_needs(world->plans[0], NULL, &world->needs));
    world->state = harness_buffer(world->context, NULL, 2 * world->needs.slot_size);
    const struct dj_attention_args args = state_args(world);
    HARNESS_OK(dj_attention_needs(world->plans[0], &args, &world->needs));
    world->scratch = harness_buffer(world->context, NULL, world->needs.scratch_size);
    HARNESS_OK(dj_recorder_create(world->context, NULL, &world->recorder));
}

void world_finish(struct world *world)
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

void world_own(struct world *world)
{
    const struct dj_context_params params = {.log = operation_log,
                                             .device_addresses =
                                                 DJ_OFF,        /* transform sees bindings */
                                             .threads = DJ_OFF, /* calls are counted */
                                             .cache = kernels,
                                             .cache_size = kernels_size};
    HARNESS_OK(dj_context_create(&params, &world->own));
    HARNESS_OK(first_plans(world->own));
}

void operation_generate(dj_context *context, uint32_t length)
{
    dj_dct *plan;
    const struct dj_dct_params params = {.type = DJ_DCT_2, .length = length, .path = GENERATED};
    HARNESS_OK(dj_dct_create(context, &params, &plan));
    dj_dct_destroy(&plan);
}

struct null_settings operation_settings(bool rich)
{
    struct null_settings settings = null_least();
    settings.layer = true;
    settings.unified = settings.float_controls = rich;
    settings.push_descriptors = settings.device_addresses = settings.whole_subgroups = rich;
    settings.subgroup_size = rich ? 8 : 1;
    settings.timestamp_bits = rich ? 64 : 36;
    return settings;
}

/* Measures on tensors of its own, since a world's are not there yet. */
static void tune(dj_context *context)
{
    const uint64_t shape[4] = {2, TOKENS, HEADS, DIM};
    struct dj_attention_args args = {.max_work = 0};
    struct dj_tensor *const tensors[] = {&args.q, &args.k, &args.v, &args.o};
    dj_attention *plan;
    for (int i = 0; i < 4; i++)
        HARNESS_OK(dj_tensor_create(context, DJ_FLOAT32, shape, NULL, tensors[i]));
    HARNESS_OK(dj_attention_create(context, &tuned_params, &plan));
    HARNESS_OK(dj_attention_tune(plan, &args));
    assert_non_null(dj_choices_first(context));
    dj_attention_destroy(&plan);
    for (int i = 0; i < 4; i++)
        dj_buffer_destroy(&tensors[i]->buffer);
}

static char folder[] = "/tmp/dijiang-operations-XXXXXX";

int operations_setup(void **state)
{
    (void)state;
    struct null_engine engine;
    dj_context *context;
    const struct null_settings rich = operation_settings(true);
    null_device_set(&rich);
    null_engine_init(&engine);
    const struct dj_import_params params = null_engine_params(&engine);
    HARNESS_OK(dj_context_import(&params, &context));
    operation_generate(context, OPERATION_LENGTH);
    tune(context);
    kernels_size = sizeof kernels;
    HARNESS_OK(dj_cache_save(context, kernels, &kernels_size));
    assert_non_null(mkdtemp(folder));
    HARNESS_OK(dj_cache_file_save(context, folder));
    dj_context_destroy(&context);
    null_engine_finish(&engine);
    return 0;
}

int operations_teardown(void **state)
{
    (void)state;
    DIR *const list = opendir(folder);
    assert_non_null(list);
    for (const struct dirent *entry; (entry = readdir(list)) != NULL;)
        (void)unlinkat(dirfd(list), entry->d_name, 0); /* "." and ".." stay */
    closedir(list);
    return rmdir(folder);
}

static dj_result create_context(uint32_t validation)
{
    dj_context *context = OLD(dj_context);
    dj_result result;
    MAKE(result,
         dj_context_create(&(struct dj_context_params){.log = operation_log,
                                                       .validation = validation,
                                                       .threads = DJ_OFF},
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
        dj_device_list(&(struct dj_context_params){.log = operation_log}, &info, &count);
    if (result == DJ_SUCCESS && count == 0) { /* which is no failure, and needs no line */
        operation_errors++;
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
    params.log = operation_log;
    MAKE(result, dj_context_import(&params, &context), context);
    dj_context_destroy(&context);
    return result;
}

static dj_result do_first_plans(struct world *world)
{
    struct dj_import_params params = null_engine_params(&world->engine);
    dj_context *context = OLD(dj_context);
    dj_result result;
    params.log = operation_log;
    MAKE(result, dj_context_import(&params, &context), context);
    if (result == DJ_SUCCESS)
        result = first_plans(context);
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
                                          .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                                                   VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT};
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
    return create_plan(world->context, &plain_params);
}

static dj_result do_plan_softmax(struct world *world)
{
    return create_plan(world->context, &plan_params[1]);
}

static dj_result do_plan_linformer(struct world *world)
{
    return create_plan(world->context, &plan_params[2]);
}

static dj_result do_dct_dense(struct world *world)
{
    return create_dct(world->context, DJ_DCT_PATH_DENSE);
}

static dj_result do_dct_generated(struct world *world)
{
    return create_dct(world->context, DJ_DCT_PATH_DEFAULT);
}

/* A context's whole life, with the generation of a kernel. */
static dj_result do_generation(struct world *world)
{
    struct dj_import_params params = null_engine_params(&world->engine);
    dj_context *context = OLD(dj_context);
    dj_result result;
    params.log = operation_log;
    MAKE(result, dj_context_import(&params, &context), context);
    if (result == DJ_SUCCESS)
        result = create_dct(context, GENERATED);
    dj_context_destroy(&context);
    return result;
}

/* With the trial that contexts of the library's own make of kernels on which there is no verdict.
 */
static dj_result do_dct_tried(struct world *world)
{
    for (struct dj_recipe_entry *entry = dj_recipes_first(world->own); entry; entry = entry->next)
        atomic_store(&entry->verdict, DJ_VERDICT_NONE);
    return create_dct(world->own, GENERATED);
}

static dj_result do_record(struct world *world)
{
    dj_recorder *recorder = OLD(dj_recorder);
    dj_result result;
    struct dj_attention_args args = state_args(world);
    args.scratch =
        (struct dj_scratch){.buffer = world->scratch, .size = dj_buffer_size(world->scratch)};
    const struct dj_recorder_params params = {.timings = DJ_ON};
    MAKE(result, dj_recorder_create(world->context, &params, &recorder), recorder);
    for (int turn = 0; result == DJ_SUCCESS && turn < 2; turn++) {
        struct dj_timing timings[64];
        uint32_t count = 64;
        result = dj_recorder_begin(recorder);
        if (result == DJ_SUCCESS)
            result = dj_attention_record(world->plans[0], recorder, &args);
        if (result == DJ_SUCCESS)
            result = dj_recorder_submit(recorder);
        if (result == DJ_SUCCESS)
            result = dj_recorder_wait(recorder, UINT64_MAX);
        if (result == DJ_SUCCESS)
            result = dj_recorder_timings(recorder, timings, &count);
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

/* A call that is cut as finely as can be. */
static struct dj_attention_args cut_args(const struct world *world)
{
    struct dj_attention_args args = state_args(world);
    args.max_work = 1;
    return args;
}

/* Each part a submission of its own. */
static dj_result do_record_parts(struct world *world)
{
    struct dj_attention_args args = cut_args(world);
    struct dj_needs needs;
    HARNESS_OK(dj_attention_needs(world->plans[0], &args, &needs));
    assert_true(needs.parts > 1);
    dj_buffer *scratch = OLD(dj_buffer);
    dj_recorder *recorder = NULL;
    dj_result result;
    MAKE(result,
         dj_buffer_create(world->context, &(struct dj_buffer_params){.size = needs.scratch_size},
                          &scratch),
         scratch);
    if (result == DJ_SUCCESS)
        MAKE(result, dj_recorder_create(world->context, NULL, &recorder), recorder);
    args.scratch = (struct dj_scratch){.buffer = scratch, .size = needs.scratch_size};
    for (uint32_t part = 0; result == DJ_SUCCESS && part < needs.parts; part++) {
        result = dj_recorder_begin(recorder);
        if (result == DJ_SUCCESS)
            result = dj_attention_record_part(world->plans[0], recorder, &args, part);
        if (result == DJ_SUCCESS)
            result = dj_recorder_submit(recorder);
        if (result == DJ_SUCCESS)
            result = dj_recorder_wait(recorder, UINT64_MAX);
    }
    dj_recorder_destroy(&recorder);
    dj_buffer_destroy(&scratch);
    return result;
}

/* How often progress is asked, and after how often it stops the run. */
struct patience {
    uint32_t asked, most;
};

static uint32_t ask(void *user, uint64_t done, uint64_t total)
{
    struct patience *const patience = user;
    assert_true(done < total);
    patience->asked++;
    return patience->asked > patience->most;
}

static dj_result run_patiently(struct world *world, struct patience *patience)
{
    const struct dj_attention_args args = cut_args(world);
    const struct dj_run_params params = {.budget_ns = 1, .progress = ask, .user = patience};
    return dj_attention_run_with(world->plans[0], &args, &params);
}

static dj_result do_run_with(struct world *world)
{
    struct patience patience = {.most = UINT32_MAX};
    const dj_result result = run_patiently(world, &patience);
    assert_true(result != DJ_SUCCESS || patience.asked > 2);
    return result;
}

/* That it is cancelled is what is wanted here. */
static dj_result do_run_cancelled(struct world *world)
{
    struct patience patience = {.most = 1};
    const dj_result result = run_patiently(world, &patience);
    assert_int_not_equal(result, DJ_SUCCESS);
    if (result != DJ_ERROR_CANCELLED)
        return result;
    assert_int_equal(patience.asked, 2);
    operation_errors--;
    return DJ_SUCCESS;
}

/* Measured anew each time: what the context knows is put aside meanwhile. Without whole subgroups
 * there is nothing to measure. */
static dj_result do_tune(struct world *world)
{
    dj_context *const context = world->context;
    struct dj_choice *const known = atomic_exchange(&context->choices, NULL);
    const struct dj_attention_args args = args_of(world, NULL);
    dj_attention *plan = OLD(dj_attention);
    dj_result result;
    MAKE(result, dj_attention_create(context, &tuned_params, &plan), plan);
    if (result == DJ_SUCCESS)
        result = dj_attention_tune(plan, &args);
    const bool chosen = dj_choices_first(context) != NULL;
    assert_true(!chosen || result == DJ_SUCCESS);
    if (operation_kernels_missed == 0) /* else it may have been the other family's */
        assert_int_equal(chosen, result == DJ_SUCCESS && context->subgroups > 0);
    dj_attention_destroy(&plan);
    dj_choices_finish(context);
    atomic_store(&context->choices, known);
    return result;
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

dj_result operation_load_cache(dj_context *context)
{
    return dj_context_load_cache(context, kernels, kernels_size);
}

static dj_result do_check_cache(struct world *world)
{
    return dj_cache_check(world->context, kernels, kernels_size);
}

static unsigned char saved[sizeof kernels];

static dj_result do_save_cache(struct world *world)
{
    uint64_t size = sizeof saved;
    return dj_cache_save(world->context, saved, &size);
}

static dj_result do_save_cache_file(struct world *world)
{
    return dj_cache_file_save(world->context, folder);
}

/* A cache that is not taken is warned of, which is the one line here. */
static dj_result do_load_cache_file(struct world *world)
{
    caches_unused = 0;
    const dj_result result = dj_cache_file_load(world->context, folder);
    operation_errors += caches_unused;
    return result;
}

#define OPERATION(name) \
    { \
#name, do_##name \
    }
const struct operation operations[] = {
    OPERATION(create_context),
    OPERATION(create_validated),
    OPERATION(list_devices),
    OPERATION(import),
    OPERATION(first_plans),
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
    OPERATION(check_cache),
    OPERATION(save_cache),
    OPERATION(record_parts),
    OPERATION(run_with),
    OPERATION(run_cancelled),
    OPERATION(tune),
    OPERATION(save_cache_file),
    OPERATION(load_cache_file),
};
const size_t operation_count = sizeof operations / sizeof *operations;
const struct operation operation_generation = OPERATION(generation);

const struct operation *operation_named(const char *name)
{
    for (size_t i = 0; i < operation_count; i++) {
        if (strcmp(operations[i].name, name) == 0)
            return &operations[i];
    }
    fail_msg("no operation %s", name);
    return NULL;
}
