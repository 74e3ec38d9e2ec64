/* SPDX-License-Identifier: MIT */
/* Contexts on a device of the caller's. */
#include "context.h"
#include "device.h"
#include "instance.h"
#include "quirks.h"
#include "wants.h"

#include <string.h>

/* A handle or function that must be there, or a switch that must be one. */
static dj_result check_members(const struct dj_log *log, const struct dj_import_params *params)
{
    const struct {
        const char *name;
        bool there;
    } needed[] = {
        {"get_instance_proc_addr", params->get_instance_proc_addr != NULL},
        {"instance", params->instance != NULL},
        {"physical_device", params->physical_device != NULL},
        {"device", params->device != NULL},
        {"instance_extensions",
         params->instance_extensions != NULL || params->instance_extension_count == 0},
        {"device_extensions",
         params->device_extensions != NULL || params->device_extension_count == 0},
        {"queue_families", params->queue_families != NULL || params->queue_family_count == 0},
    };
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        if (!needed[i].there)
            return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "dj_import_params.%s is NULL",
                           needed[i].name);
    }
    if ((params->lock_queue == NULL) != (params->unlock_queue == NULL))
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_import_params: lock_queue and unlock_queue belong together");
    const struct dj_named_switch switches[] = {
        {"dj_import_params.push_descriptors", params->push_descriptors},
        {"dj_import_params.device_addresses", params->device_addresses},
        {"dj_import_params.storage_16bit", params->storage_16bit},
        {"dj_import_params.subgroups", params->subgroups},
        {"dj_import_params.matrices", params->matrices},
        {"dj_import_params.threads", params->threads},
    };
    return dj_switches_check(log, switches, sizeof switches / sizeof *switches);
}

/* The queue family, and those that share buffers with it. */
static dj_result take_families(struct dj_context *context, const struct dj_import_params *params)
{
    const struct dj_log *const log = &context->log;
    struct dj_queue_families families;
    dj_queue_families_get(context, params->physical_device, &families);
    const uint32_t count = families.count;
    if (params->queue_family >= count ||
        !(families.list[params->queue_family].queueFlags & VK_QUEUE_COMPUTE_BIT))
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_import_params.queue_family is %u, %s of the device's %u families",
                       params->queue_family,
                       params->queue_family >= count ? "beyond the last" : "one without compute",
                       count);
    if (params->queue_family_count > DJ_MOST_FAMILIES)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_import_params.queue_family_count is %u, at most %d",
                       params->queue_family_count, DJ_MOST_FAMILIES);
    context->queue_family = params->queue_family;
    context->families[0] = params->queue_family;
    context->family_count = 1;
    for (uint32_t i = 0; i < params->queue_family_count; i++) {
        const uint32_t family = params->queue_families[i];
        if (family >= count)
            return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                           "dj_import_params.queue_families[%u] is %u, beyond the last of the "
                           "device's %u",
                           i, family, count);
        bool known = false;
        for (uint32_t j = 0; j < context->family_count; j++)
            known = known || context->families[j] == family;
        if (!known)
            context->families[context->family_count++] = family;
    }
    return DJ_SUCCESS;
}

static bool names_debug_utils(const struct dj_import_params *params)
{
    for (uint32_t i = 0; i < params->instance_extension_count; i++) {
        const char *const name = params->instance_extensions[i];
        if (name != NULL && strcmp(name, VK_EXT_DEBUG_UTILS_EXTENSION_NAME) == 0)
            return true;
    }
    return false;
}

