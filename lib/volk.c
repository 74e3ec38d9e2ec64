/* SPDX-License-Identifier: MIT */
/* The one translation unit with volk in it, and the only one that touches its process-wide
 * pointers: always under the lock, so that contexts can be made on several threads at once. */
#include "volk_names.h" /* before volk, whose names it replaces */

#define VOLK_IMPLEMENTATION
#include "vk.h"

#include <pthread.h>
#include <string.h>

static pthread_mutex_t volk_lock = PTHREAD_MUTEX_INITIALIZER;

bool dj_vk_load(struct dj_vk_loader *loader)
{
    pthread_mutex_lock(&volk_lock);
    const bool found = volkInitialize() == VK_SUCCESS;
    if (found) {
        loader->vkCreateInstance = vkCreateInstance;
        loader->vkEnumerateInstanceVersion = vkEnumerateInstanceVersion;
        loader->vkEnumerateInstanceExtensionProperties = vkEnumerateInstanceExtensionProperties;
        loader->vkEnumerateInstanceLayerProperties = vkEnumerateInstanceLayerProperties;
    }
    pthread_mutex_unlock(&volk_lock);
    return found && loader->vkCreateInstance && loader->vkEnumerateInstanceExtensionProperties &&
           loader->vkEnumerateInstanceLayerProperties;
}

bool dj_vk_load_instance(struct dj_vk *vk, VkInstance instance, bool debug_utils)
{
    pthread_mutex_lock(&volk_lock);
    volkLoadInstanceOnly(instance);
#define COPY(name) vk->name = name;
    DJ_VK_INSTANCE_FUNCTIONS(COPY)
    DJ_VK_OPTIONAL_INSTANCE_FUNCTIONS(COPY)
#undef COPY
    pthread_mutex_unlock(&volk_lock);

    bool complete = true;
#define CHECK(name) complete = complete && vk->name;
    DJ_VK_INSTANCE_FUNCTIONS(CHECK)
    if (debug_utils) {
        DJ_VK_OPTIONAL_INSTANCE_FUNCTIONS(CHECK)
    }
#undef CHECK
    /* some loaders hand out functions of extensions that are not enabled */
#define CLEAR(name) vk->name = NULL;
    if (!debug_utils) {
        DJ_VK_OPTIONAL_INSTANCE_FUNCTIONS(CLEAR)
    }
#undef CLEAR
    return complete;
}

void dj_vk_load_device(struct dj_vk *vk, VkDevice device)
{
    pthread_mutex_lock(&volk_lock);
    vkGetDeviceProcAddr = vk->vkGetDeviceProcAddr;
    volkLoadDeviceTable(&vk->device, device);
    pthread_mutex_unlock(&volk_lock);
}
