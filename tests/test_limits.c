/* SPDX-License-Identifier: MIT */
/* Tensors and dispatches beyond what one binding reaches and one dispatch counts. */
#include "half.h"
#include "problem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* q, k and v side by side in one buffer beyond the device's binding range, o in another. Tokens lie
 * so far apart that few of them reach beyond it. stride: elements between tokens. */
static void run_beyond_range(struct problem *p, dj_context *context, uint64_t stride, uint32_t type)
{
    const uint64_t tokens = p->twin.tokens, width = 4 * 64, element = dj_type_size(type);
    struct placed placed; /* for its plan and features */
    problem_place(p, context, LAYOUT_PLAIN, &placed);
    dj_buffer *inputs = harness_buffer(context, NULL, element * stride * tokens);
    dj_buffer *output = harness_poisoned(context, element * stride * tokens);
    struct dj_attention_args args = placed.args;
    struct dj_tensor *tensors[4] = {&args.q, &args.k, &args.v, &args.o};
    const float *values[3] = {p->q, p->k, p->v};
    uint8_t *row = malloc(element * width);
    float *got = malloc(4 * width * tokens);
    assert_true(row && got);
    for (size_t n = 0; n < 4; n++) {
        tensors[n]->buffer = n < 3 ? inputs : output;
        tensors[n]->offset = n < 3 ? element * width * n : 0;
        tensors[n]->stride[1] = stride;
        for (uint64_t t = 0; n < 3 && t < tokens; t++) {
            half_store(type, row, values[n] + width * t, width);
            HARNESS_OK(dj_buffer_write(inputs, tensors[n]->offset + element * t * stride, row,
                                       element * width));
        }
    }
    HARNESS_OK(dj_attention_run(placed.plan, &args));
    for (uint64_t t = 0; t < tokens; t++) {
        harness_read(output, element * t * stride, row, element * width);
        half_load(type, got + width * t, row, width);
        if (t % 50 == 0)
            harness_assert_poisoned(output, element * (t * stride + width),
                                    element * (stride - width));
    }
    problem_assert(p, got, "beyond the binding range");
    free(got);
    free(row);
    dj_buffer_destroy(&inputs);
    dj_buffer_destroy(&output);
    placed_finish(&placed);
}

static void tensors_beyond_binding_range(void **state)
{
    (void)state;
    static const struct {
        int map;
        bool full;
        uint32_t type;
    } cases[] = {{DJ_MAP_WDCF, false, DJ_FLOAT32},
                 {DJ_MAP_WDCF, true, DJ_FLOAT32},
                 {DJ_MAP_ELU, false, DJ_FLOAT16},
                 {DJ_MAP_SOFTMAX, false, DJ_FLOAT32},
                 {DJ_MAP_SOFTMAX, true, DJ_BFLOAT16}};
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        struct dj_device_info info;
        HARNESS_OK(dj_context_device(harness_context(i), &info));
        for (size_t n = 0; n < sizeof(cases) / sizeof(*cases); n++) {
            const uint32_t type = cases[n].type;
            const uint64_t tokens = 600, element = dj_type_size(type);
            const uint64_t stride =
                (info.max_storage_range / element * 9 / 8 / tokens + 63) & ~63ull;
            if (element * stride * tokens > info.max_allocation ||
                element * stride * tokens > 1u << 30) {
                print_message("# a binding reaches %llu bytes: too much to exceed\n",
                              (unsigned long long)info.max_storage_range);
                break;
            }
            struct problem p;
            problem_init(&p, &(struct problem_params){
                                 SHAPE(1, tokens, 4, 64, 64), .map = cases[n].map,
                                 .full = cases[n].full, .normalise = true, .q_type = type,
                                 .k_type = type, .v_type = type, .o_type = type});
            problem_solve(&p);
            run_beyond_range(&p, harness_context(i), stride, type);
            problem_finish(&p);
        }
    }
}

/* The same without gaps: as many tokens as fill more than the range. */
static void packed_beyond_binding_range(void **state)
{
    (void)state;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    const uint64_t rows = info.max_storage_range / 1024 + 1000; /* of 256 floats */
    if (info.max_storage_range > 1u << 28) {
        print_message("# a binding reaches %llu bytes: too much to exceed\n",
                      (unsigned long long)info.max_storage_range);
        return;
    }
    struct problem p;
    problem_init(&p, &(struct problem_params){SHAPE(1, rows, 1, 4, 256), .normalise = true});
    p.twin.tokens = 2000; /* those the twin solves */
    problem_solve(&p);
    p.twin.tokens = rows;
    float *got = problem_run(&p, 0, LAYOUT_PLAIN);
    harness_assert_within(harness_error(got, p.want, 2000 * 256), p.bound, "the first tokens");
    for (size_t i = 0; i < rows * 256; i++)
        if (!isfinite(got[i]))
            fail_msg("token %zu is not finite", i / 256);
    free(got);
    problem_finish(&p);
}

/* More sequences and heads than workgroups fit in one dimension of a dispatch. */
static void heads_beyond_workgroup_counts(void **state)
{
    (void)state;
    problem_test_random(&(struct problem_params){SHAPE(2, 1, 65535, 4, 4), .normalise = true},
                        LAYOUT_PLAIN, "65535 heads");
}

/* Many query heads to a key head: their features are beyond 128 MiB, and their tensors not. */
static void groups_beyond_binding_range(void **state)
{
    (void)state;
    problem_test_random(&(struct problem_params){SHAPE(1, 32, 4160, 256, 4), .map = DJ_MAP_ELU,
                                                 .normalise = true, .key_heads = 1,
                                                 .q_type = DJ_FLOAT16},
                        LAYOUT_PLAIN, "4160 heads to a key head");
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(tensors_beyond_binding_range),
    HARNESS_TEST(packed_beyond_binding_range),
    HARNESS_TEST(heads_beyond_workgroup_counts),
    HARNESS_TEST(groups_beyond_binding_range),
};

HARNESS_MAIN(tests)
