/* SPDX-License-Identifier: MIT */
#include "problem.h"

#include <dijiang/dct.h>

#include "half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float *allocate(size_t n)
{
    float *x = calloc(n ? n : 1, sizeof(*x));
    assert_non_null(x);
    return x;
}

static bool is_softmax(int map)
{
    return map == DJ_MAP_SOFTMAX || map == DJ_MAP_LINFORMER;
}

static size_t key_heads(const struct problem_params *params)
{
    return params->key_heads ? params->key_heads : params->heads;
}

static size_t sets(const struct problem_params *params)
{
    return params->own_numbers && key_heads(params) > 0 ? key_heads(params) : 1;
}

static size_t largest(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* The plan's max_tokens: T of Linformer, M of cosFormer. */
static size_t max_tokens(const struct problem_params *params)
{
    if (params->map != DJ_MAP_COSFORMER && params->map != DJ_MAP_LINFORMER)
        return 0;
    if (params->max_tokens)
        return params->max_tokens;
    const bool queries = params->map == DJ_MAP_COSFORMER && params->cross;
    return largest(1, largest(params->tokens, queries ? params->query_tokens : 0));
}

static float *draw(size_t n, double sigma)
{
    float *x = allocate(n);
    harness_fill_normal(x, n, sigma);
    return x;
}

static float *draw_weights(size_t rows, size_t m)
{
    float *weights = allocate(rows * m);
    for (size_t i = 0; i < rows * m; i++)
        if (harness_uniform() > 1. / 3)
            weights[i] = (float)(harness_normal() + (harness_uniform() < 0.5 ? 1 : -1));
    for (size_t r = 0; r < rows; r++) /* every head keeps one feature, whatever was drawn */
        weights[r * m] = 0.75f;
    return weights;
}

/* Rows on the unit sphere. */
static float *draw_directions(size_t rows, size_t d, bool unit)
{
    float *V = draw(rows * d, 1);
    for (size_t r = 0; unit && r < rows; r++) {
        double square = 0;
        for (size_t c = 0; c < d; c++)
            square += (double)V[r * d + c] * V[r * d + c];
        for (size_t c = 0; c < d; c++)
            V[r * d + c] = (float)(V[r * d + c] / sqrt(square));
    }
    return V;
}

static void draw_numbers(struct problem *problem)
{
    const struct problem_params *params = &problem->params;
    const int map = params->map;
    const size_t d = params->dim, rows = sets(params);
    const size_t m = params->features ? params->features : d;
    if (map == DJ_MAP_WDCF || map == DJ_MAP_SOFTMAX_DCT || map == DJ_MAP_PFF)
        problem->frequencies = draw(rows * m, 1);
    if (map == DJ_MAP_PFF || map == DJ_MAP_PRF || map == DJ_MAP_PERFORMER_RELU)
        problem->directions = draw_directions(rows * m, d, map == DJ_MAP_PFF);
    if (params->weighted && (map == DJ_MAP_WDCF || map == DJ_MAP_PFF || map == DJ_MAP_PRF))
        problem->weights = draw_weights(rows, m);
    if (map == DJ_MAP_LINFORMER) {
        const size_t T = max_tokens(params);
        problem->key_projection = draw(rows * m * T, 1 / sqrt((double)T));
        problem->value_projection = draw(rows * m * T, 1 / sqrt((double)T));
    }
    if (params->decay_count) {
        problem->decay = allocate(key_heads(params));
        for (size_t h = 0; h < key_heads(params); h++)
            problem->decay[h] = params->decay[h % params->decay_count];
    }
}

static void set_plan_params(struct problem *problem)
{
    const struct problem_params *params = &problem->params;
    const bool always = is_softmax(params->map), linformer = params->map == DJ_MAP_LINFORMER;
    problem->plan_params = (struct dj_attention_params){
        .map = (uint32_t)params->map,
        .heads = (uint32_t)params->heads,
        .key_heads = (uint32_t)params->key_heads,
        .dim = (uint32_t)params->dim,
        .value_dim = (uint32_t)params->value_dim,
        .features = (uint32_t)params->features,
        .max_tokens = (uint32_t)max_tokens(params),
        .causal = params->full || linformer ? DJ_OFF : DJ_ON,
        .normalise = params->normalise || always ? DJ_ON : DJ_OFF,
        .key_normalise = params->key_normalise ? DJ_ON : DJ_OFF,
        .q_type = params->q_type,
        .k_type = params->k_type,
        .v_type = params->v_type,
        .o_type = params->o_type,
        /* a driver takes seconds to compile a generated transform, whose lengths are test-dct's */
        .dct_path = params->dim % 16 == 0 ? DJ_DCT_PATH_DEFAULT : DJ_DCT_PATH_DENSE,
        .family = params->family,
        .scale = params->scale,
        .decay = problem->decay,
    };
}

static void set_twin(struct problem *problem)
{
    const struct problem_params *params = &problem->params;
    const double standard = params->map == DJ_MAP_SOFTMAX_DCT ? 1 : 1 / sqrt((double)params->dim);
    problem->twin = (struct twin_attention){
        .map = params->map,
        .batch = params->batch,
        .tokens = params->tokens,
        .query_tokens = params->cross ? params->query_tokens : params->tokens,
        .heads = params->heads,
        .key_heads = params->key_heads,
        .dim = params->dim,
        .value_dim = params->value_dim,
        .features = params->features,
        .max_tokens = max_tokens(params),
        .causal = problem->plan_params.causal == DJ_ON,
        .normalise = problem->plan_params.normalise == DJ_ON,
        .key_normalise = params->key_normalise,
        .kernel = params->gaussian ? DJ_KERNEL_GAUSSIAN : DJ_KERNEL_SOFTMAX,
        .scale = params->scale > 0 ? params->scale : standard,
        .decay = problem->decay,
        .frequencies = problem->frequencies,
        .weights = problem->weights,
        .directions = problem->directions,
        .key_projection = problem->key_projection,
        .value_projection = problem->value_projection,
        .feature_heads = params->own_numbers ? key_heads(params) : 0,
        .type = (int)params->o_type,
    };
}

static int compare_sizes(const void *a, const void *b)
{
    const size_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static size_t below(size_t n)
{
    return (size_t)(harness_random() % n);
}

/* One row, cut at sorted random places, the first and last of them often the row's ends. */
static void draw_packed(struct twin_span *spans, size_t count, size_t tokens)
{
    size_t *cuts = calloc(count + 1, sizeof(*cuts));
    assert_non_null(cuts);
    for (size_t n = 0; n <= count; n++)
        cuts[n] = below(tokens + 1);
    if (below(2))
        cuts[0] = 0;
    if (below(2))
        cuts[count] = tokens;
    qsort(cuts, count + 1, sizeof(*cuts), compare_sizes);
    for (size_t n = 0; n < count; n++)
        spans[n] = (struct twin_span){0, cuts[n], cuts[n + 1] - cuts[n]};
    free(cuts);
}

/* Rows with tokens left out on the left, the right, both sides or neither, or with none left. */
static void draw_padded(struct twin_span *spans, size_t count, size_t tokens)
{
    for (size_t n = 0; n < count; n++) {
        const size_t style = below(10), length = below(tokens + 1);
        spans[n] = (struct twin_span){n, 0, length};
        if (style < 3)
            spans[n].first = tokens - length;
        else if (style < 6)
            spans[n].first = below(tokens - length + 1);
        else if (style == 8)
            spans[n].count = tokens;
        else if (style == 9)
            spans[n].count = 0;
    }
}

static struct twin_span *draw_spans(const struct problem_params *params, uint32_t kind,
                                    size_t tokens)
{
    const size_t count = kind == DJ_SPANS_PACKED ? params->sequences : params->batch;
    if (kind == DJ_SPANS_WHOLE)
        return NULL;
    struct twin_span *spans = calloc(count + 1, sizeof(*spans));
    assert_non_null(spans);
    if (kind == DJ_SPANS_PACKED)
        draw_packed(spans, count, tokens);
    else
        draw_padded(spans, count, tokens);
    return spans;
}

static float *draw_scales(size_t heads, size_t places)
{
    float *scales = places ? allocate(heads * places) : NULL;
    for (size_t i = 0; i < heads * places; i++)
        scales[i] = (float)((harness_uniform() < 0.3 ? -1 : 1) * (0.25 + 1.75 * harness_uniform()));
    return scales;
}

/* What a call brings: spans, scales, q, k and v. */
static void draw_call(struct problem *problem)
{
    const struct problem_params *params = &problem->params;
    const double sigma = params->sigma > 0 ? params->sigma : 1;
    struct twin_attention *t = &problem->twin;
    set_twin(problem);
    problem->spans = draw_spans(params, params->spans, t->tokens);
    if (!t->causal)
        problem->query_spans = draw_spans(params, params->query_spans, t->query_tokens);
    t->spans = problem->spans;
    t->query_spans = problem->query_spans;
    t->sequences =
        params->spans == DJ_SPANS_PACKED || (!t->causal && params->query_spans == DJ_SPANS_PACKED)
            ? params->sequences
            : params->batch;
    t->query_scales = problem->query_scales = draw_scales(params->heads, params->query_places);
    t->key_scales = problem->key_scales = draw_scales(key_heads(params), params->key_places);
    t->query_places = params->query_places;
    t->key_places = params->key_places;
    problem->q = draw(twin_q_size(t), sigma);
    problem->k = draw(twin_k_size(t), sigma);
    problem->v = draw(twin_v_size(t), 1);
    half_round(params->q_type, problem->q, twin_q_size(t));
    half_round(params->k_type, problem->k, twin_k_size(t));
    half_round(params->v_type, problem->v, twin_v_size(t));
}

void problem_init(struct problem *problem, const struct problem_params *params)
{
    *problem = (struct problem){.params = *params};
    draw_numbers(problem);
    set_plan_params(problem);
    draw_call(problem);
}

static void free_call(struct problem *problem)
{
    free(problem->q);
    free(problem->k);
    free(problem->v);
    free(problem->spans);
    free(problem->query_spans);
    free(problem->query_scales);
    free(problem->key_scales);
    free(problem->want);
    free(problem->terms);
    problem->want = problem->terms = NULL;
    problem->spans = problem->query_spans = NULL;
}

void problem_redraw(struct problem *problem, const struct problem_params *params)
{
    struct problem_params *own = &problem->params;
    own->max_tokens = problem->plan_params.max_tokens;
    free_call(problem);
    own->batch = params->batch;
    own->tokens = params->tokens;
    own->cross = params->cross;
    own->query_tokens = params->query_tokens;
    own->sigma = params->sigma;
    own->spans = params->spans;
    own->query_spans = params->query_spans;
    own->sequences = params->sequences;
    own->device_spans = params->device_spans;
    own->query_places = params->query_places;
    own->key_places = params->key_places;
    draw_call(problem);
}

/* Whether the products may be of float16 factors in cooperative matrices: of other types than
 * float16 only if that is asked for. */
static bool has_narrow_factors(const struct problem *problem)
{
    const struct problem_params *const p = &problem->params;
    const char *const asked = getenv("DIJIANG_MATRICES");
    const bool narrow = p->q_type && p->k_type && p->v_type && p->o_type; /* none is float32 */
    const bool halves = p->q_type == DJ_FLOAT16 && p->k_type == DJ_FLOAT16 &&
                        p->v_type == DJ_FLOAT16 && p->o_type == DJ_FLOAT16;
    return narrow && (halves || (asked != NULL && strcmp(asked, "1") == 0)) &&
           harness_device_count() > 0 && (dj_context_uses(harness_context(0)) & DJ_USE_MATRICES);
}

static double *solve(const struct problem *problem, const struct twin_attention *t)
{
    double *o = calloc(twin_o_size(t) + 1, sizeof(*o));
    assert_non_null(o);
    if (!is_softmax(t->map) && t->tokens > 100)
        twin_attention_recurrent(t, problem->q, problem->k, problem->v, o);
    else
        twin_attention(t, problem->q, problem->k, problem->v, o);
    return o;
}

void problem_solve(struct problem *problem)
{
    struct twin_attention t = problem->twin;
    half_round(problem->params.q_type, problem->q, twin_q_size(&t));
    half_round(problem->params.k_type, problem->k, twin_k_size(&t));
    half_round(problem->params.v_type, problem->v, twin_v_size(&t));
    free(problem->want);
    free(problem->terms);
    problem->terms = NULL;
    problem->want = solve(problem, &t);
    problem->bound = twin_bound(&t, problem->q, problem->k);
    if (twin_is_signed(&t) || has_narrow_factors(problem)) {
        t.absolute = 1;
        problem->terms = solve(problem, &t);
    }
}

void problem_fit(struct problem *problem)
{
    problem_solve(problem);
    double size = 0;
    for (size_t i = 0; i < problem_output_size(problem); i++)
        size = fmax(size, fabs(problem->want[i]));
    if (size == 0 || !isfinite(size))
        return;
    int exponent = 0;
    frexp(size, &exponent);
    if (exponent < -8) /* so that v itself stays in range */
        exponent = -8;
    for (size_t i = 0; i < twin_v_size(&problem->twin); i++)
        problem->v[i] = ldexpf(problem->v[i], -exponent);
    problem_solve(problem);
}

void problem_finish(struct problem *problem)
{
    free_call(problem);
    free(problem->frequencies);
    free(problem->weights);
    free(problem->decay);
    free(problem->directions);
    free(problem->key_projection);
    free(problem->value_projection);
    *problem = (struct problem){0};
}

size_t problem_output_size(const struct problem *problem)
{
    return twin_o_size(&problem->twin);
}

const char *problem_text(const struct problem *problem)
{
    static char text[1024];
    static const char *const types[] = {"f32", "f16", "bf16"};
    static const char *const kinds[] = {"whole", "padded", "packed"};
    const struct problem_params *p = &problem->params;
    const struct twin_attention *t = &problem->twin;
    snprintf(text, sizeof(text),
             "map %d B=%zu T=%zu Tq=%zu H=%zu Hk=%zu d=%zu e=%zu m=%zu max_tokens %zu, %s, "
             "normalise %d, key_normalise %d, kernel %d, scale %g, decay %g%s, weights %d, "
             "feature heads %zu, sigma %g, types %s %s %s %s, spans %s, query spans %s, N=%zu%s, "
             "places %zu %zu",
             t->map, t->batch, t->tokens, twin_query_tokens(t), t->heads, twin_key_heads(t), t->dim,
             t->value_dim, twin_features_count(t), t->max_tokens, t->causal ? "causal" : "full",
             t->normalise, t->key_normalise, t->kernel, t->scale,
             t->decay && twin_key_heads(t) ? (double)t->decay[0] : 1, t->decay ? " .." : "",
             t->weights != NULL, t->feature_heads, p->sigma, types[p->q_type], types[p->k_type],
             types[p->v_type], types[p->o_type], kinds[p->spans], kinds[p->query_spans],
             twin_sequences(t), p->device_spans ? " on the device" : "", t->query_places,
             t->key_places);
    return text;
}

/* Squares summed over n elements: of got - want, of want, of terms. */
struct squares {
    double error, want, terms;
};

static struct squares sum_squares(const struct problem *problem, const float *got, size_t first,
                                  size_t n)
{
    struct squares s = {0};
    for (size_t i = first; i < first + n; i++) {
        const double want = problem->want[i], error = got[i] - want;
        if (!isfinite(got[i]) || !isfinite(want))
            return (struct squares){.error = INFINITY};
        s.error += error * error;
        s.want += want * want;
        s.terms += problem->terms ? problem->terms[i] * problem->terms[i] : 0;
    }
    return s;
}

/* What the roundings of factors may make of a sum of squares' elements: of each term 4 times half
 * the distance of the factors' numbers. */
static double rounded(const struct problem *problem, const struct squares *s)
{
    return 4 * (has_narrow_factors(problem) ? 0x1p-12 : 0x1p-24) * sqrt(s->terms);
}

/* The error that n elements of the output may have, relative to their rms. A type's smallest
 * numbers have an absolute one: half the distance of float16's, what float32 may flush to 0. */
static double allowed(const struct problem *problem, const struct squares *s, size_t n)
{
    const double floor = problem->twin.type == DJ_FLOAT16 ? 0x1p-25 : 1e-36;
    const double of_terms = twin_is_signed(&problem->twin) ? rounded(problem, s) : 0;
    if (s->want == 0)
        return 0; /* exactly */
    return problem->bound + (of_terms + floor * sqrt((double)n)) / sqrt(s->want);
}

/* The same of one row of n elements: values may cancel in a row, as weights with signs may in all.
 */
static double allowed_of_row(const struct problem *problem, const struct squares *s, size_t n)
{
    const double most = 64 * allowed(problem, s, n);
    if (s->want == 0 || twin_is_signed(&problem->twin) || !has_narrow_factors(problem))
        return most;
    return most + rounded(problem, s) / sqrt(s->want);
}

const char *problem_check(const struct problem *problem, const float *got)
{
    static char text[256];
    const struct twin_attention *t = &problem->twin;
    const size_t e = t->value_dim, rows = e ? twin_o_size(t) / e : 0;
    const struct squares all = sum_squares(problem, got, 0, rows * e);
    const double error = all.error == 0 ? 0 : sqrt(all.error / all.want);
    text[0] = 0;
    if (getenv("DIJIANG_TEST_VERBOSE"))
        print_message("# error %.3g, bound %.3g\n", error, allowed(problem, &all, rows * e));
    for (size_t r = 0; r < rows && !text[0]; r++) {
        const struct squares row = sum_squares(problem, got, r * e, e);
        const double most = allowed_of_row(problem, &row, e);
        if (row.error == 0 || sqrt(row.error) <= most * sqrt(row.want))
            continue;
        snprintf(text, sizeof(text),
                 "row %zu (row %zu of the batch, token %zu, head %zu): %g .., should be %g .., "
                 "error %.3g, bound %.3g",
                 r, r / t->heads / twin_query_tokens(t), r / t->heads % twin_query_tokens(t),
                 r % t->heads, got[r * e], problem->want[r * e], sqrt(row.error / row.want), most);
    }
    if (!text[0] && !(error <= allowed(problem, &all, rows * e)))
        snprintf(text, sizeof(text), "error %.3g exceeds bound %.3g", error,
                 allowed(problem, &all, rows * e));
    return text;
}

void problem_assert(const struct problem *problem, const float *got, const char *what)
{
    const char *wrong = problem_check(problem, got);
    if (wrong[0])
        fail_msg("%s: %s\n    %s", what, wrong, problem_text(problem));
}

void problem_assert_bits(const struct problem *problem, const float *want, const float *got,
                         size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(want + i, got + i, sizeof(*got)) != 0)
            fail_msg("%s: element %zu of %zu is %.9g, not %.9g\n    %s", what, i, n, got[i],
                     want[i], problem_text(problem));
}

void problem_test(struct problem *problem, enum layout layout, const char *what)
{
    problem_solve(problem);
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        float *got = problem_run(problem, i, layout);
        problem_assert(problem, got, what);
        free(got);
    }
}

