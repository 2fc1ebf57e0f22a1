#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a job costs on the way to the worker: bench/path.py prints a table for each carrier.

Counted, not timed, are exits (writes to doorbells that QEMU sees), turns of the device, wake-ups and bytes copied;
the times are softgpu's and TCG's, and only good to compare with each other. docs/path-cost.md says
what the counts mean on real hardware. Needs what ./quickstart makes, or ./check --stage vm.
"""
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, 'tests/vm'))

from guests import VmStack, settings  # noqa: E402

COUNTERS = ['doorbells', 'turns', 'ring_bytes', 'upload_bytes', 'download_bytes', 'worker_kicks',
            'worker_wakes', 'interrupts']


def table(title, lines, names):
    print('\n%s, per job:\n' % title)
    print('| job | us | sleeps | %s |' % ' | '.join(names))
    print('| --- | --- | --- |%s' % (' --- |' * len(names)))
    for line in lines.splitlines():
        name, _jobs, nanoseconds, *counts = line.split()
        print('| %s | %.1f | %s |' % (name, int(nanoseconds) / 1000, ' | '.join(
            '%.2f' % (int(n) / 1000) if int(n) < 100000 else '%d' % (int(n) // 1000)
            for n in counts)))


def main():
    vms = [(vm, 'A', 'medium') for vm in (1, 2, 3)]
    with VmStack(vms, boot=[1, 2], relayed=[2]) as stack:
        program = os.path.join(stack.build, 'bench/path_jobs')
        local = subprocess.run([program, stack.vm_socket(3)], text=True, check=True,
                               stdout=subprocess.PIPE).stdout
        table('local carrier', local, [])
        for vm, carrier in ((1, 'window'), (2, 'relay')):
            done = stack.guests[vm].run('path_jobs /dev/vgpu0 /sys/class/vgpu/vgpu0/counters', 300)
            table('%s, %s' % (carrier, settings().accel), done.text_output(), COUNTERS)


if __name__ == '__main__':
    main()
