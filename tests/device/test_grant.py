#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Channels by grants: what the device passes on between the guest's commands and the mediator. Its
property says that the guest can grant, as there is no Xen here; nobody maps anything."""
import mediator
from device import (
    ATTACH, CLOSE, DISCONNECTED, FEATURES, IRQ_STATUS, OPEN, OPEN_GRANT, OPEN_WINDOW, READY,
    DeviceCase, main)
from mediator import connect

BITS = 3 | mediator.FEATURE_GRANT
TOKEN = b'a token of grants'[:16]
# Of the smallest rings, and 8 pages of data.
GEOMETRY = {'sub_granules': 64, 'comp_granules': 64, 'sub_offset': 4096, 'comp_offset': 8192,
            'data_offset': 12288, 'data_bytes': 32768, 'total_bytes': 45056}
PAGES = 11
DIRECTORY, PORT = 0x12345, 77
NUMBERS = PORT << 32 | DIRECTORY


def promise(link, request, number=1, **changes):
    link.send(mediator.PROMISED, request.tag, channel=number, backend_domid=3, token=TOKEN,
              **{**GEOMETRY, **changes})


class GrantCase(DeviceCase):
    def start_granting(self, properties=',grants=on', **welcome):
        return self.linked(properties, **{'features': BITS, **welcome})

    def promised(self, machine, link, slot=0, number=1):
        tag = machine.ask(slot, OPEN, data=0, flags=OPEN_GRANT)
        request = link.expect(mediator.OPEN)
        promise(link, request, number)
        self.assertEqual(machine.wait_done(slot, tag), 0)
        return request

    def attached(self, machine, link, slot=0, number=1):
        self.promised(machine, link, slot, number)
        tag = machine.ask(slot, ATTACH, directory=NUMBERS)
        grant = link.expect(mediator.GRANT)
        link.send(mediator.GRANTED, grant.tag, channel=number)
        self.assertEqual(machine.wait_done(slot, tag), 0)


class Offer(GrantCase):
    def test_grant_is_offered_as_the_mediator_does(self):
        machine, _ = self.start_granting()
        self.assertTrue(machine.load(FEATURES) & 0x10)

    def test_grant_is_not_offered_without_the_mediators_word(self):
        machine, link = self.start_granting(features=3)
        self.assertFalse(machine.load(FEATURES) & 0x10)
        self.assertEqual(machine.command(0, OPEN, flags=OPEN_GRANT), mediator.BAD_MESSAGE)
        self.assertTrue(link.quiet())

    def test_grant_is_for_guests_of_xen(self):
        """This QEMU is not on Xen, so without the property it does not ask for the feature."""
        listener = self.listen()
        machine = self.start('path=' + listener.path)
        link, hello = listener.accept_hello()
        self.addCleanup(link.close)
        self.assertFalse(hello.body.features & mediator.FEATURE_GRANT)
        link.welcome(hello.tag, features=3)
        machine.boot()
        self.assertFalse(machine.load(FEATURES) & 0x10)


class Open(GrantCase):
    def test_grant_open(self):
        machine, link = self.start_granting()
        request = self.promised(machine, link)
        self.assertEqual(request.flags, mediator.OPEN_GRANT)
        self.assertEqual(request.body.data_bytes, 0)
        self.assertEqual(machine.answer_channel(0), 1)
        self.assertEqual(machine.answer_backend(0), 3)
        self.assertEqual(machine.answer_window(0), 0)
        self.assertEqual(machine.answer_geometry(0), tuple(GEOMETRY.values()))

    def test_grant_open_of_any_size_is_the_mediators_to_judge(self):
        machine, link = self.start_granting()
        tag = machine.ask(0, OPEN, data=1 << 45, flags=OPEN_GRANT)
        link.refuse(link.expect(mediator.OPEN).tag, mediator.LIMIT, b'too much')
        self.assertEqual(machine.wait_done(0, tag), mediator.LIMIT)
        self.assertEqual(machine.answer_text(0), 'too much')

    def test_grant_and_window_at_once(self):
        machine, link = self.start_granting()
        self.assertEqual(machine.command(0, OPEN, flags=OPEN_GRANT | OPEN_WINDOW),
                         mediator.BAD_MESSAGE)
        self.assertTrue(link.quiet())

    def test_grant_is_no_flag_of_other_commands(self):
        machine, link = self.start_granting()
        self.promised(machine, link)
        self.assertEqual(machine.command(0, ATTACH, directory=NUMBERS, flags=OPEN_GRANT),
                         mediator.BAD_MESSAGE)

    def test_grant_beside_a_relayed_channel(self):
        machine, link = self.start_granting()
        self.attached(machine, link)
        tag = machine.ask(1, OPEN)
        request = link.expect(mediator.OPEN)
        self.assertEqual(request.flags, 0)
        self.addCleanup(link.opened(request, 2).close)
        self.assertEqual(machine.wait_done(1, tag), 0)
        self.assertEqual(machine.answer_backend(1), 0)

    def test_grant_promise_that_nobody_asked_for(self):
        for flags, answer in ((0, lambda link, ask: promise(link, ask)),
                              (OPEN_GRANT, lambda link, ask: link.opened(ask, 1).close()),
                              (OPEN_GRANT, lambda link, ask: promise(link, ask, total_bytes=0)),
                              (OPEN_GRANT, lambda link, ask: promise(
                                  link, ask, total_bytes=65537 << 12))):
            with self.subTest(flags):
                self.fresh()
                machine, link = self.start_granting()
                tag = machine.ask(0, OPEN, flags=flags)
                answer(link, link.expect(mediator.OPEN))
                link.expect_hangup()
                self.assertEqual(machine.wait_done(0, tag), mediator.STARTING)

    def test_grant_promise_of_the_most_pages(self):
        machine, link = self.start_granting()
        tag = machine.ask(0, OPEN, flags=OPEN_GRANT)
        promise(link, link.expect(mediator.OPEN), total_bytes=65536 << 12)
        self.assertEqual(machine.wait_done(0, tag), 0)
        machine.ask(0, ATTACH, directory=NUMBERS)
        self.assertEqual(link.expect(mediator.GRANT).body.pages, 65536)


class Attach(GrantCase):
    def test_grant_attach(self):
        machine, link = self.start_granting()
        self.promised(machine, link)
        machine.store(IRQ_STATUS, 1)
        tag = machine.ask(0, ATTACH, directory=NUMBERS)
        grant = link.expect(mediator.GRANT)
        self.assertEqual(tuple(grant.body), (1, DIRECTORY, PORT, PAGES))
        machine.qemu.barrier()
        self.assertNotEqual(machine.done(0), tag, 'not before the worker has it')
        link.send(mediator.GRANTED, grant.tag, channel=1)
        self.assertEqual(machine.wait_done(0, tag), 0)
        self.assertEqual(machine.load(IRQ_STATUS) & 1, 1)

    def test_grant_attach_refused(self):
        machine, link = self.start_granting()
        self.promised(machine, link)
        tag = machine.ask(0, ATTACH, directory=NUMBERS)
        link.refuse(link.expect(mediator.GRANT).tag, mediator.FAILED, b'cannot map it')
        self.assertEqual(machine.wait_done(0, tag), mediator.FAILED)
        self.assertEqual(machine.answer_text(0), 'cannot map it')
        self.assertEqual(machine.command(0, ATTACH, directory=NUMBERS), mediator.STATUS_GONE)
        self.assertEqual(machine.command(0, CLOSE), 0)
        self.assertTrue(link.quiet(), 'the channel is gone: nothing to close')
        self.promised(machine, link, number=2)

    def test_grant_attach_of_nothing(self):
        machine, link = self.start_granting()
        self.promised(machine, link)
        for wrong in ({'directory': DIRECTORY}, {'directory': PORT << 32}, {'directory': 0},
                      {'directory': NUMBERS, 'vector': 1}):
            with self.subTest(wrong):
                self.assertEqual(machine.command(0, ATTACH, **wrong), mediator.BAD_MESSAGE)
        self.assertTrue(link.quiet())

    def test_grant_attach_twice(self):
        machine, link = self.start_granting()
        self.attached(machine, link)
        self.assertEqual(machine.command(0, ATTACH, directory=NUMBERS), mediator.BAD_MESSAGE)
        self.assertTrue(link.quiet())

    def test_grant_other_commands_while_it_attaches(self):
        machine, link = self.start_granting()
        self.promised(machine, link)
        machine.ask(0, ATTACH, directory=NUMBERS)
        link.expect(mediator.GRANT)
        self.assertEqual(machine.command(0, ATTACH, directory=NUMBERS), mediator.BAD_MESSAGE)
        self.assertEqual(machine.command(0, OPEN), mediator.BAD_MESSAGE)

    def test_grant_attach_of_gone(self):
        """The mediator ends it before the guest has said where its pages are."""
        machine, link = self.start_granting()
        self.promised(machine, link)
        link.gone(1, mediator.REMOVED, b'the domain is gone')
        machine.wait_gone(0)
        self.assertEqual(machine.command(0, ATTACH, directory=NUMBERS), mediator.STATUS_GONE)

    def test_grant_gone_while_it_attaches(self):
        machine, link = self.start_granting()
        self.promised(machine, link)
        tag = machine.ask(0, ATTACH, directory=NUMBERS)
        link.expect(mediator.GRANT)
        link.gone(1, mediator.KILLED, b'killed')
        self.assertEqual(machine.wait_done(0, tag), mediator.KILLED)


class Close(GrantCase):
    def test_grant_close_is_answered_when_the_worker_is_gone(self):
        machine, link = self.start_granting()
        self.attached(machine, link)
        tag = machine.ask(0, CLOSE)
        closing = link.expect(mediator.CLOSE)
        machine.qemu.barrier()
        self.assertNotEqual(machine.done(0), tag)
        link.closed(closing)
        self.assertEqual(machine.wait_done(0, tag), 0)
        self.attached(machine, link, number=2)

    def test_grant_close_calls_an_attach_off(self):
        machine, link = self.start_granting()
        self.promised(machine, link)
        attach = machine.ask(0, ATTACH, directory=NUMBERS)
        grant = link.expect(mediator.GRANT)
        tag = machine.ask(0, CLOSE)
        closing = link.expect(mediator.CLOSE)
        link.refuse(grant.tag, mediator.STATUS_GONE, b'closed')
        machine.qemu.barrier()
        self.assertNotIn(machine.done(0), (attach, tag))
        link.closed(closing)
        self.assertEqual(machine.wait_done(0, tag), 0)

    def test_grant_close_and_open_at_once(self):
        """A guest that does not wait for the answer harms itself only; both are answered."""
        machine, link = self.start_granting()
        self.attached(machine, link)
        machine.ask(0, CLOSE)
        closing = link.expect(mediator.CLOSE)
        tag = machine.ask(0, OPEN, flags=OPEN_GRANT)
        machine.qemu.barrier()
        self.assertTrue(link.quiet(), 'OPEN waits')
        link.closed(closing)
        promise(link, link.expect(mediator.OPEN), 2)
        self.assertEqual(machine.wait_done(0, tag), 0)

    def test_grant_gone_is_told(self):
        machine, link = self.start_granting()
        self.attached(machine, link)
        link.gone(1, mediator.KILLED, b'the worker was killed')
        machine.wait_gone(0)
        self.assertEqual(machine.gone(0), (1, mediator.KILLED, 'the worker was killed'))
        self.assertEqual(machine.command(0, CLOSE), 0)
        self.assertTrue(link.quiet())

    def test_grant_reset_forgets(self):
        machine, link = self.start_granting()
        self.attached(machine, link)
        before = machine.done(0)
        machine.ask(0, CLOSE)
        closing = link.expect(mediator.CLOSE)
        machine.reset()
        machine.setup_commands()
        link.closed(closing)
        machine.qemu.barrier()
        self.assertEqual(machine.done(0), before, 'nobody waits for an answer any more')
        self.attached(machine, link, number=2)


class Restart(GrantCase):
    def waiting(self):
        machine = self.start('server=on,wait=off,path=' + self.path('vm'), ',grants=on').boot()
        link = connect(self.path('vm'))
        self.addCleanup(link.close)
        link.greet(features=BITS)
        machine.wait_state(READY)
        return machine, link

    def again(self, machine, link, **welcome):
        link.close()
        machine.wait_state(DISCONNECTED)
        link = connect(self.path('vm'))
        self.addCleanup(link.close)
        link.greet(**{'features': BITS, **welcome})
        return link

    def test_grant_is_resumed(self):
        machine, link = self.waiting()
        self.attached(machine, link)
        link = self.again(machine, link)
        resume = link.expect(mediator.RESUME)
        self.assertEqual((resume.body.channel, resume.body.token), (1, TOKEN))
        link.send(mediator.RESUMED, resume.tag, channel=1)
        machine.qemu.barrier()
        self.assertEqual(machine.gone(0)[0], 0)

    def test_grant_attach_without_a_mediator(self):
        machine, link = self.waiting()
        self.promised(machine, link)
        link.close()
        machine.wait_state(DISCONNECTED)
        self.assertEqual(machine.command(0, ATTACH, directory=NUMBERS), mediator.STARTING)
        self.assertNotEqual(machine.answer_retry(0), 0)

    def test_grant_mediator_goes_while_it_attaches(self):
        machine, link = self.waiting()
        self.promised(machine, link)
        tag = machine.ask(0, ATTACH, directory=NUMBERS)
        link.expect(mediator.GRANT)
        link = self.again(machine, link)
        self.assertEqual(machine.wait_done(0, tag), mediator.STARTING)
        self.assertEqual(machine.command(0, CLOSE), 0)
        self.assertTrue(link.quiet(), 'what is not resumed ends')

    def test_grant_mediator_that_comes_back_without(self):
        machine, link = self.waiting()
        self.attached(machine, link)
        self.again(machine, link, features=3)
        machine.wait_state(READY)
        self.assertFalse(machine.load(FEATURES) & 0x10)
        self.assertEqual(machine.command(1, OPEN, flags=OPEN_GRANT), mediator.BAD_MESSAGE)


if __name__ == '__main__':
    main()
