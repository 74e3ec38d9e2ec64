/* SPDX-License-Identifier: MIT */
/* Copies between the host and memory that it cannot map, piece by piece through staging memory. */
#ifndef DJ_LIB_COPIER_H
#define DJ_LIB_COPIER_H

#include "buffer.h"

enum {
    DJ_COPIER_PIECE = 16 << 20
}; /* bytes, at most */

struct dj_copier {
    struct dj_context *context;
    struct dj_buffer *staging; /* mapped */
    VkCommandPool pool;
    VkCommandBuffer command;
    VkFence fence;
};

/* size: of the whole copy; memory: enum dj_memory of the staging buffer. */
dj_result dj_copier_init(struct dj_copier *copier, struct dj_context *context, uint64_t size,
                         uint32_t memory);
void dj_copier_finish(struct dj_copier *copier);

/* Copies one piece on the queue and waits for it. */
dj_result dj_copier_run(const struct dj_copier *copier, VkBuffer from, VkBuffer to,
                        const VkBufferCopy *region);

#endif
