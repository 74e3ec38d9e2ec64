/* SPDX-License-Identifier: MIT */
/* The paper's reference implementation: its inputs and outputs (tests/data/README.md). */
#include "problem.h"

#include "../samples/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double data_error = 1.2e-6; /* of the files themselves: 1.1e-6, rounded up */

static struct safetensors *open_file(const char *name)
{
    struct safetensors_error error;
    struct safetensors *file = safetensors_open(harness_data(name), &error);
    if (!file)
        fail_msg("%s: %s", name, error.text);
    return file;
}

/* Reads a tensor into a new array; asserts its rank and, if shape is not NULL, gives its shape. */
static float *load(const struct safetensors *file, const char *name, uint32_t rank, uint64_t *shape)
{
    struct safetensors_error error;
    const struct safetensors_tensor *tensor = safetensors_find(file, name);
    if (!tensor)
        fail_msg("no tensor %s", name);
    assert_int_equal(tensor->rank, rank);
    float *data = malloc(tensor->count * sizeof(*data));
    assert_non_null(data);
    if (!safetensors_read(file, tensor, data, &error))
        fail_msg("%s", error.text);
    if (shape)
        memcpy(shape, tensor->shape, rank * sizeof(*shape));
    return data;
}

/* [B,H,T,d] to [B,T,H,d] */
static float *load_heads(const struct safetensors *file, const char *name, uint64_t shape[4])
{
    float *data = load(file, name, 4, shape);
    const uint64_t B = shape[0], H = shape[1], T = shape[2], d = shape[3];
    float *swapped = malloc(B * H * T * d * sizeof(*swapped)), *next = data;
    assert_non_null(swapped);
    for (uint64_t b = 0; b < B; b++)
        for (uint64_t h = 0; h < H; h++)
            for (uint64_t t = 0; t < T; t++, next += d)
                memcpy(swapped + ((b * T + t) * H + h) * d, next, d * sizeof(*next));
    free(data);
    return swapped;
}

static struct problem_params official_params(const uint64_t shape[4])
{
    static const float place[] = {1}; /* the decay is put in later */
    return (struct problem_params){SHAPE(shape[0], shape[2], shape[1], shape[3], shape[3]),
                                   .map = DJ_MAP_SOFTMAX_DCT, .decay = place, .decay_count = 1};
}

/* The problem in a file, want being its output. */
static void load_problem(const char *name, struct problem *problem)
{
    struct safetensors *file = open_file(name);
    uint64_t shape[4];
    float *q = load_heads(file, "q", shape), *k = load_heads(file, "k", shape);
    float *v = load_heads(file, "v", shape), *out = load_heads(file, "out", shape);
    float *frequencies = load(file, "frequency_weights", 1, NULL);
    float *decay = load(file, "decay", 1, NULL);
    const struct problem_params params = official_params(shape);
    problem_init(problem, &params);
    const size_t n = shape[0] * shape[1] * shape[2] * shape[3];
    memcpy(problem->q, q, n * sizeof(*q));
    memcpy(problem->k, k, n * sizeof(*k));
    memcpy(problem->v, v, n * sizeof(*v));
    memcpy(problem->frequencies, frequencies, shape[3] * sizeof(*frequencies));
    memcpy(problem->decay, decay, shape[1] * sizeof(*decay));
    problem->want = malloc(n * sizeof(double));
    assert_non_null(problem->want);
    for (size_t i = 0; i < n; i++)
        problem->want[i] = out[i];
    problem->bound = twin_bound(&problem->twin, q, k);
    free(q);
    free(k);
    free(v);
    free(out);
    free(frequencies);
    free(decay);
    safetensors_close(&file);
}

static const char *const files[] = {
    "official_h1_d128_t67.safetensors",  "official_h2_d256_t48.safetensors",
    "official_h2_d64_t1024.safetensors", "official_h2_d80_t200.safetensors",
    "official_h4_d64_t130.safetensors",
};
enum {
    FILE_COUNT = sizeof(files) / sizeof(*files)
};

