/* SPDX-License-Identifier: MIT */
/* The only file of the library that touches files: a cache's. All is done relative to the opened
 * folder, so that what was checked is what is used. */
#include "cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    PATH_SIZE = 4096,
    NAME_SIZE = 112,
    TEMPORARY_TRIES = 16, /* a process that crashed may have left some of our names */
    STALE_SECONDS = 3600, /* without a write: nobody is writing it any more */
    NO_FOLDER = -1,
};

static const uint64_t MAX_SIZE = UINT64_C(1) << 30;

static dj_result fail(const struct dj_log *log, const char *call, const char *what)
{
    return dj_fail(log, DJ_ERROR_FILE, "cache: %s of %s: %s", call, what, strerror(errno));
}

/* Whether what was opened is the user's and nobody else's to write. */
static dj_result check_owner(const struct dj_log *log, const struct stat *status, const char *what)
{
    if (status->st_uid != geteuid())
        return dj_fail(log, DJ_ERROR_FILE, "cache: %s belongs to user %lu, not %lu", what,
                       (unsigned long)status->st_uid, (unsigned long)geteuid());
    if (status->st_mode & (S_IWGRP | S_IWOTH))
        return dj_fail(log, DJ_ERROR_FILE, "cache: others may write %s (mode %03o)", what,
                       (unsigned)(status->st_mode & 0777));
    return DJ_SUCCESS;
}

/* Makes a folder for the user alone, unless there is something of that name. */
static bool folder_make(const char *path)
{
    return mkdir(path, S_IRWXU) == 0 || errno == EEXIST;
}

/* The folder that stands for NULL; with make, what it lies in is made. */
static dj_result default_folder(const struct dj_log *log, bool make, char path[PATH_SIZE])
{
    const char *base = getenv("XDG_CACHE_HOME"), *within = "";
    if (base == NULL || base[0] != '/') {
        base = getenv("HOME");
        within = "/.cache";
    }
    if (base == NULL || base[0] != '/')
        return dj_fail(log, DJ_ERROR_FILE,
                       "cache: neither XDG_CACHE_HOME nor HOME is an absolute path");
    if (snprintf(path, PATH_SIZE, "%s%s/dijiang", base, within) >= PATH_SIZE)
        return dj_fail(log, DJ_ERROR_FILE, "cache: the path of the folder is too long");
    char *const last = strrchr(path, '/');
    *last = '\0';
    const bool made = !make || folder_make(path);
    const dj_result result = made ? DJ_SUCCESS : fail(log, "making", path);
    *last = '/';
    return result;
}

/* Opens the folder, made first if wanted. *fd is NO_FOLDER if there is none; then it succeeds only
 * where none was to be made. */
static dj_result folder_open(const struct dj_log *log, const char *folder, bool make, int *fd)
{
    char path[PATH_SIZE];
    *fd = NO_FOLDER;
    if (folder == NULL) {
        const dj_result result = default_folder(log, make, path);
        if (result != DJ_SUCCESS)
            return result;
    } else if (snprintf(path, sizeof path, "%s", folder) >= PATH_SIZE) {
        return dj_fail(log, DJ_ERROR_FILE, "cache: the path of the folder is too long");
    }
    /* "link/" would be followed where "link" is not */
    for (size_t end = strlen(path); end > 1 && path[end - 1] == '/'; end--)
        path[end - 1] = '\0';
    if (make && !folder_make(path))
        return fail(log, "making", path);
    const int opened = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat status;
    if (opened < 0 && lstat(path, &status) == 0 && S_ISLNK(status.st_mode))
        return dj_fail(log, DJ_ERROR_FILE, "cache: %s is a symbolic link, and must be a folder",
                       path);
    if (opened < 0)
        return errno == ENOENT && !make ? DJ_SUCCESS : fail(log, "opening", path);
    const dj_result result =
        fstat(opened, &status) == 0 ? check_owner(log, &status, path) : fail(log, "status", path);
    if (result != DJ_SUCCESS)
        close(opened);
    else
        *fd = opened;
    return result;
}

