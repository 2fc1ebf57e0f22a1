#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The guest driver's tests of channels by grants (guest/driver/test_granted.c) in a PV, a PVH and an
HVM guest, against a host of the test's own (grant_host.c): what a mediator does not do on demand.
The kernel checks each allocation, and may grant less than the guest has memory."""
import re

from bed import OWN, TROUBLE, wait_until
from cases import BedTest
from guests import main  # in tests/vm; bed.py has set the path

KINDS = {1: 'pv', 2: 'pvh', 3: 'hvm'}
SECONDS = 300
WORDS = 'slub_debug=FZPU,kmalloc-*'
INIT_WAIT, INITIALISED, CONNECTED, CLOSING = 2, 3, 4, 5


class Driver(BedTest):
    @classmethod
    def prepare(cls):
        cls.hosts = {}
        for number, kind in KINDS.items():
            cls.stack.create(number, kind, device=None, words=WORDS, before=cls.make_keys,
                             config=['max_grant_frames=16'])
        for number in KINDS:
            cls.stack.guests[number].wait_up()
            cls.connect(number)

    @staticmethod
    def paths(domid):
        return '/local/domain/0/backend/vgpu/%d/0' % domid, '/local/domain/%d/device/vgpu/0' % domid

    @classmethod
    def make_keys(cls, domid):
        """As a toolstack and a backend that waits."""
        back, front = cls.paths(domid)
        keys = [(back + '/frontend', front), (back + '/frontend-id', domid), (back + '/online', 1),
                (back + '/version', 1), (back + '/max-pages', 65536), (back + '/state', INIT_WAIT),
                (front + '/backend', back), (front + '/backend-id', 0), (front + '/state', 1)]
        cls.stack.run('xenstore-write %s' % ' '.join('%s %s' % pair for pair in keys))
        cls.stack.run('xenstore-chmod -r %s n0 r%d; xenstore-chmod -r %s n%d r0' % (
            back, domid, front, domid))

    @classmethod
    def connect(cls, number):
        domid = cls.stack.guests[number].domid
        back, front = cls.paths(domid)
        wait_until(lambda: cls.stack.read(front + '/state') == str(INITIALISED), 60, 'the frontend')
        host = cls.stack.spawn('/%s/grant_host %d %s %s' % (
            OWN, domid, cls.stack.read(front + '/ring-ref'), cls.stack.read(front + '/event-channel')))
        host.line.wait(lambda: b'ready\n' in host.output or host.over(), 60, 'the host is ready')
        cls.stack.run('xenstore-write %s/state %d' % (back, CONNECTED))
        wait_until(lambda: cls.stack.read(front + '/state') == str(CONNECTED), 60, 'the frontend')
        cls.hosts[number] = host

    def start(self, number, name):
        return self.stack.guests[number].spawn('test_driver %s 2>&1' % name, SECONDS)

    def expect_passed(self, number, command):
        command.wait(SECONDS)
        text = command.text_output()
        self.assertRegex(text, r'(?m)^ok \d+ - ', text)
        self.assertEqual(re.findall(r'^not ok .*', text, re.M), [], text)
        self.assertEqual(command.status, 0, text)
        self.assertFalse(self.hosts[number].over(), self.hosts[number].text_output()[-500:])
        kernel = self.stack.guests[number].run('dmesg').text_output().split('\n')
        self.assertEqual([line for line in kernel if TROUBLE.search(line)], [])

    def in_all(self, name):
        for number in KINDS:
            with self.subTest(kind=KINDS[number]):
                self.expect_passed(number, self.start(number, name))

    def test_xen_driver_memory_is_shared(self):
        self.in_all('granted_memory_is_shared')

    def test_xen_driver_kicks(self):
        self.in_all('granted_kicks')

    def test_xen_driver_interface(self):
        self.in_all('granted_interface')

    def test_xen_driver_default_size(self):
        self.in_all('granted_default_size')

    def test_xen_driver_too_large(self):
        self.in_all('granted_too_large')

    def test_xen_driver_until_there_are_none(self):
        self.in_all('granted_until_there_are_none')

    def test_xen_driver_killed_at_any_moment(self):
        self.in_all('granted_killed_at_any_moment')

    def test_xen_driver_gone_is_told(self):
        for number in KINDS:
            host = self.hosts[number]
            at = len(host.output)
            command = self.start(number, 'granted_gone_is_told')
            command.line.wait(lambda c=command: b'# waiting' in c.output or c.over(), 60, 'it waits')
            slot = re.search(rb'attached (\d+)', bytes(host.output[at:])).group(1).decode()
            host.feed(b'gone %s\n' % slot.encode())
            self.expect_passed(number, command)

    def test_xen_driver_zz_backend_closes(self):
        """With the last test, whose name says so, the device goes."""
        for number in KINDS:
            back, front = self.paths(self.stack.guests[number].domid)
            command = self.start(number, 'granted_backend_closes')
            command.line.wait(lambda c=command: b'# waiting' in c.output or c.over(), 60, 'it waits')
            self.stack.run('xenstore-write %s/state %d' % (back, CLOSING))
            command.wait(SECONDS)
            self.assertRegex(command.text_output(), r'(?m)^ok \d+ - ')
            wait_until(lambda path=front: int(self.stack.read(path + '/state')) > CONNECTED, 60,
                       'the frontend closes')


if __name__ == '__main__':
    main()