static void twin_agrees(void **state)
{
    (void)state;
    for (size_t f = 0; f < FILE_COUNT; f++) {
        struct problem p;
        load_problem(files[f], &p);
        const struct twin_attention *t = &p.twin;
        const size_t n = t->batch * t->tokens * t->heads * t->value_dim;
        double *twin = malloc(n * sizeof(*twin));
        float *official = malloc(n * sizeof(*official));
        assert_true(twin && official);
        for (size_t i = 0; i < n; i++)
            official[i] = (float)p.want[i];
        twin_attention(t, p.q, p.k, p.v, twin);
        harness_assert_within(harness_error(official, twin, n), data_error, files[f]);
        free(official);
        free(twin);
        problem_finish(&p);
    }
}

/* One plan, every layout. */
static void run_layouts(const struct problem *p, uint32_t device, const char *what)
{
    struct made made = problem_make(p, device);
    for (int layout = 0; layout < LAYOUT_COUNT; layout++) {
        float *got = made_run(&made, p, (enum layout)layout);
        problem_assert(p, got, what);
        free(got);
    }
    made_finish(&made);
}

static void library_agrees(void **state)
{
    (void)state;
    for (size_t f = 0; f < FILE_COUNT; f++) {
        struct problem p;
        load_problem(files[f], &p);
        for (uint32_t i = 0; i < harness_device_count(); i++)
            run_layouts(&p, i, files[f]);
        problem_finish(&p);
    }
}

/* The same inputs in 2-byte types. Rounding them moves the answer by more than the bound, so the
 * twin, which agrees with the files, answers for the rounded ones. */
static void library_agrees_in_other_types(void **state)
{
    (void)state;
    for (size_t n = 0; n < 2 * FILE_COUNT; n++) {
        const char *file = files[n / 2];
        const uint32_t type = n % 2 ? DJ_FLOAT16 : DJ_BFLOAT16;
        struct problem p;
        load_problem(file, &p);
        p.params.q_type = p.plan_params.q_type = type;
        p.params.k_type = p.plan_params.k_type = type;
        p.params.v_type = p.plan_params.v_type = type;
        p.params.o_type = p.plan_params.o_type = type;
        p.twin.type = (int)type;
        problem_solve(&p);
        for (uint32_t i = 0; i < harness_device_count(); i++)
            run_layouts(&p, i, file);
        problem_finish(&p);
    }
}

/* The layer around the attention, in double precision. All arrays are [rows][channels]. */
struct layer {
    struct safetensors *file;
    size_t batch, tokens, heads, dim, hidden, rows;
    double *input, *normed; /* the layer's input; LayerNorm of it */
    struct problem problem; /* its attention */
};

static double *doubles(size_t n)
{
    double *x = calloc(n, sizeof(*x));
    assert_non_null(x);
    return x;
}

static double *layer_norm(const struct layer *layer, const char *name, const double *x)
{
    char text[64];
    snprintf(text, sizeof(text), "%s.weight", name);
    float *weight = load(layer->file, text, 1, NULL);
    snprintf(text, sizeof(text), "%s.bias", name);
    float *bias = load(layer->file, text, 1, NULL);
    const size_t n = layer->hidden;
    double *y = doubles(layer->rows * n);
    for (size_t r = 0; r < layer->rows; r++) {
        double mean = 0, variance = 0;
        for (size_t c = 0; c < n; c++)
            mean += x[r * n + c] / (double)n;
        for (size_t c = 0; c < n; c++)
            variance += (x[r * n + c] - mean) * (x[r * n + c] - mean) / (double)n;
        for (size_t c = 0; c < n; c++)
            y[r * n + c] = (x[r * n + c] - mean) / sqrt(variance + 1e-5) * weight[c] + bias[c];
    }
    free(weight);
    free(bias);
    return y;
}

