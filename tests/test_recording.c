/* SPDX-License-Identifier: MIT */
/* Recording allocates nothing, locks nothing, waits for nothing, whatever is recorded: counted on
 * the null device, with the C library's functions wrapped by the linker. */
#include "host_calls.h"
#include "null_device.h"
#include "problem.h"

#include <stdio.h>
#include <stdlib.h>

/* The three ways to bind. */
static const struct {
    const char *name;
    bool push, addresses;
    uint32_t timestamp_bits;
} bindings[] = {
    {"descriptor sets", false, false, 0},
    {"push descriptors", true, false, 36},
    {"device addresses", true, true, 64},
};
enum {
    BINDINGS = sizeof bindings / sizeof *bindings,
    SLOTS = 40,
};

static uint64_t driver_allocations;

static VKAPI_ATTR void *VKAPI_CALL take(void *user, size_t size, size_t alignment,
                                        VkSystemAllocationScope scope)
{
    (void)user;
    (void)scope;
    driver_allocations++;
    void *block = NULL;
    return posix_memalign(&block, alignment, size) == 0 ? block : NULL;
}

static VKAPI_ATTR void VKAPI_CALL give(void *user, void *block)
{
    (void)user;
    driver_allocations++;
    free(block);
}

static VKAPI_ATTR void *VKAPI_CALL retake(void *user, void *old, size_t size, size_t alignment,
                                          VkSystemAllocationScope scope)
{
    (void)user;
    (void)alignment;
    (void)scope;
    driver_allocations++;
    return realloc(old, size);
}

static const VkAllocationCallbacks callbacks = {
    .pfnAllocation = take, .pfnReallocation = retake, .pfnFree = give};

/* The harness's would lock. */
static void log_line(void *user, uint32_t level, const char *message)
{
    (void)user;
    fprintf(stderr, "# %s: %s\n", level == DJ_LOG_ERROR ? "error" : "warning", message);
}

/* An engine with a context on the null device, a command buffer and a recorder that records into
 * it. */
struct bench {
    struct null_engine engine;
    dj_context *context;
    VkCommandPool pool;
    VkCommandBuffer command;
    dj_recorder *recorder;
};

static void bench_init(struct bench *bench, int binding)
{
    struct null_settings settings = null_least();
    settings.push_descriptors = bindings[binding].push;
    settings.device_addresses = bindings[binding].addresses;
    settings.timestamp_bits = bindings[binding].timestamp_bits;
    settings.float_controls = settings.storage_16bit = binding > 0;
    settings.max_invocations = 1024; /* for generated transforms of most lengths */
    settings.shared_memory = 32768;
    settings.max_size[0] = settings.max_size[1] = 1024;
    null_device_set(&settings);
    null_engine_init(&bench->engine);
    struct dj_import_params params = null_engine_params(&bench->engine);
    params.allocator = &callbacks;
    params.log = log_line;
    HARNESS_OK(dj_context_import(&params, &bench->context));
    bench->command = null_engine_command(&bench->engine, &bench->pool);
    const struct dj_recorder_params recorder = {
        .dispatches = 4096,
        .ring_size = UINT64_C(1) << 20,
        .timings = bindings[binding].timestamp_bits ? DJ_ON : DJ_OFF};
    HARNESS_OK(dj_recorder_create(bench->context, &recorder, &bench->recorder));
}

static void bench_finish(struct bench *bench)
{
    dj_recorder_destroy(&bench->recorder);
    null_engine_command_finish(&bench->engine, bench->pool);
    dj_context_destroy(&bench->context);
    null_engine_finish(&bench->engine);
    assert_int_equal(null_objects(), 0);
    if (null_misuses() > 0)
        fail_msg("misuse: %s", null_last_misuse());
}

/* Everything that recording may not do, so far. */
struct costs {
    struct host_calls host;
    uint64_t driver, vulkan;
};

static struct costs costs(void)
{
    return (struct costs){host_calls(), driver_allocations, null_calls_beside_recording()};
}

static void assert_free(const struct costs *before, const char *what)
{
    const struct costs after = costs();
    if (after.host.memory != before->host.memory || after.host.locks != before->host.locks ||
        after.driver != before->driver || after.vulkan != before->vulkan)
        fail_msg("%s: %llu calls for memory, %llu locks, %llu of the driver's allocations, %llu "
                 "Vulkan calls that are not recording",
                 what, (unsigned long long)(after.host.memory - before->host.memory),
                 (unsigned long long)(after.host.locks - before->host.locks),
                 (unsigned long long)(after.driver - before->driver),
                 (unsigned long long)(after.vulkan - before->vulkan));
}

