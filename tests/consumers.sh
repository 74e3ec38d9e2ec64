#!/bin/sh
# SPDX-License-Identifier: MIT
# Other builds can use the library, each in its own way; one line of TAP for each. Programs are built
# in a temporary folder from what is installed there, and run.
# usage: consumers.sh [BUILD]
set -u

tests=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
build=$(CDPATH='' cd -- "${1:-${DIJIANG_BUILD:-$tests/../build}}" && pwd) || exit 1
# shellcheck source=tests/tap.sh
. "$tests/tap.sh"
cc=${CC:-cc}

# A program succeeds if it also says what it did.
run()
{
    said=$("$@") || said="failed: $said"
    printf '%s\n' "$said"
    case $said in
    "attention over 100 tokens" | "no device to try"*) ;;
    *) return 1 ;;
    esac
}

# The value of an option of the build that is tested.
option()
{
    meson introspect --buildoptions "$build" | python3 -c '
import json, sys
print(next(o["value"] for o in json.load(sys.stdin) if o["name"] == sys.argv[1]))' "$1"
}

needs_libdijiang() { readelf -d "$1" | grep 'NEEDED.*libdijiang'; }

### What is installed

# As the build has it, and moved from the prefix that it was configured for.
install_moved()
{
    meson install -C "$build" --no-rebuild --quiet --destdir "$work/destination"
    prefix=$(option prefix)
    libdir=$(option libdir)
    ln -s "$work/destination/${prefix#/}" "$work/moved"
    ln -s "moved/$libdir" "$work/moved-lib"
    test -e "$work/moved-lib/libdijiang.so.0.1"
}

# Shared and static libraries, in the prefix that they are configured for.
install_both()
{
    vkfft=$(option vkfft)
    meson setup "$work/build-both" "$tests/.." --prefix="$work/both" --libdir=lib --buildtype=plain \
        -Ddefault_library=both -Dvkfft="$vkfft" -Dsamples=false -Dtests=disabled \
        -Dcalibrate=enabled
    meson compile -C "$work/build-both"
    meson install -C "$work/build-both" --no-rebuild --quiet
    # where -ldijiang finds no shared library
    mkdir "$work/archives"
    cp "$work/both/lib/"libdijiang*.a "$work/archives"
}

use_moved()
{
    export PKG_CONFIG_PATH="$work/moved-lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$work/destination" \
        LD_LIBRARY_PATH="$work/moved-lib"
}

use_both()
{
    export PKG_CONFIG_PATH="$work/both/lib/pkgconfig" LD_LIBRARY_PATH="$work/both/lib"
}

### The archives' names

# The global names that a library's archive defines, but for weak ones of C++.
names()
{
    nm -g --defined-only "$work/archives/$1" | awk 'NF == 3 && $2 !~ /[VWu]/ { print $3 }' | sort -u
}

names_are_ours()
{
    names libdijiang.a >"$work/names"
    names libdijiang-calibrate.a >"$work/names-calibrate"
    test -s "$work/names"
    test -s "$work/names-calibrate"
    fails grep -v '^dj_' "$work/names" "$work/names-calibrate"
}

names_differ()
{
    test -s "$work/names"
    test -s "$work/names-calibrate"
    comm -12 "$work/names" "$work/names-calibrate" >"$work/names-both"
    fails grep . "$work/names-both"
}

### The consumers

# Lists of flags are words:
# shellcheck disable=SC2046
cc_shared()
{
    use_moved
    "$cc" -std=c11 -Wall -Wextra -Werror "$tests/consumers/attend.c" -o "$work/shared" \
        $(pkg-config --cflags --libs dijiang) -lm
    needs_libdijiang "$work/shared" | grep '[[]libdijiang\.so\.0\.1\]'
    run "$work/shared"
}

# Programs without Vulkan's headers can use all but what <dijiang/vulkan.h> has.
# shellcheck disable=SC2046
no_vulkan_headers()
{
    use_moved
    echo '#include <dijiang/dijiang.h>' >"$work/include.c"
    "$cc" -std=c11 -E -H $(pkg-config --cflags dijiang) "$work/include.c" 2>&1 >/dev/null |
        sed -n 's|^\.\.* .*/include/||p' >"$work/headers"
    grep '^dijiang/attention\.h' "$work/headers"
    fails grep -iE 'vulkan|vk_|volk' "$work/headers"
}

# shellcheck disable=SC2046
cc_static()
{
    use_both
    "$cc" -std=c11 -Wall -Wextra -Werror -DWITH_CALIBRATION "$tests/consumers/attend.c" \
        "$tests/consumers/own_names.c" -o "$work/static" -L"$work/archives" \
        $(pkg-config --static --cflags --libs dijiang-calibrate dijiang)
    fails needs_libdijiang "$work/static"
    run "$work/static"
}

