#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The conformance suite and every kernel through libvgpu, mediator and a sandboxed worker.

The same programs that test a driver directly load the guest library instead; so what passes on a
driver must pass mediated.
"""
import os
import subprocess
import sys

from stack import Stack, run

VMS = [(1, 'A', 'high')]


def through_the_mediator(program):
    with Stack(vms=VMS) as stack:
        # Some of its kernels fail on purpose, which would quarantine the VM.
        stack.admin('set-faults', '1', '1000', '3600')
        library = os.path.join(stack.build, 'guest/libvgpu/libcuda.so.1')
        done = subprocess.run(
            [os.path.join(stack.build, 'tests/conformance', program), '--driver', library],
            env=dict(os.environ, VGPU_SOCKET=stack.vm_socket(1)), capture_output=True, text=True,
            timeout=400, check=False)
        bad = [line for line in done.stdout.split('\n') if line and not line.startswith('ok')]
        assert done.returncode == 0, (bad, done.stderr[-2000:])
        assert ', 0 failed' in bad[-1] and not bad[-1].startswith('0 passed'), bad


def test_mediated_workloads():
    through_the_mediator('run_workloads')


def test_mediated_conformance():
    through_the_mediator('ptx_conformance')


if __name__ == '__main__':
    sys.exit(run([test_mediated_workloads, test_mediated_conformance]))
