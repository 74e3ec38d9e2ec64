/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include "exact.h"
#include "random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double PI = 3.14159265358979323846;

#define PINNED_FIRST 0x2558eb5a14c82fb9
#define PINNED_SECOND 0xbd5b1c9c191bf5fd

static double normal_distribution(double x)
{
    return 0.5 * erfc(-x / sqrt(2));
}

/* The share of the chi distribution above x, by the finite sums for whole and half shapes. */
static long double chi_above(uint32_t dim, long double x)
{
    const long double g = x * x / 2;
    long double term = dim % 2 == 0 ? expl(-g) : expl(-g) * sqrtl(g) / sqrtl(acosl(-1.0L)) * 2;
    long double sum = dim % 2 == 0 ? 0 : erfcl(sqrtl(g));
    for (uint32_t k = dim % 2 == 0 ? 2 : 3; k <= dim; k += 2) {
        sum += term;
        term *= g / (k / 2.0L);
    }
    return sum;
}

static double chi_distribution(uint32_t dim, double x)
{
    return (double)(1 - chi_above(dim, x));
}

static double off(double got, long double want)
{
    return (double)fabsl((got - want) / want);
}

static void exp_and_log_match_the_c_library(void **state)
{
    (void)state;
    double worst_exp = 0, worst_log = 0;
    for (int i = 0; i < 200000; i++) {
        const double x = (2 * harness_uniform() - 1) * (i % 2 ? 700 : 2);
        worst_exp = fmax(worst_exp, off(dj_exact_exp(x), expl(x)));
        const double y = i % 2 ? exp(x) : 1 + x / 4;
        worst_log = fmax(worst_log, off(dj_exact_log(y), logl(y)));
    }
    harness_assert_within(worst_exp, 1e-15, "exp");
    harness_assert_within(worst_log, 1e-15, "log");
    assert_true(dj_exact_exp(0) == 1 && dj_exact_exp(-709) == 0 && dj_exact_log(1) == 0);
    assert_true(isfinite(dj_exact_exp(1e6)) && dj_exact_exp(1e6) == dj_exact_exp(709));
    assert_true(dj_exact_exp(-INFINITY) == 0);
}

