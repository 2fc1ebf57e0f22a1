#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""XAPI's hooks against a real mediator: what reserves, what releases, what stops an operation."""
import os
import shutil
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

from support import run, uuid

GPU = {'vgpu-pool': 'A'}


def test_start_reserves(host):
    host.record(5, 'web server', {**GPU, 'vgpu-priority': 'high', 'vgpu-weight': '80',
                                  'vgpu-memory-mib': '512'})
    status, text = host.hook('vm-pre-start', 5)
    assert (status, text.split(': ', 1)[1]) == (0, 'VM 3 reserved in pool A\n'), text
    vm = host.vms()[3]
    assert (vm['uuid'], vm['name'], vm['pool']) == (uuid(5), 'web server', 'A')
    assert (vm['priority'], vm['weight'], vm['memory_bytes']) == ('high', 80.0, 512 << 20)


def test_start_again_changes_nothing(host):
    host.record(5, 'web', GPU)
    assert host.hook('vm-pre-start', 5)[0] == 0
    before = host.settled()
    assert host.hook('vm-pre-start', 5)[0] == 0
    assert host.settled() == before


def test_record_as_pairs(host):
    host.record(5, 'web', GPU, as_pairs=True)
    assert host.hook('vm-pre-start', 5, 'none', '-vmdomid', '7')[0] == 0
    assert host.vms()[3]['uuid'] == uuid(5)


def test_vm_without_gpu_is_left_alone(host):
    host.record(5, 'web')
    before = host.settled()
    for name in ('vm-pre-start', 'vm-post-destroy', 'vm-pre-reboot', 'vm-pre-resume',
                 'vm-pre-suspend', 'vm-pre-migrate'):
        assert host.hook(name, 5) == (0, ''), name
    assert host.settled() == before
    host.stack.kill_mediator()
    assert host.hook('vm-pre-start', 5) == (0, '')
    assert host.hook('vm-pre-migrate', 5, 'source') == (0, '')


def test_full_pool_refuses_with_a_reason(host):
    host.stack.admin('set-max-vms', 'A', '1')
    host.record(5, 'web', GPU)
    before = host.settled()
    status, text = host.hook('vm-pre-start', 5)
    assert status == 2 and 'pool A takes no more VMs: ' in text, text
    assert host.settled() == before
    assert host.took < 1


def test_pool_that_does_not_exist(host):
    host.record(5, 'web', {'vgpu-pool': 'Z'})
    before = host.settled()
    status, text = host.hook('vm-pre-start', 5)
    assert status == 2 and 'Z' in text
    assert host.settled() == before


def test_hostile_keys_are_refused(host):
    before = host.settled()
    cases = [({'vgpu-pool': ''}, 'name of a pool'), ({'vgpu-pool': 'A\nB'}, 'name of a pool'),
             ({'vgpu-pool': 'x' * 65}, 'name of a pool'), ({'vgpu-pool': '\u202eA'}, 'of a pool'),
             ({'vgpu-pool': '\ud800'}, 'name of a pool'),
             ({**GPU, 'vgpu-priority': 'urgent'}, 'priority'),
             ({**GPU, 'vgpu-priority': 'high,addr=0x1f'}, 'priority'),
             ({**GPU, 'vgpu-weight': '100.01'}, 'weight'),
             ({**GPU, 'vgpu-weight': '0.99'}, 'weight'),
             ({**GPU, 'vgpu-weight': 'nan'}, 'weight'), ({**GPU, 'vgpu-weight': '1e1'}, 'weight'),
             ({**GPU, 'vgpu-memory-mib': '0'}, 'memory'),
             ({**GPU, 'vgpu-memory-mib': '16777217'}, 'memory'),
             ({**GPU, 'vgpu-memory-mib': '-1'}, 'memory'),
             ({'vgpu-priority': 'high'}, 'without platform:vgpu-pool'),
             ({**GPU, 'vgpu-prio': 'high'}, 'platform:vgpu-prio is not known'),
             ({'vgpu-pool': 'xcp-ng-halted'}, 'VMs that are halted')]
    for platform, reason in cases:
        host.record(5, 'web', platform)
        status, text = host.hook('vm-pre-start', 5)
        assert status == 2 and reason in text and text.count('\n') == 1, (platform, text)
    assert host.settled() == before


def test_bounds_are_taken(host):
    for number, platform in enumerate(({'vgpu-weight': '100.00'}, {'vgpu-weight': '1'},
                                       {'vgpu-memory-mib': '16777216'}), 5):
        host.record(number, 'web', {**GPU, **platform})
        status, text = host.hook('vm-pre-start', number)
        assert status == 0 or 'takes no more' in text, text


