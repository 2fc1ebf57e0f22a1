#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fairness with real kernels: bench/fairness.py [--seconds N] [--only WHAT,..] [--json F] [--svg F].

Starts the host side, registers VMs (30), starts a program in the place of each (bench/fair_load.c,
local carrier), and measures from outside, by when kernels of known length end: shares and lags,
latency of a high-priority VM, throughput lost to switching and to mediation, stalls beside a kernel
that never ends, the longest wait under overload, and a kill of the mediator. Prints a table with the
targets. The driver is softgpu, or the one that VGPU_DRIVER names (libcuda.so.1, with
VGPU_NVML=libnvidia-ml.so.1, where there is a GPU). With --misbehave, a third of the VMs misbehaves in
every way meanwhile. Exits 1 if a program sees an error or a job is lost, with --strict also if a
target is missed.
"""
import argparse
import array
import heapq
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../tests/e2e'))

from stack import Stack  # noqa: E402

MS = 1000000
S = 1000000000
# What is configured: the scheduler's defaults, and the mediator's cap on work in flight.
SLICE, SLICE_MIN, URGENCY, HAND_OVER = 10 * MS, 2 * MS, 10 * MS, 140000
IN_FLIGHT = 2500000
KERNEL_US = 1000
ALONE_S = 0.5
DEPTH = 64  # several slices' worth of 1 ms kernels: who is to have work always has it
MULTIPLIER = {'low': 1, 'medium': 2, 'high': 4}
MEASURES = ['shares', 'latency', 'switching', 'lone', 'stall', 'wait', 'restart']


class Load:
    """One fair_load process; orders may be under way in many at once."""

    def __init__(self, program, driver, env, directory, name):
        self.path = os.path.join(directory, '%s.log' % name)
        self.process = subprocess.Popen([program, driver], env={**os.environ, **env}, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def answer(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else {'error': 'the program ended'}

    def send(self, *words):
        try:
            self.process.stdin.write(' '.join(str(word) for word in words) + '\n')
            self.process.stdin.flush()
        except OSError:
            pass  # it has ended: answer() says so

    def ask(self, *words):
        self.send(*words)
        return self.answer()

    def busy(self, loops, depth, start, stop):
        self.send('busy', loops, depth, start, stop, self.path)

    def light(self, loops, gap_us, start, stop):
        self.send('light', loops, gap_us, start, stop, self.path)

    def log(self):
        """[(end, duration)] of the last order."""
        numbers = array.array('Q')
        with open(self.path, 'rb') as data:
            numbers.frombytes(data.read())
        return list(zip(numbers[::2], numbers[1::2]))

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Crowd:
    """A stack with n VMs and a load in each; all in one pool on GPU 0."""

    def __init__(self, stack, count, directory):
        self.stack, self.directory = stack, directory
        self.program = os.path.join(stack.build, 'bench/fair_load')
        self.library = os.path.join(stack.build, 'guest/libvgpu/libcuda.so.1')
        self.set = {}
        self.errors = []
        self.loads = {}
        for vm in range(1, count + 1):
            self.loads[vm] = self.start(vm)
        for vm, load in self.loads.items():
            self.check(vm, load.answer())
        if self.errors:
            raise SystemExit('the programs do not start: %s' % self.errors)
        self.loops = self.loads[1].ask('calibrate', KERNEL_US)['loops']

    def start(self, vm):
        return Load(self.program, self.library, {'VGPU_SOCKET': self.stack.vm_socket(vm)},
                    self.directory, 'vm%d' % vm)

    def native(self):
        return Load(self.program, self.stack.driver, {}, self.directory, 'native')

    def check(self, vm, answer):
        if answer['error'] != 0:
            self.errors.append('vm %d: error %s' % (vm, answer['error']))
        return answer

    def configure(self, wanted):
        """wanted: {vm: (priority, weight)}; changes what differs, live."""
        for vm, (priority, weight) in wanted.items():
            was = self.set.get(vm, (None, None))
            if was[0] != priority:
                self.stack.admin('set-priority', '--vm-id=%d' % vm, '--priority=%s' % priority)
            if was[1] != weight:
                self.stack.admin('set-weight', '--vm-id=%d' % vm, '--weight=%g' % weight)
            self.set[vm] = (priority, weight)

    def charged(self):
        """GPU time of each VM by the mediator's own account, ns."""
        return {vm['vm_id']: vm['gpu_time_ns'] for vm in self.stack.admin_json('status')['vms']}

    def run(self, orders, seconds, during=None):
        """orders: {vm: (kind, length as a part of 1 ms, depth or gap)}. {vm: log}, start, stop."""
        start = time.monotonic_ns() + 300 * MS
        stop = start + int(seconds * S)
        for vm, (kind, length, number) in orders.items():
            getattr(self.loads[vm], kind)(max(1, int(self.loops * length)), number, start, stop)
        if during:
            during(start)
        for vm in orders:
            answer = self.check(vm, self.loads[vm].answer())
            if answer.get('submitted') != answer.get('jobs'):
                self.errors.append('vm %d: %s of %s jobs' % (vm, answer.get('jobs'),
                                                             answer.get('submitted')))
        return {vm: self.loads[vm].log() for vm in orders}, start, stop

    def end(self):
        for load in self.loads.values():
            load.end()


