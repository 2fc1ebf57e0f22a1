#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Keeps man/vgpu.4 and what it describes together: ioctl.h, sysfs attributes, errors.

Usage: test_man.py ROOT
"""
import re
import sys
import unittest

ROOT = None


def read(name):
    with open('%s/%s' % (ROOT, name), encoding='utf-8') as text:
        return text.read()


class Man(unittest.TestCase):
    def setUp(self):
        self.page = read('man/vgpu.4').replace('\\-', '-')

    def test_requests_and_offsets_agree(self):
        header = set(re.findall(r'^#define (VGPU_(?:IOC|MMAP)_\w+)', read('include/vgpu/ioctl.h'),
                                re.MULTILINE))
        self.assertEqual(len(header), 7)
        self.assertEqual(header, set(re.findall(r'VGPU_(?:IOC|MMAP)_[A-Z]+', self.page)))

    def test_fields_are_described(self):
        header = read('include/vgpu/ioctl.h')
        fields = re.findall(r'^    (?:u?int\d+_t|char|struct \w+) (\w+)', header, re.MULTILINE)
        self.assertGreater(len(fields), 20)
        for name in fields:
            self.assertRegex(self.page, r'\b%s\b' % name)

    def test_attributes_are_described(self):
        source = read('guest/driver/attributes.c')
        names = re.findall(r'^WHICH\((\w+)', source, re.MULTILINE)
        names += re.findall(r'DEVICE_ATTR_RO\((\w+)\)', source)
        self.assertEqual(len(names), 19)
        for name in names:
            self.assertIn('\n.BR %s ' % name, self.page)

    def test_errors_agree(self):
        used = set()
        for name in ('file.c', 'slot.c', 'memory.c', 'monitor.c', 'window.c', 'grant.c', 'driver.h'):
            used |= set(re.findall(r'-(E[A-Z]{2,})\b', read('guest/driver/' + name)))
        told = set(re.findall(r'^\.TP\n\.B (E[A-Z]+)$', self.page, re.MULTILINE))
        # Restarted, or told as a refusal: no program sees these.
        self.assertEqual(used - {'ERESTARTSYS', 'ENOSPC'}, told - {'EBADF'})


if __name__ == '__main__':
    ROOT = sys.argv[1]
    del sys.argv[1:]
    unittest.main()
