/* SPDX-License-Identifier: MIT */
/* Which slot a sequence continues (slots.glsl comes first). The including shader declares slots_in and
 * accepted, and in `push` snapshots, in_base, accepted and accepted_base. */

/* That of sequence n, -1: none. */
int slot_in(uint n)
{
    if (push.accepted == 0)
        return checked_slot(slots_in.data[push.in_base + n]);
    const int which = accepted.data[push.accepted_base + n];
    if (which < 0 || uint(which) >= push.snapshots)
        return -1;
    return checked_slot(slots_in.data[push.in_base + n * push.snapshots + uint(which)]);
}
