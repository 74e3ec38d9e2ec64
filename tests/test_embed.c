/* SPDX-License-Identifier: MIT */
/* The sample that is an engine: what its frames computed, and that Vulkan has nothing to say. */
#include "programs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char embed[] = TEST_PROGRAMS "/embed";

/* As in samples/embed.c. */
enum {
    HEADS = 4,
    DIM = 64,
    ROW = HEADS * DIM,
    PROMPT = 50,
    TOKENS = 58
};

/* All tokens in one call on a context of the library's own: the first output of each token. */
static void attend(double first[TOKENS])
{
    const uint64_t shape[4] = {1, TOKENS, HEADS, DIM};
    float *const data = malloc(4 * sizeof(float) * TOKENS * ROW);
    float t[DIM];
    dj_features *features;
    dj_attention *plan;
    struct dj_attention_args args = {0};
    assert_non_null(data);
    for (uint32_t i = 0; i < 3 * TOKENS * ROW; i++)
        data[i] = (float)(i * 2654435761u >> 8) / (1 << 23) - 1.0f;
    dj_context *const context = harness_context(0);
    HARNESS_OK(dj_frequencies_draw(DIM, 1, t));
    HARNESS_OK(dj_features_create(
        context, &(struct dj_features_params){.dim = DIM, .frequencies = t}, &features));
    HARNESS_OK(dj_attention_create(
        context, &(struct dj_attention_params){.heads = HEADS, .dim = DIM}, &plan));
    HARNESS_OK(dj_tensor_create(context, DJ_FLOAT32, shape, data, &args.q));
    HARNESS_OK(dj_tensor_create(context, DJ_FLOAT32, shape, data + TOKENS * ROW, &args.k));
    HARNESS_OK(dj_tensor_create(context, DJ_FLOAT32, shape, data + 2 * TOKENS * ROW, &args.v));
    HARNESS_OK(dj_tensor_create(context, DJ_FLOAT32, shape, NULL, &args.o));
    args.features = features;
    HARNESS_OK(dj_attention_run(plan, &args));
    HARNESS_OK(dj_buffer_read(args.o.buffer, 0, data, sizeof(float) * TOKENS * ROW));
    for (uint32_t i = 0; i < TOKENS; i++)
        first[i] = data[i * ROW];
    dj_buffer_destroy(&args.q.buffer);
    dj_buffer_destroy(&args.k.buffer);
    dj_buffer_destroy(&args.v.buffer);
    dj_buffer_destroy(&args.o.buffer);
    dj_attention_destroy(&plan);
    dj_features_destroy(&features);
    free(data);
}

/* Every line is "token N: VALUE", from the prompt's last token to the last one. */
static void assert_attended(void)
{
    double want[TOKENS];
    attend(want);
    const char *line = last.out;
    for (uint32_t i = PROMPT - 1; i < TOKENS; i++) {
        uint32_t token;
        double got;
        int length = 0;
        if (sscanf(line, "token %u: %lf\n%n", &token, &got, &length) != 2 || token != i ||
            fabs(got - want[i]) > 1e-5 * fabs(want[i]) + 1e-7) {
            show("a wrong line");
            fail_msg("token %u should be %.6e", i, want[i]);
        }
        line += length;
    }
    assert_string_equal(line, "");
}

static void frames_attend_as_one_call_does(void **state)
{
    (void)state;
    RUN(embed);
    assert_success();
    assert_attended();
}

/* The layer prints what it finds to standard output, where nothing else may then be; the loader
 * says on standard error that the layer is really there. */
static void vulkan_has_nothing_to_say(void **state)
{
    (void)state;
    if (getenv("DIJIANG_VALIDATION") == NULL) {
        print_message("# the validation layer is not installed: its checks are not made\n");
        const char *const demanded = getenv("DIJIANG_TEST_VALIDATION");
        assert_false(demanded && strcmp(demanded, "1") == 0);
        return;
    }
    setenv("VK_INSTANCE_LAYERS", "VK_LAYER_KHRONOS_validation", 1);
    setenv("VK_LAYER_ENABLES", "VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT", 1);
    setenv("VK_LOADER_DEBUG", "layer", 1);
    RUN(embed);
    unsetenv("VK_INSTANCE_LAYERS");
    unsetenv("VK_LAYER_ENABLES");
    unsetenv("VK_LOADER_DEBUG");
    assert_exit(0);
    assert_attended();
    if (strstr(last.err, "VK_LAYER_KHRONOS_validation") == NULL || strstr(last.err, "VUID"))
        show("the layer is not there, or complains");
    assert_non_null(strstr(last.err, "VK_LAYER_KHRONOS_validation"));
    assert_null(strstr(last.err, "VUID"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(frames_attend_as_one_call_does),
    cmocka_unit_test(vulkan_has_nothing_to_say),
};

PROGRAMS_MAIN(tests)
