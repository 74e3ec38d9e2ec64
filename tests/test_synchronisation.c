/* SPDX-License-Identifier: MIT */
/* The contract of recorder.h, from the engine's side: with exactly its barriers around a call, what
 * a transfer wrote right before is read, and what a transfer overwrites right after was not needed
 * any more. */
#include "engine.h"
#include "problem.h"
#include "shim.h"

#include <stdlib.h>
#include <string.h>

enum barrier {
    WHOLE,      /* none is left out */
    NO_BEGIN,   /* the one before the call */
    NO_BETWEEN, /* the one between two calls that share scratch memory and states */
    NO_END,     /* the one after it */
};

enum {
    MOST_REGIONS = 16,
    GARBAGE = 0x7fc0beef, /* a NaN, and an index of no slot or token */
};

/* A buffer that a call uses, and what belongs in it at the call's begin. */
struct region {
    struct engine_buffer work, master, result;
    dj_buffer **place; /* in the call's args, where the wrapped one was put */
    dj_buffer *was;    /* there before; NULL: none */
    bool given;        /* it has contents: copied from master by the command buffer */
    bool wanted;       /* it is read back: copied to result by the command buffer */
};

struct stage {
    struct engine engine;
    dj_context *context;
    dj_recorder *recorder;
    struct region regions[MOST_REGIONS];
    uint32_t count;
    enum barrier without;
};

/* without: what the device lacks, enum shim_feature. */
static void stage_init(struct stage *stage, uint32_t device, uint32_t without)
{
    *stage = (struct stage){.without = WHOLE};
    shim_promise(&(struct shim_promise){.without = without});
    engine_init(&stage->engine, &(struct engine_options){.device = device, .shim = shim_between});
    const struct dj_import_params params = engine_params(&stage->engine);
    HARNESS_OK(dj_context_import(&params, &stage->context));
    HARNESS_OK(dj_recorder_create(stage->context, NULL, &stage->recorder));
}

static void stage_finish(struct stage *stage)
{
    dj_recorder_destroy(&stage->recorder);
    dj_context_destroy(&stage->context);
    engine_finish(&stage->engine);
}

/* Gives a buffer of the engine's the place of one of the library's, or of none (NULL), which has a
 * size then. */
static struct region *stage_region(struct stage *stage, dj_buffer **place, uint64_t size)
{
    assert_true(stage->count < MOST_REGIONS);
    for (uint32_t i = 0; i < stage->count; i++) /* as packed tensors share theirs */
        assert_true(*place == NULL || stage->regions[i].was != *place);
    struct region *const region = &stage->regions[stage->count++];
    const VkBufferUsageFlags usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                                     VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                                     VK_BUFFER_USAGE_TRANSFER_DST_BIT;
    size = ((*place != NULL ? dj_buffer_size(*place) : size) + 3) / 4 * 4;
    *region = (struct region){.work = engine_buffer_create_for(&stage->engine, size, usage),
                              .master = engine_buffer_create_for(&stage->engine, size, usage),
                              .result = engine_buffer_create_for(&stage->engine, size, usage),
                              .place = place,
                              .was = *place,
                              .given = true};
    memset(region->master.mapped, 0, size);
    if (*place != NULL)
        HARNESS_OK(dj_buffer_read(*place, 0, region->master.mapped, dj_buffer_size(*place)));
    const struct dj_wrap_params params = engine_buffer_params(&region->work);
    HARNESS_OK(dj_buffer_wrap(stage->context, &params, place));
    return region;
}

/* Gives the places back. */
static void stage_clear(struct stage *stage)
{
    while (stage->count > 0) {
        struct region *const region = &stage->regions[--stage->count];
        dj_buffer_destroy(region->place);
        *region->place = region->was;
        engine_buffer_destroy(&stage->engine, &region->work);
        engine_buffer_destroy(&stage->engine, &region->master);
        engine_buffer_destroy(&stage->engine, &region->result);
    }
}

static void barrier(struct stage *stage, VkCommandBuffer command, VkPipelineStageFlags from,
                    VkAccessFlags written, VkPipelineStageFlags to, VkAccessFlags used)
{
    const VkMemoryBarrier memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = written, .dstAccessMask = used};
    stage->engine.vk.vkCmdPipelineBarrier(command, from, to, 0, 1, &memory, 0, NULL, 0, NULL);
}

