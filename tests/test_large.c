/* SPDX-License-Identifier: MIT */
/* Tensors whose elements lie beyond what a binding, 31 bits and 32 bits reach: few rows, far apart,
 * so that they take address space and little memory. */
#include "half.h"
#include "problem.h"

#include <stdlib.h>
#include <string.h>

enum {
    GUARD = 32 /* elements on both sides of each row of o, poisoned */
};

/* The dimension whose stride is large; or none, and the offset is. */
enum far {
    FAR_ROWS,
    FAR_TOKENS,
    FAR_HEADS,
    FAR_OFFSET,
    FAR_COUNT,
};

static const struct problem_params kinds[] = {
    {SHAPE(2, 0, 4, 16, 8), .map = DJ_MAP_WDCF, .normalise = true, .key_heads = 2, .features = 24,
     .q_type = DJ_FLOAT16, .k_type = DJ_FLOAT16, .v_type = DJ_FLOAT16, .o_type = DJ_FLOAT16},
    {SHAPE(2, 0, 4, 16, 8), .map = DJ_MAP_ELU, .normalise = true, .key_heads = 2},
    {SHAPE(2, 0, 4, 16, 8), .map = DJ_MAP_SOFTMAX, .key_heads = 2, .k_type = DJ_BFLOAT16,
     .v_type = DJ_BFLOAT16},
};

/* Lays a tensor over a buffer, up to its last bytes and, where a stride is large, from its first
 * ones on. place: 0 to 2, so that three tensors of one call share a buffer, whatever their types;
 * heads: at least as many as each of them has. */
static void spread(struct dj_tensor *t, enum far far, uint64_t heads, dj_buffer *buffer,
                   uint64_t place)
{
    const uint64_t size = dj_type_size(t->type), end = dj_buffer_size(buffer) / 512 * 512;
    const uint64_t counts[3] = {t->shape[0], t->shape[1], heads};
    uint64_t near = 512; /* bytes: a row, then all that is not far apart */
    assert_true((t->shape[3] + 2 * GUARD) * 4 <= near);
    for (int i = 2; i >= 0; i--) {
        if (i == (int)far)
            continue;
        t->stride[i] = near / size;
        near *= counts[i];
    }
    uint64_t first = end - (place + 1) * near;
    if (far < FAR_OFFSET) {
        const uint64_t stride = (end - 3 * near) / (counts[far] - 1) / 512 * 512;
        t->stride[far] = stride / size;
        first -= stride * (counts[far] - 1);
    }
    t->stride[3] = 1;
    t->offset = first + GUARD * size;
    t->buffer = buffer;
}

static uint64_t row_offset(const struct dj_tensor *t, uint64_t row)
{
    const uint64_t h = row % t->shape[2], i = row / t->shape[2] % t->shape[1],
                   b = row / t->shape[2] / t->shape[1];
    return t->offset +
           dj_type_size(t->type) * (b * t->stride[0] + i * t->stride[1] + h * t->stride[2]);
}

static uint64_t rows_of(const struct dj_tensor *t)
{
    return t->shape[0] * t->shape[1] * t->shape[2];
}

/* Writes contiguous rows to where they belong; x NULL: poison, guards included. */
static void write_rows(const struct dj_tensor *t, const float *x)
{
    const uint64_t size = dj_type_size(t->type), width = t->shape[3];
    uint8_t data[4 * (64 + 2 * GUARD)];
    const uint32_t poison = HARNESS_POISON;
    assert_true(width <= 64);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = ((const uint8_t *)&poison)[i % 4];
    for (uint64_t row = 0; row < rows_of(t); row++) {
        if (x)
            half_store(t->type, data, x + row * width, width);
        HARNESS_OK(dj_buffer_write(t->buffer, row_offset(t, row) - (x ? 0 : GUARD * size), data,
                                   (x ? width : width + 2 * GUARD) * size));
    }
}

/* The rows of o as floats, to be freed; what is beside them must be as it was. */
static float *read_rows(const struct dj_tensor *t)
{
    const uint64_t size = dj_type_size(t->type), width = t->shape[3];
    float *x = calloc(rows_of(t) * width, sizeof(*x));
    uint8_t data[4 * (64 + 2 * GUARD)];
    const uint32_t poison = HARNESS_POISON;
    assert_non_null(x);
    for (uint64_t row = 0; row < rows_of(t); row++) {
        const uint64_t bytes = (width + 2 * GUARD) * size;
        harness_read(t->buffer, row_offset(t, row) - GUARD * size, data, bytes);
        half_load(t->type, x + row * width, data + GUARD * size, width);
        for (uint64_t i = 0; i < bytes; i++)
            if ((i < GUARD * size || i >= bytes - GUARD * size) &&
                data[i] != ((const uint8_t *)&poison)[i % 4])
                fail_msg("byte %llu beside row %llu was written", (unsigned long long)i,
                         (unsigned long long)row);
    }
    return x;
}

