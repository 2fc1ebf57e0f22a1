#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The end of channels in the window: workers, mediators, resets, unplugging; nothing is left."""
import random
import struct
import threading
import time

import mediator
from device import (
    ATTACH, CLOSE, COMMANDS_AT, CONTROL, INTERRUPTS, IRQ_COMMAND, IRQ_STATUS, OPEN, OPEN_WINDOW,
    READY, SLOTS, WINDOW, DeviceCase, main)
from mediator import PLACE_STEP, connect
from qtest import QemuFailed, until

SIZE = ',window-size=64M'
ONES = 0xffffffff
ENDED = 2


class Ends(DeviceCase):
    def test_window_worker_ends(self):
        """The memory stays until CLOSE, so that no process of the guest loses it under its feet."""
        machine, server = self.pair(SIZE)
        machine.enable_msix()
        channel = machine.window_channel(0, vector=5)
        machine.store(IRQ_STATUS, 0xf)
        server.channels[1].data_write(0, b'last')
        server.link.gone(1, mediator.KILLED, b'by a signal')
        machine.wait_message(5)
        self.assertEqual(machine.gone(0), (1, mediator.KILLED, 'by a signal'))
        self.assertEqual(channel.u32(channel.STATE), ENDED)
        self.assertEqual(channel.data_u32(0), struct.unpack('<I', b'last')[0])
        self.assertEqual(machine.load(IRQ_STATUS) & IRQ_COMMAND, IRQ_COMMAND)
        self.assertEqual(server.count(mediator.CLOSE), 0)
        self.assertEqual(machine.command(0, CLOSE), 0)
        self.assertEqual(channel.u32(0), ONES)
        until(lambda: server.count(mediator.CLOSE) == 1, 'the place to be given back')

    def test_window_worker_ends_while_it_is_closed(self):
        machine, link = self.linked(SIZE)
        tag = machine.ask(0, 1, flags=1)
        host = link.opened(link.expect(mediator.OPEN), 1, window=1)
        self.addCleanup(host.close)
        self.assertEqual(machine.wait_done(0, tag), 0)
        self.assertEqual(machine.command(0, 2), 0)
        machine.ask(0, CLOSE)
        request = link.expect(mediator.CLOSE)
        link.gone(1, mediator.KILLED)
        link.closed(request)
        machine.qemu.barrier()
        self.assertEqual(machine.gone(0)[0], 0)
        self.assertTrue(link.quiet())

    def test_window_close_that_the_mediator_refuses(self):
        """It has been started anew since, and knows nothing of what had ended before."""
        machine, server = self.pair(SIZE)
        machine.window_channel(0)
        server.link.gone(1, mediator.KILLED)
        until(lambda: machine.gone(0)[0], 'it to be gone')
        server.hook(mediator.CLOSE,
                    lambda m: server.link.refuse(m.tag, mediator.STATUS_GONE) or True)
        self.assertEqual(machine.command(0, CLOSE), 0)
        until(lambda: server.count(mediator.CLOSE) == 1, 'CLOSE')
        machine.window_channel(0)

    def test_window_close_spares_a_number_given_anew(self):
        """A mediator that came after a worker's end may give its number to another channel."""
        machine, server = self.pair(SIZE)
        machine.window_channel(0)
        server.link.gone(1, mediator.KILLED)
        until(lambda: machine.gone(0)[0], 'it to be gone')
        server.next_number = 1
        other = machine.window_channel(1)
        self.assertEqual(machine.command(0, CLOSE), 0)
        machine.qemu.barrier()
        self.assertEqual(server.count(mediator.CLOSE), 0)
        self.assertEqual(other.u32(0), mediator.MAGIC)
        self.assertEqual(machine.command(1, CLOSE), 0)
        until(lambda: server.count(mediator.CLOSE) == 1, 'CLOSE of the other')

    def test_window_close_of_what_is_gone_without_a_mediator(self):
        machine, server = self.waiting_pair(SIZE)
        channel = machine.window_channel(0)
        server.link.gone(1, mediator.KILLED)
        until(lambda: machine.gone(0)[0], 'it to be gone')
        server.close()
        machine.wait_state(0)
        self.assertEqual(machine.command(0, CLOSE), 0)
        self.assertEqual(channel.u32(0), ONES)

    def test_window_outlives_the_mediator(self):
        machine, server = self.waiting_pair(SIZE)
        machine.enable_msix()
        channel = machine.window_channel(0, vector=1)
        channels = server.channels
        server.close(channels=False)
        machine.wait_state(0)
        channel.set_u32(channel.data_offset, 77)
        self.assertEqual(channels[1].data_read(0, 4), struct.pack('<I', 77))
        channel.doorbell()
        self.assertEqual(channels[1].kicked(), 1)
        channels[1].kick()
        machine.wait_message(1)
        again = self.serve(connect(self.path('vm')), channels)
        machine.wait_state(READY)
        until(lambda: again.count(mediator.RESUME) == 1, 'RESUME')
        again.next_place = 2 << 20
        other = machine.window_channel(1)
        self.assertEqual(other.place, 2 << 20)
        self.assertEqual(machine.command(0, CLOSE), 0)
        until(lambda: 1 not in again.open_numbers, 'it to be closed')

    def test_window_is_not_resumed(self):
        """The mediator that came knows nothing of it: gone, and there until CLOSE."""
        machine, server = self.waiting_pair(SIZE)
        channel = machine.window_channel(0)
        server.close(channels=False)
        machine.wait_state(0)
        again = self.serve(connect(self.path('vm')), {})
        until(lambda: machine.gone(0)[0], 'it to be gone')
        self.assertEqual(channel.u32(0), mediator.MAGIC)
        self.assertEqual(channel.u32(channel.STATE), ENDED)
        self.assertEqual(machine.command(0, CLOSE), 0)
        self.assertEqual(channel.u32(0), ONES)
        self.assertEqual(again.count(mediator.RESUME), 1)