/* y = W x + b with W [out][in] */
static double *linear(const struct layer *layer, const char *name, const double *x)
{
    char text[64];
    uint64_t shape[2];
    snprintf(text, sizeof(text), "%s.weight", name);
    float *weight = load(layer->file, text, 2, shape);
    snprintf(text, sizeof(text), "%s.bias", name);
    float *bias = load(layer->file, text, 1, NULL);
    double *y = doubles(layer->rows * shape[0]);
    for (size_t r = 0; r < layer->rows; r++) {
        for (size_t o = 0; o < shape[0]; o++) {
            double sum = bias[o];
            for (size_t i = 0; i < shape[1]; i++)
                sum += (double)weight[o * shape[1] + i] * x[r * shape[1] + i];
            y[r * shape[0] + o] = sum;
        }
    }
    free(weight);
    free(bias);
    return y;
}

/* Rotary embedding of the first quarter of a head, rotate-half, base 10000. */
static void rotate(double *x, size_t dim, size_t position)
{
    const size_t n = dim / 4;
    for (size_t p = 0; p < n / 2; p++) {
        const double angle = (double)position * pow(10000, -2 * (double)p / (double)n);
        const double a = x[p], b = x[p + n / 2];
        x[p] = a * cos(angle) - b * sin(angle);
        x[p + n / 2] = b * cos(angle) + a * sin(angle);
    }
}

/* q, k and v of the attention, from qkv packed as [rows][H][3][d]. */
static void split_heads(struct layer *layer, const double *qkv)
{
    const size_t d = layer->dim;
    float *outputs[3] = {layer->problem.q, layer->problem.k, layer->problem.v};
    for (size_t r = 0; r < layer->rows * layer->heads; r++) {
        for (size_t part = 0; part < 3; part++) {
            double x[256];
            memcpy(x, qkv + (3 * r + part) * d, d * sizeof(*x));
            if (part < 2)
                rotate(x, d, r / layer->heads % layer->tokens);
            for (size_t c = 0; c < d; c++)
                outputs[part][r * d + c] = (float)x[c];
        }
    }
}

/* The projection is C diag(t), C orthonormal: its columns give t back. */
static void frequencies_of_projection(struct layer *layer)
{
    const size_t d = layer->dim;
    float *projection = load(layer->file, "attention.proj_matrix", 2, NULL);
    for (size_t n = 0; n < d; n++) {
        double unit[256] = {0}, column[256], sum = 0;
        unit[n] = 1;
        twin_dct(2, d, unit, column);
        for (size_t k = 0; k < d; k++)
            sum += column[k] * projection[k * d + n];
        layer->problem.frequencies[n] = (float)sum;
        for (size_t k = 0; k < d; k++)
            assert_true(fabs(column[k] * sum - projection[k * d + n]) < 1e-5);
    }
    free(projection);
}

/* The trained tables stand for gamma^t and gamma^-t here: gamma = 1 - exp(ln 1/32 .. ln 1/512). */
static void decay_of_tables(struct layer *layer)
{
    uint64_t shape[4];
    float *d1 = load(layer->file, "attention.D1", 4, shape);
    float *d2 = load(layer->file, "attention.D2", 4, shape);
    for (size_t h = 0; h < layer->heads; h++) {
        const double part = layer->heads > 1 ? (double)h / (double)(layer->heads - 1) : 0;
        const double gamma = 1 - exp(log(1. / 32) + part * (log(1. / 512) - log(1. / 32)));
        layer->problem.decay[h] = (float)gamma;
        for (size_t i = 0; i < layer->tokens; i++)
            for (size_t j = 0; j <= i; j++)
                assert_true(fabs((double)d1[h * shape[2] + i] * d2[h * shape[2] + j] /
                                     pow(gamma, (double)(i - j)) -
                                 1) < 1e-4);
    }
    free(d1);
    free(d2);
}

