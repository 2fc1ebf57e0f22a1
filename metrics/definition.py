#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""metrics.def as Python has it, and the tables of docs/spec/metrics.md that are made of it.

definition.py DOCUMENT compares the tables between the document's marks with the definition and
exits 1 where they differ; with --write it brings them up to date.
"""
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
LINE = re.compile(r'METRIC\((\w+),\s*(\w+),\s*(\w+),\s*(\d+),\s*"(\w+)",\s*"([^"]*)",\s*(\d+),'
                  r'\s*"([^"]*)",\s*"([^"]*)"\)')
# What names a row of each scope.
KEYS = {'GLOBAL': [], 'GPU': ['gpu'], 'POOL': ['pool'], 'VM': ['vm']}
TITLES = {'GLOBAL': 'The host', 'GPU': 'Each GPU', 'POOL': 'Each pool', 'VM': 'Each VM'}
TYPES = {'COUNTER': 'counter', 'GAUGE': 'gauge', 'SUMMARY': 'summary', 'INFO': 'gauge'}
BEGIN, END = '<!-- metrics.def: begin -->', '<!-- metrics.def: end -->'


class Metric:
    def __init__(self, match):
        (self.scope, self.id, self.kind, digits, self.name, label, number, values,
         self.help) = match.groups()
        self.digits = int(digits)
        self.type = TYPES[self.kind]
        # Labels and the values that they can have; None: any.
        self.labels = {key: None for key in KEYS[self.scope]}
        if self.kind == 'INFO':
            self.labels.update({name: None for name in label.split()})
        elif label:
            self.labels[label] = values.split()
            assert len(values.split()) == int(number), self.name

    def series(self):
        """The names under which Prometheus has it."""
        return [self.name + end for end in ('', '_sum', '_count')] if self.kind == 'SUMMARY' \
            else [self.name]


def load():
    with open(os.path.join(HERE, 'metrics.def'), encoding='utf-8') as file:
        text = re.sub(r'/\*.*?\*/', '', file.read(), flags=re.DOTALL)
    metrics = [Metric(match) for match in LINE.finditer(text)]
    assert len(metrics) == text.count('METRIC('), 'a line of metrics.def is not understood'
    return metrics


def labels_text(metric):
    return ', '.join('`%s`' % name + (' (%s)' % ', '.join(values) if values else '')
                     for name, values in metric.labels.items())


def tables():
    out = []
    for scope, title in TITLES.items():
        out += ['', '## ' + title, '', '| name | type | labels | what |',
                '| --- | --- | --- | --- |']
        out += ['| `%s` | %s | %s | %s |' % (m.name, m.type, labels_text(m), m.help)
                for m in load() if m.scope == scope]
    return '\n'.join(out) + '\n'


def main(arguments):
    write = '--write' in arguments
    path = [a for a in arguments if a != '--write'][0]
    with open(path, encoding='utf-8') as file:
        text = file.read()
    before, rest = text.split(BEGIN, 1)
    kept, after = rest.split(END, 1)
    made = '\n' + tables() + '\n'
    if kept == made:
        print('%d metrics, as %s has them' % (len(load()), os.path.basename(path)))
        return 0
    if write:
        with open(path, 'w', encoding='utf-8') as file:
            file.write(before + BEGIN + made + END + after)
        return 0
    print('%s is not as metrics.def; metrics/definition.py --write %s makes it so' % (path, path))
    return 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