/* Slots as the host has them, or as a buffer has. */
struct slots {
    dj_buffer *state, *indices;
    int32_t in[SLOTS], out[SLOTS], accepted[SLOTS];
};

/* snapshots: 1, or several, of which one is then accepted. */
static void place_slots(const struct bench *bench, struct placed *placed, uint32_t sequences,
                        uint32_t snapshots, bool device, struct slots *slots)
{
    struct dj_needs needs;
    HARNESS_OK(dj_attention_needs(placed->plan, NULL, &needs));
    slots->state = harness_buffer(bench->context, NULL, SLOTS * needs.slot_size);
    for (int i = 0; i < SLOTS; i++) {
        slots->in[i] = i % 3 == 0 ? -1 : i;
        slots->out[i] = SLOTS - 1 - i;
        slots->accepted[i] = i % 2;
    }
    struct dj_attention_args *const args = &placed->args;
    args->state = slots->state;
    args->slot_count = SLOTS;
    args->snapshots = snapshots;
    assert_true(sequences * 2 * snapshots <= SLOTS);
    args->slots_in.host = slots->in;
    args->accepted.host = snapshots > 1 ? slots->accepted : NULL;
    args->slots_out.host = slots->out;
    if (!device)
        return;
    slots->indices = harness_buffer(bench->context, slots->in, sizeof slots->in);
    struct dj_indices *const list[] = {&args->slots_in, &args->slots_out, &args->accepted};
    for (uint64_t i = 0; i < (snapshots > 1 ? 3 : 2); i++)
        *list[i] = (struct dj_indices){.buffer = slots->indices, .offset = i * 12 * 4};
}

/* Records the placed call twice, counting; what it needs was made before. */
static void record(const struct bench *bench, struct placed *placed, const char *what)
{
    struct dj_attention_args *const args = &placed->args;
    struct dj_needs needs;
    HARNESS_OK(dj_attention_needs(placed->plan, args, &needs));
    dj_buffer *const scratch = harness_buffer(bench->context, NULL, needs.scratch_size);
    args->scratch = (struct dj_scratch){.buffer = scratch, .size = needs.scratch_size};
    args->barriers = DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_COMPUTE | DJ_BARRIER_AFTER_HOST;
    const struct null_recorded before = null_recorded();
    dj_result results[4];
    const struct costs start = costs();
    results[0] = dj_recorder_begin_on(bench->recorder, bench->command);
    results[1] = dj_attention_record(placed->plan, bench->recorder, args);
    results[2] = dj_attention_record(placed->plan, bench->recorder, args);
    results[3] = dj_recorder_barrier(bench->recorder, args->barriers);
    assert_free(&start, what);
    for (int i = 0; i < 4; i++)
        harness_assert_result(results[i], DJ_SUCCESS, what, __FILE__, __LINE__);
    const struct null_recorded after = null_recorded();
    const uint64_t dispatches = after.dispatches - before.dispatches;
    /* drawn spans may all be empty: then there is nothing to record */
    assert_int_equal(dispatches > 0, needs.dispatches > 0);
    assert_true(dispatches <= 2 * (uint64_t)needs.dispatches);
    assert_true(after.barriers - before.barriers >= 6);
    assert_int_equal(after.copies, before.copies);
    dj_buffer_destroy(&args->scratch.buffer);
    args->scratch.size = 0;
}

static uint64_t parts_recorded;

