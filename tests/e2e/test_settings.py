#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Limits, scheduling of pools and quarantine, from vgpu-admin through the mediator to its store.

Each command is given to a mediator that runs, seen in show-vm or list-pools, found again after the
mediator was killed, and read from the audit log.
"""
import os
import sqlite3
import sys
import time

from stack import Stack, run, wait_for

VMS = [(1, 'A', 'high'), (2, 'A', 'low')]

LIMITS = [
    (('set-rate', '1', '1000', '2000'), {'rate_per_s': 1000, 'burst': 2000}),
    (('set-depth', '1', '128'), {'depth': 128}),
    (('set-bytes', '1', '256M'), {'bytes_in_flight': 256 << 20}),
    (('set-timeout', '1', '2s'), {'job_timeout_ms': 2000}),
    (('set-memory', '1', '4G', '--process', '1.5G'),
     {'memory_bytes': 4 << 30, 'process_memory_bytes': 3 << 29}),
    (('set-faults', '1', '7', '10m'), {'fault_threshold': 7, 'fault_window_s': 600}),
]

SCHEDULING = [
    (('set-policy', 'A', 'strict'), {'policy': 'strict'}),
    (('set-slice', 'A', '5ms', '--grace=2ms', '--max-wait=1s', '--urgency=500us'),
     {'slice_us': 5000, 'grace_us': 2000, 'max_wait_ms': 1000, 'urgency_us': 500}),
    (('set-pool-weight', 'A', '2.5'), {'weight_hundredths': 250}),
]

BAD_PTX = """.version 7.0
.target sm_75
.address_size 64
.visible .entry f(.param .u64 p)
{
.reg .u64 %a;
ld.param.u64 %a, [p];
st.global.u32 [%a], 1;
ret;
}
"""


def members(row, expected):
    return {key: row[key] for key in expected}


def vm_row(stack, vm=1):
    return stack.admin_json('show-vm', str(vm))['vm']


def pool_row(stack):
    return stack.admin_json('list-pools')['pools'][0]


def restart_mediator(stack):
    stack.kill_mediator()
    stack.start_mediator()


def audit(stack):
    """(command, who, after) of each change, from a copy: the database is the store helper's."""
    source = sqlite3.connect('file:%s?mode=ro' % stack.path('vgpu.db'), uri=True)
    try:
        return source.execute('SELECT command, who, after FROM audit_log ORDER BY seq').fetchall()
    finally:
        source.close()


def test_e2e_settings_are_live_and_kept():
    with Stack(vms=VMS) as stack:
        for command, expected in LIMITS:
            result = stack.admin_json(*command)
            assert result['changed'] and members(result['vm'], expected) == expected, result
            assert members(vm_row(stack), expected) == expected
        for command, expected in SCHEDULING:
            result = stack.admin_json(*command)
            assert result['changed'] and members(result['pool'], expected) == expected, result
            assert members(pool_row(stack), expected) == expected
        before = vm_row(stack), pool_row(stack)
        restart_mediator(stack)
        assert (vm_row(stack), pool_row(stack)) == before
        for command, _expected in LIMITS + SCHEDULING:
            assert not stack.admin_json(*command)['changed'], command
        assert vm_row(stack, 2)['rate_per_s'] == 0, 'the neighbour has no limits'


def test_e2e_settings_are_audited():
    with Stack(vms=VMS) as stack:
        who = 'uid=%d pid=' % os.getuid()
        for command, _expected in LIMITS + SCHEDULING:
            stack.admin(*command)
        stack.admin('quarantine', '1', '--reason=it mines')
        stack.admin('unquarantine', '1')
        log = audit(stack)
        for command, _expected in LIMITS + SCHEDULING:
            assert sum(row[0] == command[0] and row[1].startswith(who) for row in log) == 1, log
        assert [row[0] for row in log[-2:]] == ['quarantine', 'unquarantine'], log
        assert '"quarantine_reason":"it mines"' in log[-2][2], log


def test_e2e_settings_bad_values_change_nothing():
    cases = [
        (('set-rate', '1', '1000000001'), 'rate_per_s 1000000001 is out of range'),
        (('set-rate', '1', 'none', '5'), 'needs a rate'),
        (('set-depth', '1', '65537'), 'depth 65537 is out of range: 1 to 65536'),
        (('set-bytes', '1', '1023K'), 'out of range'),
        (('set-bytes', '1', '2T'), 'out of range'),
        (('set-timeout', '1', '9ms'), 'out of range: 10 to 86400000'),
        (('set-timeout', '1', '25h'), 'out of range'),
        (('set-memory', '1', '17T'), 'out of range'),
        (('set-memory', '99', '4G'), 'does not exist'),
        (('set-faults', '1', '1001'), 'out of range: 1 to 1000'),
        (('set-slice', 'A', '99us'), 'out of range: 100 to 10000000'),
        (('set-slice', 'Z', '1ms'), "pool 'Z' does not exist"),
        (('set-pool-weight', 'A', '0.99'), 'out of range: 100 to 10000'),
        (('set-policy', 'A', 'fair'), 'is not one of: wfq, strict'),
        (('quarantine', '1', '--reason='), 'the reason is empty'),
        (('quarantine', '1', '--reason=' + 'r' * 257), 'at most 256'),
        (('set-depth', '1', 'many'), "or 'default'"),
    ]
    with Stack(vms=VMS) as stack:
        before = stack.admin_json('list-vms'), stack.admin_json('list-pools')
        for command, text in cases:
            done = stack.admin_run(*command)
            assert done.returncode in (1, 2) and text in done.stderr, done
        assert (stack.admin_json('list-vms'), stack.admin_json('list-pools')) == before


