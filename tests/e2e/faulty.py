# SPDX-License-Identifier: Apache-2.0
"""A Stack whose workers' driver goes wrong by a plan (docs/spec/fault.md), and what must be true
after each fault: every job has one final answer, and nothing is left that the books do not know.
"""
import collections
import json
import mmap
import os
import shutil
import signal
import sqlite3
import struct
import subprocess

from stack import Stack, wait_for
from test_killed import held, nothing_left

STATE_BYTES = 4096
GATE, LOST, FIRED = 0, 4, 8  # offsets in the state
# Statuses of the wire (include/vgpu/status.h).
OK, BUSY, GONE, FAILED, TIMEOUT, KILLED, DRIVER = 0, 1, 3, 10, 11, 12, 15


class FaultStack(Stack):
    """VM 1 is the victim; the others are innocent."""

    def __init__(self, vms, **options):
        self.timings = {'job-timeout-ms': 2000, 'drain-ms': 1500, 'overrun-ms': 1000,
                        'stop-ms': 1000, 'ready-ms': 3000}
        self.page = None
        super().__init__(vms=vms, **options)

    def install(self):
        super().install()
        shutil.copy(os.path.join(self.build, 'fault/libvgpu-fault.so'), self.path('bin'))
        self.real = self.driver
        self.driver = self.path('bin/libvgpu-fault.so')
        for name, content in (('state', bytes(STATE_BYTES)), ('health', b'')):
            with open(self.path('keep.' + name), 'wb') as file:
                file.write(content)
            os.chmod(self.path('keep.' + name), 0o666)  # the VMs' users write to it
        with open(self.path('keep.state'), 'r+b') as file:
            self.page = mmap.mmap(file.fileno(), STATE_BYTES)
        self.arm([])

    def start_launcher(self):
        self.install()
        user = ['--base-uid', '880000'] if os.getuid() == 0 else []
        self.launcher = subprocess.Popen(
            [self.program('vgpu-launcher'), '--socket', self.path('launcher.sock'), *user,
             '--worker', self.path('bin/vgpu-worker'), '--driver', self.driver,
             '--testing-faults', self.path('keep.plan')],
            stderr=self.log, stdin=subprocess.DEVNULL)
        wait_for(lambda: os.path.exists(self.path('launcher.sock')), 10, 'launcher socket')

    def mediator_command(self):
        timings = [word for name, value in self.timings.items()
                   for word in ('--' + name, str(value))]
        return super().mediator_command() + timings

    def configure(self):
        super().configure()
        # The victim is at it all the time, and is to be met again.
        self.admin('set-faults', '1', '1000', '1h')

    def arm(self, rules):
        """Rules for the workers that start from now on; the gate is closed."""
        lines = ['driver ' + self.real, 'state ' + self.path('keep.state'),
                 'health ' + self.path('keep.health'), *rules]
        with open(self.path('keep.next'), 'w', encoding='ascii') as file:
            file.write('\n'.join(lines) + '\n')
        self.page[:STATE_BYTES] = bytes(STATE_BYTES)
        os.replace(self.path('keep.next'), self.path('keep.plan'))

    def word(self, offset):
        return struct.unpack_from('<I', self.page, offset)[0]

    def open_gate(self):
        struct.pack_into('<I', self.page, GATE, 1)

    def fired(self, rule=0):
        return self.word(FIRED + 4 * rule)

    def await_fired(self, rule=0, seconds=10):
        wait_for(lambda: self.fired(rule) > 0, seconds, 'rule %d holds' % rule)

    def vm_status(self, vm):
        return [row for row in self.admin_json('status')['vms'] if row['vm_id'] == vm][0]

    def tool(self, name):
        return os.path.join(self.build, 'tests', name)


