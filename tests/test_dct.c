/* SPDX-License-Identifier: MIT */
#include "harness.h"
#include "twin.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BOUND 1e-6 /* relative rms error, what dct.h promises */
#define EACH_DEVICE(i) for (uint32_t i = 0; i < harness_device_count(); i++)
#define EACH_TYPE(type) for (uint32_t type = DJ_DCT_2; type <= DJ_DCT_4; type++)
#define EACH_PATH(path) \
    for (uint32_t path = DJ_DCT_PATH_GENERATED; path <= DJ_DCT_PATH_DENSE; path++)

/* A plan, or NULL if this build or device has no such path for the length. */
static dj_dct *try_create(dj_context *context, uint32_t type, uint32_t length, uint32_t path)
{
    const struct dj_dct_params params = {.type = type, .length = length, .path = path};
    dj_dct *plan = NULL;
    const dj_result result = dj_dct_create(context, &params, &plan);
    if (result == DJ_ERROR_UNSUPPORTED && path == DJ_DCT_PATH_GENERATED)
        return NULL;
    harness_assert_result(result, DJ_SUCCESS, "dj_dct_create", __FILE__, __LINE__);
    return plan;
}

static dj_dct *create(dj_context *context, uint32_t type, uint32_t length, uint32_t path)
{
    dj_dct *const plan = try_create(context, type, length, path);
    assert_non_null(plan);
    return plan;
}

static struct dj_tensor tensor(dj_buffer *buffer, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    struct dj_tensor made;
    const uint64_t shape[4] = {a, b, c, d};
    dj_tensor_init(&made, buffer, 0, DJ_FLOAT32, shape);
    return made;
}

/* The twin's transform of contiguous rows. */
static void want_rows(uint32_t type, uint32_t length, size_t rows, const float *x, double *y)
{
    double *const row = malloc(length * sizeof(double));
    for (size_t r = 0; r < rows; r++) {
        for (uint32_t i = 0; i < length; i++)
            row[i] = x[r * length + i];
        twin_dct((int)type, length, row, y + r * length);
    }
    free(row);
}

/* Transforms rows of normal numbers into a poisoned output with guard rows on both sides; returns
 * the worst error of a row. */
static double trial(dj_context *context, const dj_dct *plan, uint32_t type, uint32_t length,
                    size_t rows)
{
    const size_t count = rows * length, guard = 3 * length;
    float *const x = malloc((count + 1) * sizeof(float));
    float *const got = malloc((count + 1) * sizeof(float));
    double *const want = malloc((count + 1) * sizeof(double));
    harness_fill_normal(x, count, 1.0);
    want_rows(type, length, rows, x, want);
    dj_buffer *input = harness_buffer(context, x, count * sizeof(float));
    dj_buffer *output = harness_poisoned(context, (count + 2 * guard) * sizeof(float));
    struct dj_dct_args args = {.input = tensor(input, 1, 1, rows, length),
                               .output = tensor(output, 1, 1, rows, length)};
    args.output.offset = guard * sizeof(float);
    HARNESS_OK(dj_dct_run(plan, &args));
    harness_read(output, guard * sizeof(float), got, count * sizeof(float));
    harness_assert_poisoned(output, 0, guard * sizeof(float));
    harness_assert_poisoned(output, (guard + count) * sizeof(float), guard * sizeof(float));
    double worst = 0;
    for (size_t r = 0; r < rows; r++) {
        const double error = harness_error(got + r * length, want + r * length, length);
        worst = error > worst ? error : worst;
    }
    dj_buffer_destroy(&output);
    dj_buffer_destroy(&input);
    free(want);
    free(got);
    free(x);
    return worst;
}

static void check_length(dj_context *context, uint32_t type, uint32_t length, uint32_t path,
                         size_t rows)
{
    dj_dct *plan = try_create(context, type, length, path);
    if (plan == NULL)
        return;
    char what[64];
    snprintf(what, sizeof what, "DCT-%u of length %u, path %u, %zu rows", type, length, path, rows);
    harness_assert_within(trial(context, plan, type, length, rows), BOUND, what);
    dj_dct_destroy(&plan);
}

