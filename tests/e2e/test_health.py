#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The health of GPUs, through the whole stack on softgpu, whose NVML says what a test writes: what
becomes of the programs of VMs, of their jobs, and of their accounts.
"""
import contextlib
import json
import os
import signal
import sys
import time

from faulty import Answers, charged
from stack import Stack, run, wait_for
from test_pools import Program, gpus_of, start, status_of, times
from test_quota import shared_device

NO_GPU = 4  # include/vgpu/status.h
VMS = {1: 'A', 2: 'A', 3: 'A'}


class HealthStack(Stack):
    def __init__(self, state, devices=1, **options):
        self.state = state['SOFTGPU_STATE_DIR']
        super().__init__(configure=False, devices=devices, environment=state,
                         options=['--health-ms', '50'], **options)

    def nvml_says(self, gpu, *lines):
        """From now on, of that GPU."""
        path = os.path.join(self.state, 'gpu%d.state' % gpu)
        with open(path + '.next', 'w', encoding='ascii') as file:
            file.write(''.join(line + '\n' for line in lines))
        os.replace(path + '.next', path)

    def xid(self, gpu, number):
        with open(os.path.join(self.state, 'gpu%d.xid' % gpu), 'a', encoding='ascii') as file:
            file.write('%d\n' % number)

    def health(self, gpu=0):
        return self.admin_json('health')['gpus'][gpu]

    def await_state(self, state, gpu=0):
        wait_for(lambda: self.health(gpu)['state'] == state, 10, 'GPU %d is %s' % (gpu, state))

    def events(self, kind):
        reply = self.request('events', after=0)
        assert reply['ok'], reply
        return [event for event in reply['result']['events'] if event['kind'] == kind]

    def vm_status(self, vm):
        return status_of(self, vm)

    def tool(self, name):
        return os.path.join(self.build, 'tests', name)


@contextlib.contextmanager
def host(devices=1, **options):
    with shared_device() as state, HealthStack(state, devices, **options) as stack:
        start(stack, {'A': list(range(devices))}, VMS)
        stack.await_state('ok')
        yield stack


def await_stillness(stack, vm):
    """Nothing of the VM's is done on a GPU for a while."""
    def still():
        before = times(stack, [vm])
        time.sleep(0.3)
        return times(stack, [vm]) == before
    wait_for(still, 10, 'VM %d is still' % vm)


def goes_on(stack, vm):
    before = times(stack, [vm])[0]
    wait_for(lambda: times(stack, [vm])[0] > before + 10**7, 10, 'VM %d goes on' % vm)


def no_faults(stack):
    assert set(charged(stack).values()) == {0}, charged(stack)


def test_e2e_health_temperature_stops_leases_until_it_falls():
    with host() as stack:
        program = Program(stack, 1).busy()
        answers = Answers(stack, 2)
        goes_on(stack, 1)
        answers.await_jobs(5)
        # One that has a channel, and nothing to do on it yet.
        answers.process.send_signal(signal.SIGSTOP)
        await_stillness(stack, 2)  # a job that it has just sent is taken in meanwhile
        wait_for(lambda: status_of(stack, 2)['queue_depth'] == 0, 10, 'its jobs are done')
        stack.nvml_says(0, 'temperature_celsius 91')
        stack.await_state('stopped')
        assert 'temperature: 91 C' in stack.health()['reasons'][0], stack.health()
        # What is in flight is done, and that is all.
        await_stillness(stack, 1)
        assert status_of(stack, 1)['queue_depth'] > 0
        # An explicit job is refused; a new program is told why.
        answers.process.send_signal(signal.SIGCONT)
        wait_for(lambda: answers.jobs('jobs_refused') > 0, 10, 'jobs are refused')
        done = stack.client(3, 'vector-add', '1', '2')
        assert done.returncode != 0 and 'temperature: 91 C' in done.stderr, done
        # At the limit it does not flap; below, everything goes on by itself.
        for celsius in (90, 89, 88):
            stack.nvml_says(0, 'temperature_celsius %d' % celsius)
            wait_for(lambda c=celsius: stack.health()['temperature'] == c, 5, 'it is read')
            assert stack.health()['state'] == 'stopped'
        stack.nvml_says(0, 'temperature_celsius 87')
        stack.await_state('warning')
        goes_on(stack, 1)
        assert program.process.poll() is None
        assert stack.client(3, 'vector-add', '1', '2').returncode == 0
        answers.ask_to_end()
        books = answers.books()
        assert books['refused'] > 0 and books['status'] == NO_GPU, books
        assert books['right'] + books['refused'] == books['submitted'], books
        no_faults(stack)
        told = [event['text'] for event in stack.events('gpu-health')]
        assert len(told) == 2 and 'stopped' in told[0] and 'warning' in told[1], told


