/* SPDX-License-Identifier: MIT */
/* The resident kernels against the twin: every map they have, lengths around every block of lanes
 * and every span, exponents that grow from token to token, states, groups, spans, parts. Plans are
 * few and their calls many: what a driver compiles for one takes long. */
#include "magnitudes.h"
#include "pool.h"
#include "reach.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RESIDENT .family = DJ_FAMILY_RESIDENT

/* Skips the case unless the first device has what they need. */
static void require_kernels(void)
{
    const uint32_t needed = DJ_USE_SUBGROUPS | DJ_USE_DEVICE_ADDRESSES;
    if ((dj_context_uses(harness_context(0)) & needed) != needed)
        harness_skip("no subgroups of a known size, or no addresses");
}

/* One plan, several lengths. */
static void test_lengths(const struct problem_params *params, const size_t *tokens, size_t count,
                         const char *what)
{
    require_kernels();
    problem_test_calls(0, params, tokens, count, 1, NULL, what);
}

static void lengths(void **state)
{
    (void)state;
    static const size_t tokens[] = {0,   1,   7,   8,   9,   15,   16,   17,   31,
                                    32,  33,  63,  64,  65,  255,  256,  511,  512,
                                    513, 520, 767, 768, 769, 1023, 1024, 1025, 1100};
    test_lengths(&(struct problem_params){SHAPE(2, 1100, 4, 64, 36), .normalise = true,
                                          .weighted = true, .own_numbers = true, RESIDENT},
                 tokens, sizeof tokens / sizeof *tokens, "wdcf");
    static const float decays[] = {0.97f, 1, 0.999f, 0.5f};
    test_lengths(&(struct problem_params){SHAPE(2, 1100, 4, 64, 36), .normalise = true,
                                          .decay = decays, .decay_count = 4, RESIDENT},
                 tokens, sizeof tokens / sizeof *tokens, "wdcf with a decay");
}

/* Lengths of transforms, and columns that fill no strip. With 8 lanes on CPU devices a strip has 32
 * columns, or 16 from d = 72 on, and from four heads on a workgroup has two. */
static void dimensions(void **state)
{
    (void)state;
    static const size_t dims[][3] = {{32, 4, 4},  {80, 80, 4}, {96, 132, 4}, {128, 20, 4},
                                     {64, 68, 2}, {32, 64, 4}, {256, 36, 4}};
    static const size_t tokens[] = {1, 70, 300};
    for (size_t n = 0; n < sizeof dims / sizeof *dims; n++)
        test_lengths(&(struct problem_params){SHAPE(1, 300, dims[n][2], dims[n][0], dims[n][1]),
                                              .normalise = n & 1, .key_normalise = n & 1, RESIDENT},
                     tokens, 3, "dimensions");
}

/* Every length that has a kernel, of both transforms. */
static void transforms(void **state)
{
    (void)state;
    static const size_t lengths[] = {16, 24, 32,  40,  48,  56,  64,  72,  80,
                                     88, 96, 104, 112, 120, 128, 160, 192, 256};
    static const size_t tokens[] = {1, 37};
    for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++) {
        test_lengths(
            &(struct problem_params){SHAPE(1, 37, 1, lengths[n], 4), .normalise = true, RESIDENT},
            tokens, 2, "transforms");
        test_lengths(&(struct problem_params){SHAPE(1, 37, 1, lengths[n], 4),
                                              .map = DJ_MAP_SOFTMAX_DCT, .normalise = n & 1,
                                              RESIDENT},
                     tokens, 2, "transforms III");
    }
}

