# SPDX-License-Identifier: Apache-2.0
"""The device model's wrapper: xenopsd starts it in place of qemu-wrapper, with the domain's id,
then --syslog, then QEMU's arguments. For a domain whose platform keys ask for a vGPU it adds the
device; then, as for every other domain, the stock wrapper takes its place with all it was given.

What decides is xenstore's /local/domain/N/platform, which XAPI writes and the guest only reads.
"""
import os

from . import config as configuration
from . import journal, wish, xenopsd
from .failure import Failure, MEDIATOR_DOWN, UNREADABLE
from .mediator import Mediator
from .vms import Vms
from .xenbus import Xenbus
from .xenstore import Xenstore

ID = 'vgpu0'
# The directory of QEMU's sockets has a default ACL for the mediator's user (tmpfiles.conf), of which
# Linux takes away what the umask of the program that makes a socket takes from the group.
UMASK = 0o002


def domain(arguments):
    """Of the wrapper's arguments; QEMU's own must say the same."""
    text = arguments[1] if len(arguments) > 1 else ''
    if not text.isdigit() or len(text) > 5:
        raise Failure('invalid', 'the first argument is no domain: %s' % wish.shown(text))
    if '-xen-domid' in arguments:
        after = arguments[arguments.index('-xen-domid') + 1:]
        if after[:1] != [text]:
            raise Failure('invalid', 'domain %s, and QEMU is told another' % text)
    return int(text)


def escaped(text):
    """A value in an option of QEMU."""
    return text.replace(',', ',,')


def device(config, vm):
    """QEMU listens, as for its own monitor, and the mediator connects: after a restart of the
    mediator it connects again, which QEMU could not, confined as it is by then. Pool and priority
    are the store's, said for whoever reads the command line."""
    path = os.path.join(config.device_dir, '%d.sock' % vm['vm_id'])
    return ['-chardev', 'socket,id=%s,path=%s,server=on,wait=off' % (ID, escaped(path)),
            '-device', 'vgpu-stub,chardev=%s,vm_id=%d,pool_id=%s,priority=%s,addr=0x%x' % (
                ID, vm['vm_id'], escaped(vm['pool']), vm['priority'], config.pci_slot)]


def _name(config, uuid):
    try:
        return xenopsd.record(config, uuid).name
    except Failure as failure:
        if failure.code != UNREADABLE:
            raise
        return None


def _attach(config, xenstore, domid, vm):
    """That its channels may be by grants. Without, QEMU relays them: no start fails for it."""
    xenbus = Xenbus(config, xenstore)
    try:
        if xenbus.serves('HVM'):
            xenbus.attach(domid, vm['vm_id'])
    except Failure as failure:
        journal.say('qemu-wrapper-vgpu', u'domain %d has no grants: %s' % (domid, failure.text))


def _added(config, domid, arguments):
    """What a domain's QEMU gets besides its arguments."""
    xenstore = Xenstore(config)
    wanted = wish.of_platform(xenstore.platform(domid))
    if wanted is None:
        return []
    if '-loadvm' in arguments:
        raise Failure('invalid', 'a VM with a vGPU cannot be resumed')
    uuid = xenstore.uuid(domid)
    if uuid is None:
        raise Failure(UNREADABLE, 'xenstore does not say which VM domain %d is' % domid)
    vms = Vms(config, Mediator(config))
    vm = vms.reserve(uuid, _name(config, uuid), wanted, xenstore.running)
    vms.mark(uuid)
    _attach(config, xenstore, domid, vm)
    return device(config, vm)


def command(config, arguments):
    """(what the stock wrapper is called with, what there is to say)."""
    domid = domain(arguments)
    whole = [config.stock_wrapper] + arguments[1:]
    try:
        added = _added(config, domid, arguments)
    except Failure as failure:
        if failure.code == MEDIATOR_DOWN and config.mediator_down == 'allow':
            return whole, 'domain %d starts without its vGPU: %s' % (domid, failure.text)
        raise
    if added:
        os.umask(UMASK)
    return whole + [text.encode('utf-8') for text in added], (
        'domain %d: %s' % (domid, ' '.join(added)) if added else None)


def main(arguments):
    try:
        config = configuration.load()
        whole, text = command(config, arguments)
        if text:
            journal.say('qemu-wrapper-vgpu', text)
        os.execv(whole[0], whole)
    except Failure as failure:
        journal.say('qemu-wrapper-vgpu', u'vGPU: %s' % failure.text)
    except OSError as error:
        journal.say('qemu-wrapper-vgpu', 'cannot run %s: %s' % (whole[0], error.strerror))
    return 1
