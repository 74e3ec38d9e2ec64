/* SPDX-License-Identifier: MIT */
/* Long work in parts: how max_work cuts a call, that the cut changes no bit of the result, that a
 * call given up or cancelled leaves every state as it was, and budgets of time. */
#include "problem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const float decays[] = {0.97f, 1};

enum {
    TOKENS = 100,
    MOST_SEQUENCES = 8,
    MOST_SNAPSHOTS = 5
};

/* A call, and how its states come and go. */
struct variant {
    const char *name;
    struct problem_params params;
    uint32_t snapshots; /* 0: no slots at all */
    bool in_place;      /* states go out where they came in */
    bool device;        /* slots by a buffer */
    bool far;           /* a pool beyond the binding range */
};

static const struct variant variants[] = {
    {"exponential, grouped, decayed",
     {SHAPE(2, TOKENS, 4, 16, 8), .map = DJ_MAP_WDCF, .normalise = true, .key_heads = 2,
      .features = 24, .decay = decays, .decay_count = 2},
     .snapshots = 1},
    {"in place",
     {SHAPE(3, TOKENS, 2, 16, 8), .map = DJ_MAP_ELU, .normalise = true},
     .snapshots = 1,
     .in_place = true},
    {"snapshots, slots by a buffer",
     {SHAPE(3, TOKENS, 2, 16, 8), .map = DJ_MAP_PRF, .normalise = true, .features = 8},
     .snapshots = MOST_SNAPSHOTS,
     .device = true},
    {"snapshots of packed sequences",
     {SHAPE(1, 3 * TOKENS, 2, 16, 72), .map = DJ_MAP_IDENTITY, .decay = decays, .decay_count = 2,
      .spans = DJ_SPANS_PACKED, .sequences = 5, .device_spans = true},
     .snapshots = 3},
    {"places",
     {SHAPE(4, TOKENS, 2, 16, 8), .map = DJ_MAP_COSFORMER, .normalise = true,
      .max_tokens = 2 * TOKENS, .spans = DJ_SPANS_PADDED},
     .snapshots = 2},
    {"position scales",
     {SHAPE(2, TOKENS, 4, 16, 8), .map = DJ_MAP_ELU, .key_heads = 2, .query_places = 2 * TOKENS,
      .key_places = 2 * TOKENS, .spans = DJ_SPANS_PADDED},
     .snapshots = 1,
     .in_place = true,
     .device = true},
    {"not causal, cross, snapshots",
     {SHAPE(2, TOKENS, 4, 16, 8), .map = DJ_MAP_PRF, .normalise = true, .key_heads = 2,
      .features = 8, .full = true, .cross = true, .query_tokens = 70},
     .snapshots = 2},
    {"not causal, packed by padded",
     {SHAPE(1, 3 * TOKENS, 2, 16, 8), .map = DJ_MAP_RELU, .normalise = true, .full = true,
      .cross = true, .query_tokens = 150, .spans = DJ_SPANS_PACKED, .query_spans = DJ_SPANS_PACKED,
      .sequences = 4},
     .snapshots = 1},
    {"the reference's map, half precision",
     {SHAPE(2, TOKENS, 2, 16, 8), .map = DJ_MAP_SOFTMAX_DCT, .q_type = DJ_FLOAT16,
      .k_type = DJ_BFLOAT16, .v_type = DJ_FLOAT16, .o_type = DJ_FLOAT16},
     .snapshots = 0},
    {"a far pool",
     {SHAPE(2, TOKENS, 2, 64, 64), .map = DJ_MAP_WDCF, .normalise = true},
     .snapshots = 2,
     .far = true},
    {"softmax",
     {SHAPE(2, TOKENS, 4, 16, 8), .map = DJ_MAP_SOFTMAX, .key_heads = 2},
     .snapshots = 0},
    {"softmax, not causal, packed",
     {SHAPE(1, 2 * TOKENS, 2, 16, 72), .map = DJ_MAP_SOFTMAX, .full = true, .cross = true,
      .query_tokens = 90, .spans = DJ_SPANS_PACKED, .query_spans = DJ_SPANS_PACKED, .sequences = 3},
     .snapshots = 0},
    {"Linformer",
     {SHAPE(2, TOKENS, 4, 16, 8), .map = DJ_MAP_LINFORMER, .key_heads = 2, .features = 40,
      .cross = true, .query_tokens = 130},
     .snapshots = 0},
};
enum {
    VARIANTS = sizeof(variants) / sizeof(*variants)
};

/* A variant on a device, with what one recording makes of it. */
struct subject {
    const struct variant *variant;
    dj_context *context;
    struct problem problem;
    struct placed placed;
    struct dj_attention_args args; /* no scratch memory, no max_work */
    struct dj_needs needs;         /* of args */
    dj_buffer *pool, *indices;
    int32_t in[MOST_SEQUENCES], out[MOST_SEQUENCES * MOST_SNAPSHOTS];
    float *want;          /* the output */
    void *before, *after; /* the pool's bytes before the call and after it */
};

