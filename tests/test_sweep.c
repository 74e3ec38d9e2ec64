/* SPDX-License-Identifier: MIT */
/* Random valid plans and calls against the twins: what no table of cases thought of. Two dozen
 * plans, whose kernels take a driver time to compile, and twenty calls of each. DIJIANG_TEST_SEED
 * repeats a run, DIJIANG_TEST_SWEEP gives the number of plans, DIJIANG_TEST_VERBOSE names each
 * call before it runs. */
#include "problem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PLANS = 24,
    CALLS = 21,
    MAX_PARTS = 3,
};

static size_t below(size_t n)
{
    return (size_t)(harness_random() % n);
}

static bool once_in(size_t n)
{
    return below(n) == 0;
}

#define PICK(array) ((array)[below(sizeof(array) / sizeof(*(array)))])

static bool is_softmax(int map)
{
    return map == DJ_MAP_SOFTMAX || map == DJ_MAP_LINFORMER;
}

/* The heads, dimensions and types of a plan. A driver compiles kernels for each new d, m, e and mix
 * of types, so there are few of them to meet in many runs: other programs vary them. */
static void draw_shape(struct problem_params *params)
{
    static const size_t dims[] = {4, 12, 64}, values[] = {8, 20};
    static const size_t heads[][2] = {{1, 1}, {2, 1}, {2, 2}, {3, 3}, {4, 2}, {6, 3}, {6, 1}};
    static const uint32_t types[][4] = {{DJ_FLOAT32, DJ_FLOAT32, DJ_FLOAT32, DJ_FLOAT32},
                                        {DJ_FLOAT32, DJ_FLOAT32, DJ_FLOAT32, DJ_FLOAT32},
                                        {DJ_FLOAT16, DJ_FLOAT16, DJ_FLOAT16, DJ_FLOAT16},
                                        {DJ_BFLOAT16, DJ_BFLOAT16, DJ_BFLOAT16, DJ_BFLOAT16},
                                        {DJ_FLOAT32, DJ_BFLOAT16, DJ_FLOAT16, DJ_FLOAT32}};
    const size_t h = below(sizeof(heads) / sizeof(*heads));
    const uint32_t *mix = PICK(types);
    params->heads = heads[h][0];
    params->key_heads = heads[h][1] == heads[h][0] && once_in(2) ? 0 : heads[h][1];
    params->dim = PICK(dims);
    params->value_dim = PICK(values);
    params->q_type = mix[0];
    params->k_type = mix[1];
    params->v_type = mix[2];
    params->o_type = mix[3];
}

static struct problem_params draw_plan(void)
{
    static const float decays[] = {0.97f, 1, 0.5f, 0.9f, 0.05f}, scales[] = {0, 0, 1, 0.3f};
    struct problem_params params = {.map = (int)below(DJ_MAP_COUNT)};
    const int map = params.map;
    const bool random_map = map == DJ_MAP_WDCF || map == DJ_MAP_PFF || map == DJ_MAP_PRF;
    draw_shape(&params);
    params.full = map == DJ_MAP_LINFORMER || once_in(3);
    params.normalise = map != DJ_MAP_IDENTITY && !once_in(3);
    params.key_normalise = random_map && params.normalise && once_in(3);
    params.weighted = random_map && once_in(2);
    params.gaussian = once_in(3) && (map == DJ_MAP_PFF || map == DJ_MAP_PRF);
    params.own_numbers = once_in(2);
    params.scale = PICK(scales);
    params.decay = decays + below(3);
    params.decay_count = params.full || is_softmax(map) || once_in(2) ? 0 : 1 + below(2);
    if ((random_map || map == DJ_MAP_PERFORMER_RELU) && once_in(2))
        params.features = 4 * params.dim - 4; /* of WDCF: a partial fourth block */
    if (map == DJ_MAP_LINFORMER)
        params.features = once_in(2) ? 5 : 40;
    params.max_tokens = map == DJ_MAP_COSFORMER ? 128 : map == DJ_MAP_LINFORMER ? 1 + below(70) : 0;
    return params;
}

static size_t draw_tokens(void)
{
    static const size_t tokens[] = {0, 1, 2, 31, 32, 33, 64, 65, 100};
    return once_in(2) ? PICK(tokens) : below(90);
}

