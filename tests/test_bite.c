/* SPDX-License-Identifier: MIT */
/* Inputs that bite: near ties of large exponents, magnitudes that differ within a tile, long
 * histories, values at the edge of float32, NaN and Inf, tensors beyond what a binding reaches. */
#include "problem.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Multiplies the rows of token i by factor(i, tokens), in every sequence and head. */
static void scale_tokens(const struct problem *p, float *x, double (*factor)(size_t i, size_t n))
{
    const struct twin_attention *t = &p->twin;
    for (size_t b = 0; b < t->batch; b++) {
        for (size_t i = 0; i < t->tokens; i++) {
            const double f = factor(i, t->tokens);
            float *row = x + (b * t->tokens + i) * t->heads * t->dim;
            for (size_t c = 0; c < t->heads * t->dim; c++)
                row[c] = (float)(row[c] * f);
        }
    }
}

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
    args.slots_in = args.slots_out = slots;
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
            args.slots_in = args.slots_out = slots;
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

static double any_magnitude(size_t i, size_t n)
{
    (void)i;
    (void)n;
    return pow(10, 6 * harness_uniform() - 3);
}

static double growing(size_t i, size_t n)
{
    return pow(10, 6 * (double)i / (double)n - 3);
}

static double shrinking(size_t i, size_t n)
{
    return growing(n - i, n);
}

static double huge_once_a_tile(size_t i, size_t n)
{
    (void)n;
    return i % 32 == (17 + i / 32 * 11) % 32 ? 1000 : 1;
}

static void magnitudes_differ(void **state)
{
    (void)state;
    static double (*const factors[])(size_t, size_t) = {any_magnitude, growing, shrinking,
                                                        huge_once_a_tile};
    const float decays[] = {1, 0.9f, 0.05f};
    for (int n = 0; n < 16; n++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 160, 3, n & 4 ? 12 : 64, 8),
                                                  .map = n & 8 ? DJ_MAP_SOFTMAX_DCT : DJ_MAP_WDCF,
                                                  .normalise = true, .weighted = !(n & 8),
                                                  .decay = decays, .decay_count = n & 4 ? 3 : 0});
        scale_tokens(&p, p.k, factors[n & 3]);
        if ((n & 3) == 0)
            scale_tokens(&p, p.q, any_magnitude);
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
            struct placed placed;
            problem_place(&p, harness_context(i), LAYOUT_PLAIN, &placed);
            HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
            float *got = placed_output(&placed);
            problem_assert(&p, got, "identical keys");
            assert_end(&p, got, "identical keys");
            free(got);
            placed_finish(&placed);
        }
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

static float *run_once(const struct problem *p)
{
    struct placed placed;
    problem_place(p, harness_context(0), LAYOUT_PLAIN, &placed);
    HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
    float *got = placed_output(&placed);
    placed_finish(&placed);
    return got;
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
    float *got = run_once(&p);
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
        scale_tokens(&p, p.k, growing);
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
        float *got = run_once(&p);
        assert_between_values(&p, got, n);
        free(got);
        problem_finish(&p);
    }
}

/* Without the normaliser: Inf where the true value exceeds float32 and nowhere else; a column of
 * zeros stays zero where its neighbours overflow. */
static void overflow_is_only_the_true_one(void **state)
{
    (void)state;
    size_t infinite = 0, finite = 0;
    for (int n = 0; n < 4; n++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 100, 2, 16, 8), .scale = 1});
        scale_tokens(&p, p.q, growing); /* 1e-3 to 1e3 */
        scale_tokens(&p, p.k, n & 1 ? growing : huge_once_a_tile);
        for (size_t i = 0; i < 100 * 2; i++)
            p.v[8 * i + 3] = 0;
        problem_solve(&p);
        float *got = run_once(&p);
        for (size_t i = 0; i < 100 * 2 * 8; i++) {
            const double want = p.want[i], size = fabs(want);
            double row = 0;
            for (size_t c = 0; c < 8; c++)
                row = fmax(row, fabs(p.want[i / 8 * 8 + c]));
            const double slack = 64 * p.bound;
            const bool over = size > FLT_MAX * (1 + slack), under = row < FLT_MAX * (1 - slack);
            const bool right = i % 8 == 3 ? got[i] == 0
                               : over     ? got[i] == (want > 0 ? INFINITY : -INFINITY)
                               : under    ? fabs(got[i] - want) <= slack * row + 1e-36
                                          : !isnan(got[i]);
            if (!right)
                fail_msg("element %zu: %g, should be %g", i, got[i], want);
            infinite += over;
            finite += under;
        }
        free(got);
        problem_finish(&p);
    }
    assert_true(infinite > 100 && finite > 100); /* both happened */
}

/* Rows that a bad value in token 40 of sequence 1, head 2 may change. */
enum reach {
    REACH_ROW,   /* in q */
    REACH_LATER, /* in k or v, causal */
    REACH_ALL,   /* in k or v, not causal */
};

