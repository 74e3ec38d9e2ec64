/* SPDX-License-Identifier: MIT */
#include "safetensors.h"
#include "element.h"

#include <cjson/cJSON.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_HEADER = 100000000, /* the format's own limit */
    MAX_VALUES = 2000000,   /* in a header: each costs the parser some hundred bytes */
    CHUNK = 1 << 16,        /* bytes converted at a time */
};

static const struct element_type {
    const char *name;
    uint32_t bits;
} element_types[] = {
    {"F32", 32},    {"F16", 16},    {"BF16", 16},   {"F64", 64},    {"BOOL", 8},
    {"U8", 8},      {"I8", 8},      {"U16", 16},    {"I16", 16},    {"U32", 32},
    {"I32", 32},    {"U64", 64},    {"I64", 64},    {"C64", 64},    {"F8_E4M3", 8},
    {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4},
};

bool safetensors_fail(struct safetensors_error *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    for (char *c = error->text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    return false;
}

/* A file's own text, made fit for a message: short, printable ASCII. */
struct quoted {
    char text[52];
};

static struct quoted quote(const char *text)
{
    struct quoted q;
    size_t n = 0;
    for (; text[n] && n < 48; n++)
        q.text[n] = text[n] >= 0x20 && text[n] < 0x7f ? text[n] : '?';
    memcpy(q.text + n, text[n] ? "..." : "", text[n] ? 4 : 1);
    return q;
}

static bool read_at(int descriptor, uint64_t offset, void *data, size_t size,
                    struct safetensors_error *error)
{
    char *to = data;
    while (size > 0) {
        const ssize_t got = pread(descriptor, to, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return safetensors_fail(error, "cannot be read: %s", strerror(errno));
        if (got == 0)
            return safetensors_fail(error, "ended while it was read");
        to += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return true;
}

/* cJSON keeps numbers as doubles: those from 2^53 on may have been rounded. */
static bool exact_integer(const cJSON *value, uint64_t *integer)
{
    if (!cJSON_IsNumber(value) || !(value->valuedouble >= 0) || value->valuedouble >= 0x1p53)
        return false;
    *integer = (uint64_t)value->valuedouble;
    return (double)*integer == value->valuedouble;
}

static bool read_shape(struct safetensors_tensor *tensor, const cJSON *shape, const char *name,
                       struct safetensors_error *error)
{
    if (!cJSON_IsArray(shape))
        return safetensors_fail(error, "tensor '%s': shape is not an array", name);
    tensor->rank = (uint32_t)cJSON_GetArraySize(shape);
    tensor->shape = calloc(tensor->rank + 1, sizeof(*tensor->shape));
    if (!tensor->shape)
        return safetensors_fail(error, "out of memory");

    uint32_t i = 0;
    bool empty = false, overflow = false;
    tensor->count = 1;
    for (const cJSON *value = shape->child; value; value = value->next, i++) {
        if (!exact_integer(value, &tensor->shape[i]))
            return safetensors_fail(
                error, "tensor '%s': shape[%u] is not an integer from 0 to 2^53 - 1", name, i);
        empty |= tensor->shape[i] == 0;
        overflow |= __builtin_mul_overflow(tensor->count, tensor->shape[i], &tensor->count);
    }
    if (empty)
        tensor->count = 0;
    else if (overflow || tensor->count > UINT64_MAX / 64)
        return safetensors_fail(
            error, "tensor '%s': its shape has more elements than any file can hold", name);
    return true;
}

static bool read_offsets(struct safetensors_tensor *tensor, const cJSON *offsets,
                         uint64_t data_size, const char *name, struct safetensors_error *error)
{
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !exact_integer(offsets->child, &tensor->begin) ||
        !exact_integer(offsets->child->next, &tensor->end))
        return safetensors_fail(
            error, "tensor '%s': data_offsets is not a pair of integers below 2^53", name);
    if (tensor->begin > tensor->end)
        return safetensors_fail(error,
                                "tensor '%s': data_offsets [%" PRIu64 ", %" PRIu64 "] are reversed",
                                name, tensor->begin, tensor->end);
    if (tensor->end > data_size)
        return safetensors_fail(error,
                                "tensor '%s': its data ends at byte %" PRIu64 " of %" PRIu64
                                " (a truncated file?)",
                                name, tensor->end, data_size);
    return true;
}

static bool read_type(struct safetensors_tensor *tensor, const cJSON *type, uint32_t *bits,
                      const char *name, struct safetensors_error *error)
{
    if (!cJSON_IsString(type))
        return safetensors_fail(error, "tensor '%s': dtype is not a string", name);
    for (size_t i = 0; i < sizeof(element_types) / sizeof(element_types[0]); i++) {
        if (strcmp(type->valuestring, element_types[i].name) == 0) {
            tensor->type = element_types[i].name;
            *bits = element_types[i].bits;
            return true;
        }
    }
    return safetensors_fail(error, "tensor '%s': unknown dtype '%s'", name,
                            quote(type->valuestring).text);
}

/* One member of the header. What it allocates is the caller's to free, also on failure. */
static bool read_tensor(struct safetensors_tensor *tensor, const cJSON *member, uint64_t data_size,
                        struct safetensors_error *error)
{
    const struct quoted quoted = quote(member->string);
    const char *name = quoted.text;
    static const char *const keys[] = {"dtype", "shape", "data_offsets"};
    const cJSON *values[3] = {NULL, NULL, NULL};

    tensor->name = strdup(member->string);
    if (!tensor->name)
        return safetensors_fail(error, "out of memory");
    if (!cJSON_IsObject(member))
        return safetensors_fail(error, "tensor '%s': its description is not an object", name);
    for (const cJSON *value = member->child; value; value = value->next) {
        for (int i = 0; i < 3; i++) {
            if (strcmp(value->string, keys[i]) != 0)
                continue;
            if (values[i])
                return safetensors_fail(error, "tensor '%s': %s stands there twice", name, keys[i]);
            values[i] = value;
        }
    }
    for (int i = 0; i < 3; i++)
        if (!values[i])
            return safetensors_fail(error, "tensor '%s': %s is missing", name, keys[i]);

    uint32_t bits = 0;
    if (!read_type(tensor, values[0], &bits, name, error) ||
        !read_shape(tensor, values[1], name, error) ||
        !read_offsets(tensor, values[2], data_size, name, error))
        return false;
    const uint64_t size = tensor->end - tensor->begin;
    if (tensor->count * bits % 8 != 0 || size != tensor->count * bits / 8)
        return safetensors_fail(
            error, "tensor '%s': %" PRIu64 " elements of %s do not fill %" PRIu64 " bytes", name,
            tensor->count, tensor->type, size);
    return true;
}

static int by_offset(const void *a, const void *b)
{
    const struct safetensors_tensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

static int by_name(const void *a, const void *b)
{
    const struct safetensors_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Whether the tensors cover the data exactly once, and none has another's name; leaves them sorted.
 */
static bool check_layout(struct safetensors *file, uint64_t data_size,
                         struct safetensors_error *error)
{
    struct safetensors_tensor *tensors = file->tensors;
    qsort(tensors, file->count, sizeof(*tensors), by_offset);
    uint64_t end = 0;
    for (uint32_t i = 0; i < file->count; i++) {
        const struct quoted name = quote(tensors[i].name);
        if (tensors[i].begin < end)
            return safetensors_fail(error, "tensors '%s' and '%s' overlap",
                                    quote(tensors[i - 1].name).text, name.text);
        if (tensors[i].begin > end)
            return safetensors_fail(
                error, "bytes %" PRIu64 " to %" PRIu64 " of the data belong to no tensor", end,
                tensors[i].begin);
        end = tensors[i].end;
    }
    if (end != data_size)
        return safetensors_fail(error, "the last %" PRIu64 " bytes belong to no tensor",
                                data_size - end);

    qsort(tensors, file->count, sizeof(*tensors), by_name);
    for (uint32_t i = 1; i < file->count; i++)
        if (strcmp(tensors[i - 1].name, tensors[i].name) == 0)
            return safetensors_fail(error, "tensor '%s' stands there twice",
                                    quote(tensors[i].name).text);
    return true;
}

/* What cJSON is more lenient about than JSON, or would spend too much on. */
static bool check_text(const char *text, size_t length, struct safetensors_error *error)
{
    size_t values = 0;
    if (length == 0 || text[0] != '{')
        return safetensors_fail(error, "no safetensors file: its header does not start with '{'");
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c < 0x20 && c != '\t' && c != '\n' && c != '\r')
            return safetensors_fail(error, "the header has the control character 0x%02x", c);
        values += c == ',' || c == '[' || c == '{';
    }
    if (values > MAX_VALUES)
        return safetensors_fail(error, "the header has over %d values", MAX_VALUES);
    if (memmem(text, length, "\\u0000", 6))
        return safetensors_fail(error, "the header has a NUL character");
    return true;
}

static int by_key(const void *a, const void *b)
{
    const struct safetensors_metadata *x = a, *y = b;
    return strcmp(x->key, y->key);
}

/* Leaves it sorted. */
static bool read_metadata(struct safetensors *file, const cJSON *object,
                          struct safetensors_error *error)
{
    if (!cJSON_IsObject(object))
        return safetensors_fail(error, "__metadata__ is no object");
    file->metadata = calloc((size_t)cJSON_GetArraySize(object) + 1, sizeof(*file->metadata));
    if (!file->metadata)
        return safetensors_fail(error, "out of memory");
    for (const cJSON *value = object->child; value; value = value->next) {
        if (!cJSON_IsString(value) || !value->string)
            return safetensors_fail(error, "__metadata__ has a value that is no string");
        struct safetensors_metadata *to = &file->metadata[file->metadata_count++];
        to->key = strdup(value->string);
        to->value = strdup(value->valuestring);
        if (!to->key || !to->value)
            return safetensors_fail(error, "out of memory");
    }
    qsort(file->metadata, file->metadata_count, sizeof(*file->metadata), by_key);
    for (uint32_t i = 1; i < file->metadata_count; i++)
        if (strcmp(file->metadata[i - 1].key, file->metadata[i].key) == 0)
            return safetensors_fail(error, "__metadata__ has '%s' twice",
                                    quote(file->metadata[i].key).text);
    return true;
}

static bool read_members(struct safetensors *file, const cJSON *root, uint64_t data_size,
                         struct safetensors_error *error)
{
    bool metadata = false;
    file->tensors = calloc((size_t)cJSON_GetArraySize(root) + 1, sizeof(*file->tensors));
    if (!file->tensors)
        return safetensors_fail(error, "out of memory");
    for (const cJSON *member = root->child; member; member = member->next) {
        if (strcmp(member->string, "__metadata__") == 0) {
            if (metadata)
                return safetensors_fail(error, "__metadata__ stands there twice");
            metadata = true;
            if (!read_metadata(file, member, error))
                return false;
            continue;
        }
        if (!read_tensor(&file->tensors[file->count++], member, data_size, error))
            return false;
    }
    return check_layout(file, data_size, error);
}

static bool parse_header(struct safetensors *file, const char *text, size_t length,
                         uint64_t data_size, struct safetensors_error *error)
{
    if (!check_text(text, length, error))
        return false;
    const char *end = NULL;
    cJSON *root = cJSON_ParseWithLengthOpts(text, length, &end, false);
    if (!root)
        return safetensors_fail(error,
                                "the header is not valid JSON (near byte %zu), or nested too deep",
                                end ? (size_t)(end - text) : (size_t)0);
    bool ok = false;
    while (end < text + length && strchr(" \t\r\n", *end))
        end++;
    if (end != text + length)
        safetensors_fail(error, "text follows the header's JSON at byte %zu", (size_t)(end - text));
    else
        ok = read_members(file, root, data_size, error);
    cJSON_Delete(root);
    return ok;
}

static bool read_header(struct safetensors *file, struct safetensors_error *error)
{
    struct stat status;
    if (fstat(file->descriptor, &status) != 0)
        return safetensors_fail(error, "cannot be read: %s", strerror(errno));
    if (!S_ISREG(status.st_mode))
        return safetensors_fail(error, "is not a regular file");
    const uint64_t size = (uint64_t)status.st_size;
    if (size < SAFETENSORS_LENGTH_SIZE)
        return safetensors_fail(error, "no safetensors file: %" PRIu64 " bytes are too few", size);

    unsigned char bytes[SAFETENSORS_LENGTH_SIZE];
    if (!read_at(file->descriptor, 0, bytes, sizeof(bytes), error))
        return false;
    uint64_t length = 0;
    for (int i = SAFETENSORS_LENGTH_SIZE - 1; i >= 0; i--)
        length = length << 8 | bytes[i];
    if (length > MAX_HEADER || length > size - SAFETENSORS_LENGTH_SIZE)
        return safetensors_fail(error,
                                "no safetensors file: a header of %" PRIu64
                                " bytes is announced, in a file of %" PRIu64
                                " (at most %d are allowed)",
                                length, size, MAX_HEADER);

    char *text = malloc(length + 1);
    if (!text)
        return safetensors_fail(error, "out of memory");
    file->data_start = SAFETENSORS_LENGTH_SIZE + length;
    const bool ok = read_at(file->descriptor, SAFETENSORS_LENGTH_SIZE, text, length, error) &&
                    parse_header(file, text, length, size - file->data_start, error);
    free(text);
    return ok;
}

struct safetensors *safetensors_open(const char *path, struct safetensors_error *error)
{
    struct safetensors *file = calloc(1, sizeof(*file));
    if (!file) {
        safetensors_fail(error, "out of memory");
        return NULL;
    }
    /* O_NONBLOCK: a pipe without a writer would block before it can be refused */
    file->descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (file->descriptor < 0) {
        safetensors_fail(error, "cannot be opened: %s", strerror(errno));
        goto fail;
    }
    if (!read_header(file, error))
        goto fail;
    return file;

fail:
    safetensors_close(&file);
    return NULL;
}

void safetensors_close(struct safetensors **file)
{
    if (!*file)
        return;
    for (uint32_t i = 0; i < (*file)->count; i++) {
        free((*file)->tensors[i].name);
        free((*file)->tensors[i].shape);
    }
    free((*file)->tensors);
    for (uint32_t i = 0; i < (*file)->metadata_count; i++) {
        free((char *)(*file)->metadata[i].key);
        free((char *)(*file)->metadata[i].value);
    }
    free((*file)->metadata);
    if ((*file)->descriptor >= 0)
        close((*file)->descriptor);
    free(*file);
    *file = NULL;
}

const struct safetensors_tensor *safetensors_find(const struct safetensors *file, const char *name)
{
    for (uint32_t i = 0; i < file->count; i++)
        if (strcmp(file->tensors[i].name, name) == 0)
            return &file->tensors[i];
    return NULL;
}

const char *safetensors_find_metadata(const struct safetensors *file, const char *key)
{
    for (uint32_t i = 0; i < file->metadata_count; i++)
        if (strcmp(file->metadata[i].key, key) == 0)
            return file->metadata[i].value;
    return NULL;
}

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static float element(const unsigned char *bytes, bool wide, bool half)
{
    const uint32_t low = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8;
    if (wide)
        return from_bits(low | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24);
    return half ? element_from_half((uint16_t)low) : from_bits(low << 16);
}

bool safetensors_read(const struct safetensors *file, const struct safetensors_tensor *tensor,
                      float *data, struct safetensors_error *error)
{
    const bool wide = strcmp(tensor->type, "F32") == 0, half = strcmp(tensor->type, "F16") == 0;
    if (!wide && !half && strcmp(tensor->type, "BF16") != 0)
        return safetensors_fail(error, "tensor '%s' is %s; F32, F16 and BF16 can be read",
                                quote(tensor->name).text, tensor->type);
    const size_t width = wide ? 4 : 2;
    unsigned char bytes[CHUNK];
    uint64_t offset = file->data_start + tensor->begin;
    for (uint64_t left = tensor->count; left > 0;) {
        const size_t n = left < CHUNK / width ? (size_t)left : CHUNK / width;
        if (!read_at(file->descriptor, offset, bytes, n * width, error))
            return false;
        for (size_t i = 0; i < n; i++)
            data[i] = element(bytes + i * width, wide, half);
        data += n;
        left -= n;
        offset += n * width;
    }
    return true;
}
