/* SPDX-License-Identifier: MIT */
/* Recorders: where plans record their work, and the barriers around it.
 *
 * The contract of every dj_*_record function:
 *   begin: inputs, state and indices are visible to COMPUTE_SHADER / SHADER_READ; earlier reads of
 *          outputs, state and scratch are ordered before COMPUTE_SHADER, and earlier writes of them
 *          visible to COMPUTE_SHADER / SHADER_READ and SHADER_WRITE.
 *   end:   outputs, state and scratch were written in COMPUTE_SHADER / SHADER_WRITE and are visible
 *          to nobody yet; inputs and indices were read in COMPUTE_SHADER.
 * Inside, every hazard is the library's. Two calls that share a state slot or scratch memory need a
 * barrier between them. The flags below record the barriers for the caller.
 *
 * A NULL handle gets DJ_ERROR_INVALID_ARGUMENT from every function here. */
#ifndef DIJIANG_RECORDER_H
#define DIJIANG_RECORDER_H

#include <dijiang/buffer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A command buffer, its descriptors, a small ring of memory for indices and, with timings, its
 * timestamps, all allocated at creation. One thread at a time; one per submission in flight, or per
 * command buffer of the caller's that is not finished. */
typedef struct dj_recorder dj_recorder;

struct dj_recorder_params {
    uint32_t dispatches;  /* how many it can hold between two begins, at most 2^20; 0: 256 */
    uint32_t timings;     /* enum dj_switch, default off: DJ_ON takes the time of each dispatch, by
                           * timestamps, which may keep dispatches from overlapping:
                           * dj_recorder_timings */
    uint64_t ring_size;   /* bytes for slot indices; 0: 65536 */
    uint64_t reserved[4]; /* 0 */
};

enum dj_barrier {
    DJ_BARRIER_BEFORE = 1, /* earlier compute work, transfers and host writes, before this call
                            * (of other stages an engine's own barrier speaks) */
    DJ_BARRIER_AFTER_COMPUTE = 2, /* this call's writes become visible to later compute work */
    DJ_BARRIER_AFTER_HOST = 4,    /* ... and to the host, once the submission was waited for */
};

/* Creates an idle recorder. params: NULL for defaults.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT; DJ_ERROR_VERSION; DJ_ERROR_LIMIT (a ring beyond
 * the device's largest allocation); DJ_ERROR_UNSUPPORTED (timings, and a queue
 * family of the context's has no timestamps); DJ_ERROR_OUT_OF_HOST_MEMORY;
 * DJ_ERROR_OUT_OF_DEVICE_MEMORY; DJ_ERROR_DEVICE_LOST; DJ_ERROR_VULKAN. Thread-safe. */
DJ_API dj_result dj_recorder_create(dj_context *context, const struct dj_recorder_params *params,
                                    dj_recorder **recorder);

/* Destroys a recorder and sets *recorder to NULL; waits for its own submission first. What was
 * recorded into a command buffer of the caller's must have completed, or never run. */
DJ_API void dj_recorder_destroy(dj_recorder **recorder);

/* Starts a new recording, dropping the last one. Where Vulkan fails to start it, the last one is
 * dropped all the same, and the recorder is idle.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_RECORDER_STATE if a submission was not waited for; DJ_ERROR_NO_QUEUE
 * on a context imported without one (there dj_recorder_begin_on of <dijiang/vulkan.h> is the way);
 * DJ_ERROR_DEVICE_LOST; DJ_ERROR_OUT_OF_HOST_MEMORY; DJ_ERROR_OUT_OF_DEVICE_MEMORY;
 * DJ_ERROR_VULKAN. */
DJ_API dj_result dj_recorder_begin(dj_recorder *recorder);

/* Records barriers alone. barriers: any of enum dj_barrier together. Returns DJ_SUCCESS;
 * DJ_ERROR_INVALID_ARGUMENT; DJ_ERROR_RECORDER_STATE unless recording. */
DJ_API dj_result dj_recorder_barrier(dj_recorder *recorder, uint32_t barriers);

/* Ends the recording and submits it to the context's queue. The queue is locked for the submission
 * alone. A recording that Vulkan fails to end or to submit is dropped, and the recorder is idle.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_RECORDER_STATE unless recording by dj_recorder_begin;
 * DJ_ERROR_DEVICE_LOST; DJ_ERROR_OUT_OF_HOST_MEMORY; DJ_ERROR_OUT_OF_DEVICE_MEMORY;
 * DJ_ERROR_VULKAN. */
