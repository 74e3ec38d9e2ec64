/* SPDX-License-Identifier: MIT */
/* What the snippets of docs/embedding.md have in hand. */
#include <dijiang/dijiang.h>
#include <dijiang/vulkan.h>

#include <vulkan/vulkan.h>

#include <stdio.h>

extern VkInstance instance;
extern VkPhysicalDevice physical_device;
extern VkDevice device;
extern uint32_t family;
extern struct dj_device_wants wants;
extern dj_context *gpu;

extern VkBuffer vulkan_buffer;
extern uint64_t size, q_offset, tokens, heads, dim;
extern VkBufferUsageFlags usage;
extern void *mapped;

extern uint32_t layers;
extern dj_attention *plan, **plans;
extern struct dj_attention_args args, *layer_args;
extern dj_recorder *recorder;
extern struct dj_needs needs;
extern dj_recorder **part_recorders;
extern struct dj_attention_params plan_params;
extern const char *folder;
extern VkCommandBuffer command, *commands;
extern VkCommandBufferBeginInfo begin_info;
extern struct dj_import_params params;
