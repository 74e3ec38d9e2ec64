#!/bin/sh
# SPDX-License-Identifier: MIT
# The suite's programs on every device that could be: sh devices.sh BUILD [MODES [PROGRAMS]], TAP on
# standard output, a case for each mode and program, as many at a time as there are processors. It
# takes an hour or so; what a failed program printed is in BUILD/devices/.
build=${1:-${DIJIANG_BUILD:-$(dirname "$0")/../build}}
modes=${2:-import bare limits small-range discrete no-push-descriptors no-16bit no-addresses \
no-float-controls no-subgroups}
programs=${3:-import buffer dct features attention maps inputs types softmax sweep limits edges plans \
arguments state saved slots snapshots large synchronisation lifetime}
mkdir -p "$build/devices" || exit 1
export DIJIANG_TEST_VALIDATION=1
# random plans: new kernels to compile, so fewer on each of the devices
export DIJIANG_TEST_SWEEP="${DIJIANG_TEST_SWEEP:-8}"
cases=$(for mode in $modes; do
    for program in $programs; do
        echo "$mode.$program"
    done
done)
# each prints once, so that cases do not mix
# shellcheck disable=SC2016
echo "$cases" | xargs -P "$(nproc 2>/dev/null || echo 1)" -n 1 sh -c '
    mode=${1%%.*} program=${1#*.} log=$0/devices/$1.log
    if DIJIANG_TEST_CONTEXT=$mode timeout 3600 "$0/tests/test-$program" >"$log" 2>&1; then
        echo "ok - $mode, $program"
        rm -f "$log"
    else
        said=$(grep -E "^not ok|^# (validation|beyond)" "$log" | grep -v vkDestroyDevice | cut -c 1-200 |
            sed "s/^/# /" | head -n 8)
        printf "%s\n" "not ok - $mode, $program" "${said:-# it ended early}"
    fi' "$build"
echo "1..$(echo "$cases" | wc -w)"
