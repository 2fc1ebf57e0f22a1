#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A driver domain on real Xen: a PV guest without any privilege runs launcher, mediator,
vgpu-xenbus and softgpu; dom0's toolstack only writes the keys. A PVH guest grants its pages to it,
while a PV guest beside it is served by dom0 itself.

The last test ends the driver domain; the guest that it served gets another.
"""
from bed import TROUBLE, XenGuest, wait_until
from cases import BedTest
from guests import main  # in tests/vm; bed.py has set the path
from host import HOST, Host

CLIENT, OTHER, DRIVER = 1, 2, 8
KINDS = {CLIENT: 'pvh', OTHER: 'pv'}
KERNELS = 14
SECONDS = 300
RAMDISK = '/tmp/driver-domain.cpio'
# The guests' image, and behind it the host's programs and libraries as dom0 has them.
MAKE_RAMDISK = (
    'cd / && { cat /guest/image.cpio && { find lib -name "*.so*"; ls -d usr usr/libexec '
    'usr/libexec/vgpu usr/libexec/vgpu/vgpu-* usr/libexec/vgpu/libsoftgpu*; } | '
    'cpio -o -H newc 2>/dev/null; } >%s' % RAMDISK)
SET_UP = ('for m in xen-evtchn xen-gntdev; do insmod /lib/modules/$(uname -r)/$m.ko || exit; done; '
          'ln -sf /usr/libexec/vgpu/vgpu-* /bin/')


class DriverDomain(Host, XenGuest):
    """A guest that is a backend; nothing in dom0 knows that but the toolstack."""

    def last_words(self):
        if not self.line or self.line.broken:
            return super().last_words()
        return self.run('tail -n 40 %s/log; dmesg | tail -n 5' % HOST, check=False).text_output()


class Domains(BedTest):
    @classmethod
    def prepare(cls):
        cls.stack.run(MAKE_RAMDISK, 60)
        cls.driver = cls.create_driver()
        cls.stack.start_host([(OTHER, 'B', 'high')])
        cls.create(OTHER, 0)
        cls.start_driver()
        cls.create(CLIENT, cls.driver.domid)
        for number in KINDS:
            cls.stack.guests[number].wait_up()

    @classmethod
    def create_driver(cls):
        return cls.stack.create(DRIVER, 'pv', 'driver', memory=448, words='vgpu.nodriver',
                                attach=False, ramdisk=RAMDISK, like=DriverDomain)

    @classmethod
    def start_driver(cls):
        cls.driver.wait_up()
        cls.driver.run(SET_UP)
        cls.driver.start_host([(CLIENT, 'A', 'high')])

    @classmethod
    def attach(cls, domid, number, backend):
        cls.stack.run('vgpu-xenbus --backend-domid %d attach %d %d' % (backend, domid, number))

    @classmethod
    def create(cls, number, backend):
        return cls.stack.create(number, KINDS[number], attach=False,
                                before=lambda domid: cls.attach(domid, number, backend))

    def guest(self, number):
        return self.stack.guests[number]

    def load(self, number, words):
        return self.guest(number).spawn(words + ' 2>&1', SECONDS)

    def finished(self, command):
        self.assertEqual(command.wait(SECONDS), 0, command.text_output()[-3000:])
        return command.text_output()

    def adds(self, number):
        done = self.guest(number).run('vgpu-client vector-add 1,2 3,4', SECONDS)
        self.assertRegex(done.text_output(), r'4\D+6')

    def wait_working(self, host, number, more=2):
        before = host.vm_status(number)['jobs_done']
        wait_until(lambda: host.vm_status(number)['jobs_done'] >= before + more, 120,
                   'VM %d does jobs' % number)

    # What is left of it, as Xen, its xenstore, the domain's kernel and its mediator say

    def mapped_by(self, mapper, granter=None):
        """How many grants a domain has mapped, of one domain or of all."""
        return len([row for row in self.stack.grants(granter)
                    if int(row['words'].split()[0]) == mapper])

    def ports(self, domid, remote):
        """Event channels of a domain that another has bound."""
        return [words for words in self.stack.event_channels(domid).values()
                if 'Interdomain (Connected) - Remote Domain %d,' % remote in words]

    def mappings(self):
        done = self.driver.run('cat /proc/[0-9]*/maps | grep -c gntdev', check=False)
        return int(done.text_output())

    def settled(self):
        """Until the driver domain has no channel any more."""
        wait_until(lambda: not self.driver.workers(), 60, 'no workers')
        status = self.driver.status()
        self.assertEqual([row['channels'] for row in status['vms']], [0])
        self.assertEqual([row['memory_used_bytes'] or 0 for row in status['gpus']], [0])

    def expect_no_trouble(self):
        self.assertEqual([line for line in self.stack.trouble()
                          if 'CONSOLE OUTPUT IS SYNCHRONOUS' not in line], [])
        for guest in self.stack.guests.values():
            words = guest.run('dmesg').text_output().split('\n')
            self.assertEqual([line for line in words if TROUBLE.search(line)], [])

    def test_a_every_kernel_by_grants_to_the_driver_domain(self):
        client, domid = self.guest(CLIENT).domid, self.driver.domid
        before = self.mapped_by(domid, client), self.mapped_by(0, client), self.mappings()
        self.assertGreater(before[0], 0)  # its control pages
        self.assertEqual(len(self.ports(domid, client)), 1)
        load = self.load(CLIENT, 'vgpu-client --data-size 1M run --all')
        self.wait_working(self.driver, CLIENT, more=1)
        self.assertGreater(self.mapped_by(domid, client), before[0] + 256)
        self.assertEqual(self.mapped_by(0, client), before[1])
        self.assertEqual(len(self.ports(domid, client)), 2)
        self.assertEqual(len(self.driver.workers()), 1)
        self.assertEqual(self.stack.workers(), [])
        text = self.finished(load)
        self.assertIn('%d kernels' % KERNELS, text)
        self.assertIn('all verified', text)
        self.settled()
        after = self.mapped_by(domid, client), self.mapped_by(0, client), self.mappings()
        self.assertEqual(after, before)
        self.assertEqual(len(self.ports(domid, client)), 1)
        self.expect_no_trouble()

    def test_b_driver_domain_has_no_privilege(self):
        """It sees nothing of a guest that is not its own, and makes no device of its own."""
        other = self.guest(OTHER).domid
        for command in ('xenstore-read /local/domain/%d/device/vgpu/0/state' % other,
                        'xenstore-write /local/domain/0/backend/vgpu/%d/0/state 5' % other,
                        'vgpu-xenbus attach %d %d' % (other, OTHER)):
            self.assertNotEqual(self.driver.run(command, check=False).status, 0, command)
        self.assertEqual(self.stack.list('/local/domain/%d/backend/vgpu/%d' % (
            self.driver.domid, other)), {})
        self.adds(OTHER)

    def test_c_client_destroyed_in_mid_job(self):
        client, domid = self.guest(CLIENT), self.driver.domid
        self.load(CLIENT, 'flood seconds 300 /dev/vgpu0 200')
        other = self.load(OTHER, 'vgpu-client run saxpy --seconds 15')
        self.wait_working(self.driver, CLIENT)
        self.wait_working(self.stack, OTHER)
        client.destroy()
        self.assertIn('all verified', self.finished(other))
        self.settled()
        wait_until(lambda: not self.stack.list('/local/domain/%d/backend/vgpu/%d' % (
            domid, client.domid)), 60, 'its keys are removed')
        self.assertEqual(self.stack.grants(client.domid), [])
        self.assertEqual(self.ports(domid, client.domid), [])
        self.assertEqual(self.mappings(), 0)
        self.create(CLIENT, domid).wait_up()
        self.adds(CLIENT)
        self.expect_no_trouble()

    def test_d_driver_domain_destroyed_in_mid_job(self):
        """Its guest hears of it, and goes on with the next one; the other guest notices nothing."""
        client, gone = self.guest(CLIENT), self.driver.domid
        load = self.load(CLIENT, 'vgpu-client run saxpy --seconds %d' % SECONDS)
        other = self.load(OTHER, 'vgpu-client run saxpy --seconds 15')
        self.wait_working(self.driver, CLIENT)
        self.wait_working(self.stack, OTHER)
        self.driver.destroy()
        self.assertNotEqual(load.wait(60), 0)
        self.assertFalse(load.timed_out)
        self.assertIn('the channel has ended', load.text_output())
        self.assertEqual(self.mapped_by(gone), 0)
        self.assertFalse(self.driver.alive())
        done = client.run('vgpu-client vector-add 1,2 3,4 2>&1', SECONDS, check=False)
        self.assertNotEqual(done.status, 0)
        self.assertIn('the host has yet to take this device up', done.text_output())
        self.assertIn('all verified', self.finished(other))

        type(self).driver = self.create_driver()
        self.start_driver()
        self.stack.run('vgpu-xenbus --backend-domid %d detach %d' % (gone, client.domid))
        self.attach(client.domid, CLIENT, self.driver.domid)
        wait_until(lambda: self.mapped_by(self.driver.domid, client.domid), 60, 'it is connected')
        self.adds(CLIENT)
        self.expect_no_trouble()


if __name__ == '__main__':
    main()
