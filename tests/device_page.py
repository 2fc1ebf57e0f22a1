#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps docs/spec/device.md and include/vgpu/pci_regs.h together.

Usage: device_page.py ROOT
"""
import os
import re
import sys
import unittest

ROOT = None
REGISTERS = r'^#define (VGPU_REG_\w+)\s+(0x[0-9a-f]+)u'


def read(name):
    with open(os.path.join(ROOT, name), encoding='utf-8') as text:
        return text.read()


def number(text):
    """The value of a plain constant (0x10u, 1u << 3), or None."""
    text = text.strip().strip('()').replace('u', '')
    return eval(text) if re.fullmatch(r'[0-9a-fx]+( << \d+)?', text) else None


class DevicePage(unittest.TestCase):
    def setUp(self):
        self.page = read('docs/spec/device.md')
        self.header = re.sub(r'/\*.*?\*/', '', read('include/vgpu/pci_regs.h'), flags=re.DOTALL)

    def rows(self, name):
        return [row for row in self.page.split('\n') if '`%s`' % name in row]

    def test_every_register_has_its_row(self):
        registers = re.findall(REGISTERS, self.header, re.MULTILINE)
        self.assertGreater(len(registers), 30)
        for name, offset in registers:
            with self.subTest(name=name):
                self.assertRegex(self.page, r'(?m)^\| %s \| `%s` \| [RWC]+ \| ' % (offset, name))

    def test_no_register_is_made_up(self):
        known = dict(re.findall(REGISTERS, self.header, re.MULTILINE))
        for name in re.findall(r'(?m)^\| 0x[0-9a-f]{3} \| `(\w+)`', self.page):
            with self.subTest(name=name):
                self.assertIn(name, known)

    def test_every_constant_has_its_value(self):
        constants = re.findall(r'^#define (VGPU_(?!REG_)\w+)[ \t]+(\S.*)$', self.header,
                               re.MULTILINE)
        constants += re.findall(r'(VGPU_\w+) = (\d+)', self.header)
        self.assertGreater(len(constants), 40)
        for name, value in constants:
            with self.subTest(name=name):
                self.assertTrue(self.rows(name))
                if number(value) is not None:
                    forms = (str(number(value)), hex(number(value)))
                    self.assertTrue(any(re.search(r'(?<!\w)(%s)(?!\w)' % '|'.join(forms), row)
                                        for row in self.rows(name)))

    def test_every_structure_has_its_size(self):
        structures = re.findall(r'VGPU_ASSERT_SIZE\((struct \w+), (\d+)\)', self.header)
        self.assertEqual(len(structures), 5)
        for name, size in structures:
            with self.subTest(name=name):
                self.assertTrue(any(re.search(r'\b%s bytes' % size, row)
                                    for row in self.rows(name)))

    def test_every_enumeration_and_status_is_named(self):
        for name in re.findall(r'enum (\w+) \{', self.header):
            with self.subTest(name=name):
                self.assertTrue(self.rows('enum ' + name))
        statuses = re.findall(r'X\((\w+), (\d+), \d,', read('include/vgpu/status.h'))
        self.assertGreater(len(statuses), 15)
        for name, value in statuses:
            with self.subTest(status=name):
                self.assertRegex(self.page, r'\b%s `%s`' % (value, name))


if __name__ == '__main__':
    ROOT = sys.argv.pop(1)
    unittest.main()
