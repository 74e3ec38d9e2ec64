#!/bin/sh
# SPDX-License-Identifier: MIT
# The suite under ASan and UBSan, with the validation layer, some releases of which leak; then programs
# without it, which must not leak. TAP, one line per program. The build is kept in build-asan/.
# usage: sanitizers.sh [PROGRAM...]: of the suite; else all
set -u

tests=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
build=${DIJIANG_BUILD_ASAN:-$tests/../build-asan}
# shellcheck source=tests/tap.sh
. "$tests/tap.sh"

compile()
{
    if [ ! -e "$build/build.ninja" ]; then
        # what UBSan finds ends the program
        meson setup "$build" "$tests/.." --buildtype=debugoptimized -Dtests=enabled \
            -Db_sanitize=address,undefined -Db_lundef=false \
            -Dc_args=-fno-sanitize-recover=all -Dcpp_args=-fno-sanitize-recover=all
    fi
    meson compile -C "$build"
}

# What other scripts build and what is no program of ours is left out; so is bite, whose inputs are
# the kernels' matter alone.
names()
{
    meson test -C "$build" --no-rebuild --no-suite builds --no-suite consumers --no-suite fuzz --no-suite headers \
        --list 2>/dev/null |
        sed -n 's/^.*dijiang.* \/ //p' | grep -vE '^(bite|bootstrap|symbols|symbols-calibrate)$'
}

# All at once, as many at a time as there are processors; its log says how each went.
run_suite()
{
    rm -f "$build/meson-logs/testlog.json"
    ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:abort_on_error=1 \
        UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_stacktrace=1 \
        meson test -C "$build" --no-rebuild --timeout-multiplier 4 "$@" >"$work/suite" 2>&1 </dev/null
}

verdict()
{
    # a line of JSON, without the environment
    grep -F " / $1\"," "$build/meson-logs/testlog.json" |
        sed 's/, "starttime".*, "command"/, "command"/' >"$work/verdict"
    sed 's/\\n/\n/g' "$work/verdict"
    grep -qE '"result": "(OK|SKIP)"' "$work/verdict"
}

# Mesa, LLVM and fontconfig keep some memory of the process: theirs.
leaks()
{
    printf 'leak:libvulkan_\nleak:libLLVM\nleak:libfontconfig\n' >"$work/suppressions"
    case $1 in resident | tuning) export DIJIANG_TEST_ADDRESSES=1 ;; esac # as in the suite
    ASAN_OPTIONS=detect_leaks=1:abort_on_error=1 LSAN_OPTIONS="suppressions=$work/suppressions" \
        VK_LAYER_PATH=/nonexistent DIJIANG_TEST_VALIDATION=0 "$build/tests/test-$1"
}

require "the tree compiles with ASan and UBSan" compile
# new kernels to compile, which is not what is looked for here
export DIJIANG_TEST_SWEEP="${DIJIANG_TEST_SWEEP:-8}"
whole=no
# names of programs are words
# shellcheck disable=SC2046
[ $# -gt 0 ] || { whole=yes; set -- $(names); }
run_suite "$@"
for name in "$@"; do
    check "ASan and UBSan: $name" verdict "$name"
done
if [ $whole = yes ]; then
    set -- result context import wants refusals buffer recorder device tensor attention state step resident calibrate \
        tuning cache cache_files recording failures faults
fi
for name in "$@"; do
    [ -x "$build/tests/test-$name" ] || continue # a program by another name, or a script
    check "no leaks: $name" leaks "$name"
done
plan
