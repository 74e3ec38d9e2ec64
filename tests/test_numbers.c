/* SPDX-License-Identifier: MIT */
/* Numbers that are none, and those at the edge of being one: how far NaN and Inf reach, what
 * becomes of subnormals and of the sign of zero. */
#include "pool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const float decays[] = {0.97f, 1, 0.3f};

/* Whether anything is promised of NaN and Inf: where the device can, and an engine enabled it.
 * Where not, they may become anything, but only where results belong. */
static bool promises_nan(dj_context *context)
{
    return dj_context_uses(context) & DJ_USE_FLOAT_CONTROLS;
}

/* Which of q, k and v is bad, in token TOKEN of sequence 1 and its head HEAD (of v column 1). */
enum place {
    IN_Q,
    IN_K,
    IN_V,
    PLACES
};
enum {
    TOKEN = 40,
    HEAD = 1,
    COLUMN = 1
};

static float *bad_element(const struct problem *p, enum place place)
{
    const struct twin_attention *t = &p->twin;
    const size_t token = t->tokens + TOKEN, key_row = token * twin_key_heads(t) + HEAD;
    switch (place) {
    case IN_Q:
        return p->q + (token * t->heads + HEAD) * t->dim + 5;
    case IN_K:
        return p->k + key_row * t->dim + 3;
    default:
        return p->v + key_row * t->value_dim + COLUMN;
    }
}

/* Whether it reaches an element of o. */
static bool reaches(const struct twin_attention *t, enum place place, size_t b, size_t i, size_t h,
                    size_t c)
{
    const size_t group = t->heads / twin_key_heads(t);
    if (b != 1 || (place == IN_Q ? h != HEAD || i != TOKEN : h / group != HEAD))
        return false;
    return (place == IN_Q || !t->causal || i >= TOKEN) && (place != IN_V || c == COLUMN);
}

/* What is reached is NaN, or where Inf in v gives Inf, that; all else keeps its bits. */
static void assert_reach(const struct problem *p, enum place place, float value, const float *clean,
                         const float *got)
{
    const struct twin_attention *t = &p->twin;
    const size_t e = t->value_dim;
    for (size_t n = 0; n < t->batch * t->tokens * t->heads * e; n++) {
        const size_t h = n / e % t->heads, row = n / e / t->heads;
        const size_t b = row / t->tokens, i = row % t->tokens;
        bool right = memcmp(clean + n, got + n, sizeof *got) == 0;
        if (reaches(t, place, b, i, h, n % e))
            right = isnan(got[n]) ||
                    (place == IN_V && isinf(value) && isinf(got[n]) && got[n] == p->want[n]) ||
                    /* a row without a denominator, all of whose features met zeros, is 0 whatever
                     * v is */
                    (place == IN_V && (t->map == DJ_MAP_RELU || t->map == DJ_MAP_COSFORMER) &&
                     clean[n] == 0.0f && got[n] == 0.0f);
        if (!right)
            fail_msg(
                "%g in %c: sequence %zu, token %zu, head %zu, column %zu is %g, was %g\n    %s",
                value, "qkv"[place], b, i, h, n % e, got[n], clean[n], problem_text(p));
    }
}

enum {
    BUFFERS = sizeof((struct placed){0}.buffers) / sizeof(dj_buffer *)
};

/* What lies in the buffers that a call only reads; the others are NULL. */
static void read_inputs(const struct placed *placed, uint8_t *images[BUFFERS])
{
    for (size_t i = 0; i < BUFFERS; i++) {
        dj_buffer *const buffer = placed->buffers[i];
        images[i] = NULL;
        if (buffer == NULL || buffer == placed->args.o.buffer)
            continue;
        images[i] = malloc(dj_buffer_size(buffer) + 1);
        assert_non_null(images[i]);
        harness_read(buffer, 0, images[i], dj_buffer_size(buffer));
    }
}

/* They hold what they held; frees the images. */
static void assert_inputs_kept(const struct placed *placed, uint8_t *images[BUFFERS])
{
    uint8_t *now[BUFFERS];
    read_inputs(placed, now);
    for (size_t i = 0; i < BUFFERS; i++) {
        if (images[i] != NULL)
            assert_memory_equal(images[i], now[i], dj_buffer_size(placed->buffers[i]));
        free(images[i]);
        free(now[i]);
    }
}

