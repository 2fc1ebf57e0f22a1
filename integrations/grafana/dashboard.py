#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the dashboard vgpu.json: dashboard.py > vgpu.json.

Each panel is a line or two here: a title, a unit, and queries with the names of their lines. The
test tests/metrics/names.py compares the names with metrics/metrics.def, and vgpu.json with this.
"""
import json

HOST = 'instance=~"$instance"'
VM = HOST + ', vm=~"$vm"'
IN_POOL = ' * on (instance, vm) group_left (pool) vgpu_vm_info{%s, pool=~"$pool"}' % VM
KINDS = VM + ', kind=~"$kind"'
WIDTH = 24

# (row title, [(width, title, unit, [(query, legend)], extras)])
ROWS = [
    ('Host', [
        (4, 'Mediator', 'bool_yes_no', [('vgpu_mediator_up{%s}' % HOST, '{{instance}}')], {'type': 'stat'}),
        (4, 'Helpers', 'bool_yes_no', [('vgpu_helper_up{%s}' % HOST, '{{kind}}')], {'type': 'stat'}),
        (4, 'Channels', 'short', [('sum(vgpu_mediator_channels{%s})' % HOST, 'channels')], {'type': 'stat'}),
        (6, 'Lag of the loop', 's', [
            ('vgpu_mediator_loop_lag_seconds{%s}' % HOST, '{{instance}} {{quantile}}')], {}),
        (6, 'Processor time of the mediator', 'percentunit', [
            ('sum by (instance) (rate(vgpu_mediator_cpu_seconds_total{%s}[$__rate_interval]))' % HOST,
             '{{instance}}')], {}),
    ]),
    ('GPUs', [
        (8, 'GPU time given to VMs', 'percentunit', [
            ('rate(vgpu_gpu_busy_seconds_total{%s}[$__rate_interval])' % HOST, 'GPU {{gpu}}')], {'max': 1}),
        (8, 'Memory', 'bytes', [
            ('vgpu_gpu_memory_used_bytes{%s}' % HOST, 'GPU {{gpu}} used'),
            ('vgpu_gpu_memory_bytes{%s}' % HOST, 'GPU {{gpu}} in all')], {}),
        (8, 'Temperature', 'celsius', [
            ('vgpu_gpu_temperature_celsius{%s}' % HOST, 'GPU {{gpu}}')], {}),
        (6, 'Health', 'bool_yes_no', [
            ('vgpu_gpu_present{%s}' % HOST, 'GPU {{gpu}} there'),
            ('vgpu_gpu_healthy{%s}' % HOST, 'GPU {{gpu}} takes work')], {'type': 'stat'}),
        (6, 'Utilization, as NVML has it', 'percentunit', [
            ('vgpu_gpu_utilization_ratio{%s}' % HOST, 'GPU {{gpu}}')], {'max': 1}),
        (6, 'Hand-overs', 'ops', [
            ('rate(vgpu_gpu_context_switches_total{%s}[$__rate_interval])' % HOST, 'GPU {{gpu}} workers'),
            ('rate(vgpu_gpu_leases_total{%s}[$__rate_interval])' % HOST, 'GPU {{gpu}} leases'),
            ('rate(vgpu_gpu_overruns_total{%s}[$__rate_interval])' % HOST, 'GPU {{gpu}} overruns')], {}),
        (6, 'VMs that wait; spare workers', 'short', [
            ('vgpu_gpu_waiting_vms{%s}' % HOST, 'GPU {{gpu}} waiting'),
            ('vgpu_gpu_spare_workers{%s}' % HOST, 'GPU {{gpu}} spares')], {}),
    ]),
    ('Pools', [
        (8, 'GPUs that work', 'short', [
            ('vgpu_pool_healthy_gpus{%s, pool=~"$pool"}' % HOST, '{{pool}}'),
            ('vgpu_pool_gpus{%s, pool=~"$pool"}' % HOST, '{{pool}} in all')], {'type': 'stat'}),
        (8, 'GPU time by pool', 'percentunit', [
            ('sum by (pool) (rate(vgpu_vm_gpu_seconds_total{%s}[$__rate_interval])%s)' % (VM, IN_POOL),
             '{{pool}}')], {}),
        (8, 'Jobs queued by pool', 'short', [
            ('sum by (pool) (vgpu_vm_queued_jobs{%s}%s)' % (VM, IN_POOL), '{{pool}}')], {}),
    ]),
    ('VMs', [
        (8, 'Share', 'percentunit', [
            ('vgpu_vm_share_ratio{%s}%s' % (VM, IN_POOL), 'VM {{vm}}')], {'max': 1}),
        (8, 'Share less entitlement', 'percentunit', [
            ('(vgpu_vm_share_ratio{%s} - vgpu_vm_entitlement_ratio{%s})%s' % (VM, VM, IN_POOL),
             'VM {{vm}}')], {}),
        (8, 'GPU time', 'percentunit', [
            ('rate(vgpu_vm_gpu_seconds_total{%s}[$__rate_interval])%s' % (VM, IN_POOL), 'VM {{vm}}')], {}),
        (8, 'Jobs a second', 'ops', [
            ('vgpu_vm_submission_jobs_per_second{%s}%s' % (VM, IN_POOL), 'VM {{vm}}')], {}),
        (8, 'Queue', 'short', [('vgpu_vm_queued_jobs{%s}%s' % (VM, IN_POOL), 'VM {{vm}}')], {}),
        (8, 'GPU time of a job', 's', [
            ('vgpu_vm_job_mean_seconds{%s}%s' % (VM, IN_POOL), 'VM {{vm}}')], {}),
        (8, 'Latency of jobs', 's', [
            ('vgpu_job_latency_seconds{%s}%s' % (KINDS, IN_POOL), 'VM {{vm}} {{kind}} {{quantile}}')], {}),
        (8, 'Wait of jobs', 's', [
            ('vgpu_job_wait_seconds{%s}%s' % (KINDS, IN_POOL), 'VM {{vm}} {{kind}} {{quantile}}')], {}),
        (8, 'Run of jobs', 's', [
            ('vgpu_job_run_seconds{%s}%s' % (KINDS, IN_POOL), 'VM {{vm}} {{kind}} {{quantile}}')], {}),
        (8, 'Memory of the GPU', 'bytes', [
            ('(vgpu_vm_memory_bytes{%s} + vgpu_vm_memory_overhead_bytes{%s})%s' % (VM, VM, IN_POOL),
             'VM {{vm}}'),
            ('vgpu_vm_memory_quota_bytes{%s}%s' % (VM, IN_POOL), 'VM {{vm}} quota')], {}),
        (8, 'Copied', 'Bps', [
            ('rate(vgpu_vm_copied_bytes_total{%s}[$__rate_interval])%s' % (VM, IN_POOL),
             'VM {{vm}} {{kind}}')], {}),
        (8, 'Refused and held back', 'ops', [
            ('rate(vgpu_vm_refused_jobs_total{%s}[$__rate_interval])%s' % (VM, IN_POOL),
             'VM {{vm}} refused: {{reason}}'),
            ('rate(vgpu_vm_held_jobs_total{%s}[$__rate_interval])%s' % (VM, IN_POOL),
             'VM {{vm}} held: {{reason}}')], {}),
        (8, 'Failed jobs and faults', 'short', [
            ('increase(vgpu_vm_failed_jobs_total{%s}[$__rate_interval])%s' % (VM, IN_POOL), 'VM {{vm}} failed'),
            ('increase(vgpu_vm_faults_total{%s}[$__rate_interval])%s' % (VM, IN_POOL),
             'VM {{vm}} fault: {{reason}}')], {}),
        (8, 'Workers', 'short', [
            ('increase(vgpu_vm_worker_starts_total{%s}[$__rate_interval])%s' % (VM, IN_POOL),
             'VM {{vm}} started'),
            ('increase(vgpu_vm_worker_ends_total{%s, reason!="closed"}[$__rate_interval])%s' % (VM, IN_POOL),
             'VM {{vm}} {{reason}}')], {}),
        (8, 'In quarantine', 'bool_yes_no', [
            ('vgpu_vm_quarantined{%s}%s == 1' % (VM, IN_POOL), 'VM {{vm}}')], {'type': 'stat'}),
    ]),
]

VARIABLES = [
    ('instance', 'Host', 'label_values(vgpu_mediator_up, instance)'),
    ('pool', 'Pool', 'label_values(vgpu_vm_info{%s}, pool)' % HOST),
    ('vm', 'VM', 'label_values(vgpu_vm_info{%s, pool=~"$pool"}, vm)' % HOST),
    ('kind', 'Kind of job', 'label_values(vgpu_job_run_seconds_count, kind)'),
]


def source():
    return {'type': 'prometheus', 'uid': '${datasource}'}


def panel(number, place, definition):
    width, title, unit, queries, extras = definition
    made = {
        'id': number, 'title': title, 'type': extras.get('type', 'timeseries'), 'datasource': source(),
        'gridPos': {'x': place[0], 'y': place[1], 'w': width, 'h': 8},
        'fieldConfig': {'defaults': {'unit': unit, 'min': 0}, 'overrides': []},
        'targets': [{'refId': chr(ord('A') + i), 'datasource': source(), 'expr': query,
                     'legendFormat': legend} for i, (query, legend) in enumerate(queries)],
    }
    if title == 'Share less entitlement':
        del made['fieldConfig']['defaults']['min']
    if 'max' in extras:
        made['fieldConfig']['defaults']['max'] = extras['max']
    return made


def panels():
    made, y = [], 0
    for title, definitions in ROWS:
        made.append({'id': len(made) + 1, 'title': title, 'type': 'row', 'collapsed': False,
                     'gridPos': {'x': 0, 'y': y, 'w': WIDTH, 'h': 1}, 'panels': []})
        x, y = 0, y + 1
        for definition in definitions:
            if x + definition[0] > WIDTH:
                x, y = 0, y + 8
            made.append(panel(len(made) + 1, (x, y), definition))
            x += definition[0]
        y += 8
    return made


def variables():
    made = [{'name': 'datasource', 'label': 'Source', 'type': 'datasource', 'query': 'prometheus'}]
    made += [{'name': name, 'label': label, 'type': 'query', 'datasource': source(), 'query': query,
              'definition': query, 'refresh': 2, 'sort': 3, 'multi': True, 'includeAll': True,
              'current': {'text': 'All', 'value': '$__all'}} for name, label, query in VARIABLES]
    return made


def dashboard():
    return {
        'uid': 'vgpu-host', 'title': 'GPUs shared by virtual machines', 'tags': ['vgpu'],
        'schemaVersion': 38, 'version': 1, 'editable': True, 'refresh': '15s',
        'time': {'from': 'now-1h', 'to': 'now'}, 'timezone': 'browser',
        'templating': {'list': variables()}, 'annotations': {'list': []}, 'panels': panels(),
    }


if __name__ == '__main__':
    print(json.dumps(dashboard(), indent=2))
