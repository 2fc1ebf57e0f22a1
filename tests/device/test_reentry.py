#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""DMA aimed at the device itself: commands, directories, tables, rings, data and messages that
lie in its own BARs. Nothing crashes or hangs, and a device reset brings all back."""
import itertools
import random

from device import (
    ATTACH, BAR0, BAR1, BAR2, CLOSE, COMMAND, CONTROL, IRQ_ENABLE, JOB_A, JOB_B, JOB_SUM, MAGIC,
    MESSAGES_AT, OPEN, STATUS, READY, DeviceCase, main)
from qtest import until

TARGETS = {'registers': BAR0, 'job operands': BAR0 + 0x400, 'msix': BAR1, 'doorbells': BAR2,
           'last doorbell': BAR2 + 63 * 4096}


class Reentry(DeviceCase):
    def alive(self, machine, server):
        """All is well after a reset, and was not wedged before it."""
        machine.qmp.execute('query-status', seconds=1)
        self.assertEqual(machine.load(MAGIC), 0x55504756)
        self.assertEqual(machine.state(), READY)
        machine.reset()
        machine.setup_commands()
        until(lambda: not server.open_numbers, 'all to be closed')
        machine.heap = 0x200000
        guest = machine.channel(0)
        guest.submit(b'x' * 64)
        until(lambda: server.channels[max(server.channels)].take() == b'x' * 64, 'a record')

    def test_reentry_commands_in_bars(self):
        machine, server = self.pair()
        for name, address in TARGETS.items():
            with self.subTest(name):
                machine.setup_commands(address)
                for slot in (0, 1, 3, 63):
                    machine.store(COMMAND, slot)
                machine.qemu.barrier()
                self.assertEqual(len(server.log), 1, 'nothing but HELLO')
        self.alive(machine, server)

    def test_reentry_command_made_of_job_operands(self):
        """Operands of the job window that read as an OPEN: registers are no memory."""
        machine, server = self.pair()
        for i, word in enumerate((OPEN, 7, 64, 64, 4096, 0, 0, 0, 0, 0)):
            machine.store(JOB_A + 4 * i, word)
            machine.store(JOB_B + 4 * i, word)
        machine.setup_commands(BAR0 + 0x400)
        machine.store(COMMAND, 0)
        machine.store(COMMAND, 1)
        machine.qemu.barrier()
        self.assertEqual(len(server.log), 1, 'nothing but HELLO')
        self.assertEqual(machine.load(JOB_SUM), 0)
        self.alive(machine, server)

    def test_reentry_directory_and_tables_in_bars(self):
        machine, server = self.pair()
        slots = itertools.count()
        for name, address in TARGETS.items():
            with self.subTest(name):
                slot = next(slots)
                guest = machine.channel(slot, data=4096, attach=False)
                self.assertNotEqual(machine.command(slot, ATTACH, directory=address & ~4095), 0)
                machine.ram.set_u64(guest.directory, address & ~4095)
                self.assertNotEqual(machine.command(slot, ATTACH, directory=guest.directory), 0)
        self.alive(machine, server)

    def test_reentry_each_page_in_bars(self):
        """Channel page, rings, transfer page, data: each of them in each BAR at ATTACH."""
        machine, server = self.pair()
        for name, address in TARGETS.items():
            for which in ('page', 'submission', 'completion', 'transfers', 'data', 'all'):
                with self.subTest(name + ' as ' + which):
                    machine.heap = 0x200000
                    guest = machine.channel(0, data=8192, attach=False)
                    number = {'page': 0, 'submission': 1, 'completion': 2,
                              'transfers': len(guest.page) - 1,
                              'data': guest.data_offset // 4096, 'all': 0}[which]
                    last = len(guest.page) if which == 'all' else number + 1
                    for i in range(number, last):
                        guest.set_entry(i, address & ~4095)
                    machine.ask(0, ATTACH, directory=guest.directory)
                    machine.qemu.barrier()
                    guest.transfer(0, 8192)
                    guest.submit(b'x' * 128)
                    host = server.channels[max(server.channels)]
                    host.written(0, 8192, publish=False)
                    host.reply(1)
                    for _ in range(5):
                        guest.doorbell()
                    machine.qemu.barrier()
                    self.alive(machine, server)
                    machine.command(0, CLOSE)
                    until(lambda: not server.open_numbers, 'it to be closed')

    def test_reentry_pages_moved_into_bars(self):
        """The same behind the device's back, when the channel works already."""
        machine, server = self.pair()
        for name, address in TARGETS.items():
            with self.subTest(name):
                machine.heap = 0x200000
                guest = machine.channel(0, data=8192)
                host = server.channels[max(server.channels)]
                for number in range(len(guest.page)):
                    guest.set_entry(number, address & ~4095)
                guest.transfer(0, 8192)
                guest.submit(b'x' * 128)
                host.written(0, 8192, publish=False)
                host.reply(1)
                machine.qemu.barrier()
                self.alive(machine, server)
                machine.command(0, CLOSE)
                until(lambda: not server.open_numbers, 'it to be closed')

    def test_reentry_downloads_that_would_command(self):
        """A worker's data written over CONTROL, COMMAND and doorbells change nothing there."""
        machine, server = self.pair()
        machine.store(IRQ_ENABLE, 0x5)
        guest = machine.channel(0, data=8192)
        machine.channel(1, data=4096)
        host = server.channels[1]
        host.data_write(0, (1).to_bytes(4, 'little') * 2048)
        guest.set_entry(guest.data_offset // 4096, BAR0)
        guest.set_entry(guest.data_offset // 4096 + 1, BAR2 + 4096)
        host.written(CONTROL, 16, publish=False)
        host.written(4096, 64, publish=False)
        host.reply(1)
        machine.qemu.barrier()
        self.assertEqual(machine.load(IRQ_ENABLE), 0x5, 'no reset')
        self.assertEqual(machine.load(STATUS), READY)
        self.assertIn(2, server.open_numbers, 'the other channel is open')
        self.alive(machine, server)

    def test_reentry_messages_into_bars(self):
        """MSI-X messages to registers and doorbells: sent from wherever an interrupt arises."""
        machine, server = self.pair()
        machine.enable_msix()
        guest = machine.channel(0, vector=1)
        host = server.channels[1]
        for target, value in ((BAR0 + CONTROL, 1), (BAR0 + COMMAND, 0), (BAR2, 1), (BAR1, 0),
                              (BAR1 + 12, 1), (BAR0 + 0x34, 0xf), (BAR0 + 0x308, 1),
                              (BAR0 + 0x30, 0xf)):
            for vector in (0, 1):
                machine.qtest.store(BAR1 + 16 * vector, target)
                machine.qtest.store(BAR1 + 16 * vector + 8, value)
                machine.qtest.store(BAR1 + 16 * vector + 12, 0)
            machine.store(IRQ_ENABLE, 0xf)
            guest.set_u32(guest.COMP_PARKED, 1)
            host.reply(1)
            guest.doorbell()
            machine.ask(2, OPEN)
            machine.qemu.barrier()
        machine.set_config(machine.capability(0x11) + 2, 0, 2)
        self.alive(machine, server)

    def test_reentry_messages_into_a_ring(self):
        """Messages that change the very memory that is looked at."""
        machine, server = self.pair()
        machine.enable_msix()
        guest = machine.channel(0, vector=1)
        machine.qtest.store(BAR1 + 16, guest.at(guest.SUB_HEAD))
        machine.qtest.store(BAR1 + 16 + 8, 3)
        host = server.channels[1]
        guest.set_u32(guest.COMP_PARKED, 1)
        host.reply(1)
        guest.doorbell()
        machine.qemu.barrier()
        self.alive(machine, server)
        self.assertEqual(machine.ram.u32(MESSAGES_AT + 4), 0)

    def test_reentry_bars_moved_over_memory(self):
        """The guest moves a BAR over its own rings while the device copies."""
        machine, server = self.pair()
        guest = machine.channel(0, data=1 << 20)
        generator = random.Random(13)
        for _ in range(100):
            bar = generator.choice((0, 1, 2))
            place = generator.choice((guest.page[0], guest.page[1], guest.transfers, 0x100000,
                                      guest.directory, 0xfee00000, 0, 0xffffffff))
            for _ in range(4):
                guest.transfer(0, 1 << 20)
            machine.set_config(0x10 + 4 * bar, place)
            machine.qtest.store(BAR2, 1)
            machine.qemu.qmp.execute('query-status', seconds=2)
        machine.setup_pci()
        self.alive(machine, server)


if __name__ == '__main__':
    main()
