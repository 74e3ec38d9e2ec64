/* SPDX-License-Identifier: MIT */
/* The sums over tokens: pair by pair, and by recurrence. A weight, a feature or a sum is held as a
 * value times exp(exponent), so that no magnitude is lost on the way. */
#include "twin.h"

#include <dijiang/features.h>

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double *allocate(size_t n)
{
    double *x = calloc(n ? n : 1, sizeof(*x));
    if (!x)
        abort();
    return x;
}

/* One sequence and query head of a problem. */
struct job {
    const struct twin_attention *t;
    size_t head, key_head, m;
    struct twin_span queries, keys;
    const float *q, *k, *v; /* whole arrays */
    double *o;
    double log_decay;
};

static struct job make_job(const struct twin_attention *t, size_t n, size_t head, const float *q,
                           const float *k, const float *v, double *o)
{
    const size_t key_head = head / (t->heads / twin_key_heads(t));
    return (struct job){.t = t,
                        .head = head,
                        .key_head = key_head,
                        .m = twin_features_count(t),
                        .queries = twin_query_span(t, n),
                        .keys = twin_key_span(t, n),
                        .q = q,
                        .k = k,
                        .v = v,
                        .o = o,
                        .log_decay = t->decay ? log((double)t->decay[key_head]) : 0};
}

static const float *query_row(const struct job *job, size_t i)
{
    const struct twin_attention *t = job->t;
    const size_t token = job->queries.row * twin_query_tokens(t) + job->queries.first + i;
    return job->q + (token * t->heads + job->head) * t->dim;
}

static double *output_row(const struct job *job, size_t i)
{
    const struct twin_attention *t = job->t;
    const size_t token = job->queries.row * twin_query_tokens(t) + job->queries.first + i;
    return job->o + (token * t->heads + job->head) * t->value_dim;
}

static size_t key_index(const struct job *job, size_t j)
{
    const size_t token = job->keys.row * job->t->tokens + job->keys.first + j;
    return token * twin_key_heads(job->t) + job->key_head;
}

static const float *key_row(const struct job *job, size_t j)
{
    return job->k + key_index(job, j) * job->t->dim;
}

static double value_at(const struct job *job, size_t j, size_t c)
{
    const double v = job->v[key_index(job, j) * job->t->value_dim + c];
    return job->t->absolute ? fabs(v) : v;
}

/* Features of a sequence's queries or keys, [count][m], with position scales. */
struct features {
    double *value, *exponent;
};

static struct features make_features(const struct job *job, int is_key)
{
    const struct twin_attention *t = job->t;
    const size_t count = is_key ? job->keys.count : job->queries.count, m = job->m;
    struct features f = {allocate(count * m), allocate(count * m)};
    double *x = allocate(t->dim);
    for (size_t i = 0; i < count; i++) {
        const float *row = is_key ? key_row(job, i) : query_row(job, i);
        for (size_t c = 0; c < t->dim; c++)
            x[c] = sqrt(t->scale) * row[c];
        twin_features(t, job->key_head, is_key, i, x, f.value + i * m, f.exponent + i * m);
        double scale = 1;
        if (is_key && t->key_scales)
            scale = t->key_scales[job->key_head * t->key_places + i];
        else if (!is_key && t->query_scales)
            scale = t->query_scales[job->head * t->query_places + i];
        for (size_t n = 0; n < m; n++)
            f.value[i * m + n] =
                t->absolute ? fabs(scale * f.value[i * m + n]) : scale * f.value[i * m + n];
    }
    free(x);
    return f;
}

static void free_features(struct features *f)
{
    free(f->value);
    free(f->exponent);
}

/* value * exp(exponent), in two halves: Inf or 0 only where the product is. */
static double times_exp(double value, double exponent)
{
    if (value == 0)
        return 0; /* and not 0 * Inf */
    return value * exp(exponent / 2) * exp(exponent / 2);
}

/* o = numerators / norm, both times exp(exponent), with each map's rule for small denominators;
 * without normaliser the numerators alone. */
static void finish_row(const struct twin_attention *t, double *o, double norm, double exponent)
{
    const double true_norm = times_exp(norm, exponent);
    for (size_t c = 0; c < t->value_dim; c++) {
        if (!t->normalise)
            o[c] = times_exp(o[c], exponent);
        else if (t->map == DJ_MAP_COSFORMER && true_norm < 1e-6)
            o[c] = times_exp(o[c], exponent) / 1e-6;
        else if (norm == 0 || (t->map == DJ_MAP_RELU && fabs(true_norm) < 1e-6))
            o[c] = 0;
        else
            o[c] /= norm;
    }
}

