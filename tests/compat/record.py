# SPDX-License-Identifier: Apache-2.0
"""A plugin of pytest for run.py: each test's outcome is a line of VGPU_RECORD, written at its end.

So a suite that is stopped still leaves what it has done. With pytest-xdist the controller writes.
"""
import json
import os

FIRST_LINE = 300


class Recorder:
    def __init__(self, stream):
        self.stream = stream

    def pytest_runtest_logreport(self, report):
        if report.when != 'call' and report.passed:
            return
        text = '' if report.passed else str(report.longrepr)
        lines = [line[1:].strip() for line in text.split('\n') if line.startswith('E  ')]
        text = (lines or text.strip().split('\n')[-1:])[0][:FIRST_LINE]
        outcome = 'skipped' if hasattr(report, 'wasxfail') else report.outcome
        self.stream.write(json.dumps([report.nodeid, outcome, text, report.duration]) + '\n')
        self.stream.flush()

    def pytest_collectreport(self, report):
        if report.failed:
            self.stream.write(json.dumps([report.nodeid, 'failed', 'cannot be collected', 0]) + '\n')
            self.stream.flush()


def pytest_configure(config):
    if not hasattr(config, 'workerinput'):
        stream = open(os.environ['VGPU_RECORD'], 'a', encoding='utf-8')  # pylint: disable=consider-using-with
        config.pluginmanager.register(Recorder(stream))
