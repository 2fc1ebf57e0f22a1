# SPDX-License-Identifier: Apache-2.0
"""Makes the mediator's VMs agree with the domains of this host, for hooks that never ran: a crash
of the host or of xenopsd, a mediator that was down. A timer calls it; a second call finds nothing.
"""
import time

from . import config as configuration
from . import journal, wish, xenopsd
from .failure import Failure, MEDIATOR_DOWN, UNREADABLE
from .mediator import Mediator
from .vms import Vms
from .xenbus import Xenbus
from .xenstore import Xenstore

TIMEOUT_MS = 30000
DAY_S = 86400


class Reconciler(object):
    def __init__(self, config, dry_run=False):
        self.config = config
        self.dry_run = dry_run
        self.xenstore = Xenstore(config)
        self.mediator = Mediator(config, TIMEOUT_MS)
        self.vms = Vms(config, self.mediator)
        self.xenbus = Xenbus(config, self.xenstore)
        self.result = {'reserved': [], 'released': [], 'removed': [], 'attached': [],
                       'detached': [], 'refused': []}

    def _kind(self, uuid):
        try:
            return xenopsd.record(self.config, uuid).kind
        except Failure as failure:
            if failure.code != UNREADABLE:
                raise
            return None

    def _name(self, uuid, domid):
        try:
            return xenopsd.record(self.config, uuid).name
        except Failure as failure:
            if failure.code != UNREADABLE:
                raise
            return self.xenstore.read('/local/domain/%d/name' % domid)

    def _reserve(self, uuid, domid, running, known, wanted):
        vm = known.get(uuid)
        if vm is None or vm['pool'] != wanted.pool:
            vm = self.vms.reserve(uuid, self._name(uuid, domid), wanted, lambda: running,
                                  self.dry_run)
            self.result['reserved'].append({'uuid': uuid, 'vm_id': vm['vm_id'],
                                            'pool': vm['pool']})
        return vm

    def _attach(self, uuid, domid, vm):
        """A domain whose start nobody saw: vgpu-attach was not there, or the mediator was down."""
        if not self.xenbus.serves(self._kind(uuid)) or self.xenbus.vm_of(domid) == str(vm['vm_id']):
            return
        if not self.dry_run:
            self.xenbus.attach(domid, vm['vm_id'])
        self.result['attached'].append({'uuid': uuid, 'vm_id': vm['vm_id']})

    def _detach(self, domids):
        for domid in self.xenbus.left(domids):
            if not self.dry_run:
                self.xenbus.detach(domid)
            self.result['detached'].append({'domid': domid})

    def _serve(self, uuid, domid, running, known):
        """A domain with a vGPU whose VM has no slot, or that is not attached; a refusal is told, and
        the others go on."""
        try:
            wanted = wish.of_platform(self.xenstore.platform(domid))
            if wanted is not None:
                self._attach(uuid, domid, self._reserve(uuid, domid, running, known, wanted))
        except Failure as failure:
            if failure.code == MEDIATOR_DOWN:
                raise
            self.result['refused'].append({'uuid': uuid, 'reason': failure.text})

    def _remove(self, vm):
        if not self.dry_run:
            self.mediator.ask('remove-vm', {'vm_id': vm['vm_id']}, revision=vm['revision'])
        self.result['removed'].append({'uuid': vm['uuid'], 'vm_id': vm['vm_id']})

    def _forgotten(self, vm):
        """Halted for long. One in quarantine stays: leaving and coming back would end that."""
        return (vm['pool'] == self.config.halted_pool and not vm['quarantined'] and
                vm['updated'] < time.time() - self.config.keep_days * DAY_S)

    def run(self):
        # Domains first: one that starts in between is marked by its hook.
        running = self.xenstore.running()
        vms = [vm for vm in self.mediator.ask('list-vms')['vms'] if vm['uuid']]
        for vm in vms:
            if vm['uuid'] in running or self.vms.marked(vm['uuid']):
                continue
            if self._forgotten(vm):
                self._remove(vm)
            elif self.vms.release(vm, self.dry_run):
                self.result['released'].append({'uuid': vm['uuid'], 'vm_id': vm['vm_id']})
        known = {vm['uuid']: vm for vm in vms}
        for uuid in sorted(running):
            self._serve(uuid, running[uuid], running, known)
        self._detach(set(running.values()))
        return self.result


def main(arguments):
    try:
        if len(arguments) > 1:
            raise Failure('invalid', 'usage: vgpu-reconcile')
        result = Reconciler(configuration.load()).run()
    except Failure as failure:
        journal.say('vgpu-reconcile', failure.text)
        return 1
    for what in sorted(result):
        for item in result[what]:
            journal.say('vgpu-reconcile', u'%s: %s' % (what, ', '.join(
                u'%s %s' % (key, item[key]) for key in sorted(item))))
    return 0
