# SPDX-License-Identifier: Apache-2.0
"""Has vgpu-xenbus told which VM a domain is, by the keys that `vgpu-xenbus attach` makes: for PV and
PVH guests, which have no PCI device, and where wanted for HVM guests too, whose channels may then
be by grants. Only keys of dom0's are read. Attaching and detaching again changes nothing.
"""
import os
import subprocess

from .failure import Failure

BACKENDS = '/local/domain/0/backend/vgpu'
DEVID = 0


class Xenbus(object):
    def __init__(self, config, xenstore):
        self.config = config
        self.xenstore = xenstore

    def serves(self, kind):
        """Guests of that kind, as xenopsd names it; None: nobody knows."""
        if self.config.grants == 'off' or not os.access(self.config.xenbus, os.X_OK):
            return False
        return self.config.grants == 'all' or kind not in (None, 'HVM')

    def _run(self, *arguments):
        try:
            process = subprocess.Popen((self.config.xenbus,) + arguments, stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT)
            output = process.communicate()[0].decode('utf-8', 'replace')
        except OSError as error:
            raise Failure('failed', 'cannot run %s: %s' % (self.config.xenbus, error.strerror))
        if process.returncode != 0:
            lines = output.strip().split('\n')
            raise Failure('failed', lines[-1] or '%s failed' % self.config.xenbus)

    def vm_of(self, domid):
        """The VM that the backend's keys say a domain is; None: there are none."""
        return self.xenstore.read('%s/%d/%d/vm' % (BACKENDS, domid, DEVID))

    def attach(self, domid, vm_id):
        """False: it is so already. What is there of an older domain of this number goes."""
        before = self.vm_of(domid)
        if before == str(vm_id):
            return False
        if before is not None:
            self.detach(domid)
        self._run('attach', str(domid), str(vm_id))
        return True

    def detach(self, domid):
        self._run('detach', str(domid))

    def left(self, domids):
        """Domains that have keys still, and are no more: vgpu-xenbus was not there to see it."""
        names = self.xenstore.children(BACKENDS) or []
        if not os.access(self.config.xenbus, os.X_OK):
            return []
        return sorted(int(name) for name in names if name.isdigit() and int(name) not in domids)
