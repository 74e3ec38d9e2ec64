/* SPDX-License-Identifier: MIT */
/* Slots of the state pool. The including shader has in `push` slots_base, slot_words and slot_count. */

uint slot_start(int slot)
{
    return push.slots_base + uint(slot) * push.slot_words;
}

/* A number that names no slot counts as none. */
int checked_slot(int slot)
{
    return slot >= 0 && uint(slot) < push.slot_count ? slot : -1;
}
