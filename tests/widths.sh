#!/bin/sh
# SPDX-License-Identifier: MIT
# Results are right whatever the size of a subgroup: lavapipe's follows from LP_NATIVE_VECTOR_WIDTH
# (128 bits: 4, 512: 16; the ordinary suite has the processor's own, mostly 8). TAP, one line per
# width and program.
# usage: widths.sh [PROGRAM...]; the build is DIJIANG_BUILD, or build/
set -u

tests=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
build=$(CDPATH='' cd -- "${DIJIANG_BUILD:-$tests/../build}" && pwd) || exit 1

# with_width WIDTH COMMAND...
with_width()
{
    # Mesa's cache of kernels does not tell widths apart
    export LP_NATIVE_VECTOR_WIDTH="$1" MESA_SHADER_CACHE_DIR="$build/shader-cache-$1"
    shift
    "$@"
}

if [ "${1:-}" = --case ]; then
    export DIJIANG_DEVICE=llvmpipe DIJIANG_TEST_VALIDATION=1 DIJIANG_TEST_SWEEP="${DIJIANG_TEST_SWEEP:-8}"
    # where kernels that want whole subgroups are the default
    [ "${2#*.}" != resident ] || export DIJIANG_TEST_ADDRESSES=1
    # 26 plans, whose kernels LLVM takes half an hour for
    [ "$2" != 512.maps ] || export DIJIANG_TEST_SKIP=feature_counts
    with_width "${2%%.*}" "$build/tests/test-${2#*.}"
    exit
fi

# size WIDTH: fails unless the device has the subgroups that the width is for.
size()
{
    with_width "$1" "$build/samples/dijiang-info" | tee /dev/stderr | grep -q "llvmpipe.*, $1 bits"
}

# shellcheck source=tests/tap.sh
. "$tests/tap.sh"
narrow= # of 4 alone: more kernels, which LLVM takes long for at 512 bits
[ $# -gt 0 ] || {
    set -- official resident step state maps inputs softmax dct attention sweep slots import
    narrow='types numbers parts'
}
cases=
for width in 128 512; do
    check "$width bits: the device has them" size $width
    passed || continue
    [ $width = 128 ] || narrow=
    for name in "$@" $narrow; do
        cases="$cases $width.$name"
    done
done
# names are words
# shellcheck disable=SC2086
check_each "$build/widths" $cases
case $cases in *512.maps*) echo "# 512.maps: without feature_counts, which takes half an hour to compile" ;; esac
plan