/* A run that ends, and writes nothing but its outputs and its scratch memory, whatever they are. */
static void assert_harmless(const struct made *made, const struct problem *p, enum layout layout)
{
    struct placed placed;
    struct dj_needs needs;
    uint8_t *images[BUFFERS];
    problem_place_on(p, made->context, layout, made->plan, made->features, &placed);
    struct dj_scratch *const scratch = &placed.args.scratch;
    HARNESS_OK(dj_attention_needs(made->plan, &placed.args, &needs));
    scratch->offset = 16 * needs.scratch_alignment;
    scratch->size = needs.scratch_size;
    const uint64_t end = scratch->offset + scratch->size;
    scratch->buffer = harness_poisoned(made->context, end + 256);
    read_inputs(&placed, images);
    HARNESS_OK(dj_attention_run(made->plan, &placed.args));
    free(placed_output(&placed));
    assert_inputs_kept(&placed, images);
    harness_assert_poisoned(scratch->buffer, 0, scratch->offset);
    harness_assert_poisoned(scratch->buffer, end, 256);
    dj_buffer_destroy(&scratch->buffer);
    placed_finish(&placed);
}

/* Each bad value at each place in turn. */
static void assert_bad_values_stay(struct problem *p, const struct made *made)
{
    static const float values[] = {NAN, INFINITY, -INFINITY};
    const bool promised = promises_nan(made->context);
    float *clean = promised ? made_run(made, p, LAYOUT_PLAIN) : NULL;
    for (int n = 0; n < 3 * PLACES; n++) {
        const enum place place = (enum place)(n / 3);
        const enum layout layout = (enum layout)(n % LAYOUT_COUNT);
        float *element = bad_element(p, place);
        const float kept = *element;
        *element = values[n % 3];
        if (promised) {
            problem_solve(p);
            float *got = made_run(made, p, layout);
            assert_reach(p, place, values[n % 3], clean, got);
            free(got);
        } else {
            assert_harmless(made, p, layout);
        }
        *element = kept;
    }
    free(clean);
}

static void test_bad_values(const struct problem_params *params)
{
    struct problem p;
    problem_init(&p, params);
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        struct made made = problem_make(&p, i);
        assert_bad_values_stay(&p, &made);
        made_finish(&made);
    }
    problem_finish(&p);
}

/* Every map, with and without a causal mask, with and without the normaliser where it may be. */
static void nan_and_inf_stay_in_every_map(void **state)
{
    (void)state;
    for (int n = 0; n < 2 * DJ_MAP_COUNT; n++) {
        const int map = n / 2;
        const bool full = n & 1, softmax = map >= DJ_MAP_SOFTMAX;
        if (map == DJ_MAP_LINFORMER && !full)
            continue;
        test_bad_values(&(struct problem_params){
            SHAPE(2, 70, 4, 12, 8), .map = map, .full = full, .key_heads = n & 2 ? 2 : 4,
            .normalise = softmax || (problem_may_normalise(map) && (map + n) % 2),
            .own_numbers = n & 1, .decay = decays, .decay_count = !full && !softmax ? 3 : 0});
    }
}

/* The transforms that VkFFT generates, several blocks of them, key normalisation, the dense ones.
 */
static void nan_and_inf_stay_in_every_transform(void **state)
{
    (void)state;
    static const struct {
        int map;
        size_t dim, features;
    } cases[] = {{DJ_MAP_WDCF, 16, 64}, {DJ_MAP_WDCF, 20, 48}, {DJ_MAP_SOFTMAX_DCT, 64, 0},
                 {DJ_MAP_PFF, 16, 40},  {DJ_MAP_PRF, 20, 32},  {DJ_MAP_PERFORMER_RELU, 16, 72}};
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++)
        test_bad_values(&(struct problem_params){
            SHAPE(2, 70, 3, cases[n].dim, 8), .map = cases[n].map, .features = cases[n].features,
            .normalise = true, .weighted = n & 1,
            .key_normalise = cases[n].map != DJ_MAP_SOFTMAX_DCT && n < 5, .full = n == 3});
}

/* Element types, each on each side. */
static void nan_and_inf_stay_in_every_type(void **state)
{
    (void)state;
    static const int maps[] = {DJ_MAP_WDCF, DJ_MAP_RELU, DJ_MAP_SOFTMAX, DJ_MAP_LINFORMER};
    for (uint32_t n = 0; n < 8; n++)
        test_bad_values(
            &(struct problem_params){SHAPE(2, 70, 2, 12, 12), .map = maps[n / 2], .normalise = true,
                                     .full = maps[n / 2] == DJ_MAP_LINFORMER, .q_type = 1 + n % 2,
                                     .k_type = 2 - n % 2, .v_type = 1 + n % 2, .o_type = n % 3});
}

/* Padded rows: what is outside a sequence is NaN already (struct placed); packed ones, where the
 * bad token's neighbours in the row are other sequences'. */
