#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The tree for DKMS has all that its sources include and its Kbuild names.

Usage: test_tree.py ROOT
"""
import os
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = None


def missing(tree):
    """What the tree's files ask for and it has not."""
    contracts = os.path.join(tree, 'include/vgpu')
    found = []
    for directory in (tree, contracts):
        for name in os.listdir(directory):
            if not name.endswith(('.c', '.h')):
                continue
            with open(os.path.join(directory, name), encoding='utf-8') as text:
                asked = re.findall(r'^#include (?:"([^"]+)"|<vgpu/([^>]+)>)', text.read(), re.M)
            for beside, contract in asked:
                path = os.path.join(directory, beside) if beside else os.path.join(contracts, contract)
                if not os.path.exists(path):
                    found.append('%s includes %s' % (name, beside or contract))
    with open(os.path.join(tree, 'Kbuild'), encoding='utf-8') as text:
        objects = re.search(r'^vgpu-y := (.*)$', text.read(), re.M)[1].split()
    found += [name for name in objects if not os.path.exists(os.path.join(tree, name[:-1] + 'c'))]
    return found


class Tree(unittest.TestCase):
    def test_tree_is_complete(self):
        with tempfile.TemporaryDirectory() as tree:
            subprocess.run(['make', '-s', '-C', os.path.join(ROOT, 'guest/driver'), 'dkms-tree',
                            'DIR=' + tree], check=True, stdout=subprocess.DEVNULL)
            self.assertGreater(len(os.listdir(os.path.join(tree, 'include/vgpu'))), 3)
            self.assertEqual(missing(tree), [])


if __name__ == '__main__':
    ROOT = sys.argv.pop(1)
    unittest.main()
