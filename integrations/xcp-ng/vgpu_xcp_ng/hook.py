# SPDX-License-Identifier: Apache-2.0
"""XAPI's hooks: xenopsd runs /etc/xapi.d/HOOK/50-vgpu -vmuuid UUID -reason REASON, and waits.

The exit status is xenopsd's: 0 done, 1 noted in its log and passed over, another stops the
operation, with what was printed as the reason. What concerns VMs without a vGPU never stops them.
"""
import os

from . import config as configuration
from . import journal, wish, xenopsd
from .failure import Failure, MEDIATOR_DOWN, UNREADABLE
from .mediator import Mediator
from .vms import Vms
from .xenstore import Xenstore

DONE, NOTED, STOPPED = 0, 1, 2
REBOOTS = ('clean-reboot', 'hard-reboot')


class Call(object):
    """One run of a hook."""

    def __init__(self, config, uuid, reason):
        self.config = config
        self.uuid = uuid
        self.reason = reason
        self.xenstore = Xenstore(config)
        self.vms = Vms(config, Mediator(config))

    def wish(self):
        """(name, what the VM's platform keys ask for, or None)."""
        record = xenopsd.record(self.config, self.uuid)
        return record.name, wish.of_platform(record.platform)


def _pre_start(call):
    name, wanted = call.wish()
    if wanted is None:
        return None
    call.vms.mark(call.uuid)  # first: the reconciler may be at work
    try:
        vm = call.vms.reserve(call.uuid, name, wanted, call.xenstore.running)
    except Failure:
        call.vms.unmark(call.uuid)
        raise
    text = 'VM %d reserved in pool %s' % (vm['vm_id'], vm['pool'])
    return text + (', in quarantine: %s' % vm['quarantine_reason'] if vm['quarantined'] else '')


def _post_destroy(call):
    if call.reason in REBOOTS:
        return None  # it starts again, and keeps its slot meanwhile
    call.vms.unmark(call.uuid)
    return 'released' if call.vms.release_uuid(call.uuid) else None


def _pre_reboot(call):
    if call.wish()[1] is not None:
        call.vms.mark(call.uuid)


def _refuse(what, instead):
    def refuse(call):
        if call.wish()[1] is not None:
            raise Failure('invalid', 'a VM with a vGPU cannot be %s: its GPU state cannot be moved '
                          'or saved. %s' % (what, instead))
    return refuse


STOP_IT = 'Shut it down instead'
HOOKS = {
    'vm-pre-start': _pre_start,
    'vm-post-destroy': _post_destroy,
    'vm-pre-reboot': _pre_reboot,
    'vm-pre-resume': _refuse('resumed', 'Remove its platform:vgpu-pool for the resume, or force '
                             'it to shut down and start it'),
    'vm-pre-suspend': _refuse('suspended', STOP_IT),
    'vm-pre-migrate': _refuse('migrated', STOP_IT + ', and start it on the other host'),
}
# A VM has stopped or goes on whatever we say of it.
NEVER_STOP = ('vm-post-destroy', 'vm-pre-reboot')


def _arguments(arguments):
    """Pairs; those that a later xenopsd adds are passed over."""
    pairs = dict(zip(arguments[::2], arguments[1::2]))
    if len(arguments) % 2 or '-vmuuid' not in pairs:
        raise Failure('invalid', 'usage: HOOK -vmuuid UUID -reason REASON')
    return pairs['-vmuuid'].lower(), pairs.get('-reason', 'none')


def _status(name, config, failure):
    if name in NEVER_STOP or failure.code == UNREADABLE:
        return NOTED
    if failure.code == MEDIATOR_DOWN and config is not None and config.mediator_down == 'allow':
        return NOTED
    return STOPPED


def main(arguments):
    name = os.path.basename(os.path.dirname(os.path.abspath(arguments[0])))
    config = uuid = None
    try:
        if name not in HOOKS:
            raise Failure('invalid', 'not a hook of XAPI that is known: %s' % name)
        uuid, reason = _arguments(arguments[1:])
        config = configuration.load()
        text = HOOKS[name](Call(config, uuid, reason))
        if text:
            journal.say('vgpu-hook', '%s %s: %s' % (name, uuid, text))
        return DONE
    except Failure as failure:
        journal.say('vgpu-hook', u'%s %s: vGPU: %s' % (name, wish.shown(uuid or ''), failure.text))
        return _status(name, config, failure)
