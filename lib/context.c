/* SPDX-License-Identifier: MIT */
#include "context.h"
#include "cache.h"
#include "device.h"
#include "instance.h"

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
                   "device %u (%s) was lost earlier: destroy its context and create a new one",
                   context->info.index, context->info.name);
}

static dj_result device_open(struct dj_context *context, const struct dj_device *chosen,
                             const struct dj_context_params *params)
{
    context->physical = chosen->handle;
    context->queue_family = chosen->queue_family;
    context->info = chosen->info;
    context->vk.vkGetPhysicalDeviceMemoryProperties(chosen->handle, &context->memory);
    context->push_descriptors = chosen->info.push_descriptor &&
                                dj_switch_resolve(params ? params->push_descriptors : DJ_DEFAULT,
                                                  true, "DIJIANG_PUSH_DESCRIPTORS", "0");
    context->storage_16bit =
        chosen->info.storage_16bit && dj_switch_resolve(params ? params->storage_16bit : DJ_DEFAULT,
                                                        true, "DIJIANG_16BIT_STORAGE", "0");

    const char *extensions[2];
    uint32_t extension_count = 0;
    if (context->push_descriptors)
        extensions[extension_count++] = VK_KHR_PUSH_DESCRIPTOR_EXTENSION_NAME;
    if (chosen->portability_subset)
        extensions[extension_count++] = "VK_KHR_portability_subset"; /* of the beta headers */
    const float priority = 1.0f;
    const VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = chosen->queue_family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    VkPhysicalDevice16BitStorageFeatures storage = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES,
        .storageBuffer16BitAccess = VK_TRUE,
    };
    const VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = context->storage_16bit ? &storage : NULL,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = extension_count,
        .ppEnabledExtensionNames = extensions,
    };
    const VkResult code =
        context->vk.vkCreateDevice(chosen->handle, &info, context->allocator, &context->device);
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

    const VkPipelineCacheCreateInfo cache_info = {.sType =
                                                      VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    code = vk->vkCreatePipelineCache(context->device, &cache_info, context->allocator,
                                     &context->pipeline_cache);
    if (code != VK_SUCCESS)
        context->pipeline_cache = VK_NULL_HANDLE;
    return dj_context_result(context, code, "vkCreatePipelineCache");
}

static void context_free(struct dj_context *context)
{
    const struct VolkDeviceTable *vk = &context->vk.device;
    if (context->device) {
        pthread_mutex_lock(&context->queue_lock);
        (void)vk->vkDeviceWaitIdle(context->device); /* a lost device is idle enough */
        pthread_mutex_unlock(&context->queue_lock);
        vk->vkDestroyPipelineCache(context->device, context->pipeline_cache, context->allocator);
        vk->vkDestroyPipelineLayout(context->device, context->pipeline_layout, context->allocator);
        vk->vkDestroyDescriptorSetLayout(context->device, context->set_layout, context->allocator);
        vk->vkDestroyDevice(context->device, context->allocator);
    }
    dj_instance_finish(context);
    dj_recipes_finish(&context->recipes);
    pthread_mutex_destroy(&context->queue_lock);
    free(context);
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
    dj_log_line(&context->log, DJ_LOG_INFO, "device %u: %s, %s, Vulkan %u.%u.%u%s%s%s", info->index,
                info->name, info->driver, VK_API_VERSION_MAJOR(info->api_version),
                VK_API_VERSION_MINOR(info->api_version), VK_API_VERSION_PATCH(info->api_version),
                context->push_descriptors ? ", push descriptors" : ", descriptor sets",
                context->storage_16bit ? ", 16-bit storage" : "",
                context->messenger ? ", validation" : "");
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
    struct dj_context *made = calloc(1, sizeof(*made));
    if (!made)
        return dj_fail(&early.log, DJ_ERROR_OUT_OF_HOST_MEMORY, "no memory for a context");
    made->log = early.log;
    if (pthread_mutex_init(&made->queue_lock, NULL) != 0) {
        free(made);
        return dj_fail(&early.log, DJ_ERROR_OUT_OF_HOST_MEMORY, "no memory for a mutex");
    }
    if (!dj_recipes_init(&made->recipes)) {
        pthread_mutex_destroy(&made->queue_lock);
        free(made);
        return dj_fail(&early.log, DJ_ERROR_OUT_OF_HOST_MEMORY, "no memory for a mutex");
    }
    made->trials = true;
    result = dj_instance_init(made, params);
    if (result == DJ_ERROR_NO_DEVICE)
        dj_log_line(&made->log, DJ_LOG_ERROR, "this system has no Vulkan driver");
    if (result == DJ_SUCCESS)
        result = device_init(made, params);
    if (result == DJ_SUCCESS)
        result = layout_create(made);
    if (result != DJ_SUCCESS)
        goto fail;
    announce(made);
    if (params) /* without its cache it works as well */
        (void)dj_context_load_cache(made, params->cache, params->cache_size);
    *context = made;
    return DJ_SUCCESS;

fail:
    context_free(made);
    return result;
}

void dj_context_destroy(dj_context **context)
{
    if (!context || !*context)
        return;
    context_free(*context);
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

uint64_t dj_context_validation_count(const dj_context *context)
{
    return context ? atomic_load_explicit(&context->validation_count, memory_order_relaxed) : 0;
}
