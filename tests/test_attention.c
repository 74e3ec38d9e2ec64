/* SPDX-License-Identifier: MIT */
/* Attention against the twin: shapes, options, layouts, and what must not change a bit. */
#include "problem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const float decays[] = {1, 0.97f, 0.5f, 0.05f, 1e-3f};

/* Around the kernels' tiles of 32 tokens, and several tiles with a tail; one plan over all. */
static void tokens_around_tiles(void **state)
{
    (void)state;
    const uint64_t lengths[] = {0, 1, 2, 31, 32, 33, 63, 64, 65, 96, 100, 257};
    for (int option = 0; option < 4; option++) {
        const struct problem_params params = {
            SHAPE(1, 257, 1, 12, 8),    .map = option & 1,   .full = option & 2,
            .normalise = !(option & 1), .decay = decays + 1, .decay_count = option & 2 ? 0 : 1};
        for (uint32_t i = 0; i < harness_device_count(); i++) {
            struct problem whole;
            problem_init(&whole, &params);
            struct placed placed;
            problem_place(&whole, harness_context(i), LAYOUT_SLICED, &placed);
            for (size_t n = 0; n < sizeof(lengths) / sizeof(*lengths); n++) {
                whole.twin.tokens = whole.twin.query_tokens = lengths[n]; /* a prefix: B = 1 */
                problem_solve(&whole);
                placed_poison(&placed);
                struct placed part = placed;
                part.args = placed_range(&placed, 0, lengths[n]);
                HARNESS_OK(dj_attention_run(part.plan, &part.args));
                float *got = placed_output(&part);
                problem_assert(&whole, got, "prefix");
                free(got);
            }
            placed_finish(&placed);
            problem_finish(&whole);
        }
    }
}

/* Every d and every e once or more, the options going round. */
static void head_dimensions(void **state)
{
    (void)state;
    const size_t d[] = {4, 8, 60, 64, 80, 96, 128, 188, 252, 256};
    const size_t e[] = {64, 4, 80, 252, 8, 128, 256, 60, 96, 188};
    for (int n = 0; n < 10; n++) {
        problem_test_random(
            &(struct problem_params){SHAPE(1, 70, 2, d[n], e[n]), .map = n & 1,
                                     .normalise = n % 3 != 0, .full = n % 4 == 3, .decay = decays,
                                     .decay_count = n % 4 == 2 ? 5 : 0, .weighted = n % 4 == 0,
                                     .own_numbers = n % 5 == 1},
            (enum layout)(n % LAYOUT_COUNT), "d and e");
        problem_test_random(&(struct problem_params){SHAPE(1, 40, 2, d[n], d[9 - n]),
                                                     .map = !(n & 1), .normalise = true},
                            LAYOUT_PLAIN, "d and e again");
    }
}

static void batches_and_heads(void **state)
{
    (void)state;
    const size_t heads[] = {0, 1, 2, 3, 5};
    for (size_t h = 0; h < 5; h++)
        for (size_t b = 0; b < 4; b++)
            problem_test_random(&(struct problem_params){SHAPE(b, 33 + b, heads[h], 8, 12),
                                                         .map = (h + b) & 1, .normalise = b & 1,
                                                         .own_numbers = b & 2, .decay = decays,
                                                         .decay_count = h & 1 ? 5 : 0},
                                LAYOUT_SLICED, "B and H");
}

/* Both maps, causal or not, normalised or not, decay or not. */
static void options_combine(void **state)
{
    (void)state;
    for (int n = 0; n < 12; n++) {
        const bool full = n % 3 == 0;
        problem_test_random(&(struct problem_params){SHAPE(2, 75, 5, 16, 20), .map = n / 6,
                                                     .full = full, .normalise = n / 3 & 1,
                                                     .decay = decays,
                                                     .decay_count = n % 3 == 2 ? 5 : 0,
                                                     .weighted = n < 6, .own_numbers = n & 1},
                            LAYOUT_PLAIN, "options");
    }
}

