#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The scene of ./quickstart --xen, which calls this when all is built: up to four guests of Xen's run
kernels through one softgpu, and share it by priority.

    tests/xen/scene.py --memory MIB --seconds S --started EPOCH --step N --steps M --vm N:POOL:PRIORITY:NAME...

Guest 1 is an HVM guest that grants its pages, guest 2 an HVM guest whose channel QEMU relays, guest 3
PVH, guest 4 PV. Parts are the test bed's (bed.py); the build directory is VGPU_BUILD. What it prints
has the form of quickstart's other scenes. 0 done, 1 failed, 130 interrupted.
"""
import argparse
import signal
import sys
import time

from bed import Bed
from dom0 import Missing
from guest import GuestError  # in tools; bed.py has set the path

KINDS = {1: ('hvm', '', 'its pages granted'), 2: ('hvm', ',grants=off', 'relayed by QEMU'),
         3: ('pvh', '', 'its pages granted'), 4: ('pv', '', 'its pages granted')}
# What is honest here would be a hung GPU on a real one: guests, dom0 and softgpu share one emulated
# processor.
PATIENCE = '--job-timeout-ms 120000'
ALL = 'vgpu-client run --all'
LOAD = 'vgpu-client run spin --size 256 --rounds 32 --work 2048 --no-verify --seconds %d'
UP_SECONDS = 600  # of a machine that has other things to do as well
WORK_SECONDS = 900
LOOK_SECONDS = 4


class Failed(Exception):
    """A client ended otherwise than it should."""


class Vm:
    """One of --vm."""

    def __init__(self, text):
        number, self.pool, self.priority, self.name = text.split(':')
        self.number = int(number)
        self.kind, self.device, self.channel = KINDS[self.number]
        self.guest = None
        self.verified = ''
        self.share = 'too short to measure'

    def words(self):
        return 'VM %d (%s)' % (self.number, self.kind.upper())


class Scene:
    """What the steps have in common."""

    def __init__(self, options):
        self.options = options
        self.vms = options.vm
        self.at = options.step
        self.bed = None

    def passed(self):
        return int(time.time()) - self.options.started

    def step(self, words):
        self.at += 1
        print('\n[%3ds] %d/%d %s' % (self.passed(), self.at, self.options.steps, words), flush=True)

    def done(self, what):
        print('  %s after %d s' % (what, self.passed()), flush=True)

    def play(self):
        self.step('Xen and its dom0, in an emulated machine')
        with Bed(self.options.memory) as self.bed:
            try:
                for act in (self.host, self.guests, self.kernels, self.shares, self.results):
                    act()
            except KeyboardInterrupt:  # no failure that logs would explain
                return 130
        return 0

    def host(self):
        self.step('in dom0: mediator, launcher, vgpu-xenbus')
        self.bed.start_host([(vm.number, vm.pool, vm.priority, vm.name) for vm in self.vms], PATIENCE)
        print('GPU driver: softgpu, on the emulated processor', flush=True)

    def guests(self):
        self.step('guests of Xen: %d' % len(self.vms))
        for vm in self.vms:
            vm.guest = self.bed.create(vm.number, vm.kind, vm.name, vm.device)
            self.done('%s: domain %d, created' % (vm.words(), vm.guest.domid))
        for vm in self.vms:
            vm.guest.wait_up(UP_SECONDS)
            self.done('%s: %s, up' % (vm.words(), vm.channel))
        print(self.bed.run('xl list').text_output(), end='')
        print('In guest 1, lspci: %s' % self.vms[0].guest.run('lspci -d 1af4:10f0').text_output(),
              end='', flush=True)

    def all_at_once(self, command, look=None):
        """Runs it in each guest, and looks now and then; last lines of what they said, by VM."""
        limit = WORK_SECONDS + self.options.seconds
        running = [(vm, vm.guest.spawn(command + ' 2>&1', limit)) for vm in self.vms]
        seen = time.monotonic()
        for vm, client in running:
            while not client.over():
                time.sleep(0.2)
                if look and time.monotonic() - seen >= LOOK_SECONDS:
                    look(not any(client.over() for _vm, client in running))
                    seen = time.monotonic()
            if client.wait() != 0:
                raise Failed('%s: %s' % (vm.words(), client.text_output()[-1000:]))
        return [client.text_output().strip().split('\n')[-1] for _vm, client in running]

    def kernels(self):
        self.step("all at once: every kernel, each result compared with the CPU's")
        for vm, said in zip(self.vms, self.all_at_once(ALL)):
            vm.verified = said
            print('%s: %s' % (vm.words(), said), flush=True)

    def shares(self):
        self.step('who gets what: all keep the GPU busy for %d s (high 4 : medium 2 : low 1)' %
                  self.options.seconds)
        used = []  # GPU time of each, at each look that found all of them at work

        def look(all_at_work):
            if sys.stdout.isatty():
                print('\033[H\033[J', end='')
            print(self.bed.admin('status'), flush=True)
            if all_at_work:
                used.append({row['vm_id']: row['gpu_time_ns'] for row in self.bed.status()['vms']})
        self.all_at_once(LOAD % self.options.seconds, look)
        total = sum(used[-1].values()) - sum(used[0].values()) if used else 0
        if not total:
            return
        for vm in self.vms:
            vm.share = '%.1f %% of the GPU' % (
                100 * (used[-1][vm.number] - used[0][vm.number]) / total)

    def results(self):
        self.step('results')
        for vm in self.vms:
            print('VM %d: %s; then as load: %s, %s' % (
                vm.number, vm.verified, vm.priority, vm.share))
        print()
        kinds = [vm.kind.upper() for vm in self.vms]
        kinds = ', '.join('%d %s' % (kinds.count(kind), kind) for kind in dict.fromkeys(kinds))
        version = self.bed.run('xl info xen_version').text_output().strip()
        print('What ran on what: Xen %s in an emulated machine, with %d guests (%s), none with a\n'
              "GPU or a driver of NVIDIA's; in each vgpu-client over /dev/vgpu0, our driver vgpu.ko."
              % (version, len(self.vms), kinds))
        for vm in self.vms:
            told = vm.guest.run('vgpu-client info', WORK_SECONDS).text_output()
            channel = [line.split(':', 1)[1].strip() for line in told.split('\n')
                       if line.startswith('channel:')]
            print('VM %d reached its worker by channel %s' % (vm.number, ''.join(channel)))
        print('For each, a vgpu-worker in dom0 that loaded softgpu; vgpu-mediator gave them the GPU in\n'
              'turn, by priority and weight; vgpu-launcher was their parent, and vgpu-xenbus told of\n'
              'the guests. All of it took %d s. It is correct, and says nothing of speed.'
              % self.passed(), flush=True)


def parse():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ('memory', 'seconds', 'started', 'step', 'steps'):
        parser.add_argument('--' + name, type=int, required=True)
    parser.add_argument('--vm', type=Vm, action='append', required=True)
    return parser.parse_args()


def main():
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return Scene(parse()).play()
    except KeyboardInterrupt:
        return 130
    except (Failed, GuestError, Missing) as error:
        print('quickstart: %s' % error, file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
