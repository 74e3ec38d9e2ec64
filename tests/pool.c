/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include "half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    OFFSET_UNITS = 3, /* the pool begins at this many slot alignments */
    BEHIND = 256      /* bytes */
};

static void *allocate(size_t size)
{
    void *data = calloc(1, size ? size : 1);
    assert_non_null(data);
    return data;
}

uint64_t pool_offset(const struct pool *pool, uint32_t slot)
{
    return OFFSET_UNITS * pool->needs.slot_alignment + slot * pool->needs.slot_size;
}

void pool_init(struct pool *pool, dj_context *context, const struct problem_params *params,
               uint32_t slots)
{
    *pool = (struct pool){.context = context, .slots = slots};
    problem_init(&pool->problem, params);
    problem_solve(&pool->problem);
    problem_place(&pool->problem, context, LAYOUT_PLAIN, &pool->placed);
    HARNESS_OK(dj_attention_needs(pool->placed.plan, NULL, &pool->needs));
    assert_true(pool->needs.slot_size >= sizeof(struct dj_state_header));
    pool->state = harness_poisoned(context, pool_offset(pool, slots) + BEHIND);
    pool->placed.args.state = pool->state;
    pool->placed.args.state_offset = pool_offset(pool, 0);
    pool->placed.args.slot_count = slots;
}

void pool_finish(struct pool *pool)
{
    harness_assert_poisoned(pool->state, 0, pool_offset(pool, 0));
    harness_assert_poisoned(pool->state, pool_offset(pool, pool->slots), BEHIND);
    dj_buffer_destroy(&pool->state);
    placed_finish(&pool->placed);
    problem_finish(&pool->problem);
}

void *pool_read(const struct pool *pool, uint32_t slot)
{
    void *data = allocate(pool->needs.slot_size);
    harness_read(pool->state, pool_offset(pool, slot), data, pool->needs.slot_size);
    return data;
}

void pool_zero(const struct pool *pool, uint32_t slot)
{
    void *zeros = allocate(pool->needs.slot_size);
    HARNESS_OK(dj_buffer_write(pool->state, pool_offset(pool, slot), zeros, pool->needs.slot_size));
    free(zeros);
}

void pool_poison(const struct pool *pool)
{
    const uint64_t words = pool->slots * pool->needs.slot_size / 4;
    uint32_t *data = allocate(4 * words);
    for (uint64_t i = 0; i < words; i++)
        data[i] = HARNESS_POISON;
    HARNESS_OK(dj_buffer_write(pool->state, pool_offset(pool, 0), data, 4 * words));
    free(data);
}

void pool_assert_equal(const struct pool *pool, uint32_t a, uint32_t b)
{
    void *x = pool_read(pool, a), *y = pool_read(pool, b);
    assert_memory_equal(x, y, pool->needs.slot_size);
    free(x);
    free(y);
}

void pool_assert_untouched(const struct pool *pool, uint32_t slot)
{
    harness_assert_poisoned(pool->state, pool_offset(pool, slot), pool->needs.slot_size);
}

void pool_assert_tokens(const struct pool *pool, uint32_t slot, uint64_t tokens)
{
    const struct twin_attention *t = &pool->problem.twin;
    struct dj_state_header header, zero = {0};
    harness_read(pool->state, pool_offset(pool, slot), &header, sizeof(header));
    assert_int_equal(header.layout, DJ_STATE_LAYOUT);
    assert_int_equal(header.map, t->map);
    assert_int_equal(header.tokens_low | (uint64_t)header.tokens_high << 32, tokens);
    assert_int_equal(header.key_heads, twin_key_heads(t));
    assert_int_equal(header.dim, t->dim);
    assert_int_equal(header.value_dim, t->value_dim);
    assert_int_equal(header.features, twin_features_count(t));
    assert_memory_equal(header.reserved, zero.reserved, sizeof(zero.reserved));
}