/* Every decay over several tiles, also the smallest that there is. */
static void decays_over_tiles(void **state)
{
    (void)state;
    const float all[] = {1, 0.97f, 0.5f, 0.05f, 1e-3f, 0x1p-126f, 0.999f};
    for (int n = 0; n < 4; n++)
        problem_test_random(&(struct problem_params){SHAPE(1, 140, 7, 32, 4), .map = n & 1,
                                                     .normalise = n & 2, .decay = all,
                                                     .decay_count = 7, .sigma = 2},
                            LAYOUT_HEADS_FIRST, "decay");
}

static void layouts_agree_with_twin(void **state)
{
    (void)state;
    for (int layout = 0; layout < LAYOUT_COUNT; layout++)
        for (int map = 0; map < 2; map++)
            problem_test_random(
                &(struct problem_params){SHAPE(3, 50, 3, 60, 80), .map = map, .normalise = !map},
                (enum layout)layout, "layout");
}

static void scales(void **state)
{
    (void)state;
    const float given[] = {0, 1, 0.125f, 3};
    for (size_t n = 0; n < 4; n++)
        for (int map = 0; map < 2; map++)
            problem_test_random(&(struct problem_params){SHAPE(1, 40, 2, 32, 8), .map = map,
                                                         .scale = given[n], .normalise = true},
                                LAYOUT_PLAIN, "scale");
}

/* A stride of 0 repeats: one key head for all query heads, one sequence for all of a batch. */
static void inputs_may_repeat(void **state)
{
    (void)state;
    struct problem p;
    problem_init(&p, &(struct problem_params){SHAPE(2, 70, 3, 16, 16), .normalise = true});
    const size_t token = 3 * 16;
    for (size_t i = 0; i < 2 * p.twin.tokens; i++) {
        for (size_t h = 1; h < 3; h++) {
            memcpy(p.k + i * token + h * 16, p.k + i * token, 16 * sizeof(float));
            memcpy(p.v + i * token + h * 16, p.v + i * token, 16 * sizeof(float));
        }
    }
    memcpy(p.q + p.twin.tokens * token, p.q, p.twin.tokens * token * sizeof(float));
    problem_solve(&p);
    struct placed placed;
    problem_place(&p, harness_context(0), LAYOUT_PLAIN, &placed);
    placed.args.k.stride[2] = placed.args.v.stride[2] = 0;
    placed.args.q.stride[0] = 0;
    HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
    float *got = placed_output(&placed);
    problem_assert(&p, got, "repeated inputs");
    free(got);
    placed_finish(&placed);
    problem_finish(&p);
}

/* The zero of every switch is what the header says. */
static void defaults_are_as_documented(void **state)
{
    (void)state;
    for (int map = 0; map < 2; map++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 70, 2, 16, 16), .map = map,
                                                  .normalise = map == DJ_MAP_WDCF});
        p.plan_params = (struct dj_attention_params){.map = (uint32_t)map, .heads = 2, .dim = 16};
        problem_test(&p, LAYOUT_PLAIN, "defaults");
        problem_finish(&p);
    }
}

/* Runs a problem by a recorder, o poisoned before; the caller's scratch of that size. */
static float *record_output(const struct problem *p, dj_context *context, uint64_t scratch_size)
{
    struct placed placed;
    problem_place(p, context, LAYOUT_PLAIN, &placed);
    struct dj_needs needs;
    placed.args.scratch.size = scratch_size;
    HARNESS_OK(dj_attention_needs(placed.plan, &placed.args, &needs));
    assert_true(!scratch_size || needs.scratch_size <= scratch_size);
    const struct dj_recorder_params exactly = {.dispatches = needs.dispatches,
                                               .ring_size = needs.ring_size};
    dj_recorder *recorder = NULL;
    HARNESS_OK(dj_recorder_create(context, &exactly, &recorder));
    /* guards around the scratch */
    const uint64_t offset = needs.scratch_alignment ? needs.scratch_alignment : 256;
    dj_buffer *scratch = harness_poisoned(context, offset + needs.scratch_size + 256);
    placed.args.scratch =
        (struct dj_scratch){.buffer = scratch, .offset = offset, .size = needs.scratch_size};
    placed.args.barriers = DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_HOST;
    HARNESS_OK(dj_recorder_begin(recorder));
    HARNESS_OK(dj_attention_record(placed.plan, recorder, &placed.args));
    HARNESS_OK(dj_recorder_submit(recorder));
    HARNESS_OK(dj_recorder_wait(recorder, UINT64_MAX));
    harness_assert_poisoned(scratch, 0, offset);
    harness_assert_poisoned(scratch, offset + needs.scratch_size, 256);
    dj_recorder_destroy(&recorder);
    dj_buffer_destroy(&scratch);
    float *got = placed_output(&placed);
    placed_finish(&placed);
    return got;
}

