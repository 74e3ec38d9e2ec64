/* SPDX-License-Identifier: MIT */
#include "programs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char info[] = PROGRAM_INFO;

static void test_info_lists_devices(void **state)
{
    (void)state;
    RUN(info);
    assert_success();
    assert_printed("device 0: ");
    assert_printed("dijiang uses");
    assert_printed("tiled");
    assert_printed("\ndefault: device ");
    RUN(info, "--device", "0");
    assert_success();
    assert_printed("chosen: device 0, ");
    setenv("DIJIANG_PUSH_DESCRIPTORS", "0", 1);
    RUN(info);
    unsetenv("DIJIANG_PUSH_DESCRIPTORS");
    assert_success();
    assert_printed("preallocated descriptor sets (DIJIANG_PUSH_DESCRIPTORS=0)");
    setenv("DIJIANG_DEVICE_ADDRESSES", "0", 1);
    RUN(info);
    unsetenv("DIJIANG_DEVICE_ADDRESSES");
    assert_success();
    assert_printed("  binding           descriptors (");
    setenv("DIJIANG_16BIT_STORAGE", "0", 1);
    RUN(info);
    unsetenv("DIJIANG_16BIT_STORAGE");
    assert_success();
    assert_printed("in pairs, as 32-bit words");
    setenv("DIJIANG_QUIRKS", "none,+arc-push-descriptors,+v3dv-generated-dct", 1);
    RUN(info);
    unsetenv("DIJIANG_QUIRKS");
    assert_success();
    assert_printed("preallocated descriptor sets (a quirk, see below)");
    assert_printed("dense matrix product (a quirk, see below)");
    assert_printed("arc-push-descriptors: push descriptors lose the device; dijiang binds by "
                   "descriptor sets (Ryujinx/Ryujinx#6512");
    setenv("DIJIANG_QUIRKS", "arc-push-descriptors", 1);
    RUN(info);
    unsetenv("DIJIANG_QUIRKS");
    assert_one_line(1, "\"arc-push-descriptors\" is neither");
    RUN(info, "--device", "99");
    assert_one_line(1, "99");
}

/* Of each device the line on matrices says which of device and build lacks them. */
static void test_info_says_why_there_are_no_matrices(void **state)
{
    (void)state;
    struct dj_device_info infos[16];
    uint32_t count = 16;
    HARNESS_OK(dj_device_list(NULL, infos, &count));
    RUN(info);
    assert_success();
    for (uint32_t i = 0; i < count && i < 16; i++) {
        char head[32];
        snprintf(head, sizeof(head), "device %u: ", infos[i].index);
        const char *const part = strstr(last.out, head);
        assert_non_null(part);
        if (infos[i].unsuitable[0])
            continue;
        const char *const line = strstr(part, "\n      matrices          ");
        assert_non_null(line);
        const char *const lacks = strstr(line, "lacks cooperative matrices"),
                          *const knows = strstr(line, "none that this build of dijiang knows"),
                          *const end = strchr(line + 1, '\n');
        assert_int_equal(lacks && lacks < end, !infos[i].cooperative_matrix);
        assert_int_equal(knows && knows < end,
                         infos[i].cooperative_matrix && infos[i].matrix_rows == 0);
    }
}

/* A first run keeps what it compiled, a second takes it, and --no-cache leaves it alone. */
static void test_info_keeps_a_cache(void **state)
{
    (void)state;
    RUN(info);
    assert_success();
    assert_printed("\n      cache             ");
    assert_int_equal(access(programs_cache(), F_OK), 0);
    RUN(info);
    assert_success();
    assert_printed("\n      cache             ");
    assert_int_equal(chmod(programs_cache(), 0777), 0);
    RUN(info);
    assert_success(); /* all works as well */
    assert_printed("\n      cache             refused: a file cannot be read");
    RUN(info, "--no-cache");
    assert_success();
    assert_null(strstr(last.out, "  cache  "));
    assert_int_equal(chmod(programs_cache(), 0700), 0);
}

static void test_info_lists_quirks(void **state)
{
    (void)state;
    RUN(info, "--quirks");
    assert_success();
    struct dj_quirk quirk;
    for (uint32_t i = 0; i < dj_quirk_count(); i++) {
        HARNESS_OK(dj_quirk_get(i, &quirk));
        assert_printed(quirk.name);
        assert_printed(quirk.devices);
        assert_printed(quirk.trouble);
        assert_printed(quirk.remedy);
        assert_printed(quirk.source);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_info_lists_quirks),
    cmocka_unit_test(test_info_lists_devices),
    cmocka_unit_test(test_info_says_why_there_are_no_matrices),
    cmocka_unit_test(test_info_keeps_a_cache),
};

PROGRAMS_MAIN(tests)
