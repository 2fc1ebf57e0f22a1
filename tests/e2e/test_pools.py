#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pools over GPUs, through the whole stack on a softgpu with two devices: a GPU each, both behind
one pool, two pools with weights on one GPU, and what changes while programs run. The program that
loads a GPU is VGPU_BUILD/bench/fair_load.
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
        self.process.stdin.write('busy 20000 64 %d %d /dev/null\n' % (now, now + seconds * 10**9))
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
    """Of VMs that keep their GPU busy: between two jobs they are on none for an instant."""
    def busy(vm):
        gpu = status_of(stack, vm)['gpu_id']
        return gpu is not None and 'GPU %d' % gpu

    return [int(wait_for(lambda vm=vm: busy(vm), 10, 'VM %d works' % vm)[4:]) for vm in vms]


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
        assert gpus_of(stack, (1, 2, 3, 4)) == [0, 1, 0, 1]
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
        gpus = gpus_of(stack, (1, 2, 3, 4))
        assert sorted(gpus) == [0, 0, 1, 1], gpus
        # One GPU empties: the next one comes there.
        gone = [vm for vm, gpu in zip((1, 2, 3, 4), gpus) if gpu == 0]
        for vm in gone:
            programs[vm - 1].process.kill()
        wait_for(lambda: all(status_of(stack, vm)['channels'] == 0 for vm in gone), 10, 'ended')
        again = Program(stack, gone[0]).busy()
        assert gpus_of(stack, gone[:1]) == [0]
        again.process.kill()


def test_e2e_pools_with_weights_on_one_gpu():
    with two_gpus() as stack:
        start(stack, {'A': [0], 'B': [0]}, {1: 'A', 2: 'A', 3: 'B'})
        programs = [Program(stack, vm).busy() for vm in (1, 2, 3)]
        assert len(programs) == 3
        close(shares(stack, (1, 2, 3), 3), (1 / 3, 1 / 3, 1 / 3))
        stack.admin('set-pool-weight', 'A', '--weight=25')
        stack.admin('set-pool-weight', 'B', '--weight=75')
        close(shares(stack, (1, 2, 3), 3), (1 / 8, 1 / 8, 3 / 4))
        # To the other pool, live.
        stack.admin('set-pool', '--vm=2', '--pool=B')
        close(shares(stack, (1, 2, 3), 3), (1 / 4, 3 / 8, 3 / 8))
        stack.admin('set-pool-weight', 'B', '--weight=none')
        close(shares(stack, (1, 2, 3), 3), (1 / 3, 1 / 3, 1 / 3))


def test_e2e_slice_and_policy_change_while_programs_run():
    with two_gpus() as stack:
        start(stack, {'A': [0]}, {1: 'A', 2: 'A'})
        stack.admin('set-slice', 'A', '10s')
        programs = [Program(stack, vm).busy() for vm in (1, 2)]
        assert len(programs) == 2
        assert gpus_of(stack, (1, 2)) == [0, 0]
        # Without the change, whoever has the GPU now would have it for 10 s.
        stack.admin('set-slice', 'A', '5ms')
        close(shares(stack, (1, 2), 2), (1 / 2, 1 / 2))
        stack.admin('set-priority', '2', '--priority=high')
        close(shares(stack, (1, 2), 2), (1 / 3, 2 / 3))
        stack.admin('set-policy', 'A', 'strict')
        close(shares(stack, (1, 2), 2), (0, 1))
        # Low runs all the same, once it has waited for as long as is set.
        stack.admin('set-slice', 'A', '5ms', '--max-wait=200ms')
        before = times(stack, (1,))[0]
        wait_for(lambda: times(stack, (1,))[0] > before, 10, 'low runs')


def test_e2e_pool_of_another_gpu_gets_new_programs_only():
    with two_gpus() as stack:
        start(stack, {'A': [0], 'B': [1]}, {1: 'A'})
        old = Program(stack, 1).busy()
        stack.admin('set-pool', '--vm=1', '--pool=B')
        assert gpus_of(stack, (1,)) == [0]
        before = times(stack, (1,))[0]
        wait_for(lambda: times(stack, (1,))[0] > before + 10**8, 10, 'the old program goes on')
        old.process.kill()
        wait_for(lambda: status_of(stack, 1)['channels'] == 0, 10, 'the channel ends')
        new = Program(stack, 1).busy()
        assert gpus_of(stack, (1,)) == [1]
        new.process.kill()


if __name__ == '__main__':
    sys.exit(run([test for name, test in sorted(globals().items()) if name.startswith('test_')]))
