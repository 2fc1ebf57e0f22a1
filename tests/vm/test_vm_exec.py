#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The way commands get into a guest, guest-exec and tools/guest.py, without a guest in between."""
import os
import socket
import struct
import subprocess
import tempfile
import time
import unittest

from guests import BUILD, GuestError, alive, main, wait_for
from guest import HEADER, MAGIC, PAYLOAD_MAX, Line  # in tools/; guests.py has set the path

PROGRAM = os.path.join(BUILD, 'tools/guest/guest-exec')


class Exec(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        path = os.path.join(self.directory.name, 'line')
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(path)
            listener.listen(1)
            self.line = Line(path)
            end, _address = listener.accept()
        with end:
            self.process = subprocess.Popen([PROGRAM], stdin=end, stdout=end)
        self.line.greet(10)

    def tearDown(self):
        self.line.close()
        self.assertEqual(self.process.wait(10), 0)
        self.directory.cleanup()

    def run_text(self, text, timeout=None):
        command = self.line.start(text, timeout)
        command.wait(20)
        return command

    def test_exec_output_and_status(self):
        command = self.run_text('echo out; echo err >&2; exit 7')
        self.assertEqual((command.status, command.text_output(), command.text_errors()),
                         (7, 'out\n', 'err\n'))

    def test_exec_signal_is_negative(self):
        self.assertEqual(self.run_text('kill -9 $$').status, -9)

    def test_exec_timeout_kills_the_group(self):
        started = time.monotonic()
        command = self.run_text('sleep 100 | sleep 100', 0.2)
        self.assertTrue(command.timed_out)
        self.assertEqual(command.status, -9)
        self.assertLess(time.monotonic() - started, 10)

    def test_exec_several_at_once(self):
        waiting = self.line.start('read line; echo "$line"')
        others = [self.line.start('echo %d' % n) for n in range(40)]
        for n, command in enumerate(others):
            self.assertEqual((command.wait(20), command.text_output()), (0, '%d\n' % n))
        waiting.feed(b'last\n')
        self.assertEqual((waiting.wait(20), waiting.text_output()), (0, 'last\n'))

    def test_exec_one_too_many_is_refused(self):
        holding = [self.line.start('read line') for _ in range(64)]
        with self.assertRaisesRegex(GuestError, 'refused'):
            self.line.start('true').wait(20)
        for command in holding:
            command.feed(b'')
        self.assertEqual({command.wait(20) for command in holding}, {1})
        self.assertEqual(self.run_text('true').status, 0)

    def test_exec_a_big_file_both_ways(self):
        data = os.urandom(300001)
        command = self.line.start('cat')
        command.feed(data)
        command.feed(b'')
        self.assertEqual(command.wait(30), 0)
        self.assertEqual(bytes(command.output), data)

    def test_exec_a_command_that_does_not_read_holds_up_no_other(self):
        deaf = self.line.start('sleep 100')
        for _ in range(40):
            self.line.send(deaf.number, 3, b'x' * PAYLOAD_MAX)
        self.assertEqual(self.run_text('echo here').text_output(), 'here\n')
        deaf.signal(15)
        self.assertEqual(deaf.wait(20), -15)

    def test_exec_input_after_the_end_is_dropped(self):
        command = self.line.start('exit 3')
        self.assertEqual(command.wait(20), 3)
        self.line.send(command.number, 3, b'late')
        self.assertEqual(self.run_text('true').status, 0)

    def test_exec_noise_on_the_line_is_skipped(self):
        self.line.socket.sendall(b'noise' + struct.pack('<I', MAGIC) + b'\xff' * 8)
        self.line.socket.sendall(HEADER.pack(MAGIC, 2, PAYLOAD_MAX + 1, 5))
        self.line.socket.sendall(HEADER.pack(MAGIC, 99, 0, 5))
        self.assertEqual(self.run_text('echo fine').text_output(), 'fine\n')

    def test_exec_another_host_finds_nothing_running(self):
        command = self.line.start('echo $$; exec sleep 100')
        self.line.wait(lambda: command.output.endswith(b'\n'), 20, 'start')
        pid = int(command.output)
        self.assertTrue(alive(pid))
        self.line.token = os.urandom(8)
        self.line.greeted = False
        self.line.greet(10)
        wait_for(lambda: not alive(pid), 10, 'the command of before ends')

    def test_exec_a_daemon_left_behind_does_not_hold_the_answer(self):
        started = time.monotonic()
        self.assertEqual(self.run_text('sleep 5 & echo done').text_output(), 'done\n')
        self.assertLess(time.monotonic() - started, 4)


class Deaf(unittest.TestCase):
    def test_exec_a_guest_that_reads_nothing_is_given_up(self):
        """It hangs while it starts, say: the socket is full at some time."""
        with tempfile.TemporaryDirectory() as directory, \
                socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            path = os.path.join(directory, 'line')
            listener.bind(path)
            listener.listen(1)
            line = Line(path, send_seconds=1)
            self.addCleanup(line.close)
            with self.assertRaisesRegex(GuestError, 'the guest reads nothing'):
                line.greet(60, 0)


if __name__ == '__main__':
    main()
