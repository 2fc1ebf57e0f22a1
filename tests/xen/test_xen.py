#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two HVM guests, a PVH and a PV guest on real Xen, all at once, with the host side in dom0.

The first HVM guest, PVH and PV give their channels by grants; the second HVM guest's are relayed by
QEMU. Nothing is left of what a test did (cases.py).
"""
from bed import GuestError, HOST, wait_until
from cases import LeavesNothing, WORK_SECONDS
from guests import main  # in tests/vm; bed.py has set the path

VMS = [(1, 'A', 'high'), (2, 'A', 'low'), (3, 'B', 'high'), (4, 'B', 'low')]
KINDS = {1: 'hvm', 2: 'hvm', 3: 'pvh', 4: 'pv'}
RELAYED = (2,)
BY_LINE = (2,)  # the device's interrupts come by INTx, not by MSI-X
KERNELS = 14


class Xen(LeavesNothing):
    VMS = VMS
    KINDS = KINDS

    @classmethod
    def prepare(cls):
        cls.stack.start_host(VMS)
        for number in KINDS:
            cls.create(number)
        for number in KINDS:
            cls.stack.guests[number].wait_up()

    @classmethod
    def create(cls, number):
        return cls.stack.create(number, KINDS[number],
                                device=',grants=off' if number in RELAYED else '',
                                words='pci=nomsi' if number in BY_LINE else '')

    def test_xen_every_kernel_verified_in_all_at_once(self):
        loads = [self.load(number, 'vgpu-client --data-size 1M run --all') for number in KINDS]
        wait_until(lambda: len(self.stack.workers()) == len(KINDS), 120, 'a worker for each')
        self.wait_working(*KINDS, more=1)
        for number in KINDS:
            pages = len(self.stack.grants(self.guest(number).domid))
            kind = self.before['grants by kind'][KINDS[number]]
            self.assertEqual(pages > kind, number not in RELAYED, 'guest %d' % number)
        for load in loads:
            text = self.finished(load)
            self.assertIn('%d kernels' % KERNELS, text)
            self.assertIn('all verified', text)
        for row in self.stack.status()['vms']:
            self.assertEqual(row['jobs_failed'], 0)

    def test_xen_interrupts_by_line_and_by_message(self):
        for number in (1, 2):
            self.guest(number).run('vgpu-client vector-add 1,2 3,4', WORK_SECONDS)
            rows = self.guest(number).run('grep vgpu /proc/interrupts').text_output()
            self.assertEqual('msi' not in rows.lower(), number in BY_LINE, rows)
            if number in RELAYED:
                self.assertRegex(rows, r'\d+:\s+[1-9]')

    def test_xen_keys_cannot_be_forged(self):
        """Who a guest is stands in keys that it reads and does not write."""
        for number in KINDS:
            guest = self.guest(number)
            backend = '/local/domain/0/backend/vgpu/%d/0' % guest.domid
            self.assertEqual(guest.run('xenstore-read %s/vm' % backend).text_output(), '%d\n' % number)
            for key in (backend + '/vm', backend + '/state', 'platform/vgpu-pool',
                        '/local/domain/0/backend/vgpu/%d/1/vm' % guest.domid):
                done = guest.run('xenstore-write %s 1' % key, check=False)
                self.assertNotEqual(done.status, 0, key)
            self.assertEqual(self.stack.read(backend + '/vm'), str(number))
            guest.run('vgpu-client vector-add 1,2 3,4', WORK_SECONDS)

    def test_xen_window_is_refused(self):
        """Xen maps no memory of the host into a guest: a device that asks for it does not start."""
        with self.assertRaises(GuestError):
            self.stack.create(9, 'hvm', device=',window-size=64M', attach=False)
        self.stack.run('grep -q window-size /tmp/dm-*.log')

    def shares(self, one, other, seconds=10):
        """GPU time of two while both have work, as a ratio. The kernels are short: an emulated GPU
        takes a hundred times as long for them, and turns are counted when they end."""
        def used():
            rows = {row['vm_id']: row['gpu_time_ns'] for row in self.stack.status()['vms']}
            return [rows[one], rows[other]]
        loads = [self.load(number, 'flood seconds %d /dev/vgpu0 200' % (4 * seconds))
                 for number in (one, other)]
        self.wait_working(one, other)
        start = used()
        goal = sum(start) + seconds * 10**9
        wait_until(lambda: sum(used()) > goal, 120, 'both used the GPU')
        now = used()
        for load in loads:
            self.finished(load)
        return (now[0] - start[0]) / max(now[1] - start[1], 1)

    def test_xen_priorities_act_between_grants_and_relay(self):
        ratio = self.shares(1, 2)
        self.assertTrue(2.2 <= ratio <= 5.5, 'high to low is 4, not %.2f' % ratio)

    def test_xen_priorities_act_between_pvh_and_pv(self):
        ratio = self.shares(3, 4)
        self.assertTrue(2.2 <= ratio <= 5.5, 'high to low is 4, not %.2f' % ratio)

    def test_xen_quarantine_stops_one_and_leaves_the_others(self):
        for number in (2, 4):
            self.stack.admin('quarantine --vm=%d --reason=test' % number)
            try:
                refused = self.guest(number).run('vgpu-client vector-add 1,2 3,4 2>&1',
                                                 WORK_SECONDS, check=False)
                self.assertEqual(refused.status, 3, refused.text_output())
                self.assertIn('quarantine', refused.text_output().lower())
                self.guest(number - 1).run('vgpu-client vector-add 1,2 3,4', WORK_SECONDS)
            finally:
                self.stack.admin('unquarantine --vm=%d' % number)
            done = self.guest(number).run('vgpu-client vector-add 1,2 3,4', WORK_SECONDS)
            self.assertRegex(done.text_output(), r'4\D+6')

    def destroyed(self, number, others):
        """Destroys a guest in mid-job; the others do not notice, and nothing of it stays."""
        victim = self.guest(number)
        self.load(number, 'flood seconds 300 /dev/vgpu0 200')
        loads = [self.load(other, 'vgpu-client run saxpy --seconds 15') for other in others]
        self.wait_working(number, *others)
        victim.destroy()
        for load in loads:
            self.assertIn('all verified', self.finished(load))
        self.assertEqual(self.stack.grants(victim.domid), [])
        self.assertEqual(self.stack.list('/local/domain/0/backend/vgpu/%d' % victim.domid), {})
        self.assertNotIn('Remote Domain %d,' % victim.domid,
                         ' '.join(self.stack.event_channels().values()))
        self.create(number).wait_up()
        again = self.guest(number).run('vgpu-client vector-add 1,2 3,4', WORK_SECONDS)
        self.assertRegex(again.text_output(), r'4\D+6')

    def test_xen_pv_guest_destroyed_in_mid_job(self):
        self.destroyed(4, (1, 2, 3))

    def test_xen_hvm_guest_destroyed_in_mid_job(self):
        self.destroyed(1, (2, 3, 4))

    def test_xen_mediator_killed_under_load(self):
        """Channels go on: every job is answered, verified, over the death of the mediator."""
        loads = [self.load(number, 'vgpu-client run saxpy --seconds 70') for number in KINDS]
        self.wait_working(*KINDS)
        workers = sorted(self.stack.workers())
        self.stack.kill_mediator()
        self.stack.start_mediator()
        self.assertEqual(sorted(self.stack.workers()), workers)
        self.wait_working(*KINDS, more=1)
        for load in loads:
            self.assertIn('all verified', self.finished(load))

    def test_xen_backend_restarted_reconnects_its_guests(self):
        pid = self.stack.get('%s/xenbus.pid' % HOST).decode().strip()
        self.stack.run('kill -9 %s; while kill -0 %s 2>/dev/null; do usleep 20000; done' % (pid, pid))
        self.stack.start_xenbus()
        for number in (3, 4):
            done = self.guest(number).run('for i in 1 2 3 4 5 6 7 8; do vgpu-client vector-add 1,2 3,4 '
                                          '&& exit; sleep 1; done; exit 1', WORK_SECONDS)
            self.assertRegex(done.text_output(), r'4\D+6')


if __name__ == '__main__':
    main()