def test_e2e_health_ecc_error_drains_and_the_pool_goes_elsewhere():
    with host(devices=2, spares=1) as stack:
        old = Program(stack, 1).busy()
        gpu = gpus_of(stack, [1])[0]
        stack.nvml_says(gpu, 'ecc_uncorrected 1')
        stack.await_state('draining', gpu)
        # What is there goes on; whoever comes goes to the other one, loaded or not.
        goes_on(stack, 1)
        programs = [Program(stack, vm).busy() for vm in (2, 3)]
        assert gpus_of(stack, [2, 3]) == [1 - gpu, 1 - gpu]
        # A reset is refused while somebody is there, who is named.
        refused = stack.admin_run('reset-gpu', str(gpu), '--yes')
        assert refused.returncode == 1 and 'in use by VM 1' in refused.stderr, refused
        assert stack.health(gpu)['state'] == 'draining'
        old.process.kill()
        old.process.wait()
        wait_for(lambda: status_of(stack, 1)['channels'] == 0, 10, 'the channel ends')
        assert 'was reset' in stack.admin('reset-gpu', str(gpu), '--yes')
        stack.await_state('ok', gpu)
        assert stack.health(gpu)['resets'] == 1
        again = Program(stack, 1).busy()
        assert gpus_of(stack, [1]) == [gpu]
        assert all(p.process.poll() is None for p in programs + [again])
        no_faults(stack)


def test_e2e_health_lost_gpu_answers_each_job_once_and_charges_nobody():
    with host() as stack:
        program = Program(stack, 1).busy()
        answers = [Answers(stack, vm) for vm in (2, 3)]
        for one in answers:
            one.await_jobs(5)
        goes_on(stack, 1)
        stack.nvml_says(0, 'lost 1')
        for one in answers:
            books = one.books()
            assert books['gone'] and books['gone_status'] == NO_GPU, books
            assert books['failed'] == 0, books
        told = json.loads(program.process.stdout.readline())
        assert told['error'] != 0, told
        assert stack.health()['state'] == 'unhealthy'
        assert 'lost' in stack.health()['reasons'][0]
        wait_for(lambda: stack.workers() == [], 10, 'no worker is left')
        done = stack.client(1, 'vector-add', '1', '2')
        assert done.returncode != 0 and 'it is lost' in done.stderr, done
        no_faults(stack)
        # Back again, it works, and what was before is held against nobody.
        stack.nvml_says(0)
        stack.await_state('ok')
        assert stack.health()['resets'] == 1
        assert stack.client(1, 'vector-add', '1', '2').returncode == 0
        no_faults(stack)


def test_e2e_health_administrator_drains_and_resumes():
    with host() as stack:
        answers = Answers(stack, 1)
        answers.await_jobs(5)
        stack.admin('drain-gpu', '0', '--reason=new fans')
        assert stack.health()['state'] == 'draining'
        answers.await_jobs(5)
        done = stack.client(2, 'vector-add', '1', '2')
        assert done.returncode != 0 and 'drained: new fans' in done.stderr, done
        # Also after a restart.
        stack.kill_mediator()
        stack.start_mediator()
        assert stack.health()['state'] == 'draining'
        answers.await_jobs(5)
        stack.admin('resume-gpu', '0')
        stack.await_state('ok')
        assert stack.client(2, 'vector-add', '1', '2').returncode == 0
        answers.right()
        assert len(stack.events('gpu-resumed')) == 1


def test_e2e_health_xid_errors_count_until_they_are_accepted():
    with host() as stack:
        stack.xid(0, 13)
        wait_for(lambda: stack.health()['last_xid'] == 13, 10, 'the XID error is read')
        assert stack.health()['state'] == 'ok'
        stack.xid(0, 48)
        stack.await_state('draining')
        assert 'XID 48, double bit ECC error' in stack.health()['reasons'][0]
        stack.admin('resume-gpu', '0')
        stack.await_state('ok')
        # Thresholds are in force at once.
        stack.admin('set-threshold', 'xid-error', '--action=stop')
        stack.xid(0, 74)
        stack.await_state('stopped')
        stack.admin('set-threshold', 'xid-error', '--action=ignore')
        assert stack.health()['state'] == 'ok'
        assert stack.client(1, 'vector-add', '1', '2').returncode == 0


def test_e2e_health_nvml_that_hangs_holds_nobody_up():
    with host() as stack:
        program = Program(stack, 1).busy()
        goes_on(stack, 1)
        stack.nvml_says(0, 'delay_ms 1000')
        stack.await_state('unknown')
        assert stack.health()['reasons'] == ['NVML does not answer']
        before = time.monotonic()
        assert stack.admin_json('health')['gpus'][0]['since'] > 0
        assert time.monotonic() - before < 1
        goes_on(stack, 1)
        assert stack.client(2, 'vector-add', '1', '2').returncode == 0
        assert program.process.poll() is None
        no_faults(stack)
        stack.nvml_says(0)
        stack.await_state('ok')


if __name__ == '__main__':
    sys.exit(run([test for name, test in sorted(globals().items()) if name.startswith('test_e2e')]))
