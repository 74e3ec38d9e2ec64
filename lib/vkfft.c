/* SPDX-License-Identifier: MIT */
/* VkFFT as a kernel generator: it plans, writes and compiles one DCT kernel on a device that is not
 * there (vkfft_null.h), and what it would have run is kept as a recipe. */
#include "vkfft.h"

#include "glslang.h"
#include "vkfft_null.h"

#include <locale.h>

/* What VkFFT allocates goes through the null device, which frees what it leaks; what it prints when
 * a kernel does not compile goes nowhere. The headers that declare the real functions come first.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static glslang_program_t *null_program_create(void)
{
    return null_device->program = dj_glslang_program_create();
}

static void null_program_delete(glslang_program_t *program)
{
    null_device->program = NULL;
    dj_glslang_program_delete(program);
}

#define malloc null_malloc
#define calloc null_calloc
#define free null_free
#define printf(...) ((void)0)
#define glslang_initialize_process dj_glslang_acquire
#define glslang_finalize_process dj_glslang_release
#define glslang_shader_create dj_glslang_shader_create
#define glslang_shader_delete dj_glslang_shader_delete
#define glslang_shader_preprocess dj_glslang_shader_preprocess
#define glslang_shader_parse dj_glslang_shader_parse
#define glslang_shader_get_info_log dj_glslang_shader_get_info_log
#define glslang_program_create null_program_create
#define glslang_program_delete null_program_delete
#define glslang_program_add_shader dj_glslang_program_add_shader
#define glslang_program_link dj_glslang_program_link
#define glslang_program_SPIRV_generate dj_glslang_program_SPIRV_generate
#define glslang_program_SPIRV_get_messages dj_glslang_program_SPIRV_get_messages
#define glslang_program_SPIRV_get_ptr dj_glslang_program_SPIRV_get_ptr
#define glslang_program_SPIRV_get_size dj_glslang_program_SPIRV_get_size
#define glslang_program_get_info_log dj_glslang_program_get_info_log
#define VKFFT_BACKEND 0
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC optimize("O1") /* minutes less to compile, and what takes time here is glslang */
#endif
#include <vkFFT.h>
#pragma GCC diagnostic pop
#undef malloc
#undef calloc
#undef free
#undef printf

/* VkFFT's own radices. Other prime factors take Rader's or Bluestein's algorithm, whose tables it
 * computes by running kernels. */
static bool has_radices(uint32_t length)
{
    static const uint32_t radices[] = {2, 3, 5, 7, 11, 13};
    for (size_t i = 0; i < sizeof radices / sizeof *radices; i++) {
        while (length % radices[i] == 0)
            length /= radices[i];
    }
    return length == 1;
}

/* The rows to plan for: many, so that nothing is fitted to a small number, within the 32 bits that
 * its kernels index bytes by. */
static uint64_t planned_rows(uint32_t length)
{
    uint64_t rows = 1;
    while (rows * 2 * length * sizeof(float) <= (UINT64_C(1) << 27))
        rows *= 2;
    return rows;
}

/* Plans and "runs"; comes back when memory is short, too. */
static VkFFTResult plan_and_append(const VkFFTConfiguration *configuration, VkFFTApplication *app)
{
    if (setjmp(null_device->escape) != 0) {
        null_device->escapes = false;
        dj_glslang_program_delete(null_device->program);
        return VKFFT_ERROR_MALLOC_FAILED;
    }
    null_device->escapes = true;
    VkFFTResult result = initializeVkFFT(app, *configuration);
    if (result == VKFFT_SUCCESS) {
        VkCommandBuffer commands = NULL_HANDLE(VkCommandBuffer);
        VkFFTLaunchParams launch = {.commandBuffer = &commands, .buffer = configuration->buffer};
        null_device->dispatches = 0;
        result = VkFFTAppend(app, -1, &launch);
    }
    null_device->escapes = false;
    return result;
}

