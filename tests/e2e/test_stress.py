#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many processes of several VMs, each with threads and streams of its own (tests/proof), killed at
random moments with their workers' as well; those that are left alone must be right to the end.
Afterwards nothing is left: no process, descriptor, channel or memory.

VGPU_STRESS: how many processes, 36 by default; VGPU_STRESS_SEED repeats the choices.
"""
import os
import random
import signal
import subprocess
import sys
import time

from stack import Stack, run, wait_for
from test_killed import held, nothing_left

VMS = [(1, 'A', 'high'), (2, 'A', 'medium'), (3, 'A', 'low')]
COUNT = int(os.environ.get('VGPU_STRESS', '36'))
SEED = int(os.environ.get('VGPU_STRESS_SEED', str(int(time.time()))))
AT_ONCE = 5
LONGEST_S = 1.5
PARTS = ['order.', 'bulk.three_threads', 'waits.chain_of_streams', 'waits.full_ring_and_waits',
         'waits.freeing_beside', 'waits.captured_gate', 'waits.blocking_calls_beside']
# What becomes of a process: it is killed, its worker is, or neither.
KILLED, ORPHANED, LEFT = 'killed', 'orphaned', 'left alone'


class Worked:
    """A process that proves something, and when what befalls it is due."""

    def __init__(self, stack, chance, number):
        self.fate = chance.choice([KILLED, KILLED, ORPHANED, LEFT])
        endless = self.fate != LEFT
        parts = chance.sample(PARTS, 2)
        before = set(stack.workers())
        self.process = subprocess.Popen(
            [os.path.join(stack.build, 'tests/proof/proof'), '--driver',
             os.path.join(stack.build, 'guest/libvgpu/libcuda.so.1'), '--seed', str(SEED + number),
             '--rounds', '100000' if endless else '100', '--seconds', '60' if endless else '1',
             *(['order.', 'bulk.'] if endless else parts)],
            env=dict(os.environ, VGPU_SOCKET=stack.vm_socket(1 + number % len(VMS))), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        stack.clients.append(self.process)
        # One starts at a time, so the new worker is its own; one that is left alone may have ended.
        self.worker = wait_for(lambda: list(set(stack.workers()) - before) or
                               self.process.poll() is not None and [0], 30, 'a worker')[0]
        assert self.worker or self.fate == LEFT, self.process.communicate()
        self.due = time.monotonic() + chance.uniform(0, LONGEST_S)

    def end(self):
        time.sleep(max(0.0, self.due - time.monotonic()))  # the moment is the test's subject
        if self.fate == KILLED:
            assert self.process.poll() is None, self.process.communicate()
            self.process.kill()
        elif self.fate == ORPHANED:
            os.kill(self.worker, signal.SIGKILL)
        output, errors = self.process.communicate(timeout=120)
        code = self.process.returncode
        told = (self.fate, code, output[-300:], errors[-1000:])
        if self.fate == LEFT:
            assert code == 0 and output.rstrip().endswith('passed'), told
        elif self.fate == ORPHANED:
            # It is told by an error, not by silence, and not by another's data.
            assert code == 1 and ('CUDA error' in errors or 'proof:' in errors), told
            assert 'as the model has it' not in errors and 'memcmp' not in errors, told
        else:
            assert code == -signal.SIGKILL, told


def memory_of_gpus(stack):
    return [(gpu['gpu_id'], gpu.get('memory_used_bytes')) for gpu in stack.admin_json('status')['gpus']]


def test_e2e_stress():
    chance = random.Random(SEED)
    print('seed %d' % SEED)
    with Stack(vms=VMS) as stack:
        for vm, _pool, _priority in VMS:
            assert stack.client(vm, 'vector-add', '2', '3').returncode == 0
        wait_for(lambda: nothing_left(stack), 20, 'nothing left before')
        before, memory = held(stack), memory_of_gpus(stack)
        running = []
        fates = {KILLED: 0, ORPHANED: 0, LEFT: 0}
        for number in range(COUNT):
            running.append(Worked(stack, chance, number))
            fates[running[-1].fate] += 1
            if len(running) == AT_ONCE:
                running.sort(key=lambda worked: worked.due)
                running.pop(0).end()
        while running:
            running.pop(0).end()
        print('%d processes: %s' % (COUNT, fates))
        wait_for(lambda: nothing_left(stack), 30, 'nothing left')
        wait_for(lambda: held(stack) == before, 10, 'the same descriptors as before')
        wait_for(lambda: memory_of_gpus(stack) == memory, 10, 'the memory of the GPU as before')
        for vm, _pool, _priority in VMS:
            assert stack.client(vm, 'vector-add', '2', '3').returncode == 0


if __name__ == '__main__':
    sys.exit(run([test_e2e_stress]))
