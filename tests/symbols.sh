#!/bin/sh
# SPDX-License-Identifier: MIT
# The shared library exports exactly what the public headers declare with DJ_API, each name with the series of its version, such as @@DIJIANG_0.1.
# usage: symbols.sh LIBRARY HEADER...
set -eu
library=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# a declaration may go over several lines; the name stands before the first parenthesis
cat "$@" | tr '\n' ' ' | sed 's/DJ_API /\n&/g' |
    sed -n 's/^DJ_API [^(]*[ *]\(dj_[a-z0-9_]*\)(.*/\1/p' | sort -u >"$work/declared"
nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u >"$work/exported"
echo 1..4
test -s "$work/declared" && echo "ok 1 - the headers declare functions" ||
    echo "not ok 1 - the headers declare functions"
extra=$(comm -13 "$work/declared" "$work/exported" | tr '\n' ' ')
test -z "$extra" && echo "ok 2 - nothing else is exported" ||
    echo "not ok 2 - also exported: $extra"
missing=$(comm -23 "$work/declared" "$work/exported" | tr '\n' ' ')
test -z "$missing" && echo "ok 3 - all that is declared is exported" ||
    echo "not ok 3 - declared, not exported: $missing"
plain=$(nm -D --defined-only "$library" | awk '$2 != "A" && $3 !~ /@@DIJIANG_(CALIBRATE_)?[0-9.]+$/ { print $3 }' | tr '\n' ' ')
test -z "$plain" && echo "ok 4 - all have a version" ||
    echo "not ok 4 - without a version: $plain"
