#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""./quickstart --xen, the way a person calls it."""
import os
import re
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, 'tests/vm'))

# pylint: disable=wrong-import-position
from guests import main  # noqa: E402

REFUSED = [('--local',), ('--keep',), ('--shell', '1'), ('--guests', '5'),
           ('--driver', 'libcuda.so.1')]
CHANNELS = {1: 'grant', 2: 'relay', 3: 'grant', 4: 'grant'}
NAMES = ('anna', 'ben', 'cleo', 'dora')
KERNELS = 14


def quickstart(*options, timeout):
    return subprocess.run([os.path.join(ROOT, 'quickstart'), '--xen', *options],
                          capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, check=False)


class Quickstart(unittest.TestCase):
    def test_xen_quickstart_refuses_what_does_not_go_with_it(self):
        for options in REFUSED:
            done = quickstart(*options, timeout=20)
            self.assertEqual(done.returncode, 2, options)
            self.assertRegex(done.stderr, r'--xen', options)

    def test_xen_quickstart_shows_the_scene(self):
        done = quickstart(timeout=2400)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        said = done.stdout
        self.assertIn('Processing accelerators', said)
        for number, carrier in CHANNELS.items():
            self.assertRegex(said, r'(?m)^VM %d: %d kernels, .*all verified; then as load'
                             % (number, KERNELS))
            self.assertRegex(said, r'(?m)^VM %d reached its worker by channel .*%s'
                             % (number, carrier))
        for number, name in enumerate(NAMES, 1):
            self.assertRegex(said, r'(?m)^ *%d +%s +[AB] +(high|medium|low) ' % (number, name))
        self.assertRegex(said, r'What ran on what: Xen \d')
        shares = {int(number): float(share) for number, share in re.findall(
            r'(?m)^VM (\d): .*; then as load: \w+, ([\d.]+) % of the GPU$', said)}
        self.assertTrue(2 <= shares[1] / shares[4] <= 6, 'high to low is 4: %s' % shares)
        for medium in (2, 3):
            self.assertGreater(shares[1], shares[medium], shares)


if __name__ == '__main__':
    main()
