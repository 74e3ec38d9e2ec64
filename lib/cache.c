/* SPDX-License-Identifier: MIT */
/* A cache as bytes, numbers little-endian: a header, the driver's pipeline cache, the recipes,
 * each behind the verdict on it, then the choices. The header, and where in it:
 *
 *   0  MAGIC                 16  vendor       32  pipelineCacheUUID
 *   8  FORMAT                20  device       48  bytes of the pipeline cache, 64 bits
 *  12  version of dijiang    24  driver       56  bytes of the whole, 64 bits
 *                            28  recipes      64  hash of all other bytes, 64 bits */
#include "cache.h"

#include "choices.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    FORMAT = 2,
    HASH_AT = 64,
    HEADER = 72,
    VULKAN_HEADER = 32, /* VkPipelineCacheHeaderVersionOne */
};

static const uint8_t MAGIC[8] = {'d', 'i', 'j', 'i', 'a', 'n', 'g', 0x1a};

/* A cache taken apart. */
struct blob {
    const uint8_t *pipelines;
    size_t pipelines_size;
    uint32_t recipes;
    struct dj_recipe_entry *list;
    struct dj_choice *choices;
};

static void blob_free(struct blob *blob)
{
    dj_recipe_entries_free(blob->list);
    dj_choices_free(blob->choices);
}

/* Why a cache is not taken. */
struct flaw {
    char text[160];
    bool foreign; /* it is whole, but made elsewhere */
};

__attribute__((format(printf, 3, 4))) static dj_result refuse(struct flaw *flaw, bool foreign,
                                                              const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(flaw->text, sizeof flaw->text, format, args);
    va_end(args);
    flaw->foreign = foreign;
    return DJ_ERROR_CACHE;
}

