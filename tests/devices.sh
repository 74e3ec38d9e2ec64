#!/bin/sh
# SPDX-License-Identifier: MIT
# The suite's programs on every device that could be: every optional feature off in turn and all
# together, limits at their least. TAP, one line per kind of device (tests/harness.h) and program; it
# takes an hour or so.
# usage: devices.sh [KINDS [PROGRAMS]], each of them words; the build is DIJIANG_BUILD, or build/
set -u

tests=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
build=$(CDPATH='' cd -- "${DIJIANG_BUILD:-$tests/../build}" && pwd) || exit 1

if [ "${1:-}" = --case ]; then
    DIJIANG_TEST_CONTEXT=${2%%.*} DIJIANG_TEST_VALIDATION=1 timeout 3600 "$build/tests/test-${2#*.}"
    exit
fi

# shellcheck source=tests/tap.sh
. "$tests/tap.sh"
kinds=${1:-import bare limits small-range discrete no-push-descriptors no-16bit no-addresses \
no-float-controls no-subgroups one-size}
programs=${2:-import wants refusals buffer dct features attention maps inputs types softmax sweep limits edges plans step \
arguments state saved slots snapshots large synchronisation lifetime official parts numbers}
# random plans: new kernels to compile, so fewer on each of the devices
export DIJIANG_TEST_SWEEP="${DIJIANG_TEST_SWEEP:-8}"
# names are words
# shellcheck disable=SC2046
check_each "$build/devices" $(for kind in $kinds; do
    for program in $programs; do
        echo "$kind.$program"
    done
done)
plan