/* What the device is, and what of it may be used. */
static dj_result take_device(struct dj_context *context, const struct dj_import_params *params)
{
    const struct dj_log *const log = &context->log;
    struct dj_device device = {.handle = params->physical_device};
    dj_result result = dj_device_place(context, &device);
    if (result == DJ_SUCCESS)
        result = dj_device_describe(context, &device);
    if (result != DJ_SUCCESS)
        return result;
    const uint32_t asked = params->api_version != 0 ? params->api_version : VK_API_VERSION_1_1;
    const uint32_t version = asked < device.info.api_version ? asked : device.info.api_version;
    if (version < VK_API_VERSION_1_1)
        return dj_fail(log, DJ_ERROR_DEVICE_UNSUITABLE,
                       "an imported device of Vulkan %u.%u (1.1 is needed)",
                       VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version));
    if (device.info.unsuitable[0])
        return dj_fail(log, DJ_ERROR_DEVICE_UNSUITABLE, "the imported device (%s): %s",
                       device.info.name, device.info.unsuitable);
    const uint32_t enabled =
        dj_wants_enabled(log, &device, version, params->device_extensions,
                         params->device_extension_count, params->features, &context->narrow_scope);
    dj_context_adopt(context, &device);
    result =
        dj_quirks_switch(log, "dj_import_params.quirks", params->quirks, &context->info.quirks);
    if (result != DJ_SUCCESS)
        return result;
    context->push_descriptors =
        (enabled & DJ_WANT_PUSH_DESCRIPTOR) && params->push_descriptors != DJ_OFF;
    context->device_addresses =
        (enabled & DJ_WANT_DEVICE_ADDRESS) && params->device_addresses != DJ_OFF;
    context->storage_16bit = (enabled & DJ_WANT_STORAGE_16BIT) && params->storage_16bit != DJ_OFF;
    context->float_controls = (enabled & DJ_WANT_FLOAT_CONTROLS) != 0;
    if ((enabled & DJ_WANT_SUBGROUPS) && device.info.whole_subgroups && params->subgroups != DJ_OFF)
        context->subgroups = device.info.subgroup_size;
    context->read_invocation = (enabled & DJ_WANT_READ_INVOCATION) && context->subgroups > 0;
    const uint32_t matrices = DJ_WANT_SUBGROUPS | DJ_WANT_MATRICES;
    if ((enabled & matrices) == matrices)
        dj_context_use_matrices(context, &device, params->matrices);
    context->threads = params->threads == DJ_ON;
    const struct VolkDeviceTable *const vk = &context->vk.device;
    if ((context->push_descriptors && !vk->vkCmdPushDescriptorSetKHR) ||
        (context->device_addresses && !vk->vkGetBufferDeviceAddressKHR &&
         !vk->vkGetBufferDeviceAddress))
        return dj_fail(log, DJ_ERROR_VULKAN,
                       "the imported device lacks functions of what is said to be enabled");
    dj_quirks_apply(context);
    return DJ_SUCCESS;
}

static dj_result take(struct dj_context *context, const struct dj_import_params *params)
{
    if (params->api_version != 0 && params->api_version < VK_API_VERSION_1_1)
        return dj_fail(&context->log, DJ_ERROR_DEVICE_UNSUITABLE,
                       "an imported instance of Vulkan %u.%u (1.1 is needed)",
                       VK_API_VERSION_MAJOR(params->api_version),
                       VK_API_VERSION_MINOR(params->api_version));
    const bool debug_utils = names_debug_utils(params);
    context->imported = true;
    context->instance = params->instance;
    context->device = params->device;
    context->queue = params->queue;
    context->lock_queue = params->lock_queue;
    context->unlock_queue = params->unlock_queue;
    context->queue_user = params->queue_user;
    if (params->allocator != NULL) {
        context->allocator_storage = *params->allocator;
        context->allocator = &context->allocator_storage;
    }
    if (!dj_vk_load_instance(&context->vk, params->get_instance_proc_addr, params->instance,
                             debug_utils))
        return dj_fail(&context->log, DJ_ERROR_VULKAN,
                       "the imported instance lacks functions of Vulkan 1.1");
    dj_vk_load_device(&context->vk, params->device);
    if (!dj_vk_device_complete(&context->vk))
        return dj_fail(&context->log, DJ_ERROR_VULKAN,
                       "the imported device lacks functions of Vulkan 1.1");
    context->debug_names = debug_utils;
    context->pipeline_cache = params->pipeline_cache;
    context->foreign_cache = params->pipeline_cache != VK_NULL_HANDLE;
    const dj_result result = take_families(context, params);
    return result != DJ_SUCCESS ? result : take_device(context, params);
}

dj_result dj_context_import(const struct dj_import_params *params, dj_context **context)
{
    if (context != NULL)
        *context = NULL;
    if (params == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    const struct dj_log log = {
        .callback = params->log,
        .user = params->log_user,
        .level = params->log_level != 0 ? params->log_level : DJ_LOG_WARNING,
    };
    if (!dj_reserved_is_zero(&log, params->reserved, 4, "dj_import_params"))
        return DJ_ERROR_VERSION;
    if (context == NULL)
        return dj_fail(&log, DJ_ERROR_INVALID_ARGUMENT, "dj_context_import: context is NULL");
    dj_result result = check_members(&log, params);
    if (result != DJ_SUCCESS)
        return result;
    struct dj_context *made = NULL;
    result = dj_context_allocate(&log, &made);
    if (result == DJ_SUCCESS)
        result = take(made, params);
    if (result == DJ_SUCCESS)
        result = dj_context_complete(made, params->cache, params->cache_size);
    if (result != DJ_SUCCESS)
        dj_context_free(made);
    else
        *context = made;
    return result;
}
