#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in one VM's driver, against what goes on around it: the matrix of faults.

Kinds of faults (FAULTS) by situations (functions `cell_*`): alone; in a crowd; while the lease
changes hands; while a mediator that was killed is started again; while the client goes; in the
shutdown of the host's side. After each: every job has exactly one final answer, the innocent saw no
error and have right results, and mediator, launcher, accounts and database agree that nothing is
left (faulty.py).

By default a part of the matrix, in which each fault and each situation occurs; VGPU_LONG=1: all of
it. VGPU_FAULT=NAME: only that fault.
"""
import os
import signal
import subprocess
import sys
import time

from faulty import (DRIVER, FAILED, GONE, KILLED, TIMEOUT, Answers, FaultStack, accounts_agree,
                    charged, database_agrees, settled, works)
from stack import alive, children, run, wait_for
from test_killed import held

LONG = os.environ.get('VGPU_LONG') == '1'
ONLY = os.environ.get('VGPU_FAULT')
VMS = [(1, 'A', 'medium'), (2, 'A', 'medium'), (3, 'A', 'high'), (4, 'A', 'low')]
CROWD = (2, 3)
PAUSE = '200ms'  # how long a fault takes to come, where something else has to happen before it

# Verb, call, parameters; and what becomes of the victim: its jobs FAIL, its channel ENDS, or it
# only TAKES longer.
FAIL, END, TAKE = 'fails', 'ends', 'takes longer'
FAULTS = {
    'fail-launch': ('fail', 'cuLaunchKernel', 'with CUDA_ERROR_LAUNCH_FAILED', FAIL),
    'fail-launch-memory': ('fail', 'cuLaunchKernel', 'with CUDA_ERROR_OUT_OF_MEMORY', FAIL),
    'fail-copy-up': ('fail', 'cuMemcpyHtoDAsync', 'with CUDA_ERROR_ILLEGAL_ADDRESS', FAIL),
    'fail-copy-down': ('fail', 'cuMemcpyDtoHAsync', 'with CUDA_ERROR_INVALID_VALUE', FAIL),
    'fail-record': ('fail', 'cuEventRecord', 'with CUDA_ERROR_ECC_UNCORRECTABLE', FAIL),
    'fail-query': ('fail', 'cuEventQuery', 'with CUDA_ERROR_ILLEGAL_ADDRESS', FAIL),
    'fail-all': ('fail', '*', 'with CUDA_ERROR_DEVICE_UNAVAILABLE', FAIL),
    'delay-launch': ('delay', 'cuLaunchKernel', 'by 300ms', TAKE),
    'delay-query': ('delay', 'cuEventQuery', 'by 300ms', TAKE),
    'hang-launch': ('hang', 'cuLaunchKernel', '', END),
    'hang-copy': ('hang', 'cuMemcpyDtoHAsync', '', END),
    'hang-query': ('hang', 'cuEventQuery', '', END),
    'die-killed': ('die', 'cuLaunchKernel', 'by kill', END),
    'die-abort': ('die', 'cuMemcpyHtoDAsync', 'by abort', END),
    'die-segv': ('die', 'cuEventQuery', 'by segv', END),
    'die-exit': ('die', 'cuEventRecord', 'by exit 0', END),
    'die-exit-3': ('die', 'cuLaunchKernel', 'by exit 3', END),
}
# What counts as a fault of the victim's VM: a job without end, a crash, a kernel's error.
CHARGED = {'fail-query', 'hang-launch', 'hang-copy', 'hang-query', 'die-segv'}
# Which calls are met: the first once the gate is open, or that and all after it.
FROM = {'fail-all'}


def rules(name, before=None):
    """Of the fault; before: a rule for the same call that comes first."""
    verb, call, parameters, _outcome = FAULTS[name]
    when = 'from' if name in FROM else 'at'
    return ([before % call] if before else []) + [
        '%s %s %s 1 gated vm 1 %s' % (verb, call, when, parameters)]


# The call takes a while before the fault, so that something can happen meanwhile.
SLOWLY = 'delay %s at 1 gated vm 1 by ' + PAUSE


def check_victim(name, victim):
    """Ends it, and judges its books."""
    outcome = FAULTS[name][3]
    if outcome != END:
        victim.await_end_of_fault()
        victim.ask_to_end()
    books = victim.books()
    assert books['opened'], books
    if outcome == FAIL:
        assert books['failed'] > 0 and books['status'] == FAILED and books['result'] > 0, books
    elif outcome == END:
        assert books['gone'] and books['gone_status'] in (GONE, TIMEOUT, KILLED), books
        assert books['failed'] == 0, books
    else:
        assert books['right'] == books['submitted'] and not books['gone'], books
    accounts_agree(victim, books)


class Victim(Answers):
    def __init__(self, stack, name, before=None):
        stack.arm(rules(name, before))
        super().__init__(stack, 1)
        self.await_jobs(1)

    def await_end_of_fault(self):
        """Some more jobs are done or have failed since."""
        def count():
            status = self.stack.vm_status(1)
            return status['jobs_done'] + status['jobs_failed']
        target = count() + 20
        wait_for(lambda: count() >= target or self.process.poll() is not None, 20,
                 'the victim goes on')


def crowd(stack, vms=CROWD):
    found = [Answers(stack, vm) for vm in vms]
    for answers in found:
        answers.await_jobs(1)
    return found


def cell_alone(stack, name):
    victim = Victim(stack, name)
    stack.open_gate()
    stack.await_fired()
    check_victim(name, victim)


def cell_crowd(stack, name):
    innocent = crowd(stack)
    victim = Victim(stack, name)
    stack.open_gate()
    stack.await_fired()
    check_victim(name, victim)
    for answers in innocent:
        answers.await_jobs(10)
        answers.right()


def cell_lease_change(stack, name):
    """The call takes many slices; the others want the GPU, so the lease is being asked back."""
    victim = Victim(stack, name, SLOWLY)
    innocent = crowd(stack)
    stack.open_gate()
    stack.await_fired(0)
    for answers in innocent:
        answers.await_jobs(1)
    stack.await_fired(1)
    check_victim(name, victim)
    for answers in innocent:
        answers.await_jobs(10)
        answers.right()


def cell_adoption(stack, name):
    """The mediator is killed before the fault comes, and comes back after it."""
    innocent = crowd(stack)
    victim = Victim(stack, name, SLOWLY)
    stack.open_gate()
    stack.await_fired(0)
    stack.kill_mediator()
    stack.await_fired(1)
    stack.start_mediator()
    check_victim(name, victim)
    for answers in innocent:
        answers.await_jobs(10)
        answers.right()


def cell_after_adoption(stack, name):
    """The fault comes to a worker that the mediator has adopted."""
    victim = Victim(stack, name)
    innocent = crowd(stack)
    stack.kill_mediator()
    stack.start_mediator()
    for answers in (victim, *innocent):
        answers.await_jobs(1)
    stack.open_gate()
    stack.await_fired()
    check_victim(name, victim)
    for answers in innocent:
        answers.await_jobs(10)
        answers.right()


def cell_closing(stack, name):
    """The client is gone before the fault comes."""
    innocent = crowd(stack, CROWD[:1])
    victim = Victim(stack, name, SLOWLY)
    stack.open_gate()
    stack.await_fired(0)
    victim.process.kill()
    victim.process.communicate()
    for answers in innocent:
        answers.await_jobs(10)
        answers.right()


CELLS = {'alone': cell_alone, 'crowd': cell_crowd, 'lease change': cell_lease_change,
         'adoption': cell_adoption, 'after adoption': cell_after_adoption,
         'closing': cell_closing}


def check_charged(name, cell, before, after):
    """Faults count against the victim's VM only, and what the host's side did does not."""
    assert all(after[vm] == before[vm] for vm in after if vm != 1), (before, after)
    count, most = after[1] - before[1], int(name in CHARGED)
    assert count == most or (cell == 'closing' and count < most), (count, most)


def matrix():
    """Pairs of cell and fault; by default each fault once and each cell several times."""
    for number, name in enumerate(FAULTS):
        if ONLY in (None, name):
            for place, cell in enumerate(CELLS):
                if LONG or ONLY or number % len(CELLS) == place:
                    yield cell, name


def test_faults_matrix():
    with FaultStack(VMS) as stack:
        for vm, _pool, _priority in VMS:
            works(stack, vm)
        settled(stack)
        before = held(stack)
        for cell, name in matrix():
            started = time.monotonic()
            faults = charged(stack)
            try:
                CELLS[cell](stack, name)
                stack.arm([])
                settled(stack, before)
                works(stack, 1)
                check_charged(name, cell, faults, charged(stack))
            except AssertionError as error:
                raise AssertionError('%s, %s: %s' % (name, cell, error)) from error
            print('%s, %s: %.1f s' % (name, cell, time.monotonic() - started))


def shut_down(name):
    """The host's side is told to end while the fault is on its way."""
    with FaultStack(VMS) as stack:
        innocent = crowd(stack)
        victim = Victim(stack, name, SLOWLY)
        workers = stack.workers()
        assert len(workers) == 3
        helpers = children(stack.mediator.pid)
        stack.open_gate()
        stack.await_fired(0)
        for process in (stack.mediator, stack.launcher):
            process.send_signal(signal.SIGTERM)
        for process in (stack.mediator, stack.launcher):
            assert process.wait(10) == 0, process.args[0]
        wait_for(lambda: not any(alive(pid) for pid in workers + helpers), 5, 'all are gone')
        for answers in (victim, *innocent):
            books = answers.books()
            assert books['opened'] and books['right'] > 0, books