static void test_dense_every_length(void **state)
{
    (void)state;
    EACH_DEVICE(i)
    for (uint32_t length = 4; length <= 512; length++) {
        EACH_TYPE(type)
        check_length(harness_context(i), type, length, DJ_DCT_PATH_DENSE, 3);
    }
}

/* Whether length has no prime factor above 13: what VkFFT's own radices do. */
static bool is_smooth(uint32_t length)
{
    for (uint32_t p = 2; p <= 13; p++) {
        while (length % p == 0)
            length /= p;
    }
    return length == 1;
}

/* A kernel takes a second or two to generate and compile on a CPU device, so only a few are tried:
 * each radix, the longest, and random ones. DIJIANG_TEST_EVERY=4-512 adds every type of those
 * lengths. */
static void test_generated_lengths(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {4, 9, 25, 49, 77, 143, 256, 1001, 4096};
    uint32_t from = 1, to = 0;
    const char *const every = getenv("DIJIANG_TEST_EVERY");
    if (every != NULL)
        assert_int_equal(sscanf(every, "%u-%u", &from, &to), 2);
    EACH_DEVICE(i)
    {
        dj_context *const context = harness_context(i);
        for (uint32_t length = from; length <= to; length++) {
            for (uint32_t type = DJ_DCT_2; type <= DJ_DCT_4 && is_smooth(length); type++)
                check_length(context, type, length, DJ_DCT_PATH_GENERATED, length <= 512 ? 35 : 2);
        }
        for (uint32_t n = 0; n < sizeof lengths / sizeof *lengths; n++)
            check_length(context, 2 + n % 3, lengths[n], DJ_DCT_PATH_GENERATED,
                         lengths[n] <= 512 ? 35 : 2);
        for (int n = 0; n < 4;) {
            const uint32_t length = 4 + (uint32_t)(harness_random() % 509);
            if (!is_smooth(length))
                continue;
            check_length(context, 2 + (uint32_t)(harness_random() % 3), length,
                         DJ_DCT_PATH_GENERATED, 35);
            n++;
        }
    }
}

static void test_head_dimensions(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {64, 80, 128};
    EACH_DEVICE(i)
    for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++) {
        EACH_TYPE(type)
        EACH_PATH(path)
        check_length(harness_context(i), type, lengths[n], path, 100);
    }
}

/* Lengths with a prime factor above 13: VkFFT would take Rader's or Bluestein's algorithm, which
 * can give zeros without an error. Forced they are refused, by default dense does them. */
static void test_lengths_without_kernel(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {17,  47,  59,  83,   94,   103, 257,
                                       509, 514, 521, 1031, 2053, 4093};
    EACH_DEVICE(i)
    for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++) {
        struct dj_device_info info;
        HARNESS_OK(dj_context_device(harness_context(i), &info));
        if (UINT64_C(4) * lengths[n] * lengths[n] > info.max_storage_range) {
            print_message(
                "# a matrix of %u rows is too large to bind where Vulkan's least is cut\n",
                lengths[n]);
            continue;
        }
        EACH_TYPE(type)
        {
            struct dj_dct_params params = {
                .type = type, .length = lengths[n], .path = DJ_DCT_PATH_GENERATED};
            dj_dct *plan = NULL;
            HARNESS_RESULT(dj_dct_create(harness_context(i), &params, &plan), DJ_ERROR_UNSUPPORTED);
            assert_null(plan);
            check_length(harness_context(i), type, lengths[n], DJ_DCT_PATH_DEFAULT, 2);
        }
    }
}

/* Around whole groups of rows of either kind of kernel. */
static void test_row_counts(void **state)
{
    (void)state;
    static const size_t rows[] = {0,  1,  2,  7,  8,  9,  15,  16,  17,
                                  31, 32, 33, 63, 64, 65, 127, 129, 1000};
    EACH_DEVICE(i)
    EACH_PATH(path)
    for (uint32_t length = 63; length <= 64; length++) {
        dj_dct *plan = try_create(harness_context(i), DJ_DCT_4, length, path);
        for (size_t n = 0; plan != NULL && n < sizeof rows / sizeof *rows; n++)
            harness_assert_within(trial(harness_context(i), plan, DJ_DCT_4, length, rows[n]), BOUND,
                                  "row count");
        dj_dct_destroy(&plan);
    }
}

