#!/bin/sh
# SPDX-License-Identifier: MIT
# tests/tsan.sh [BUILD]: test-threads under the thread sanitizer, in a build folder of its own
# (build-tsan beside tests/ if not named). TAP. On the null device any report is a failure; on the
# system's own device, whose driver is not instrumented, one is where the library itself made one of
# the accesses.
set -u
source=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd) || exit 1
build=${1:-$source/build-tsan}
work=$(mktemp -d "${TMPDIR:-/tmp}/dijiang-tsan.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

echo 1..3
# check NUMBER NAME FILE: ok if the command before it succeeded; else the file as diagnostics
check()
{
    status=$?
    if [ "$status" -eq 0 ]; then
        echo "ok $1 - $2"
    else
        sed 's/^/# /' "$3"
        echo "not ok $1 - $2"
        failed=1
    fi
}

make_program()
{
    [ -f "$build/build.ninja" ] ||
        meson setup "$build" "$source" --buildtype=debugoptimized -Db_sanitize=thread \
            -Db_lundef=false -Dtests=enabled -Dsamples=false -Dcalibrate=disabled || return
    ninja -C "$build" -j2 tests/test-threads
}

# run PATTERN: the tests of that name; reports go to $work/report.*
run()
{
    rm -f "$work"/report.*
    TSAN_OPTIONS="exitcode=0 log_path=$work/report second_deadlock_stack=1 history_size=4" \
        DIJIANG_TEST_FILTER=$1 DIJIANG_TEST_VALIDATION=0 DIJIANG_VALIDATION=0 \
        "$build/tests/test-threads"
}

# Prints the reports in whose stacks a file of lib/ comes first, the sanitizer's own frames left
# out; 1 if there is one. Where a thread was started, memory allocated or a mutex made does not
# count.
of_library()
{
    cat "$work"/report.* 2>/dev/null | awk '
        function finish() {
            if (ours) { printf "%s", text; found = 1 }
            text = ""; ours = 0; counts = 0
        }
        /^WARNING: ThreadSanitizer/ { finish(); counts = 1 }
        /^SUMMARY: ThreadSanitizer/ { text = text $0 "\n"; finish(); next }
        /^  [A-Z]/ { counts = !/Location is|created by|created at|allocated by/ }
        /^ +#[0-9]+ / {
            own = /libtsan|sanitizer_common|\/tsan\//
            if (counts && !own) {
                if ($0 ~ /\/lib\/[a-z_0-9]+\.(c|h|cpp):/) ours = 1
                counts = 0
            }
        }
        { text = text $0 "\n" }
        END { finish(); exit found }'
}

make_program >"$work/build" 2>&1
check 1 "test-threads is built with the thread sanitizer" "$work/build"
[ "$failed" -eq 0 ] || { echo "Bail out! no program"; exit 1; }

{
    run 'null_*' && { ! cat "$work"/report.* 2>/dev/null; }
} >"$work/null" 2>&1
check 2 "no reports on the null device" "$work/null"

{
    run 'real_*' && of_library
} >"$work/real" 2>&1
check 3 "no reports of the library on the system's device" "$work/real"
exit "$failed"
