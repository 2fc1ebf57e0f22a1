#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Channels in the window: its BAR, the commands, doorbells, interrupts, what the guest sees."""
import random
import struct

import mediator
from device import (
    ATTACH, BAR0, CHANNELS_LOW, CLOSE, COUNTERS, DOORBELLS, FEATURES, INTERRUPTS, IRQ_CHANNEL,
    IRQ_ENABLE, JOB_A, JOB_B, JOB_COUNT, JOB_GO, JOB_OP, JOB_STATE, JOB_STATUS, MAX_DATA, OPEN,
    OPEN_WINDOW, SLOTS, WINDOW, WORKER_KICKS, DeviceCase, main)
from qtest import until

MIB = 1 << 20
RELAY_MAX = (512 * 512 << 12) - (16 << 20)
ONES = 0xffffffff


class Bar(DeviceCase):
    def bar4(self, machine):
        """Flags and size."""
        before = machine.config(0x20), machine.config(0x24)
        machine.set_config(0x20, ONES)
        machine.set_config(0x24, ONES)
        value = machine.config(0x24) << 32 | machine.config(0x20)
        machine.set_config(0x20, before[0])
        machine.set_config(0x24, before[1])
        return value & 0xf, (~(value & ~0xf) + 1) & (1 << 64) - 1

    def alone(self, properties):
        return self.start('server=on,wait=off,path=' + self.path('vm'), properties)

    def test_window_bar(self):
        """64 bits, prefetchable."""
        self.assertEqual(self.bar4(self.alone('').boot()), (0xc, 8 << 30))

    def test_window_bar_of_the_smallest_size(self):
        self.assertEqual(self.bar4(self.alone(',window-size=8M').boot()), (0xc, 8 * MIB))

    def test_window_bar_of_the_largest_size(self):
        self.assertEqual(self.bar4(self.alone(',window-size=256G').boot()), (0xc, 256 << 30))

    def test_window_none(self):
        machine, server = self.pair(',window-size=0')
        self.assertEqual(self.bar4(machine), (0, 0))
        self.assertEqual(machine.load(FEATURES), 0xb)
        self.assertEqual((server.hello.body.carrier, server.hello.body.window_mib), (2, 0))
        self.assertEqual(server.hello.body.features & mediator.FEATURE_WINDOW, 0)
        self.assertEqual(machine.command(0, OPEN, flags=OPEN_WINDOW), mediator.BAD_MESSAGE)

    def test_window_wrong_sizes_are_refused(self):
        for size in ('1', '4096', '4M', '8388607', '8388609', '12M', '257G', '512G', '16E'):
            with self.subTest(size=size):
                self.fresh()
                text = self.fails_to_start(self.alone(',window-size=' + size))
                self.assertIn('window-size', text)

    def test_window_reads_as_ones_where_nothing_is(self):
        machine, _ = self.pair(',window-size=8M')
        for offset in (0, 4096, 4 * MIB, 8 * MIB - 8):
            for size in (1, 2, 4, 8):
                machine.qtest.store(WINDOW + offset, 0, size)
                self.assertEqual(machine.qtest.load(WINDOW + offset, size), (1 << 8 * size) - 1)

    def test_window_limits_data(self):
        """What an empty window has room for, or what a relay reaches."""
        for size, want in (('0', RELAY_MAX), ('8M', RELAY_MAX), ('1G', RELAY_MAX),
                           ('2G', (2 << 30) - 16 * MIB)):
            with self.subTest(size=size):
                self.fresh()
                machine, _ = self.pair(',window-size=' + size, max_data=1 << 40)
                self.assertEqual(machine.load(MAX_DATA) << 12, want)