/* Batch, tokens and spans of a call. */
static void draw_call(struct problem_params *params)
{
    const bool linformer = params->map == DJ_MAP_LINFORMER;
    params->spans = linformer ? DJ_SPANS_WHOLE : (uint32_t)below(3); /* it takes whole rows */
    params->sequences = below(9);
    params->batch = params->spans == DJ_SPANS_PACKED ? 1 : below(5);
    params->tokens = linformer ? params->max_tokens : draw_tokens();
    params->cross = params->full && once_in(2);
    params->query_tokens = draw_tokens();
    params->query_spans = params->spans;
    if (params->spans != DJ_SPANS_PACKED && once_in(3)) /* both have B sequences */
        params->query_spans = (uint32_t)below(2);
    params->device_spans = once_in(2);
    const bool exponential = twin_is_exponential(params->map) && params->map != DJ_MAP_SOFTMAX_DCT;
    const bool scaled = !params->normalise && !exponential && !is_softmax(params->map);
    const size_t longest = params->tokens > params->query_tokens || !params->cross
                               ? params->tokens
                               : params->query_tokens;
    params->query_places = scaled && once_in(3) ? longest + 1 + below(9) : 0;
    params->key_places = scaled && once_in(3) ? longest + 1 + below(9) : 0;
}

/* How one call is made: in how many parts, with what memory. */
struct way {
    enum layout layout;
    size_t parts;
    bool device_slots, in_place, no_longest;
    unsigned scratch; /* 0: none given, 1: what is useful, 2: less */
};

static struct way draw_way(const struct problem *p)
{
    const struct problem_params *params = &p->params;
    struct way way = {.layout = (enum layout)below(LAYOUT_COUNT),
                      .parts = once_in(2) ? 1 : 1 + below(MAX_PARTS),
                      .device_slots = once_in(2),
                      .in_place = once_in(2),
                      .no_longest = once_in(3),
                      .scratch = (unsigned)below(3)};
    /* a state goes through each part; the places of queries that are no keys are not its tokens' */
    if (is_softmax(params->map) ||
        (params->full && (params->map == DJ_MAP_COSFORMER || params->query_places)))
        way.parts = 1;
    return way;
}

/* Sorted cuts of n tokens into parts: cuts[0] = 0, cuts[parts] = n. */
static void draw_cuts(size_t n, size_t parts, size_t cuts[MAX_PARTS + 1])
{
    cuts[0] = 0;
    cuts[parts] = n;
    for (size_t i = 1; i < parts; i++)
        cuts[i] = below(n + 1);
    if (parts == 3 && cuts[1] > cuts[2]) {
        const size_t larger = cuts[1];
        cuts[1] = cuts[2];
        cuts[2] = larger;
    }
}

/* Tokens first .. end-1 of the row in k and v, and in q and o where they are the same ones. */
static void cut_tensors(struct dj_attention_args *args, bool causal, size_t first, size_t end)
{
    struct dj_tensor *tensors[4] = {&args->k, &args->v, &args->q, &args->o};
    for (size_t i = 0; i < (causal ? 4u : 2u); i++) {
        tensors[i]->offset += dj_type_size(tensors[i]->type) * first * tensors[i]->stride[1];
        tensors[i]->shape[1] = end - first;
    }
}

/* The parts of a call: token cuts of the row, or of each padded sequence. */
struct split {
    size_t parts;
    size_t row[MAX_PARTS + 1];
    size_t (*each)[MAX_PARTS + 1];
};

static struct split draw_split(const struct problem *p, size_t parts)
{
    struct split split = {.parts = parts};
    const size_t N = twin_sequences(&p->twin);
    split.each = calloc(N + 1, sizeof(*split.each));
    assert_non_null(split.each);
    draw_cuts(p->twin.tokens, parts, split.row);
    for (size_t n = 0; n < N; n++)
        draw_cuts(twin_key_span(&p->twin, n).count, parts, split.each[n]);
    return split;
}

