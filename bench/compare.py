#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Native against mediated in one run: bench/compare.py [--rounds N] [--max-size SIZE].

Runs `vgpu-client bench` on the driver itself and through mediator and worker (local carrier), in
turn, and prints a table of medians over the rounds with their ratio. The driver is softgpu, or the
one that VGPU_DRIVER names (libcuda.so.1 where there is a GPU). Exits 1 if a 1 GiB copy, where one
was measured, moves less than 1 GB/s.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../tests/e2e'))

from stack import Stack  # noqa: E402

FLOOR_GB_S = 1.0


def measure(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return {(row['name'], row.get('bytes', 0)): row['median_us']
            for row in json.loads(done.stdout)['results']}


def size_text(count):
    for unit, step in (('GiB', 1 << 30), ('MiB', 1 << 20), ('KiB', 1 << 10)):
        if count >= step and count % step == 0:
            return '%d %s' % (count // step, unit)
    return '%d B' % count if count else ''


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--max-size', default='64M')
    parser.add_argument('--data-size', default='4G', help='data area of the mediated channel')
    options = parser.parse_args()
    native, mediated = {}, {}
    with Stack(vms=[(1, 'A', 'medium')]) as stack:
        bench = ['bench', '--json', '--data-size', options.data_size,
                 '--max-size', options.max_size]
        for _ in range(options.rounds):
            ways = ((native, [stack.program('vgpu-client'), '--driver', stack.driver, *bench]),
                    (mediated, stack.client_command(1, *bench)))
            for results, command in ways:
                for key, value in measure(command).items():
                    results.setdefault(key, []).append(value)
    print('driver %s, %d rounds\n' % (os.path.basename(stack.driver), options.rounds))
    print('| what | bytes | native µs | mediated µs | ratio | mediated GB/s |')
    print('| --- | --- | --- | --- | --- | --- |')
    slow = False
    for key in native:
        name, count = key
        base, ours = statistics.median(native[key]), statistics.median(mediated[key])
        speed = count / ours / 1e3 if count else 0
        slow |= count >= 1 << 30 and speed < FLOOR_GB_S
        print('| %s | %s | %.2f | %.2f | %.2f | %s |' % (
            name, size_text(count), base, ours, ours / base, '%.2f' % speed if count > 4096 else ''))
    if slow:
        sys.exit('a copy of 1 GiB moved less than %g GB/s' % FLOOR_GB_S)


if __name__ == '__main__':
    main()