/* A view of 3 x 4 x 5 rows of 32 with gaps, stored in another order; input with a repeated
 * dimension. */
static void test_strides(void **state)
{
    (void)state;
    enum {
        A = 3,
        B = 4,
        C = 5,
        D = 32,
        GAP = 7,
        FLOATS = A * C * B * (D + GAP)
    };
    float x[FLOATS], got[FLOATS];
    double row[D], want[D];
    harness_fill_normal(x, FLOATS, 1.0);
    EACH_DEVICE(i)
    EACH_PATH(path)
    for (int repeat = 0; repeat < 2; repeat++) {
        dj_dct *plan = try_create(harness_context(i), DJ_DCT_3, D, path);
        if (plan == NULL)
            continue;
        dj_buffer *input = harness_buffer(harness_context(i), x, sizeof x);
        dj_buffer *output = harness_poisoned(harness_context(i), sizeof x);
        struct dj_dct_args args = {.input = tensor(input, A, B, C, D),
                                   .output = tensor(output, A, B, C, D)};
        const uint64_t wide = D + GAP;
        const uint64_t stored_acb[4] = {C * B * wide, wide, B * wide, 1};
        const uint64_t stored_bca[4] = {wide, C * A * wide, A * wide, 1};
        memcpy(args.input.stride, stored_acb, sizeof stored_acb);
        memcpy(args.output.stride, stored_bca, sizeof stored_bca);
        if (repeat)
            args.input.stride[1] = 0;
        HARNESS_OK(dj_dct_run(plan, &args));
        harness_read(output, 0, got, sizeof got);
        for (uint64_t a = 0; a < A; a++)
            for (uint64_t b = 0; b < B; b++)
                for (uint64_t c = 0; c < C; c++) {
                    const uint64_t *const s = args.input.stride, *const t = args.output.stride;
                    const uint64_t from = a * s[0] + b * s[1] + c * s[2];
                    const uint64_t to = a * t[0] + b * t[1] + c * t[2];
                    for (int n = 0; n < D; n++)
                        row[n] = x[from + n];
                    twin_dct(3, D, row, want);
                    harness_assert_within(harness_error(got + to, want, D), BOUND, "strided row");
                    harness_assert_poisoned(output, (to + D) * 4, GAP * 4);
                }
        dj_buffer_destroy(&output);
        dj_buffer_destroy(&input);
        dj_dct_destroy(&plan);
    }
}

/* In place, with scratch memory for three groups of rows: many boxes in one buffer. */
static void test_in_place_in_boxes(void **state)
{
    (void)state;
    enum {
        ROWS = 777,
        D = 48
    };
    static float x[ROWS * D], got[ROWS * D];
    static double want[ROWS * D];
    harness_fill_normal(x, ROWS * D, 1.0);
    want_rows(DJ_DCT_2, D, ROWS, x, want);
    EACH_DEVICE(i)
    EACH_PATH(path)
    {
        dj_context *const context = harness_context(i);
        dj_dct *plan = try_create(context, DJ_DCT_2, D, path);
        if (plan == NULL)
            continue;
        dj_buffer *buffer = harness_buffer(context, x, sizeof x);
        struct dj_dct_args args = {.input = tensor(buffer, 7, 37, 3, D)};
        args.output = args.input;
        struct dj_dct_args one = {.input = tensor(buffer, 1, 1, 1, D)};
        one.output = one.input;
        struct dj_needs least, whole, needs;
        HARNESS_OK(dj_dct_needs(plan, &one, &least));
        HARNESS_OK(dj_dct_needs(plan, &args, &whole));
        assert_true(whole.scratch_size >= (uint64_t)ROWS * D * 4);
        struct dj_dct_args nowhere = args; /* before there is any buffer */
        nowhere.input.buffer = nowhere.output.buffer = NULL;
        HARNESS_OK(dj_dct_needs(plan, &nowhere, &needs));
        assert_memory_equal(&needs, &whole, sizeof needs);
        HARNESS_RESULT(dj_dct_run(plan, &nowhere), DJ_ERROR_INVALID_ARGUMENT);
        dj_buffer *scratch = harness_poisoned(context, whole.scratch_size);
        args.scratch = (struct dj_scratch){.buffer = scratch, .size = 3 * least.scratch_size};
        HARNESS_OK(dj_dct_needs(plan, &args, &needs));
        assert_true(needs.scratch_size <= args.scratch.size);
        assert_true(needs.dispatches > whole.dispatches);
        HARNESS_OK(dj_dct_run(plan, &args));
        harness_read(buffer, 0, got, sizeof got);
        harness_assert_within(harness_error(got, want, ROWS * D), BOUND, "in place, in boxes");
        harness_assert_poisoned(scratch, needs.scratch_size,
                                whole.scratch_size - needs.scratch_size);
        dj_buffer_destroy(&scratch);
        dj_buffer_destroy(&buffer);
        dj_dct_destroy(&plan);
    }
}

