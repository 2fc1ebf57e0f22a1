#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Processor time of each process: bench/cpu.py [GROUP]... prints a table, exits 1 over a target.

Runs groups of cuda_bench natively and mediated (local carrier), and a channel that does nothing,
and counts the processors that each process keeps busy: over the whole run, and of the worker in its
busiest half second (target 1 on a channel at work, 0 on an idle one). The driver is softgpu, whose
GPU is the worker's own threads, or the one that VGPU_DRIVER names.
"""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../tests/e2e'))

from stack import Stack, alive, cpu_seconds  # noqa: E402

GROUPS = ['latency', 'floods', 'graph', 'copies', 'stencil', 'decode']
LOOK_S = 0.02
BUSIEST_S = 0.5
IDLE_S = 3
# A clock tick at each end of the busiest half second.
TICKS_S = 2 / os.sysconf('SC_CLK_TCK')


class Usage:
    """What the processes of one run have used, looked at again and again."""

    def __init__(self, stack):
        self.stack, self.used, self.first, self.looks = stack, {}, {}, []

    def look(self, pid):
        try:
            if alive(pid):
                self.used[pid] = cpu_seconds(pid)
                self.first.setdefault(pid, self.used[pid])
        except (FileNotFoundError, ProcessLookupError):
            pass
        return self.used.get(pid, 0) - self.first.get(pid, 0)

    def of_workers(self, workers):
        total = sum(self.look(pid) for pid in workers)
        self.looks.append((time.monotonic(), total))
        return total

    def busiest(self):
        most = 0
        for began, before in self.looks:
            behind = next((look for look in self.looks if look[0] >= began + BUSIEST_S), None)
            if behind:
                most = max(most, (behind[1] - before) / (behind[0] - began))
        return most


def follow(stack, process):
    """(seconds, processors: the process, workers, worker's busiest, mediator and launcher)."""
    usage, seen, began = Usage(stack), set(), time.monotonic()
    own = workers = host = 0
    while process.poll() is None:
        seen.update(stack.workers())
        own, workers = usage.look(process.pid), usage.of_workers(seen)
        host = usage.look(stack.mediator.pid) + usage.look(stack.launcher.pid)
        time.sleep(LOOK_S)
    seconds = time.monotonic() - began
    if process.returncode:
        sys.exit('%s failed' % process.args[0])
    return seconds, own / seconds, workers / seconds, usage.busiest(), host / seconds


def idle(stack):
    """Processors that a worker with a context and nothing to do keeps busy."""
    holder = stack.client_start(1, 'hold')
    assert 'holding' in holder.stdout.readline()
    time.sleep(0.5)
    before = sum(cpu_seconds(pid) for pid in stack.workers())
    time.sleep(IDLE_S)
    return (sum(cpu_seconds(pid) for pid in stack.workers()) - before) / IDLE_S


def main():
    groups = sys.argv[1:] or GROUPS
    over = False
    with Stack(vms=[(1, 'A', 'medium')]) as stack:
        soft = 'softgpu' in os.path.basename(stack.driver)
        command = [os.path.join(stack.build, 'bench/cuda_bench'), *(['--quick'] if soft else [])]
        library = os.path.join(stack.build, 'guest/libvgpu/libcuda.so.1')
        print('| group | native s | its processors | mediated s | the program\'s | worker\'s '
              '| in its busiest half second | mediator\'s and launcher\'s |')
        print('| --- |%s' % (' --- |' * 7))
        for group in groups:
            run = [*command, '--only', group]
            native = follow(stack, subprocess.Popen([*run, stack.driver], stdout=subprocess.DEVNULL))
            mediated = follow(stack, subprocess.Popen(
                [*run, library], stdout=subprocess.DEVNULL,
                env={**os.environ, 'VGPU_SOCKET': stack.vm_socket(1)}))
            over |= not soft and mediated[3] > 1 + TICKS_S / BUSIEST_S
            print('| %s | %.1f | %.2f | %.1f | %.2f | %.2f | %.2f | %.3f |'
                  % (group, *native[:2], *mediated), flush=True)
        parked = idle(stack)
        print('\nA channel without work: %.3f processors over %d s' % (parked, IDLE_S))
    sys.exit(1 if over or parked > TICKS_S / IDLE_S else 0)


if __name__ == '__main__':
    main()
