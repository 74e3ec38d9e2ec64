/* SPDX-License-Identifier: MIT */
/* A file that appears whole or not at all: written beside its place and then renamed. */
#ifndef DJ_SAMPLES_WHOLE_FILE_H
#define DJ_SAMPLES_WHOLE_FILE_H

#include <stdbool.h>
#include <stdio.h>

struct whole_file {
    FILE *stream;
    char *path, *temporary;
};

/* Makes a directory for files, before work is done in vain. *made says whether it was not there:
 * who fails later may remove it. Returns an enum program_exit. */
int whole_file_make_directory(const char *directory, bool *made);

/* Opens DIRECTORY/NAMEENDING. These two return false, and say why by program_fail. */
bool whole_file_open(struct whole_file *file, const char *directory, const char *name,
                     const char *ending);

/* Puts it in its place; discards it where anything written to the stream was lost. */
bool whole_file_close(struct whole_file *file);

void whole_file_discard(struct whole_file *file);

#endif
