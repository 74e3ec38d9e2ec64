#!/bin/sh
# SPDX-License-Identifier: MIT
# The suite's programs on every device that could be: sh devices.sh BUILD [MODES [PROGRAMS]], TAP on
# standard output, a case for each mode and program. It takes an hour or so; what a failed program
# printed is in BUILD/devices/.
build=${1:-${DIJIANG_BUILD:-$(dirname "$0")/../build}}
modes=${2:-import bare limits small-range discrete no-push-descriptors no-16bit no-addresses \
no-float-controls no-subgroups}
programs=${3:-import buffer dct features attention maps inputs types softmax sweep limits edges plans \
arguments state saved slots snapshots large synchronisation lifetime}
logs=$build/devices
mkdir -p "$logs" || exit 1
export DIJIANG_TEST_VALIDATION=1
count=0
for mode in $modes; do
    for program in $programs; do
        count=$((count + 1))
        log=$logs/$mode.$program.log
        if DIJIANG_TEST_CONTEXT=$mode timeout 3600 "$build/tests/test-$program" >"$log" 2>&1; then
            echo "ok $count - $mode, $program"
            rm -f "$log"
        else
            echo "not ok $count - $mode, $program"
            grep -E '^not ok|^# (validation|beyond)' "$log" | grep -v vkDestroyDevice | cut -c 1-200 |
                sed 's/^/# /' | head -n 8
        fi
    done
done
echo "1..$count"