/* Products with long rows are cut, so that no submission takes a slow GPU seconds; short ones are
 * not. */
static void test_parts(void **state)
{
    (void)state;
    static const struct {
        uint32_t length;
        uint64_t rows, most_rows; /* of a box */
        bool one_part;
    } cases[] = {{4093, 8192, 512, false}, {1021, 20000, 8240, false}, {64, 200000, 200000, true}};
    EACH_DEVICE(i)
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        dj_dct *plan = try_create(harness_context(i), DJ_DCT_2, cases[n].length, DJ_DCT_PATH_DENSE);
        assert_non_null(plan);
        struct dj_dct_args args = {.input = tensor(NULL, 1, 1, cases[n].rows, cases[n].length)};
        args.output = args.input;
        struct dj_needs needs;
        HARNESS_OK(dj_dct_needs(plan, &args, &needs));
        assert_true(needs.scratch_size <= cases[n].most_rows * cases[n].length * 4);
        if (cases[n].one_part)
            assert_int_equal(needs.parts, 1);
        else
            assert_true(needs.parts > 1 && needs.parts >= cases[n].rows / (2 * cases[n].most_rows));
        dj_dct_destroy(&plan);
    }
}

/* III undoes II, IV undoes itself; the norm is kept. */
static void test_inverse(void **state)
{
    (void)state;
    enum {
        ROWS = 50,
        D = 96
    };
    static float x[ROWS * D], y[ROWS * D], back[ROWS * D];
    static double want[ROWS * D];
    harness_fill_normal(x, ROWS * D, 1.0);
    for (int n = 0; n < ROWS * D; n++)
        want[n] = x[n];
    EACH_DEVICE(i)
    for (uint32_t type = DJ_DCT_2; type <= DJ_DCT_4; type += 2) {
        dj_context *const context = harness_context(i);
        dj_dct *there = create(context, type, D, DJ_DCT_PATH_DEFAULT);
        dj_dct *again =
            create(context, type == DJ_DCT_2 ? DJ_DCT_3 : DJ_DCT_4, D, DJ_DCT_PATH_DEFAULT);
        dj_buffer *buffer = harness_buffer(context, x, sizeof x);
        struct dj_dct_args args = {.input = tensor(buffer, 1, ROWS, 1, D)};
        args.output = args.input;
        HARNESS_OK(dj_dct_run(there, &args));
        harness_read(buffer, 0, y, sizeof y);
        HARNESS_OK(dj_dct_run(again, &args));
        harness_read(buffer, 0, back, sizeof back);
        harness_assert_within(harness_error(back, want, ROWS * D), 2 * BOUND, "inverse");
        double before = 0, after = 0;
        for (int n = 0; n < ROWS * D; n++) {
            before += want[n] * want[n];
            after += (double)y[n] * y[n];
        }
        harness_assert_within(fabs(sqrt(after / before) - 1), BOUND, "norm");
        dj_buffer_destroy(&buffer);
        dj_dct_destroy(&again);
        dj_dct_destroy(&there);
    }
}

