/* SPDX-License-Identifier: MIT */
/* How a kernel finds its buffers and its push constants:
 *   PUSH(struct)                                  `push`, a struct of kernels.h
 *   BUFFER(binding, access, Block, type, name)    `name.data[]`, elements of that type
 *   BUFFER_ALIGNED(.., bytes)                     the same of memory that begins at a multiple of so many bytes
 * and how its invocations agree.
 * The same text binds by descriptors or, with ADDRESSES, by a table of device addresses whose own
 * address lies behind the push constants. References promise no more than whole words unless told more: a
 * caller's memory may begin at any. */
#extension GL_KHR_memory_scope_semantics : require

/* Order and atomics within a workgroup. GLSL's own are of the device's scope, which a device with the
 * Vulkan memory model has as a feature of its own. */
#define WORKGROUP_BUFFERS() \
    memoryBarrier(gl_ScopeWorkgroup, gl_StorageSemanticsBuffer, gl_SemanticsAcquireRelease)
#define FLAG(shared_flag) atomicOr(shared_flag, 1u, gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed)

#ifdef ADDRESSES
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require

layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Addresses
{
    uvec2 of[DJ_ADDRESSES];
};

#define PUSH(block) \
    layout(push_constant) uniform Push \
    { \
        block push; \
        layout(offset = DJ_ADDRESSES_OFFSET) Addresses addresses; \
    };
#define BUFFER_ALIGNED(number, access, Block, type, name, bytes) \
    layout(buffer_reference, std430, buffer_reference_align = bytes) access buffer Block \
    { \
        type data[]; \
    }; \
    Block name = Block(addresses.of[number]);
#else
#define PUSH(block) \
    layout(push_constant) uniform Push { block push; };
#define BUFFER_ALIGNED(number, access, Block, type, name, bytes) \
    layout(set = 0, binding = number) access buffer Block { type data[]; } name;
#endif
#define BUFFER(number, access, Block, type, name) BUFFER_ALIGNED(number, access, Block, type, name, 4)
