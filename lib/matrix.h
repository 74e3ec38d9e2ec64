/* SPDX-License-Identifier: MIT */
/* Cooperative matrices (VK_KHR_cooperative_matrix) of a device. Vulkan headers older than the
 * extension may build the library: what is needed of it stands here under names of ours. */
#ifndef DJ_LIB_MATRIX_H
#define DJ_LIB_MATRIX_H

#include "device.h"

/* VkPhysicalDeviceCooperativeMatrixFeaturesKHR, and its VkStructureType. */
struct dj_matrix_features {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperativeMatrix, cooperativeMatrixRobustBufferAccess;
};
enum {
    DJ_MATRIX_FEATURES = 1000506000
};

/* Fills in info.matrix_*, matrix_lanes and chunked, if the device multiplies matrices as kernels
 * want them and this build has such kernels. The device has the extension, that of the memory model
 * and that of float16, and all else is filled in but info.quirks. */
void dj_matrix_describe(const struct dj_context *context, struct dj_device *device);

#endif
