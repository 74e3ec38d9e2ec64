/* SPDX-License-Identifier: MIT */
/* Inputs that bite: near ties of large exponents, magnitudes that differ within a tile, long
 * histories, values at the edge of float32. */
#include "magnitudes.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* k = K u + 0.5 g, q = 0.5 g with one direction u: large exponents, small differences. */
static void make_near_ties(struct problem *p, double K)
{
    const struct twin_attention *t = &p->twin;
    double u[256], norm = 0;
    for (size_t c = 0; c < t->dim; c++) {
        u[c] = harness_normal();
        norm += u[c] * u[c];
    }
    const size_t n = t->batch * t->tokens * t->heads * t->dim;
    harness_fill_normal(p->q, n, 0.5);
    for (size_t i = 0; i < n; i++)
        p->k[i] = (float)(K * u[i % t->dim] / sqrt(norm) + 0.5 * harness_normal());
}

/* The problem in pieces whose states go through one slot, up to 256 a submission. next gives the
 * size of each. */
static float *run_pieces(const struct problem *p, dj_context *context, uint64_t (*next)(void),
                         uint64_t longest)
{
    enum {
        PER_SUBMISSION = 256
    };
    static const int32_t slots[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    assert_true(p->twin.batch <= 8);
    struct placed placed;
    struct dj_needs needs;
    problem_place(p, context, LAYOUT_PLAIN, &placed);
    struct dj_attention_args args = placed_range(&placed, 0, longest);
    args.slots_in.host = args.slots_out.host = slots;
    HARNESS_OK(dj_attention_needs(placed.plan, NULL, &needs));
    const uint64_t state_size = needs.slot_size * p->twin.batch;
    void *zeros = calloc(1, state_size);
    assert_non_null(zeros);
    dj_buffer *state = harness_buffer(context, zeros, state_size);
    free(zeros);
    args.state = placed.args.state = state;
    args.slot_count = placed.args.slot_count = (uint32_t)p->twin.batch;
    HARNESS_OK(dj_attention_needs(placed.plan, &args, &needs));
    dj_buffer *scratch = harness_poisoned(context, needs.scratch_size);
    const struct dj_recorder_params params = {.dispatches = PER_SUBMISSION * needs.dispatches,
                                              .ring_size = PER_SUBMISSION * needs.ring_size};
    dj_recorder *recorder = NULL;
    HARNESS_OK(dj_recorder_create(context, &params, &recorder));
    for (uint64_t first = 0; first < p->twin.tokens;) {
        HARNESS_OK(dj_recorder_begin(recorder));
        for (int n = 0; n < PER_SUBMISSION && first < p->twin.tokens; n++) {
            const uint64_t left = p->twin.tokens - first, wanted = next();
            const uint64_t count = wanted < left ? wanted : left;
            args = placed_range(&placed, first, count);
            args.slots_in.host = args.slots_out.host = slots;
            args.scratch = (struct dj_scratch){.buffer = scratch, .size = needs.scratch_size};
            args.barriers = DJ_BARRIER_BEFORE;
            HARNESS_OK(dj_attention_record(placed.plan, recorder, &args));
            first += count;
        }
        HARNESS_OK(dj_recorder_barrier(recorder, DJ_BARRIER_AFTER_HOST));
        HARNESS_OK(dj_recorder_submit(recorder));
        HARNESS_OK(dj_recorder_wait(recorder, UINT64_MAX));
    }
    dj_recorder_destroy(&recorder);
    float *got = placed_output(&placed);
    dj_buffer_destroy(&state);
    dj_buffer_destroy(&scratch);
    placed_finish(&placed);
    return got;
}

static uint64_t one(void)
{
    return 1;
}

static uint64_t all(void)
{
    return UINT64_MAX;
}

static uint64_t mixed(void)
{
    const uint64_t sizes[] = {1, 1, 1, 1, 2, 31, 32, 33, 64, 100, 300};
    return sizes[harness_random() % (sizeof(sizes) / sizeof(*sizes))];
}

static void near_ties(void **state)
{
    (void)state;
    const float decays[] = {0.97f, 0.5f};
    const double K[] = {30, 300, 1000};
    for (int n = 0; n < 12; n++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 200, 2, 64, 16), .map = n / 6,
                                                  .normalise = true, .scale = 1, .decay = decays,
                                                  .decay_count = n & 1 ? 2 : 0});
        make_near_ties(&p, K[n / 2 % 3]);
        problem_test(&p, LAYOUT_PLAIN, "near ties");
        problem_finish(&p);
    }
}

