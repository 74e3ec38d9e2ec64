#!/bin/sh
# SPDX-License-Identifier: MIT
# The README's program prints the line that the README says it does.
# usage: readme.sh README PROGRAM
set -u
echo 1..2
printed=$("$2") && echo "ok 1 - the program runs" || echo "not ok 1 - the program fails: $printed"
if grep -qxF "$printed" "$1"; then
    echo "ok 2 - it prints what the README says"
else
    echo "not ok 2 - it prints '$printed', which is no line of the README"
fi
