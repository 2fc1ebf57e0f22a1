#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The connection to the mediator: absent, refusing, dying, stalled, talking nonsense."""
import os
import socket
import struct
import time

import mediator
from device import (
    ATTACH, CLOSE, CONNECTING, DISCONNECTED, ERROR, ERROR_TEXT, GENERATION, IRQ_STATE, IRQ_STATUS,
    MAX_CHANNELS, NAME, OPEN, POOL, PRIORITY, READY, REFUSED, STATUS, VM_ID, WEIGHT, DeviceCase,
    GuestChannel, main)
from mediator import Link, connect
from qtest import until

QUARANTINED_BIT = 1 << 8


class Absent(DeviceCase):
    def test_link_absent_where_qemu_listens(self):
        machine = self.start('server=on,wait=off,path=' + self.path('vm')).boot()
        self.assertEqual(machine.load(STATUS), DISCONNECTED)

    def test_link_absent_where_qemu_reconnects(self):
        machine = self.start('reconnect=1,path=' + self.path('vm')).boot()
        self.assertEqual(machine.state(), DISCONNECTED)
        link, hello = self.listen().accept_hello()
        self.addCleanup(link.close)
        link.welcome(hello.tag)
        machine.wait_state(READY)

    def test_link_absent_and_no_way_to_come_back(self):
        words = self.fails_to_start(self.start('path=' + self.path('vm')))
        self.assertIn('vm', words)

    def test_link_absent_open_is_to_be_tried_again(self):
        machine = self.start('server=on,wait=off,path=' + self.path('vm')).boot()
        self.assertEqual(machine.command(0, OPEN), mediator.STARTING)
        self.assertEqual(machine.command(63, OPEN), mediator.STARTING)
        self.assertNotEqual(machine.command(0, ATTACH, directory=0x200000), 0)

    def test_link_comes_later(self):
        machine = self.start('server=on,wait=off,path=' + self.path('vm')).boot()
        generation = machine.load(GENERATION)
        machine.store(IRQ_STATUS, 0xf)
        self.serve(connect(self.path('vm')))
        machine.wait_state(READY)
        self.assertEqual(machine.load(IRQ_STATUS) & IRQ_STATE, IRQ_STATE)
        self.assertGreater(machine.load(GENERATION), generation)
        self.assertEqual(machine.load(VM_ID), 7)
        machine.channel(0)

    def test_link_connecting_until_welcomed(self):
        machine = self.start('server=on,wait=off,path=' + self.path('vm')).boot()
        link = connect(self.path('vm'))
        self.addCleanup(link.close)
        hello = link.expect(mediator.HELLO)
        self.assertEqual(machine.state(), CONNECTING)
        tag = machine.ask(0, OPEN)
        machine.qemu.barrier()
        self.assertTrue(link.quiet(), 'nothing is asked before WELCOME')
        link.welcome(hello.tag)
        machine.wait_state(READY)
        self.addCleanup(link.opened(link.expect(mediator.OPEN), 1).close)
        self.assertEqual(machine.wait_done(0, tag), 0)

    def test_link_open_while_connecting_is_answered(self):
        """By the end of the time that a mediator has to welcome."""
        machine = self.start('server=on,wait=off,path=' + self.path('vm')).boot()
        link = connect(self.path('vm'))
        self.addCleanup(link.close)
        link.expect(mediator.HELLO)
        self.assertEqual(machine.command(0, OPEN), mediator.STARTING)


