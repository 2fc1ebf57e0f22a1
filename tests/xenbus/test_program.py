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

    def test_driver_domain_serves_a_guest(self):
        """xenstored refuses to say who lives: no guest is taken for dead, until its keys are gone."""
        self.attach()
        self.store.tells = False
        self.start('--same-uid')
        self.mediator.accept()
        self.assertEqual(self.mediator.identify(), (5, 0, 'web'))
        self.await_state('2')
        self.store.remove(FRONT)
        self.await_(lambda: not self.store.read(BACK + '/state'), 'its keys are removed')
        self.assertEqual(self.stop()[0], 0)

    def test_other_user_lives_in_its_sandbox(self):
        if os.geteuid() != 0:
            self.skipTest('not root')
        self.run_as('--uid=70002')


class Library(unittest.TestCase):
    """libxenstore, which is found when the program starts: here in a folder that comes first."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='vgpu-xenbus-')
        self.addCleanup(shutil.rmtree, self.dir)
        self.store = Xenstored(self.dir)
        self.addCleanup(self.store.close)
        self.store.living.add(5)

    def attach(self, **libraries):
        """With these files as libxenstore; the program's exit status and its words."""
        for name, source in libraries.items():
            place = os.path.join(self.dir, 'libxenstore.so.' + name.replace('_', '.').lstrip('.'))
            if source:
                shutil.copy(source, place)
            else:
                with open(place, 'wb') as file:
                    file.write(b'no library' * 1000)
        env = dict(os.environ, XENSTORED_PATH=self.store.path, LSAN_OPTIONS='detect_leaks=0',
                   LD_LIBRARY_PATH=self.dir)
        done = subprocess.run([PROGRAM, '--run-dir', self.dir, 'attach', '5', 'web'], env=env,
                              capture_output=True, text=True, timeout=PATIENCE, check=False)
        return done.returncode, done.stderr

    @staticmethod
    def real(name):
        listing = subprocess.run(['/sbin/ldconfig', '-p'], capture_output=True, text=True, check=True)
        return next(line.split()[-1] for line in listing.stdout.split('\n')
                    if line.split()[:1] == [name] and 'x86-64' in line)

    def test_no_library_is_told(self):
        status, said = self.attach(_4=None, _3_0=None)
        self.assertEqual(status, 1)
        self.assertRegex(said, "cannot load libxenstore, a part of Xen's tools: .*libxenstore.so.4")

    def test_other_library_is_told(self):
        status, said = self.attach(_4=self.real('libc.so.6'))
        self.assertEqual(status, 1)
        self.assertIn('libxenstore.so.4 lacks xs_open', said)

    def test_name_of_before_xen_4_15(self):
        status, said = self.attach(_4=None, _3_0=self.real('libxenstore.so.4'))
        self.assertEqual((status, said), (0, ''))
        self.assertEqual(self.store.read(BACK + '/state'), '1')


if __name__ == '__main__':
    unittest.main()
