/* SPDX-License-Identifier: MIT */
/* The samples that are to be read: what they print is what they say it is. */
#include "programs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char hello[] = TEST_PROGRAMS "/hello", stream[] = TEST_PROGRAMS "/stream",
                  many_sequences[] = TEST_PROGRAMS "/many_sequences";

/* As in samples/stream.c. */
enum {
    PROMPT = 100,
    SAVED = 104,
    TOKENS = 108,
    HEADS = 8,
    DIM = 64,
    ROW = HEADS * DIM,
};

static void hello_prints_its_line(void **state)
{
    (void)state;
    double value;
    RUN(hello);
    assert_success();
    assert_int_equal(sscanf(last.out, "the last token's first output is %lf\n", &value), 1);
    assert_true(value > -0.02 && value < -0.01);
}

/* All of the stream's tokens in one call: the first output of each. */
static void attend(double first[TOKENS])
{
    const uint64_t shape[4] = {1, TOKENS, HEADS, DIM};
    const size_t size = sizeof(float) * TOKENS * ROW;
    float *const data[3] = {malloc(size), malloc(size), malloc(size)};
    float t[DIM];
    dj_features *features;
    dj_attention *plan;
    struct dj_attention_args args = {0};
    struct dj_tensor *const tensors[] = {&args.q, &args.k, &args.v, &args.o};
    dj_context *const context = harness_context(0);
    for (int n = 0; n < 3; n++)
        for (uint32_t i = 0; i < TOKENS * ROW; i++)
            data[n][i] = sinf((float)(n + 1) * (float)i);
    HARNESS_OK(dj_frequencies_draw(DIM, 1, t));
    HARNESS_OK(dj_features_create(
        context, &(struct dj_features_params){.dim = DIM, .frequencies = t}, &features));
    HARNESS_OK(dj_attention_create(
        context, &(struct dj_attention_params){.heads = HEADS, .dim = DIM}, &plan));
    for (int n = 0; n < 4; n++)
        HARNESS_OK(
            dj_tensor_create(context, DJ_FLOAT32, shape, n < 3 ? data[n] : NULL, tensors[n]));
    args.features = features;
    HARNESS_OK(dj_attention_run(plan, &args));
    HARNESS_OK(dj_buffer_read(args.o.buffer, 0, data[0], size));
    for (uint32_t i = 0; i < TOKENS; i++)
        first[i] = data[0][i * ROW];
    for (int n = 0; n < 4; n++)
        dj_buffer_destroy(&tensors[n]->buffer);
    for (int n = 0; n < 3; n++)
        free(data[n]);
    dj_attention_destroy(&plan);
    dj_features_destroy(&features);
}

/* The number behind text; where is moved behind its line. */
static double scan_line(const char **where, const char *text)
{
    char *end;
    if (strncmp(*where, text, strlen(text)) != 0)
        show(text);
    assert_int_equal(strncmp(*where, text, strlen(text)), 0);
    const double value = strtod(*where + strlen(text), &end);
    *where = strchr(end, '\n');
    assert_non_null(*where);
    (*where)++;
    return value;
}

static void stream_attends_as_one_call_does(void **state)
{
    (void)state;
    double want[TOKENS];
    char text[40];
    RUN(stream);
    assert_success();
    attend(want);
    const char *where = last.out;
    for (uint32_t i = PROMPT - 1; i < TOKENS; i++) {
        if (i == SAVED)
            assert_true(scan_line(&where, "state of 104 tokens saved: ") > DIM * ROW);
        snprintf(text, sizeof(text),
                 i < PROMPT ? "prompt of %u tokens: " : "token %u: ", i < PROMPT ? PROMPT : i);
        assert_true(fabs(scan_line(&where, text) - want[i]) <= 1e-5 * fabs(want[i]) + 1e-7);
    }
    assert_string_equal(where, "restored into slot 1: 0 of 2048 outputs differ\n"
                               "restored into a new context: 0 of 2048 outputs differ\n");
}

static void sequences_join_and_leave(void **state)
{
    (void)state;
    static const char steps[] =
        "step 0: 47 tokens:  A joins in slot 0 (40 of 46)  B joins in slot 1 (7 of 9)\n"
        "step 1: 25 tokens:  A in slot 0 (41 of 46)  B in slot 1 (8 of 9)"
        "  C joins in slot 2 (23 of 30)\n"
        "step 2: 3 tokens:  A in slot 0 (42 of 46)  B in slot 1 (9 of 9) and leaves"
        "  C in slot 2 (24 of 30)\n"
        "step 3: 3 tokens:  A in slot 0 (43 of 46)  C in slot 2 (25 of 30)"
        "  D joins in slot 1 (1 of 5)\n";
    RUN(many_sequences);
    assert_success();
    assert_int_equal(strncmp(last.out, steps, strlen(steps)), 0);
    assert_printed("A in slot 0 (46 of 46) and leaves");
    assert_printed("E joins in slot 0 (60 of 64)"); /* where A was */
    const char *where = strstr(last.out, "\nA: ");
    assert_non_null(where);
    where++;
    for (char name = 'A'; name <= 'E'; name++) {
        char text[80];
        snprintf(text, sizeof(text), "%c: the last output's error against the sequence alone is ",
                 name);
        const double error = scan_line(&where, text);
        assert_true(error >= 0 && error < 1e-5);
    }
    assert_string_equal(where, "");
}

static void samples_without_a_device_say_so(void **state)
{
    (void)state;
    const char *const samples[] = {hello, stream, many_sequences};
    setenv("VK_DRIVER_FILES", "/nonexistent.json", 1);
    setenv("VK_ICD_FILENAMES", "/nonexistent.json", 1);
    for (int i = 0; i < 3; i++) {
        RUN(samples[i]);
        assert_exit(1);
        assert_non_null(strchr(last.out, '\n'));
        assert_int_equal(strchr(last.out, '\n')[1], '\0');
    }
    unsetenv("VK_DRIVER_FILES");
    unsetenv("VK_ICD_FILENAMES");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(hello_prints_its_line),
    cmocka_unit_test(stream_attends_as_one_call_does),
    cmocka_unit_test(sequences_join_and_leave),
    cmocka_unit_test(samples_without_a_device_say_so),
};

PROGRAMS_MAIN(tests)
