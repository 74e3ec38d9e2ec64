/* SPDX-License-Identifier: MIT */
/* Elements far beyond 31 and 32 bits, where no device's memory reaches: tensors of 2^35 bytes on
 * one that allocates and records but executes nothing. Every row that a recorded dispatch names by
 * its bindings and push constants must lie where plain 64-bit arithmetic has it. */
#include "null_device.h"

#include "../lib/attention.h"
#include "harness.h"
#include "kernels.h"

#include <stdlib.h>
#include <string.h>

enum tensor {
    Q,
    K,
    V,
    O,
    TENSORS
};
static const char *const tensor_names[] = {"q", "k", "v", "o"};

/* The dimension whose stride is large; or none, and the offset alone is. */
enum far {
    FAR_ROWS,
    FAR_TOKENS,
    FAR_HEADS,
    FAR_OFFSET,
    FAR_COUNT
};
static const char *const far_names[] = {"rows", "tokens", "heads", "an offset"};

enum {
    BATCH = 3,
    HEADS = 4,
    KEY_HEADS = 2,
    GROUP = HEADS / KEY_HEADS,
};
static const uint64_t SIZE = UINT64_C(1) << 35; /* of each tensor's buffer */

/* The null device, and a context on it that binds in one of two ways. */
struct bench {
    struct null_engine engine;
    dj_context *context;
    VkCommandPool pool;
    VkCommandBuffer command;
    dj_recorder *recorder;
    dj_buffer *buffers[TENSORS];
    uint64_t objects, misuses; /* of a test that failed before */
};

static void bench_init(struct bench *bench, bool addresses, uint64_t range)
{
    struct null_settings settings = null_least();
    settings.push_descriptors = settings.storage_16bit = true;
    settings.device_addresses = settings.whole_subgroups = addresses;
    settings.subgroup_size = 32;
    settings.allocation = settings.heap = UINT64_C(1) << 36;
    settings.storage_range = range;
    settings.shared_memory = 32768;
    bench->objects = null_objects();
    bench->misuses = null_misuses();
    null_device_set(&settings);
    null_engine_init(&bench->engine);
    const struct dj_import_params params = null_engine_params(&bench->engine);
    HARNESS_OK(dj_context_import(&params, &bench->context));
    bench->command = null_engine_command(&bench->engine, &bench->pool);
    HARNESS_OK(dj_recorder_create(
        bench->context, &(struct dj_recorder_params){.dispatches = 1 << 16}, &bench->recorder));
    for (int i = 0; i < TENSORS; i++)
        bench->buffers[i] = harness_buffer(bench->context, NULL, SIZE);
}

static void bench_finish(struct bench *bench)
{
    null_on_dispatch = NULL;
    for (int i = 0; i < TENSORS; i++)
        dj_buffer_destroy(&bench->buffers[i]);
    dj_recorder_destroy(&bench->recorder);
    null_engine_command_finish(&bench->engine, bench->pool);
    dj_context_destroy(&bench->context);
    null_engine_finish(&bench->engine);
    assert_int_equal(null_objects(), bench->objects);
    if (null_misuses() > bench->misuses)
        fail_msg("misuse: %s", null_last_misuse());
}

/* A call that is watched as it is recorded. */
static struct {
    const dj_attention *plan;
    const struct dj_tensor *tensors[TENSORS];
    const char *data[TENSORS]; /* where their buffers begin */
    uint8_t *seen[TENSORS];    /* for each row: dispatches that name it */
    uint64_t at[TENSORS][3];   /* the first row, token and head that the last dispatch named */
    uint64_t queries[GROUP][3];
    uint32_t key_heads;   /* of the piece under way */
    int members, outputs; /* of it: a group's heads that are far apart take turns */
    enum dj_family family;
    uint64_t kernels; /* of the family */
} watch;

static uint64_t row_count(const struct dj_tensor *t)
{
    return t->shape[0] * t->shape[1] * t->shape[2];
}

/* Rows of a tensor as a kernel counts them: sequences, heads, tokens. */
struct rows {
    const char *data; /* where the binding begins */
    uint64_t range;   /* of it; 0: an address, which has none */
    uint64_t base, stride[3], count[3];
    uint64_t head_step; /* of the tensor's heads, from one that is counted to the next */
};

