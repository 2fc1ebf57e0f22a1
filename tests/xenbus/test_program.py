#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The program vgpu-xenbus in its own sandbox, against a xenstored and a mediator of the test's.

Usage: test_program.py VGPU_XENBUS"""
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from xenstored import Xenstored  # noqa: E402

PROGRAM = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else ''
PATIENCE = 20
HELLO = struct.Struct('<IIIHHII')
SET = struct.Struct('<IIII72s')
IS = struct.Struct('<IIIIII192s')
BACK = '/local/domain/0/backend/vgpu/5/0'
FRONT = '/local/domain/5/device/vgpu/0'


class Mediator:
    """xenbus.sock: takes one connection, and says of each domain that it is VM 1."""

    def __init__(self, directory):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(os.path.join(directory, 'xenbus.sock'))
        os.chmod(os.path.join(directory, 'xenbus.sock'), 0o666)
        self.listener.listen(1)
        self.listener.settimeout(PATIENCE)
        self.peer = None

    def accept(self):
        self.peer = self.listener.accept()[0]
        self.peer.settimeout(PATIENCE)
        hello = HELLO.unpack(self.peer.recv(1024))
        self.peer.send(HELLO.pack(hello[0], 2, *hello[2:]))

    def identify(self):
        """The next SET, answered; what else comes is let go."""
        while True:
            packet = self.peer.recv(1024)
            if len(packet) == SET.size:
                break
        domid, gone, name = SET.unpack(packet)[2:]
        self.peer.send(IS.pack(IS.size, 4, domid, 0, 0 if gone else 1, 0, b''))
        return domid, gone, name.rstrip(b'\0').decode()

    def close(self):
        for sock in (self.peer, self.listener):
            if sock:
                sock.close()


class Program(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='vgpu-xenbus-')
        self.addCleanup(shutil.rmtree, self.dir)
        os.chmod(self.dir, 0o755)
        self.store = Xenstored(self.dir)
        self.addCleanup(self.store.close)
        os.chmod(self.store.path, 0o666)
        self.mediator = Mediator(self.dir)
        self.addCleanup(self.mediator.close)
        os.mkfifo(os.path.join(self.dir, 'events'))
        self.child = None

    def program(self, *args):
        return [PROGRAM, '--run-dir', self.dir, '--grant-device', '/dev/null',
                '--event-device', os.path.join(self.dir, 'events')] + list(args)

    def environment(self):
        env = dict(os.environ, XENSTORED_PATH=self.store.path, LSAN_OPTIONS='detect_leaks=0')
        env.pop('TZ', None)
        return env

    def start(self, *args):
        self.child = subprocess.Popen(self.program(*args), env=self.environment(),
                                      stderr=subprocess.PIPE)
        self.addCleanup(self.stop)

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
        said = self.child.communicate(timeout=PATIENCE)[1].decode()
        return self.child.returncode, said

    def attach(self, vm='web'):
        self.store.living.add(5)
        subprocess.run(self.program('attach', '5', vm), env=self.environment(), check=True)

    def await_(self, check, what):
        end = time.monotonic() + PATIENCE
        while not check():
            if self.child.poll() is not None:
                self.fail('it ended: %s, %s' % self.stop())
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.005)

    def await_state(self, state):
        self.await_(lambda: self.store.read(BACK + '/state') == state, 'state ' + state)

    def run_as(self, *options):
        self.start(*options)
        self.mediator.accept()
        self.attach()
        self.assertEqual(self.mediator.identify(), (5, 0, 'web'))
        self.await_state('2')
        self.store.write(FRONT + '/ring-ref', 'nonsense')
        self.store.write(FRONT + '/state', '3')
        self.await_state('6')
        self.mediator.close()
        asked = self.store.asked
        self.store.write(FRONT + '/state', '1')
        self.await_state('2')
        self.assertGreater(self.store.asked, asked)
        self.assertEqual(self.stop()[0], 0)

    def test_same_uid_lives_in_its_sandbox(self):
        self.run_as('--same-uid')

    def test_other_user_lives_in_its_sandbox(self):
        if os.geteuid() != 0:
            self.skipTest('not root')
        self.run_as('--uid=70002')


if __name__ == '__main__':
    unittest.main()
