#!/bin/sh
# SPDX-License-Identifier: MIT
# bootstrap.sh and the count of test cases behave: TAP on standard output. Systems are made up in a
# folder that bootstrap.sh --dry-run takes for the root, so nothing here installs anything.
set -u

tests=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
bootstrap=$tests/../bootstrap.sh
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
root=$work/root
count=0

# check NAME COMMAND...: one case; what the command before it printed is shown if the case fails.
check()
{
    name=$1
    shift
    count=$((count + 1))
    if "$@"; then
        echo "ok $count - $name"
    else
        echo "not ok $count - $name"
        sed 's/^/# /' "$work/out"
    fi
}

skip()
{
    count=$((count + 1))
    echo "ok $count - $1 # SKIP $2"
}

# Runs a command for the next checks: status and, in $work/out, all that it printed.
try()
{
    "$@" >"$work/out" 2>&1 </dev/null
    status=$?
}

exited() { [ "$status" -eq "$1" ]; }
printed() { grep -qF -- "$1" "$work/out"; }
not_printed() { ! printed "$1"; }
last_line() { [ "$(tail -n 1 "$work/out")" = "$1" ]; }

# A system of that os-release ID and VERSION_ID, without packages and without sources.
make_system()
{
    rm -rf "$root"
    mkdir -p "$root/etc/apt/sources.list.d" "$root/var/lib/dpkg"
    printf 'ID=%s\nVERSION_ID=%s\nPRETTY_NAME="%s %s"\n' "$1" "$2" "$1" "$2" >"$root/etc/os-release"
    : >"$root/var/lib/dpkg/status"
}

have_package()
{
    printf '%s\n' "Package: $1" 'Status: install ok installed' "Architecture: ${3:-all}" "Version: $2" \
        'Maintainer: nobody <nobody@localhost>' 'Description: none' '' >>"$root/var/lib/dpkg/status"
}

dry_run()
{
    try env DIJIANG_ROOT="$root" DIJIANG_BUILD="$work/build" sh "$bootstrap" --dry-run "$@"
}

# --- words on the command line

test_usage()
{
    try sh "$bootstrap" --help
    check "help succeeds" exited 0
    check "help names every command" printed "build   deps"
    try sh "$bootstrap" nonsense
    check "an unknown command exits 2" exited 2
    check "an unknown command is named" printed nonsense
    try sh "$bootstrap"
    check "no command exits 2" exited 2
    try sh "$bootstrap" demo test
    check "two commands exit 2" exited 2
    try sh "$bootstrap" --help
    check "help names the slow proofs" printed "--all: then also the slow"
    try sh "$bootstrap" demo --all
    check "the demo has no --all" exited 2
    check "it is said what --all is for" printed "--all is for test and deps"
    try sh "$bootstrap" --all
    check "--all is no command" exited 2
    try env DIJIANG_ROOT="$work" sh "$bootstrap" deps
    check "another root without --dry-run is refused" exited 1
}

# --- what is missing on known systems

test_known_systems()
{
    make_system debian 13
    dry_run deps
    check "Debian 13: a look succeeds" exited 0
    check "Debian 13: the missing are named" printed "meson ninja-build"
    check "Debian 13: no backports" not_printed backports
    check "what tests need is not asked for" not_printed libcmocka-dev
    dry_run deps --test
    check "what tests need is asked for" printed libcmocka-dev
    check "what the tests of other builds need is asked for" printed cmake
    check "what the slow proofs need is not asked for" not_printed debootstrap
    dry_run deps --all
    check "with --all it is" printed "gcc-aarch64-linux-gnu"
    check "with --all, what tests need is asked for too" printed libcmocka-dev
    dry_run --all test
    check "the test command takes --all in any place" printed debootstrap
    have_package libcjson-dev 1.7 foreign
    dry_run deps
    check "another architecture's package does not count" printed libcjson-dev
    have_package meson 1.0.1-5
    dry_run deps
    check "Debian 13: a package that is there is not missing" not_printed meson
    check "a look leaves nothing behind" [ ! -e "$work/build" ]
    make_system ubuntu 24.04
    dry_run deps
    check "Ubuntu 24.04 is known" printed "ubuntu 24.04 lacks"
    make_system ubuntu 22.04
    dry_run deps
    check "Ubuntu 22.04 is not known" not_printed "ubuntu 22.04 lacks"
}

test_backports()
{
    make_system debian 12
    dry_run deps
    check "Debian 12 gets backports" printed \
        "    deb http://deb.debian.org/debian bookworm-backports main"
    echo 'deb http://extra.test/debian bookworm non-free' \
        >"$root/etc/apt/sources.list.d/extra.list"
    echo 'deb [arch=amd64 signed-by=/a.gpg] http://mirror.test/debian bookworm main contrib' \
        >"$root/etc/apt/sources.list"
    dry_run deps
    check "backports come from the system's mirror" printed \
        "    deb [arch=amd64 signed-by=/a.gpg] http://mirror.test/debian bookworm-backports main"
    printf '%s\n' 'Types: deb' 'URIs: http://other.test/security' 'Suites: bookworm-security' \
        'Components: main' '' '# the archive' 'Types: deb deb-src' \
        'URIs: http://other.test/debian' 'Suites: bookworm bookworm-updates' 'Components: main' \
        'Signed-By: /b.gpg' >"$root/etc/apt/sources.list.d/debian.sources"
    rm "$root/etc/apt/sources.list"
    dry_run deps
    check "the newer format of sources is read" printed "    URIs: http://other.test/debian"
    check "its suite is replaced" printed "    Suites: bookworm-backports"
    check "its key is kept" printed "    Signed-By: /b.gpg"
    check "its source packages are left out" printed "    Types: deb"
    check "no other paragraph is taken" not_printed security
    echo 'deb http://mirror.test/debian bookworm-backports main' >"$root/etc/apt/sources.list"
    dry_run deps
    check "backports that are there are not added" not_printed adding
    have_package meson 1.0.1-5
    dry_run deps
    check "Debian 12: an old Meson is missing" printed " meson "
    have_package libvkfft-dev 1.3.4+ds2-1~bpo12+1
    dry_run deps
    check "Debian 12: a new enough VkFFT is not" not_printed libvkfft-dev
}

