#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two guests with a vgpu-stub each: what they see, and that they get what the store says."""
from guests import VmTest, main, wait_for


class Guests(VmTest):
    vms = [(1, 'A', 'high'), (2, 'B', 'low')]
    claims = {2: ('elsewhere', 'high')}  # QEMU's command line says so; the store decides
    relayed = (2,)

    def test_vm_one_has_a_window_and_the_other_is_relayed(self):
        self.assertEqual([self.info(vm)['vm']['carrier'] for vm in (1, 2)], ['window', 'relay'])

    def test_vm_lspci_shows_a_processing_accelerator(self):
        for vm in (1, 2):
            shown = self.guest(vm).run('lspci -d 1af4:10f0').text_output()
            self.assertIn('Processing accelerators', shown)

    def test_vm_every_kernel_in_both_at_once(self):
        loads = [self.load(vm, 1) for vm in (1, 2)]
        for load in loads:
            self.finished(load)
        for vm in (1, 2):
            self.assertEqual(self.stack.vm_status(vm)['jobs_failed'], 0)

    def test_vm_vector_add_answers(self):
        done = self.client(1, 'vector-add 1,2,3 10,20,30').text_output()
        self.assertRegex(done, r'11\D+22\D+33')

    def test_vm_identity_is_the_stores(self):
        for vm, pool, priority in self.vms:
            told = self.info(vm)['vm']
            self.assertEqual((told['id'], told['pool'], told['priority'], told['weight']),
                             (vm, pool, priority, 50.0))
        self.assertIn('elsewhere', self.stack.log_text())

    def test_vm_a_change_is_live_in_the_guest(self):
        holder = self.guest(2).spawn('vgpu-client hold', 60)
        holder.line.wait(lambda: b'holding' in holder.output, 30, 'a channel')
        self.stack.admin('set-priority', '--vm=2', '--priority=medium')
        self.stack.admin('set-weight', '--vm=2', '--weight=12.5')
        self.stack.admin('set-pool', '--vm=2', '--pool=A')
        try:
            wait_for(lambda: [self.info(2)['vm'][key] for key in ('pool', 'priority', 'weight')] ==
                     ['A', 'medium', 12.5], 10, 'the change is seen in the guest')
        finally:
            self.stack.admin('set-priority', '--vm=2', '--priority=low')
            self.stack.admin('set-weight', '--vm=2', '--weight=50')
            self.stack.admin('set-pool', '--vm=2', '--pool=B')
        holder.signal(15)
        holder.wait(20)

    def test_vm_two_processes_are_apart(self):
        guest = self.guest(1)
        victim = guest.spawn('isolation victim /dev/vgpu0', 120)
        victim.line.wait(lambda: victim.output.endswith(b'\n') or victim.over(), 60, 'victim')
        held = victim.text_output().split()
        self.assertEqual(len(held), 3, victim.text_errors())
        intruder = guest.run('isolation intruder /dev/vgpu0 ' + ' '.join(held), 60)
        self.assertIn('apart', intruder.text_output())
        victim.feed(b'')
        self.assertEqual(victim.wait(60), 0, victim.text_errors())
        self.assertIn('intact', victim.text_output())

    def test_vm_every_way_of_copying(self):
        for vm in (1, 2):
            done = self.guest(vm).run('copies /dev/vgpu0', 180).text_output()
            self.assertEqual(done.count('ok '), 9, done)

    def test_vm_a_job_without_the_driver(self):
        guest = self.guest(1)
        guest.run('rmmod vgpu')
        try:
            done = self.client(1, '--bar0 vector-add 1,2,3 10,20,30')
            self.assertRegex(done.text_output(), r'11\D+22\D+33')
        finally:
            guest.run('insmod /lib/vgpu.ko')
        self.assertRegex(self.client(1, 'vector-add 4 5').text_output(), r'\b9\b')

    def shares(self, seconds=5):
        """GPU time of both while both have work, as a ratio of the first to the second."""
        loads = [self.guest(vm).spawn('flood seconds %d /dev/vgpu0' % (seconds + 4), 120) for vm in (1, 2)]
        self.stack.wait_working(1, 2)
        start = [self.stack.vm_status(vm)['gpu_time_ns'] for vm in (1, 2)]
        goal = start[0] + start[1] + seconds * 10**9
        wait_for(lambda: sum(self.stack.vm_status(vm)['gpu_time_ns'] for vm in (1, 2)) > goal,
                 60, 'both used the GPU')
        used = [self.stack.vm_status(vm)['gpu_time_ns'] - start[vm - 1] for vm in (1, 2)]
        for load in loads:
            self.assertEqual(load.wait(120), 0, load.text_errors())
        return used[0] / max(used[1], 1)

    def test_vm_priorities_show_in_shares(self):
        ratio = self.shares()
        self.assertTrue(2.2 <= ratio <= 5.5, 'high to low is 4, not %.2f' % ratio)

    def test_vm_weights_show_in_shares(self):
        self.stack.admin('set-priority', '--vm=2', '--priority=high')
        self.stack.admin('set-weight', '--vm=2', '--weight=100')
        try:
            ratio = self.shares()
        finally:
            self.stack.admin('set-priority', '--vm=2', '--priority=low')
            self.stack.admin('set-weight', '--vm=2', '--weight=50')
        self.assertTrue(0.3 <= ratio <= 0.8, '50 to 100 is 0.5, not %.2f' % ratio)

    def test_vm_priority_shows_in_completion_order(self):
        """The same work in both; the low one is there first, the high one is done first."""
        work = 'flood batches 80 /dev/vgpu0'
        low = self.guest(2).spawn(work, 120)
        self.stack.wait_working(2)
        high = self.guest(1).spawn(work, 120)
        self.assertEqual((low.wait(150), high.wait(150)), (0, 0), low.text_errors())
        self.assertLess(high.ended_at, low.ended_at)


