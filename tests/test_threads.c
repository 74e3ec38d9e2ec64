/* SPDX-License-Identifier: MIT */
/* Many threads at once: on one context, with one plan and one set of numbers; and making contexts.
 * On the null device, where a thread sanitizer sees everything (tests/tsan.sh), and on the system's
 * own. */
#include "null_loader.h"

#include "harness.h"

#include "../lib/buffer.h"
#include "../lib/context.h"

#include <dijiang/dijiang.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    THREADS = 8,
    TOKENS = 40,
    HEADS = 2,
    DIM = 16,
    COUNT = TOKENS * HEADS * DIM,
};

#define GENERATED (DJ_HAVE_VKFFT ? DJ_DCT_PATH_GENERATED : DJ_DCT_PATH_DENSE)

static const uint64_t shape[4] = {1, TOKENS, HEADS, DIM};
static const float ones[DIM * DIM] = {[0 ... DIM * DIM - 1] = 0.5f};
static atomic_uint failures;

/* cmocka's assertions are for the main thread alone. */
static bool holds(bool condition, const char *text, int line)
{
    if (condition)
        return true;
    fprintf(stderr, "# test_threads.c:%d: %s\n", line, text);
    atomic_fetch_add(&failures, 1);
    return false;
}
#define CHECK(condition) holds((condition), #condition, __LINE__)
#define CHECK_OK(call) CHECK((call) == DJ_SUCCESS)

static void log_line(void *user, uint32_t level, const char *message)
{
    (void)user;
    if (level == DJ_LOG_ERROR)
        fprintf(stderr, "# error: %s\n", message);
}

/* What threads share. */
struct shared {
    dj_context *context;
    dj_attention *plan;
    dj_features *features;
    struct dj_tensor q, k, v;
    const float *want; /* the output; NULL: nothing is computed */
    dj_buffer *states; /* a slot for each thread */
    uint64_t slot_size;
    const char *want_states; /* that calls leave in them; NULL likewise */
    int rounds;
    uint32_t dct_path;
};

struct worker {
    const struct shared *shared;
    int number;
    pthread_t thread;
};

static void check_output(const struct shared *shared, const struct dj_tensor *o)
{
    float *const got = malloc(COUNT * sizeof *got);
    if (CHECK(got != NULL) && CHECK_OK(dj_buffer_read(o->buffer, 0, got, COUNT * sizeof *got)))
        CHECK(shared->want == NULL || memcmp(got, shared->want, COUNT * sizeof *got) == 0);
    free(got);
}

static struct dj_attention_args args_of(const struct shared *shared, const struct dj_tensor *o)
{
    return (struct dj_attention_args){.q = shared->q,
                                      .k = shared->k,
                                      .v = shared->v,
                                      .o = *o,
                                      .features = shared->features,
                                      .barriers = DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_HOST};
}

static void attend(const struct shared *shared)
{
    struct dj_tensor o;
    dj_recorder *recorder = NULL;
    struct dj_needs needs;
    if (!CHECK_OK(dj_tensor_create(shared->context, DJ_FLOAT32, shape, NULL, &o)))
        return;
    struct dj_attention_args args = args_of(shared, &o);
    CHECK_OK(dj_attention_run(shared->plan, &args));
    check_output(shared, &o);
    CHECK_OK(dj_attention_needs(shared->plan, &args, &needs));
    const struct dj_buffer_params scratch = {.size = needs.scratch_size};
    CHECK_OK(dj_buffer_create(shared->context, &scratch, &args.scratch.buffer));
    args.scratch.size = needs.scratch_size;
    if (CHECK_OK(dj_recorder_create(shared->context, NULL, &recorder))) {
        for (int turn = 0; turn < 2; turn++) {
            CHECK_OK(dj_recorder_begin(recorder));
            CHECK_OK(dj_attention_record(shared->plan, recorder, &args));
            CHECK_OK(dj_recorder_submit(recorder));
            CHECK_OK(dj_recorder_wait(recorder, UINT64_MAX));
        }
        check_output(shared, &o);
    }
    dj_recorder_destroy(&recorder);
    dj_buffer_destroy(&args.scratch.buffer);
    dj_buffer_destroy(&o.buffer);
}

