#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Commands: each in each state, bad slots, tags, addresses and sizes."""
import random

import mediator
from device import (
    ATTACH, BAR0, CLOSE, COMMAND, COMMAND_ASK, COMMANDS_AT, IRQ_STATUS, OPEN, SLOTS,
    DeviceCase, main)
from qtest import RAM_BYTES, until


class Open(DeviceCase):
    def test_commands_open(self):
        machine, server = self.pair()
        self.assertEqual(machine.command(2, OPEN, sub=128, comp=32, data=8192, process=b'prog'), 0)
        asked = server.log[-1].body
        self.assertEqual((asked.sub_granules, asked.comp_granules, asked.data_bytes),
                         (128, 32, 8192))
        self.assertEqual(asked.process.rstrip(b'\0'), b'prog')
        self.assertEqual(machine.answer_channel(2), 1)
        self.assertEqual(machine.answer_geometry(2), (128, 32, 4096, 4096 + 8192,
                                                      4096 + 8192 + 4096, 8192, 24576))
        self.assertEqual(machine.load(IRQ_STATUS) & 1, 1)

    def test_commands_open_of_the_smallest(self):
        machine, _ = self.pair()
        guest = machine.channel(0, sub=2, comp=2, data=4096)
        self.assertEqual((guest.sub, guest.comp, guest.data), (2, 2, 4096))

    def test_commands_open_of_the_largest_rings(self):
        machine, _ = self.pair()
        self.assertEqual(machine.command(0, OPEN, sub=65536, comp=65536, data=4096), 0)

    def test_commands_open_sizes(self):
        """Every limit of the device at limit + 1; nothing of it reaches the mediator."""
        machine, server = self.pair()
        for wrong in ({'sub': 0}, {'sub': 1}, {'sub': 3}, {'sub': 65537}, {'sub': 131072},
                      {'sub': 0x80000000}, {'comp': 0}, {'comp': 1}, {'comp': 63},
                      {'comp': 131072}, {'data': 0}, {'data': 1}, {'data': 4095}, {'data': 4097},
                      {'data': 1 << 40}, {'data': (1 << 64) - 4096}):
            with self.subTest(wrong):
                self.assertEqual(machine.command(0, OPEN, **wrong), mediator.LIMIT)
                self.assertNotEqual(machine.answer_text(0), '')
        self.assertEqual(server.count(mediator.OPEN), 0)

    def test_commands_open_of_what_a_directory_does_not_reach(self):
        machine, server = self.pair(max_data=1 << 36)
        reach = (512 * 512 << 12) - (16 << 20)
        self.assertEqual(machine.command(0, OPEN, data=reach + 4096), mediator.LIMIT)
        self.assertEqual(server.count(mediator.OPEN), 0)

    def test_commands_open_process_without_end(self):
        machine, server = self.pair()
        self.assertEqual(machine.command(0, OPEN, process=b'p' * 40), mediator.BAD_MESSAGE)
        self.assertEqual(server.count(mediator.OPEN), 0)
        self.assertEqual(machine.command(0, OPEN, process=b'p' * 39), 0)
        self.assertEqual(server.log[-1].body.process, b'p' * 39 + b'\0')

    def test_commands_open_of_open(self):
        machine, server = self.pair()
        machine.channel(1)
        self.assertEqual(machine.command(1, OPEN), mediator.BAD_MESSAGE)
        self.assertEqual(server.count(mediator.OPEN), 1)
        self.assertEqual(machine.command(1, CLOSE), 0)

    def test_commands_all_slots(self):
        machine, server = self.pair()
        for slot in range(SLOTS):
            machine.channel(slot, data=4096)
        self.assertEqual(len(server.open_numbers), SLOTS)
        for slot in range(SLOTS):
            self.assertEqual(machine.command(slot, CLOSE), 0)
        until(lambda: not server.open_numbers, 'all to be closed')

    def test_commands_more_than_the_mediator_allows(self):
        """The mediator enforces max_channels; its answer reaches the guest."""
        machine, server = self.pair(max_channels=2)

        def limited(message):
            if len(server.open_numbers) >= 2:
                server.link.refuse(message.tag, mediator.LIMIT, b'two at most')
                return True
            return False

        server.hook(mediator.OPEN, limited)
        self.assertEqual([machine.command(slot, OPEN) for slot in range(4)],
                         [0, 0, mediator.LIMIT, mediator.LIMIT])
        self.assertEqual(machine.command(0, CLOSE), 0)
        until(lambda: len(server.open_numbers) == 1, 'one to be closed')
        self.assertEqual(machine.command(3, OPEN), 0)

    def test_commands_open_of_closing(self):
        """An OPEN of a slot whose channel is being closed waits for the mediator's word."""
        machine, link = self.linked()
        tag = machine.ask(0, OPEN)
        self.addCleanup(link.opened(link.expect(mediator.OPEN), 1).close)
        machine.wait_done(0, tag)
        self.assertEqual(machine.command(0, CLOSE), 0)
        closing = link.expect(mediator.CLOSE)
        tag = machine.ask(0, OPEN)
        machine.qemu.barrier()
        self.assertTrue(link.quiet(), 'OPEN waits for CLOSED')
        self.assertNotEqual(machine.done(0), tag)
        link.closed(closing)
        self.addCleanup(link.opened(link.expect(mediator.OPEN), 2).close)
        self.assertEqual(machine.wait_done(0, tag), 0)

    def test_commands_close_while_opening(self):
        """The slot's next command comes while OPEN has no answer: nothing is left over."""
        machine, link = self.linked()
        machine.ask(0, OPEN)
        request = link.expect(mediator.OPEN)
        machine.ask(0, CLOSE)
        machine.qemu.barrier()
        link.opened(request, 1).close()
        machine.reset()
        self.assertEqual(link.expect(mediator.CLOSE).body.channel, 1)


