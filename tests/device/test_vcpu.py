#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The window as a virtual CPU sees it: under TCG, and under KVM where this host has it.

hand.S is the firmware; its CPU does one access after the other for the test, and counts
interrupts. So these go the way of a guest's: TLBs and KVM's memory slots, ioeventfds, irqfds.
"""
import os
import random
import struct
import subprocess
import tempfile
import unittest

import device
import mediator
from device import (
    BAR1, BAR2, CHANNELS_LOW, CLOSE, CONTROL, DOORBELLS, INTERRUPTS, IRQ_CHANNEL, IRQ_ENABLE,
    DeviceCase, main)
from qtest import QemuFailed, until

HAND = 0x1000
WINDOW_LOW = 0xd0000000  # the hand has 32 bits
ONES = 0xffffffff
HERE = os.path.dirname(os.path.abspath(__file__))


def assemble():
    with tempfile.TemporaryDirectory() as work:
        parts = [os.path.join(work, name) for name in ('hand.o', 'hand.bin')]
        subprocess.run(['as', '--32', '-o', parts[0], os.path.join(HERE, 'hand.S')], check=True)
        subprocess.run(['ld', '-m', 'elf_i386', '-Ttext', '0xffff0000', '-e', '0xfff0',
                        '--oformat', 'binary', '-o', parts[1], parts[0]], check=True)
        with open(parts[1], 'rb') as image:
            return image.read()


FIRMWARE = assemble()


class Hand:
    """Accesses by the virtual CPU."""

    def __init__(self, machine):
        self.ram = machine.ram
        until(lambda: self.ram.u32(HAND + 16) == 0x7075, 'the virtual CPU', 10)

    def _run(self, command, address, value):
        self.ram.set_u32(HAND + 4, address)
        self.ram.set_u32(HAND + 8, value)
        self.ram.set_u32(HAND, command)

    def _wait(self):
        until(lambda: not self.ram.u32(HAND), 'an access')
        assert not self.ram.u32(HAND + 20), 'an exception'

    def store(self, address, value):
        self._run(1, address, value)
        self._wait()

    def load(self, address):
        self._run(2, address, 0)
        self._wait()
        return self.ram.u32(HAND + 8)

    def keep_storing(self, address, value):
        self._run(3, address, value)

    def stop(self):
        self.ram.set_u32(HAND, 4)
        until(lambda: not self.ram.u32(HAND), 'the virtual CPU to stop storing')
        assert not self.ram.u32(HAND + 20), 'an exception'

    def interrupts(self, number):
        return self.ram.u32(HAND + 32 + 4 * number)


class Hands:
    """What TCG and KVM have in common."""

    kvm = False

    def hand(self, properties=''):
        machine, server = self.pair(',window-size=64M' + properties)
        return machine, server, Hand(machine)

    def start(self, *arguments, **others):
        machine = super().start(*arguments, **others)
        machine.window = WINDOW_LOW
        return machine

    def interrupt_vectors(self, machine):
        """Vectors 1 to 4 of the device are 0x50 to 0x53 of the CPU; others are masked."""
        for vector in range(1, 5):
            entry = BAR1 + 16 * vector
            machine.qtest.store(entry, 0xfee00000)
            machine.qtest.store(entry + 4, 0)
            machine.qtest.store(entry + 8, 0x4f + vector)
            machine.qtest.store(entry + 12, 0)
        machine.set_config(machine.capability(0x11) + 2, 0x8000, 2)

    def test_vcpu_shares_memory(self):
        machine, server, hand = self.hand()
        channels = [machine.window_channel(slot) for slot in range(3)]
        for number, channel in enumerate(channels, 1):
            host = server.channels[number]
            at = channel.address + channel.data_offset
            self.assertEqual(hand.load(channel.address), mediator.MAGIC)
            hand.store(at + 8, 0x100 + number)
            self.assertEqual(host.data_read(8, 4), struct.pack('<I', 0x100 + number))
            host.data_write(12, struct.pack('<I', 0x200 + number))
            self.assertEqual(hand.load(at + 12), 0x200 + number)
            self.assertEqual(hand.load(channel.address + channel.total), ONES)

    def test_vcpu_sees_a_channel_from_attach_to_close(self):
        machine, server, hand = self.hand()
        self.assertEqual(hand.load(WINDOW_LOW), ONES)
        for turn in range(5):
            server.next_place = 0
            channel = machine.window_channel(0, attach=False)
            self.assertEqual(hand.load(channel.address), ONES)
            channel.attach()
            at = channel.address + channel.data_offset
            self.assertEqual(hand.load(channel.address), mediator.MAGIC)
            self.assertEqual(hand.load(at), 0, 'fresh')
            hand.store(at, 0xdead0000 + turn)
            self.assertEqual(machine.command(0, CLOSE), 0)
            self.assertEqual(hand.load(at), ONES)

    def test_vcpu_rings(self):
        machine, server, hand = self.hand()
        machine.window_channel(5)
        hand.store(BAR2 + 5 * 4096, 1)
        until(server.channels[1].kicked, 'the worker to be woken')
        self.assertEqual(machine.counter(DOORBELLS), 0 if self.kvm else 1)
        hand.store(BAR2 + 6 * 4096, 1)
        self.assertEqual(server.channels[1].kicked(), 0)

    def test_vcpu_rings_without_ioeventfd(self):
        machine, server, hand = self.hand(',ioeventfd=off')
        machine.window_channel(5)
        hand.store(BAR2 + 5 * 4096, 1)
        until(server.channels[1].kicked, 'the worker to be woken')
        self.assertEqual(machine.counter(DOORBELLS), 1)

    def test_vcpu_rings_what_is_no_eventfd(self):
        """KVM would not take it, and QEMU would end."""
        machine, server, hand = self.hand()

        def answer(message):
            channel = mediator.HostChannel(1, message.body.sub_granules,
                                           message.body.comp_granules, message.body.data_bytes,
                                           mode_flags=0)
            os.close(channel.submit_kick)
            rest, channel.submit_kick = os.pipe()
            self.addCleanup(os.close, rest)
            self.addCleanup(channel.close)
            server.link.opened(message, 1, channel, window=1)
            return True
        server.hook(mediator.OPEN, answer)
        machine.window_channel(0)
        hand.store(BAR2, 1)
        self.assertEqual(machine.counter(DOORBELLS), 1)

    def test_vcpu_rings_no_more_after_close(self):
        machine, server, hand = self.hand()
        machine.window_channel(0)
        self.assertEqual(machine.command(0, CLOSE), 0)
        hand.store(BAR2, 1)
        self.assertEqual(server.channels[1].kicked(), 0)
        self.assertEqual(machine.counter(DOORBELLS), 1)

    def interrupted(self, hand, number, times):
        until(lambda: hand.interrupts(number) == times, 'interrupt %d of vector %d'
              % (times, number))

    def test_vcpu_is_interrupted(self):
        machine, server, hand = self.hand()
        self.interrupt_vectors(machine)
        for slot in range(3):
            machine.window_channel(slot, vector=1 + slot)
        for times in range(1, 20):
            for number in range(3):
                server.channels[1 + number].kick()
                self.interrupted(hand, number, times)
        self.assertEqual(machine.counter(INTERRUPTS), 0 if self.kvm else 57)

    def test_vcpu_is_interrupted_without_irqfd(self):
        machine, server, hand = self.hand(',irqfd=off')
        self.interrupt_vectors(machine)
        machine.window_channel(0, vector=1)
        server.channels[1].kick()
        self.interrupted(hand, 0, 1)
        self.assertEqual(machine.counter(INTERRUPTS), 1)

    def test_vcpu_channels_share_a_vector(self):
        machine, server, hand = self.hand()
        self.interrupt_vectors(machine)
        for slot in range(3):
            machine.window_channel(slot, vector=2)
        for times, number in enumerate((1, 2, 3), 1):
            server.channels[number].kick()
            self.interrupted(hand, 1, times)
        self.assertEqual(machine.command(1, CLOSE), 0)
        server.channels[3].kick()
        self.interrupted(hand, 1, 4)

    def test_vcpu_kicks_before_attach_are_kept(self):
        machine, server, hand = self.hand()
        self.interrupt_vectors(machine)
        channel = machine.window_channel(0, attach=False)
        server.channels[1].kick()
        machine.qemu.barrier()
        channel.attach(vector=1)
        self.interrupted(hand, 0, 1)

    def test_vcpu_masked_vectors_are_pending(self):
        machine, server, hand = self.hand()
        self.interrupt_vectors(machine)
        machine.window_channel(0, vector=1)
        server.channels[1].kick()
        self.interrupted(hand, 0, 1)
        for times in range(2, 6):
            machine.qtest.store(BAR1 + 16 + 12, 1)
            server.channels[1].kick()
            machine.qemu.barrier()
            self.assertEqual(hand.interrupts(0), times - 1)
            machine.qtest.store(BAR1 + 16 + 12, 0)
            self.interrupted(hand, 0, times)

    def test_vcpu_message_changes_while_masked(self):
        machine, server, hand = self.hand()
        self.interrupt_vectors(machine)
        machine.window_channel(0, vector=1)
        machine.qtest.store(BAR1 + 16 + 12, 1)
        machine.qtest.store(BAR1 + 16 + 8, 0x53)
        machine.qtest.store(BAR1 + 16 + 12, 0)
        server.channels[1].kick()
        self.interrupted(hand, 3, 1)
        self.assertEqual(hand.interrupts(0), 0)

    def test_vcpu_function_mask_and_pin(self):
        """All masked; then MSI-X off, which is the pin's; then on again."""
        machine, server, hand = self.hand()
        self.interrupt_vectors(machine)
        at = machine.capability(0x11) + 2
        machine.window_channel(0, vector=1)
        machine.set_config(at, 0xc000, 2)
        server.channels[1].kick()
        until(lambda: machine.counter(INTERRUPTS) == 1, 'it to be pending')
        self.assertEqual(hand.interrupts(0), 0)
        machine.set_config(at, 0x8000, 2)
        self.interrupted(hand, 0, 1)
        machine.set_config(at, 0x0000, 2)
        machine.store(IRQ_ENABLE, IRQ_CHANNEL)
        server.channels[1].kick()
        until(machine.pin, 'the pin')
        machine.store(CHANNELS_LOW, 1)
        machine.set_config(at, 0x8000, 2)
        server.channels[1].kick()
        self.interrupted(hand, 0, 2)

    def test_vcpu_is_told_of_the_end(self):
        machine, server, hand = self.hand()
        self.interrupt_vectors(machine)
        channel = machine.window_channel(0, vector=1)
        server.link.gone(1, mediator.KILLED, b'killed')
        self.interrupted(hand, 0, 1)
        self.assertEqual(hand.load(channel.address + channel.STATE), 2)

    def test_vcpu_writes_on_while_channels_end(self):
        """A CPU that stores without end, over CLOSE and reset: QEMU lives, nothing comes through."""
        machine, server, hand = self.hand()
        generator = random.Random(7)
        for turn in range(60):
            server.next_place = 0
            channel = machine.window_channel(0, data=65536)
            at = channel.address + channel.data_offset + generator.randrange(16) * 4096
            self.assertEqual(hand.load(at), 0)
            hand.keep_storing(at, 0xdeadbeef)
            until(lambda: channel.u32(at - channel.address) == 0xdeadbeef, 'a store')
            if turn % 3:
                self.assertEqual(machine.command(0, CLOSE), 0)
            else:
                machine.store(CONTROL, 1)
                machine.setup_commands()
            if turn % 2:
                # The next channel has the place while the CPU still stores there: its own guest's
                # doing, and nobody else's memory.
                server.next_place = 0
                machine.window_channel(1, data=65536)
                self.assertEqual(machine.command(1, CLOSE), 0)
            hand.stop()
            self.assertEqual(hand.load(at), ONES)

    def test_vcpu_reset_by_machine(self):
        """Everything as at the start, with channels on irqfds and ioeventfds."""
        machine, server, hand = self.hand()
        self.interrupt_vectors(machine)
        for slot in range(4):
            machine.window_channel(slot, vector=1 + slot)
        machine.ram.set_u32(HAND + 16, 0)
        machine.qmp.execute('system_reset')
        machine.qmp.wait_event('RESET')
        hand = Hand(machine)
        until(lambda: not server.open_numbers, 'all to be closed')
        machine.setup_pci()
        machine.setup_commands()
        for host in list(server.channels.values()):
            host.kick()
        self.assertEqual(hand.load(WINDOW_LOW), ONES)
        self.interrupt_vectors(machine)
        before = hand.interrupts(0)
        server.next_place = 0
        machine.window_channel(0, vector=1)
        server.channels[5].kick()
        self.interrupted(hand, 0, before + 1)
        self.assertEqual([hand.interrupts(n) for n in (1, 2, 3)], [0, 0, 0])

    def test_vcpu_leaves_nothing(self):
        machine, server, _ = self.hand()
        self.interrupt_vectors(machine)
        machine.window_channel(0, vector=1)
        self.assertEqual(machine.command(0, CLOSE), 0)
        before = machine.qemu.descriptors()
        for _ in range(30):
            server.next_place = 0
            for slot in range(4):
                machine.window_channel(slot, vector=1 + slot)
            for slot in range(4):
                self.assertEqual(machine.command(slot, CLOSE), 0)
        machine.qemu.barrier()
        self.assertEqual(machine.qemu.descriptors(), before)

    def test_vcpu_unplugged(self):
        machine, _, hand = self.hand()
        self.interrupt_vectors(machine)
        for slot in range(4):
            machine.window_channel(slot, vector=1 + slot)
        machine.qmp.execute('device_del', id='gpu')
        machine.qtest.port_out(0xae08, 1 << 4, 4)
        machine.qmp.wait_event('DEVICE_DELETED')
        self.assertRaises(QemuFailed, machine.qmp.execute, 'device_del', id='gpu')
        hand.load(WINDOW_LOW)


