#!/bin/sh
# SPDX-License-Identifier: MIT
# Results are right whatever the size of a subgroup: lavapipe's follows from LP_NATIVE_VECTOR_WIDTH
# (128 bits: 4, 512: 16; the ordinary suite has the processor's own, mostly 8). TAP, one line per
# width and program.
# usage: widths.sh [PROGRAM...]; the build is DIJIANG_BUILD, or build/
set -u

tests=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
build=$(CDPATH='' cd -- "${DIJIANG_BUILD:-$tests/../build}" && pwd) || exit 1
# shellcheck source=tests/tap.sh
. "$tests/tap.sh"

# program WIDTH NAME
program()
{
    # Mesa's cache of kernels does not tell widths apart
    LP_NATIVE_VECTOR_WIDTH=$1 MESA_SHADER_CACHE_DIR=$build/shader-cache-$1 DIJIANG_DEVICE=llvmpipe \
        DIJIANG_TEST_VALIDATION=1 "$build/tests/test-$2"
}

# size WIDTH: fails unless the device has the subgroups that the width is for.
size()
{
    LP_NATIVE_VECTOR_WIDTH=$1 "$build/samples/dijiang-info" | tee /dev/stderr |
        grep -q "llvmpipe.*, $1 bits"
}

[ $# -gt 0 ] || set -- official state maps inputs softmax dct attention sweep
for width in 128 512; do
    check "$width bits: the device has them" size $width
    passed || continue
    for name in "$@"; do
        check "$width bits: $name" program $width "$name"
    done
done
plan
