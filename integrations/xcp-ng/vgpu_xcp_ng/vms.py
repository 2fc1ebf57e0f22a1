# SPDX-License-Identifier: Apache-2.0
"""The mediator's VMs, as XAPI's come and go.

A VM that starts is *reserved*: registered in its pool, or brought back to it. A VM that has stopped
is *released*: moved into a pool without GPUs, so that its slot is free and its quarantine, faults
and settings are kept. Reserving and releasing again changes nothing.

Who a VM is: its XAPI UUID; where its name is an instance name of CloudStack, which makes a new XAPI
record at each start, the name, and the UUID follows it.
"""
import contextlib
import errno
import fcntl
import os
import time

from .failure import Failure, invalid
from .wish import NAME_BYTES_MAX, clean, shown
from .xenstore import UUID

ID_TRIES = 3


class Vms(object):
    def __init__(self, config, mediator):
        self.config = config
        self.mediator = mediator

    # -- marks: VMs whose start has begun; the reconciler leaves them alone for a while

    def _mark_path(self, uuid):
        return os.path.join(self.config.state_dir, uuid)

    def _state_dir(self):
        try:
            os.mkdir(self.config.state_dir, 0o700)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise Failure('failed', 'cannot make %s: %s' % (self.config.state_dir,
                                                                 error.strerror))

    def mark(self, uuid):
        self._state_dir()
        with open(self._mark_path(uuid), 'w'):
            os.utime(self._mark_path(uuid), None)

    def unmark(self, uuid):
        try:
            os.unlink(self._mark_path(uuid))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

    def marked(self, uuid):
        try:
            age = time.time() - os.stat(self._mark_path(uuid)).st_mtime
        except OSError:
            return False
        return age < self.config.start_grace_s

    @contextlib.contextmanager
    def lock(self):
        """Whoever looks and then changes holds this; hooks of several VMs run at once."""
        self._state_dir()
        with open(os.path.join(self.config.state_dir, 'lock'), 'w') as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except (IOError, OSError):
                    if time.time() >= self.mediator.deadline:
                        raise Failure('unavailable', 'another start or stop of a VM takes too long')
                    time.sleep(0.005)
            yield

    # -- look-up

    def _show(self, **key):
        try:
            return self.mediator.ask('show-vm', key)['vm']
        except Failure as failure:
            if failure.code == 'not-found':
                return None
            raise

    def is_instance_name(self, name):
        return bool(self.config.instance_name.match(name))

    def find(self, uuid, name, running):
        """The VM that a UUID or an instance name means, or None. A name that belongs to a VM that
        runs under another UUID is refused; running() is asked for that alone."""
        by_uuid = self._show(uuid=uuid) if uuid else None
        if not self.is_instance_name(name or ''):
            return by_uuid
        by_name = self._show(name=name)
        if by_name is None or (by_uuid and by_uuid['vm_id'] == by_name['vm_id']):
            return by_uuid
        other = by_name['uuid']
        if uuid and other and (self.marked(other) or other in running()):
            raise Failure('ambiguous', 'name %s is that of VM %s, which runs' % (name, other))
        if by_uuid:
            raise Failure('ambiguous', 'UUID %s is that of VM %d, name %s that of VM %d' % (
                uuid, by_uuid['vm_id'], name, by_name['vm_id']))
        return by_name

    def named(self, text):
        """The VM that an administrator names, by UUID or name."""
        return self.mediator.ask('show-vm', self.key(text))['vm']

    @staticmethod
    def key(text):
        """The member of a command that names a VM. Never its number, which XAPI does not know."""
        if not clean(text, NAME_BYTES_MAX):
            raise invalid('not a name or UUID of a VM: %s', shown(text))
        return {'uuid': text.lower()} if UUID.match(text.lower()) else {'name': text}

    # -- reserve

    def _admit(self, wish, vm):
        """A full pool refuses, in the words of the mediator."""
        if vm and vm['pool'] == wish.pool:
            return
        args = {'pool': wish.pool}
        memory = wish.memory_bytes or (vm or {}).get('memory_bytes')
        if memory:
            args['memory_bytes'] = memory
        pool = self.mediator.ask('capacity', args)['pools'][0]
        if not pool['admits']:
            raise Failure('limit', 'pool %s takes no more VMs: %s' % (wish.pool, pool['reason']))

    @staticmethod
    def _settings(wish, vm):
        """Members of what was asked for and is not so."""
        asked = {'pool': wish.pool, 'priority': wish.priority, 'weight': wish.weight,
                 'memory_bytes': wish.memory_bytes}
        return {key: value for key, value in asked.items() if value and value != vm.get(key)}

    def _write(self, vm_id, members, dry_run, revision=None):
        """A VM as the members say, in one change; a new one where there is no revision."""
        config = {'format': 1, 'vms': [dict(members, vm_id=vm_id)]}
        args = {'config': config, 'existing': revision is not None}
        return self.mediator.ask('import', args, revision=revision, dry_run=dry_run)['vm']

    def _stored_name(self, name, own=None):
        """A name is kept for people to read; one that does not fit or is another's is left out."""
        if not name or not clean(name, NAME_BYTES_MAX):
            return None
        try:
            other = self._show(name=name)
        except Failure as failure:
            if failure.code != 'ambiguous':
                raise
            return None
        return name if other is None or other['vm_id'] == own else None

    def _register(self, uuid, name, wish, dry_run):
        name = self._stored_name(name)
        for attempt in range(ID_TRIES):
            used = set(vm['vm_id'] for vm in self.mediator.ask('list-vms')['vms'])
            vm_id = next(n for n in range(1, len(used) + 2) if n not in used)
            members = self._settings(wish, {})
            members.update({key: value for key, value in (('uuid', uuid), ('name', name)) if value})
            try:
                return self._write(vm_id, members, dry_run)
            except Failure as failure:
                if failure.code != 'exists' or attempt + 1 == ID_TRIES:
                    raise
        return None

    def _bring_back(self, vm, uuid, name, wish, dry_run):
        vm_id = vm['vm_id']
        members = self._settings(wish, vm)
        wanted = {'uuid': uuid or vm['uuid'], 'name': self._stored_name(name, vm_id) or vm['name']}
        members.update({key: value for key, value in wanted.items() if value != vm[key]})
        return self._write(vm_id, members, dry_run, vm['revision']) if members else vm

    def reserve(self, uuid, name, wish, running, dry_run=False):
        """Registers a VM in its pool or brings it back; all of it or nothing. Returns the VM."""
        if wish.pool == self.config.halted_pool:
            raise invalid('pool %s is for VMs that are halted', wish.pool)
        with self.lock():
            vm = self.find(uuid, name, running)
            self._admit(wish, vm)
            if vm is None:
                return self._register(uuid, name, wish, dry_run)
            return self._bring_back(vm, uuid, name, wish, dry_run)

    # -- release

    def _make_halted_pool(self):
        try:
            self.mediator.ask('create-pool', {'pool': self.config.halted_pool,
                                              'description': 'VMs of XCP-ng that do not run'})
        except Failure as failure:
            if failure.code != 'exists':
                raise

    def release(self, vm, dry_run=False):
        """Frees a VM's slot. Returns whether it had one."""
        if vm is None or vm['pool'] == self.config.halted_pool:
            return False
        args = {'vm_id': vm['vm_id'], 'pool': self.config.halted_pool}
        with self.lock():
            if not dry_run:
                self._make_halted_pool()
                self.mediator.ask('set-pool', args, revision=vm['revision'])
        return True

    def release_uuid(self, uuid):
        return self.release(self._show(uuid=uuid))
