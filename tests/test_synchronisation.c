/* SPDX-License-Identifier: MIT */
/* The contract of recorder.h, from the engine's side: with exactly its barriers around a call, what
 * a transfer wrote right before is read, and what a transfer overwrites right after was not needed
 * any more. */
#include "engine.h"
#include "problem.h"
#include "shim.h"

#include <inttypes.h>
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

static void stage_init(struct stage *stage, uint32_t device, uint32_t without)
{
    *stage = (struct stage){.without = WHOLE};
    /* synchronisation validation does not follow addresses */
    shim_promise(&(struct shim_promise){.without = without | SHIM_ADDRESSES});
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
    bool states; /* go in and out, their slots in buffers */
    size_t cut;  /* tokens of the first call; 0: there is one call */
};

/* Plays it; returns how many messages there were. */
static uint64_t play(struct stage *stage, const struct scene *scene)
{
    static int32_t slots[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    struct problem problem;
    problem_init(&problem, &scene->problem);
    problem_solve(&problem);
    struct placed placed;
    problem_place(&problem, stage->context, LAYOUT_HEADS_FIRST, &placed);
    struct dj_attention_args *const args = &placed.args;
    dj_buffer *slot_buffer = NULL;
    struct dj_needs needs;
    if (scene->states) {
        args->slot_count = (uint32_t)scene->problem.batch;
        slot_buffer = harness_buffer(stage->context, slots, sizeof slots);
        args->slots_in.buffer = args->slots_out.buffer = slot_buffer;
        HARNESS_OK(dj_attention_needs(placed.plan, NULL, &needs));
        stage_region(stage, &args->state, needs.slot_size * args->slot_count)->wanted = true;
        stage_region(stage, &args->slots_in.buffer, 0);
        args->slots_out.buffer = args->slots_in.buffer;
    }
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

    const size_t cut = scene->cut ? scene->cut : scene->problem.tokens;
    const struct dj_attention_args calls[2] = {
        scene->cut ? placed_range(&placed, 0, cut) : *args,
        placed_range(&placed, cut, scene->problem.tokens - cut)};
    const VkCommandBuffer command = engine_command(&stage->engine);
    stage_begin(stage, command);
    HARNESS_OK(dj_recorder_begin_on(stage->recorder, command));
    HARNESS_OK(dj_attention_record(placed.plan, stage->recorder, &calls[0]));
    if (scene->cut) {
        stage_between(stage, command);
        HARNESS_OK(dj_attention_record(placed.plan, stage->recorder, &calls[1]));
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
    dj_buffer_destroy(&slot_buffer);
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

/* Two ways to bind. */
static const uint32_t bindings[] = {0, SHIM_PUSH_DESCRIPTORS};

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

static void documented_barriers_are_enough(void **state)
{
    (void)state;
    for (uint32_t device = 0; device < harness_device_count(); device++) {
        for (size_t b = 0; b < sizeof bindings / sizeof *bindings; b++) {
            struct stage stage;
            stage_init(&stage, device, bindings[b]);
            for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
                play(&stage, &whole[i]);
            play_dct(&stage, DJ_DCT_PATH_DENSE, false);
            play_dct(&stage, DJ_DCT_PATH_DENSE, true);
            if (b == 0) /* takes time to generate */
                play_dct(&stage, DJ_DCT_PATH_DEFAULT, true);
            stage_finish(&stage);
        }
    }
}

/* So that the test above can fail: without any one of the barriers the layer speaks. */
static void each_barrier_is_needed(void **state)
{
    (void)state;
    static const struct scene scene = {
        .problem = {.normalise = true, SHAPE(2, 100, 2, 16, 16)}, .states = true, .cut = 37};
    struct stage stage;
    stage_init(&stage, 0, 0);
    if (!stage.engine.validation) {
        stage_finish(&stage);
        print_message("# without the validation layer nobody would speak\n");
        skip();
    }
    stage.engine.silent = true;
    for (stage.without = NO_BEGIN; stage.without <= NO_END; stage.without++) {
        const uint64_t of_call = play(&stage, &scene);
        const uint64_t of_transform = play_dct(&stage, DJ_DCT_PATH_DENSE, true);
        if (of_call == 0 || of_transform == 0)
            fail_msg("without barrier %d: %" PRIu64 " messages of attention, %" PRIu64
                     " of a transform",
                     (int)stage.without, of_call, of_transform);
    }
    stage_finish(&stage);
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(documented_barriers_are_enough),
    HARNESS_TEST(each_barrier_is_needed),
};
HARNESS_MAIN(tests)
