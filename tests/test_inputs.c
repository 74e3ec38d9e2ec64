/* SPDX-License-Identifier: MIT */
/* Every input a model has: grouped heads, lengths of queries and keys that differ, padded and
 * packed sequences; and what must not change a bit. */
#include "problem.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static const float decays[] = {0.97f, 1, 0.3f};

static void layouts_change_no_bits(void **state)
{
    (void)state;
    for (int n = 0; n < 2 * PROBLEM_MAPS; n++) {
        const int map = problem_maps[n / 2];
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(3, 50, 4, 12, 20), .map = map,
                                                  .key_heads = n & 1 ? 2 : 4, .full = n & 1,
                                                  .normalise = problem_may_normalise(map)});
        for (uint32_t i = 0; i < harness_device_count(); i++) {
            struct made made = problem_make(&p, i);
            float *plain = made_run(&made, &p, LAYOUT_PLAIN);
            for (int layout = 1; layout < LAYOUT_COUNT; layout++) {
                float *got = made_run(&made, &p, (enum layout)layout);
                problem_assert_bits(&p, plain, got, problem_output_size(&p), "layout");
                free(got);
            }
            free(plain);
            made_finish(&made);
        }
        problem_finish(&p);
    }
}

static void grouped_heads(void **state)
{
    (void)state;
    static const size_t heads[] = {1, 2, 3};
    for (int n = 0; n < 2 * DJ_MAP_COUNT; n++)
        problem_test_random(
            &(struct problem_params){
                SHAPE(2, 45, 6, 8, 12), .map = n / 2, .key_heads = heads[n % 3],
                .normalise = problem_may_normalise(n / 2), .own_numbers = n & 1, .full = n % 4 == 3,
                .decay = decays, .decay_count = n % 4 == 2 && n / 2 < DJ_MAP_SOFTMAX ? 3 : 0},
            (enum layout)(n % LAYOUT_COUNT), "grouped heads");
}

/* Grouped heads are key heads repeated: by a stride of 0 where all queries share one, by copies
 * where they are two. */
static void grouped_heads_are_repeated_ones(void **state)
{
    (void)state;
    for (int n = 0; n < 2 * PROBLEM_MAPS; n++) {
        const int map = problem_maps[n / 2];
        const size_t key_heads = n & 1 ? 2 : 1, H = 6, d = 8, e = 4, tokens = 2 * 70;
        struct problem p, repeated;
        struct problem_params params = {SHAPE(2, 70, H, d, e), .map = map, .full = n % 3 == 0,
                                        .normalise = problem_may_normalise(map),
                                        .key_heads = key_heads};
        problem_init(&p, &params);
        params.key_heads = 0;
        problem_init(&repeated, &params);
        memcpy(repeated.q, p.q, twin_q_size(&p.twin) * sizeof(float));
        for (size_t r = 0; r < tokens * H; r++) {
            const size_t from = r / H * key_heads + r % H / (H / key_heads);
            memcpy(repeated.k + r * d, p.k + from * d, d * sizeof(float));
            memcpy(repeated.v + r * e, p.v + from * e, e * sizeof(float));
        }
        for (uint32_t i = 0; i < harness_device_count(); i++) {
            struct made made = problem_make(&p, i);
            float *want = made_run(&made, &p, LAYOUT_PLAIN);
            struct placed placed;
            dj_attention *plan = NULL;
            HARNESS_OK(dj_attention_create(made.context, &repeated.plan_params, &plan));
            problem_place_on(&repeated, made.context, LAYOUT_PLAIN, plan, made.features, &placed);
            if (key_heads == 1)
                placed.args.k.stride[2] = placed.args.v.stride[2] = 0;
            HARNESS_OK(dj_attention_run(plan, &placed.args));
            float *got = placed_output(&placed);
            problem_assert_bits(&p, want, got, problem_output_size(&p), "repeated key heads");
            free(got);
            free(want);
            placed_finish(&placed);
            dj_attention_destroy(&plan);
            made_finish(&made);
        }
        problem_finish(&repeated);
        problem_finish(&p);
    }
}

