/* SPDX-License-Identifier: MIT */
#include "context.h"
#include "cache.h"
#include "choices.h"
#include "device.h"
#include "instance.h"
#include "pipeline.h"
#include "quirks.h"
#include "tuning.h"
#include "wants.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void dj_context_name(const struct dj_context *context, VkObjectType type, uint64_t handle,
                     const char *name)
{
    if (!context->debug_names)
        return;
    const VkDebugUtilsObjectNameInfoEXT info = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT,
        .objectType = type,
        .objectHandle = handle,
        .pObjectName = name,
    };
    /* a name that could not be given changes nothing */
    (void)context->vk.vkSetDebugUtilsObjectNameEXT(context->device, &info);
}

dj_result dj_context_result(struct dj_context *context, VkResult code, const char *call)
{
    if (code == VK_ERROR_DEVICE_LOST)
        atomic_store_explicit(&context->lost, true, memory_order_relaxed);
    return dj_vk_result(&context->log, code, call);
}

dj_result dj_context_check(const struct dj_context *context)
{
    if (!atomic_load_explicit(&context->lost, memory_order_relaxed))
        return DJ_SUCCESS;
    return dj_fail(&context->log, DJ_ERROR_DEVICE_LOST,
                   "%s (%s) was lost earlier: destroy its context and create a new one",
                   context->label, context->info.name);
}

dj_result dj_context_check_queue(const struct dj_context *context, const char *what)
{
    if (context->queue)
        return DJ_SUCCESS;
    return dj_fail(&context->log, DJ_ERROR_NO_QUEUE,
                   "%s: the context was imported without a queue to submit to", what);
}

static void queue_lock(struct dj_context *context)
{
    if (!context->imported)
        pthread_mutex_lock(&context->queue_lock);
    else if (context->lock_queue)
        context->lock_queue(context->queue_user);
}

static void queue_unlock(struct dj_context *context)
{
    if (!context->imported)
        pthread_mutex_unlock(&context->queue_lock);
    else if (context->unlock_queue)
        context->unlock_queue(context->queue_user);
}

dj_result dj_context_submit(struct dj_context *context, VkCommandBuffer command, VkFence fence)
{
    const VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = &command,
    };
    queue_lock(context);
    const VkResult code = context->vk.device.vkQueueSubmit(context->queue, 1, &submit, fence);
    queue_unlock(context);
    return dj_context_result(context, code, "vkQueueSubmit");
}

dj_result dj_context_waited(struct dj_context *context, VkResult code)
{
    return code == VK_SUCCESS || code == VK_TIMEOUT
               ? dj_context_check(context)
               : dj_context_result(context, code, "vkWaitForFences");
}

void dj_context_idle(struct dj_context *context)
{
    queue_lock(context);
    const VkResult code = context->vk.device.vkQueueWaitIdle(context->queue);
    queue_unlock(context);
    if (code == VK_ERROR_DEVICE_LOST) /* which is idle enough */
        atomic_store_explicit(&context->lost, true, memory_order_relaxed);
}

void dj_context_adopt(struct dj_context *context, const struct dj_device *device)
{
    context->physical = device->handle;
    context->info = device->info;
    if (device->info.index == UINT32_MAX)
        snprintf(context->label, sizeof context->label, "device");
    else
        snprintf(context->label, sizeof context->label, "device %u", device->info.index);
    context->vk.vkGetPhysicalDeviceMemoryProperties(device->handle, &context->memory);
}

void dj_context_use_matrices(struct dj_context *context, const struct dj_device *device,
                             uint32_t wanted)
{
    if (wanted != DJ_ON && (wanted == DJ_OFF || !dj_tuning_chunks(device)))
        return;
    context->matrices = device->matrix_lanes;
    context->matrices_asked = wanted == DJ_ON && device->matrix_lanes > 0;
    context->chunked = device->chunked;
    context->max_subgroups = device->max_subgroups;
}