static struct rows bound(const struct null_dispatch *dispatch, int binding)
{
    struct rows rows = {.data = dispatch->data[binding], .range = dispatch->range[binding]};
    if (dispatch->bindings == 0) { /* by addresses */
        const char *const *table;
        memcpy(&table, dispatch->push + DJ_ADDRESSES_OFFSET, sizeof table);
        rows = (struct rows){.data = table[binding]};
    }
    return rows;
}

static struct rows rows_of(const struct null_dispatch *dispatch, int binding, uint32_t base,
                           const uint32_t stride[3], uint32_t sequences, uint32_t heads,
                           uint32_t tokens)
{
    struct rows rows = bound(dispatch, binding);
    const uint32_t count[3] = {sequences, heads, tokens};
    rows.base = base;
    rows.head_step = 1;
    for (int i = 0; i < 3; i++) {
        rows.stride[i] = stride[i];
        rows.count[i] = count[i];
    }
    return rows;
}

/* The row, token and head of a tensor whose first byte is there; false: there is none. */
static bool find(const struct dj_tensor *t, uint64_t place, uint64_t at[3])
{
    const uint64_t size = dj_type_size(t->type);
    for (at[0] = 0; at[0] < t->shape[0]; at[0]++) {
        for (at[2] = 0; at[2] < t->shape[2]; at[2]++) {
            const uint64_t start = t->offset + size * (at[0] * t->stride[0] + at[2] * t->stride[2]);
            at[1] = (place - start) / (size * t->stride[1]);
            if (place >= start && at[1] < t->shape[1] &&
                place == start + size * at[1] * t->stride[1])
                return true;
        }
    }
    return false;
}

/* Compares all rows that a dispatch names, from that which its first one is, and marks them. */
static void see(enum tensor which, const struct rows *rows)
{
    const struct dj_tensor *const t = watch.tensors[which];
    const uint64_t size = dj_type_size(t->type), first = (uint64_t)(rows->data - watch.data[which]);
    uint64_t *const at = watch.at[which];
    if (!find(t, first + size * rows->base, at))
        fail_msg("%s: no row begins at byte %llu", tensor_names[which],
                 (unsigned long long)(first + size * rows->base));
    for (uint64_t i = 0; i < rows->count[0]; i++)
        for (uint64_t h = 0; h < rows->count[1]; h++)
            for (uint64_t n = 0; n < rows->count[2]; n++) {
                const uint64_t element =
                    rows->base + i * rows->stride[0] + h * rows->stride[1] + n * rows->stride[2];
                const uint64_t row[3] = {at[0] + i, at[1] + n, at[2] + h * rows->head_step};
                const uint64_t want =
                    t->offset +
                    size * (row[0] * t->stride[0] + row[1] * t->stride[1] + row[2] * t->stride[2]);
                for (int d = 0; d < 3; d++)
                    assert_true(row[d] < t->shape[d]);
                if (first + size * element != want || element + t->shape[3] > UINT32_MAX ||
                    (rows->range > 0 && size * (element + t->shape[3]) > rows->range))
                    fail_msg("%s: row %llu, token %llu, head %llu, at byte %llu: byte %llu is "
                             "named, element %llu of a binding of %llu bytes",
                             tensor_names[which], (unsigned long long)row[0],
                             (unsigned long long)row[1], (unsigned long long)row[2],
                             (unsigned long long)want, (unsigned long long)(first + size * element),
                             (unsigned long long)element, (unsigned long long)rows->range);
                watch.seen[which][(row[0] * t->shape[1] + row[1]) * t->shape[2] + row[2]]++;
            }
}

/* The tensors of one dispatch, or of several of one piece, are at the same rows and tokens, and at
 * heads that belong together. */
static void assert_together(const uint64_t queries[3], const uint64_t keys[3])
{
    assert_int_equal(queries[0], keys[0]);
    assert_int_equal(queries[1], keys[1]);
    assert_int_equal(queries[2] / GROUP, keys[2]);
}