/* Random maps, further blocks, key normalisation. */
static void near_ties_of_other_maps(void **state)
{
    (void)state;
    static const int maps[] = {DJ_MAP_WDCF, DJ_MAP_PFF, DJ_MAP_PRF};
    static const float decays[] = {0.97f, 0.5f};
    static const double K[] = {30, 300, 1000};
    for (int n = 0; n < 18; n++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 120, 2, 32, 8), .map = maps[n / 6],
                                                  .normalise = true, .key_normalise = n & 1,
                                                  .scale = 1, .features = n & 1 ? 128 : 0,
                                                  .decay = decays, .decay_count = n & 2 ? 2 : 0});
        make_near_ties(&p, n < 6 ? K[n % 3] : K[n % 3] / 10); /* |x|^2 is an exponent too */
        problem_test(&p, LAYOUT_PLAIN, "near ties of other maps");
        problem_finish(&p);
    }
}

static void near_ties_in_steps(void **state)
{
    (void)state;
    const float decays[] = {0.97f, 0.5f};
    for (int n = 0; n < 4; n++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 300, 2, 32, 8), .normalise = true,
                                                  .scale = 1, .decay = decays,
                                                  .decay_count = n & 1 ? 2 : 0});
        make_near_ties(&p, 1000);
        problem_solve(&p);
        float *got = run_pieces(&p, harness_context(0), n & 2 ? mixed : one, n & 2 ? 300 : 1);
        problem_assert(&p, got, n & 2 ? "near ties in pieces" : "near ties in steps");
        free(got);
        problem_finish(&p);
    }
}

static void magnitudes_differ(void **state)
{
    (void)state;
    static const magnitude factors[] = {magnitude_any, magnitude_growing, magnitude_shrinking,
                                        magnitude_huge_once};
    const float decays[] = {1, 0.9f, 0.05f};
    static const int maps[] = {DJ_MAP_WDCF, DJ_MAP_SOFTMAX_DCT, DJ_MAP_PFF, DJ_MAP_PRF};
    for (int n = 0; n < 32; n++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){
                             SHAPE(1, 160, 3, n & 4 ? 12 : 64, 8), .map = maps[n / 8],
                             .normalise = true, .weighted = n / 8 != 1, .key_normalise = n / 8 > 1,
                             .decay = decays, .decay_count = n & 4 ? 3 : 0});
        magnitude_scale_keys(&p, factors[n & 3]);
        if ((n & 3) == 0)
            magnitude_scale_queries(&p, magnitude_any);
        problem_test(&p, LAYOUT_PLAIN, "magnitudes");
        problem_finish(&p);
    }
}

/* Weights from 1e-38 to 1e38: only their logarithms may be taken. */
static void weights_differ(void **state)
{
    (void)state;
    struct problem p;
    problem_init(&p, &(struct problem_params){SHAPE(1, 80, 2, 64, 16), .normalise = true,
                                              .weighted = true, .own_numbers = true});
    for (size_t i = 0; i < 2 * 64; i++)
        p.weights[i] *= (float)pow(10, 74 * harness_uniform() - 37);
    problem_test(&p, LAYOUT_PLAIN, "weights");
    problem_finish(&p);
}

