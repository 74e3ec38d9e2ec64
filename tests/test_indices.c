/* SPDX-License-Identifier: MIT */
/* Indices in buffers that hold anything at all: they mean what the header says, and nothing but the
 * rows and slots that they then name is written. No device is asked for robustBufferAccess
 * (test_faults), but such as lavapipe keep to a binding's range all the same: so the linker sends
 * dispatches here (tests/meson.build), and each buffer of the caller's but the scratch memory,
 * whose regions lie side by side, is bound up to its end, guards and all. */
#include "pool.h"

#include "../lib/recorder.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
    TOKENS = 40,
    ROWS = 4,
    SEQUENCES = 7,
    GUARD = 64 /* words of rubbish on both sides of indices */
};

void __real_dj_recorder_dispatch(struct dj_recorder *recorder, struct dj_pipeline pipeline,
                                 const struct dj_binding *bindings, uint32_t binding_count,
                                 const void *push, uint32_t push_size, const uint32_t groups[3]);
void __wrap_dj_recorder_dispatch(struct dj_recorder *recorder, struct dj_pipeline pipeline,
                                 const struct dj_binding *bindings, uint32_t binding_count,
                                 const void *push, uint32_t push_size, const uint32_t groups[3]);

static struct dj_buffer *scratch; /* of the call that is watched, if any */
static size_t widened;

void __wrap_dj_recorder_dispatch(struct dj_recorder *recorder, struct dj_pipeline pipeline,
                                 const struct dj_binding *bindings, uint32_t binding_count,
                                 const void *push, uint32_t push_size, const uint32_t groups[3])
{
    struct dj_binding whole[DJ_BINDINGS] = {{0}};
    assert_true(binding_count <= DJ_BINDINGS);
    for (uint32_t i = 0; i < binding_count; i++) {
        whole[i] = bindings[i];
        if (scratch && whole[i].buffer && whole[i].buffer != scratch) {
            whole[i].range = (whole[i].buffer->size + 3) / 4 * 4 - whole[i].offset;
            widened++;
        }
    }
    __real_dj_recorder_dispatch(recorder, pipeline, whole, binding_count, push, push_size, groups);
}

static void *allocate(size_t size)
{
    void *memory = calloc(1, size + 1);
    assert_non_null(memory);
    return memory;
}

static int32_t draw_index(void)
{
    static const int32_t edges[] = {INT_MIN, INT_MIN + 1, -1,         0,           1,
                                    31,      32,          TOKENS - 1, TOKENS,      TOKENS + 1,
                                    INT_MAX, 0x7fc00000,  0x40000000, -0x40000000, 0x3f800000};
    if (harness_random() % 2)
        return edges[harness_random() % (sizeof edges / sizeof *edges)];
    return harness_random() % 4 ? (int32_t)(harness_random() % (TOKENS + 2))
                                : (int32_t)(uint32_t)harness_random();
}

static size_t clamped(int32_t index)
{
    return index < 0 ? 0 : index > TOKENS ? TOKENS : (size_t)index;
}

/* What indices of a buffer mean, by the header. */
static void read_spans(uint32_t kind, const int32_t *raw, size_t count, uint32_t longest,
                       struct twin_span *spans)
{
    for (size_t n = 0; n < count; n++) {
        const bool packed = kind == DJ_SPANS_PACKED;
        const size_t first = clamped(raw[packed ? n : 2 * n]);
        const size_t second = clamped(raw[packed ? n + 1 : 2 * n + 1]);
        size_t length = packed ? (second > first ? second - first : 0) : second;
        if (length > TOKENS - first)
            length = TOKENS - first;
        if (longest && length > longest)
            length = longest;
        spans[n] = (struct twin_span){packed ? 0 : n, first, length};
    }
}

/* A copy of every buffer of a call but o's. */
struct copies {
    void *data[8];
};

static struct copies copy_inputs(const struct placed *placed)
{
    struct copies copies = {{0}};
    for (size_t i = 0; i < 8; i++) {
        if (i == 3 || !placed->buffers[i])
            continue;
        const uint64_t size = dj_buffer_size(placed->buffers[i]);
        copies.data[i] = allocate(size);
        harness_read(placed->buffers[i], 0, copies.data[i], size);
    }
    return copies;
}

/* ... is still what they hold. */
static void assert_inputs(const struct placed *placed, struct copies *copies)
{
    struct copies now = copy_inputs(placed);
    for (size_t i = 0; i < 8; i++) {
        if (now.data[i] &&
            memcmp(now.data[i], copies->data[i], dj_buffer_size(placed->buffers[i])) != 0)
            fail_msg("buffer %zu of an input was written\n    %s", i,
                     problem_text(placed->problem));
        free(now.data[i]);
        free(copies->data[i]);
    }
}