static void normal_quantiles_are_exact(void **state)
{
    (void)state;
    static const double known[][2] = {{0.5, 0},
                                      {0.75, 0.67448975019608174320},
                                      {0.975, 1.95996398454005423552},
                                      {0.999, 3.09023230616781354152},
                                      {1e-10, -6.36134090240405583820}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_true(fabs(dj_normal_quantile(known[i][0]) - known[i][1]) <=
                    1e-14 * fabs(known[i][1]));
    double worst = 0;
    for (int i = 0; i < 100000; i++) {
        const double u = i % 4 ? harness_uniform() : exp(-690 * harness_uniform());
        if (u == 0)
            continue;
        const double x = dj_normal_quantile(u);
        /* by how much x is off, to first order; near 0 the difference to 1/2 is what counts */
        const long double share = fabs(x) < 0.5 ? erfl(x / sqrtl(2)) / 2 - (u - 0.5L)
                                  : x < 0       ? erfcl(-x / sqrtl(2)) / 2 - u
                                                : 1 - u - erfcl(x / sqrtl(2)) / 2;
        const long double density = expl(-0.5L * x * x) / sqrtl(2 * acosl(-1.0L));
        worst = fmax(worst, (double)fabsl(share / density / x));
    }
    harness_assert_within(worst, 1e-12, "normal quantile");
}

static void chi_quantiles_are_exact(void **state)
{
    (void)state;
    double worst = 0;
    for (int i = 0; i < 4000; i++) {
        const uint32_t dim = 1 + (uint32_t)(harness_random() % 256);
        const double u = i % 2 ? 1 - pow(2, -40 * harness_uniform()) : harness_uniform();
        if (u < 1e-3)
            continue;
        const double x = dj_chi_quantile(dim, u);
        const long double log_density =
            logl(2) + dim * logl(x) - 0.5L * x * x - 0.5L * dim * logl(2) - lgammal(0.5L * dim);
        const long double share = chi_above(dim, x) - (1 - (long double)u);
        worst = fmax(worst, (double)fabsl(share * expl(-log_density))); /* relative to x */
    }
    harness_assert_within(worst, 1e-12, "chi quantile");
    /* two degrees of freedom have a closed form, one is a folded normal: down to tiny shares */
    for (double u = 1e-300; u < 1; u *= 3) {
        assert_true(off(dj_chi_quantile(2, u), sqrtl(-2 * log1pl(-u))) <= 1e-12);
        if (u > 1e-12)
            assert_true(off(erf(dj_chi_quantile(1, u) / sqrt(2)), u) <= 1e-12);
    }
    double low = dj_chi_quantile(200, 1e-200);
    assert_true(low > 0 && low < dj_chi_quantile(200, 2e-200));
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The largest difference between the empirical distribution function of n shares and u: the
 * distance of Kolmogorov and Smirnov, and the star discrepancy in one dimension. Sorts. */
static double distance(double *u, size_t n)
{
    double worst = 0;
    qsort(u, n, sizeof *u, compare);
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fmax(fabs(u[i] - (double)i / (double)n),
                                 fabs((double)(i + 1) / (double)n - u[i])));
    return worst;
}

struct moments {
    double mean, variance, kurtosis;
};

static struct moments moments_of(const float *x, size_t n)
{
    struct moments m = {0};
    for (size_t i = 0; i < n; i++)
        m.mean += x[i] / (double)n;
    double fourth = 0;
    for (size_t i = 0; i < n; i++) {
        m.variance += pow(x[i] - m.mean, 2) / (double)n;
        fourth += pow(x[i] - m.mean, 4) / (double)n;
    }
    m.kurtosis = fourth / (m.variance * m.variance);
    return m;
}

enum {
    COUNT = 4096,
    SEQUENCES = 4
};

static const char *const sequence_names[SEQUENCES] = {"midpoint", "Monte Carlo", "van der Corput",
                                                      "Sobol"};

static void frequencies_follow_their_laws(void **state)
{
    (void)state;
    static float t[COUNT];
    static double u[COUNT];
    for (uint32_t sequence = 0; sequence < SEQUENCES; sequence++) {
        /* Monte Carlo at the level of 1 in 1000, by a fixed seed; the others are far better */
        const bool monte_carlo = sequence == DJ_SEQUENCE_MONTE_CARLO;
        const double bound = monte_carlo ? 1.95 / sqrt(COUNT) : 1.5 / COUNT + 2e-7;
        struct dj_sampling_params params = {.sequence = sequence, .seed = 11, .scale = 2};
        HARNESS_OK(dj_sample_frequencies(&params, COUNT, t));
        for (size_t i = 0; i < COUNT; i++)
            u[i] = normal_distribution(t[i] / 2);
        harness_assert_within(distance(u, COUNT), bound, sequence_names[sequence]);
        const struct moments m = moments_of(t, COUNT);
        const double slack = monte_carlo ? 1 : 0.1;
        harness_assert_within(fabs(m.mean / 2), slack * 3.3 / sqrt(COUNT), "mean");
        harness_assert_within(fabs(m.variance / 4 - 1), slack * 3.3 * sqrt(2.0 / COUNT),
                              "variance");
        harness_assert_within(fabs(m.kurtosis - 3), slack * 3.3 * sqrt(24.0 / COUNT), "kurtosis");

        params.radius = DJ_RADIUS_CHI;
        for (uint32_t dim = 1; dim <= 256; dim = dim * 3 + 1) {
            params.dim = dim;
            HARNESS_OK(dj_sample_frequencies(&params, COUNT, t));
            for (size_t i = 0; i < COUNT; i++)
                u[i] = chi_distribution(dim, t[i] / 2);
            harness_assert_within(distance(u, COUNT), bound + 2e-6, sequence_names[sequence]);
        }
        params.radius = DJ_RADIUS_CONSTANT;
        params.dim = 80;
        HARNESS_OK(dj_sample_frequencies(&params, COUNT, t));
        for (size_t i = 0; i < COUNT; i++)
            assert_true(t[i] == (float)(2 * sqrt(80)));
    }
}

static void draw_is_the_default_of_frequencies(void **state)
{
    (void)state;
    float a[257], b[257];
    HARNESS_OK(dj_frequencies_draw(257, 99, a));
    HARNESS_OK(dj_sample_frequencies(&(struct dj_sampling_params){.seed = 99}, 257, b));
    assert_memory_equal(a, b, sizeof a);
}

/* In one dimension at counts of any kind: at most a third of Monte Carlo's star discrepancy. */
static void quasi_sequences_beat_monte_carlo(void **state)
{
    (void)state;
    static const uint32_t counts[] = {64, 80, 100, 1000, COUNT};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        const uint32_t n = counts[c];
        double mean[SEQUENCES] = {0};
        for (uint32_t sequence = 0; sequence < SEQUENCES; sequence++) {
            for (uint64_t seed = 0; seed < 20; seed++) {
                float t[COUNT];
                double u[COUNT];
                const struct dj_sampling_params params = {.sequence = sequence, .seed = seed};
                HARNESS_OK(dj_sample_frequencies(&params, n, t));
                for (uint32_t i = 0; i < n; i++)
                    u[i] = normal_distribution(t[i]);
                mean[sequence] += distance(u, n) / 20;
            }
        }
        harness_assert_within(mean[DJ_SEQUENCE_MIDPOINT], 0.5 / n + 1e-6, "midpoints");
        for (uint32_t sequence = 0; sequence < SEQUENCES; sequence++)
            if (sequence != DJ_SEQUENCE_MONTE_CARLO)
                harness_assert_within(mean[sequence], mean[DJ_SEQUENCE_MONTE_CARLO] / 3,
                                      sequence_names[sequence]);
    }
}