/* q or k, as the kernels see them that work on rows. */
static bool see_packing(const struct null_dispatch *dispatch)
{
    struct rows_view {
        DJ_ROWS_VIEW
    } push;
    const char *const data = bound(dispatch, 0).data;
    memcpy(&push, dispatch->push, sizeof push);
    for (enum tensor which = Q; which <= K; which++) {
        if (data < watch.data[which] || data >= watch.data[which] + SIZE)
            continue;
        assert_true(push.start == push.origin && push.ragged == 0);
        struct rows rows =
            rows_of(dispatch, 0, push.base, push.stride, push.rows / (push.count1 * push.tokens),
                    push.count1, push.tokens);
        if (which == K) {
            watch.members = watch.outputs = 0;
            watch.key_heads = push.count1;
        } else if (push.count1 == watch.key_heads) {
            rows.head_step = GROUP;
        }
        see(which, &rows);
        if (which == K)
            return true;
        if (watch.members == 0 ||
            memcmp(watch.queries[watch.members - 1], watch.at[Q], sizeof watch.at[Q]) != 0) {
            assert_true(watch.members < GROUP);
            memcpy(watch.queries[watch.members++], watch.at[Q], sizeof watch.at[Q]);
            assert_together(watch.at[Q], watch.at[K]);
        }
        return true;
    }
    return false;
}

static void see_sum(const struct null_dispatch *dispatch)
{
    struct tile_sum_push push;
    memcpy(&push, dispatch->push, sizeof push);
    assert_true(push.start == push.origin && push.ragged == 0);
    const struct rows rows = rows_of(dispatch, 1, push.v_base, push.v_stride,
                                     dispatch->groups[1] / push.heads, push.heads, push.tokens);
    see(V, &rows);
    assert_memory_equal(watch.at[V], watch.at[K], sizeof watch.at[V]);
}

static void see_output(const struct null_dispatch *dispatch)
{
    struct tile_output_push push;
    memcpy(&push, dispatch->push, sizeof push);
    assert_true(push.start == push.origin && push.ragged == 0);
    const uint32_t heads = push.heads * push.group, sequences = dispatch->groups[1] / heads;
    const struct rows v =
        rows_of(dispatch, 2, push.v_base, push.v_stride, sequences, push.heads, push.tokens);
    struct rows o = rows_of(dispatch, 3, push.o_base, push.o_stride, sequences, heads, push.tokens);
    o.head_step = push.group == 1 ? GROUP : 1;
    see(V, &v);
    see(O, &o);
    assert_memory_equal(watch.at[V], watch.at[K], sizeof watch.at[V]);
    assert_true(watch.outputs < watch.members);
    assert_memory_equal(watch.at[O], watch.queries[watch.outputs++], sizeof watch.at[O]);
    if (watch.family == DJ_FAMILY_TILED)
        watch.kernels++;
}

/* All four in one dispatch. */
static void see_all(const struct null_dispatch *dispatch, const uint32_t base[TENSORS],
                    const uint32_t stride[TENSORS][3], uint32_t sequences, uint32_t key_heads,
                    uint32_t tokens)
{
    for (int i = 0; i < TENSORS; i++) {
        const bool keys = i == K || i == V;
        const struct rows rows = rows_of(dispatch, i, base[i], stride[i], sequences,
                                         keys ? key_heads : key_heads * GROUP, tokens);
        see((enum tensor)i, &rows);
    }
    assert_memory_equal(watch.at[V], watch.at[K], sizeof watch.at[V]);
    assert_memory_equal(watch.at[O], watch.at[Q], sizeof watch.at[O]);
    assert_together(watch.at[Q], watch.at[K]);
    assert_int_equal(watch.at[Q][2] % GROUP, 0);
}

static void see_step(const struct null_dispatch *dispatch)
{
    struct step_push push;
    memcpy(&push, dispatch->push, sizeof push);
    const uint32_t base[] = {push.q_base, push.k_base, push.v_base, push.o_base};
    const uint32_t stride[][3] = {{push.q_stride[0], push.q_stride[1]},
                                  {push.k_stride[0], push.k_stride[1]},
                                  {push.v_stride[0], push.v_stride[1]},
                                  {push.o_stride[0], push.o_stride[1]}};
    see_all(dispatch, base, stride, push.sequences, push.heads, 1);
    if (watch.family == DJ_FAMILY_DEFAULT)
        watch.kernels++;
}