static uint32_t stop_at(void *user, uint64_t done, uint64_t total)
{
    const uint64_t *const stop = user;
    return done >= *stop && total > 0;
}

/* Within a budget and in many parts, which change no bit; to the end, and given up half-way. */
static void attend_in_time(const struct shared *shared)
{
    struct dj_tensor o;
    if (!CHECK_OK(dj_tensor_create(shared->context, DJ_FLOAT32, shape, NULL, &o)))
        return;
    uint64_t stop = UINT64_MAX;
    const struct dj_run_params run = {.budget_ns = 1000000, .progress = stop_at, .user = &stop};
    struct dj_attention_args args = args_of(shared, &o);
    args.max_work = 1;
    CHECK_OK(dj_attention_run_with(shared->plan, &args, &run));
    check_output(shared, &o);
    stop = 1;
    CHECK(dj_attention_run_with(shared->plan, &args, &run) == DJ_ERROR_CANCELLED);
    dj_buffer_destroy(&o.buffer);
}

/* The queries' buffer by another name: wrapped, and read by a call. */
static void attend_wrapped(const struct shared *shared)
{
    const dj_buffer *const own = shared->q.buffer;
    const struct dj_wrap_params params = {.buffer = dj_buffer_handle(own),
                                          .size = dj_buffer_size(own),
                                          .usage = own->usage,
                                          .host_cached = own->host_cached,
                                          .mapped = own->mapped};
    struct dj_tensor o;
    dj_buffer *wrapped = NULL;
    if (!CHECK_OK(dj_tensor_create(shared->context, DJ_FLOAT32, shape, NULL, &o)))
        return;
    struct dj_attention_args args = args_of(shared, &o);
    if (CHECK_OK(dj_buffer_wrap(shared->context, &params, &wrapped))) {
        args.q.buffer = wrapped;
        CHECK_OK(dj_attention_run(shared->plan, &args));
        check_output(shared, &o);
    }
    dj_buffer_destroy(&wrapped);
    dj_buffer_destroy(&o.buffer);
}

/* A call of fewer tokens the higher the slot leaves its state there, which is saved. */
static bool leave_state(const struct shared *shared, int slot, void *state)
{
    const int32_t out = slot;
    struct dj_tensor o;
    if (!CHECK_OK(dj_tensor_create(shared->context, DJ_FLOAT32, shape, NULL, &o)))
        return false;
    struct dj_attention_args args = args_of(shared, &o);
    struct dj_tensor *const tensors[] = {&args.q, &args.k, &args.v, &args.o};
    for (int i = 0; i < 4; i++)
        tensors[i]->shape[1] -= (uint64_t)slot;
    args.state = shared->states;
    args.slot_count = THREADS;
    args.slots_out.host = &out;
    const bool left =
        CHECK_OK(dj_attention_run(shared->plan, &args)) &&
        CHECK_OK(dj_state_save(shared->plan, &args, (uint32_t)slot, state, shared->slot_size));
    dj_buffer_destroy(&o.buffer);
    return left;
}

/* Each thread has a slot of its own in one pool: left, saved, loaded, saved again. */
static void keep_states(const struct shared *shared, int slot)
{
    const struct dj_attention_args args = {.state = shared->states, .slot_count = THREADS};
    const uint64_t size = shared->slot_size;
    char *const states = calloc(2, size);
    if (CHECK(states != NULL) && leave_state(shared, slot, states)) {
        CHECK(shared->want_states == NULL ||
              memcmp(states, shared->want_states + (uint64_t)slot * size, size) == 0);
        CHECK_OK(dj_state_load(shared->plan, &args, (uint32_t)slot, states, size));
        CHECK_OK(dj_state_save(shared->plan, &args, (uint32_t)slot, states + size, size));
        CHECK(shared->want_states == NULL || memcmp(states, states + size, size) == 0);
    }
    free(states);
}

