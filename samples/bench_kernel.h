/* SPDX-License-Identifier: MIT */
/* A compute kernel of dijiang-bench's own: two storage buffers and four words. */
#ifndef DJ_SAMPLES_BENCH_KERNEL_H
#define DJ_SAMPLES_BENCH_KERNEL_H

#include "bench_gpu.h"

#include <stddef.h>

struct bench_kernel {
    VkDescriptorSetLayout set_layout;
    VkDescriptorPool pool;
    VkDescriptorSet set;
    VkPipelineLayout layout;
    VkPipeline pipeline;
};

/* constants: specialization constants 0 .. count - 1. first, second: bound whole as 0 and 1.
 * Whatever it returns, bench_kernel_destroy is due. */
VkResult bench_kernel_create(struct bench_gpu *gpu, const uint32_t *code, size_t size,
                             const uint32_t *constants, uint32_t count, const dj_buffer *first,
                             const dj_buffer *second, struct bench_kernel *kernel);
void bench_kernel_destroy(struct bench_gpu *gpu, struct bench_kernel *kernel);

/* Runs it once, alone, and makes what it wrote visible to the host. */
dj_result bench_kernel_run(struct bench_gpu *gpu, const struct bench_kernel *kernel,
                           const uint32_t words[4], const uint32_t groups[2],
                           struct bench_time *time);

#endif
