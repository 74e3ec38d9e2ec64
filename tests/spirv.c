/* SPDX-License-Identifier: MIT */
#include "spirv.h"

#include <stdlib.h>
#include <string.h>

/* Numbers of the SPIR-V specification. */
enum {
    MAGIC = 0x07230203,
    HEADER = 5,
    OP_EXECUTION_MODE = 16,
    OP_CAPABILITY = 17,
    OP_TYPE_BOOL = 20,
    OP_TYPE_INT = 21,
    OP_TYPE_FLOAT = 22,
    OP_TYPE_VECTOR = 23,
    OP_TYPE_ARRAY = 28,
    OP_TYPE_STRUCT = 30,
    OP_TYPE_POINTER = 32,
    OP_CONSTANT_TRUE = 41,
    OP_CONSTANT_FALSE = 42,
    OP_CONSTANT = 43,
    OP_CONSTANT_COMPOSITE = 44,
    OP_SPEC_CONSTANT_TRUE = 48,
    OP_SPEC_CONSTANT_FALSE = 49,
    OP_SPEC_CONSTANT = 50,
    OP_SPEC_CONSTANT_COMPOSITE = 51,
    OP_SPEC_CONSTANT_OP = 52,
    OP_VARIABLE = 59,
    OP_DECORATE = 71,
    OP_EXECUTION_MODE_ID = 331,
    MODE_LOCAL_SIZE = 17,
    MODE_LOCAL_SIZE_ID = 38,
    DECORATION_SPEC_ID = 1,
    DECORATION_BUILT_IN = 11,
    BUILT_IN_WORKGROUP_SIZE = 25,
    STORAGE_WORKGROUP = 4,
};

struct module {
    const uint32_t *words;
    size_t count;
    const VkSpecializationInfo *special;
    uint32_t bound;
    uint32_t *at;       /* of each id's definition in words; 0: none that matters */
    uint32_t *spec_ids; /* of each id, plus 1; 0: none */
    uint32_t workgroup_size;
    bool understood;
};

static uint32_t op(const uint32_t *instruction)
{
    return instruction[0] & 0xffff;
}

static const uint32_t *definition(struct module *module, uint32_t id)
{
    static const uint32_t nothing[8];
    if (id < module->bound && module->at[id] != 0)
        return module->words + module->at[id];
    module->understood = false;
    return nothing;
}

static uint32_t specialised(const struct module *module, uint32_t id, uint32_t value)
{
    const VkSpecializationInfo *const special = module->special;
    for (uint32_t i = 0; special != NULL && i < special->mapEntryCount; i++) {
        const VkSpecializationMapEntry *const entry = &special->pMapEntries[i];
        if (module->spec_ids[id] == entry->constantID + 1)
            memcpy(&value, (const char *)special->pData + entry->offset, sizeof value);
    }
    return value;
}

static uint32_t value_of(struct module *module, uint32_t id, int depth);

static uint32_t value_of_op(struct module *module, const uint32_t *in, int depth)
{
    const uint32_t length = in[0] >> 16;
    uint32_t x[3] = {0, 0, 0};
    if (in[3] == 81) { /* OpCompositeExtract: of the workgroup's size */
        const uint32_t *const composite = definition(module, in[4]);
        if (op(composite) == OP_SPEC_CONSTANT_COMPOSITE && 3 + in[5] < composite[0] >> 16)
            return value_of(module, composite[3 + in[5]], depth + 1);
        module->understood = false;
        return 0;
    }
    for (uint32_t i = 0; i < 3 && 4 + i < length; i++)
        x[i] = value_of(module, in[4 + i], depth + 1);
    switch (in[3]) {
    case 128: /* OpIAdd */
        return x[0] + x[1];
    case 130: /* OpISub */
        return x[0] - x[1];
    case 132: /* OpIMul */
        return x[0] * x[1];
    case 134: /* OpUDiv */
        return x[1] ? x[0] / x[1] : 0;
    case 137: /* OpUMod */
        return x[1] ? x[0] % x[1] : 0;
    case 166: /* OpLogicalOr */
        return x[0] || x[1];
    case 167: /* OpLogicalAnd */
        return x[0] && x[1];
    case 168: /* OpLogicalNot */
        return !x[0];
    case 169: /* OpSelect */
        return x[0] ? x[1] : x[2];
    case 170: /* OpIEqual */
        return x[0] == x[1];
    case 171: /* OpINotEqual */
        return x[0] != x[1];
    case 172: /* OpUGreaterThan */
        return x[0] > x[1];
    case 174: /* OpUGreaterThanEqual */
        return x[0] >= x[1];
    case 176: /* OpULessThan */
        return x[0] < x[1];
    case 178: /* OpULessThanEqual */
        return x[0] <= x[1];
    case 194: /* OpShiftRightLogical */
        return x[0] >> (x[1] & 31);
    case 196: /* OpShiftLeftLogical */
        return x[0] << (x[1] & 31);
    case 199: /* OpBitwiseAnd */
        return x[0] & x[1];
    default:
        module->understood = false;
        return 0;
    }
}

static uint32_t value_of(struct module *module, uint32_t id, int depth)
{
    const uint32_t *const in = definition(module, id);
    if (depth > 50) {
        module->understood = false;
        return 0;
    }
    switch (op(in)) {
    case OP_CONSTANT:
        return in[3];
    case OP_CONSTANT_TRUE:
        return 1;
    case OP_CONSTANT_FALSE:
        return 0;
    case OP_SPEC_CONSTANT:
        return specialised(module, id, in[3]);
    case OP_SPEC_CONSTANT_TRUE:
        return specialised(module, id, 1);
    case OP_SPEC_CONSTANT_FALSE:
        return specialised(module, id, 0);
    case OP_SPEC_CONSTANT_OP:
        return value_of_op(module, in, depth);
    default:
        module->understood = false;
        return 0;
    }
}