static void cross_attention(void **state)
{
    (void)state;
    static const size_t lengths[][2] = {{1, 70}, {70, 1}, {33, 64}, {100, 31},
                                        {0, 40}, {40, 0}, {0, 0}};
    for (int map = 0; map < DJ_MAP_LINFORMER; map++) {
        struct problem_params params = {SHAPE(2, 1, 4, 12, 8),
                                        .map = map,
                                        .full = true,
                                        .cross = true,
                                        .key_heads = 2,
                                        .max_tokens = 128,
                                        .normalise = problem_may_normalise(map) && map % 3 != 1};
        struct problem p;
        problem_init(&p, &params);
        for (uint32_t i = 0; i < harness_device_count(); i++) {
            struct made made = problem_make(&p, i);
            for (size_t n = 0; n < sizeof(lengths) / sizeof(*lengths); n++) {
                params.query_tokens = lengths[n][0];
                params.tokens = lengths[n][1];
                problem_redraw(&p, &params);
                problem_solve(&p);
                float *got = made_run(&made, &p, (enum layout)(n % LAYOUT_COUNT));
                problem_assert(&p, got, "cross attention");
                free(got);
            }
            made_finish(&made);
        }
        problem_finish(&p);
    }
}

/* One call by indices of the host and of the device, which give the same bits. */
static void test_both_indices(struct problem *p, const struct made *made, enum layout layout,
                              const char *what)
{
    problem_solve(p);
    p->params.device_spans = false;
    float *by_host = made_run(made, p, layout);
    problem_assert(p, by_host, what);
    p->params.device_spans = true;
    float *by_device = made_run(made, p, layout);
    problem_assert_bits(p, by_host, by_device, problem_output_size(p), what);
    free(by_host);
    free(by_device);
}

/* Several calls of one plan, each with other spans. */
static void test_spans(const struct problem_params *params, size_t calls, const char *what)
{
    struct problem p;
    problem_init(&p, &params[0]);
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        struct made made = problem_make(&p, i);
        for (size_t n = 0; n < 2 * calls; n++) {
            problem_redraw(&p, &params[n % calls]);
            test_both_indices(&p, &made, (enum layout)(n % LAYOUT_COUNT), what);
        }
        made_finish(&made);
    }
    problem_finish(&p);
}

/* Padded on either side or both, packed into few long or many short sequences. */
static void padded_and_packed_sequences(void **state)
{
    (void)state;
    for (int map = 0; map < DJ_MAP_LINFORMER; map++) {
        for (int normalise = 0; normalise <= problem_may_normalise(map); normalise++) {
            struct problem_params params[3];
            for (size_t n = 0; n < 3; n++)
                params[n] = (struct problem_params){SHAPE(n ? 1 : 5, n ? 230 : 75, 2, 8, 12),
                                                    .map = map,
                                                    .normalise = normalise,
                                                    .max_tokens = 230,
                                                    .spans = n ? DJ_SPANS_PACKED : DJ_SPANS_PADDED,
                                                    .sequences = n == 1 ? 7 : 60,
                                                    .decay = decays,
                                                    .decay_count = map < DJ_MAP_SOFTMAX ? 3 : 0};
            test_spans(params, 3, "padded and packed");
        }
    }
}

/* Not causal: spans of keys, of queries, of both. */
static void query_spans(void **state)
{
    (void)state;
    static const uint32_t kinds[][2] = {{DJ_SPANS_PADDED, DJ_SPANS_PADDED},
                                        {DJ_SPANS_PADDED, DJ_SPANS_WHOLE},
                                        {DJ_SPANS_WHOLE, DJ_SPANS_PADDED},
                                        {DJ_SPANS_PACKED, DJ_SPANS_PACKED}};
    for (int map = 0; map < DJ_MAP_LINFORMER; map++) {
        struct problem_params params[4];
        for (size_t n = 0; n < 4; n++) {
            const bool packed = kinds[n][0] == DJ_SPANS_PACKED;
            params[n] = (struct problem_params){SHAPE(packed ? 1 : 4, packed ? 150 : 50, 4, 8, 12),
                                                .map = map,
                                                .full = true,
                                                .cross = true,
                                                .max_tokens = 160,
                                                .query_tokens = packed ? 90 : 40,
                                                .normalise = problem_may_normalise(map),
                                                .key_heads = 2,
                                                .sequences = 6,
                                                .spans = kinds[n][0],
                                                .query_spans = kinds[n][1]};
        }
        test_spans(params, 4, "query spans");
    }
}

