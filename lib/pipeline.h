/* SPDX-License-Identifier: MIT */
/* Compute pipelines over the context's universal layout. */
#ifndef DJ_LIB_PIPELINE_H
#define DJ_LIB_PIPELINE_H

#include "context.h"

#include <stddef.h>

/* Embedded SPIR-V: shaders/meson.build makes one `const struct dj_shader dj_shader_<name>` per row
 * of its table, declared in the generated "shaders.h". */
struct dj_shader {
    const char *name; /* static */
    const uint32_t *words;
    size_t size; /* bytes */
    /* the same kernel bound by device addresses; none: descriptors alone. Where there are no words
     * above it is for contexts with device addresses alone */
    const uint32_t *addressed_words;
    size_t addressed_size;
};

struct dj_pipeline {
    VkPipeline handle;  /* the context's */
    bool addressed;     /* its bindings are device addresses */
    const char *kernel; /* the shader's name */
};

enum {
    DJ_MOST_CONSTANTS = 14
};

/* Specialization constants 0 .. count-1, each 32 bits. */
struct dj_constants {
    uint32_t count;
    uint32_t subgroup;    /* not 0: the workgroup is of whole subgroups of so many invocations */
    bool read_invocation; /* the kernel's shuffles are from one lane to all: each becomes a read */
    uint32_t values[DJ_MOST_CONSTANTS];
};

/* The context's pipeline for a kernel with these constants (NULL: none), whose entry point is main:
 * made by whoever asks first, and kept until the context goes, as the shader's words must be. Bound
 * by device addresses where the context uses them and the shader can. With context->float_controls
 * the kernel, a generated one too, asks for SignedZeroInfNanPreserve; with
 * constants->read_invocation its shuffles are reads. Thread-safe; holds no lock: two that ask at
 * once may both make it, and one is thrown away. */
dj_result dj_pipeline_get(struct dj_context *context, const struct dj_shader *shader,
                          const struct dj_constants *constants, struct dj_pipeline *pipeline);

/* The same for a kernel that others can stand in for: DJ_ERROR_UNSUPPORTED, with a line at
 * DJ_LOG_WARNING, where the driver cannot make it though memory and device are well; the pipeline's
 * handle is then VK_NULL_HANDLE. */
dj_result dj_pipeline_try(struct dj_context *context, const struct dj_shader *shader,
                          const struct dj_constants *constants, struct dj_pipeline *pipeline);

/* Destroys all of a context's pipelines. */
void dj_pipelines_finish(struct dj_context *context);

#endif