/* What the device has and no switch turns off. */
static void choose_uses(struct dj_context *context, const struct dj_device *chosen,
                        const struct dj_context_params *params)
{
    const struct dj_log *const log = &context->log;
    context->push_descriptors =
        chosen->info.push_descriptor &&
        dj_switch_resolve(log, params ? params->push_descriptors : DJ_DEFAULT, true,
                          "DIJIANG_PUSH_DESCRIPTORS");
    context->device_addresses =
        chosen->info.buffer_device_address &&
        dj_switch_resolve(log, params ? params->device_addresses : DJ_DEFAULT, true,
                          "DIJIANG_DEVICE_ADDRESSES");
    context->storage_16bit = chosen->info.storage_16bit &&
                             dj_switch_resolve(log, params ? params->storage_16bit : DJ_DEFAULT,
                                               true, "DIJIANG_16BIT_STORAGE");
    if (chosen->info.whole_subgroups &&
        dj_switch_resolve(log, params ? params->subgroups : DJ_DEFAULT, true, "DIJIANG_SUBGROUPS"))
        context->subgroups = chosen->info.subgroup_size;
    context->read_invocation = chosen->read_invocation && context->subgroups > 0;
    dj_context_use_matrices(
        context, chosen,
        dj_switch_wanted(log, params ? params->matrices : DJ_DEFAULT, "DIJIANG_MATRICES"));
    context->threads =
        dj_switch_resolve(log, params ? params->threads : DJ_DEFAULT, true, "DIJIANG_THREADS");
    context->float_controls = chosen->info.signed_zero_inf_nan;
    dj_quirks_apply(context);
}

static dj_result device_open(struct dj_context *context, const struct dj_device *chosen,
                             const struct dj_context_params *params)
{
    dj_context_adopt(context, chosen);
    const dj_result result = dj_quirks_switch_own(&context->log, params, &context->info.quirks);
    if (result != DJ_SUCCESS)
        return result;
    context->queue_family = context->families[0] = chosen->queue_family;
    context->family_count = 1;
    choose_uses(context, chosen, params);
    struct dj_device_wants wants;
    dj_wants_fill(chosen,
                  DJ_WANT_PORTABILITY_SUBSET | DJ_WANT_FLOAT_CONTROLS |
                      (context->push_descriptors ? DJ_WANT_PUSH_DESCRIPTOR : 0) |
                      (context->device_addresses ? DJ_WANT_DEVICE_ADDRESS : 0) |
                      (context->storage_16bit ? DJ_WANT_STORAGE_16BIT : 0) |
                      (context->subgroups > 0 || context->matrices > 0 ? DJ_WANT_SUBGROUPS : 0) |
                      (context->matrices > 0 ? DJ_WANT_MATRICES : 0) |
                      (context->read_invocation ? DJ_WANT_READ_INVOCATION : 0),
                  &wants);
    const float priority = 1.0f;
    const VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = chosen->queue_family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    const VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = wants.features,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = wants.extension_count,
        .ppEnabledExtensionNames = wants.extensions,
    };
    const VkResult code = dj_vk_create_device(&context->vk, chosen->handle, &info,
                                              context->allocator, &context->device);
    if (code != VK_SUCCESS) {
        context->device = VK_NULL_HANDLE;
        return dj_context_result(context, code, "vkCreateDevice");
    }
    dj_vk_load_device(&context->vk, context->device);
    context->vk.device.vkGetDeviceQueue(context->device, context->queue_family, 0, &context->queue);
    dj_context_name(context, VK_OBJECT_TYPE_DEVICE, (uint64_t)(uintptr_t)context->device,
                    "dijiang device");
    dj_context_name(context, VK_OBJECT_TYPE_QUEUE, (uint64_t)(uintptr_t)context->queue,
                    "dijiang queue");
    return DJ_SUCCESS;
}

