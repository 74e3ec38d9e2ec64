/* SPDX-License-Identifier: MIT */
/* Numbers are the SPIR-V specification's: 2.3 "Physical Layout", 2.4 "Logical Layout". */
#include "spirv.h"

#include <stdbool.h>
#include <string.h>

enum {
    MAGIC = 0x07230203,
    HEADER = 5, /* words: magic, version, generator, bound, schema */
    VERSION_1_4 = 0x00010400,
    VERSION_2 = 0x00020000,
    OP_EXTENSION = 10,
    OP_EXT_INST_IMPORT = 11,
    OP_MEMORY_MODEL = 14,
    OP_ENTRY_POINT = 15,
    OP_EXECUTION_MODE = 16,
    OP_CAPABILITY = 17,
    OP_SPEC_CONSTANT_TRUE = 48,  /* type, result */
    OP_SPEC_CONSTANT_FALSE = 49, /* type, result */
    OP_SPEC_CONSTANT = 50,       /* type, result, value */
    OP_DECORATE = 71,            /* target, decoration, what that takes */
    OP_EXECUTION_MODE_ID = 331,
    OP_SHUFFLE = 345,          /* OpGroupNonUniformShuffle: type, result, scope, value, lane */
    OP_READ_INVOCATION = 4432, /* OpSubgroupReadInvocationKHR: type, result, value, lane */
    MODEL_GL_COMPUTE = 5,
    CAPABILITY_FLOAT16 = 9,
    CAPABILITY_BALLOT = 4423, /* SubgroupBallotKHR */
    CAPABILITY_FIRST = 4464,  /* DenormPreserve .. RoundingModeRTZ: what controls floats */
    CAPABILITY_PRESERVE = 4466,
    CAPABILITY_LAST = 4468,
    MODE_PRESERVE = 4461,
    DECORATION_SPEC_ID = 1,
};

/* "SPV_KHR_float_controls" and "SPV_KHR_shader_ballot", as SPIR-V stores text: low bytes first, at
 * least one 0 at the end. */
enum {
    EXTENSION_WORDS = 7
};
static const uint32_t FLOAT_CONTROLS[EXTENSION_WORDS] = {EXTENSION_WORDS << 16 | OP_EXTENSION,
                                                         0x5f565053,
                                                         0x5f52484b,
                                                         0x616f6c66,
                                                         0x6f635f74,
                                                         0x6f72746e,
                                                         0x0000736c};
static const uint32_t BALLOT[EXTENSION_WORDS] = {EXTENSION_WORDS << 16 | OP_EXTENSION,
                                                 0x5f565053,
                                                 0x5f52484b,
                                                 0x64616873,
                                                 0x625f7265,
                                                 0x6f6c6c61,
                                                 0x00000074};

/* The sections of a module, of which those before the execution modes are told apart. */
static int section_of(uint32_t opcode)
{
    switch (opcode) {
    case OP_CAPABILITY:
        return 0;
    case OP_EXTENSION:
        return 1;
    case OP_EXT_INST_IMPORT:
        return 2;
    case OP_MEMORY_MODEL:
        return 3;
    case OP_ENTRY_POINT:
        return 4;
    case OP_EXECUTION_MODE:
    case OP_EXECUTION_MODE_ID:
        return 5;
    default:
        return 6;
    }
}

/* What a module has, by its instructions. */
struct outline {
    size_t capabilities_end, entry_points_end; /* words from its start */
    uint32_t entry_points, entry;              /* how many, and the last one's id */
    bool halves;                               /* it computes in float16 */
};

/* Notes one instruction; false for what must not be there. */
static bool note(const uint32_t *words, size_t at, size_t length, struct outline *outline)
{
    switch (words[at] & 0xffff) {
    case OP_CAPABILITY:
        outline->capabilities_end = at + length;
        outline->halves = outline->halves || (length == 2 && words[at + 1] == CAPABILITY_FLOAT16);
        return length == 2 &&
               !(words[at + 1] >= CAPABILITY_FIRST && words[at + 1] <= CAPABILITY_LAST);
    case OP_ENTRY_POINT:
        outline->entry_points_end = at + length;
        outline->entry_points++;
        if (length < 4 || words[at + 1] != MODEL_GL_COMPUTE)
            return false;
        outline->entry = words[at + 2];
        return true;
    default:
        return true;
    }
}