/* Records the placed call in as many parts as can be, each as a recording of its own. */
static void record_parts(const struct bench *bench, struct placed *placed, const char *what)
{
    struct dj_attention_args *const args = &placed->args;
    struct dj_needs needs;
    args->max_work = 1;
    HARNESS_OK(dj_attention_needs(placed->plan, args, &needs));
    dj_buffer *const scratch = harness_buffer(bench->context, NULL, needs.scratch_size);
    args->scratch = (struct dj_scratch){.buffer = scratch, .size = needs.scratch_size};
    const struct null_recorded before = null_recorded();
    uint64_t failed = 0;
    const struct costs start = costs();
    for (uint32_t part = 0; part < needs.parts; part++) {
        failed += dj_recorder_begin_on(bench->recorder, bench->command) != DJ_SUCCESS;
        failed += dj_attention_record_part(placed->plan, bench->recorder, args, part) != DJ_SUCCESS;
    }
    assert_free(&start, what);
    assert_int_equal(failed, 0);
    const uint64_t dispatches = null_recorded().dispatches - before.dispatches;
    assert_int_equal(dispatches > 0, needs.parts > 0);
    assert_true(dispatches <= (uint64_t)needs.parts * needs.dispatches);
    parts_recorded += needs.parts;
    args->max_work = 0;
    dj_buffer_destroy(&args->scratch.buffer);
    args->scratch.size = 0;
}

/* One problem by host and by device indices, without slots and with both kinds; whole and in parts.
 */
static void record_problem(const struct bench *bench, const struct problem_params *params)
{
    for (int device = 0; device < 2; device++) {
        struct problem_params mine = *params;
        mine.device_spans = device;
        struct problem problem;
        struct placed placed;
        struct slots slots = {0};
        problem_init(&problem, &mine);
        problem_place(&problem, bench->context, LAYOUT_SLICED, &placed);
        record(bench, &placed, problem_text(&problem));
        record_parts(bench, &placed, problem_text(&problem));
        if (mine.map != DJ_MAP_SOFTMAX && mine.map != DJ_MAP_LINFORMER) {
            place_slots(bench, &placed, (uint32_t)twin_sequences(&problem.twin), 2, device, &slots);
            record(bench, &placed, problem_text(&problem));
            record_parts(bench, &placed, problem_text(&problem));
        }
        dj_buffer_destroy(&slots.state);
        dj_buffer_destroy(&slots.indices);
        placed_finish(&placed);
        problem_finish(&problem);
    }
}

static void attention_is_recorded_for_free(void **state)
{
    (void)state;
    for (int binding = 0; binding < BINDINGS; binding++) {
        struct bench bench;
        bench_init(&bench, binding);
        parts_recorded = 0;
        for (int map = 0; map < DJ_MAP_COUNT; map++) {
            const struct problem_params shape = {.map = map,
                                                 .normalise = problem_may_normalise(map),
                                                 SHAPE(3, 70, 4, 20, 24),
                                                 .key_heads = 2};
            record_problem(&bench, &shape);
            if (map == DJ_MAP_LINFORMER)
                continue;
            struct problem_params padded = shape, packed = shape, full = shape;
            padded.spans = DJ_SPANS_PADDED;
            packed.spans = DJ_SPANS_PACKED;
            packed.batch = 1;
            packed.sequences = 5;
            full.full = full.cross = true;
            full.query_tokens = 40;
            record_problem(&bench, &padded);
            record_problem(&bench, &packed);
            record_problem(&bench, &full);
        }
        assert_true(parts_recorded > 1000);
        bench_finish(&bench);
    }
}

/* One token of each row by one dispatch, which reads and writes states. */
static void steps_are_recorded_for_free(void **state)
{
    (void)state;
    for (int i = 0; i < BINDINGS * DJ_MAP_COUNT * 2; i++) {
        const int binding = i / 2 % BINDINGS, map = i / 2 / BINDINGS;
        const bool device = i % 2;
        if (map == DJ_MAP_SOFTMAX || map == DJ_MAP_LINFORMER || map == DJ_MAP_COSFORMER)
            continue; /* no states; or no step */
        struct bench bench;
        struct problem problem;
        struct placed placed;
        struct slots slots = {0};
        struct dj_needs needs;
        bench_init(&bench, binding);
        problem_init(&problem, &(struct problem_params){.map = map,
                                                        .normalise = problem_may_normalise(map),
                                                        SHAPE(3, 1, 4, 16, 16)});
        problem_place(&problem, bench.context, LAYOUT_PLAIN, &placed);
        place_slots(&bench, &placed, 3, 1, device, &slots);
        HARNESS_OK(dj_attention_needs(placed.plan, &placed.args, &needs));
        assert_int_equal(needs.dispatches, 1);
        assert_int_equal(needs.scratch_size, 0);
        record(&bench, &placed, problem_text(&problem));
        dj_buffer_destroy(&slots.state);
        dj_buffer_destroy(&slots.indices);
        placed_finish(&placed);
        problem_finish(&problem);
        bench_finish(&bench);
    }
}