/* The layout that every pipeline has, and the cache that all are made through. */
static dj_result layout_create(struct dj_context *context)
{
    const struct VolkDeviceTable *vk = &context->vk.device;
    VkDescriptorSetLayoutBinding bindings[DJ_BINDINGS];
    for (uint32_t i = 0; i < DJ_BINDINGS; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
    const VkDescriptorSetLayoutCreateInfo set_info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .flags =
            context->push_descriptors ? VK_DESCRIPTOR_SET_LAYOUT_CREATE_PUSH_DESCRIPTOR_BIT_KHR : 0,
        .bindingCount = DJ_BINDINGS,
        .pBindings = bindings,
    };
    VkResult code = vk->vkCreateDescriptorSetLayout(context->device, &set_info, context->allocator,
                                                    &context->set_layout);
    if (code != VK_SUCCESS) {
        context->set_layout = VK_NULL_HANDLE; /* a call that fails leaves its output undefined */
        return dj_context_result(context, code, "vkCreateDescriptorSetLayout");
    }
    dj_context_name(context, VK_OBJECT_TYPE_DESCRIPTOR_SET_LAYOUT, (uint64_t)context->set_layout,
                    "dijiang bindings");

    const VkPushConstantRange push = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
                                      .size = DJ_PUSH_BYTES};
    const VkPipelineLayoutCreateInfo layout_info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &context->set_layout,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &push,
    };
    code = vk->vkCreatePipelineLayout(context->device, &layout_info, context->allocator,
                                      &context->pipeline_layout);
    if (code != VK_SUCCESS) {
        context->pipeline_layout =
            VK_NULL_HANDLE; /* a call that fails leaves its output undefined */
        return dj_context_result(context, code, "vkCreatePipelineLayout");
    }
    dj_context_name(context, VK_OBJECT_TYPE_PIPELINE_LAYOUT, (uint64_t)context->pipeline_layout,
                    "dijiang layout");

    if (context->foreign_cache || dj_quirks_avoid(context, DJ_AVOID_PIPELINE_CACHE))
        return DJ_SUCCESS;
    const VkPipelineCacheCreateInfo cache_info = {.sType =
                                                      VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    code = vk->vkCreatePipelineCache(context->device, &cache_info, context->allocator,
                                     &context->pipeline_cache);
    if (code != VK_SUCCESS)
        context->pipeline_cache = VK_NULL_HANDLE;
    return dj_context_result(context, code, "vkCreatePipelineCache");
}

/* What layout_create made, and the pipelines that plans asked for; destroying NULL needs no
 * function, which an imported device may lack. */
static void layout_destroy(struct dj_context *context)
{
    const struct VolkDeviceTable *vk = &context->vk.device;
    dj_pipelines_finish(context);
    dj_choices_finish(context);
    if (context->pipeline_cache && !context->foreign_cache)
        vk->vkDestroyPipelineCache(context->device, context->pipeline_cache, context->allocator);
    if (context->pipeline_layout)
        vk->vkDestroyPipelineLayout(context->device, context->pipeline_layout, context->allocator);
    if (context->set_layout)
        vk->vkDestroyDescriptorSetLayout(context->device, context->set_layout, context->allocator);
}

void dj_context_free(struct dj_context *context)
{
    if (!context)
        return;
    const struct VolkDeviceTable *vk = &context->vk.device;
    if (context->device && !context->imported)
        (void)vk->vkDeviceWaitIdle(context->device); /* a lost device is idle enough */
    if (context->device)
        layout_destroy(context);
    if (context->device && !context->imported)
        dj_vk_destroy_device(&context->vk, context->device, context->allocator);
    if (!context->imported)
        dj_instance_finish(context);
    dj_recipes_finish(&context->recipes);
    pthread_mutex_destroy(&context->queue_lock);
    free(context);
}

dj_result dj_context_allocate(const struct dj_log *log, struct dj_context **context)
{
    struct dj_context *made = calloc(1, sizeof(*made));
    *context = NULL;
    if (!made)
        return dj_fail(log, DJ_ERROR_OUT_OF_HOST_MEMORY, "no memory for a context");
    made->log = *log;
    if (pthread_mutex_init(&made->queue_lock, NULL) != 0) {
        free(made);
        return dj_fail(log, DJ_ERROR_OUT_OF_HOST_MEMORY, "no memory for a mutex");
    }
    if (!dj_recipes_init(&made->recipes)) {
        pthread_mutex_destroy(&made->queue_lock);
        free(made);
        return dj_fail(log, DJ_ERROR_OUT_OF_HOST_MEMORY, "no memory for a mutex");
    }
    *context = made;
    return DJ_SUCCESS;
}

/* Enumerates, chooses, opens. */
static dj_result device_init(struct dj_context *context, const struct dj_context_params *params)
{
    const char *text = params ? params->device : NULL;
    const char *source = "device";
    if (!text) {
        text = getenv("DIJIANG_DEVICE");
        text = text && *text ? text : NULL;
        source = "DIJIANG_DEVICE";
    }
    struct dj_devices devices;
    const struct dj_device *chosen;
    dj_result result = dj_devices_init(context, &devices);
    if (result == DJ_SUCCESS)
        result = dj_devices_choose(&context->log, &devices, text, source, &chosen);
    if (result == DJ_SUCCESS)
        result = device_open(context, chosen, params);
    dj_devices_finish(&devices);
    return result;
}

