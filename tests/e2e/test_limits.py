#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Limits, watchdog and quarantine of VMs end to end on softgpu: programs that keep to their limits
badly, and their neighbours. Counters decide; times are loose, as the machine may be busy."""
import os
import subprocess
import sys
import time

from stack import Stack, run, wait_for

VMS = [(1, 'A', 'medium'), (2, 'A', 'medium')]
ILLEGAL_ADDRESS = 700
LAUNCH_TIMEOUT = 702
NOT_PERMITTED = 800


def start(stack, vm, *arguments):
    process = subprocess.Popen(
        [os.path.join(stack.build, 'tests/unruly'), arguments[0], stack.vm_socket(vm),
         *arguments[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.PIPE,
        text=True)
    stack.clients.append(process)
    return process


def finish(process, seconds=60):
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, (out, err)
    return out.split()


def unruly(stack, vm, *arguments):
    return finish(start(stack, vm, *arguments))


def status_of(stack, vm):
    return next(row for row in stack.admin_json('status')['vms'] if row['vm_id'] == vm)


def shown(stack, vm):
    return stack.admin_json('show-vm', str(vm))['vm']


def switches(pid):
    with open('/proc/%d/status' % pid, encoding='ascii') as text:
        for line in text:
            if line.startswith('voluntary_ctxt_switches'):
                return int(line.split()[1])
    raise AssertionError('no switches of %d' % pid)


def test_e2e_posted_jobs_wait_for_their_rate():
    with Stack(vms=VMS) as stack:
        stack.admin('set-rate', '1', '100', '20')
        started = time.monotonic()
        jobs, cpu_ms = (int(word) for word in unruly(stack, 1, 'post', '2000'))
        took = time.monotonic() - started
        assert jobs <= 20 + 100 * (took + 0.01), (jobs, took)
        assert jobs >= 100, jobs
        assert cpu_ms < 1000, 'the guest spins while it waits: %d ms' % cpu_ms
        # Without the limit there are many more.
        stack.admin('set-rate', '1', 'none')
        free, _cpu_ms = (int(word) for word in unruly(stack, 1, 'post', '1000'))
        assert free > 10 * jobs, (free, jobs)


def test_e2e_hammering_is_refused_and_wakes_nobody():
    with Stack(vms=VMS) as stack:
        stack.admin('set-rate', '1', '1', '5')
        quiet = start(stack, 2, 'steady', '100')
        finish(quiet)
        before = switches(stack.mediator.pid)
        started = time.monotonic()
        done, busy, quarantined = (int(word) for word in unruly(stack, 1, 'hammer', '5000'))
        took = time.monotonic() - started
        assert done + busy == 5000 and quarantined == 0, (done, busy, quarantined)
        assert 5 <= done <= 5 + took + 1, (done, took)
        # What begins and ends a channel, and some for each job that was let in; none for refusals.
        assert switches(stack.mediator.pid) - before < 100 + 20 * (took + done)


def test_e2e_refused_client_tries_again():
    with Stack(vms=VMS) as stack:
        stack.admin('set-rate', '1', '1', '1')
        for _ in range(3):
            done = stack.client(1, 'vector-add', '1,2', '3,4')
            assert done.returncode == 0 and '4' in done.stdout, (done.stdout, done.stderr)


def test_e2e_quarantine_keeps_connections_and_ends_at_once():
    with Stack(vms=VMS) as stack:
        process = start(stack, 1, 'last')

        def one():
            process.stdin.write('\n')
            process.stdin.flush()
            return int(process.stdout.readline())

        assert one() == 0
        stack.admin('quarantine', '1', '--reason=a test')
        assert one() == NOT_PERMITTED
        assert status_of(stack, 1)['state'] == 'quarantined'
        refused = stack.client(1, 'vector-add', '1', '2')
        assert refused.returncode != 0 and 'quarantine' in refused.stderr, refused.stderr
        assert stack.client(2, 'vector-add', '1', '2').returncode == 0
        stack.admin('unquarantine', '1')
        assert one() == 0  # the same process, the same channel
        process.stdin.close()
        process.wait(10)


def test_e2e_endless_kernel_is_ended_and_its_neighbour_goes_on():
    with Stack(vms=VMS) as stack:
        stack.admin('set-timeout', '1', '1s')
        neighbour = start(stack, 2, 'steady', '4000')
        wait_for(lambda: status_of(stack, 2)['jobs_done'] > 0, 20, 'the neighbour works')
        before = status_of(stack, 2)['jobs_done']
        started = time.monotonic()
        endless = start(stack, 1, 'endless')
        wait_for(lambda: status_of(stack, 1)['queue_depth'] == 1, 20, 'the kernel runs')
        assert finish(endless) == ['result', str(LAUNCH_TIMEOUT)]
        took = time.monotonic() - started
        assert took < 20, took
        jobs, longest_ms = finish(neighbour)
        assert int(jobs) > before + 20, (jobs, before)
        # 20 ms on a machine of its own; here two kernels share two processors with the tests.
        assert float(longest_ms) < 1000, longest_ms
        wait_for(lambda: shown(stack, 1)['faults'] == 1, 5, 'the fault is stored')
        assert shown(stack, 1)['last_fault_kind'] == 'timeout'
        assert shown(stack, 2)['faults'] == 0
        assert status_of(stack, 1)['memory_bytes'] == 0
        started = time.monotonic()
        assert stack.client(1, 'vector-add', '1', '2').returncode == 0
        assert time.monotonic() - started < 10


def test_e2e_second_endless_kernel_is_ended_soon():
    with Stack(vms=VMS + [(3, 'A', 'medium')]) as stack:
        first, second = start(stack, 1, 'endless'), start(stack, 2, 'endless')
        wait_for(lambda: all(status_of(stack, vm)['queue_depth'] == 1 for vm in (1, 2)), 30,
                 'both run')
        # While two hold the GPU, and until the second is ended, others wait; then no longer.
        jobs, _longest_ms = unruly(stack, 3, 'steady', '300')
        assert int(jobs) > 0
        ended = wait_for(lambda: [p for p in (first, second) if p.poll() is not None], 30,
                         'one was ended')
        assert len(ended) == 1
        faults = [vm for vm in (1, 2) if shown(stack, vm)['faults']]
        assert len(faults) == 1
        assert shown(stack, faults[0])['last_fault_kind'] == 'overrun'
        for process in (first, second):
            process.kill()
            process.communicate()


def test_e2e_illegal_addresses_quarantine():
    with Stack(vms=VMS) as stack:
        stack.admin('set-faults', '1', '2')
        assert unruly(stack, 1, 'illegal') == ['result', str(ILLEGAL_ADDRESS)]
        wait_for(lambda: shown(stack, 1)['faults'] == 1, 5, 'the first fault')
        assert not shown(stack, 1)['quarantined']
        assert unruly(stack, 1, 'illegal') == ['result', str(ILLEGAL_ADDRESS)]
        wait_for(lambda: shown(stack, 1)['quarantined'], 5, 'quarantine')
        assert stack.client(1, 'vector-add', '1', '2').returncode != 0
        assert stack.client(2, 'vector-add', '1', '2').returncode == 0
        # It outlives the mediator.
        stack.kill_mediator()
        stack.start_mediator()
        assert stack.client(1, 'vector-add', '1', '2').returncode != 0
        stack.admin('unquarantine', '1')
        assert stack.client(1, 'vector-add', '1', '2').returncode == 0


if __name__ == '__main__':
    sys.exit(run([value for name, value in list(globals().items()) if name.startswith('test_')]))