/* Runs a call with exactly the scratch memory that it needs, between guards. */
static void run_guarded(const struct placed *placed, dj_context *context)
{
    struct dj_attention_args args = placed->args;
    struct dj_needs needs;
    HARNESS_OK(dj_attention_needs(placed->plan, &args, &needs));
    const uint64_t guard = needs.scratch_alignment > 256 ? needs.scratch_alignment : 256;
    scratch = harness_poisoned(context, needs.scratch_size + 2 * guard);
    widened = 0;
    if (needs.scratch_size)
        args.scratch = (struct dj_scratch){scratch, guard, needs.scratch_size, {0}};
    HARNESS_OK(dj_attention_run(placed->plan, &args));
    assert_true(widened > 0);
    harness_assert_poisoned(scratch, 0, guard);
    harness_assert_poisoned(scratch, guard + needs.scratch_size, guard);
    dj_buffer_destroy(&scratch);
}

/* Gives one side any indices: the problem's spans become what they mean. */
static void draw_wild(struct problem *p, bool queries, uint32_t longest, int32_t *raw)
{
    const uint32_t kind = queries ? p->params.query_spans : p->params.spans;
    struct twin_span *const spans = queries ? p->query_spans : p->spans;
    const size_t count = twin_sequences(&p->twin);
    if (!spans)
        return;
    for (size_t i = 0; i < 2 * count + 2; i++)
        raw[i] = draw_index();
    read_spans(kind, raw, count, longest, spans);
}

static void put_wild(struct dj_spans *spans, size_t count, uint32_t longest, const int32_t *raw)
{
    const size_t numbers = spans->kind == DJ_SPANS_PACKED ? count + 1 : 2 * count;
    if (spans->kind == DJ_SPANS_WHOLE)
        return;
    spans->longest = longest;
    HARNESS_OK(
        dj_buffer_write(spans->indices.buffer, spans->indices.offset, raw, numbers * sizeof *raw));
}

/* Whether token i of row b of o lies in sequence n and in no other. */
static bool is_alone(const struct twin_attention *t, size_t n, size_t b, size_t i)
{
    for (size_t s = 0; s < twin_sequences(t); s++) {
        const struct twin_span span = twin_query_span(t, s);
        const bool inside = span.row == b && i >= span.first && i < span.first + span.count;
        if (inside != (s == n))
            return false;
    }
    return true;
}

/* Each sequence gives the bits that it gives alone, by indices of the host, wherever no other
 * sequence writes. */
static void assert_sequences(const struct problem *p, const struct made *made, const float *got)
{
    const size_t tokens = twin_query_tokens(&p->twin), row = p->twin.heads * p->twin.value_dim;
    for (size_t n = 0; n < twin_sequences(&p->twin); n++) {
        struct problem one = *p;
        struct twin_span spans[ROWS] = {{0}}, query_spans[ROWS] = {{0}};
        const bool packed = p->params.spans == DJ_SPANS_PACKED;
        for (size_t b = 0; b < ROWS; b++) { /* the other rows are left empty */
            spans[b] = (struct twin_span){b, 0, 0};
            query_spans[b] = spans[b];
        }
        const size_t at = packed ? 0 : n;
        if (p->spans)
            spans[at] = p->spans[n];
        if (p->query_spans)
            query_spans[at] = p->query_spans[n];
        one.params.device_spans = false;
        one.twin.sequences = packed ? 1 : ROWS;
        one.twin.spans = one.spans = p->spans ? spans : NULL;
        one.twin.query_spans = one.query_spans = p->query_spans ? query_spans : NULL;
        float *want = made_run(made, &one, LAYOUT_PLAIN);
        for (size_t i = 0; i < p->twin.batch * tokens; i++)
            if (is_alone(&p->twin, n, i / tokens, i % tokens))
                problem_assert_bits(p, want + i * row, got + i * row, row, "by clamped indices");
        free(want);
    }
}

static void try_wild_spans(struct problem *p, const struct made *made, enum layout layout)
{
    struct placed placed;
    int32_t raw[2 * SEQUENCES + 2], query_raw[2 * SEQUENCES + 2];
    const uint32_t longest = harness_random() % 3 ? 0 : 17;
    const size_t count = twin_sequences(&p->twin);
    draw_wild(p, false, longest, raw);
    draw_wild(p, true, longest, query_raw);
    problem_place_on(p, made->context, layout, made->plan, made->features, &placed);
    put_wild(&placed.args.spans, count, longest, raw);
    put_wild(&placed.args.query_spans, count, longest, query_raw);
    struct copies copies = copy_inputs(&placed);
    run_guarded(&placed, made->context);
    float *got = placed_output(&placed); /* asserts what was not written */
    assert_inputs(&placed, &copies);
    if (p->spans || p->query_spans)
        assert_sequences(p, made, got);
    free(got);
    placed_finish(&placed);
}