def row(what, value, unit, target=None, text=''):
    """target: the most that value may be."""
    return {'what': what, 'value': value, 'unit': unit, 'target': target, 'note': text,
            'met': None if target is None else value <= target}


def sleep_until(at):
    time.sleep(max(0, (at - time.monotonic_ns()) / S))


def quantile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(part * len(values)))]


def rate(log, start, stop):
    """Kernels a second between the first and the last end within the time."""
    ends = [end for end, _took in log if start <= end <= stop]
    return (len(ends) - 1) * S / (ends[-1] - ends[0])


def jain(values):
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def account(logs, costs, weights, stop):
    """Service and lag of each VM against the ideal division of all service, at each kernel's end."""
    total, whole = 0, sum(weights.values())
    vms = {vm: {'served': 0, 'lag': 0, 'ahead': 0, 'due': weights[vm] / whole} for vm in logs}
    ends = heapq.merge(*([(end, vm) for end, _took in log] for vm, log in logs.items()))
    for end, number in ends:
        if end > stop:
            break
        vm = vms[number]
        total += costs[number]
        vm['lag'] = max(vm['lag'], vm['due'] * total - vm['served'])
        vm['served'] += costs[number]
        vm['ahead'] = max(vm['ahead'], vm['served'] - vm['due'] * total)
    for vm in vms.values():
        vm['lag'] = max(vm['lag'], vm['due'] * total - vm['served'])
    return vms, total


def costs_alone(crowd, lengths):
    """
    What a kernel of each VM takes, ns, by how many it runs alone. Asking for a length is not enough:
    the same loop runs up to 3 % faster or slower from one process to the next.
    """
    costs = {}
    for vm, length in lengths.items():
        log, start, stop = crowd.run({vm: ('busy', length, int(DEPTH / length))}, ALONE_S)
        costs[vm] = S / rate(log[vm], start + int(ALONE_S * S / 5), stop)
    return costs


def measure_shares(crowd, options, result):
    """Random weights and priorities, kernels of 0.3 to 1.2 ms, all with work all the time."""
    dice = random.Random(options.seed)
    wanted = {vm: (dice.choice(['low', 'medium', 'high']), dice.randint(1, 100))
              for vm in crowd.loads}
    lengths = {vm: dice.uniform(0.3, 1.2) for vm in crowd.loads}
    crowd.configure(wanted)
    costs = costs_alone(crowd, lengths)
    accounts = [crowd.charged()]

    def during(start):
        sleep_until(start + int(options.seconds * S))
        accounts.append(crowd.charged())

    orders = {vm: ('busy', lengths[vm], int(DEPTH / lengths[vm])) for vm in crowd.loads}
    logs, _start, stop = crowd.run(orders, options.seconds, during)
    charged = {vm: accounts[1][vm] - accounts[0][vm] for vm in crowd.loads}
    weights = {vm: MULTIPLIER[priority] * weight for vm, (priority, weight) in wanted.items()}
    vms, total = account(logs, costs, weights, stop)
    bound = SLICE + IN_FLIGHT + 1.2 * KERNEL_US * 1000 + URGENCY
    large = {number: vm for number, vm in vms.items() if vm['due'] >= 0.01}
    errors = {number: abs(vm['served'] - vm['due'] * total) for number, vm in large.items()}
    worst = max(errors[number] / (vm['due'] * total) for number, vm in large.items())
    of_limit = max(errors[number] / max(vm['due'] * total / 100, SLICE)
                   for number, vm in large.items())
    used = sum(charged.values())
    by_account = max(abs(charged[number] - vm['due'] * used) / max(vm['due'] * used / 100, SLICE)
                     for number, vm in large.items())
    result['vms'] = [{'vm': number, 'priority': wanted[number][0], 'weight': wanted[number][1],
                      'due': vm['due'], 'share': vm['served'] / total,
                      'charged': charged[number] / sum(charged.values()), 'lag_ms': vm['lag'] / MS,
                      'kernel_ms': costs[number] / MS, 'ahead_ms': vm['ahead'] / MS}
                     for number, vm in vms.items()]
    result['lag_bound_ms'] = bound / MS
    return [
        row('largest lag behind the ideal share', max(vm['lag'] for vm in vms.values()) / MS, 'ms',
            bound / MS, 'slice + drain + longest job + urgency'),
        row('share error, of max(1 %%, one slice), over %g s' % options.seconds, of_limit, '', 1,
            'largest %.2f %%' % (worst * 100)),
        row('the same by what the mediator charged', by_account, '', None),
        row('1 - Jain of served / due, shares from 1 %',
            1 - jain([vm['served'] / (vm['due'] * total) for vm in large.values()]), '', 0.002),
        row('GPU time used', total / (options.seconds * S) * 100, '%'),
    ]