def test_faults_in_shutdown():
    for name in FAULTS if LONG else ('fail-launch', 'delay-query', 'hang-query', 'die-killed'):
        if ONLY in (None, name):
            shut_down(name)


# Faults that a worker meets before it serves: calls, and what the client is told.
STARTS = {
    'fail cuInit at 1 vm 1 with CUDA_ERROR_NO_DEVICE': 'cuInit',
    'fail cuDevicePrimaryCtxRetain at 1 vm 1 with CUDA_ERROR_OUT_OF_MEMORY': 'PrimaryCtxRetain',
    'fail cuModuleLoadData at 1 vm 1 with CUDA_ERROR_INVALID_PTX': 'first kernel',
    'hang cuInit at 1 vm 1': '',
    'hang cuLaunchKernel at 1 vm 1': '',
    'die cuInit at 1 vm 1 by kill': '',
    'die cuLaunchKernel at 1 vm 1 by segv': '',
    'die cuStreamSynchronize at 1 vm 1 by exit 0': '',
    'corrupt cuModuleGetFunction at 1 vm 1 argument hfunc xor 0xffff0000ffff': '',
    'corrupt cuMemHostAlloc at 1 vm 1 argument pp xor 0x7fff00000000': '',
    'fail * from 9 vm 1 with CUDA_ERROR_DEVICE_UNAVAILABLE': '',
}


