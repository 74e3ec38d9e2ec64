/* SPDX-License-Identifier: MIT */
/* dijiang inside an engine (embed_engine.c): a prompt, then a token per frame, recorded into the
 * engine's command buffers, in and out of the engine's buffer; the library submits nothing. */
#include "embed_engine.h"

#include <dijiang/dijiang.h>
#include <dijiang/vulkan.h>

#include <stdio.h>

#define DJ(call) ((call) == DJ_SUCCESS ? (void)0 : engine_die(#call))

enum {
    HEADS = 4,
    DIM = 64,
    ROW = HEADS * DIM,
    PROMPT = 50,
    STEPS = 8,
    TOKENS = PROMPT + STEPS
};

/* Tokens first .. first + count - 1 of q, k, v and o, which lie one after another in the buffer. */
static void look_at(struct dj_attention_args *args, dj_buffer *io, uint64_t first, uint64_t count)
{
    struct dj_tensor *const tensors[4] = {&args->q, &args->k, &args->v, &args->o};
    for (uint64_t i = 0; i < 4; i++)
        dj_tensor_init(tensors[i], io, (i * TOKENS + first) * ROW * sizeof(float), DJ_FLOAT32,
                       (const uint64_t[4]){1, count, HEADS, DIM});
}

int main(void)
{
    struct engine engine = {0};
    engine_choose(&engine);
    struct dj_device_wants wants; /* what to enable on the engine's device */
    DJ(dj_device_wants(vkGetInstanceProcAddr, engine.instance, engine.physical, &wants));
    if (wants.unsuitable[0])
        engine_die(wants.unsuitable);
    engine.usage = wants.buffer_usage;
    const uint64_t size = 4 * TOKENS * ROW * sizeof(float);
    engine_start(&engine, wants.extensions, wants.extension_count, wants.features, size);
    for (uint32_t i = 0; i < 3 * TOKENS * ROW; i++)
        engine.mapped[i] = (float)(i * 2654435761u >> 8) / (1 << 23) - 1.0f;

    dj_context *gpu; /* without a queue: nothing can be submitted behind the engine's back */
    const struct dj_import_params import = {.get_instance_proc_addr = vkGetInstanceProcAddr,
                                            .instance = engine.instance,
                                            .physical_device = engine.physical,
                                            .device = engine.device,
                                            .api_version = VK_API_VERSION_1_1, /* as it asked for */
                                            .device_extensions = wants.extensions,
                                            .device_extension_count = wants.extension_count,
                                            .features = wants.features,
                                            .queue_family = engine.family,
                                            .log = engine_log};
    DJ(dj_context_import(&import, &gpu));
    dj_buffer *io;
    const struct dj_wrap_params wrap = {
        .buffer = engine.buffer, .size = size, .usage = engine.usage, .mapped = engine.mapped};
    DJ(dj_buffer_wrap(gpu, &wrap, &io));
    float t[DIM];
    dj_features *features;
    dj_attention *plan;
    DJ(dj_frequencies_draw(DIM, 1, t));
    DJ(dj_features_create(gpu, &(struct dj_features_params){.dim = DIM, .frequencies = t},
                          &features));
    DJ(dj_attention_create(gpu, &(struct dj_attention_params){.heads = HEADS, .dim = DIM}, &plan));

    static const int32_t none = -1, slot = 0;
    struct dj_attention_args args = {.features = features,
                                     .slot_count = 1,
                                     .slots_in.host = &none, /* the prompt starts from nothing */
                                     .slots_out.host = &slot,
                                     .barriers = DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_HOST};
    struct dj_needs needs;
    DJ(dj_attention_needs(plan, NULL, &needs));
    DJ(dj_buffer_create(gpu, &(struct dj_buffer_params){.size = needs.slot_size}, &args.state));
    look_at(&args, io, 0, PROMPT);
    DJ(dj_attention_needs(plan, &args, &needs)); /* the prompt's: enough for a token */
    args.scratch.size = needs.scratch_size;
    DJ(dj_buffer_create(gpu, &(struct dj_buffer_params){.size = needs.scratch_size},
                        &args.scratch.buffer));
    dj_recorder *recorders[FRAMES];
    for (uint32_t i = 0; i < FRAMES; i++)
        DJ(dj_recorder_create(gpu, NULL, &recorders[i]));

    for (uint32_t step = 0; step <= STEPS; step++) {
        const uint32_t frame = step % FRAMES;
        DJ(dj_recorder_begin_on(recorders[frame], engine_begin(&engine, frame)));
        DJ(dj_attention_record(plan, recorders[frame], &args));
        engine_submit(&engine, frame);
        look_at(&args, io, PROMPT + step, 1); /* the next frame: one token, the state continues */
        args.slots_in.host = &slot;
    }
    engine_wait(&engine);
    for (uint32_t token = PROMPT - 1; token < TOKENS; token++)
        printf("token %u: %.6e\n", token, (double)engine.mapped[(3 * TOKENS + token) * ROW]);

    for (uint32_t i = 0; i < FRAMES; i++)
        dj_recorder_destroy(&recorders[i]);
    dj_buffer_destroy(&args.scratch.buffer);
    dj_buffer_destroy(&args.state);
    dj_attention_destroy(&plan);
    dj_features_destroy(&features);
    dj_buffer_destroy(&io);
    dj_context_destroy(&gpu);
    engine_end(&engine);
    return 0;
}
