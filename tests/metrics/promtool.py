#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What Prometheus itself says: of the metrics of a host with work on it and of one without a VM,
of the rules and their tests, and of the example's configuration. Exits 77 without a promtool."""
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, 'tests/e2e'))

from stack import Stack, run  # noqa: E402

RULES = os.path.join(ROOT, 'integrations/prometheus')


def promtool(*arguments, text=None, cwd=None):
    return subprocess.run(['promtool', *arguments], input=text, capture_output=True, text=True,
                          cwd=cwd, check=False)


def check_metrics(text):
    done = promtool('check', 'metrics', text=text)
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_metrics_promtool_takes_those_of_a_host():
    with Stack(vms=[(1, 'A', 'high'), (2, 'a "pool" \\ of its own', 'low')]) as stack:
        subprocess.run([os.path.join(stack.build, 'tests/counted'), stack.vm_socket(1), '20', '5',
                        '2', '5'], check=True, stdout=subprocess.DEVNULL)
        text = stack.admin('metrics', '--prometheus')
        assert 'vgpu_vm_info{vm="2",pool="a \\"pool\\" \\\\ of its own",priority="low"} 1' in text
        check_metrics(text)


def test_metrics_promtool_takes_those_of_an_empty_host():
    with Stack(vms=[]) as stack:
        check_metrics(stack.admin('metrics', '--prometheus'))


def test_metrics_promtool_can_refuse():
    assert promtool('check', 'metrics', text='# TYPE x counter\nx{ 1\n').returncode != 0


def test_metrics_rules_are_valid():
    done = promtool('check', 'rules', os.path.join(RULES, 'rules.yml'))
    assert done.returncode == 0, done.stdout + done.stderr


def test_metrics_rules_do_what_their_tests_say():
    done = promtool('test', 'rules', os.path.join(RULES, 'rules_test.yml'))
    assert done.returncode == 0, done.stdout + done.stderr


def test_metrics_each_alert_has_a_test():
    with open(os.path.join(RULES, 'rules.yml'), encoding='utf-8') as file:
        alerts = {line.split()[-1] for line in file if '- alert:' in line}
    with open(os.path.join(RULES, 'rules_test.yml'), encoding='utf-8') as file:
        tested = {line.split()[-1] for line in file if 'alertname:' in line}
    assert alerts == tested, alerts ^ tested


def test_metrics_example_configuration_is_valid():
    with tempfile.TemporaryDirectory() as folder:
        for name in ('prometheus.yml', 'rules.yml'):
            shutil.copy(os.path.join(RULES, name), folder)
        with open(os.path.join(folder, 'vgpu.token'), 'w', encoding='utf-8') as file:
            file.write('token')
        done = promtool('check', 'config', 'prometheus.yml', cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr


if __name__ == '__main__':
    if not shutil.which('promtool'):
        print('no promtool (package prometheus): Prometheus\' own checks are skipped')
        sys.exit(77)
    sys.exit(run([function for name, function in sorted(globals().items())
                  if name.startswith('test_')]))