static void transfer_to_transfer(struct stage *stage, VkCommandBuffer command)
{
    barrier(stage, command, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
            VK_PIPELINE_STAGE_TRANSFER_BIT,
            VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT);
}

/* Garbage everywhere, then what is given; then the barrier that a call begins with. */
static void stage_begin(struct stage *stage, VkCommandBuffer command)
{
    const struct engine_functions *const vk = &stage->engine.vk;
    for (uint32_t i = 0; i < stage->count; i++)
        vk->vkCmdFillBuffer(command, stage->regions[i].work.buffer, 0, VK_WHOLE_SIZE, GARBAGE);
    transfer_to_transfer(stage, command);
    for (uint32_t i = 0; i < stage->count; i++) {
        const struct region *const region = &stage->regions[i];
        const VkBufferCopy whole = {.size = region->work.size};
        if (region->given)
            vk->vkCmdCopyBuffer(command, region->master.buffer, region->work.buffer, 1, &whole);
    }
    if (stage->without != NO_BEGIN)
        barrier(stage, command, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
}

/* The barrier that a call ends with; what is wanted is copied away, and garbage everywhere. */
static void stage_end(struct stage *stage, VkCommandBuffer command)
{
    const struct engine_functions *const vk = &stage->engine.vk;
    if (stage->without != NO_END)
        barrier(stage, command, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                VK_PIPELINE_STAGE_TRANSFER_BIT,
                VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT);
    for (uint32_t i = 0; i < stage->count; i++) {
        const struct region *const region = &stage->regions[i];
        const VkBufferCopy whole = {.size = region->work.size};
        if (region->wanted)
            vk->vkCmdCopyBuffer(command, region->work.buffer, region->result.buffer, 1, &whole);
        else
            vk->vkCmdFillBuffer(command, region->work.buffer, 0, VK_WHOLE_SIZE, GARBAGE);
    }
    transfer_to_transfer(stage, command);
    for (uint32_t i = 0; i < stage->count; i++)
        vk->vkCmdFillBuffer(command, stage->regions[i].work.buffer, 0, VK_WHOLE_SIZE, GARBAGE);
    barrier(stage, command, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
            VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
}

/* What two calls need between them that share scratch memory or states. */
static void stage_between(struct stage *stage, VkCommandBuffer command)
{
    if (stage->without != NO_BETWEEN)
        barrier(stage, command, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
}

/* Runs what was recorded, or, where it must not run, says how many messages there were. */
static uint64_t stage_run(struct stage *stage, VkCommandBuffer command)
{
    const uint64_t messages = stage->engine.validation_count;
    if (stage->without == WHOLE) {
        assert_int_equal(messages, 0);
        engine_submit(&stage->engine, command);
        return 0;
    }
    ENGINE_OK(stage->engine.vk.vkEndCommandBuffer(command));
    stage->engine.validation_count = 0;
    return messages;
}

/* A call, or two that share a sequence, its states and their scratch memory. */
struct scene {
    struct problem_params problem;
    bool states;        /* go in and out, their slots in buffers */
    bool again;         /* the call is made twice, to the same end */
    size_t cut;         /* tokens of the first call; 0: there is one call */
    uint32_t snapshots; /* that each call leaves, two or more; the second one goes on from the first
                         * one's last but one, and has its last token over again */
    uint32_t dispatches; /* that a call needs, which tells its family; 0: any */
};

enum {
    MOST_SLOTS = 16
};

/* Gives the states and their slots buffers: what both calls have of them. */
static void place_states(struct stage *stage, const struct scene *scene, const dj_attention *plan,
                         struct dj_attention_args *args, dj_buffer *buffers[2])
{
    int32_t slots[MOST_SLOTS], accepted[MOST_SLOTS];
    const size_t rows = scene->problem.batch;
    const uint32_t sequences =
        (uint32_t)(scene->problem.sequences ? scene->problem.sequences : rows);
    args->slot_count = sequences * (scene->snapshots ? 2 * scene->snapshots : 1);
    assert_true(args->slot_count <= MOST_SLOTS);
    for (int32_t i = 0; i < MOST_SLOTS; i++) {
        slots[i] = i;
        accepted[i] = (int32_t)scene->snapshots - 2;
    }
    struct dj_needs needs;
    HARNESS_OK(dj_attention_needs(plan, NULL, &needs));
    stage_region(stage, &args->state, needs.slot_size * args->slot_count)->wanted = true;
    args->slots_in.buffer = buffers[0] = harness_buffer(stage->context, slots, sizeof slots);
    stage_region(stage, &args->slots_in.buffer, 0);
    args->slots_out.buffer = args->slots_in.buffer;
    if (scene->snapshots == 0)
        return;
    args->snapshots = scene->snapshots;
    args->slots_out.offset = args->slot_count / 2 * sizeof *slots;
    args->accepted.buffer = buffers[1] =
        harness_buffer(stage->context, accepted, sequences * sizeof *accepted);
    stage_region(stage, &args->accepted.buffer, 0);
}

/* The calls of a scene, one or two; returns how many. */
static size_t make_calls(const struct scene *scene, const struct placed *placed,
                         struct dj_attention_args calls[2])
{
    const size_t cut = scene->cut, tokens = scene->problem.tokens;
    const size_t over_again = scene->snapshots ? 1 : 0;
    calls[0] = calls[1] = placed->args;
    if (cut == 0)
        return scene->again ? 2 : 1;
    calls[0] = placed_range(placed, 0, cut);
    calls[1] = placed_range(placed, cut - over_again, tokens - cut + over_again);
    if (scene->snapshots) { /* nothing comes in, and what goes out is where the second one looks */
        calls[0].slots_out = calls[0].slots_in;
        calls[0].slots_in.buffer = calls[0].accepted.buffer = NULL;
    }
    return 2;
}

/* Plays it; returns how many messages there were. */
static uint64_t play(struct stage *stage, const struct scene *scene)
{
    struct problem problem;
    problem_init(&problem, &scene->problem);
    problem_solve(&problem);
    struct placed placed;
    problem_place(&problem, stage->context, LAYOUT_HEADS_FIRST, &placed);
    struct dj_attention_args *const args = &placed.args;
    dj_buffer *indices[2] = {NULL, NULL};
    struct dj_needs needs;
    if (scene->states)
        place_states(stage, scene, placed.plan, args, indices);
    stage_region(stage, &args->q.buffer, 0);
    stage_region(stage, &args->k.buffer, 0);
    stage_region(stage, &args->v.buffer, 0);
    struct region *const o = stage_region(stage, &args->o.buffer, 0);
    o->wanted = true;
    if (args->spans.indices.buffer != NULL)
        stage_region(stage, &args->spans.indices.buffer, 0);
    HARNESS_OK(dj_attention_needs(placed.plan, args, &needs));
    if (needs.scratch_size > 0)
        stage_region(stage, &args->scratch.buffer, needs.scratch_size)->given = false;
    args->scratch.size = needs.scratch_size;
    args->barriers = 0;

    struct dj_attention_args calls[2];
    const size_t count = make_calls(scene, &placed, calls);
    const VkCommandBuffer command = engine_command(&stage->engine);
    stage_begin(stage, command);
    HARNESS_OK(dj_recorder_begin_on(stage->recorder, command));
    for (size_t i = 0; i < count; i++) {
        HARNESS_OK(dj_attention_needs(placed.plan, &calls[i], &needs));
        if (scene->dispatches)
            assert_int_equal(needs.dispatches, scene->dispatches);
        if (i > 0)
            stage_between(stage, command);
        HARNESS_OK(dj_attention_record(placed.plan, stage->recorder, &calls[i]));
    }
    stage_end(stage, command);
    const uint64_t messages = stage_run(stage, command);
    if (stage->without == WHOLE) {
        HARNESS_OK(dj_buffer_write(o->was, 0, o->result.mapped, dj_buffer_size(o->was)));
        struct placed outside = placed; /* o lies where it was */
        outside.args.o.buffer = o->was;
        float *const got = placed_output(&outside);
        problem_assert(&problem, got, "between transfers");
        free(got);
    }
    stage_clear(stage);
    dj_buffer_destroy(&indices[0]);
    dj_buffer_destroy(&indices[1]);
    placed_finish(&placed);
    problem_finish(&problem);
    return messages;
}

/* As play, of a transform. */
static uint64_t play_dct(struct stage *stage, uint32_t path, bool twice)
{
    enum {
        ROWS = 70,
        LENGTH = 16
    };
    static float x[ROWS * LENGTH];
    harness_fill_normal(x, ROWS * LENGTH, 1);
    dj_dct *plan;
    const struct dj_dct_params params = {.type = DJ_DCT_4, .length = LENGTH, .path = path};
    HARNESS_OK(dj_dct_create(stage->context, &params, &plan));
    dj_buffer *const input = harness_buffer(stage->context, x, sizeof x);
    struct dj_dct_args args = {.barriers = 0};
    const uint64_t shape[4] = {1, 1, ROWS, LENGTH};
    dj_tensor_init(&args.input, input, 0, DJ_FLOAT32, shape);
    dj_tensor_init(&args.output, NULL, 0, DJ_FLOAT32, shape);
    stage_region(stage, &args.input.buffer, 0);
    struct region *const out = stage_region(stage, &args.output.buffer, sizeof x);
    out->given = false;
    out->wanted = true;
    struct dj_needs needs;
    HARNESS_OK(dj_dct_needs(plan, &args, &needs));
    if (needs.scratch_size > 0)
        stage_region(stage, &args.scratch.buffer, needs.scratch_size)->given = false;
    args.scratch.size = needs.scratch_size;
    const VkCommandBuffer command = engine_command(&stage->engine);
    stage_begin(stage, command);
    HARNESS_OK(dj_recorder_begin_on(stage->recorder, command));
    HARNESS_OK(dj_dct_record(plan, stage->recorder, &args));
    if (twice) { /* DCT-4 is its own inverse */
        stage_between(stage, command);
        struct dj_dct_args back = args;
        back.input = args.output;
        HARNESS_OK(dj_dct_record(plan, stage->recorder, &back));
    }
    stage_end(stage, command);
    const uint64_t messages = stage_run(stage, command);
    if (stage->without == WHOLE) {
        static double want[ROWS * LENGTH];
        double row[LENGTH];
        for (size_t i = 0; i < ROWS; i++) {
            for (size_t j = 0; j < LENGTH; j++)
                row[j] = x[i * LENGTH + j];
            if (twice)
                memcpy(want + i * LENGTH, row, sizeof row);
            else
                twin_dct(4, LENGTH, row, want + i * LENGTH);
        }
        harness_assert_within(harness_error(out->result.mapped, want, ROWS * LENGTH),
                              twice ? 2e-6 : 1e-6, "a transform between transfers");
    }
    stage_clear(stage);
    dj_buffer *left = input;
    dj_buffer_destroy(&left);
    dj_dct_destroy(&plan);
    return messages;
}

/* Two ways to bind; synchronisation validation does not follow addresses. */
static const uint32_t bindings[] = {SHIM_ADDRESSES, SHIM_ADDRESSES | SHIM_PUSH_DESCRIPTORS};

enum {
    STEP = 1, /* dispatches of a call that is one token a row */
    RESIDENT = 5
};

static const struct scene one_token = {
    .problem = {.normalise = true, SHAPE(3, 2, 2, 16, 16)},
    .states = true,
    .cut = 1,
    .dispatches = STEP,
};
static const struct scene drafts = {
    .problem = {.normalise = true, SHAPE(2, 50, 2, 16, 16)},
    .states = true,
    .cut = 44,
    .snapshots = 4,
};
#define PACKED \
    .normalise = true, .spans = DJ_SPANS_PACKED, .sequences = 5, .device_spans = true, \
    SHAPE(1, 150, 2, 16, 16)
static const struct scene packed = {.problem = {PACKED}, .states = true};
static const struct scene packed_again = {.problem = {PACKED}, .again = true};

static const struct scene whole[] = {
    {.problem = {.normalise = true,
                 .spans = DJ_SPANS_PADDED,
                 .device_spans = true,
                 SHAPE(2, 70, 3, 16, 24)}},
    {.problem = {.normalise = true, SHAPE(2, 70, 2, 16, 16)}, .states = true},
    {.problem = {.normalise = true, SHAPE(2, 100, 2, 16, 16)}, .states = true, .cut = 37},
    {.problem = {.normalise = true, SHAPE(3, 65, 2, 16, 16)}, .states = true, .cut = 64},
    {.problem = {.map = DJ_MAP_ELU, .normalise = true, .full = true, SHAPE(1, 90, 2, 16, 16)}},
    {.problem = {.map = DJ_MAP_COSFORMER, .normalise = true, SHAPE(1, 90, 2, 16, 16)},
     .states = true,
     .cut = 50},
    {.problem = {.map = DJ_MAP_SOFTMAX, SHAPE(2, 70, 2, 16, 16)}},
    {.problem = {.map = DJ_MAP_SOFTMAX,
                 .spans = DJ_SPANS_PADDED,
                 .device_spans = true,
                 SHAPE(2, 70, 2, 16, 16)}},
    {.problem = {.map = DJ_MAP_LINFORMER, .full = true, .features = 8, SHAPE(2, 64, 2, 16, 16)}},
};

static void play_all(struct stage *stage)
{
    static const struct scene *const others[] = {&one_token, &drafts, &packed, &packed_again};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        play(stage, &whole[i]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        play(stage, others[i]);
    play_dct(stage, DJ_DCT_PATH_DENSE, false);
    play_dct(stage, DJ_DCT_PATH_DENSE, true);
}

static void documented_barriers_are_enough(void **state)
{
    (void)state;
    for (uint32_t device = 0; device < harness_device_count(); device++) {
        for (size_t b = 0; b < sizeof bindings / sizeof *bindings; b++) {
            struct stage stage;
            stage_init(&stage, device, bindings[b]);
            play_all(&stage);
            if (b == 0) /* takes time to generate */
                play_dct(&stage, DJ_DCT_PATH_DEFAULT, true);
            stage_finish(&stage);
        }
    }
}

/* Where kernels go by addresses, the layer sees the transfers alone: that garbage goes nowhere is
 * all that is asked. */
static void addresses_lead_to_no_garbage(void **state)
{
    (void)state;
    static const struct scene resident = {
        .problem = {.normalise = true, .family = DJ_FAMILY_RESIDENT, SHAPE(2, 600, 2, 32, 16)},
        .states = true,
        .cut = 580,
        .dispatches = RESIDENT};
    for (uint32_t device = 0; device < harness_device_count(); device++) {
        struct stage stage;
        stage_init(&stage, device, 0);
        const uint32_t uses = dj_context_uses(stage.context);
        if (uses & DJ_USE_DEVICE_ADDRESSES)
            play_all(&stage);
        else
            print_message("# device %u has no addresses\n", device);
        if ((uses & DJ_USE_DEVICE_ADDRESSES) && (uses & DJ_USE_SUBGROUPS))
            play(&stage, &resident);
        stage_finish(&stage);
    }
}

/* So that the first test can fail: without any one of the barriers the layer speaks. */
static void each_barrier_is_needed(void **state)
{
    (void)state;
    static const struct scene cut = {
        .problem = {.normalise = true, SHAPE(2, 100, 2, 16, 16)}, .states = true, .cut = 37};
    static const struct scene *const scenes[] = {&cut, &one_token, &drafts, &packed, &packed_again};
    struct stage stage;
    stage_init(&stage, 0, bindings[0]);
    if (!stage.engine.validation) {
        stage_finish(&stage);
        harness_skip("without the validation layer nobody would speak");
    }
    stage.engine.silent = true;
    for (stage.without = NO_BEGIN; stage.without <= NO_END; stage.without++) {
        for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
            /* steps share their states alone, where the layer lets a shader write, and so read,
             * what another wrote */
            if (stage.without == NO_BETWEEN &&
                (scenes[i]->dispatches == STEP || (!scenes[i]->cut && !scenes[i]->again)))
                continue;
            if (play(&stage, scenes[i]) == 0)
                fail_msg("scene %zu without barrier %d: no message", i, (int)stage.without);
        }
        if (play_dct(&stage, DJ_DCT_PATH_DENSE, true) == 0)
            fail_msg("a transform without barrier %d: no message", (int)stage.without);
    }
    stage_finish(&stage);
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(documented_barriers_are_enough),
    HARNESS_TEST(addresses_lead_to_no_garbage),
    HARNESS_TEST(each_barrier_is_needed),
};
HARNESS_MAIN(tests)
