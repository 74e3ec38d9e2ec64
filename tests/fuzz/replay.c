/* SPDX-License-Identifier: MIT */
/* Drives a fuzz target without libFuzzer, as TAP: every file of its corpus as it is, then mutations
 * of it from a printed seed.
 * usage: fuzz-TARGET CORPUS [MUTATIONS] */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <time.h>

enum {
    MOST_FILES = 4096,
    MOST_BYTES = 1 << 20
};

static struct {
    uint8_t *data;
    size_t size;
} files[MOST_FILES];
static size_t file_count;
static uint64_t state;

static uint64_t next(void)
{
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void read_file(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *const stream = fopen(path, "rb");
    FUZZ_ASSERT(stream != NULL && file_count < MOST_FILES);
    uint8_t *const data = malloc(MOST_BYTES);
    FUZZ_ASSERT(data != NULL);
    files[file_count].size = fread(data, 1, MOST_BYTES, stream);
    files[file_count++].data = data;
    fclose(stream);
}

static void read_corpus(const char *folder)
{
    DIR *const entries = opendir(folder);
    if (entries == NULL) {
        fprintf(stderr, "%s: %s\n", folder, strerror(errno));
        exit(2);
    }
    for (const struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        if (entry->d_name[0] != '.')
            read_file(folder, entry->d_name);
    }
    closedir(entries);
}

/* Some bytes changed, cut, repeated, or taken from another file. */
static size_t mutate(uint8_t *data, size_t size)
{
    for (uint64_t changes = 1 + next() % 8; changes > 0; changes--) {
        const size_t at = size > 0 ? next() % size : 0;
        const size_t other = next() % file_count;
        switch (next() % 6) {
        case 0:
            if (size > 0)
                data[at] ^= (uint8_t)(1u << next() % 8);
            break;
        case 1:
            if (size > 0)
                data[at] = (uint8_t)next();
            break;
        case 2:
            size = at;
            break;
        case 3: {
            const size_t more = next() % 64;
            if (size + more > MOST_BYTES)
                break;
            memmove(data + at + more, data + at, size - at);
            size += more;
            break;
        }
        case 4:
            for (size_t i = at; i < size && i < at + 8; i++)
                data[i] = next() % 2 ? 0xff : 0;
            break;
        default:
            for (size_t i = at; i < size && i < files[other].size && i < at + 16; i++)
                data[i] = files[other].data[i];
            break;
        }
    }
    return size;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    const char *const given = getenv("DIJIANG_TEST_SEED");
    const unsigned long mutations = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    state = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    fprintf(stderr, "# DIJIANG_TEST_SEED=%llu\n", (unsigned long long)state);
    read_corpus(argv[1]);
    printf("1..2\n");
    for (size_t i = 0; i < file_count; i++)
        LLVMFuzzerTestOneInput(files[i].data, files[i].size);
    printf("%sok 1 - the corpus of %zu files\n", file_count > 0 ? "" : "not ", file_count);
    uint8_t *const data = malloc(MOST_BYTES);
    FUZZ_ASSERT(data != NULL);
    for (unsigned long n = 0; file_count > 0 && n < mutations; n++) {
        const size_t file = next() % file_count;
        memcpy(data, files[file].data, files[file].size);
        /* a block of its own size, so that reading beyond it is noticed */
        const size_t size = mutate(data, files[file].size);
        uint8_t *const exact = malloc(size > 0 ? size : 1);
        FUZZ_ASSERT(exact != NULL);
        memcpy(exact, data, size);
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
    }
    printf("ok 2 - %lu mutations of them\n", mutations);
    free(data);
    for (size_t i = 0; i < file_count; i++)
        free(files[i].data);
    return file_count > 0 ? 0 : 1;
}