class Refused(DeviceCase):
    STATUSES = (mediator.NOT_CONFIGURED, mediator.VERSION, mediator.REMOVED, mediator.BUSY)

    def refused_at_start(self, options, status):
        listener = self.listen()
        machine = self.start(options + 'path=' + listener.path)
        link, hello = listener.accept_hello()
        link.refuse(hello.tag, status, b'because of %d' % status)
        words = self.fails_to_start(machine)
        link.close()
        listener.close()
        os.unlink(self.path('qtest'))
        os.unlink(self.path('qmp'))
        self.assertIn('because of %d' % status, words)

    def test_link_refused_at_start(self):
        for status in self.STATUSES:
            with self.subTest(status=status):
                self.refused_at_start('', status)

    def test_link_refused_at_start_where_qemu_reconnects(self):
        self.refused_at_start('reconnect=1,', mediator.NOT_CONFIGURED)

    def test_link_refused_at_start_where_qemu_waits(self):
        machine = self.start('server=on,wait=on,path=' + self.path('vm'))
        link = connect(self.path('vm'))
        self.addCleanup(link.close)
        link.refuse(link.expect(mediator.HELLO).tag, mediator.NOT_CONFIGURED, b'who is it?')
        self.assertIn('who is it?', self.fails_to_start(machine))

    def test_link_refused_text_without_end(self):
        listener = self.listen()
        machine = self.start('path=' + listener.path)
        link = listener.accept()
        self.addCleanup(link.close)
        link.refuse(link.expect(mediator.HELLO).tag, mediator.NOT_CONFIGURED, b'x' * 192)
        self.fails_to_start(machine)

    def test_link_hangup_at_start(self):
        """And no way to come back."""
        listener = self.listen()
        machine = self.start('path=' + listener.path)
        link, _ = listener.accept_hello()
        listener.close()
        link.close()
        self.assertIn('without an answer', self.fails_to_start(machine))

    def test_link_refused_later(self):
        machine = self.start('server=on,wait=off,path=' + self.path('vm')).boot()
        link = connect(self.path('vm'))
        hello = link.expect(mediator.HELLO)
        link.refuse(hello.tag, mediator.NOT_CONFIGURED, b'not in the books')
        machine.wait_state(REFUSED)
        self.assertEqual(machine.load(ERROR), mediator.NOT_CONFIGURED)
        self.assertEqual(machine.text(ERROR_TEXT, 192), 'not in the books')
        self.assertEqual(machine.command(0, OPEN), mediator.NOT_CONFIGURED)
        self.assertEqual(machine.answer_text(0), 'not in the books')
        link.close()
        self.serve(connect(self.path('vm')))
        machine.wait_state(READY)
        self.assertEqual(machine.load(ERROR), 0)
        self.assertEqual(machine.text(ERROR_TEXT, 192), '')


class States(DeviceCase):
    def test_link_quarantined_by_welcome(self):
        machine, _ = self.pair(quarantined=1)
        self.assertEqual(machine.load(STATUS), READY | QUARANTINED_BIT)

    def test_link_state_message(self):
        machine, link = self.linked()
        generation = machine.load(GENERATION)
        machine.store(IRQ_STATUS, 0xf)
        link.state(priority=0, weight=123, quarantined=1, pool=b'elsewhere')
        until(lambda: machine.load(GENERATION) != generation, 'a new generation')
        self.assertGreater(machine.load(GENERATION), generation)
        self.assertEqual(machine.load(PRIORITY), 0)
        self.assertEqual(machine.load(WEIGHT), 123)
        self.assertEqual(machine.text(POOL, 72), 'elsewhere')
        self.assertEqual(machine.load(STATUS), READY | QUARANTINED_BIT)
        self.assertEqual(machine.load(IRQ_STATUS) & IRQ_STATE, IRQ_STATE)
        link.state(quarantined=0)
        until(lambda: machine.load(STATUS) == READY, 'the end of quarantine')

    def test_link_many_state_messages(self):
        machine, link = self.linked()
        for weight in range(100, 2100):
            link.state(weight=weight)
        until(lambda: machine.load(WEIGHT) == 2099, 'the last one')

    def test_link_open_refused(self):
        machine, link = self.linked()
        tag = machine.ask(3, OPEN)
        link.refuse(link.expect(mediator.OPEN).tag, mediator.BUSY, b'full house', 250000000)
        self.assertEqual(machine.wait_done(3, tag), mediator.BUSY)
        self.assertEqual(machine.answer_text(3), 'full house')
        self.assertEqual(machine.answer_retry(3), 250000000)

    def test_link_opens_go_one_at_a_time(self):
        """One message that brings descriptors is outstanding; each answer fits its slot."""
        machine, link = self.linked()
        tags = [machine.ask(slot, OPEN, data=4096 * (slot + 1)) for slot in range(8)]
        machine.qemu.barrier()
        for slot in range(8):
            request = link.expect(mediator.OPEN)
            machine.qemu.barrier()
            self.assertTrue(link.quiet(), 'the next OPEN waits')
            self.assertEqual(request.body.data_bytes, 4096 * (slot + 1))
            self.addCleanup(link.opened(request, 100 + slot).close)
        for slot, tag in enumerate(tags):
            self.assertEqual(machine.wait_done(slot, tag), 0)
            self.assertEqual(machine.answer_channel(slot), 100 + slot)


