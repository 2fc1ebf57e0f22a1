#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Metrics end to end on softgpu: what programs count themselves is what the metrics say, in pages
of any size, and in each of the forms."""
import os
import re
import subprocess
import sys
import time

from stack import Stack, run, wait_for

VMS = [(vm, 'A', 'medium') for vm in range(1, 6)]
NS = 1e-9


def series(stack):
    """{(name, labels as a sorted tuple): series} of metrics --json."""
    found = {}
    for metric in stack.admin_json('metrics')['metrics']:
        for one in metric['series']:
            found[metric['name'], tuple(sorted(one['labels'].items()))] = one
    return found


def value(found, name, **labels):
    return found[name, tuple(sorted(labels.items()))]


def counted(stack, vm, launches, copies, memsets, jobs):
    program = os.path.join(stack.build, 'tests/counted')
    numbers = [str(n) for n in (launches, copies, memsets, jobs)]
    done = subprocess.run([program, stack.vm_socket(vm), *numbers], capture_output=True, text=True,
                          timeout=120, check=True)
    return [int(word) for word in done.stdout.split()]


def ended(stack, vms=1):
    def all_closed():
        found = series(stack)
        return sum(value(found, 'vgpu_vm_worker_ends_total', vm=str(vm), reason='closed')['value']
                   for vm, _pool, _priority in VMS) == vms and found
    return wait_for(all_closed, 10, 'the workers have ended')


def jobs_by_kind(found, vm):
    return {dict(labels)['kind']: one['count'] for (name, labels), one in found.items()
            if name == 'vgpu_job_latency_seconds' and dict(labels)['vm'] == str(vm)}


def test_e2e_metrics_are_what_a_program_counts_itself():
    with Stack(vms=VMS) as stack:
        to_device, from_device, took_ns, longest_ns = counted(stack, 1, 300, 40, 7, 200)
        found = ended(stack)
        assert jobs_by_kind(found, 1) == {'explicit': 200, 'launch': 300, 'graph': 0, 'copy': 60,
                                          'memset': 7, 'other': 0}, jobs_by_kind(found, 1)
        for name, wanted in (('submitted', 567), ('completed', 567), ('failed', 0)):
            assert value(found, 'vgpu_vm_%s_jobs_total' % name, vm='1')['value'] == wanted, name
        copied = [value(found, 'vgpu_vm_copied_bytes_total', vm='1', kind=kind)['value']
                  for kind in ('to_device', 'from_device')]
        assert copied == [to_device, from_device], (copied, to_device, from_device)
        # The host's times are parts of the program's.
        explicit = value(found, 'vgpu_job_latency_seconds', vm='1', kind='explicit')
        assert 0 < explicit['sum'] < took_ns * NS, (explicit, took_ns)
        assert explicit['quantiles']['0.5'] <= explicit['quantiles']['0.99']
        assert explicit['quantiles']['0.99'] <= longest_ns * NS * 1.01, (explicit, longest_ns)
        assert value(found, 'vgpu_vm_dropped_job_times_total', vm='1')['value'] == 0
        assert value(found, 'vgpu_vm_worker_starts_total', vm='1')['value'] == 1


def test_e2e_metrics_agree_with_status():
    with Stack(vms=VMS) as stack:
        for vm in (1, 2):
            counted(stack, vm, 100 * vm, 10, 0, 10)
        found = ended(stack, 2)
        status = stack.admin_json('status')
        for row in status['vms']:
            vm = str(row['vm_id'])
            assert value(found, 'vgpu_vm_completed_jobs_total', vm=vm)['value'] == row['jobs_done']
            assert value(found, 'vgpu_vm_info', vm=vm, pool='A', priority='medium')['value'] == 1
            gpu_s = value(found, 'vgpu_vm_gpu_seconds_total', vm=vm)['value']
            assert abs(gpu_s - row['gpu_time_ns'] * NS) < 1e-6, (gpu_s, row)
        assert row['submission_rate'] == 0 and row['mean_job_ns'] is None, row
        busy = value(found, 'vgpu_gpu_busy_seconds_total', gpu='0')['value']
        assert abs(busy - sum(row['gpu_time_ns'] for row in status['vms']) * NS) < 1e-6, busy
        assert value(found, 'vgpu_gpu_context_switches_total', gpu='0')['value'] >= 2


def test_e2e_metrics_all_series_are_there_from_the_start():
    with Stack(vms=VMS) as stack:
        before = series(stack)
        counted(stack, 3, 10, 10, 10, 10)
        after = ended(stack)
        # A mean exists only where there was something.
        assert {name for name, _ in set(after) - set(before)} <= {'vgpu_vm_job_mean_seconds'}
        assert not set(before) - set(after)


def test_e2e_metrics_rate_and_mean_of_a_busy_vm():
    with Stack(vms=VMS) as stack:
        worker = subprocess.Popen([os.path.join(stack.build, 'tests/unruly'), 'steady',
                                   stack.vm_socket(2), '4000'], stdout=subprocess.PIPE, text=True)
        stack.clients.append(worker)
        started = time.monotonic()
        row = wait_for(lambda: next((vm for vm in stack.admin_json('status')['vms']
                                     if vm['vm_id'] == 2 and vm['submission_rate'] > 0 and
                                     time.monotonic() - started > 2), None), 20, 'it is measured')
        out, _ = worker.communicate(timeout=60)
        jobs = int(out.split()[0])
        assert 0.2 * jobs / 4 < row['submission_rate'] < 5 * jobs / 4, (row, jobs)
        assert 0 < row['mean_job_ns'] < 1e9, row
        # Of all that was submitted, once more by the counter.
        found = ended(stack)
        assert value(found, 'vgpu_vm_submitted_jobs_total', vm='2')['value'] == jobs + 1


def test_e2e_metrics_refusals_have_their_reason():
    with Stack(vms=VMS) as stack:
        stack.admin('set-rate', '1', '1', '5')
        unruly = os.path.join(stack.build, 'tests/unruly')
        out = subprocess.run([unruly, 'hammer', stack.vm_socket(1), '500'], capture_output=True,
                             text=True, timeout=60, check=True).stdout
        done, busy, _quarantined = (int(word) for word in out.split())
        found = ended(stack)
        assert value(found, 'vgpu_vm_refused_jobs_total', vm='1', reason='rate')['value'] == busy
        assert value(found, 'vgpu_vm_refused_jobs_total', vm='1', reason='depth')['value'] == 0
        assert value(found, 'vgpu_vm_completed_jobs_total', vm='1')['value'] == done


def test_e2e_metrics_faults_and_quarantine_are_counted():
    with Stack(vms=VMS) as stack:
        stack.admin('set-faults', '1', '1', '1h')
        subprocess.run([os.path.join(stack.build, 'tests/unruly'), 'illegal', stack.vm_socket(1)],
                       capture_output=True, timeout=60, check=True)
        found = wait_for(lambda: (lambda f: value(f, 'vgpu_vm_quarantined', vm='1')['value'] and f)(
            series(stack)), 10, 'it is quarantined')
        assert value(found, 'vgpu_vm_faults_total', vm='1', reason='gpu')['value'] == 1
        assert value(found, 'vgpu_vm_failed_jobs_total', vm='1')['value'] == 1
        assert value(found, 'vgpu_vm_quarantined', vm='2')['value'] == 0


def page_by_page(stack, limit):
    rows, after, pages = [], 0, 0
    while True:
        page = stack.request('metrics', after_vm=after, limit=limit)['result']
        assert ('columns' in page) == (after == 0)
        got = page.get('vms', [])
        assert len(got) <= limit, len(got)
        rows += got
        pages += 1
        if page['next_vm'] is None:
            return rows, pages
        assert page['next_vm'] == got[-1][0]
        after = page['next_vm']


def test_e2e_metrics_pages_of_any_size_have_each_vm_once():
    with Stack(vms=VMS) as stack:
        for limit in (1, 2, 4, 5, 6, 256):
            rows, pages = page_by_page(stack, limit)
            assert [row[0] for row in rows] == [1, 2, 3, 4, 5], rows
            assert pages >= (len(VMS) + limit - 1) // limit
        assert stack.request('metrics', after_vm=5)['result']['next_vm'] is None
        assert stack.request('metrics', after_vm=4294967295)['ok']
        for wrong in ({'limit': 0}, {'limit': 257}, {'after_vm': -1}, {'after_vm': 1 << 32},
                      {'limit': 'x'}, {'other': 1}):
            assert not stack.request('metrics', **wrong)['ok'], wrong


def has_channel(stack):
    found = series(stack)
    return found if value(found, 'vgpu_vm_channels', vm='2')['value'] == 1 else None


def test_e2e_metrics_outlive_the_mediator():
    with Stack(vms=VMS) as stack:
        counted(stack, 1, 50, 0, 0, 0)
        ended(stack)
        holder = stack.client_start(2, 'hold')
        assert 'holding' in holder.stdout.readline()
        stack.kill_mediator()
        stack.start_mediator()
        found = wait_for(lambda: has_channel(stack), 10, 'it is adopted')
        # What the accounts page keeps goes on, what is by kind begins again.
        assert value(found, 'vgpu_vm_completed_jobs_total', vm='1')['value'] == 50
        assert value(found, 'vgpu_vm_submitted_jobs_total', vm='1')['value'] == 50
        assert jobs_by_kind(found, 1)['launch'] == 0
        assert value(found, 'vgpu_vm_worker_starts_total', vm='2')['value'] == 0
        holder.terminate()
        holder.wait(10)


def test_e2e_metrics_forms_agree():
    with Stack(vms=VMS) as stack:
        counted(stack, 1, 20, 4, 2, 5)
        ended(stack)
        lines = stack.admin('metrics').splitlines()
        text = [line for line in stack.admin('metrics', '--prometheus').splitlines()
                if not line.startswith('#')]
        # Those of the mediator itself go on, and what is about lately fades.
        def own(line):
            return re.match(r'vgpu_(mediator|helper|gpu)_|vgpu_vm_(submission|share|entitle)', line)
        assert [line for line in lines if not own(line)] == [line for line in text if not own(line)]
        found = series(stack)
        for line in lines:
            name, labels, number = re.fullmatch(r'(\w+)(?:\{(.*)\})? (\S+)', line).groups()
            labels = dict(re.findall(r'(\w+)="([^"]*)"', labels or ''))
            quantile = labels.pop('quantile', None)
            part = re.search(r'_(sum|count)$', name)
            key = (name[:part.start()] if part else name, tuple(sorted(labels.items())))
            if own(line):
                continue
            one = found[key]
            member = part.group(1) if part else 'value'
            wanted = one['quantiles'][quantile] if quantile else one[member]
            assert abs(float(number) - wanted) <= 1e-9 * abs(wanted), (line, one)


def test_e2e_metrics_without_a_mediator_say_so():
    with Stack(vms=VMS) as stack:
        stack.mediator.terminate()
        assert stack.mediator.wait(10) == 0
        done = stack.admin_run('metrics')
        assert done.returncode == 1 and 'no mediator runs' in done.stderr, done
        stack.start_mediator()


if __name__ == '__main__':
    sys.exit(run([function for name, function in sorted(globals().items())
                  if name.startswith('test_')]))
