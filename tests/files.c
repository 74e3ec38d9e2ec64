/* SPDX-License-Identifier: MIT */
#include "files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[256];

int files_setup(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof(folder), "%s/dijiang-test-XXXXXX", base ? base : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static bool is_entry(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

int files_teardown(void **state)
{
    (void)state;
    DIR *directory = opendir(folder);
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        if (is_entry(entry))
            remove(files_path(entry->d_name));
    if (directory)
        closedir(directory);
    return rmdir(folder);
}

const char *files_path(const char *name)
{
    static char paths[4][600];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

size_t files_count(void)
{
    size_t count = 0;
    DIR *directory = opendir(folder);
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory));)
        count += is_entry(entry);
    closedir(directory);
    return count;
}

bool files_exists(const char *name)
{
    struct stat status;
    return lstat(files_path(name), &status) == 0;
}

void files_remove(const char *name)
{
    remove(files_path(name));
}

static const char *write_parts(const char *name, const void *const parts[3], const size_t sizes[3])
{
    const char *path = files_path(name);
    remove(path); /* some file systems flush to the disk what replaces a truncated file */
    FILE *stream = fopen(path, "wb");
    assert_non_null(stream);
    for (int i = 0; i < 3; i++)
        assert_int_equal(sizes[i] ? fwrite(parts[i], 1, sizes[i], stream) : 0, sizes[i]);
    assert_int_equal(fclose(stream), 0);
    return path;
}

const char *files_write(const char *name, const void *bytes, size_t size)
{
    return write_parts(name, (const void *const[3]){bytes, NULL, NULL}, (const size_t[3]){size});
}

const char *files_write_tensors(const char *name, const char *header, const void *data, size_t size)
{
    const size_t length = strlen(header);
    unsigned char prefix[8];
    for (int i = 0; i < 8; i++)
        prefix[i] = (unsigned char)((uint64_t)length >> 8 * i);
    return write_parts(name, (const void *const[3]){prefix, header, data},
                       (const size_t[3]){sizeof(prefix), length, size});
}

char *files_read(const char *path, size_t *size)
{
    FILE *stream = fopen(path, "rb");
    assert_non_null(stream);
    fseek(stream, 0, SEEK_END);
    *size = (size_t)ftell(stream);
    rewind(stream);
    char *bytes = malloc(*size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *size, stream), *size);
    bytes[*size] = '\0';
    fclose(stream);
    return bytes;
}