# shellcheck disable=SC2046
cc_uninstalled()
{
    export PKG_CONFIG_PATH="$build/meson-uninstalled"
    pkg-config --cflags dijiang | tr ' ' '\n' | sed '/^$/d' >"$work/flags"
    test -s "$work/flags"
    fails grep -v '^-I.*/include/*$' "$work/flags" # none of our internal folders
    "$cc" -std=c11 -Wall -Wextra -Werror -DWITH_CALIBRATION "$tests/consumers/attend.c" \
        -o "$work/uninstalled" $(pkg-config --cflags --libs dijiang-calibrate) -lm
    LD_LIBRARY_PATH=$build/lib:$build/calibrate run "$work/uninstalled"
}

# Ninja is there where Meson is; make need not be.
export CMAKE_GENERATOR=Ninja

# cmake_program FOLDER PREFIX OPTION...
cmake_program()
{
    folder=$tests/consumers/$1
    binary=$(mktemp -d "$work/cmake.XXXXXX")
    prefix=$2
    shift 2
    PKG_CONFIG_PATH='' cmake -S "$folder" -B "$binary" -DCMAKE_PREFIX_PATH="$prefix" "$@"
    cmake --build "$binary"
    run "$binary/consumer"
}

cmake_c() { cmake_program cmake "$work/moved"; }
cmake_c_static()
{
    cmake_program cmake "$work/both" -Ddijiang_USE_STATIC_LIBS=ON
    fails needs_libdijiang "$binary/consumer"
}
cmake_cxx() { cmake_program cmake-cxx "$work/both"; }

# version MINIMUM: what CMake says to that demand; 0 if it is met.
version()
{
    mkdir -p "$work/version"
    printf '%s\n' 'cmake_minimum_required(VERSION 3.19)' 'project(version NONE)' \
        "find_package(dijiang $1 CONFIG REQUIRED)" >"$work/version/CMakeLists.txt"
    rm -rf "$work/version/build"
    # without a language CMake looks into no folder of an architecture's libraries
    cmake -S "$work/version" -B "$work/version/build" -Ddijiang_DIR="$work/moved-lib/cmake/dijiang"
}

cmake_versions()
{
    for wanted in '' 0 0.1 0.1.0 '0.1.0 EXACT' 0.1...0.2 0...1; do
        version "$wanted"
    done
    for wanted in 0.0.9 0.2 1 '0.1.1 EXACT' 0.2...0.3; do
        fails version "$wanted"
    done
}

meson_installed()
{
    use_moved
    cp -R "$tests/consumers/meson" "$work/meson"
    cp "$tests/consumers/attend.c" "$work/meson"
    meson setup "$work/meson/build" "$work/meson"
    meson compile -C "$work/meson/build"
    run "$work/meson/build/consumer"
}

# What the parent installs is its own alone, if it says so, and no program of the subproject's.
meson_subproject()
{
    cp -R "$tests/consumers/subproject" "$work/subproject"
    cp "$tests/consumers/attend.c" "$work/subproject"
    mkdir "$work/subproject/subprojects"
    mv "$work/subproject/dijiang.wrap" "$work/subproject/subprojects"
    ln -s "$(dirname "$tests")" "$work/subproject/subprojects/dijiang"
    meson setup "$work/subproject/build" "$work/subproject" --prefix=/usr
    meson compile -C "$work/subproject/build"
    run "$work/subproject/build/consumer"
    test -z "$(find "$work/subproject/build" -name 'dijiang-*' -type f -perm -100)"
    test -z "$(find "$work/subproject/build" -name 'test-*')"
    meson install -C "$work/subproject/build" --skip-subprojects --destdir "$work/parent"
    installed=$(cd "$work/parent" && find . -type f)
    test "$installed" = ./usr/bin/consumer
}

check_with meson "the build installs, into another folder" install_moved
check_with meson "shared and static libraries build and install together" install_both
check_with nm "every name in the archives begins with dj_" names_are_ours
check_with nm "the archives share no name" names_differ
check_with pkg-config "cc and pkg-config, shared" cc_shared
check_with pkg-config "<dijiang/dijiang.h> includes no header of Vulkan's" no_vulkan_headers
check_with pkg-config "cc and pkg-config --static, both archives" cc_static
check_with pkg-config "cc and pkg-config, not installed" cc_uninstalled
check_with cmake "CMake, C" cmake_c
check_with cmake "CMake, C, both archives" cmake_c_static
check_with cmake "CMake, C++17" cmake_cxx
check_with cmake "CMake's versions" cmake_versions
check_with meson "Meson, installed" meson_installed
check_with meson "Meson, as a subproject" meson_subproject
plan
