/* SPDX-License-Identifier: MIT */
/* Slots of the state pool. The including shader declares slots_in and accepted, and in `push`
 * slots_base, slot_words, slot_count, snapshots, in_base, accepted and accepted_base. */

uint slot_start(int slot)
{
    return push.slots_base + uint(slot) * push.slot_words;
}

/* A number that names no slot counts as none. */
int checked_slot(int slot)
{
    return slot >= 0 && uint(slot) < push.slot_count ? slot : -1;
}

/* The slot that sequence n continues, -1: none. */
int slot_in(uint n)
{
    if (push.accepted == 0)
        return checked_slot(slots_in.data[push.in_base + n]);
    const int which = accepted.data[push.accepted_base + n];
    if (which < 0 || uint(which) >= push.snapshots)
        return -1;
    return checked_slot(slots_in.data[push.in_base + n * push.snapshots + uint(which)]);
}
