#!/bin/sh
# SPDX-License-Identifier: MIT
# Fuzzes every target with libFuzzer under ASan and UBSan for a while each, as TAP. What is found
# stays in build-fuzz/found, to be mended and then kept in the corpus.
# usage: fuzz.sh [SECONDS] [TARGET...]
set -u
source_dir=$(cd "$(dirname "$0")/.." && pwd)
build=$source_dir/build-fuzz
seconds=${1:-20}
[ $# -eq 0 ] || shift
targets=${*:-$(cd "$source_dir/tests/fuzz/corpus" && echo *)}
set -- $targets
if ! command -v clang >/dev/null ||
    ! printf 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && n == 0; }\n' |
        clang -x c - -fsanitize=fuzzer -o /dev/null 2>/dev/null; then
    echo "1..0 # SKIP clang with libFuzzer is not installed (Debian: clang)"
    exit 0
fi
echo "1..$#"
mkdir -p "$build/found"
{
    [ -e "$build/build.ninja" ] ||
        CC=clang CXX=clang++ meson setup "$build" "$source_dir" --buildtype=debugoptimized \
            -Db_sanitize=address,undefined -Db_lundef=false -Dvkfft=disabled -Dsamples=false \
            -Dcalibrate=disabled -Dtests=enabled -Dfuzz=true -Dc_args=-fsanitize=fuzzer-no-link &&
        ninja -C "$build" $(for target; do echo "tests/fuzz/fuzz-$target"; done)
} >"$build/build.log" 2>&1 || {
    tail -n 20 "$build/build.log" | sed 's/^/# /'
    echo "not ok 1 - the targets are built"
    exit 1
}
number=0
status=0
for target; do
    number=$((number + 1))
    mkdir -p "$build/corpus/$target"
    log=$build/$target.log
    # new inputs go to the first folder; the kept ones are only read
    if UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 "$build/tests/fuzz/fuzz-$target" \
        -max_total_time="$seconds" -timeout=30 -rss_limit_mb=4096 -print_final_stats=1 \
        -artifact_prefix="$build/found/$target-" "$build/corpus/$target" \
        "$source_dir/tests/fuzz/corpus/$target" >"$log" 2>&1; then
        echo "ok $number - $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs"
    else
        tail -n 40 "$log" | sed 's/^/# /'
        echo "not ok $number - $target: see $build/found"
        status=1
    fi
done
exit $status