/* Walks a module to its very end. */
static bool read_outline(const uint32_t *words, size_t count, struct outline *outline)
{
    int section = 0;
    for (size_t at = HEADER; at < count;) {
        const size_t length = words[at] >> 16;
        const int next = section_of(words[at] & 0xffff);
        if (length == 0 || length > count - at || next < section ||
            !note(words, at, length, outline))
            return false;
        section = next;
        at += length;
    }
    return outline->capabilities_end > 0 && outline->entry_points == 1;
}

static uint32_t *append(uint32_t *out, const uint32_t *words, size_t count)
{
    memcpy(out, words, count * sizeof *words);
    return out + count;
}

/* The instructions behind those that are added, shuffles as reads or as they are. */
static uint32_t *append_body(uint32_t *out, const uint32_t *words, size_t count, bool reads)
{
    for (size_t at = 0, length; at < count; at += length) {
        length = words[at] >> 16;
        if (!reads || words[at] != (6 << 16 | OP_SHUFFLE)) {
            out = append(out, words + at, length);
            continue;
        }
        const uint32_t read[] = {5 << 16 | OP_READ_INVOCATION, words[at + 1], words[at + 2],
                                 words[at + 4], words[at + 5]};
        out = append(out, read, 5);
    }
    return out;
}

size_t dj_spirv_change(const uint32_t *words, size_t count, uint32_t changes, uint32_t *out)
{
    struct outline outline = {0};
    if (count <= HEADER || words[0] != MAGIC || words[1] >= VERSION_2 ||
        !read_outline(words, count, &outline))
        return 0;
    const bool preserve = (changes & DJ_SPIRV_PRESERVE_NAN) != 0;
    const bool reads = (changes & DJ_SPIRV_READ_INVOCATION) != 0;
    const uint32_t capabilities[] = {2 << 16 | OP_CAPABILITY, CAPABILITY_PRESERVE,
                                     2 << 16 | OP_CAPABILITY, CAPABILITY_BALLOT};
    const uint32_t modes[] = {4 << 16 | OP_EXECUTION_MODE, outline.entry, MODE_PRESERVE, 32,
                              4 << 16 | OP_EXECUTION_MODE, outline.entry, MODE_PRESERVE, 16};
    uint32_t *end = append(out, words, outline.capabilities_end);
    end = append(end, capabilities, preserve ? 2 : 0);
    end = append(end, capabilities + 2, reads ? 2 : 0);
    end = append(end, FLOAT_CONTROLS, preserve && words[1] < VERSION_1_4 ? EXTENSION_WORDS : 0);
    end = append(end, BALLOT, reads ? EXTENSION_WORDS : 0);
    end = append(end, words + outline.capabilities_end,
                 outline.entry_points_end - outline.capabilities_end);
    end = append(end, modes, !preserve ? 0 : outline.halves ? 8 : 4);
    end =
        append_body(end, words + outline.entry_points_end, count - outline.entry_points_end, reads);
    return (size_t)(end - out);
}

/* The value for a constant, by its id; NULL: none. */
static const uint32_t *find_value(uint32_t id, const uint32_t *words, size_t end,
                                  const uint32_t *values, uint32_t values_count)
{
    for (size_t at = HEADER; at < end; at += words[at] >> 16) {
        if (words[at] == (4 << 16 | OP_DECORATE) && words[at + 1] == id &&
            words[at + 2] == DECORATION_SPEC_ID && words[at + 3] < values_count)
            return &values[words[at + 3]];
    }
    return NULL;
}

void dj_spirv_specialize(uint32_t *words, size_t count, const uint32_t *values,
                         uint32_t values_count)
{
    for (size_t at = HEADER; at < count; at += words[at] >> 16) {
        const uint32_t opcode = words[at] & 0xffff;
        if (opcode < OP_SPEC_CONSTANT_TRUE || opcode > OP_SPEC_CONSTANT)
            continue;
        const uint32_t *const value = find_value(words[at + 2], words, at, values, values_count);
        if (value == NULL)
            continue;
        if (opcode == OP_SPEC_CONSTANT)
            words[at + 3] = *value;
        else
            words[at] = 3 << 16 | (*value ? OP_SPEC_CONSTANT_TRUE : OP_SPEC_CONSTANT_FALSE);
    }
}