def test_faults_at_the_start():
    """A worker that does not come up: the client is told so in time, and the next one works."""
    with FaultStack(VMS) as stack:
        neighbour = crowd(stack, (2,))[0]
        others = set(stack.workers())
        for rule, word in STARTS.items():
            stack.arm([rule])
            books = Answers(stack, 1, jobs=1).books(seconds=20)
            status = books['gone_status'] if books['opened'] else books['status']
            text = books['gone_text'] if books['opened'] else books['text']
            assert status in (DRIVER, GONE, KILLED, TIMEOUT) and word in text, (rule, books)
            wait_for(lambda: not set(stack.workers()) - others, 10, 'the worker is gone: ' + rule)
            stack.arm([])
            works(stack, 1)
        neighbour.right()
        settled(stack)


# What a program of many calls meets; it must end by itself, with an error or without. A call that is
# no job and never returns has no time limit, as on bare metal: there the program is killed after a
# while, and that must be enough (WEDGED).
WEDGED = ('hang cuMemFree', 'hang cuStreamCreate*')
CALLS = [
    'fail cuMemAlloc at 1 gated vm 1 with CUDA_ERROR_OUT_OF_MEMORY',
    'fail cuStreamCreate* at 2 gated vm 1 with CUDA_ERROR_OUT_OF_MEMORY',
    'fail cuModuleLoadDataEx at 1 gated vm 1 with CUDA_ERROR_INVALID_PTX',
    'fail cuStreamWaitEvent at 3 gated vm 1 with CUDA_ERROR_UNKNOWN',
    'fail cuEventRecord at 9 gated vm 1 with CUDA_ERROR_LAUNCH_FAILED',
    'hang cuStreamWaitEvent at 3 gated vm 1',
    'hang cuMemFree at 1 gated vm 1',
    'hang cuStreamCreate* at 1 gated vm 1',
    'die cuMemAlloc at 2 gated vm 1 by abort',
    'die cuMemFree at 1 gated vm 1 by kill',
    'corrupt cuMemAlloc at 2 gated vm 1 argument dptr xor 0x400000000000',
    'corrupt cuStreamCreate* at 2 gated vm 1 argument phStream xor 0xffff0000',
    'corrupt cuEventCreate at 4 gated vm 1 argument phEvent xor 0xffff0000',
    'corrupt cuModuleGetFunction at 1 gated vm 1 argument hfunc xor 0xffff',
    'lose cuMemcpyHtoDAsync at 5 gated vm 1',
]


