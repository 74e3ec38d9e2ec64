/* SPDX-License-Identifier: MIT */
/* The one translation unit with volk in it, and the only one that touches its process-wide
 * pointers: always under the lock, so that contexts can be made on several threads at once.
 * Instances and devices come and go under it, too. */
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
        loader->vkGetInstanceProcAddr = vkGetInstanceProcAddr;
        loader->vkCreateInstance = vkCreateInstance;
        loader->vkEnumerateInstanceVersion = vkEnumerateInstanceVersion;
        loader->vkEnumerateInstanceExtensionProperties = vkEnumerateInstanceExtensionProperties;
        loader->vkEnumerateInstanceLayerProperties = vkEnumerateInstanceLayerProperties;
    }
    pthread_mutex_unlock(&volk_lock);
    return found && loader->vkCreateInstance && loader->vkEnumerateInstanceExtensionProperties &&
           loader->vkEnumerateInstanceLayerProperties;
}

bool dj_vk_load_instance(struct dj_vk *vk, PFN_vkGetInstanceProcAddr get_instance_proc_addr,
                         VkInstance instance, bool debug_utils)
{
    pthread_mutex_lock(&volk_lock);
    /* another thread may have pointed volk at another loader meanwhile */
    volkInitializeCustom(get_instance_proc_addr);
    volkLoadInstanceOnly(instance);
    vk->vkGetInstanceProcAddr = get_instance_proc_addr;
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

VkResult dj_vk_create_instance(const struct dj_vk_loader *loader, const VkInstanceCreateInfo *info,
                               const VkAllocationCallbacks *allocator, VkInstance *instance)
{
    pthread_mutex_lock(&volk_lock);
    const VkResult code = loader->vkCreateInstance(info, allocator, instance);
    pthread_mutex_unlock(&volk_lock);
    return code;
}

VkResult dj_vk_enumerate_devices(const struct dj_vk *vk, VkInstance instance, uint32_t *count,
                                 VkPhysicalDevice *devices)
{
    pthread_mutex_lock(&volk_lock);
    const VkResult code = vk->vkEnumeratePhysicalDevices(instance, count, devices);
    pthread_mutex_unlock(&volk_lock);
    return code;
}

void dj_vk_destroy_instance(const struct dj_vk *vk, VkInstance instance,
                            const VkAllocationCallbacks *allocator)
{
    pthread_mutex_lock(&volk_lock);
    vk->vkDestroyInstance(instance, allocator);
    pthread_mutex_unlock(&volk_lock);
}

VkResult dj_vk_create_device(const struct dj_vk *vk, VkPhysicalDevice physical,
                             const VkDeviceCreateInfo *info, const VkAllocationCallbacks *allocator,
                             VkDevice *device)
{
    pthread_mutex_lock(&volk_lock);
    const VkResult code = vk->vkCreateDevice(physical, info, allocator, device);
    pthread_mutex_unlock(&volk_lock);
    return code;
}

void dj_vk_destroy_device(const struct dj_vk *vk, VkDevice device,
                          const VkAllocationCallbacks *allocator)
{
    pthread_mutex_lock(&volk_lock);
    vk->device.vkDestroyDevice(device, allocator);
    pthread_mutex_unlock(&volk_lock);
}

#define DEVICE_FUNCTIONS(X) \
    X(vkAllocateCommandBuffers) \
    X(vkAllocateDescriptorSets) \
    X(vkAllocateMemory) \
    X(vkBeginCommandBuffer) \
    X(vkBindBufferMemory) \
    X(vkCmdBindDescriptorSets) \
    X(vkCmdBindPipeline) \
    X(vkCmdCopyBuffer) \
    X(vkCmdDispatch) \
    X(vkCmdPipelineBarrier) \
    X(vkCmdPushConstants) \
    X(vkCmdResetQueryPool) \
    X(vkCmdWriteTimestamp) \
    X(vkCreateBuffer) \
    X(vkCreateCommandPool) \
    X(vkCreateComputePipelines) \
    X(vkCreateDescriptorPool) \
    X(vkCreateDescriptorSetLayout) \
    X(vkCreateFence) \
    X(vkCreatePipelineCache) \
    X(vkCreatePipelineLayout) \
    X(vkCreateQueryPool) \
    X(vkCreateShaderModule) \
    X(vkDestroyBuffer) \
    X(vkDestroyCommandPool) \
    X(vkDestroyDescriptorPool) \
    X(vkDestroyDescriptorSetLayout) \
    X(vkDestroyDevice) \
    X(vkDestroyFence) \
    X(vkDestroyPipeline) \
    X(vkDestroyPipelineCache) \
    X(vkDestroyPipelineLayout) \
    X(vkDestroyQueryPool) \
    X(vkDestroyShaderModule) \
    X(vkDeviceWaitIdle) \
    X(vkEndCommandBuffer) \
    X(vkFreeMemory) \
    X(vkGetBufferMemoryRequirements) \
    X(vkGetDeviceQueue) \
    X(vkGetPipelineCacheData) \
    X(vkGetQueryPoolResults) \
    X(vkMapMemory) \
    X(vkMergePipelineCaches) \
    X(vkQueueSubmit) \
    X(vkQueueWaitIdle) \
    X(vkResetCommandPool) \
    X(vkResetFences) \
    X(vkUpdateDescriptorSets) \
    X(vkWaitForFences)

bool dj_vk_device_complete(const struct dj_vk *vk)
{
    bool complete = true;
#define CHECK(name) complete = complete && vk->device.name;
    DEVICE_FUNCTIONS(CHECK)
#undef CHECK
    return complete;
}