/* The sums of one key head's block, [m][e] and [m], as doubles relative to 2^shift[m]. */
static void load_sums(const float *block, size_t m, size_t e, const double *shift, double *sum,
                      double *norm)
{
    const float *low = block + m * e, *z = low + m * e, *exponent = z + 2 * m;
    for (size_t f = 0; f < m; f++) {
        const double scale = exp2((double)exponent[f] - shift[f]);
        norm[f] = ((double)z[f] + z[m + f]) * scale;
        for (size_t c = 0; c < e; c++)
            sum[f * e + c] = ((double)block[f * e + c] + low[f * e + c]) * scale;
    }
}

void pool_assert_same_sums(const struct pool *pool, uint32_t a, uint32_t b)
{
    const struct twin_attention *t = &pool->problem.twin;
    const size_t m = twin_features_count(t), e = t->value_dim;
    const size_t block = (4 * (2 * m * e + 3 * m) + 15) / 16 * 16;
    uint8_t *slots[2] = {pool_read(pool, a), pool_read(pool, b)};
    double *shift = allocate(m * sizeof(*shift)), *values[2];
    assert_memory_equal(slots[0], slots[1], sizeof(struct dj_state_header));
    values[0] = allocate(m * (e + 1) * sizeof(double));
    values[1] = allocate(m * (e + 1) * sizeof(double));
    for (size_t h = 0; h < twin_key_heads(t); h++) {
        const size_t at = sizeof(struct dj_state_header) + h * block;
        for (size_t f = 0; f < m; f++)
            shift[f] = (double)((float *)(void *)(slots[1] + at))[2 * m * e + 2 * m + f];
        for (size_t i = 0; i < 2; i++)
            load_sums((float *)(void *)(slots[i] + at), m, e, shift, values[i] + m, values[i]);
        double size = 0, difference = 0;
        for (size_t i = 0; i < m * (e + 1); i++) {
            size += values[1][i] * values[1][i];
            difference += (values[0][i] - values[1][i]) * (values[0][i] - values[1][i]);
        }
        if (!(sqrt(difference) <= pool->problem.bound * sqrt(size)))
            fail_msg("slots %u and %u, key head %zu: sums differ by %.3g, bound %.3g", a, b, h,
                     sqrt(difference / size), pool->problem.bound);
    }
    free(values[0]);
    free(values[1]);
    free(shift);
    free(slots[0]);
    free(slots[1]);
}

void pool_assert_solved(const struct pool *pool, const char *what)
{
    float *got = placed_output(&pool->placed);
    problem_assert(&pool->problem, got, what);
    free(got);
}

void pool_run(const struct pool *pool, uint64_t first, uint64_t count, const int32_t *in,
              const int32_t *out)
{
    struct dj_attention_args args = placed_range(&pool->placed, first, count);
    args.slots_in.host = in;
    args.slots_out.host = out;
    HARNESS_OK(dj_attention_run(pool->placed.plan, &args));
}

void pool_assert_pieces(struct pool *pool, const uint64_t *pieces, size_t count)
{
    static const int32_t none[] = {-1, -1}, whole[] = {0, 1}, split[] = {2, 3};
    const uint64_t tokens = pool->problem.twin.tokens;
    pool_run(pool, 0, tokens, none, whole);
    pool_assert_solved(pool, "whole");
    placed_poison(&pool->placed);
    pool_zero(pool, 2);
    pool_zero(pool, 3);
    uint64_t first = 0;
    for (size_t i = 0; first < tokens; i++) {
        const uint64_t piece = i < count ? pieces[i] : tokens - first;
        pool_run(pool, first, piece, split, split);
        first += piece;
    }
    pool_assert_solved(pool, "in pieces");
    for (uint32_t b = 0; b < 2; b++) {
        pool_assert_tokens(pool, 2 + b, tokens);
        pool_assert_same_sums(pool, b, 2 + b);
    }
}

