/* SPDX-License-Identifier: MIT */
/* A folder for one test program's files, and safetensors files made byte by byte, right or wrong.
 */
#ifndef DJ_TESTS_FILES_H
#define DJ_TESTS_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* cmocka group set-up and tear-down: makes the folder, and removes it with what it holds. */
int files_setup(void **state);
int files_teardown(void **state);

/* The path of a file there, whether or not it exists. Four such strings are valid at a time. */
const char *files_path(const char *name);

/* How many entries the folder has. */
size_t files_count(void);
bool files_exists(const char *name);
void files_remove(const char *name);

/* Writes bytes, or a safetensors file: the header's length, the header, the data. Return the path.
 */
const char *files_write(const char *name, const void *bytes, size_t size);
const char *files_write_tensors(const char *name, const char *header, const void *data,
                                size_t size);

/* Reads a whole file with a 0 after it; to be freed. */
char *files_read(const char *path, size_t *size);

#endif