class Answers:
    """tests/e2e/answers.c for a VM, and what it wrote down."""

    def __init__(self, stack, vm, jobs=0, ahead=8):
        self.stack, self.vm = stack, vm
        self.before = stack.vm_status(vm)
        self.process = subprocess.Popen(
            [stack.tool('answers'), str(jobs), str(ahead), stack.vm_socket(vm)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        stack.clients.append(self.process)

    def jobs(self, key='jobs_done'):
        return self.stack.vm_status(self.vm)[key] - self.before[key]

    def await_jobs(self, more, seconds=20):
        """So many jobs beyond those that are done now."""
        target = self.jobs() + more
        wait_for(lambda: self.jobs() >= target or self.process.poll() is not None, seconds,
                 'VM %d does %d jobs' % (self.vm, more))
        assert self.process.poll() is None, self.process.communicate()

    def ask_to_end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def books(self, seconds=30):
        output, errors = self.process.communicate(timeout=seconds)
        assert self.process.returncode == 0 and not errors, (self.vm, output, errors)
        books = json.loads(output)
        if books['opened']:
            one_final_answer(books)
        return books

    def right(self):
        """Of an innocent: it saw no error, and the mediator counted each of its jobs once."""
        self.ask_to_end()
        books = self.books()
        assert books['opened'] and not books['gone'], books
        assert books['right'] == books['submitted'] > 0, books
        wait_for(lambda: self.jobs() == books['right'], 5,
                 '%d jobs of VM %d on its account' % (books['right'], self.vm))
        assert self.jobs('jobs_failed') == 0 and self.jobs('jobs_refused') == 0, books
        return books


def one_final_answer(books):
    """No job is answered twice; one that is not answered is answered by its channel's end."""
    assert books['twice'] == 0 and books['unknown'] == 0 and books['wrong'] == 0, books
    assert (books['right'] + books['failed'] + books['busy'] + books['refused'] ==
            books['answered']), books
    if books['answered'] < books['submitted']:
        assert books['gone'], ('jobs without an answer, and no end told', books)
        assert books['mute'] or books['gone_status'] != OK, books


def accounts_agree(victim, books):
    """What the mediator counted lies between what was answered and what was submitted."""
    def agree():
        done, failed = victim.jobs('jobs_done'), victim.jobs('jobs_failed')
        return (done >= books['right'] and failed >= books['failed'] and
                done + failed <= books['submitted'])
    wait_for(agree, 5, 'accounts agree with %r' % books)


def database_agrees(stack):
    """Mediator, admin tool and database say the same of VMs and pools."""
    listed = {row['vm_id']: row for row in stack.admin_json('list-vms')['vms']}
    shown = {row['vm_id']: row for row in stack.admin_json('status')['vms']}
    assert set(listed) == set(shown) == {vm for vm, _pool, _priority in stack.vms}
    for vm, row in listed.items():
        assert all(shown[vm][key] == row[key] for key in ('pool', 'priority', 'weight')), (
            row, shown[vm])
    database = sqlite3.connect('file:%s?mode=ro' % stack.path('vgpu.db'), uri=True)
    try:
        assert database.execute('PRAGMA integrity_check').fetchone() == ('ok',)
        assert database.execute('PRAGMA foreign_key_check').fetchall() == []
        assert ({row[0] for row in database.execute('SELECT vm_id FROM vms')} == set(listed))
    finally:
        database.close()


def more_than(before, now):
    """Descriptors of mediator and launcher that were not there before."""
    return [sorted((collections.Counter(b) - collections.Counter(a)).elements())
            for a, b in zip(before, now) if collections.Counter(b) - collections.Counter(a)]


def charged(stack):
    """Faults of each VM, ever."""
    return {row['vm_id']: row['faults_total'] for row in stack.admin_json('list-vms')['vms']}


def settled(stack, before=None):
    """Nothing is left of any channel; the descriptors are those of before."""
    wait_for(lambda: nothing_left(stack), 20, 'nothing left')
    for gpu in stack.admin_json('status')['gpus']:
        assert gpu['holder_vm_id'] is None, gpu
    if before:
        wait_for(lambda: not more_than(before, held(stack)), 5,
                 'no descriptors beyond those of before: %r' % more_than(before, held(stack)))
    database_agrees(stack)


def works(stack, vm):
    done = stack.client(vm, 'vector-add', '1,2,3', '10,20,30')
    assert done.returncode == 0 and '33' in done.stdout, (vm, done.stdout, done.stderr)