class States(DeviceCase):
    def test_commands_attach_without_open(self):
        machine, _ = self.pair()
        self.assertEqual(machine.command(0, ATTACH, directory=0x200000), mediator.STATUS_GONE)

    def test_commands_attach_twice(self):
        machine, _ = self.pair()
        guest = machine.channel(0)
        self.assertEqual(machine.command(0, ATTACH, directory=guest.directory),
                         mediator.BAD_MESSAGE)

    def test_commands_close_of_closed(self):
        machine, server = self.pair()
        self.assertEqual(machine.command(0, CLOSE), 0)
        self.assertEqual(server.count(mediator.CLOSE), 0)
        machine.channel(0)
        self.assertEqual(machine.command(0, CLOSE), 0)
        self.assertEqual(machine.command(0, CLOSE), 0, 'right in any state')
        until(lambda: server.count(mediator.CLOSE) == 1, 'one CLOSE')
        machine.qemu.barrier()
        self.assertEqual(server.count(mediator.CLOSE), 1)

    def test_commands_attach_after_close(self):
        machine, _ = self.pair()
        guest = machine.channel(0)
        self.assertEqual(machine.command(0, CLOSE), 0)
        self.assertEqual(machine.command(0, ATTACH, directory=guest.directory),
                         mediator.STATUS_GONE)

    def test_commands_after_attach_that_failed(self):
        """A channel whose memory was wrong can be given the right one, or closed."""
        machine, server = self.pair()
        guest = machine.channel(0, attach=False)
        self.assertNotEqual(machine.command(0, ATTACH, directory=guest.directory + 8), 0)
        machine.command(0, ATTACH, directory=guest.directory)
        self.assertEqual(machine.command(0, CLOSE), 0)
        until(lambda: not server.open_numbers, 'it to be closed')

    def test_commands_of_no_kind(self):
        machine, server = self.pair()
        for op in (0, 4, 5, 255, 0x80000001, 0xffffffff):
            with self.subTest(op=op):
                self.assertEqual(machine.command(0, op), mediator.BAD_MESSAGE)
        machine.channel(1)
        self.assertEqual(machine.command(1, 4), mediator.BAD_MESSAGE)
        self.assertEqual(server.count(mediator.CLOSE), 0)

    def test_commands_reserved_fields(self):
        machine, server = self.pair()
        for offset in range(80, 128):  # and 80 means: a flag that there is not
            tag = next(machine.tags)
            machine.ram.write(COMMANDS_AT, COMMAND_ASK.pack(OPEN, tag, 64, 64, 4096, 0, 0,
                                                            2 * (offset == 80), b'p').ljust(128, b'\0'))
            machine.ram.write(COMMANDS_AT + offset, b'\1' if offset > 80 else b'\0')
            machine.store(COMMAND, 0)
            self.assertEqual(machine.wait_done(0, tag), mediator.BAD_MESSAGE, offset)
        self.assertEqual(server.count(mediator.OPEN), 0)

    def test_commands_while_open_waits(self):
        """Only CLOSE is taken then, and calls it off."""
        machine, link = self.linked()
        machine.ask(0, OPEN)
        request = link.expect(mediator.OPEN)
        self.assertEqual(machine.command(0, OPEN), mediator.BAD_MESSAGE)
        self.assertEqual(machine.command(0, ATTACH, directory=0x200000), mediator.BAD_MESSAGE)
        self.assertEqual(machine.command(0, CLOSE), 0)
        link.opened(request, 3).close()
        closing = link.expect(mediator.CLOSE)
        self.assertEqual(closing.body.channel, 3)
        link.closed(closing)
        machine.qemu.barrier()
        tag = machine.ask(0, OPEN)
        self.addCleanup(link.opened(link.expect(mediator.OPEN), 4).close)
        self.assertEqual(machine.wait_done(0, tag), 0)