def test_e2e_quarantine_stops_one_vm_until_it_is_released():
    with Stack(vms=VMS) as stack:
        assert stack.client(1, 'vector-add', '2', '3').returncode == 0
        stack.admin('quarantine', '1', '--reason=it mines')
        refused = stack.client(1, 'vector-add', '2', '3')
        assert refused.returncode != 0 and 'quarantine' in refused.stderr.lower(), refused
        assert stack.client(2, 'vector-add', '2', '3').returncode == 0
        restart_mediator(stack)
        assert stack.client(1, 'vector-add', '2', '3').returncode != 0
        shown = stack.admin_json('show-vm', '1')
        assert shown['live']['state'] == 'quarantined', shown
        assert shown['vm']['quarantine_reason'] == 'it mines', shown
        assert abs(shown['vm']['quarantine_time'] - time.time()) < 60, shown
        assert 'it mines' in stack.admin('status')
        stack.admin('unquarantine', '1')
        assert stack.client(1, 'vector-add', '2', '3').returncode == 0
        assert 'quarantined' not in stack.admin('status')


def wait_for_faults(stack, count):
    wait_for(lambda: vm_row(stack)['faults'] == count, 10, '%d faults' % count)


def fault(stack, count):
    """One kernel that writes where it may not; then `count` of them are stored."""
    with open(stack.path('keep.ptx'), 'w', encoding='ascii') as text:
        text.write(BAD_PTX)
    assert stack.client(1, 'launch', stack.path('keep.ptx'), 'f', 'u64:4096').returncode != 0
    wait_for_faults(stack, count)


def test_e2e_faults_quarantine_and_are_forgiven():
    with Stack(vms=VMS) as stack:
        stack.admin('set-faults', '1', '2', '1h')
        fault(stack, 1)
        restart_mediator(stack)
        fault(stack, 2)
        shown = stack.admin_json('show-vm', '1')
        assert shown['vm']['quarantined'] and len(shown['last_faults']) == 2, shown
        assert shown['vm']['quarantined_by'] == 'vgpu-mediator', shown
        assert audit(stack)[-1][0] == 'record-fault', audit(stack)
        restart_mediator(stack)
        assert stack.client(1, 'vector-add', '2', '3').returncode != 0
        stack.admin('unquarantine', '1')
        assert stack.client(1, 'vector-add', '2', '3').returncode == 0
        fault(stack, 1)
        assert stack.client(1, 'vector-add', '2', '3').returncode == 0, 'one fault is forgiven'
        row = stack.admin_json('clear-faults', '1')['vm']
        assert (row['faults'], row['faults_total'], row['last_fault']) == (0, 0, None), row
        assert stack.client(2, 'vector-add', '2', '3').returncode == 0


def test_e2e_show_vm_joins_intent_and_what_is_so():
    with Stack(vms=VMS) as stack:
        stack.admin('set-memory', '1', '1G')
        process = stack.client_start(1, 'hold')
        try:
            deadline = time.monotonic() + 20
            while stack.admin_json('show-vm', '1')['live']['channels'] != 1:
                assert time.monotonic() < deadline, 'no channel'
            shown = stack.admin_json('show-vm', '1')
            row = stack.admin_json('status')['vms'][0]
            assert shown['vm']['memory_bytes'] == 1 << 30
            assert set(shown['live']) < set(row), (shown, row)
        finally:
            process.kill()
            process.wait()


def test_e2e_settings_without_a_mediator():
    with Stack(vms=VMS) as stack:
        stack.mediator.terminate()
        stack.mediator.wait(10)
        command, expected = LIMITS[0]
        done = stack.admin_run(*command)
        assert done.returncode == 0 and 'changed the database only' in done.stderr, done
        done = stack.admin_run('show-vm', '1')
        assert 'no mediator runs' in done.stdout and 'rate' in done.stdout, done
        stack.start_mediator()
        assert members(vm_row(stack), expected) == expected


if __name__ == '__main__':
    sys.exit(run([value for name, value in list(globals().items()) if name.startswith('test_')]))