/* The worst of |share of points in [0,x) x [0,y) - x y| over a grid of corners. */
static double plane_discrepancy(const uint32_t *a, const uint32_t *b, uint32_t n)
{
    enum {
        GRID = 16
    };
    uint32_t cells[GRID + 1][GRID + 1] = {{0}};
    for (uint32_t i = 0; i < n; i++)
        cells[(a[i] >> 28) + 1][(b[i] >> 28) + 1]++;
    double worst = 0;
    for (uint32_t x = 1; x <= GRID; x++) {
        for (uint32_t y = 1; y <= GRID; y++) {
            cells[x][y] += cells[x - 1][y] + cells[x][y - 1] - cells[x - 1][y - 1];
            worst = fmax(worst, fabs(cells[x][y] / (double)n - x * y / 256.0));
        }
    }
    return worst;
}

/* Neighbouring dimensions and those far apart, all 256: on average at most half of Monte Carlo's
 * with 256 points and a quarter with 1000. */
static void projections_of_sobol_beat_monte_carlo(void **state)
{
    (void)state;
    enum {
        POINTS = 1000,
        DIMS = 256
    };
    static uint32_t points[DIMS][POINTS], random[DIMS][POINTS];
    struct dj_sobol sobol;
    dj_sobol_first(&sobol);
    for (uint32_t j = 0; j < DIMS; j++) {
        if (j > 0)
            dj_sobol_next(&sobol);
        for (uint32_t i = 0; i < POINTS; i++) {
            points[j][i] = dj_owen_scramble(dj_sobol_point(&sobol, i), dj_random_stream(5, j));
            random[j][i] = (uint32_t)(harness_random() >> 32);
        }
    }
    static const struct {
        uint32_t n;
        double factor;
    } cases[] = {{256, 0.5}, {POINTS, 0.25}};
    for (size_t c = 0; c < 2; c++) {
        double mean = 0, mean_random = 0;
        for (uint32_t j = 0; j < DIMS; j++) {
            for (uint32_t gap = 1; gap < DIMS; gap *= 3) {
                const uint32_t other = (j + gap) % DIMS;
                mean += plane_discrepancy(points[j], points[other], cases[c].n);
                mean_random += plane_discrepancy(random[j], random[other], cases[c].n);
            }
        }
        print_message("# %u points: mean discrepancy %.4f of Monte Carlo's\n", cases[c].n,
                      mean / mean_random);
        harness_assert_within(mean, cases[c].factor * mean_random, "projections of Sobol points");
    }
}

