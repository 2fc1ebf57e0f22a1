#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Seeds for QEMU's generic fuzzer: fuzz_seeds.py DIRECTORY.

An input is a list of operations, apart by "FUZZ" (QEMU's tests/qtest/fuzz/generic_fuzz.c). Memory
that the device reads is filled with patterns, one after the other at each read; a fuzzer does not
find by itself what a command, a directory or a ring looks like.
"""
import itertools
import os
import struct
import sys

from device import (
    ATTACH, CLOSE, COMMAND, COMMAND_ASK, COMMANDS_LOW, CONTROL, IRQ_ENABLE, JOB_A, JOB_COUNT,
    JOB_GO, JOB_OP, OPEN, OPEN_WINDOW, STATUS)

REGISTERS, TABLE, PENDING, DOORBELLS = range(4)
READ, WRITE, PCI_WRITE, PATTERN, CLEAR, CLOCK = 2, 3, 5, 7, 8, 9


def write(region, offset, value, size=2):
    return bytes([WRITE]) + struct.pack('<BB2xIQ', size, region, offset, value)


def read(region, offset):
    return bytes([READ]) + struct.pack('<BB2xI', 2, region, offset)


def pattern(data):
    return bytes([PATTERN, 255, 0]) + data


def command(slot, op, registers=REGISTERS, **values):
    """The pattern of a command, and the register that makes the device read it."""
    ask = {'sub': 64, 'comp': 64, 'data': 8192, 'directory': 0, 'vector': 1, 'flags': 0, **values}
    packed = COMMAND_ASK.pack(op, 7 + slot, ask['sub'], ask['comp'], ask['data'], ask['directory'],
                              ask['vector'], ask['flags'], b'fuzz').ljust(128, b'\0')
    return [bytes([CLEAR]), pattern(packed), write(registers, COMMAND, slot)] + wait()


def wait(count=120):
    """Time for a mediator to answer."""
    return [read(REGISTERS, STATUS)] * count


def attach(slot, address=0x400000):
    """
    A command, a directory's entry, the four of a table that ATTACH looks at, and then zeros: rings
    that are empty. Each access of the device to memory takes the next pattern.
    """
    steps = command(slot, ATTACH, directory=0x300000)
    pages = [pattern(struct.pack('<Q', address + 0x1000 * i)) for i in range(5)]
    return steps[:2] + pages + [pattern(b'\0' * 8)] * 40 + steps[2:]


def rings(head=3):
    """Lines of a ring: a head or tail that may be right, and descriptors."""
    return [bytes([CLEAR]), pattern(struct.pack('<II', head, 1)),
            pattern(struct.pack('<QQQII', 0, 4096, 4096, 1, 0)), pattern(struct.pack('<I', 0))]


def doorbells(slot, count=4):
    return [write(DOORBELLS, 4096 * slot, 1)] * count + wait(5)


def seeds():
    begin = [write(REGISTERS, COMMANDS_LOW, 0x100000), write(REGISTERS, IRQ_ENABLE, 15)]
    opened = begin + command(0, OPEN)
    attached = opened + attach(0)
    yield 'open', opened
    yield 'open-close', opened + command(0, CLOSE)
    yield 'open-reset', opened + [write(REGISTERS, CONTROL, 1)] + begin + command(0, OPEN)
    yield 'attach', attached
    for head in (0, 1, 3, 63, 64, 65):
        yield 'ring-%d' % head, attached + rings(head) + doorbells(0)
    yield 'attach-close', attached + rings() + doorbells(0) + command(0, CLOSE) + doorbells(0)
    yield 'attach-reset', attached + rings() + doorbells(0) + [write(REGISTERS, CONTROL, 1)]
    for name, address in (('registers', 0xe0000000), ('high', 1 << 40), ('same', 0x300000)):
        yield 'attach-' + name, opened + attach(0, address) + doorbells(0)
    yield 'two', opened + command(1, OPEN, data=4096) + attach(1) + doorbells(1)
    job = begin + [write(REGISTERS, JOB_OP, 1), write(REGISTERS, JOB_COUNT, 4)] + \
        [write(REGISTERS, JOB_A + 4 * i, i) for i in range(4)] + [write(REGISTERS, JOB_GO, 1)]
    yield 'job', job + wait() + [bytes([CLOCK])] + wait()
    yield 'job-reset', job + [write(REGISTERS, CONTROL, 1)] + wait()
    yield 'msix', [bytes([PCI_WRITE]) + struct.pack('<BBBxI', 1, 0, offset, 0x8000)
                   for offset in range(0x42, 0xa2, 0x10)] + \
        [write(TABLE, 0, 0x500000), write(TABLE, 12, 0)] + opened


def window_seeds():
    """
    With a fifth region, the window, the fuzzer's order of regions is another one, which nobody
    knows beforehand: each that may be.
    """
    for registers, doors, window in itertools.permutations(range(5), 3):
        begin = [write(registers, COMMANDS_LOW, 0x100000), write(registers, IRQ_ENABLE, 15)]
        life = begin
        for slot in (0, 1):
            life = life + command(slot, OPEN, registers, flags=OPEN_WINDOW) + \
                command(slot, ATTACH, registers) + \
                [write(doors, 4096 * slot, 1), write(window, 2 << 20, 1), read(window, 0)]
        name = '%d%d%d' % (registers, doors, window)
        yield 'window-close-' + name, life + command(0, CLOSE, registers) + \
            command(0, OPEN, registers, flags=OPEN_WINDOW)
        yield 'window-reset-' + name, life + [write(registers, CONTROL, 1)] + begin


def main():
    os.makedirs(sys.argv[1], exist_ok=True)
    for name, steps in itertools.chain(seeds(), window_seeds()):
        with open(os.path.join(sys.argv[1], name), 'wb') as seed:
            seed.write(b'FUZZ'.join(steps))


if __name__ == '__main__':
    main()
