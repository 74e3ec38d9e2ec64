/* SPDX-License-Identifier: MIT */
/* The twins themselves, on the host alone: what every other test leans on. */
#include "problem.h"

#include <math.h>
#include <stdlib.h>

static void dct_inverts(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 130; n += n < 20 ? 1 : 11) {
        double x[130], y[130], z[130];
        for (size_t i = 0; i < n; i++)
            x[i] = harness_normal();
        const int pairs[3][2] = {{2, 3}, {3, 2}, {4, 4}};
        for (int p = 0; p < 3; p++) {
            twin_dct(pairs[p][0], n, x, y);
            twin_dct(pairs[p][1], n, y, z);
            for (size_t i = 0; i < n; i++)
                assert_true(fabs(z[i] - x[i]) < 1e-12);
        }
    }
}

static void dct_of_known_vectors(void **state)
{
    (void)state;
    const double ones[4] = {1, 1, 1, 1}, first[4] = {1, 0, 0, 0};
    double y[4];
    twin_dct(2, 4, ones, y);
    assert_true(fabs(y[0] - 2) < 1e-15 && fabs(y[1]) < 1e-15);
    twin_dct(3, 4, first, y);
    for (size_t i = 0; i < 4; i++)
        assert_true(fabs(y[i] - 0.5) < 1e-15);
    twin_dct(2, 4, first, y); /* sqrt(1/2) cos(pi k / 8) */
    assert_true(fabs(y[1] - 0.65328148243818826) < 1e-15);
    twin_dct(4, 4, first, y); /* sqrt(1/2) cos(pi (2k + 1) / 16) */
    assert_true(fabs(y[0] - 0.69351992266107371) < 1e-15);
}

static double largest_difference(const struct problem *p, const double *a, const double *b)
{
    const struct twin_attention *t = &p->twin;
    double difference = 0, size = 0;
    for (size_t i = 0; i < t->batch * t->tokens * t->heads * t->value_dim; i++) {
        difference = fmax(difference, fabs(a[i] - b[i]));
        size = fmax(size, fabs(b[i]));
    }
    return difference / size;
}

static void recurrence_agrees_with_pairs(void **state)
{
    (void)state;
    const float decays[3] = {1, 0.97f, 0.01f};
    for (int i = 0; i < 16; i++) {
        const struct problem_params params = {.map = i & 1 ? DJ_MAP_SOFTMAX_DCT : DJ_MAP_WDCF,
                                              .batch = 2,
                                              .tokens = 90,
                                              .heads = 3,
                                              .dim = 12,
                                              .value_dim = 8,
                                              .normalise = i & 2,
                                              .decay = decays,
                                              .decay_count = i & 4 ? 3 : 0,
                                              .weighted = !(i & 1),
                                              .own_numbers = i & 8,
                                              .sigma = i & 8 ? 10 : 1};
        struct problem p;
        problem_init(&p, &params);
        problem_solve(&p);
        double *o = calloc(2 * 90 * 3 * 8, sizeof(*o));
        assert_non_null(o);
        twin_attention_recurrent(&p.twin, p.q, p.k, p.v, o);
        assert_true(largest_difference(&p, o, p.want) < 1e-12);
        free(o);
        problem_finish(&p);
    }
}

/* Against a sum written out by hand, features multiplied and not their logarithms added. */
static void pairs_agree_with_plain_products(void **state)
{
    (void)state;
    const struct problem_params params = {.batch = 1,
                                          .tokens = 7,
                                          .heads = 1,
                                          .dim = 4,
                                          .value_dim = 4,
                                          .normalise = true,
                                          .scale = 0.3f};
    struct problem p;
    problem_init(&p, &params);
    problem_solve(&p);
    double phi_q[7][4], phi_k[7][4];
    for (size_t i = 0; i < 7; i++) {
        double x[4], y[4], a[4], b[4];
        for (size_t c = 0; c < 4; c++) {
            x[c] = sqrt((double)0.3f) * p.q[4 * i + c];
            y[c] = sqrt((double)0.3f) * p.k[4 * i + c];
        }
        twin_dct(2, 4, x, a);
        twin_dct(2, 4, y, b);
        for (size_t f = 0; f < 4; f++) {
            phi_q[i][f] = exp(p.frequencies[f] * a[f]);
            phi_k[i][f] = exp(p.frequencies[f] * b[f]);
        }
    }
    for (size_t i = 0; i < 7; i++) {
        double sum[4] = {0}, norm = 0;
        for (size_t j = 0; j <= i; j++) {
            double w = 0;
            for (size_t f = 0; f < 4; f++)
                w += phi_q[i][f] * phi_k[j][f];
            norm += w;
            for (size_t c = 0; c < 4; c++)
                sum[c] += w * p.v[4 * j + c];
        }
        for (size_t c = 0; c < 4; c++)
            assert_true(fabs(p.want[4 * i + c] - sum[c] / norm) < 1e-13);
    }
    problem_finish(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dct_inverts),
        cmocka_unit_test(dct_of_known_vectors),
        cmocka_unit_test(recurrence_agrees_with_pairs),
        cmocka_unit_test(pairs_agree_with_plain_products),
    };
    harness_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