void problem_test_calls(uint32_t device, const struct problem_params *params, const size_t *tokens,
                        size_t count, size_t layouts,
                        void (*change)(struct problem *problem, size_t call), const char *what)
{
    const bool fits = params->o_type == DJ_FLOAT16 && !params->normalise;
    struct problem p;
    problem_init(&p, params);
    struct made made = problem_make(&p, device);
    for (size_t i = 0; i < count; i++) {
        struct problem_params next = *params;
        next.tokens = tokens[i];
        problem_redraw(&p, &next);
        if (change != NULL)
            change(&p, i);
        if (fits)
            problem_fit(&p);
        else
            problem_solve(&p);
        float *got = made_run(&made, &p, (enum layout)(i % layouts));
        problem_assert(&p, got, what);
        free(got);
    }
    made_finish(&made);
    problem_finish(&p);
}

void problem_test_random(const struct problem_params *params, enum layout layout, const char *what)
{
    struct problem problem;
    problem_init(&problem, params);
    problem_test(&problem, layout, what);
    problem_finish(&problem);
}

const int problem_maps[PROBLEM_MAPS] = {DJ_MAP_WDCF,      DJ_MAP_SOFTMAX_DCT, DJ_MAP_IDENTITY,
                                        DJ_MAP_COSFORMER, DJ_MAP_PRF,         DJ_MAP_SOFTMAX};

bool problem_may_normalise(int map)
{
    return map != DJ_MAP_IDENTITY;
}