static size_t output_size(const struct problem *p)
{
    return problem_output_size(p) * sizeof(float);
}

static void repeats_are_bit_identical(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(2, 130, 3, 64, 64), .normalise = true});
        problem_solve(&p);
        float *first = record_output(&p, harness_context(i), 0);
        problem_assert(&p, first, "recorded");
        for (int repeat = 0; repeat < 3; repeat++) {
            float *again = record_output(&p, harness_context(i), 0);
            assert_memory_equal(first, again, output_size(&p));
            free(again);
        }
        free(first);
        problem_finish(&p);
    }
}

static void push_descriptors_change_nothing(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        struct dj_device_info info;
        HARNESS_OK(dj_context_device(harness_context(i), &info));
        char index[16];
        snprintf(index, sizeof(index), "%u", info.index);
        /* both are made here: the harness's own may lack more */
        dj_context *pushing = NULL, *plain = NULL;
        struct dj_context_params params = {.device = index, .device_addresses = DJ_OFF};
        HARNESS_OK(dj_context_create(&params, &pushing));
        params.push_descriptors = DJ_OFF;
        HARNESS_OK(dj_context_create(&params, &plain));
        for (int map = 0; map < 2; map++) {
            struct problem p;
            problem_init(&p, &(struct problem_params){SHAPE(2, 90, 2, 64, 64), .map = map,
                                                      .normalise = !map});
            problem_solve(&p);
            float *with = record_output(&p, pushing, 0);
            float *without = record_output(&p, plain, 0);
            problem_assert(&p, with, "push descriptors");
            assert_memory_equal(with, without, output_size(&p));
            free(with);
            free(without);
            problem_finish(&p);
        }
        dj_context_destroy(&pushing);
        dj_context_destroy(&plain);
    }
}

static void dct_paths_agree(void **state)
{
    (void)state;
    for (int map = 0; map < 2; map++) {
        for (uint32_t path = DJ_DCT_PATH_GENERATED; path <= DJ_DCT_PATH_DENSE; path++) {
            struct problem p;
            problem_init(&p, &(struct problem_params){SHAPE(1, 45, 2, 96, 8), .map = map,
                                                      .normalise = !map});
            p.plan_params.dct_path = path;
            dj_attention *probe = NULL;
            if (dj_attention_create(harness_context(0), &p.plan_params, &probe) ==
                    DJ_ERROR_UNSUPPORTED &&
                path == DJ_DCT_PATH_GENERATED)
                print_message("# built without VkFFT: the generated path is not tested\n");
            else
                problem_test(&p, LAYOUT_PLAIN, path == DJ_DCT_PATH_DENSE ? "dense" : "generated");
            dj_attention_destroy(&probe);
            problem_finish(&p);
        }
    }
}

/* Fewer tokens than a tile: what needs asks for is enough, and dj_attention_run gives itself that.
 */