class WithoutRoom(VmTest):
    """A window for which the guest's processor has no addresses: it goes without."""
    vms = [(1, 'A', 'high')]
    boot = []

    def test_vm_window_without_an_address(self):
        self.stack.boot(1, options=',window-size=256G', cpu=',phys-bits=36')
        self.assertEqual(self.info(1)['vm']['carrier'], 'relay')
        self.assertIn(' verified ', self.client(1, 'run vector_add').text_output())


STATUS, VM_ID, PRIORITY, WEIGHT, GENERATION = 0x00c, 0x014, 0x018, 0x01c, 0x028
JOB_OP, JOB_COUNT, JOB_GO, JOB_STATE, JOB_STATUS = 0x300, 0x304, 0x308, 0x30c, 0x310
JOB_A, JOB_B, JOB_SUM = 0x400, 0x800, 0xc00
READY, JOB_DONE = 2, 2
OK = 0


class WithoutDriver(VmTest):
    """The registers of include/vgpu/pci_regs.h, from a guest that has no driver of ours."""
    vms = [(1, 'A', 'high')]
    words = 'vgpu.nodriver'

    def setUp(self):
        super().setUp()
        resources = '/sys/bus/pci/devices/0000:00:02.0/'
        self.guest(1).run('echo 1 >%senable' % resources)
        first = self.guest(1).run('head -n 1 %sresource' % resources).text_output()
        self.base = int(first.split()[0], 16)

    def read(self, offset):
        return int(self.guest(1).run('devmem %#x 32' % (self.base + offset)).text_output(), 16)

    def write(self, *pairs):
        self.guest(1).run('; '.join('devmem %#x 32 %#x' % (self.base + offset, value)
                                    for offset, value in pairs))

    def job(self, count, a, b):
        self.write((JOB_OP, 1), (JOB_COUNT, count), *[(JOB_A + 4 * i, v) for i, v in enumerate(a)],
                   *[(JOB_B + 4 * i, v) for i, v in enumerate(b)], (JOB_GO, 1))
        wait_for(lambda: self.read(JOB_STATE) == JOB_DONE, 20, 'the job is done')
        return self.read(JOB_STATUS)

    def test_vm_registers_are_live(self):
        self.assertEqual([self.read(r) for r in (STATUS, VM_ID, PRIORITY, WEIGHT)],
                         [READY, 1, 2, 5000])
        generation = self.read(GENERATION)
        self.stack.admin('set-weight', '--vm=1', '--weight=12.5')
        wait_for(lambda: self.read(WEIGHT) == 1250, 5, 'the weight is seen')
        self.assertNotEqual(self.read(GENERATION), generation)
        self.stack.admin('set-weight', '--vm=1', '--weight=50')

    def test_vm_job_window_without_a_driver(self):
        self.assertEqual(self.job(3, (1, 2, 0xffffffff), (10, 20, 2)), OK)
        self.assertEqual([self.read(JOB_SUM + 4 * i) for i in range(3)], [11, 22, 1])

    def test_vm_job_of_a_bad_size_is_refused(self):
        for count in (0, 257, 0xffffffff):
            self.assertNotEqual(self.job(count, (1,), (2,)), OK)
        self.assertEqual(self.job(1, (1,), (2,)), OK)


if __name__ == '__main__':
    main()