class Dying(DeviceCase):
    """A mediator that dies in each phase; then another comes, and all is well."""

    def listening(self):
        return self.start('server=on,wait=off,path=' + self.path('vm')).boot()

    def recovers(self, machine, slot=9):
        machine.wait_state(DISCONNECTED)
        server = self.serve(connect(self.path('vm')))
        machine.wait_state(READY)
        machine.channel(slot)
        return server

    def test_link_dies_before_it_reads(self):
        machine = self.listening()
        connect(self.path('vm')).close()
        self.recovers(machine)

    def test_link_dies_after_hello(self):
        machine = self.listening()
        link = connect(self.path('vm'))
        link.expect(mediator.HELLO)
        link.close()
        self.recovers(machine)

    def test_link_dies_within_welcome(self):
        machine = self.listening()
        for size in (1, 15, 16, 17, 207):
            with self.subTest(size=size):
                link = connect(self.path('vm'))
                hello = link.expect(mediator.HELLO)
                whole = Link.pack(mediator.WELCOME, hello.tag, **mediator.WELCOME_VALUES)
                link.send_bytes(whole[:size])
                link.close()
                machine.wait_state(DISCONNECTED)
        self.recovers(machine)

    def test_link_dies_with_open_unanswered(self):
        machine = self.listening()
        link = connect(self.path('vm'))
        link.greet()
        machine.wait_state(READY)
        tags = {slot: machine.ask(slot, OPEN) for slot in range(3)}
        link.expect(mediator.OPEN)
        link.close()
        for slot, tag in tags.items():
            self.assertEqual(machine.wait_done(slot, tag), mediator.STARTING)
        self.recovers(machine, 0)

    def test_link_dies_within_opened(self):
        machine = self.listening()
        for size in (1, 16, 87):
            with self.subTest(size=size):
                link = connect(self.path('vm'))
                link.greet()
                machine.wait_state(READY)
                tag = machine.ask(0, OPEN)
                request = link.expect(mediator.OPEN)
                channel = mediator.HostChannel(1)
                whole = Link.pack(mediator.OPENED, request.tag, **channel.opened_values())
                link.send_bytes(whole[:size], channel.fds())
                link.close()
                channel.close()
                self.assertEqual(machine.wait_done(0, tag), mediator.STARTING)
                machine.wait_state(DISCONNECTED)
        self.recovers(machine)
        self.assertEqual([n for n in machine.qemu.descriptors() if 'memfd:channel' in n][2:], [],
                         'only the last channel is open and mapped')

    def test_link_dies_with_close_unanswered(self):
        machine = self.listening()
        link = connect(self.path('vm'))
        link.greet()
        machine.wait_state(READY)
        tag = machine.ask(0, OPEN)
        self.addCleanup(link.opened(link.expect(mediator.OPEN), 5).close)
        self.assertEqual(machine.wait_done(0, tag), 0)
        self.assertEqual(machine.command(0, CLOSE), 0)
        link.expect(mediator.CLOSE)
        again = machine.ask(0, OPEN)
        link.close()
        self.assertEqual(machine.wait_done(0, again), mediator.STARTING)
        server = self.recovers(machine, 0)
        self.assertEqual(server.count(mediator.RESUME), 0, 'a closed channel is not resumed')

    def test_link_dies_a_hundred_times(self):
        machine = self.listening()
        before = machine.qemu.descriptors()
        for _ in range(100):
            link = connect(self.path('vm'))
            link.greet()
            machine.wait_state(READY)
            link.close()
            machine.wait_state(DISCONNECTED)
        self.assertEqual(machine.qemu.descriptors(), before)

    def test_link_reconnects_by_itself(self):
        listener = self.listen()
        machine = self.start('reconnect=1,path=' + listener.path)
        link, hello = listener.accept_hello()
        link.welcome(hello.tag)
        machine.boot()
        self.assertEqual(machine.state(), READY)
        link.close()
        machine.wait_state(DISCONNECTED)
        link, hello = listener.accept_hello()
        self.addCleanup(link.close)
        link.welcome(hello.tag)
        machine.wait_state(READY)