/* One file for each device, driver and version of the library, which takes no other's. */
static void file_name(const struct dj_context *context, char name[NAME_SIZE])
{
    const struct dj_cache_identity identity = dj_cache_identity(context);
    int length = snprintf(name, NAME_SIZE, "%04" PRIx32 "-%04" PRIx32 "-%08" PRIx32 "-",
                          identity.vendor, identity.device, identity.driver);
    for (size_t i = 0; i < sizeof identity.uuid; i++)
        length += snprintf(name + length, (size_t)(NAME_SIZE - length), "%02x", identity.uuid[i]);
    snprintf(name + length, (size_t)(NAME_SIZE - length), "-%" PRIu32 ".cache", dj_version());
}

static bool read_all(int fd, uint8_t *data, size_t size)
{
    while (size > 0) {
        const ssize_t count = read(fd, data, size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count == 0)
            errno = EIO; /* it became shorter */
        if (count <= 0)
            return false;
        data += count;
        size -= (size_t)count;
    }
    return true;
}

static bool write_all(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        const ssize_t count = write(fd, data, size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return false;
        data += count;
        size -= (size_t)count;
    }
    return true;
}

/* Reads an opened file whole; *data is to be freed. */
static dj_result file_read(const struct dj_log *log, int fd, const char *name, uint8_t **data,
                           uint64_t *size)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return fail(log, "status", name);
    if (!S_ISREG(status.st_mode))
        return dj_fail(log, DJ_ERROR_FILE, "cache: %s is not a regular file", name);
    const dj_result result = check_owner(log, &status, name);
    if (result != DJ_SUCCESS)
        return result;
    *size = (uint64_t)status.st_size;
    if (*size == 0 || *size > MAX_SIZE)
        return dj_fail(log, DJ_ERROR_FILE, "cache: %s has %" PRIu64 " bytes, must be 1 to 2^30",
                       name, *size);
    *data = malloc((size_t)*size);
    if (*data == NULL)
        return dj_fail(log, DJ_ERROR_OUT_OF_HOST_MEMORY,
                       "no memory for a cache of %" PRIu64 " bytes", *size);
    return read_all(fd, *data, (size_t)*size) ? DJ_SUCCESS : fail(log, "reading", name);
}

dj_result dj_cache_file_load(dj_context *context, const char *folder)
{
    if (context == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    const struct dj_log *const log = &context->log;
    char name[NAME_SIZE];
    int directory;
    file_name(context, name);
    dj_result result = folder_open(log, folder, false, &directory);
    if (result != DJ_SUCCESS)
        return result;
    if (directory == NO_FOLDER) {
        dj_log_line(log, DJ_LOG_DEBUG, "cache: no folder yet for %s", name);
        return DJ_SUCCESS;
    }
    /* a pipe of that name must not make us wait */
    const int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        dj_log_line(log, DJ_LOG_DEBUG, "cache: no %s yet", name);
    } else if (fd < 0) {
        result = fail(log, "opening", name);
    } else {
        uint8_t *data = NULL;
        uint64_t size = 0;
        result = file_read(log, fd, name, &data, &size);
        if (result == DJ_SUCCESS)
            result = dj_context_load_cache(context, data, size);
        free(data);
        close(fd);
    }
    close(directory);
    return result;
}

/* The context's cache, to be freed; taken again as long as other threads make it grow. */
static dj_result snapshot(struct dj_context *context, uint8_t **data, uint64_t *size)
{
    *data = NULL;
    dj_result result = dj_cache_write(context, NULL, size);
    do {
        if (result != DJ_SUCCESS && result != DJ_ERROR_LIMIT)
            return result;
        free(*data);
        *data = malloc((size_t)*size);
        if (*data == NULL)
            return dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY,
                           "no memory for a cache of %" PRIu64 " bytes", *size);
        result = dj_cache_write(context, *data, size);
    } while (result != DJ_SUCCESS);
    return result;
}

