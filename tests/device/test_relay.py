#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A relayed channel: what passes between guest memory and the host's, and what ends it."""
import os
import random
import struct

import mediator
from device import (
    CLOSE, DOORBELLS, DOWNLOAD, RING_BYTES, TURNS, UPLOAD, WORKER_KICKS, WORKER_WAKES, DeviceCase,
    main)
from qtest import until

M32 = 0xffffffff


class RelayCase(DeviceCase):
    def relayed(self, **sizes):
        """(machine, server, guest's side, host's side) of one channel in slot 0."""
        machine, server = self.pair()
        guest = machine.channel(0, **sizes)
        return machine, server, guest, server.channels[1]

    def ended(self, machine, server, guest):
        """The channel ends with BAD_RECORD, at the mediator too; another one works."""
        until(lambda: machine.gone(guest.slot)[0], 'the channel to be gone')
        self.assertEqual(machine.gone(guest.slot)[1], mediator.BAD_RECORD)
        self.assertNotEqual(machine.gone(guest.slot)[2], '', 'and says why')
        until(lambda: guest.u32(guest.STATE) == 2, 'ENDED in the notice')
        until(lambda: 1 not in server.open_numbers, 'the mediator to be told')
        self.assertEqual(machine.command(guest.slot, CLOSE), 0)
        machine.channel(guest.slot + 1)


