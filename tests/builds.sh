#!/bin/sh
# SPDX-License-Identifier: MIT
# The library as other options build it, in folders of its own: TAP on standard output. Takes minutes.
# usage: builds.sh [SOURCE]
set -u

tests=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
source_dir=${1:-$tests/..}
# shellcheck source=tests/tap.sh
. "$tests/tap.sh"

# The tests of transforms, and of what has them inside.
programs='recipe cache dct official'

# build FOLDER OPTION...: the library and dijiang-info.
build()
{
    folder=$work/$1
    shift
    meson setup "$folder" "$source_dir" --buildtype=release -Db_ndebug=true --libdir=lib \
        -Dtests=disabled -Dcalibrate=disabled "$@"
    ninja -C "$folder"
}

# build_tests FOLDER OPTION...: those and the tests' programs.
build_tests()
{
    folder=$work/$1
    shift
    meson setup "$folder" "$source_dir" --buildtype=release -Db_ndebug=true --libdir=lib \
        -Dtests=enabled -Dcalibrate=disabled "$@"
    # names are words
    # shellcheck disable=SC2046,SC2086
    ninja -C "$folder" samples/dijiang-info $(printf 'tests/test-%s ' $programs)
}

run_test() { meson test -C "$work/$1" --no-rebuild --print-errorlogs "$2"; }

generated() { "$1/samples/dijiang-info" --no-cache | grep 'transform.*VkFFT'; }
dense() { "$1/samples/dijiang-info" --no-cache | grep 'transform.*dense matrix product (none'; }
is_c() { readelf -d "$1" | fails grep -E 'NEEDED.*\+\+'; }

check "prebuilt builds" build_tests prebuilt -Dvkfft=prebuilt
check "prebuilt: no compiler inside" run_test prebuilt prebuilt
for name in $programs; do
    check "prebuilt: $name" run_test prebuilt "$name"
done
check "prebuilt: its kernels run" generated "$work/prebuilt"
check "a static library builds" build static --default-library=static
check "static: prebuilt, without C++" is_c "$work/static/samples/dijiang-info"
check "static: its kernels run" generated "$work/static"
check "disabled builds" build_tests disabled -Dvkfft=disabled
check "disabled: matrix products" dense "$work/disabled"
for name in $programs; do
    check "disabled: $name" run_test disabled "$name"
done
check_with doxygen "the API reference" ninja -C "$work/disabled" reference
plan
