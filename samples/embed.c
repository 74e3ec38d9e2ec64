/* SPDX-License-Identifier: MIT */
/* dijiang inside an engine (embed_engine.c): a prompt, then a token per frame, recorded into the
 * engine's command buffers, in and out of the engine's buffer; the library submits nothing. */
#include "embed_engine.h"

#include <dijiang/dijiang.h>
#include <dijiang/vulkan.h>

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
    CHECK(dj_device_wants(vkGetInstanceProcAddr, engine.instance, engine.physical, &wants));
    if (wants.unsuitable[0])
        engine_die(wants.unsuitable);
    engine_start(&engine, wants.extensions, wants.extension_count, wants.features,
                 wants.buffer_usage);

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
    CHECK(dj_context_import(&import, &gpu));
    const struct dj_wrap_params wrap = {.buffer = engine.buffer,
                                        .size = BUFFER_SIZE,
                                        .usage = engine.usage,
                                        .mapped = engine.mapped};
    dj_buffer *io;
    CHECK(dj_buffer_wrap(gpu, &wrap, &io));
    float t[DIM];
    CHECK(dj_frequencies_draw(DIM, 1, t));
    const struct dj_features_params numbers = {.dim = DIM, .frequencies = t};
    dj_features *features;
    CHECK(dj_features_create(gpu, &numbers, &features));
    const struct dj_attention_params shape = {.heads = HEADS, .dim = DIM};
    dj_attention *plan;
    CHECK(dj_attention_create(gpu, &shape, &plan));

    struct dj_attention_args args = {.features = features,
                                     .slot_count = 1,
                                     .slots_in.host = (const int32_t[]){-1}, /* from nothing, */
                                     .slots_out.host = (const int32_t[]){0}, /* to slot 0 */
                                     .barriers = DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_HOST};
    look_at(&args, io, 0, PROMPT);
    struct dj_needs needs; /* the prompt's: enough for a token */
    CHECK(dj_attention_needs(plan, &args, &needs));
    args.scratch.size = needs.scratch_size;
    const struct dj_buffer_params state = {.size = needs.slot_size},
                                  scratch = {.size = needs.scratch_size};
    CHECK(dj_buffer_create(gpu, &state, &args.state));
    CHECK(dj_buffer_create(gpu, &scratch, &args.scratch.buffer));
    dj_recorder *recorders[FRAMES];
    for (uint32_t i = 0; i < FRAMES; i++)
        CHECK(dj_recorder_create(gpu, NULL, &recorders[i]));

    for (uint32_t next = PROMPT; next <= TOKENS; next++) {
        const uint32_t frame = next % FRAMES;
        CHECK(dj_recorder_begin_on(recorders[frame], engine_begin(&engine, frame)));
        CHECK(dj_attention_record(plan, recorders[frame], &args));
        engine_submit(&engine, frame);
        look_at(&args, io, next, 1);              /* one token, */
        args.slots_in.host = args.slots_out.host; /* where the last frame's state goes on */
    }
    engine_finish(&engine);

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
