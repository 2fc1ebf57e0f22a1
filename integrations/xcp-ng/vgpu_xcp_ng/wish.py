# SPDX-License-Identifier: Apache-2.0
"""What VM.platform asks for: vgpu-pool, and perhaps vgpu-priority, vgpu-weight, vgpu-memory-mib.
Checked here once; what is not understood is refused, not passed over."""
import re

from .failure import invalid

KEYS = ('vgpu-pool', 'vgpu-priority', 'vgpu-weight', 'vgpu-memory-mib')
PRIORITIES = ('low', 'medium', 'high')
NAME_BYTES_MAX = 64  # of a pool or a VM, in the store
MEMORY_MIB_MAX = 16 << 20
# As the store: C0 and C1 controls, and what changes the direction or the look of a line.
CONTROL = re.compile(u'[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069'
                     u'\ufeff]')
# Python 2 encodes the halves of a pair that has no other half.
HALVES = re.compile(u'[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]')


def clean(text, bytes_max):
    """Is it text that the store takes?"""
    try:
        size = len(text.encode('utf-8'))
    except UnicodeError:
        return False
    return 0 < size <= bytes_max and not CONTROL.search(text) and not HALVES.search(text)


def shown(text):
    """A part of somebody's text, for a message of one line."""
    if isinstance(text, bytes):
        text = text.decode('utf-8', 'replace')
    return HALVES.sub(u'?', CONTROL.sub(u'?', text[:64]))


def pool(text):
    if not clean(text, NAME_BYTES_MAX):
        raise invalid('not the name of a pool: %s', shown(text))
    return text


def priority(text):
    if text not in PRIORITIES:
        raise invalid('priority is not low, medium or high: %s', shown(text))
    return text


def weight(text):
    if not re.match('^[0-9]{1,3}(\\.[0-9]{1,2})?\\Z', text) or not 1.0 <= float(text) <= 100.0:
        raise invalid('weight is not 1.0 to 100.0: %s', shown(text))
    return float(text)


def memory_bytes(text):
    if not re.match('^[0-9]{1,8}\\Z', text) or not 1 <= int(text) <= MEMORY_MIB_MAX:
        raise invalid('memory is not 1 to %d MiB: %s', MEMORY_MIB_MAX, shown(text))
    return int(text) << 20


class Wish(object):
    """None: nothing was said of it, and what the store has holds."""

    def __init__(self, pool_name, priority_name=None, weight_text=None, memory_mib=None):
        self.pool = pool(pool_name)
        self.priority = None if priority_name is None else priority(priority_name)
        self.weight = None if weight_text is None else weight(weight_text)
        self.memory_bytes = None if memory_mib is None else memory_bytes(memory_mib)


def of_platform(platform):
    """None: the VM has no vGPU."""
    for key in sorted(platform):
        if key not in KEYS:
            raise invalid('platform:%s is not known (there are %s)', shown(key), ', '.join(KEYS))
    if platform and 'vgpu-pool' not in platform:
        raise invalid('platform:%s without platform:vgpu-pool', sorted(platform)[0])
    return Wish(*[platform.get(key) for key in KEYS]) if platform else None
