#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""NVML in guests, by the device: each sees its own use, with its own numbers of processes."""
from guests import VmTest, main, wait_for


class Nvml(VmTest):
    vms = [(1, 'A', 'medium'), (2, 'A', 'medium')]

    def show(self, vm, user=''):
        """What nvml_show prints: (values, {pid: bytes})."""
        lines = self.guest(vm).run(user + 'nvml_show', 60).text_output().splitlines()
        rows = [line.split(' ', 1) for line in lines]
        processes = dict(tuple(map(int, value.split())) for key, value in rows if key == 'process')
        return {key: value for key, value in rows if key != 'process'}, processes

    def test_vm_nvml_needs_no_worker(self):
        values, processes = self.show(1)
        self.assertEqual((values['count'], values['name'], values['used']), ('1', 'softgpu', '0'))
        self.assertEqual(values['uuid'], self.stack.admin_json('list-gpus')['gpus'][0]['uuid'])
        self.assertEqual(processes, {})
        self.assertEqual(self.stack.workers(), [])

    def test_vm_nvml_shows_the_guests_own_use(self):
        quiet = self.show(2)
        load = self.load(1, 60, 'run spin --no-verify')
        wait_for(lambda: int(self.show(1)[0]['utilization']) > 0, 60, 'utilisation in guest 1')
        # Between two runs it holds nothing for a moment.
        wait_for(lambda: int(self.show(1)[0]['used']) > 0, 60, 'memory in use in guest 1')
        _, processes = self.show(1)
        pids = [int(pid) for pid in self.guest(1).run('pidof vgpu-client').text_output().split()]
        self.assertEqual(list(processes), pids)
        wait_for(lambda: self.show(1)[1][pids[0]] > 0, 60, 'memory in use by the process')
        self.assertEqual(self.show(2), quiet)
        load.signal(9)
        wait_for(lambda: self.show(1)[1] == {}, 20, 'the end of the process')

    def test_vm_nvml_goes_on_after_a_restart(self):
        before = self.show(2)
        self.stack.kill_mediator()
        self.stack.start_mediator()
        wait_for(lambda: self.guest(2).run('nvml_show', 60, check=False).status == 0, 30,
                 'answers from the new mediator')
        self.assertEqual(self.show(2), before)


if __name__ == '__main__':
    main()
