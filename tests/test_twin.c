/* SPDX-License-Identifier: MIT */
/* The twins themselves, on the host alone: what every other test leans on. */
#include "half.h"
#include "problem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    double difference = 0, size = 0;
    for (size_t i = 0; i < problem_output_size(p); i++) {
        difference = fmax(difference, fabs(a[i] - b[i]));
        size = fmax(size, fabs(b[i]));
    }
    return size > 0 ? difference / size : difference;
}

/* Both twins' answers to one problem. */
struct answers {
    double *pairs, *recurrent;
};

static struct answers ask_both(const struct problem *p)
{
    const size_t n = problem_output_size(p) + 1;
    struct answers a = {calloc(n, sizeof(double)), calloc(n, sizeof(double))};
    assert_true(a.pairs && a.recurrent);
    twin_attention(&p->twin, p->q, p->k, p->v, a.pairs);
    twin_attention_recurrent(&p->twin, p->q, p->k, p->v, a.recurrent);
    return a;
}

static void assert_both_agree(const struct problem_params *params)
{
    struct problem p;
    problem_init(&p, params);
    const struct answers a = ask_both(&p);
    const double difference = largest_difference(&p, a.recurrent, a.pairs);
    if (!(difference < 1e-12))
        fail_msg("the twins differ by %g: %s", difference, problem_text(&p));
    free(a.pairs);
    free(a.recurrent);
    problem_finish(&p);
}

static void recurrence_agrees_with_pairs(void **state)
{
    (void)state;
    static const float decays[3] = {1, 0.97f, 0.01f};
    for (int map = 0; map <= DJ_MAP_IDENTITY; map++) {
        for (unsigned i = 0; i < 32; i++) {
            const bool full = i & 4, normalise = i & 2 && map != DJ_MAP_IDENTITY;
            const bool exponents = map == DJ_MAP_WDCF || map == DJ_MAP_PFF || map == DJ_MAP_PRF;
            const bool scaled = i & 16 && !normalise && !exponents;
            const bool numbers = exponents || map == DJ_MAP_PERFORMER_RELU;
            assert_both_agree(&(struct problem_params){
                SHAPE(2, 60, 6, 12, 8), .map = map, .key_heads = i & 16 ? 2 : 0,
                .features = numbers && i & 1 ? 40 : 0, .full = full, .normalise = normalise,
                .key_normalise = normalise && exponents && i & 8, .gaussian = i & 1,
                .decay = decays, .decay_count = full ? 0 : 3, .weighted = i & 1,
                .own_numbers = i & 8, .sigma = i & 8 && exponents ? 6 : 1, .cross = full && i & 1,
                .query_tokens = 9, .spans = i & 1 ? DJ_SPANS_PADDED : DJ_SPANS_WHOLE,
                .query_spans = i & 8 ? DJ_SPANS_PADDED : DJ_SPANS_WHOLE,
                .query_places = scaled ? 60 : 0, .key_places = scaled ? 64 : 0});
        }
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

/* Weights of one head from features multiplied out, as section 3 of docs/mathematics.md has them;
 * x are rows already scaled, p the token's place from 0 on. */
static double plain_feature(const struct problem *p, const double *x, size_t place, size_t f)
{
    const size_t d = p->twin.dim;
    const double angle = acos(-1.0) / 2 * (double)(place + 1) / (double)p->twin.max_tokens;
    double u = 0, square = 0;
    for (size_t c = 0; c < d; c++) {
        u += p->directions ? (double)p->directions[f * d + c] * x[c] : 0;
        square += x[c] * x[c];
    }
    const double root = sqrt(1. / (double)twin_features_count(&p->twin));
    const double c = p->params.gaussian ? 1 : 0.5, D = p->weights ? fabs((double)p->weights[f]) : 1;
    switch (p->twin.map) {
    case DJ_MAP_PFF:
        return root * D * exp(p->frequencies[f] * u - c * square);
    case DJ_MAP_PRF:
        return root * D * exp(u - c * square);
    case DJ_MAP_PERFORMER_RELU:
        return (u > 0 ? u : 0) + 0.001;
    case DJ_MAP_COSFORMER:
        return x[f % d] <= 0 ? 0 : x[f % d] * (f < d ? cos(angle) : sin(angle));
    case DJ_MAP_ELU:
        return x[f] > 0 ? x[f] + 1 : 1 + expm1(x[f]);
    case DJ_MAP_RELU:
        return x[f] > 0 ? x[f] : 0;
    default:
        return x[f];
    }
}

/* Every map of section 3 against its formula, features multiplied and not their logarithms added.
 */
static void maps_agree_with_formulas(void **state)
{
    (void)state;
    for (int n = 0; n < 4 * (DJ_MAP_IDENTITY - DJ_MAP_PFF + 1); n++) {
        const int map = DJ_MAP_PFF + n / 4;
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 9, 1, 8, 4), .map = map, .scale = 0.3f,
                                                  .weighted = n & 1, .gaussian = n & 1,
                                                  .normalise = n & 2 && map != DJ_MAP_IDENTITY});
        problem_solve(&p);
        const size_t m = twin_features_count(&p.twin), d = 8;
        for (size_t i = 0; i < 9; i++) {
            double sum[4] = {0}, norm = 0, x[8], y[8];
            for (size_t j = 0; j <= i; j++) {
                double w = 0;
                for (size_t c = 0; c < d; c++) {
                    x[c] = sqrt((double)0.3f) * p.q[d * i + c];
                    y[c] = sqrt((double)0.3f) * p.k[d * j + c];
                }
                for (size_t f = 0; f < m; f++)
                    w += plain_feature(&p, x, i, f) * plain_feature(&p, y, j, f);
                norm += w;
                for (size_t c = 0; c < 4; c++)
                    sum[c] += w * p.v[4 * j + c];
            }
            for (size_t c = 0; c < 4; c++) {
                const double want = !p.twin.normalise ? sum[c] : norm > 0 ? sum[c] / norm : 0;
                if (!(fabs(p.want[4 * i + c] - want) <= 1e-12 * fmax(1, fabs(want))))
                    fail_msg("token %zu: %.17g, should be %.17g: %s", i, p.want[4 * i + c], want,
                             problem_text(&p));
            }
        }
        problem_finish(&p);
    }
}