class Numbers(DeviceCase):
    def test_commands_slots_that_are_not_there(self):
        machine, server = self.pair()
        page = machine.pages(1)[0]
        machine.ram.write(page, b'\xa5' * 4096)
        for slot in (64, 65, 255, 256, 0x10000, 0x80000000, 0xffffffff):
            machine.store(COMMAND, slot)
        machine.qemu.barrier()
        self.assertEqual(machine.load(IRQ_STATUS) & 1, 0)
        self.assertEqual(len(server.log), 1, 'nothing but HELLO')

    def test_commands_tag_zero(self):
        machine, server = self.pair()
        machine.ask(0, OPEN, tag=0)
        machine.qemu.barrier()
        self.assertEqual(machine.command(1, OPEN), 0)
        self.assertEqual(machine.done(0), 0)
        self.assertLessEqual(server.count(mediator.OPEN), 2)

    def test_commands_tag_of_before(self):
        """The same tag again: answered or ignored, but the channel is one."""
        machine, server = self.pair()
        self.assertEqual(machine.command(0, OPEN, tag=77), 0)
        machine.ask(0, OPEN, tag=77)
        machine.qemu.barrier()
        self.assertEqual(server.count(mediator.OPEN), 1)

    def test_commands_answers_stand_in_their_slot(self):
        """Nothing outside the device's part of the slot is written."""
        machine, _ = self.pair()
        for slot in (0, 31, 63):
            at = COMMANDS_AT + slot * 1024
            machine.ram.write(at - 1024 * min(slot, 1), b'\x5a' * (1024 * min(slot, 1)))
            machine.ram.write(at + 1024, b'\x5a' * 1024)
            ask = COMMAND_ASK.pack(OPEN, next(machine.tags), 64, 64, 4096, 0, 0, 0, b'p')
            ask = ask.ljust(128, b'\0')
            machine.ram.write(at, ask)
            tag = int.from_bytes(ask[4:8], 'little')
            machine.store(COMMAND, slot)
            self.assertEqual(machine.wait_done(slot, tag), 0)
            self.assertEqual(machine.ram.read(at, 128), ask)
            self.assertEqual(machine.ram.read(at + 1024, 1024), b'\x5a' * 1024)
            if slot:
                self.assertEqual(machine.ram.read(at - 1024, 1024), b'\x5a' * 1024)

    def test_commands_thousands_at_once(self):
        machine, server = self.pair()
        generator = random.Random(4)
        for _ in range(3000):
            machine.ask(generator.randrange(SLOTS), generator.choice((OPEN, CLOSE, ATTACH, 9)),
                        sub=generator.choice((2, 64, 3)), data=4096, directory=0x200000)
        machine.reset()
        machine.setup_commands()
        until(lambda: not server.open_numbers, 'all to be closed')
        self.assertEqual(machine.command(7, OPEN), 0)

    def test_commands_faster_than_they_are_answered(self):
        """The guest rewrites a slot's command while the device works at it."""
        machine, link = self.linked()
        for op in (OPEN, CLOSE, OPEN, ATTACH, OPEN, CLOSE) * 20:
            machine.ask(5, op)
        machine.qemu.barrier()
        number = 0
        opened = set()
        machine.reset()
        machine.setup_commands()
        while True:
            machine.qemu.barrier()
            if link.quiet():
                break
            message = link.receive()
            if message.kind == mediator.OPEN:
                number += 1
                opened.add(number)
                link.opened(message, number).close()
            else:
                opened.discard(message.body.channel)
                link.closed(message)
        self.assertEqual(opened, set(), 'all that was opened is closed after a reset')