/* The cache as it is, while plans are made that make it grow. */
static void save_cache(const struct shared *shared)
{
    uint64_t size = 0;
    char *data = NULL;
    dj_result result = dj_cache_save(shared->context, NULL, &size);
    while (result == DJ_SUCCESS || result == DJ_ERROR_LIMIT) {
        free(data);
        data = malloc(size);
        if (!CHECK(data != NULL))
            return;
        result = dj_cache_save(shared->context, data, &size);
        if (result == DJ_SUCCESS)
            break;
    }
    if (CHECK_OK(result))
        CHECK_OK(dj_cache_check(shared->context, data, size));
    free(data);
}

static void make_buffers(const struct shared *shared)
{
    for (uint32_t memory = 0; memory <= DJ_MEMORY_DOWNLOAD; memory++) {
        dj_buffer *buffer;
        const struct dj_buffer_params params = {.size = sizeof ones, .memory = memory};
        float back[DIM * DIM];
        CHECK_OK(dj_buffer_create(shared->context, &params, &buffer));
        CHECK_OK(dj_buffer_write(buffer, 0, ones, sizeof ones));
        CHECK_OK(dj_buffer_read(buffer, 0, back, sizeof back));
        CHECK(shared->want == NULL || memcmp(back, ones, sizeof ones) == 0);
        dj_buffer_destroy(&buffer);
    }
}

static void make_plans(const struct shared *shared, int which)
{
    static const uint32_t maps[] = {DJ_MAP_WDCF, DJ_MAP_PRF, DJ_MAP_ELU, DJ_MAP_SOFTMAX};
    const struct dj_attention_params params = {
        .map = maps[which % 4], .heads = HEADS, .dim = DIM, .dct_path = DJ_DCT_PATH_DENSE};
    const struct dj_features_params numbers = {
        .map = DJ_MAP_PRF, .dim = DIM, .directions = ones, .weights = ones};
    dj_attention *plan;
    dj_features *features;
    CHECK_OK(dj_attention_create(shared->context, &params, &plan));
    CHECK_OK(dj_features_create(shared->context, &numbers, &features));
    dj_features_destroy(&features);
    dj_attention_destroy(&plan);
}

/* Two lengths between all threads: some generate the same kernel at once, some share it. */
static void make_transforms(const struct shared *shared, int which)
{
    const struct dj_dct_params params = {
        .type = DJ_DCT_2, .length = which % 2 ? 8 : DIM, .path = shared->dct_path};
    const uint64_t rows[4] = {1, 1, 3, params.length};
    struct dj_dct_args args = {0};
    dj_dct *plan;
    CHECK_OK(dj_dct_create(shared->context, &params, &plan));
    CHECK_OK(dj_tensor_create(shared->context, DJ_FLOAT32, rows, ones, &args.input));
    args.output = args.input;
    CHECK_OK(dj_dct_run(plan, &args));
    dj_buffer_destroy(&args.input.buffer);
    dj_dct_destroy(&plan);
}

static void *work(void *user)
{
    const struct worker *const worker = user;
    for (int round = 0; round < worker->shared->rounds; round++) {
        attend(worker->shared);
        attend_in_time(worker->shared);
        attend_wrapped(worker->shared);
        keep_states(worker->shared, worker->number);
        save_cache(worker->shared);
        make_buffers(worker->shared);
        make_plans(worker->shared, worker->number + round);
        make_transforms(worker->shared, worker->number / 2 + round);
    }
    return NULL;
}

static void run_threads(const struct shared *shared, void *(*function)(void *))
{
    struct worker workers[THREADS];
    atomic_store(&failures, 0);
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.shared = shared, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, function, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    assert_int_equal(atomic_load(&failures), 0);
}

