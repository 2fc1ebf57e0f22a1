# SPDX-License-Identifier: Apache-2.0
"""/etc/vgpu/xcp-ng.conf: lines `key = value`, # begins a comment. Each key is in docs/xcp-ng.md."""
import io
import os
import re

from .failure import Failure

PATH = '/etc/vgpu/xcp-ng.conf'
VARIABLE = 'VGPU_XCP_NG_CONF'  # names another file; for tests
BYTES_MAX = 65536

DEFAULTS = {
    'admin-socket': '/run/vgpu/admin.sock',
    'device-dir': '/run/vgpu-devices',
    'state-dir': '/run/vgpu-xcp-ng',
    'xenopsd-dir': '/var/run/nonpersistent/xenopsd/classic/VM',
    'stock-wrapper': '/usr/lib64/xen/bin/qemu-wrapper',
    'xenstore-read': '/usr/bin/xenstore-read',
    'xenstore-list': '/usr/bin/xenstore-list',
    'xenstore-watch': '/usr/bin/xenstore-watch',
    'xenbus': '/usr/sbin/vgpu-xenbus',
    'xe': '/usr/bin/xe',
    'instance-name': '[irsv]-[0-9]+(-[0-9]+)?-[A-Za-z0-9]+',
    'mediator-down': 'refuse',
    'grants': 'pv',
    'halted-pool': 'xcp-ng-halted',
    'keep-days': '30',
    'start-grace-s': '300',
    'timeout-ms': '900',
    'pci-slot': '0x10',
}
NUMBERS = {'keep-days': (1, 3650), 'start-grace-s': (10, 86400), 'timeout-ms': (50, 60000)}
WORDS = {'mediator-down': ('refuse', 'allow'), 'grants': ('off', 'pv', 'all')}
PCI_SLOTS = (0x10, 0x1f)  # XAPI gives the lower ones to its own devices


def _number(key, text, least, most, base=10):
    try:
        value = int(text, base)
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        raise Failure('invalid', '%s is not a number of %d to %d: %s' % (key, least, most, text))
    return value


def _lines(text):
    for number, line in enumerate(text.split('\n'), 1):
        line = line.split('#', 1)[0].strip()
        if not line:
            continue
        key, equals, value = line.partition('=')
        key = key.strip()
        if not equals or key not in DEFAULTS:
            raise Failure('invalid', 'line %d is not understood: %s' % (number, line))
        yield key, value.strip()


class Config(object):
    """Each key of DEFAULTS, as an attribute with _ for -."""

    def __init__(self, text=''):
        values = dict(DEFAULTS)
        values.update(_lines(text))
        for key, (least, most) in NUMBERS.items():
            values[key] = _number(key, values[key], least, most)
        values['pci-slot'] = _number('pci-slot', values['pci-slot'], *PCI_SLOTS, base=0)
        for key, words in WORDS.items():
            if values[key] not in words:
                raise Failure('invalid', '%s is not %s: %s' % (key, ' or '.join(words),
                                                                values[key]))
        try:
            values['instance-name'] = re.compile('^(?:%s)\\Z' % values['instance-name'])
        except re.error as error:
            raise Failure('invalid', 'instance-name is no expression: %s' % error)
        for key, value in values.items():
            setattr(self, key.replace('-', '_'), value)


def load():
    path = os.environ.get(VARIABLE, PATH)
    try:
        with io.open(path, encoding='utf-8') as file:
            text = file.read(BYTES_MAX + 1)
    except IOError as error:
        if not os.path.exists(path):
            return Config()
        raise Failure('invalid', 'cannot read %s: %s' % (path, error.strerror))
    except UnicodeDecodeError:
        raise Failure('invalid', '%s is not UTF-8' % path)
    if len(text) > BYTES_MAX:
        raise Failure('invalid', '%s has more than %d characters' % (path, BYTES_MAX))
    try:
        return Config(text)
    except Failure as failure:
        raise Failure('invalid', '%s: %s' % (path, failure.text))