struct extent {
    uint64_t size, alignment;
};

static uint64_t rounded(uint64_t size, uint64_t alignment)
{
    return alignment ? (size + alignment - 1) / alignment * alignment : size;
}

static struct extent extent_of(struct module *module, uint32_t type, int depth)
{
    const uint32_t *const in = definition(module, type);
    struct extent extent = {0, 1};
    if (depth > 50)
        module->understood = false;
    if (!module->understood)
        return extent;
    switch (op(in)) {
    case OP_TYPE_BOOL:
        return (struct extent){4, 4};
    case OP_TYPE_INT:
    case OP_TYPE_FLOAT:
        return (struct extent){in[2] / 8, in[2] / 8};
    case OP_TYPE_VECTOR: {
        const struct extent part = extent_of(module, in[2], depth + 1);
        return (struct extent){part.size * in[3], part.size * (in[3] == 3 ? 4 : in[3])};
    }
    case OP_TYPE_ARRAY: {
        const struct extent part = extent_of(module, in[2], depth + 1);
        return (struct extent){rounded(part.size, part.alignment) * value_of(module, in[3], 0),
                               part.alignment};
    }
    case OP_TYPE_STRUCT:
        for (uint32_t i = 2; i < in[0] >> 16; i++) {
            const struct extent part = extent_of(module, in[i], depth + 1);
            extent.size = rounded(extent.size, part.alignment) + part.size;
            if (part.alignment > extent.alignment)
                extent.alignment = part.alignment;
        }
        extent.size = rounded(extent.size, extent.alignment);
        return extent;
    default:
        module->understood = false;
        return extent;
    }
}

/* The word of an instruction that holds its result, if others refer to it here; 0: none. */
static uint32_t result_place(uint32_t opcode)
{
    switch (opcode) {
    case OP_TYPE_BOOL:
    case OP_TYPE_INT:
    case OP_TYPE_FLOAT:
    case OP_TYPE_VECTOR:
    case OP_TYPE_ARRAY:
    case OP_TYPE_STRUCT:
    case OP_TYPE_POINTER:
        return 1;
    case OP_CONSTANT_TRUE:
    case OP_CONSTANT_FALSE:
    case OP_CONSTANT:
    case OP_CONSTANT_COMPOSITE:
    case OP_SPEC_CONSTANT_TRUE:
    case OP_SPEC_CONSTANT_FALSE:
    case OP_SPEC_CONSTANT:
    case OP_SPEC_CONSTANT_COMPOSITE:
    case OP_SPEC_CONSTANT_OP:
        return 2;
    default:
        return 0;
    }
}

/* Where things are defined; decorations and capabilities. */
static void index_words(struct module *module, struct spirv *spirv)
{
    for (size_t i = HEADER; i < module->count;) {
        const uint32_t *const in = module->words + i;
        const uint32_t length = in[0] >> 16, place = result_place(op(in));
        if (length == 0 || i + length > module->count) {
            module->understood = false;
            return;
        }
        if (place != 0 && in[place] < module->bound)
            module->at[in[place]] = (uint32_t)i;
        if (op(in) == OP_DECORATE && in[1] < module->bound && length > 3) {
            if (in[2] == DECORATION_SPEC_ID)
                module->spec_ids[in[1]] = in[3] + 1;
            else if (in[2] == DECORATION_BUILT_IN && in[3] == BUILT_IN_WORKGROUP_SIZE)
                module->workgroup_size = in[1];
        }
        if (op(in) == OP_CAPABILITY && spirv->capability_count < SPIRV_MOST_CAPABILITIES)
            spirv->capabilities[spirv->capability_count++] = in[1];
        i += length;
    }
}

static void measure(struct module *module, struct spirv *spirv)
{
    for (size_t i = HEADER; i < module->count; i += module->words[i] >> 16) {
        const uint32_t *const in = module->words + i;
        if (op(in) == OP_EXECUTION_MODE && in[2] == MODE_LOCAL_SIZE)
            memcpy(spirv->local_size, in + 3, sizeof spirv->local_size);
        for (int axis = 0;
             op(in) == OP_EXECUTION_MODE_ID && in[2] == MODE_LOCAL_SIZE_ID && axis < 3; axis++)
            spirv->local_size[axis] = value_of(module, in[3 + axis], 0);
        if (op(in) == OP_VARIABLE && in[3] == STORAGE_WORKGROUP) {
            const uint32_t *const pointer = definition(module, in[1]);
            const struct extent extent = extent_of(module, pointer[3], 0);
            spirv->shared = rounded(spirv->shared, extent.alignment) + extent.size;
        }
    }
    for (int axis = 0; module->workgroup_size != 0 && axis < 3; axis++)
        spirv->local_size[axis] =
            value_of(module, definition(module, module->workgroup_size)[3 + axis], 0);
}

bool spirv_read(const uint32_t *words, size_t count, const VkSpecializationInfo *special,
                struct spirv *spirv)
{
    *spirv = (struct spirv){.version = count >= HEADER ? words[1] : 0};
    if (count < HEADER || words[0] != MAGIC)
        return false;
    struct module module = {.words = words,
                            .count = count,
                            .special = special,
                            .bound = words[3],
                            .at = calloc(words[3] + 1, sizeof(uint32_t)),
                            .spec_ids = calloc(words[3] + 1, sizeof(uint32_t)),
                            .understood = true};
    module.understood = module.at != NULL && module.spec_ids != NULL;
    if (module.understood)
        index_words(&module, spirv);
    if (module.understood)
        measure(&module, spirv);
    free(module.at);
    free(module.spec_ids);
    return module.understood;
}