/* How lanes lie in a call's tensors: [rows][tokens], each lane's place. */
struct arrangement {
    size_t rows, tokens;
    size_t *row, *start;
    int32_t *spans;
    size_t span_count;
    uint32_t longest;
};

static void arrange(const struct lanes *lanes, struct arrangement *a)
{
    const bool packed = lanes->kind == DJ_SPANS_PACKED;
    *a = (struct arrangement){.rows = packed ? 1 : lanes->count,
                              .row = allocate(lanes->count * sizeof(size_t)),
                              .start = allocate(lanes->count * sizeof(size_t)),
                              .spans = allocate((2 * lanes->count + 1) * sizeof(int32_t)),
                              .span_count = packed ? lanes->count + 1 : 2 * lanes->count};
    for (size_t n = 0; n < lanes->count; n++)
        if (lanes->lanes[n].count > a->longest)
            a->longest = (uint32_t)lanes->lanes[n].count;
    size_t next = packed ? harness_random() % 3 : 0;
    a->tokens = a->longest + 2;
    for (size_t n = 0; n < lanes->count; n++) {
        const size_t count = lanes->lanes[n].count;
        a->row[n] = packed ? 0 : n;
        a->start[n] = packed ? next : harness_random() % (a->tokens - count + 1);
        a->spans[packed ? n : 2 * n] = (int32_t)a->start[n];
        if (!packed)
            a->spans[2 * n + 1] = (int32_t)count;
        next += count;
    }
    if (packed) {
        a->spans[lanes->count] = (int32_t)next;
        a->tokens = next + harness_random() % 3;
    }
}

/* A tensor of the lanes' rows of x, and NaN elsewhere; x NULL: a poisoned one. */
static dj_buffer *gather(const struct pool *pool, const struct lanes *lanes,
                         const struct arrangement *a, const float *x, struct dj_tensor *tensor)
{
    const uint64_t width = tensor->shape[2] * tensor->shape[3];
    const uint64_t size = dj_type_size(tensor->type), count = a->rows * a->tokens * width;
    const uint64_t shape[4] = {a->rows, a->tokens, tensor->shape[2], tensor->shape[3]};
    float *values = allocate(count * sizeof(*values));
    uint8_t *image = allocate(count * size);
    for (uint64_t i = 0; i < count; i++)
        values[i] = NAN;
    for (size_t n = 0; x && n < lanes->count; n++) {
        const struct lane *lane = &lanes->lanes[n];
        const size_t kept = lane->count - lane->noise;
        float *row = values + (a->row[n] * a->tokens + a->start[n]) * width;
        memcpy(row, x + (lane->sequence * pool->problem.twin.tokens + lane->first) * width,
               kept * width * sizeof(*row));
        harness_fill_normal(row + kept * width, lane->noise * width, 1);
    }
    half_store(tensor->type, image, values, count);
    dj_buffer *buffer = x ? harness_buffer(pool->context, image, count * size)
                          : harness_poisoned(pool->context, count * size);
    dj_tensor_init(tensor, buffer, 0, tensor->type, shape);
    free(image);
    free(values);
    return buffer;
}

/* Takes the lanes' rows out of o; all others must be as they were. */
static void scatter(const struct pool *pool, const struct lanes *lanes, const struct arrangement *a,
                    const struct dj_tensor *o, float *got)
{
    const uint64_t width = o->shape[2] * o->shape[3], row = width * dj_type_size(o->type);
    const uint64_t size = dj_buffer_size(o->buffer);
    const uint32_t poison = HARNESS_POISON;
    uint8_t *image = allocate(size);
    harness_read(o->buffer, 0, image, size);
    for (size_t n = 0; n < lanes->count; n++) {
        const struct lane *lane = &lanes->lanes[n];
        const size_t kept = lane->count - lane->noise;
        uint8_t *from = image + (a->row[n] * a->tokens + a->start[n]) * row;
        half_load(o->type, got + (lane->sequence * pool->problem.twin.tokens + lane->first) * width,
                  from, kept * width);
        for (size_t i = 0; i < lane->count * row; i++)
            from[i] = ((const uint8_t *)&poison)[(size_t)(from + i - image) % 4];
    }
    for (uint64_t i = 0; i < size; i++)
        if (image[i] != ((const uint8_t *)&poison)[i % 4])
            fail_msg("byte %llu of o was written outside every lane", (unsigned long long)i);
    free(image);
}

