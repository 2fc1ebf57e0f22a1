#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares rules, their tests and the dashboard with metrics/metrics.def: names, labels, and their
values; and vgpu.json with what makes it."""
import json
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'metrics'))
sys.path.insert(0, os.path.join(ROOT, 'integrations/grafana'))

import dashboard  # noqa: E402
import definition  # noqa: E402

# Added by Prometheus, to each series.
OWN = {'instance': None, 'job': None}
NAME = re.compile(r'(?<![\w:])((?:\w+:)?vgpu_\w+(?::\w+)?)(?:\{([^}]*)\})?')
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')


def read(path):
    with open(os.path.join(ROOT, path), encoding='utf-8') as file:
        return file.read()


def known():
    """{series name: {label: values or None}}"""
    found = {}
    for metric in definition.load():
        for name in metric.series():
            found[name] = {**metric.labels, **OWN}
        if metric.kind == 'SUMMARY':
            found[metric.name]['quantile'] = ['0.5', '0.95', '0.99']
    return found


def recorded(rules):
    return set(re.findall(r'- record: (\S+)', rules))


def faults(where, text, metrics, records):
    for match in NAME.finditer(text):
        name, matchers = match.groups()
        if ':' in name:
            if name not in records:
                yield '%s: %s is not recorded' % (where, name)
            continue
        if name not in metrics:
            yield '%s: there is no metric %s' % (where, name)
            continue
        for label, operator, value in MATCHER.findall(matchers or ''):
            if label not in metrics[name]:
                yield '%s: %s has no label %s' % (where, name, label)
            elif operator in '!=' and metrics[name][label] and value not in metrics[name][label]:
                yield '%s: %s{%s} is never "%s"' % (where, name, label, value)


def without_comments(text):
    return '\n'.join(line for line in text.split('\n') if not line.lstrip().startswith('#'))


def all_faults():
    metrics, rules = known(), without_comments(read('integrations/prometheus/rules.yml'))
    records = recorded(rules)
    yield from faults('rules.yml', rules, metrics, records)
    tests = without_comments(read('integrations/prometheus/rules_test.yml'))
    yield from faults('rules_test.yml', tests, metrics, records)
    made = dashboard.dashboard()
    for panel in made['panels']:
        for target in panel.get('targets', []):
            yield from faults('dashboard, ' + panel['title'], target['expr'], metrics, records)
    for variable in made['templating']['list']:
        yield from faults('dashboard, variable', variable['query'], metrics, records)
    if json.loads(read('integrations/grafana/vgpu.json')) != made:
        yield 'vgpu.json is not what dashboard.py writes'


def self_test():
    """The check must be able to fail."""
    metrics = known()
    for text in ('vgpu_vm_dreams_total', 'vgpu_vm_channels{gpu="1"}', 'a:vgpu_x:b',
                 'vgpu_vm_refused_jobs_total{reason="whim"}',
                 'vgpu_job_run_seconds{quantile="0.9"}'):
        assert list(faults('', text, metrics, set())), text
    for text in ('vgpu_vm_channels{vm="1", instance=~"$x"}', 'rate(vgpu_job_run_seconds_sum[5m])',
                 'vgpu_vm_refused_jobs_total{reason="rate"}'):
        assert not list(faults('', text, metrics, set())), text


def main():
    self_test()
    found = list(all_faults())
    for fault in found:
        print(fault)
    print('%d faults' % len(found))
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