def measure_latency(crowd, options, result):
    """One light high-priority VM beside all others busy at low priority."""
    others = [vm for vm in crowd.loads if vm != 1]
    crowd.configure({1: ('high', 50), **{vm: ('low', 50) for vm in others}})
    seconds = max(2, options.seconds / 3)
    alone = crowd.run({1: ('light', 1, 20000)}, seconds)[0][1]
    beside = crowd.run({1: ('light', 1, 20000), **{vm: ('busy', 1, DEPTH) for vm in others}},
                       seconds)[0][1]
    alone, beside = ([took / MS for _end, took in log] for log in (alone, beside))
    result['latency_ms'] = {'alone': sorted(alone), 'beside': sorted(beside)}
    target = 1.3 * quantile(alone, 0.99) + (IN_FLIGHT + HAND_OVER) / MS
    return [
        row('high priority, alone, p99', quantile(alone, 0.99), 'ms'),
        row('high priority beside %d busy low, p99' % len(others), quantile(beside, 0.99), 'ms',
            target, '1.3 x alone + in flight + hand-over; p50 %.2f' % quantile(beside, 0.5)),
    ]


def measure_switching(crowd, options, result):
    """Kernels a second of four busy VMs together, against one alone; rounds in turn."""
    four = [vm for vm in crowd.loads][:4]
    crowd.configure({vm: ('medium', 50) for vm in four})
    seconds = max(2, options.seconds / 10)
    lost = []
    for _ in range(options.rounds):
        logs, start, stop = crowd.run({four[0]: ('busy', 1, DEPTH)}, seconds)
        alone = rate(logs[four[0]], start + S // 2, stop)
        logs, start, stop = crowd.run({vm: ('busy', 1, DEPTH) for vm in four}, seconds)
        together = rate(sorted(sum(logs.values(), [])), start + S // 2, stop)
        lost.append((1 - together / alone) * 100)
    result['switching_lost_percent'] = lost
    return [row('throughput lost to switching, 4 busy VMs', statistics.median(lost), '%', 1.5,
                'rounds %s' % ' '.join('%.2f' % one for one in lost))]


def measure_lone(crowd, options, result):
    """A VM that is alone (all others connected and idle), against the driver itself."""
    seconds = max(2, options.seconds / 10)
    cost = []
    for _ in range(options.rounds):
        logs, start, stop = crowd.run({1: ('busy', 1, DEPTH)}, seconds)
        mediated = rate(logs[1], start + S // 2, stop)
        native = crowd.native()
        crowd.check(0, native.answer())
        start = time.monotonic_ns()
        stop = start + int(seconds * S)
        native.busy(crowd.loops, DEPTH, start, stop)
        crowd.check(0, native.answer())
        cost.append((1 - mediated / rate(native.log(), start + S // 2, stop)) * 100)
        native.end()
    result['lone_cost_percent'] = cost
    return [row('cost to a lone VM, of its throughput natively', statistics.median(cost), '%', 1,
                'rounds %s' % ' '.join('%.2f' % one for one in cost))]


def gaps(log, since):
    """Distances between the ends of kernels after that time."""
    ends = [since] + [end for end, _took in log if end > since]
    return [b - a for a, b in zip(ends, ends[1:])] or [S * 1000]


def measure_stall(crowd, options, result):
    """A neighbour with 1 ms kernels, when another VM launches a kernel that never ends."""
    crowd.configure({vm: ('medium', 50) for vm in (1, 2)})
    rogue = crowd.loads[2]
    launched = []

    def during(start):
        sleep_until(start + S)
        launched.append(time.monotonic_ns())
        rogue.send('endless')

    logs = crowd.run({1: ('busy', 1, 4)}, max(3, options.seconds / 10), during)[0]
    before = max(gaps([one for one in logs[1] if one[0] < launched[0]], logs[1][0][0]))
    stall = max(gaps(logs[1], launched[0]))
    result['stall_ms'] = {'before': before / MS, 'beside': stall / MS}
    crowd.check(2, rogue.answer())
    killed = time.monotonic_ns()
    rogue.end()
    crowd.loads[2] = crowd.start(2)
    crowd.check(2, crowd.loads[2].answer())
    usable = time.monotonic_ns() - killed
    return [
        row("neighbour's longest stall beside an endless kernel", (stall - SLICE_MIN) / MS, 'ms', 20,
            'beyond the turn of 2 ms; longest gap alone %.2f ms' % (before / MS)),
        row('its program killed, to the next one ready in the same VM', usable / MS, 'ms', None,
            'starting a program and its context included'),
    ]


def measure_wait(crowd, options, result):
    """A VM of the least share under overload waits no longer than max-wait, in either policy."""
    bound = options.max_wait_ms
    last = max(crowd.loads)
    others = [vm for vm in crowd.loads if vm != last]
    crowd.configure({last: ('low', 1), **{vm: ('high', 100) for vm in others}})
    rows = []
    crowd.stack.admin('set-slice', 'A', 'default', '--max-wait=%dms' % bound)
    for policy in ('wfq', 'strict'):
        crowd.stack.admin('set-policy', 'A', policy)
        logs = crowd.run({last: ('busy', 1, 1), **{vm: ('busy', 1, DEPTH) for vm in others}},
                         max(options.seconds / 3, 3.5 * bound / 1000))[0]
        wait = max(took for _end, took in logs[last]) / MS - KERNEL_US / 1000
        result['wait_%s_ms' % policy] = [took / MS for _end, took in logs[last]]
        rows.append(row("low priority's longest wait under overload, %s" % policy, wait, 'ms',
                        bound + (SLICE + IN_FLIGHT + KERNEL_US * 1000 + HAND_OVER) / MS,
                        'max-wait + the turn in hand; %d waits' % len(logs[last])))
    crowd.stack.admin('set-policy', 'A', 'wfq')
    crowd.stack.admin('set-slice', 'A', 'default', '--max-wait=default')
    return rows


def measure_restart(crowd, options, result):
    """kill -9 of the mediator while all VMs are busy; started again at once, as systemd does."""
    crowd.configure({vm: ('medium', 50) for vm in crowd.loads})
    marks = []

    def during(start):
        sleep_until(start + S)
        marks.append(time.monotonic_ns())
        crowd.stack.kill_mediator()
        crowd.stack.start_mediator()
        marks.append(time.monotonic_ns())

    before = len(crowd.errors)
    logs = crowd.run({vm: ('busy', 1, DEPTH) for vm in crowd.loads}, max(4, options.seconds / 10),
                     during)[0]
    killed, answers = marks
    ends = sorted((end, vm) for vm, log in logs.items() for end, _took in log)
    # Whoever had the GPU keeps it, and one may just have been granted it; who comes then shows that
    # the new mediator decides.
    holders = {vm for end, vm in ends if killed - 3 * MS <= end <= killed}
    new = [(end, vm) for end, vm in ends if end > killed and vm not in holders]
    moved = [end for end, vm in new if vm != new[0][1]]
    result['restart_ms'] = {'socket': (answers - killed) / MS,
                            'hand_over': (moved[0] - killed) / MS}
    lost = sum(len([1 for end, _took in log if end > killed]) == 0 for log in logs.values())
    return [
        row('mediator killed, to the first hand-over by its successor', (moved[0] - killed) / MS,
            'ms', 1000, 'admin socket after %.0f ms' % ((answers - killed) / MS)),
        row('jobs lost or failed', len(crowd.errors) - before + lost, '', 0),
    ]


class Rogues(threading.Thread):
    """Misbehaves in the place of some VMs, one way after another, with a new program each time."""

    WAYS = ['endless', 'fault', 'hog', 'hammer', 'killed']

    def __init__(self, crowd, vms, until):
        super().__init__()
        self.crowd, self.vms, self.until = crowd, vms, until
        self.done = dict.fromkeys(self.WAYS + ['refused'], 0)

    def misbehave(self, vm, way):
        load = self.crowd.start(vm)
        if load.answer()['error'] != 0:
            self.done['refused'] += 1  # in quarantine by now
            load.end()
            return None
        now = time.monotonic_ns()
        if way in ('hammer', 'killed'):
            load.send('hammer', now, now + 60 * S)
        else:
            load.send(way)
        self.done[way] += 1
        return load

    def run(self):
        turn = 0
        while time.monotonic_ns() < self.until:
            active = [self.misbehave(vm, self.WAYS[(turn + i) % len(self.WAYS)])
                      for i, vm in enumerate(self.vms)]
            time.sleep(min(4, max(0, (self.until - time.monotonic_ns()) / S)))
            for load in active:
                if load:
                    load.end()
            turn += 1


def measure_misbehave(crowd, options, result):
    """A third misbehaves; the others' shares of what they got together, and their errors."""
    vms = list(crowd.loads)
    rogues, good = vms[:len(vms) // 3], vms[len(vms) // 3:]
    for vm in rogues:
        crowd.loads.pop(vm).end()
        # So that it goes on misbehaving: neither quarantine nor a full GPU is measured here.
        crowd.stack.admin('set-timeout', '--vm-id=%d' % vm, '--timeout=2s')
        crowd.stack.admin('set-faults', '--vm-id=%d' % vm, '--threshold=1000', '--window=60s')
        crowd.stack.admin('set-memory', '--vm-id=%d' % vm, '--memory=4G')
    dice = random.Random(options.seed)
    wanted = {vm: (dice.choice(['low', 'medium', 'high']), dice.randint(20, 100)) for vm in good}
    crowd.configure(wanted)
    weights = {vm: MULTIPLIER[priority] * weight for vm, (priority, weight) in wanted.items()}
    threads, accounts = [], []

    def during(start):
        threads.append(Rogues(crowd, rogues, start + int(options.seconds * S)))
        sleep_until(start)
        accounts.append(crowd.charged())
        threads[0].start()
        threads[0].join()
        accounts.append(crowd.charged())

    before = len(crowd.errors)
    logs, _start, stop = crowd.run({vm: ('busy', 1, DEPTH) for vm in good}, options.seconds, during)
    served, total = account(logs, dict.fromkeys(good, KERNEL_US * 1000), weights, stop)
    worst = max(abs(vm['served'] / (vm['due'] * total) - 1) for vm in served.values())
    charged = {vm: accounts[1][vm] - accounts[0][vm] for vm in good}
    by_account = max(abs(charged[number] / sum(charged.values()) / vm['due'] - 1)
                     for number, vm in served.items())
    result['misbehaved'] = threads[0].done
    return [
        row('errors seen by %d well-behaved VMs in %g s' % (len(good), options.seconds),
            len(crowd.errors) - before, '', 0,
            ', '.join('%s %d' % one for one in threads[0].done.items())),
        row('their largest deviation from their share', worst * 100, '%', 2,
            'by what the mediator charged, %.2f %%' % (by_account * 100)),
    ]


def print_table(rows):
    print('| what | value | target | |\n| --- | --- | --- | --- |')
    for one in rows:
        target = '' if one['target'] is None else '%.4g' % one['target']
        if one['met'] is False:
            target = '**%s missed**' % target
        print('| %s | %.4g %s | %s | %s |' % (one['what'], one['value'], one['unit'], target,
                                             one['note']), flush=True)


def svg_bars(x, title, values, full, marks):
    """A column of horizontal bars, one a VM, with a red mark on each."""
    parts = ['<text x="%d" y="16">%s; width %.3g</text>' % (x, title, full)]
    for i, (value, mark) in enumerate(zip(values, marks)):
        y = 26 + 16 * i
        parts.append('<rect x="%d" y="%d" width="%.1f" height="12" fill="#4878a8"/>' % (
            x, y, 300 * min(1, value / full)))
        at = x + 300 * min(1, mark / full)
        parts.append('<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#c03030" '
                     'stroke-width="2"/>' % (at, at, y - 2, y + 14))
    return parts


def draw(result, path):
    vms = result.get('vms', [])
    height = max(26 + 16 * len(vms), 200) + 20
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" width="1160" height="%d" font-size="11" '
             'font-family="sans-serif"><rect width="100%%" height="100%%" fill="white"/>' % height]
    for i, vm in enumerate(vms):
        parts.append('<text x="4" y="%d">vm %d %s %g</text>' % (36 + 16 * i, vm['vm'],
                                                                vm['priority'], vm['weight']))
    if vms:
        shares = [vm['share'] * 100 for vm in vms]
        dues = [vm['due'] * 100 for vm in vms]
        parts += svg_bars(110, 'share % (red: due)', shares, max(shares + dues), dues)
        bound = result['lag_bound_ms']
        lags = [vm['lag_ms'] for vm in vms]
        parts += svg_bars(450, 'largest lag ms (red: bound)', lags, max(lags + [bound]),
                          [bound] * len(vms))
    latency = result.get('latency_ms')
    if latency:
        full = max(latency['beside'][-1], latency['alone'][-1])
        parts.append('<text x="800" y="16">latency of a high-priority VM: part within ms; width '
                     '%.3g (grey: alone)</text>' % full)
        for name, colour in (('alone', '#888888'), ('beside', '#4878a8')):
            values = latency[name]
            points = ' '.join('%.1f,%.1f' % (800 + 340 * value / full,
                                             190 - 160 * (i + 1) / len(values))
                              for i, value in enumerate(values))
            parts.append('<polyline points="%s" fill="none" stroke="%s"/>' % (points, colour))
    with open(path, 'w', encoding='utf-8') as out:
        out.write('\n'.join(parts + ['</svg>\n']))


def measure(options):
    result = {'seconds': options.seconds, 'vms_count': options.vms}
    rows = []
    directory = tempfile.mkdtemp(prefix='vgpu-fairness.')
    vms = [(vm, 'A', 'medium') for vm in range(1, options.vms + 1)]
    try:
        with Stack(vms=vms) as stack:
            result['driver'] = os.path.basename(stack.driver)
            print('driver %s, %d VMs, %g s\n' % (result['driver'], options.vms, options.seconds))
            crowd = Crowd(stack, options.vms, directory)
            try:
                for name in options.only:
                    began = time.monotonic()
                    try:
                        rows += globals()['measure_' + name](crowd, options, result)
                    except Exception as error:  # noqa: BLE001 - the others are measured still
                        crowd.errors.append('%s: %r' % (name, error))
                    print('%s: %.0f s' % (name, time.monotonic() - began), file=sys.stderr)
            finally:
                crowd.end()
            result['errors'] = crowd.errors
    finally:
        shutil.rmtree(directory)
    result['rows'] = rows
    return result


def parse_only(text):
    names = text.split(',')
    for name in names:
        if name not in MEASURES + ['misbehave']:
            raise argparse.ArgumentTypeError('%s is none of %s' % (name, ', '.join(MEASURES)))
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--seconds', type=float, default=30, help='of the longest measurement')
    parser.add_argument('--vms', type=int, default=30)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--max-wait-ms', type=int, default=2000)
    parser.add_argument('--only', type=parse_only, default=MEASURES,
                        help='some of %s' % ', '.join(MEASURES))
    parser.add_argument('--misbehave', action='store_true',
                        help='a third of the VMs misbehaves; this alone, for --seconds')
    parser.add_argument('--strict', action='store_true', help='a missed target is a failure')
    parser.add_argument('--json', metavar='FILE')
    parser.add_argument('--svg', metavar='FILE')
    options = parser.parse_args()
    if options.vms < 4:
        parser.error('it takes 4 VMs at least')
    if options.misbehave:
        options.only = ['misbehave']
    result = measure(options)
    print_table(result['rows'])
    for error in result['errors']:
        print('error: %s' % error)
    if options.json:
        with open(options.json, 'w', encoding='utf-8') as out:
            json.dump(result, out, indent=1)
    if options.svg:
        draw(result, options.svg)
    missed = options.strict and any(one['met'] is False for one in result['rows'])
    sys.exit(1 if result['errors'] or missed else 0)


if __name__ == '__main__':
    main()
