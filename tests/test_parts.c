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
    bool apart;         /* heads of q so far apart that a group of them cannot be bound */
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
    {"heads apart",
     {SHAPE(1, TOKENS, 4, 16, 8), .map = DJ_MAP_WDCF, .normalise = true, .key_heads = 2},
     .snapshots = 2,
     .apart = true},
    {"softmax, heads apart",
     {SHAPE(1, TOKENS, 4, 16, 8), .map = DJ_MAP_SOFTMAX, .key_heads = 2},
     .apart = true},
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

/* q with the heads of its one row in pieces of a buffer beyond the binding range. */
static bool spread_queries(struct subject *subject)
{
    const struct twin_attention *t = &subject->problem.twin;
    const uint64_t shape[4] = {1, t->tokens, t->heads, t->dim};
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(subject->context, &info));
    const uint64_t stride = (info.max_storage_range / 4 / (t->heads - 1) * 9 / 8) & ~63ull;
    const uint64_t size = 4 * (stride * (t->heads - 1) + t->tokens * t->dim);
    if (size > info.max_allocation || size > UINT64_C(1) << 28)
        return false;
    dj_buffer *q = harness_buffer(subject->context, NULL, size);
    for (uint64_t i = 0; i < t->tokens * t->heads; i++)
        HARNESS_OK(dj_buffer_write(q, 4 * (i % t->heads * stride + i / t->heads * t->dim),
                                   subject->problem.q + i * t->dim, 4 * t->dim));
    struct dj_tensor *tensor = &subject->placed.args.q;
    dj_tensor_init(tensor, q, 0, DJ_FLOAT32, shape);
    tensor->stride[1] = t->dim;
    tensor->stride[2] = stride;
    dj_buffer_destroy(&subject->placed.buffers[0]);
    subject->placed.buffers[0] = q;
    subject->args.q = *tensor;
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
    if ((variant->apart && !spread_queries(subject)) ||
        (has_slots(subject) && !make_pool(subject))) {
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

/* Softmax over several boxes of keys is another kernel than over one: what is right is what each
 * way to submit the same cut must give. */
static void take_output(struct subject *subject, const char *what)
{
    free(subject->want);
    subject->want = placed_output(&subject->placed);
    problem_assert(&subject->problem, subject->want, what);
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
        if (way == 0 && subject->problem.twin.map == DJ_MAP_SOFTMAX)
            take_output(subject, what);
        assert_done(subject, what);
        subject_restore(subject);
    }
    dj_buffer_destroy(&scratch);
}

/* Outputs and states are those of the call in one piece, bit by bit but for softmax, and no slot is
 * written before the last part. */
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

/* needs of a call of one plan with random numbers. */
static struct dj_needs needs_of(const struct placed *placed, const struct dj_attention_args *args,
                                uint64_t max_work)
{
    struct dj_attention_args limited = *args;
    struct dj_needs needs, again;
    limited.max_work = max_work;
    HARNESS_OK(dj_attention_needs(placed->plan, &limited, &needs));
    limited.scratch.size = needs.scratch_size; /* taken at its word it says the same */
    HARNESS_OK(dj_attention_needs(placed->plan, &limited, &again));
    assert_memory_equal(&needs, &again, sizeof(needs));
    return needs;
}

/* Floating-point operations of a tile of this problem, with all of its query heads. */
static uint64_t tile_flops(const struct subject *subject)
{
    const struct twin_attention *t = &subject->problem.twin;
    const uint64_t group = t->heads / twin_key_heads(t), width = t->dim + t->value_dim;
    const uint64_t m = twin_features_count(t);
    if (t->map == DJ_MAP_SOFTMAX)
        return 32 * 32 * group * 2 * width;
    if (t->map == DJ_MAP_LINFORMER)
        return (32 * group + 32) * m * 2 * width;
    const uint64_t span = t->decay == NULL ? 512 : 256;
    return (group + 1) * (subject->needs.family == DJ_FAMILY_RESIDENT ? span : 32) *
           (2 * m * t->value_dim + 2 * m * t->dim); /* or less */
}

