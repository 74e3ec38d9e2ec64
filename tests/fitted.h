/* SPDX-License-Identifier: MIT */
/* What the tests of calibration share: samples to fit, the last line logged, checks of a fit. */
#ifndef DJ_TESTS_FITTED_H
#define DJ_TESTS_FITTED_H

#include "calibration_sets.h"
#include "harness.h"

#include <dijiang/calibrate.h>

enum {
    FITTED_TOKENS = CALIBRATION_SAMPLES,
    FITTED_DIM = CALIBRATION_DIM
};
extern float fitted_queries[2 * FITTED_TOKENS * FITTED_DIM];
extern float fitted_keys[2 * FITTED_TOKENS * FITTED_DIM];

/* A fit of WDCF to anisotropic samples that this draws, with fitted_log. */
struct dj_calibration_params fitted_params(uint64_t seed);

/* Keeps the last line, and counts. */
void fitted_log(void *user, uint32_t level, const char *message);
extern int fitted_lines;
void fitted_assert_logged(const char *text);

/* All numbers are finite, and every head keeps a feature. */
void fitted_assert_sane(const struct dj_calibration *c);
/* Of all numbers, to the bit. */
uint64_t fitted_hash(const struct dj_calibration *c);

/* Set-up and tear-down of a group: a folder for files, and the harness. */
int fitted_setup(void **state);
int fitted_teardown(void **state);

#endif
