/* SPDX-License-Identifier: MIT */
/* Recorders and pipelines from the inside: by push descriptors, by preallocated sets, by device
 * addresses. */
#include "harness.h"

#include "../lib/pipeline.h"
#include "../lib/recorder.h"

#include "test_recorder.spv.h"
#include "test_recorder_addressed.spv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct dj_shader shader = {"test_recorder", spirv_test_recorder,
                                        sizeof(spirv_test_recorder), spirv_test_recorder_addressed,
                                        sizeof(spirv_test_recorder_addressed)};
struct push {
    uint32_t count, factor, spins;
};
enum {
    COUNT = 1000,
    GROUPS = (COUNT + 63) / 64
};

/* One context per way to bind, with the test pipeline. */
static struct bench {
    dj_context *context;
    struct dj_pipeline pipeline; /* adds 5 */
} benches[3];
#define EACH_BENCH(b) for (struct bench *b = benches; b < benches + 3; b++)

static char last_line[1024];
static void log_line(void *user, uint32_t level, const char *message)
{
    (void)user;
    if (level == DJ_LOG_ERROR)
        snprintf(last_line, sizeof(last_line), "%s", message);
}

static int setup(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct dj_context_params params = {.log = log_line,
                                           .validation = DJ_ON,
                                           .push_descriptors = i == 1 ? DJ_OFF : DJ_ON,
                                           .device_addresses = i == 2 ? DJ_ON : DJ_OFF};
        dj_result result = dj_context_create(&params, &benches[i].context);
        const char *demanded = getenv("DIJIANG_TEST_VALIDATION");
        if (result == DJ_ERROR_NO_VALIDATION && !(demanded && strcmp(demanded, "1") == 0)) {
            params.validation = DJ_OFF;
            result = dj_context_create(&params, &benches[i].context);
        }
        if (result != DJ_SUCCESS)
            return -1;
        const struct dj_constants constants = {.count = 2, .values = {99, 5}};
        if (dj_pipeline_get(benches[i].context, &shader, &constants, &benches[i].pipeline) !=
            DJ_SUCCESS)
            return -1;
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    EACH_BENCH(b)
    {
        dj_context_destroy(&b->context);
    }
    return 0;
}

static int check_validation(void **state)
{
    (void)state;
    EACH_BENCH(b)
    {
        if (dj_context_validation_count(b->context) > 0) {
            print_error("the validation layer said: %s\n", last_line);
            return -1;
        }
    }
    return 0;
}

static dj_recorder *create(struct bench *bench, uint32_t dispatches, uint64_t ring)
{
    const struct dj_recorder_params params = {.dispatches = dispatches, .ring_size = ring};
    dj_recorder *recorder = NULL;
    HARNESS_OK(dj_recorder_create(bench->context, &params, &recorder));
    assert_non_null(recorder);
    return recorder;
}

static dj_buffer *counting(struct bench *bench)
{
    uint32_t x[COUNT];
    for (uint32_t i = 0; i < COUNT; i++)
        x[i] = i;
    return harness_buffer(bench->context, x, sizeof(x));
}

/* y = x * factor + 5 + added, the last by the ring */
static void dispatch(struct bench *bench, dj_recorder *recorder, dj_buffer *x, dj_buffer *y,
                     uint32_t factor, uint32_t added, uint32_t spins)
{
    const uint32_t ring[2] = {0xdead, added};
    const uint64_t ring_size = dj_recorder_ring_size(bench->context, sizeof(ring));
    HARNESS_OK(dj_recorder_reserve(recorder, 1, ring_size));
    const struct dj_binding bindings[DJ_BINDINGS] = {
        [0] = {x, 0, x->size},
        [3] = {y, 0, y->size},
        [7] = dj_recorder_ring_push(recorder, ring, sizeof(ring)),
    };
    const struct push push = {COUNT, factor, spins};
    dj_recorder_dispatch(recorder, bench->pipeline, bindings, DJ_BINDINGS, &push, sizeof(push),
                         (const uint32_t[3]){GROUPS, 1, 1});
}

static void expect(dj_buffer *buffer, uint32_t factor, uint32_t constant)
{
    uint32_t y[COUNT];
    harness_read(buffer, 0, y, sizeof(y));
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(y[i], i * factor + constant);
}

