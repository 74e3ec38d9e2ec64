/* SPDX-License-Identifier: MIT */
#include "programs.h"

#include <stdlib.h>

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
    RUN(info, "--device", "99");
    assert_one_line(1, "99");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_info_lists_devices),
};

PROGRAMS_MAIN(tests)
