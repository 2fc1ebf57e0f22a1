#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A guest of real Xen that misbehaves by grants, event channels and xenstore, beside an honest one.

hostile_grants.c is the hostile guest's frontend, in place of our driver; vgpu-xenbus, mediator,
launcher and workers in dom0 are the real ones. Whatever it does, the neighbour's kernels go on, all
verified, and nothing is left of it (cases.py). docs/spec/grant.md says what is to become of each.
"""
import contextlib
import json
import re

from bed import HOST, wait_until
from cases import LeavesNothing, WORK_SECONDS
from guests import main  # in tests/vm; bed.py has set the path

HOSTILE, NEIGHBOUR = 1, 2
BAD_MESSAGE, BAD_RECORD, LIMIT = 7, 8, 9
CONTROL_PAGES = 18
INIT_WAIT = '2'
UNMAPPED = 'Xen refuses: a reference is wrong, revoked, or of another domain'
WRONG = "the guest's directory of pages is wrong: "

# Why a channel is refused that was attached with this lie (hostile_grants.c has them).
GRANTS = {
    'page-nowhere': UNMAPPED,
    'page-unused': UNMAPPED,
    'page-neighbours': UNMAPPED,
    'page-read-only': UNMAPPED,
    'table-neighbours': UNMAPPED,
    'table-nowhere': UNMAPPED,
    'directory-neighbours': UNMAPPED,
    'directory-nowhere': UNMAPPED,
    'port-neighbours': 'cannot bind event channel',
}
SIZES = {
    'pages-none': WRONG + 'number of pages',
    'pages-one-more': WRONG + 'number of pages',
    'pages-limit': WRONG + 'number of pages',
    'pages-over-limit': WRONG + 'number of pages',
    'tables-none': WRONG + 'number of tables',
    'tables-over-limit': WRONG + 'number of tables',
    'directory-loops': WRONG + 'a table comes twice',
    'table-twice': WRONG + 'a table comes twice',
    'page-missing': WRONG + 'a page is not there',
    'page-too-many': WRONG + 'a page too many',
}
# Why the device is, when they are told of its control pages.
CONTROL = {
    'control-none': WRONG + 'number of pages',
    'control-too-few': WRONG + 'number of pages',
    'control-over-limit': WRONG + 'number of pages',
    'control-loops': WRONG + 'a table comes twice',
    'control-nowhere': UNMAPPED,
    'control-ring-ref': UNMAPPED,
    'control-no-port': 'ring-ref or event-channel is missing, or no number',
    'control-port': 'cannot bind event channel',
    'control-magic': 'the control page has another magic or version',
}


class Hostile(LeavesNothing):
    VMS = [(HOSTILE, 'A', 'high'), (NEIGHBOUR, 'A', 'medium')]
    KINDS = {HOSTILE: 'pvh', NEIGHBOUR: 'pv'}

    @classmethod
    def prepare(cls):
        cls.stack.start_host(cls.VMS)
        # It shall not be quarantined for what it does here.
        cls.stack.admin('set-faults --vm=%d --threshold=1000' % HOSTILE)
        cls.stack.create(HOSTILE, 'pvh', words='vgpu.nodriver')
        cls.stack.create(NEIGHBOUR, 'pv')
        for guest in cls.stack.guests.values():
            guest.wait_up()
        cls.stack.guests[HOSTILE].run('insmod /lib/modules/*/xen-gntalloc.ko limit=16384 && '
                                      'insmod /lib/modules/*/xen-evtchn.ko')

    def tearDown(self):
        """A scenario that did not come to its end is not held against those that follow."""
        try:
            super().tearDown()
        finally:
            self.guest(HOSTILE).run('killall -q -9 hostile_grants; hostile_grants leave', 200)

    def vm(self, number):
        return self.stack.vm_status(number)

    @contextlib.contextmanager
    def neighbour_works(self):
        """It does jobs before, meanwhile and after; none fails, and each sum is what it must be. Its
        channel is small, as each of its pages is a line of Xen's dump."""
        guest = self.guest(NEIGHBOUR)
        guest.run('rm -f /tmp/enough')
        failed = self.vm(NEIGHBOUR)['jobs_failed']
        load = self.load(NEIGHBOUR, 'while [ ! -e /tmp/enough ]; do '
                         'vgpu-client --data-size 1M run saxpy --seconds 4 || exit 1; done')
        try:
            self.wait_working(NEIGHBOUR)
            yield
            self.wait_working(NEIGHBOUR)
        finally:
            guest.run('touch /tmp/enough')
        self.assertIn('all verified', self.finished(load).strip().split('\n')[-1])
        self.assertEqual(self.vm(NEIGHBOUR)['jobs_failed'], failed)

    def start(self, scenario, neighbour=''):
        return self.load(HOSTILE, 'hostile_grants %s %s' % (scenario, neighbour))

    def wait_says(self, command, word):
        command.line.wait(lambda: re.search(rb'^%s' % word.encode(), command.output, re.M)
                          or command.over(), WORK_SECONDS, 'it says %r' % word)
        self.assertIsNone(command.status, command.text_output())

    def told(self, command):
        """What it said, once it has done all."""
        lines = self.finished(command).strip().split('\n')
        self.assertRegex(lines[-1], '^done', lines)
        print('\n'.join(lines), flush=True)
        return lines[:-1]

    def play(self, scenario, neighbour=''):
        with self.neighbour_works():
            return self.told(self.start(scenario, neighbour))

    def refusals(self):
        """Texts of the events that tell of a channel which did not come to be."""
        page = json.loads(self.stack.admin('events --kind=channel-refused --json'))
        return [event['text'] for event in page['events'] if event['vm_id'] == HOSTILE]

    def expect_refused(self, lines, reasons, status):
        """A line for each lie: name, status, reason."""
        told = {line.split(' ', 2)[0]: line.split(' ', 2)[1:] for line in lines}
        for name, reason in reasons.items():
            with self.subTest(name):
                self.assertEqual(told[name][0], str(status), told[name])
                self.assertIn(reason, told[name][1])

    def expect_told(self, before, lines, reasons):
        """Of each channel that was refused with a lie there is an event, and a line in the log."""
        told = {line.split(' ', 2)[0]: line.split(' ', 2)[2] for line in lines}
        events = self.refusals()[before:]
        log = self.stack.run('cat %s/log' % HOST).text_output()
        self.assertEqual(len(events), len(reasons), events)
        for name, event in zip(reasons, events):
            with self.subTest(name):
                self.assertIn(told[name], event)
                self.assertIn(told[name].replace('"', '\\"'), log)

    def expect_answers(self):
        """Mediator and vgpu-xenbus do what the administrator asks for."""
        self.assertEqual(len(self.stack.status()['vms']), len(self.VMS))
        self.stack.admin('set-faults --vm=%d --threshold=1000' % HOSTILE)
        domid = self.guest(HOSTILE).domid
        self.stack.run('vgpu-xenbus --devid 1 attach %d %d' % (domid, HOSTILE))
        wait_until(lambda: self.stack.read('/local/domain/0/backend/vgpu/%d/1/state' % domid)
                   == INIT_WAIT, 60, 'vgpu-xenbus takes a device up')
        self.stack.run('vgpu-xenbus --devid 1 detach %d' % domid)
        self.assertEqual(self.stack.list('/local/domain/0/backend/vgpu/%d/1' % domid), {})

    def flood(self, scenario):
        """While it goes on, the neighbour works and the host answers; then it ends."""
        with self.neighbour_works():
            command = self.start(scenario)
            self.wait_says(command, 'flooding')
            self.wait_working(NEIGHBOUR)
            self.expect_answers()
            self.wait_working(NEIGHBOUR)
            self.assertFalse(command.over(), command.text_output())
            command.feed(b'enough\n')
            return self.told(command)

    # Revoking

    def test_xen_hostile_revokes_in_mid_handshake(self):
        lines = self.play('revoke-handshake')
        self.assertEqual(len(lines), 1, lines)
        self.assertIn(UNMAPPED, lines[0])

    def test_xen_hostile_revokes_while_a_worker_maps(self):
        for line in self.play('revoke-attaching'):
            self.assertRegex(line, r'^refused %d .' % BAD_MESSAGE)

    def test_xen_hostile_revokes_what_is_mapped(self):
        """Xen keeps what is mapped, until the worker is dead."""
        domid = self.guest(HOSTILE).domid
        before = self.stack.grants(domid)
        with self.neighbour_works():
            command = self.start('revoke-mapped')
            self.wait_says(command, 'attached')
            pages = int(re.search(r'^attached (\d+)$', command.text_output(), re.M).group(1))
            self.assertGreater(pages, CONTROL_PAGES)
            held = self.stack.grants(domid)
            self.assertEqual(len(held) - len(before), pages)
            command.feed(b'revoke\n')
            self.wait_says(command, 'revoked')
            self.assertEqual(self.stack.grants(domid), held)
            command.feed(b'leave\n')
            self.told(command)
            self.assertEqual(self.stack.grants(domid), before)

    def test_xen_hostile_is_killed_at_any_moment(self):
        self.assertEqual(len(self.play('killed')), 2)

    # What is not its own, or granted already

    def test_xen_hostile_grants_what_another_channel_has(self):
        lines = self.play('same-twice')
        self.assertRegex(lines[0], r'^same pages 0')
        self.assertRegex(lines[1], r'^same port %d .*cannot bind event channel' % BAD_MESSAGE)

    def test_xen_hostile_names_what_it_did_not_grant(self):
        before = len(self.refusals())
        lines = self.play('grants', self.guest(NEIGHBOUR).domid)
        self.expect_refused(lines, GRANTS, BAD_MESSAGE)
        self.expect_told(before, lines, GRANTS)

    # Sizes

    def test_xen_hostile_lies_about_sizes(self):
        before = len(self.refusals())
        lines = self.play('sizes')
        self.expect_refused(lines, SIZES, BAD_MESSAGE)
        self.expect_told(before, lines, SIZES)
        self.expect_refused(lines, CONTROL, 0)
        opens = [line for line in lines if line.startswith('open ')]
        self.assertEqual([line.split(' ')[1] for line in opens], [str(LIMIT)] * 5, opens)

    def test_xen_hostile_ring_ends_its_own_channel_only(self):
        lines = self.play('ring')
        self.assertEqual([line.split(' ')[:2] for line in lines], [['gone', str(BAD_RECORD)]] * 3)

    # Floods

    def test_xen_hostile_floods_events(self):
        lines = self.flood('flood-events')
        self.assertRegex(lines[-1], r'^kicked [1-9]\d\d')

    def test_xen_hostile_writes_keys_without_end(self):
        lines = self.flood('flood-keys')
        self.assertRegex(lines[-1], r'^wrote [1-9]\d\d')


if __name__ == '__main__':
    main()
