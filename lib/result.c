/* SPDX-License-Identifier: MIT */
#include <dijiang/result.h>

const char *dj_result_str(dj_result result)
{
    switch (result) {
#define CASE(name, value, text) \
    case name: \
        return text;
        DJ_RESULTS(CASE)
#undef CASE
    }
    return "unknown result";
}

const char *dj_result_name(dj_result result)
{
    switch (result) {
#define CASE(name, value, text) \
    case name: \
        return #name;
        DJ_RESULTS(CASE)
#undef CASE
    }
    return "unknown result";
}

uint32_t dj_version(void)
{
    return DJ_VERSION_MAJOR * 1000000u + DJ_VERSION_MINOR * 1000u + DJ_VERSION_PATCH;
}