/* FNV-1a, 64 bits: any one byte that differs gives another hash. */
static uint64_t hash_add(uint64_t hash, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static uint64_t hash_whole(const uint8_t *bytes, size_t size)
{
    const uint64_t hash = hash_add(UINT64_C(0xcbf29ce484222325), bytes, HASH_AT);
    return hash_add(hash, bytes + HEADER, size - HEADER);
}

struct dj_cache_identity dj_cache_identity(const struct dj_context *context)
{
    VkPhysicalDeviceProperties properties;
    context->vk.vkGetPhysicalDeviceProperties(context->physical, &properties);
    struct dj_cache_identity identity = {.vendor = properties.vendorID,
                                         .device = properties.deviceID,
                                         .driver = properties.driverVersion};
    memcpy(identity.uuid, properties.pipelineCacheUUID, sizeof identity.uuid);
    return identity;
}

/* Vulkan's own header: a driver need not survive another's data. */
static bool pipelines_fit(const struct blob *blob, const struct dj_cache_identity *identity)
{
    struct dj_reader reader = {.data = blob->pipelines, .left = blob->pipelines_size};
    const bool known = dj_read_u32(&reader) == VULKAN_HEADER &&
                       dj_read_u32(&reader) == VK_PIPELINE_CACHE_HEADER_VERSION_ONE &&
                       dj_read_u32(&reader) == identity->vendor &&
                       dj_read_u32(&reader) == identity->device;
    const uint8_t *const uuid = dj_read_bytes(&reader, VK_UUID_SIZE);
    return known && uuid != NULL && memcmp(uuid, identity->uuid, VK_UUID_SIZE) == 0;
}

/* Reads recipes and choices, the rest of the bytes. */
static dj_result lists_read(struct dj_reader *reader, struct blob *blob, struct flaw *flaw)
{
    for (uint32_t i = 0; i < blob->recipes && !reader->broken; i++) {
        struct dj_recipe_entry *const entry = calloc(1, sizeof *entry);
        if (entry == NULL) {
            dj_reader_starve(reader);
            break;
        }
        entry->next = blob->list;
        blob->list = entry;
        const uint32_t verdict = dj_read_u32(reader);
        if (verdict > DJ_VERDICT_WRONG)
            reader->broken = true;
        atomic_init(&entry->verdict, verdict);
        dj_recipe_read(&entry->recipe, reader);
    }
    blob->choices = dj_choices_read(reader);
    if (reader->starved) {
        refuse(flaw, false, "there is no memory for its %" PRIu32 " kernels and choices",
               blob->recipes);
        return DJ_ERROR_OUT_OF_HOST_MEMORY;
    }
    if (reader->broken || reader->left != 0)
        return refuse(flaw, false, "its kernels or choices are malformed");
    return DJ_SUCCESS;
}

/* The header's numbers behind the magic, up to the hash. */
static dj_result header_check(struct dj_reader *reader, const struct dj_cache_identity *identity,
                              uint64_t size, struct flaw *flaw)
{
    const uint32_t format = dj_read_u32(reader), version = dj_read_u32(reader);
    const uint32_t vendor = dj_read_u32(reader), device = dj_read_u32(reader);
    const uint32_t driver = dj_read_u32(reader);
    (void)dj_read_u32(reader); /* recipes */
    const uint8_t *const uuid = dj_read_bytes(reader, VK_UUID_SIZE);
    const uint64_t pipelines = dj_read_u64(reader), whole = dj_read_u64(reader);
    if (format != FORMAT)
        return refuse(flaw, true, "its format is %" PRIu32 ", not %d", format, FORMAT);
    if (version != dj_version())
        return refuse(flaw, true, "dijiang %" PRIu32 " made it, not %" PRIu32, version,
                      dj_version());
    if (vendor != identity->vendor || device != identity->device)
        return refuse(flaw, true,
                      "it is of device 0x%04" PRIx32 ":0x%04" PRIx32 ", not 0x%04" PRIx32
                      ":0x%04" PRIx32,
                      vendor, device, identity->vendor, identity->device);
    if (driver != identity->driver || memcmp(uuid, identity->uuid, VK_UUID_SIZE) != 0)
        return refuse(flaw, true, "it is of another version or build of the driver");
    if (whole != size || pipelines > size - HEADER)
        return refuse(flaw, false, "it has %" PRIu64 " bytes, and should have %" PRIu64, size,
                      whole);
    return DJ_SUCCESS;
}

/* Takes a cache apart, or says why not; blob_free is due either way. */
static dj_result blob_open(const struct dj_context *context, const void *data, uint64_t size,
                           struct blob *blob, struct flaw *flaw)
{
    const struct dj_cache_identity identity = dj_cache_identity(context);
    const uint8_t *const bytes = data;
    *blob = (struct blob){0};
    if (size < HEADER || size > SIZE_MAX)
        return refuse(flaw, false, "it has %" PRIu64 " bytes, which is no header", size);
    if (memcmp(bytes, MAGIC, sizeof MAGIC) != 0)
        return refuse(flaw, false, "it does not begin as one");
    struct dj_reader reader = {.data = bytes + sizeof MAGIC, .left = HASH_AT - sizeof MAGIC};
    const dj_result result = header_check(&reader, &identity, size, flaw);
    if (result != DJ_SUCCESS)
        return result;
    struct dj_reader numbers = {.data = bytes + HASH_AT, .left = HEADER - HASH_AT};
    if (hash_whole(bytes, (size_t)size) != dj_read_u64(&numbers))
        return refuse(flaw, false, "its contents are damaged");

    numbers = (struct dj_reader){.data = bytes + 28, .left = 4};
    blob->recipes = dj_read_u32(&numbers);
    numbers = (struct dj_reader){.data = bytes + 48, .left = 8};
    blob->pipelines = bytes + HEADER;
    blob->pipelines_size = (size_t)dj_read_u64(&numbers);
    if (blob->pipelines_size > 0 && !pipelines_fit(blob, &identity))
        return refuse(flaw, false, "its pipeline cache is not this driver's");
    reader = (struct dj_reader){.data = blob->pipelines + blob->pipelines_size,
                                .left = (size_t)size - HEADER - blob->pipelines_size};
    return lists_read(&reader, blob, flaw);
}

/* Whether the context has a pipeline cache, and one of its own. */
static bool has_pipelines(const struct dj_context *context)
{
    return context->pipeline_cache && !context->foreign_cache;
}

static VkResult pipelines_load(struct dj_context *context, const struct blob *blob)
{
    const struct VolkDeviceTable *const vk = &context->vk.device;
    if (blob->pipelines_size == 0 || !has_pipelines(context))
        return VK_SUCCESS;
    const VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
                                            .initialDataSize = blob->pipelines_size,
                                            .pInitialData = blob->pipelines};
    VkPipelineCache loaded;
    VkResult code = vk->vkCreatePipelineCache(context->device, &info, context->allocator, &loaded);
    if (code != VK_SUCCESS)
        return code;
    code = vk->vkMergePipelineCaches(context->device, context->pipeline_cache, 1, &loaded);
    vk->vkDestroyPipelineCache(context->device, loaded, context->allocator);
    return code;
}

dj_result dj_context_load_cache(struct dj_context *context, const void *data, uint64_t size)
{
    struct blob blob;
    struct flaw flaw;
    if (data == NULL || size == 0)
        return DJ_SUCCESS;
    const dj_result result = blob_open(context, data, size, &blob, &flaw);
    if (result != DJ_SUCCESS) {
        blob_free(&blob);
        dj_log_line(&context->log, flaw.foreign ? DJ_LOG_INFO : DJ_LOG_WARNING,
                    "the cache is not used: %s", flaw.text);
        return result;
    }
    const VkResult code = pipelines_load(context, &blob);
    if (code != VK_SUCCESS) {
        blob_free(&blob);
        dj_log_line(&context->log, DJ_LOG_WARNING,
                    "the cache is not used: the driver refuses it with VkResult %d", (int)code);
        return code == VK_ERROR_OUT_OF_HOST_MEMORY ? DJ_ERROR_OUT_OF_HOST_MEMORY : DJ_ERROR_CACHE;
    }
    dj_recipes_add(context, blob.list);
    for (const struct dj_choice *choice = blob.choices; choice != NULL; choice = choice->next) {
        if (dj_choices_add(context, choice) == NULL)
            dj_log_line(&context->log, DJ_LOG_WARNING,
                        "the cache: no memory for a choice, which can be measured again");
    }
    dj_choices_free(blob.choices);
    dj_log_line(&context->log, DJ_LOG_DEBUG,
                "the cache is used: %" PRIu32 " DCT kernels, %zu bytes of the driver's",
                blob.recipes, blob.pipelines_size);
    return DJ_SUCCESS;
}

