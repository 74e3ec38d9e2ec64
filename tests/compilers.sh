#!/bin/sh
# SPDX-License-Identifier: MIT
# The whole tree compiles with GCC and with Clang without a warning: optimised and not, with VkFFT
# and without. TAP, one line per build.
# usage: compilers.sh [COMPILER...]: of gcc clang
set -u

source=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/dijiang-compilers.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
[ $# -gt 0 ] || set -- gcc clang
count=0

# check COMPILER C++COMPILER OPTION...: one build.
check()
{
    cc=$1
    cxx=$2
    shift 2
    count=$((count + 1))
    name="$cc, $*"
    if ! command -v "$cc" >/dev/null || ! command -v "$cxx" >/dev/null; then
        echo "ok $count - $name # SKIP $cc is not installed"
        return
    fi
    rm -rf "$work/build"
    if CC=$cc CXX=$cxx meson setup "$work/build" "$source" -Dwerror=true -Dtests=enabled "$@" \
        >"$work/log" 2>&1 </dev/null &&
        meson compile -C "$work/build" --ninja-args=-k0 >>"$work/log" 2>&1 </dev/null; then
        echo "ok $count - $name"
    else
        echo "not ok $count - $name"
        grep -E 'error|ERROR' "$work/log" | head -n 40 | sed 's/^/# /'
    fi
}

for compiler in "$@"; do
    cxx=$(echo "$compiler" | sed 's/gcc/g++/; s/clang/clang++/')
    check "$compiler" "$cxx" --buildtype=release -Db_ndebug=true
    check "$compiler" "$cxx" --buildtype=debug -Dvkfft=disabled -Ddefault_library=static
done
echo "1..$count"