/* One context for all, then its end. computes: a single thread's output is what all must get. */
static void share_context(dj_context *context, bool computes, int rounds, uint32_t dct_path)
{
    struct shared shared = {.context = context, .rounds = rounds, .dct_path = dct_path};
    const struct dj_attention_params plan = {
        .map = DJ_MAP_WDCF, .heads = HEADS, .dim = DIM, .dct_path = dct_path};
    const struct dj_features_params numbers = {.map = DJ_MAP_WDCF, .dim = DIM, .frequencies = ones};
    struct dj_tensor *const tensors[] = {&shared.q, &shared.k, &shared.v};
    static float data[COUNT], want[COUNT];
    for (int i = 0; i < 3; i++) {
        harness_fill_normal(data, COUNT, 1);
        HARNESS_OK(dj_tensor_create(context, DJ_FLOAT32, shape, data, tensors[i]));
    }
    HARNESS_OK(dj_attention_create(context, &plan, &shared.plan));
    HARNESS_OK(dj_features_create(context, &numbers, &shared.features));
    struct dj_needs needs;
    HARNESS_OK(dj_attention_needs(shared.plan, NULL, &needs));
    shared.slot_size = needs.slot_size;
    shared.states = harness_buffer(context, NULL, THREADS * needs.slot_size);
    char *const states = malloc(THREADS * needs.slot_size);
    assert_non_null(states);
    if (computes) {
        struct dj_tensor o;
        HARNESS_OK(dj_tensor_create(context, DJ_FLOAT32, shape, NULL, &o));
        const struct dj_attention_args args = args_of(&shared, &o);
        HARNESS_OK(dj_attention_run(shared.plan, &args));
        HARNESS_OK(dj_buffer_read(o.buffer, 0, want, sizeof want));
        dj_buffer_destroy(&o.buffer);
        shared.want = want;
        for (int i = 0; i < THREADS; i++)
            assert_true(leave_state(&shared, i, states + (uint64_t)i * needs.slot_size));
        HARNESS_OK(dj_buffer_read(shared.states, 0, states, THREADS * needs.slot_size));
        shared.want_states = states;
    }
    run_threads(&shared, work);
    free(states);
    dj_buffer_destroy(&shared.states);
    dj_features_destroy(&shared.features);
    dj_attention_destroy(&shared.plan);
    for (int i = 0; i < 3; i++)
        dj_buffer_destroy(&tensors[i]->buffer);
}

static void lock(void *user)
{
    pthread_mutex_lock(user);
}

static void unlock(void *user)
{
    pthread_mutex_unlock(user);
}

static pthread_mutex_t engine_lock = PTHREAD_MUTEX_INITIALIZER;

static struct dj_import_params locked(struct dj_import_params params, pthread_mutex_t *mutex)
{
    params.log = log_line;
    params.lock_queue = lock;
    params.unlock_queue = unlock;
    params.queue_user = mutex;
    return params;
}

static void assert_nothing_is_left(void)
{
    if (null_objects() > 0)
        fail_msg("left: %s", null_objects_text());
    if (null_misuses() > 0)
        fail_msg("misuse: %s", null_last_misuse());
}

static void null_settings_of(int variant)
{
    struct null_settings settings = null_least();
    settings.push_descriptors = settings.device_addresses = settings.unified = variant == 1;
    null_device_set(&settings);
    null_loader = true;
}

/* Imported, with the kernels that are generated; and of its own, where those would be tried. */
static void null_threads_share_a_context(void **state)
{
    (void)state;
    for (int variant = 0; variant < 2; variant++) {
        null_settings_of(variant);
        struct null_engine engine;
        dj_context *context;
        null_engine_init(&engine);
        const struct dj_import_params params = locked(null_engine_params(&engine), &engine_lock);
        HARNESS_OK(dj_context_import(&params, &context));
        share_context(context, false, 3, GENERATED);
        dj_context_destroy(&context);
        null_engine_finish(&engine);
        HARNESS_OK(dj_context_create(&(struct dj_context_params){.log = log_line}, &context));
        share_context(context, false, 3, DJ_DCT_PATH_DENSE);
        dj_context_destroy(&context);
        assert_nothing_is_left();
    }
}