/* Neighbours do not meet: each row keeps its own precision next to rows 1e12 times larger, and a
 * NaN or Inf stays in its row. */
static void test_rows_are_apart(void **state)
{
    (void)state;
    enum {
        ROWS = 64,
        D = 64
    };
    static float x[ROWS * D], got[ROWS * D];
    static double want[ROWS * D];
    harness_fill_normal(x, ROWS * D, 1.0);
    for (int n = 0; n < ROWS * D; n++)
        x[n] *= (float)pow(10, 12 * (n / D % 2) - 6);
    x[5 * D + 3] = NAN;
    x[20 * D + 63] = INFINITY;
    EACH_DEVICE(i)
    EACH_TYPE(type)
    EACH_PATH(path)
    {
        dj_context *const context = harness_context(i);
        dj_dct *plan = try_create(context, type, D, path);
        if (plan == NULL)
            continue;
        want_rows(type, D, ROWS, x, want);
        dj_buffer *buffer = harness_buffer(context, x, sizeof x);
        struct dj_dct_args args = {.input = tensor(buffer, ROWS, 1, 1, D)};
        args.output = args.input;
        HARNESS_OK(dj_dct_run(plan, &args));
        harness_read(buffer, 0, got, sizeof got);
        for (int r = 0; r < ROWS; r++) {
            if (r == 5 || r == 20)
                assert_false(isfinite(harness_error(got + r * D, want + r * D, D)));
            else
                harness_assert_within(harness_error(got + r * D, want + r * D, D), BOUND, "row");
        }
        dj_buffer_destroy(&buffer);
        dj_dct_destroy(&plan);
    }
}

/* 160 MiB, beyond the 128 MiB that many devices bind; only some rows are compared. */
static void test_beyond_the_binding_range(void **state)
{
    (void)state;
    enum {
        D = 128
    };
    const uint64_t rows = 320 * 1024 + 1;
    EACH_DEVICE(i)
    EACH_PATH(path)
    {
        dj_context *const context = harness_context(i);
        dj_dct *plan = try_create(context, DJ_DCT_2, D, path);
        if (plan == NULL)
            continue;
        float *const x = malloc(rows * D * sizeof(float));
        for (uint64_t n = 0; n < rows * D; n++)
            x[n] = (float)(n * 2654435761u % 1000003) / 1000003.0f - 0.5f;
        dj_buffer *buffer = harness_buffer(context, x, rows * D * sizeof(float));
        struct dj_dct_args args = {.input = tensor(buffer, 1, rows, 1, D)};
        args.output = args.input;
        HARNESS_OK(dj_dct_run(plan, &args));
        for (int n = 0; n < 200; n++) {
            const uint64_t r = n == 0 ? 0 : n == 1 ? rows - 1 : harness_random() % rows;
            float got[D];
            double want[D];
            want_rows(DJ_DCT_2, D, 1, x + r * D, want);
            harness_read(buffer, r * D * sizeof(float), got, sizeof got);
            harness_assert_within(harness_error(got, want, D), BOUND, "row of a large tensor");
        }
        dj_buffer_destroy(&buffer);
        free(x);
        dj_dct_destroy(&plan);
    }
}

/* The transform of a sum is the sum of the transforms. */
static void test_linear(void **state)
{
    (void)state;
    enum {
        D = 100
    };
    float x[3 * D], got[3 * D];
    double sum[D];
    harness_fill_normal(x, 2 * D, 1.0);
    for (int n = 0; n < D; n++)
        x[2 * D + n] = 2 * x[n] - 3 * x[D + n];
    EACH_DEVICE(i)
    EACH_TYPE(type)
    {
        dj_dct *plan = create(harness_context(i), type, D, DJ_DCT_PATH_DEFAULT);
        dj_buffer *buffer = harness_buffer(harness_context(i), x, sizeof x);
        struct dj_dct_args args = {.input = tensor(buffer, 1, 1, 3, D)};
        args.output = args.input;
        HARNESS_OK(dj_dct_run(plan, &args));
        harness_read(buffer, 0, got, sizeof got);
        for (int n = 0; n < D; n++)
            sum[n] = 2.0 * got[n] - 3.0 * got[D + n];
        harness_assert_within(harness_error(got + 2 * D, sum, D), 4 * BOUND, "linearity");
        dj_buffer_destroy(&buffer);
        dj_dct_destroy(&plan);
    }
}