/* The smaller max_work, the more parts; each takes no more than it, but for a tile. */
static void parts_follow_max_work(void **state)
{
    (void)state;
    for (size_t n = 0; n < VARIANTS; n++) {
        struct subject subject;
        if (variants[n].far || !subject_init(&subject, harness_context(0), &variants[n]))
            continue;
        const bool whole = variants[n].params.spans == DJ_SPANS_WHOLE;
        const uint64_t flops = subject.needs.flops;
        struct dj_needs last = needs_of(&subject.placed, &subject.args, 1);
        assert_int_equal(last.flops, flops);
        assert_true(last.parts > 2);
        for (uint64_t work = 2; work < 2 * flops; work += 1 + work / 5) {
            const struct dj_needs needs = needs_of(&subject.placed, &subject.args, work);
            if (needs.parts > last.parts && whole)
                fail_msg("%s: max_work %llu makes %u parts, after %u", variants[n].name,
                         (unsigned long long)work, needs.parts, last.parts);
            if (work >= tile_flops(&subject) && needs.parts < (double)flops / (double)work && whole)
                fail_msg("%s: max_work %llu of %llu makes %u parts", variants[n].name,
                         (unsigned long long)work, (unsigned long long)flops, needs.parts);
            if (work >= flops)
                assert_int_equal(needs.parts, 1);
            last = needs;
        }
        const struct dj_needs none = needs_of(&subject.placed, &subject.args, 0);
        last = needs_of(&subject.placed, &subject.args, UINT64_MAX);
        assert_memory_equal(&none, &last, sizeof(none));
        assert_memory_equal(&none, &subject.needs, sizeof(none));
        assert_int_equal(none.parts, 1);
        subject_finish(&subject);
    }
}

/* Of a longer call there are more parts, none of which takes more dispatches or memory. */
static void no_part_grows_with_tokens(void **state)
{
    (void)state;
    static const int maps[] = {DJ_MAP_WDCF, DJ_MAP_IDENTITY, DJ_MAP_SOFTMAX};
    for (size_t n = 0; n < 6; n++) {
        struct dj_needs needs[2];
        for (size_t i = 0; i < 2; i++) {
            struct problem problem;
            struct placed placed;
            problem_init(&problem, &(struct problem_params){SHAPE(1, i ? 32768 : 1024, 4, 16, 16),
                                                            .map = maps[n / 2], .full = n % 2});
            problem_place(&problem, harness_context(0), LAYOUT_PLAIN, &placed);
            needs[i] = needs_of(&placed, &placed.args, UINT64_C(1) << 19);
            placed_finish(&placed);
            problem_finish(&problem);
        }
        assert_true(needs[0].parts > 2);
        assert_true(needs[1].parts >= 16 * needs[0].parts);
        assert_true(needs[1].dispatches <= needs[0].dispatches);
        assert_true(needs[1].ring_size <= needs[0].ring_size);
        assert_true(needs[1].scratch_size <= needs[0].scratch_size);
    }
}

/* What a progress function is told, and when it stops. */
struct watch {
    uint32_t calls, stop_at; /* counted from 1; 0: never */
    uint64_t done, total;
    bool wrong;
    const struct subject *subject;
};

static uint32_t watch_progress(void *user, uint64_t done, uint64_t total)
{
    struct watch *watch = user;
    watch->wrong = watch->wrong || total == 0 || done >= total ||
                   (watch->calls == 0 ? done != 0 : done <= watch->done || total != watch->total);
    watch->done = done;
    watch->total = total;
    assert_pool(watch->subject, watch->subject->before, "in progress");
    return ++watch->calls == watch->stop_at;
}

static dj_result run_watched(const struct subject *subject, const struct dj_attention_args *args,
                             uint64_t budget, struct watch *watch)
{
    watch->calls = 0;
    watch->wrong = false;
    watch->subject = subject;
    const struct dj_run_params params = {
        .budget_ns = budget, .progress = watch_progress, .user = watch};
    const dj_result result = dj_attention_run_with(subject->placed.plan, args, &params);
    assert_false(watch->wrong);
    return result;
}

/* Stopped before any of its submissions, a call leaves its states; made again, it is right. */
static void cancelled_calls_leave_states(void **state)
{
    (void)state;
    for (size_t n = 0; n < VARIANTS; n++) {
        struct subject subject;
        struct watch watch = {.stop_at = 1};
        if (variants[n].far || !subject_init(&subject, harness_context(0), &variants[n]))
            continue;
        struct dj_attention_args args = subject.args;
        args.max_work = subject.needs.flops / 6;
        struct dj_needs needs;
        HARNESS_OK(dj_attention_needs(subject.placed.plan, &args, &needs));
        while (run_watched(&subject, &args, 0, &watch) == DJ_ERROR_CANCELLED) {
            assert_int_equal(watch.calls, watch.stop_at);
            assert_non_null(strstr(harness_log_last(), "cancelled"));
            assert_pool(&subject, subject.before, "cancelled");
            watch.stop_at++;
        }
        assert_true(watch.stop_at > (needs.parts < 4 ? needs.parts : 4)); /* of drawn spans few */
        assert_int_equal(watch.calls, watch.stop_at - 1);
        if (subject.problem.twin.map == DJ_MAP_SOFTMAX)
            take_output(&subject, "not cancelled");
        assert_done(&subject, "not cancelled");
        subject_finish(&subject);
    }
}

/* Without max_work and budget there are as many submissions as dj_attention_run has, of which the
 * last may be the only one; states wait for it all the same. */
