#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The ledger beside what the GPU really gives: bench/ledger.py.

One process takes memory on each path; after each step, what its ledger and predictions grew by, and
by how much the GPU's free memory fell. Nobody else may use the GPU meanwhile. The driver is softgpu,
or the one that VGPU_DRIVER names (libcuda.so.1, with VGPU_NVML=libnvidia-ml.so.1).
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../tests/e2e'))

from stack import Stack  # noqa: E402
from test_quota import MIB, Program, sum_of, vm_status  # noqa: E402

STEPS = [('plain', 512), ('plain', 512), ('plain', 3 * MIB), ('plain', 64 * MIB),
         ('pitch', 16 * MIB), ('virtual', 32 * MIB), ('pool', MIB), ('pool', 64 * MIB),
         ('own', MIB), ('module', 4096), ('module', 64 * MIB), ('library', 16 * MIB),
         ('graph', 1), ('graph', 100), ('graph', 2000), ('context', 0), ('printf', 64 * MIB), ('heap', 256 * MIB),
         ('stack', 4096), ('stack', 16384)]


def main():
    print('| taken | ledger and predictions | GPU | difference |')
    print('| --- | --- | --- | --- |')
    with Stack(vms=[(1, 'A', 'medium')]) as stack:
        program = Program(stack, 1)
        for what, number in STEPS:
            before = sum_of(vm_status(stack, 1)['memory']), program.info()[0]
            result = program.take(what, number)
            after = sum_of(vm_status(stack, 1)['memory']), program.info()[0]
            grew, fell = after[0] - before[0], before[1] - after[1]
            print('| %s %d%s | %d | %d | %d |' % (what, number, ' (%d)' % result if result else '',
                                                 grew, fell, fell - grew))
        print(vm_status(stack, 1)['memory'], file=sys.stderr)
        program.end()
    return 0


if __name__ == '__main__':
    sys.exit(main())