static void needs_are_enough_for_few_tokens(void **state)
{
    (void)state;
    static const size_t tokens[] = {1, 2, 31, 32, 33};
    for (size_t n = 0; n < 5; n++) {
        struct problem p;
        struct placed placed;
        struct dj_needs needs;
        problem_init(&p,
                     &(struct problem_params){SHAPE(1, tokens[n], 1, 256, 4), .normalise = true});
        p.plan_params.dct_path = DJ_DCT_PATH_DENSE; /* its rows come one by one, not in groups */
        problem_test(&p, LAYOUT_PLAIN, "few tokens");
        problem_place(&p, harness_context(0), LAYOUT_PLAIN, &placed);
        HARNESS_OK(dj_attention_needs(placed.plan, &placed.args, &needs));
        dj_buffer *scratch = harness_poisoned(harness_context(0), needs.scratch_size);
        placed.args.scratch = (struct dj_scratch){.buffer = scratch, .size = needs.scratch_size};
        HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
        float *got = placed_output(&placed);
        problem_assert(&p, got, "few tokens, given scratch");
        free(got);
        dj_buffer_destroy(&scratch);
        placed_finish(&placed);
        problem_finish(&p);
    }
}

/* The smallest scratch that is accepted, and sizes between: more pieces, the same answer. */
static void small_scratch_gives_the_same(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(3, 200, 5, 32, 16), .normalise = true,
                                                  .decay = decays, .decay_count = 3});
        problem_solve(&p);
        struct placed placed;
        problem_place(&p, harness_context(i), LAYOUT_PLAIN, &placed);
        struct dj_needs needs;
        HARNESS_OK(dj_attention_needs(placed.plan, &placed.args, &needs));
        const uint64_t useful = needs.scratch_size;
        assert_true(useful > 0);
        unsigned accepted = 0;
        for (uint64_t size = useful; size > 0; size = size * 5 / 8) {
            placed.args.scratch.size = size;
            const dj_result result = dj_attention_needs(placed.plan, &placed.args, &needs);
            if (result != DJ_SUCCESS) {
                assert_int_equal(result, DJ_ERROR_SCRATCH);
                break;
            }
            float *got = record_output(&p, harness_context(i), size);
            problem_assert(&p, got, "small scratch");
            free(got);
            accepted++;
        }
        assert_true(accepted >= 2);
        placed_finish(&placed);
        problem_finish(&p);
    }
}

/* One plan, several recorders in flight at once, lengths mixed; inputs rewritten after each round.
 */
static void recorders_in_flight(void **state)
{
    (void)state;
    enum {
        RECORDERS = 4,
        ROUNDS = 3
    };
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        dj_context *context = harness_context(i);
        const uint64_t lengths[RECORDERS] = {1, 33, 128, 70};
        struct problem problems[RECORDERS];
        struct placed placed[RECORDERS];
        dj_recorder *recorders[RECORDERS];
        dj_buffer *scratch[RECORDERS];
        for (size_t n = 0; n < RECORDERS; n++) {
            problem_init(&problems[n], &(struct problem_params){SHAPE(1, lengths[n], 2, 32, 32),
                                                                .normalise = true});
            problem_solve(&problems[n]);
            problem_place(&problems[n], context, LAYOUT_PLAIN, &placed[n]);
            HARNESS_OK(dj_recorder_create(context, &(struct dj_recorder_params){0}, &recorders[n]));
            struct dj_needs needs;
            HARNESS_OK(dj_attention_needs(placed[0].plan, &placed[n].args, &needs));
            scratch[n] = harness_poisoned(context, needs.scratch_size);
            placed[n].args.scratch =
                (struct dj_scratch){.buffer = scratch[n], .size = needs.scratch_size};
            placed[n].args.barriers = DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_HOST;
        }
        for (int round = 0; round < ROUNDS; round++) {
            for (size_t n = 0; n < RECORDERS; n++) {
                HARNESS_OK(dj_recorder_begin(recorders[n]));
                HARNESS_OK(dj_attention_record(placed[0].plan, recorders[n], &placed[n].args));
            }
            for (size_t n = 0; n < RECORDERS; n++)
                HARNESS_OK(dj_recorder_submit(recorders[n]));
            for (size_t n = 0; n < RECORDERS; n++) {
                HARNESS_OK(dj_recorder_wait(recorders[n], UINT64_MAX));
                float *got = placed_output(&placed[n]);
                problem_assert(&problems[n], got, "in flight");
                free(got);
                placed_poison(&placed[n]);
            }
        }
        for (size_t n = 0; n < RECORDERS; n++) {
            dj_recorder_destroy(&recorders[n]);
            dj_buffer_destroy(&scratch[n]);
            placed_finish(&placed[n]);
            problem_finish(&problems[n]);
        }
    }
}