def test_faults_of_a_program():
    with FaultStack(VMS) as stack:
        for rule in CALLS if LONG else CALLS[::2]:
            neighbour = crowd(stack, (2,))[0]
            stack.arm([rule])
            stack.open_gate()
            # One thread: an error of a call that was posted is told once, to whoever waits first.
            program = subprocess.Popen([stack.tool('stress'), '1', '1', '2', '7',
                                        stack.vm_socket(1)], stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True)
            stack.clients.append(program)
            if rule.startswith(WEDGED):
                stack.await_fired()
                neighbour.await_jobs(100)
                program.kill()
            try:
                output, errors = program.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                raise AssertionError('it hangs: ' + rule) from None
            assert rule.startswith(WEDGED) or program.returncode in (0, 1), (rule, errors)
            told = (rule, program.returncode, output, errors[-500:])
            assert program.returncode != 0 or 'verified' in output, told
            assert 'word' not in errors, told  # a wrong result without an error
            assert stack.fired() > 0, told
            if rule.startswith('lose'):  # of all: the neighbour lost it as well
                neighbour.ask_to_end()
                neighbour.books()
            else:
                neighbour.right()
            stack.arm([])
            settled(stack)
            works(stack, 1)
            works(stack, 2)


def test_faults_of_one_process():
    """The other process of the same VM has a worker of its own, and goes on."""
    with FaultStack(VMS) as stack:
        for name in ('die-killed', 'die-segv', 'hang-launch'):
            stack.arm([rule.replace(' gated', ' gated once') for rule in rules(name)])
            both = [Answers(stack, 1) for _ in range(2)]
            for answers in both:
                answers.await_jobs(1)
            # Those are the VM's, and may be of one of the two alone.
            wait_for(lambda: stack.vm_status(1)['channels'] == 2, 20,
                     'both have a channel')
            stack.open_gate()
            stack.await_fired()
            wait_for(lambda: any(a.process.poll() is not None for a in both), 20, 'one has ended')
            other = [a for a in both if a.process.poll() is None]
            assert len(other) == 1, name
            other[0].await_jobs(10)
            other[0].ask_to_end()
            for answers in both:
                books = answers.books()
                assert books['right'] > 0 and books['failed'] == 0, (name, books)
                assert books['gone'] == (answers is not other[0]), (name, books)
            stack.arm([])
            settled(stack)


def test_faults_device_lost_for_all():
    """Whoever works is told; once the device is back, new channels work."""
    with FaultStack(VMS) as stack:
        stack.arm(['lose cuLaunchKernel at 1 gated vm 1'])
        victims = crowd(stack, (1, 2, 3))
        stack.open_gate()
        stack.await_fired()
        for victim in victims:
            wait_for(lambda v=victim: v.process.poll() is not None or v.jobs('jobs_failed') > 0, 20,
                     'VM %d is told' % victim.vm)
            victim.ask_to_end()
        for victim in victims:
            books = victim.books()
            assert books['failed'] > 0 or books['gone'], books
            accounts_agree(victim, books)
        with open(stack.path('keep.health'), encoding='ascii') as health:
            assert health.read() == 'lost 1\n'
        refused = Answers(stack, 1, jobs=1).books()
        assert not refused['opened'] or refused['gone_status'] == DRIVER, refused
        stack.arm([])
        settled(stack)
        for vm, _pool, _priority in VMS:
            works(stack, vm)
        assert not any(charged(stack).values()), 'a lost device is no VM\'s fault'


def test_faults_spare_that_dies():
    """A spare meets its fault before it has a channel; channels then start without it."""
    with FaultStack(VMS, spares=1) as stack:
        wait_for(lambda: stack.admin_json('status')['gpus'][0]['spares'] == 1, 20, 'a spare')
        stack.arm(['die cuLaunchKernel at 1 once by kill'])
        works(stack, 2)  # takes the spare; the next one dies
        stack.await_fired()
        wait_for(lambda: stack.admin_json('status')['gpus'][0]['spares'] == 1, 20, 'another')
        works(stack, 1)
        database_agrees(stack)


if __name__ == '__main__':
    wanted = sys.argv[1:]
    found = [f for n, f in sorted(globals().items())
             if n.startswith('test_') and (not wanted or n in wanted)]
    sys.exit(run(found))