static bool has_slots(const struct subject *subject)
{
    return subject->variant->snapshots > 0;
}

static void *pool_bytes(const struct subject *subject)
{
    void *bytes = malloc(dj_buffer_size(subject->pool));
    assert_non_null(bytes);
    harness_read(subject->pool, 0, bytes, dj_buffer_size(subject->pool));
    return bytes;
}

static void assert_pool(const struct subject *subject, const void *want, const char *what)
{
    if (!has_slots(subject))
        return;
    void *got = pool_bytes(subject);
    if (memcmp(got, want, dj_buffer_size(subject->pool)) != 0)
        fail_msg("%s, %s: the pool is not as it should be", subject->variant->name, what);
    free(got);
}

/* Slots whose numbers lie all over the pool; -1 for one sequence each way. */
static void number_slots(struct subject *subject, uint32_t slots)
{
    const struct variant *variant = subject->variant;
    const size_t N = twin_sequences(&subject->problem.twin), K = variant->snapshots;
    assert_true(N <= MOST_SEQUENCES && K <= MOST_SNAPSHOTS);
    for (size_t n = 0; n < N; n++)
        subject->in[n] = n == 1 ? -1 : (int32_t)(slots - 1 - n);
    for (size_t i = 0; i < N * K; i++)
        subject->out[i] = i == N * K - 1 ? -1 : (int32_t)(N * K - 1 - i);
    if (variant->in_place)
        memcpy(subject->out, subject->in, N * sizeof(*subject->in));
}

static void give_slots(struct subject *subject)
{
    struct dj_attention_args *args = &subject->args;
    args->snapshots = subject->variant->snapshots;
    args->slots_in.host = subject->in;
    args->slots_out.host = subject->out;
    if (!subject->variant->device)
        return;
    int32_t words[MOST_SEQUENCES + sizeof(subject->out) / 4];
    memcpy(words, subject->in, sizeof(subject->in));
    memcpy(words + MOST_SEQUENCES, subject->out, sizeof(subject->out));
    subject->indices = harness_buffer(subject->context, words, sizeof(words));
    args->slots_in = (struct dj_indices){.buffer = subject->indices};
    args->slots_out = (struct dj_indices){.buffer = subject->indices, .offset = 4 * MOST_SEQUENCES};
}

/* A pool with states in slots_in: what the same call leaves that starts from nothing. */
static bool make_pool(struct subject *subject)
{
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(subject->context, &info));
    HARNESS_OK(dj_attention_needs(subject->placed.plan, NULL, &subject->needs));
    uint64_t slots = 4 * MOST_SEQUENCES * MOST_SNAPSHOTS;
    if (subject->variant->far)
        slots = info.max_storage_range / subject->needs.slot_size + 2;
    const uint64_t size = slots * subject->needs.slot_size;
    if (size > info.max_allocation || size > UINT64_C(1) << 28)
        return false;
    subject->pool = harness_poisoned(subject->context, size);
    struct dj_attention_args *args = &subject->args;
    args->state = subject->pool;
    args->slot_count = (uint32_t)slots;
    number_slots(subject, args->slot_count);
    args->slots_out.host = subject->in;
    HARNESS_OK(dj_attention_run(subject->placed.plan, args));
    placed_poison(&subject->placed);
    give_slots(subject);
    subject->before = pool_bytes(subject);
    return true;
}

static void subject_restore(struct subject *subject)
{
    placed_poison(&subject->placed);
    if (has_slots(subject))
        HARNESS_OK(
            dj_buffer_write(subject->pool, 0, subject->before, dj_buffer_size(subject->pool)));
}

static void subject_finish(struct subject *subject)
{
    dj_buffer_destroy(&subject->pool);
    dj_buffer_destroy(&subject->indices);
    free(subject->want);
    free(subject->before);
    free(subject->after);
    placed_finish(&subject->placed);
    problem_finish(&subject->problem);
}

/* False, having said why, where the device cannot have it. */
static bool subject_init(struct subject *subject, dj_context *context,
                         const struct variant *variant)
{
    *subject = (struct subject){.variant = variant, .context = context};
    problem_init(&subject->problem, &variant->params);
    problem_solve(&subject->problem);
    problem_place(&subject->problem, context, LAYOUT_PLAIN, &subject->placed);
    subject->args = subject->placed.args;
    if (has_slots(subject) && !make_pool(subject)) {
        print_message("# %s: takes too much memory\n", variant->name);
        subject_finish(subject);
        return false;
    }
    HARNESS_OK(dj_attention_run(subject->placed.plan, &subject->args));
    subject->want = placed_output(&subject->placed);
    if (has_slots(subject))
        subject->after = pool_bytes(subject);
    else /* what comes in counts in the others */
        problem_assert(&subject->problem, subject->want, variant->name);
    HARNESS_OK(dj_attention_needs(subject->placed.plan, &subject->args, &subject->needs));
    subject_restore(subject);
    return true;
}