static void announce(const struct dj_context *context)
{
    const struct dj_device_info *info = &context->info;
    dj_log_line(&context->log, DJ_LOG_INFO, "%s: %s, %s, Vulkan %u.%u.%u%s%s%s%s%s%s%s%s%s",
                context->label, info->name, info->driver, VK_API_VERSION_MAJOR(info->api_version),
                VK_API_VERSION_MINOR(info->api_version), VK_API_VERSION_PATCH(info->api_version),
                context->device_addresses ? ", device addresses" : "",
                context->push_descriptors ? ", push descriptors" : ", descriptor sets",
                context->storage_16bit ? ", 16-bit storage" : "",
                context->float_controls ? ", float controls" : "",
                context->subgroups > 0 ? ", whole subgroups" : "",
                context->read_invocation ? ", reads of invocations" : "",
                context->matrices > 0 ? ", cooperative matrices" : "",
                context->imported ? ", imported" : "", context->messenger ? ", validation" : "");
    dj_quirks_log(context);
}

dj_result dj_context_complete(struct dj_context *context, const void *cache, uint64_t cache_size)
{
    const dj_result result = layout_create(context);
    if (result != DJ_SUCCESS)
        return result;
    announce(context);
    (void)dj_context_load_cache(context, cache, cache_size); /* without it all works as well */
    return DJ_SUCCESS;
}

dj_result dj_context_create(const struct dj_context_params *params, dj_context **context)
{
    if (context)
        *context = NULL;
    struct dj_context early = {0}; /* only its log, until there is a context */
    dj_result result = dj_params_init(&early, params);
    if (result != DJ_SUCCESS)
        return result;
    if (!context)
        return dj_fail(&early.log, DJ_ERROR_INVALID_ARGUMENT, "dj_context_create: context is NULL");
    struct dj_context *made = NULL;
    result = dj_context_allocate(&early.log, &made);
    if (result != DJ_SUCCESS)
        return result;
    made->trials = true;
    result = dj_instance_init(made, params);
    if (result == DJ_ERROR_NO_DEVICE)
        dj_log_line(&made->log, DJ_LOG_ERROR, "this system has no Vulkan driver");
    if (result == DJ_SUCCESS)
        result = device_init(made, params);
    if (result == DJ_SUCCESS)
        result = dj_context_complete(made, params ? params->cache : NULL,
                                     params ? params->cache_size : 0);
    if (result != DJ_SUCCESS)
        dj_context_free(made);
    else
        *context = made;
    return result;
}

void dj_context_destroy(dj_context **context)
{
    if (!context || !*context)
        return;
    const uint64_t buffers = atomic_load(&(*context)->buffers);
    if (buffers > 0)
        dj_log_line(&(*context)->log, DJ_LOG_ERROR,
                    "dj_context_destroy: %" PRIu64 " buffers, the caller's or of plans, features, "
                    "transforms and recorders, were not destroyed before it, and may not be now",
                    buffers);
    dj_context_free(*context);
    *context = NULL;
}

dj_result dj_context_device(const dj_context *context, struct dj_device_info *info)
{
    if (!context)
        return DJ_ERROR_INVALID_ARGUMENT; /* and nowhere to say so */
    if (!info)
        return dj_fail(&context->log, DJ_ERROR_INVALID_ARGUMENT, "dj_context_device: info is NULL");
    *info = context->info;
    return DJ_SUCCESS;
}

uint32_t dj_context_uses(const dj_context *context)
{
    if (!context)
        return 0;
    return (context->push_descriptors ? DJ_USE_PUSH_DESCRIPTORS : 0) |
           (context->device_addresses ? DJ_USE_DEVICE_ADDRESSES : 0) |
           (context->storage_16bit ? DJ_USE_STORAGE_16BIT : 0) |
           (context->float_controls ? DJ_USE_FLOAT_CONTROLS : 0) |
           (context->subgroups > 0 ? DJ_USE_SUBGROUPS : 0) |
           (context->matrices > 0 ? DJ_USE_MATRICES : 0) |
           (context->read_invocation ? DJ_USE_READ_INVOCATION : 0);
}

uint64_t dj_context_validation_count(const dj_context *context)
{
    return context ? atomic_load_explicit(&context->validation_count, memory_order_relaxed) : 0;
}