/* Of 2^k points of a net each elementary interval holds its share, scrambled or not. */
static void sobol_points_are_nets(void **state)
{
    (void)state;
    enum {
        POINTS = 256
    };
    uint32_t degrees[12] = {0}, planes[2][POINTS];
    struct dj_sobol sobol;
    dj_sobol_first(&sobol);
    for (uint32_t j = 0; j < 256; j++) {
        if (j > 0)
            dj_sobol_next(&sobol);
        bool plain[POINTS] = {false}, scrambled[POINTS] = {false};
        for (uint32_t i = 0; i < POINTS; i++) {
            const uint32_t x = dj_sobol_point(&sobol, i), y = dj_owen_scramble(x, 77 + j);
            assert_false(plain[x >> 24]);
            assert_false(scrambled[y >> 24]);
            plain[x >> 24] = scrambled[y >> 24] = true;
            if (j < 2)
                planes[j][i] = y;
        }
        uint32_t degree = 0;
        while (sobol.polynomial >> (degree + 1) != 0)
            degree++;
        degrees[degree] += j > 0;
    }
    /* Euler's phi(2^n - 1) / n polynomials of degree n are primitive; the last degree is cut off */
    static const uint32_t primitive[12] = {0, 1, 1, 2, 2, 6, 6, 18, 16, 48, 60, 95};
    assert_memory_equal(degrees, primitive, sizeof degrees);
    for (uint32_t k = 0; k <= 8; k++) { /* 2^k by 2^(8-k) boxes of the first two dimensions */
        bool hit[POINTS] = {false};
        for (uint32_t i = 0; i < POINTS; i++) {
            const uint64_t x = (uint64_t)planes[0][i] << k >> 32;
            const uint64_t y = (uint64_t)planes[1][i] << (8 - k) >> 32;
            assert_false(hit[x << (8 - k) | y]);
            hit[x << (8 - k) | y] = true;
        }
    }
}

/* The rms difference of the second moments of n directions from those of the sphere, I / dim. */
static double moment_error(const float *x, uint32_t n, uint32_t dim)
{
    double sum = 0;
    for (uint32_t a = 0; a < dim; a++) {
        double second = 0;
        for (uint32_t i = 0; i < n; i++)
            second += (double)x[i * dim + a] * x[i * dim + a] / n;
        sum += pow(second * dim - 1, 2) / dim;
    }
    return sqrt(sum);
}

static void directions_are_uniform(void **state)
{
    (void)state;
    static const uint32_t dims[] = {1, 2, 3, 64, 256};
    static float x[1024 * 256];
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
        const uint32_t dim = dims[d], n = 1024;
        double error[SEQUENCES] = {0};
        for (uint32_t sequence = 0; sequence < SEQUENCES; sequence++) {
            if (sequence == DJ_SEQUENCE_VAN_DER_CORPUT && dim > 1)
                continue;
            const struct dj_sampling_params params = {.sequence = sequence, .dim = dim, .seed = 3};
            HARNESS_OK(dj_sample_directions(&params, n, x));
            for (uint32_t i = 0; i < n; i++) {
                double length = 0;
                for (uint32_t j = 0; j < dim; j++)
                    length += (double)x[i * dim + j] * x[i * dim + j];
                harness_assert_within(fabs(sqrt(length) - 1), 2e-7, "length - 1");
            }
            double mean = 0;
            for (uint32_t j = 0; j < dim; j++) {
                double sum = 0;
                for (uint32_t i = 0; i < n; i++)
                    sum += x[i * dim + j];
                mean += sum / n * sum / n;
            }
            /* the mean of n directions has n E|mean|^2 = 1 */
            harness_assert_within(sqrt(mean), 2 / sqrt(n), "mean direction");
            error[sequence] = moment_error(x, n, dim);
            harness_assert_within(error[sequence], 2.5 * sqrt(2.0 / n), "second moments");
        }
        if (dim > 1)
            harness_assert_within(error[DJ_SEQUENCE_SOBOL], 0.7 * error[DJ_SEQUENCE_MONTE_CARLO],
                                  "Sobol's second moments against Monte Carlo's");
    }
    /* on the circle the angle itself can be seen */
    static double angle[1024];
    for (uint32_t sequence = 0; sequence < SEQUENCES; sequence++) {
        if (sequence == DJ_SEQUENCE_VAN_DER_CORPUT)
            continue;
        HARNESS_OK(dj_sample_directions(
            &(struct dj_sampling_params){.sequence = sequence, .dim = 2, .seed = 8}, 1024, x));
        for (int i = 0; i < 1024; i++)
            angle[i] = atan2(x[2 * i + 1], x[2 * i]) / (2 * PI) + 0.5;
        harness_assert_within(distance(angle, 1024),
                              (sequence == DJ_SEQUENCE_SOBOL ? 0.6 : 1.95) / sqrt(1024), "angle");
    }
}

