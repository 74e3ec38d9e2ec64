/* SPDX-License-Identifier: MIT */
#include "pipeline.h"

#include "quirks.h"
#include "spirv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct dj_kept_pipeline {
    struct dj_kept_pipeline *next;
    const uint32_t *words; /* of its shader */
    struct dj_constants constants;
    VkPipeline handle; /* VK_NULL_HANDLE: the driver refused it where others stand in for it */
};

/* That a driver cannot compile a kernel, as drivers say it, is no failure where others stand in for
 * it. */
static dj_result result_of(struct dj_context *context, const struct dj_shader *shader,
                           VkResult code, const char *call, bool optional)
{
    const bool refused = code == VK_ERROR_INITIALIZATION_FAILED || code == VK_ERROR_UNKNOWN ||
                         code == VK_ERROR_FEATURE_NOT_PRESENT || code == VK_ERROR_INVALID_SHADER_NV;
    if (!optional || !refused)
        return dj_context_result(context, code, call);
    dj_log_line(
        &context->log, DJ_LOG_WARNING,
        "the driver cannot make the kernel %s (%s: VkResult %d), which is done without where "
        "that can be",
        shader->name, call, (int)code);
    return DJ_ERROR_UNSUPPORTED;
}

/* The shader as a module, changed for the device. written: its constants stand in it. */
static dj_result create_module(struct dj_context *context, const struct dj_shader *shader,
                               bool addressed, const struct dj_constants *constants, bool written,
                               bool optional, VkShaderModule *module)
{
    const struct VolkDeviceTable *vk = &context->vk.device;
    const uint32_t *const words = addressed ? shader->addressed_words : shader->words;
    const size_t size = addressed ? shader->addressed_size : shader->size;
    const size_t count = size / sizeof *words;
    uint32_t *own = NULL;
    size_t own_count = 0;
    const uint32_t changes = (context->float_controls ? DJ_SPIRV_PRESERVE_NAN : 0) |
                             (constants->read_invocation ? DJ_SPIRV_READ_INVOCATION : 0);
    if (changes != 0 || written) {
        own = calloc(count + DJ_SPIRV_MOST_ADDED, sizeof *own);
        if (own == NULL)
            return dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY,
                           "no memory for the kernel %s", shader->name);
        if (changes != 0)
            own_count = dj_spirv_change(words, count, changes, own);
        if (changes != 0 && own_count == 0)
            dj_log_line(&context->log, DJ_LOG_DEBUG, "%s: used as it is, without changes 0x%x",
                        shader->name, changes);
        if (written && own_count == 0) {
            memcpy(own, words, size);
            own_count = count;
        }
        if (written)
            dj_spirv_specialize(own, own_count, constants->values, constants->count);
    }
    const VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = own_count > 0 ? own_count * sizeof *own : size,
        .pCode = own_count > 0 ? own : words,
    };
    const VkResult code =
        vk->vkCreateShaderModule(context->device, &info, context->allocator, module);
    free(own);
    const dj_result result = result_of(context, shader, code, "vkCreateShaderModule", optional);
    if (result == DJ_SUCCESS)
        dj_context_name(context, VK_OBJECT_TYPE_SHADER_MODULE, (uint64_t)*module, shader->name);
    return result;
}

static dj_result create(struct dj_context *context, const struct dj_shader *shader, bool addressed,
                        const struct dj_constants *constants, bool optional, VkPipeline *pipeline)
{
    const struct VolkDeviceTable *vk = &context->vk.device;
    const uint32_t count = constants->count;
    const bool written = count > 0 && dj_quirks_avoid(context, DJ_AVOID_SPECIALIZATION);
    VkShaderModule module = VK_NULL_HANDLE;
    dj_result result =
        create_module(context, shader, addressed, constants, written, optional, &module);
    if (result != DJ_SUCCESS)
        return result;

    VkSpecializationMapEntry entries[DJ_MOST_CONSTANTS];
    assert(count <= DJ_MOST_CONSTANTS);
    for (uint32_t i = 0; i < count; i++)
        entries[i] = (VkSpecializationMapEntry){
            .constantID = i, .offset = 4 * i, .size = sizeof(constants->values[0])};
    const VkSpecializationInfo specialization = {
        .mapEntryCount = count,
        .pMapEntries = entries,
        .dataSize = count * sizeof(constants->values[0]),
        .pData = constants->values,
    };
    const uint32_t subgroup = constants->subgroup;
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo required = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = subgroup,
    };
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .pNext = subgroup && context->info.subgroup_size_control ? &required : NULL,
                  .flags =
                      subgroup ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main",
                  .pSpecializationInfo = count && !written ? &specialization : NULL},
        .layout = context->pipeline_layout,
        .basePipelineIndex = -1,
    };
    *pipeline = VK_NULL_HANDLE;
    const VkResult code = vk->vkCreateComputePipelines(context->device, context->pipeline_cache, 1,
                                                       &info, context->allocator, pipeline);
    result = result_of(context, shader, code, "vkCreateComputePipelines", optional);
    vk->vkDestroyShaderModule(context->device, module, context->allocator);
    if (result == DJ_SUCCESS)
        dj_context_name(context, VK_OBJECT_TYPE_PIPELINE, (uint64_t)*pipeline, shader->name);
    return result;
}