static void maps(void **state)
{
    (void)state;
    static const float decays[] = {0.97f, 1, 0.5f};
    static const size_t tokens[] = {1, 40, 75, 600};
    static const struct problem_params params[] = {
        {SHAPE(1, 600, 3, 64, 16), .map = DJ_MAP_SOFTMAX_DCT, .decay = decays, .decay_count = 3,
         RESIDENT},
        {SHAPE(2, 600, 3, 32, 8), .map = DJ_MAP_SOFTMAX_DCT, .normalise = true, RESIDENT},
        {SHAPE(1, 600, 3, 20, 12), .map = DJ_MAP_IDENTITY, .decay = decays, .decay_count = 3,
         RESIDENT},
        {SHAPE(2, 600, 4, 16, 68), .map = DJ_MAP_RELU, .normalise = true, RESIDENT},
        {SHAPE(1, 600, 4, 256, 20), .map = DJ_MAP_RELU, .normalise = true, RESIDENT},
        {SHAPE(1, 600, 2, 132, 36), .map = DJ_MAP_IDENTITY, RESIDENT},
        {SHAPE(1, 600, 2, 12, 8), .map = DJ_MAP_ELU, .normalise = true, RESIDENT},
        {SHAPE(1, 600, 2, 12, 8), .map = DJ_MAP_ELU, RESIDENT},
        {SHAPE(1, 600, 2, 16, 8), .map = DJ_MAP_COSFORMER, .normalise = true, .max_tokens = 700,
         RESIDENT},
    };
    for (size_t n = 0; n < sizeof params / sizeof *params; n++)
        test_lengths(&params[n], tokens, 4, "maps");
}

/* Maps of directions, of every head or of all: as many features as a lane's vectors of them hold,
 * fewer and more, terms that fill no block, one strip of columns and two. */
static void directions(void **state)
{
    (void)state;
    static const size_t tokens[] = {0,  1,  7,   8,   9,   31,  32,  33,  64,
                                    65, 70, 255, 256, 257, 511, 512, 513, 600};
    static const float decays[] = {0.97f, 1, 0.999f, 0.5f};
    static const struct problem_params params[] = {
        {SHAPE(2, 600, 4, 64, 64), .map = DJ_MAP_PFF, .normalise = true, .weighted = true,
         .own_numbers = true, RESIDENT},
        {SHAPE(2, 600, 4, 64, 36), .map = DJ_MAP_PRF, .normalise = true, .own_numbers = true,
         .key_heads = 2, .decay = decays, .decay_count = 2, RESIDENT},
        {SHAPE(1, 600, 4, 32, 32), .map = DJ_MAP_PFF, .normalise = true, .key_normalise = true,
         .gaussian = true, .weighted = true, .decay = decays, .decay_count = 4, RESIDENT},
        {SHAPE(2, 600, 2, 32, 8), .map = DJ_MAP_PRF, .features = 48, .gaussian = true, RESIDENT},
        {SHAPE(2, 600, 3, 64, 20), .map = DJ_MAP_PERFORMER_RELU, .normalise = true,
         .own_numbers = true, RESIDENT},
        {SHAPE(1, 600, 4, 32, 68), .map = DJ_MAP_PERFORMER_RELU, .features = 20, .decay = decays,
         .decay_count = 4, RESIDENT},
        {SHAPE(1, 600, 4, 4, 36), .map = DJ_MAP_PRF, .features = 4, .normalise = true, RESIDENT},
        {SHAPE(1, 600, 4, 12, 20), .map = DJ_MAP_PFF, .features = 68, .normalise = true,
         .own_numbers = true, RESIDENT},
        {SHAPE(1, 600, 1, 100, 8), .map = DJ_MAP_PERFORMER_RELU, .features = 36, .normalise = true,
         RESIDENT},
        {SHAPE(1, 600, 2, 256, 8), .map = DJ_MAP_PRF, .features = 36, .normalise = true,
         .key_normalise = true, .own_numbers = true, RESIDENT},
        {SHAPE(1, 600, 4, 72, 36), .map = DJ_MAP_PFF, .features = 128, .normalise = true, RESIDENT},
        {SHAPE(1, 600, 2, 36, 20), .map = DJ_MAP_PRF, .features = 256, .normalise = true, RESIDENT},
    };
    for (size_t n = 0; n < sizeof params / sizeof *params; n++)
        test_lengths(&params[n], n < 3 ? tokens : tokens + 10, n < 3 ? 18 : 8, "directions");
}

