# SPDX-License-Identifier: Apache-2.0
"""Reads xenstore, through the programs that each dom0 has. Only keys that a guest cannot write are
ever asked for: /local/domain/N/platform, /local/domain/N/vm."""
import re
import subprocess

from .failure import Failure, UNREADABLE

UUID = re.compile('^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\\Z')


def uuid_of(path):
    text = (path or '').rpartition('/')[2].lower()
    return text if UUID.match(text) else None


class Xenstore(object):
    def __init__(self, config):
        self.reader = config.xenstore_read
        self.lister = config.xenstore_list

    @staticmethod
    def _run(program, *paths):
        """(exit status, standard output)."""
        try:
            process = subprocess.Popen((program,) + paths, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE)
            output = process.communicate()[0]
        except OSError as error:
            raise Failure(UNREADABLE, 'cannot run %s: %s' % (program, error.strerror))
        return process.returncode, output.decode('utf-8', 'replace')

    def read(self, path):
        """None: there is no such key."""
        status, text = self._run(self.reader, path)
        if status != 0:
            return None
        return text[:-1] if text.endswith('\n') else text

    def children(self, path):
        """None: there is no such key."""
        status, text = self._run(self.lister, path)
        return [line for line in text.split('\n') if line] if status == 0 else None

    def platform(self, domid):
        """The keys of VM.platform that are ours. XAPI writes them; the guest may read them."""
        top = '/local/domain/%d/platform' % domid
        ours = [key for key in self.children(top) or [] if key.startswith('vgpu-')]
        return {key: self.read('%s/%s' % (top, key)) or '' for key in ours}

    def uuid(self, domid):
        """Of the VM that a domain is; None: it has none, or one that is none."""
        return uuid_of(self.read('/local/domain/%d/vm' % domid))

    def _uuids(self, domids):
        """Of many domains by one program; one by one where one of them went meanwhile."""
        status, text = self._run(self.reader, *['/local/domain/%d/vm' % d for d in domids])
        lines = text.split('\n')[:-1]
        if status == 0 and len(lines) == len(domids):
            return [uuid_of(line) for line in lines]
        return [self.uuid(domid) for domid in domids]

    def running(self):
        """{uuid: domid} of all domains. Never empty by mistake: dom0 itself must be there."""
        names = self.children('/local/domain')
        if names is None or '0' not in names:
            raise Failure(UNREADABLE, 'xenstore does not say which domains there are')
        domids = [int(name) for name in names if name.isdigit() and name != '0']
        uuids = self._uuids(domids) if domids else []
        return {uuid: domid for uuid, domid in zip(uuids, domids) if uuid}
