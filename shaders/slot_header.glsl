/* SPDX-License-Identifier: MIT */
/* The headers of slots (slots.glsl comes first), struct dj_state_header. The including shader declares
 * slots, of words, the constants FEATURES and VALUE_DIM, push.map, and as macros HEADER_HEADS, the
 * plan's key heads, and HEADER_DIM; where headers are written meanwhile also HEADER_ORDER(), which keeps
 * reads and writes of other workgroups in order. */
#ifndef HEADER_ORDER
#define HEADER_ORDER()
#endif

/* What a slot holds. Memory of zero bytes is the empty state (SLOT_ZERO: its header is of zeros); what
 * another map or shape left, or nothing ever wrote, is no state at all. */
const uint SLOT_EMPTY = 0, SLOT_STATE = 1, SLOT_ALIEN = 2, SLOT_ZERO = 3;

/* Word i of a state's header, so many tokens having been seen. */
uint header_word(uint i, uvec2 seen)
{
    const uint words[8] = uint[8](DJ_KERNEL_STATE_LAYOUT, push.map, seen.x, seen.y, HEADER_HEADS,
                                  HEADER_DIM, VALUE_DIM, FEATURES);
    return i < 8 ? words[i] : 0u;
}

/* The first word stands for the others where they are written meanwhile: it is written last. */
uint slot_content(int slot)
{
    if (slot < 0)
        return SLOT_EMPTY;
    const uint start = slot_start(slot), first = slots.data[start];
    HEADER_ORDER(); /* by all invocations, whatever they read */
    if (first == 0)
        return SLOT_ZERO;
    uint differences = first ^ header_word(0, uvec2(0)); /* no condition between loads: each would wait */
    for (uint i = 1; i < 8; i++)
        differences |= i == 2 || i == 3 ? 0u : slots.data[start + i] ^ header_word(i, uvec2(0));
    return differences == 0 ? SLOT_STATE : SLOT_ALIEN;
}

uvec2 slot_tokens(int slot)
{
    return uvec2(slots.data[slot_start(slot) + 2], slots.data[slot_start(slot) + 3]);
}

uvec2 add_tokens(uvec2 seen, uint tokens)
{
    uint carry_bit;
    const uint low = uaddCarry(seen.x, tokens, carry_bit);
    return uvec2(low, seen.y + carry_bit);
}

/* Where a key head's block begins. */
uint slot_block(int slot, uint head)
{
    return slot_start(slot) + DJ_STATE_HEADER_WORDS + head * DJ_STATE_SIZE(FEATURES, VALUE_DIM);
}
