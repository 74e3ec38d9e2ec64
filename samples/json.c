/* SPDX-License-Identifier: MIT */
#include "json.h"

#include "program.h"

#include <inttypes.h>
#include <stdio.h>

void json_number(cJSON *object, const char *name, double value)
{
    char text[32];
    snprintf(text, sizeof(text), "%.6g", value);
    cJSON_AddRawToObject(object, name, text);
}

void json_count(cJSON *object, const char *name, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    cJSON_AddRawToObject(object, name, text);
}

int json_print(cJSON *root, FILE *stream)
{
    char *const text = cJSON_PrintUnformatted(root);
    cJSON_Delete(root);
    if (!text)
        return program_fail("out of memory");
    fprintf(stream, "%s\n", text);
    cJSON_free(text);
    return PROGRAM_SUCCESS;
}
