#!/bin/sh
# SPDX-License-Identifier: MIT
# Each page names the options that its program's --help names, and no others, and the variables that
# the library reads; man and mandoc, where they are installed, have nothing to say of it. TAP on
# standard output.
# usage: man.sh PROGRAMS PAGE...
set -u
programs=$1
sources=$(dirname -- "$0")/../lib
shift
# shellcheck source=tests/tap.sh
. "$(dirname -- "$0")/tap.sh"

# Options in the text of --help and in a page's source; one a line, each once.
helped() { "$1" --help | grep -oE -- '--[a-z][a-z-]*' | sort -u; }
paged() { grep -oE 'Fl -[a-z][a-z-]*' "$1" | sed 's/Fl -/--/' | sort -u; }

same_options()
{
    helped "$programs/$1" >"$work/helped"
    paged "$2" >"$work/paged"
    [ -s "$work/helped" ]
    diff "$work/helped" "$work/paged"
}

# Those of the environment.
same_variables()
{
    grep -hoE '"(DIJIANG_[A-Z0-9_]+|XDG_CACHE_HOME|HOME)"' "$sources"/*.c | tr -d '"' | sort -u \
        >"$work/read"
    [ -s "$work/read" ]
    sed -n '/^\.Sh ENVIRONMENT/,/^\.Sh FILES/p' "$1" | grep -oE 'Ev [A-Z0-9_]+' | cut -c 4- |
        sort -u >"$work/paged"
    diff "$work/read" "$work/paged"
}

# "0 success, 1 ..." is in both, whatever the line breaks.
same_codes()
{
    codes=$("$programs/$1" --help | tr -s ' \n' '  ' | sed 's/.*exit codes: \([^;]*[^; ]\).*/\1/')
    [ -n "$codes" ]
    tr -s '\n' ' ' <"$2" | grep -F "$codes"
}

# Other pages need not be installed where this one is checked.
linted()
{
    mandoc -T lint -W all "$1" >"$work/lint" 2>&1 || :
    fails grep -v 'referenced manual not found' "$work/lint"
}

formatted()
{
    LC_ALL=C.UTF-8 man --warnings -l "$1" 2>"$work/warnings" >/dev/null
    cat "$work/warnings"
    [ ! -s "$work/warnings" ]
}

for page; do
    name=$(basename "$page" .1)
    check "$name.1 has the options of --help" same_options "$name" "$page"
    check "$name.1 has the library's variables" same_variables "$page"
    check "$name.1 has the exit codes of --help" same_codes "$name" "$page"
    check_with mandoc "$name.1 passes mandoc's lint" linted "$page"
    check_with man "$name.1 formats without a warning" formatted "$page"
done
plan
