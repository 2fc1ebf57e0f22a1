#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vgpu-admin doctor on a host side that runs, and on one whose mediator has died."""
import json
import os
import sys

from stack import Stack, run, wait_for

VMS = [(1, 'A', 'high'), (2, 'B', 'low')]
OURS = ['nvml', 'cuda', 'run-dir', 'mediator', 'admin-socket', 'launcher', 'vm-sockets',
        'database', 'foreign-keys', 'lock', 'disk', 'gpus', 'pools']


def outcomes(stack, helper=True):
    """What is said of the host is the machine's; of ours each check by its name."""
    os.environ['VGPU_NVML'] = stack.nvml
    done = stack.admin_run('doctor', '--json', '--driver=' + stack.driver,
                           *(['--nvml-helper=' + stack.path('bin/vgpu-nvml')] if helper else []))
    result = json.loads(done.stdout)
    assert done.returncode == (1 if result['failed'] else 0), done.stderr
    return {check['check']: check for check in result['checks'] if check['check'] in OURS}


def test_e2e_doctor_finds_a_stack_well():
    with Stack(vms=VMS) as stack:
        checks = outcomes(stack)
        assert sorted(checks) == sorted(OURS), checks
        for check in checks.values():
            assert check['outcome'] == 'ok', check
        assert 'store helper' in checks['lock']['found'], checks['lock']


def test_e2e_doctor_asks_a_mediator_that_has_the_helper():
    """Where vgpu-nvml is not installed beside vgpu-admin; and nothing is recorded by it."""
    with Stack(vms=VMS) as stack:
        before = stack.admin_json('audit')
        checks = outcomes(stack, helper=False)
        assert checks['nvml']['outcome'] == 'ok' and 'shows 1 GPU' in checks['nvml']['found'], checks
        assert checks['cuda']['outcome'] == 'skipped', checks
        assert stack.admin_json('audit') == before
        stack.kill_mediator()
        wait_for(lambda: 'nobody' in outcomes(stack)['lock']['found'], 10, 'its helper ends')
        checks = outcomes(stack, helper=False)
        assert checks['nvml']['outcome'] == checks['cuda']['outcome'] == 'failed', checks
        assert '--nvml-helper' in checks['nvml']['advice'], checks
        stack.start_mediator()


def test_e2e_doctor_finds_a_dead_mediator():
    with Stack(vms=VMS) as stack:
        stack.kill_mediator()
        wait_for(lambda: 'nobody' in outcomes(stack)['lock']['found'], 10, 'its helper ends')
        checks = outcomes(stack)
        assert checks['mediator']['outcome'] == 'failed', checks
        assert checks['launcher']['outcome'] == 'ok', checks
        assert checks['gpus']['outcome'] == 'ok', 'from the database'
        stack.start_mediator()
        assert outcomes(stack)['mediator']['outcome'] == 'ok'


if __name__ == '__main__':
    sys.exit(run([f for n, f in list(globals().items()) if n.startswith('test_')]))
