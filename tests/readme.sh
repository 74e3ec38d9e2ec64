#!/bin/sh
# SPDX-License-Identifier: MIT
# The README's program is the sample behind its two lines of comment, and prints what the README says.
# usage: readme.sh README SAMPLE PROGRAM
set -u
echo 1..3
printed=$("$3") && echo "ok 1 - the program runs" || echo "not ok 1 - the program fails: $printed"
if grep -qxF "$printed" "$1"; then
    echo "ok 2 - it prints what the README says"
else
    echo "not ok 2 - it prints '$printed', which is no line of the README"
fi
if [ "$(awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' "$1")" = "$(tail -n +3 "$2")" ]; then
    echo "ok 3 - the README has it as it stands in $(basename "$2")"
else
    echo "not ok 3 - the README and $(basename "$2") differ"
fi
