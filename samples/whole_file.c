/* SPDX-License-Identifier: MIT */
#include "whole_file.h"

#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* With open and not mkstemp, since only that applies the process's umask. */
static int open_temporary(const char *path, char **temporary)
{
    for (int i = 0; i < 100; i++) {
        if (asprintf(temporary, "%s.%ld-%d", path, (long)getpid(), i) < 0) {
            *temporary = NULL;
            return -1;
        }
        const int descriptor = open(*temporary, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
        if (descriptor >= 0 || errno != EEXIST)
            return descriptor;
        free(*temporary);
        *temporary = NULL;
    }
    return -1;
}

int whole_file_make_directory(const char *directory, bool *made)
{
    struct stat status;
    *made = mkdir(directory, 0777) == 0;
    if (!*made && errno != EEXIST)
        return program_fail("%s cannot be made: %s", directory, strerror(errno));
    if (stat(directory, &status) != 0 || !S_ISDIR(status.st_mode))
        return program_fail("%s cannot be made: it is not a folder", directory);
    if (access(directory, W_OK | X_OK) != 0)
        return program_fail("%s cannot be written to: %s", directory, strerror(errno));
    return PROGRAM_SUCCESS;
}

static void release(struct whole_file *file)
{
    free(file->temporary);
    free(file->path);
    *file = (struct whole_file){0};
}

bool whole_file_open(struct whole_file *file, const char *directory, const char *name,
                     const char *ending)
{
    *file = (struct whole_file){0};
    if (asprintf(&file->path, "%s/%s%s", directory, name, ending) < 0) {
        file->path = NULL;
        (void)program_fail("out of memory");
        return false;
    }
    const int descriptor = open_temporary(file->path, &file->temporary);
    if (descriptor >= 0)
        file->stream = fdopen(descriptor, "wb");
    if (file->stream)
        return true;
    (void)program_fail("%s cannot be written: %s", file->path, strerror(errno));
    if (descriptor >= 0) {
        close(descriptor);
        unlink(file->temporary);
    }
    release(file);
    return false;
}

bool whole_file_close(struct whole_file *file)
{
    const bool ok = fflush(file->stream) == 0 && !ferror(file->stream) &&
                    fsync(fileno(file->stream)) == 0 && rename(file->temporary, file->path) == 0;
    if (!ok) {
        (void)program_fail("%s cannot be written: %s", file->path, strerror(errno));
        unlink(file->temporary);
    }
    fclose(file->stream);
    release(file);
    return ok;
}

void whole_file_discard(struct whole_file *file)
{
    fclose(file->stream);
    unlink(file->temporary);
    release(file);
}