def test_names_of_all_kinds(host):
    names = ['a "b" \'c\', d', 'two\nlines', 'x' * 64, 'x' * 65, '', '\u00e9\u4e2d', '--help',
             '$(reboot)`id`', 'tab\there', '../..', ' ']
    for number, name in enumerate(names, 10):
        host.record(number, name, GPU)
        status, text = host.hook('vm-pre-start', number)
        assert status == 0, (name, text)
        assert host.called('xe') is None
    stored = {vm['uuid']: vm['name'] for vm in host.vms().values()}
    for number, name in enumerate(names, 10):
        good = 0 < len(name.encode()) <= 64 and '\n' not in name and '\t' not in name
        assert stored[uuid(number)] == (name if good else None), name


def test_same_name_is_another_vm(host):
    for number in (5, 6):
        host.record(number, 'web', GPU)
        assert host.hook('vm-pre-start', number)[0] == 0
    vms = host.vms()
    assert (vms[3]['uuid'], vms[4]['uuid']) == (uuid(5), uuid(6))
    assert (vms[3]['name'], vms[4]['name']) == ('web', None)


def test_cloudstack_instance_keeps_its_place(host):
    """CloudStack makes a new XAPI record at each start."""
    host.record(5, 'i-2-33-VM', GPU)
    assert host.hook('vm-pre-start', 5)[0] == 0
    host.stack.admin('quarantine', '3', '--reason=test')
    host.stack.admin('set-weight', '3', '77')
    assert host.hook('vm-post-destroy', 5, 'hard-shutdown')[0] == 0
    assert host.vms()[3]['pool'] == 'xcp-ng-halted'
    host.record(6, 'i-2-33-VM', GPU)
    status, text = host.hook('vm-pre-start', 6)
    assert status == 0 and 'in quarantine: test' in text, text
    vm = host.vms()[3]
    assert (vm['uuid'], vm['pool'], vm['weight'], vm['quarantined']) == (uuid(6), 'A', 77.0, True)
    assert 4 not in host.vms()


def test_instance_name_of_a_vm_that_runs(host):
    host.record(5, 'i-2-33-VM', GPU)
    assert host.hook('vm-pre-start', 5)[0] == 0
    host.record(6, 'i-2-33-VM', GPU)
    before = host.settled()
    status, text = host.hook('vm-pre-start', 6)  # it has a mark, and no domain yet
    assert status == 2 and 'is that of VM %s, which runs' % uuid(5) in text, text
    shutil.rmtree(host.path('state'))
    host.domain(9, 5, GPU)
    status, text = host.hook('vm-pre-start', 6)
    assert status == 2 and 'which runs' in text, text
    assert host.settled() == before


def test_uuid_and_name_of_two_vms(host):
    host.stack.admin('register-vm', '--vm-id=7', '--pool=A', '--uuid=' + uuid(5))
    host.stack.admin('register-vm', '--vm-id=8', '--pool=A', '--name=i-2-33-VM')
    host.record(5, 'i-2-33-VM', GPU)
    before = host.settled()
    status, text = host.hook('vm-pre-start', 5)
    assert status == 2 and 'that of VM 7' in text and 'that of VM 8' in text, text
    assert host.settled() == before


def test_assigned_beforehand_by_name(host):
    host.stack.admin('register-vm', '--vm-id=8', '--pool=B', '--name=i-2-33-VM')
    host.record(5, 'i-2-33-VM', GPU)
    assert host.hook('vm-pre-start', 5)[0] == 0
    assert (host.vms()[8]['uuid'], host.vms()[8]['pool']) == (uuid(5), 'A')


def test_stop_releases_and_is_idempotent(host):
    host.stack.admin('set-max-vms', 'A', '2')
    for number in (5, 6):
        host.record(number, 'web', GPU)
    assert host.hook('vm-pre-start', 5)[0] == 0
    assert host.hook('vm-pre-start', 6)[0] == 2
    assert host.hook('vm-post-destroy', 5, 'clean-shutdown')[0] == 0
    before = host.settled()
    assert host.hook('vm-post-destroy', 5, 'clean-shutdown') == (0, '')
    assert host.settled() == before
    assert host.hook('vm-pre-start', 6)[0] == 0
    assert set(os.listdir(host.path('state'))) == {'lock', uuid(6)}


