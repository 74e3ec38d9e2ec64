/* SPDX-License-Identifier: MIT */
/* What calibration is made of: least squares, rows of features, gradients. */
#include "fitted.h"

#include "block.h"
#include "fit.h"
#include "nnls.h"
#include "rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double objective(size_t rows, size_t n, const double *a, const double *w)
{
    double sum = 0;
    for (size_t r = 0; r < rows; r++) {
        double off = -1;
        for (size_t i = 0; i < n; i++)
            off += a[r * n + i] * w[i];
        sum += off * off;
    }
    return sum;
}

static void normal_equations(size_t rows, size_t n, const double *a, double *gram, double *image)
{
    for (size_t i = 0; i < n; i++) {
        image[i] = 0;
        for (size_t r = 0; r < rows; r++)
            image[i] += a[r * n + i];
        for (size_t j = 0; j < n; j++) {
            gram[i * n + j] = 0;
            for (size_t r = 0; r < rows; r++)
                gram[i * n + j] += a[r * n + i] * a[r * n + j];
        }
    }
}

/* A minimum of a convex problem is where no step that is allowed descends (Karush, Kuhn, Tucker).
 */
static void assert_optimal(size_t n, const double *gram, const double *image, const double *w)
{
    double size = 0;
    for (size_t i = 0; i < n; i++)
        size = fmax(size, fabs(image[i]));
    for (size_t i = 0; i < n; i++) {
        double slope = image[i];
        for (size_t j = 0; j < n; j++)
            slope -= gram[i * n + j] * w[j];
        assert_true(w[i] >= 0);
        if (w[i] > 0)
            harness_assert_within(fabs(slope), 1e-9 * size, "slope of a weight in use");
        else
            harness_assert_within(slope, 1e-9 * size, "slope of a weight at 0");
    }
}

static void nnls_finds_the_minimum(void **state)
{
    (void)state;
    enum {
        MOST = 40,
        ROWS = 100
    };
    static double a[ROWS * MOST], gram[MOST * MOST], image[MOST], w[MOST];
    size_t zeros = 0, used = 0;
    for (int round = 0; round < 300; round++) {
        const size_t n = 1 + harness_random() % MOST;
        for (size_t i = 0; i < ROWS * n; i++)
            a[i] = harness_normal() + (round % 3 == 0 ? 1 : 0.1);
        normal_equations(ROWS, n, a, gram, image);
        assert_true(dj_nnls(n, gram, image, w));
        assert_optimal(n, gram, image, w);
        for (size_t i = 0; i < n; i++)
            *(w[i] > 0 ? &used : &zeros) += 1;
        for (int trial = 0; trial < 20; trial++) { /* and no neighbour is better */
            double other[MOST];
            for (size_t i = 0; i < n; i++)
                other[i] = fmax(w[i] + 1e-3 * harness_normal(), 0);
            assert_true(objective(ROWS, n, a, other) >= objective(ROWS, n, a, w));
        }
    }
    assert_true(zeros > 100 && used > 100);
}

static void nnls_takes_dependent_columns(void **state)
{
    (void)state;
    enum {
        N = 6,
        ROWS = 20
    };
    double a[ROWS * N], gram[N * N], image[N], w[N];
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < 3; i++)
            a[r * N + i] = 1 + harness_normal();
        a[r * N + 3] = 2 * a[r * N];
        a[r * N + 4] = a[r * N + 1] + a[r * N + 2];
        a[r * N + 5] = 0;
    }
    normal_equations(ROWS, N, a, gram, image);
    assert_true(dj_nnls(N, gram, image, w));
    assert_optimal(N, gram, image, w);
    memset(image, 0, sizeof image); /* nothing to gain */
    assert_true(dj_nnls(N, gram, image, w));
    for (int i = 0; i < N; i++)
        assert_true(w[i] == 0);
}