static void see_resident(const struct null_dispatch *dispatch)
{
    struct resident_push push;
    memcpy(&push, dispatch->push, sizeof push);
    assert_true(push.start == push.origin && push.ragged == 0);
    const uint32_t base[] = {push.q_base, push.k_base, push.v_base, push.o_base};
    uint32_t stride[TENSORS][3];
    memcpy(stride[Q], push.q_stride, sizeof stride[Q]);
    memcpy(stride[K], push.k_stride, sizeof stride[K]);
    memcpy(stride[V], push.v_stride, sizeof stride[V]);
    memcpy(stride[O], push.o_stride, sizeof stride[O]);
    see_all(dispatch, base, stride, dispatch->groups[1] / push.heads, push.heads, push.tokens);
    if (watch.family == DJ_FAMILY_RESIDENT)
        watch.kernels++;
}

static void see_dispatch(const struct null_dispatch *dispatch)
{
    if (dispatch->pipeline == watch.plan->tiled.sum.handle)
        see_sum(dispatch);
    else if (dispatch->pipeline == watch.plan->tiled.output.handle)
        see_output(dispatch);
    else if (dispatch->pipeline == watch.plan->step.attend.handle)
        see_step(dispatch);
    else if (dispatch->pipeline == watch.plan->resident.see.handle)
        see_resident(dispatch);
    else
        (void)see_packing(dispatch);
}

/* Lays a tensor over its buffer, up to the last bytes; its far dimension over `reach` of them. */
static void spread(struct dj_tensor *t, enum far far, uint64_t reach)
{
    const uint64_t size = dj_type_size(t->type);
    uint64_t elements = t->shape[3] + 3; /* of a row, then of all that is near */
    for (int i = 2; i >= 0; i--) {
        t->stride[i] = elements;
        if (i != (int)far)
            elements *= t->shape[i];
    }
    if (far < FAR_OFFSET && t->shape[far] > 1) {
        t->stride[far] = (reach / size - elements) / (t->shape[far] - 1);
        elements += t->stride[far] * (t->shape[far] - 1);
    }
    t->stride[3] = 1;
    t->offset = SIZE - size * elements;
}

/* One call recorded and watched; family: the one that must do it, DEFAULT being the step. */
static void record_far(struct bench *bench, const dj_attention *plan, dj_features *features,
                       const struct dj_attention_params *params, uint64_t tokens,
                       enum dj_family family, enum far far, uint64_t reach)
{
    struct dj_attention_args args = {.features = features};
    struct dj_tensor *const tensors[] = {&args.q, &args.k, &args.v, &args.o};
    const uint32_t types[] = {params->q_type, params->k_type, params->v_type, params->o_type};
    watch.plan = plan;
    watch.family = family;
    watch.kernels = 0;
    for (int i = 0; i < TENSORS; i++) {
        const bool keys = i == K || i == V;
        const uint64_t shape[4] = {BATCH, tokens, keys ? KEY_HEADS : HEADS,
                                   i < V ? params->dim : params->value_dim};
        dj_tensor_init(tensors[i], bench->buffers[i], 0, types[i], shape);
        spread(tensors[i], far, reach);
        watch.tensors[i] = tensors[i];
        watch.data[i] = null_buffer_data(bench->buffers[i]->handle);
        watch.seen[i] = calloc(row_count(tensors[i]), 1);
        assert_non_null(watch.seen[i]);
    }
    struct dj_needs needs;
    HARNESS_OK(dj_attention_needs(plan, &args, &needs));
    args.scratch.buffer = harness_buffer(bench->context, NULL, needs.scratch_size);
    args.scratch.size = needs.scratch_size;
    HARNESS_OK(dj_recorder_begin_on(bench->recorder, bench->command));
    null_on_dispatch = see_dispatch;
    HARNESS_OK(dj_attention_record(plan, bench->recorder, &args));
    null_on_dispatch = NULL;
    if (watch.kernels == 0)
        fail_msg("%s far apart: another family than number %u did it", far_names[far], family);
    for (int i = 0; i < TENSORS; i++) {
        for (uint64_t row = 0; row < row_count(tensors[i]); row++) {
            if (watch.seen[i][row] == 0 || (i == O && watch.seen[i][row] != 1))
                fail_msg("%s far apart: %s: row %llu is named %u times", far_names[far],
                         tensor_names[i], (unsigned long long)row, watch.seen[i][row]);
        }
        free(watch.seen[i]);
    }
    dj_buffer_destroy(&args.scratch.buffer);
}

/* Tokens so many that `granule` of them, spread over a buffer, can be bound. */
static uint64_t tokens_for(uint64_t range, uint64_t granule)
{
    return SIZE / (range / (granule + granule / 4)) + 2;
}