/* Nanoseconds of a clock that only runs forwards. */
static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return 1e9 * (double)time.tv_sec + (double)time.tv_nsec;
}

static void finish(dj_recorder *recorder)
{
    HARNESS_OK(dj_recorder_submit(recorder));
    HARNESS_OK(dj_recorder_wait(recorder, UINT64_MAX));
}

static void test_dispatch(void **state)
{
    (void)state;
    EACH_BENCH(b)
    {
        dj_buffer *x = counting(b), *y = harness_poisoned(b->context, 4 * COUNT);
        dj_recorder *recorder = create(b, 0, 0);
        assert_ptr_equal(dj_recorder_context(recorder), b->context);
        for (uint32_t turn = 0; turn < 3; turn++) { /* and again with the same recorder */
            HARNESS_OK(dj_recorder_begin(recorder));
            HARNESS_OK(dj_recorder_barrier(recorder, DJ_BARRIER_BEFORE));
            dispatch(b, recorder, x, y, 3 + turn, 70, 0);
            HARNESS_OK(dj_recorder_barrier(recorder, DJ_BARRIER_AFTER_HOST));
            finish(recorder);
            expect(y, 3 + turn, 75);
        }
        dj_recorder_destroy(&recorder);
        assert_null(recorder);
        dj_buffer_destroy(&x);
        dj_buffer_destroy(&y);
    }
}

/* x -> y -> x -> y in one recording, each step needing the one before. */
static void test_chain(void **state)
{
    (void)state;
    EACH_BENCH(b)
    {
        dj_buffer *x = counting(b), *y = harness_poisoned(b->context, 4 * COUNT);
        dj_recorder *recorder = create(b, 3, 4096);
        HARNESS_OK(dj_recorder_begin(recorder));
        dispatch(b, recorder, x, y, 2, 0, 0);
        dj_recorder_write_to_read(recorder);
        dispatch(b, recorder, y, x, 3, 1, 0);
        dj_recorder_barriers_after(recorder, DJ_BARRIER_AFTER_COMPUTE);
        dj_recorder_barriers_before(recorder, 0);
        dispatch(b, recorder, x, y, 1, 2, 0);
        dj_recorder_barriers_after(recorder, DJ_BARRIER_AFTER_COMPUTE | DJ_BARRIER_AFTER_HOST);
        finish(recorder);
        expect(y, 6, 15 + 6 + 7);
        dj_recorder_destroy(&recorder);
        dj_buffer_destroy(&x);
        dj_buffer_destroy(&y);
    }
}

static void test_in_flight(void **state)
{
    (void)state;
    enum {
        FLIGHT = 5
    };
    EACH_BENCH(b)
    {
        dj_buffer *x = counting(b), *y[FLIGHT];
        dj_recorder *recorders[FLIGHT];
        for (uint32_t i = 0; i < FLIGHT; i++) {
            y[i] = harness_poisoned(b->context, 4 * COUNT);
            recorders[i] = create(b, 1, 64);
            HARNESS_OK(dj_recorder_begin(recorders[i]));
            HARNESS_OK(dj_recorder_barrier(recorders[i], DJ_BARRIER_BEFORE));
            dispatch(b, recorders[i], x, y[i], i, 10 * i, 1000);
            HARNESS_OK(dj_recorder_barrier(recorders[i], DJ_BARRIER_AFTER_HOST));
        }
        for (uint32_t i = 0; i < FLIGHT; i++)
            HARNESS_OK(dj_recorder_submit(recorders[i]));
        for (uint32_t i = FLIGHT; i-- > 0;) {
            HARNESS_OK(dj_recorder_wait(recorders[i], UINT64_MAX));
            expect(y[i], i, 10 * i + 5);
            dj_recorder_destroy(&recorders[i]);
            dj_buffer_destroy(&y[i]);
        }
        dj_buffer_destroy(&x);
    }
}

