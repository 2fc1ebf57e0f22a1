#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A VM as XCP-ng starts it, on real Xen: XCP-ng's wrapper reads the platform keys in xenstore and
adds the device, QEMU is confined, and listens for the mediator, which can be replaced."""
from bed import GuestError, wait_until
from cases import BedTest
from guests import main  # in tests/vm; bed.py has set the path

DEVICES = '/run/vgpu-devices'
SECONDS = 400
UID_BASE = 65536


class Confined(BedTest):
    @classmethod
    def prepare(cls):
        cls.stack.run('mkdir -m 775 %s' % DEVICES)
        cls.stack.start_host(options='--device-dir ' + DEVICES)
        for pool in 'AB':
            cls.stack.admin('create-pool --pool=%s' % pool)
            cls.stack.admin('assign-gpu --gpu-id=0 --pool=%s' % pool)
        cls.guest = cls.stack.create(1, 'hvm', attach=False, platform=(
            'vgpu-pool=B\nvgpu-priority=high\nvgpu-weight=80\n'))
        cls.guest.wait_up()

    def process(self, what):
        return self.stack.run('%s' % what.format(pid=self.guest.device_model_pid())).text_output()

    def vm(self):
        rows = self.stack.status()['vms']
        self.assertEqual(len(rows), 1)
        return rows[0]

    def job(self):
        done = self.guest.run('vgpu-client vector-add 1,2 3,4', SECONDS)
        self.assertRegex(done.text_output(), r'4\D+6')

    def test_xen_confined_as_xenopsd_does(self):
        status = self.process('cat /proc/{pid}/status')
        uid = UID_BASE + self.guest.domid
        self.assertRegex(status, r'Uid:\s+%d\s+%d\s+%d' % (uid, uid, uid))
        self.assertRegex(status, r'Seccomp:\s+2')
        self.assertRegex(status, r'CapEff:\s+0+\n')
        self.assertNotEqual(self.process('readlink /proc/{pid}/root').strip(), '/')
        for name in ('mnt', 'ipc', 'net'):
            self.assertNotEqual(self.process('readlink /proc/{pid}/ns/' + name),
                                self.stack.run('readlink /proc/1/ns/' + name).text_output(), name)
        limit = [line for line in self.process('cat /proc/{pid}/limits').split('\n')
                 if line.startswith('Max file size')][0].split()
        self.assertLessEqual(int(limit[3]), 1 << 20)

    def test_xen_confined_device_is_what_the_platform_keys_say(self):
        row = self.vm()
        self.assertEqual((row['pool'], row['priority'], row['weight']), ('B', 'high', 80))
        arguments = self.process('tr "\\0" "\\n" </proc/{pid}/cmdline')
        self.assertIn('vgpu-stub,chardev=vgpu0,vm_id=%d,pool_id=B,priority=high' % row['vm_id'],
                      arguments)
        self.job()

    def test_xen_confined_device_survives_the_mediator(self):
        load = self.guest.spawn('vgpu-client run saxpy --seconds 70 2>&1', SECONDS)
        wait_until(lambda: self.vm()['jobs_done'] > 2, 120, 'jobs')
        for _ in range(2):
            self.stack.kill_mediator()
            self.stack.start_mediator('--device-dir ' + DEVICES)
            before = self.vm()['jobs_done']
            wait_until(lambda: self.vm()['jobs_done'] > before, 120, 'jobs go on')
        self.assertEqual(load.wait(SECONDS), 0, load.text_output())
        self.assertIn('all verified', load.text_output())
        self.job()

    def test_xen_confined_job_without_a_driver(self):
        """By the device's registers: nothing but QEMU between guest and mediator."""
        self.guest.run('rmmod vgpu')
        try:
            done = self.guest.run('vgpu-client --bar0 vector-add 1,2,3 10,20,30', SECONDS)
            self.assertRegex(done.text_output(), r'11\D+22\D+33')
        finally:
            self.guest.run('insmod /lib/vgpu.ko', 120)

    def refused(self, platform, reason):
        """xl does not get a device model, and nothing has changed."""
        before = [self.stack.status()['vms'], self.stack.run('ls %s' % DEVICES).text_output()]
        with self.assertRaises(GuestError):
            self.stack.create(2, 'hvm', attach=False, platform=platform)
        self.stack.last_domid += 1
        self.assertIn(reason, self.stack.run('cat /tmp/dm-%d.log' % self.stack.last_domid).text_output())
        after = [self.stack.status()['vms'], self.stack.run('ls %s' % DEVICES).text_output()]
        self.assertEqual([[row['vm_id'] for row in part] if isinstance(part, list) else part
                          for part in after],
                         [[row['vm_id'] for row in part] if isinstance(part, list) else part
                          for part in before])

    def test_xen_confined_bad_keys_refuse_the_start(self):
        self.refused('vgpu-pool=nowhere\n', 'nowhere')
        self.refused('vgpu-pool=A,vm_id=7\n', 'A,vm_id=7')
        self.refused('vgpu-pool=A\nvgpu-priority=top\n', 'priority is not low, medium or high')

    def test_xen_confined_without_the_key_no_device(self):
        guest = self.stack.create(2, 'hvm', attach=False, platform='acpi=1\n')
        try:
            pid = guest.device_model_pid()
            self.assertNotIn('vgpu-stub',
                             self.stack.run('cat /proc/%d/cmdline' % pid).text_output())
        finally:
            guest.destroy()
            del self.stack.guests[2]
        self.assertEqual(self.vm()['vm_id'], 1)


if __name__ == '__main__':
    main()
