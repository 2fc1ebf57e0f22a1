#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Memory of the host side: bench/memory.py [VMS] prints a table and exits 1 over a target.

Mediator resident with that many VMs connected (target 16 MiB at 30); a worker's proportional set
size above that of a bare process with the same driver (target 8 MiB).
"""
import os
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../tests/e2e'))

from stack import Stack, memory_kib, wait_for  # noqa: E402

MEDIATOR_KIB = 16 * 1024
WORKER_KIB = 8 * 1024


def by_mapping(pid):
    """Proportional KiB of each mapped file, or kind of memory."""
    sizes = {}
    with open('/proc/%d/smaps' % pid, encoding='ascii', errors='replace') as text:
        for line in text:
            words = line.split()
            if '-' in words[0] and not words[0].endswith(':'):
                name = os.path.basename(words[5]) if len(words) > 5 else '(anonymous)'
            elif words[0] == 'Pss:':
                sizes[name] = sizes.get(name, 0) + int(words[1])
    return sizes


def print_difference(worker, bare):
    """Where a worker is larger than the bare process, largest first."""
    more = {name: size - bare.get(name, 0) for name, size in worker.items()}
    for name in sorted(more, key=more.get, reverse=True)[:8]:
        print('| ... of that: %s | %d | |' % (name, more[name]))


def bare_process(stack):
    """The same driver with a primary context, and nothing of ours."""
    bare = subprocess.Popen([stack.program('vgpu-client'), 'hold', '--driver', stack.driver],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert 'holding' in bare.stdout.readline()
    return bare


def main():
    vms = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    with Stack(vms=[(n, 'A', 'medium') for n in range(1, vms + 1)]) as stack:
        holders = [stack.client_start(vm, 'hold') for vm in range(1, vms + 1)]
        for holder in holders:
            assert 'holding' in holder.stdout.readline()
        wait_for(lambda: len(stack.workers()) == vms, 60, 'all workers')
        bare = [bare_process(stack) for _ in range(2)]
        bare_pss = statistics.median(memory_kib(p.pid, 'Pss') for p in bare)
        worker_pss = statistics.median(memory_kib(pid, 'Pss') for pid in stack.workers())
        detail = by_mapping(stack.workers()[0]), by_mapping(bare[0].pid)
        mediator = memory_kib(stack.mediator.pid, 'Rss')
        launcher = memory_kib(stack.launcher.pid, 'Rss')
        for process in bare:
            process.kill()
            process.wait()
    print('| process | KiB | target KiB |\n| --- | --- | --- |')
    print('| mediator, resident, %d VMs connected | %d | %d |' % (vms, mediator, MEDIATOR_KIB))
    print('| launcher, resident | %d | |' % launcher)
    print('| bare process with the driver, proportional | %d | |' % bare_pss)
    print('| worker, proportional | %d | |' % worker_pss)
    print('| worker above the bare process | %d | %d |' % (worker_pss - bare_pss, WORKER_KIB))
    print_difference(*detail)
    sys.exit(0 if mediator <= MEDIATOR_KIB and worker_pss - bare_pss <= WORKER_KIB else 1)


if __name__ == '__main__':
    main()
