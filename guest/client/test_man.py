#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps man/vgpu-client.1 and vgpu-client --help together, man/libvgpu.7 and vgpu.h; and checks
the program's exit statuses that need no host.

Usage: test_man.py VGPU_CLIENT ROOT
"""
import re
import subprocess
import sys
import unittest

PROGRAM = ROOT = None


def run(*arguments):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False)


def read(name):
    with open('%s/%s' % (ROOT, name), encoding='utf-8') as text:
        return text.read().replace('\\-', '-')


class Man(unittest.TestCase):
    def test_options_agree(self):
        told = set(re.findall(r'^  (--[a-z-]+)', run('--help').stdout, re.MULTILINE))
        page = set(re.findall(r'^\.BI? (--[a-z-]+)', read('man/vgpu-client.1'), re.MULTILINE))
        self.assertTrue(told)
        self.assertEqual(told, page - {'--'})

    def test_commands_agree(self):
        part = run('--help').stdout.split('commands:\n')[1].split('\n\n')[0]
        told = {line.split()[0] for line in part.splitlines()}
        page = read('man/vgpu-client.1').split('.SH COMMANDS')[1].split('.SH')[0]
        self.assertEqual(told, set(re.findall(r'^\.TP\n\.BI? ([a-z-]+)', page, re.MULTILINE)))

    def test_library_functions_are_described(self):
        page = read('man/libvgpu.7')
        for name in re.findall(r'\b(vgpu_\w+)\(', read('guest/libvgpu/vgpu.h')):
            self.assertIn(name, page)

    def test_usage_errors(self):
        for arguments in ((), ('nothing',), ('vector-add', '1'), ('vector-add', '1', 'x'),
                          ('vector-add', '1', '1,2'), ('run', 'nothing'), ('run',),
                          ('--size=x', 'run', 'spin'), ('--grid=0', 'launch', 'f', 'k'),
                          ('--unknown',), ('launch', 'f', 'k', 'u32:x')):
            done = run(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertTrue(done.stderr, arguments)

    def test_list_needs_no_host(self):
        done = run('run', '--list')
        self.assertEqual(done.returncode, 0)
        self.assertIn('sha256', done.stdout)


if __name__ == '__main__':
    PROGRAM, ROOT = sys.argv[1:3]
    del sys.argv[1:3]
    unittest.main()