/* A sequence of p as a problem of its own, sharing p's arrays but for q, k and v. */
static struct problem extract(const struct problem *p, size_t n)
{
    const struct twin_attention *t = &p->twin;
    const struct twin_span qs = twin_query_span(t, n), ks = twin_key_span(t, n);
    const size_t qrow = t->heads * t->dim, krow = twin_key_heads(t) * t->dim;
    const size_t vrow = twin_key_heads(t) * t->value_dim;
    const size_t query = qs.row * twin_query_tokens(t) + qs.first;
    const size_t key = ks.row * t->tokens + ks.first;
    struct problem one = *p;
    one.spans = one.query_spans = NULL;
    one.twin.spans = one.twin.query_spans = NULL;
    one.twin.batch = 1;
    one.twin.tokens = ks.count;
    one.twin.query_tokens = qs.count;
    one.params.spans = one.params.query_spans = DJ_SPANS_WHOLE;
    one.want = one.terms = NULL;
    one.q += query * qrow;
    one.k += key * krow;
    one.v += key * vrow;
    return one;
}

/* Asserts that each sequence gives the bits that it gives alone. */
static void assert_as_alone(const struct problem *p, const struct made *made, const char *what)
{
    const struct twin_attention *t = &p->twin;
    const size_t row = t->heads * t->value_dim;
    float *together = made_run(made, p, LAYOUT_PLAIN);
    for (size_t n = 0; n < twin_sequences(t); n++) {
        const struct problem one = extract(p, n);
        const struct twin_span span = twin_query_span(t, n);
        float *alone = made_run(made, &one, LAYOUT_PLAIN);
        problem_assert_bits(&one, alone,
                            together + (span.row * twin_query_tokens(t) + span.first) * row,
                            span.count * row, what);
        free(alone);
    }
    free(together);
}

static void sequences_do_not_see_each_other(void **state)
{
    (void)state;
    for (int n = 0; n < 2 * PROBLEM_MAPS; n++) {
        const int map = problem_maps[n / 2];
        const bool full = n & 1;
        struct problem_params params = {SHAPE(1, 200, 2, 12, 8),
                                        .map = map,
                                        .full = full,
                                        .max_tokens = 200,
                                        .normalise = problem_may_normalise(map),
                                        .sequences = 6,
                                        .decay = decays,
                                        .decay_count = !full && map < DJ_MAP_SOFTMAX ? 3 : 0,
                                        /* the default is another one for one token alone */
                                        .family = map < DJ_MAP_SOFTMAX ? DJ_FAMILY_TILED : 0};
        struct problem p;
        problem_init(&p, &params);
        for (uint32_t i = 0; i < harness_device_count(); i++) {
            struct made made = problem_make(&p, i);
            for (int way = 0; way < 4; way++) {
                const bool packed = way & 1;
                params.spans = params.query_spans = packed ? DJ_SPANS_PACKED : DJ_SPANS_PADDED;
                params.batch = packed ? 1 : 4;
                params.tokens = packed ? 200 : 80;
                params.device_spans = way & 2;
                problem_redraw(&p, &params);
                assert_as_alone(&p, &made, packed ? "packed" : "padded");
            }
            made_finish(&made);
        }
        problem_finish(&p);
    }
}

static void draw_short_sequences(struct problem *p, size_t count)
{
    size_t at = 0;
    for (size_t n = 0; n < count; n++) {
        const size_t length = (size_t)(harness_random() % 10);
        p->spans[n] = (struct twin_span){0, at, length};
        at += length;
    }
    assert_true(at <= p->twin.tokens);
}

