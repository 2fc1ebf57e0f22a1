# SPDX-License-Identifier: Apache-2.0
"""What xenopsd has on a VM: its record of it in dom0's run directory, which is there before the
first hook of a start runs, and needs neither XAPI nor `xe`."""
import io
import json
import os

from .failure import Failure, UNREADABLE
from .xenstore import UUID

BYTES_MAX = 1 << 20


class Record(object):
    def __init__(self, uuid, name, kind, platform):
        self.uuid = uuid
        self.name = name
        self.kind = kind  # HVM, PV, PVinPVH, PVH; None: not as xenopsd wrote it so far
        self.platform = platform  # our keys of VM.platform


def _pairs(value):
    """OCaml's lists of pairs are written as an object, or as a list of two-element lists."""
    pairs = value.items() if isinstance(value, dict) else value
    return {key: text for key, text in pairs if key.startswith('vgpu-')}


def _kind(value):
    """A variant of OCaml's is written as its name, with what it holds behind it in a list."""
    name = value[0] if isinstance(value, list) and value else value
    return name if isinstance(name, type(u'')) else None


def record(config, uuid):
    """Of a VM that is being started, runs, or is being stopped on this host."""
    if not UUID.match(uuid):
        raise Failure('invalid', 'not the UUID of a VM: %s' % uuid[:64])
    path = os.path.join(config.xenopsd_dir, uuid, 'config')
    try:
        with io.open(path, 'rb') as file:
            data = file.read(BYTES_MAX + 1)
    except IOError as error:
        raise Failure(UNREADABLE, 'cannot read %s: %s' % (path, error.strerror))
    if len(data) > BYTES_MAX:
        raise Failure(UNREADABLE, '%s has more than %d bytes' % (path, BYTES_MAX))
    try:
        whole = json.loads(data.decode('utf-8'))
        return Record(uuid, whole['name'], _kind(whole.get('ty')), _pairs(whole['platformdata']))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Failure(UNREADABLE, '%s is not what xenopsd wrote so far' % path)
