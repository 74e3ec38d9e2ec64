/* SPDX-License-Identifier: MIT */
/* Values of other lanes. Mesa's CPU device permutes 8 lanes in one instruction, and 4 or 16, as processors
 * with vectors of 128 or 512 bits have, one by one in a loop; what one lane has it reads in an instruction or
 * two, whatever their number. So the library may make reads of subgroupShuffle before a device sees it
 * (lib/spirv.h), and it may stand nowhere but in from_lane. The including shader declares LANES and lane. */

/* Nothing but that, and a ballot, crosses lanes. It hangs on their number alone, so that results do not on
 * what became of the shuffles. */
const bool READS = DJ_RESIDENT_READS(LANES);

/* What lane n has, the same n in all lanes. */
float from_lane(float x, uint n)
{
    return subgroupShuffle(x, n);
}

/* A step of a prefix sum: what the lane `step` below has is added. */
float add_from_below(float sum, uint step)
{
    if (step < LANES) {
        const float before = subgroupShuffleUp(sum, step);
        sum += lane >= step ? before : 0.0;
    }
    return sum;
}

/* The sum over the lanes up to this one. */
float prefix_sum(float x)
{
    float sum = x;
    if (READS) {
        [[unroll]] for (uint n = 0; n < LANES; n++) {
            const float y = from_lane(x, n);
            sum = n == 0 ? y : sum + (lane >= n ? y : 0.0);
        }
    } else {
        sum = add_from_below(sum, 1);
        sum = add_from_below(sum, 2);
        sum = add_from_below(sum, 4);
        sum = add_from_below(sum, 8);
        sum = add_from_below(sum, 16);
    }
    return sum;
}
