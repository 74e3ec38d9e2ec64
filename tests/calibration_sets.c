/* SPDX-License-Identifier: MIT */
#include "calibration_sets.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    D = CALIBRATION_DIM,
    TOKENS = CALIBRATION_TOKENS,
    MOST_FEATURES = 256,
};

static const double PI = 3.14159265358979323846;

static void gaussians(uint64_t seed, uint32_t orthogonal, uint32_t count, float *x)
{
    dj_sample_gaussians(
        &(struct dj_sampling_params){.dim = D, .orthogonal = orthogonal, .seed = seed}, count, x);
}

static void unit(float *x)
{
    double sum = 0;
    for (int i = 0; i < D; i++)
        sum += (double)x[i] * x[i];
    for (int i = 0; i < D; i++)
        x[i] = (float)(x[i] / sqrt(sum));
}

void calibration_draw(enum calibration_set set, uint64_t seed, uint64_t part, uint32_t count,
                      float *q, float *k)
{
    float rotation[D * D];
    gaussians(1000 + seed, DJ_ON, D, rotation);
    for (int i = 0; i < D; i++)
        unit(rotation + i * D);
    gaussians(10000 + 100 * seed + 2 * part, DJ_OFF, count, q);
    gaussians(10001 + 100 * seed + 2 * part, DJ_OFF, count, k);
    for (uint32_t n = 0; n < 2 * count; n++) {
        float *const x = (n < count ? q : k) + (size_t)(n % count) * D;
        if (set == CALIBRATION_ANIS) {
            float turned[D];
            for (int j = 0; j < D; j++) {
                double sum = n < count ? 0 : 0.3;
                for (int i = 0; i < D; i++)
                    sum += x[i] / sqrt(1 + i) * rotation[i * D + j];
                turned[j] = (float)sum;
            }
            memcpy(x, turned, sizeof turned);
        }
        unit(x);
    }
}

/* Sign of x_n in the fourth block of WDCF: bit n of the words of splitmix64 from state 3. */
static double sign_of(int n)
{
    uint64_t state = 3, z = 0;
    for (int i = 0; i <= n / 64; i++) {
        z = state += 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        z ^= z >> 31;
    }
    return z >> n % 64 & 1 ? -1 : 1;
}

/* Coefficient i of WDCF's transforms of x, by the sums that define them. */
static double coefficient(uint32_t d, const float *x, uint32_t i)
{
    const uint32_t block = i / d, k = i % d;
    double sum = 0;
    for (uint32_t n = 0; n < d; n++) {
        double c;
        if (block == 1) /* DCT-III, the transpose of DCT-II */
            c = cos(PI * (2 * k + 1) * n / (2 * d)) * sqrt((n == 0 ? 1.0 : 2.0) / d);
        else if (block == 2)
            c = cos(PI * (2 * n + 1) * (2 * k + 1) / (4 * d)) * sqrt(2.0 / d);
        else
            c = cos(PI * (2 * n + 1) * k / (2 * d)) * sqrt((k == 0 ? 1.0 : 2.0) / d);
        sum += c * x[n] * (block == 3 ? sign_of((int)n) : 1);
    }
    return sum;
}

void calibration_features(const struct dj_calibration *c, const float *x, int key, double *phi)
{
    double norm = 0, square = 0;
    for (uint32_t n = 0; n < c->dim; n++)
        square += (double)x[n] * x[n];
    for (uint32_t i = 0; i < c->features; i++) {
        double product = 0;
        if (c->map == DJ_MAP_WDCF)
            product = coefficient(c->dim, x, i);
        else
            for (uint32_t n = 0; n < c->dim; n++)
                product += (double)c->directions[i * c->dim + n] * x[n];
        phi[i] = c->weights[i] *
                 exp(c->frequencies[i] * product - (c->map == DJ_MAP_PFF ? square / 2 : 0));
        norm += c->weights[i] * phi[i];
    }
    if (key && c->key_normalise == DJ_ON)
        for (uint32_t i = 0; i < c->features; i++)
            phi[i] /= norm;
}

static const char *const names[CALIBRATION_METHODS] = {
    "uniform average",
    "PRF, Monte Carlo",
    "PRF, orthogonal",
    "PFF, normal radius",
    "WDCF, normal radius",
    "WDCF, chi radius, D fitted",
    "WDCF, radius chosen, D fitted",
    "WDCF, the same, key-normalised",
    "WDCF, radius chosen, key-normalised",
    "WDCF, t and D fitted",
    "WDCF, t and D fitted, key-normalised",
    "WPFF, t and D fitted, key-normalised",
};

const char *calibration_method_name(enum calibration_method method)
{
    return names[method];
}

/* A map from nothing but a seed. */
static struct dj_calibration *draw_map(enum calibration_method method, uint64_t seed, uint32_t m)
{
    static float t[MOST_FEATURES], weights[MOST_FEATURES], directions[MOST_FEATURES * D];
    static struct dj_calibration made;
    made = (struct dj_calibration){.map = DJ_MAP_PFF,
                                   .dim = D,
                                   .features = m,
                                   .key_normalise = DJ_OFF,
                                   .frequencies = t,
                                   .weights = weights,
                                   .directions = directions};
    for (uint32_t i = 0; i < m; i++)
        weights[i] = t[i] = 1;
    if (method == CALIBRATION_PRF || method == CALIBRATION_ORTHOGONAL_PRF) {
        gaussians(seed, method == CALIBRATION_PRF ? DJ_OFF : DJ_ON, m, directions);
        return &made;
    }
    struct dj_sampling_params params = {.dim = D, .seed = seed};
    params.radius = method == CALIBRATION_WDCF_CHI_WEIGHTS ? DJ_RADIUS_CHI : DJ_RADIUS_NORMAL;
    dj_sample_frequencies(&params, m, t);
    params.sequence = DJ_SEQUENCE_SOBOL;
    dj_sample_directions(&params, m, directions);
    if (method != CALIBRATION_PFF)
        made.map = DJ_MAP_WDCF;
    return &made;
}

