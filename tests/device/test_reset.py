#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reset by register and by the machine, with channels open and work under way."""
import mediator
from device import (
    COMMANDS_LOW, CONTROL, COUNTERS, IRQ_ENABLE, JOB_A, OPEN, READY, VM_ID, DeviceCase, main)
from mediator import connect
from qtest import until

PATTERN = 0xa5


class Reset(DeviceCase):
    def by_register(self, machine):
        machine.reset()

    def by_machine(self, machine):
        machine.qmp.execute('system_reset')
        machine.qmp.wait_event('RESET')

    def closes_all(self, how):
        machine, server = self.pair()
        for slot in range(20):
            machine.channel(slot, data=4096)
        how(machine)
        until(lambda: not server.open_numbers, 'all to be closed')
        self.assertEqual(server.count(mediator.CLOSE), 20)
        return machine, server

    def test_reset_by_register_closes_all(self):
        machine, _ = self.closes_all(self.by_register)
        self.assertEqual(machine.state(), READY, 'the link stays')
        machine.setup_commands()
        machine.channel(0)

    def test_reset_by_machine_closes_all(self):
        machine, _ = self.closes_all(self.by_machine)
        machine.setup_pci()
        machine.setup_commands()
        self.assertEqual(machine.state(), READY)
        self.assertEqual(machine.load(VM_ID), 7)
        machine.channel(0)

    def touches_nothing(self, how):
        """Work under way in both directions; after the reset memory stays as it is."""
        machine, server = self.pair()
        guests = [machine.channel(slot, data=1 << 20) for slot in range(3)]
        for number, guest in enumerate(guests, 1):
            for _ in range(60):
                guest.transfer(0, 1 << 20)
            guest.submit(b'x' * 640)
            server.channels[number].written(0, 1 << 20, publish=False)
            server.channels[number].reply(1)
        how(machine)
        size = machine.heap - 0x100000
        machine.ram.write(0x100000, bytes([PATTERN]) * size)
        for channel in server.channels.values():
            channel.reply(2)
        for guest in guests:
            guest.doorbell()
        machine.qemu.barrier()
        until(lambda: not server.open_numbers, 'all to be closed')
        machine.qemu.barrier()
        self.assertEqual(machine.ram.read(0x100000, size), bytes([PATTERN]) * size)

    def test_reset_by_register_touches_nothing(self):
        self.touches_nothing(self.by_register)

    def test_reset_by_machine_touches_nothing(self):
        self.touches_nothing(self.by_machine)

    def test_reset_with_commands_unanswered(self):
        machine, link = self.linked()
        for slot in range(8):
            machine.ask(slot, OPEN)
        request = link.expect(mediator.OPEN)
        machine.reset()
        machine.ram.write(0x100000, bytes([PATTERN]) * 65536)
        link.opened(request, 1).close()
        close = link.expect(mediator.CLOSE)
        self.assertEqual(close.body.channel, 1)
        link.closed(close)
        machine.qemu.barrier()
        self.assertTrue(link.quiet(), 'the other OPENs were forgotten')
        self.assertEqual(machine.ram.read(0x100000, 65536), bytes([PATTERN]) * 65536)

    def test_reset_and_open_again_at_once(self):
        machine, server = self.pair()
        for _ in range(30):
            for slot in range(4):
                machine.ask(slot, OPEN, data=4096)
            machine.reset()
            machine.setup_commands()
        self.assertEqual(machine.command(0, OPEN), 0)
        self.assertEqual(machine.command(0, 3), 0)
        until(lambda: not server.open_numbers, 'all to be closed')

    def test_reset_registers(self):
        machine, _ = self.pair()
        machine.store(IRQ_ENABLE, 0xf)
        machine.store(JOB_A, 5)
        machine.doorbell(0)
        machine.reset()
        for register in (IRQ_ENABLE, COMMANDS_LOW, JOB_A, COUNTERS, CONTROL):
            self.assertEqual(machine.load(register), 0, hex(register))
        self.assertEqual(machine.load(VM_ID), 7)

    def test_reset_by_other_values_does_nothing(self):
        machine, _ = self.pair()
        machine.store(IRQ_ENABLE, 0xf)
        for value in (0, 2, 0x80000000, 0xfffffffe):
            machine.store(CONTROL, value)
            self.assertEqual(machine.load(IRQ_ENABLE), 0xf)

    def test_reset_without_mediator(self):
        machine, server = self.waiting_pair()
        machine.channel(0)
        server.close()
        until(lambda: machine.state() == 0, 'the link to be down')
        machine.reset()
        second = self.serve(connect(self.path('vm')))
        machine.wait_state(READY)
        machine.setup_commands()
        self.assertEqual(machine.command(0, OPEN), 0)
        self.assertEqual(second.count(mediator.OPEN), 1)

    def test_reset_a_hundred_times(self):
        machine, server = self.pair()
        before = None
        for _ in range(100):
            machine.setup_commands()
            machine.heap = 0x200000
            guest = machine.channel(3)
            guest.submit(b'x' * 64)
            machine.reset()
            until(lambda: not server.open_numbers, 'it to be closed')
            machine.qemu.barrier()
            if before is None:
                before = machine.qemu.descriptors()
        self.assertEqual(machine.qemu.descriptors(), before)


if __name__ == '__main__':
    main()