/* Eight recordings submitted before the first is waited for. */
static void test_recorders_in_flight(void **state)
{
    (void)state;
    enum {
        N = 8,
        ROWS = 200,
        D = 64
    };
    static float x[N][ROWS * D], got[ROWS * D];
    static double want[ROWS * D];
    EACH_DEVICE(i)
    {
        dj_context *const context = harness_context(i);
        dj_dct *plan = create(context, DJ_DCT_2, D, DJ_DCT_PATH_DEFAULT);
        dj_recorder *recorders[N] = {NULL};
        dj_buffer *buffers[N], *scratch[N];
        const struct dj_recorder_params params = {.dispatches = 8};
        for (int n = 0; n < N; n++) {
            harness_fill_normal(x[n], ROWS * D, 1.0);
            buffers[n] = harness_buffer(context, x[n], sizeof x[n]);
            struct dj_dct_args args = {.input = tensor(buffers[n], 1, ROWS, 1, D),
                                       .barriers = DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_HOST};
            args.output = args.input;
            struct dj_needs needs;
            HARNESS_OK(dj_dct_needs(plan, &args, &needs));
            scratch[n] = harness_poisoned(context, needs.scratch_size);
            args.scratch = (struct dj_scratch){.buffer = scratch[n], .size = needs.scratch_size};
            HARNESS_OK(dj_recorder_create(context, &params, &recorders[n]));
            HARNESS_OK(dj_recorder_begin(recorders[n]));
            HARNESS_OK(dj_dct_record(plan, recorders[n], &args));
            HARNESS_OK(dj_recorder_submit(recorders[n]));
        }
        for (int n = 0; n < N; n++) {
            HARNESS_OK(dj_recorder_wait(recorders[n], UINT64_MAX));
            want_rows(DJ_DCT_2, D, ROWS, x[n], want);
            harness_read(buffers[n], 0, got, sizeof got);
            harness_assert_within(harness_error(got, want, ROWS * D), BOUND, "in flight");
            dj_recorder_destroy(&recorders[n]);
            dj_buffer_destroy(&scratch[n]);
            dj_buffer_destroy(&buffers[n]);
        }
        dj_dct_destroy(&plan);
    }
}

struct thread {
    pthread_t id;
    dj_context *context;
    uint32_t first; /* length */
    int failures;
};

