/* SPDX-License-Identifier: MIT */
/* Device memory, and tensors as views of it. */
#ifndef DIJIANG_BUFFER_H
#define DIJIANG_BUFFER_H

#include <dijiang/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A range of memory that kernels read and write. Immutable as an object and usable from any thread;
 * access to its contents is the caller's to order. */
typedef struct dj_buffer dj_buffer;

enum dj_memory {
    DJ_MEMORY_DEVICE = 0,   /* fastest for kernels; mapped only where that costs nothing */
    DJ_MEMORY_UPLOAD = 1,   /* mapped; the host writes it in order, kernels read it */
    DJ_MEMORY_DOWNLOAD = 2, /* mapped; kernels write it, the host reads it: at full speed where the
                             * device has coherent memory that is cached, as most do */
};

struct dj_buffer_params {
    uint64_t size;        /* bytes; 0 is allowed and holds nothing */
    uint32_t memory;      /* enum dj_memory */
    uint32_t padding;     /* 0 */
    uint64_t reserved[4]; /* 0 */
};

/* Allocates a buffer. Its contents are undefined.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT; DJ_ERROR_VERSION; DJ_ERROR_LIMIT (beyond the
 * device's largest allocation); DJ_ERROR_OUT_OF_DEVICE_MEMORY; DJ_ERROR_OUT_OF_HOST_MEMORY;
 * DJ_ERROR_DEVICE_LOST; DJ_ERROR_VULKAN. Thread-safe. */
DJ_API dj_result dj_buffer_create(dj_context *context, const struct dj_buffer_params *params,
                                  dj_buffer **buffer);

/* Frees a buffer and sets *buffer to NULL. No submitted work may still use it. */
DJ_API void dj_buffer_destroy(dj_buffer **buffer);

/* Bytes, as created. Thread-safe. */
DJ_API uint64_t dj_buffer_size(const dj_buffer *buffer);

/* The host's address of the buffer, valid until it is destroyed, or NULL where its memory cannot be
 * mapped (DJ_MEMORY_DEVICE only) or its size is 0. The memory is coherent: what was written before
 * a submission is seen by it; what a kernel wrote is seen after a wait, given a barrier to the host
 * (DJ_BARRIER_AFTER_HOST). Thread-safe. */
DJ_API void *dj_buffer_map(dj_buffer *buffer);

/* Copies size bytes from data into the buffer at offset, or back. Works for every kind of memory
 * and returns when it is done. Memory that is not mapped is copied by the queue, through a staging
 * buffer; so is, by dj_buffer_read, mapped memory that is not cached, where the staging buffer's
 * is. Must not overlap in time with work that uses the range; what recorded work wrote is read
 * after a wait and with DJ_BARRIER_AFTER_HOST, as by dj_buffer_map. Of a copy by the queue that
 * fails, what it was to write, in the buffer or in data, is undefined.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT (NULL, or a range outside the buffer);
 * DJ_ERROR_NO_QUEUE (memory that is not mapped, in a context imported without a queue);
 * DJ_ERROR_OUT_OF_DEVICE_MEMORY; DJ_ERROR_OUT_OF_HOST_MEMORY; DJ_ERROR_DEVICE_LOST;
 * DJ_ERROR_VULKAN. Thread-safe. */
DJ_API dj_result dj_buffer_write(dj_buffer *buffer, uint64_t offset, const void *data,
                                 uint64_t size);
DJ_API dj_result dj_buffer_read(dj_buffer *buffer, uint64_t offset, void *data, uint64_t size);

/* Element types. What is stored as one is rounded to nearest, ties to even, beyond its range to
 * Inf; all arithmetic is float32. */
enum dj_type {
    DJ_FLOAT32 = 0,
    DJ_FLOAT16 = 1,  /* IEEE 754 binary16 */
    DJ_BFLOAT16 = 2, /* the upper half of a float32 */
};

/* Bytes of one element, 0 for an unknown type. Thread-safe. */
DJ_API uint64_t dj_type_size(uint32_t type);

/* A view of a buffer as an array of up to 4 dimensions: a plain struct, copied freely.
 * Element [i][j][k][l] lies at byte offset + size * (i * stride[0] + j * stride[1] + k * stride[2]
 * + l * stride[3]), size being dj_type_size(type).
 *
 * In a context without 16-bit storage (DJ_USE_STORAGE_16BIT of dj_context_uses) the offset of a
 * tensor of 2-byte elements must be a multiple of 4 bytes and its strides must be even, so that no
 * two rows share a 32-bit word. */
struct dj_tensor {
    dj_buffer *buffer;
    uint64_t offset;      /* bytes, a multiple of the element's size */
    uint64_t shape[4];    /* elements per dimension; any may be 0 */
    uint64_t stride[4];   /* elements; stride[3] must be 1 where shape[3] > 1. Inputs may repeat
                           * (stride 0). Outputs must not overlap themselves: sorted by stride, each
                           * dimension of more than one element steps over all that the ones before
                           * it reach */
    uint32_t type;        /* enum dj_type */
    uint32_t padding;     /* 0 */
    uint64_t reserved[2]; /* 0 */
};

/* The tensor that lies in buffer at offset without gaps, last dimension fastest:
 * stride = {shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1}. shape may be
 * tensor->shape. Nothing is checked here but by the calls that use it. Thread-safe. */
DJ_API void dj_tensor_init(struct dj_tensor *tensor, dj_buffer *buffer, uint64_t offset,
                           uint32_t type, const uint64_t shape[4]);

/* A gapless tensor in a buffer of its own (DJ_MEMORY_DEVICE), to be freed by
 * dj_buffer_destroy(&tensor->buffer). shape may be tensor->shape. data: its elements as they are
 * stored (of 2-byte types the 16 bits of each; nothing is converted), copied before the call
 * returns as by dj_buffer_write (by the queue where memory is not mapped), or NULL: undefined
 * contents. On failure tensor->buffer is NULL.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT (NULL, or an unknown type); DJ_ERROR_LIMIT (its
 * size exceeds 64 bits or the device's largest allocation); what dj_buffer_create and
 * dj_buffer_write do. Thread-safe. */
DJ_API dj_result dj_tensor_create(dj_context *context, uint32_t type, const uint64_t shape[4],
                                  const void *data, struct dj_tensor *tensor);

/* Exchanges two dimensions, 0 to 3, of the view: data stored as [B,H,T,d] becomes the [B,T,H,d]
 * that dj_attention takes by dj_tensor_swap(&t, 1, 2). Other values leave it as it is. */
DJ_API void dj_tensor_swap(struct dj_tensor *tensor, uint32_t a, uint32_t b);

#ifdef __cplusplus
}
#endif

#endif
