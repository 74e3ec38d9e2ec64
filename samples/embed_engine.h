/* SPDX-License-Identifier: MIT */
/* The engine of embed.c: plain Vulkan that knows nothing of dijiang. A device with one queue, one
 * mapped buffer, and two frames in flight, each a command buffer and a fence. */
#ifndef EMBED_ENGINE_H
#define EMBED_ENGINE_H

#include <vulkan/vulkan.h>

enum {
    FRAMES = 2 /* in flight */
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

/* Ends the program with a line on standard error. */
_Noreturn void engine_die(const char *what);

/* Writes a line there; what dijiang logs goes through it. */
void engine_log(void *user, uint32_t level, const char *message);

void engine_choose(struct engine *engine); /* the instance and its first device */
void engine_start(struct engine *engine, const char *const *extensions, uint32_t count,
                  const void *features, VkDeviceSize buffer_size);
VkCommandBuffer engine_begin(struct engine *engine, uint32_t frame); /* waits for its last use */
void engine_submit(struct engine *engine, uint32_t frame);
void engine_wait(struct engine *engine); /* for all frames */
void engine_end(struct engine *engine);

#endif