/* Decay, position scales, 2-byte elements, many blocks of features, numbers by head. */
static void options_are_recorded_for_free(void **state)
{
    (void)state;
    static const float decay[] = {1.0f, 0.5f};
    const struct problem_params list[] = {
        {.map = DJ_MAP_IDENTITY, SHAPE(2, 70, 2, 16, 16), .decay = decay, .decay_count = 2},
        {.map = DJ_MAP_ELU, SHAPE(2, 70, 2, 16, 16), .query_places = 80, .key_places = 80},
        {.map = DJ_MAP_WDCF, SHAPE(2, 70, 2, 16, 16), .features = 64, .own_numbers = true},
        {.map = DJ_MAP_RELU, SHAPE(2, 70, 2, 16, 16), .q_type = DJ_FLOAT16, .o_type = DJ_BFLOAT16},
        {.map = DJ_MAP_PFF, SHAPE(1, 1, 2, 16, 16), .normalise = true, .key_normalise = true},
        {.map = DJ_MAP_PRF, SHAPE(1, 700, 2, 64, 64), .features = 1024, .normalise = true},
    };
    for (int binding = 0; binding < BINDINGS; binding++) {
        struct bench bench;
        bench_init(&bench, binding);
        for (size_t i = 0; i < sizeof list / sizeof *list; i++)
            record_problem(&bench, &list[i]);
        bench_finish(&bench);
    }
}

static void record_transform(const struct bench *bench, uint32_t path)
{
    dj_dct *plan;
    const struct dj_dct_params params = {.type = DJ_DCT_2, .length = 64, .path = path};
    HARNESS_OK(dj_dct_create(bench->context, &params, &plan));
    struct dj_dct_args args = {.barriers = DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_HOST};
    const uint64_t shape[4] = {2, 300, 3, 64};
    HARNESS_OK(dj_tensor_create(bench->context, DJ_FLOAT32, shape, NULL, &args.input));
    HARNESS_OK(dj_tensor_create(bench->context, DJ_FLOAT32, shape, NULL, &args.output));
    args.scratch.size = UINT64_C(1) << 18; /* several boxes */
    struct dj_needs needs;
    HARNESS_OK(dj_dct_needs(plan, &args, &needs));
    args.scratch.buffer = harness_buffer(bench->context, NULL, args.scratch.size);
    const struct null_recorded before = null_recorded();
    const struct costs start = costs();
    const dj_result begun = dj_recorder_begin_on(bench->recorder, bench->command);
    const dj_result result = dj_dct_record(plan, bench->recorder, &args);
    assert_free(&start, "a DCT");
    HARNESS_OK(begun);
    HARNESS_OK(result);
    const struct null_recorded after = null_recorded();
    assert_int_equal(after.dispatches - before.dispatches, needs.dispatches);
    assert_true(needs.dispatches > 3);
    dj_buffer_destroy(&args.scratch.buffer);
    dj_buffer_destroy(&args.input.buffer);
    dj_buffer_destroy(&args.output.buffer);
    dj_dct_destroy(&plan);
}

static void transforms_are_recorded_for_free(void **state)
{
    (void)state;
    for (int binding = 0; binding < BINDINGS; binding++) {
        struct bench bench;
        bench_init(&bench, binding);
        record_transform(&bench, DJ_DCT_PATH_DEFAULT);
        record_transform(&bench, DJ_DCT_PATH_DENSE);
        bench_finish(&bench);
    }
}

/* A time for each dispatch: the null device's timestamps are equally far apart, and its counter
 * wraps after the first. */