class Addresses(DeviceCase):
    def quiet_failure(self, machine, address):
        """A command table that cannot be read or written: nothing happens, QEMU lives."""
        machine.setup_commands(address)
        for slot in (0, 1, 63):
            machine.store(COMMAND, slot)
        machine.qemu.barrier()

    def test_commands_table_where_no_memory_is(self):
        machine, server = self.pair()
        for address in (RAM_BYTES, RAM_BYTES + 0x1000000, 0xd0000000, 0xffffffff00000000,
                        0xfffffffffffffc00, 0x8000000000000000, 0xa0000):
            with self.subTest(hex(address)):
                self.quiet_failure(machine, address)
        self.assertEqual(len(server.log), 1, 'nothing but HELLO')
        machine.setup_commands()
        self.assertEqual(machine.command(0, OPEN), 0)

    def test_commands_table_at_the_end_of_memory(self):
        """Slots before the end work, those behind it do not, and neither hurts."""
        machine, _ = self.pair()
        machine.setup_commands(RAM_BYTES - 1024)
        machine.ram.write(RAM_BYTES - 1024, COMMAND_ASK.pack(9, 5, 0, 0, 0, 0, 0, 0, b''))
        machine.store(COMMAND, 0)
        until(lambda: machine.ram.u32(RAM_BYTES - 1024 + 128) == 5, 'the last slot')
        machine.store(COMMAND, 1)
        machine.qemu.barrier()

    def test_commands_table_at_odd_addresses(self):
        machine, _ = self.pair()
        for address in (COMMANDS_AT + 1, COMMANDS_AT + 4, COMMANDS_AT + 512, 0x1ffffd):
            self.quiet_failure(machine, address)

    def test_commands_without_bus_master(self):
        machine, server = self.pair()
        machine.set_config(0x04, 0x0002, 2)
        tag = machine.ask(0, OPEN)
        machine.qemu.barrier()
        self.assertNotEqual(machine.done(0), tag)
        self.assertEqual(server.count(mediator.OPEN), 0)
        machine.set_config(0x04, 0x0006, 2)
        self.assertEqual(machine.command(0, OPEN), 0)

    def test_commands_attach_without_bus_master(self):
        """It is lost while a channel works: the channel ends or waits, and QEMU lives."""
        machine, _ = self.pair()
        guest = machine.channel(0)
        machine.set_config(0x04, 0x0002, 2)
        guest.submit(b'x' * 64)
        machine.qemu.barrier()
        machine.set_config(0x04, 0x0006, 2)
        self.assertEqual(machine.command(0, CLOSE), 0)

    def test_commands_attach_bad_directory(self):
        machine, server = self.pair()
        good = machine.channel(0, attach=False)
        for directory in (0, 1, 8, good.directory + 1, good.directory + 512, RAM_BYTES,
                          0xd0000000, 0xfffffffffffff000, 0x8000000000000000, BAR0 + 0x1000000):
            with self.subTest(hex(directory)):
                self.assertNotEqual(machine.command(0, ATTACH, directory=directory), 0)
                if 1 not in server.open_numbers:
                    self.fail('the channel is closed by a wrong address')

    def test_commands_attach_bad_tables(self):
        machine, server = self.pair()
        wrongs = {
            'no table': lambda g: machine.ram.set_u64(g.directory, 0),
            'odd table': lambda g: machine.ram.set_u64(g.directory, g.tables[0] + 4),
            'table beyond memory': lambda g: machine.ram.set_u64(g.directory, 1 << 40),
            'no channel page': lambda g: g.set_entry(0, 0),
            'odd channel page': lambda g: g.set_entry(0, g.page[0] + 64),
            'channel page beyond memory': lambda g: g.set_entry(0, 1 << 45),
            'no ring': lambda g: g.set_entry(1, 0),
            'ring beyond memory': lambda g: g.set_entry(2, 1 << 45),
            'odd ring': lambda g: g.set_entry(2, g.page[2] + 1),
            'no transfer page': lambda g: g.set_entry(len(g.page) - 1, 0),
            'odd transfer page': lambda g: g.set_entry(len(g.page) - 1, g.page[-1] + 8),
        }
        for slot, (name, wrong) in enumerate(wrongs.items()):
            with self.subTest(name):
                guest = machine.channel(slot, attach=False)
                wrong(guest)
                if machine.command(slot, ATTACH, directory=guest.directory) == 0:
                    self.assertIn('ring', name)
                    guest.submit(b'x' * 64)
                    server.channels[slot + 1].reply(1)
                    until(lambda slot=slot: machine.gone(slot)[0], 'its end at the first use')
                self.assertEqual(machine.command(slot, CLOSE), 0)

    def test_commands_attach_without_data_pages(self):
        """Pages of the data area may come later."""
        machine, _ = self.pair()
        guest = machine.channel(0, attach=False)
        for number in range(guest.data_offset // 4096, guest.total // 4096):
            guest.set_entry(number, 0)
        self.assertEqual(machine.command(0, ATTACH, directory=guest.directory), 0)

    def test_commands_attach_vectors(self):
        machine, _ = self.pair()
        for slot, vector in enumerate((0, 1, 64)):
            machine.channel(slot, data=4096, vector=vector)
        for slot, vector in enumerate((65, 66, 255, 256, 0x80000000, 0xffffffff), 3):
            with self.subTest(vector=vector):
                guest = machine.channel(slot, data=4096, attach=False)
                self.assertEqual(machine.command(slot, ATTACH, directory=guest.directory,
                                                 vector=vector), mediator.BAD_MESSAGE)

    def test_commands_attach_all_to_one_page(self):
        """One page of the guest as everything: its problem, not the host's."""
        machine, server = self.pair()
        guest = machine.channel(0, attach=False)
        page = machine.pages(1)[0]
        for number in range(len(guest.page)):
            guest.set_entry(number, page)
        machine.command(0, ATTACH, directory=guest.directory)
        for _ in range(10):
            guest.doorbell()
        machine.qemu.barrier()
        self.assertEqual(machine.command(0, CLOSE), 0)
        until(lambda: not server.open_numbers, 'it to be closed')

    def test_commands_attach_into_the_command_table(self):
        """A channel whose pages are the table of commands."""
        machine, server = self.pair()
        guest = machine.channel(0, attach=False)
        for number in range(len(guest.page)):
            guest.set_entry(number, COMMANDS_AT)
        machine.ask(0, ATTACH, directory=guest.directory)
        machine.qemu.barrier()
        machine.reset()
        machine.ram.write(COMMANDS_AT, b'\0' * 65536)
        machine.setup_commands()
        until(lambda: not server.open_numbers, 'it to be closed')
        self.assertEqual(machine.command(0, OPEN), 0)

    def test_commands_directory_is_its_own_table(self):
        machine, _ = self.pair()
        guest = machine.channel(0, attach=False)
        machine.ram.set_u64(guest.directory, guest.directory)
        machine.ask(0, ATTACH, directory=guest.directory)
        machine.qemu.barrier()
        guest.doorbell()
        machine.qemu.barrier()
        machine.reset()
        machine.setup_commands()
        self.assertEqual(machine.command(1, OPEN), 0)


if __name__ == '__main__':
    main()
