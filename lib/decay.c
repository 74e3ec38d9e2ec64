/* SPDX-License-Identifier: MIT */
#include "decay.h"

#include "buffer.h"
#include "kernels.h"

#include <math.h>
#include <stdlib.h>

/* mantissa * 2^exponent, the mantissa in [1, 2). */
struct power {
    double mantissa;
    int exponent;
};

static struct power multiply(struct power power, double factor)
{
    int step;
    const double mantissa = 2.0 * frexp(power.mantissa * factor, &step);
    return (struct power){mantissa, power.exponent + step - 1};
}

static void store(struct power power, float to[4])
{
    to[0] = (float)power.mantissa;
    to[1] = (float)power.exponent;
    to[2] = (float)(power.mantissa - (double)to[0]);
    to[3] = 0.0f;
}

void dj_decay_split(double gamma, float power[4])
{
    store(multiply((struct power){1.0, 0}, gamma), power);
}

/* factor^0 .. factor^span */
static void fill(double factor, uint32_t span, float (*powers)[4])
{
    struct power power = {1.0, 0};
    for (uint32_t n = 0; n <= span; n++) {
        store(power, powers[n]);
        power = multiply(power, factor);
    }
}

dj_result dj_decay_create(struct dj_context *context, const float *decay, uint32_t heads,
                          uint32_t span, struct dj_buffer **table)
{
    /* a binding is never empty, even if no kernel reads it */
    const float none = 1.0f;
    const bool some = decay != NULL && heads > 0;
    const float *const gammas = some ? decay : &none;
    const size_t count = some ? heads : 1;
    const size_t size = DJ_DECAY_POWERS(span);
    float(*const powers)[4] = malloc(count * size * sizeof *powers);
    if (powers == NULL)
        return dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY,
                       "attention: no host memory for the decay of %zu heads", count);
    for (size_t h = 0; h < count; h++) {
        const double gamma = (double)gammas[h];
        fill(gamma, span, powers + h * size);
        fill(1.0 / gamma, span, powers + h * size + span + 1);
    }
    const dj_result result =
        dj_buffer_create_table(context, powers, count * size * sizeof *powers, "decay", table);
    free(powers);
    return result;
}
