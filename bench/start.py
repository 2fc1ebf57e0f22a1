#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""From cuInit to the end of the first kernel in a new process: bench/start.py [--rounds N].

Native, mediated with a spare worker (warm), and mediated without (cold), in turn; medians with the
least and the most. The driver is softgpu, or the one that VGPU_DRIVER names (libcuda.so.1, with
VGPU_NVML=libnvidia-ml.so.1, where there is a GPU).
Exits 1 if a warm start takes longer than --most times a native one.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../tests/e2e'))

from stack import Stack, wait_for  # noqa: E402

# After which step what was asked of the driver has been done; `start` prints them in this order.
STEPS = ['init', 'retain', 'module', 'alloc', 'kernel', 'download']


def start(stack, driver, **environment):
    done = subprocess.run([os.path.join(stack.build, 'bench/bench_start'), driver], text=True,
                          env=dict(os.environ, **environment), capture_output=True, timeout=120,
                          check=False)
    if done.returncode != 0:
        sys.exit('start with %s: %s' % (driver, done.stderr))
    return json.loads(done.stdout)


def gpu(stack):
    return stack.admin_json('status')['gpus'][0]


def rounds(count, way, results):
    for _ in range(count):
        for step, microseconds in way().items():
            results.setdefault(step, []).append(microseconds)


def mediated(spares, count):
    """Times, and how many of the starts were on a spare."""
    results = {}
    with Stack(vms=[(1, 'A', 'medium')], spares=spares) as stack:
        library = os.path.join(stack.build, 'guest/libvgpu/libcuda.so.1')

        def way():
            # Programs do not start while the last one's successor is still being made.
            wait_for(lambda: gpu(stack)['spares'] == spares, 60, 'spare worker')
            return start(stack, library, VGPU_SOCKET=stack.vm_socket(1))

        rounds(count, way, results)
        warm = gpu(stack)['warm_starts']
    if warm != (count if spares else 0):
        sys.exit('%d of %d starts were warm' % (warm, count))
    return results


def native(count):
    results = {}
    with Stack(start=False) as stack:
        rounds(count, lambda: start(stack, stack.driver), results)
        return os.path.basename(stack.driver), results


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--most', type=float, default=None, help='times native; more is an error')
    options = parser.parse_args()
    driver, base = native(options.rounds)
    warm, cold = mediated(1, options.rounds), mediated(0, options.rounds)
    print('driver %s, %d rounds; ms from cuInit, median (least-most)\n' % (driver, options.rounds))
    print('| until | native | warm | cold | warm / native |')
    print('| --- | --- | --- | --- | --- |')
    for step in STEPS:
        print('| %s | %s | %.2f |' % (step, ' | '.join(
            '%.2f (%.2f-%.2f)' % tuple(f(way[step]) / 1e3 for f in (statistics.median, min, max))
            for way in (base, warm, cold)),
            statistics.median(warm[step]) / statistics.median(base[step])))
    ratio = statistics.median(warm['kernel']) / statistics.median(base['kernel'])
    if options.most and ratio > options.most:
        sys.exit('a warm start takes %.2f times a native one' % ratio)


if __name__ == '__main__':
    main()