/* Indices of the host, or in a buffer behind one word of rubbish. */
static dj_buffer *give(const struct pool *pool, const struct lanes *lanes, const int32_t *values,
                       size_t count, struct dj_indices *indices)
{
    if (!values || !lanes->device) {
        *indices = (struct dj_indices){.host = values};
        return NULL;
    }
    int32_t *words = allocate((count + 1) * sizeof(*words));
    words[0] = INT32_MAX;
    memcpy(words + 1, values, count * sizeof(*words));
    *indices = (struct dj_indices){
        .buffer = harness_buffer(pool->context, words, (count + 1) * sizeof(*words)),
        .offset = sizeof(*words)};
    free(words);
    return indices->buffer;
}

/* Scratch memory about as small as the call takes. */
static dj_buffer *tight_scratch(const struct pool *pool, struct dj_attention_args *args)
{
    const dj_attention *plan = pool->placed.plan;
    struct dj_needs needs;
    HARNESS_OK(dj_attention_needs(plan, args, &needs));
    uint64_t size = needs.scratch_size;
    for (uint64_t next = size * 3 / 4; next > 0; next = next * 3 / 4) {
        args->scratch.size = next;
        const dj_result result = dj_attention_needs(plan, args, &needs);
        if (result == DJ_ERROR_SCRATCH)
            break;
        HARNESS_OK(result);
        size = needs.scratch_size;
    }
    dj_buffer *scratch = size ? harness_poisoned(pool->context, size) : NULL;
    args->scratch = (struct dj_scratch){.buffer = scratch, .size = size};
    return scratch;
}

void pool_run_lanes(const struct pool *pool, const struct lanes *lanes, float *got)
{
    const struct problem *p = &pool->problem;
    struct dj_attention_args args = pool->placed.args;
    struct arrangement a;
    arrange(lanes, &a);
    const size_t N = lanes->count, K = lanes->snapshots ? lanes->snapshots : 1;
    args.spans.kind = lanes->kind;
    args.spans.count = lanes->kind == DJ_SPANS_PACKED ? (uint32_t)N : 0;
    /* maps that limit the length must know it, and thousands of lanes would be slow without */
    const bool needed =
        p->twin.max_tokens || p->twin.query_places || p->twin.key_places || lanes->count > 100;
    args.spans.longest = lanes->device && (needed || harness_random() % 2) ? a.longest : 0;
    args.snapshots = lanes->snapshots;
    dj_buffer *buffers[] = {
        gather(pool, lanes, &a, p->q, &args.q),
        gather(pool, lanes, &a, p->k, &args.k),
        gather(pool, lanes, &a, p->v, &args.v),
        gather(pool, lanes, &a, NULL, &args.o),
        give(pool, lanes, a.spans, a.span_count, &args.spans.indices),
        give(pool, lanes, lanes->in, lanes->accepted ? N * K : N, &args.slots_in),
        give(pool, lanes, lanes->out, N * K, &args.slots_out),
        give(pool, lanes, lanes->accepted, N, &args.accepted),
    };
    dj_buffer *scratch = lanes->tight ? tight_scratch(pool, &args) : NULL;
    HARNESS_OK(dj_attention_run(pool->placed.plan, &args));
    dj_buffer_destroy(&scratch);
    scatter(pool, lanes, &a, &args.o, got);
    for (size_t i = 0; i < sizeof(buffers) / sizeof(*buffers); i++)
        dj_buffer_destroy(&buffers[i]);
    free(a.row);
    free(a.start);
    free(a.spans);
}
