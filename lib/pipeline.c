/* SPDX-License-Identifier: MIT */
#include "pipeline.h"

#include "shaders.h"
#include "spirv.h"

#include <assert.h>
#include <stdlib.h>

/* The shader as a module; where the device keeps to IEEE 754's rules for NaN and Inf, it asks for
 * them. */
static dj_result create_module(struct dj_context *context, const struct dj_shader *shader,
                               bool addressed, VkShaderModule *module)
{
    const struct VolkDeviceTable *vk = &context->vk.device;
    const uint32_t *const words = addressed ? shader->addressed_words : shader->words;
    const size_t size = addressed ? shader->addressed_size : shader->size;
    const size_t count = size / sizeof *words;
    uint32_t *own = NULL;
    size_t own_count = 0;
    if (context->float_controls) {
        own = calloc(count + DJ_SPIRV_MOST_ADDED, sizeof *own);
        if (own == NULL)
            return dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY,
                           "no memory for the kernel %s", shader->name);
        own_count = dj_spirv_preserve_nan(words, count, own);
        if (own_count == 0)
            dj_log_line(&context->log, DJ_LOG_DEBUG, "%s: used as it is, NaN and Inf not asked for",
                        shader->name);
    }
    const VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = own_count > 0 ? own_count * sizeof *own : size,
        .pCode = own_count > 0 ? own : words,
    };
    const VkResult code =
        vk->vkCreateShaderModule(context->device, &info, context->allocator, module);
    free(own);
    const dj_result result = dj_context_result(context, code, "vkCreateShaderModule");
    if (result == DJ_SUCCESS)
        dj_context_name(context, VK_OBJECT_TYPE_SHADER_MODULE, (uint64_t)*module, shader->name);
    return result;
}

dj_result dj_pipeline_create(struct dj_context *context, const struct dj_shader *shader,
                             const struct dj_constants *constants, struct dj_pipeline *pipeline)
{
    const struct VolkDeviceTable *vk = &context->vk.device;
    *pipeline = (struct dj_pipeline){.handle = VK_NULL_HANDLE};
    dj_result result = dj_context_check(context);
    if (result != DJ_SUCCESS)
        return result;

    const bool addressed = context->device_addresses && shader->addressed_words;
    VkShaderModule module = VK_NULL_HANDLE;
    result = create_module(context, shader, addressed, &module);
    if (result != DJ_SUCCESS)
        return result;

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
    const uint32_t subgroup = constants ? constants->subgroup : 0;
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo required = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = subgroup,
    };
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .pNext = subgroup ? &required : NULL,
                  .flags =
                      subgroup ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main",
                  .pSpecializationInfo = count ? &specialization : NULL},
        .layout = context->pipeline_layout,
        .basePipelineIndex = -1,
    };
    VkPipeline made = VK_NULL_HANDLE;
    const VkResult code = vk->vkCreateComputePipelines(context->device, context->pipeline_cache, 1,
                                                       &info, context->allocator, &made);
    result = dj_context_result(context, code, "vkCreateComputePipelines");
    vk->vkDestroyShaderModule(context->device, module, context->allocator);
    if (result != DJ_SUCCESS)
        return result;
    dj_context_name(context, VK_OBJECT_TYPE_PIPELINE, (uint64_t)made, shader->name);
    *pipeline = (struct dj_pipeline){.handle = made, .addressed = addressed};
    return DJ_SUCCESS;
}

dj_result dj_pipeline_share(struct dj_context *context, enum dj_shared kernel,
                            struct dj_pipeline *pipeline)
{
    static const struct dj_shader *const shaders[] = {
        [DJ_SHARED_ROWS_LOAD] = &dj_shader_rows_load,
        [DJ_SHARED_ROWS_STORE] = &dj_shader_rows_store,
        [DJ_SHARED_ROWS_DENSE] = &dj_shader_rows_dense,
        [DJ_SHARED_SPANS] = &dj_shader_spans,
    };
    const struct dj_shader *const shader = shaders[kernel];
    const bool addressed = context->device_addresses && shader->addressed_words;
    VkPipeline handle = atomic_load(&context->shared[kernel]);
    *pipeline = (struct dj_pipeline){.handle = VK_NULL_HANDLE};
    dj_result result = dj_context_check(context);
    if (result != DJ_SUCCESS)
        return result;
    if (!handle) {
        struct dj_pipeline made;
        result = dj_pipeline_create(context, shader, NULL, &made);
        if (result != DJ_SUCCESS)
            return result;
        if (atomic_compare_exchange_strong(&context->shared[kernel], &handle, made.handle))
            handle = made.handle;
        else /* another thread was faster */
            dj_pipeline_destroy(context, &made);
    }
    *pipeline = (struct dj_pipeline){.handle = handle, .addressed = addressed, .shared = true};
    return DJ_SUCCESS;
}

void dj_pipeline_destroy(struct dj_context *context, struct dj_pipeline *pipeline)
{
    if (pipeline->handle && !pipeline->shared)
        context->vk.device.vkDestroyPipeline(context->device, pipeline->handle, context->allocator);
    pipeline->handle = VK_NULL_HANDLE;
}
