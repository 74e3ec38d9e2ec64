#!/bin/sh
# SPDX-License-Identifier: MIT
# The whole tree compiles with GCC and with Clang without a warning: optimised and not, with VkFFT
# and without. TAP, one line per build.
# usage: compilers.sh [COMPILER...]: of gcc, clang, gcc-12 and so on; else the first two
set -u

tests=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$tests/tap.sh"

# build COMPILER OPTION...
build()
{
    CC=$1
    CXX=$(echo "$1" | sed 's/gcc/g++/; s/clang/clang++/')
    export CC CXX
    shift
    rm -rf "$work/build"
    meson setup "$work/build" "$tests/.." -Dwerror=true -Dtests=enabled "$@"
    meson compile -C "$work/build" --ninja-args=-k0
}

[ $# -gt 0 ] || set -- gcc clang
for compiler in "$@"; do
    check_with "$compiler" "$compiler, optimised" build "$compiler" --buildtype=release \
        -Db_ndebug=true
    check_with "$compiler" "$compiler, for a debugger, static, without VkFFT" build "$compiler" \
        --buildtype=debug -Ddefault_library=static -Dvkfft=disabled
done
plan