static void dispatches_are_timed(void **state)
{
    (void)state;
    for (int binding = 0; binding < BINDINGS; binding++) {
        struct bench bench;
        bench_init(&bench, binding);
        if (bindings[binding].timestamp_bits == 0) {
            uint32_t count = 0;
            dj_recorder *none = bench.recorder;
            const struct dj_recorder_params params = {.timings = DJ_ON};
            HARNESS_RESULT(dj_recorder_create(bench.context, &params, &none), DJ_ERROR_UNSUPPORTED);
            assert_null(none);
            HARNESS_RESULT(dj_recorder_timings(bench.recorder, NULL, &count), DJ_ERROR_UNSUPPORTED);
        } else {
            const uint64_t before = null_recorded().dispatches;
            record_transform(&bench, DJ_DCT_PATH_DENSE);
            const uint32_t recorded = (uint32_t)(null_recorded().dispatches - before);
            uint32_t count = recorded - 1;
            struct dj_timing timings[64] = {{.kernel = "none"}};
            HARNESS_RESULT(dj_recorder_timings(bench.recorder, timings, &count), DJ_ERROR_LIMIT);
            assert_int_equal(count, recorded);
            assert_string_equal(timings[0].kernel, "none");
            assert_true(recorded <= 64);
            HARNESS_OK(dj_recorder_timings(bench.recorder, timings, &count));
            for (uint32_t i = 0; i < count; i++) {
                assert_true(timings[i].nanoseconds == NULL_STAMP_TICKS * (double)NULL_TICK);
                assert_string_equal(timings[i].kernel, i % 2 ? "rows_store" : "rows_dense");
            }
            null_fail_at(1, VK_NOT_READY, false);
            count = 64;
            HARNESS_RESULT(dj_recorder_timings(bench.recorder, timings, &count), DJ_ERROR_TIMEOUT);
            assert_int_equal(count, 64);
            null_fail_at(0, VK_SUCCESS, false);
            HARNESS_OK(dj_recorder_begin_on(bench.recorder, bench.command));
            HARNESS_OK(dj_recorder_timings(bench.recorder, timings, &count));
            assert_int_equal(count, 0);
            record_transform(&bench, DJ_DCT_PATH_DENSE);
            null_fail_at(1, VK_ERROR_OUT_OF_HOST_MEMORY, false);
            HARNESS_RESULT(dj_recorder_begin(bench.recorder), DJ_ERROR_OUT_OF_HOST_MEMORY);
            null_fail_at(0, VK_SUCCESS, false);
            count = 64; /* what was recorded is dropped */
            HARNESS_OK(dj_recorder_timings(bench.recorder, timings, &count));
            assert_int_equal(count, 0);
        }
        bench_finish(&bench);
    }
}

/* A refused call costs no more; its log line goes by the caller's function. */
static void refusals_are_free(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, 0);
    struct problem problem;
    struct placed placed;
    problem_init(&problem, &(struct problem_params){SHAPE(1, 70, 2, 16, 16)});
    problem_place(&problem, bench.context, LAYOUT_PLAIN, &placed);
    HARNESS_OK(dj_recorder_begin_on(bench.recorder, bench.command));
    const struct costs start = costs();
    const dj_result result = dj_attention_record(placed.plan, bench.recorder, &placed.args);
    assert_free(&start, "a refusal");
    HARNESS_RESULT(result, DJ_ERROR_SCRATCH);
    placed_finish(&placed);
    problem_finish(&problem);
    bench_finish(&bench);
}

/* The counters see what there is to see: each of them moves while things are created and run. */
static void creation_is_counted(void **state)
{
    (void)state;
    struct bench bench;
    const struct costs start = costs();
    bench_init(&bench, 0);
    struct problem problem;
    struct placed placed;
    problem_init(&problem, &(struct problem_params){SHAPE(1, 70, 2, 16, 16)});
    problem_place(&problem, bench.context, LAYOUT_PLAIN, &placed);
    const struct costs created = costs();
    assert_true(created.host.memory > start.host.memory);
    assert_true(created.host.locks > start.host.locks); /* volk's, and the recipes' */
    assert_true(created.driver > start.driver);
    assert_true(created.vulkan > start.vulkan);
    HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
    const struct costs ran = costs();
    assert_true(ran.host.memory > created.host.memory);
    assert_true(ran.driver > created.driver);
    assert_true(ran.vulkan > created.vulkan);
    placed_finish(&placed);
    problem_finish(&problem);
    bench_finish(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(creation_is_counted, harness_reseed),
        cmocka_unit_test_setup(attention_is_recorded_for_free, harness_reseed),
        cmocka_unit_test_setup(steps_are_recorded_for_free, harness_reseed),
        cmocka_unit_test_setup(options_are_recorded_for_free, harness_reseed),
        cmocka_unit_test_setup(transforms_are_recorded_for_free, harness_reseed),
        cmocka_unit_test_setup(dispatches_are_timed, harness_reseed),
        cmocka_unit_test_setup(refusals_are_free, harness_reseed),
    };
    harness_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