static void *create_and_run(void *user)
{
    struct thread *const thread = user;
    for (uint32_t n = 0; n < 3; n++) {
        const uint32_t length = 32 * (1 + (thread->first + n) % 3);
        const struct dj_dct_params params = {.type = 2 + n % 3, .length = length};
        const struct dj_buffer_params size = {.size = 8 * length * sizeof(float)};
        dj_dct *plan = NULL;
        dj_buffer *buffer = NULL;
        if (dj_dct_create(thread->context, &params, &plan) != DJ_SUCCESS ||
            dj_buffer_create(thread->context, &size, &buffer) != DJ_SUCCESS) {
            thread->failures++;
        } else {
            struct dj_dct_args args = {.input = tensor(buffer, 1, 1, 8, length)};
            args.output = args.input;
            thread->failures += dj_dct_run(plan, &args) != DJ_SUCCESS;
        }
        dj_buffer_destroy(&buffer);
        dj_dct_destroy(&plan);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    enum {
        N = 4
    };
    EACH_DEVICE(i)
    {
        struct thread threads[N];
        for (uint32_t n = 0; n < N; n++) {
            threads[n] = (struct thread){.context = harness_context(i), .first = n / 2};
            assert_int_equal(pthread_create(&threads[n].id, NULL, create_and_run, &threads[n]), 0);
        }
        for (uint32_t n = 0; n < N; n++) {
            pthread_join(threads[n].id, NULL);
            assert_int_equal(threads[n].failures, 0);
        }
    }
}

static void test_create_errors(void **state)
{
    (void)state;
    static const struct {
        struct dj_dct_params params;
        dj_result want;
    } cases[] = {
        {{.type = 1, .length = 64}, DJ_ERROR_INVALID_ARGUMENT},
        {{.type = 5, .length = 64}, DJ_ERROR_INVALID_ARGUMENT},
        {{.type = DJ_DCT_2, .length = 0}, DJ_ERROR_INVALID_ARGUMENT},
        {{.type = DJ_DCT_2, .length = 3}, DJ_ERROR_INVALID_ARGUMENT},
        {{.type = DJ_DCT_2, .length = 4097}, DJ_ERROR_INVALID_ARGUMENT},
        {{.type = DJ_DCT_2, .length = 64, .path = 3}, DJ_ERROR_INVALID_ARGUMENT},
        {{.type = DJ_DCT_2, .length = 521, .path = DJ_DCT_PATH_GENERATED}, DJ_ERROR_UNSUPPORTED},
        {{.type = DJ_DCT_2, .length = 4093, .path = DJ_DCT_PATH_GENERATED}, DJ_ERROR_UNSUPPORTED},
        {{.type = DJ_DCT_2, .length = 64, .padding = 1}, DJ_ERROR_VERSION},
        {{.type = DJ_DCT_2, .length = 64, .reserved = {0, 0, 0, 1}}, DJ_ERROR_VERSION},
    };
    dj_dct *plan = NULL;
    const struct dj_dct_params good = {.type = DJ_DCT_2, .length = 64};
    HARNESS_RESULT(dj_dct_create(NULL, &good, &plan), DJ_ERROR_INVALID_ARGUMENT);
    EACH_DEVICE(i)
    {
        dj_context *const context = harness_context(i);
        HARNESS_RESULT(dj_dct_create(context, NULL, &plan), DJ_ERROR_INVALID_ARGUMENT);
        HARNESS_RESULT(dj_dct_create(context, &good, NULL), DJ_ERROR_INVALID_ARGUMENT);
        for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
            plan = (dj_dct *)context; /* any pointer: it must be set to NULL */
            harness_log_clear();
            HARNESS_RESULT(dj_dct_create(context, &cases[n].params, &plan), cases[n].want);
            assert_null(plan);
            assert_true(strlen(harness_log_last()) > 0);
        }
    }
    dj_dct_destroy(NULL);
    plan = NULL;
    dj_dct_destroy(&plan);
}

/* One wrong thing at a time, in a call that is right without it. */
static void break_args(int n, struct dj_dct_args *args, dj_buffer *other)
{
    switch (n) {
    case 0:
        args->input.shape[3] = 63;
        args->output.shape[3] = 63;
        break;
    case 1:
        args->output.shape[2] = 9;
        break;
    case 2:
        args->input.type = 7;
        break;
    case 3:
        args->input.offset = 2;
        break;
    case 4:
        args->input.buffer = NULL;
        break;
    case 5:
        args->output.stride[2] = 32;
        break;
    case 6:
        args->output = args->input;
        args->output.offset += 64 * 4;
        break;
    case 7:
        args->input.shape[0] = args->output.shape[0] = 1000;
        break;
    case 8:
        args->barriers = 8;
        break;
    case 9:
        args->scratch.buffer = other;
        args->scratch.offset = 0;
        break; /* the input's */
    case 10:
        args->reserved[2] = 1;
        break;
    case 11:
        args->padding = 1;
        break;
    case 12:
        args->scratch.buffer = NULL;
        break;
    case 13:
        args->scratch.size = 4;
        break;
    case 14:
        args->scratch.size = 0;
        break;
    case 15:
        args->scratch.offset = 4;
        break;
    case 16:
        args->scratch.size = UINT64_MAX;
        break;
    default:
        fail();
        break;
    }
}