/* Thousands of sequences of 0 to 9 tokens in one call. */
static void thousands_of_short_sequences(void **state)
{
    (void)state;
    enum {
        COUNT = 3000
    };
    for (int n = 0; n < PROBLEM_MAPS; n++) {
        const int map = problem_maps[n];
        struct problem p;
        problem_init(&p, &(struct problem_params){
                             SHAPE(1, 9 * COUNT, 2, 8, 8), .map = map, .max_tokens = 9,
                             .normalise = problem_may_normalise(map), .spans = DJ_SPANS_PACKED,
                             .sequences = COUNT, .device_spans = n & 1});
        draw_short_sequences(&p, COUNT);
        problem_test(&p, LAYOUT_PLAIN, "3000 short sequences");
        problem_finish(&p);
    }
}

/* Packed cosFormer counts each sequence from 1, and refuses none whose own length is below M. */
static void places_count_from_each_sequence(void **state)
{
    (void)state;
    for (int device = 0; device < 2; device++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 300, 2, 8, 8), .map = DJ_MAP_COSFORMER,
                                                  .max_tokens = 60, .normalise = true,
                                                  .spans = DJ_SPANS_PACKED, .sequences = 6,
                                                  .device_spans = device});
        for (size_t n = 0; n < 6; n++)
            p.spans[n] = (struct twin_span){0, n * 50, 50};
        p.spans[3].count = 40;
        for (size_t n = 4; n < 6; n++)
            p.spans[n].first -= 10;
        p.spans[5].count = 60;
        problem_test(&p, LAYOUT_PLAIN, "places");
        problem_finish(&p);
    }
}

static void run_wild(const struct problem *p, const struct made *made, const int32_t indices[8])
{
    struct placed placed;
    problem_place_on(p, made->context, LAYOUT_SLICED, made->plan, made->features, &placed);
    const struct dj_indices *at = &placed.args.spans.indices;
    HARNESS_OK(dj_buffer_write(at->buffer, at->offset, indices, 8 * sizeof(*indices)));
    HARNESS_OK(dj_attention_run(made->plan, &placed.args));
    free(placed_output(&placed)); /* asserts what was not written */
    placed_finish(&placed);
}

/* Indices of a buffer that point anywhere are clamped: nothing outside is read or written, and the
 * work ends. What lies inside is not promised, but that it is no sequence's NaN. */
static void wild_indices_are_clamped(void **state)
{
    (void)state;
    static const int32_t wild[][8] = {
        {INT_MIN, INT_MAX, -1, 10, 39, 1000, 40, 1},
        {INT_MAX, INT_MAX, 0, -5, INT_MIN, INT_MIN, 41, INT_MAX},
        {0, 40, 40, 40, 1, INT_MAX, -40, 80},
    };
    for (int n = 0; n < PROBLEM_MAPS; n++) {
        struct problem_params params = {SHAPE(4, 40, 2, 8, 8), .map = problem_maps[n],
                                        .normalise = problem_may_normalise(problem_maps[n]),
                                        .device_spans = true};
        struct problem p;
        problem_init(&p, &params);
        for (uint32_t i = 0; i < harness_device_count(); i++) {
            struct made made = problem_make(&p, i);
            for (size_t way = 0; way < 6; way++) {
                const bool packed = way & 1;
                params.batch = packed ? 1 : 4;
                params.spans = packed ? DJ_SPANS_PACKED : DJ_SPANS_PADDED;
                params.sequences = packed ? 7 : 0;
                problem_redraw(&p, &params);
                for (size_t b = 0; b < (packed ? 7u : 4u); b++) /* all may be read and written */
                    p.spans[b] = packed ? (struct twin_span){0, b ? 40 : 0, b ? 0 : 40}
                                        : (struct twin_span){b, 0, 40};
                run_wild(&p, &made, wild[way / 2]);
            }
            made_finish(&made);
        }
        problem_finish(&p);
    }
}