class Resets(DeviceCase):
    def resets(self, how):
        machine, server = self.pair(SIZE)
        before = machine.qemu.descriptors()
        channels = [machine.window_channel(slot) for slot in range(8)]
        server.link.gone(3, mediator.KILLED)
        until(lambda: machine.gone(2)[0], 'one to be gone')
        how(machine)
        until(lambda: not server.open_numbers, 'all to be closed')
        self.assertEqual(server.count(mediator.CLOSE), 8)
        machine.setup_pci()
        for channel in channels:
            self.assertEqual(channel.u32(0), ONES)
            channel.doorbell()
        machine.qemu.barrier()
        self.assertEqual(machine.qemu.descriptors(), before)
        for host in server.channels.values():
            self.assertEqual(host.kicked(), 0)
            host.kick()
        machine.qemu.barrier()
        self.assertEqual(machine.counter(INTERRUPTS), 0)
        machine.setup_commands()
        server.next_place = 0
        again = machine.window_channel(0)
        self.assertEqual(again.u32(0), mediator.MAGIC)

    def test_window_reset_by_register(self):
        self.resets(lambda machine: machine.store(CONTROL, 1))

    def test_window_reset_by_machine(self):
        def reset(machine):
            machine.qmp.execute('system_reset')
            machine.qmp.wait_event('RESET')
        self.resets(reset)

    def test_window_reset_while_it_is_used(self):
        """Another side writes all the time: nothing of it stalls or ends QEMU."""
        machine, server = self.pair(SIZE)
        stop = threading.Event()

        def hammer(host):
            while not stop.is_set():
                host.kick()
                host.set_u32(host.STATE, 7)
                time.sleep(0.0005)
        for _ in range(10):
            server.next_place = 0
            channel = machine.window_channel(0)
            thread = threading.Thread(target=hammer, args=(server.channels[max(server.channels)],))
            stop.clear()
            thread.start()
            for _ in range(20):
                channel.set_u32(channel.data_offset, 1)
                channel.doorbell()
            machine.store(CONTROL, 1)
            stop.set()
            thread.join()
            self.assertEqual(channel.u32(0), ONES)
            machine.setup_commands()

    def test_window_stopped_machine(self):
        """A machine that is paused keeps its channels."""
        machine, server = self.pair(SIZE)
        machine.enable_msix()
        channel = machine.window_channel(0, vector=1)
        machine.qmp.execute('stop')
        server.channels[1].data_write(0, b'abcd')
        machine.qmp.execute('cont')
        server.channels[1].kick()
        machine.wait_message(1)
        self.assertEqual(channel.data_u32(0), struct.unpack('<I', b'abcd')[0])


