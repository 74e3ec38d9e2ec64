/* SPDX-License-Identifier: MIT */
/* The active-set method of Lawson and Hanson 1974, chapter 23, on the normal equations: the
 * Cholesky factor of the columns in use is kept, grows by a row when a column enters, and is made
 * triangular again by Givens rotations when one leaves. Both cost n^2. */
#include "nnls.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct nnls {
    size_t n, used;
    const double *gram, *image;
    double *factor;   /* [n][n] lower triangle L of the columns in use, in their order */
    double *solution; /* [n] of the columns in use, in their order */
    double *scratch;  /* [n] */
    size_t *columns;  /* [n] in use, in order of entry */
    bool *barred;     /* [n] neither enters: in use, or dependent on those in use */
};

/* y = L^-1 x for the first `used` rows; y may be x. */
static void forward(const struct nnls *s, const double *x, double *y)
{
    for (size_t i = 0; i < s->used; i++) {
        double sum = x[i];
        for (size_t j = 0; j < i; j++)
            sum -= s->factor[i * s->n + j] * y[j];
        y[i] = sum / s->factor[i * s->n + i];
    }
}

/* The least-squares solution of the columns in use. */
static void solve(struct nnls *s)
{
    for (size_t i = 0; i < s->used; i++)
        s->solution[i] = s->image[s->columns[i]];
    forward(s, s->solution, s->solution);
    for (size_t i = s->used; i-- > 0;) {
        double sum = s->solution[i];
        for (size_t j = i + 1; j < s->used; j++)
            sum -= s->factor[j * s->n + i] * s->solution[j];
        s->solution[i] = sum / s->factor[i * s->n + i];
    }
}

static bool enter(struct nnls *s, size_t column)
{
    double *const row = s->factor + s->used * s->n;
    for (size_t i = 0; i < s->used; i++)
        s->scratch[i] = s->gram[column * s->n + s->columns[i]];
    forward(s, s->scratch, row);
    double rest = s->gram[column * s->n + column];
    for (size_t i = 0; i < s->used; i++)
        rest -= row[i] * row[i];
    s->barred[column] = true;
    if (!(rest > 1e-12 * s->gram[column * s->n + column]))
        return false;
    row[s->used] = sqrt(rest);
    s->columns[s->used++] = column;
    return true;
}

static void leave(struct nnls *s, size_t place)
{
    s->barred[s->columns[place]] = false;
    s->used--;
    for (size_t i = place; i < s->used; i++) {
        s->columns[i] = s->columns[i + 1];
        memcpy(s->factor + i * s->n, s->factor + (i + 1) * s->n, (i + 2) * sizeof(double));
    }
    /* the rows moved up reach one place beyond the diagonal: rotate columns k and k + 1 */
    for (size_t k = place; k < s->used; k++) {
        double *const row = s->factor + k * s->n + k;
        const double length = sqrt(row[0] * row[0] + row[1] * row[1]);
        const double cosine = row[0] / length, sine = row[1] / length;
        for (size_t i = k; i < s->used; i++) {
            double *const pair = s->factor + i * s->n + k;
            const double first = pair[0];
            pair[0] = cosine * first + sine * pair[1];
            pair[1] = cosine * pair[1] - sine * first;
        }
    }
}

/* The column with the steepest descent, or n if there is none. */
static size_t steepest(const struct nnls *s, const double *w, double tolerance)
{
    size_t best = s->n;
    double most = tolerance;
    for (size_t j = 0; j < s->n; j++) {
        if (s->barred[j])
            continue;
        double slope = s->image[j];
        for (size_t i = 0; i < s->used; i++)
            slope -= s->gram[j * s->n + s->columns[i]] * w[s->columns[i]];
        if (slope > most) {
            most = slope;
            best = j;
        }
    }
    return best;
}

/* Goes from w towards the solution of the columns in use until all of it is positive, dropping
 * those that reach 0 on the way. */
static void advance(struct nnls *s, double *w)
{
    for (;;) {
        solve(s);
        double share = 1.0;
        size_t first = s->used;
        for (size_t i = 0; i < s->used; i++) {
            const double from = w[s->columns[i]];
            if (s->solution[i] <= 0.0 && from / (from - s->solution[i]) < share) {
                share = from / (from - s->solution[i]);
                first = i;
            }
        }
        for (size_t i = 0; i < s->used; i++)
            w[s->columns[i]] += share * (s->solution[i] - w[s->columns[i]]);
        if (first == s->used)
            return;
        const size_t column = s->columns[first];
        w[column] = 0.0;
        leave(s, first);
        s->barred[column] = share == 0.0; /* it had just entered, by rounding alone */
    }
}

bool dj_nnls(size_t n, const double *gram, const double *image, double *w)
{
    bool ok = false;
    struct nnls s = {.n = n, .gram = gram, .image = image};
    s.factor = malloc(n * n * sizeof *s.factor);
    s.solution = malloc(n * sizeof *s.solution);
    s.scratch = malloc(n * sizeof *s.scratch);
    s.columns = malloc(n * sizeof *s.columns);
    s.barred = calloc(n, sizeof *s.barred);
    if (s.factor == NULL || s.solution == NULL || s.scratch == NULL || s.columns == NULL ||
        s.barred == NULL)
        goto done;

    double tolerance = 0.0;
    for (size_t j = 0; j < n; j++) {
        w[j] = 0.0;
        tolerance = fmax(tolerance, 1e-12 * fabs(image[j]));
    }
    /* each round lowers the residual, so that no set of columns comes twice, but for rounding */
    for (size_t round = 0; round < 10 * n; round++) {
        const size_t column = steepest(&s, w, tolerance);
        if (column == n)
            break;
        if (!enter(&s, column))
            continue;
        advance(&s, w);
    }
    ok = true;

done:
    free(s.barred);
    free(s.columns);
    free(s.scratch);
    free(s.solution);
    free(s.factor);
    return ok;
}