/* Whether a pipeline is of those words with those constants; one that was refused, where it is
 * optional. */
static bool is_of(const struct dj_kept_pipeline *kept, const uint32_t *words,
                  const struct dj_constants *constants, bool optional)
{
    return (optional || kept->handle) && kept->words == words &&
           kept->constants.count == constants->count &&
           kept->constants.subgroup == constants->subgroup &&
           kept->constants.read_invocation == constants->read_invocation &&
           memcmp(kept->constants.values, constants->values,
                  constants->count * sizeof constants->values[0]) == 0;
}

/* Looks from one entry of the list to another, which is left out; NULL: it is not there. */
static struct dj_kept_pipeline *find(struct dj_kept_pipeline *from,
                                     const struct dj_kept_pipeline *to, const uint32_t *words,
                                     const struct dj_constants *constants, bool optional)
{
    while (from != to && !is_of(from, words, constants, optional))
        from = from->next;
    return from != to ? from : NULL;
}

static void destroy(struct dj_context *context, struct dj_kept_pipeline *kept)
{
    if (kept->handle)
        context->vk.device.vkDestroyPipeline(context->device, kept->handle, context->allocator);
    free(kept);
}

static dj_result make(struct dj_context *context, const struct dj_shader *shader, bool addressed,
                      const struct dj_constants *constants, bool optional,
                      struct dj_kept_pipeline **made)
{
    *made = malloc(sizeof **made);
    if (*made == NULL)
        return dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY, "no memory for the kernel %s",
                       shader->name);
    **made = (struct dj_kept_pipeline){.words = addressed ? shader->addressed_words : shader->words,
                                       .constants = *constants};
    const dj_result result =
        create(context, shader, addressed, constants, optional, &(*made)->handle);
    if (result == DJ_SUCCESS || result == DJ_ERROR_UNSUPPORTED) /* which is kept, too */
        return DJ_SUCCESS;
    free(*made);
    return result;
}

static dj_result get(struct dj_context *context, const struct dj_shader *shader,
                     const struct dj_constants *constants, bool optional,
                     struct dj_pipeline *pipeline)
{
    static const struct dj_constants none = {0};
    const bool addressed = context->device_addresses && shader->addressed_words;
    const uint32_t *const words = addressed ? shader->addressed_words : shader->words;
    *pipeline = (struct dj_pipeline){.handle = VK_NULL_HANDLE};
    dj_result result = dj_context_check(context);
    if (result != DJ_SUCCESS)
        return result;
    if (constants == NULL)
        constants = &none;
    struct dj_kept_pipeline *first = atomic_load(&context->pipelines), *looked = first, *made;
    struct dj_kept_pipeline *kept = find(first, NULL, words, constants, optional);
    if (kept == NULL) {
        result = make(context, shader, addressed, constants, optional, &made);
        if (result != DJ_SUCCESS)
            return result;
        do { /* what others were faster to add is looked at, too */
            kept = find(first, looked, words, constants, optional);
            looked = made->next = first;
        } while (kept == NULL && !atomic_compare_exchange_weak(&context->pipelines, &first, made));
        if (kept != NULL) {
            destroy(context, made);
        } else {
            kept = made;
        }
    }
    *pipeline = (struct dj_pipeline){
        .handle = kept->handle, .addressed = addressed, .kernel = shader->name};
    return kept->handle ? DJ_SUCCESS : DJ_ERROR_UNSUPPORTED;
}

dj_result dj_pipeline_get(struct dj_context *context, const struct dj_shader *shader,
                          const struct dj_constants *constants, struct dj_pipeline *pipeline)
{
    return get(context, shader, constants, false, pipeline);
}

dj_result dj_pipeline_try(struct dj_context *context, const struct dj_shader *shader,
                          const struct dj_constants *constants, struct dj_pipeline *pipeline)
{
    return get(context, shader, constants, true, pipeline);
}

void dj_pipelines_finish(struct dj_context *context)
{
    struct dj_kept_pipeline *kept = atomic_exchange(&context->pipelines, NULL);
    while (kept != NULL) {
        struct dj_kept_pipeline *const next = kept->next;
        destroy(context, kept);
        kept = next;
    }
}