class Tcg(Hands, DeviceCase):
    machine_others = {'accel': ('tcg,thread=multi',), 'firmware': FIRMWARE}


class Kvm(Hands, DeviceCase):
    machine_others = {'accel': ('kvm', '-cpu', 'qemu64'), 'firmware': FIRMWARE}
    kvm = True
    reason = None

    @classmethod
    def setUpClass(cls):
        """Some hosts have a /dev/kvm that runs nothing."""
        if cls.reason is None:
            cls.reason = cls.probe()
        if cls.reason:
            raise unittest.SkipTest(cls.reason)

    @classmethod
    def probe(cls):
        if not os.access('/dev/kvm', os.R_OK | os.W_OK):
            return 'no /dev/kvm for this user'
        with tempfile.TemporaryDirectory() as work:
            machine = device.Machine(work, 'server=on,wait=off,path=' + os.path.join(work, 'vm'),
                                     ',window-size=0', **cls.machine_others)
            try:
                machine.qemu.wait_ready()
                machine.ram = machine.qemu.ram
                Hand(machine)
            except (AssertionError, QemuFailed, OSError) as failure:
                return '/dev/kvm runs no guest: %s' % str(failure).split('\n', maxsplit=1)[0]
            finally:
                machine.qemu.close()
        return ''


if __name__ == '__main__':
    main()
