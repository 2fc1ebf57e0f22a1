#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Interrupts by message and by pin: enabled, masked, cleared, level."""
from device import (
    BAR1, CHANNELS_HIGH, CHANNELS_LOW, IRQ_CHANNEL, IRQ_COMMAND, IRQ_ENABLE, IRQ_STATE, IRQ_STATUS,
    OPEN, DeviceCase, main)
from qtest import until


class Messages(DeviceCase):
    def test_interrupts_message_of_a_command(self):
        machine, _ = self.pair()
        machine.enable_msix()
        machine.store(IRQ_STATUS, 0xf)
        machine.store(IRQ_ENABLE, IRQ_COMMAND)
        machine.command(0, OPEN)
        machine.wait_message(0)
        self.assertEqual(machine.load(IRQ_STATUS) & IRQ_COMMAND, IRQ_COMMAND)
        self.assertFalse(machine.pin(), 'no pin where messages are on')

    def test_interrupts_message_disabled(self):
        machine, _ = self.pair()
        machine.enable_msix()
        machine.store(IRQ_STATUS, 0xf)
        machine.store(IRQ_ENABLE, 0xf & ~IRQ_COMMAND)
        machine.command(0, OPEN)
        machine.qemu.barrier()
        self.assertFalse(machine.message(0))
        self.assertEqual(machine.load(IRQ_STATUS) & IRQ_COMMAND, IRQ_COMMAND)

    def test_interrupts_message_after_enabling(self):
        """What is due when it is enabled is told then."""
        machine, _ = self.pair()
        machine.enable_msix()
        machine.store(IRQ_STATUS, 0xf)
        machine.command(0, OPEN)
        self.assertFalse(machine.message(0))
        machine.store(IRQ_ENABLE, IRQ_COMMAND)
        machine.wait_message(0)

    def test_interrupts_message_for_each_command(self):
        """Cleared before the answer is looked at: none is lost."""
        machine, _ = self.pair()
        machine.enable_msix()
        machine.store(IRQ_ENABLE, IRQ_COMMAND)
        machine.store(IRQ_STATUS, 0xf)
        for slot in range(20):
            machine.command(slot, 99)
            machine.wait_message(0)
            machine.store(IRQ_STATUS, IRQ_COMMAND)

    def test_interrupts_message_of_state(self):
        machine, link = self.linked()
        machine.enable_msix()
        machine.store(IRQ_STATUS, 0xf)
        machine.store(IRQ_ENABLE, IRQ_STATE)
        link.state(weight=200)
        machine.wait_message(0)
        machine.store(IRQ_STATUS, 0xf)
        link.close()
        machine.wait_message(0)

    def test_interrupts_each_vector(self):
        machine, server = self.pair()
        machine.enable_msix()
        for slot in range(64):
            guest = machine.channel(slot, data=4096, vector=slot + 1)
            guest.set_u32(guest.COMP_PARKED, 1)
        for vector in range(65):
            machine.message(vector)
        for slot in range(64):
            server.channels[slot + 1].reply(1)
            machine.wait_message(slot + 1)
            machine.qemu.barrier()
            self.assertEqual([v for v in range(1, 65) if machine.message(v)], [])

    def test_interrupts_shared_vector(self):
        machine, server = self.pair()
        machine.enable_msix()
        for slot in range(3):
            guest = machine.channel(slot, data=4096, vector=2)
            guest.set_u32(guest.COMP_PARKED, 1)
            server.channels[slot + 1].reply(1)
            machine.wait_message(2)

    def test_interrupts_masked_vector_is_pending(self):
        machine, server = self.pair()
        machine.enable_msix()
        guest = machine.channel(0, vector=5)
        machine.qtest.store(BAR1 + 16 * 5 + 12, 1)
        guest.set_u32(guest.COMP_PARKED, 1)
        server.channels[1].reply(1)
        until(lambda: guest.u32(guest.COMP_HEAD), 'the completion')
        machine.qemu.barrier()
        self.assertFalse(machine.message(5))
        pending = machine.config(machine.capability(0x11) + 8) & ~7
        self.assertEqual(machine.qtest.load(BAR1 + pending) & 1 << 5, 1 << 5)
        machine.qtest.store(BAR1 + 16 * 5 + 12, 0)
        machine.wait_message(5)
        self.assertEqual(machine.qtest.load(BAR1 + pending) & 1 << 5, 0)

    def test_interrupts_masked_function_is_pending(self):
        machine, _ = self.pair()
        machine.enable_msix()
        at = machine.capability(0x11) + 2
        machine.set_config(at, 0xc000, 2)
        machine.store(IRQ_STATUS, 0xf)
        machine.store(IRQ_ENABLE, IRQ_COMMAND)
        machine.command(0, OPEN)
        machine.qemu.barrier()
        self.assertFalse(machine.message(0))
        machine.set_config(at, 0x8000, 2)
        machine.wait_message(0)

    def test_interrupts_messages_without_bus_master(self):
        machine, link = self.linked()
        machine.enable_msix()
        machine.store(IRQ_STATUS, 0xf)
        machine.store(IRQ_ENABLE, 0xf)
        machine.set_config(0x04, 0x0002, 2)
        link.state(weight=200)
        until(lambda: machine.load(IRQ_STATUS) & IRQ_STATE, 'the state')
        machine.qemu.barrier()
        self.assertFalse(machine.message(0))


