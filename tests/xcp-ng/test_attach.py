#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which domains vgpu-xenbus is told of, by the service vgpu-attach, the wrapper and the reconciler."""
import os
import sys

from support import run, uuid

GPU = {'vgpu-pool': 'A'}


def pv(host, domid=9, number=5, kind='PV', platform=None):
    platform = GPU if platform is None else platform
    host.record(number, 'web%d' % number, platform, kind=kind)
    host.domain(domid, number, platform)


def test_pv_and_pvh_are_attached(host):
    for domid, kind in enumerate(('PV', 'PVinPVH', 'PVH'), 9):
        pv(host, domid, domid, kind)
    status, text = host.attach()
    assert status == 1 and 'has ended' in text  # as its xenstore-watch did
    assert sorted(host.xenbus()) == ['attach 10 4', 'attach 11 5', 'attach 9 3']
    assert host.vms()[3]['uuid'] == uuid(9)
    host.attach()
    assert host.xenbus() == []


def test_hvm_is_attached_where_wanted(host):
    pv(host, kind='HVM')
    host.attach()
    assert host.xenbus() == []
    host.configure(grants='all')
    host.attach()
    assert host.xenbus() == ['attach 9 3']


def test_kind_that_nobody_knows_is_taken_for_hvm(host):
    for number, kind in enumerate((None, 7, {}, []), 5):
        host.record(number, 'web', GPU, kind=kind)
        host.domain(number + 4, number, GPU)
    host.attach()
    assert host.xenbus() == []


def test_others_are_left_alone(host):
    pv(host, platform={})
    before = host.settled()
    host.attach()
    assert host.xenbus() == [] and host.settled() == before


def test_guest_cannot_ask_for_it(host):
    """Neither what a guest writes, nor a name that is another VM's, says who a domain is."""
    pv(host, platform={})
    host.xenstore('/local/domain/9/device/vgpu/0/vm', '1')
    host.xenstore('/local/domain/9/data/vgpu-pool', 'A')
    host.attach()
    host.reconcile()
    assert host.xenbus() == []
    paths = host.read('read.log').decode().split()
    assert not any('/device/' in path or '/data' in path for path in paths), paths


def test_full_pool_attaches_nothing(host):
    host.stack.admin('set-max-vms', 'A', '1')
    pv(host)
    assert 'has no vGPU yet: pool A takes no more VMs' in host.attach()[1]
    assert host.xenbus() == []


def test_each_event_is_a_look(host):
    """The second domain is there when the second line comes; the first is not attached again."""
    pv(host)
    host.script('xenstore-watch', """#!/bin/sh
echo "$1"
while [ ! -e '%(dir)s/xenbus.log' ]; do sleep 0.01; done
cp -r '%(dir)s/later/.' '%(dir)s'
echo "$1"
""")
    os.makedirs(host.path('later'))
    kept, host.dir = host.dir, host.path('later')
    pv(host, 10, 6)
    host.dir = kept
    host.attach()
    assert host.xenbus() == ['attach 9 3', 'attach 10 4']


def test_mediator_that_is_down_is_made_up_for(host):
    pv(host)
    host.stack.kill_mediator()
    assert 'does not answer' in host.attach()[1]
    assert host.xenbus() == []
    host.stack.start_mediator()
    assert 'attached: uuid %s, vm_id 3' % uuid(5) in host.reconcile()[1]
    assert host.xenbus() == ['attach 9 3']
    assert host.reconcile() == (0, '')
    assert host.xenbus() == []


def test_number_of_an_older_domain(host):
    pv(host)
    host.xenstore('/local/domain/0/backend/vgpu/9/0/vm', '77')
    host.attach()
    assert host.xenbus() == ['detach 9', 'attach 9 3']


def test_reconciler_clears_what_is_left(host):
    pv(host)
    host.attach()
    host.xenbus()
    host.xenstore('/local/domain/0/backend/vgpu/8/0/vm', '2')
    assert 'detached: domid 8' in host.reconcile()[1]
    assert host.xenbus() == ['detach 8']
    host.end_domain(9)
    host.reconcile()
    assert host.xenbus() == ['detach 9']


def test_plan_of_the_reconciler_changes_nothing(host):
    pv(host)
    host.xenstore('/local/domain/0/backend/vgpu/8/0/vm', '2')
    result = host.plugin('reconcile', dry_run='true')
    assert result['detached'] == [{'domid': 8}]
    assert host.xenbus() == []


def test_wrapper_attaches_where_wanted(host):
    host.record(5, 'web', GPU, kind='HVM')
    host.domain(9, 5, GPU)
    arguments = ('9', '--syslog', '-xen-domid', '9')
    assert host.wrapper(*arguments)[0] == 7 and host.xenbus() == []
    host.configure(grants='all')
    assert host.wrapper(*arguments)[0] == 7 and host.xenbus() == ['attach 9 3']
    host.configure(grants='off')
    assert host.wrapper(*arguments)[0] == 7 and host.xenbus() == []


def test_wrapper_goes_on_without_grants(host):
    host.record(5, 'web', GPU, kind='HVM')
    host.domain(9, 5, GPU)
    host.configure(grants='all')
    host.script('vgpu-xenbus', '#!/bin/sh\necho cannot open xenstore >&2; exit 1\n')
    status, text = host.wrapper('9', '--syslog', '-xen-domid', '9')
    assert status == 7 and 'has no grants: cannot open xenstore' in text
    assert '-device' in host.called('stock-wrapper')


def test_without_the_program_nothing_is_attached(host):
    pv(host)
    host.configure(grants='all', xenbus=host.path('none'))
    host.xenstore('/local/domain/0/backend/vgpu/8/0/vm', '2')
    host.attach()
    assert host.reconcile()[0] == 0
    assert host.wrapper('9', '--syslog', '-xen-domid', '9')[0] == 7


if __name__ == '__main__':
    sys.exit(run([value for name, value in sorted(globals().items()) if name.startswith('test_')]))
