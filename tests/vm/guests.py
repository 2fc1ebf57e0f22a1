# SPDX-License-Identifier: Apache-2.0
"""The host side and virtual machines for a test, and what is looked at in both.

A VmTest class makes one VmStack for all its tests: the host side of tests/e2e/stack.py, plus a
guest for each VM named in `boot`. After each test nothing may be left: no channel, no worker, no
descriptor more than before, no complaint of a guest's kernel. main() runs the classes of a file
and prints what cmocka would, for tools/check-report.py.
"""
import faulthandler
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, 'tests/e2e'), os.path.join(ROOT, 'tools')]

# pylint: disable=wrong-import-position
from guest import Guest, GuestError, Settings, choose_accel  # noqa: E402
from stack import Stack, alive, wait_for  # noqa: E402

BUILD = os.environ.get('VGPU_BUILD', os.path.join(ROOT, 'build/check'))
QEMU_VERSION = os.environ.get('VGPU_QEMU_VERSION', '7.2')
TROUBLE = re.compile(r'BUG:|WARNING: |Oops|Kernel panic|general protection|Call Trace|blocked for more'
                     r'|refcount_t|leaked')
VMS = [(1, 'A', 'high'), (2, 'B', 'low')]
UP_SECONDS = 90


def tool(*command):
    done = subprocess.run([os.path.join(ROOT, 'tools', command[0]), *command[1:]],
                          stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip().split('\n')


_settings = None


def settings():
    """QEMU, kernel and image; made if they are not there yet."""
    global _settings  # pylint: disable=global-statement
    if _settings is None:
        qemu = tool('qemu-build.sh', QEMU_VERSION)[-1]
        files = dict(line.split('=', 1) for line in tool('guest-image.sh', BUILD))
        _settings = Settings(qemu, files['KERNEL'], files['INITRD'])
        _settings.accel, why = choose_accel(_settings, os.path.join(BUILD, 'accel.json'))
        print('guests: %s, %s (%s)' % (qemu, _settings.accel, why), flush=True)
    return _settings


def socket_names():
    """Inode to path of each Unix socket; None for connections of vgpu-admin, which come and go."""
    names = {}
    with open('/proc/net/unix', encoding='utf-8', errors='replace') as lines:
        next(lines)
        for line in lines:
            words = line.split()
            path = os.path.basename(words[7]) if len(words) > 7 else ''
            connected = words[5] == '03'
            names[words[6]] = None if connected and path == 'admin.sock' else 'socket ' + path
    return names


def descriptors(pid):
    """What a process has open, as a sorted list of what the links say; sockets by their path."""
    names = []
    sockets = socket_names()
    for number in os.listdir('/proc/%d/fd' % pid):
        try:
            name = os.readlink('/proc/%d/fd/%s' % (pid, number))
        except FileNotFoundError:
            continue
        inode = re.fullmatch(r'socket:\[(\d+)\]', name)
        names.append(sockets.get(inode.group(1), 'socket') if inode else name)
    return sorted(name for name in names if name)


def memory_files(pid):
    """The memfds that a process has open or mapped."""
    found = [name for name in descriptors(pid) if name.startswith('/memfd:')]
    with open('/proc/%d/maps' % pid, encoding='utf-8', errors='replace') as lines:
        found += [line.split(None, 5)[5].strip() for line in lines if '/memfd:' in line]
    return found


class VmStack(Stack):
    """vms as Stack takes them; boot: the numbers of those that get a guest. claims: pool and priority
    that QEMU's command line gives for a VM instead of the store's. relayed: the VMs whose device has
    no window."""

    def __init__(self, vms=None, boot=None, words='', claims=None, relayed=(), **others):
        super().__init__(build=BUILD, vms=VMS if vms is None else vms, **others)
        self.boot_wanted = [vm for vm, _pool, _priority in self.vms] if boot is None else boot
        self.words = words
        self.claims = {vm: (pool, priority) for vm, pool, priority in self.vms}
        self.claims.update(claims or {})
        self.relayed = relayed
        self.guests = {}

    def __enter__(self):
        super().__enter__()
        try:
            for vm in self.boot_wanted:
                self.start_guest(vm)
            for vm in self.boot_wanted:
                self.guests[vm].wait_up(UP_SECONDS)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def start_guest(self, vm, words=None, options='', memory=256, reboots=True, cpu=''):
        """Starts QEMU and does not wait. A guest of that number that has ended is forgotten."""
        guest = Guest(self.run_dir, vm)
        if vm in self.relayed:
            options += ',window-size=0'
        guest.start(settings(), guest.device(*self.claims[vm], options), memory,
                    self.words if words is None else words, reboots, cpu)
        self.guests[vm] = guest
        return guest

    def boot(self, vm, **options):
        guest = self.start_guest(vm, **options)
        guest.wait_up(UP_SECONDS)
        return guest

    def vm_status(self, vm):
        return next(row for row in self.admin_json('status')['vms'] if row['vm_id'] == vm)

    def jobs_done(self, vm):
        return self.vm_status(vm)['jobs_done']

    def wait_working(self, *vms, more=3, seconds=60):
        """Until each of these VMs has completed some more jobs than now."""
        before = {vm: self.jobs_done(vm) for vm in vms}
        wait_for(lambda: all(self.jobs_done(vm) >= before[vm] + more for vm in vms), seconds,
                 'VMs %s do jobs' % (vms,))

    def channels(self):
        return sum(row['channels'] for row in self.admin_json('status')['vms'])

    def gpu_memory(self):
        return sum(row['memory_used_bytes'] or 0 for row in self.admin_json('status')['gpus'])

    def resources(self):
        """What a test must not leave behind, of the processes that outlive it."""
        found = {'mediator': descriptors(self.mediator.pid),
                 'launcher': descriptors(self.launcher.pid),
                 'gpu memory': self.gpu_memory()}
        for name, pid in (('mediator', self.mediator.pid), ('launcher', self.launcher.pid)):
            found[name + ' memfds'] = memory_files(pid)
        for vm, guest in self.guests.items():
            if not guest.exited():
                found['memfds of QEMU %d' % vm] = memory_files(guest.pid())
        return found

    def settle(self, seconds=20):
        """Until no channel and no worker is left."""
        wait_for(lambda: self.channels() == 0, seconds, 'no channels')
        wait_for(lambda: not self.workers(), seconds, 'no workers')

    def assert_same_resources(self, before, seconds=10):
        """As before; descriptors are compared once they agree, or when time is up."""
        now = {}

        def same():
            now.clear()
            now.update(self.resources())
            return all(now[key] == before[key] for key in before if key in now)

        try:
            wait_for(same, seconds, 'nothing left')
        except AssertionError:
            for key in before:
                assert now.get(key, before[key]) == before[key], '%s: before %s, now %s' % (
                    key, before[key], now[key])

    def trouble(self):
        """Complaints of the guests' kernels, and QEMU's own words."""
        found = []
        for vm, guest in sorted(self.guests.items()):
            try:
                with open(guest.path('log'), encoding='utf-8', errors='replace') as text:
                    found += ['guest %d: %s' % (vm, line) for line in text if TROUBLE.search(line)]
            except FileNotFoundError:
                pass
            if guest.exited() or guest.line is None:
                continue
            kernel = guest.run('dmesg', 20, check=False).text_output()
            found += ['guest %d: %s' % (vm, line) for line in kernel.split('\n')
                      if TROUBLE.search(line)]
        return found

    def left_behind(self):
        return [name for name in super().left_behind() if name != 'guests']

    def stop(self):
        for guest in self.guests.values():
            if not guest.exited():
                guest.stop()
        super().stop()

    def __exit__(self, kind, value, trace):
        if kind is not None and not self.shown:
            self.show()
        try:
            super().__exit__(kind, value, trace)
        finally:
            for guest in self.guests.values():
                if not guest.exited():
                    guest.kill()

    def show(self):
        """For a failure: the ends of the logs."""
        for vm, guest in sorted(self.guests.items()):
            print('--- guest %d\n%s' % (vm, guest.last_words()[-1500:]))
        print('--- host\n%s' % self.log_text()[-2500:], flush=True)
        self.shown = True


class VmTest(unittest.TestCase):
    """Tests that share booted guests. Those that lose a guest boot it again before they end."""
    vms = VMS
    boot = None
    words = ''
    claims = None
    relayed = ()
    stack_type = VmStack

    @classmethod
    def setUpClass(cls):
        cls.stack = cls.stack_type(cls.vms, cls.boot, cls.words, cls.claims, cls.relayed)
        cls.stack.__enter__()
        cls.failed = False

    @classmethod
    def tearDownClass(cls):
        kind = AssertionError if cls.failed else None
        cls.stack.__exit__(kind, None, None)

    def setUp(self):
        self.stack.settle()
        self.before = self.stack.resources()

    def tearDown(self):
        if self.stack.mediator.poll() is None:
            self.stack.settle()
            self.stack.assert_same_resources(self.before)
        self.assertEqual(self.stack.trouble(), [])

    def guest(self, vm):
        return self.stack.guests[vm]

    def client(self, vm, arguments, timeout=120, check=True):
        return self.guest(vm).run('vgpu-client ' + arguments, timeout, check)

    def info(self, vm):
        return json.loads(self.client(vm, 'info --json').text_output())

    def load(self, vm, seconds, arguments='run --all'):
        """A verified load; finished() looks at its end."""
        return self.guest(vm).spawn('vgpu-client %s --seconds %d' % (arguments, seconds),
                                    seconds + 180)

    def finished(self, command, seconds=200):
        """Every job of a load was answered, and its result was right."""
        status = command.wait(seconds)
        text = command.text_output() + command.text_errors()
        self.assertEqual(status, 0, text[-3000:])
        self.assertNotIn('failed', text)
        self.assertIn('all verified', text)


class Result(unittest.TestResult):
    """Prints each case as it ends, the way cmocka does."""

    started = 0.0

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()
        print('[ RUN      ] %s' % test.id().rsplit('.', 1)[-1], flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        print('[       OK ] %s (%.1f s)' % (test.id().rsplit('.', 1)[-1],
                                            time.monotonic() - self.started), flush=True)

    def tell(self, test, error):
        print(''.join(traceback.format_exception(*error))[-6000:])
        print('failed: %s (%.1f s)' % (test.id().rsplit('.', 1)[-1],
                                       time.monotonic() - self.started), flush=True)
        if hasattr(getattr(test, 'stack', None), 'show'):
            type(test).failed = True
            test.stack.show()

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.tell(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self.tell(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            self.tell(test, err)


def main():
    """Runs the test classes of the calling file: all, or the tests named as arguments."""
    # Who ends a test for its time shall see where it was.
    faulthandler.register(signal.SIGTERM, chain=True)
    loader = unittest.TestLoader()
    module = sys.modules['__main__']
    suite = loader.loadTestsFromModule(module)
    if sys.argv[1:]:
        chosen = unittest.TestSuite()
        for case in [c for group in suite for c in group]:
            if case.id().rsplit('.', 1)[-1] in sys.argv[1:]:
                chosen.addTest(case)
        suite = chosen
    result = Result()
    started = time.monotonic()
    suite.run(result)
    bad = len(result.failures) + len(result.errors)
    print('%d tests in %.0f s' % (result.testsRun, time.monotonic() - started))
    print('[  PASSED  ] %d test(s).' % max(result.testsRun - bad, 0))
    if bad:
        print('[  FAILED  ] %d test(s).' % bad)
    sys.exit(1 if bad or result.testsRun == 0 else 0)


__all__ = ['BUILD', 'GuestError', 'ROOT', 'VmStack', 'VmTest', 'alive', 'main', 'settings',
           'wait_for']
