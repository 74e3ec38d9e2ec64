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

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_info_lists_devices),
    cmocka_unit_test(test_info_keeps_a_cache),
};

PROGRAMS_MAIN(tests)