class Records(RelayCase):
    def test_relay_page_in_the_guest(self):
        _, _, guest, host = self.relayed()
        self.assertEqual(guest.u32(0), mediator.MAGIC)
        self.assertEqual(guest.u32(4), 1)
        self.assertEqual(guest.read(8, 48), host.geometry())
        self.assertEqual(guest.u32(56) & 1, 1, 'mirrored')
        self.assertEqual(guest.u32(guest.STATE), 1)

    def test_relay_record(self):
        machine, _, guest, host = self.relayed()
        record = os.urandom(192)
        guest.submit(record)
        out = b''
        until(lambda: host.u32(host.SUB_HEAD) == 3, 'three granules')
        out = host.take()
        self.assertEqual(out, record)
        self.assertGreater(host.kicked(), 0)
        host.kick()
        until(lambda: guest.u32(guest.SUB_TAIL) == 3, 'room again')
        self.assertEqual(machine.counter(DOORBELLS), 1)
        self.assertGreater(machine.counter(TURNS), 0)
        self.assertEqual(machine.counter(RING_BYTES), 192)
        self.assertGreater(machine.counter(WORKER_KICKS), 0)

    def test_relay_no_kick_for_a_worker_that_is_awake(self):
        machine, _, guest, host = self.relayed()
        machine.qemu.barrier()
        host.set_u32(host.SUB_PARKED, 0)
        host.kicked()
        guest.submit(b'x' * 64)
        until(host.take, 'the record')
        machine.qemu.barrier()
        self.assertEqual(host.kicked(), 0)

    def test_relay_device_is_parked_between(self):
        """The guest needs to ring, and the worker to kick, only where this is set."""
        machine, _, guest, host = self.relayed()
        guest.submit(b'x' * 64)
        until(host.take, 'the record')
        until(lambda: guest.u32(guest.SUB_PARKED) == 1, 'the device to park')
        until(lambda: host.u32(host.COMP_PARKED) == 1, 'the device to park at the host')
        machine.qemu.barrier()

    def test_relay_wraps(self):
        _, _, guest, host = self.relayed(sub=8, comp=8)
        generator = random.Random(5)
        sent = got = b''
        for _ in range(400):
            count = generator.randint(1, 8)
            until(lambda count=count: 8 - ((guest.sub_head - guest.u32(guest.SUB_TAIL)) & M32)
                  >= count, 'room')
            data = generator.randbytes(64 * count)
            guest.submit(data)
            sent += data
            until(lambda count=count: (host.u32(host.SUB_HEAD) - host.sub_tail) & M32 >= count,
                  'records')
            got += host.take()
            host.kick()
        self.assertEqual(got, sent)

    def test_relay_ring_of_two(self):
        _, _, guest, host = self.relayed(sub=2, comp=2, data=4096)
        for i in range(100):
            guest.submit(bytes([i]) * 64)
            until(lambda i=i: host.take() == bytes([i]) * 64, 'record %d' % i)
            host.kick()
            host.put(struct.pack('<IHHQiIQQ', 40, 1, 0, i, 0, 0, 0, 0))
            host.publish()
            until(lambda: guest.u32(guest.COMP_HEAD) == guest.comp_tail + 1, 'completion %d' % i)
            self.assertEqual([seq for _, seq, _ in guest.completions()], [i])
            guest.doorbell()
            until(lambda: host.free() == 2, 'room at the host')

    def test_relay_largest_rings(self):
        """A full ring of 4 MiB takes several turns and arrives whole."""
        machine, server = self.pair()
        guest = machine.channel(0, sub=65536, comp=2, data=4096)
        host = server.channels[1]
        data = random.Random(6).randbytes(65536 * 64)
        guest.submit(data)
        got = b''
        until(lambda: host.u32(host.SUB_HEAD) == 65536, 'all of it')
        got = host.take()
        self.assertEqual(got, data)
        self.assertGreater(machine.counter(TURNS), 3, 'a turn is bounded')

    def test_relay_doorbell_with_nothing_behind(self):
        machine, _, guest, host = self.relayed()
        for _ in range(1000):
            guest.doorbell()
        machine.qemu.barrier()
        self.assertEqual(host.u32(host.SUB_HEAD), 0)
        self.assertEqual(machine.counter(DOORBELLS), 1000)

    def test_relay_guest_waits_for_room(self):
        """A guest that is waiting is known to the worker, and told when there is room."""
        machine, _, guest, host = self.relayed(sub=4)
        machine.enable_msix()
        guest.submit(b'a' * 256)
        until(lambda: host.u32(host.SUB_HEAD) == 4, 'a full ring')
        guest.set_u32(guest.SUB_WAITING, 1)
        guest.doorbell()
        until(lambda: host.u32(host.SUB_WAITING) == 1, 'the worker to see it')
        self.assertFalse(machine.message(0))
        host.take()
        host.kick()
        until(lambda: guest.u32(guest.SUB_TAIL) == 4, 'room')
        machine.wait_message(0)

    def test_relay_notice(self):
        machine, _, guest, host = self.relayed()
        host.set_u64(host.ISSUED, 0x100000002)
        host.set_u64(host.CREDIT, 77)
        host.set_u32(host.POISONED, 700)
        host.kick()
        until(lambda: guest.u32(guest.POISONED) == 700, 'the notice')
        self.assertEqual(struct.unpack('<QQ', guest.read(guest.ISSUED, 16)), (0x100000002, 77))
        host.set_u64(host.ISSUED, 0x100000003)
        guest.doorbell()
        until(lambda: guest.u32(guest.ISSUED) == 3, 'the notice after a doorbell')
        machine.qemu.barrier()