static void nan_and_inf_stay_in_a_packed_sequence(void **state)
{
    (void)state;
    for (int n = 0; n < 2 * PROBLEM_MAPS; n++) {
        const int map = problem_maps[n / 2];
        struct problem p;
        problem_init(&p, &(struct problem_params){
                             SHAPE(1, 90, 2, 12, 8), .map = map, .full = n & 1, .max_tokens = 90,
                             .normalise = problem_may_normalise(map), .spans = DJ_SPANS_PACKED,
                             .query_spans = n & 1 ? DJ_SPANS_PACKED : 0, .sequences = 3,
                             .device_spans = n & 2});
        for (size_t s = 0; s < 3; s++) {
            p.spans[s] = (struct twin_span){0, 30 * s, 30};
            if (n & 1)
                p.query_spans[s] = p.spans[s];
        }
        struct made made = problem_make(&p, 0);
        const bool promised = promises_nan(made.context);
        float *clean = made_run(&made, &p, LAYOUT_PLAIN);
        p.k[(35 * 2 + 1) * 12] = NAN; /* the second sequence, head 1 */
        float *got = promised ? made_run(&made, &p, LAYOUT_PLAIN) : NULL;
        if (!promised)
            assert_harmless(&made, &p, LAYOUT_SLICED);
        for (size_t i = 0; promised && i < 90 * 2 * 8; i++) {
            const size_t token = i / 16, h = i / 8 % 2;
            const bool reached = h == 1 && token >= (n & 1 ? 30 : 35) && token < 60;
            if (reached ? !isnan(got[i]) : memcmp(got + i, clean + i, 4) != 0)
                fail_msg("token %zu, head %zu is %g, was %g\n    %s", token, h, got[i], clean[i],
                         problem_text(&p));
        }
        free(got);
        free(clean);
        made_finish(&made);
        problem_finish(&p);
    }
}

/* Writes one float of q, k or v where it lies on the device. */
static void put(const struct pool *pool, enum place place, float value)
{
    const struct dj_attention_args *args = &pool->placed.args;
    const struct dj_tensor *tensor[PLACES] = {&args->q, &args->k, &args->v};
    const float *array[PLACES] = {pool->problem.q, pool->problem.k, pool->problem.v};
    const uint64_t at = (uint64_t)(bad_element(&pool->problem, place) - array[place]);
    HARNESS_OK(dj_buffer_write(tensor[place]->buffer, tensor[place]->offset + 4 * at, &value, 4));
}

/* Slot b is slot a but for what token TOKEN of head HEAD reaches there. */
static void assert_only_that_head_differs(const struct pool *pool, uint32_t a, uint32_t b,
                                          bool differs)
{
    const struct twin_attention *t = &pool->problem.twin;
    const size_t m = twin_features_count(t), header = sizeof(struct dj_state_header);
    const size_t block = (4 * (2 * m * t->value_dim + 3 * m) + 15) / 16 * 16;
    uint8_t *x = pool_read(pool, a), *y = pool_read(pool, b);
    assert_memory_equal(x, y, header);
    for (size_t h = 0; h < twin_key_heads(t); h++) {
        const bool same = memcmp(x + header + h * block, y + header + h * block, block) == 0;
        if (same == (differs && h == HEAD))
            fail_msg("slot %u: head %zu %s\n    %s", b, h, same ? "is as it was" : "has changed",
                     problem_text(&pool->problem));
    }
    free(x);
    free(y);
}

/* Tokens 0 to 59 into slots, the rest from there; then once more with a bad number. */
static void assert_slots(struct pool *pool, enum place place, float value)
{
    static const int32_t clean_slots[2] = {0, 1}, slots[2] = {3, 2};
    const struct twin_attention *t = &pool->problem.twin;
    pool_run(pool, 0, 60, NULL, clean_slots);
    pool_run(pool, 60, t->tokens - 60, clean_slots, NULL);
    float *clean = placed_output(&pool->placed);
    put(pool, place, value);
    placed_poison(&pool->placed);
    pool_run(pool, 0, 60, NULL, slots);
    pool_run(pool, 60, t->tokens - 60, slots, NULL);
    float *got = placed_output(&pool->placed);
    *bad_element(&pool->problem, place) = value;
    problem_solve(&pool->problem);
    assert_reach(&pool->problem, place, value, clean, got);
    assert_only_that_head_differs(pool, 0, 3, false);
    assert_only_that_head_differs(pool, 1, 2, place != IN_Q);
    free(clean);
    free(got);
}

