# SPDX-License-Identifier: Apache-2.0
"""A service: each domain that xenstore gets to know is looked at while it is paused still, and
attached where its platform keys ask for a vGPU. xenopsd has no hook between the making of a domain
and its start, and runs no device model for PV and PVH guests, so that the wrapper cannot do this.

xenopsd makes the domain and its keys first, introduces it to xenstore then, and unpauses it last; a
guest that was faster finds its device a little later. What is missed here, vgpu-reconcile does.
"""
import subprocess

from . import config as configuration
from . import journal, wish, xenopsd
from .failure import Failure, UNREADABLE
from .mediator import Mediator
from .vms import Vms
from .xenbus import Xenbus
from .xenstore import Xenstore

INTRODUCED = '@introduceDomain'


def attach(config, xenstore, vms, domid, uuid):
    """What became of one domain, to be said; None: nothing."""
    wanted = wish.of_platform(xenstore.platform(domid))
    if wanted is None:
        return None
    record = xenopsd.record(config, uuid)
    xenbus = Xenbus(config, xenstore)
    if not xenbus.serves(record.kind):
        return None
    vm = vms.reserve(uuid, record.name, wanted, xenstore.running)
    if not xenbus.attach(domid, vm['vm_id']):
        return None
    return 'domain %d attached as VM %d' % (domid, vm['vm_id'])


class Watcher(object):
    def __init__(self, config):
        self.config = config
        self.xenstore = Xenstore(config)
        self.seen = set()

    def _look(self, domid, uuid):
        try:
            text = attach(self.config, self.xenstore, Vms(self.config, Mediator(self.config)),
                          domid, uuid)
        except Failure as failure:
            text = u'domain %d has no vGPU yet: %s' % (domid, failure.text)
        if text:
            journal.say('vgpu-attach', text)

    def look(self):
        """At each domain once: a domain is not another VM later, nor has it other keys."""
        running = self.xenstore.running()
        domains = set(running.items())
        for uuid, domid in sorted(domains - self.seen):
            self._look(domid, uuid)
        self.seen = domains


def main(arguments):
    try:
        if len(arguments) > 1:
            raise Failure('invalid', 'usage: vgpu-attach')
        config = configuration.load()
        watcher = Watcher(config)
        try:
            process = subprocess.Popen((config.xenstore_watch, INTRODUCED), stdout=subprocess.PIPE)
        except OSError as error:
            raise Failure(UNREADABLE, 'cannot run %s: %s' % (config.xenstore_watch, error.strerror))
        # One line comes at once, as each watch fires when it is set.
        for _ in iter(process.stdout.readline, b''):
            watcher.look()
        raise Failure(UNREADABLE, '%s has ended' % config.xenstore_watch)
    except Failure as failure:
        journal.say('vgpu-attach', failure.text)
        return 1
