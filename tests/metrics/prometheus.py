#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A Prometheus of its own scrapes vgpu-agent every two seconds while programs run: no scrape fails,
what it has stored is what vgpu-admin says, an alert fires on an injected fault and clears, and
another when the mediator is down, and clears when it is back. Exits 77 without a Prometheus."""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, 'tests/agent'))
sys.path.insert(0, os.path.join(ROOT, 'tests/e2e'))

import support  # noqa: E402
from stack import run, wait_for  # noqa: E402

RULES = os.path.join(ROOT, 'integrations/prometheus/rules.yml')
CONFIG = '''
global: {scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs:
  - job_name: vgpu
    authorization: {credentials_file: vgpu.token}
    static_configs: [{targets: ["127.0.0.1:%d"]}]
'''


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Prometheus:
    def __init__(self, port, token):
        self.folder = tempfile.TemporaryDirectory(prefix='vgpu-prometheus-')
        self.port = free_port()
        with open(RULES, encoding='utf-8') as file:
            rules = file.read()
        # The same rules, with less patience.
        rules = re.sub(r'\bfor: \d+m', 'for: 4s', rules).replace('interval: 30s', 'interval: 1s')
        for name, text in (('prometheus.yml', CONFIG % port), ('rules.yml', rules),
                           ('vgpu.token', token)):
            with open(os.path.join(self.folder.name, name), 'w', encoding='utf-8') as file:
                file.write(text)
        with open(os.path.join(self.folder.name, 'log'), 'w', encoding='utf-8') as log:
            self.process = subprocess.Popen(
                ['prometheus', '--config.file=prometheus.yml', '--storage.tsdb.path=data',
                 '--web.listen-address=127.0.0.1:%d' % self.port, '--log.level=warn'],
                cwd=self.folder.name, stdout=log, stderr=log)

    def get(self, path, **query):
        url = 'http://127.0.0.1:%d/api/v1/%s?%s' % (self.port, path, urllib.parse.urlencode(query))
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)['data']
        except OSError:
            assert self.process.poll() is None, self.log()
            return None

    def values(self, expression):
        """{labels as a sorted tuple: number}"""
        data = self.get('query', query=expression)
        own = ('__name__', 'instance', 'job')
        return {tuple(sorted((k, v) for k, v in one['metric'].items() if k not in own)):
                float(one['value'][1]) for one in data['result']} if data else {}

    def firing(self, severity='.*'):
        data = self.get('alerts')
        return {(a['labels']['alertname'], a['labels'].get('vm')) for a in data['alerts']
                if a['state'] == 'firing' and
                re.fullmatch(severity, a['labels']['severity'])} if data else set()

    def log(self):
        with open(os.path.join(self.folder.name, 'log'), encoding='utf-8') as file:
            return file.read()

    def close(self):
        self.process.terminate()
        self.process.wait(30)
        self.folder.cleanup()


def assert_scrapes_were_good(prometheus):
    target = prometheus.get('targets')['activeTargets'][0]
    assert target['health'] == 'up' and not target['lastError'], target
    scrapes = prometheus.values('count_over_time(up{job="vgpu"}[5m])')
    assert scrapes == prometheus.values('sum_over_time(up{job="vgpu"}[5m])'), scrapes
    assert scrapes[()] >= 3, scrapes


def host_says(stack, name):
    return {tuple(sorted(one['labels'].items())): one.get('value', one.get('count'))
            for metric in stack.admin_json('metrics')['metrics'] if metric['name'] == name
            for one in metric['series']}


def all_ended(stack):
    return sum(host_says(stack, 'vgpu_vm_channels').values()) == 0


def check_values(stack, prometheus):
    for name in ('vgpu_vm_completed_jobs_total', 'vgpu_vm_copied_bytes_total',
                 'vgpu_vm_gpu_seconds_total', 'vgpu_vm_refused_jobs_total', 'vgpu_pool_vms',
                 'vgpu_vm_faults_total'):
        said = host_says(stack, name)
        assert said, name
        wait_for(lambda n=name, s=said: prometheus.values(n) == s, 20, name)
    said = host_says(stack, 'vgpu_job_run_seconds')
    wait_for(lambda: prometheus.values('vgpu_job_run_seconds_count') == said, 20, 'counts of jobs')


def work(stack):
    """Programs on all VMs, until all have ended."""
    load = [subprocess.Popen([os.path.join(stack.build, 'tests/unruly'), 'steady',
                              stack.vm_socket(vm), '5000'], stdout=subprocess.DEVNULL)
            for vm in (1, 2)]
    stack.clients += load
    subprocess.run([os.path.join(stack.build, 'tests/counted'), stack.vm_socket(3), '100', '10',
                    '5', '50'], check=True, stdout=subprocess.DEVNULL)
    for process in load:
        assert process.wait(60) == 0
    wait_for(lambda: all_ended(stack), 10, 'the workers have ended')


def misbehave(stack, prometheus):
    """A fault, and what comes of it."""
    wanted = ('VgpuVmQuarantined', '2')
    stack.admin('set-faults', '2', '1', '1h')
    unruly = os.path.join(stack.build, 'tests/unruly')
    subprocess.run([unruly, 'illegal', stack.vm_socket(2)], capture_output=True, timeout=60,
                   check=True)
    wait_for(lambda: wanted in prometheus.firing(), 30, 'the alert fires')
    stack.admin('unquarantine', '2')
    wait_for(lambda: wanted not in prometheus.firing(), 30, 'the alert has cleared')
    assert not prometheus.firing('critical'), prometheus.firing('critical')


def lose_the_mediator(stack, prometheus):
    """What is down is said by the agent, which is not."""
    wanted = ('VgpuMediatorDown', None)
    stack.kill_mediator()
    wait_for(lambda: wanted in prometheus.firing(), 30, 'the alert fires')
    stack.start_mediator()
    wait_for(lambda: wanted not in prometheus.firing(), 30, 'the alert has cleared')
    assert ('VgpuAgentDown', None) not in prometheus.firing()


def test_metrics_prometheus_scrapes_a_busy_host():
    vms = [(1, 'A', 'high'), (2, 'A', 'low'), (3, 'B', 'medium')]
    with support.running(vms=vms) as (stack, agent):
        prometheus = Prometheus(agent.ports()[0], agent.tokens['read'])
        try:
            wait_for(lambda: prometheus.values('vgpu_mediator_up') == {(): 1}, 60, 'a first scrape')
            work(stack)
            check_values(stack, prometheus)
            wait_for(lambda: prometheus.values('pool:vgpu_vm_queued_jobs:sum') ==
                     {(('pool', 'A'),): 0, (('pool', 'B'),): 0}, 20, 'recorded rules')
            # Of the others some are about how busy this machine is.
            assert not prometheus.firing('critical'), prometheus.firing('critical')
            misbehave(stack, prometheus)
            lose_the_mediator(stack, prometheus)
            assert_scrapes_were_good(prometheus)
        finally:
            prometheus.close()


if __name__ == '__main__':
    if not shutil.which('prometheus'):
        print('no prometheus (package prometheus): nobody scrapes')
        sys.exit(77)
    sys.exit(run([function for name, function in sorted(globals().items())
                  if name.startswith('test_')]))