/* Queries that see all keys, as many as those or not. */
static void all_keys(void **state)
{
    (void)state;
    static const size_t tokens[] = {0, 1, 8, 9, 70, 513};
    static const struct problem_params params[] = {
        {SHAPE(2, 600, 4, 64, 36), .full = true, .normalise = true, .weighted = true,
         .own_numbers = true, .key_heads = 2, RESIDENT},
        {SHAPE(1, 600, 4, 80, 68), .full = true, .normalise = true, .key_normalise = true,
         .cross = true, .query_tokens = 37, RESIDENT},
        {SHAPE(2, 600, 3, 32, 68), .map = DJ_MAP_SOFTMAX_DCT, .full = true, .cross = true,
         .query_tokens = 600, RESIDENT},
        {SHAPE(1, 600, 4, 20, 12), .map = DJ_MAP_IDENTITY, .full = true, .key_heads = 1, RESIDENT},
        {SHAPE(1, 600, 2, 12, 8), .map = DJ_MAP_ELU, .full = true, .normalise = true,
         .q_type = DJ_FLOAT16, .k_type = DJ_BFLOAT16, .o_type = DJ_FLOAT16, RESIDENT},
        {SHAPE(1, 600, 2, 16, 8), .map = DJ_MAP_COSFORMER, .full = true, .normalise = true,
         .max_tokens = 700, RESIDENT},
        {SHAPE(2, 600, 4, 64, 36), .map = DJ_MAP_PFF, .full = true, .normalise = true,
         .cross = true, .query_tokens = 9, RESIDENT},
    };
    for (size_t n = 0; n < sizeof params / sizeof *params; n++)
        test_lengths(&params[n], tokens, sizeof tokens / sizeof *tokens, "all keys");
    struct problem p;
    struct placed placed;
    struct dj_needs needs;
    problem_init(&p, &params[1]);
    problem_place(&p, harness_context(0), LAYOUT_PLAIN, &placed);
    HARNESS_OK(dj_attention_needs(placed.plan, &placed.args, &needs));
    assert_int_equal(needs.family, DJ_FAMILY_RESIDENT);
    placed_finish(&placed);
    problem_finish(&p);
}

static void types_and_layouts(void **state)
{
    (void)state;
    require_kernels();
    for (uint32_t type = 0; type < 3; type++)
        problem_test_random(
            &(struct problem_params){SHAPE(2, 90, 4, 16, 36), .map = DJ_MAP_PRF, .features = 24,
                                     .own_numbers = true, .normalise = true, .q_type = type,
                                     .k_type = (type + 1) % 3, .v_type = (type + 2) % 3,
                                     .o_type = type, RESIDENT},
            LAYOUT_SLICED, "types with directions");
    for (uint32_t type = 0; type < 3; type++)
        for (int layout = 0; layout < LAYOUT_COUNT; layout++)
            problem_test_random(
                &(struct problem_params){
                    SHAPE(2, 90, 4, 16, 36), .map = DJ_MAP_ELU, .normalise = true, .q_type = type,
                    .k_type = (type + 1) % 3, .v_type = (type + 2) % 3, .o_type = type, RESIDENT},
                (enum layout)layout, "types");
}

/* Sequences of any place and length, host or device; a group of query heads for each key head. */
static void spans_and_groups(void **state)
{
    (void)state;
    require_kernels();
    for (int n = 0; n < 6; n++) {
        const bool packed = n & 1;
        problem_test_random(
            &(struct problem_params){SHAPE(packed ? 1 : 4, packed ? 700 : 90, 6, 32, 8),
                                     .map = n == 3 ? DJ_MAP_PFF : DJ_MAP_WDCF,
                                     .own_numbers = n == 3, .key_heads = n < 4 ? 2 : 6,
                                     .normalise = true,
                                     .spans = packed ? DJ_SPANS_PACKED : DJ_SPANS_PADDED,
                                     .sequences = packed ? 7 : 0, .device_spans = n & 2, RESIDENT},
            LAYOUT_PLAIN, "spans");
    }
}