static void assert_reach(const struct problem *p, const float *clean, const float *bad,
                         enum reach reach)
{
    const struct twin_attention *t = &p->twin;
    for (size_t r = 0; r < t->batch * t->tokens * t->heads; r++) {
        const size_t b = r / t->heads / t->tokens, i = r / t->heads % t->tokens, h = r % t->heads;
        const bool sequence = b == 1 && h == 2;
        const bool may = reach == REACH_ROW ? i == 40 : reach == REACH_ALL || i >= 40;
        if (sequence && may)
            continue;
        if (memcmp(clean + r * t->value_dim, bad + r * t->value_dim, 4 * t->value_dim) != 0)
            fail_msg("sequence %zu, token %zu, head %zu changed", b, i, h);
    }
}

static void nan_and_inf_stay(void **state)
{
    (void)state;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    if (!info.signed_zero_inf_nan) {
        print_message("# the device promises nothing of NaN and Inf\n");
        return;
    }
    const float values[] = {NAN, INFINITY, -INFINITY};
    for (int option = 0; option < 4; option++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(2, 100, 3, 32, 8), .map = option & 1,
                                                  .full = option & 2, .normalise = true});
        float *clean = run_once(&p);
        const size_t row = (100 + 40) * 3 + 2;
        float *places[3] = {p.q + row * 32 + 5, p.k + row * 32 + 9, p.v + row * 8 + 1};
        for (size_t place = 0; place < 3; place++) {
            for (size_t value = 0; value < 3; value++) {
                const float kept = *places[place];
                *places[place] = values[value];
                float *bad = run_once(&p);
                assert_reach(&p, clean, bad,
                             place == 0   ? REACH_ROW
                             : option & 2 ? REACH_ALL
                                          : REACH_LATER);
                *places[place] = kept;
                free(bad);
            }
        }
        free(clean);
        problem_finish(&p);
    }
}

/* q, k and v side by side in one buffer beyond the device's binding range, o in another. Tokens lie
 * so far apart that few of them reach beyond it. */
static void tensors_beyond_binding_range(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        dj_context *context = harness_context(i);
        struct dj_device_info info;
        HARNESS_OK(dj_context_device(context, &info));
        const uint64_t tokens = 600,
                       stride = (info.max_storage_range / 4 * 9 / 8 / tokens + 63) & ~63ull;
        const uint64_t size = 4 * stride * tokens;
        if (size > info.max_allocation || size > 1u << 30) {
            print_message("# a binding reaches %llu bytes: too much to exceed\n",
                          (unsigned long long)info.max_storage_range);
            continue;
        }
        for (int full = 0; full < 2; full++) {
            struct problem p;
            problem_init(&p, &(struct problem_params){SHAPE(1, tokens, 4, 64, 64), .full = full,
                                                      .normalise = true});
            problem_solve(&p);
            struct placed placed; /* for its plan and features */
            problem_place(&p, context, LAYOUT_PLAIN, &placed);
            dj_buffer *inputs = harness_buffer(context, NULL, size);
            dj_buffer *output = harness_poisoned(context, size);
            struct dj_attention_args args = placed.args;
            struct dj_tensor *tensors[4] = {&args.q, &args.k, &args.v, &args.o};
            const float *values[3] = {p.q, p.k, p.v};
            for (size_t n = 0; n < 4; n++) {
                tensors[n]->buffer = n < 3 ? inputs : output;
                tensors[n]->offset = n < 3 ? 4 * 256 * n : 0;
                tensors[n]->stride[1] = stride;
                for (uint64_t t = 0; n < 3 && t < tokens; t++)
                    HARNESS_OK(dj_buffer_write(inputs, tensors[n]->offset + 4 * t * stride,
                                               values[n] + 256 * t, 4 * 256));
            }
            HARNESS_OK(dj_attention_run(placed.plan, &args));
            float *got = malloc(4 * 256 * tokens);
            assert_non_null(got);
            for (uint64_t t = 0; t < tokens; t++) {
                harness_read(output, 4 * t * stride, got + 256 * t, 4 * 256);
                if (t % 50 == 0)
                    harness_assert_poisoned(output, 4 * (t * stride + 256), 4 * (stride - 256));
            }
            problem_assert(&p, got, "beyond the binding range");
            free(got);
            dj_buffer_destroy(&inputs);
            dj_buffer_destroy(&output);
            placed_finish(&placed);
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
    float *got = run_once(&p);
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

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(near_ties),
    HARNESS_TEST(near_ties_in_steps),
    HARNESS_TEST(magnitudes_differ),
    HARNESS_TEST(weights_differ),
    HARNESS_TEST(old_key_decays),
    HARNESS_TEST(identical_keys_at_once),
    HARNESS_TEST(identical_keys_in_steps),
    HARNESS_TEST(identical_keys_in_pieces),
    HARNESS_TEST(full_attention_over_identical_keys),
    HARNESS_TEST(values_of_any_size),
    HARNESS_TEST(long_sequences),
    HARNESS_TEST(huge_inputs_stay_finite),
    HARNESS_TEST(overflow_is_only_the_true_one),
    HARNESS_TEST(nan_and_inf_stay),
    HARNESS_TEST(tensors_beyond_binding_range),
    HARNESS_TEST(packed_beyond_binding_range),
    HARNESS_TEST(heads_beyond_workgroup_counts),
};

HARNESS_MAIN(tests)
