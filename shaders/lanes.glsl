/* SPDX-License-Identifier: MIT */
/* Values of other lanes. Mesa's CPU device permutes 8 lanes in one instruction; 4, as processors with vectors
 * of 128 bits have, it goes through one by one in a loop, but what a constant lane has takes one instruction
 * there, too. (16, which nothing has by default, it goes through as well, but so many constants take long to
 * compile.) The including shader declares LANES and lane. */

/* Of four lanes. */
vec4 all_lanes(float x)
{
    return vec4(subgroupBroadcast(x, 0), subgroupBroadcast(x, 1), subgroupBroadcast(x, 2),
                subgroupBroadcast(x, 3));
}

/* What lane n has, the same n in all lanes. */
float from_lane(float x, uint n)
{
    if (LANES != 4)
        return subgroupShuffle(x, n);
    const vec4 all = all_lanes(x);
    return n < 2 ? (n == 0 ? all.x : all.y) : (n == 2 ? all.z : all.w);
}

/* What the lane before has; in lane 0, anything. */
float from_before(float x)
{
    if (LANES != 4)
        return subgroupShuffleUp(x, 1);
    const vec4 all = all_lanes(x);
    return lane < 2 ? all.x : (lane == 2 ? all.y : all.z);
}

/* The sum over the lanes up to this one. */
float prefix_sum(float x)
{
    float sum = x;
    if (LANES == 4) {
        const vec4 all = all_lanes(x);
        [[unroll]] for (uint n = 0; n < 3; n++)
            sum += lane > n ? all[n] : 0.0;
        return sum;
    }
    [[unroll]] for (uint step = 1; step < LANES; step *= 2) {
        const float before = subgroupShuffleUp(sum, step);
        sum += lane >= step ? before : 0.0;
    }
    return sum;
}