static void assert_done(const struct subject *subject, const char *what)
{
    float *got = placed_output(&subject->placed);
    problem_assert_bits(&subject->problem, subject->want, got,
                        problem_output_size(&subject->problem), what);
    free(got);
    assert_pool(subject, subject->after, what);
}

/* Records each part for itself, by recorders that take turns and have what needs says, and looks at
 * the pool after each. */
static void submit_parts(const struct subject *subject, const struct dj_attention_args *args,
                         const struct dj_needs *needs)
{
    const dj_attention *plan = subject->placed.plan;
    const struct dj_recorder_params exactly = {.dispatches = needs->dispatches,
                                               .ring_size = needs->ring_size};
    dj_recorder *recorders[2] = {NULL};
    for (size_t i = 0; i < 2; i++)
        HARNESS_OK(dj_recorder_create(subject->context, &exactly, &recorders[i]));
    for (uint32_t part = 0; part < needs->parts; part++) {
        dj_recorder *recorder = recorders[part % 2];
        HARNESS_OK(dj_recorder_begin(recorder));
        HARNESS_OK(dj_attention_record_part(plan, recorder, args, part));
        HARNESS_OK(dj_recorder_submit(recorder));
        HARNESS_OK(dj_recorder_wait(recorder, UINT64_MAX));
        if (part + 1 < needs->parts)
            assert_pool(subject, subject->before, "given up");
    }
    for (size_t i = 0; i < 2; i++)
        dj_recorder_destroy(&recorders[i]);
}

/* All parts in one recording: by one call, or part by part. */
static void submit_together(const struct subject *subject, const struct dj_attention_args *args,
                            const struct dj_needs *needs, bool whole)
{
    const dj_attention *plan = subject->placed.plan;
    const struct dj_recorder_params params = {.dispatches = needs->dispatches * needs->parts,
                                              .ring_size = needs->ring_size * needs->parts};
    dj_recorder *recorder = NULL;
    HARNESS_OK(dj_recorder_create(subject->context, &params, &recorder));
    HARNESS_OK(dj_recorder_begin(recorder));
    for (uint32_t part = 0; !whole && part < needs->parts; part++)
        HARNESS_OK(dj_attention_record_part(plan, recorder, args, part));
    if (whole)
        HARNESS_OK(dj_attention_record(plan, recorder, args));
    HARNESS_OK(dj_recorder_submit(recorder));
    HARNESS_OK(dj_recorder_wait(recorder, UINT64_MAX));
    dj_recorder_destroy(&recorder);
}

static void test_cut(struct subject *subject, uint64_t max_work)
{
    static const char *const names[] = {"part by part", "parts in one recording", "all by one call",
                                        "run"};
    struct dj_attention_args args = subject->args;
    struct dj_needs needs;
    args.max_work = max_work;
    args.barriers = DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_COMPUTE | DJ_BARRIER_AFTER_HOST;
    HARNESS_OK(dj_attention_needs(subject->placed.plan, &args, &needs));
    dj_buffer *scratch =
        needs.scratch_size ? harness_poisoned(subject->context, needs.scratch_size) : NULL;
    args.scratch = (struct dj_scratch){.buffer = scratch, .size = needs.scratch_size};
    for (int way = 0; way < 4; way++) {
        char what[96];
        snprintf(what, sizeof(what), "%s, max_work %llu, %u parts, %s", subject->variant->name,
                 (unsigned long long)max_work, needs.parts, names[way]);
        if (way == 0)
            submit_parts(subject, &args, &needs);
        else if (way < 3)
            submit_together(subject, &args, &needs, way == 2);
        else
            HARNESS_OK(dj_attention_run(subject->placed.plan, &args));
        assert_done(subject, what);
        subject_restore(subject);
    }
    dj_buffer_destroy(&scratch);
}

/* Outputs and states are those of the call in one piece, bit by bit, and no slot is written before
 * the last part. */
static void parts_equal_the_whole(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        for (size_t n = 0; n < VARIANTS; n++) {
            struct subject subject;
            if (!subject_init(&subject, harness_context(i), &variants[n]))
                continue;
            const uint64_t flops = subject.needs.flops;
            const uint64_t cuts[] = {1, flops / 5, flops / 2, flops};
            for (size_t cut = 0; cut < sizeof(cuts) / sizeof(*cuts); cut++)
                test_cut(&subject, cuts[cut]);
            subject_finish(&subject);
        }
    }
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(parts_equal_the_whole),
};

HARNESS_MAIN(tests)
