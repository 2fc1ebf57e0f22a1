#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The plugin `vgpu` through XML-RPC as XAPI frames it, and the reconciler, against a real
mediator."""
import os
import sys
import time
from xmlrpc import client as xmlrpc

from support import run, uuid

GPU = {'vgpu-pool': 'A'}
NAMES = ['a "b" \'c\', d', 'two\nlines', "x'; reboot; '", '--help', 'params=uuid', '\u00e9 \u4e2d',
         ' ']


def code(answer):
    assert isinstance(answer, tuple) and len(answer) == 2 and answer[1], answer
    return answer[0]


def unchanged(host, function, **arguments):
    before = host.settled()
    answer = host.plugin(function, **arguments)
    assert host.settled() == before, (function, arguments)
    return answer


def test_capacity(host):
    host.stack.admin('set-max-vms', 'A', '1')
    result = unchanged(host, 'capacity')
    pools = {pool['pool']: pool for pool in result['pools']}
    assert (pools['A']['admits'], pools['B']['admits']) == (False, True)
    assert pools['A']['reason'] and len(result['gpus']) == 1
    assert 'xcp-ng-halted' not in pools
    result = unchanged(host, 'capacity', pool='B', memory_mib='16777216')
    assert [pool['admits'] for pool in result['pools']] == [False]


def test_list_and_status(host):
    assert [vm['vm_id'] for vm in unchanged(host, 'list', pool='B')['vms']] == [2]
    assert len(unchanged(host, 'list')['vms']) == 2
    assert 'mediator' in unchanged(host, 'status')
    host.stack.admin('register-vm', '--vm-id=3', '--pool=A', '--uuid=' + uuid(5), '--name=web')
    for vm in ('web', uuid(5), uuid(5).upper()):
        assert unchanged(host, 'status', vm=vm)['vm']['vm_id'] == 3
    assert code(unchanged(host, 'status', vm='3')) == 'VGPU_NOT_FOUND'  # a name, not an id


def test_assign_and_release_an_instance(host):
    result = host.plugin('assign', vm='i-2-33-VM', pool='A', priority='high', weight='80')
    vm = result['vm']
    assert (vm['name'], vm['uuid'], vm['pool'], vm['weight']) == ('i-2-33-VM', None, 'A', 80.0)
    before = host.settled()
    assert host.plugin('assign', vm='i-2-33-VM', pool='A')['vm']['vm_id'] == vm['vm_id']
    assert host.settled() == before
    assert host.plugin('assign', vm='i-2-33-VM', pool='B')['vm']['pool'] == 'B'
    assert host.plugin('release', vm='i-2-33-VM')['changed'] is True
    result = unchanged(host, 'release', vm='i-2-33-VM')
    assert result['changed'] is False and result['vm']['pool'] == 'xcp-ng-halted'
    assert host.called('xe') is None


def test_assign_by_name_asks_xapi(host):
    for number, name in enumerate(name for name in NAMES if '\n' not in name):
        host.write('xe.answer', uuid(50 + number) + '\n')
        vm = host.plugin('assign', vm=name, pool='A')['vm']
        assert (vm['uuid'], vm['name']) == (uuid(50 + number), name)
        assert host.called('xe') == [host.path('xe'), 'vm-list', 'name-label=' + name,
                                     'params=uuid', '--minimal']


def test_ambiguous_and_missing_names(host):
    host.write('xe.answer', '%s,%s\n' % (uuid(5), uuid(6)))
    answer = unchanged(host, 'assign', vm='web', pool='A')
    assert code(answer) == 'VGPU_AMBIGUOUS' and uuid(5) in answer[1] and uuid(6) in answer[1]
    for text in ('\n', '', 'nonsense\n'):
        host.write('xe.answer', text)
        assert code(unchanged(host, 'assign', vm='web', pool='A')) == 'VGPU_NOT_FOUND'
    host.script('xe', '#!/bin/sh\necho "The server failed" >&2; exit 1\n')
    answer = unchanged(host, 'assign', vm='web', pool='A')
    assert code(answer) == 'VGPU_UNREADABLE' and 'The server failed' in answer[1]
    host.configure(xe=host.path('none'))
    assert code(unchanged(host, 'assign', vm='web', pool='A')) == 'VGPU_UNREADABLE'


def test_assign_by_uuid(host):
    vm = host.plugin('assign', vm=uuid(5), pool='A', memory_mib='64')['vm']
    assert (vm['uuid'], vm['memory_bytes']) == (uuid(5), 64 << 20)
    assert host.called('xe') is None


def test_full_pool(host):
    host.stack.admin('set-max-vms', 'A', '1')
    assert code(unchanged(host, 'assign', vm=uuid(5), pool='A')) == 'VGPU_LIMIT'
    assert code(unchanged(host, 'assign', vm=uuid(5), pool='Z')) == 'VGPU_NOT_FOUND'


def test_changes(host):
    host.stack.admin('register-vm', '--vm-id=3', '--pool=A', '--name=web')
    assert host.plugin('set-priority', vm='web', priority='high')['vm']['priority'] == 'high'
    assert host.plugin('set_weight', vm='web', weight='12.5')['vm']['weight'] == 12.5
    vm = host.plugin('quarantine', vm='web', reason='looks "odd", <b>&')['vm']
    assert (vm['quarantined'], vm['quarantine_reason']) == (True, 'looks "odd", <b>&')
    assert host.plugin('unquarantine', vm='web')['vm']['quarantined'] is False
    assert host.plugin('scan')['gpus']


def test_trial_and_revision(host):
    host.stack.admin('register-vm', '--vm-id=3', '--pool=A', '--name=web')
    assert unchanged(host, 'set-priority', vm='web', priority='high', dry_run='true')['dry_run']
    assert unchanged(host, 'assign', vm='i-2-3-VM', pool='A', dry_run='true')['vm']
    assert unchanged(host, 'release', vm='web', dry_run='true')['changed'] is True
    revision = host.vms()[3]['revision']
    answer = unchanged(host, 'set-priority', vm='web', priority='high',
                       if_revision=str(revision + 1))
    assert code(answer) == 'VGPU_CONFLICT'
    assert host.plugin('set-priority', vm='web', priority='high', if_revision=str(revision))


def test_arguments_are_checked(host):
    host.stack.admin('register-vm', '--vm-id=3', '--pool=A', '--name=web')
    web = {'vm': 'web'}
    cases = [('set-priority', web), ('set-priority', {'priority': 'high'}), ('quarantine', web),
             ('set-priority', {**web, 'priority': 'urgent'}), ('assign', web),
             ('set-weight', {**web, 'weight': '0.5'}), ('set-weight', {**web, 'weight': '101'}),
             ('set-weight', {**web, 'weight': '1,5'}), ('set-weight', {**web, 'weight': ''}),
             ('quarantine', {**web, 'reason': ''}), ('quarantine', {**web, 'reason': 'a\nb'}),
             ('status', {**web, 'more': '1'}), ('scan', web), ('list', {'pool': 'x' * 65}),
             ('capacity', {'memory_mib': '0'}), ('capacity', {'pool': ''}),
             ('set-priority', {**web, 'priority': 'high', 'dry_run': 'yes'}),
             ('set-priority', {**web, 'priority': 'high', 'if_revision': '-1'}),
             ('assign', {'vm': 'two\nlines', 'pool': 'A'}), ('assign', {'vm': '', 'pool': 'A'}),
             ('assign', {'vm': uuid(5), 'pool': 'xcp-ng-halted'}), ('status', {'vm': 'x' * 65}),
             ('quarantine', {**web, 'reason': 'x' * 257})]
    for function, arguments in cases:
        answer = unchanged(host, function, **arguments)
        assert code(answer) == 'VGPU_INVALID', (function, arguments, answer)
    assert host.plugin('quarantine', vm='web', reason='x' * 256)['vm']['quarantined']
    assert host.called('xe') is None


def test_functions_that_do_not_exist(host):
    for name in ('', 'main', '__class__', 'remove-vm', 'CAPACITY', 'x' * 1000):
        assert code(unchanged(host, name)) == 'VGPU_UNKNOWN_FUNCTION', name


def test_calls_that_are_none(host):
    good = xmlrpc.dumps(('session', {}), 'capacity')
    for call in ('', 'capacity', '<methodCall>', good[:-20], good.replace('struct', 'array'),
                 xmlrpc.dumps(('session',), 'capacity'), xmlrpc.dumps((), 'capacity'),
                 xmlrpc.dumps(('session', {'pool': 7}), 'capacity'),
                 xmlrpc.dumps(('session', {'pool': ['A']}), 'capacity'),
                 xmlrpc.dumps(('session', ['pool']), 'capacity'), '\udcff' + good,
                 good + ' ' * (65537 - len(good))):
        before = host.settled()
        answer = host.plugin_raw(call)
        assert answer['Status'] == 'Failure', call
        assert answer['ErrorDescription'][0] == 'VGPU_INVALID', answer
        assert host.settled() == before
    assert host.plugin_raw(good + ' ' * (65536 - len(good)))['Status'] == 'Success'
    status, text = host.run(os.path.join(os.path.dirname(__file__),
                                         '../../integrations/xcp-ng/vgpu-plugin'))
    assert status == 0 and 'VGPU_INVALID' in text


def test_mediator_that_is_down(host):
    host.stack.kill_mediator()
    answer = host.plugin('capacity')
    assert code(answer) == 'VGPU_MEDIATOR_DOWN' and 'systemctl status vgpu-mediator' in answer[1]


# -- the reconciler

def test_reconcile_has_nothing_to_do(host):
    host.record(5, 'web', GPU)
    host.hook('vm-pre-start', 5)
    host.domain(9, 5, GPU)
    before = host.settled()
    assert host.reconcile() == (0, '')
    assert host.settled() == before


def test_stop_that_no_hook_saw_is_released(host):
    host.record(5, 'web', GPU)
    host.hook('vm-pre-start', 5)
    host.domain(9, 5, GPU)
    host.end_domain(9)
    assert host.reconcile() == (0, '')  # its start may be under way
    os.utime(host.path('state/' + uuid(5)), (0, 0))
    status, text = host.reconcile()
    assert status == 0 and text.startswith('released: ') and uuid(5) in text, text
    assert host.vms()[3]['pool'] == 'xcp-ng-halted'
    assert host.reconcile() == (0, '')
    assert {1, 2} <= set(host.vms())  # these have no UUID of XAPI's


def test_start_that_no_hook_saw_is_reserved(host):
    host.domain(9, 5, GPU)
    host.domain(10, 6)
    result = host.plugin('reconcile')
    assert [item['uuid'] for item in result['reserved']] == [uuid(5)]
    assert (host.vms()[3]['pool'], host.vms()[3]['name']) == ('A', 'domain 9')
    result = unchanged(host, 'reconcile')
    assert result == {'schema': 1, 'reserved': [], 'released': [], 'removed': [], 'attached': [],
                      'detached': [], 'refused': []}


def test_what_cannot_be_reserved_is_told_and_stops_nothing(host):
    host.domain(8, 4, {'vgpu-pool': 'Z'})
    host.domain(9, 5, {'vgpu-pool': 'A', 'vgpu-weight': 'heavy'})
    host.domain(10, 6, GPU)
    result = host.plugin('reconcile')
    assert [item['uuid'] for item in result['refused']] == [uuid(4), uuid(5)]
    assert [item['uuid'] for item in result['reserved']] == [uuid(6)]


def test_xenstore_that_fails_releases_nobody(host):
    host.record(5, 'web', GPU)
    host.hook('vm-pre-start', 5)
    os.utime(host.path('state/' + uuid(5)), (0, 0))
    before = host.settled()
    for script in ('#!/bin/sh\nexit 1\n', '#!/bin/sh\nexit 0\n', '#!/bin/sh\necho 12\n'):
        host.script('xenstore-list', script)
        status, text = host.reconcile()
        assert status == 1 and 'which domains there are' in text
        assert code(host.plugin('reconcile')) == 'VGPU_UNREADABLE'
    host.configure(xenstore_list=host.path('none'))
    assert host.reconcile()[0] == 1
    assert host.settled() == before


def test_reconcile_on_trial(host):
    host.stack.admin('register-vm', '--vm-id=3', '--pool=A', '--uuid=' + uuid(5))
    host.domain(9, 6, GPU)
    result = unchanged(host, 'reconcile', dry_run='true')
    assert [item['uuid'] for item in result['released']] == [uuid(5)]
    assert [item['uuid'] for item in result['reserved']] == [uuid(6)]


def test_halted_for_long_are_forgotten(host):
    host.plugin('assign', vm=uuid(5), pool='A')
    host.plugin('assign', vm=uuid(6), pool='A')
    host.plugin('quarantine', vm=uuid(6), reason='test')
    for number in (5, 6):
        host.plugin('release', vm=uuid(number))
    assert unchanged(host, 'reconcile')['removed'] == []
    # 40 days later, by the clock of that program alone.
    place = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                         '../../integrations/xcp-ng/vgpu-reconcile')
    status, text = host.run('-c', 'import sys, time, runpy\nnow = time.time\n'
                            'time.time = lambda: now() + 40 * 86400\n'
                            'sys.argv = [%r]\nrunpy.run_path(%r, run_name="__main__")' %
                            (place, place))
    assert status == 0 and 'removed: ' in text and uuid(5) in text, text
    assert uuid(5) not in [vm['uuid'] for vm in host.vms().values()]
    assert uuid(6) in [vm['uuid'] for vm in host.vms().values()]


def test_reconcile_without_a_mediator(host):
    host.stack.kill_mediator()
    started = time.monotonic()
    status, text = host.reconcile()
    assert status == 1 and 'vgpu-mediator does not answer' in text
    assert time.monotonic() - started < 5


if __name__ == '__main__':
    sys.exit(run([value for name, value in sorted(globals().items()) if name.startswith('test_')]))
