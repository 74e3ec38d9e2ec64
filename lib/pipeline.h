/* SPDX-License-Identifier: MIT */
/* Compute pipelines over the context's universal layout. */
#ifndef DJ_LIB_PIPELINE_H
#define DJ_LIB_PIPELINE_H

#include "context.h"

#include <stddef.h>

/* Embedded SPIR-V: shaders/meson.build makes one `const struct dj_shader dj_shader_<name>` per row
 * of its table, declared in the generated "shaders.h". */
struct dj_shader {
    const char *name;
    const uint32_t *words;
    size_t size; /* bytes */
    /* the same kernel bound by device addresses; none: descriptors alone. Where there are no words
     * above it is for contexts with device addresses alone */
    const uint32_t *addressed_words;
    size_t addressed_size;
};

struct dj_pipeline {
    VkPipeline handle;
    bool addressed; /* its bindings are device addresses */
    bool shared;    /* not to be destroyed with this */
};

/* Specialization constants 0 .. count-1, each 32 bits. */
struct dj_constants {
    uint32_t count;
    uint32_t subgroup; /* not 0: the workgroup is one subgroup of so many invocations */
    uint32_t values[12];
};

/* Creates a pipeline whose entry point is main, bound by device addresses where the context uses
 * them and the shader can. constants may be NULL. Holds no lock. With context->float_controls the
 * kernel, a generated one too, asks for SignedZeroInfNanPreserve. */
dj_result dj_pipeline_create(struct dj_context *context, const struct dj_shader *shader,
                             const struct dj_constants *constants, struct dj_pipeline *pipeline);

/* As dj_pipeline_create, of a kernel without constants: the context's pipeline, made by whoever
 * asks first and kept until the context goes. Holds no lock: two that ask at once may both make it,
 * and one is thrown away. */
dj_result dj_pipeline_share(struct dj_context *context, enum dj_shared kernel,
                            struct dj_pipeline *pipeline);

/* Destroys a pipeline, unless it is shared, and sets its handle to VK_NULL_HANDLE, which is
 * accepted. */
void dj_pipeline_destroy(struct dj_context *context, struct dj_pipeline *pipeline);

#endif
