#!/bin/sh
# SPDX-License-Identifier: MIT
# The library as other options build it, in folders of its own: TAP on standard output. Takes minutes.
# usage: builds.sh [SOURCE]
set -u
source_dir=${1:-$(dirname -- "$0")/..}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
count=0

# check NAME COMMAND...: one case; what the command printed is shown if it fails.
check()
{
    name=$1
    shift
    count=$((count + 1))
    if "$@" >"$work/out" 2>&1 </dev/null; then
        echo "ok $count - $name"
    else
        echo "not ok $count - $name"
        tail -n 30 "$work/out" | sed 's/^/# /'
    fi
}

# build FOLDER OPTION...: the library and dijiang-info.
build()
{
    folder=$work/$1
    shift
    meson setup "$folder" "$source_dir" --buildtype=release -Db_ndebug=true --libdir=lib \
        -Dtests=disabled -Dcalibrate=disabled "$@" && ninja -C "$folder"
}

generated() { "$1/samples/dijiang-info" --no-cache | grep 'transform.*VkFFT'; }
dense() { "$1/samples/dijiang-info" --no-cache | grep 'transform.*dense matrix product (none'; }
is_c() { ! readelf -d "$1" | grep -E 'NEEDED.*\+\+'; }

check "prebuilt builds" build prebuilt -Dvkfft=prebuilt
check "prebuilt: no compiler inside" sh -c '
    sh "$1" "$2" "$3"; sh "$1" "$2" "$3" | grep -c "^not ok" | grep -qx 0' sh \
    "$source_dir/tests/prebuilt.sh" "$work/prebuilt/lib/libdijiang.so" "$work/prebuilt/build.ninja"
check "prebuilt: its kernels run" generated "$work/prebuilt"
check "a static library builds" build static --default-library=static
check "static: prebuilt, without C++" is_c "$work/static/samples/dijiang-info"
check "static: its kernels run" generated "$work/static"
check "disabled builds" build disabled -Dvkfft=disabled
check "disabled: matrix products" dense "$work/disabled"
echo "1..$count"
