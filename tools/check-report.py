#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adds up what the stages of ./check left in their results directory.

check-report.py RESULTS. Counts cmocka's cases where a test prints them. A skip that tests/skips.txt
does not list counts as a failure: the list grows only on purpose.
"""
import glob
import json
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def allowed_skips():
    with open(os.path.join(ROOT, 'tests/skips.txt'), encoding='utf-8') as lines:
        return {line.split('#')[0].strip() for line in lines} - {''}


def case_counts(text):
    passed = sum(int(n) for n in re.findall(r'\[  PASSED  \] (\d+) test', text))
    failed = sum(int(n) for n in re.findall(r'\[  FAILED  \] (\d+) test', text))
    skipped = re.findall(r'\[  SKIPPED \] (?!\d+ test)(\w+)', text)
    return passed, failed, sorted(set(skipped))


class Totals:
    def __init__(self):
        self.passed = self.failed = 0
        self.skipped = []

    def meson(self, stage, entry):
        test = entry['name'].split(' / ')[-1]  # meson writes "project:suite / test"
        name = '%s/%s' % (stage, test)
        output = entry.get('stdout', '') + entry.get('stderr', '')
        passed, failed, skipped = case_counts(output)
        if entry['result'] == 'SKIP':
            self.skipped.append((test, output.strip().split('\n')[-1]))
        elif entry['result'] in ('OK', 'EXPECTEDFAIL'):
            self.passed += passed or 1
            self.skipped += [(case, 'in ' + name) for case in skipped]
        else:
            self.passed += passed
            self.failed += failed or 1
            print('FAILED %s (%s)\n%s\n' % (name, entry['result'], output[-4000:]))

    def lines(self, path):
        with open(path, encoding='utf-8') as lines:
            for line in lines:
                verdict, _, rest = line.strip().partition(' ')
                if verdict == 'passed':
                    self.passed += 1
                elif verdict == 'skipped':
                    self.skipped.append((rest.split(':')[0], rest))
                else:
                    self.failed += 1
                    print('FAILED %s' % rest)


def main():
    results = sys.argv[1]
    totals = Totals()
    for path in sorted(glob.glob(os.path.join(results, '*.json'))):
        stage = os.path.basename(path)[:-len('.json')]
        with open(path, encoding='utf-8') as lines:
            for line in lines:
                totals.meson(stage, json.loads(line))
    for path in sorted(glob.glob(os.path.join(results, '*.txt'))):
        totals.lines(path)
    known = allowed_skips()
    for name, why in totals.skipped:
        print('skipped %s: %s' % (name, why))
        if name not in known:
            print('FAILED: the skip of %s is not listed in tests/skips.txt' % name)
            totals.failed += 1
    if totals.passed == 0:
        print('FAILED: nothing ran')
        totals.failed += 1
    print('%d passed, %d failed, %d skipped' % (totals.passed, totals.failed, len(totals.skipped)))
    sys.exit(1 if totals.failed else 0)


if __name__ == '__main__':
    main()