/* Two calls in one recording, the second reading the first's output as its values: every flag alone
 * does what it says, or the validation layer's synchronisation checks speak up. */
static void barriers_order_calls(void **state)
{
    (void)state;
    for (int flag_before = 0; flag_before < 2; flag_before++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 70, 1, 16, 16), .normalise = true});
        problem_solve(&p);
        struct problem second = p; /* borrows all but v and want */
        second.want = NULL;
        second.v = malloc(output_size(&p));
        assert_non_null(second.v);
        struct placed placed;
        problem_place(&p, harness_context(0), LAYOUT_PLAIN, &placed);
        dj_buffer *result = harness_poisoned(harness_context(0), output_size(&p));
        struct dj_needs needs;
        HARNESS_OK(dj_attention_needs(placed.plan, &placed.args, &needs));
        dj_buffer *scratch = harness_poisoned(harness_context(0), needs.scratch_size);
        placed.args.scratch = (struct dj_scratch){.buffer = scratch, .size = needs.scratch_size};
        struct dj_attention_args next = placed.args;
        next.v = placed.args.o;
        const uint64_t shape[4] = {1, 70, 1, 16};
        dj_tensor_init(&next.o, result, 0, DJ_FLOAT32, shape);
        placed.args.barriers = DJ_BARRIER_BEFORE | (flag_before ? 0 : DJ_BARRIER_AFTER_COMPUTE);
        next.barriers = DJ_BARRIER_AFTER_HOST | (flag_before ? DJ_BARRIER_BEFORE : 0);

        dj_recorder *recorder = NULL;
        HARNESS_OK(
            dj_recorder_create(harness_context(0), &(struct dj_recorder_params){0}, &recorder));
        HARNESS_OK(dj_recorder_begin(recorder));
        HARNESS_OK(dj_attention_record(placed.plan, recorder, &placed.args));
        HARNESS_OK(dj_attention_record(placed.plan, recorder, &next));
        HARNESS_OK(dj_recorder_barrier(recorder, DJ_BARRIER_AFTER_HOST));
        HARNESS_OK(dj_recorder_submit(recorder));
        HARNESS_OK(dj_recorder_wait(recorder, UINT64_MAX));

        float *first = placed_output(&placed), *got = malloc(output_size(&p));
        assert_non_null(got);
        problem_assert(&p, first, "first call");
        memcpy(second.v, first, output_size(&p));
        problem_solve(&second);
        harness_read(result, 0, got, output_size(&p));
        problem_assert(&second, got, "second call");
        free(first);
        free(got);
        free(second.v);
        free(second.want);
        dj_recorder_destroy(&recorder);
        dj_buffer_destroy(&scratch);
        dj_buffer_destroy(&result);
        placed_finish(&placed);
        problem_finish(&p);
    }
}

/* needs is pure, and with args NULL speaks of slots alone. */
static void needs_depend_on_args_alone(void **state)
{
    (void)state;
    struct problem p;
    struct placed placed;
    problem_init(&p, &(struct problem_params){SHAPE(2, 70, 2, 64, 64), .family = DJ_FAMILY_TILED});
    problem_place(&p, harness_context(0), LAYOUT_PLAIN, &placed);
    struct dj_needs first, second, slots;
    memset(&first, 0x55, sizeof(first));
    memset(&second, 0xaa, sizeof(second));
    HARNESS_OK(dj_attention_needs(placed.plan, &placed.args, &first));
    HARNESS_OK(dj_attention_needs(placed.plan, &placed.args, &second));
    assert_memory_equal(&first, &second, sizeof(first));
    assert_true(first.dispatches > 0 && first.parts > 0 && first.flops > 0);
    assert_true(first.bytes >= 2 * 70 * 2 * (3 * 64 + 64) * sizeof(float));
    HARNESS_OK(dj_attention_needs(placed.plan, NULL, &slots));
    assert_int_equal(first.family, DJ_FAMILY_TILED);
    assert_int_equal(slots.family, 0);
    assert_int_equal(slots.slot_size, first.slot_size);
    assert_int_equal(slots.slot_alignment, first.slot_alignment);
    assert_true(slots.slot_size % slots.slot_alignment == 0);
    assert_true(slots.slot_size >=
                sizeof(struct dj_state_header) + 2 * (2 * 64 * 64 + 3 * 64) * sizeof(float));
    HARNESS_RESULT(dj_attention_needs(NULL, &placed.args, &first), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_attention_needs(placed.plan, &placed.args, NULL), DJ_ERROR_INVALID_ARGUMENT);
    placed_finish(&placed);
    problem_finish(&p);
}