static void exponents_grow(void **state)
{
    (void)state;
    require_kernels();
    static const magnitude factors[] = {magnitude_any, magnitude_growing, magnitude_shrinking,
                                        magnitude_huge_once};
    static const float decays[] = {1, 0.9f, 0.05f, 0x1p-126f};
    static const int maps[] = {DJ_MAP_WDCF, DJ_MAP_WDCF, DJ_MAP_PRF, DJ_MAP_PFF};
    for (int variant = 0; variant < 4; variant++) {
        const struct problem_params params = {SHAPE(1, 300, 4, 32, 36),
                                              .map = maps[variant],
                                              .normalise = true,
                                              .decay = decays,
                                              .decay_count = variant & 1 ? 4 : 0,
                                              RESIDENT};
        struct problem p;
        problem_init(&p, &params);
        struct made made = problem_make(&p, 0);
        for (int n = 0; n < 4; n++) {
            problem_redraw(&p, &params);
            magnitude_scale_keys(&p, factors[n]);
            problem_solve(&p);
            float *got = made_run(&made, &p, LAYOUT_PLAIN);
            problem_assert(&p, got, "magnitudes");
            free(got);
        }
        made_finish(&made);
        problem_finish(&p);
    }
}

/* Keys of large exponents and small differences; of PFF and PRF |x|^2 is an exponent, too. */
static void test_near_ties(int map, double factor)
{
    static const double K[] = {30, 300, 1000};
    const struct problem_params params = {
        SHAPE(1, 200, 2, 64, 8), .map = map, .normalise = true, .sigma = 0.5, .scale = 1, RESIDENT};
    struct problem p;
    problem_init(&p, &params);
    struct made made = problem_make(&p, 0);
    for (int n = 0; n < 3; n++) {
        problem_redraw(&p, &params);
        magnitude_tie_keys(&p, factor * K[n]);
        problem_solve(&p);
        float *got = made_run(&made, &p, LAYOUT_PLAIN);
        problem_assert(&p, got, "near ties");
        free(got);
    }
    made_finish(&made);
    problem_finish(&p);
}

static void near_ties(void **state)
{
    (void)state;
    require_kernels();
    test_near_ties(DJ_MAP_WDCF, 1);
    test_near_ties(DJ_MAP_PFF, 0.1);
    test_near_ties(DJ_MAP_PRF, 0.1);
}

/* Sums of many equal terms go stale unless what rounding takes from them is kept. */
static void identical_keys(void **state)
{
    (void)state;
    require_kernels();
    struct problem p;
    problem_init(&p, &(struct problem_params){SHAPE(1, 65536, 2, 4, 4), .map = DJ_MAP_ELU,
                                              .normalise = true, RESIDENT});
    for (size_t i = 0; i < 8 * p.twin.tokens; i++) {
        p.k[i] = i < 8 ? p.k[i] : p.k[i - 8];
        p.v[i] = 1 + 0.5f * p.v[i];
    }
    problem_test(&p, LAYOUT_PLAIN, "identical keys");
    problem_finish(&p);
}

enum {
    TOKENS = 700
};

/* A sequence at once, in pieces and in single tokens, from a slot to the same slot. */
static void states(void **state)
{
    (void)state;
    require_kernels();
    static const float decays[] = {0.97f, 1};
    static const struct problem_params variants[] = {
        {SHAPE(2, TOKENS, 4, 32, 40), .normalise = true, .key_heads = 2, RESIDENT},
        {SHAPE(2, TOKENS, 2, 16, 8), .map = DJ_MAP_IDENTITY, .decay = decays, .decay_count = 2,
         RESIDENT},
        {SHAPE(2, TOKENS, 2, 16, 8), .map = DJ_MAP_COSFORMER, .normalise = true,
         .max_tokens = TOKENS, RESIDENT},
        {SHAPE(2, TOKENS, 4, 16, 40), .map = DJ_MAP_PFF, .features = 24, .normalise = true,
         .key_heads = 2, .own_numbers = true, .decay = decays, .decay_count = 2, RESIDENT},
    };
    static const uint64_t pieces[] = {1, 1, 7, 8, 9, 31, 600};
    for (size_t n = 0; n < sizeof variants / sizeof *variants; n++) {
        struct pool pool;
        pool_init(&pool, harness_context(0), &variants[n], 4);
        pool_assert_pieces(&pool, pieces, sizeof pieces / sizeof *pieces);
        pool_finish(&pool);
    }
}