/* One output row from the weights of the keys it sees. */
static void pair_row(const struct job *job, size_t i, const double *weight, const double *exponent,
                     size_t keys)
{
    const size_t e = job->t->value_dim;
    double max = -INFINITY, norm = 0, *o = output_row(job, i);
    for (size_t j = 0; j < keys; j++)
        if (weight[j] != 0)
            max = fmax(max, exponent[j]);
    memset(o, 0, e * sizeof(*o));
    for (size_t j = 0; j < keys; j++) {
        if (weight[j] == 0)
            continue;
        const double w = weight[j] * exp(exponent[j] - max);
        norm += w;
        for (size_t c = 0; c < e; c++)
            o[c] += w * value_at(job, j, c);
    }
    finish_row(job->t, o, norm, max);
}

/* phi(q_i) . phi(k_j), as a value and the exponent of its largest term. */
static double pair_weight(size_t m, const double *qv, const double *qe, const double *kv,
                          const double *ke, double *exponent)
{
    double max = -INFINITY, sum = 0;
    for (size_t f = 0; f < m; f++)
        if (qv[f] * kv[f] != 0)
            max = fmax(max, qe[f] + ke[f]);
    for (size_t f = 0; f < m; f++)
        if (qv[f] * kv[f] != 0)
            sum += qv[f] * kv[f] * exp(qe[f] + ke[f] - max);
    *exponent = sum == 0 ? 0 : max;
    return sum;
}

static void pair_sequence(const struct job *job)
{
    const struct twin_attention *t = job->t;
    const size_t m = job->m;
    struct features q = make_features(job, 0), k = make_features(job, 1);
    double *weight = allocate(job->keys.count), *exponent = allocate(job->keys.count);
    for (size_t i = 0; i < job->queries.count; i++) {
        const size_t keys = t->causal ? i + 1 : job->keys.count;
        for (size_t j = 0; j < keys; j++) {
            weight[j] = pair_weight(m, q.value + i * m, q.exponent + i * m, k.value + j * m,
                                    k.exponent + j * m, &exponent[j]);
            if (t->causal)
                exponent[j] += (double)(i - j) * job->log_decay;
        }
        pair_row(job, i, weight, exponent, keys);
    }
    free(exponent);
    free(weight);
    free_features(&k);
    free_features(&q);
}

static double dot(size_t n, const float *a, const double *b)
{
    double sum = 0;
    for (size_t c = 0; c < n; c++)
        sum += a[c] * b[c];
    return sum;
}

/* Rows of k or v over which softmax runs, in double: those of the sequence, or their projections by
 * Linformer's E or F. */
static double *softmax_rows(const struct job *job, const float *projection, int is_key,
                            size_t *count)
{
    const struct twin_attention *t = job->t;
    const size_t width = is_key ? t->dim : t->value_dim, T = job->keys.count;
    const size_t set = t->feature_heads > 1 ? job->key_head : 0;
    *count = t->map == DJ_MAP_LINFORMER ? job->m : T;
    double *rows = allocate(*count * width);
    for (size_t j = 0; j < T; j++) {
        for (size_t c = 0; c < width; c++) {
            const double x = is_key ? (double)key_row(job, j)[c] : value_at(job, j, c);
            if (t->map != DJ_MAP_LINFORMER)
                rows[j * width + c] = x;
            for (size_t r = 0; t->map == DJ_MAP_LINFORMER && r < job->m; r++) {
                const double p = projection[(set * job->m + r) * T + j];
                rows[r * width + c] += (t->absolute && !is_key ? fabs(p) : p) * x;
            }
        }
    }
    return rows;
}

static void softmax_row(const struct job *job, size_t i, const double *keys, const double *values,
                        size_t count, double *logit)
{
    const struct twin_attention *t = job->t;
    double max = -INFINITY, norm = 0, *o = output_row(job, i);
    memset(o, 0, t->value_dim * sizeof(*o));
    for (size_t j = 0; j < count; j++) {
        logit[j] = t->scale * dot(t->dim, query_row(job, i), keys + j * t->dim);
        max = fmax(max, logit[j]);
    }
    for (size_t j = 0; j < count; j++) {
        const double w = exp(logit[j] - max);
        norm += w;
        for (size_t c = 0; c < t->value_dim; c++)
            o[c] += w * values[j * t->value_dim + c];
    }
    for (size_t c = 0; c < t->value_dim && count; c++)
        o[c] /= norm;
}

static void softmax_sequence(const struct job *job)
{
    const struct twin_attention *t = job->t;
    size_t count = 0;
    double *keys = softmax_rows(job, t->key_projection, 1, &count);
    double *values = softmax_rows(job, t->value_projection, 0, &count);
    double *logit = allocate(count);
    for (size_t i = 0; i < job->queries.count; i++)
        softmax_row(job, i, keys, values, t->causal ? i + 1 : count, logit);
    free(logit);
    free(values);
    free(keys);
}

