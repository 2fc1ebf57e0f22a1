#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Order, waiting and data (tests/proof) through libvgpu, mediator and a sandboxed worker.

VGPU_PROOF_ROUNDS, VGPU_PROOF_SECONDS: how long; VGPU_PROOF_SEED repeats a run. One VM is alone, the
other has a neighbour that keeps the GPU wanted, so that the lease comes and goes meanwhile.
"""
import os
import subprocess
import sys
import time

from stack import Stack, run

VMS = [(1, 'A', 'high'), (2, 'A', 'high')]
SEED = os.environ.get('VGPU_PROOF_SEED', str(int(time.time())))


def prove(stack, rounds, seconds, *parts):
    rounds = os.environ.get('VGPU_PROOF_ROUNDS', str(rounds))
    seconds = os.environ.get('VGPU_PROOF_SECONDS', str(seconds))
    library = os.path.join(stack.build, 'guest/libvgpu/libcuda.so.1')
    done = subprocess.run(
        [os.path.join(stack.build, 'tests/proof/proof'), '--driver', library, '--seed', SEED,
         '--rounds', rounds, '--seconds', seconds, *parts],
        env=dict(os.environ, VGPU_SOCKET=stack.vm_socket(1)), capture_output=True, text=True,
        timeout=1800, check=False)
    print(done.stdout, end='')
    assert done.returncode == 0, (done.stdout[-500:], done.stderr[-3000:])


def test_proof_alone():
    with Stack(vms=VMS) as stack:
        prove(stack, 2000, 3)


def test_proof_beside_a_neighbour():
    with Stack(vms=VMS) as stack:
        flood = subprocess.Popen(
            [os.path.join(stack.build, 'tests/flood'), 'seconds', '3600', stack.vm_socket(2)],
            stdout=subprocess.DEVNULL)
        stack.clients.append(flood)
        prove(stack, 300, 3)
        assert flood.poll() is None, 'the neighbour has ended'


SMALLEST_DATA = 4 * 4096  # what libvgpu stages through


def prove_small(stack, data_bytes, granules):
    """Order, waits without page-locked memory, pageable copies, in as little room as there is."""
    parts = ['order.', 'bulk.one', 'bulk.three', 'waits.event_of', 'waits.full_ring',
             'waits.free_behind', 'waits.chain', 'waits.graph', 'waits.captured']
    done = subprocess.run(
        [os.path.join(stack.build, 'tests/proof/proof-channel'), '--driver', stack.vm_socket(1),
         '--seed', SEED, '--rounds', '300', '--seconds', '1', '--pageable', '--data-bytes',
         str(data_bytes), '--granules', str(granules), *parts],
        capture_output=True, text=True, timeout=400, check=False)
    print(done.stdout, end='')
    return done


def test_proof_in_the_smallest_data_area():
    with Stack(vms=VMS) as stack:
        done = prove_small(stack, SMALLEST_DATA, 0)
        assert done.returncode == 0, (done.stdout[-500:], done.stderr[-3000:])
        done = prove_small(stack, SMALLEST_DATA - 4096, 0)
        assert done.returncode == 1 and 'cannot connect' in done.stderr, done


def test_proof_in_small_rings():
    with Stack(vms=VMS) as stack:
        for granules in (32, 64):
            done = prove_small(stack, SMALLEST_DATA, granules)
            assert done.returncode == 0, (done.stdout[-500:], done.stderr[-3000:])


if __name__ == '__main__':
    wanted = sys.argv[1:]
    sys.exit(run([f for n, f in sorted(globals().items())
                  if n.startswith('test_') and (not wanted or n in wanted)]))
