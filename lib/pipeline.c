/* SPDX-License-Identifier: MIT */
#include "pipeline.h"

#include <assert.h>

dj_result dj_pipeline_create(struct dj_context *context, const struct dj_shader *shader,
                             const struct dj_constants *constants, struct dj_pipeline *pipeline)
{
    const struct VolkDeviceTable *vk = &context->vk.device;
    *pipeline = (struct dj_pipeline){.handle = VK_NULL_HANDLE};
    dj_result result = dj_context_check(context);
    if (result != DJ_SUCCESS)
        return result;

    const bool addressed = context->device_addresses && shader->addressed_words;
    const VkShaderModuleCreateInfo module_info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = addressed ? shader->addressed_size : shader->size,
        .pCode = addressed ? shader->addressed_words : shader->words,
    };
    VkShaderModule module = VK_NULL_HANDLE;
    VkResult code =
        vk->vkCreateShaderModule(context->device, &module_info, context->allocator, &module);
    result = dj_context_result(context, code, "vkCreateShaderModule");
    if (result != DJ_SUCCESS)
        return result;
    dj_context_name(context, VK_OBJECT_TYPE_SHADER_MODULE, (uint64_t)module, shader->name);

    enum {
        MAX_CONSTANTS = sizeof(constants->values) / sizeof(constants->values[0])
    };
    VkSpecializationMapEntry entries[MAX_CONSTANTS];
    const uint32_t count = constants ? constants->count : 0;
    assert(count <= MAX_CONSTANTS);
    for (uint32_t i = 0; i < count; i++)
        entries[i] = (VkSpecializationMapEntry){
            .constantID = i, .offset = 4 * i, .size = sizeof(constants->values[0])};
    const VkSpecializationInfo specialization = {
        .mapEntryCount = count,
        .pMapEntries = entries,
        .dataSize = count * sizeof(constants->values[0]),
        .pData = constants ? constants->values : NULL,
    };
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main",
                  .pSpecializationInfo = count ? &specialization : NULL},
        .layout = context->pipeline_layout,
        .basePipelineIndex = -1,
    };
    VkPipeline made = VK_NULL_HANDLE;
    code = vk->vkCreateComputePipelines(context->device, context->pipeline_cache, 1, &info,
                                        context->allocator, &made);
    result = dj_context_result(context, code, "vkCreateComputePipelines");
    vk->vkDestroyShaderModule(context->device, module, context->allocator);
    if (result != DJ_SUCCESS)
        return result;
    dj_context_name(context, VK_OBJECT_TYPE_PIPELINE, (uint64_t)made, shader->name);
    *pipeline = (struct dj_pipeline){.handle = made, .addressed = addressed};
    return DJ_SUCCESS;
}

void dj_pipeline_destroy(struct dj_context *context, struct dj_pipeline *pipeline)
{
    if (pipeline->handle)
        context->vk.device.vkDestroyPipeline(context->device, pipeline->handle, context->allocator);
    pipeline->handle = VK_NULL_HANDLE;
}
