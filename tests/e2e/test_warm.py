#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Spare workers through the whole stack: made, used, replaced, and not in the way of anything."""
import os
import signal
import sys

from stack import Stack, alive, run, wait_for

VMS = [(1, 'A', 'high'), (2, 'A', 'medium')]


def gpu(stack):
    return stack.admin_json('status')['gpus'][0]


def await_spares(stack, count):
    wait_for(lambda: gpu(stack)['spares'] == count, 30, '%d spares' % count)


def add(stack, vm):
    done = stack.client(vm, 'vector-add', '1,2,3', '10,20,30')
    assert done.returncode == 0 and '33' in done.stdout, (done.stdout, done.stderr)


def test_e2e_channels_start_on_spares():
    with Stack(vms=VMS, spares=1) as stack:
        for started, vm in enumerate((1, 2, 1)):
            await_spares(stack, 1)
            assert gpu(stack)['warm_starts'] == started
            add(stack, vm)
        status = stack.admin_json('status')
        assert status['gpus'][0]['warm_starts'] == 3, status
        assert status['gpus'][0]['spares_wanted'] == 1, status


def test_e2e_spares_are_no_channels():
    with Stack(vms=VMS, spares=2) as stack:
        await_spares(stack, 2)
        assert len(stack.workers()) == 2
        mediator = stack.admin_json('status')['mediator']
        assert mediator['channels'] == 0 and mediator['workers'] == 0, mediator


def test_e2e_every_kernel_on_a_spare():
    with Stack(vms=VMS, spares=1) as stack:
        await_spares(stack, 1)
        done = stack.client(1, 'run', '--all')
        assert done.returncode == 0 and 'failed' not in done.stdout, (done.stdout, done.stderr)
        assert gpu(stack)['warm_starts'] == 1


def test_e2e_spare_killed():
    with Stack(vms=VMS, spares=1) as stack:
        await_spares(stack, 1)
        spare = stack.workers()[0]
        os.kill(spare, signal.SIGKILL)
        wait_for(lambda: gpu(stack)['spare_failures'] == 1, 10, 'the failure is told')
        add(stack, 1)
        await_spares(stack, 1)
        add(stack, 2)
        assert gpu(stack)['spare_failures'] == 0


def test_e2e_spares_survive_the_mediator():
    with Stack(vms=VMS, spares=1) as stack:
        await_spares(stack, 1)
        spare = stack.workers()
        stack.kill_mediator()
        stack.start_mediator()
        await_spares(stack, 1)
        assert stack.workers() == spare
        add(stack, 1)
        assert gpu(stack)['warm_starts'] == 1


def test_e2e_spare_of_a_gpu_without_pool_ends():
    with Stack(vms=[], spares=1) as stack:
        stack.admin('create-pool', '--pool=A')
        stack.admin('assign-gpu', '--gpu-id=0', '--pool=A')
        await_spares(stack, 1)
        spare = stack.workers()[0]
        stack.admin('unassign-gpu', '--gpu-id=0', '--pool=A')
        wait_for(lambda: not alive(spare), 10, 'the spare ends')
        assert gpu(stack)['spares_wanted'] == 0


if __name__ == '__main__':
    wanted = sys.argv[1:]
    found = [f for n, f in sorted(globals().items())
             if n.startswith('test_') and (not wanted or n in wanted)]
    sys.exit(run(found))
