#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Processes of guests that are killed at random moments while they work: nothing of them is left.

VGPU_KILLED: how many, 60 by default.
"""
import os
import random
import signal
import sys
import time

from stack import Stack, run, wait_for

VMS = [(1, 'A', 'high'), (2, 'A', 'low')]
COUNT = int(os.environ.get('VGPU_KILLED', '60'))
AT_ONCE = 4
LONGEST_S = 0.5


def descriptors(pid):
    """What each open descriptor of a process is, without numbers of inodes."""
    found = []
    for name in os.listdir('/proc/%d/fd' % pid):
        try:
            found.append(os.readlink('/proc/%d/fd/%s' % (pid, name)).split('[')[0])
        except FileNotFoundError:
            pass
    return sorted(found)


def nothing_left(stack):
    status = stack.admin_json('status')
    return (status['mediator']['channels'] == 0 and status['mediator']['workers'] == 0 and
            not stack.workers() and
            all(vm['channels'] == 0 and vm['connections'] == 0 and vm['memory_bytes'] == 0
                for vm in status['vms']))


def held(stack):
    return descriptors(stack.mediator.pid), descriptors(stack.launcher.pid)


def test_e2e_processes_killed_at_random():
    chance = random.Random(int(os.environ.get('VGPU_KILLED_SEED', '1')))
    with Stack(vms=VMS) as stack:
        for vm, _pool, _priority in VMS:
            assert stack.client(vm, 'vector-add', '2', '3').returncode == 0
        wait_for(lambda: nothing_left(stack), 20, 'nothing left before')
        before = held(stack)
        running = []
        for number in range(COUNT + AT_ONCE):
            if number < COUNT:
                vm = 1 + number % len(VMS)
                process = stack.client_start(vm, 'run', '--all', '--seconds', '60')
                running.append((time.monotonic() + chance.uniform(0, LONGEST_S), process))
            if len(running) == AT_ONCE or number >= COUNT:
                if not running:
                    break
                running.sort(key=lambda entry: entry[0])
                due, process = running.pop(0)
                time.sleep(max(0.0, due - time.monotonic()))  # the moment is the test's subject
                assert process.poll() is None, process.communicate()
                process.send_signal(signal.SIGKILL)
                process.communicate()
        wait_for(lambda: nothing_left(stack), 30, 'nothing left')
        done = sum(vm['jobs_done'] for vm in stack.admin_json('status')['vms'])
        assert done > COUNT, 'they were killed before they did anything: %d jobs' % done
        wait_for(lambda: held(stack) == before, 10, 'the same descriptors as before')
        assert stack.client(1, 'vector-add', '2', '3').returncode == 0


if __name__ == '__main__':
    sys.exit(run([test_e2e_processes_killed_at_random]))
