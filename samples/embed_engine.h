/* SPDX-License-Identifier: MIT */
/* The engine of embed.c: plain Vulkan that knows nothing of dijiang. A device with one queue, one
 * mapped buffer, and two frames in flight, each a command buffer and a fence. Its model is one
 * layer of attention, and the buffer q, k, v and o of all tokens, float32 [TOKENS][HEADS][DIM]
 * each. */
#ifndef EMBED_ENGINE_H
#define EMBED_ENGINE_H

#include <vulkan/vulkan.h>

enum {
    FRAMES = 2, /* in flight */
    HEADS = 4,
    DIM = 64,
    PROMPT = 50, /* tokens of the first frame; each other has one */
    TOKENS = 58,
    ROW = HEADS * DIM,
    BUFFER_SIZE = 4 * TOKENS * ROW * (int)sizeof(float)
};

struct engine {
    VkInstance instance;
    VkPhysicalDevice physical;
    uint32_t family; /* of the queue: the first with compute */
    VkDevice device;
    VkQueue queue;
    VkCommandPool pool;
    VkCommandBuffer commands[FRAMES];
    VkFence fences[FRAMES];
    VkBufferUsageFlags usage; /* of the buffer */
    VkBuffer buffer;          /* in mapped and coherent memory */
    VkDeviceMemory memory;
    float *mapped;
};

/* Of Vulkan and of dijiang: 0 is success in both. */
#define CHECK(call) ((call) == 0 ? (void)0 : engine_die(#call))

/* Ends the program with a line on standard error. */
_Noreturn void engine_die(const char *what);

/* Writes a line there; what dijiang logs goes through it. */
void engine_log(void *user, uint32_t level, const char *message);

void engine_choose(struct engine *engine); /* the instance and its first device */
void engine_start(struct engine *engine, const char *const *extensions, uint32_t count,
                  const void *features, VkBufferUsageFlags usage);   /* q, k and v are then there */
VkCommandBuffer engine_begin(struct engine *engine, uint32_t frame); /* waits for its last use */
void engine_submit(struct engine *engine, uint32_t frame);
void engine_finish(struct engine *engine); /* waits for all frames, prints what they computed */
void engine_end(struct engine *engine);

#endif
