/* SPDX-License-Identifier: MIT */
#ifndef DJ_LIB_BUFFER_H
#define DJ_LIB_BUFFER_H

#include "context.h"

#include <dijiang/buffer.h>

struct dj_buffer {
    struct dj_context *context;
    VkBuffer handle;       /* VK_NULL_HANDLE if size is 0 */
    VkDeviceMemory memory; /* one allocation each */
    VkBufferUsageFlags usage;
    uint64_t size;           /* bytes asked for */
    uint32_t memory_types;   /* that it may lie in, by bit; of wrapped ones all: nobody said */
    void *mapped;            /* NULL if not host-visible */
    bool wrapped;            /* handle and memory are the caller's */
    bool host_cached;        /* mapped memory that the host reads at full speed */
    VkDeviceAddress address; /* of its first byte; 0 without device addresses, or if size is 0 */
};

/* A part of a buffer as a dispatch binds it. */
struct dj_binding {
    const struct dj_buffer *buffer; /* NULL: none */
    VkDeviceSize offset, range;     /* bytes */
};

static inline struct dj_binding dj_buffer_whole(const struct dj_buffer *buffer)
{
    return (struct dj_binding){.buffer = buffer, .range = buffer->size};
}

/* As dj_buffer_create, for memory of the library's own: named for debuggers. */
dj_result dj_buffer_create_named(struct dj_context *context, uint64_t size, uint32_t memory,
                                 const char *name, struct dj_buffer **buffer);

/* A device-readable buffer with these contents, by mapped memory: submits nothing. */
dj_result dj_buffer_create_table(struct dj_context *context, const void *data, uint64_t size,
                                 const char *name, struct dj_buffer **buffer);

/* dj_buffer_write and dj_buffer_read on behalf of another public function: log lines name that. */
dj_result dj_buffer_write_for(const char *function, dj_buffer *buffer, uint64_t offset,
                              const void *data, uint64_t size);
dj_result dj_buffer_read_for(const char *function, dj_buffer *buffer, uint64_t offset, void *data,
                             uint64_t size);

#endif
