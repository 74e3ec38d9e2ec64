/* SPDX-License-Identifier: MIT */
/* Storage types: every mix of them, rounding, rows that share words, and the same arithmetic
 * inside.
 */
#include "half.h"
#include "problem.h"

#include <stdlib.h>
#include <string.h>

/* All 81 of q, k, v and o in every layout. */
static void types_mix(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        for (uint32_t mix = 0; mix < 81; mix++) {
            struct problem p;
            problem_init(&p, &(struct problem_params){SHAPE(2, 35, 2, 8, 12), .normalise = true,
                                                      .map = mix & 1 ? DJ_MAP_ELU : DJ_MAP_WDCF,
                                                      .q_type = mix % 3, .k_type = mix / 3 % 3,
                                                      .v_type = mix / 9 % 3, .o_type = mix / 27});
            problem_solve(&p);
            struct made made = problem_make(&p, i);
            for (int layout = 0; layout < LAYOUT_COUNT; layout++) {
                float *got = made_run(&made, &p, (enum layout)layout);
                problem_assert(&p, got, "types");
                free(got);
            }
            made_finish(&made);
            problem_finish(&p);
        }
    }
}

/* Every map in both 2-byte types, every layout. */
static void types_of_every_map(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < 2 * DJ_MAP_COUNT; n++) {
        const uint32_t type = 1 + n % 2;
        struct problem p;
        problem_init(
            &p, &(struct problem_params){SHAPE(2, 40, 4, 20, 12), .map = (int)n / 2, .key_heads = 2,
                                         .normalise = problem_may_normalise(n / 2), .q_type = type,
                                         .k_type = type, .v_type = type, .o_type = type});
        problem_solve(&p);
        for (uint32_t i = 0; i < harness_device_count(); i++) {
            struct made made = problem_make(&p, i);
            for (int layout = 0; layout < LAYOUT_COUNT; layout++) {
                float *got = made_run(&made, &p, (enum layout)layout);
                problem_assert(&p, got, "types of maps");
                free(got);
            }
            made_finish(&made);
        }
        problem_finish(&p);
    }
}

/* Values that a 2-byte type has exactly give the bits that they give in float32, and the output in
 * a 2-byte type is the float32 one, rounded. */
static void types_change_no_arithmetic(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < 2 * PROBLEM_MAPS; n++) {
        const uint32_t type = 1 + n % 2;
        const int map = problem_maps[n / 2];
        const struct problem_params params = {
            SHAPE(2, 70, 2, 16, 8), .map = map, .full = n % 4 == 1 || n % 4 == 2,
            .normalise = problem_may_normalise(map),
            /* the resident one leaves odd outputs to it */
            .family = map < DJ_MAP_SOFTMAX ? DJ_FAMILY_TILED : DJ_FAMILY_DEFAULT};
        struct problem p;
        problem_init(&p, &params);
        half_round(type, p.q, twin_q_size(&p.twin));
        half_round(type, p.k, twin_k_size(&p.twin));
        half_round(type, p.v, twin_v_size(&p.twin));
        const size_t size = problem_output_size(&p);
        for (uint32_t i = 0; i < harness_device_count(); i++) {
            float *wide = problem_run(&p, i, LAYOUT_PLAIN);
            struct problem narrow = p; /* shares all arrays */
            narrow.params.q_type = narrow.plan_params.q_type = type;
            narrow.params.k_type = narrow.plan_params.k_type = type;
            narrow.params.v_type = narrow.plan_params.v_type = type;
            float *got = problem_run(&narrow, i, LAYOUT_SLICED);
            problem_assert_bits(&narrow, wide, got, size, "2-byte inputs");
            free(got);
            narrow.params.o_type = narrow.plan_params.o_type = type;
            got = problem_run(&narrow, i, LAYOUT_SLICED);
            half_round(type, wide, size);
            if (map >= DJ_MAP_SOFTMAX || /* else matrices may round factors */
                !(dj_context_uses(harness_context(i)) & DJ_USE_MATRICES))
                problem_assert_bits(&narrow, wide, got, size, "2-byte output");
            free(got);
            free(wide);
        }
        problem_finish(&p);
    }
}

/* Rounding at the edges, by an attention that copies: one token, whose weight is 1. Subnormals,
 * overflow to Inf, ties to even, in and out. */
static void types_round_as_documented(void **state)
{
    (void)state;
    static const float values[] = {
        0,           -0.f,          0x1p-24f,     -0x1p-24f,  0x1p-25f,   0x1.8p-25f,  0x1.8p-24f,
        0x1.4p-23f,  0x1p-14f,      0x1.ffcp-15f, 0x1.002p0f, 0x1.006p0f, 0x1.01p0f,   0x1.03p0f,
        65504,       65519.9f,      65520,        -65520,     1e5f,       -1e6f,       0x1.fep30f,
        0x1.00ffp0f, 0x1.00ff01p0f, 0x1.ffp99f,   1.f / 3,    -2.f / 3,   3.14159265f, 1e-3f};
    enum {
        COUNT = sizeof(values) / sizeof(*values),
        WIDTH = (COUNT + 3) / 4 * 4
    };
    for (uint32_t type = 1; type < 3; type++) {
        struct problem p;
        problem_init(&p,
                     &(struct problem_params){SHAPE(1, 1, 1, 4, WIDTH), .o_type = type, .scale = 1,
                                              .map = DJ_MAP_RELU, .normalise = true});
        for (size_t c = 0; c < 4; c++)
            p.q[c] = p.k[c] = 1;
        memset(p.v, 0, WIDTH * sizeof(float));
        memcpy(p.v, values, sizeof(values));
        for (uint32_t i = 0; i < harness_device_count(); i++) {
            float *got = problem_run(&p, i, LAYOUT_PLAIN);
            for (size_t c = 0; c < COUNT; c++) {
                float want = values[c];
                half_round(type, &want, 1);
                if (!(got[c] == want))
                    fail_msg("type %u: %a is stored as %a, not %a", type, values[c], got[c], want);
            }
            free(got);
        }
        problem_finish(&p);
    }
}

/* 2-byte rows that share 32-bit words with their neighbours: o in gaps of one element. */
static void odd_rows_share_words(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 70, 3, 4, 4), .o_type = DJ_FLOAT16,
                                                  .normalise = true});
        problem_solve(&p);
        struct placed placed;
        problem_place(&p, harness_context(i), LAYOUT_PLAIN, &placed);
        dj_buffer *buffer = harness_poisoned(harness_context(i), 4096 * 8);
        placed.args.o.buffer = buffer;
        placed.args.o.offset = 6;
        placed.args.o.stride[2] = 5;
        placed.args.o.stride[1] = 15;
        dj_buffer *own = placed.buffers[3];
        placed.buffers[3] = buffer;
        if (harness_16bit_storage(harness_context(i))) {
            HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
            float *got = placed_output(&placed);
            problem_assert(&p, got, "odd rows");
            free(got);
        } else {
            HARNESS_RESULT(dj_attention_run(placed.plan, &placed.args), DJ_ERROR_UNSUPPORTED);
        }
        dj_buffer_destroy(&own);
        placed_finish(&placed);
        problem_finish(&p);
    }
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(types_mix),
    HARNESS_TEST(types_of_every_map),
    HARNESS_TEST(types_change_no_arithmetic),
    HARNESS_TEST(types_round_as_documented),
    HARNESS_TEST(odd_rows_share_words),
};

HARNESS_MAIN(tests)