/* The cut changes no bit. */
static void parts(void **state)
{
    (void)state;
    require_kernels();
    static const float decays[] = {0.97f, 1, 0.5f, 1};
    for (int n = 0; n < 3; n++) {
        const bool decay = n == 1;
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(2, 1300, 4, 32, 36), .normalise = true,
                                                  .map = n == 2 ? DJ_MAP_PRF : DJ_MAP_WDCF,
                                                  .own_numbers = n == 2, .decay = decays,
                                                  .decay_count = decay ? 4 : 0, RESIDENT});
        problem_solve(&p);
        struct placed placed;
        struct dj_needs needs;
        problem_place(&p, harness_context(0), LAYOUT_PLAIN, &placed);
        HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
        float *whole = placed_output(&placed);
        problem_assert(&p, whole, "whole");
        placed_poison(&placed);
        placed.args.max_work = 1;
        HARNESS_OK(dj_attention_needs(placed.plan, &placed.args, &needs));
        assert_true(needs.parts >= (decay ? 48 : 24));
        assert_int_equal(needs.family, DJ_FAMILY_RESIDENT);
        HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
        float *cut = placed_output(&placed);
        problem_assert_bits(&p, whole, cut, problem_output_size(&p), "parts");
        free(whole);
        free(cut);
        placed_finish(&placed);
        problem_finish(&p);
    }
}

/* A sequence gives the bits that it gives alone, whatever it is among. */
static void assert_each_alone(const struct problem_params *params)
{
    struct problem p;
    struct placed placed;
    problem_init(&p, params);
    problem_solve(&p);
    problem_place(&p, harness_context(0), LAYOUT_PLAIN, &placed);
    HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
    float *const together = placed_output(&placed);
    problem_assert(&p, together, "together");
    placed_poison(&placed);
    const size_t count = params->spans ? params->sequences : params->batch;
    for (size_t n = 0; n < count; n++) {
        const struct twin_span span = twin_key_span(&p.twin, n);
        struct dj_attention_args args = placed_range(&placed, span.first, span.count);
        struct dj_tensor *const tensors[4] = {&args.q, &args.k, &args.v, &args.o};
        for (size_t i = 0; i < 4; i++) {
            tensors[i]->offset += dj_type_size(tensors[i]->type) * span.row * tensors[i]->stride[0];
            tensors[i]->shape[0] = 1;
        }
        args.spans = (struct dj_spans){.kind = DJ_SPANS_WHOLE};
        HARNESS_OK(dj_attention_run(placed.plan, &args));
    }
    float *const alone = placed_output(&placed);
    problem_assert_bits(&p, together, alone, problem_output_size(&p), "alone");
    free(together);
    free(alone);
    placed_finish(&placed);
    problem_finish(&p);
}

static void a_batch_is_each_alone(void **state)
{
    (void)state;
    require_kernels();
    static const float decays[] = {0.97f, 1};
    static const struct problem_params params[] = {
        {SHAPE(3, 600, 4, 32, 52), .key_heads = 2, .normalise = true, RESIDENT},
        {SHAPE(5, 300, 2, 20, 12), .map = DJ_MAP_IDENTITY, .decay = decays, .decay_count = 2,
         RESIDENT},
        {SHAPE(1, 1500, 2, 64, 36), .normalise = true, .weighted = true, .spans = DJ_SPANS_PACKED,
         .sequences = 5, .device_spans = true, RESIDENT},
        {SHAPE(1, 300, 2, 16, 8), .map = DJ_MAP_ELU, .normalise = true, .spans = DJ_SPANS_PACKED,
         .sequences = 9, RESIDENT},
        {SHAPE(3, 300, 4, 16, 52), .map = DJ_MAP_PFF, .own_numbers = true, .normalise = true,
         RESIDENT},
    };
    for (size_t n = 0; n < sizeof params / sizeof *params; n++)
        assert_each_alone(&params[n]);
}

