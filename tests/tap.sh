# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# For scripts that test: TAP on standard output. Read with ".", after which $work is a temporary
# folder that goes when the script ends.
work=$(mktemp -d "${TMPDIR:-/tmp}/dijiang-test.XXXXXX") || exit 1
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 1' HUP INT TERM
tap_count=0

# check NAME COMMAND...: one case, which fails with any command of a function; what was printed is
# shown only then. Not to be used in a condition, where `set -e` has no effect: `passed` says how the
# last case went.
check()
{
    tap_name=$1
    shift
    tap_count=$((tap_count + 1))
    (set -ex; "$@") >"$work/log" 2>&1 </dev/null
    tap_status=$?
    if [ $tap_status -eq 0 ]; then
        echo "ok $tap_count - $tap_name"
    else
        echo "not ok $tap_count - $tap_name"
        tail -n 60 "$work/log" | sed 's/^/# /'
    fi
}

passed() { [ "$tap_status" -eq 0 ]; }

skip()
{
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1 # SKIP $2"
}

# check_with TOOL NAME COMMAND...: the case is skipped without that program.
check_with()
{
    tap_tool=$1
    shift
    if command -v "$tap_tool" >/dev/null; then
        check "$@"
    else
        skip "$1" "$tap_tool is not installed"
    fi
}

# check_each FOLDER CASE...: for each, `$0 --case CASE` must succeed; as many at a time as there are
# processors. What a failed one printed stays in FOLDER/CASE.log.
check_each()
{
    tap_folder=$1
    shift
    [ $# -gt 0 ] || return 0
    mkdir -p "$tap_folder" || exit 1
    # each prints once, so that cases do not mix
    # shellcheck disable=SC2016
    printf '%s\n' "$@" | xargs -P "$(nproc 2>/dev/null || echo 1)" -n 1 sh -c '
        log=$1/$2.log
        if sh "$0" --case "$2" >"$log" 2>&1 </dev/null; then
            echo "ok - $2"
            rm -f "$log"
        else
            said=$(grep -E "^not ok|^# (validation|beyond)" "$log" | grep -v vkDestroyDevice |
                cut -c 1-200 | sed "s/^/# /" | head -n 8)
            printf "%s\n" "not ok - $2" "${said:-# it ended early}"
        fi' "$0" "$tap_folder"
    tap_count=$((tap_count + $#))
}

# For what must fail, or must not be there: `!` would not end a function.
fails()
{
    if "$@"; then
        return 1
    fi
}

plan() { echo "1..$tap_count"; }

# Without the last case the rest makes no sense.
require()
{
    check "$@"
    passed || {
        plan
        exit 1
    }
}

# give_up REASON: the whole script is skipped.
give_up()
{
    echo "1..0 # SKIP $1"
    exit 0
}