/* args of one part: cuts tensors and indices. */
static void cut_part(const struct problem *p, const struct placed *placed,
                     const struct split *split, size_t part, int32_t *indices,
                     struct dj_attention_args *args)
{
    const struct twin_attention *t = &p->twin;
    const size_t N = twin_sequences(t), first = split->row[part], end = split->row[part + 1];
    const uint32_t kind = p->params.spans;
    size_t count = 0;
    if (kind != DJ_SPANS_PADDED)
        cut_tensors(args, t->causal, first, end);
    if (kind == DJ_SPANS_WHOLE)
        return;
    for (size_t n = 0; n < N + (kind == DJ_SPANS_PACKED); n++) {
        if (kind == DJ_SPANS_PADDED) {
            indices[count++] = (int32_t)(t->spans[n].first + split->each[n][part]);
            indices[count++] = (int32_t)(split->each[n][part + 1] - split->each[n][part]);
            continue;
        }
        const size_t at = (size_t)placed->indices[0][1 + n];
        indices[count++] = (int32_t)((at < first ? first : at > end ? end : at) - first);
    }
    if (args->spans.indices.buffer)
        HARNESS_OK(dj_buffer_write(args->spans.indices.buffer, args->spans.indices.offset, indices,
                                   count * sizeof(*indices)));
    else
        args->spans.indices.host = indices;
}

/* Slots of a pool, from which each part takes the states that the one before it left. */
struct pool {
    dj_buffer *state, *indices;
    uint64_t offset;
    uint32_t slot_count;
    int32_t *slots[2]; /* [N] each, all different */
};

static struct pool make_pool(const struct problem *p, dj_context *context, const dj_attention *plan)
{
    const size_t N = twin_sequences(&p->twin);
    struct pool pool = {.slot_count = (uint32_t)(2 * N + 1 + below(3))};
    struct dj_needs needs;
    HARNESS_OK(dj_attention_needs(plan, NULL, &needs));
    pool.offset = needs.slot_alignment * below(3);
    pool.state = harness_poisoned(context, pool.offset + pool.slot_count * needs.slot_size);
    pool.slots[0] = calloc(pool.slot_count, sizeof(int32_t));
    assert_non_null(pool.slots[0]);
    for (uint32_t i = 0; i < pool.slot_count; i++) { /* a random permutation */
        const size_t other = below(i + 1);
        pool.slots[0][i] = pool.slots[0][other];
        pool.slots[0][other] = (int32_t)i;
    }
    pool.slots[1] = pool.slots[0] + N;
    pool.indices = harness_buffer(context, pool.slots[0], pool.slot_count * sizeof(int32_t));
    return pool;
}

static void free_pool(struct pool *pool)
{
    dj_buffer_destroy(&pool->state);
    dj_buffer_destroy(&pool->indices);
    free(pool->slots[0]);
}

static void set_slots(const struct problem *p, const struct pool *pool, const struct way *way,
                      size_t part, struct dj_attention_args *args)
{
    const size_t N = twin_sequences(&p->twin);
    const size_t in = way->in_place ? 0 : (part + 1) % 2, out = way->in_place ? 0 : part % 2;
    struct dj_indices *const sides[2] = {&args->slots_in, &args->slots_out};
    args->state = pool->state;
    args->state_offset = pool->offset;
    args->slot_count = pool->slot_count;
    for (size_t side = 0; side < 2; side++) {
        const size_t which = side ? out : in;
        if (side == 0 && part == 0)
            continue; /* none given: the empty state */
        if (way->device_slots) {
            sides[side]->buffer = pool->indices;
            sides[side]->offset = which * N * sizeof(int32_t);
        } else {
            sides[side]->host = pool->slots[which];
        }
    }
}

/* Runs with scratch memory as `way` says; what went wrong, or an empty text. */
static const char *run(dj_context *context, const dj_attention *plan, const struct way *way,
                       struct dj_attention_args *args)
{
    static char text[1200];
    struct dj_needs needs;
    text[0] = 0;
    harness_log_clear();
    dj_result result = dj_attention_needs(plan, args, &needs);
    if (result == DJ_SUCCESS && way->scratch == 2 && needs.scratch_size) {
        const uint64_t useful = needs.scratch_size;
        args->scratch.size = useful / 16 * (1 + below(16));
        result = dj_attention_needs(plan, args, &needs);
        if (result == DJ_ERROR_SCRATCH) {
            args->scratch.size = 0;
            result = dj_attention_needs(plan, args, &needs);
        }
    }
    dj_buffer *scratch = NULL;
    if (result == DJ_SUCCESS && way->scratch) {
        const uint64_t offset = needs.scratch_alignment * below(2);
        scratch = harness_poisoned(context, offset + needs.scratch_size);
        args->scratch =
            (struct dj_scratch){.buffer = scratch, .offset = offset, .size = needs.scratch_size};
    }
    if (result == DJ_SUCCESS)
        result = dj_attention_run(plan, args);
    if (result != DJ_SUCCESS)
        snprintf(text, sizeof(text), "%s: %s", dj_result_name(result), harness_log_last());
    dj_buffer_destroy(&scratch);
    return text;
}

