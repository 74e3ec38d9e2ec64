/* SPDX-License-Identifier: MIT */
#include "reach.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    ELEMENT = 5
};

/* place: 0, 1, 2 for q, k, v. */
static void assert_reached(const struct problem *problem, int place, size_t token,
                           const float *clean, const float *got)
{
    const size_t heads = problem->twin.heads, e = problem->twin.value_dim;
    for (size_t i = 0; i < problem_output_size(problem); i++) {
        const size_t row = i / (heads * e), head = i / e % heads;
        const bool seen = place == 0 ? row == token : row >= token;
        if (head == heads - 1 && seen && (place < 2 || i % e == ELEMENT))
            assert_false(isfinite(got[i]));
        else
            assert_memory_equal(&got[i], &clean[i], sizeof *got);
    }
}

void reach_assert(const struct problem *problem, uint32_t device, size_t token)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    const struct twin_attention *const t = &problem->twin;
    float *const inputs[] = {problem->q, problem->k, problem->v};
    struct made made = problem_make(problem, device);
    float *clean = made_run(&made, problem, LAYOUT_PLAIN);
    problem_assert(problem, clean, "without");
    for (int n = 0; n < 9; n++) {
        const size_t width = n / 3 < 2 ? t->dim : t->value_dim;
        float *const element = inputs[n / 3] + ((token + 1) * t->heads - 1) * width + ELEMENT;
        const float kept = *element;
        *element = bad[n % 3];
        float *got = made_run(&made, problem, LAYOUT_PLAIN);
        *element = kept;
        assert_reached(problem, n / 3, token, clean, got);
        free(got);
    }
    free(clean);
    made_finish(&made);
}
