#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps docs/spec/grant.md and include/vgpu/grant.h together, and wire.md and domain.h.

Usage: grant_page.py ROOT
"""
import os
import re
import sys
import unittest

ROOT = None


def read(name):
    with open(os.path.join(ROOT, name), encoding='utf-8') as text:
        return text.read()


class GrantPage(unittest.TestCase):
    def setUp(self):
        self.page = read('docs/spec/grant.md')
        self.header = re.sub(r'/\*.*?\*/', '', read('include/vgpu/grant.h'), flags=re.DOTALL)

    def rows(self, name):
        return [row for row in self.page.split('\n') if '`%s`' % name in row]

    def test_every_constant_has_its_value(self):
        constants = re.findall(r'^#define (VGPU_\w+)\s+(0x[0-9a-f]+|\d+)u', self.header,
                               re.MULTILINE)
        self.assertGreaterEqual(len(constants), 8)
        for name, value in constants:
            with self.subTest(name=name):
                forms = {value, str(int(value, 0))}
                self.assertTrue(any(re.search(r'(?<!\w)(%s)(?!\w)' % '|'.join(forms), row)
                                    for row in self.rows(name)))

    def test_every_structure_has_its_size(self):
        structures = re.findall(r'VGPU_ASSERT_SIZE\((struct \w+), (\d+)\)', self.header)
        self.assertEqual(len(structures), 3)
        for name, size in structures:
            with self.subTest(name=name):
                self.assertTrue(any(re.search(r'\b%s bytes' % size, row)
                                    for row in self.rows(name)))

    def test_every_field_of_the_control_page_is_named(self):
        body = re.search(r'struct vgpu_xen_control \{(.*?)\n\};', self.header, re.DOTALL)[1]
        fields = re.findall(r'^\s+\w+ (\w+)(?:\[[^;]*)?;', body, re.MULTILINE)
        fields = [field for field in fields if not field.startswith('reserved')]
        self.assertGreater(len(fields), 12)
        for field in fields:
            with self.subTest(field=field):
                self.assertTrue(self.rows(field))


class DomainMessages(unittest.TestCase):
    def test_each_message_has_its_number_structure_and_size(self):
        page, header = read('docs/spec/wire.md'), read('include/vgpu/domain.h')
        sizes = dict(re.findall(r'VGPU_ASSERT_SIZE\((struct \w+), (\d+)\)', header))
        messages = re.findall(r'^\s+(VGPU_DOMAIN_\w+) = (\d+)', header, re.MULTILINE)
        self.assertEqual(len(messages), 5)
        for message, number in messages:
            with self.subTest(message=message):
                row = re.search(r'(?m)^\| %s \| `%s` \| .* \| `(struct \w+)` \| (\d+) \|$'
                                % (number, message), page)
                self.assertIsNotNone(row)
                self.assertEqual(sizes[row[1]], row[2])


if __name__ == '__main__':
    ROOT = sys.argv.pop(1)
    unittest.main()
