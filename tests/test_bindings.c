/* SPDX-License-Identifier: MIT */
/* The ways to bind, side by side: device addresses, push descriptors, preallocated sets. Each gives
 * the same bits, and each is really used. */
#include "pool.h"

#include "../lib/context.h"
#include "../lib/pipeline.h"
#include "../lib/recorder.h"

#include <dijiang/dct.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What VkFFT generates is bound by descriptors in any case, of either kind beside addresses: the
 * last way differs in that alone. */
static const struct way {
    const char *name;
    bool push, addresses;
} ways[] = {
    {"push descriptors", true, false},
    {"sets", false, false},
    {"addresses and push descriptors", true, true},
    {"addresses and sets", false, true},
};
enum {
    WAYS = sizeof(ways) / sizeof(*ways),
    MAX_DEVICES = 16
};
static dj_context *contexts[MAX_DEVICES][WAYS];

/* Bits that a case leaves, in order. */
struct results {
    unsigned char *bytes;
    size_t size;
};

static void keep(struct results *results, const void *data, size_t size)
{
    results->bytes = realloc(results->bytes, results->size + size + 1);
    assert_non_null(results->bytes);
    memcpy(results->bytes + results->size, data, size);
    results->size += size;
}

/* Commands recorded on the context that is active, counted on their way; what of the context is
 * changed meanwhile, as it was. */
static struct {
    dj_context *context; /* NULL: none */
    struct VolkDeviceTable real;
    uint64_t range;
    uint32_t dispatches, pushes, sets;
} counted;

static VKAPI_ATTR void VKAPI_CALL count_dispatch(VkCommandBuffer command, uint32_t x, uint32_t y,
                                                 uint32_t z)
{
    counted.dispatches++;
    counted.real.vkCmdDispatch(command, x, y, z);
}

static VKAPI_ATTR void VKAPI_CALL count_push(VkCommandBuffer command, VkPipelineBindPoint point,
                                             VkPipelineLayout layout, uint32_t set, uint32_t count,
                                             const VkWriteDescriptorSet *writes)
{
    counted.pushes++;
    counted.real.vkCmdPushDescriptorSetKHR(command, point, layout, set, count, writes);
}

static VKAPI_ATTR void VKAPI_CALL count_sets(VkCommandBuffer command, VkPipelineBindPoint point,
                                             VkPipelineLayout layout, uint32_t first,
                                             uint32_t count, const VkDescriptorSet *sets,
                                             uint32_t offsets, const uint32_t *dynamic)
{
    counted.sets++;
    counted.real.vkCmdBindDescriptorSets(command, point, layout, first, count, sets, offsets,
                                         dynamic);
}

static void count_off(void)
{
    if (counted.context == NULL)
        return;
    counted.context->vk.device = counted.real;
    counted.context->info.max_storage_range = counted.range;
    counted.context = NULL;
}

static void count_on(dj_context *context)
{
    count_off(); /* a case that failed did not: this one's calls would come back to themselves */
    memset(&counted, 0, sizeof(counted));
    counted.context = context;
    counted.real = context->vk.device;
    counted.range = context->info.max_storage_range;
    context->vk.device.vkCmdDispatch = count_dispatch;
    if (context->push_descriptors)
        context->vk.device.vkCmdPushDescriptorSetKHR = count_push;
    context->vk.device.vkCmdBindDescriptorSets = count_sets;
}

/* Every dispatch was bound by this way; generated: some are VkFFT's, which take descriptors. */
static void assert_way(const struct dj_context *context, const struct way *way, bool generated)
{
    assert_int_equal(context->push_descriptors, way->push && context->info.push_descriptor);
    assert_int_equal(context->device_addresses,
                     way->addresses && context->info.buffer_device_address);
    const uint32_t descriptors = counted.pushes + counted.sets;
    assert_true(counted.dispatches > 0);
    assert_int_equal(context->push_descriptors ? counted.sets : counted.pushes, 0);
    if (!context->device_addresses)
        assert_int_equal(descriptors, counted.dispatches);
    else if (generated)
        assert_true(descriptors > 0 && descriptors < counted.dispatches);
    else
        assert_int_equal(descriptors, 0);
}

