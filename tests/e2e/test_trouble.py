#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A slow or a full disk under the database, a vgpu-nvml that hangs, and an agent that is killed, each
while jobs run: every job is answered once and rightly (tests/e2e/answers.c keeps the books, the
mediator's accounts agree), what could not be written is told to who asked for it and as an event,
and it is written later, or refused and not done.
"""
import os
import signal
import subprocess
import sys
import time

from faulty import Answers
from stack import Stack, children, run, wait_for

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../agent'))

VMS = [(1, 'A', 'medium'), (2, 'A', 'high'), (3, 'B', 'low')]
WORKERS = (1, 2)  # whose jobs run meanwhile; VM 3 misbehaves
SLOW_MS = 1500
HELPER_ANSWERS_S = 10


class TroubledStack(Stack):
    """The store's disk is as disk() says."""

    def __init__(self, **options):
        super().__init__(vms=VMS, **options)
        self.disk('')

    def install(self):
        super().install()
        store = self.path('bin/vgpu-store')
        os.rename(store, store + '.real')
        with open(store, 'w', encoding='ascii') as file:
            file.write('#!/bin/sh\nLD_PRELOAD=%s VGPU_TEST_DISK=%s exec %s.real "$@"\n' % (
                self.tool('libdisk.so'), self.path('keep.disk'), store))
        os.chmod(store, 0o755)

    def disk(self, state):
        with open(self.path('keep.disk.new'), 'w', encoding='ascii') as file:
            file.write(state)
        os.rename(self.path('keep.disk.new'), self.path('keep.disk'))

    def vm_status(self, vm):
        return next(row for row in self.admin_json('status')['vms'] if row['vm_id'] == vm)

    def tool(self, name):
        return os.path.join(self.build, 'tests', name)

    def events(self, kind):
        shown = self.request('events', after=0)['result']['events']
        return [event for event in shown if event['kind'] == kind]

    def weight(self):
        return next(vm for vm in self.admin_json('list-vms')['vms'] if vm['vm_id'] == 1)['weight']


class Load:
    """Jobs of two VMs, from before the trouble until after it."""

    def __init__(self, stack):
        self.stack = stack

    def __enter__(self):
        self.answers = [Answers(self.stack, vm) for vm in WORKERS]
        self.go_on()
        return self

    def go_on(self):
        for answers in self.answers:
            answers.await_jobs(50)

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.go_on()
            for answers in self.answers:
                answers.right()


def misbehave(stack):
    done = subprocess.run([stack.tool('unruly'), 'illegal', stack.vm_socket(3)],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_e2e_trouble_slow_disk():
    with TroubledStack() as stack, Load(stack) as load:
        stack.disk('slow %d' % SLOW_MS)
        began = time.monotonic()
        change = subprocess.Popen([stack.program('vgpu-admin'), '--socket', stack.path('admin.sock'),
                                   'set-weight', '1', '60'], stdout=subprocess.DEVNULL)
        stack.admin_json('status')
        load.go_on()
        assert time.monotonic() - began < SLOW_MS / 1000, 'nobody else waits for the disk'
        assert change.poll() is None, 'it is not told to be done before it is written'
        assert change.wait(HELPER_ANSWERS_S) == 0
        assert time.monotonic() - began >= SLOW_MS / 1000
        stack.disk('')
        assert stack.weight() == 60


def test_e2e_trouble_disk_that_hangs():
    with TroubledStack() as stack, Load(stack) as load:
        stack.disk('slow %d' % ((HELPER_ANSWERS_S + 1) * 1000))
        began = time.monotonic()
        refused = stack.admin_run('set-weight', '1', '60')
        assert refused.returncode == 1 and 'does not answer' in refused.stderr, refused
        assert HELPER_ANSWERS_S - 1 < time.monotonic() - began < HELPER_ANSWERS_S + 5
        assert [event['severity'] for event in stack.events('not-stored')] == ['error']
        load.go_on()
        stack.disk('')
        wait_for(lambda: stack.admin_run('set-weight', '1', '70').returncode == 0, 30, 'the disk')
        assert stack.weight() == 70
        assert [event['severity'] for event in stack.events('not-stored')] == ['error', 'info']


def test_e2e_trouble_full_disk():
    with TroubledStack() as stack, Load(stack) as load:
        stack.disk('full')
        refused = stack.admin_run('set-weight', '1', '60')
        assert refused.returncode == 1 and 'full' in refused.stderr, refused
        assert stack.weight() == 50, 'what is refused is not in force either'
        told = stack.events('not-stored')
        assert len(told) == 1 and told[0]['severity'] == 'error' and 'full' in told[0]['text'], told
        # A fault counts at once, and is written when there is room.
        misbehave(stack)
        wait_for(lambda: stack.vm_status(3)['faults'] == 1, 10, 'the fault counts')
        assert stack.admin_json('show-vm', '3')['vm']['faults_total'] == 0
        load.go_on()
        stack.disk('')
        wait_for(lambda: stack.admin_json('show-vm', '3')['vm']['faults_total'] == 1, 20,
                 'the fault is written')
        stack.admin('set-weight', '1', '60')
        assert stack.weight() == 60
        assert [event['severity'] for event in stack.events('not-stored')] == ['error', 'info']


def test_e2e_trouble_quarantine_on_a_full_disk():
    """It is in force at once, outlives the mediator, and is written in the end."""
    with TroubledStack() as stack, Load(stack):
        stack.admin('set-faults', '3', '1')
        stack.disk('full')
        misbehave(stack)
        wait_for(lambda: stack.vm_status(3)['state'] == 'quarantined', 10, 'quarantine')
        stack.disk('')
        wait_for(lambda: stack.admin_json('show-vm', '3')['vm']['quarantined'], 20, 'it is written')


def test_e2e_trouble_nvml_helper_that_hangs():
    """The process itself: it is stopped, and does not even read."""
    with TroubledStack() as stack, Load(stack) as load:
        helper = next(pid for pid in children(stack.mediator.pid)
                      if 'vgpu-nvml' in open('/proc/%d/cmdline' % pid, encoding='ascii').read())
        os.kill(helper, signal.SIGSTOP)
        try:
            load.go_on()
            began = time.monotonic()
            refused = stack.admin_run('scan-gpus')
            assert refused.returncode == 1 and 'does not answer' in refused.stderr, refused
            assert time.monotonic() - began < HELPER_ANSWERS_S + 5
            stack.admin('set-weight', '1', '60')
            load.go_on()
        finally:
            os.kill(helper, signal.SIGCONT)
        wait_for(lambda: stack.admin_run('scan-gpus').returncode == 0, 30, 'NVML answers again')


def test_e2e_trouble_agent_killed():
    with TroubledStack(options=['--agent-uid', str(os.getuid())]) as stack, Load(stack) as load:
        if not os.path.exists(os.path.join(stack.build, 'agent/vgpu-agent')):
            print('skipped: vgpu-agent is not built')
            return
        import support  # pylint: disable=import-outside-toplevel
        with support.Agent(stack) as agent:
            assert agent.client().ok('PUT', '/api/v1/vms/3/quarantine', {'reason': 'x'}).json['changed']
            agent.kill()
            load.go_on()
            agent.start()
            shown = agent.client().get('/api/v1/vms/3').json
            assert shown['quarantined'] and shown['quarantined_by'] == 'agent:admin', shown


if __name__ == '__main__':
    sys.exit(run([test for name, test in list(globals().items()) if name.startswith('test_e2e')]))