/* What is not a number goes to later tokens and its own column alone: among tokens that are taken
 * together, and behind the first span. */
static void not_numbers(void **state)
{
    (void)state;
    static const float decays[] = {0.97f, 0.5f};
    static const struct {
        struct problem_params params;
        size_t token;
    } cases[] = {
        {{SHAPE(1, 40, 2, 16, 8), .map = DJ_MAP_ELU, .normalise = true, RESIDENT}, 13},
        {{SHAPE(1, 40, 2, 16, 8), .map = DJ_MAP_IDENTITY, RESIDENT}, 13},
        {{SHAPE(1, 40, 2, 32, 8), .weighted = true, .own_numbers = true, .normalise = true,
          RESIDENT},
         13},
        {{SHAPE(1, 600, 4, 64, 36), .normalise = true, RESIDENT}, 520},
        {{SHAPE(1, 40, 2, 32, 8), .map = DJ_MAP_SOFTMAX_DCT, .normalise = true, RESIDENT}, 13},
        {{SHAPE(1, 40, 2, 32, 8), .map = DJ_MAP_SOFTMAX_DCT, RESIDENT}, 16},
        {{SHAPE(1, 40, 4, 16, 40), .map = DJ_MAP_IDENTITY, RESIDENT}, 12},
        {{SHAPE(1, 40, 2, 16, 8), .map = DJ_MAP_RELU, .normalise = true, RESIDENT}, 13},
        {{SHAPE(1, 300, 2, 32, 8), .normalise = true, .decay = decays, .decay_count = 2, RESIDENT},
         13},
        {{SHAPE(1, 300, 2, 16, 8), .map = DJ_MAP_IDENTITY, .decay = decays, .decay_count = 2,
          RESIDENT},
         257},
        {{SHAPE(1, 300, 4, 64, 36), .map = DJ_MAP_PFF, .own_numbers = true, .normalise = true,
          RESIDENT},
         260},
        {{SHAPE(1, 40, 2, 20, 8), .map = DJ_MAP_PRF, .features = 32, .key_normalise = true,
          .normalise = true, .decay = decays, .decay_count = 2, RESIDENT},
         13},
        {{SHAPE(1, 40, 2, 16, 8), .map = DJ_MAP_PERFORMER_RELU, .features = 72, .normalise = true,
          RESIDENT},
         16},
    };
    require_kernels();
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        struct problem p;
        problem_init(&p, &cases[n].params);
        problem_solve(&p);
        reach_assert(&p, 0, cases[n].token);
        problem_finish(&p);
    }
}

/* Half of the tokens into slots, the rest from there. */
static float *run_halves(struct pool *pool, const int32_t slots[2])
{
    const uint64_t tokens = pool->problem.twin.tokens;
    placed_poison(&pool->placed);
    pool_run(pool, 0, tokens / 2, NULL, slots);
    pool_run(pool, tokens / 2, tokens - tokens / 2, slots, NULL);
    return placed_output(&pool->placed);
}