static void load_layer(struct layer *layer)
{
    uint64_t shape[3], qkv_shape[2], head_shape[2];
    *layer = (struct layer){.file = open_file("official_layer_h2_d64_t96.safetensors")};
    float *input = load(layer->file, "input", 3, shape);
    free(load(layer->file, "attention.query_key_value.weight", 2, qkv_shape));
    free(load(layer->file, "attention.proj_matrix", 2, head_shape));
    layer->batch = shape[0];
    layer->tokens = shape[1];
    layer->hidden = shape[2];
    layer->dim = head_shape[0];
    layer->heads = qkv_shape[0] / (3 * layer->dim);
    layer->rows = layer->batch * layer->tokens;
    layer->input = doubles(layer->rows * layer->hidden);
    for (size_t i = 0; i < layer->rows * layer->hidden; i++)
        layer->input[i] = input[i];
    free(input);

    const struct problem_params params =
        official_params((uint64_t[4]){layer->batch, layer->heads, layer->tokens, layer->dim});
    problem_init(&layer->problem, &params);
    frequencies_of_projection(layer);
    decay_of_tables(layer);
    layer->normed = layer_norm(layer, "input_layernorm", layer->input);
    double *qkv = linear(layer, "attention.query_key_value", layer->normed);
    split_heads(layer, qkv);
    free(qkv);
    problem_solve(&layer->problem);
}

/* The trained tables themselves as position scales, instead of the decay they stand for here. */
static void use_tables(struct layer *layer, struct problem *tables)
{
    uint64_t q_shape[4], k_shape[4];
    const struct problem *decayed = &layer->problem;
    const struct twin_attention *t = &decayed->twin;
    float *d1 = load(layer->file, "attention.D1", 4, q_shape);
    float *d2 = load(layer->file, "attention.D2", 4, k_shape);
    assert_true(q_shape[1] == layer->heads && k_shape[1] == layer->heads);
    problem_init(tables,
                 &(struct problem_params){
                     SHAPE(layer->batch, layer->tokens, layer->heads, layer->dim, layer->dim),
                     .map = DJ_MAP_SOFTMAX_DCT, .query_places = q_shape[2],
                     .key_places = k_shape[2]});
    memcpy(tables->q, decayed->q, twin_q_size(t) * sizeof(float));
    memcpy(tables->k, decayed->k, twin_k_size(t) * sizeof(float));
    memcpy(tables->v, decayed->v, twin_v_size(t) * sizeof(float));
    memcpy(tables->frequencies, decayed->frequencies, layer->dim * sizeof(float));
    memcpy(tables->query_scales, d1, layer->heads * q_shape[2] * sizeof(float));
    memcpy(tables->key_scales, d2, layer->heads * k_shape[2] * sizeof(float));
    free(d1);
    free(d2);
}

static void finish_layer(struct layer *layer)
{
    problem_finish(&layer->problem);
    free(layer->input);
    free(layer->normed);
    safetensors_close(&layer->file);
}

/* GroupNorm of d groups of H neighbouring channels, in place. */
static void group_norm(const struct layer *layer, double *x)
{
    float *weight = load(layer->file, "attention.group_norm.weight", 1, NULL);
    float *bias = load(layer->file, "attention.group_norm.bias", 1, NULL);
    const size_t n = layer->heads, hidden = layer->hidden;
    for (size_t g = 0; g < layer->rows * layer->dim; g++) {
        double mean = 0, variance = 0;
        for (size_t c = 0; c < n; c++)
            mean += x[g * n + c] / (double)n;
        for (size_t c = 0; c < n; c++)
            variance += (x[g * n + c] - mean) * (x[g * n + c] - mean) / (double)n;
        for (size_t c = g * n; c < (g + 1) * n; c++)
            x[c] = (x[c] - mean) / sqrt(variance + 1e-5) * weight[c % hidden] + bias[c % hidden];
    }
    free(weight);
    free(bias);
}