class Pin(DeviceCase):
    def test_interrupts_pin_follows_status_and_enable(self):
        machine, _ = self.pair()
        machine.store(IRQ_STATUS, 0xf)
        self.assertFalse(machine.pin())
        machine.command(0, OPEN)
        self.assertFalse(machine.pin(), 'not enabled')
        machine.store(IRQ_ENABLE, IRQ_COMMAND)
        self.assertTrue(machine.pin())
        machine.store(IRQ_ENABLE, 0)
        self.assertFalse(machine.pin())
        machine.store(IRQ_ENABLE, IRQ_COMMAND)
        self.assertTrue(machine.pin())
        machine.store(IRQ_STATUS, IRQ_COMMAND)
        self.assertFalse(machine.pin())

    def test_interrupts_pin_reaches_the_controller(self):
        machine, _ = self.pair()
        for route in range(4):
            machine.set_config(0x60 + route, 11, 1, devfn=1 << 3)
        machine.qtest.intercept()
        machine.store(IRQ_STATUS, 0xf)
        machine.store(IRQ_ENABLE, IRQ_COMMAND)
        machine.command(0, OPEN)
        machine.qemu.barrier()
        self.assertTrue(machine.qtest.levels.get(11))
        machine.store(IRQ_STATUS, IRQ_COMMAND)
        machine.qemu.barrier()
        self.assertFalse(machine.qtest.levels.get(11))

    def test_interrupts_pin_of_channels(self):
        machine, server = self.pair()
        for slot in (0, 31, 32, 63):
            guest = machine.channel(slot, data=4096)
            guest.set_u32(guest.COMP_PARKED, 1)
        machine.store(IRQ_STATUS, 0xf)
        machine.store(IRQ_ENABLE, IRQ_CHANNEL)
        self.assertFalse(machine.pin())
        for number, (register, bit) in enumerate(((CHANNELS_LOW, 0), (CHANNELS_LOW, 31),
                                                  (CHANNELS_HIGH, 0), (CHANNELS_HIGH, 31)), 1):
            server.channels[number].reply(1)
            until(machine.pin, 'the pin')
            self.assertEqual(machine.load(IRQ_STATUS) & IRQ_CHANNEL, IRQ_CHANNEL)
            self.assertEqual(machine.load(register), 1 << bit)
            machine.store(register, ~(1 << bit))
            self.assertTrue(machine.pin(), 'other bits do not clear it')
            machine.store(register, 1 << bit)
            self.assertEqual(machine.load(register), 0)
            self.assertFalse(machine.pin())
            self.assertEqual(machine.load(IRQ_STATUS) & IRQ_CHANNEL, 0)

    def test_interrupts_channel_bit_is_cleared_at_the_channels(self):
        machine, server = self.pair()
        guest = machine.channel(0)
        guest.set_u32(guest.COMP_PARKED, 1)
        server.channels[1].reply(1)
        until(lambda: machine.load(CHANNELS_LOW) == 1, 'the slot')
        machine.store(IRQ_STATUS, 0xf)
        self.assertEqual(machine.load(IRQ_STATUS) & IRQ_CHANNEL, IRQ_CHANNEL)
        machine.store(CHANNELS_LOW, 1)
        self.assertEqual(machine.load(IRQ_STATUS) & IRQ_CHANNEL, 0)

    def test_interrupts_no_channel_bits_with_messages(self):
        machine, server = self.pair()
        machine.enable_msix()
        guest = machine.channel(0, vector=1)
        guest.set_u32(guest.COMP_PARKED, 1)
        server.channels[1].reply(1)
        machine.wait_message(1)
        self.assertEqual(machine.load(CHANNELS_LOW), 0)
        self.assertEqual(machine.load(IRQ_STATUS) & IRQ_CHANNEL, 0)

    def test_interrupts_pin_cleared_by_reset(self):
        machine, _ = self.pair()
        machine.store(IRQ_ENABLE, IRQ_COMMAND)
        machine.command(0, OPEN)
        self.assertTrue(machine.pin())
        machine.reset()
        self.assertFalse(machine.pin())
        self.assertEqual(machine.load(IRQ_ENABLE), 0)


if __name__ == '__main__':
    main()