/* Blocks beyond the first d: DCT-III, DCT-IV, and DCT-II of flipped signs, by
 * splitmix64's first words from state 3. */
static void wdcf_blocks(void **state)
{
    (void)state;
    enum {
        D = 100
    };
    double x[D], y[4][D], a[4 * D];
    float ones[4 * D];
    for (size_t i = 0; i < 4 * D; i++)
        ones[i] = 1;
    for (size_t i = 0; i < D; i++)
        x[i] = harness_normal();
    twin_dct(2, D, x, y[0]);
    twin_dct(3, D, x, y[1]);
    twin_dct(4, D, x, y[2]);
    static const uint64_t words[2] = {0x1d0b14e4db018fedu, 0xb3466f8a7b81a989u};
    for (size_t i = 0; i < D; i++)
        if (words[i / 64] >> i % 64 & 1)
            x[i] = -x[i];
    twin_dct(2, D, x, y[3]);
    for (size_t i = 0; i < D; i++)
        if (words[i / 64] >> i % 64 & 1)
            x[i] = -x[i];
    const struct twin_attention t = {
        .map = DJ_MAP_WDCF, .dim = D, .features = 3 * D + 8, .frequencies = ones};
    twin_log_features(&t, 0, x, a);
    for (size_t i = 0; i < 3 * D + 8; i++)
        assert_true(fabs(a[i] - y[i / D][i % D]) < 1e-15);
}

/* phi(0).phi(k) is 1 for every key: a query of 0 sees the plain mean of the values. */
static void key_normalisation_is_exact_at_zero(void **state)
{
    (void)state;
    static const int maps[] = {DJ_MAP_WDCF, DJ_MAP_PFF, DJ_MAP_PRF};
    for (size_t n = 0; n < 3; n++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 20, 2, 8, 4), .map = maps[n],
                                                  .normalise = true, .key_normalise = true,
                                                  .weighted = true, .own_numbers = true,
                                                  .features = 16, .sigma = 5});
        for (size_t i = 0; i < twin_q_size(&p.twin); i++)
            p.q[i] = 0;
        problem_solve(&p);
        for (size_t column = 0; column < 2 * 4; column++) {
            double sum = 0;
            for (size_t i = 0; i < 20; i++) {
                sum += p.v[i * 8 + column];
                assert_true(fabs(p.want[i * 8 + column] - sum / (double)(i + 1)) < 1e-12);
            }
        }
        problem_finish(&p);
    }
}

