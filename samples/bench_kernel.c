/* SPDX-License-Identifier: MIT */
#include "bench_kernel.h"

#include <assert.h>

enum {
    BINDINGS = 2,
    MAX_CONSTANTS = 8,
    PUSH_SIZE = 4 * sizeof(uint32_t),
};

static VkResult create_layout(struct bench_gpu *gpu, struct bench_kernel *kernel)
{
    VkDescriptorSetLayoutBinding bindings[BINDINGS];
    for (uint32_t i = 0; i < BINDINGS; i++)
        bindings[i] =
            (VkDescriptorSetLayoutBinding){.binding = i,
                                           .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                           .descriptorCount = 1,
                                           .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    const VkDescriptorSetLayoutCreateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = BINDINGS,
        .pBindings = bindings};
    const VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
                                       .size = PUSH_SIZE};
    VkResult code = vkCreateDescriptorSetLayout(gpu->device, &set, NULL, &kernel->set_layout);
    const VkPipelineLayoutCreateInfo layout = {.sType =
                                                   VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                               .setLayoutCount = 1,
                                               .pSetLayouts = &kernel->set_layout,
                                               .pushConstantRangeCount = 1,
                                               .pPushConstantRanges = &range};
    return code == VK_SUCCESS ? vkCreatePipelineLayout(gpu->device, &layout, NULL, &kernel->layout)
                              : code;
}

static VkResult create_set(struct bench_gpu *gpu, const dj_buffer *first, const dj_buffer *second,
                           struct bench_kernel *kernel)
{
    const VkDescriptorPoolSize size = {.type = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                       .descriptorCount = BINDINGS};
    const VkDescriptorPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                             .maxSets = 1,
                                             .poolSizeCount = 1,
                                             .pPoolSizes = &size};
    VkResult code = vkCreateDescriptorPool(gpu->device, &pool, NULL, &kernel->pool);
    const VkDescriptorSetAllocateInfo set = {.sType =
                                                 VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                             .descriptorPool = kernel->pool,
                                             .descriptorSetCount = 1,
                                             .pSetLayouts = &kernel->set_layout};
    if (code == VK_SUCCESS)
        code = vkAllocateDescriptorSets(gpu->device, &set, &kernel->set);
    if (code != VK_SUCCESS)
        return code;
    const VkDescriptorBufferInfo buffers[BINDINGS] = {
        {.buffer = dj_buffer_handle(first), .range = VK_WHOLE_SIZE},
        {.buffer = dj_buffer_handle(second), .range = VK_WHOLE_SIZE}};
    const VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                        .dstSet = kernel->set,
                                        .descriptorCount = BINDINGS, /* one binding after another */
                                        .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                        .pBufferInfo = buffers};
    vkUpdateDescriptorSets(gpu->device, 1, &write, 0, NULL);
    return VK_SUCCESS;
}

static VkResult create_pipeline(struct bench_gpu *gpu, const uint32_t *code, size_t size,
                                const uint32_t *constants, uint32_t count,
                                struct bench_kernel *kernel)
{
    VkSpecializationMapEntry entries[MAX_CONSTANTS];
    assert(count <= MAX_CONSTANTS);
    for (uint32_t i = 0; i < count; i++)
        entries[i] = (VkSpecializationMapEntry){
            .constantID = i, .offset = i * sizeof(uint32_t), .size = sizeof(uint32_t)};
    const VkSpecializationInfo specialization = {.mapEntryCount = count,
                                                 .pMapEntries = entries,
                                                 .dataSize = count * sizeof(uint32_t),
                                                 .pData = constants};
    const VkShaderModuleCreateInfo module_info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = size, .pCode = code};
    VkShaderModule module = VK_NULL_HANDLE;
    VkResult result = vkCreateShaderModule(gpu->device, &module_info, NULL, &module);
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main",
                  .pSpecializationInfo = &specialization},
        .layout = kernel->layout};
    if (result == VK_SUCCESS)
        result = vkCreateComputePipelines(gpu->device, VK_NULL_HANDLE, 1, &info, NULL,
                                          &kernel->pipeline);
    vkDestroyShaderModule(gpu->device, module, NULL);
    return result;
}

VkResult bench_kernel_create(struct bench_gpu *gpu, const uint32_t *code, size_t size,
                             const uint32_t *constants, uint32_t count, const dj_buffer *first,
                             const dj_buffer *second, struct bench_kernel *kernel)
{
    *kernel = (struct bench_kernel){0};
    VkResult result = create_layout(gpu, kernel);
    if (result == VK_SUCCESS)
        result = create_set(gpu, first, second, kernel);
    return result == VK_SUCCESS ? create_pipeline(gpu, code, size, constants, count, kernel)
                                : result;
}

void bench_kernel_destroy(struct bench_gpu *gpu, struct bench_kernel *kernel)
{
    vkDestroyPipeline(gpu->device, kernel->pipeline, NULL);
    vkDestroyPipelineLayout(gpu->device, kernel->layout, NULL);
    vkDestroyDescriptorPool(gpu->device, kernel->pool, NULL);
    vkDestroyDescriptorSetLayout(gpu->device, kernel->set_layout, NULL);
}

dj_result bench_kernel_run(struct bench_gpu *gpu, const struct bench_kernel *kernel,
                           const uint32_t words[4], const uint32_t groups[2],
                           struct bench_time *time)
{
    const dj_result result = bench_gpu_begin(gpu, NULL);
    if (result != DJ_SUCCESS)
        return result;
    vkCmdBindPipeline(gpu->command, VK_PIPELINE_BIND_POINT_COMPUTE, kernel->pipeline);
    vkCmdBindDescriptorSets(gpu->command, VK_PIPELINE_BIND_POINT_COMPUTE, kernel->layout, 0, 1,
                            &kernel->set, 0, NULL);
    vkCmdPushConstants(gpu->command, kernel->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, PUSH_SIZE,
                       words);
    vkCmdDispatch(gpu->command, groups[0], groups[1], 1);
    const VkMemoryBarrier barrier = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                     .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                                     .dstAccessMask =
                                         VK_ACCESS_HOST_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT};
    vkCmdPipelineBarrier(gpu->command, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                         VK_PIPELINE_STAGE_HOST_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1,
                         &barrier, 0, NULL, 0, NULL);
    return bench_gpu_submit(gpu, time);
}
