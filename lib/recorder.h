/* SPDX-License-Identifier: MIT */
/* The inside of recorders: what plans use to record. After dj_recorder_reserve said yes, nothing
 * here can fail. */
#ifndef DJ_LIB_RECORDER_H
#define DJ_LIB_RECORDER_H

#include "buffer.h"
#include "context.h"
#include "pipeline.h"

#include <dijiang/recorder.h>

/* Whether the recorder records and has room for that much; logs what is short. */
dj_result dj_recorder_reserve(struct dj_recorder *recorder, uint32_t dispatches,
                              uint64_t ring_size);

/* One dispatch: bindings 0 .. binding_count-1 (none, and a buffer of size 0, is skipped: the kernel
 * does not touch it), push constants, workgroup counts (none may be 0). */
void dj_recorder_dispatch(struct dj_recorder *recorder, struct dj_pipeline pipeline,
                          const struct dj_binding *bindings, uint32_t binding_count,
                          const void *push, uint32_t push_size, const uint32_t groups[3]);

/* The barrier between two dispatches of which the second reads or writes what the first wrote or
 * read. */
void dj_recorder_write_to_read(struct dj_recorder *recorder);

/* All bits of enum dj_barrier. */
enum {
    DJ_BARRIERS = DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_COMPUTE | DJ_BARRIER_AFTER_HOST
};

/* The caller's barriers (enum dj_barrier): those before a call, and those after it. */
void dj_recorder_barriers_before(struct dj_recorder *recorder, uint32_t barriers);
void dj_recorder_barriers_after(struct dj_recorder *recorder, uint32_t barriers);

/* Copies size bytes into the ring, to be read by the dispatches of this recording. Consumes size
 * rounded up to the device's offset alignment: what dj_recorder_ring_size gives. */
struct dj_binding dj_recorder_ring_push(struct dj_recorder *recorder, const void *data,
                                        uint64_t size);
uint64_t dj_recorder_ring_size(const struct dj_context *context, uint64_t size);

/* Host memory for a call's own checks and sorting, aligned for any type; its contents last until
 * the next call. size: bytes wanted, at most twice what was reserved of the ring. */
void *dj_recorder_work(struct dj_recorder *recorder, uint64_t size);

/* The context a recorder belongs to. */
struct dj_context *dj_recorder_context(const struct dj_recorder *recorder);

#endif