/* What the random maps estimate: E phi(x).phi(y) = exp(x.y), or the Gaussian kernel. */
static void random_features_estimate_kernels(void **state)
{
    (void)state;
    for (int gaussian = 0; gaussian < 2; gaussian++) {
        struct problem p;
        double x[4] = {0.3, -0.2, 0.1, 0.4}, y[4] = {0.1, 0.2, -0.3, 0.3}, a[4096], b[4096];
        problem_init(&p, &(struct problem_params){SHAPE(1, 1, 1, 4, 4), .map = DJ_MAP_PRF,
                                                  .features = 4096, .gaussian = gaussian});
        twin_log_features(&p.twin, 0, x, a);
        twin_log_features(&p.twin, 0, y, b);
        double sum = 0, dot = 0, distance = 0;
        for (size_t f = 0; f < 4096; f++)
            sum += exp(a[f] + b[f]);
        for (size_t c = 0; c < 4; c++) {
            dot += x[c] * y[c];
            distance += (x[c] - y[c]) * (x[c] - y[c]);
        }
        assert_true(fabs(sum / exp(gaussian ? -distance / 2 : dot) - 1) < 0.1);
        problem_finish(&p);
    }
}

static void softmax_by_hand(void **state)
{
    (void)state;
    for (int full = 0; full < 2; full++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 11, 4, 4, 4), .map = DJ_MAP_SOFTMAX,
                                                  .key_heads = 2, .full = full});
        problem_solve(&p);
        for (size_t i = 0; i < 11; i++) {
            for (size_t h = 0; h < 4; h++) {
                double sum[4] = {0}, norm = 0;
                for (size_t j = 0; j < (full ? 11 : i + 1); j++) {
                    double dot = 0;
                    for (size_t c = 0; c < 4; c++)
                        dot += (double)p.q[(i * 4 + h) * 4 + c] * p.k[(j * 2 + h / 2) * 4 + c];
                    norm += exp(dot / 2);
                    for (size_t c = 0; c < 4; c++)
                        sum[c] += exp(dot / 2) * p.v[(j * 2 + h / 2) * 4 + c];
                }
                for (size_t c = 0; c < 4; c++)
                    assert_true(fabs(p.want[(i * 4 + h) * 4 + c] - sum[c] / norm) < 1e-13);
            }
        }
        problem_finish(&p);
    }
}

/* With E = F = a permutation, Linformer is softmax attention over the same keys. */
static void linformer_of_a_permutation_is_softmax(void **state)
{
    (void)state;
    struct problem p, plain;
    const struct problem_params params = {SHAPE(2, 10, 4, 8, 4), .map = DJ_MAP_LINFORMER,
                                          .key_heads = 2,        .features = 10,
                                          .cross = true,         .query_tokens = 3};
    problem_init(&p, &params);
    for (size_t i = 0; i < 100; i++)
        p.key_projection[i] = p.value_projection[i] = i / 10 == (i % 10 * 3 + 1) % 10;
    problem_solve(&p);
    plain = p;
    plain.twin.map = DJ_MAP_SOFTMAX;
    plain.want = plain.terms = NULL;
    problem_solve(&plain);
    assert_true(largest_difference(&p, p.want, plain.want) < 1e-13);
    free(plain.want);
    problem_finish(&p);
}

/* A span is a sequence of its own: as if its tokens stood alone. */
static void spans_are_sequences(void **state)
{
    (void)state;
    for (int map = 0; map < DJ_MAP_LINFORMER; map++) {
        struct problem p;
        problem_init(&p,
                     &(struct problem_params){SHAPE(1, 40, 2, 8, 4), .map = map, .max_tokens = 50,
                                              .spans = DJ_SPANS_PACKED, .sequences = 7});
        problem_solve(&p);
        for (size_t n = 0; n < 7; n++) {
            struct problem one = p;
            const struct twin_span span = p.spans[n];
            one.twin.spans = NULL;
            one.twin.tokens = span.count;
            one.q += span.first * 2 * 8;
            one.k += span.first * 2 * 8;
            one.v += span.first * 2 * 4;
            one.want = one.terms = NULL;
            problem_solve(&one);
            assert_true(largest_difference(&one, p.want + span.first * 2 * 4, one.want) < 1e-13);
            free(one.want);
            free(one.terms);
        }
        problem_finish(&p);
    }
}