/* The same where nothing is promised: only the slots that were named are written. */
static void assert_slots_unharmed(struct pool *pool, enum place place, float value)
{
    static const int32_t slots[2] = {3, 2};
    const uint64_t tokens = pool->problem.twin.tokens;
    uint8_t *images[BUFFERS];
    put(pool, place, value);
    read_inputs(&pool->placed, images);
    pool_run(pool, 0, 60, NULL, slots);
    pool_run(pool, 60, tokens - 60, slots, slots);
    for (uint64_t i = 0; i < 3; i++) /* and once more, by single tokens, from what that left */
        pool_run(pool, i, 1, slots, slots);
    free(placed_output(&pool->placed));
    assert_inputs_kept(&pool->placed, images);
    pool_assert_untouched(pool, 0);
    pool_assert_untouched(pool, 1);
}

static void nan_and_inf_stay_in_their_slot(void **state)
{
    (void)state;
    for (int n = 0; n < 3 * DJ_MAP_SOFTMAX; n++) {
        const enum place place = (enum place)(n % 3);
        const float value = (float[]){NAN, INFINITY, -INFINITY}[(n + n / 3) % 3];
        struct pool pool;
        pool_init(&pool, harness_context(0),
                  &(struct problem_params){SHAPE(2, 75, 4, 12, 8), .map = n / 3, .key_heads = 2,
                                           .normalise = problem_may_normalise(n / 3) && n & 1,
                                           .decay = decays, .decay_count = n % 4 ? 3 : 0},
                  4);
        if (promises_nan(harness_context(0)))
            assert_slots(&pool, place, value);
        else
            assert_slots_unharmed(&pool, place, value);
        pool_finish(&pool);
    }
}

/* Numbers of float16 below 2^-14, from which float32 is far away: as good as any others. */
static void subnormal_halves_are_themselves(void **state)
{
    (void)state;
    static const int maps[] = {DJ_MAP_WDCF, DJ_MAP_IDENTITY, DJ_MAP_SOFTMAX};
    for (int n = 0; n < 6; n++) {
        struct problem p;
        const int map = maps[n / 2];
        problem_init(&p, &(struct problem_params){
                             SHAPE(2, 40, 2, 12, 8), .map = map, .q_type = DJ_FLOAT16,
                             .k_type = DJ_FLOAT16, .v_type = DJ_FLOAT16,
                             .normalise = problem_may_normalise(map),
                             .o_type = n & 1 && map != DJ_MAP_IDENTITY ? DJ_FLOAT16 : DJ_FLOAT32});
        for (size_t i = 0; i < twin_v_size(&p.twin); i++)
            p.v[i] = ldexpf((float)(harness_random() % 2047) - 1023, -24);
        for (size_t i = 0; map == DJ_MAP_IDENTITY && i < twin_q_size(&p.twin); i++) {
            p.q[i] = ldexpf((float)(harness_random() % 2047) - 1023, -24);
            p.k[i] = ldexpf((float)(harness_random() % 2047) - 1023, -24);
        }
        problem_test(&p, (enum layout)(n % LAYOUT_COUNT), "subnormal halves");
        problem_finish(&p);
    }
}

/* Makes the numbers of q, k or v subnormal, or (flushed) 0. */
static void make_subnormal(struct problem *p, enum place place, bool flushed)
{
    const struct twin_attention *t = &p->twin;
    float *const x[PLACES] = {p->q, p->k, p->v};
    const size_t size[PLACES] = {twin_q_size(t), twin_k_size(t), twin_v_size(t)};
    for (size_t i = 0; i < size[place]; i++) /* upper halves of float32, which bfloat16 has too */
        x[place][i] = flushed ? 0 : ldexpf((float)(i * 37 % 255) - 127, -133);
}

static bool same_zeros(const float *got, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (got[i] != 0)
            return false;
    return true;
}

/* Of float32 and bfloat16 below 2^-126 each device makes what it does with all such numbers: they
 * count as themselves or as 0. Of the identity map, which alone could magnify them. */
static void subnormal_floats_are_themselves_or_zero(void **state)
{
    (void)state;
    for (int n = 0; n < 2 * PLACES; n++) {
        const enum place place = (enum place)(n / 2);
        const uint32_t type = n & 1 ? DJ_BFLOAT16 : DJ_FLOAT32;
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 40, 2, 12, 8), .map = DJ_MAP_IDENTITY,
                                                  .scale = 1, .q_type = type, .k_type = type,
                                                  .v_type = type});
        float *const other = place == IN_V ? p.k : p.v; /* makes the results normal again */
        for (size_t i = 0; i < (place == IN_V ? twin_k_size : twin_v_size)(&p.twin); i++)
            other[i] = ldexpf(other[i], 100);
        make_subnormal(&p, place, false);
        for (uint32_t i = 0; i < harness_device_count(); i++) {
            problem_solve(&p);
            float *got = problem_run(&p, i, LAYOUT_PLAIN);
            const size_t count = problem_output_size(&p);
            const bool zero = same_zeros(got, count), right = problem_check(&p, got)[0] == 0;
            if (getenv("DIJIANG_TEST_VERBOSE"))
                print_message("# %c: %s\n", "qkv"[place], zero ? "0" : "themselves");
            if (!zero && !right)
                fail_msg("%s\n    %s", problem_check(&p, got), problem_text(&p));
            free(got);
        }
        problem_finish(&p);
    }
}