/* The bytes that a tensor may lie over: a step's are bound whole, and the resident kernel binds the
 * heads of a group together; what is farther apart is done in tiles. */
static uint64_t reach_of(const struct bench *bench, enum dj_family family, enum far far)
{
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(bench->context, &info));
    if (family == DJ_FAMILY_DEFAULT)
        return info.max_storage_range - 1024;
    return family == DJ_FAMILY_RESIDENT && far == FAR_HEADS ? info.max_storage_range / 4 * 9 : SIZE;
}

/* One plan's calls, far in every way. */
static void record_plan(struct bench *bench, const struct dj_attention_params *given,
                        enum dj_family family, uint64_t tokens)
{
    static const float numbers[16 * 24] = {[0 ... 16 * 24 - 1] = 0.5f};
    struct dj_attention_params params = *given;
    struct dj_features_params features_params = {
        .map = params.map, .dim = params.dim, .features = params.features, .frequencies = numbers};
    dj_attention *plan;
    dj_features *features = NULL;
    params.heads = HEADS;
    params.key_heads = KEY_HEADS;
    params.family = family;
    HARNESS_OK(dj_attention_create(bench->context, &params, &plan));
    if (params.map == DJ_MAP_PRF) {
        features_params.directions = numbers;
        features_params.weights = numbers;
        features_params.frequencies = NULL;
    }
    if (params.map != DJ_MAP_ELU)
        HARNESS_OK(dj_features_create(bench->context, &features_params, &features));
    for (enum far far = 0; far < FAR_COUNT; far++)
        record_far(bench, plan, features, &params, tokens, family, far,
                   reach_of(bench, family, far));
    dj_features_destroy(&features);
    dj_attention_destroy(&plan);
}

#define HALVES \
    .q_type = DJ_FLOAT16, .k_type = DJ_BFLOAT16, .v_type = DJ_FLOAT16, .o_type = DJ_BFLOAT16

/* Rows that are copied, multiplied, transformed. */
static const struct dj_attention_params tiled[] = {
    {.map = DJ_MAP_ELU, .dim = 16, .value_dim = 8, .k_type = DJ_FLOAT16},
    {.map = DJ_MAP_ELU, .dim = 16, .value_dim = 8, HALVES},
    {.map = DJ_MAP_PRF, .dim = 16, .value_dim = 8, .features = 24, HALVES},
    {.map = DJ_MAP_WDCF, .dim = 16, .value_dim = 8, .features = 24, .v_type = DJ_FLOAT16},
};

/* The least binding range, and the largest that there can be. */
static const uint64_t ranges[] = {UINT64_C(1) << 27, UINT32_MAX};

static void tiled_kernels_reach_far(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        const uint64_t range = ranges[way % 2];
        struct bench bench;
        bench_init(&bench, way >= 2, range);
        for (size_t i = 0; i < sizeof tiled / sizeof *tiled; i++)
            record_plan(&bench, &tiled[i], DJ_FAMILY_TILED, tokens_for(range, DJ_TILE_TOKENS));
        bench_finish(&bench);
    }
}

static void steps_reach_far(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        const uint64_t range = ranges[way % 2];
        struct bench bench;
        bench_init(&bench, way >= 2, range);
        for (size_t i = 0; i < sizeof tiled / sizeof *tiled; i++) {
            record_plan(&bench, &tiled[i], DJ_FAMILY_DEFAULT, 1);
            record_plan(&bench, &tiled[i], DJ_FAMILY_TILED, 1);
        }
        bench_finish(&bench);
    }
}

static void resident_kernels_reach_far(void **state)
{
    (void)state;
    const struct dj_attention_params plans[] = {
        {.map = DJ_MAP_ELU, .dim = 16, .value_dim = 8, .k_type = DJ_FLOAT16},
        {.map = DJ_MAP_ELU, .dim = 16, .value_dim = 8, .q_type = DJ_FLOAT16, .v_type = DJ_BFLOAT16},
    };
    struct bench bench;
    bench_init(&bench, true, UINT32_MAX);
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++)
        record_plan(&bench, &plans[i], DJ_FAMILY_RESIDENT,
                    tokens_for(UINT32_MAX, DJ_RESIDENT_SPAN));
    bench_finish(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiled_kernels_reach_far),
        cmocka_unit_test(steps_reach_far),
        cmocka_unit_test(resident_kernels_reach_far),
    };
    harness_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