class Commands(DeviceCase):
    def test_window_open(self):
        machine, server = self.pair(',window-size=64M')
        channel = machine.window_channel(0, attach=False)
        self.assertEqual(channel.place, 0)
        request = [m for m in server.log if m.kind == mediator.OPEN][0]
        self.assertEqual(request.flags, mediator.OPEN_WINDOW)
        self.assertEqual(channel.u32(0), ONES, 'not before ATTACH')
        channel.attach()
        self.assertEqual(channel.u32(0), mediator.MAGIC)

    def test_window_is_asked_for(self):
        """Without the flag a channel is relayed, as for a driver that knows no window."""
        machine, server = self.pair(',window-size=64M')
        machine.channel(0)
        self.assertEqual(machine.answer_window(0), 0)
        self.assertEqual([m.flags for m in server.log if m.kind == mediator.OPEN], [0])

    def test_window_without_the_feature(self):
        """A mediator that has no windows is not asked for any."""
        machine, server = self.pair(',window-size=64M', features=3)
        self.assertEqual(machine.command(0, OPEN, flags=OPEN_WINDOW), 0)
        self.assertEqual(machine.answer_window(0), 0)
        self.assertEqual([m.flags for m in server.log if m.kind == mediator.OPEN], [0])

    def test_window_full_is_relayed(self):
        machine, server = self.pair(',window-size=64M')
        server.next_place = None
        self.assertEqual(machine.command(0, OPEN, flags=OPEN_WINDOW), 0)
        self.assertEqual(machine.answer_window(0), 0)
        self.assertEqual(machine.command(0, ATTACH, directory=0), mediator.BAD_MESSAGE)
        self.assertEqual(machine.command(0, CLOSE), 0)
        machine.channel(1)

    def test_window_default_data(self):
        machine, server = self.pair(',window-size=64M')
        self.assertEqual(machine.command(0, OPEN, data=0), mediator.LIMIT)
        machine.window_channel(1, data=0)
        self.assertEqual([m.body.data_bytes for m in server.log if m.kind == mediator.OPEN], [0])

    def test_window_data_limits(self):
        machine, server = self.pair(',window-size=4G')
        server.hook(mediator.OPEN, lambda m: server.link.refuse(m.tag, mediator.NO_GPU) or True)
        for data, flags, want in ((4 << 30, 1, mediator.NO_GPU), (RELAY_MAX, 0, mediator.NO_GPU),
                                  ((4 << 30) + 4096, 1, mediator.LIMIT),
                                  (RELAY_MAX + 4096, 0, mediator.LIMIT),
                                  (4097, 1, mediator.LIMIT),
                                  ((1 << 64) - 4096, 1, mediator.LIMIT)):
            with self.subTest(data=data, flags=flags):
                self.assertEqual(machine.command(0, OPEN, data=data, flags=flags), want,
                                 machine.answer_text(0))

    def test_window_flags_of_other_commands(self):
        machine, _ = self.pair(',window-size=64M')
        machine.window_channel(0, attach=False)
        self.assertEqual(machine.command(0, ATTACH, flags=OPEN_WINDOW), mediator.BAD_MESSAGE)
        self.assertEqual(machine.command(0, CLOSE, flags=OPEN_WINDOW), mediator.BAD_MESSAGE)
        self.assertEqual(machine.command(1, OPEN, flags=2), mediator.BAD_MESSAGE)
        self.assertEqual(machine.command(1, OPEN, flags=0x80000001), mediator.BAD_MESSAGE)

    def test_window_attach_is_checked(self):
        machine, _ = self.pair(',window-size=64M')
        channel = machine.window_channel(0, attach=False)
        self.assertEqual(machine.command(0, ATTACH, directory=0x200000), mediator.BAD_MESSAGE)
        self.assertEqual(machine.command(0, ATTACH, vector=65), mediator.BAD_MESSAGE)
        self.assertEqual(channel.u32(0), ONES)
        self.assertEqual(machine.command(0, ATTACH, vector=64), 0)
        self.assertEqual(machine.command(0, ATTACH, vector=64), mediator.BAD_MESSAGE)
        self.assertEqual(channel.u32(0), mediator.MAGIC)

    def test_window_attach_of_what_is_gone(self):
        machine, server = self.pair(',window-size=64M')
        channel = machine.window_channel(0, attach=False)
        server.link.gone(1, mediator.KILLED, b'killed')
        until(lambda: machine.gone(0)[0], 'it to be gone')
        self.assertEqual(machine.command(0, ATTACH), mediator.STATUS_GONE)
        self.assertEqual(channel.u32(0), ONES)

    def opens_badly(self, size, **changes):
        """What the mediator says cannot be: OPEN fails, the channel is given back."""
        machine, server = self.pair(',window-size=' + size)

        def answer(message):
            channel = mediator.HostChannel(1, message.body.sub_granules,
                                           message.body.comp_granules, message.body.data_bytes,
                                           mode_flags=0)
            self.addCleanup(channel.close)
            server.link.opened(message, 1, channel, **changes)
            return True
        server.hook(mediator.OPEN, answer)
        before = machine.qemu.descriptors()
        self.assertEqual(machine.command(0, OPEN, flags=OPEN_WINDOW), mediator.INTERNAL)
        until(lambda: server.count(mediator.CLOSE) == 1, 'CLOSE')
        machine.qemu.barrier()
        self.assertEqual(machine.qemu.descriptors(), before)
        self.assertEqual(machine.qtest.load(WINDOW), ONES)

    def test_window_place_beyond_the_end(self):
        self.opens_badly('8M', window=1 + 2048 - 18)

    def test_window_place_far_beyond_the_end(self):
        self.opens_badly('8M', window=0xffffffff)

    def test_window_channel_larger_than_its_memory(self):
        self.opens_badly('8M', window=1, total_bytes=4 * MIB, data_bytes=65536)

    def test_window_place_that_is_held(self):
        """By a channel of which the mediator does not know: opened once more, to be relayed."""
        machine, server = self.pair(',window-size=64M')
        first = machine.window_channel(0)
        server.next_place = 0
        self.assertEqual(machine.command(1, OPEN, flags=OPEN_WINDOW), 0)
        self.assertEqual(machine.answer_window(1), 0)
        self.assertEqual([m.flags for m in server.log if m.kind == mediator.OPEN], [1, 1, 0])
        self.assertEqual(server.count(mediator.CLOSE), 1)
        self.assertEqual(first.u32(0), mediator.MAGIC)