DJ_API dj_result dj_recorder_submit(dj_recorder *recorder);

/* Waits for the submission, for at most timeout_ns nanoseconds (UINT64_MAX: for ever). After
 * any error but DJ_ERROR_DEVICE_LOST it is still to be waited for.
 *
 * Returns DJ_SUCCESS, also if nothing was submitted; DJ_ERROR_TIMEOUT; DJ_ERROR_DEVICE_LOST;
 * DJ_ERROR_OUT_OF_HOST_MEMORY; DJ_ERROR_OUT_OF_DEVICE_MEMORY; DJ_ERROR_VULKAN. */
DJ_API dj_result dj_recorder_wait(dj_recorder *recorder, uint64_t timeout_ns);

/* What one dispatch took. */
struct dj_timing {
    const char *kernel;   /* its name, of static memory: what dijiang calls it, and so not an
                           * interface to build on. "dct_generated" is what VkFFT wrote */
    double nanoseconds;   /* from the end of the dispatch before it (the first: from the begin, once
                           * earlier compute work was done) to its own. All that stands between
                           * counts: barriers, and an engine's own commands */
    uint64_t reserved[2]; /* 0 */
};

/* Gives the times of the last recording's dispatches, in their order: once it was waited for, or,
 * of one in a command buffer of the caller's, once that has completed (if it ran more than once,
 * the last time); asked earlier, the answer is undefined.
 *
 * timings: room for *count of them; NULL asks for the number alone. *count: on return how many
 * there are; left alone by errors other than DJ_ERROR_LIMIT.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT (count is NULL); DJ_ERROR_UNSUPPORTED (the recorder
 * was made without timings); DJ_ERROR_RECORDER_STATE (recording by dj_recorder_begin, or submitted
 * and not waited for); DJ_ERROR_LIMIT (too little room); DJ_ERROR_TIMEOUT (not available yet);
 * DJ_ERROR_DEVICE_LOST; DJ_ERROR_OUT_OF_HOST_MEMORY; DJ_ERROR_OUT_OF_DEVICE_MEMORY;
 * DJ_ERROR_VULKAN. */
DJ_API dj_result dj_recorder_timings(dj_recorder *recorder, struct dj_timing *timings,
                                     uint32_t *count);

/* What one call of a plan needs: the answer of dj_dct_needs and dj_attention_needs. */
struct dj_needs {
    uint64_t scratch_size;      /* bytes of scratch memory; 0: none */
    uint64_t scratch_alignment; /* bytes, of its offset in its buffer */
    uint64_t ring_size;         /* bytes of a recorder's ring, for each part */
    uint64_t slot_size;         /* bytes of one state slot; attention only */
    uint64_t slot_alignment;    /* bytes, of the state's offset in its buffer; attention only */
    uint64_t flops;             /* floating-point operations that the algorithm must spend */
    uint64_t bytes;             /* bytes of input and output that it must move */
    uint32_t dispatches;        /* of a recorder, for one part at most */
    uint32_t parts;             /* attention: parts into which max_work cuts the call, 1 without it,
                                 * 0 if there is nothing to do. DCT: submissions of dj_dct_run; a
                                 * recording is one part */
    uint32_t family;            /* attention: enum dj_family, which kernels do the call; 0 if there
                                 * is nothing to do */
    uint32_t padding;
    uint64_t reserved[3];
};

/* Scratch memory for a call: written and read inside it, from its first part to its last, worthless
 * after it. buffer NULL: none was given, which dj_*_run answers by allocating its own. */
struct dj_scratch {
    dj_buffer *buffer;
    uint64_t offset;      /* bytes */
    uint64_t size;        /* bytes */
    uint64_t reserved[2]; /* 0 */
};

/* How dj_attention_run_with submits. */
struct dj_run_params {
    uint64_t budget_ns; /* wanted: no submission takes longer. 0: no matter how long; each is what
                         * dj_attention_run submits at once */
    /* Called before each submission by the thread that runs, without locks, with how many of
     * `total` pieces are done, first 0; total depends on the call alone. Any answer but 0 stops the
     * run. NULL: none. */
    uint32_t (*progress)(void *user, uint64_t done, uint64_t total);
    void *user;           /* given to progress */
    uint64_t reserved[4]; /* 0 */
};

#ifdef __cplusplus
}
#endif

#endif