class Hostile(DeviceCase):
    """Whatever a guest does in whatever order: a place shows its own channel's memory, or nothing."""

    def steps(self, machine, server, generator):
        """channels: slot to [channel, attached]."""
        channels = {}
        while True:
            slot = generator.randrange(6)
            action = generator.choice(('open', 'open', 'attach', 'attach', 'close', 'gone', 'ring',
                                       'write', 'again', 'reset', 'kick'))
            if action == 'open':
                if slot in channels:
                    machine.command(slot, OPEN, flags=OPEN_WINDOW)
                else:
                    server.next_place = slot * PLACE_STEP
                    channels[slot] = [machine.window_channel(slot, attach=False), False, False]
            elif action == 'attach':
                status = machine.command(slot, ATTACH, vector=generator.randrange(65))
                good = slot in channels and not channels[slot][1] and not channels[slot][2]
                self.assertEqual(status == 0, good, (slot, status))
                if good:
                    channels[slot][1] = True
            elif action == 'close':
                self.assertEqual(machine.command(slot, CLOSE), 0)
                channels.pop(slot, None)
            elif action == 'gone' and slot in channels and not channels[slot][2]:
                server.link.gone(self.number(server, slot), mediator.KILLED)
                until(lambda slot=slot: machine.gone(slot)[0], 'it to be gone')
                channels[slot][2] = True
            elif action == 'write' and slot in channels:
                for _ in range(5):
                    channels[slot][0].set_u32(generator.randrange(1024) * 4,
                                              generator.getrandbits(32))
            elif action == 'again':
                machine.store(0x4c, slot)
            elif action == 'reset' and generator.random() < 0.2:
                machine.store(CONTROL, 1)
                machine.ram.write(COMMANDS_AT, bytes(6 * 1024))  # 'again' is for the model, too
                machine.setup_commands()
                channels.clear()
            elif action == 'kick':
                for host in server.channels.values():
                    host.kick()
            machine.doorbell(slot)
            yield channels

    @staticmethod
    def number(server, slot):
        return max(n for n, place in server.places.items() if place == slot * PLACE_STEP)

    def test_window_random_lives(self):
        machine, server = self.pair(SIZE)
        generator = random.Random(11)
        for count, channels in enumerate(self.steps(machine, server, generator)):
            for slot in range(6):
                seen = machine.qtest.load(WINDOW + slot * PLACE_STEP + 4096 + 8192)
                if slot not in channels or not channels[slot][1]:
                    self.assertEqual(seen, ONES, slot)
                    continue
                channel = channels[slot][0]
                mark = 0x5000 + self.number(server, slot)
                server.channels[self.number(server, slot)].data_write(0, struct.pack('<I', mark))
                self.assertEqual(channel.data_u32(0), mark)
            if count == 700:
                break
        machine.reset()
        until(lambda: not server.open_numbers, 'all to be closed')

    def test_window_all_slots(self):
        machine, server = self.pair(',window-size=256M')
        machine.enable_msix()
        channels = [machine.window_channel(slot, vector=1 + slot) for slot in range(SLOTS)]
        for slot, channel in enumerate(channels):
            channel.set_u32(channel.data_offset, slot)
            server.channels[1 + slot].kick()
        for slot, channel in enumerate(channels):
            machine.wait_message(1 + slot)
            self.assertEqual(channel.data_u32(0), slot)
            channel.doorbell()
            self.assertEqual(server.channels[1 + slot].kicked(), 1)
        machine.reset()
        until(lambda: not server.open_numbers, 'all to be closed')
        for channel in channels:
            self.assertEqual(channel.u32(0), ONES)


class Leaks(DeviceCase):
    def test_window_open_and_close(self):
        for mode in ('on', 'off'):
            self.fresh()
            machine, server = self.pair(SIZE + ',ioeventfd=' + mode)
            before = machine.qemu.descriptors()
            for _ in range(10):
                server.next_place = 0
                for slot in range(16):
                    machine.window_channel(slot, data=4096)
                for slot in range(16):
                    self.assertEqual(machine.command(slot, CLOSE), 0)
                until(lambda: not server.open_numbers, 'all to be closed')
                for host in server.channels.values():
                    host.close()
                server.channels.clear()
            machine.qemu.barrier()
            self.assertEqual(machine.qemu.descriptors(), before)

    def test_window_close_without_attach(self):
        machine, server = self.pair(SIZE)
        before = machine.qemu.descriptors()
        for _ in range(50):
            server.next_place = 0
            machine.window_channel(0, attach=False)
            self.assertEqual(machine.command(0, CLOSE), 0)
        machine.qemu.barrier()
        self.assertEqual(machine.qemu.descriptors(), before)

    def test_window_memory_is_bounded(self):
        """What was written in channels that are closed is given back to the host."""
        machine, server = self.pair(',window-size=8M')
        for _ in range(30):
            server.next_place = 0
            channel = machine.window_channel(0, data=4 << 20)
            for offset in range(0, 4 << 20, 65536):
                channel.set_u32(channel.data_offset + offset, 1)
            self.assertEqual(machine.command(0, CLOSE), 0)
        with open('/proc/%d/status' % machine.qemu.process.pid, encoding='utf-8') as status:
            shared = [int(line.split()[1]) for line in status if line.startswith('RssShmem')][0]
        self.assertLess(shared, 2048, 'KiB')

    def test_window_unplugged(self):
        """With channels open: their mappings and the reservation go."""
        machine, server = self.pair(',window-size=1G')
        pid = machine.qemu.process.pid
        for slot in range(4):
            machine.window_channel(slot)
        self.assertTrue(self.reserved(pid))
        machine.qmp.execute('device_del', id='gpu')
        machine.qtest.port_out(0xae08, 1 << 4, 4)
        machine.qmp.wait_event('DEVICE_DELETED')
        until(lambda: server.ended, 'the connection to end')
        until(lambda: not self.reserved(pid), 'the reservation to go')
        self.assertFalse([n for n in machine.qemu.descriptors() if 'memfd:channel' in n])
        self.assertRaises(QemuFailed, machine.qmp.execute, 'device_del', id='gpu')

    @staticmethod
    def reserved(pid):
        """What can be the rest of a reservation of 1 GiB; sanitizers have larger ones."""
        sizes = []
        with open('/proc/%d/maps' % pid, encoding='utf-8') as maps:
            for line in maps:
                start, end = (int(n, 16) for n in line.split()[0].split('-'))
                if line.split()[1] == '---p' and 512 << 20 < end - start < 2 << 30:
                    sizes.append(end - start)
        return sizes


if __name__ == '__main__':
    main()