static const struct dj_import_params *imported; /* what contexts are imported from */
static int context_rounds;

static void *make_contexts(void *user)
{
    const struct worker *const worker = user;
    for (int round = 0; round < context_rounds; round++) {
        dj_context *context = NULL;
        dj_buffer *buffer = NULL;
        struct dj_device_info info;
        uint32_t count = 1;
        if ((worker->number + round) % 2)
            CHECK_OK(dj_context_import(imported, &context));
        else
            CHECK_OK(dj_context_create(
                &(struct dj_context_params){.log = log_line, .push_descriptors = DJ_OFF},
                &context));
        CHECK_OK(dj_buffer_create(
            context, &(struct dj_buffer_params){.size = 64, .memory = DJ_MEMORY_UPLOAD}, &buffer));
        CHECK_OK(dj_context_device(context, &info));
        CHECK_OK(dj_device_list(&(struct dj_context_params){.log = log_line}, &info, &count));
        dj_buffer_destroy(&buffer);
        dj_context_destroy(&context);
    }
    return NULL;
}

static void null_threads_make_contexts(void **state)
{
    (void)state;
    null_settings_of(1);
    struct null_engine engine;
    null_engine_init(&engine);
    const struct dj_import_params params = locked(null_engine_params(&engine), &engine_lock);
    imported = &params;
    context_rounds = 8;
    run_threads(NULL, make_contexts);
    null_engine_finish(&engine);
    assert_nothing_is_left();
}

/* The device of a context, as an engine would hand it out: nothing optional is named. */
static struct dj_import_params lend(dj_context *owner)
{
    struct dj_vk_loader loader = {0};
    assert_true(dj_vk_load(&loader));
    const struct dj_import_params params = {
        .get_instance_proc_addr = loader.vkGetInstanceProcAddr,
        .instance = owner->instance,
        .physical_device = owner->physical,
        .device = owner->device,
        .queue = owner->queue,
        .queue_family = owner->queue_family,
    };
    return locked(params, &owner->queue_lock);
}

/* With the validation layer where that is demanded: it watches what is imported from it, too. */
static dj_context *real_context(void)
{
    const char *const demanded = getenv("DIJIANG_TEST_VALIDATION");
    dj_context *context = NULL;
    null_loader = false;
    HARNESS_OK(dj_context_create(
        &(struct dj_context_params){
            .log = log_line, .validation = demanded && strcmp(demanded, "1") == 0 ? DJ_ON : DJ_OFF},
        &context));
    return context;
}

static void real_context_finish(dj_context *context)
{
    assert_int_equal(dj_context_validation_count(context), 0);
    dj_context_destroy(&context);
}

static void real_threads_share_a_context(void **state)
{
    (void)state;
    dj_context *const owner = real_context();
    share_context(owner, true, 2, GENERATED);
    const struct dj_import_params params = lend(owner);
    dj_context *context;
    HARNESS_OK(dj_context_import(&params, &context));
    share_context(context, true, 1, GENERATED);
    dj_context_destroy(&context);
    real_context_finish(owner);
}

static void real_threads_make_contexts(void **state)
{
    (void)state;
    dj_context *const owner = real_context();
    const struct dj_import_params params = lend(owner);
    imported = &params;
    context_rounds = 2;
    run_threads(NULL, make_contexts);
    real_context_finish(owner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(null_threads_share_a_context),
        cmocka_unit_test(null_threads_make_contexts),
        cmocka_unit_test(real_threads_share_a_context),
        cmocka_unit_test(real_threads_make_contexts),
    };
    harness_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
