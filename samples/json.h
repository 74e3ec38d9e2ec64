/* SPDX-License-Identifier: MIT */
/* Numbers in the JSON that the programs print. */
#ifndef DJ_SAMPLES_JSON_H
#define DJ_SAMPLES_JSON_H

#include <cjson/cJSON.h>

#include <stdint.h>
#include <stdio.h>

/* Adds a number with a few digits: cJSON would print all that a double has. */
void json_number(cJSON *object, const char *name, double value);

/* Counts are exact. */
void json_count(cJSON *object, const char *name, uint64_t value);

/* Prints the whole as one line and frees it; root may be NULL, and lack what there was no memory
 * for. Returns an enum program_exit. */
int json_print(cJSON *root, FILE *stream);

#endif
