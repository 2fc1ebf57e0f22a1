#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Grant carrier against relay carrier on real Xen, in one run: bench/xen.py [--rounds N] [--quick].

Boots the bed of tests/xen with two HVM guests, one by grants and one relayed by QEMU, and runs
path_jobs in them in turn, the other idle. Printed are

- times of a job and bytes per second as ratios: the median over the rounds, least and most of a
  round, and that of the least times, which other work on the machine disturbs least. All domains
  share one emulated processor, so no time means anything by itself;
- what Xen's own trace (xentrace) has of one more run in each: exits by cause, hypercalls of the
  guest and of dom0, and how often a domain was put on the processor, per job. path_jobs marks where
  a kind of job begins and ends by a CPUID leaf that only the trace looks at;
- what such counts cost on hardware, by the published costs in COSTS_NS.

--trace FILE counts a trace again that --keep DIRECTORY kept. Exits 1 if a figure is missing, or if
the trace has lost records. docs/performance.md (On Xen) has a run's tables and what they mean.
"""
import argparse
import collections
import gzip
import os
import statistics
import struct
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, 'tests/xen')]

from bed import Bed  # noqa: E402

GUESTS = {1: 'grants', 2: 'relay'}
NAMES = {'launch_and_wait': 'launch and synchronise',
         'launch_in_a_hundred': 'launch, one of a hundred', 'query': 'query of a stream',
         'up_4k_pageable': '4 KiB up, pageable', 'down_4k_pageable': '4 KiB down, pageable',
         'up_1m_pinned': '1 MiB up, page-locked', 'down_1m_pinned': '1 MiB down, page-locked'}
MOVES_BYTES = ('up_', 'down_')

# Of Xen's public trace.h, and of AMD's manual (exit codes; the emulated processor is an AMD one).
LOST, VMEXIT, CPUID, VMMCALL, INJECTED = 0x1f001, 0x81002, 0x8200e, 0x82012, 0x82004
RUNSTATE, PV_HYPERCALL = 0x21001, 0x20100d
IO = {0x82016: 'port', 0x82216: 'port', 0x82017: 'mmio', 0x82217: 'mmio'}
WIDE = 0x100  # the record has an address of 64 bits
TRACED = 0x002a3000  # exits and their handlers, hypercalls of PV guests, changes of the processor
EXITS = {0x47: 'FPU', 0x60: 'interrupt of Xen', 0x64: 'interrupt window', 0x72: 'CPUID',
         0x78: 'halt', 0x7b: 'port', 0x7c: 'MSR', 0x81: 'hypercall', 0x400: 'nested page fault'}
HYPERCALLS = {20: 'grant_table_op', 24: 'vcpu_op', 29: 'sched_op', 32: 'event_channel_op',
              34: 'hvm_op', 41: 'dm_op'}
MARK = 0x76670000  # bench/path_jobs.c
LAPIC = 0xfee00000
TRACE_PAGES = 2048

# Dall, Li, Lim, Nieh, Koloventzos, ARM Virtualization: Performance and Architectural Implications,
# ISCA 2016, table of microbenchmarks, x86 with Xen on a Xeon E5-2450 at 2.1 GHz, in cycles: a
# hypercall, a guest's signal until dom0 has it, dom0's until the guest has it, each waking a domain
# that waits on a processor of its own.
CYCLES = {'hypercall': 1228, 'out': 11262, 'in': 10050}
COSTS_NS = {name: cycles / 2.1 for name, cycles in CYCLES.items()}


def records(data):
    """(event, words) of each record that xentrace wrote; one processor, so they are in order."""
    at = 0
    while at + 4 <= len(data):
        head, = struct.unpack_from('<I', data, at)
        words = (head >> 28) & 7
        at += 12 if head >> 31 else 4
        if at + 4 * words > len(data):
            return
        yield head & 0xfffffff, struct.unpack_from('<%dI' % words, data, at)
        at += 4 * words


class Counts:
    """What happened between the marks, by kind of job."""

    def __init__(self, data):
        self.kinds = []  # a Counter for each
        self.ended = 0
        self.lost = 0
        self.now = None  # the Counter, while a kind is measured
        self.domain = None  # on the processor
        self.guest = None  # that is measured
        for event, words in records(data):
            self.take(event, words)

    def take(self, event, words):
        if event & ~0x330 == RUNSTATE and (event >> 4) & 3 == 0:
            self.domain = words[0] >> 16
            if self.now is not None:
                self.now['guest on' if self.domain == self.guest else
                         'dom0 on' if self.domain == 0 else 'others on'] += 1
        elif event == CPUID and words and words[0] & 0xffff0000 == MARK:
            self.mark(words[0] - MARK)
        elif self.now is None:
            return
        elif event == LOST:
            self.lost += 1
        elif event == PV_HYPERCALL and self.domain == 0:
            self.now['dom0 hypercalls'] += 1
            self.now['dom0 ' + HYPERCALLS.get(words[0] & 0xfffff, 'others')] += 1
        elif self.domain == self.guest:
            self.take_of_guest(event, words)

    def mark(self, number):
        if number % 2 == 0:
            self.guest = self.domain
            self.now = collections.Counter()
            self.kinds.append(self.now)
        elif self.now is not None:
            # The exit of this mark is none of the job's.
            self.now['exits'] -= 1
            self.now['exit CPUID'] -= 1
            self.now = None
            self.ended += 1

    def take_of_guest(self, event, words):
        if event & ~WIDE == VMEXIT:
            self.now['exits'] += 1
            self.now['exit ' + EXITS.get(words[0], 'others')] += 1
        elif event == VMMCALL:
            self.now['call ' + HYPERCALLS.get(words[0], 'others')] += 1
        elif event == INJECTED:
            self.now['injected'] += 1
        elif event & ~WIDE in IO:
            address = words[0]
            self.now['LAPIC' if address & 0xfffff000 == LAPIC else IO[event & ~WIDE]] += 1


def run_jobs(guest, divisor):
    """{kind: (jobs, ns for one)}, in the order of path_jobs."""
    text = guest.run('path_jobs /dev/vgpu0 - %d' % divisor, 600).text_output()
    return {words[0]: (int(words[1]), int(words[2]))
            for words in (line.split() for line in text.splitlines())}


def traced(bed, guest, divisor, keep):
    """The same under xentrace: jobs, and Counts. Xen's buffer holds much, so that xentrace needs to
    look once a second only, and is hardly in what it counts."""
    bed.run('rm -f /tmp/trace; setsid xentrace -D -e %#x -S %d -s 1000 /tmp/trace </dev/null '
            '>/tmp/xentrace.log 2>&1 & echo $! >/tmp/xentrace.pid' % (TRACED, TRACE_PAGES))
    bed.run('for i in $(seq 100); do [ -s /tmp/trace ] && exit; usleep 100000; done; '
            'cat /tmp/xentrace.log; exit 1', 60)
    jobs = run_jobs(guest, divisor)
    bed.run('pid=$(cat /tmp/xentrace.pid); kill -TERM $pid; '
            'while kill -0 $pid 2>/dev/null; do usleep 50000; done', 60)
    # The way here is a serial line.
    data = gzip.decompress(bytes(bed.run('gzip -c /tmp/trace', 300).output))
    if keep:
        with open(os.path.join(keep, '%s.bin' % GUESTS[guest.number]), 'wb') as out:
            out.write(data)
    return jobs, Counts(data)


def ratio(value):
    return '%.2f' % value if value < 100 else '%.0f' % value


def print_ratios(rounds):
    print('\n| job | time, relay : grants | of the rounds | of the least times '
          '| bytes/s, relay : grants, of the least times |')
    print('| --- | --- | --- | --- | --- |')
    for kind, name in NAMES.items():
        times = [(each['relay'][kind][1], each['grants'][kind][1]) for each in rounds]
        ratios = [relay / grants for relay, grants in times]
        least = min(relay for relay, _ in times) / min(grants for _, grants in times)
        print('| %s | %s | %s–%s | %s | %s |' % (
            name, ratio(statistics.median(ratios)), ratio(min(ratios)), ratio(max(ratios)),
            ratio(least), ratio(1 / least) if kind.startswith(MOVES_BYTES) else ''))


COLUMNS = [('exits', 'exits'), ('events sent', 'call event_channel_op'), ('registers', 'mmio'),
           ('halts', 'exit halt'), ('timer set', 'call vcpu_op'), ('interrupts', 'injected'),
           ('end of interrupt', 'exit MSR'), ('FPU', 'exit FPU'),
           ('of Xen', 'exit interrupt of Xen'),
           ('dom0: events sent', 'dom0 event_channel_op'), ('dm_op', 'dom0 dm_op'),
           ('all hypercalls', 'dom0 hypercalls'), ('guest put on', 'guest on'),
           ('dom0 put on', 'dom0 on')]


def print_counts(carrier, jobs, counts):
    print('\n%s, counted by Xen, per job:\n' % carrier)
    print('| job | %s |' % ' | '.join(title for title, _key in COLUMNS))
    print('| --- |%s' % (' --- |' * len(COLUMNS)))
    for (kind, (number, _ns)), found in zip(jobs.items(), counts.kinds):
        print('| %s | %s |' % (NAMES[kind], ' | '.join(
            '%.2f' % (found[key] / number) for _title, key in COLUMNS)))


def expected_us(carrier, number, found):
    """What the hypervisor adds to a job on hardware, with a processor for each side: signals by
    grants go one way; a register waits for QEMU, there and back."""
    if carrier == 'grants':
        signals = found['call event_channel_op']
        back = found['dom0 event_channel_op']
    else:
        signals = found['mmio']
        back = signals + found['dom0 dm_op']
    others = max(found['exits'] - signals, 0)
    return (signals * COSTS_NS['out'] + back * COSTS_NS['in'] + others * COSTS_NS['hypercall']
            ) / number / 1000


def print_expected(traces):
    print('\n| job | grants, µs more | relay, µs more |')
    print('| --- | --- | --- |')
    for i, kind in enumerate(NAMES):
        print('| %s | %s |' % (NAMES[kind], ' | '.join(
            '%.1f' % expected_us(carrier, traces[carrier][0][kind][0], traces[carrier][1].kinds[i])
            for carrier in ('grants', 'relay'))))


def incomplete(traces):
    """Why a trace is no good, or None."""
    for carrier, (jobs, counts) in traces.items():
        if list(jobs) != list(NAMES):
            return '%s: kinds are missing' % carrier
        if counts.ended != len(NAMES) or len(counts.kinds) != len(NAMES):
            return '%s: the trace has %d of %d kinds' % (carrier, counts.ended, len(NAMES))
        if counts.lost:
            return '%s: the trace has lost records' % carrier
    # What the comparison is about: the device's registers by the relay, events by grants.
    totals = {carrier: sum(counts.kinds, collections.Counter())
              for carrier, (_jobs, counts) in traces.items()}
    if 10 * totals['grants']['mmio'] >= totals['relay']['mmio']:
        return 'registers are for the relay: %s' % totals
    if not totals['grants']['dom0 event_channel_op']:
        return 'no events by grants: %s' % totals
    return None


def measure(arguments):
    vms = [(number, 'A', 'medium') for number in GUESTS]
    with Bed() as bed:
        bed.start_host(vms)
        for number, carrier in GUESTS.items():
            bed.create(number, 'hvm', device=',grants=off' if carrier == 'relay' else '')
        for number in GUESTS:
            bed.guests[number].wait_up()
        rounds = []
        for i in range(arguments.rounds):
            each = {}
            for number in sorted(GUESTS, reverse=i % 2 == 1):
                each[GUESTS[number]] = run_jobs(bed.guests[number], arguments.divisor)
            rounds.append(each)
        traces = {GUESTS[number]: traced(bed, bed.guests[number], arguments.divisor, arguments.keep)
                  for number in GUESTS}
    return rounds, traces


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=12)
    parser.add_argument('--divisor', type=int, default=10, help='fewer jobs (path_jobs)')
    parser.add_argument('--quick', action='store_true', help='one round of few jobs')
    parser.add_argument('--keep', metavar='DIRECTORY', help='for the traces')
    parser.add_argument('--trace', metavar='FILE', help='only count in this one')
    arguments = parser.parse_args()
    if arguments.trace:
        with open(arguments.trace, 'rb') as data:
            counts = Counts(data.read())
        for kind, found in zip(NAMES, counts.kinds):
            print(NAMES[kind], dict(sorted(found.items())))
        return 0
    if arguments.quick:
        arguments.rounds, arguments.divisor = 1, 50
    rounds, traces = measure(arguments)
    if any(list(jobs) != list(NAMES) for each in rounds for jobs in each.values()):
        print('kinds are missing: %s' % rounds)
        return 1
    print_ratios(rounds)
    for carrier, (jobs, counts) in traces.items():
        print_counts(carrier, jobs, counts)
    why = incomplete(traces)
    if why:
        print(why)
        return 1
    print_expected(traces)
    return 0


if __name__ == '__main__':
    sys.exit(main())