/* Through a slot, too: to the later tokens of its sequence and head, and to no other slot. */
static void not_numbers_in_slots(void **state)
{
    (void)state;
    require_kernels();
    enum {
        TOKEN = 21,
        HEAD = 1,
        HEADS = 3,
        WIDTH = 8
    };
    static const float decays[] = {0.97f, 1, 0.5f}, bad[] = {NAN, INFINITY, -INFINITY};
    static const int32_t clean_slots[2] = {0, 1}, slots[2] = {3, 2};
    for (int n = 0; n < 6; n++) { /* in k and in v, with a decay and without */
        const bool in_v = n & 1;
        struct pool pool;
        pool_init(&pool, harness_context(0),
                  &(struct problem_params){SHAPE(2, 80, HEADS, 32, WIDTH), .normalise = true,
                                           .decay = decays, .decay_count = n % 4 < 2 ? 3 : 0,
                                           RESIDENT},
                  4);
        const struct dj_tensor *const tensor = in_v ? &pool.placed.args.v : &pool.placed.args.k;
        float *const clean = run_halves(&pool, clean_slots);
        problem_assert(&pool.problem, clean, "through slots");
        HARNESS_OK(
            dj_buffer_write(tensor->buffer,
                            tensor->offset + 4 * (tensor->stride[0] + TOKEN * tensor->stride[1] +
                                                  HEAD * tensor->stride[2] + 5),
                            &bad[n / 2], 4));
        float *const got = run_halves(&pool, slots);
        for (size_t i = 0; i < 2 * 80 * HEADS * WIDTH; i++) {
            const size_t head = i / WIDTH % HEADS, token = i / WIDTH / HEADS;
            if (token >= 80 + TOKEN && head == HEAD && (!in_v || i % WIDTH == 5))
                assert_false(isfinite(got[i]));
            else
                assert_memory_equal(&got[i], &clean[i], sizeof *got);
        }
        pool_assert_equal(&pool, 0, 3);
        pool_assert_tokens(&pool, 2, 40);
        free(clean);
        free(got);
        pool_finish(&pool);
    }
}

/* What nobody chose: on CPU devices it is this family's, whatever the length, unless a transform
 * was chosen. */
static void defaults(void **state)
{
    (void)state;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    static const uint64_t tokens[] = {2, 31, 255};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        for (int chosen = 0; chosen < 2; chosen++) {
            struct problem p;
            struct placed placed;
            struct dj_needs needs;
            problem_init(
                &p, &(struct problem_params){SHAPE(2, tokens[i], 2, 32, 8), .normalise = true});
            p.plan_params.dct_path = chosen ? DJ_DCT_PATH_DENSE : DJ_DCT_PATH_DEFAULT;
            problem_place(&p, harness_context(0), LAYOUT_PLAIN, &placed);
            HARNESS_OK(dj_attention_needs(placed.plan, &placed.args, &needs));
            assert_int_equal(needs.family, !chosen && info.type == DJ_DEVICE_CPU
                                               ? DJ_FAMILY_RESIDENT
                                               : DJ_FAMILY_TILED);
            placed_finish(&placed);
            problem_test(&p, LAYOUT_PLAIN, "default");
            problem_finish(&p);
        }
    }
}

/* Powers of very many decays are not made unless asked for. */
static void many_decays(void **state)
{
    (void)state;
    require_kernels();
    static float decays[4097];
    const size_t count = sizeof decays / sizeof *decays;
    for (size_t h = 0; h < count; h++)
        decays[h] = 1 - 0x1p-10f * (float)(h % 512);
    for (int forced = 0; forced < 2; forced++) {
        struct problem p;
        struct placed placed;
        struct dj_needs needs;
        problem_init(&p, &(struct problem_params){SHAPE(1, 9, count, 4, 4), .map = DJ_MAP_IDENTITY,
                                                  .decay = decays, .decay_count = count,
                                                  .family = forced ? DJ_FAMILY_RESIDENT
                                                                   : DJ_FAMILY_DEFAULT});
        problem_place(&p, harness_context(0), LAYOUT_PLAIN, &placed);
        HARNESS_OK(dj_attention_needs(placed.plan, &placed.args, &needs));
        assert_int_equal(needs.family, forced ? DJ_FAMILY_RESIDENT : DJ_FAMILY_TILED);
        placed_finish(&placed);
        problem_test(&p, LAYOUT_PLAIN, "many decays");
        problem_finish(&p);
    }
}

