#!/bin/sh
# SPDX-License-Identifier: MIT
# A library with prebuilt kernels has no compiler in it, and nothing of C++.
# usage: prebuilt.sh LIBRARY [LINK-COMMANDS]: the library, and build.ninja to see how it is linked
set -u
library=$1
count=0

# none NAME TEXT: a case that fails if there is any text, which is what was found.
none()
{
    count=$((count + 1))
    if [ -z "$2" ]; then
        echo "ok $count - $1"
    else
        echo "not ok $count - $1"
        echo "# $2" | head -n 5
    fi
}

dynamic=$(readelf -d "$library") || exit 1
symbols=$(nm -a "$library"; nm -D "$library") || exit 1
none "the library is one that can be read" "$(echo "$dynamic" | grep -q NEEDED || echo "$dynamic")"
none "it needs no C++ runtime" "$(echo "$dynamic" | grep -E 'NEEDED.*(stdc|c)\+\+')"
none "it has no C++ symbols" "$(echo "$symbols" | grep -E ' _Z|__gxx|__cxa_(throw|begin_catch)')"
none "it has no glslang" "$(echo "$symbols" | grep -i -E 'glslang|spirv-?tools|spvtools')"
none "it has no VkFFT" "$(echo "$symbols" | grep -E -i 'VkFFT(Append|Plan)|initializeVkFFT')"
if [ $# -gt 1 ]; then
    none "it is linked as C" \
        "$(grep -E '^build [^:]*libdijiang\.(so|a)[^:]*: cpp_' "$2")"
fi
echo "1..$count"
