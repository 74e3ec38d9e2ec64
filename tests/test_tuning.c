/* SPDX-License-Identifier: MIT */
/* dj_attention_tune: what it chooses is one of the families, stays chosen in plans, context and
 * cache, and is measured once. Which of the two is faster is no test's business. */
#include "problem.h"

#include <dijiang/cache.h>

#include <stdlib.h>
#include <string.h>

#define TOKENS 300
static const struct problem_params shape = {SHAPE(1, TOKENS, 2, 32, 8), .normalise = true,
                                            .family = DJ_FAMILY_TUNED};

static void require_kernels(void)
{
    const uint32_t needed = DJ_USE_SUBGROUPS | DJ_USE_DEVICE_ADDRESSES;
    if ((dj_context_uses(harness_context(0)) & needed) != needed)
        harness_skip("without resident kernels there is nothing to choose");
}

static bool is_poisoned(const struct placed *placed)
{
    const struct dj_tensor *const o = &placed->args.o;
    uint32_t word;
    HARNESS_OK(dj_buffer_read(o->buffer, o->offset, &word, sizeof word));
    return word == HARNESS_POISON;
}

/* The problem's output by a family, and its scratch memory. */
static float *run_by(const struct problem *problem, uint32_t family, uint64_t *scratch)
{
    struct problem other = *problem; /* shares all arrays */
    other.plan_params.family = family;
    struct placed placed;
    struct dj_needs needs;
    problem_place(&other, harness_context(0), LAYOUT_PLAIN, &placed);
    HARNESS_OK(dj_attention_needs(placed.plan, &placed.args, &needs));
    *scratch = needs.scratch_size;
    HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
    float *const got = placed_output(&placed);
    placed_finish(&placed);
    return got;
}

/* Tuning leaves o alone: the choice is there. Then the same bits as `want`. */
static void assert_chosen(const struct problem *problem, struct placed *placed, const float *want)
{
    placed_poison(placed);
    HARNESS_OK(dj_attention_tune(placed->plan, &placed->args));
    assert_true(is_poisoned(placed));
    HARNESS_OK(dj_attention_run(placed->plan, &placed->args));
    float *const got = placed_output(placed);
    problem_assert_bits(problem, want, got, problem_output_size(problem), "chosen");
    free(got);
}

/* In another plan of the context, and in a context that has its cache. */
static void assert_stays_chosen(const struct problem *problem, const float *want)
{
    struct placed placed;
    problem_place(problem, harness_context(0), LAYOUT_PLAIN, &placed);
    assert_chosen(problem, &placed, want);
    placed_finish(&placed);

    uint64_t size = 0;
    HARNESS_OK(dj_cache_save(harness_context(0), NULL, &size));
    void *const cache = malloc(size);
    assert_non_null(cache);
    HARNESS_OK(dj_cache_save(harness_context(0), cache, &size));
    dj_context *context = NULL;
    HARNESS_OK(dj_context_create(
        &(struct dj_context_params){.log = harness_log_line, .cache = cache, .cache_size = size},
        &context));
    problem_place(problem, context, LAYOUT_PLAIN, &placed);
    assert_chosen(problem, &placed, want);
    placed_finish(&placed);
    dj_context_destroy(&context);
    free(cache);
}

static void chooses_one_for_good(void **state)
{
    (void)state;
    require_kernels();
    struct problem problem;
    struct placed placed;
    struct dj_needs needs;
    uint64_t scratch[2];
    problem_init(&problem, &shape);
    problem_solve(&problem);
    float *const by[] = {run_by(&problem, DJ_FAMILY_TILED, &scratch[0]),
                         run_by(&problem, DJ_FAMILY_RESIDENT, &scratch[1])};
    const size_t size = problem_output_size(&problem) * sizeof(float);
    assert_memory_not_equal(by[0], by[1], size);

    struct placed earlier; /* of a plan from before */
    problem_place(&problem, harness_context(0), LAYOUT_PLAIN, &earlier);
    problem_place(&problem, harness_context(0), LAYOUT_PLAIN, &placed);
    placed.args.scratch.size = 1; /* of no buffer: not looked at */
    HARNESS_OK(dj_attention_tune(placed.plan, &placed.args));
    placed.args.scratch.size = 0;
    float *const got = placed_output(&placed);
    problem_assert(&problem, got, "tuned");
    free(got);
    HARNESS_OK(dj_attention_needs(placed.plan, &placed.args, &needs));
    placed_poison(&placed);
    HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
    float *const chosen = placed_output(&placed);
    const int which = memcmp(chosen, by[1], size) == 0;
    assert_memory_equal(chosen, by[which], size);
    assert_int_equal(needs.scratch_size, scratch[which]);
    assert_int_equal(needs.family, which == 0 ? DJ_FAMILY_TILED : DJ_FAMILY_RESIDENT);
    assert_chosen(&problem, &placed, chosen);
    assert_chosen(&problem, &earlier, chosen);
    placed_finish(&earlier);
    assert_stays_chosen(&problem, chosen);

    /* half as many tokens are another size */
    struct dj_attention_args half = placed_range(&placed, 0, TOKENS / 2);
    placed_poison(&placed);
    HARNESS_OK(dj_attention_tune(placed.plan, &half));
    assert_false(is_poisoned(&placed));
    placed_finish(&placed);

    /* without a causal mask it is another plan */
    struct problem all;
    struct problem_params full = shape;
    full.full = true;
    problem_init(&all, &full);
    problem_place(&all, harness_context(0), LAYOUT_PLAIN, &placed);
    placed_poison(&placed);
    HARNESS_OK(dj_attention_tune(placed.plan, &placed.args));
    assert_false(is_poisoned(&placed));
    placed_finish(&placed);
    problem_finish(&all);
    free(chosen);
    free(by[0]);
    free(by[1]);
    problem_finish(&problem);
}