static double cosine(const float *a, const float *b, uint32_t dim)
{
    double ab = 0, aa = 0, bb = 0;
    for (uint32_t i = 0; i < dim; i++) {
        ab += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    return ab / sqrt(aa * bb);
}

static void gaussians_are_normal_and_orthogonal(void **state)
{
    (void)state;
    static const uint32_t dims[] = {1, 4, 64, 100, 256};
    static float w[600 * 256];
    static double u[600 * 256];
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
        for (uint32_t orthogonal = DJ_DEFAULT; orthogonal <= DJ_OFF; orthogonal++) {
            const uint32_t dim = dims[d], n = 600; /* the last block is partial */
            const struct dj_sampling_params params = {
                .dim = dim, .orthogonal = orthogonal, .scale = 3, .seed = 21};
            HARNESS_OK(dj_sample_gaussians(&params, n, w));
            for (uint32_t i = 0; i < n * dim; i++)
                u[i] = normal_distribution(w[i] / 3);
            harness_assert_within(distance(u, n * dim), 1.95 / sqrt(n * dim), "entries");
            const struct moments m = moments_of(w, n * dim);
            harness_assert_within(fabs(m.mean / 3), 3.3 / sqrt(n * dim), "mean");
            harness_assert_within(fabs(m.variance / 9 - 1), 3.3 * sqrt(2.0 / (n * dim)),
                                  "variance");
            harness_assert_within(fabs(m.kurtosis - 3), 3.3 * sqrt(24.0 / (n * dim)), "kurtosis");
            for (uint32_t i = 0; i < n; i++) {
                double length = 0;
                for (uint32_t j = 0; j < dim; j++)
                    length += pow(w[i * dim + j] / 3, 2);
                u[i] = chi_distribution(dim, sqrt(length));
            }
            harness_assert_within(distance(u, n), 1.95 / sqrt(n), "lengths of rows");
            double worst = 0;
            for (uint32_t i = 0; i < n; i++)
                for (uint32_t j = i / dim * dim; j < i; j++)
                    worst = fmax(worst, fabs(cosine(w + i * dim, w + j * dim, dim)));
            if (orthogonal != DJ_OFF)
                harness_assert_within(worst, 1e-6, "cosine of two rows of a block");
            else if (dim > 1)
                assert_true(worst > 0.1);
        }
    }
}

static uint64_t hash_of_everything(uint64_t seed)
{
    static float x[300 * 64];
    uint64_t h = HARNESS_HASH;
    for (uint32_t sequence = 0; sequence < SEQUENCES; sequence++) {
        struct dj_sampling_params params = {.sequence = sequence, .dim = 64, .seed = seed};
        for (params.radius = 0; params.radius <= DJ_RADIUS_CHI; params.radius++) {
            HARNESS_OK(dj_sample_frequencies(&params, 300, x));
            h = harness_hash(x, 300, h);
        }
        if (sequence == DJ_SEQUENCE_VAN_DER_CORPUT)
            continue;
        HARNESS_OK(dj_sample_directions(&params, 300, x));
        h = harness_hash(x, 300 * 64, h);
    }
    for (uint32_t orthogonal = DJ_ON; orthogonal <= DJ_OFF; orthogonal++) {
        const struct dj_sampling_params params = {
            .dim = 64, .orthogonal = orthogonal, .seed = seed};
        HARNESS_OK(dj_sample_gaussians(&params, 300, x));
        h = harness_hash(x, 300 * 64, h);
    }
    return h;
}

/* Pinned: whatever changes them makes every model that was drawn by seed another one. */
static void numbers_hang_on_the_seed_alone(void **state)
{
    (void)state;
    const uint64_t first = hash_of_everything(1), second = hash_of_everything(2);
    print_message("# 0x%016llx 0x%016llx\n", (unsigned long long)first, (unsigned long long)second);
    assert_true(first == PINNED_FIRST);
    assert_true(second == PINNED_SECOND);
}