/* They are nothing beside others: whatever becomes of them, results keep within their bounds, and
 * where all is subnormal, within the least normal number. */
static void subnormal_floats_do_no_harm(void **state)
{
    (void)state;
    static const int maps[] = {DJ_MAP_WDCF, DJ_MAP_ELU, DJ_MAP_PERFORMER_RELU, DJ_MAP_PRF,
                               DJ_MAP_SOFTMAX};
    for (int n = 0; n < 10; n++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(2, 40, 2, 12, 8), .map = maps[n / 2],
                                                  .normalise = true, .full = n & 1});
        const size_t count = twin_q_size(&p.twin);
        for (size_t i = 0; i < count; i += 3) {
            p.q[i] = ldexpf(p.q[i], -130);
            p.k[(i + 1) % count] = ldexpf(p.k[(i + 1) % count], -130);
            p.v[i % twin_v_size(&p.twin)] = ldexpf(1, -140);
        }
        problem_test(&p, LAYOUT_PLAIN, "some subnormal");
        make_subnormal(&p, IN_V, false);
        problem_solve(&p);
        float *got = problem_run(&p, 0, LAYOUT_PLAIN);
        for (size_t i = 0; i < problem_output_size(&p); i++)
            if (!(fabs(got[i] - p.want[i]) <= 0x1p-126))
                fail_msg("element %zu: %g, should be %g\n    %s", i, got[i], p.want[i],
                         problem_text(&p));
        free(got);
        problem_finish(&p);
    }
}

/* -0 counts as 0 everywhere; only whether a result of 0 has a sign may depend on it. */
static void zeros_have_no_sign(void **state)
{
    (void)state;
    static const int maps[] = {DJ_MAP_WDCF,     DJ_MAP_RELU,    DJ_MAP_COSFORMER,
                               DJ_MAP_IDENTITY, DJ_MAP_SOFTMAX, DJ_MAP_PERFORMER_RELU};
    for (int n = 0; n < 6; n++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(2, 40, 2, n & 1 ? 16 : 12, 8),
                                                  .map = maps[n], .full = n % 3 == 1,
                                                  .normalise = problem_may_normalise(maps[n])});
        const size_t sizes[PLACES] = {twin_q_size(&p.twin), twin_k_size(&p.twin),
                                      twin_v_size(&p.twin)};
        float *const arrays[PLACES] = {p.q, p.k, p.v};
        struct made made = problem_make(&p, 0);
        float *got[2];
        for (int sign = 0; sign < 2; sign++) {
            for (int place = 0; place < PLACES; place++)
                for (size_t i = 0; i < sizes[place]; i++)
                    if (i % 3 == 0 || i / 24 % 7 == 0) /* whole rows among them */
                        arrays[place][i] = sign ? -0.0f : 0.0f;
            got[sign] = made_run(&made, &p, LAYOUT_PLAIN);
        }
        for (size_t i = 0; i < problem_output_size(&p); i++)
            if (!(got[0][i] == got[1][i]))
                fail_msg("element %zu: %.9g by 0, %.9g by -0\n    %s", i, got[0][i], got[1][i],
                         problem_text(&p));
        problem_solve(&p);
        problem_assert(&p, got[1], "by -0");
        free(got[0]);
        free(got[1]);
        made_finish(&made);
        problem_finish(&p);
    }
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(nan_and_inf_stay_in_every_map),
    HARNESS_TEST(nan_and_inf_stay_in_every_transform),
    HARNESS_TEST(nan_and_inf_stay_in_every_type),
    HARNESS_TEST(nan_and_inf_stay_in_a_packed_sequence),
    HARNESS_TEST(nan_and_inf_stay_in_their_slot),
    HARNESS_TEST(subnormal_halves_are_themselves),
    HARNESS_TEST(subnormal_floats_are_themselves_or_zero),
    HARNESS_TEST(subnormal_floats_do_no_harm),
    HARNESS_TEST(zeros_have_no_sign),
};

HARNESS_MAIN(tests)
