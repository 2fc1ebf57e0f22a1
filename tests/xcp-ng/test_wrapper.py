#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The device model's wrapper: what the stock wrapper is called with, for arguments as xenopsd
gives them."""
import sys

from support import run, uuid

GPU = {'vgpu-pool': 'A', 'vgpu-priority': 'high'}


def recorded(domid):
    """As xenopsd 26.1 calls it for an HVM guest, with what a name or a label can hold."""
    return [str(domid), '--syslog', '-vnc', 'unix:/var/run/xen/vnc-%d,lock-key-sync=off' % domid,
            '-monitor', 'null', '-pidfile', '/var/run/xen/qemu-dm-%d.pid' % domid,
            '-xen-domid', str(domid), '-m', 'size=2040', '-boot', 'order=cd',
            '-usb', '-device', 'usb-tablet,port=2', '-smp', '2,maxcpus=2',
            '-serial', 'pty', '-display', 'none', '-nodefaults',
            '-trace', 'enable=xen_platform_log',
            '-sandbox', 'on,obsolete=deny,elevateprivileges=allow,spawn=deny,resourcecontrol=deny',
            '-S', '-global', 'PIIX4_PM.revision_id=0x1', '-name', 'a "b" \'c\',\n d',
            '-device', 'rtl8139,netdev=tapnet0,mac=00:16:3e:00:00:01,addr=4',
            '-netdev', 'tap,id=tapnet0,fd=7', '-drive', 'file=/dev/sm/x,if=none,id=ide0-hd0', '']


def added(words):
    return words[len(recorded(9)) + 1:]


def test_other_vms_are_started_unchanged(host):
    host.domain(9, 5)
    before = host.settled()
    status, text = host.wrapper(*recorded(9))
    assert (status, text) == (7, '0022\n')  # our own umask
    assert host.called('stock-wrapper') == [host.path('stock-wrapper')] + recorded(9)
    assert host.settled() == before


def test_other_vms_need_no_mediator_and_no_keys(host):
    host.stack.kill_mediator()
    assert host.wrapper(*recorded(9))[0] == 7  # a domain without anything in xenstore
    assert host.called('stock-wrapper')[1:] == recorded(9)


def test_device_is_added(host):
    host.record(5, 'web', GPU)
    host.domain(9, 5, GPU)
    assert host.hook('vm-pre-start', 5)[0] == 0
    before = host.settled()
    status, text = host.wrapper(*recorded(9))
    assert status == 7 and text.endswith('\n0002\n'), text
    words = host.called('stock-wrapper')
    assert words[1:len(recorded(9)) + 1] == recorded(9)
    assert added(words) == [
        '-chardev', 'socket,id=vgpu0,path=/run/vgpu-devices/3.sock,server=on,wait=off',
        '-device', 'vgpu-stub,chardev=vgpu0,vm_id=3,pool_id=A,priority=high,addr=0x10']
    assert host.settled() == before
    assert host.took < 1


def test_only_platform_keys_are_read(host):
    """What the guest can write is not even looked at."""
    host.record(5, 'web', GPU)
    host.domain(9, 5)
    assert host.wrapper(*recorded(9))[0] == 7
    assert added(host.called('stock-wrapper')) == []
    host.domain(9, 5, GPU)
    assert host.wrapper(*recorded(9))[0] == 7
    paths = host.read('read.log').decode().split()
    allowed = ('/local/domain/9/platform/', '/local/domain/9/vm')
    assert paths and all(path.startswith(allowed) for path in paths), paths
    assert not any('data' in path for path in paths)


def test_start_that_no_hook_saw_is_reserved(host):
    host.domain(9, 5, GPU)  # nor has xenopsd a record
    assert host.wrapper(*recorded(9))[0] == 7
    assert added(host.called('stock-wrapper'))
    vm = host.vms()[3]
    assert (vm['uuid'], vm['name'], vm['pool'], vm['priority']) == (uuid(5), None, 'A', 'high')


def refused(host, *arguments):
    before = host.settled()
    status, text = host.wrapper(*arguments)
    assert status == 1 and host.called('stock-wrapper') is None, text
    assert host.settled() == before
    assert text.count('\n') == 1
    return text


def test_full_pool_is_refused(host):
    host.stack.admin('set-max-vms', 'A', '1')
    host.domain(9, 5, GPU)
    assert 'takes no more VMs' in refused(host, *recorded(9))


def test_hostile_keys_are_refused(host):
    for key, value in (('vgpu-pool', 'A,server=off'), ('vgpu-pool', 'A\n-device\npci-assign'),
                       ('vgpu-pool', b'\xff'), ('vgpu-pool', ''), ('vgpu-pool', 'x' * 65),
                       ('vgpu-priority', 'high,romfile=/etc/shadow'), ('vgpu-wait', '1')):
        host.domain(9, 5, GPU)
        host.xenstore('/local/domain/9/platform/' + key, value)
        refused(host, *recorded(9))
        host.end_domain(9)


def test_pool_with_a_comma_is_one_value(host):
    host.stack.admin('create-pool', '--pool=A,addr=0x02')
    host.stack.admin('assign-gpu', '--gpu-id=0', '--pool=A,addr=0x02')
    host.domain(9, 5, {'vgpu-pool': 'A,addr=0x02'})
    assert host.wrapper(*recorded(9))[0] == 7
    assert ',pool_id=A,,addr=0x02,priority=medium,addr=0x10' in host.called('stock-wrapper')[-1]
    host.stack.admin('remove-vm', '3')
    host.stack.admin('remove-pool', 'A,addr=0x02')


def test_pool_beyond_ascii(host):
    host.stack.admin('create-pool', '--pool=\u00e9')
    host.stack.admin('assign-gpu', '--gpu-id=0', '--pool=\u00e9')
    host.domain(9, 5, {'vgpu-pool': '\u00e9'})
    assert host.wrapper(*recorded(9))[0] == 7
    assert ',pool_id=\u00e9,' in host.called('stock-wrapper')[-1]
    host.stack.admin('remove-vm', '3')
    host.stack.admin('remove-pool', '\u00e9')


def test_arguments_that_are_no_text(host):
    host.domain(9, 5, GPU)
    odd = ['9', '--syslog', '-name', '\udcff\udcfe', '-xen-domid', '9']
    assert host.wrapper(*odd)[0] == 7
    assert host.called('stock-wrapper')[1:7] == odd


def test_domains_that_differ_are_refused(host):
    host.domain(9, 5, GPU)
    host.domain(8, 6)
    assert 'QEMU is told another' in refused(host, '8', '--syslog', '-xen-domid', '9')
    for first in ('', 'x', '-1', '9 ', '123456'):
        assert 'is no domain' in refused(host, first, '--syslog')
    assert 'is no domain' in refused(host)
    assert 'told another' in refused(host, '9', '--syslog', '-xen-domid')


def test_domain_without_a_uuid_is_refused(host):
    host.domain(9, 5, GPU)
    host.xenstore('/local/domain/9/vm', '/vm/../../etc')
    assert 'does not say which VM' in refused(host, *recorded(9))


def test_resume_is_refused(host):
    host.domain(9, 5, GPU)
    assert 'cannot be resumed' in refused(host, *recorded(9), '-loadvm', '/var/lib/xen/x')


def test_mediator_that_is_down(host):
    host.domain(9, 5, GPU)
    host.stack.kill_mediator()
    status, text = host.wrapper(*recorded(9))
    assert status == 1 and 'vgpu-mediator does not answer' in text
    assert host.called('stock-wrapper') is None
    host.configure(mediator_down='allow')
    status, text = host.wrapper(*recorded(9))
    assert status == 7 and 'starts without its vGPU' in text
    assert host.called('stock-wrapper')[1:] == recorded(9)


def test_stock_wrapper_that_is_missing(host):
    host.domain(9, 5)
    host.configure(stock_wrapper=host.path('none'))
    assert 'cannot run' in refused(host, *recorded(9))


if __name__ == '__main__':
    sys.exit(run([value for name, value in sorted(globals().items()) if name.startswith('test_')]))