static int is_softmax(const struct twin_attention *t)
{
    return t->map == DJ_MAP_SOFTMAX || t->map == DJ_MAP_LINFORMER;
}

void twin_attention(const struct twin_attention *t, const float *q, const float *k, const float *v,
                    double *o)
{
    for (size_t n = 0; n < twin_sequences(t); n++) {
        for (size_t h = 0; h < t->heads; h++) {
            const struct job job = make_job(t, n, h, q, k, v, o);
            if (is_softmax(t))
                softmax_sequence(&job);
            else
                pair_sequence(&job);
        }
    }
}

/* Prefix sums of one head: feature f's true sums are sum[f][] and norm[f], times
 * exp(exponent[f]). */
struct prefix {
    double *sum, *norm, *exponent;
};

/* S' = gamma S + phi(k) v^T, the larger of the two terms setting the new exponent. The decay goes
 * into the exponent, so that an old sum never underflows before it is outweighed. */
static void prefix_add(const struct job *job, struct prefix *p, const struct features *k, size_t j)
{
    const size_t e = job->t->value_dim;
    const double *value = k->value + j * job->m, *exponent = k->exponent + j * job->m;
    for (size_t f = 0; f < job->m; f++) {
        p->exponent[f] += job->log_decay;
        if (value[f] == 0)
            continue;
        const double max = fmax(p->exponent[f], exponent[f]);
        const double keep = exp(p->exponent[f] - max), add = value[f] * exp(exponent[f] - max);
        p->exponent[f] = max;
        p->norm[f] = p->norm[f] * keep + add;
        for (size_t c = 0; c < e; c++)
            p->sum[f * e + c] = p->sum[f * e + c] * keep + add * value_at(job, j, c);
    }
}

static void prefix_output(const struct job *job, const struct prefix *p, const struct features *q,
                          size_t i)
{
    const size_t e = job->t->value_dim;
    const double *value = q->value + i * job->m, *exponent = q->exponent + i * job->m;
    double max = -INFINITY, norm = 0, *o = output_row(job, i);
    for (size_t f = 0; f < job->m; f++)
        if (value[f] != 0)
            max = fmax(max, exponent[f] + p->exponent[f]);
    memset(o, 0, e * sizeof(*o));
    for (size_t f = 0; f < job->m && max > -INFINITY; f++) {
        const double w = value[f] == 0 ? 0 : value[f] * exp(exponent[f] + p->exponent[f] - max);
        if (w == 0)
            continue;
        norm += w * p->norm[f];
        for (size_t c = 0; c < e; c++)
            o[c] += w * p->sum[f * e + c];
    }
    finish_row(job->t, o, norm, max);
}

static void recurrent_sequence(const struct job *job)
{
    const size_t m = job->m, e = job->t->value_dim;
    struct features q = make_features(job, 0), k = make_features(job, 1);
    struct prefix p = {allocate(m * e), allocate(m), allocate(m)};
    for (size_t f = 0; f < m; f++)
        p.exponent[f] = -INFINITY;
    for (size_t j = 0; j < job->keys.count; j++) {
        prefix_add(job, &p, &k, j);
        if (job->t->causal)
            prefix_output(job, &p, &q, j);
    }
    for (size_t i = 0; i < job->queries.count && !job->t->causal; i++)
        prefix_output(job, &p, &q, i);
    free(p.sum);
    free(p.norm);
    free(p.exponent);
    free_features(&k);
    free_features(&q);
}

void twin_attention_recurrent(const struct twin_attention *t, const float *q, const float *k,
                              const float *v, double *o)
{
    assert(!is_softmax(t));
    for (size_t n = 0; n < twin_sequences(t); n++) {
        for (size_t h = 0; h < t->heads; h++) {
            const struct job job = make_job(t, n, h, q, k, v, o);
            recurrent_sequence(&job);
        }
    }
}

double twin_largest_logit(const struct twin_attention *t, const float *q, const float *k)
{
    double largest = 0;
    for (size_t n = 0; n < twin_sequences(t); n++) {
        for (size_t h = 0; h < t->heads; h++) {
            const struct job job = make_job(t, n, h, q, k, NULL, NULL);
            size_t count = 0;
            double *keys = softmax_rows(&job, t->key_projection, 1, &count);
            for (size_t i = 0; i < job.queries.count; i++)
                for (size_t j = 0; j < (t->causal ? i + 1 : count); j++)
                    largest =
                        fmax(largest,
                             fabs(t->scale * dot(t->dim, query_row(&job, i), keys + j * t->dim)));
            free(keys);
        }
    }
    return largest;
}