class Resume(DeviceCase):
    def test_link_resume(self):
        machine, server = self.waiting_pair()
        guest = machine.channel(5)
        host = server.channels[1]
        server.close(channels=False)
        machine.wait_state(DISCONNECTED)
        link = connect(self.path('vm'))
        self.addCleanup(link.close)
        self.addCleanup(host.close)
        link.greet()
        resume = link.expect(mediator.RESUME)
        self.assertEqual(resume.body.channel, 1)
        self.assertEqual(resume.body.token, host.token)
        link.send(mediator.RESUMED, resume.tag, channel=1)
        machine.wait_state(READY)
        guest.submit(b'after'.ljust(64, b'.'))
        until(lambda: host.take()[:5] == b'after', 'the record')
        tag = machine.ask(5, CLOSE)
        self.assertEqual(link.expect(mediator.CLOSE).body.channel, 1)
        self.assertEqual(machine.wait_done(5, tag), 0)

    def test_link_channels_go_on_without_mediator(self):
        machine, server = self.waiting_pair()
        guest = machine.channel(0)
        host = server.channels[1]
        server.close(channels=False)
        self.addCleanup(host.close)
        machine.wait_state(DISCONNECTED)
        guest.submit(b'meanwhile'.ljust(64, b'.'))
        until(lambda: host.take()[:9] == b'meanwhile', 'the record')
        host.reply(1, b'answer')
        until(lambda: guest.u32(guest.COMP_HEAD), 'the completion')
        self.assertEqual(guest.completions()[0][1], 1)

    def test_link_resume_of_many(self):
        machine, server = self.waiting_pair()
        for slot in range(20):
            machine.channel(slot, data=4096)
        channels = server.channels
        server.close(channels=False)
        machine.wait_state(DISCONNECTED)
        second = self.serve(connect(self.path('vm')), channels=channels)
        until(lambda: second.count(mediator.RESUME) == 20, 'all to be resumed')
        self.assertEqual(second.open_numbers, set(range(1, 21)))

    def test_link_resume_refused(self):
        machine, server = self.waiting_pair()
        machine.channel(0)
        machine.channel(1)
        server.close()
        machine.wait_state(DISCONNECTED)
        link = connect(self.path('vm'))
        self.addCleanup(link.close)
        link.greet()
        first, second = None, None
        first = link.expect(mediator.RESUME)
        link.refuse(first.tag, mediator.KILLED, b'it was killed')
        second = link.expect(mediator.RESUME)
        link.send(mediator.RESUMED, second.tag, channel=second.body.channel)
        slot = first.body.channel - 1
        until(lambda: machine.gone(slot)[0] == 1, 'the channel to be gone')
        self.assertEqual(machine.gone(slot), (1, mediator.KILLED, 'it was killed'))
        self.assertEqual(machine.gone(1 - slot)[0], 0)

    def test_link_closed_while_away(self):
        """What the guest closed meanwhile is not resumed, or closed again."""
        machine, server = self.waiting_pair()
        machine.channel(0)
        machine.channel(1)
        channels = server.channels
        server.close(channels=False)
        machine.wait_state(DISCONNECTED)
        self.assertEqual(machine.command(0, CLOSE), 0)
        second = self.serve(connect(self.path('vm')), channels=channels)
        machine.wait_state(READY)
        until(lambda: 2 in second.open_numbers, 'the other to be resumed')
        machine.qemu.barrier()
        until(lambda: second.open_numbers == {2}, 'the closed one to be away')

    def test_link_dies_while_resuming(self):
        machine, server = self.waiting_pair()
        guest = machine.channel(0)
        host = server.channels[1]
        server.close(channels=False)
        for _ in range(3):
            machine.wait_state(DISCONNECTED)
            link = connect(self.path('vm'))
            link.greet()
            link.expect(mediator.RESUME)
            link.close()
        machine.wait_state(DISCONNECTED)
        second = self.serve(connect(self.path('vm')), channels={1: host})
        until(lambda: 1 in second.open_numbers, 'it to be resumed')
        guest.submit(b'x' * 64)
        until(lambda: host.take() == b'x' * 64, 'the record')