/* `longest` cuts what is longer; a bound that is exact, too large or not given changes nothing. */
static void longest_bounds_sequences(void **state)
{
    (void)state;
    for (int n = 0; n < PROBLEM_MAPS; n++) {
        struct problem p;
        problem_init(&p,
                     &(struct problem_params){SHAPE(4, 90, 2, 8, 8), .map = problem_maps[n],
                                              .normalise = problem_may_normalise(problem_maps[n]),
                                              .spans = DJ_SPANS_PADDED, .device_spans = true});
        for (size_t b = 0; b < 4; b++)
            p.spans[b] = (struct twin_span){b, 3 * b, 20 * b};
        problem_solve(&p);
        struct problem cut = p;
        struct twin_span spans[4];
        for (size_t b = 0; b < 4; b++)
            spans[b] = (struct twin_span){b, 3 * b, 20 * b < 37 ? 20 * b : 37};
        cut.spans = spans;
        cut.twin.spans = spans;
        cut.want = cut.terms = NULL;
        problem_solve(&cut);
        for (uint32_t i = 0; i < harness_device_count(); i++) {
            struct placed placed;
            problem_place(&p, harness_context(i), LAYOUT_SLICED, &placed);
            static const uint32_t bounds[] = {60, 0, 61, 90};
            for (size_t b = 0; b < 4; b++) {
                placed.args.spans.longest = bounds[b];
                placed_poison(&placed);
                HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
                float *got = placed_output(&placed);
                problem_assert(&p, got, "longest");
                free(got);
            }
            placed.args.spans.longest = 37;
            placed.problem = &cut; /* whose rows are fewer */
            placed_poison(&placed);
            HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
            float *got = placed_output(&placed);
            problem_assert(&cut, got, "cut by longest");
            free(got);
            placed_finish(&placed);
        }
        free(cut.want);
        free(cut.terms);
        problem_finish(&p);
    }
}

/* Nothing to do is done: no sequence, no token, no head, no packed sequence. */
static void nothing_is_fine(void **state)
{
    (void)state;
    static const struct {
        size_t batch, tokens;
        uint32_t kind;
    } shapes[4] = {{0, 33, DJ_SPANS_WHOLE},
                   {2, 0, DJ_SPANS_WHOLE},
                   {0, 0, DJ_SPANS_PADDED},
                   {1, 33, DJ_SPANS_PACKED}};
    for (int map = 0; map < DJ_MAP_LINFORMER; map++) {
        struct problem_params params = {SHAPE(0, 33, 2, 8, 8), .map = map,
                                        .normalise = problem_may_normalise(map)};
        struct problem p;
        problem_init(&p, &params);
        struct made made = problem_make(&p, 0);
        for (size_t n = 0; n < 4; n++) {
            params.batch = shapes[n].batch;
            params.tokens = shapes[n].tokens;
            params.spans = shapes[n].kind;
            problem_redraw(&p, &params);
            free(made_run(&made, &p, LAYOUT_PLAIN)); /* asserts that nothing is written */
        }
        made_finish(&made);
        problem_finish(&p);
        problem_test_random(&(struct problem_params){SHAPE(2, 33, 0, 8, 8), .map = map,
                                                     .normalise = problem_may_normalise(map)},
                            LAYOUT_PLAIN, "no heads");
    }
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(layouts_change_no_bits),          HARNESS_TEST(grouped_heads),
    HARNESS_TEST(grouped_heads_are_repeated_ones), HARNESS_TEST(cross_attention),
    HARNESS_TEST(padded_and_packed_sequences),     HARNESS_TEST(query_spans),
    HARNESS_TEST(sequences_do_not_see_each_other), HARNESS_TEST(thousands_of_short_sequences),
    HARNESS_TEST(places_count_from_each_sequence), HARNESS_TEST(wild_indices_are_clamped),
    HARNESS_TEST(longest_bounds_sequences),        HARNESS_TEST(nothing_is_fine),
};

HARNESS_MAIN(tests)
