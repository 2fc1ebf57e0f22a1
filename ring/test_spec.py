#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps docs/spec/ring.md and the contracts together, and docs/spec/calls.md and cuda.spec.

Usage: test_spec.py ROOT
"""
import os
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = None


def read(name):
    with open(os.path.join(ROOT, name), encoding='utf-8') as text:
        return text.read()


def without_comments(text):
    return re.sub(r'/\*.*?\*/', '', text, flags=re.DOTALL)


class Spec(unittest.TestCase):
    def test_every_name_is_in_the_page(self):
        page = read('docs/spec/ring.md')
        for header in ('include/vgpu/ring.h', 'include/vgpu/cuda.h'):
            text = without_comments(read(header))
            names = set(re.findall(r'^#define (VGPU_\w+)[ (](?=.)', text, re.MULTILINE))
            names |= set(re.findall(r'^    (VGPU_\w+) = ', text, re.MULTILINE))
            names |= set(re.findall(r'^struct (\w+) \{', text, re.MULTILINE))
            names |= set(re.findall(r'^enum (\w+) \{', text, re.MULTILINE))
            names = {n for n in names if not n.endswith('_H')}
            self.assertTrue(names)
            for name in sorted(names):
                with self.subTest(name=name):
                    self.assertRegex(page, r'\b%s\b' % name)

    def test_sizes_agree(self):
        page = read('docs/spec/ring.md')
        text = read('include/vgpu/ring.h') + read('include/vgpu/cuda.h')
        for name, size in re.findall(r'VGPU_ASSERT_SIZE\(struct (\w+), (\d+)\)', text):
            told = re.findall(r'`struct %s`(?: \| | \()(\d+)' % name, page)
            for number in told:
                with self.subTest(name=name):
                    self.assertEqual(number, size)

    def test_calls_are_as_generated(self):
        with tempfile.TemporaryDirectory() as directory:
            made = os.path.join(directory, 'calls.md')
            subprocess.run([sys.executable, os.path.join(ROOT, 'cuda/gen.py'),
                            os.path.join(ROOT, 'cuda/cuda.spec'), 'calls.md', made], check=True)
            with open(made, encoding='utf-8') as text:
                self.assertEqual(text.read(), read('docs/spec/calls.md'),
                                 'run cuda/gen.py cuda/cuda.spec calls.md docs/spec/calls.md')


if __name__ == '__main__':
    ROOT = sys.argv.pop(1)
    unittest.main()