/* Runs a case in every way, from the same random numbers. */
static void compare(void (*run)(dj_context *context, const void *params, struct results *results),
                    const void *params, bool generated, const char *what)
{
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        struct results first = {0};
        for (int n = 0; n < (generated ? WAYS : WAYS - 1); n++) {
            dj_context *context = contexts[i][n];
            struct results results = {0};
            harness_reseed(NULL);
            count_on(context);
            run(context, params, &results);
            count_off();
            assert_way(context, &ways[n], generated);
            assert_true(results.size > 0);
            if (n == 0) {
                first = results;
                continue;
            }
            if (results.size != first.size || memcmp(results.bytes, first.bytes, first.size) != 0)
                fail_msg("%s: %s and %s differ", what, ways[n].name, ways[0].name);
            free(results.bytes);
        }
        free(first.bytes);
    }
}

struct attention_case {
    struct problem_params params;
    enum layout layout;
    uint32_t dct_path; /* enum dj_dct_path */
    uint32_t share;    /* runs in a share-th of the useful scratch memory; 0: in all of it */
    uint64_t range;    /* the context's max_storage_range meanwhile; 0: its own */
};

static void run_attention(dj_context *context, const void *params, struct results *results)
{
    const struct attention_case *of = params;
    struct problem p;
    struct placed placed;
    problem_init(&p, &of->params);
    p.plan_params.dct_path = of->dct_path;
    if (of->params.map != DJ_MAP_SOFTMAX && of->params.map != DJ_MAP_LINFORMER)
        p.plan_params.family = DJ_FAMILY_TILED; /* the resident kernel binds by addresses alone */
    problem_fit(&p);
    problem_place(&p, context, of->layout, &placed);
    dj_buffer *scratch = NULL;
    const uint64_t range = context->info.max_storage_range;
    if (of->share || of->range) {
        struct dj_needs needs;
        HARNESS_OK(dj_attention_needs(placed.plan, &placed.args, &needs));
        const uint32_t whole = needs.dispatches;
        if (of->range)
            context->info.max_storage_range = of->range;
        placed.args.scratch.size = of->share ? needs.scratch_size / of->share : 0;
        HARNESS_OK(dj_attention_needs(placed.plan, &placed.args, &needs));
        assert_true(needs.dispatches > whole); /* it is cut into pieces */
        scratch = harness_poisoned(context, needs.scratch_size);
        placed.args.scratch = (struct dj_scratch){.buffer = scratch, .size = needs.scratch_size};
    }
    HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
    context->info.max_storage_range = range;
    float *got = placed_output(&placed);
    if (context == contexts[0][0])
        problem_assert(&p, got, "by push descriptors");
    keep(results, got, problem_output_size(&p) * sizeof(*got));
    free(got);
    dj_buffer_destroy(&scratch);
    placed_finish(&placed);
    problem_finish(&p);
}

static void compare_attention(const struct attention_case *of, bool generated, const char *what)
{
    compare(run_attention, of, generated, what);
}

static void kinds_of_maps(void **state)
{
    (void)state;
    static const int maps[] = {DJ_MAP_WDCF, DJ_MAP_PFF, DJ_MAP_COSFORMER, DJ_MAP_SOFTMAX,
                               DJ_MAP_LINFORMER};
    for (size_t n = 0; n < sizeof(maps) / sizeof(*maps); n++) {
        const struct attention_case of = {.params = {SHAPE(2, 70, 4, 16, 12), .map = maps[n],
                                                     .normalise = true, .key_heads = 2,
                                                     .own_numbers = n % 2},
                                          .layout = (enum layout)(n % LAYOUT_COUNT),
                                          .dct_path = DJ_DCT_PATH_DENSE};
        compare_attention(&of, false, "maps");
    }
}

static void generated_transforms(void **state)
{
    (void)state;
#if DJ_HAVE_VKFFT
    const struct attention_case of = {
        .params = {SHAPE(2, 40, 2, 64, 64), .map = DJ_MAP_WDCF, .normalise = true}};
    compare_attention(&of, true, "generated transforms");
#else
    harness_skip("no generated kernels in this build");
#endif
}

static void types_of_elements(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < 4; n++) {
        const struct attention_case of = {
            .params = {SHAPE(2, 45, 2, 12, 20), .map = n % 2 ? DJ_MAP_SOFTMAX : DJ_MAP_IDENTITY,
                       .q_type = 1 + n % 2, .k_type = 2 - n % 2, .v_type = 1 + n / 2,
                       .o_type = 1 + (n + n / 2) % 2},
            .layout = LAYOUT_SLICED};
        compare_attention(&of, false, "element types");
    }
}