/* Plans and "runs" one forward transform of rows on the null device. app keeps pointers into this
 * frame and is not deleted: all it owns is the null device's. Numbers in a kernel's text are
 * printed by the thread's locale, so that is C meanwhile. */
static VkFFTResult run_vkfft(uint32_t type, uint32_t length, struct null_buffer *rows,
                             VkFFTApplication *app)
{
    VkPhysicalDevice physical = NULL_HANDLE(VkPhysicalDevice);
    VkDevice device = NULL_HANDLE(VkDevice);
    VkQueue queue = NULL_HANDLE(VkQueue);
    VkCommandPool pool = NULL_HANDLE(VkCommandPool);
    VkFence fence = NULL_HANDLE(VkFence);
    VkBuffer buffer = (VkBuffer)(uintptr_t)rows;
    pfUINT size = rows->size;
    VkFFTConfiguration configuration = {
        .FFTdim = 1,
        .size[0] = length,
        .numberBatches = planned_rows(length),
        .physicalDevice = &physical,
        .device = &device,
        .queue = &queue,
        .commandPool = &pool,
        .fence = &fence,
        .isCompilerInitialized = 1,
        .buffer = &buffer,
        .bufferSize = &size,
        .performDCT = type,
        .makeForwardPlanOnly = 1,
        .useLUT = 1, /* GLSL's sin and cos are only good to 2^-11 */
        /* two rows as one complex row would carry a NaN, or a large row's rounding, into its
           neighbour */
        .disableMergeSequencesR2C = 1,
    };
    const locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c_locale == (locale_t)0)
        return VKFFT_ERROR_MALLOC_FAILED;
    const locale_t old_locale = uselocale(c_locale);
    const VkFFTResult result = plan_and_append(&configuration, app);
    uselocale(old_locale);
    freelocale(c_locale);
    return result;
}

/* The rule that a finished plan breaks, or NULL if it is one pass of the shape a recipe can
 * describe. */
static const char *plan_flaw(const VkFFTApplication *app, VkBuffer rows, uint64_t row_count)
{
    const VkFFTAxis *const axis = &app->localFFTPlan->axes[0][0];
    const VkFFTSpecializationConstantsLayout *const constants = &axis->specializationConstants;
    const uint32_t *const groups = null_device->groups;
    const uint64_t per_group = axis->axisBlock[1];
    if (app->useBluesteinFFT[0] || constants->useRader)
        return "it takes Bluestein's or Rader's algorithm";
    if (app->localFFTPlan->numAxisUploads[0] != 1 || null_device->dispatches != 1 ||
        null_device->shaders != 1)
        return "it takes more than one pass";
    if (constants->mergeSequencesR2C)
        return "it joins rows";
    if (per_group == 0 || groups[0] != 1 || groups[2] != 1 ||
        groups[1] != (row_count + per_group - 1) / per_group)
        return "its workgroups are not rows along y";
    if (null_device->bindings[0] != rows || null_device->bindings[1] != rows)
        return "it is not in place";
    for (int i = 3; i < NULL_BINDINGS; i++) {
        if (null_device->bindings[i] != VK_NULL_HANDLE)
            return "it has more than one table";
    }
    return NULL;
}

/* Keeps what the null device noted; false without memory. */
static bool keep_recipe(const VkFFTApplication *app, uint64_t row_count, struct dj_recipe *recipe)
{
    recipe->words_size = null_device->words_size;
    recipe->words = malloc(recipe->words_size);
    if (recipe->words == NULL)
        return false;
    memcpy(recipe->words, null_device->words, recipe->words_size);
    dj_recipe_strip(recipe);
    recipe->roles[0] = DJ_RECIPE_INPUT;
    recipe->roles[1] = DJ_RECIPE_OUTPUT;
    if (null_device->bindings[2] != VK_NULL_HANDLE) {
        const struct null_buffer *const table = null_buffer_of(null_device->bindings[2]);
        recipe->roles[2] = DJ_RECIPE_TABLE;
        recipe->table_size = table->size;
        recipe->table = malloc(recipe->table_size);
        if (recipe->table == NULL || table->data == NULL)
            return false;
        memcpy(recipe->table, table->data, recipe->table_size);
    }
    recipe->rows_per_group = (uint32_t)app->localFFTPlan->axes[0][0].axisBlock[1];
    recipe->max_rows = (uint32_t)(row_count - row_count % recipe->rows_per_group);
    memcpy(recipe->push, null_device->push, null_device->push_size);
    recipe->push_size = null_device->push_size;
    return true;
}

