#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Counts the TAP cases of a `meson test` run, and of scripts that were run beside it.

usage: tally.py STATUS testlog.json [NAME STATUS FILE]...

STATUS is what `meson test`, or the script NAME, exited with, whose output is in FILE. Prints failed and skipped cases and, as the last line,
"N passed, N failed" (", N skipped"); exits 1 if anything failed. A program that crashed, ran out of
time, left cases of its plan out or printed none counts as at least one failure.
"""
import json
import re
import sys

CASE = re.compile(r'(not )?ok\b\s*\d*\s*(?:-\s*)?([^#]*)(?:#\s*(\w+)\s*(.*))?')
PLAN = re.compile(r'1\.\.(\d+)\s*(?:#\s*(.*))?')
GOOD = {'OK', 'SKIP', 'EXPECTEDFAIL'}


def cases(output):
    """The (outcome, text) of each case, and one more for a plan that was not kept."""
    found, planned = [], None
    for line in output.splitlines():
        case, plan = CASE.match(line), PLAN.fullmatch(line.strip())
        if plan:
            planned = int(plan[1])
            if planned == 0 and plan[2]:
                found.append(('skipped', plan[2]))
        elif case:
            name, word, reason = case[2].strip(), (case[3] or '').upper(), case[4] or ''
            if word.startswith('SKIP') and not case[1]:
                found.append(('skipped', name + ': ' + reason if name else reason))
            elif word == 'TODO':
                found.append(('skipped' if case[1] else 'failed', name + ': to do: ' + reason))
            else:
                found.append(('failed' if case[1] else 'passed', name or line))
        elif line.startswith('Bail out!'):
            found.append(('failed', line))
    if planned and len(found) != planned:
        found.append(('failed', '%d cases of %d were run' % (len(found), planned)))
    return found


def tally(path):
    total = []
    with open(path, encoding='utf-8', errors='replace') as log:
        for line in log:
            test = json.loads(line)
            found = cases(test.get('stdout') or '')
            failed = any(outcome == 'failed' for outcome, _ in found)
            if test['result'] == 'SKIP' and not found:
                found.append(('skipped', 'the whole program'))
            elif test['result'] not in GOOD and not failed:
                found.append(('failed', 'the program: ' + test['result'].lower()))
            elif not found:
                found.append(('failed', 'no case was run'))
            total += [(outcome, test['name'] + ': ' + text) for outcome, text in found]
    return total


def tally_script(name, status, path):
    try:
        with open(path, encoding='utf-8', errors='replace') as output:
            found = cases(output.read())
    except OSError as error:
        found = [('failed', 'its output cannot be read: %s' % error)]
    if status and not any(outcome == 'failed' for outcome, _ in found):
        found.append(('failed', 'the script exited with %d' % status))
    elif not found:
        found.append(('failed', 'no case was run'))
    return [(outcome, name + ': ' + text) for outcome, text in found]


def main():
    status, path = int(sys.argv[1]), sys.argv[2]
    try:
        total = tally(path)
    except (OSError, ValueError, KeyError) as error:
        total = [('failed', 'the log of meson test cannot be read: %s' % error)]
    if not total:
        total.append(('failed', 'no test was run'))
    if status and not any(outcome == 'failed' for outcome, _ in total):
        total.append(('failed', 'meson test exited with %d' % status))
    scripts = sys.argv[3:]
    for name, status, path in zip(scripts[0::3], scripts[1::3], scripts[2::3]):
        total += tally_script(name, int(status), path)
    count = {outcome: 0 for outcome in ('passed', 'failed', 'skipped')}
    for outcome, text in total:
        count[outcome] += 1
        if outcome != 'passed':
            print(outcome + ': ' + text)
    print('%(passed)d passed, %(failed)d failed' % count +
          (', %(skipped)d skipped' % count if count['skipped'] else ''))
    return 1 if count['failed'] else 0


if __name__ == '__main__':
    sys.exit(main())
