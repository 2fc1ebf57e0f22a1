#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a VM wrote on the GPU is not found by another VM, however the first one ended.

A pattern of 8 random bytes is written to device memory, memory of a pool, page-locked memory, the
shared memory of all multiprocessors and local memory; then the VM's worker is killed, or its
process, or it ends in order; another VM (and another process of the same VM) takes memory of each
kind and looks for the pattern before it writes anything.

On any driver: VGPU_DRIVER, VGPU_NVML. VGPU_RESIDUE_MIB: of device memory, 32 by default; 0: all.
"""
import json
import os
import secrets
import signal
import subprocess
import sys

from stack import Stack, run, wait_for
from test_killed import nothing_left

VMS = [(1, 'A', 'medium'), (2, 'A', 'medium')]
MIB = os.environ.get('VGPU_RESIDUE_MIB', '32')
KINDS = ('device', 'pool', 'host', 'shared', 'local')


def command(stack, what, vm, pattern):
    return [os.path.join(stack.build, 'tests/residue'), what, pattern, MIB, stack.vm_socket(vm)]


class Writer:
    def __init__(self, stack, pattern):
        self.stack = stack
        self.process = subprocess.Popen(command(stack, 'write', 1, pattern), text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        stack.clients.append(self.process)
        line = self.process.stdout.readline()
        assert line, self.process.communicate()
        books = json.loads(line)
        self.own = books['own']
        assert not any(books['found'].values()), books
        assert all(self.own[kind] > 0 for kind in KINDS), self.own

    def end_in_order(self):
        self.process.communicate('', timeout=30)
        assert self.process.returncode == 0

    def kill_process(self):
        self.process.kill()
        self.process.communicate()

    def kill_worker(self):
        workers = self.stack.workers()
        assert len(workers) == 1
        os.kill(workers[0], signal.SIGKILL)
        self.process.communicate('', timeout=30)


def search(stack, vm, pattern):
    done = subprocess.run(command(stack, 'search', vm, pattern), capture_output=True, text=True,
                          timeout=300, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def not_found_after(end):
    with Stack(vms=VMS) as stack:
        for vm in (2, 1):
            pattern = secrets.token_hex(8)
            writer = Writer(stack, pattern)
            end(writer)
            wait_for(lambda: nothing_left(stack), 20, 'nothing left')
            seen = search(stack, vm, pattern)
            assert all(seen['found'][kind] == 0 for kind in KINDS), (vm, seen)
            # It would have found it: there, in these amounts, is what it wrote itself.
            assert all(seen['own'][kind] == writer.own[kind] or kind == 'device' and MIB == '0'
                       for kind in KINDS), (seen, writer.own)
            wait_for(lambda: nothing_left(stack), 20, 'nothing left')
        print('%d MiB, %s' % (seen['mib'], seen['own']))


def test_residue_worker_killed():
    not_found_after(Writer.kill_worker)


def test_residue_process_killed():
    not_found_after(Writer.kill_process)


def test_residue_ended_in_order():
    not_found_after(Writer.end_in_order)


if __name__ == '__main__':
    wanted = sys.argv[1:]
    found = [f for n, f in sorted(globals().items())
             if n.startswith('test_') and (not wanted or n in wanted)]
    sys.exit(run(found))
