/* SPDX-License-Identifier: MIT */
/* Included before everything that libdijiang-calibrate is made of. What it compiles of lib/ and
 * samples/ gets names of its own, so that a program may link both static libraries, and have a
 * safetensors_open of its own. */
#ifndef DJ_CALIBRATE_NAMES_H
#define DJ_CALIBRATE_NAMES_H

/* lib/exact.c */
#define dj_exact_exp dj_calibrate_exact_exp
#define dj_exact_log dj_calibrate_exact_log

/* lib/log.c */
#define dj_log_line dj_calibrate_log_line
#define dj_fail dj_calibrate_fail
#define dj_fail_at dj_calibrate_fail_at
#define dj_reserved_is_zero dj_calibrate_reserved_is_zero

/* lib/random.c */
#define dj_random_next dj_calibrate_random_next
#define dj_random_uniform dj_calibrate_random_uniform
#define dj_random_stream dj_calibrate_random_stream
#define dj_van_der_corput dj_calibrate_van_der_corput
#define dj_sobol_first dj_calibrate_sobol_first
#define dj_sobol_next dj_calibrate_sobol_next
#define dj_sobol_point dj_calibrate_sobol_point
#define dj_owen_scramble dj_calibrate_owen_scramble

/* samples/element.c */
#define element_from_half dj_calibrate_element_from_half
#define element_read dj_calibrate_element_read
#define element_write dj_calibrate_element_write

/* samples/safetensors.c, samples/safetensors_write.c */
#define safetensors_fail dj_calibrate_safetensors_fail
#define safetensors_open dj_calibrate_safetensors_open
#define safetensors_close dj_calibrate_safetensors_close
#define safetensors_find dj_calibrate_safetensors_find
#define safetensors_find_metadata dj_calibrate_safetensors_find_metadata
#define safetensors_read dj_calibrate_safetensors_read
#define safetensors_can_write dj_calibrate_safetensors_can_write
#define safetensors_write dj_calibrate_safetensors_write
#define safetensors_write_described dj_calibrate_safetensors_write_described

#endif