static void test_states(void **state)
{
    (void)state;
    EACH_BENCH(b)
    {
        dj_recorder *r = create(b, 0, 0);
        HARNESS_OK(dj_recorder_wait(r, 0)); /* nothing was submitted */
        HARNESS_RESULT(dj_recorder_submit(r), DJ_ERROR_RECORDER_STATE);
        assert_non_null(strstr(last_line, "idle"));
        HARNESS_RESULT(dj_recorder_barrier(r, DJ_BARRIER_BEFORE), DJ_ERROR_RECORDER_STATE);
        HARNESS_RESULT(dj_recorder_reserve(r, 0, 0), DJ_ERROR_RECORDER_STATE);

        HARNESS_OK(dj_recorder_begin(r));
        HARNESS_OK(dj_recorder_begin(r)); /* drops the first */
        HARNESS_OK(dj_recorder_reserve(r, 0, 0));
        HARNESS_OK(dj_recorder_barrier(r, 0));
        HARNESS_RESULT(dj_recorder_barrier(r, 8), DJ_ERROR_INVALID_ARGUMENT);
        HARNESS_OK(dj_recorder_wait(r, UINT64_MAX));
        HARNESS_OK(dj_recorder_submit(r));

        HARNESS_RESULT(dj_recorder_begin(r), DJ_ERROR_RECORDER_STATE);
        assert_non_null(strstr(last_line, "waited for"));
        HARNESS_RESULT(dj_recorder_submit(r), DJ_ERROR_RECORDER_STATE);
        HARNESS_RESULT(dj_recorder_barrier(r, 1), DJ_ERROR_RECORDER_STATE);
        HARNESS_OK(dj_recorder_wait(r, UINT64_MAX));
        HARNESS_OK(dj_recorder_wait(r, 0)); /* waiting twice is fine */
        HARNESS_OK(dj_recorder_begin(r));
        dj_recorder_destroy(&r); /* while recording */
    }
}

static void test_timeout(void **state)
{
    (void)state;
    EACH_BENCH(b)
    {
        dj_buffer *x = counting(b), *y = harness_poisoned(b->context, 4 * COUNT);
        dj_recorder *r = create(b, 0, 0);
        /* doubles the work until it is too long for no time at all */
        dj_result result = DJ_SUCCESS;
        for (uint32_t spins = 1 << 16; result == DJ_SUCCESS && spins < 1u << 30; spins *= 2) {
            HARNESS_OK(dj_recorder_begin(r));
            HARNESS_OK(dj_recorder_barrier(r, DJ_BARRIER_BEFORE));
            dispatch(b, r, x, y, 1, 0, spins);
            HARNESS_OK(dj_recorder_submit(r));
            result = dj_recorder_wait(r, 0);
        }
        assert_int_equal(result, DJ_ERROR_TIMEOUT);
        HARNESS_RESULT(dj_recorder_begin(r), DJ_ERROR_RECORDER_STATE);
        HARNESS_OK(dj_recorder_wait(r, UINT64_MAX));
        HARNESS_OK(dj_recorder_begin(r));
        dispatch(b, r, x, y, 1, 0, 1 << 16);
        HARNESS_OK(dj_recorder_submit(r));
        dj_recorder_destroy(&r); /* while pending: waits */
        dj_buffer_destroy(&x);
        dj_buffer_destroy(&y);
    }
}

static void test_full(void **state)
{
    (void)state;
    EACH_BENCH(b)
    {
        dj_buffer *x = counting(b), *y = harness_poisoned(b->context, 4 * COUNT);
        dj_recorder *r = create(b, 2, dj_recorder_ring_size(b->context, 1) * 2);
        const uint64_t unit = dj_recorder_ring_size(b->context, 1);
        assert_true(dj_recorder_ring_size(b->context, 0) == 0);
        assert_true(dj_recorder_ring_size(b->context, unit) == unit);
        assert_true(dj_recorder_ring_size(b->context, unit + 1) == 2 * unit);
        for (int turn = 0; turn < 2; turn++) { /* begin makes room again */
            HARNESS_OK(dj_recorder_begin(r));
            HARNESS_RESULT(dj_recorder_reserve(r, 3, 0), DJ_ERROR_RECORDER_FULL);
            HARNESS_RESULT(dj_recorder_reserve(r, UINT32_MAX, 0), DJ_ERROR_RECORDER_FULL);
            HARNESS_RESULT(dj_recorder_reserve(r, 0, 2 * unit + 1), DJ_ERROR_RECORDER_FULL);
            HARNESS_RESULT(dj_recorder_reserve(r, 0, UINT64_MAX), DJ_ERROR_RECORDER_FULL);
            HARNESS_OK(dj_recorder_reserve(r, 2, 2 * unit));
            memset(dj_recorder_work(r, 2 * unit), 0xff, 2 * unit);
            dispatch(b, r, x, y, 1, 0, 0);
            HARNESS_RESULT(dj_recorder_reserve(r, 2, 0), DJ_ERROR_RECORDER_FULL);
            assert_non_null(strstr(last_line, "1 of 2"));
            HARNESS_RESULT(dj_recorder_reserve(r, 1, unit + 1), DJ_ERROR_RECORDER_FULL);
            dj_recorder_write_to_read(r);
            dispatch(b, r, x, y, 1, 3, 0);
            HARNESS_RESULT(dj_recorder_reserve(r, 1, 0), DJ_ERROR_RECORDER_FULL);
            HARNESS_RESULT(dj_recorder_reserve(r, 0, 1), DJ_ERROR_RECORDER_FULL);
            dj_recorder_barriers_after(r, DJ_BARRIER_AFTER_HOST);
            finish(r);
            expect(y, 1, 8);
        }
        dj_recorder_destroy(&r);
        dj_buffer_destroy(&x);
        dj_buffer_destroy(&y);
    }
}