class Gone(DeviceCase):
    def test_link_gone(self):
        machine, server = self.pair()
        guest = machine.channel(4)
        machine.store(IRQ_STATUS, 0xf)
        server.link.gone(1, mediator.TIMEOUT, b'it took too long')
        until(lambda: machine.gone(4)[0], 'the channel to be gone')
        self.assertEqual(machine.gone(4), (1, mediator.TIMEOUT, 'it took too long'))
        until(lambda: guest.u32(guest.STATE) == 2, 'ENDED in the notice')
        self.assertEqual(machine.load(IRQ_STATUS) & 1, 1)
        self.assertEqual(machine.command(4, CLOSE), 0)
        machine.channel(4)
        self.assertEqual(machine.gone(4)[0], 0)

    def test_link_gone_takes_last_completions_along(self):
        machine, server = self.pair()
        guest = machine.channel(4)
        host = server.channels[1]
        host.reply(1, b'last words', publish=False)
        host.publish(kick=False)
        server.link.gone(1, mediator.KILLED)
        until(lambda: guest.u32(guest.STATE) == 2, 'ENDED in the notice')
        self.assertEqual([seq for _, seq, _ in guest.completions()], [1])

    def test_link_gone_before_attach(self):
        machine, server = self.pair()
        guest = machine.channel(4, attach=False)
        server.link.gone(1, mediator.KILLED, b'early')
        until(lambda: machine.gone(4)[0], 'the channel to be gone')
        self.assertNotEqual(machine.command(4, ATTACH, directory=guest.directory), 0)
        self.assertEqual(machine.command(4, CLOSE), 0)

    def test_link_gone_touches_no_more_memory(self):
        machine, server = self.pair()
        guest = machine.channel(4)
        host = server.channels[1]
        server.link.gone(1, mediator.KILLED)
        until(lambda: guest.u32(guest.STATE) == 2, 'ENDED in the notice')
        guest.write(0, b'\xa5' * guest.total)
        host.reply(1)
        guest.doorbell()
        machine.qemu.barrier()
        self.assertEqual(guest.read(0, guest.total), b'\xa5' * guest.total)

    def test_link_gone_of_nobody(self):
        """A channel that is not there, or that is being closed: nothing happens."""
        machine, link = self.linked()
        tag = machine.ask(0, OPEN)
        self.addCleanup(link.opened(link.expect(mediator.OPEN), 5).close)
        machine.wait_done(0, tag)
        tag = machine.ask(0, CLOSE)
        closing = link.expect(mediator.CLOSE)
        link.gone(5, mediator.KILLED)
        link.closed(closing)
        self.assertEqual(machine.wait_done(0, tag), 0)
        machine.qemu.barrier()
        self.assertEqual(machine.gone(0)[0], 0)


def _patched(data, offset, layout, value):
    out = bytearray(data)
    struct.pack_into(layout, out, offset, value)
    return bytes(out)


def _bad_welcomes(tag):
    good = Link.pack(mediator.WELCOME, tag, **mediator.WELCOME_VALUES)
    yield 'magic', _patched(good, 16, '<I', 0x12345678)
    yield 'major version', _patched(good, 20, '<H', 2)
    yield 'size 0', _patched(good, 0, '<I', 0)
    yield 'size 15', _patched(good, 0, '<I', 15)
    yield 'size one less', _patched(good, 0, '<I', 207)[:207]
    yield 'size one more', _patched(good, 0, '<I', 209) + b'\0'
    yield 'size of a giant', _patched(good, 0, '<I', 0xffffffff)
    yield 'size 1025', _patched(good, 0, '<I', 1025) + b'\0' * 817
    yield 'flags', _patched(good, 6, '<H', 1)
    yield 'reserved', _patched(good, 12, '<I', 1)
    yield 'tag', _patched(good, 8, '<I', tag + 1)
    yield 'tag 0', _patched(good, 8, '<I', 0)
    yield 'type 0', _patched(good, 4, '<H', 0)
    yield 'type 99', _patched(good, 4, '<H', 99)
    yield 'type of a guest', Link.pack(mediator.HELLO, tag)
    yield 'features nobody knows', _patched(good, 24, '<Q', 1 << 63)
    yield 'OPENED instead', Link.pack(mediator.OPENED, tag)
    yield 'GONE first', Link.pack(mediator.GONE, 0, channel=1)
    yield 'garbage', os.urandom(1024)
    yield 'text', b'HTTP/1.1 400 Bad Request\r\n' * 40