static void log_none(const struct dj_log *log, const struct dj_recipe_key *key, const char *why)
{
    dj_log_line(log, DJ_LOG_DEBUG, "DCT-%u of length %u: no generated kernel: %s", key->type,
                key->length, why);
}

/* What a plan that VkFFT finished comes to. */
static dj_result take_recipe(const struct dj_log *log, uint32_t level, const VkFFTApplication *app,
                             VkBuffer rows, uint64_t row_count, struct dj_recipe *recipe)
{
    const struct dj_recipe_key *const key = &recipe->key;
    const char *flaw = plan_flaw(app, rows, row_count);
    if (flaw != NULL) {
        log_none(log, key, flaw);
        return DJ_SUCCESS;
    }
    if (!keep_recipe(app, row_count, recipe))
        return dj_fail(log, DJ_ERROR_OUT_OF_HOST_MEMORY, "DCT kernel: out of memory");
    flaw = dj_recipe_flaw(recipe);
    if (flaw != NULL)
        return dj_fail_at(log, level, DJ_ERROR_COMPILER, "DCT-%u of length %u: VkFFT's kernel: %s",
                          key->type, key->length, flaw);
    return DJ_SUCCESS;
}

static dj_result generate(const struct dj_log *log, uint32_t level, struct dj_recipe *recipe)
{
    const struct dj_recipe_key *const key = &recipe->key;
    const uint64_t row_count = planned_rows(key->length);
    struct null_buffer rows = {.size = row_count * key->length * sizeof(float)};
    struct null_device device = {.limits = &key->limits};
    null_device = &device;
    VkFFTApplication *const app = null_calloc(1, sizeof *app);
    const VkFFTResult code =
        app == NULL ? VKFFT_ERROR_MALLOC_FAILED : run_vkfft(key->type, key->length, &rows, app);
    dj_result result;
    if (code == VKFFT_ERROR_MALLOC_FAILED)
        result = dj_fail(log, DJ_ERROR_OUT_OF_HOST_MEMORY, "DCT kernel: out of memory");
    else if (code != VKFFT_SUCCESS)
        result = dj_fail_at(log, level, DJ_ERROR_COMPILER,
                            "DCT-%u of length %u: VkFFT failed with code %d", key->type,
                            key->length, (int)code);
    else
        result = take_recipe(log, level, app, (VkBuffer)(uintptr_t)&rows, row_count, recipe);
    null_free_all(&device);
    null_device = NULL;
    return result;
}

dj_result dj_vkfft_generate(const struct dj_log *log, uint32_t level,
                            const struct dj_recipe_key *key, struct dj_recipe *recipe)
{
    *recipe = (struct dj_recipe){.key = *key};
    if (!has_radices(key->length)) {
        log_none(log, key, "a prime factor above 13");
        return DJ_SUCCESS;
    }
    if (!dj_vkfft_acquire())
        return dj_fail_at(log, level, DJ_ERROR_COMPILER, "glslang does not start");
    const dj_result result = generate(log, level, recipe);
    dj_vkfft_release();
    if (result != DJ_SUCCESS)
        dj_recipe_finish(recipe);
    return result;
}

bool dj_vkfft_acquire(void)
{
    return dj_glslang_acquire() != 0;
}

void dj_vkfft_release(void)
{
    dj_glslang_release();
}

uint64_t dj_vkfft_compilations(void)
{
    return dj_glslang_compilations();
}

uint32_t dj_vkfft_version(void)
{
    return (uint32_t)VkFFTGetVersion();
}