def test_release_needs_no_record(host):
    host.record(5, 'web', GPU)
    assert host.hook('vm-pre-start', 5)[0] == 0
    shutil.rmtree(host.path('xenopsd'))
    assert host.hook('vm-post-destroy', 5, 'hard-shutdown')[0] == 0
    assert host.vms()[3]['pool'] == 'xcp-ng-halted'


def test_reboot_keeps_the_slot(host):
    host.stack.admin('set-max-vms', 'A', '2')
    host.record(5, 'web', GPU)
    host.record(6, 'other', GPU)
    assert host.hook('vm-pre-start', 5)[0] == 0
    for reason in ('clean-reboot', 'hard-reboot'):
        assert host.hook('vm-post-destroy', 5, reason) == (0, '')
        assert host.hook('vm-pre-start', 6)[0] == 2
        assert host.hook('vm-pre-reboot', 5, reason)[0] == 0
        assert host.hook('vm-pre-start', 5)[0] == 0


def test_save_and_migration_are_refused(host):
    host.record(5, 'web', GPU)
    before = host.settled()
    for name, reason, word in (('vm-pre-suspend', 'suspend', 'suspended'),
                               ('vm-pre-migrate', 'source', 'migrated'),
                               ('vm-pre-migrate', 'destination', 'migrated'),
                               ('vm-pre-resume', 'none', 'resumed')):
        status, text = host.hook(name, 5, reason)
        assert status == 2 and 'cannot be ' + word in text, text
    assert host.settled() == before


def test_mediator_that_is_down(host):
    host.record(5, 'web', GPU)
    host.stack.kill_mediator()
    status, text = host.hook('vm-pre-start', 5)
    assert status == 2 and 'vgpu-mediator does not answer at ' in text, text
    assert host.took < 1
    host.configure(mediator_down='allow')
    assert host.hook('vm-pre-start', 5)[0] == 1
    assert host.hook('vm-post-destroy', 5, 'hard-shutdown')[0] == 1
    assert host.hook('vm-pre-suspend', 5, 'suspend')[0] == 2


def test_mediator_that_hangs(host):
    host.record(5, 'web', GPU)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(host.path('hangs'))
        listener.listen()
        host.configure(admin_socket=host.path('hangs'), timeout_ms='200')
        status, text = host.hook('vm-pre-start', 5)
    assert status == 2 and 'no answer in time' in text, text
    assert host.took < 1


def test_record_that_is_not_there_or_not_understood(host):
    for data in (None, b'', b'{', b'[]', b'{"name": "x"}', b'{"name": "x", "platformdata": 7}',
                 b'\xff\xfe', b' ' * (1 << 20) + b'{}'):
        if data is not None:
            host.write('xenopsd/%s/config' % uuid(5), data)
        status, text = host.hook('vm-pre-start', 5)
        assert status == 1 and text, (data, text)


def test_wrong_calls(host):
    status, text = host.hook('vm-unknown', 5)
    assert status == 2 and 'not a hook' in text
    place = host.path('xapi.d/vm-pre-start/50-vgpu')
    host.hook('vm-pre-start', 5)
    for arguments in ((), ('-vmuuid',), ('-reason', 'none'), ('-vmuuid', '../../etc'),
                      ('-vmuuid', uuid(5) + '\n')):
        assert host.run(place, *arguments)[0] == 2, arguments


def test_configuration_that_is_wrong(host):
    host.record(5, 'web', GPU)
    for key, value in (('mediator_down', 'maybe'), ('timeout_ms', '60001'), ('timeout_ms', 'x'),
                       ('pci_slot', '0x20'), ('pci_slot', '0x0f'), ('instance_name', '('),
                       ('no_such_key', '1')):
        host.configure(**{key: value})
        status, text = host.hook('vm-pre-start', 5)
        assert status == 2 and 'xcp-ng.conf: ' in text, (key, text)
    host.write('xcp-ng.conf', '#' * 65537)
    assert host.hook('vm-pre-start', 5)[0] == 2


def test_many_at_once_get_one_id_each(host):
    numbers = range(20, 28)
    for number in numbers:
        host.record(number, 'vm %d' % number, GPU)
    host.hook('vm-unknown', 5)
    host.hook('vm-pre-start', 20)
    with ThreadPoolExecutor(8) as pool:
        assert all(status == 0 for status, _text in
                   pool.map(lambda n: host.hook('vm-pre-start', n), numbers))
    vms = host.vms()
    assert sorted(vms) == [1, 2] + list(range(3, 11))


if __name__ == '__main__':
    sys.exit(run([value for name, value in sorted(globals().items()) if name.startswith('test_')]))