static void spans_of_any_value_are_clamped(void **state)
{
    (void)state;
    for (int n = 0; n < 2 * PROBLEM_MAPS + 1; n++) {
        const int map = n < 2 * PROBLEM_MAPS ? problem_maps[n / 2] : DJ_MAP_LINFORMER;
        const bool full = n & 1 || map == DJ_MAP_LINFORMER, linformer = map == DJ_MAP_LINFORMER;
        struct problem_params params = {SHAPE(ROWS, TOKENS, 2, 8, 8),
                                        .map = map,
                                        .full = full,
                                        .normalise = problem_may_normalise(map),
                                        .max_tokens = TOKENS,
                                        .device_spans = true,
                                        .o_type = n % 4 == 1 ? DJ_FLOAT16 : DJ_FLOAT32};
        struct problem p;
        problem_init(&p, &params);
        for (uint32_t i = 0; i < harness_device_count(); i++) {
            struct made made = problem_make(&p, i);
            for (int way = 0; way < 8; way++) {
                const bool packed = way & 1 && !linformer;
                params.batch = packed ? 1 : ROWS;
                params.spans = linformer ? DJ_SPANS_WHOLE
                               : packed  ? DJ_SPANS_PACKED
                                         : DJ_SPANS_PADDED;
                params.query_spans = !full    ? DJ_SPANS_WHOLE
                                     : packed ? DJ_SPANS_PACKED
                                              : DJ_SPANS_PADDED;
                params.sequences = packed ? SEQUENCES : 0;
                problem_redraw(&p, &params);
                try_wild_spans(&p, &made, way & 2 ? LAYOUT_SLICED : LAYOUT_HEADS_FIRST);
            }
            made_finish(&made);
        }
        problem_finish(&p);
    }
}

/* Random numbers between rubbish, in a buffer. */
static int32_t *give_slots(dj_context *context, size_t count, uint32_t slots,
                           struct dj_indices *indices)
{
    int32_t *words = allocate((count + 2 * GUARD) * sizeof *words);
    for (size_t i = 0; i < count + 2 * GUARD; i++)
        words[i] =
            harness_random() % 2 ? (int32_t)(harness_random() % (slots + 1)) - 1 : draw_index();
    *indices = (struct dj_indices){
        .buffer = harness_buffer(context, words, (count + 2 * GUARD) * sizeof *words),
        .offset = GUARD * sizeof *words};
    return words;
}

static void take_slots(int32_t *words, size_t count, struct dj_indices *indices)
{
    int32_t *now = allocate((count + 2 * GUARD) * sizeof *now);
    harness_read(indices->buffer, 0, now, (count + 2 * GUARD) * sizeof *now);
    assert_memory_equal(words, now, (count + 2 * GUARD) * sizeof *now);
    dj_buffer_destroy(&indices->buffer);
    free(now);
    free(words);
}

/* K snapshots of each row, to and from any slots: those that no number names keep their bytes, and
 * so does what lies around the pool (pool_finish). */
static void try_wild_slots(struct pool *pool, uint32_t K, bool accepted)
{
    struct dj_attention_args *args = &pool->placed.args;
    int32_t *in =
        give_slots(pool->context, ROWS * (accepted ? K : 1), pool->slots, &args->slots_in);
    int32_t *out = give_slots(pool->context, ROWS * K, pool->slots, &args->slots_out);
    int32_t *which = accepted ? give_slots(pool->context, ROWS, K, &args->accepted) : NULL;
    args->snapshots = K;
    void *before[8] = {0};
    pool_poison(pool);
    pool_zero(pool, 0);
    for (uint32_t s = 0; s < pool->slots; s++)
        before[s] = pool_read(pool, s);
    placed_poison(&pool->placed);
    struct copies copies = copy_inputs(&pool->placed);
    run_guarded(&pool->placed, pool->context);
    assert_inputs(&pool->placed, &copies);
    free(placed_output(&pool->placed)); /* asserts what was not written */
    for (uint32_t s = 0; s < pool->slots; s++) {
        bool named = false;
        for (size_t i = 0; i < ROWS * K; i++)
            named = named || out[GUARD + i] == (int32_t)s;
        void *now = pool_read(pool, s);
        if (!named && memcmp(before[s], now, pool->needs.slot_size) != 0)
            fail_msg("slot %u, which nothing names, was written", s);
        free(now);
        free(before[s]);
    }
    take_slots(in, ROWS * (accepted ? K : 1), &args->slots_in);
    take_slots(out, ROWS * K, &args->slots_out);
    if (which)
        take_slots(which, ROWS, &args->accepted);
    args->slots_in = args->slots_out = args->accepted = (struct dj_indices){0};
}

static void slots_of_any_value_stay_in_the_pool(void **state)
{
    (void)state;
    static const int maps[] = {DJ_MAP_WDCF, DJ_MAP_COSFORMER, DJ_MAP_IDENTITY};
    static const float decays[] = {0.9f};
    for (int n = 0; n < 3; n++) {
        struct pool pool;
        pool_init(&pool, harness_context(0),
                  &(struct problem_params){SHAPE(ROWS, n == 1 ? 35 : 3, 2, 8, 8), .map = maps[n],
                                           .normalise = problem_may_normalise(maps[n]),
                                           .max_tokens = maps[n] == DJ_MAP_COSFORMER ? 100 : 0,
                                           .decay = decays, .decay_count = n == 2},
                  8);
        for (uint32_t way = 0; way < 12; way++)
            try_wild_slots(&pool, way % 3 ? way : 1, way & 1);
        pool_finish(&pool);
    }
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(spans_of_any_value_are_clamped),
    HARNESS_TEST(slots_of_any_value_stay_in_the_pool),
};

HARNESS_MAIN(tests)