class Nonsense(DeviceCase):
    """What no mediator says. The device hangs up and is as before."""

    def listening(self):
        return self.start('server=on,wait=off,path=' + self.path('vm')).boot()

    def drops(self, machine, link):
        link.expect_hangup()
        link.close()
        until(lambda: machine.state() in (DISCONNECTED, REFUSED), 'the link to be down')

    def test_link_bad_welcome(self):
        machine = self.listening()
        before = machine.qemu.descriptors()
        for name, _ in _bad_welcomes(1):
            with self.subTest(name):
                link = connect(self.path('vm'))
                hello = link.expect(mediator.HELLO)
                link.send_bytes(dict(_bad_welcomes(hello.tag))[name])
                self.drops(machine, link)
                self.assertEqual(machine.load(VM_ID), 0)
        self.assertEqual(machine.qemu.descriptors(), before)
        self.serve(connect(self.path('vm')))
        machine.wait_state(READY)

    def test_link_welcome_out_of_bounds(self):
        """What a mediator of ours does not say, and what would do no harm: kept in bounds."""
        machine, _ = self.pair(max_channels=0xffffffff, max_data=(1 << 64) - 1, pool=b'x' * 72,
                               name=b'y' * 72)
        self.assertEqual(machine.load(MAX_CHANNELS), 64)
        self.assertEqual(machine.text(POOL, 72), 'x' * 71)
        self.assertEqual(machine.text(NAME, 72), 'y' * 71)

    def test_link_descriptors_nobody_asked_for(self):
        machine = self.listening()
        before = machine.qemu.descriptors()
        for count in (1, 3, 16, 64, 253):
            with self.subTest(count=count):
                link = connect(self.path('vm'))
                hello = link.expect(mediator.HELLO)
                with open('/dev/null', 'rb') as null:
                    link.send(mediator.WELCOME, hello.tag, fds=[null.fileno()] * count,
                              **mediator.WELCOME_VALUES)
                    link.state(weight=300 + count)
                until(lambda count=count: machine.load(WEIGHT) == 300 + count, 'the state')
                link.close()
                machine.wait_state(DISCONNECTED)
                self.assertEqual(machine.qemu.descriptors(), before, 'they were closed')

    def later(self, machine, data):
        link = connect(self.path('vm'))
        link.greet()
        machine.wait_state(READY)
        link.send_bytes(data)
        return link

    def test_link_bad_message_later(self):
        machine = self.listening()
        state = Link.pack(mediator.STATE, 0, priority=1, weight=5000, pool=b'B')
        for name, data in (
                ('WELCOME again', Link.pack(mediator.WELCOME, 1, **mediator.WELCOME_VALUES)),
                ('OPENED to nobody', Link.pack(mediator.OPENED, 77, channel=3)),
                ('request of a guest', Link.pack(mediator.OPEN, 5)),
                ('STATE too short', _patched(state, 0, '<I', 100)[:100]),
                ('STATE with flags', _patched(state, 6, '<H', 1)),
                ('type 12', _patched(state, 4, '<H', 12)),
                ('zeros', b'\0' * 64),
                ('garbage', b'\xa5' * 4096)):
            with self.subTest(name):
                self.drops(machine, self.later(machine, data))
        self.serve(connect(self.path('vm')))
        machine.wait_state(READY)

    def test_link_answers_to_nobody(self):
        """A request may have been called off: its answer means nothing any more."""
        machine = self.listening()
        link = self.later(machine, b''.join((
            Link.pack(mediator.CLOSED, 77, channel=3), Link.pack(mediator.REFUSED, 77, status=1),
            Link.pack(mediator.RESUMED, 77, channel=1), Link.pack(mediator.GONE, 0, channel=9),
            Link.pack(mediator.STATE, 0, priority=1, weight=777, pool=b'x' * 72))))
        self.addCleanup(link.close)
        until(lambda: machine.load(WEIGHT) == 777, 'the last one')
        self.assertEqual(machine.state(), READY)
        self.assertEqual(machine.text(POOL, 72), 'x' * 71)

    def bad_opened(self, machine, name, change, harmless=False):
        """change(channel, values, fds) spoils an answer to OPEN; some of it is harmless."""
        with self.subTest(name):
            link = connect(self.path('vm'))
            link.greet()
            machine.wait_state(READY)
            before = machine.qemu.descriptors()
            tag = machine.ask(0, OPEN)
            request = link.expect(mediator.OPEN)
            channel = mediator.HostChannel(1)
            values, fds = channel.opened_values(), channel.fds()
            changed = change(channel, values, fds)
            link.send(mediator.OPENED, request.tag, fds=fds if changed is None else changed,
                      **values)
            status = machine.wait_done(0, tag)
            if status == 0:
                self.used(machine)
            if machine.state() == READY:
                closing = link.expect(mediator.CLOSE)
                self.assertEqual(closing.body.channel, 1)
                link.closed(closing)
                machine.qemu.barrier()
                self.assertEqual(machine.qemu.descriptors(), before)
            link.close()
            channel.close()
            machine.wait_state(DISCONNECTED)
            if not harmless:
                self.assertNotEqual(status, 0)

    def used(self, machine):
        """Such a channel may do nothing, but not stop QEMU."""
        machine.heap = 0x200000
        guest = GuestChannel(machine, 0, machine.answer_geometry(0))
        machine.command(0, ATTACH, directory=guest.directory)
        guest.submit(b'x' * 64)
        for _ in range(5):
            machine.qmp.execute('query-status', seconds=1)
        self.assertEqual(machine.command(0, CLOSE), 0)

    def test_link_bad_geometry(self):
        machine = self.listening()
        for field, value in (
                ('sub_granules', 0), ('sub_granules', 1), ('sub_granules', 63),
                ('sub_granules', 128), ('sub_granules', 1 << 17), ('comp_granules', 0),
                ('comp_granules', 65), ('comp_granules', 0xffffffff), ('sub_offset', 0),
                ('sub_offset', 4097), ('sub_offset', 1 << 63), ('comp_offset', 4096),
                ('comp_offset', 0xffffffffffffffc0), ('data_offset', 4096),
                ('data_offset', (1 << 64) - 4096), ('data_bytes', 0), ('data_bytes', 4097),
                ('data_bytes', (1 << 64) - 4096), ('data_bytes', 1 << 37), ('total_bytes', 0),
                ('total_bytes', 4096), ('total_bytes', 1 << 40)):
            def spoil(_channel, values, _fds, field=field, value=value):
                values[field] = value
            self.bad_opened(machine, '%s %#x' % (field, value), spoil)

    def test_link_geometry_not_asked_for(self):
        """Well-formed, but other sizes than the guest has asked for: it is told what they are."""
        machine = self.listening()

        def other(channel, values, _fds):
            larger = mediator.HostChannel(1, sub=128, comp=128, data=131072)
            self.addCleanup(larger.close)
            values.update(larger.opened_values())
            return larger.fds()

        self.bad_opened(machine, 'larger', other, harmless=True)

    def test_link_bad_descriptors(self):
        machine = self.listening()

        def replaced(position, number):
            def change(_channel, _values, fds):
                fds[position] = number
            return change

        reading, writing = os.pipe()
        plain = open(self.path('plain'), 'w+b')
        plain.truncate(1 << 20)
        unsealed = mediator.HostChannel(1, seals=0)
        small = mediator.HostChannel(1, data=4096)
        readonly = os.open('/proc/self/fd/%d' % small.memfd, os.O_RDONLY)
        sockets = socket.socketpair()
        for name, position, number in (
                ('memory is a pipe', 0, reading), ('memory is a file', 0, plain.fileno()),
                ('memory is not sealed', 0, unsealed.memfd),
                ('memory is too small', 0, small.memfd),
                ('memory is read-only', 0, readonly),
                ('memory is an eventfd', 0, small.submit_kick),
                ('submit kick is a pipe', 1, writing), ('submit kick is a file', 1, plain.fileno()),
                ('submit kick is memory', 1, small.memfd),
                ('completion kick is a pipe', 2, reading),
                ('completion kick is a socket', 2, sockets[0].fileno()),
                ('completion kick is memory', 2, small.memfd)):
            self.bad_opened(machine, name, replaced(position, number), harmless=position > 0)
        for number in (reading, writing, readonly):
            os.close(number)
        plain.close()
        for channel in (unsealed, small):
            channel.close()
        for sock in sockets:
            sock.close()

    def test_link_wrong_number_of_descriptors(self):
        machine = self.listening()
        for count in (0, 1, 2, 4, 16, 40):
            self.bad_opened(machine, '%d descriptors' % count, lambda channel, values, fds,
                            count=count: (fds + [channel.submit_kick] * 40)[:count])