/* Queries too far apart for a span of them to be bound, of fewer keys, go in tiles. */
static void far_queries(void **state)
{
    (void)state;
    require_kernels();
    const struct dj_attention_params params = {
        .heads = 1, .dim = 64, .map = DJ_MAP_ELU, .causal = DJ_OFF, .normalise = DJ_ON};
    const uint64_t few[4] = {1, 1, 1, 64}, many[4] = {1, 600, 1, 64};
    struct dj_attention_args args = {0};
    struct dj_needs needs;
    struct dj_device_info info;
    dj_attention *plan;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    HARNESS_OK(dj_attention_create(harness_context(0), &params, &plan));
    dj_tensor_init(&args.k, NULL, 0, DJ_FLOAT32, few);
    dj_tensor_init(&args.v, NULL, 0, DJ_FLOAT32, few);
    dj_tensor_init(&args.q, NULL, 0, DJ_FLOAT32, many);
    dj_tensor_init(&args.o, NULL, 0, DJ_FLOAT32, many);
    HARNESS_OK(dj_attention_needs(plan, &args, &needs));
    assert_int_equal(needs.family, DJ_FAMILY_RESIDENT);
    args.q.stride[1] = args.o.stride[1] = info.max_storage_range / 4 / 128;
    HARNESS_OK(dj_attention_needs(plan, &args, &needs));
    assert_int_equal(needs.family, DJ_FAMILY_TILED);
    dj_attention_destroy(&plan);
}

/* A family that a plan cannot have is refused; one that a device lacks, too. */
static void refusals(void **state)
{
    (void)state;
    static const struct dj_attention_params params[] = {
        {.heads = 1, .dim = 44},                     /* no transform of that length */
        {.heads = 1, .dim = 64, .features = 128},    /* of several transforms */
        {.heads = 1, .dim = 128, .map = DJ_MAP_PRF}, /* too many numbers of directions */
        {.heads = 1, .dim = 32, .map = DJ_MAP_PRF, .features = 260}, /* too many sums */
        {.heads = 1, .dim = 132, .map = DJ_MAP_COSFORMER, .max_tokens = 9},
    };
    for (size_t i = 0; i < sizeof params / sizeof *params; i++) {
        struct dj_attention_params resident = params[i];
        dj_attention *plan = NULL;
        resident.family = DJ_FAMILY_RESIDENT;
        HARNESS_RESULT(dj_attention_create(harness_context(0), &resident, &plan),
                       DJ_ERROR_UNSUPPORTED);
        assert_null(plan);
    }
}

/* A CPU device whose subgroups have one size, which is lavapipe, uses them though none may be asked
 * for. */
static void one_size_is_known(void **state)
{
    (void)state;
    const char *const mode = getenv("DIJIANG_TEST_CONTEXT");
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    if (mode == NULL || strcmp(mode, "one-size") != 0 || info.type != DJ_DEVICE_CPU ||
        info.subgroup_size_min != info.subgroup_size_max)
        harness_skip("not a CPU device told that its subgroups have one size");
    assert_false(info.subgroup_size_control);
    assert_true(dj_context_uses(harness_context(0)) & DJ_USE_SUBGROUPS);
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(one_size_is_known),
    HARNESS_TEST(lengths),
    HARNESS_TEST(dimensions),
    HARNESS_TEST(transforms),
    HARNESS_TEST(maps),
    HARNESS_TEST(directions),
    HARNESS_TEST(all_keys),
    HARNESS_TEST(types_and_layouts),
    HARNESS_TEST(spans_and_groups),
    HARNESS_TEST(exponents_grow),
    HARNESS_TEST(near_ties),
    HARNESS_TEST(identical_keys),
    HARNESS_TEST(states),
    HARNESS_TEST(parts),
    HARNESS_TEST(a_batch_is_each_alone),
    HARNESS_TEST(not_numbers),
    HARNESS_TEST(not_numbers_in_slots),
    HARNESS_TEST(defaults),
    HARNESS_TEST(many_decays),
    HARNESS_TEST(far_queries),
    HARNESS_TEST(refusals),
};

HARNESS_MAIN(tests)
