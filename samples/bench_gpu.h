/* SPDX-License-Identifier: MIT */
/* The device that is measured: made by plain Vulkan, with a context imported on it, so that
 * timestamps stand around what the library records. */
#ifndef DJ_SAMPLES_BENCH_GPU_H
#define DJ_SAMPLES_BENCH_GPU_H

#include <dijiang/dijiang.h>
#include <dijiang/vulkan.h>
#include <volk.h>

#include <stdint.h>

struct bench_gpu {
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger; /* with DIJIANG_VALIDATION=1 */
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;
    uint32_t family;
    VkCommandPool pool;
    VkCommandBuffer command; /* the only one: one submission at a time */
    VkFence fence;
    VkQueryPool queries;
    double tick;     /* seconds; 0: the queue has no timestamps */
    uint64_t mask;   /* of a timestamp's valid bits */
    uint64_t spoken; /* messages of the validation layer */
    struct dj_device_info info;
    dj_context *context;
};

/* One submission, in seconds. */
struct bench_time {
    double device; /* between the timestamps at its begin and end; 0: none */
    double wall;   /* from submission to completion, by the host's clock */
};

/* Takes the device that dj_context_create would. Returns an enum program_exit, having said why;
 * bench_gpu_destroy is due in any case. */
int bench_gpu_create(const char *device, struct bench_gpu *gpu);
void bench_gpu_destroy(struct bench_gpu *gpu);

/* For how long something is to be repeated at least. On a CPU device that is a second: on a busy
 * machine some of the repetitions should have all processors. */
double bench_gpu_seconds(const struct bench_gpu *gpu);

/* For how long it is to run before. A GPU that had nothing to do is slow at first: an H200 took a
 * call of 0.75 ms in 2.65 for the first quarter of a second. */
double bench_gpu_warm_up(const struct bench_gpu *gpu);

/* Begins the command buffer with a timestamp; the recorder (NULL: none) then records into it. */
dj_result bench_gpu_begin(struct bench_gpu *gpu, dj_recorder *recorder);

/* Ends it with another, submits it and waits. */
dj_result bench_gpu_submit(struct bench_gpu *gpu, struct bench_time *time);

/* Returns code, or PROGRAM_FAILURE if the validation layer had something to say. */
int bench_gpu_validated(const struct bench_gpu *gpu, int code);

#endif