/* x *= silu(normed input @ W_G) */
static void gate(const struct layer *layer, double *x)
{
    const size_t n = layer->hidden;
    float *weight = load(layer->file, "attention.W_G", 2, NULL);
    for (size_t r = 0; r < layer->rows; r++) {
        for (size_t o = 0; o < n; o++) {
            double sum = 0;
            for (size_t i = 0; i < n; i++)
                sum += layer->normed[r * n + i] * weight[i * n + o];
            x[r * n + o] *= sum / (1 + exp(-sum));
        }
    }
    free(weight);
}

/* The layer's output from its attention's, x + attention + MLP; attention is used up. */
static double *layer_output(const struct layer *layer, double *attention)
{
    const size_t n = layer->rows * layer->hidden;
    group_norm(layer, attention);
    gate(layer, attention);
    double *dense = linear(layer, "attention.dense", attention);
    double *normed = layer_norm(layer, "post_attention_layernorm", layer->input);
    double *wide = linear(layer, "mlp.dense_h_to_4h", normed);
    for (size_t i = 0; i < 4 * n; i++)
        wide[i] *= 0.5 * (1 + erf(wide[i] / sqrt(2)));
    double *mlp = linear(layer, "mlp.dense_4h_to_h", wide), *y = doubles(n);
    for (size_t i = 0; i < n; i++)
        y[i] = layer->input[i] + dense[i] + mlp[i];
    free(dense);
    free(normed);
    free(wide);
    free(mlp);
    return y;
}

static void assert_layer(const struct layer *layer, double *attention, double bound,
                         const char *what)
{
    double *y = layer_output(layer, attention);
    float *want = load(layer->file, "output", 3, NULL);
    if (getenv("DIJIANG_TEST_VERBOSE"))
        print_message("# %s: error %.3g\n", what,
                      harness_error(want, y, layer->rows * layer->hidden));
    harness_assert_within(harness_error(want, y, layer->rows * layer->hidden), bound, what);
    free(want);
    free(y);
}

static void twin_does_whole_layer(void **state)
{
    (void)state;
    struct layer layer;
    load_layer(&layer);
    const size_t n = layer.rows * layer.hidden;
    double *attention = doubles(n);
    memcpy(attention, layer.problem.want, n * sizeof(*attention));
    assert_layer(&layer, attention, 1e-5, "layer with the twin's attention");
    free(attention);
    finish_layer(&layer);
}

static void library_does_whole_layer(void **state)
{
    (void)state;
    struct layer layer;
    load_layer(&layer);
    const size_t n = layer.rows * layer.hidden;
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        float *got = problem_run(&layer.problem, i, LAYOUT_PACKED);
        problem_assert(&layer.problem, got, "the layer's attention");
        double *attention = doubles(n);
        for (size_t c = 0; c < n; c++)
            attention[c] = got[c];
        assert_layer(&layer, attention, layer.problem.bound, "layer");
        free(attention);
        free(got);
    }
    finish_layer(&layer);
}

static void library_takes_trained_tables(void **state)
{
    (void)state;
    struct layer layer;
    struct problem tables;
    load_layer(&layer);
    use_tables(&layer, &tables);
    problem_solve(&tables);
    const size_t n = layer.rows * layer.hidden;
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        float *got = problem_run(&tables, i, LAYOUT_PACKED);
        problem_assert(&tables, got, "the layer's attention by its tables");
        double *attention = doubles(n);
        for (size_t c = 0; c < n; c++)
            attention[c] = got[c];
        assert_layer(&layer, attention, 1e-5, "layer by its tables");
        free(attention);
        free(got);
    }
    problem_finish(&tables);
    finish_layer(&layer);
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(twin_agrees),
    HARNESS_TEST(library_agrees),
    HARNESS_TEST(library_agrees_in_other_types),
    HARNESS_TEST(twin_does_whole_layer),
    HARNESS_TEST(library_does_whole_layer),
    HARNESS_TEST(library_takes_trained_tables),
};

HARNESS_MAIN(tests)