/* Sequences anywhere, indices of the host and of buffers, position scales, decay. */
static void spans_and_scales(void **state)
{
    (void)state;
    static const float decays[] = {0.96f, 1};
    static const struct attention_case cases[] = {
        {.params = {SHAPE(3, 100, 4, 16, 8), .map = DJ_MAP_COSFORMER, .key_heads = 2,
                    .normalise = true, .spans = DJ_SPANS_PADDED, .decay = decays,
                    .decay_count = 2}},
        {.params = {SHAPE(1, 140, 4, 16, 8), .map = DJ_MAP_IDENTITY, .key_heads = 2,
                    .spans = DJ_SPANS_PACKED, .sequences = 7, .device_spans = true,
                    .key_places = 140, .query_places = 140},
         .layout = LAYOUT_PACKED},
        {.params = {SHAPE(1, 90, 2, 16, 8), .map = DJ_MAP_ELU, .normalise = true, .full = true,
                    .cross = true, .query_tokens = 75, .spans = DJ_SPANS_PACKED,
                    .query_spans = DJ_SPANS_PACKED, .sequences = 5, .device_spans = true},
         .layout = LAYOUT_HEADS_FIRST},
        {.params = {SHAPE(3, 90, 2, 16, 8), .map = DJ_MAP_SOFTMAX, .full = true, .cross = true,
                    .query_tokens = 75, .spans = DJ_SPANS_PADDED, .query_spans = DJ_SPANS_PADDED}},
    };
    for (size_t n = 0; n < sizeof(cases) / sizeof(*cases); n++)
        compare_attention(&cases[n], false, "spans and scales");
}

/* With little scratch memory, or small bindings: carries between pieces. */
static void many_pieces(void **state)
{
    (void)state;
    for (int full = 0; full < 2; full++) {
        const struct attention_case of = {.params = {SHAPE(2, 300, 2, 16, 24), .map = DJ_MAP_WDCF,
                                                     .normalise = true, .full = full},
                                          .dct_path = DJ_DCT_PATH_DENSE,
                                          .share = 4};
        compare_attention(&of, false, "many pieces");
    }
    const struct attention_case boxes = {
        .params = {SHAPE(1, 1200, 1, 16, 24), .map = DJ_MAP_SOFTMAX}, .range = 40960};
    compare_attention(&boxes, false, "boxes of keys");
}

/* Prefill into slots, steps with snapshots, and one that goes on from an accepted snapshot. */
static void run_slots(dj_context *context, const void *params, struct results *results)
{
    enum {
        ROWS = 3,
        SNAPSHOTS = 4,
        SLOTS = ROWS * (SNAPSHOTS + 2)
    };
    const bool device = *(const bool *)params;
    static const float decays[] = {0.97f, 1};
    static const struct problem_params of = {SHAPE(ROWS, 60, 4, 16, 8),
                                             .map = DJ_MAP_PRF,
                                             .normalise = true,
                                             .key_heads = 2,
                                             .features = 24,
                                             .decay = decays,
                                             .decay_count = 2,
                                             .family = DJ_FAMILY_TILED}; /* as above */
    struct pool pool;
    pool_init(&pool, context, &of, SLOTS);
    const size_t size = problem_output_size(&pool.problem);
    float *got = calloc(size, sizeof(*got));
    assert_non_null(got);
    struct lane lanes[ROWS];
    int32_t first[ROWS], kept[ROWS * SNAPSHOTS], last[ROWS], accepted[ROWS] = {3, 0, 2};
    for (size_t n = 0; n < ROWS; n++) {
        lanes[n] = (struct lane){.sequence = n, .count = 40 + n};
        first[n] = (int32_t)n;
        last[n] = (int32_t)(ROWS + n);
        for (int k = 0; k < SNAPSHOTS; k++)
            kept[n * SNAPSHOTS + k] = (int32_t)(2 * ROWS + n * SNAPSHOTS + k);
    }
    struct lanes call = {.lanes = lanes,
                         .count = ROWS,
                         .kind = DJ_SPANS_PADDED,
                         .device = device,
                         .tight = !device,
                         .out = first};
    pool_run_lanes(&pool, &call, got);
    for (size_t n = 0; n < ROWS; n++)
        lanes[n] = (struct lane){.sequence = n, .first = 40 + n, .count = 6};
    call.kind = DJ_SPANS_PACKED;
    call.in = first;
    call.out = kept;
    call.snapshots = SNAPSHOTS;
    pool_run_lanes(&pool, &call, got);
    for (size_t n = 0; n < ROWS; n++) {
        const size_t at = 40 + n + 6 - (SNAPSHOTS - 1 - (size_t)accepted[n]);
        lanes[n] = (struct lane){.sequence = n, .first = at, .count = 60 - at};
    }
    int32_t out[ROWS * SNAPSHOTS];
    for (size_t i = 0; i < ROWS * SNAPSHOTS; i++)
        out[i] = i % SNAPSHOTS == SNAPSHOTS - 1 ? last[i / SNAPSHOTS] : -1;
    call.in = kept;
    call.accepted = accepted;
    call.out = out;
    pool_run_lanes(&pool, &call, got);
    if (context == contexts[0][0])
        problem_assert(&pool.problem, got, "slots and snapshots");
    keep(results, got, size * sizeof(*got));
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        void *bytes = pool_read(&pool, slot);
        keep(results, bytes, pool.needs.slot_size);
        free(bytes);
    }
    free(got);
    pool_finish(&pool);
}