static void run_far(const struct problem *p, const struct placed *placed, enum far far,
                    dj_buffer *inputs, dj_buffer *output)
{
    static const char *const names[] = {"rows far apart", "tokens far apart", "heads far apart",
                                        "a large offset"};
    struct dj_attention_args args = placed->args;
    spread(&args.q, far, args.q.shape[2], inputs, 0);
    spread(&args.k, far, args.q.shape[2], inputs, 1);
    spread(&args.v, far, args.q.shape[2], inputs, 2);
    spread(&args.o, far, args.q.shape[2], output, 0);
    write_rows(&args.q, p->q);
    write_rows(&args.k, p->k);
    write_rows(&args.v, p->v);
    write_rows(&args.o, NULL);
    HARNESS_OK(dj_attention_run(placed->plan, &args));
    float *got = read_rows(&args.o);
    problem_assert(p, got, names[far]);
    free(got);
}

/* A buffer of that many bytes, or NULL, having said why. */
static dj_buffer *large_buffer(dj_context *context, uint64_t size)
{
    struct dj_device_info info;
    dj_buffer *buffer = NULL;
    HARNESS_OK(dj_context_device(context, &info));
    if (size > info.max_allocation) {
        print_message("# %llu bytes: more than this device's largest allocation, %llu\n",
                      (unsigned long long)size, (unsigned long long)info.max_allocation);
        return NULL;
    }
    const dj_result result =
        dj_buffer_create(context, &(struct dj_buffer_params){.size = size}, &buffer);
    if (result != DJ_SUCCESS)
        print_message("# %llu bytes: %s\n", (unsigned long long)size, dj_result_str(result));
    return buffer;
}

/* Tokens so many that 32 of them, as far apart as the buffer has room for, can be bound. */
static uint64_t tokens_for(const struct dj_device_info *info, uint64_t size)
{
    const uint64_t tokens = size / (info->max_storage_range / 40) + 2;
    return tokens < 70 ? 70 : tokens;
}

/* Whether the device has room for it, and then it must be right. */
static bool reach(dj_context *context, uint64_t size)
{
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(context, &info));
    dj_buffer *inputs = large_buffer(context, size);
    dj_buffer *output = inputs ? large_buffer(context, size) : NULL;
    const bool room = output != NULL;
    for (size_t n = 0; room && n < sizeof(kinds) / sizeof(*kinds); n++) {
        struct problem_params params = kinds[n];
        params.tokens = tokens_for(&info, size);
        struct problem problem;
        struct placed placed;
        problem_init(&problem, &params);
        problem_solve(&problem);
        problem_place(&problem, context, LAYOUT_PLAIN, &placed);
        for (enum far far = 0; far < FAR_COUNT; far++)
            run_far(&problem, &placed, far, inputs, output);
        placed_finish(&placed);
        problem_finish(&problem);
    }
    dj_buffer_destroy(&inputs);
    dj_buffer_destroy(&output);
    return room;
}

/* Skipped where no device has room: test_far.c has what the host makes of such tensors. */
static void reach_on_devices(uint64_t size)
{
    bool reached = false;
    for (uint32_t i = 0; i < harness_device_count(); i++)
        reached = reach(harness_context(i), size) || reached;
    if (!reached)
        harness_skip("no device has room for two buffers of %llu bytes", (unsigned long long)size);
}

static void beyond_the_binding_range(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        struct dj_device_info info;
        HARNESS_OK(dj_context_device(harness_context(i), &info));
        (void)reach(harness_context(i), info.max_storage_range / 8 * 9);
    }
}

static void beyond_31_bits(void **state)
{
    (void)state;
    reach_on_devices((UINT64_C(1) << 31) + (1 << 24));
}

static void beyond_32_bits(void **state)
{
    (void)state;
    reach_on_devices((UINT64_C(1) << 32) + (1 << 24));
}

/* Elements of 2 bytes, and of 4. */
static void halves_beyond_32_bits(void **state)
{
    (void)state;
    reach_on_devices((UINT64_C(1) << 33) + (1 << 24));
}

static void floats_beyond_32_bits(void **state)
{
    (void)state;
    reach_on_devices((UINT64_C(1) << 34) + (1 << 24));
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(beyond_the_binding_range), HARNESS_TEST(beyond_31_bits),
    HARNESS_TEST(beyond_32_bits),           HARNESS_TEST(halves_beyond_32_bits),
    HARNESS_TEST(floats_beyond_32_bits),
};

HARNESS_MAIN(tests)