class Completions(RelayCase):
    def test_relay_completion(self):
        machine, _, guest, host = self.relayed()
        host.reply(5, b'payload')
        until(lambda: guest.u32(guest.COMP_HEAD) == 1, 'the completion')
        kind, seq, entry = guest.completions()[0]
        self.assertEqual((kind, seq, entry[40:47]), (1, 5, b'payload'))
        self.assertGreater(machine.counter(WORKER_WAKES), 0)

    def test_relay_completions_wrap(self):
        _, _, guest, host = self.relayed(comp=16)
        generator = random.Random(7)
        for seq in range(300):
            payload = generator.randbytes(8 * generator.randint(0, 40))
            need = (40 + len(payload) + 63) // 64
            until(lambda need=need: host.free() >= 2 * need, 'room')
            host.reply(seq, payload)
            got = []
            until(lambda got=got: got.extend(guest.completions()) or got, 'completion %d' % seq)
            guest.doorbell()
            self.assertEqual([(kind, number, entry[40:]) for kind, number, entry in got],
                             [(1, seq, payload)])

    def test_relay_completions_wait_for_the_guest(self):
        """A guest that takes nothing: the worker's ring is full, nothing is lost."""
        machine, _, guest, host = self.relayed(comp=8)
        for seq in range(8):
            host.reply(seq)
        until(lambda: guest.u32(guest.COMP_HEAD) == 8, 'a full ring')
        machine.qemu.barrier()
        self.assertEqual(host.free(), 0, 'the guest has taken none')
        self.assertEqual([seq for _, seq, _ in guest.completions()], list(range(8)))
        guest.doorbell()
        until(lambda: host.free() == 8, 'room')

    def test_relay_interrupt_only_when_parked(self):
        machine, _, guest, host = self.relayed(vector=3)
        machine.enable_msix()
        guest.set_u32(guest.COMP_PARKED, 0)
        host.reply(1)
        until(lambda: guest.u32(guest.COMP_HEAD) == 1, 'the completion')
        machine.qemu.barrier()
        self.assertFalse(machine.message(3))
        guest.set_u32(guest.COMP_PARKED, 1)
        host.reply(2)
        until(lambda: guest.u32(guest.COMP_HEAD) == 2, 'the completion')
        machine.wait_message(3)

    def test_relay_many_channels(self):
        machine, server = self.pair()
        guests = [machine.channel(slot, sub=16, comp=16, data=4096, vector=1 + slot)
                  for slot in range(64)]
        machine.enable_msix()
        for slot, guest in enumerate(guests):
            guest.set_u32(guest.COMP_PARKED, 1)
            guest.submit(bytes([slot]) * 64)
        for slot in range(64):
            host = server.channels[slot + 1]
            got = []
            until(lambda host=host, got=got: got.append(host.take()) or got[-1], 'a record')
            self.assertEqual(got[-1], bytes([slot]) * 64)
            host.reply(slot)
        for slot, guest in enumerate(guests):
            machine.wait_message(1 + slot)
            self.assertEqual([seq for _, seq, _ in guest.completions()], [slot])