static void slots_and_snapshots(void **state)
{
    (void)state;
    for (int device = 0; device < 2; device++)
        compare(run_slots, &(const bool){device}, false, "slots and snapshots");
}

static void run_dct(dj_context *context, const void *params, struct results *results)
{
    const struct dj_dct_params *of = params;
    const uint64_t shape[4] = {1, 3, 17, of->length};
    const size_t count = 3 * 17 * of->length;
    float *x = calloc(count, sizeof(*x));
    assert_non_null(x);
    harness_fill_normal(x, count, 1);
    dj_dct *plan = NULL;
    HARNESS_OK(dj_dct_create(context, of, &plan));
    dj_buffer *input = harness_buffer(context, x, count * sizeof(*x));
    dj_buffer *output = harness_poisoned(context, count * sizeof(*x));
    struct dj_dct_args args = {0};
    dj_tensor_init(&args.input, input, 0, DJ_FLOAT32, shape);
    dj_tensor_init(&args.output, output, 0, DJ_FLOAT32, shape);
    HARNESS_OK(dj_dct_run(plan, &args));
    harness_read(output, 0, x, count * sizeof(*x));
    keep(results, x, count * sizeof(*x));
    dj_buffer_destroy(&input);
    dj_buffer_destroy(&output);
    dj_dct_destroy(&plan);
    free(x);
}

static void transforms_alone(void **state)
{
    (void)state;
    compare(run_dct,
            &(struct dj_dct_params){.type = DJ_DCT_3, .length = 68, .path = DJ_DCT_PATH_DENSE},
            false, "dense DCT");
#if DJ_HAVE_VKFFT
    compare(run_dct,
            &(struct dj_dct_params){.type = DJ_DCT_2, .length = 96, .path = DJ_DCT_PATH_GENERATED},
            true, "generated DCT");
#endif
}

static void log_line(void *user, uint32_t level, const char *message)
{
    (void)user;
    (void)level;
    fprintf(stderr, "# %s\n", message);
}

static int setup(void **state)
{
    if (harness_setup(state) != 0)
        return -1;
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        struct dj_context *model = harness_context(i);
        char index[16];
        snprintf(index, sizeof(index), "%u", model->info.index);
        for (int n = 0; n < WAYS; n++) {
            const struct dj_context_params params = {
                .device = index,
                .log = log_line,
                .validation = model->messenger ? DJ_ON : DJ_OFF,
                .push_descriptors = ways[n].push ? DJ_ON : DJ_OFF,
                .device_addresses = ways[n].addresses ? DJ_ON : DJ_OFF,
                .subgroups = DJ_OFF}; /* kernels that are bound in one way only */
            if (dj_context_create(&params, &contexts[i][n]) != DJ_SUCCESS)
                return -1;
        }
    }
    return 0;
}

static int teardown(void **state)
{
    for (uint32_t i = 0; i < harness_device_count(); i++)
        for (int n = 0; n < WAYS; n++)
            dj_context_destroy(&contexts[i][n]);
    return harness_teardown(state);
}

static int check_validation(void **state)
{
    (void)state;
    int result = 0;
    for (uint32_t i = 0; i < harness_device_count(); i++)
        for (int n = 0; n < WAYS; n++)
            if (dj_context_validation_count(contexts[i][n]) > 0) {
                print_error("the validation layer spoke: %s\n", ways[n].name);
                result = -1;
            }
    return result;
}

#define BINDINGS_TEST(f) cmocka_unit_test_setup_teardown(f, harness_reseed, check_validation)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BINDINGS_TEST(kinds_of_maps),     BINDINGS_TEST(generated_transforms),
        BINDINGS_TEST(types_of_elements), BINDINGS_TEST(spans_and_scales),
        BINDINGS_TEST(many_pieces),       BINDINGS_TEST(slots_and_snapshots),
        BINDINGS_TEST(transforms_alone),
    };
    harness_prepare();
    return cmocka_run_group_tests(tests, setup, teardown);
}
