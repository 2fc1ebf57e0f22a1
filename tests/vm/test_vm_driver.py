#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The guest driver's own tests (guest/driver/test_driver.c), in a guest whose kernel checks each
allocation (slub_debug); and in one without message-signalled interrupts."""
import re

from guests import VmTest, main


class Driver(VmTest):
    vms = [(1, 'A', 'high')]
    words = 'slub_debug=FZPU,kmalloc-* iomem=relaxed'

    def run_tests(self, names, seconds):
        done = self.guest(1).run('test_driver %s 2>&1' % names, seconds, check=False)
        text = done.text_output()
        print(text, flush=True)
        self.assertEqual(re.findall(r'^not ok .*', text, re.MULTILINE), [], text)
        self.assertEqual(done.status, 0, text)
        ran = re.findall(r'^ok \d+ - (\w+)', text, re.MULTILINE)
        self.assertIn('1..%d' % len(ran), text)
        return ran

    def test_vm_driver(self):
        self.guest(1).run('insmod /lib/brd.ko rd_nr=1 rd_size=4096', 20)
        self.assertGreaterEqual(len(self.run_tests('', 400)), 31)

    def test_vm_driver_all_channels(self):
        self.run_tests('all_channels_and_one_more', 120)

    def test_vm_driver_silent_device(self):
        self.run_tests('silent_device_is_reset', 120)

    def test_vm_driver_attributes_are_the_devices(self):
        shown = self.guest(1).run(
            'cd /sys/class/vgpu/vgpu0; cat pool priority vm_id state weight_hundredths; '
            'cat counters/doorbells counters/turns').text_output().split()
        self.assertEqual(shown[:5], ['A', 'high', '1', 'ready', '5000'])
        self.assertGreaterEqual(len([int(value) for value in shown[5:]]), 2)


class DriverRelayed(Driver):
    """The same without a window."""
    relayed = (1,)

    def test_vm_driver_all_channels(self):
        self.assertEqual(self.guest(1).get('/sys/class/vgpu/vgpu0/window_bytes'), b'0\n')


class DriverOnThePin(Driver):
    """The same by INTx."""
    words = 'slub_debug=FZPU,kmalloc-* iomem=relaxed pci=nomsi'

    def test_vm_driver(self):
        text = self.guest(1).run('cat /proc/interrupts').text_output()
        self.assertRegex(text, r'IO-APIC.*vgpu0-0')
        self.run_tests('open_close read_and_poll read_blocks monitor monitor_by_many eventfd gone_is_told '
                       'killed_at_any_moment unbind_with_an_open_channel', 200)

    def test_vm_driver_all_channels(self):
        self.run_tests('processes_are_apart module_comes_and_goes', 120)


if __name__ == '__main__':
    main()