class Bulk(RelayCase):
    def test_relay_upload(self):
        machine, _, guest, host = self.relayed()
        data = os.urandom(20000)
        guest.data_write(100, data)
        guest.transfer(100, 20000)
        guest.submit(b'r' * 64)
        until(host.take, 'the record')
        self.assertEqual(host.data_read(100, 20000), data)
        self.assertEqual(host.data_read(0, 100), b'\0' * 100)
        self.assertEqual(host.data_read(20100, 100), b'\0' * 100)
        until(lambda: guest.transfers_done() == 1, 'its end')
        self.assertEqual(machine.counter(UPLOAD), 20000)

    def test_relay_upload_of_rows(self):
        _, _, guest, host = self.relayed()
        data = os.urandom(65536)
        guest.data_write(0, data)
        guest.transfer(10, 7, pitch=5000, rows=13)
        guest.submit(b'r' * 64)
        until(host.take, 'the record')
        want = bytearray(65536)
        for row in range(13):
            want[10 + row * 5000:17 + row * 5000] = data[10 + row * 5000:17 + row * 5000]
        self.assertEqual(host.data_read(0, 65536), bytes(want))

    def test_relay_upload_before_its_record(self):
        """Whatever the size: a record is seen by the worker only behind its data."""
        machine, server = self.pair()
        guest = machine.channel(0, data=8 << 20)
        host = server.channels[1]
        data = random.Random(8).randbytes(8 << 20)
        guest.data_write(0, data)
        guest.transfer(0, 8 << 20)
        guest.submit(b'r' * 64)
        until(lambda: host.u32(host.SUB_HEAD), 'the record')
        self.assertEqual(host.data_read((8 << 20) - 4096, 4096), data[-4096:])
        self.assertEqual(host.data_read(0, 8 << 20), data)

    def test_relay_upload_of_what_is_not_there(self):
        _, _, guest, host = self.relayed()
        guest.data_write(0, b'\xee' * 65536)
        host.data_write(0, b'\x11' * 65536)
        guest.set_entry(guest.data_offset // 4096 + 1, 0)
        guest.transfer(0, 3 * 4096)
        guest.submit(b'r' * 64)
        until(host.take, 'the record')
        self.assertEqual(host.data_read(0, 4096), b'\xee' * 4096)
        self.assertEqual(host.data_read(4096, 4096), b'\0' * 4096, 'reads as zeros')
        self.assertEqual(host.data_read(8192, 4096), b'\xee' * 4096)

    def test_relay_uploads_in_order(self):
        _, _, guest, host = self.relayed()
        for i in range(300):
            until(lambda: (guest.transfer_head - guest.transfers_done()) & M32 < 64, 'room')
            guest.data_write(64 * (i % 1000), struct.pack('<I', i))
            guest.transfer(64 * (i % 1000), 4)
            guest.doorbell()
        until(lambda: guest.transfers_done() == 300, 'all of them')
        for i in range(300):
            self.assertEqual(struct.unpack('<I', host.data_read(64 * i, 4))[0], i)

    def test_relay_upload_limits(self):
        """The whole data area is fine, one byte more is not."""
        machine, server, guest, host = self.relayed()
        guest.data_write(65535, b'\x77')
        guest.transfer(0, 65536)
        guest.transfer(65535, 1)
        guest.transfer(0, 1, pitch=65535, rows=2)
        guest.doorbell()
        until(lambda: guest.transfers_done() == 3, 'these')
        self.assertEqual(host.data_read(65535, 1), b'\x77')
        guest.transfer(65535, 2)
        guest.doorbell()
        self.ended(machine, server, guest)

    def test_relay_download(self):
        machine, _, guest, host = self.relayed()
        data = os.urandom(10000)
        guest.data_write(0, b'\xcc' * 65536)
        host.data_write(5000, data)
        host.written(5000, 10000, publish=False)
        host.reply(9)
        until(lambda: guest.u32(guest.COMP_HEAD) == 3, 'both completions')
        self.assertEqual(guest.data_read(5000, 10000), data)
        self.assertEqual(guest.data_read(0, 5000), b'\xcc' * 5000)
        self.assertEqual(guest.data_read(15000, 5000), b'\xcc' * 5000)
        self.assertEqual([kind for kind, _, _ in guest.completions()], [4, 1])
        self.assertEqual(machine.counter(DOWNLOAD), 10000)

    def test_relay_download_of_boxes(self):
        _, _, guest, host = self.relayed()
        data = os.urandom(65536)
        guest.data_write(0, b'\xcc' * 65536)
        host.data_write(0, data)
        host.written(3, 5, pitch=100, rows=7, slice_pitch=1000, slices=4)
        until(lambda: guest.u32(guest.COMP_HEAD), 'the completion')
        want = bytearray(b'\xcc' * 65536)
        for piece in range(4):
            for row in range(7):
                at = 3 + piece * 1000 + row * 100
                want[at:at + 5] = data[at:at + 5]
        self.assertEqual(guest.data_read(0, 65536), bytes(want))

    def test_relay_download_before_its_answer(self):
        machine, server = self.pair()
        guest = machine.channel(0, data=8 << 20)
        host = server.channels[1]
        data = random.Random(9).randbytes(8 << 20)
        host.data_write(0, data)
        host.written(0, 8 << 20, publish=False)
        host.reply(1)
        until(lambda: guest.u32(guest.COMP_HEAD), 'a completion')
        until(lambda: guest.u32(guest.COMP_HEAD) == 3, 'the answer')
        self.assertEqual(guest.data_read(0, 8 << 20), data)
        self.assertGreater(machine.counter(TURNS), 7, 'a turn is bounded')

    def test_relay_download_to_a_page_that_is_not_there(self):
        machine, server, guest, host = self.relayed()
        guest.set_entry(guest.data_offset // 4096 + 2, 0)
        host.written(0, 65536)
        self.ended(machine, server, guest)

    def test_relay_pages_added_later(self):
        machine, server = self.pair()
        guest = machine.channel(0, attach=False)
        number = guest.data_offset // 4096 + 5
        page = guest.page[number]
        guest.set_entry(number, 0)
        self.assertEqual(machine.command(0, 2, directory=guest.directory), 0)
        host = server.channels[1]
        guest.submit(b'x' * 64)
        until(host.take, 'a record')
        guest.set_entry(number, page)
        host.data_write(5 * 4096, b'later')
        host.written(5 * 4096, 5)
        until(lambda: guest.u32(guest.COMP_HEAD), 'the completion')
        self.assertEqual(guest.data_read(5 * 4096, 5), b'later')


class HostileGuest(RelayCase):
    def break_by(self, action):
        machine, server, guest, host = self.relayed()
        action(guest)
        guest.doorbell()
        self.ended(machine, server, guest)
        return host

    def test_relay_head_beyond_the_ring(self):
        host = self.break_by(lambda guest: guest.set_u32(guest.SUB_HEAD, 65))
        self.assertEqual(host.u32(host.SUB_HEAD), 0, 'the worker sees nothing of it')

    def test_relay_head_far_away(self):
        self.break_by(lambda guest: guest.set_u32(guest.SUB_HEAD, 0x80000000))

    def test_relay_head_backwards(self):
        machine, server, guest, host = self.relayed()
        guest.submit(b'x' * 256)
        until(host.take, 'records')
        guest.set_u32(guest.SUB_HEAD, 3)
        guest.doorbell()
        self.ended(machine, server, guest)

    def test_relay_head_before_the_worker_took_the_last(self):
        """A guest that overwrites what the worker has yet to take."""
        machine, server, guest, host = self.relayed(sub=4)
        guest.submit(b'x' * 256)
        until(lambda: host.u32(host.SUB_HEAD) == 4, 'a full ring')
        guest.set_u32(guest.SUB_HEAD, 5)
        guest.doorbell()
        self.ended(machine, server, guest)

    def test_relay_tail_beyond_the_head(self):
        self.break_by(lambda guest: guest.set_u32(guest.COMP_TAIL, 1))

    def test_relay_tail_backwards(self):
        machine, server, guest, host = self.relayed()
        for seq in range(4):
            host.reply(seq)
        until(lambda: len(guest.completions()) and guest.comp_tail == 4, 'completions')
        guest.doorbell()
        until(lambda: host.free() == 64, 'room')
        guest.set_u32(guest.COMP_TAIL, 2)
        guest.doorbell()
        self.ended(machine, server, guest)

    def test_relay_transfers_beyond_the_page(self):
        self.break_by(lambda guest: guest.machine.ram.set_u32(guest.transfers, 65))

    def test_relay_bad_transfers(self):
        machine, server = self.pair()
        top = 1 << 64
        for slot, (name, values) in enumerate((
                ('no rows', (0, 8, 8, 0)), ('no bytes', (0, 0, 8, 1)),
                ('beyond the end', (65536, 1, 1, 1)), ('one byte too many', (0, 65537, 1, 1)),
                ('wraps', (top - 4096, 8192, 0, 1)), ('rows beyond the end', (0, 8, 65536, 2)),
                ('pitch wraps', (0, 8, top - 8, 2)), ('product wraps', (0, 8, 1 << 33, 1 << 31)),
                ('rows without end', (0, 65536, 0, 0xffffffff)),
                ('pitch below the row', (0, 4096, 1, 5)),
                ('reserved', (0, 8, 8, 1, 1)))):
            with self.subTest(name):
                guest = machine.channel(slot)
                guest.transfer(*values)
                guest.submit(b'x' * 64)
                machine.qemu.barrier()
                if name in ('pitch below the row', 'rows without end', 'reserved'):
                    machine.command(slot, CLOSE)
                    continue
                until(lambda slot=slot: machine.gone(slot)[0], 'the channel to be gone')
                self.assertEqual(machine.gone(slot)[1], mediator.BAD_RECORD)
        self.assertEqual(server.channels[1].u32(mediator.HostChannel.SUB_HEAD), 0)

    def test_relay_rows_without_end_do_not_stall(self):
        """Four thousand million rows on the same bytes: refused, or done a bit at a time."""
        machine, server = self.pair()
        guest = machine.channel(0)
        guest.transfer(0, 65536, 0, 0xffffffff)
        guest.doorbell()
        for _ in range(20):
            machine.qmp.execute('query-status', seconds=1)
        self.assertEqual(machine.command(0, CLOSE), 0)
        until(lambda: not server.open_numbers, 'it to be closed')

    def test_relay_narrow_rows_do_not_stall(self):
        """Work is more than bytes: sixty-five thousand rows of a byte, sixty-four times."""
        machine, server = self.pair()
        guest = machine.channel(0, data=1 << 20)
        for _ in range(64):
            guest.transfer(0, 1, 1, 1 << 20)
        guest.doorbell()
        for _ in range(20):
            machine.qmp.execute('query-status', seconds=1)
        self.assertEqual(machine.command(0, CLOSE), 0)
        until(lambda: not server.open_numbers, 'it to be closed')

    def test_relay_tables_that_change(self):
        """Entries that turn into nonsense while a channel works."""
        machine, server = self.pair()
        generator = random.Random(10)
        for slot, entry in enumerate((1, 0x1234567, 1 << 45, 0xfffffffffffff000, 0xe0000000,
                                      0xe0004000, 0xe0100000, 0xa0000, 0xfee00000)):
            guest = machine.channel(slot)
            for number in range(len(guest.page)):
                guest.set_entry(number, entry)
            for table in range(3):
                machine.ram.set_u64(guest.directory + 8 * table, generator.choice((entry, 0)))
            guest.transfer(0, 65536)
            guest.submit(b'y' * 128)
            server.channels[slot + 1].written(0, 65536)
            machine.qemu.barrier()
        machine.reset()
        machine.setup_commands()
        until(lambda: not server.open_numbers, 'all to be closed')
        self.assertEqual(machine.command(0, 1), 0)

    def test_relay_random_lines(self):
        """Any word in any line of the page, at any time."""
        machine, server = self.pair()
        generator = random.Random(11)
        for round_number in range(150):
            slot = round_number % 64
            guest = machine.channel(slot, sub=8, comp=8, data=4096)
            number = max(server.channels)
            for _ in range(20):
                guest.set_u32(4 * generator.randrange(16, 96),
                              generator.choice((0, 1, 7, 8, 9, 0xffffffff, 0x7fffffff)))
                if generator.random() < 0.3:
                    server.channels[number].reply(1, publish=False)
                    server.channels[number].publish()
                guest.doorbell()
            machine.heap = 0x200000
            self.assertEqual(machine.command(slot, CLOSE), 0)
        until(lambda: not server.open_numbers, 'all to be closed')


class HostileWorker(RelayCase):
    def break_by(self, action, **sizes):
        machine, server, guest, host = self.relayed(**sizes)
        action(host)
        host.kick()
        self.ended(machine, server, guest)
        return guest

    def entry(self, data, head=None):
        def action(host):
            host.map[host.comp_offset:host.comp_offset + len(data)] = data
            host.set_u32(host.COMP_HEAD, (len(data) + 63) // 64 if head is None else head)
        return action

    def test_relay_worker_head_beyond_the_ring(self):
        guest = self.break_by(lambda host: host.set_u32(host.COMP_HEAD, 65))
        self.assertEqual(guest.u32(guest.COMP_HEAD), 0)

    def test_relay_worker_head_backwards(self):
        self.break_by(lambda host: host.set_u32(host.COMP_HEAD, M32))

    def test_relay_worker_tail_beyond_the_head(self):
        self.break_by(lambda host: host.set_u32(host.SUB_TAIL, 1))

    def test_relay_worker_tail_backwards(self):
        self.break_by(lambda host: host.set_u32(host.SUB_TAIL, M32))

    def test_relay_worker_entry_of_no_size(self):
        self.break_by(self.entry(struct.pack('<IH', 0, 1)))

    def test_relay_worker_entry_too_small(self):
        self.break_by(self.entry(struct.pack('<IH', 7, 1)))

    def test_relay_worker_entry_no_multiple_of_eight(self):
        self.break_by(self.entry(struct.pack('<IH', 41, 1)))

    def test_relay_worker_entry_beyond_the_head(self):
        self.break_by(self.entry(struct.pack('<IH', 72, 1), head=1))

    def test_relay_worker_entry_beyond_the_ring(self):
        def action(host):
            for seq in range(63):
                host.put(struct.pack('<IHHQiIQQ', 40, 1, 0, seq, 0, 0, 0, 0))
            host.map[host.comp_offset + 63 * 64:host.comp_offset + 64 * 64] = \
                struct.pack('<IH', 128, 1).ljust(64, b'\0')
            host.set_u32(host.COMP_HEAD, 64)
        self.break_by(action)

    def test_relay_worker_entry_too_large(self):
        self.break_by(self.entry(struct.pack('<IH', 16392, 1), head=257), comp=1024)

    def test_relay_worker_entry_huge(self):
        self.break_by(self.entry(struct.pack('<IH', 0xfffffff8, 1)))

    def test_relay_worker_pad_in_the_middle(self):
        self.break_by(self.entry(struct.pack('<IH', 64, 0)))

    def test_relay_worker_kind_of_nothing(self):
        """An unknown kind is the library's to judge; one that ends the channel here is fine."""
        machine, server, guest, host = self.relayed()
        host.reply(1, kind=77)
        until(lambda: guest.u32(guest.COMP_HEAD) == 1 or machine.gone(0)[0], 'either')
        self.assertEqual(machine.command(0, CLOSE), 0)
        until(lambda: not server.open_numbers, 'it to be closed')

    def test_relay_worker_written_too_short(self):
        self.break_by(lambda host: host.written(0, 8, size=72, publish=False) or host.publish())

    def test_relay_worker_bad_written(self):
        machine, server = self.pair()
        top = 1 << 64
        for slot, (name, values) in enumerate((
                ('no rows', (0, 8, 8, 0, 0, 1)), ('no slices', (0, 8, 8, 1, 0, 0)),
                ('beyond the end', (65536, 1, 0, 1, 0, 1)),
                ('one byte too many', (1, 65536, 0, 1, 0, 1)),
                ('wraps', (top - 8, 16, 0, 1, 0, 1)), ('far', (1 << 40, 16, 0, 1, 0, 1)),
                ('rows beyond', (0, 8, 65536, 2, 0, 1)), ('pitch wraps', (0, 8, top - 8, 2, 0, 1)),
                ('slices beyond', (0, 8, 8, 1, 65536, 2)),
                ('slice pitch wraps', (8, 8, 8, 1, top - 8, 2)),
                ('product wraps', (0, 8, 1 << 33, 1 << 31, 1 << 33, 1 << 31)))):
            with self.subTest(name):
                guest = machine.channel(slot)
                guest.data_write(0, b'\xcc' * 65536)
                server.channels[slot + 1].written(values[0], values[1], pitch=values[2],
                                                  rows=values[3], slice_pitch=values[4],
                                                  slices=values[5])
                if name.startswith('no '):
                    machine.qemu.barrier()
                else:
                    until(lambda slot=slot: machine.gone(slot)[0], 'the channel to be gone')
                    self.assertEqual(machine.gone(slot)[1], mediator.BAD_RECORD)
                self.assertEqual(guest.data_read(0, 65536), b'\xcc' * 65536)

    def test_relay_worker_written_without_end(self):
        machine, server = self.pair()
        machine.channel(0)
        server.channels[1].written(0, 65536, 0, 0xffffffff, 0, 0xffffffff)
        for _ in range(20):
            machine.qmp.execute('query-status', seconds=1)
        self.assertEqual(machine.command(0, CLOSE), 0)
        until(lambda: not server.open_numbers, 'it to be closed')

    def test_relay_worker_spoils_its_page(self):
        """Magic, layout and geometry were checked and copied when the channel was opened."""
        _, _, guest, host = self.relayed()
        host.map[0:64] = b'\xff' * 64
        guest.submit(b'x' * 64)
        until(host.take, 'the record')
        host.reply(3)
        until(lambda: guest.u32(guest.COMP_HEAD) == 1, 'the completion')
        self.assertEqual(guest.u32(0), mediator.MAGIC)

    def test_relay_worker_kicks_without_end(self):
        """A worker that fills its eventfd: QEMU goes on."""
        machine, _, _, host = self.relayed()
        os.eventfd_write(host.completion_kick, 0xfffffffffffffff0)
        for _ in range(200):
            host.kick()
            machine.qmp.execute('query-status', seconds=1)

    def test_relay_worker_does_not_read_its_kicks(self):
        """A submission kick that would block must not stop QEMU."""
        machine, _, guest, host = self.relayed()
        os.set_blocking(host.submit_kick, True)
        os.eventfd_write(host.submit_kick, 0xfffffffffffffffe)
        for _ in range(10):
            guest.submit(b'x' * 64)
            machine.qmp.execute('query-status', seconds=1)

    def test_relay_worker_random_lines(self):
        machine, server = self.pair()
        generator = random.Random(12)
        for round_number in range(150):
            slot = round_number % 64
            guest = machine.channel(slot, sub=8, comp=8, data=4096)
            host = server.channels[max(server.channels)]
            for _ in range(20):
                place = generator.choice((host.COMP_HEAD, host.SUB_TAIL, host.COMP_WAITING,
                                          host.SUB_PARKED, host.STATE, 4 * generator.randrange(96)))
                host.set_u32(place, generator.choice((0, 1, 7, 8, 9, M32, 0x7fffffff)))
                host.map[host.comp_offset:host.comp_offset + 8] = generator.randbytes(8)
                host.kick()
                guest.doorbell()
            machine.heap = 0x200000
            self.assertEqual(machine.command(slot, CLOSE), 0)
        until(lambda: not server.open_numbers, 'all to be closed')


class AfterClose(RelayCase):
    def test_relay_close_touches_no_more_memory(self):
        machine, _, guest, host = self.relayed()
        guest.submit(b'x' * 64)
        until(host.take, 'the record')
        self.assertEqual(machine.command(0, CLOSE), 0)
        guest.write(0, b'\xa5' * guest.total)
        machine.ram.write(guest.transfers, b'\xa5' * 4096)
        host.reply(1)
        guest.doorbell()
        machine.qemu.barrier()
        self.assertEqual(guest.read(0, guest.total), b'\xa5' * guest.total)
        self.assertEqual(machine.ram.read(guest.transfers, 4096), b'\xa5' * 4096)

    def test_relay_close_in_the_middle_of_a_transfer(self):
        machine, server = self.pair()
        guest = machine.channel(0, data=8 << 20)
        for _ in range(60):
            guest.transfer(0, 8 << 20)
        guest.doorbell()
        self.assertEqual(machine.command(0, CLOSE), 0)
        tail = guest.transfers_done()
        self.assertLess(tail, 60, 'it was under way')
        machine.qemu.barrier()
        self.assertEqual(guest.transfers_done(), tail)
        until(lambda: not server.open_numbers, 'it to be closed')

    def test_relay_paused(self):
        """A stopped VM: what is due comes when it goes on; nothing is lost."""
        machine, _, guest, host = self.relayed()
        machine.qmp.execute('stop')
        host.reply(1)
        machine.qemu.barrier()
        machine.qmp.execute('cont')
        guest.doorbell()
        until(lambda: guest.u32(guest.COMP_HEAD) == 1, 'the completion')


if __name__ == '__main__':
    main()