/* A huge key that decays until those after it, e^300 times smaller, outweigh it. */
static void old_key_decays(void **state)
{
    (void)state;
    const float decays[] = {0.01f, 0.1f, 1e-3f, 0.5f};
    static uint64_t (*const ways[])(void) = {one, mixed, all};
    for (int n = 0; n < 3; n++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 500, 4, 16, 8), .normalise = true,
                                                  .scale = 1, .decay = decays, .decay_count = 4});
        for (size_t h = 0; h < 4; h++)
            for (size_t c = 0; c < 16; c++)
                p.k[(3 * 4 + h) * 16 + c] *= 200;
        problem_solve(&p);
        float *got = run_pieces(&p, harness_context(0), ways[n], 500);
        problem_assert(&p, got, "old key");
        free(got);
        problem_finish(&p);
    }
}

/* Asserts the bound over the last rows alone, where a sum of 65536 terms has gone stale if it can.
 */
static void assert_end(const struct problem *p, const float *got, const char *what)
{
    const size_t row = p->twin.heads * p->twin.value_dim, rows = 4096;
    const size_t at = (p->twin.tokens - rows) * row;
    const double error = harness_error(got + at, p->want + at, rows * row);
    if (getenv("DIJIANG_TEST_VERBOSE"))
        print_message("# %s: error at the end %.3g\n", what, error);
    harness_assert_within(error, p->bound, what);
}

/* One head remembers everything, one forgets so slowly that it remembers 10000 tokens. */
static void init_identical_keys(struct problem *p, bool normalise)
{
    static const float decays[] = {1, 0.9999f};
    problem_init(p, &(struct problem_params){SHAPE(1, 65536, 2, 4, 4), .normalise = normalise,
                                             .decay = decays, .decay_count = 2});
    for (size_t i = 8; i < 8 * p->twin.tokens; i++)
        p->k[i] = p->k[i - 8];
    for (size_t i = 0; i < 8 * p->twin.tokens; i++) /* a mean that does not vanish */
        p->v[i] = 1 + 0.5f * p->v[i];
    problem_solve(p);
}

static void identical_keys_at_once(void **state)
{
    (void)state;
    for (int normalise = 0; normalise < 2; normalise++) {
        struct problem p;
        init_identical_keys(&p, normalise);
        for (uint32_t i = 0; i < harness_device_count(); i++) {
            float *got = problem_run(&p, i, LAYOUT_PLAIN);
            problem_assert(&p, got, "identical keys");
            assert_end(&p, got, "identical keys");
            free(got);
        }
        problem_finish(&p);
    }
}

/* Sums of plain values, without exponents or with a decay: the low parts must be kept there too. */
static void identical_keys_of_other_maps(void **state)
{
    (void)state;
    static const float decays[] = {1, 0.9999f};
    static const int maps[] = {DJ_MAP_ELU, DJ_MAP_RELU, DJ_MAP_IDENTITY, DJ_MAP_COSFORMER};
    for (int n = 0; n < 8; n++) {
        struct problem p;
        problem_init(&p,
                     &(struct problem_params){SHAPE(1, 65536, 2, 4, 4), .map = maps[n / 2],
                                              .normalise = n & 1 && maps[n / 2] != DJ_MAP_IDENTITY,
                                              .decay = decays, .decay_count = 2});
        for (size_t i = 0; i < 8 * p.twin.tokens; i++) {
            p.k[i] = i < 8 ? fabsf(p.k[i]) : p.k[i - 8];
            p.v[i] = 1 + 0.5f * p.v[i];
        }
        problem_solve(&p);
        float *got = run_pieces(&p, harness_context(0), n & 1 ? mixed : all, n & 1 ? 300 : 65536);
        problem_assert(&p, got, "identical keys of other maps");
        assert_end(&p, got, "identical keys of other maps");
        free(got);
        problem_finish(&p);
    }
}