/* What the names of temporary_open begin with; two hexadecimal numbers follow. */
static void temporary_prefix(const char *name, char prefix[NAME_SIZE])
{
    snprintf(prefix, NAME_SIZE, ".%.80s.", name);
}

static bool is_temporary(const char *entry, const char *prefix)
{
    static const char digits[] = "0123456789abcdef";
    if (strncmp(entry, prefix, strlen(prefix)) != 0)
        return false;
    const char *const process = entry + strlen(prefix);
    const char *const point = process + strspn(process, digits);
    if (point == process || *point != '.')
        return false;
    const size_t serial = strspn(point + 1, digits);
    return serial > 0 && point[1 + serial] == '\0';
}

/* Removes what processes that crashed while they saved this file have left: the user's own regular
 * files. What else has such a name stays. */
static void stale_remove(const struct dj_log *log, int directory, const char *name)
{
    char prefix[NAME_SIZE];
    const int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *const list = fd >= 0 ? fdopendir(fd) : NULL;
    if (list == NULL) {
        if (fd >= 0)
            close(fd);
        return; /* the next save may */
    }
    temporary_prefix(name, prefix);
    for (const struct dirent *entry; (entry = readdir(list)) != NULL;) {
        struct stat status;
        if (is_temporary(entry->d_name, prefix) &&
            fstatat(directory, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
            time(NULL) - status.st_mtime > STALE_SECONDS &&
            unlinkat(directory, entry->d_name, 0) == 0)
            dj_log_line(log, DJ_LOG_DEBUG, "cache: removed %s, which a crash left", entry->d_name);
    }
    closedir(list);
}

/* Opens a file of a new name in the folder. */
static int temporary_open(int directory, const char *name, char temporary[NAME_SIZE])
{
    static atomic_uint serial;
    char prefix[NAME_SIZE];
    int fd = -1;
    temporary_prefix(name, prefix);
    errno = EEXIST;
    for (int i = 0; i < TEMPORARY_TRIES && fd < 0 && errno == EEXIST; i++) {
        snprintf(temporary, NAME_SIZE, "%.82s%lx.%x", prefix, (unsigned long)getpid(),
                 atomic_fetch_add(&serial, 1u));
        fd = openat(directory, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    S_IRUSR | S_IWUSR);
    }
    return fd;
}

/* Writes a file beside the one of that name, then puts it in its place. */
static dj_result file_replace(const struct dj_log *log, int directory, const char *name,
                              const uint8_t *data, uint64_t size)
{
    char temporary[NAME_SIZE];
    const int fd = temporary_open(directory, name, temporary);
    if (fd < 0)
        return fail(log, "making", temporary);
    const bool written = write_all(fd, data, (size_t)size) && fsync(fd) == 0;
    dj_result result = written ? DJ_SUCCESS : fail(log, "writing", temporary);
    if (close(fd) != 0 && result == DJ_SUCCESS)
        result = fail(log, "writing", temporary);
    if (result == DJ_SUCCESS && renameat(directory, temporary, directory, name) != 0)
        result = fail(log, "replacing", name);
    if (result != DJ_SUCCESS)
        (void)unlinkat(directory, temporary, 0);
    else
        (void)fsync(
            directory); /* the new name may be lost in a crash; the old file is then there */
    return result;
}

dj_result dj_cache_file_save(dj_context *context, const char *folder)
{
    if (context == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    const struct dj_log *const log = &context->log;
    char name[NAME_SIZE];
    int directory;
    file_name(context, name);
    dj_result result = folder_open(log, folder, true, &directory);
    if (result != DJ_SUCCESS)
        return result;
    stale_remove(log, directory, name);
    uint8_t *data = NULL;
    uint64_t size = 0;
    result = snapshot(context, &data, &size);
    if (result == DJ_SUCCESS)
        result = file_replace(log, directory, name, data, size);
    free(data);
    close(directory);
    return result;
}
