#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Enforces the layer rule of ARCHITECTURE.md, and the SPDX line of each source file.

A directory includes only itself and directories above it; programs never include each other.
tests, fuzz, bench and tools may include anything.
"""
import os
import re
import subprocess
import sys

ORDER = ['include', 'common', 'ring', 'carrier', 'cuda', 'fault', 'sched', 'store', 'metrics',
         'softgpu', 'worker', 'launcher', 'mediator', 'xenbus', 'admin', 'agent', 'qemu', 'guest',
         'integrations']
PROGRAMS = {'worker', 'launcher', 'mediator', 'xenbus', 'admin', 'agent', 'qemu'}
FREE = {'tests', 'fuzz', 'bench', 'tools'}
GPL = ('qemu/', 'guest/driver/')
# Compiled into QEMU and the kernel as well.
SHARED = ('include/vgpu/', 'ring/ring.', 'ring/pages.h')


def licence(name):
    if name.startswith(SHARED):
        return 'GPL-2.0-or-later OR Apache-2.0'
    return 'GPL-2.0-or-later' if name.startswith(GPL) else 'Apache-2.0'


def sources(root):
    names = subprocess.run(['git', 'ls-files', '--cached', '--others', '--exclude-standard'],
                           cwd=root, capture_output=True, text=True, check=True).stdout.split('\n')
    return [n for n in names if n and os.path.exists(os.path.join(root, n))]


def area(name):
    return name.split('/', 1)[0]


def include_fault(name, included):
    here, there = area(name), area(included)
    if here == 'qemu' and there not in ORDER:
        return None  # QEMU's own header
    if here in FREE or here == there or there not in ORDER:
        known = there in ORDER or there == here
        return not known and 'includes "%s", which is in no known directory' % included
    if here not in ORDER:
        return 'is in a directory that ARCHITECTURE.md does not list'
    if ORDER.index(there) > ORDER.index(here):
        return 'includes "%s", which lies below it' % included
    if here in PROGRAMS and there in PROGRAMS:
        return 'includes "%s" of another program' % included
    if here == 'guest' and there in PROGRAMS:
        return 'is the guest\'s and includes "%s" of a host program' % included
    return None


def faults(root):
    document = open(os.path.join(root, 'ARCHITECTURE.md'), encoding='utf-8').read()
    for name in sources(root):
        if name.endswith(('.c', '.h')):
            text = open(os.path.join(root, name), encoding='utf-8').read()
            for number, line in enumerate(text.split('\n'), 1):
                match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
                if match and '/' in match.group(1):
                    fault = include_fault(name, match.group(1))
                    if fault:
                        yield '%s:%d %s' % (name, number, fault)
        if name.endswith(('.c', '.h', '.py', '.sh', 'meson.build', '.cu')):
            head = open(os.path.join(root, name), encoding='utf-8').read(400)
            want = licence(name)
            if head.strip() and 'SPDX-License-Identifier: ' + want not in head:
                yield '%s has no SPDX line for %s in its head' % (name, want)
        if area(name) in ORDER and '`%s' % area(name) not in document:
            yield '%s: its directory has no line in ARCHITECTURE.md' % name


def self_test():
    """The check must be able to fail."""
    assert include_fault('ring/ring.c', 'worker/channel.h')
    assert include_fault('mediator/vm.c', 'worker/channel.h')
    assert include_fault('guest/libvgpu/sender.c', 'mediator/vm.h')
    assert not include_fault('worker/main.c', 'ring/ring.h')
    assert not include_fault('tests/x.c', 'worker/channel.h')
    assert not include_fault('tests/x.c', 'tests/x.h')
    assert include_fault('tests/x.c', 'nowhere/x.h')
    assert include_fault('qemu/link.c', 'mediator/vm.h')
    assert not include_fault('qemu/link.c', 'chardev/char-fe.h')
    assert licence('ring/ring.c') != licence('ring/test_ring.c') == 'Apache-2.0'


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    self_test()
    found = sorted(set(faults(root)))
    for fault in found:
        print(fault)
    print('%d faults' % len(found))
    sys.exit(1 if found else 0)


if __name__ == '__main__':
    main()
