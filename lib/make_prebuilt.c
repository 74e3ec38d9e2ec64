/* SPDX-License-Identifier: MIT */
/* A program of the build, run on the machine that builds: prints the C source of prebuilt.h's data
 * on standard output. */
#include "prebuilt.h"
#include "vkfft.h"

#include <stdio.h>
#include <stdlib.h>

static void log_line(void *user, uint32_t level, const char *message)
{
    (void)user;
    (void)level;
    fprintf(stderr, "make_prebuilt: %s\n", message);
}

static void fail(const char *what)
{
    fprintf(stderr, "make_prebuilt: %s\n", what);
    exit(1);
}

/* The recipe of that number as bytes, to be freed. */
static struct dj_writer make(uint32_t number)
{
    const struct dj_log log = {.callback = log_line, .level = DJ_LOG_WARNING};
    const struct dj_recipe_key key = {.generator = dj_vkfft_version(),
                                      .type = 2 + number % DJ_PREBUILT_TYPES,
                                      .length = DJ_PREBUILT_STEP * (1 + number / DJ_PREBUILT_TYPES),
                                      .limits = DJ_PREBUILT_LIMITS};
    struct dj_recipe recipe;
    if (dj_vkfft_generate(&log, DJ_LOG_ERROR, &key, &recipe) != DJ_SUCCESS)
        fail("a recipe cannot be made");
    struct dj_writer writer = {0};
    dj_recipe_write(&recipe, &writer);
    writer = (struct dj_writer){.data = malloc(writer.size), .capacity = writer.size};
    if (writer.data == NULL)
        fail("out of memory");
    dj_recipe_write(&recipe, &writer);
    dj_recipe_finish(&recipe);
    return writer;
}

int main(void)
{
    uint32_t offsets[DJ_PREBUILT_COUNT + 1] = {0};
    if (!dj_vkfft_acquire())
        fail("glslang does not start");
    printf("#include \"prebuilt.h\"\nconst uint32_t dj_prebuilt_generator = %u;\n"
           "const uint8_t dj_prebuilt_data[] = {",
           dj_vkfft_version());
    for (uint32_t number = 0; number < DJ_PREBUILT_COUNT; number++) {
        const struct dj_writer writer = make(number);
        for (size_t i = 0; i < writer.size; i++)
            printf("%s%u,", i % 32 == 0 ? "\n" : "", writer.data[i]);
        offsets[number + 1] = offsets[number] + (uint32_t)writer.size;
        free(writer.data);
    }
    printf("\n};\nconst uint32_t dj_prebuilt_offsets[] = {");
    for (uint32_t number = 0; number <= DJ_PREBUILT_COUNT; number++)
        printf("%s%u,", number % 8 == 0 ? "\n" : "", offsets[number]);
    printf("\n};\n");
    dj_vkfft_release();
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