test_nothing_missing()
{
    make_system debian 13
    for package in $(sed -n '/^build gcc/,/^END/s/^[bru][a-z]*  *\([a-z0-9+-]*\).*/\1/p' "$bootstrap"); do
        have_package "$package" 99
    done
    dry_run deps
    check "where all is there, a look succeeds" exited 0
    check "it says that nothing is missing" last_line "dijiang: nothing is missing"
    dry_run deps --test
    check "what is not there is still named" printed "lacks libcmocka-dev"
    check "then not all is there" not_printed "nothing is missing"
}

# --- systems that are not known

test_unknown_system()
{
    make_system plan9 4
    bin=$work/bin
    mkdir -p "$bin"
    for tool in sh cat dirname id date awk grep sed tail; do
        ln -s "$(command -v "$tool")" "$bin/$tool"
    done
    try env PATH="$bin" CC= CXX= DIJIANG_BUILD="$work/build" DIJIANG_ROOT="$root" \
        "$(command -v sh)" "$bootstrap" --dry-run test
    check "an unknown system without tools exits 1" exited 1
    check "an unknown system is named" printed "plan9 4"
    check "the compiler is missing by name" printed "a C compiler (cc)"
    check "Meson is missing by name" printed "(meson)"
    check "nothing is built there" [ ! -e "$work/build" ]
}

# --- the count of cases

# log NAME RESULT STDOUT: one line of the log of meson test.
log()
{
    printf '{"name": "%s", "result": "%s", "stdout": "%s"}\n' "$1" "$2" "$3" >>"$work/log"
}

tally()
{
    status=$1
    shift
    try python3 "$tests/tally.py" "$status" "$work/log" "$@"
    rm -f "$work/log"
}

test_tally()
{
    log a OK '1..2\nok 1 - x\nok 2 - y # SKIP no device\n'
    log b OK '1..1\nok 1 - z\n'
    tally 0
    check "cases are counted, not programs" last_line "2 passed, 0 failed, 1 skipped"
    check "a count without failures succeeds" exited 0
    check "a skipped case is shown with its reason" printed "skipped: a: y: no device"
    log a FAIL '1..2\nok 1 - x\nnot ok 2 - y\n'
    tally 1
    check "a failed case is counted" last_line "1 passed, 1 failed"
    check "a failed case fails the whole" exited 1
    log a ERROR '1..3\nok 1 - x\n'
    log b TIMEOUT ''
    log c OK '1..1\nok 1 - z\n'
    tally 1
    check "a crash and a timeout are failures" last_line "2 passed, 2 failed"
    log a OK ''
    tally 0
    check "a program without cases is a failure" last_line "0 passed, 1 failed"
    log a SKIP '1..0 # SKIP no GPU\n'
    tally 0
    check "a program may skip as a whole" last_line "0 passed, 0 failed, 1 skipped"
    log a OK '1..1\nok 1 - x\n'
    tally 1
    check "what meson calls a failure is one" last_line "1 passed, 1 failed"
    log a ERROR '1..1\nok 1 - x\n'
    log b ERROR '1..1\nok 1 - x\n'
    tally 1
    check "a crash after the last case is a failure" last_line "2 passed, 2 failed"
    log a OK '1..2\nok 1 - x\n'
    tally 0
    check "a case of the plan left out is a failure" last_line "1 passed, 1 failed"
    # of scripts beside it
    log a OK '1..1\nok 1 - x\n'
    printf 'ok 1 - p\n# said\nnot ok 2 - q # TODO news\n1..2\n' >"$work/proof"
    tally 0 proof 0 "$work/proof"
    check "a script's cases are counted" last_line "2 passed, 0 failed, 1 skipped"
    log a OK '1..1\nok 1 - x\n'
    printf 'ok 1 - p\n' >"$work/proof"
    tally 0 proof 1 "$work/proof" other 0 "$work/proof"
    check "a script that fails is a failure" last_line "3 passed, 1 failed"
    check "it is named" printed "proof: the script exited with 1"
    log a OK '1..1\nok 1 - x\n'
    : >"$work/proof"
    tally 0 proof 0 "$work/proof"
    check "a script without cases is a failure" last_line "1 passed, 1 failed"
    log a OK '1..1\nok 1 - x\n'
    tally 0 proof 0 "$work/none"
    check "a script without output is a failure" last_line "1 passed, 1 failed"
    : >"$work/log"
    tally 0
    check "a run without tests is a failure" last_line "0 passed, 1 failed"
    tally 0
    check "no log is a failure" last_line "0 passed, 1 failed"
}

try sh -n "$bootstrap"
check "bootstrap.sh parses" exited 0
try sh -n "$tests/../.ci/run"
check ".ci/run parses" exited 0
for script in $(sed -n '/^slow_proofs()/,/^}/s/^\([a-z0-9]*\)   *[A-Za-z0-9].*/\1/p' "$bootstrap"); do
    try sh -n "$tests/$script.sh"
    check "the slow proof $script is there and parses" exited 0
done
test_usage
if command -v dpkg-query >/dev/null; then
    test_known_systems
    test_backports
    test_nothing_missing
else
    skip "known systems" "no dpkg-query"
fi
test_unknown_system
test_tally
echo "1..$count"