dj_result dj_cache_check(dj_context *context, const void *data, uint64_t size)
{
    struct blob blob;
    struct flaw flaw;
    if (context == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    if (data == NULL)
        return dj_fail(&context->log, DJ_ERROR_INVALID_ARGUMENT, "dj_cache_check: data is NULL");
    const dj_result result = blob_open(context, data, size, &blob, &flaw);
    blob_free(&blob);
    return result == DJ_SUCCESS
               ? DJ_SUCCESS
               : dj_fail(&context->log, result, "not a cache to use: %s", flaw.text);
}

/* The driver's pipeline cache. */
static VkResult pipelines_get(struct dj_context *context, size_t *size, void *data)
{
    const struct VolkDeviceTable *const vk = &context->vk.device;
    if (has_pipelines(context))
        return vk->vkGetPipelineCacheData(context->device, context->pipeline_cache, size, data);
    *size = 0;
    return VK_SUCCESS;
}

/* Appends the recipes from `first` on; returns their number. */
static uint32_t recipes_write(const struct dj_recipe_entry *first, struct dj_writer *writer)
{
    uint32_t count = 0;
    for (const struct dj_recipe_entry *entry = first; entry != NULL; entry = entry->next) {
        dj_write_u32(writer, atomic_load(&entry->verdict));
        dj_recipe_write(&entry->recipe, writer);
        count++;
    }
    return count;
}

static void header_write(const struct dj_context *context, uint32_t recipes, uint64_t pipelines,
                         uint8_t *data, uint64_t size)
{
    const struct dj_cache_identity identity = dj_cache_identity(context);
    struct dj_writer writer = {.data = data, .capacity = HEADER};
    dj_write_bytes(&writer, MAGIC, sizeof MAGIC);
    dj_write_u32(&writer, FORMAT);
    dj_write_u32(&writer, dj_version());
    dj_write_u32(&writer, identity.vendor);
    dj_write_u32(&writer, identity.device);
    dj_write_u32(&writer, identity.driver);
    dj_write_u32(&writer, recipes);
    dj_write_bytes(&writer, identity.uuid, sizeof identity.uuid);
    dj_write_u64(&writer, pipelines);
    dj_write_u64(&writer, size);
    dj_write_u64(&writer, hash_whole(data, (size_t)size));
}

dj_result dj_cache_write(struct dj_context *context, void *data, uint64_t *size)
{
    const struct dj_recipe_entry *const first = dj_recipes_first(context);
    const struct dj_choice *const choices = dj_choices_first(context);
    struct dj_writer measure = {0};
    recipes_write(first, &measure);
    dj_choices_write(choices, &measure);
    size_t pipelines = 0;
    VkResult code = pipelines_get(context, &pipelines, NULL);
    if (code != VK_SUCCESS)
        return dj_context_result(context, code, "vkGetPipelineCacheData");
    const uint64_t capacity = *size, needed = HEADER + pipelines + measure.size;
    if (data == NULL || capacity < needed) {
        *size = needed;
        return data == NULL ? DJ_SUCCESS : DJ_ERROR_LIMIT;
    }
    uint8_t *const bytes = data;
    code = pipelines_get(context, &pipelines, bytes + HEADER);
    if (code != VK_SUCCESS && code != VK_INCOMPLETE) /* it grew: what fits is valid */
        return dj_context_result(context, code, "vkGetPipelineCacheData");
    struct dj_writer writer = {
        .data = bytes, .capacity = (size_t)needed, .size = HEADER + pipelines};
    const uint32_t recipes = recipes_write(first, &writer);
    dj_choices_write(choices, &writer);
    header_write(context, recipes, pipelines, bytes, writer.size);
    *size = writer.size;
    return DJ_SUCCESS;
}

dj_result dj_cache_save(dj_context *context, void *data, uint64_t *size)
{
    if (context == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    if (size == NULL)
        return dj_fail(&context->log, DJ_ERROR_INVALID_ARGUMENT, "dj_cache_save: size is NULL");
    const uint64_t capacity = *size;
    const dj_result result = dj_cache_write(context, data, size);
    if (result != DJ_ERROR_LIMIT)
        return result;
    return dj_fail(&context->log, result,
                   "dj_cache_save: the cache has %" PRIu64
                   " bytes by now, there is room for %" PRIu64,
                   *size, capacity);
}
