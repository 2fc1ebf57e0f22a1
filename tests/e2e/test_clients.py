#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""End to end over the local carrier: what clients see, alone and together."""
import os
import signal
import subprocess
import sys
import time

from stack import Stack, alive, children, cpu_seconds, run, wait_for

VMS = [(1, 'A', 'high'), (2, 'A', 'medium'), (3, 'B', 'medium'), (4, 'B', 'low')]


def finished(process, seconds=120):
    output, errors = process.communicate(timeout=seconds)
    return process.returncode, output, errors


def test_e2e_vector_add():
    with Stack(vms=VMS) as stack:
        done = stack.client(1, 'vector-add', '1,2,3', '10,20,30')
        assert done.returncode == 0, done.stderr
        assert '11' in done.stdout and '22' in done.stdout and '33' in done.stdout, done.stdout


def test_e2e_every_kernel_from_eight_clients():
    with Stack(vms=VMS) as stack:
        clients = [stack.client_start(1 + n % 4, 'run', '--all') for n in range(8)]
        for process in clients:
            code, output, errors = finished(process, 400)
            assert code == 0, (output, errors)
            assert 'failed' not in output, output
        status = stack.admin_json('status')
        assert all(vm['jobs_failed'] == 0 for vm in status['vms']), status


def test_e2e_worker_killed():
    """Its client hears of it, a new one works at once, the neighbour loses nothing."""
    with Stack(vms=VMS) as stack:
        neighbour = stack.client_start(3, 'run', '--all', '--seconds', '4')
        wait_for(lambda: len(stack.workers()) == 1, 10, 'neighbour has a worker')
        before = set(stack.workers())
        victim = stack.client_start(1, 'run', '--all', '--seconds', '30')
        wait_for(lambda: set(stack.workers()) - before, 10, 'victim has a worker')
        wait_for(lambda: stack.admin_json('status')['vms'][0]['jobs_done'] > 5, 20, 'in mid-job')
        os.kill((set(stack.workers()) - before).pop(), signal.SIGKILL)
        code, output, errors = finished(victim, 20)
        assert code == 4, (code, output, errors)
        assert 'killed' in errors, errors
        again = stack.client(1, 'vector-add', '2', '3')
        assert again.returncode == 0 and '5' in again.stdout, again.stderr
        code, output, errors = finished(neighbour, 60)
        assert code == 0, (output, errors)


def test_e2e_mediator_killed_under_load():
    """Holders go on, the new mediator adopts all, no job is lost."""
    with Stack(vms=VMS) as stack:
        clients = [stack.client_start(vm, 'run', '--all', '--seconds', '6') for vm in (1, 2, 3, 4)]
        wait_for(lambda: len(stack.workers()) == 4, 20, 'four workers')
        wait_for(lambda: all(v['jobs_done'] > 2 for v in stack.admin_json('status')['vms']), 30,
                 'load')
        workers = set(stack.workers())
        stack.kill_mediator()
        started = time.monotonic()
        stack.start_mediator()
        took = time.monotonic() - started
        assert took < 5, took
        wait_for(lambda: sum(vm['channels'] for vm in stack.admin_json('status')['vms']) == 4, 5,
                 'four channels adopted')
        assert workers <= set(stack.workers()), 'a worker was lost'
        for process in clients:
            code, output, errors = finished(process, 60)
            assert code == 0, (output, errors)


LONG_PTX = """.version 7.0
.target sm_70
.address_size 64
.visible .entry long(.param .u64 ns)
{
.reg .b64 %start, %now, %ns;
.reg .pred %on;
ld.param.u64 %ns, [ns];
mov.u64 %start, %globaltimer;
again:
mov.u64 %now, %globaltimer;
sub.u64 %now, %now, %start;
setp.lt.u64 %on, %now, %ns;
@%on bra again;
ret;
}
"""


def test_e2e_long_kernels_do_not_end_each_other():
    """Three VMs with kernels far longer than a turn: each waits, none is killed."""
    with Stack(vms=VMS) as stack:
        path = stack.path('keep.ptx')
        with open(path, 'w', encoding='ascii') as text:
            text.write(LONG_PTX)
        clients = [stack.client_start(vm, 'launch', path, 'long', 'u64:400000000')
                   for vm in (1, 2, 3)]
        for process in clients:
            code, output, errors = finished(process, 60)
            assert code == 0, (output, errors)


def test_e2e_idle_costs_nothing():
    """Mediator, launcher, helpers, worker and client of an open channel use no CPU time."""
    with Stack(vms=VMS) as stack:
        client = stack.client_start(1, 'hold')
        assert 'holding' in client.stdout.readline()
        names = {stack.mediator.pid: 'mediator', stack.launcher.pid: 'launcher',
                 client.pid: 'client'}
        names.update({pid: 'worker' for pid in stack.workers()})
        names.update({pid: 'helper' for pid in children(stack.mediator.pid)})
        before = {pid: cpu_seconds(pid) for pid in names}
        time.sleep(3)  # the measurement itself
        used = {names[pid]: round(cpu_seconds(pid) - before[pid], 2) for pid in names}
        assert sum(used.values()) <= 0.02, 'CPU seconds in 3 s: %s' % used


def test_e2e_client_killed_leaves_nothing():
    with Stack(vms=VMS) as stack:
        client = stack.client_start(2, 'run', '--all', '--seconds', '30')
        worker = wait_for(stack.workers, 10, 'worker')[0]
        client.kill()
        wait_for(lambda: not alive(worker), 10, 'its worker is gone')
        wait_for(lambda: stack.admin_json('status')['vms'][1]['channels'] == 0, 5, 'no channel')


def test_e2e_two_processes_of_one_vm_are_apart():
    with Stack(vms=VMS) as stack:
        program = os.path.join(stack.build, 'tests/isolation')
        victim = subprocess.Popen([program, 'victim', stack.vm_socket(1)], text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        stack.clients.append(victim)
        held = victim.stdout.readline().split()
        assert len(held) == 3, held
        intruder = subprocess.run([program, 'intruder', stack.vm_socket(1), *held], text=True,
                                  capture_output=True, timeout=60, check=False)
        assert intruder.returncode == 0 and 'apart' in intruder.stdout, intruder
        output, _errors = victim.communicate(timeout=30)
        assert 'intact' in output and victim.returncode == 0, output


def test_e2e_every_way_of_copying():
    with Stack(vms=VMS) as stack:
        done = subprocess.run([os.path.join(stack.build, 'tests/copies'), stack.vm_socket(1)],
                              text=True, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0 and done.stdout.count('ok ') == 9, done


def test_e2e_removed_vm_is_refused():
    with Stack(vms=VMS) as stack:
        stack.admin('remove-vm', '--vm=4')
        done = stack.client(4, 'vector-add', '1', '2')
        assert done.returncode != 0 and done.stderr, done


if __name__ == '__main__':
    wanted = sys.argv[1:]
    found = [f for n, f in sorted(globals().items())
             if n.startswith('test_') and (not wanted or n in wanted)]
    sys.exit(run(found))