static void test_record_errors(void **state)
{
    (void)state;
    EACH_DEVICE(i)
    {
        dj_context *const context = harness_context(i);
        dj_dct *plan = create(context, DJ_DCT_2, 64, DJ_DCT_PATH_DEFAULT);
        dj_buffer *input = harness_poisoned(context, 1 << 20);
        dj_buffer *output = harness_poisoned(context, 16 * 64 * 4);
        dj_buffer *scratch = harness_poisoned(context, 1 << 16);
        struct dj_dct_args good = {.input = tensor(input, 1, 1, 8, 64),
                                   .output = tensor(output, 1, 1, 8, 64),
                                   .scratch = {.buffer = scratch, .size = 1 << 16}};
        dj_recorder *recorder = NULL;
        const struct dj_recorder_params params = {.dispatches = 1};
        HARNESS_OK(dj_recorder_create(context, &params, &recorder));
        HARNESS_RESULT(dj_dct_record(plan, recorder, &good), DJ_ERROR_RECORDER_STATE);
        HARNESS_OK(dj_recorder_begin(recorder));
        HARNESS_RESULT(dj_dct_record(plan, recorder, &good), DJ_ERROR_RECORDER_FULL);
        HARNESS_RESULT(dj_dct_record(NULL, recorder, &good), DJ_ERROR_INVALID_ARGUMENT);
        HARNESS_RESULT(dj_dct_record(plan, NULL, &good), DJ_ERROR_INVALID_ARGUMENT);
        HARNESS_RESULT(dj_dct_record(plan, recorder, NULL), DJ_ERROR_INVALID_ARGUMENT);
        HARNESS_RESULT(dj_dct_run(plan, NULL), DJ_ERROR_INVALID_ARGUMENT);
        struct dj_needs needs;
        HARNESS_RESULT(dj_dct_needs(plan, NULL, &needs), DJ_ERROR_INVALID_ARGUMENT);
        HARNESS_RESULT(dj_dct_needs(plan, &good, NULL), DJ_ERROR_INVALID_ARGUMENT);
        for (int n = 0; n <= 16; n++) {
            struct dj_dct_args bad = good;
            break_args(n, &bad, input);
            harness_log_clear();
            const dj_result want = n <= 9    ? DJ_ERROR_INVALID_ARGUMENT
                                   : n <= 11 ? DJ_ERROR_VERSION
                                             : DJ_ERROR_SCRATCH;
            HARNESS_RESULT(dj_dct_record(plan, recorder, &bad), want);
            assert_true(strlen(harness_log_last()) > 0);
            if (n == 6 || n == 9)
                assert_non_null(strstr(harness_log_last(), "bytes "));
        }
        /* nothing of all that was recorded */
        HARNESS_OK(dj_recorder_submit(recorder));
        HARNESS_OK(dj_recorder_wait(recorder, UINT64_MAX));
        harness_assert_poisoned(output, 0, 16 * 64 * 4);
        dj_recorder_destroy(&recorder);
        dj_buffer_destroy(&scratch);
        dj_buffer_destroy(&output);
        dj_buffer_destroy(&input);
        dj_dct_destroy(&plan);
    }
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(test_dense_every_length),
    HARNESS_TEST(test_generated_lengths),
    HARNESS_TEST(test_head_dimensions),
    HARNESS_TEST(test_lengths_without_kernel),
    HARNESS_TEST(test_row_counts),
    HARNESS_TEST(test_parts),
    HARNESS_TEST(test_strides),
    HARNESS_TEST(test_in_place_in_boxes),
    HARNESS_TEST(test_inverse),
    HARNESS_TEST(test_linear),
    HARNESS_TEST(test_rows_are_apart),
    HARNESS_TEST(test_beyond_the_binding_range),
    HARNESS_TEST(test_recorders_in_flight),
    HARNESS_TEST(test_threads),
    HARNESS_TEST(test_create_errors),
    HARNESS_TEST(test_record_errors),
};

HARNESS_MAIN(tests)