/* One problem, one way; what went wrong, or an empty text. */
static const char *try_call(const struct problem *p, dj_context *context, dj_attention *plan,
                            dj_features *features, const struct way *way)
{
    struct placed placed;
    struct pool pool = {0};
    const char *wrong = "";
    problem_place_on(p, context, way->layout, plan, features, &placed);
    if (way->no_longest)
        placed.args.spans.longest = placed.args.query_spans.longest = 0;
    struct split split = draw_split(p, way->parts);
    int32_t *indices = calloc(2 * twin_sequences(&p->twin) + 2, sizeof(*indices));
    assert_non_null(indices);
    if (way->parts > 1)
        pool = make_pool(p, context, plan);
    for (size_t part = 0; part < way->parts && !wrong[0]; part++) {
        struct dj_attention_args args = placed.args;
        if (way->parts > 1) {
            cut_part(p, &placed, &split, part, indices, &args);
            set_slots(p, &pool, way, part, &args);
        }
        wrong = run(context, plan, way, &args);
    }
    if (!wrong[0]) {
        float *got = placed_output(&placed);
        wrong = problem_check(p, got);
        free(got);
    }
    free(indices);
    free(split.each);
    free_pool(&pool);
    placed_finish(&placed);
    return wrong;
}

static const char *way_text(const struct way *way)
{
    static char text[160];
    snprintf(text, sizeof(text), "layout %d, %zu parts, slots %s %s, scratch %u, longest %s",
             (int)way->layout, way->parts, way->device_slots ? "on the device" : "of the host",
             way->in_place ? "in place" : "in turn", way->scratch, way->no_longest ? "0" : "exact");
    return text;
}

/* CALLS calls of one random plan; how many failed. */
static size_t sweep_plan(dj_context *context, size_t number)
{
    struct problem_params params = draw_plan();
    struct problem p;
    dj_attention *plan = NULL;
    size_t failed = 0;
    draw_call(&params);
    problem_init(&p, &params);
    dj_features *features = problem_features(&p, context);
    const dj_result result = dj_attention_create(context, &p.plan_params, &plan);
    if (result != DJ_SUCCESS) {
        print_error("plan %zu: %s: %s\n    %s\n", number, dj_result_name(result),
                    harness_log_last(), problem_text(&p));
        failed++;
    }
    for (size_t call = 0; call < CALLS && plan; call++) {
        draw_call(&params);
        problem_redraw(&p, &params);
        if (params.o_type == DJ_FLOAT16 && !p.twin.normalise)
            problem_fit(&p);
        else
            problem_solve(&p);
        const struct way way = draw_way(&p);
        if (getenv("DIJIANG_TEST_VERBOSE"))
            print_message("# plan %zu, call %zu: %s; %s\n", number, call, problem_text(&p),
                          way_text(&way));
        const char *wrong = try_call(&p, context, plan, features, &way);
        if (wrong[0]) {
            print_error("plan %zu, call %zu: %s\n    %s\n    %s\n", number, call, wrong,
                        problem_text(&p), way_text(&way));
            failed++;
        }
    }
    dj_features_destroy(&features);
    dj_attention_destroy(&plan);
    problem_finish(&p);
    return failed;
}

static void random_plans_and_calls(void **state)
{
    (void)state;
    const char *given = getenv("DIJIANG_TEST_SWEEP");
    const size_t plans = given ? (size_t)strtoull(given, NULL, 10) : PLANS;
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        size_t failed = 0;
        for (size_t n = 0; n < plans; n++)
            failed += sweep_plan(harness_context(i), n);
        if (failed)
            fail_msg("%zu of %zu calls failed on device %u", failed, plans * CALLS, i);
    }
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(random_plans_and_calls),
};

HARNESS_MAIN(tests)
