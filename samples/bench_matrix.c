/* SPDX-License-Identifier: MIT */
#include "bench_matrix.h"

#include <stdlib.h>
#include <string.h>

#if DJ_BENCH_MATRIX
#include "bench_matrix.spv.h"

enum {
    MAX_SIZES = 64
};

static bool has_extensions(VkPhysicalDevice physical, const char *const *wanted, uint32_t count)
{
    uint32_t offered = 0, found = 0;
    if (vkEnumerateDeviceExtensionProperties(physical, NULL, &offered, NULL) != VK_SUCCESS)
        return false;
    VkExtensionProperties *const list = calloc(offered + 1, sizeof(*list));
    if (list && vkEnumerateDeviceExtensionProperties(physical, NULL, &offered, list) == VK_SUCCESS)
        for (uint32_t i = 0; i < offered; i++)
            for (uint32_t w = 0; w < count; w++)
                found += strcmp(list[i].extensionName, wanted[w]) == 0;
    free(list);
    return found == count;
}

const void *bench_matrix_enable(VkPhysicalDevice physical, const char **names, uint32_t *count,
                                void *next)
{
    static const char *const wanted[] = {VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME,
                                         VK_KHR_VULKAN_MEMORY_MODEL_EXTENSION_NAME,
                                         VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME};
    const uint32_t wants = sizeof(wanted) / sizeof(wanted[0]);
    static VkPhysicalDeviceShaderFloat16Int8Features half;
    static VkPhysicalDeviceVulkanMemoryModelFeatures model;
    static VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix;
    if (!has_extensions(physical, wanted, wants))
        return next;
    half.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES;
    model.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES;
    matrix.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR;
    half.pNext = NULL;
    model.pNext = &half;
    matrix.pNext = &model;
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &matrix};
    vkGetPhysicalDeviceFeatures2(physical, &features);
    if (!half.shaderFloat16 || !model.vulkanMemoryModel || !matrix.cooperativeMatrix)
        return next;
    half.shaderInt8 = model.vulkanMemoryModelDeviceScope = VK_FALSE;
    model.vulkanMemoryModelAvailabilityVisibilityChains = VK_FALSE;
    matrix.cooperativeMatrixRobustBufferAccess = VK_FALSE;
    half.pNext = next;
    for (uint32_t w = 0; w < wants; w++)
        names[(*count)++] = wanted[w];
    return &matrix;
}

bool bench_matrix_find(const struct bench_gpu *gpu, struct bench_matrix *matrix)
{
    /* newer than some releases of volk */
    const PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)vkGetInstanceProcAddr(
            gpu->instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    VkCooperativeMatrixPropertiesKHR sizes[MAX_SIZES] = {0};
    uint32_t count = MAX_SIZES;
    for (uint32_t i = 0; i < MAX_SIZES; i++)
        sizes[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    *matrix = (struct bench_matrix){.code = bench_matrix_spirv, .size = sizeof(bench_matrix_spirv)};
    if (!gpu->matrices || !get || get(gpu->physical, &count, sizes) < 0)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        const VkCooperativeMatrixPropertiesKHR *const s = &sizes[i];
        if (s->AType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
            s->BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
            s->CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
            s->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR && s->scope == VK_SCOPE_SUBGROUP_KHR &&
            s->MSize * s->NSize * s->KSize > matrix->m * matrix->n * matrix->k) {
            matrix->m = s->MSize;
            matrix->n = s->NSize;
            matrix->k = s->KSize;
        }
    }
    return matrix->m > 0;
}

const char *bench_matrix_reason(const struct bench_gpu *gpu)
{
    return gpu->matrices ? "none of float16 with float32 sums"
                         : "the device has no cooperative matrices";
}

#else

const void *bench_matrix_enable(VkPhysicalDevice physical, const char **names, uint32_t *count,
                                void *next)
{
    (void)physical;
    (void)names;
    (void)count;
    return next;
}

bool bench_matrix_find(const struct bench_gpu *gpu, struct bench_matrix *matrix)
{
    (void)gpu;
    (void)matrix;
    return false;
}

const char *bench_matrix_reason(const struct bench_gpu *gpu)
{
    return gpu->info.cooperative_matrix
               ? "this build's glslang or Vulkan headers know no cooperative matrices"
               : "the device has no cooperative matrices";
}

#endif
