#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Others' programs and test suites, natively and mediated: tests/compat/run.py SUITE... [options].

SUITE: programs (nvrtc.c and the use_*.py beside this file; what is not installed is skipped and said),
or NAME=DIRECTORY, a directory of tests that pytest runs: numba=…/numba-cuda/testing (numba-cuda's own
suite, unmodified, with its configuration), pycuda=…/pycuda/test. Each runs on the driver itself and on
the guest's libcuda.so.1 over the local carrier. The driver is softgpu, or the one that VGPU_DRIVER
names. Exits 1 if something passes natively and not mediated, unless docs/compatibility.md names it.
--out DIRECTORY keeps the outcomes of all tests (record.py).
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, 'tests/e2e'))

from stack import Stack  # noqa: E402

PROGRAMS = ['nvrtc', 'use_bindings.py', 'use_core.py', 'use_pycuda.py']
SKIPPED = 77


def driver_directory(parent, name, library):
    """A directory in which `library` is libcuda.so.1."""
    path = os.path.join(parent, name)
    os.makedirs(path)
    for link in ('libcuda.so.1', 'libcuda.so'):
        os.symlink(library, os.path.join(path, link))
    return path


def environment(directory, extra=None):
    env = {**os.environ, **(extra or {})}
    env['LD_LIBRARY_PATH'] = ':'.join(
        [directory] + [part for part in [os.environ.get('LD_LIBRARY_PATH')] if part])
    return env


def run_program(name, stack, env, directory, seconds):
    if name.endswith('.py'):
        module = {'use_bindings.py': 'cuda.bindings.driver', 'use_core.py': 'cuda.core',
                  'use_pycuda.py': 'pycuda'}[name]
        found = subprocess.run([sys.executable, '-c', 'import importlib.util, sys; '
                                'sys.exit(importlib.util.find_spec(%r) is None)' % module],
                               capture_output=True, check=False)
        if found.returncode:
            return 'skipped', '%s is not installed' % module
        command = [sys.executable, os.path.join(HERE, name)]
    else:
        command = [os.path.join(stack.build, 'tests', name),
                   os.path.join(directory, 'libcuda.so.1'),
                   os.environ.get('VGPU_NVRTC', 'libnvrtc.so.13')]
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=seconds,
                              check=False)
    except subprocess.TimeoutExpired:
        return 'failed', 'not done within %d s' % seconds
    words = (done.stdout + done.stderr).strip().split('\n')[-1]
    if done.returncode == 0:
        return 'passed', ''
    return ('skipped' if done.returncode == SKIPPED else 'failed'), words


def run_pytest(directory, env, record, options):
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-p', 'record',
               *options.pytest]
    env = {**env, 'VGPU_RECORD': record,
           'PYTHONPATH': ':'.join([HERE, *filter(None, [env.get('PYTHONPATH')])])}
    if os.path.exists(record):
        os.unlink(record)
    with subprocess.Popen(command, cwd=directory, env=env, start_new_session=True,
                          stdout=subprocess.DEVNULL if options.quiet else None) as suite:
        try:
            suite.wait(options.seconds)
        except subprocess.TimeoutExpired:
            print('%s: stopped after %d s' % (directory, options.seconds))
            os.killpg(suite.pid, signal.SIGKILL)
    return read_record(record)


def read_record(path):
    """What record.py wrote: {name: (outcome, text)}; a failure stays one, whatever its teardown did."""
    results = {}
    if not os.path.exists(path):
        return results
    with open(path, encoding='utf-8') as lines:
        for name, outcome, text, _ in map(json.loads, lines):
            if results.get(name, ('',))[0] != 'failed':
                results[name] = (outcome, text)
    return results


def run_suite(suite, stack, directories, extra, out, options):
    """Native and mediated results by name."""
    both = []
    for way, directory in directories:
        env = environment(directory, extra if way == 'mediated' else None)
        if suite == 'programs':
            both.append({name: run_program(name, stack, env, directory, options.seconds)
                         for name in PROGRAMS})
            continue
        name, path = suite.split('=', 1)
        if way == 'native' and options.native_record:
            both.append(read_record(options.native_record))
            continue
        both.append(run_pytest(path, env, os.path.join(out, '%s-%s.jsonl' % (name, way)), options))
    return both


def compare(suite, native, mediated, known):
    counts = [{kind: sum(1 for outcome, _ in results.values() if outcome == kind)
               for kind in ('passed', 'failed', 'skipped')} for results in (native, mediated)]
    for way, count in zip(('native', 'mediated'), counts):
        print('%s, %s: %d passed, %d failed, %d skipped' % (
            suite.split('=', maxsplit=1)[0], way, count['passed'], count['failed'],
            count['skipped']))
    lost = 0
    if suite == 'programs':
        for way, results in (('native', native), ('mediated', mediated)):
            for name, (outcome, text) in results.items():
                if outcome != 'passed':
                    print('  %s, %s: %s: %s' % (name, way, outcome, text))
    for name, (outcome, _) in sorted(native.items()):
        ours, text = mediated.get(name, ('not run', ''))
        if outcome != 'passed' or ours == 'passed':
            continue
        named = name.rsplit('::', 1)[-1].split('[')[0] in known
        lost += not named
        print('  %s: %s%s: %s' % (name, ours, ' (docs/compatibility.md)' if named else '', text))
    return lost


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('suites', nargs='+', metavar='SUITE')
    parser.add_argument('--seconds', type=int, default=600, help='for a suite, one way')
    parser.add_argument('--out')
    parser.add_argument('--quiet', action='store_true', help="without pytest's own output")
    parser.add_argument('--native-record', help='the record of an earlier native run, to compare with')
    parser.add_argument('--pytest', action='append', default=[], help='option for pytest')
    options = parser.parse_args()
    with open(os.path.join(ROOT, 'docs/compatibility.md'), encoding='utf-8') as text:
        known = text.read()
    lost = 0
    if options.out:
        os.makedirs(options.out, exist_ok=True)
    with Stack(vms=[(1, 'A', 'medium')]) as stack, tempfile.TemporaryDirectory() as scratch:
        library = os.path.join(stack.build, 'guest/libvgpu/libcuda.so.1')
        directories = [('native', driver_directory(scratch, 'native', stack.driver)),
                       ('mediated', driver_directory(scratch, 'mediated', library))]
        extra = {'VGPU_SOCKET': stack.vm_socket(1)}
        for suite in options.suites:
            native, mediated = run_suite(suite, stack, directories, extra, options.out or scratch,
                                         options)
            lost += compare(suite, native, mediated, known)
    if lost:
        sys.exit('%d pass natively and not mediated' % lost)


if __name__ == '__main__':
    main()
