#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""That bench/xen.py counts what Xen's trace has of the guest that marked, between its marks."""
import os
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import xen  # noqa: E402


def record(event, *words, cycles=True):
    head = event | len(words) << 28 | (1 << 31 if cycles else 0)
    return struct.pack('<I', head) + (b'\0' * 8 if cycles else b'') + struct.pack(
        '<%dI' % len(words), *words)


def running(domain):
    return record(xen.RUNSTATE | 1 << 8, domain << 16)


def leave(reason):
    return record(xen.VMEXIT | xen.WIDE, reason, 0, 0)


def mark(number):
    return leave(0x72) + record(xen.CPUID, xen.MARK + number, 0, 0, 0, 0)


class Trace(unittest.TestCase):
    def test_bench_xen_counts_between_marks_only(self):
        inside = leave(0x81) + record(xen.VMMCALL, 32) + leave(0x78)
        counts = xen.Counts(running(5) + inside + mark(0) + inside + mark(1) + inside)
        self.assertEqual(counts.ended, 1)
        self.assertEqual(counts.kinds[0]['exits'], 2)
        self.assertEqual(counts.kinds[0]['call event_channel_op'], 1)
        self.assertEqual(counts.kinds[0]['exit halt'], 1)
        self.assertEqual(counts.kinds[0]['exit CPUID'], 0)

    def test_bench_xen_other_guests_are_not_counted(self):
        counts = xen.Counts(running(5) + mark(0) + running(6) + leave(0x78) + running(5) + mark(1))
        self.assertEqual(counts.kinds[0]['exits'], 0)
        self.assertEqual(counts.kinds[0]['others on'], 1)
        self.assertEqual(counts.kinds[0]['guest on'], 1)

    def test_bench_xen_hypercalls_of_dom0_by_kind(self):
        calls = record(xen.PV_HYPERCALL, 32 | 1 << 20, 4) + record(xen.PV_HYPERCALL, 41)
        counts = xen.Counts(running(5) + mark(0) + running(0) + calls + running(5) + mark(1))
        self.assertEqual(counts.kinds[0]['dom0 hypercalls'], 2)
        self.assertEqual(counts.kinds[0]['dom0 event_channel_op'], 1)
        self.assertEqual(counts.kinds[0]['dom0 dm_op'], 1)

    def test_bench_xen_registers_of_the_device_are_not_the_interrupt_controller(self):
        io = record(0x82217 | xen.WIDE, 0xfee000b0, 0, 0)
        io += record(0x82217 | xen.WIDE, 0xf0001000, 0, 1)
        counts = xen.Counts(running(5) + mark(0) + io + mark(1))
        self.assertEqual((counts.kinds[0]['LAPIC'], counts.kinds[0]['mmio']), (1, 1))

    def test_bench_xen_lost_records_are_told(self):
        counts = xen.Counts(running(5) + mark(0) + record(xen.LOST, 9, 0, 0, 0) + mark(1))
        self.assertEqual(counts.lost, 1)

    def test_bench_xen_a_cut_record_ends_it(self):
        counts = xen.Counts((running(5) + mark(0) + mark(1))[:-2])
        self.assertEqual((len(counts.kinds), counts.ended), (1, 0))

    def test_bench_xen_records_without_a_time(self):
        data = record(0x1f003, 0, 4096, cycles=False) + running(5)
        self.assertEqual([event for event, _words in xen.records(data)],
                         [0x1f003, xen.RUNSTATE | 0x100])


if __name__ == '__main__':
    unittest.main()
