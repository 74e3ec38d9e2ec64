/* SPDX-License-Identifier: MIT */
#include "embed_engine.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

void engine_die(const char *what)
{
    fprintf(stderr, "embed: %s\n", what);
    exit(1);
}

void engine_log(void *user, uint32_t level, const char *message)
{
    (void)user;
    (void)level;
    fprintf(stderr, "embed: %s\n", message);
}

void engine_choose(struct engine *engine)
{
    const VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                           .pApplicationName = "embed",
                                           .apiVersion = VK_API_VERSION_1_1};
    const VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                       .pApplicationInfo = &application};
    CHECK(vkCreateInstance(&info, NULL, &engine->instance));
    uint32_t count = 1;
    if (vkEnumeratePhysicalDevices(engine->instance, &count, &engine->physical) < 0 || count == 0)
        engine_die("this system has no Vulkan device");
    VkQueueFamilyProperties families[16];
    count = 16;
    vkGetPhysicalDeviceQueueFamilyProperties(engine->physical, &count, families);
    while (!(families[engine->family].queueFlags & VK_QUEUE_COMPUTE_BIT))
        if (++engine->family == count)
            engine_die("the device has no queue for compute");
}

static void make_buffer(struct engine *engine)
{
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = BUFFER_SIZE, .usage = engine->usage};
    CHECK(vkCreateBuffer(engine->device, &info, NULL, &engine->buffer));
    VkMemoryRequirements need;
    vkGetBufferMemoryRequirements(engine->device, engine->buffer, &need);
    VkPhysicalDeviceMemoryProperties memory;
    vkGetPhysicalDeviceMemoryProperties(engine->physical, &memory);
    const VkMemoryPropertyFlags mapped =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    uint32_t type = 0; /* Vulkan promises that there is one */
    while (!(need.memoryTypeBits & 1u << type) ||
           (memory.memoryTypes[type].propertyFlags & mapped) != mapped)
        type++;
    const bool addressed = (engine->usage & VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT) != 0;
    const VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                             .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
    const VkMemoryAllocateInfo allocation = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                             .pNext = addressed ? &flags : NULL,
                                             .allocationSize = need.size,
                                             .memoryTypeIndex = type};
    CHECK(vkAllocateMemory(engine->device, &allocation, NULL, &engine->memory));
    CHECK(vkBindBufferMemory(engine->device, engine->buffer, engine->memory, 0));
    CHECK(
        vkMapMemory(engine->device, engine->memory, 0, VK_WHOLE_SIZE, 0, (void **)&engine->mapped));
    for (uint32_t i = 0; i < 3 * TOKENS * ROW; i++)
        engine->mapped[i] = (float)(i * 2654435761u >> 8) / (1 << 23) - 1.0f;
}

static void make_frames(struct engine *engine)
{
    const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                          .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                          .queueFamilyIndex = engine->family};
    CHECK(vkCreateCommandPool(engine->device, &pool, NULL, &engine->pool));
    const VkCommandBufferAllocateInfo commands = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = engine->pool,
        .commandBufferCount = FRAMES};
    CHECK(vkAllocateCommandBuffers(engine->device, &commands, engine->commands));
    const VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO,
                                     .flags = VK_FENCE_CREATE_SIGNALED_BIT};
    for (uint32_t i = 0; i < FRAMES; i++)
        CHECK(vkCreateFence(engine->device, &fence, NULL, &engine->fences[i]));
}

void engine_start(struct engine *engine, const char *const *extensions, uint32_t count,
                  const void *features, VkBufferUsageFlags usage)
{
    const float priority = 1.0f;
    const VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                           .queueFamilyIndex = engine->family,
                                           .queueCount = 1,
                                           .pQueuePriorities = &priority};
    const VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                     .pNext = features,
                                     .queueCreateInfoCount = 1,
                                     .pQueueCreateInfos = &queue,
                                     .enabledExtensionCount = count,
                                     .ppEnabledExtensionNames = extensions};
    CHECK(vkCreateDevice(engine->physical, &info, NULL, &engine->device));
    vkGetDeviceQueue(engine->device, engine->family, 0, &engine->queue);
    engine->usage = usage;
    make_buffer(engine);
    make_frames(engine);
}

VkCommandBuffer engine_begin(struct engine *engine, uint32_t frame)
{
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    CHECK(vkWaitForFences(engine->device, 1, &engine->fences[frame], VK_TRUE, UINT64_MAX));
    CHECK(vkResetFences(engine->device, 1, &engine->fences[frame]));
    CHECK(vkBeginCommandBuffer(engine->commands[frame], &begin));
    return engine->commands[frame];
}

void engine_submit(struct engine *engine, uint32_t frame)
{
    const VkSubmitInfo submit = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                                 .commandBufferCount = 1,
                                 .pCommandBuffers = &engine->commands[frame]};
    CHECK(vkEndCommandBuffer(engine->commands[frame]));
    CHECK(vkQueueSubmit(engine->queue, 1, &submit, engine->fences[frame]));
}

void engine_finish(struct engine *engine)
{
    CHECK(vkWaitForFences(engine->device, FRAMES, engine->fences, VK_TRUE, UINT64_MAX));
    for (uint32_t token = PROMPT - 1; token < TOKENS; token++)
        printf("token %u: %.6e\n", token, (double)engine->mapped[(3 * TOKENS + token) * ROW]);
}

void engine_end(struct engine *engine)
{
    for (uint32_t i = 0; i < FRAMES; i++)
        vkDestroyFence(engine->device, engine->fences[i], NULL);
    vkDestroyCommandPool(engine->device, engine->pool, NULL);
    vkDestroyBuffer(engine->device, engine->buffer, NULL);
    vkFreeMemory(engine->device, engine->memory, NULL);
    vkDestroyDevice(engine->device, NULL);
    vkDestroyInstance(engine->instance, NULL);
}
