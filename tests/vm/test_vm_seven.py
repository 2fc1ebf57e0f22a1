#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Seven guests: 1 to 3 in pool A, 4 to 6 in pool B, 7 in either."""
from guests import VmTest, main, wait_for

PRIORITIES = {1: 'high', 2: 'medium', 3: 'low', 4: 'high', 5: 'medium', 6: 'low', 7: 'medium'}


class Seven(VmTest):
    vms = [(vm, 'A' if vm <= 3 else 'B', priority) for vm, priority in PRIORITIES.items()]

    def test_vm_seven_run_every_kernel(self):
        loads = [self.load(vm, 1) for vm in PRIORITIES]
        for load in loads:
            self.finished(load, 600)
        status = self.stack.admin_json('status')
        self.assertTrue(all(row['jobs_failed'] == 0 for row in status['vms']), status)

    def test_vm_seventh_moves_between_pools_under_load(self):
        loads = [self.load(vm, 40) for vm in PRIORITIES]
        self.stack.wait_working(*PRIORITIES, seconds=200)
        for pool in ('A', 'B', 'A', 'B'):
            self.stack.admin('set-pool', '--vm=7', '--pool=' + pool)
            self.assertEqual(self.stack.vm_status(7)['pool'], pool)
            self.stack.wait_working(7, seconds=100)
            wait_for(lambda p=pool: self.info(7)['vm']['pool'] == p, 20, 'guest 7 sees its pool')
        for load in loads:
            self.finished(load, 600)

    def test_vm_seven_share_by_priority(self):
        loads = [self.guest(vm).spawn('flood seconds 60 /dev/vgpu0', 300) for vm in PRIORITIES]
        self.stack.wait_working(*PRIORITIES, seconds=200)
        start = {vm: self.stack.vm_status(vm)['gpu_time_ns'] for vm in PRIORITIES}
        used = {}

        def enough():
            used.update({vm: self.stack.vm_status(vm)['gpu_time_ns'] - start[vm]
                         for vm in PRIORITIES})
            return sum(used.values()) > 15 * 10**9

        wait_for(enough, 120, 'all use the GPU')
        by_priority = {level: [used[vm] for vm in PRIORITIES if PRIORITIES[vm] == level]
                       for level in ('low', 'medium', 'high')}
        self.assertLess(max(by_priority['low']), min(by_priority['medium']), used)
        self.assertLess(max(by_priority['medium']), min(by_priority['high']), used)
        for load in loads:
            self.assertEqual(load.wait(400), 0, load.text_errors())

    def test_vm_one_of_seven_is_killed(self):
        others = [vm for vm in PRIORITIES if vm != 4]
        loads = [self.load(vm, 20) for vm in others]
        self.load(4, 100)
        self.stack.wait_working(*PRIORITIES, seconds=200)
        self.guest(4).kill()
        wait_for(lambda: self.stack.vm_status(4)['channels'] == 0, 20, 'its channels are gone')
        for load in loads:
            self.finished(load, 600)
        self.stack.boot(4)


if __name__ == '__main__':
    main()
