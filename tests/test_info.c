/* SPDX-License-Identifier: MIT */
#include "programs.h"

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
    cmocka_unit_test(test_info_keeps_a_cache),
};

PROGRAMS_MAIN(tests)
