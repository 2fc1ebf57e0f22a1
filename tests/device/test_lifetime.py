#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plugging and unplugging, and what a device leaves behind: no descriptor, mapping, or channel."""
import mediator
from device import ATTACH, CLOSE, JOB_GO, MAGIC, OPEN, READY, DeviceCase, main
from mediator import connect
from qtest import QemuFailed, until

EJECT_PORT = 0xae08


class Leaks(DeviceCase):
    def test_lifetime_open_and_close(self):
        machine, server = self.pair()
        before = machine.qemu.descriptors()
        for _ in range(20):
            machine.heap = 0x200000
            for slot in range(16):
                machine.channel(slot, data=4096)
            self.assertEqual(sum('memfd:channel' in n for n in machine.qemu.descriptors()
                                 if not n.startswith('map')) <= 16, True)
            for slot in range(16):
                self.assertEqual(machine.command(slot, CLOSE), 0)
            until(lambda: not server.open_numbers, 'all to be closed')
            for channel in server.channels.values():
                channel.close()
            server.channels.clear()
        machine.qemu.barrier()
        self.assertEqual(machine.qemu.descriptors(), before)

    def test_lifetime_channels_that_are_gone(self):
        machine, server = self.pair()
        before = machine.qemu.descriptors()
        for _ in range(100):
            machine.heap = 0x200000
            machine.channel(0)
            number = max(server.channels)
            server.link.gone(number, mediator.KILLED)
            until(lambda: machine.gone(0)[0], 'it to be gone')
            self.assertEqual(machine.command(0, CLOSE), 0)
        machine.qemu.barrier()
        self.assertEqual(machine.qemu.descriptors(), before)

    def test_lifetime_attaches_that_fail(self):
        machine, _ = self.pair()
        before = machine.qemu.descriptors()
        for _ in range(100):
            self.assertEqual(machine.command(0, OPEN, data=4096), 0)
            self.assertNotEqual(machine.command(0, ATTACH, directory=1), 0)
            self.assertEqual(machine.command(0, CLOSE), 0)
        machine.qemu.barrier()
        self.assertEqual(machine.qemu.descriptors(), before)

    def test_lifetime_refusals(self):
        machine, link = self.linked()
        before = machine.qemu.descriptors()
        for _ in range(200):
            tag = machine.ask(0, OPEN)
            link.refuse(link.expect(mediator.OPEN).tag, mediator.NO_GPU)
            machine.wait_done(0, tag)
        self.assertEqual(machine.qemu.descriptors(), before)

    def test_lifetime_mediators_come_and_go_with_channels(self):
        machine = self.start('server=on,wait=off,path=' + self.path('vm')).boot()
        before = machine.qemu.descriptors()
        for _ in range(30):
            machine.heap = 0x200000
            server = self.serve(connect(self.path('vm')))
            machine.wait_state(READY)
            for slot in range(4):
                machine.channel(slot, data=4096)
            server.close()
            machine.wait_state(0)
            for slot in range(4):
                self.assertEqual(machine.command(slot, CLOSE), 0)
        machine.qemu.barrier()
        self.assertEqual(machine.qemu.descriptors(), before)

    def test_lifetime_memory_of_a_channel_is_unmapped(self):
        machine, _ = self.pair()
        machine.channel(0)
        self.assertTrue([n for n in machine.qemu.descriptors() if n.startswith('map')])
        self.assertEqual(machine.command(0, CLOSE), 0)
        until(lambda: not [n for n in machine.qemu.descriptors() if n.startswith('map')],
              'no mapping')


class Unplug(DeviceCase):
    def eject(self, machine):
        """What a guest's ACPI does when it is asked to give a device up."""
        machine.qmp.execute('device_del', id='gpu')
        machine.qtest.port_out(EJECT_PORT, 1 << 4, 4)
        machine.qmp.wait_event('DEVICE_DELETED')

    def test_lifetime_unplug(self):
        machine, server = self.pair()
        machine.channel(0)
        self.eject(machine)
        self.assertEqual(machine.config(0), 0xffffffff, 'nothing in its place')
        until(lambda: server.ended, 'the link to end')
        machine.qemu.barrier()
        self.assertEqual([n for n in machine.qemu.descriptors() if 'memfd:channel' in n], [])

    def test_lifetime_unplug_with_work_under_way(self):
        machine, server = self.pair()
        guest = machine.channel(0, data=8 << 20)
        for _ in range(60):
            guest.transfer(0, 8 << 20)
        guest.submit(b'x' * 64)
        machine.store(JOB_GO, 1)
        machine.ask(1, OPEN)
        self.eject(machine)
        host = server.channels[1]
        host.reply(1)
        machine.qemu.barrier()
        until(lambda: server.ended, 'the link to end')

    def test_lifetime_plug_again(self):
        """A socket that QEMU listens on serves the next device as well."""
        machine = self.start('server=on,wait=off,path=' + self.path('vm')).boot()
        for _ in range(5):
            server = self.serve(connect(self.path('vm')))
            machine.wait_state(READY)
            machine.heap = 0x200000
            machine.channel(0)
            self.eject(machine)
            server.close()
            machine.qmp.execute('device_add', driver='vgpu-stub', id='gpu', chardev='vgpu',
                                addr='04.0')
            machine.setup_pci()
            machine.setup_commands()
            self.assertEqual(machine.load(MAGIC), 0x55504756)

    def test_lifetime_plugged_later(self):
        """device_add into a machine that runs; a refusal is an error of that command."""
        listener = self.listen()
        machine = self.start('path=' + listener.path,
                             arguments=['-chardev', 'socket,id=second,server=on,wait=off,path=' +
                                        self.path('second')])
        self.serve(listener.accept())
        machine.boot()
        link = connect(self.path('second'))
        self.addCleanup(link.close)
        machine.qmp.lines.write('{"execute": "device_add", "arguments": {"driver": "vgpu-stub", '
                                '"id": "other", "chardev": "second", "addr": "06.0"}}')
        link.refuse(link.expect(mediator.HELLO).tag, mediator.NOT_CONFIGURED, b'no second one')
        with self.assertRaises(QemuFailed) as refused:
            machine.qmp.execute('query-status')
        self.assertIn('no second one', str(refused.exception))
        machine.qmp.lines.read()
        self.assertEqual(machine.state(), READY, 'the first is as before')
        machine.channel(0)

    def test_lifetime_quit_with_work_under_way(self):
        machine, server = self.pair()
        for slot in range(4):
            guest = machine.channel(slot, data=1 << 20)
            for _ in range(60):
                guest.transfer(0, 1 << 20)
            guest.submit(b'x' * 64)
        machine.store(JOB_GO, 1)
        machine.qmp.execute('quit')
        self.assertEqual(machine.qemu.wait_end(), 0)
        until(lambda: server.ended, 'the link to end')


if __name__ == '__main__':
    main()
