/* SPDX-License-Identifier: MIT */
/* Checks of tensors, and boxes: the pieces in which a tensor too large to bind is worked through.
 */
#ifndef DJ_LIB_TENSOR_H
#define DJ_LIB_TENSOR_H

#include "buffer.h"

#include <dijiang/buffer.h>
#include <dijiang/recorder.h>

#include <stdbool.h>

/* Checks one tensor of a call: buffer of this context, that type, aligned offset, unit last stride,
 * every element inside the buffer without overflow; an output may not overlap itself. name: as the
 * caller knows it. placed: the buffer must be there; else without one the rest is checked. */
dj_result dj_tensor_check(const struct dj_context *context, const char *name,
                          const struct dj_tensor *tensor, uint32_t type, bool output, bool placed);

/* Whether two checked tensors may share a byte: the ranges from first to last element intersect. */
bool dj_tensor_overlap(const struct dj_tensor *a, const struct dj_tensor *b);

/* DJ_ERROR_INVALID_ARGUMENT, logged with their names and ranges, if they may. */
dj_result dj_tensor_check_apart(const struct dj_log *log, const char *a_name,
                                const struct dj_tensor *a, const char *b_name,
                                const struct dj_tensor *b);

/* Whether two tensors are the same view. */
bool dj_tensor_same(const struct dj_tensor *a, const struct dj_tensor *b);

/* A range of a buffer as a tensor, for dj_tensor_overlap. */
struct dj_tensor dj_tensor_of_range(dj_buffer *buffer, uint64_t offset, uint64_t size);

/* A tensor of a call, or a range that it uses, as the caller knows it. */
struct dj_named_tensor {
    const char *name;
    const struct dj_tensor *tensor;
};

/* Checks a call's scratch memory: there, of this context, aligned, at least need bytes inside its
 * buffer, and clear of the call's tensors. */
dj_result dj_scratch_check(const struct dj_context *context, const struct dj_scratch *scratch,
                           uint64_t need, const struct dj_named_tensor *tensors,
                           uint32_t tensor_count);

/* A rectangular piece of a tensor's first three dimensions. */
struct dj_box {
    uint64_t start[3];
    uint64_t count[3];
};

/* How a shape is cut into boxes of equal size (the last in each dimension may be smaller). */
struct dj_grid {
    uint64_t shape[3];
    uint64_t size[3];  /* of a whole box */
    uint64_t boxes[3]; /* per dimension */
};

/* The largest boxes, found by halving, such that each tensor's piece spans at most the device's
 * binding range and cost(user, size) <= budget. tensors have the shape of tensors[0] in their first
 * three dimensions, none 0. granule[i]: sizes are multiples of it (or the whole dimension).
 * most[i]: sizes are at most that; NULL: no such limit. cost may be NULL. Returns false if boxes of
 * one granule are still too large. Halves, in turn, the dimension with the widest span, or for the
 * cost the one with most granules. */
bool dj_grid_fit(const struct dj_context *context, const struct dj_tensor *const *tensors,
                 uint32_t tensor_count, const uint64_t granule[3], const uint64_t most[3],
                 uint64_t (*cost)(const void *user, const uint64_t size[3]), const void *user,
                 uint64_t budget, struct dj_grid *grid);

/* Box number (i, j, k) of a grid. */
struct dj_box dj_grid_box(const struct dj_grid *grid, uint64_t i, uint64_t j, uint64_t k);

/* What a kernel needs to see a box of a tensor. */
struct dj_view {
    struct dj_binding binding; /* aligned as the device wants it */
    uint32_t base;             /* elements from the binding's start to the box's first one */
    uint32_t stride[3];        /* elements */
    uint32_t type;
};

/* Whether a piece of `count` of a tensor's first three dimensions can be bound at once. */
bool dj_tensor_binds(const struct dj_context *context, const struct dj_tensor *tensor,
                     const uint64_t count[3]);
struct dj_view dj_tensor_view(const struct dj_tensor *tensor, const struct dj_box *box);

#endif
