#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The question about GPUs: answers, refusals, resets, and a mediator that comes and goes."""
import struct

import mediator
from device import BAR0, COMMAND, COMMANDS_AT, FEATURES, IRQ_STATUS, SLOTS, DeviceCase, main
from qtest import RAM_BYTES, until

MONITOR = 4
AT = COMMANDS_AT + SLOTS * 1024
ASK = struct.Struct('<IIII48s')
FEATURE_BITS = 0x3 | 1 << 3
ANSWER = bytes(range(248)) * 3


def ask(machine, gpu=0, first=0, op=MONITOR, tag=None, reserved=b'', at=AT):
    tag = next(machine.tags) if tag is None else tag
    machine.ram.write(at, ASK.pack(op, tag, gpu, first, reserved))
    machine.store(COMMAND, SLOTS)
    return tag


def answered(machine, tag):
    until(lambda: machine.ram.u32(AT + 64) == tag, 'an answer')
    return machine.ram.u32(AT + 68)


def text(machine):
    return machine.ram.read(AT + 824, 192).split(b'\0', 1)[0]


class Monitor(DeviceCase):
    def start_one(self, **welcome):
        machine, server = self.pair(features=FEATURE_BITS, **welcome)
        server.hook(mediator.MONITOR, lambda m: server.link.send(
            mediator.MONITORED, m.tag, monitor=ANSWER) or True)
        return machine, server

    def test_monitor_answer(self):
        machine, server = self.start_one()
        self.assertTrue(machine.load(FEATURES) & 1 << 3)
        self.assertEqual(answered(machine, ask(machine, gpu=3, first=16)), 0)
        self.assertEqual(machine.ram.read(AT + 80, 744), ANSWER)
        self.assertEqual(machine.load(IRQ_STATUS) & 1, 1)
        asked = server.log[-1]
        self.assertEqual((asked.kind, asked.body.gpu, asked.body.first), (mediator.MONITOR, 3, 16))
        self.assertEqual(server.count(mediator.OPEN), 0)

    def test_monitor_beside_all_channels(self):
        machine, _ = self.start_one()
        for slot in range(SLOTS):
            machine.channel(slot, data=4096)
        self.assertEqual(answered(machine, ask(machine)), 0)

    def test_monitor_numbers_are_the_mediators_to_judge(self):
        machine, server = self.start_one()
        self.assertEqual(answered(machine, ask(machine, gpu=0xffffffff, first=0xffffffff)), 0)
        self.assertEqual(server.log[-1].body.gpu, 0xffffffff)

    def test_monitor_refusal(self):
        machine, server = self.start_one()
        server.hook(mediator.MONITOR, lambda m: server.link.send(
            mediator.REFUSED, m.tag, status=mediator.STARTING, retry_ns=5, text=b'soon') or True)
        self.assertEqual(answered(machine, ask(machine)), mediator.STARTING)
        self.assertEqual(machine.ram.u64(AT + 72), 5)
        self.assertEqual(text(machine), b'soon')

    def test_monitor_malformed(self):
        machine, server = self.start_one()
        for wrong in ({'op': 0}, {'op': 1}, {'op': 3}, {'op': 5}, {'reserved': b'\1'},
                      {'reserved': b'\0' * 47 + b'\1'}):
            with self.subTest(wrong):
                self.assertEqual(answered(machine, ask(machine, **wrong)), mediator.BAD_MESSAGE)
                self.assertNotEqual(text(machine), b'')
        self.assertEqual(server.count(mediator.MONITOR), 0)
        self.assertEqual(machine.command(0, MONITOR), mediator.BAD_MESSAGE)

    def test_monitor_tag_0_and_slot_beyond_are_ignored(self):
        machine, server = self.start_one()
        ask(machine, tag=0)
        machine.store(COMMAND, SLOTS + 1)
        self.assertEqual(answered(machine, ask(machine)), 0)
        self.assertEqual(server.count(mediator.MONITOR), 1)

    def test_monitor_same_tag_is_taken_once(self):
        machine, server = self.start_one()
        tag = ask(machine)
        self.assertEqual(answered(machine, tag), 0)
        ask(machine, tag=tag)
        self.assertEqual(answered(machine, ask(machine)), 0)
        self.assertEqual(server.count(mediator.MONITOR), 2)
        machine.reset()
        machine.setup_commands()
        self.assertEqual(answered(machine, ask(machine, tag=tag)), 0)

    def test_monitor_memory_that_is_none(self):
        """Commands in registers, or behind the end of memory: nothing happens, and later it does."""
        machine, server = self.start_one()
        for address in (BAR0, RAM_BYTES - SLOTS * 1024, RAM_BYTES, 1 << 40, 0):
            machine.setup_commands(address)
            machine.store(COMMAND, SLOTS)
        machine.setup_commands()
        self.assertEqual(answered(machine, ask(machine)), 0)
        self.assertEqual(server.count(mediator.MONITOR), 1)

    def test_monitor_second_question_waits_for_the_first(self):
        machine, link = self.linked(features=FEATURE_BITS)
        ask(machine, gpu=1)
        first = link.expect(mediator.MONITOR)
        tag = ask(machine, gpu=2)
        self.assertTrue(link.quiet())
        link.send(mediator.MONITORED, first.tag, monitor=b'1')
        second = link.expect(mediator.MONITOR)
        self.assertEqual(second.body.gpu, 2)
        link.send(mediator.MONITORED, second.tag, monitor=b'2')
        self.assertEqual(answered(machine, tag), 0)
        self.assertEqual(machine.ram.read(AT + 80, 1), b'2')

    def test_monitor_reset_lets_the_answer_go_by(self):
        machine, link = self.linked(features=FEATURE_BITS)
        ask(machine, gpu=1)
        first = link.expect(mediator.MONITOR)
        machine.ram.write(AT + 64, b'\0' * 16)
        machine.reset()
        machine.setup_commands()
        tag = ask(machine, gpu=2)
        link.send(mediator.MONITORED, first.tag, monitor=b'1')
        second = link.expect(mediator.MONITOR)
        self.assertEqual(machine.ram.u32(AT + 64), 0)
        link.send(mediator.MONITORED, second.tag, monitor=b'2')
        self.assertEqual(answered(machine, tag), 0)

    def test_monitor_old_mediator(self):
        machine, server = self.pair(features=3)
        self.assertEqual(answered(machine, ask(machine)), mediator.VERSION)
        self.assertEqual(server.count(mediator.MONITOR), 0)

    def test_monitor_without_a_mediator(self):
        machine = self.start('server=on,wait=off,path=' + self.path('vm')).boot()
        self.assertEqual(answered(machine, ask(machine)), mediator.STARTING)
        self.assertGreater(machine.ram.u64(AT + 72), 0)

    def test_monitor_mediator_that_goes_away(self):
        machine, link = self.linked(features=FEATURE_BITS)
        tag = ask(machine)
        link.expect(mediator.MONITOR)
        link.close()
        self.assertEqual(answered(machine, tag), mediator.STARTING)

    def test_monitor_answers_that_nobody_asked_for_end_the_link(self):
        machine, link = self.linked(features=FEATURE_BITS)
        link.send(mediator.MONITORED, 0, monitor=ANSWER)
        link.expect_hangup()
        self.assertEqual(machine.ram.u32(AT + 64), 0)


if __name__ == '__main__':
    main()
