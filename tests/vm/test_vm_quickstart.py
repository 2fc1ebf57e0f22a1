#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""./quickstart, the way a person calls it."""
import os
import re
import subprocess
import unittest

from guests import ROOT, main

REFUSED = [('--guests', '0'), ('--guests', '17'), ('--guests', 'two'), ('--guests', ''),
           ('--guests',), ('--shell', '0'), ('--shell', '5'), ('--shell', '1', '--local'),
           ('--seconds', '-1'), ('--nonsense',)]


def quickstart(*options, timeout=480):
    return subprocess.run([os.path.join(ROOT, 'quickstart'), *options], capture_output=True,
                          text=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False)


class Quickstart(unittest.TestCase):
    def test_quickstart_refuses_bad_options(self):
        for options in REFUSED:
            done = quickstart(*options, timeout=20)
            self.assertEqual(done.returncode, 2, options)
            self.assertTrue(done.stderr, options)

    def test_quickstart_with_two_guests(self):
        done = quickstart('--guests', '2', '--seconds', '4', '--driver', 'softgpu')
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(len(re.findall(r'^VM \d: .*all verified; then', done.stdout, re.M)), 2)
        self.assertIn('Processing accelerators', done.stdout)
        self.assertFalse(os.path.exists(re.search(r'/tmp/vgpu\.\w+', done.stdout).group()))

    def test_quickstart_keeps_a_guest_and_gives_a_console(self):
        done = quickstart('--guests', '1', '--seconds', '1', '--keep', '--driver', 'softgpu')
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        stop = re.search(r'To stop:  (.*)', done.stdout).group(1).split()
        try:
            self.console()
            told = subprocess.run([os.path.join(ROOT, 'tools/guest.py'), 'run', stop[-1], '1',
                                   'vgpu-client vector-add 1,2 3,4'], capture_output=True,
                                  text=True, timeout=60, check=False)
            self.assertEqual(told.returncode, 0, told.stderr)
            self.assertRegex(told.stdout, r'4\D+6')
        finally:
            subprocess.run([os.path.join(ROOT, stop[0]), *stop[1:]], check=True, timeout=60)
        self.assertFalse(os.path.exists(stop[-1]))

    def console(self):
        """Says something in guest 1's console, sees the answer, and leaves by Ctrl-]."""
        with subprocess.Popen([os.path.join(ROOT, 'quickstart'), '--shell', '1'],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
            shell.stdin.write(b'echo $((6 * 7))th\n')
            shell.stdin.flush()
            said = b''
            while b'42th' not in said:
                more = os.read(shell.stdout.fileno(), 4096)
                self.assertTrue(more, said)
                said += more
            shell.stdin.write(b'\x1d')
            shell.stdin.flush()
            self.assertIn(b'Left guest 1', shell.stdout.read())
            self.assertEqual(shell.wait(20), 0)

    def test_quickstart_local(self):
        done = quickstart('--local', '--seconds', '2', '--driver', 'softgpu')
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(len(re.findall(r'^VM \d: .*all verified; then', done.stdout, re.M)), 4)


if __name__ == '__main__':
    main()
