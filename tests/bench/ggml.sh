#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds ggml with its Vulkan backend, then ggml.c beside it, and runs that:
#   sh tests/bench/ggml.sh GGML WORK [TOKENS ...]
# GGML is a checkout of ggml-org/ggml, WORK a folder for what is built, the dijiang of
# $DIJIANG_BUILD (default: build) the other side. ggml needs cmake, glslc, spirv-headers and newer
# Vulkan headers than Debian 12's: CXXFLAGS="-isystem ..." names them. Takes half an hour once.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
dijiang=${DIJIANG_BUILD:-$root/build}
ggml=$1 work=$2
shift 2
if [ ! -e "$work/src/libggml.a" ]; then
    cmake -S "$ggml" -B "$work" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DGGML_VULKAN=ON \
        -DGGML_CCACHE=OFF -DGGML_BUILD_TESTS=OFF -DGGML_BUILD_EXAMPLES=OFF
    cmake --build "$work"
fi
cc -std=c11 -O2 -D_GNU_SOURCE -I"$root/include" -I"$ggml/include" -c "$root/tests/bench/ggml.c" \
    -o "$work/bench-ggml.o"
c++ -fopenmp -o "$work/bench-ggml" "$work/bench-ggml.o" \
    "$work/src/libggml.a" "$work/src/ggml-vulkan/libggml-vulkan.a" "$work/src/libggml-cpu.a" \
    "$work/src/libggml-base.a" -L"$dijiang/lib" -Wl,-rpath,"$dijiang/lib" -ldijiang -lvulkan \
    -ldl -lpthread -lm
# ggml passes over CPU devices unless one is named
GGML_VK_VISIBLE_DEVICES=${GGML_VK_VISIBLE_DEVICES:-0} exec "$work/bench-ggml" "$@"
