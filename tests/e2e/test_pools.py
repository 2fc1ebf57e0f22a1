#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pools over GPUs, through the whole stack on a softgpu with two devices: a GPU each, both behind one
pool, two pools with weights on one GPU, and what changes while programs run. VGPU_BUILD/bench/fair_load
is the program that loads a GPU.
"""
import json
import os
import subprocess
import sys
import time

from stack import Stack, run, wait_for


class Program:
    """Keeps the GPU of its VM busy with kernels of about 1 ms until it is ended."""

    def __init__(self, stack, vm):
        self.process = subprocess.Popen(
            [os.path.join(stack.build, 'bench/fair_load'),
             os.path.join(stack.build, 'guest/libvgpu/libcuda.so.1')],
            env={**os.environ, 'VGPU_SOCKET': stack.vm_socket(vm)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        stack.clients.append(self.process)
        ready = json.loads(self.process.stdout.readline())
        assert ready['error'] == 0, ready

    def busy(self, seconds=100):
        now = time.monotonic_ns()
        self.process.stdin.write('busy 20000 4 %d %d /dev/null\n' % (now, now + seconds * 10**9))
        self.process.stdin.flush()
        return self


def start(stack, pools, vms):
    """pools: {name: GPUs}; vms: {vm: pool}."""
    stack.admin('scan-gpus')
    for pool, gpus in pools.items():
        stack.admin('create-pool', pool)
        for gpu in gpus:
            stack.admin('assign-gpu', '--gpu-id=%d' % gpu, '--pool=%s' % pool)
    for vm, pool in vms.items():
        stack.admin('register-vm', '--vm-id=%d' % vm, '--pool=%s' % pool)


def status_of(stack, vm):
    return [one for one in stack.admin_json('status')['vms'] if one['vm_id'] == vm][0]


def gpus_of(stack, vms):
    return [status_of(stack, vm)['gpu_id'] for vm in vms]


def times(stack, vms):
    return [status_of(stack, vm)['gpu_time_ns'] for vm in vms]


def shares(stack, vms, seconds):
    """Their parts of the GPU time that they get in the next seconds."""
    before = times(stack, vms)
    time.sleep(seconds)
    got = [b - a for a, b in zip(before, times(stack, vms))]
    return [one / sum(got) for one in got]


def close(got, wanted, by=0.06):
    assert all(abs(a - b) <= by for a, b in zip(got, wanted)), (got, wanted)


def two_gpus():
    return Stack(configure=False, devices=2)


def test_e2e_pools_on_gpus_of_their_own():
    with two_gpus() as stack:
        start(stack, {'A': [0], 'B': [1]}, {1: 'A', 2: 'B', 3: 'A', 4: 'B'})
        programs = [Program(stack, vm).busy() for vm in (1, 2, 3, 4)]
        wait_for(lambda: gpus_of(stack, (1, 2, 3, 4)) == [0, 1, 0, 1], 10, 'all work')
        close(shares(stack, (1, 3), 2), (0.5, 0.5))
        close(shares(stack, (2, 4), 2), (0.5, 0.5))
        # Whoever is alone in its pool has its GPU to itself.
        programs[3].process.kill()
        wait_for(lambda: status_of(stack, 4)['channels'] == 0, 10, 'the channel ends')
        before = times(stack, (2,))[0]
        time.sleep(1)
        assert times(stack, (2,))[0] - before > 0.5e9


def test_e2e_pool_over_two_gpus():
    with two_gpus() as stack:
        start(stack, {'A': [0, 1]}, {vm: 'A' for vm in (1, 2, 3, 4)})
        programs = [Program(stack, vm).busy() for vm in (1, 2, 3, 4)]
        wait_for(lambda: None not in gpus_of(stack, (1, 2, 3, 4)), 10, 'all work')
        gpus = gpus_of(stack, (1, 2, 3, 4))
        assert sorted(gpus) == [0, 0, 1, 1], gpus
        # One GPU empties: the next one comes there.
        gone = [vm for vm, gpu in zip((1, 2, 3, 4), gpus) if gpu == 0]
        for vm in gone:
            programs[vm - 1].process.kill()
        wait_for(lambda: all(status_of(stack, vm)['channels'] == 0 for vm in gone), 10, 'ended')
        again = Program(stack, gone[0]).busy()
        wait_for(lambda: gpus_of(stack, gone[:1]) == [0], 10, 'the next one is on GPU 0')
        again.process.kill()


def test_e2e_pool_of_another_gpu_gets_new_programs_only():
    with two_gpus() as stack:
        start(stack, {'A': [0], 'B': [1]}, {1: 'A'})
        old = Program(stack, 1).busy()
        stack.admin('set-pool', '--vm=1', '--pool=B')
        wait_for(lambda: gpus_of(stack, (1,)) == [0], 10, 'it goes on where it was')
        before = times(stack, (1,))[0]
        wait_for(lambda: times(stack, (1,))[0] > before + 10**8, 10, 'the old program goes on')
        old.process.kill()
        wait_for(lambda: status_of(stack, 1)['channels'] == 0, 10, 'the channel ends')
        new = Program(stack, 1).busy()
        wait_for(lambda: gpus_of(stack, (1,)) == [1], 10, 'the new program is on GPU 1')
        new.process.kill()


if __name__ == '__main__':
    sys.exit(run([test for name, test in sorted(globals().items()) if name.startswith('test_')]))
