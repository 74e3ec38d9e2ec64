/* SPDX-License-Identifier: MIT */
/* Prints the table of docs/calibration.md: draws both sets by seed, fits, and measures on tokens
 * that no fit has seen.
 *
 *   build/tests/calibration-table       m = 64
 *   build/tests/calibration-table 128   m = 128 */
#include "calibration_sets.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    const unsigned long m = argc > 1 ? strtoul(argv[1], NULL, 10) : CALIBRATION_DIM;
    if (argc > 2 || m < 4 || m > 256 || m % 4 != 0) {
        fprintf(stderr, "usage: %s [FEATURES], 4 to 256 in steps of 4\n", argv[0]);
        return 2;
    }
    printf(
        "causal, normalised, d = %d, m = %lu, T = %d, mean of %d seeds; in brackets the share of "
        "the uniform average's error\n",
        CALIBRATION_DIM, m, CALIBRATION_TOKENS, CALIBRATION_SEEDS);
    printf("| method | iso | anis | seconds |\n| --- | --- | --- | --- |\n");
    double uniform[CALIBRATION_SETS];
    for (int method = 0; method < CALIBRATION_METHODS; method++) {
        const double start = seconds();
        printf("| %s |", calibration_method_name((enum calibration_method)method));
        for (int set = 0; set < CALIBRATION_SETS; set++) {
            const double error = calibration_mean_error((enum calibration_method)method,
                                                        (enum calibration_set)set, (uint32_t)m);
            if (method == CALIBRATION_UNIFORM)
                uniform[set] = error;
            printf(" %.4f (%.3f) |", error, error / uniform[set]);
        }
        printf(" %.1f |\n", seconds() - start);
        fflush(stdout);
    }
    return 0;
}