static struct dj_calibration *fit_map(enum calibration_method method, enum calibration_set set,
                                      uint64_t seed, uint32_t m)
{
    static float q[CALIBRATION_SAMPLES * D], k[CALIBRATION_SAMPLES * D];
    calibration_draw(set, seed, 0, CALIBRATION_SAMPLES, q, k);
    struct dj_calibration_params params = {
        .map = method == CALIBRATION_WPFF_GRADIENT_KEYS ? DJ_MAP_PFF : DJ_MAP_WDCF,
        .dim = D,
        .features = m,
        .query_count = CALIBRATION_SAMPLES,
        .key_count = CALIBRATION_SAMPLES,
        .scale = 1,
        .seed = seed,
        .queries = q,
        .keys = k,
        .fit = DJ_FIT_WEIGHTS,
    };
    if (method == CALIBRATION_WDCF_CHI_WEIGHTS)
        params.frequencies = draw_map(method, seed, m)->frequencies;
    if (method == CALIBRATION_WDCF_CHI_WEIGHTS || method == CALIBRATION_WDCF_WEIGHTS ||
        method == CALIBRATION_WDCF_GRADIENT)
        params.key_normalise = DJ_OFF;
    if (method >= CALIBRATION_WDCF_GRADIENT)
        params.fit = DJ_FIT_GRADIENT;
    if (method == CALIBRATION_WDCF_RADIUS_KEYS)
        params.fit = DJ_FIT_RADIUS;
    struct dj_calibration *made;
    return dj_calibration_create(&params, &made) == DJ_SUCCESS ? made : NULL;
}

/* o[i] = sum_j w[i][j] v[j] / sum_j w[i][j] over j <= i, where w[i][j] is q[i] . k[j], rows of
 * length n, or its exponential. */
static void attend(size_t n, const double *q, const double *k, int exponential, const float *v,
                   double *o)
{
    memset(o, 0, TOKENS * D * sizeof *o);
    for (size_t i = 0; i < TOKENS; i++) {
        double sum = 0;
        for (size_t j = 0; j <= i; j++) {
            double weight = 0;
            for (size_t f = 0; f < n; f++)
                weight += q[i * n + f] * k[j * n + f];
            if (exponential)
                weight = exp(weight);
            sum += weight;
            for (size_t a = 0; a < D; a++)
                o[i * D + a] += weight * v[j * D + a];
        }
        for (size_t a = 0; a < D; a++)
            o[i * D + a] /= sum;
    }
}

void calibration_attend(const struct dj_calibration *c, const float *q, const float *k,
                        const float *v, double *o)
{
    static double phi_q[TOKENS * MOST_FEATURES], phi_k[TOKENS * MOST_FEATURES];
    for (size_t n = 0; n < TOKENS; n++) {
        calibration_features(c, q + n * D, 0, phi_q + n * c->features);
        calibration_features(c, k + n * D, 1, phi_k + n * c->features);
    }
    attend(c->features, phi_q, phi_k, 0, v, o);
}

void calibration_attend_exactly(const float *q, const float *k, const float *v, double *o)
{
    static double x[TOKENS * D], y[TOKENS * D];
    for (size_t i = 0; i < TOKENS * D; i++) {
        x[i] = q[i];
        y[i] = k[i];
    }
    attend(D, x, y, 1, v, o);
}

static void attend_to_nothing(const float *v, double *o)
{
    static double ones[TOKENS];
    for (size_t i = 0; i < TOKENS; i++)
        ones[i] = 1;
    attend(1, ones, ones, 0, v, o);
}

double calibration_error(enum calibration_method method, enum calibration_set set, uint64_t seed,
                         uint32_t m)
{
    static float q[TOKENS * D], k[TOKENS * D], v[TOKENS * D];
    static double exact[TOKENS * D], o[TOKENS * D];
    calibration_draw(set, seed, 1, TOKENS, q, k);
    gaussians(90000 + seed, DJ_OFF, TOKENS, v);
    calibration_attend_exactly(q, k, v, exact);
    struct dj_calibration *made = NULL;
    if (method == CALIBRATION_UNIFORM) {
        attend_to_nothing(v, o);
    } else if (method <= CALIBRATION_WDCF) {
        calibration_attend(draw_map(method, seed, m), q, k, v, o);
    } else {
        made = fit_map(method, set, seed, m);
        if (made == NULL)
            return -1;
        calibration_attend(made, q, k, v, o);
        dj_calibration_destroy(&made);
    }
    double error = 0, square = 0;
    for (size_t i = 0; i < TOKENS * D; i++) {
        error += (o[i] - exact[i]) * (o[i] - exact[i]);
        square += exact[i] * exact[i];
    }
    return sqrt(error / square);
}

double calibration_mean_error(enum calibration_method method, enum calibration_set set, uint32_t m)
{
    double sum = 0;
    for (uint64_t seed = 0; seed < CALIBRATION_SEEDS; seed++) {
        const double error = calibration_error(method, set, seed, m);
        if (!(error >= 0))
            return -1;
        sum += error / CALIBRATION_SEEDS;
    }
    return sum;
}