/* Without validation, which would take most of the time; steps under it are elsewhere. */
static void identical_keys_in_steps(void **state)
{
    (void)state;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    char index[16];
    snprintf(index, sizeof(index), "%u", info.index);
    dj_context *quick = NULL;
    const struct dj_context_params params = {.device = index, .validation = DJ_OFF};
    HARNESS_OK(dj_context_create(&params, &quick));
    struct problem p;
    init_identical_keys(&p, true);
    float *got = run_pieces(&p, quick, one, 1);
    dj_context_destroy(&quick);
    problem_assert(&p, got, "identical keys in steps");
    assert_end(&p, got, "identical keys in steps");
    free(got);
    problem_finish(&p);
}

static void identical_keys_in_pieces(void **state)
{
    (void)state;
    struct problem p;
    init_identical_keys(&p, true);
    float *got = run_pieces(&p, harness_context(0), mixed, 300);
    problem_assert(&p, got, "identical keys in pieces");
    assert_end(&p, got, "identical keys in pieces");
    free(got);
    problem_finish(&p);
}

/* Without a causal mask every row is the same mean, too long for the twin and simple enough. */
static void full_attention_over_identical_keys(void **state)
{
    (void)state;
    struct problem p;
    problem_init(
        &p, &(struct problem_params){SHAPE(1, 1 << 19, 1, 4, 4), .full = true, .normalise = true});
    const size_t n = 4 * p.twin.tokens;
    double mean[4] = {0};
    for (size_t i = 0; i < n; i++) {
        p.k[i] = p.k[i % 4];
        p.v[i] = 1 + 0.5f * p.v[i];
        mean[i % 4] += p.v[i] / (double)p.twin.tokens;
    }
    float *got = problem_run(&p, 0, LAYOUT_PLAIN);
    for (size_t i = 0; i < n; i++) {
        if (!(fabs(got[i] - mean[i % 4]) <= 1e-6))
            fail_msg("element %zu: %.9g, should be %.9g", i, got[i], mean[i % 4]);
    }
    free(got);
    problem_finish(&p);
}

/* Values at both ends of what the header promises, under a key that dominates while it decays. */
static void values_of_any_size(void **state)
{
    (void)state;
    static const float decays[] = {0.75f, 1};
    static uint64_t (*const ways[])(void) = {one, mixed, all};
    for (int n = 0; n < 6; n++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 160, 2, 64, 8), .normalise = true,
                                                  .scale = 1, .decay = decays, .decay_count = 2});
        for (size_t i = 0; i < 160 * 2 * 8; i++)
            p.v[i] *= n & 1 ? 2e29f : 1e-14f;
        magnitude_scale_keys(&p, magnitude_growing);
        for (size_t c = 0; c < 2 * 64; c++)
            p.k[3 * 2 * 64 + c] *= 2000;
        problem_solve(&p);
        float *got = run_pieces(&p, harness_context(0), ways[n / 2], 160);
        problem_assert(&p, got, "values");
        free(got);
        problem_finish(&p);
    }
}

static void long_sequences(void **state)
{
    (void)state;
    const float decays[] = {1, 0.9995f};
    for (int map = 0; map < 2; map++)
        problem_test_random(&(struct problem_params){SHAPE(1, 65536, 2, 16, 8), .map = map,
                                                     .normalise = !map, .decay = decays,
                                                     .decay_count = 2},
                            LAYOUT_PLAIN, "long");
}

/* A normalised row lies between the least and the greatest value it saw, whatever the exponents. */
static void assert_between_values(const struct problem *p, const float *got, int option)
{
    const struct twin_attention *t = &p->twin;
    assert_int_equal(t->batch, 1);
    for (size_t column = 0; column < t->heads * t->value_dim; column++) {
        float least = INFINITY, greatest = -INFINITY;
        for (size_t i = 0; i < t->tokens; i++) {
            const size_t at = i * t->heads * t->value_dim + column;
            least = fminf(least, p->v[at]);
            greatest = fmaxf(greatest, p->v[at]);
            if (!(got[at] >= least - 1e-4f && got[at] <= greatest + 1e-4f))
                fail_msg("option %d, token %zu: %g is not between %g and %g", option, i, got[at],
                         least, greatest);
        }
    }
}