static void other_seeds_are_other_numbers(void **state)
{
    (void)state;
    static float a[64 * 64], b[64 * 64];
    for (uint32_t sequence = 0; sequence < SEQUENCES; sequence++) {
        const struct dj_sampling_params one = {.sequence = sequence, .dim = 64, .seed = 1};
        const struct dj_sampling_params two = {.sequence = sequence, .dim = 64, .seed = 2};
        HARNESS_OK(dj_sample_frequencies(&one, 64, a));
        HARNESS_OK(dj_sample_frequencies(&two, 64, b));
        assert_memory_not_equal(a, b, 64 * sizeof *a);
        if (sequence == DJ_SEQUENCE_VAN_DER_CORPUT)
            continue;
        HARNESS_OK(dj_sample_directions(&one, 64, a));
        HARNESS_OK(dj_sample_directions(&two, 64, b));
        for (size_t i = 0; i < 64; i++)
            assert_memory_not_equal(a + 64 * i, b + 64 * i, 64 * sizeof *a);
        HARNESS_OK(dj_sample_gaussians(&one, 64, a));
        HARNESS_OK(dj_sample_gaussians(&two, 64, b));
        assert_memory_not_equal(a, b, sizeof a);
    }
}

static void bad_params_are_refused(void **state)
{
    (void)state;
    float x[8] = {42, 42, 42, 42, 42, 42, 42, 42};
    const struct {
        struct dj_sampling_params params;
        dj_result result;
    } cases[] = {
        {{.sequence = 4, .dim = 4}, DJ_ERROR_INVALID_ARGUMENT},
        {{.radius = 3, .dim = 4}, DJ_ERROR_INVALID_ARGUMENT},
        {{.orthogonal = 3, .dim = 4}, DJ_ERROR_INVALID_ARGUMENT},
        {{.dim = 257}, DJ_ERROR_INVALID_ARGUMENT},
        {{.dim = 4, .scale = -1}, DJ_ERROR_INVALID_ARGUMENT},
        {{.dim = 4, .scale = NAN}, DJ_ERROR_INVALID_ARGUMENT},
        {{.dim = 4, .scale = INFINITY}, DJ_ERROR_INVALID_ARGUMENT},
        {{.dim = 4, .padding = 1}, DJ_ERROR_VERSION},
        {{.dim = 4, .reserved = {0, 0, 0, 1}}, DJ_ERROR_VERSION},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        HARNESS_RESULT(dj_sample_frequencies(&cases[i].params, 2, x), cases[i].result);
        HARNESS_RESULT(dj_sample_directions(&cases[i].params, 2, x), cases[i].result);
        HARNESS_RESULT(dj_sample_gaussians(&cases[i].params, 2, x), cases[i].result);
    }
    const struct dj_sampling_params none = {0}, good = {.dim = 4};
    HARNESS_RESULT(dj_sample_directions(&none, 2, x), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_sample_gaussians(&none, 2, x), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(
        dj_sample_frequencies(&(struct dj_sampling_params){.radius = DJ_RADIUS_CHI}, 2, x),
        DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(
        dj_sample_directions(
            &(struct dj_sampling_params){.sequence = DJ_SEQUENCE_VAN_DER_CORPUT, .dim = 2}, 2, x),
        DJ_ERROR_UNSUPPORTED);
    for (int i = 0; i < 3; i++) {
        dj_result (*const call)(const struct dj_sampling_params *, uint32_t, float *) =
            i == 0   ? dj_sample_frequencies
            : i == 1 ? dj_sample_directions
                     : dj_sample_gaussians;
        HARNESS_RESULT(call(NULL, 2, x), DJ_ERROR_INVALID_ARGUMENT);
        HARNESS_RESULT(call(&good, 2, NULL), DJ_ERROR_INVALID_ARGUMENT);
        HARNESS_OK(call(&good, 0, NULL));
        HARNESS_OK(call(&good, 0, x));
    }
    for (int i = 0; i < 8; i++)
        assert_true(x[i] == 42);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(exp_and_log_match_the_c_library, harness_reseed),
        cmocka_unit_test_setup(normal_quantiles_are_exact, harness_reseed),
        cmocka_unit_test_setup(chi_quantiles_are_exact, harness_reseed),
        cmocka_unit_test(frequencies_follow_their_laws),
        cmocka_unit_test(draw_is_the_default_of_frequencies),
        cmocka_unit_test(quasi_sequences_beat_monte_carlo),
        cmocka_unit_test_setup(projections_of_sobol_beat_monte_carlo, harness_reseed),
        cmocka_unit_test(sobol_points_are_nets),
        cmocka_unit_test(directions_are_uniform),
        cmocka_unit_test(gaussians_are_normal_and_orthogonal),
        cmocka_unit_test(numbers_hang_on_the_seed_alone),
        cmocka_unit_test(other_seeds_are_other_numbers),
        cmocka_unit_test(bad_params_are_refused),
    };
    harness_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