/* Of any length, dimension and type; tensors that are nowhere yet. */
static void scratch_is_small(void **state)
{
    (void)state;
    const uint64_t lengths[] = {1, 100, 1000, 10000, 100000, 1000000};
    const uint32_t dims[] = {16, 64, 256};
    for (size_t n = 0; n < 3; n++) {
        for (uint32_t type = 0; type < 2; type++) {
            dj_attention *plan = NULL;
            const struct dj_attention_params params = {.map = DJ_MAP_ELU,
                                                       .heads = 4,
                                                       .dim = dims[n],
                                                       .q_type = type,
                                                       .k_type = type,
                                                       .v_type = type,
                                                       .o_type = type,
                                                       .family = DJ_FAMILY_TILED};
            HARNESS_OK(dj_attention_create(harness_context(0), &params, &plan));
            for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
                const uint64_t d = dims[n], t = lengths[i], size = type ? 2 : 4;
                const struct dj_tensor x = {
                    .type = type, .shape = {1, t, 4, d}, .stride = {t * 4 * d, 4 * d, d, 1}};
                const struct dj_attention_args args = {.q = x, .k = x, .v = x, .o = x};
                struct dj_needs needs;
                HARNESS_OK(dj_attention_needs(plan, &args, &needs));
                const uint64_t half = 3 * t * 4 * d * size / 2, little = (uint64_t)8 << 20;
                assert_true(needs.scratch_size > 0);
                assert_in_range(needs.scratch_size, 0, half > little ? half : little);
                assert_in_range(needs.scratch_size, 0, (uint64_t)64 << 20);
            }
            dj_attention_destroy(&plan);
        }
    }
}

/* So many tiles that a workgroup does all blocks of 64 columns. */
static void columns_of_a_workgroup(void **state)
{
    (void)state;
    static const size_t tokens[] = {40, 33};
    for (int full = 0; full < 2; full++)
        problem_test_calls(0,
                           &(struct problem_params){SHAPE(70, 40, 8, 8, 132), .normalise = true,
                                                    .full = full, .family = DJ_FAMILY_TILED},
                           tokens, 2, 1, NULL, "columns of a workgroup");
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(tokens_around_tiles),
    HARNESS_TEST(head_dimensions),
    HARNESS_TEST(batches_and_heads),
    HARNESS_TEST(options_combine),
    HARNESS_TEST(decays_over_tiles),
    HARNESS_TEST(layouts_agree_with_twin),
    HARNESS_TEST(scales),
    HARNESS_TEST(inputs_may_repeat),
    HARNESS_TEST(defaults_are_as_documented),
    HARNESS_TEST(repeats_are_bit_identical),
    HARNESS_TEST(push_descriptors_change_nothing),
    HARNESS_TEST(dct_paths_agree),
    HARNESS_TEST(needs_are_enough_for_few_tokens),
    HARNESS_TEST(small_scratch_gives_the_same),
    HARNESS_TEST(recorders_in_flight),
    HARNESS_TEST(barriers_order_calls),
    HARNESS_TEST(needs_depend_on_args_alone),
    HARNESS_TEST(scratch_is_small),
    HARNESS_TEST(columns_of_a_workgroup),
};

HARNESS_MAIN(tests)