/* With scratch memory of the caller's, too little for a family: nothing is chosen. */
static void fails_whole(void **state)
{
    (void)state;
    require_kernels();
    struct problem problem;
    struct placed placed;
    struct problem_params other = shape;
    other.value_dim = 12;
    problem_init(&problem, &other);
    problem_place(&problem, harness_context(0), LAYOUT_PLAIN, &placed);
    dj_buffer *tiny = harness_buffer(harness_context(0), NULL, 256);
    placed.args.scratch = (struct dj_scratch){.buffer = tiny, .size = 256};
    HARNESS_RESULT(dj_attention_tune(placed.plan, &placed.args), DJ_ERROR_SCRATCH);
    placed.args.scratch = (struct dj_scratch){.size = 0};
    placed_poison(&placed);
    HARNESS_OK(dj_attention_tune(placed.plan, &placed.args));
    assert_false(is_poisoned(&placed));
    dj_buffer_destroy(&tiny);
    placed_finish(&placed);
    problem_finish(&problem);
}

/* Single tokens, and calls that registers cannot do, have no choice: success, and nothing runs. */
static void nothing_to_choose(void **state)
{
    (void)state;
    struct problem problem;
    struct placed placed;
    struct problem_params other = shape;
    other.full = true;
    problem_init(&problem, &other);
    problem_place(&problem, harness_context(0), LAYOUT_PLAIN, &placed);
    HARNESS_OK(dj_attention_tune(placed.plan, &placed.args));
    assert_true(is_poisoned(&placed));
    placed_finish(&placed);
    problem_finish(&problem);

    problem_init(&problem, &shape);
    problem_place(&problem, harness_context(0), LAYOUT_PLAIN, &placed);
    struct dj_attention_args one = placed_range(&placed, 0, 1);
    HARNESS_OK(dj_attention_tune(placed.plan, &one));
    assert_true(is_poisoned(&placed));
    placed_finish(&placed);
    problem_finish(&problem);
}

static void refusals(void **state)
{
    (void)state;
    struct problem problem;
    struct placed placed;
    problem_init(&problem, &shape);
    problem_place(&problem, harness_context(0), LAYOUT_PLAIN, &placed);
    HARNESS_RESULT(dj_attention_tune(NULL, &placed.args), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_attention_tune(placed.plan, NULL), DJ_ERROR_INVALID_ARGUMENT);
    static const int32_t slots[] = {0};
    struct dj_attention_args args = placed.args;
    args.slots_out.host = slots;
    HARNESS_RESULT(dj_attention_tune(placed.plan, &args), DJ_ERROR_INVALID_ARGUMENT);
    args = placed.args;
    args.q.shape[1]++;
    HARNESS_RESULT(dj_attention_tune(placed.plan, &args), DJ_ERROR_INVALID_ARGUMENT);
    placed_finish(&placed);
    problem.plan_params.family = DJ_FAMILY_DEFAULT;
    problem_place(&problem, harness_context(0), LAYOUT_PLAIN, &placed);
    HARNESS_RESULT(dj_attention_tune(placed.plan, &placed.args), DJ_ERROR_UNSUPPORTED);
    placed_finish(&placed);
    problem.plan_params.family = DJ_FAMILY_TUNED + 1;
    dj_attention *plan = NULL;
    HARNESS_RESULT(dj_attention_create(harness_context(0), &problem.plan_params, &plan),
                   DJ_ERROR_INVALID_ARGUMENT);
    problem_finish(&problem);
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(chooses_one_for_good),
    HARNESS_TEST(fails_whole),
    HARNESS_TEST(nothing_to_choose),
    HARNESS_TEST(refusals),
};

HARNESS_MAIN(tests)
