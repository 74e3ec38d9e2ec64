/* SPDX-License-Identifier: MIT */
#include "exact.h"

#include <assert.h>
#include <math.h>

static double polynomial(const double c[8], double x)
{
    double sum = c[7];
    for (int i = 6; i >= 0; i--)
        sum = sum * x + c[i];
    return sum;
}

/* The quantile at 1/2 + center, tail being the smaller of the shares on either side; both are
 * given so that neither loses digits. The rational approximations are those of Wichura, "Algorithm
 * AS 241: the percentage points of the normal distribution", Applied Statistics 37, 1988, good to
 * 1e-16. */
static double normal_from(double center, double tail)
{
    static const double a[8] = {
        3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
        1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
        3.3430575583588128105e4, 2.5090809287301226727e3,
    };
    static const double b[8] = {
        1.0,
        4.2313330701600911252e1,
        6.8718700749205790830e2,
        5.3941960214247511077e3,
        2.1213794301586595867e4,
        3.9307895800092710610e4,
        2.8729085735721942674e4,
        5.2264952788528545610e3,
    };
    static const double c[8] = {
        1.42343711074968357734e0,  4.63033784615654529590e0,  5.76949722146069140550e0,
        3.64784832476320460504e0,  1.27045825245236838258e0,  2.41780725177450611770e-1,
        2.27238449892691845833e-2, 7.74545014278341407640e-4,
    };
    static const double d[8] = {
        1.0,
        2.05319162663775882187e0,
        1.67638483018380384940e0,
        6.89767334985100004550e-1,
        1.48103976427480074590e-1,
        1.51986665636164571966e-2,
        5.47593808499534494600e-4,
        1.05075007164441684324e-9,
    };
    static const double e[8] = {
        6.65790464350110377720e0,  5.46378491116411436990e0,  1.78482653991729133580e0,
        2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
        2.71155556874348757815e-5, 2.01033439929228813265e-7,
    };
    static const double f[8] = {
        1.0,
        5.99832206555887937690e-1,
        1.36929880922735805310e-1,
        1.48753612908506148525e-2,
        7.86869131145613259100e-4,
        1.84631831751005468180e-5,
        1.42151175831644588870e-7,
        2.04426310338993978564e-15,
    };
    if (fabs(center) <= 0.425) {
        const double r = 0.180625 - center * center;
        return center * (polynomial(a, r) / polynomial(b, r));
    }
    const double r = sqrt(-dj_exact_log(tail));
    const double x = r <= 5.0 ? polynomial(c, r - 1.6) / polynomial(d, r - 1.6)
                              : polynomial(e, r - 5.0) / polynomial(f, r - 5.0);
    return center < 0.0 ? -x : x;
}

double dj_normal_quantile(double u)
{
    assert(u > 0.0 && u < 1.0);
    return normal_from(u - 0.5, u < 0.5 ? u : 1.0 - u);
}

/* Gamma(a + 1), a a multiple of 1/2 and at most 128. */
static double factorial(double a)
{
    double product = a == floor(a) ? 1.0 : 0.88622692545275801365; /* Gamma(3/2) = sqrt(pi) / 2 */
    for (; a > 1.0; a -= 1.0)
        product *= a;
    return product;
}

/* The gamma distribution of shape a at x: its lower and upper share and density. Gautschi, "A
 * computational procedure for incomplete gamma functions", ACM TOMS 5, 1979: the power series for
 * the lower share left of a + 1, Legendre's continued fraction for the upper one right of it. */
struct gamma_at {
    double lower, upper, density;
};

static struct gamma_at gamma_distribution(double a, double gamma_a1, double x)
{
    const double power =
        dj_exact_exp(a * dj_exact_log(x) - x) / gamma_a1; /* x^a e^-x / Gamma(a+1) */
    struct gamma_at at = {.density = power * a / x};
    if (x < a + 1.0) {
        double term = 1.0, sum = 1.0;
        for (double k = a + 1.0; term > 1e-17 * sum; k += 1.0) {
            term *= x / k;
            sum += term;
        }
        at.lower = power * sum;
        at.upper = 1.0 - at.lower;
        return at;
    }
    /* by Lentz's method: 1/(b0 + a1/(b1 + a2/(b2 + ...))), a_k = -k (k - a), b_k = x - a + 1 + 2k
     */
    double b = x - a + 1.0, d = 1.0 / b, c = 0x1p+300, h = d;
    for (int k = 1; k < 10000; k++) {
        const double numerator = -k * (k - a);
        b += 2.0;
        d = 1.0 / (numerator * d + b);
        c = b + numerator / c;
        h *= c * d;
        if (fabs(c * d - 1.0) < 1e-16)
            break;
    }
    at.upper = power * a * h;
    at.lower = 1.0 - at.upper;
    return at;
}

/* chi = sqrt(2 g), g gamma-distributed of shape a = dim / 2. The logarithm of the lower share is
 * concave in ln g, and that of the upper share concave in g for a >= 1, so that Newton's method
 * reaches the root from one side: the first below from (u Gamma(a+1))^(1/a), which is too small,
 * the second from anywhere. */
double dj_chi_quantile(uint32_t dim, double u)
{
    assert(dim >= 1 && dim <= 256 && u > 0.0 && u < 1.0);
    if (dim == 1)
        return normal_from(0.5 * u, 0.5 * (1.0 - u));
    const double a = 0.5 * dim, gamma_a1 = factorial(a);
    double x = a;
    if (u <= 0.5)
        x = dj_exact_exp(dj_exact_log(u * gamma_a1) / a);
    for (int i = 0; i < 100; i++) {
        const struct gamma_at at = gamma_distribution(a, gamma_a1, x);
        double next;
        if (u <= 0.5)
            next = x * dj_exact_exp(dj_exact_log(u / at.lower) * at.lower / (x * at.density));
        else
            next = x + dj_exact_log(at.upper / (1.0 - u)) * at.upper / at.density;
        const double step = fabs(next - x);
        x = next;
        if (step <= 1e-14 * x) /* squared, the next one would be lost in rounding */
            break;
    }
    return sqrt(2.0 * x);
}
