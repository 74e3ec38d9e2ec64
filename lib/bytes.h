/* SPDX-License-Identifier: MIT */
/* Little-endian numbers in memory, whatever the host's order; writing and reading never leave their
 * bounds. */
#ifndef DJ_LIB_BYTES_H
#define DJ_LIB_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Counts all that is written to it and stores what fits: with no capacity it measures. */
struct dj_writer {
    uint8_t *data; /* NULL if capacity is 0 */
    size_t capacity, size;
};

static inline void dj_write_bytes(struct dj_writer *writer, const void *bytes, size_t count)
{
    if (writer->size <= writer->capacity && count <= writer->capacity - writer->size && count > 0)
        memcpy(writer->data + writer->size, bytes, count);
    writer->size += count;
}

static inline void dj_write_u32(struct dj_writer *writer, uint32_t value)
{
    const uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                              (uint8_t)(value >> 24)};
    dj_write_bytes(writer, bytes, sizeof bytes);
}

static inline void dj_write_u64(struct dj_writer *writer, uint64_t value)
{
    dj_write_u32(writer, (uint32_t)value);
    dj_write_u32(writer, (uint32_t)(value >> 32));
}

/* What was asked for beyond the end, or is not as it must be, breaks the reader for good; it then
 * yields zeros. */
struct dj_reader {
    const uint8_t *data;
    size_t left;
    bool broken;
    bool starved; /* broken for want of memory alone: the bytes may be good */
};

/* Breaks the reader because there is no memory for what was read. */
static inline void dj_reader_starve(struct dj_reader *reader)
{
    reader->broken = reader->starved = true;
}

/* The next count bytes, or NULL. */
static inline const uint8_t *dj_read_bytes(struct dj_reader *reader, size_t count)
{
    if (reader->broken || count > reader->left) {
        reader->broken = true;
        return NULL;
    }
    const uint8_t *const bytes = reader->data;
    reader->data += count;
    reader->left -= count;
    return bytes;
}

static inline uint32_t dj_read_u32(struct dj_reader *reader)
{
    const uint8_t *const bytes = dj_read_bytes(reader, 4);
    if (bytes == NULL)
        return 0;
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static inline uint64_t dj_read_u64(struct dj_reader *reader)
{
    const uint64_t low = dj_read_u32(reader);
    return low | (uint64_t)dj_read_u32(reader) << 32;
}

#endif