static void test_params(void **state)
{
    (void)state;
    EACH_BENCH(b)
    {
        dj_recorder *r = (dj_recorder *)b;
        struct dj_recorder_params params = {0};
        HARNESS_RESULT(dj_recorder_create(NULL, &params, &r), DJ_ERROR_INVALID_ARGUMENT);
        assert_null(r);
        HARNESS_OK(dj_recorder_create(b->context, NULL, &r)); /* the defaults: 256, 64 KiB */
        HARNESS_OK(dj_recorder_begin(r));
        HARNESS_OK(dj_recorder_reserve(r, 256, 65536));
        HARNESS_RESULT(dj_recorder_reserve(r, 257, 0), DJ_ERROR_RECORDER_FULL);
        HARNESS_RESULT(dj_recorder_reserve(r, 0, 65537), DJ_ERROR_RECORDER_FULL);
        dj_recorder_destroy(&r);
        HARNESS_RESULT(dj_recorder_create(b->context, &params, NULL), DJ_ERROR_INVALID_ARGUMENT);
        params.timings = 3;
        HARNESS_RESULT(dj_recorder_create(b->context, &params, &r), DJ_ERROR_INVALID_ARGUMENT);
        assert_non_null(strstr(last_line, "timings"));
        for (int i = 0; i < 4; i++) {
            params = (struct dj_recorder_params){0};
            params.reserved[i] = 1;
            HARNESS_RESULT(dj_recorder_create(b->context, &params, &r), DJ_ERROR_VERSION);
        }
        params = (struct dj_recorder_params){.dispatches = UINT32_MAX};
        HARNESS_RESULT(dj_recorder_create(b->context, &params, &r), DJ_ERROR_INVALID_ARGUMENT);
        params = (struct dj_recorder_params){.ring_size = UINT64_MAX};
        HARNESS_RESULT(dj_recorder_create(b->context, &params, &r), DJ_ERROR_LIMIT);
        assert_non_null(strstr(last_line, "18446744073709551615"));
        assert_null(r);
    }
    HARNESS_RESULT(dj_recorder_begin(NULL), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_recorder_barrier(NULL, 0), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_recorder_submit(NULL), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_recorder_wait(NULL, 0), DJ_ERROR_INVALID_ARGUMENT);
    dj_recorder *none = NULL;
    dj_recorder_destroy(&none);
    dj_recorder_destroy(NULL);
}