/* |x| of 1e18 and |a| of 1e30: beyond float32's own precision of an exponent, but finite. */
static void huge_inputs_stay_finite(void **state)
{
    (void)state;
    const float decays[] = {1, 0.5f};
    for (int n = 0; n < 8; n++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 100, 2, 64, 8), .sigma = 1e17,
                                                  .normalise = true, .scale = 1, .decay = decays,
                                                  .decay_count = n & 1 ? 2 : 0,
                                                  .map = n & 4 ? DJ_MAP_SOFTMAX_DCT : DJ_MAP_WDCF});
        if (n & 2)
            for (size_t c = 0; c < p.twin.dim; c++)
                p.frequencies[c] *= 1e11f;
        float *got = problem_run(&p, 0, LAYOUT_PLAIN);
        assert_between_values(&p, got, n);
        free(got);
        problem_finish(&p);
    }
}

/* Whether got is Inf where the true value exceeds the type's range and nowhere else, and within
 * bounds where the whole row is in range. */
static bool overflows_rightly(float got, double want, double row, double largest, double slack)
{
    if (fabs(want) > largest * (1 + slack))
        return got == (want > 0 ? INFINITY : -INFINITY);
    if (row < largest * (1 - slack))
        return fabs(got - want) <= slack * row + (largest < FLT_MAX ? 0x1p-24 : 1e-36);
    return !isnan(got);
}

/* Without the normaliser; a column of zeros stays zero where its neighbours overflow. */
static void overflow_is_only_the_true_one(void **state)
{
    (void)state;
    size_t infinite = 0, finite = 0;
    for (int n = 0; n < 8; n++) {
        const bool half = n >= 4;
        const double largest = half ? 65519.99 : FLT_MAX;
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 100, 2, 16, 8), .scale = 1,
                                                  .o_type = half ? DJ_FLOAT16 : DJ_FLOAT32});
        magnitude_scale_queries(&p, magnitude_growing); /* 1e-3 to 1e3 */
        magnitude_scale_keys(&p, n & 1 ? magnitude_growing : magnitude_huge_once);
        for (size_t i = 0; i < 100 * 2; i++)
            p.v[8 * i + 3] = 0;
        problem_solve(&p);
        float *got = problem_run(&p, 0, LAYOUT_PLAIN);
        for (size_t i = 0; i < 100 * 2 * 8; i++) {
            const double want = p.want[i];
            double row = 0;
            for (size_t c = 0; c < 8; c++)
                row = fmax(row, fabs(p.want[i / 8 * 8 + c]));
            const bool right =
                i % 8 == 3 ? got[i] == 0
                           : overflows_rightly(got[i], want, row, largest, fmin(64 * p.bound, 0.9));
            if (!right)
                fail_msg("option %d, element %zu: %g, should be %g", n, i, got[i], want);
            infinite += isinf(got[i]) != 0;
            finite += row < largest;
        }
        free(got);
        problem_finish(&p);
    }
    assert_true(infinite > 100 && finite > 100); /* both happened */
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(near_ties),
    HARNESS_TEST(near_ties_of_other_maps),
    HARNESS_TEST(near_ties_in_steps),
    HARNESS_TEST(magnitudes_differ),
    HARNESS_TEST(weights_differ),
    HARNESS_TEST(old_key_decays),
    HARNESS_TEST(identical_keys_at_once),
    HARNESS_TEST(identical_keys_of_other_maps),
    HARNESS_TEST(identical_keys_in_steps),
    HARNESS_TEST(identical_keys_in_pieces),
    HARNESS_TEST(full_attention_over_identical_keys),
    HARNESS_TEST(values_of_any_size),
    HARNESS_TEST(long_sequences),
    HARNESS_TEST(huge_inputs_stay_finite),
    HARNESS_TEST(overflow_is_only_the_true_one),
};

HARNESS_MAIN(tests)