/* Rows that see nothing, and the maps whose denominators may vanish. */
static void nothing_seen_is_zero(void **state)
{
    (void)state;
    for (int map = 0; map <= DJ_MAP_IDENTITY; map++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 0, 2, 8, 4), .map = map, .full = true,
                                                  .cross = true, .query_tokens = 3,
                                                  .normalise = map != DJ_MAP_IDENTITY});
        const struct answers a = ask_both(&p);
        for (size_t i = 0; i < 3 * 2 * 4; i++)
            assert_true(a.pairs[i] == 0 && a.recurrent[i] == 0);
        free(a.pairs);
        free(a.recurrent);
        problem_finish(&p);
    }
    static const int maps[2] = {DJ_MAP_RELU, DJ_MAP_COSFORMER};
    for (size_t n = 0; n < 2; n++) {
        struct problem p; /* one token: q.k = 4 * 2.5e-4 ^ 2 = 2.5e-7, below 1e-6 */
        problem_init(&p, &(struct problem_params){SHAPE(1, 1, 1, 4, 4), .map = maps[n], .scale = 1,
                                                  .normalise = true});
        for (size_t c = 0; c < 4; c++) {
            p.q[c] = p.k[c] = 2.5e-4f;
            p.v[c] = 8;
        }
        const struct answers a = ask_both(&p);
        const double want = maps[n] == DJ_MAP_RELU ? 0 : 2;
        for (size_t c = 0; c < 4; c++)
            assert_true(fabs(a.pairs[c] - want) < 1e-6 && fabs(a.recurrent[c] - want) < 1e-6);
        free(a.pairs);
        free(a.recurrent);
        problem_finish(&p);
    }
}

/* Every float16 and bfloat16 there is, and the midpoints between neighbours, which go to even. */
static void storage_types_round(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x7c00; bits++) {
        const float x = half_to_float((uint16_t)bits), next = half_to_float((uint16_t)(bits + 1));
        assert_int_equal(half_from_float(x), bits);
        assert_int_equal(half_from_float(-x), bits | 0x8000);
        const float middle = bits == 0x7bff ? 65520 : (x + next) / 2;
        assert_int_equal(half_from_float(middle), bits + (bits & 1));
        assert_int_equal(half_from_float(nextafterf(middle, 0)), bits);
        assert_int_equal(half_from_float(nextafterf(middle, INFINITY)), bits + 1);
    }
    for (uint32_t bits = 0; bits < 0x7f80; bits++) {
        const float x = bfloat_to_float((uint16_t)bits);
        assert_int_equal(bfloat_from_float(x), bits);
        assert_int_equal(bfloat_from_float(-x), bits | 0x8000);
        const uint32_t middle_bits = bits << 16 | 0x8000;
        float middle;
        memcpy(&middle, &middle_bits, sizeof(middle));
        assert_int_equal(bfloat_from_float(middle), bits + (bits & 1));
        assert_int_equal(bfloat_from_float(nextafterf(middle, 0)), bits);
        assert_int_equal(bfloat_from_float(nextafterf(middle, INFINITY)), bits + 1);
    }
    assert_true(half_to_float(0x3c00) == 1 && half_to_float(0x7bff) == 65504);
    assert_true(half_to_float(1) == 0x1p-24f && half_to_float(0xc000) == -2);
    assert_true(bfloat_to_float(0x3f80) == 1 && bfloat_to_float(0xc040) == -3);
    assert_int_equal(half_from_float(INFINITY), 0x7c00);
    assert_int_equal(half_from_float(-INFINITY), 0xfc00);
    assert_int_equal(bfloat_from_float(INFINITY), 0x7f80);
    assert_true(isnan(half_to_float(half_from_float(NAN))));
    assert_true(isnan(bfloat_to_float(bfloat_from_float(NAN))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dct_inverts),
        cmocka_unit_test(dct_of_known_vectors),
        cmocka_unit_test(recurrence_agrees_with_pairs),
        cmocka_unit_test(pairs_agree_with_plain_products),
        cmocka_unit_test(maps_agree_with_formulas),
        cmocka_unit_test(wdcf_blocks),
        cmocka_unit_test(key_normalisation_is_exact_at_zero),
        cmocka_unit_test(random_features_estimate_kernels),
        cmocka_unit_test(softmax_by_hand),
        cmocka_unit_test(linformer_of_a_permutation_is_softmax),
        cmocka_unit_test(spans_are_sequences),
        cmocka_unit_test(nothing_seen_is_zero),
        cmocka_unit_test(storage_types_round),
    };
    harness_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