class Slow(DeviceCase):
    def test_link_byte_by_byte(self):
        machine = self.start('server=on,wait=off,path=' + self.path('vm')).boot()
        link = connect(self.path('vm'))
        self.addCleanup(link.close)
        hello = link.expect(mediator.HELLO)
        for byte in Link.pack(mediator.WELCOME, hello.tag, **mediator.WELCOME_VALUES):
            link.send_bytes(bytes([byte]))
            machine.qtest.command('endianness')
        machine.wait_state(READY)
        tag = machine.ask(0, OPEN)
        request = link.expect(mediator.OPEN)
        channel = mediator.HostChannel(1)
        self.addCleanup(channel.close)
        data = Link.pack(mediator.OPENED, request.tag, **channel.opened_values())
        for i in range(len(data)):
            link.send_bytes(data[i:i + 1], channel.fds() if i == 0 else ())
            machine.qtest.command('endianness')
        self.assertEqual(machine.wait_done(0, tag), 0)

    def test_link_many_messages_in_one(self):
        machine, link = self.linked()
        link.send_bytes(b''.join(Link.pack(mediator.STATE, 0, priority=1, weight=100 + i, pool=b'B')
                                 for i in range(500)))
        until(lambda: machine.load(WEIGHT) == 599, 'the last one')

    def test_link_welcome_and_state_in_one(self):
        machine = self.start('server=on,wait=off,path=' + self.path('vm')).boot()
        link = connect(self.path('vm'))
        self.addCleanup(link.close)
        hello = link.expect(mediator.HELLO)
        link.send_bytes(Link.pack(mediator.WELCOME, hello.tag, **mediator.WELCOME_VALUES) +
                        Link.pack(mediator.STATE, 0, priority=1, weight=321, pool=b'B'))
        machine.wait_state(READY)
        until(lambda: machine.load(WEIGHT) == 321, 'the state')

    def test_link_handshake_has_a_limit(self):
        machine = self.start('server=on,wait=off,path=' + self.path('vm')).boot()
        link = connect(self.path('vm'))
        link.expect(mediator.HELLO)
        begin = time.monotonic()
        machine.qtest.clock_step(6 * 10**9)
        link.expect_hangup(15)
        self.assertLess(time.monotonic() - begin, 10)
        link.close()
        machine.wait_state(DISCONNECTED)
        self.serve(connect(self.path('vm')))
        machine.wait_state(READY)

    def test_link_handshake_at_start_has_a_limit(self):
        listener = self.listen()
        begin = time.monotonic()
        machine = self.start('path=' + listener.path).boot()
        self.assertLess(time.monotonic() - begin, 15)
        self.assertEqual(machine.state(), DISCONNECTED)
        self.assertEqual(machine.command(0, OPEN), mediator.STARTING)

    def test_link_stalled_mediator(self):
        """It never reads again; QEMU answers within a second whatever the guest asks."""
        machine, _ = self.stalled()
        begin = time.monotonic()
        for round_number in range(100):
            for slot in range(64):
                machine.ask(slot, OPEN if round_number % 2 == 0 else CLOSE)
            asked = time.monotonic()
            machine.load(STATUS)
            machine.qmp.execute('query-status', seconds=1)
            self.assertLess(time.monotonic() - asked, 1)
        self.assertLess(time.monotonic() - begin, 60)

    def stalled(self):
        listener = self.listen()
        machine = self.start('path=' + listener.path)
        link = listener.accept()
        self.addCleanup(link.close)
        link.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.greet()
        return machine.boot(), link

    def test_link_stalled_mediator_is_let_go(self):
        """The queue is bounded: opened channels closed and opened without end do not grow it."""
        machine, server = self.pair()
        for slot in range(64):
            machine.channel(slot, data=4096, attach=False)
        server.stop()
        before = self.resident(machine)
        for _ in range(200):
            for slot in range(64):
                machine.ask(slot, CLOSE)
            for slot in range(64):
                machine.ask(slot, OPEN, data=4096)
            machine.reset()
            machine.setup_commands()
        machine.qmp.execute('query-status', seconds=1)
        self.assertLess(self.resident(machine) - before, 16 << 20)

    def resident(self, machine):
        with open('/proc/%d/statm' % machine.qemu.process.pid, encoding='ascii') as statm:
            return int(statm.read().split()[1]) * 4096


if __name__ == '__main__':
    main()
