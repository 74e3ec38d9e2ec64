/* SPDX-License-Identifier: MIT */
/* Writing safetensors files, whole or not at all. */
#include "safetensors.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CHUNK = 1 << 16, /* bytes converted at a time */
};

static uint64_t output_count(const struct safetensors_output *tensor)
{
    uint64_t count = 1;
    for (uint32_t i = 0; i < tensor->rank; i++)
        count *= tensor->shape[i];
    return count;
}

static void write_metadata(FILE *stream, const struct safetensors_metadata *metadata,
                           uint32_t count)
{
    fputs("\"__metadata__\":{", stream);
    for (uint32_t i = 0; i < count; i++) {
        assert(!strpbrk(metadata[i].key, "\"\\") && !strpbrk(metadata[i].value, "\"\\"));
        fprintf(stream, "%s\"%s\":\"%s\"", i ? "," : "", metadata[i].key, metadata[i].value);
    }
    fputc('}', stream);
}

static void write_header(FILE *stream, const struct safetensors_metadata *metadata,
                         uint32_t metadata_count, const struct safetensors_output *tensors,
                         uint32_t count)
{
    uint64_t offset = 0;
    fputc('{', stream);
    if (metadata_count > 0) {
        write_metadata(stream, metadata, metadata_count);
        fputs(count > 0 ? "," : "", stream);
    }
    for (uint32_t i = 0; i < count; i++) {
        assert(!strpbrk(tensors[i].name, "\"\\"));
        fprintf(stream, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", i ? "," : "", tensors[i].name);
        for (uint32_t j = 0; j < tensors[i].rank; j++)
            fprintf(stream, "%s%" PRIu64, j ? "," : "", tensors[i].shape[j]);
        const uint64_t end = offset + 4 * output_count(&tensors[i]);
        fprintf(stream, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", offset, end);
        offset = end;
    }
    fputc('}', stream);
}

static bool write_floats(FILE *stream, const float *data, uint64_t count, bool (*stop)(void))
{
    unsigned char bytes[CHUNK];
    while (count > 0) {
        const size_t n = count < CHUNK / 4 ? (size_t)count : CHUNK / 4;
        for (size_t i = 0; i < n; i++) {
            uint32_t bits;
            memcpy(&bits, &data[i], sizeof(bits));
            for (int j = 0; j < 4; j++)
                bytes[4 * i + (size_t)j] = (unsigned char)(bits >> 8 * j);
        }
        if (stop && stop()) {
            errno = EINTR;
            return false;
        }
        if (fwrite(bytes, 4, n, stream) != n)
            return false;
        data += n;
        count -= n;
    }
    return true;
}

/* The header's errors stay in the stream, to be asked once at the end. */
static bool write_content(FILE *stream, const struct safetensors_metadata *metadata,
                          uint32_t metadata_count, const struct safetensors_output *tensors,
                          uint32_t count, bool (*stop)(void))
{
    char *header = NULL;
    size_t length = 0;
    FILE *memory = open_memstream(&header, &length);
    if (!memory)
        return false;
    write_header(memory, metadata, metadata_count, tensors, count);
    if (fclose(memory) != 0) {
        free(header);
        return false;
    }
    const uint64_t padded = (length + 7) / 8 * 8; /* the data starts aligned */
    for (int i = 0; i < SAFETENSORS_LENGTH_SIZE; i++)
        fputc((int)(padded >> 8 * i & 255), stream);
    fprintf(stream, "%s%*s", header, (int)(padded - length), "");
    free(header);
    for (uint32_t i = 0; i < count; i++)
        if (!write_floats(stream, tensors[i].data, output_count(&tensors[i]), stop))
            return false;
    return fflush(stream) == 0 && !ferror(stream);
}

/* Where to write: a link's target, so that the link stays one; mode: the file's that is replaced.
 * NULL if that can never be written. */
static char *resolve_output(const char *path, mode_t *mode, struct safetensors_error *error)
{
    struct stat status;
    char *target = NULL;
    if (stat(path, &status) == 0) {
        if (!S_ISREG(status.st_mode)) {
            safetensors_fail(error, "exists and is not a regular file");
            return NULL;
        }
        *mode = status.st_mode & 07777;
        target = realpath(path, NULL);
    } else if (errno != ENOENT) {
        safetensors_fail(error, "cannot be written: %s", strerror(errno));
        return NULL;
    } else if (lstat(path, &status) == 0) {
        safetensors_fail(error, "is a link to what does not exist");
        return NULL;
    } else {
        target = strdup(path);
    }
    if (!target)
        safetensors_fail(error, "cannot be written: %s", strerror(errno));
    return target;
}

/* How much of a path names the folder, with its slash; 0 is the current folder. */
static int folder_length(const char *path)
{
    const char *const slash = strrchr(path, '/');
    return slash ? (int)(slash - path) + 1 : 0;
}

bool safetensors_can_write(const char *path, struct safetensors_error *error)
{
    mode_t mode;
    char *const target = resolve_output(path, &mode, error);
    if (!target)
        return false;
    target[folder_length(target)] = '\0';
    const bool ok = access(target[0] ? target : ".", W_OK | X_OK) == 0;
    if (!ok)
        safetensors_fail(error, "cannot be written: %s", strerror(errno));
    free(target);
    return ok;
}

/* A new file beside the target, or -1; its name is short, since the target's may be as long as
 * names can be. With open, since only that applies the process's umask. */
static int create_temporary(const char *target, mode_t mode, char *temporary, size_t size)
{
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(temporary, size, "%.*s.dijiang-%ld-%u", folder_length(target), target,
                 (long)getpid(), i);
        const int descriptor = open(temporary, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, mode);
        if (descriptor >= 0 || errno != EEXIST)
            return descriptor;
    }
    return -1;
}

bool safetensors_write_described(const char *path, const struct safetensors_metadata *metadata,
                                 uint32_t metadata_count, const struct safetensors_output *tensors,
                                 uint32_t count, bool (*stop)(void),
                                 struct safetensors_error *error)
{
    char *temporary = NULL;
    FILE *stream = NULL;
    int descriptor = -1;
    mode_t mode = 0;
    char *target = resolve_output(path, &mode, error);
    if (!target)
        return false;

    const size_t size = strlen(target) + 40; /* with process and number */
    temporary = malloc(size);
    if (!temporary) {
        safetensors_fail(error, "out of memory");
        goto fail;
    }
    descriptor = create_temporary(target, mode ? mode : 0666, temporary, size);
    if (descriptor < 0) {
        safetensors_fail(error, "cannot be written: %s", strerror(errno));
        goto fail;
    }
    stream = mode == 0 || fchmod(descriptor, mode) == 0 ? fdopen(descriptor, "wb") : NULL;
    if (!stream || !write_content(stream, metadata, metadata_count, tensors, count, stop) ||
        fsync(descriptor) != 0 || rename(temporary, target) != 0) {
        safetensors_fail(error, "cannot be written: %s", strerror(errno));
        goto fail;
    }
    fclose(stream);
    free(temporary);
    free(target);
    return true;

fail:
    if (descriptor >= 0)
        unlink(temporary);
    if (stream)
        fclose(stream);
    else if (descriptor >= 0)
        close(descriptor);
    free(temporary);
    free(target);
    return false;
}

bool safetensors_write(const char *path, const struct safetensors_output *tensors, uint32_t count,
                       struct safetensors_error *error)
{
    return safetensors_write_described(path, NULL, 0, tensors, count, NULL, error);
}