static void progress_alone_keeps_states(void **state)
{
    (void)state;
    for (size_t n = 0; n < VARIANTS; n++) {
        struct subject subject;
        struct watch watch = {.stop_at = 1};
        if (!subject_init(&subject, harness_context(0), &variants[n]))
            continue;
        HARNESS_RESULT(run_watched(&subject, &subject.args, 0, &watch), DJ_ERROR_CANCELLED);
        assert_pool(&subject, subject.before, "cancelled");
        watch.stop_at = 0;
        HARNESS_OK(run_watched(&subject, &subject.args, 0, &watch));
        assert_done(&subject, "progress alone");
        subject_finish(&subject);
    }
}

/* However much is submitted at once, the bits are the same. */
static void budgets_change_no_bits(void **state)
{
    (void)state;
    static const uint64_t budgets[] = {1, UINT64_C(3) * 1000 * 1000, UINT64_MAX};
    for (size_t n = 0; n < VARIANTS; n++) {
        struct subject subject;
        uint32_t calls[3] = {0};
        if (variants[n].far || !subject_init(&subject, harness_context(0), &variants[n]))
            continue;
        struct dj_attention_args args = subject.args;
        args.max_work = subject.needs.flops / 12;
        struct dj_needs needs;
        HARNESS_OK(dj_attention_needs(subject.placed.plan, &args, &needs));
        for (size_t i = 0; i < 3; i++) {
            struct watch watch = {.stop_at = 0};
            HARNESS_OK(run_watched(&subject, &args, budgets[i], &watch));
            if (i == 0 && subject.problem.twin.map == DJ_MAP_SOFTMAX)
                take_output(&subject, "a budget");
            assert_done(&subject, "a budget");
            subject_restore(&subject);
            calls[i] = watch.calls;
        }
        assert_true(calls[1] <= calls[0]);
        if (needs.parts > 8) { /* drawn spans may be almost empty */
            assert_true(calls[0] > 5);
            assert_true(calls[2] < calls[0]); /* 1, 2, 4 .. units against one at a time */
        }
        const struct dj_run_params params = {.budget_ns = 1}; /* no max_work, no progress */
        HARNESS_OK(dj_attention_run_with(subject.placed.plan, &subject.args, &params));
        if (subject.problem.twin.map != DJ_MAP_SOFTMAX)
            assert_done(&subject, "a budget alone");
        subject_finish(&subject);
    }
}

/* A call large enough that a budget alone cuts it. */
static void budgets_cut_large_calls(void **state)
{
    (void)state;
    static const struct variant large = {
        "large", {SHAPE(1, 6000, 4, 64, 64), .map = DJ_MAP_ELU, .normalise = true}, .snapshots = 1};
    struct subject subject;
    struct watch watch = {.stop_at = 0};
    if (!subject_init(&subject, harness_context(0), &large))
        return;
    HARNESS_OK(run_watched(&subject, &subject.args, 1, &watch));
    assert_true(watch.calls >= 2);
    assert_done(&subject, "a large call");
    subject_finish(&subject);
}

/* Nothing to do is done without parts, submissions and questions. */
static void empty_calls_have_no_parts(void **state)
{
    (void)state;
    struct subject subject;
    struct watch watch = {.stop_at = 1};
    if (!subject_init(&subject, harness_context(0), &variants[0]))
        return;
    struct dj_attention_args args = placed_range(&subject.placed, 0, 0);
    args.max_work = 1;
    struct dj_needs needs;
    HARNESS_OK(dj_attention_needs(subject.placed.plan, &args, &needs));
    assert_int_equal(needs.parts, 0);
    HARNESS_OK(run_watched(&subject, &args, 1, &watch));
    assert_int_equal(watch.calls, 0);
    dj_recorder *recorder = NULL;
    HARNESS_OK(dj_recorder_create(subject.context, NULL, &recorder));
    HARNESS_OK(dj_recorder_begin(recorder));
    HARNESS_OK(dj_attention_record(subject.placed.plan, recorder, &args));
    HARNESS_RESULT(dj_attention_record_part(subject.placed.plan, recorder, &args, 0),
                   DJ_ERROR_INVALID_ARGUMENT);
    dj_recorder_destroy(&recorder);
    subject_finish(&subject);
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(parts_follow_max_work),       HARNESS_TEST(no_part_grows_with_tokens),
    HARNESS_TEST(parts_equal_the_whole),       HARNESS_TEST(cancelled_calls_leave_states),
    HARNESS_TEST(progress_alone_keeps_states), HARNESS_TEST(budgets_change_no_bits),
    HARNESS_TEST(budgets_cut_large_calls),     HARNESS_TEST(empty_calls_have_no_parts),
};

HARNESS_MAIN(tests)
