/* SPDX-License-Identifier: MIT */
/* Values of other lanes. Mesa's CPU device permutes 8 lanes in one instruction, and 4 or 16, as processors
 * with vectors of 128 or 512 bits have, one by one in a loop; what one lane has it reads in an instruction or
 * two, whatever their number. So from_lane's shuffles, which are the only ones, may become reads before a
 * device sees them (lib/spirv.h), and nothing else crosses lanes where there are 4 or 16. The including shader
 * declares LANES and lane. */

const bool READS = DJ_RESIDENT_READS(LANES);

/* What lane n has, the same n in all lanes. */
float from_lane(float x, uint n)
{
    return subgroupShuffle(x, n);
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
        return sum;
    }
    [[unroll]] for (uint step = 1; step < LANES; step *= 2) {
        const float before = subgroupShuffleUp(sum, step);
        sum += lane >= step ? before : 0.0;
    }
    return sum;
}