/* The rows of each block against the sums that define the transforms, on the twin's side. */
static void rows_are_the_transforms(void **state)
{
    (void)state;
    static const uint32_t dims[] = {4, 12, 64, 100, 256};
    static double rows[1024 * 256], phi[1024];
    static float ones[1024];
    for (int i = 0; i < 1024; i++)
        ones[i] = 1;
    for (size_t n = 0; n < sizeof dims / sizeof *dims; n++) {
        const uint32_t d = dims[n];
        for (uint32_t m = 4 * d; m >= 4; m = m > 4 * d - 8 ? m - 4 : m / 2 / 4 * 4) {
            float x[256];
            harness_fill_normal(x, d, 0.1);
            dj_wdcf_rows(d, m, rows);
            const struct dj_calibration plain = {
                .dim = d, .features = m, .frequencies = ones, .weights = ones};
            calibration_features(&plain, x, 0, phi);
            for (uint32_t i = 0; i < m; i++) {
                double sum = 0;
                for (uint32_t j = 0; j < d; j++)
                    sum += rows[i * d + j] * x[j];
                harness_assert_within(fabs(sum - log(phi[i])), 1e-13, "coefficient");
            }
        }
        dj_wdcf_rows(d, 4 * d, rows);
        for (uint32_t i = 0; i < 4 * d; i += 3) {
            for (uint32_t j = i / d * d; j <= i; j++) {
                double dot = 0;
                for (uint32_t l = 0; l < d; l++)
                    dot += rows[i * d + l] * rows[j * d + l];
                harness_assert_within(fabs(dot - (i == j)), 1e-13, "scalar product of rows");
                if (d > 64)
                    j += d / 8;
            }
            if (d > 64)
                i += d / 8;
        }
    }
}

/* Derivatives against differences. */
static void gradients_are_derivatives(void **state)
{
    (void)state;
    enum {
        N = 20,
        D = 8,
        M = 12
    };
    double q[N * D], k[N * D], q_rows[N * M], k_rows[N * M], t[M], w[M], dt[M], dw[M];
    struct dj_samples samples = {D, M, N, N, q, k, q_rows, k_rows};
    uint32_t indices[N];
    for (int i = 0; i < N * D; i++) {
        q[i] = harness_normal();
        k[i] = harness_normal();
    }
    for (int i = 0; i < N * M; i++) {
        q_rows[i] = harness_normal();
        k_rows[i] = harness_normal();
    }
    for (int i = 0; i < M; i++) {
        t[i] = harness_normal();
        w[i] = harness_normal();
    }
    for (uint32_t i = 0; i < N; i++)
        indices[i] = N - 1 - i;
    struct dj_block block;
    assert_true(dj_block_init(&block, &samples, N, N - 3));
    dj_block_fill(&block, &samples, indices, indices);
    const struct dj_numbers numbers = {t, w}, gradient = {dt, dw};
    for (int key_normalise = 0; key_normalise < 2; key_normalise++) {
        dj_block_error(&block, &numbers, key_normalise, &gradient);
        for (int i = 0; i < 2 * M; i++) {
            double *const x = i < M ? t + i : w + i - M;
            const double kept = *x, h = 1e-5;
            *x = kept + h;
            const double above = dj_block_error(&block, &numbers, key_normalise, NULL);
            *x = kept - h;
            const double below = dj_block_error(&block, &numbers, key_normalise, NULL);
            *x = kept;
            harness_assert_within(fabs((above - below) / (2 * h) - (i < M ? dt[i] : dw[i - M])),
                                  1e-8, "derivative");
        }
    }
    dj_block_finish(&block);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nnls_finds_the_minimum, harness_reseed),
        cmocka_unit_test_setup(nnls_takes_dependent_columns, harness_reseed),
        cmocka_unit_test_setup(rows_are_the_transforms, harness_reseed),
        cmocka_unit_test_setup(gradients_are_derivatives, harness_reseed),
    };
    harness_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