class Memory(DeviceCase):
    def test_window_memory_is_shared(self):
        machine, server = self.pair(',window-size=64M')
        channels = [machine.window_channel(slot, data=MIB) for slot in range(3)]
        for number, channel in enumerate(channels, 1):
            host = server.channels[number]
            channel.set_u32(channel.data_offset + MIB - 4, 0x1000 + number)
            self.assertEqual(host.data_read(MIB - 4, 4), struct.pack('<I', 0x1000 + number))
            host.data_write(12, struct.pack('<I', 0x2000 + number))
            self.assertEqual(channel.data_u32(12), 0x2000 + number)

    def test_window_shows_a_channel_and_no_more(self):
        machine, _ = self.pair(',window-size=64M')
        channel = machine.window_channel(0)
        self.assertEqual(channel.u32(channel.total - 4), 0)
        self.assertEqual(channel.u32(channel.total), ONES)

    def test_window_slot_used_again_shows_zeros(self):
        machine, server = self.pair(',window-size=8M')
        for turn in range(20):
            server.next_place = 0
            channel = machine.window_channel(turn % SLOTS, data=65536)
            for offset in range(0, 65536, 4096):
                self.assertEqual(channel.data_u32(offset), 0)
                channel.set_u32(channel.data_offset + offset, 0xdeadbeef)
            self.assertEqual(machine.command(turn % SLOTS, CLOSE), 0)
            self.assertEqual(channel.u32(0), ONES)

    def test_window_wide_and_odd_accesses(self):
        """It is memory: any size, any place."""
        machine, server = self.pair(',window-size=8M')
        channel = machine.window_channel(0)
        at = channel.address + channel.data_offset
        machine.qtest.store(at + 8, 0x1122334455667788, 8)
        machine.qtest.store(at + 17, 0x99, 1)
        self.assertEqual(server.channels[1].data_read(8, 8), bytes.fromhex('8877665544332211'))
        self.assertEqual(server.channels[1].data_read(17, 1), b'\x99')

    def test_window_random_writes_by_the_guest(self):
        """The guest may write whatever it likes, the channel page included."""
        machine, server = self.pair(',window-size=64M')
        generator = random.Random(4)
        channel = machine.window_channel(0)
        for _ in range(300):
            channel.set_u32(generator.randrange(channel.total // 4) * 4, generator.getrandbits(32))
            channel.set_u32(generator.randrange(1024) * 4, generator.getrandbits(32))
            channel.doorbell()
            server.channels[1].kick()
        machine.qemu.barrier()
        self.assertEqual(machine.command(0, CLOSE), 0)
        until(lambda: not server.open_numbers, 'it to be closed')

    def test_window_moves_with_its_bar(self):
        machine, _ = self.pair(',window-size=64M')
        machine.window_channel(0)
        machine.set_config(0x24, (WINDOW >> 32) + 1)
        self.assertEqual(machine.qtest.load(WINDOW + (1 << 32)), mediator.MAGIC)
        machine.set_config(0x04, 0, 2)
        machine.qtest.load(WINDOW + (1 << 32))
        machine.set_config(0x04, 6, 2)
        self.assertEqual(machine.qtest.load(WINDOW + (1 << 32)), mediator.MAGIC)

    def test_window_is_no_memory_for_the_device(self):
        """Commands and a relayed channel's pages that lie in it are refused as any device's."""
        machine, _ = self.pair(',window-size=64M')
        window = machine.window_channel(0, data=MIB)
        self.assertEqual(machine.command(1, OPEN), 0)
        at = window.address + window.data_offset
        self.assertEqual(machine.command(1, ATTACH, directory=at), mediator.BAD_MESSAGE)
        machine.setup_commands(at)
        tag = next(machine.tags)
        machine.qtest.store(at, CLOSE)
        machine.qtest.store(at + 4, tag)
        machine.store(0x4c, 0)
        machine.qemu.barrier()
        self.assertEqual(machine.qtest.load(at + 128), 0)


class Kicks(DeviceCase):
    def rings(self, properties):
        machine, server = self.pair(',window-size=64M' + properties)
        channels = [machine.window_channel(slot) for slot in (0, 5, 63)]
        for number, channel in enumerate(channels, 1):
            channel.doorbell()
            self.assertEqual([server.channels[n].kicked() for n in (1, 2, 3)],
                             [int(n == number) for n in (1, 2, 3)])
        return machine, server, channels

    def test_window_doorbells(self):
        machine, _, _ = self.rings(',ioeventfd=off')
        self.assertEqual(machine.counter(DOORBELLS), 3)
        self.assertEqual(machine.counter(WORKER_KICKS), 3)

    def test_window_doorbells_by_ioeventfd(self):
        """They do not come to the device, and are not counted there."""
        machine, _, _ = self.rings(',ioeventfd=on')
        self.assertEqual(machine.counter(DOORBELLS), 0)

    def test_window_doorbells_elsewhere_in_the_page(self):
        for mode in ('on', 'off'):
            with self.subTest(ioeventfd=mode):
                self.fresh()
                machine, server, _ = self.rings(',ioeventfd=' + mode)
                for offset in (4, 8, 2048, 4092):
                    machine.qtest.store(0xe0100000 + offset, 1)
                for size in (1, 2, 8):
                    machine.qtest.store(0xe0100000, 1, size)
                self.assertEqual(server.channels[1].kicked(), 0)

    def test_window_doorbells_before_attach_and_after_close(self):
        for mode in ('on', 'off'):
            with self.subTest(ioeventfd=mode):
                self.fresh()
                machine, server = self.pair(',window-size=64M,ioeventfd=' + mode)
                channel = machine.window_channel(0, attach=False)
                channel.doorbell()
                self.assertEqual(server.channels[1].kicked(), 0)
                channel.attach()
                self.assertEqual(machine.command(0, CLOSE), 0)
                channel.doorbell()
                self.assertEqual(server.channels[1].kicked(), 0)

    def test_window_doorbell_of_a_full_counter(self):
        """A worker cannot make the guest's write wait."""
        machine, server = self.pair(',window-size=64M,ioeventfd=off')
        channel = machine.window_channel(0)
        host = server.channels[1]
        mediator.os.set_blocking(host.submit_kick, True)
        mediator.os.eventfd_write(host.submit_kick, (1 << 64) - 2)
        for _ in range(10):
            channel.doorbell()
        machine.qemu.barrier()

    def test_window_completions_are_messages(self):
        machine, server = self.pair(',window-size=64M')
        machine.enable_msix()
        machine.window_channel(0, vector=3)
        machine.window_channel(1, vector=64)
        server.channels[1].kick()
        machine.wait_message(3)
        self.assertFalse(machine.message(64))
        server.channels[2].kick()
        machine.wait_message(64)
        self.assertEqual(machine.counter(INTERRUPTS), 2)
        self.assertEqual(machine.load(CHANNELS_LOW), 0)

    def test_window_completions_by_pin(self):
        machine, server = self.pair(',window-size=64M')
        machine.store(IRQ_ENABLE, IRQ_CHANNEL)
        machine.window_channel(4)
        self.assertFalse(machine.pin())
        server.channels[1].kick()
        until(machine.pin, 'the pin')
        self.assertEqual(machine.load(CHANNELS_LOW), 1 << 4)
        machine.store(CHANNELS_LOW, 1 << 4)
        self.assertFalse(machine.pin())

    def test_window_completions_before_attach_are_kept(self):
        """The worker's kick is seen when the channel is attached."""
        machine, server = self.pair(',window-size=64M')
        machine.enable_msix()
        channel = machine.window_channel(0, attach=False)
        server.channels[1].kick()
        machine.qemu.barrier()
        self.assertFalse(machine.message(2))
        channel.attach(vector=2)
        machine.wait_message(2)

    def test_window_completions_of_a_masked_vector_are_pending(self):
        machine, server = self.pair(',window-size=64M')
        machine.enable_msix()
        machine.window_channel(0, vector=3)
        machine.qtest.store(0xe0004000 + 16 * 3 + 12, 1)
        server.channels[1].kick()
        until(lambda: machine.counter(INTERRUPTS) == 1, 'it to be pending')
        self.assertFalse(machine.message(3))
        machine.qtest.store(0xe0004000 + 16 * 3 + 12, 0)
        machine.wait_message(3)

    def test_window_job_goes_on_beside(self):
        """The job's own channel is in no window."""
        machine, server = self.pair(',window-size=64M')
        machine.window_channel(0)
        machine.store(JOB_OP, 1)
        machine.store(JOB_COUNT, 1)
        machine.store(JOB_A, 1)
        machine.store(JOB_B, 2)
        machine.store(JOB_GO, 1)
        until(lambda: server.count(mediator.OPEN) == 2, 'the job to open a channel')
        self.assertEqual([m.flags for m in server.log if m.kind == mediator.OPEN], [1, 0])
        self.assertIn(machine.load(JOB_STATE), (1, 2))
        self.assertEqual(machine.load(JOB_STATUS), 0)
        self.assertEqual(machine.load(BAR0 and COUNTERS), 0)


if __name__ == '__main__':
    main()