/* Times of dispatches: one each, in their order, and together no longer than the host waited. */
static void test_timings(void **state)
{
    (void)state;
    EACH_BENCH(b)
    {
        dj_buffer *x = counting(b), *y = harness_poisoned(b->context, 4 * COUNT);
        struct dj_recorder_params params = {.dispatches = 3, .timings = DJ_ON};
        struct dj_timing timings[3];
        uint32_t count = 3;
        dj_recorder *r = NULL, *plain = create(b, 3, 0);
        const dj_result result = dj_recorder_create(b->context, &params, &r);
        if (result == DJ_ERROR_UNSUPPORTED) {
            assert_non_null(strstr(last_line, "no timestamps"));
            print_message("# the device has no timestamps\n");
        } else {
            HARNESS_OK(result);
            HARNESS_OK(dj_recorder_timings(r, timings, &count)); /* nothing was recorded */
            assert_int_equal(count, 0);
            for (uint32_t turn = 2; turn < 4; turn++) { /* what the first left is forgotten */
                const double start = now();
                HARNESS_OK(dj_recorder_begin(r));
                for (uint32_t i = 0; i < turn; i++) {
                    dispatch(b, r, x, y, 1, 0, i == 1 ? 1 << 16 : 0);
                    dj_recorder_write_to_read(r);
                }
                HARNESS_RESULT(dj_recorder_timings(r, NULL, &count), DJ_ERROR_RECORDER_STATE);
                HARNESS_OK(dj_recorder_submit(r));
                HARNESS_RESULT(dj_recorder_timings(r, NULL, &count), DJ_ERROR_RECORDER_STATE);
                HARNESS_OK(dj_recorder_wait(r, UINT64_MAX));
                const double waited = now() - start;
                HARNESS_OK(dj_recorder_timings(r, NULL, &count));
                assert_int_equal(count, turn);
                HARNESS_OK(dj_recorder_timings(r, timings, &count));
                double sum = 0;
                for (uint32_t i = 0; i < turn; i++) {
                    assert_string_equal(timings[i].kernel, "test_recorder");
                    assert_true(timings[i].nanoseconds >= 0);
                    sum += timings[i].nanoseconds;
                }
                assert_true(timings[1].nanoseconds > 0);
                assert_true(sum <= waited * 1.01); /* the two clocks differ by less */
            }
            HARNESS_RESULT(dj_recorder_timings(r, timings, NULL), DJ_ERROR_INVALID_ARGUMENT);
            dj_recorder_destroy(&r);
        }
        HARNESS_RESULT(dj_recorder_timings(plain, timings, &count), DJ_ERROR_UNSUPPORTED);
        HARNESS_RESULT(dj_recorder_timings(NULL, timings, &count), DJ_ERROR_INVALID_ARGUMENT);
        dj_recorder_destroy(&plain);
        dj_buffer_destroy(&x);
        dj_buffer_destroy(&y);
    }
}

/* A kernel's writes to memory that is not mapped, read through the queue without a host barrier. */
static void test_read_after_dispatch(void **state)
{
    (void)state;
    EACH_BENCH(b)
    {
        dj_buffer *x = counting(b), *y = harness_poisoned(b->context, 4 * COUNT);
        y->mapped = NULL;
        dj_recorder *r = create(b, 1, 0);
        HARNESS_OK(dj_recorder_begin(r));
        dispatch(b, r, x, y, 9, 0, 0);
        finish(r);
        expect(y, 9, 5);
        dj_recorder_destroy(&r);
        dj_buffer_destroy(&x);
        dj_buffer_destroy(&y);
    }
}

static void test_table(void **state)
{
    (void)state;
    EACH_BENCH(b)
    {
        uint32_t numbers[COUNT];
        for (uint32_t i = 0; i < COUNT; i++)
            numbers[i] = i;
        dj_buffer *table, *empty, *y = harness_poisoned(b->context, 4 * COUNT);
        HARNESS_OK(dj_buffer_create_table(b->context, numbers, sizeof(numbers), "table", &table));
        HARNESS_OK(dj_buffer_create_table(b->context, NULL, 0, "empty", &empty));
        dj_recorder *r = create(b, 1, 0);
        HARNESS_OK(dj_recorder_begin(r));
        dispatch(b, r, table, y, 1, 0, 0);
        dj_recorder_barriers_after(r, DJ_BARRIER_AFTER_HOST);
        finish(r);
        expect(y, 1, 5);
        dj_recorder_destroy(&r);
        dj_buffer_destroy(&table);
        dj_buffer_destroy(&empty);
        dj_buffer_destroy(&y);
    }
}

#define RECORDER_TEST(f) cmocka_unit_test_setup_teardown(f, NULL, check_validation)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RECORDER_TEST(test_dispatch),  RECORDER_TEST(test_chain),
        RECORDER_TEST(test_in_flight), RECORDER_TEST(test_states),
        RECORDER_TEST(test_timeout),   RECORDER_TEST(test_full),
        RECORDER_TEST(test_params),    RECORDER_TEST(test_read_after_dispatch),
        RECORDER_TEST(test_table),     RECORDER_TEST(test_timings),
    };
    harness_prepare();
    return cmocka_run_group_tests(tests, setup, teardown);
}
