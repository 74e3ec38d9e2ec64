#!/bin/sh
# SPDX-License-Identifier: MIT
# The library as other options build it, in folders of its own: TAP on standard output. Takes minutes.
# usage: builds.sh [SOURCE]
set -u

tests=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
source_dir=${1:-$tests/..}
# shellcheck source=tests/tap.sh
. "$tests/tap.sh"

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
is_c() { readelf -d "$1" | fails grep -E 'NEEDED.*\+\+'; }

no_compiler()
{
    sh "$tests/prebuilt.sh" "$1/lib/libdijiang.so" "$1/build.ninja" | tee "$work/tap"
    fails grep '^not ok' "$work/tap"
}

check "prebuilt builds" build prebuilt -Dvkfft=prebuilt
check "prebuilt: no compiler inside" no_compiler "$work/prebuilt"
check "prebuilt: its kernels run" generated "$work/prebuilt"
check "a static library builds" build static --default-library=static
check "static: prebuilt, without C++" is_c "$work/static/samples/dijiang-info"
check "static: its kernels run" generated "$work/static"
check "disabled builds" build disabled -Dvkfft=disabled
check "disabled: matrix products" dense "$work/disabled"
check_with doxygen "the API reference" ninja -C "$work/disabled" reference
plan
