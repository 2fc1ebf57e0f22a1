# SPDX-License-Identifier: Apache-2.0
"""vgpu-stub as a guest's driver uses it, written from docs/spec/device.md alone.

Machine is a QEMU with the device and its BARs mapped; GuestChannel is a relayed channel's memory
in the guest. DeviceCase is what all tests of the device derive from.
"""
import itertools
import os
import shutil
import struct
import sys
import tempfile
import unittest

import mediator
from qtest import RAM_BYTES, Qemu, until

# Registers.
MAGIC, VERSION, FEATURES, STATUS, ERROR, VM_ID, PRIORITY, WEIGHT, MAX_CHANNELS, MAX_DATA, \
    GENERATION = range(0, 0x2c, 4)
IRQ_STATUS, IRQ_ENABLE, CHANNELS_LOW, CHANNELS_HIGH = 0x30, 0x34, 0x38, 0x3c
CONTROL, COMMANDS_LOW, COMMANDS_HIGH, COMMAND = 0x40, 0x44, 0x48, 0x4c
COUNTERS = 0x80
DOORBELLS, TURNS, RING_BYTES, UPLOAD, DOWNLOAD, WORKER_KICKS, WORKER_WAKES, INTERRUPTS = range(8)
POOL, NAME, ERROR_TEXT = 0x100, 0x148, 0x190
JOB_OP, JOB_COUNT, JOB_GO, JOB_STATE, JOB_STATUS, JOB_RESULT, JOB_RETRY_US, JOB_WAIT_US, \
    JOB_RUN_US = range(0x300, 0x324, 4)
JOB_A, JOB_B, JOB_SUM = 0x400, 0x800, 0xc00
READ_ONLY = [(0x000, 0x030), (0x080, 0x250), (0x30c, 0x324), (0xc00, 0x1000)]

DISCONNECTED, CONNECTING, READY, REFUSED = range(4)
IRQ_COMMAND, IRQ_STATE, IRQ_JOB, IRQ_CHANNEL = 1, 2, 4, 8
OPEN, ATTACH, CLOSE = 1, 2, 3
SLOTS = 64
VECTORS = 65

# Where things lie in the test's guest.
BAR0, BAR1, BAR2 = 0xe0000000, 0xe0004000, 0xe0100000
WINDOW = 0x1000000000  # BAR 4
DEVFN = 4 << 3
COMMANDS_AT = 0x100000
MESSAGES_AT = 0x114000
HEAP_AT = 0x200000

OPEN_WINDOW = 1
OPEN_GRANT = 2

COMMAND_ASK = struct.Struct('<IIIIQQII40s')
GEOMETRY = struct.Struct('<IIQQQQQ')


def text_of(data):
    return data.split(b'\0', 1)[0].decode()


class Machine:
    """A QEMU with one vgpu-stub."""

    def __init__(self, directory, chardev, properties='', machine='pc', arguments=(), **others):
        self.directory = directory
        self.window = WINDOW
        self.tags = itertools.count(1)
        self.heap = HEAP_AT
        device = 'vgpu-stub,id=gpu,chardev=vgpu,addr=04.0'
        self.qemu = Qemu(directory, ['-chardev', 'socket,id=vgpu,' + chardev,
                                     '-device', device + properties] + list(arguments), machine,
                         **others)
        self.qtest = self.qmp = self.ram = None

    def boot(self):
        """What firmware and driver do first."""
        self.qemu.wait_ready()
        self.qtest, self.qmp, self.ram = self.qemu.qtest, self.qemu.qmp, self.qemu.ram
        self.setup_pci()
        self.setup_commands()
        return self

    def setup_pci(self):
        for bar, address in ((0, BAR0), (1, BAR1), (2, BAR2)):
            self.set_config(0x10 + 4 * bar, address)
        self.set_config(0x20, self.window & 0xffffffff)
        self.set_config(0x24, self.window >> 32)
        self.set_config(0x04, 0x0006, 2)

    def setup_commands(self, address=COMMANDS_AT):
        self.store(COMMANDS_LOW, address & 0xffffffff)
        self.store(COMMANDS_HIGH, address >> 32)

    # PCI configuration space

    def config(self, offset, size=4, devfn=DEVFN):
        self.qtest.port_out(0xcf8, 0x80000000 | devfn << 8 | (offset & ~3), 4)
        return self.qtest.port_in(0xcfc + (offset & 3), size)

    def set_config(self, offset, value, size=4, devfn=DEVFN):
        self.qtest.port_out(0xcf8, 0x80000000 | devfn << 8 | (offset & ~3), 4)
        self.qtest.port_out(0xcfc + (offset & 3), value, size)

    def capability(self, wanted):
        at = self.config(0x34, 1)
        while at:
            if self.config(at, 1) == wanted:
                return at
            at = self.config(at + 1, 1)
        return 0

    # Registers

    def load(self, register):
        return self.qtest.load(BAR0 + register)

    def store(self, register, value):
        self.qtest.store(BAR0 + register, value & 0xffffffff)

    def text(self, register, size):
        return text_of(b''.join(struct.pack('<I', self.load(register + at))
                                for at in range(0, size, 4)))

    def state(self):
        return self.load(STATUS) & 0xff

    def counter(self, number):
        low, high = self.load(COUNTERS + 8 * number), self.load(COUNTERS + 8 * number + 4)
        return high << 32 | low

    def wait_state(self, state, seconds=20):
        until(lambda: self.state() == state, 'device state %d' % state, seconds)

    def doorbell(self, slot):
        self.qtest.store(BAR2 + slot * 4096, 1)

    def reset(self):
        self.store(CONTROL, 1)

    # Interrupts

    def enable_msix(self, vectors=range(VECTORS)):
        """Each vector writes its number + 1 to a word of its own."""
        at = self.capability(0x11)
        for vector in vectors:
            entry = BAR1 + 16 * vector
            self.qtest.store(entry, MESSAGES_AT + 4 * vector)
            self.qtest.store(entry + 4, 0)
            self.qtest.store(entry + 8, vector + 1)
            self.qtest.store(entry + 12, 0)
        self.set_config(at + 2, 0x8000, 2)

    def message(self, vector):
        """Takes a message of a vector: true if one came."""
        address = MESSAGES_AT + 4 * vector
        value = self.ram.u32(address)
        assert value in (0, vector + 1), value
        if value:
            self.ram.set_u32(address, 0)
        return value != 0

    def wait_message(self, vector):
        until(lambda: self.message(vector), 'MSI-X vector %d' % vector)

    def pin(self):
        """The level of the device's interrupt pin."""
        return bool(self.config(0x06, 2) & 8)

    # Commands

    def ask(self, slot, op, sub=64, comp=64, data=65536, directory=0, vector=0, process=b'test',
            tag=None, flags=0):
        """Writes a command and rings; returns its tag."""
        tag = next(self.tags) if tag is None else tag
        self.ram.write(COMMANDS_AT + slot * 1024, COMMAND_ASK.pack(
            op, tag, sub, comp, data, directory, vector, flags, process))
        self.store(COMMAND, slot)
        return tag

    def done(self, slot):
        return self.ram.u32(COMMANDS_AT + slot * 1024 + 128)

    def wait_done(self, slot, tag):
        until(lambda: self.done(slot) == tag, 'slot %d to be done' % slot)
        return self.ram.u32(COMMANDS_AT + slot * 1024 + 132)

    def command(self, slot, op, **values):
        """A command and its status."""
        return self.wait_done(slot, self.ask(slot, op, **values))

    def answer_text(self, slot):
        return text_of(self.ram.read(COMMANDS_AT + slot * 1024 + 200, 192))

    def answer_retry(self, slot):
        return self.ram.u64(COMMANDS_AT + slot * 1024 + 136)

    def answer_channel(self, slot):
        return self.ram.u32(COMMANDS_AT + slot * 1024 + 144)

    def answer_window(self, slot):
        return self.ram.u32(COMMANDS_AT + slot * 1024 + 148)

    def answer_backend(self, slot):
        return self.ram.u32(COMMANDS_AT + slot * 1024 + 392)

    def answer_geometry(self, slot):
        return GEOMETRY.unpack(self.ram.read(COMMANDS_AT + slot * 1024 + 152, GEOMETRY.size))

    def gone(self, slot):
        at = COMMANDS_AT + slot * 1024
        return self.ram.u32(at + 512), self.ram.u32(at + 516), text_of(self.ram.read(at + 520, 192))

    # Channels

    def wait_gone(self, slot):
        until(lambda: self.gone(slot)[0] == 1, 'slot %d to be gone' % slot)

    def pages(self, count, spread=1):
        """Addresses of new pages of guest memory, every `spread`th."""
        first = self.heap
        self.heap += count * spread * 4096
        assert self.heap <= RAM_BYTES
        return [first + i * spread * 4096 for i in range(count)]

    def channel(self, slot, sub=64, comp=64, data=65536, vector=0, attach=True):
        """Opens a channel and gives it memory."""
        status = self.command(slot, OPEN, sub=sub, comp=comp, data=data)
        assert status == 0, (status, self.answer_text(slot))
        channel = GuestChannel(self, slot, self.answer_geometry(slot))
        if attach:
            status = self.command(slot, ATTACH, directory=channel.directory, vector=vector)
            assert status == 0, (status, self.answer_text(slot))
        return channel


    def window_channel(self, slot, sub=64, comp=64, data=65536, vector=0, attach=True):
        """Opens a channel in the window."""
        status = self.command(slot, OPEN, sub=sub, comp=comp, data=data, flags=OPEN_WINDOW)
        assert status == 0, (status, self.answer_text(slot))
        assert self.answer_window(slot), 'relayed'
        channel = WindowChannel(self, slot, self.answer_window(slot), self.answer_geometry(slot))
        if attach:
            channel.attach(vector)
        return channel


class WindowChannel:
    """A channel's memory in the window."""

    STATE = 340

    def __init__(self, machine, slot, window, geometry):
        self.machine, self.slot = machine, slot
        self.place = (window - 1) * 4096
        self.address = machine.window + self.place
        (self.sub, self.comp, self.sub_offset, self.comp_offset, self.data_offset, self.data,
         self.total) = geometry

    def attach(self, vector=0):
        status = self.machine.command(self.slot, ATTACH, vector=vector)
        assert status == 0, (status, self.machine.answer_text(self.slot))

    def u32(self, offset):
        return self.machine.qtest.load(self.address + offset)

    def set_u32(self, offset, value):
        self.machine.qtest.store(self.address + offset, value)

    def data_u32(self, offset):
        return self.u32(self.data_offset + offset)

    def doorbell(self):
        self.machine.doorbell(self.slot)


class GuestChannel:
    """A relayed channel's memory in the guest: scattered pages, found by tables."""

    SUB_HEAD, SUB_WAITING, SUB_TAIL, SUB_PARKED = 64, 68, 128, 132
    COMP_HEAD, COMP_WAITING, COMP_TAIL, COMP_PARKED = 192, 196, 256, 260
    ISSUED, CREDIT, POISONED, STATE = 320, 328, 336, 340

    def __init__(self, machine, slot, geometry):
        self.machine, self.slot = machine, slot
        (self.sub, self.comp, self.sub_offset, self.comp_offset, self.data_offset, self.data,
         self.total) = geometry
        count = self.total // 4096 + 1
        self.page = list(reversed(machine.pages(count, 2)))
        self.transfers = self.page[-1]
        tables = machine.pages((count + 511) // 512)
        self.tables = tables
        self.directory = machine.pages(1)[0]
        for number, table in enumerate(tables):
            machine.ram.set_u64(self.directory + 8 * number, table)
        for number, page in enumerate(self.page):
            self.set_entry(number, page)
        self.sub_head = self.comp_tail = self.transfer_head = 0
        machine.ram.write(self.transfers, b'\0' * 4096)

    def set_entry(self, number, address):
        """The address of page `number`; 0 takes it away."""
        table = self.tables[number // 512]
        self.machine.ram.set_u64(table + 8 * (number % 512), address)

    def at(self, offset):
        return self.page[offset // 4096] + offset % 4096

    def u32(self, offset):
        return self.machine.ram.u32(self.at(offset))

    def set_u32(self, offset, value):
        self.machine.ram.set_u32(self.at(offset), value)

    def read(self, offset, size):
        out = b''
        while size:
            part = min(size, 4096 - offset % 4096)
            out += self.machine.ram.read(self.at(offset), part)
            offset, size = offset + part, size - part
        return out

    def write(self, offset, data):
        while data:
            part = min(len(data), 4096 - offset % 4096)
            self.machine.ram.write(self.at(offset), data[:part])
            offset, data = offset + part, data[part:]

    def data_read(self, offset, size):
        return self.read(self.data_offset + offset, size)

    def data_write(self, offset, data):
        self.write(self.data_offset + offset, data)

    def doorbell(self):
        self.machine.doorbell(self.slot)

    def put(self, granules):
        """Puts whole granules into the submission ring."""
        assert len(granules) % 64 == 0
        for start in range(0, len(granules), 64):
            place = self.sub_offset + self.sub_head % self.sub * 64
            self.write(place, granules[start:start + 64])
            self.sub_head = (self.sub_head + 1) & 0xffffffff

    def publish(self, ring=True):
        self.set_u32(self.SUB_HEAD, self.sub_head)
        if ring:
            self.doorbell()

    def submit(self, granules):
        self.put(granules)
        self.publish()

    def transfer(self, offset, row_bytes, pitch=0, rows=1, reserved=0):
        """Asks for an upload; it happens at the next doorbell."""
        place = self.transfers + 128 + self.transfer_head % 64 * 32
        self.machine.ram.write(place, struct.pack('<QQQII', offset, row_bytes, pitch, rows,
                                                  reserved))
        self.transfer_head = (self.transfer_head + 1) & 0xffffffff
        self.machine.ram.set_u32(self.transfers, self.transfer_head)

    def transfers_done(self):
        return self.machine.ram.u32(self.transfers + 64)

    def completions(self):
        """Takes what is in the completion ring: (kind, seq, entry) each."""
        head = self.u32(self.COMP_HEAD)
        out = []
        while self.comp_tail != head:
            place = self.comp_tail % self.comp
            size, kind = struct.unpack('<IH', self.read(self.comp_offset + place * 64, 6))
            assert 8 <= size and (size + 63) // 64 <= self.comp - place, (size, place)
            entry = self.read(self.comp_offset + place * 64, size)
            if kind:
                out.append((kind, struct.unpack_from('<Q', entry, 8)[0], entry))
            self.comp_tail = (self.comp_tail + (size + 63) // 64) & 0xffffffff
        self.set_u32(self.COMP_TAIL, self.comp_tail)
        return out


class DeviceCase(unittest.TestCase):
    """A directory of its own for each test, and whatever was started there ended."""

    machine_type = 'pc'
    machine_others = {}

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix='vgpu-qtest-')
        self.addCleanup(shutil.rmtree, self.directory, True)

    def fresh(self):
        """A directory for one more machine in the same test."""
        self.setUp()

    def path(self, name):
        return os.path.join(self.directory, name)

    def start(self, chardev, properties='', arguments=()):
        """A machine that is not looked at yet."""
        machine = Machine(self.directory, chardev, properties, self.machine_type, arguments,
                          **self.machine_others)
        self.addCleanup(machine.qemu.close)
        return machine

    def listen(self):
        listener = mediator.Listener(self.path('vm'))
        self.addCleanup(listener.close)
        return listener

    def serve(self, link, channels=None, **welcome):
        server = mediator.Server(link, channels, **welcome)
        self.addCleanup(server.close)
        return server

    def pair(self, properties='', arguments=(), **welcome):
        """A machine with a mediator that answers by itself: (machine, server)."""
        listener = self.listen()
        machine = self.start('path=' + listener.path, properties, arguments)
        server = self.serve(listener.accept(), **welcome)
        return machine.boot(), server

    def waiting_pair(self, properties='', **welcome):
        """The same, where QEMU listens, so that a mediator can come again at once."""
        machine = self.start('server=on,wait=off,path=' + self.path('vm'), properties).boot()
        server = self.serve(mediator.connect(self.path('vm')), **welcome)
        machine.wait_state(READY)
        return machine, server

    def linked(self, properties='', arguments=(), **welcome):
        """A machine and a link on which the test speaks itself."""
        listener = self.listen()
        machine = self.start('path=' + listener.path, properties, arguments)
        link = listener.accept()
        self.addCleanup(link.close)
        link.greet(**welcome)
        return machine.boot(), link

    def fails_to_start(self, machine):
        """QEMU ends by itself, in good order; its last words."""
        status = machine.qemu.wait_end()
        self.assertEqual(status, 1, machine.qemu.errors())
        return machine.qemu.errors()


def find_qemu():
    """What VGPU_QEMU names, or what tools/qemu-build.sh has built of version 7.2."""
    named = os.environ.get('VGPU_QEMU')
    if named:
        return named
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    cache = os.environ.get('VGPU_CACHE') or os.path.join(root, '.cache')
    return os.path.join(cache, 'qemu/7.2/build/qemu-system-x86_64')


def main():
    os.environ['VGPU_QEMU'] = find_qemu()
    if not os.access(os.environ['VGPU_QEMU'], os.X_OK):
        print('no QEMU with vgpu-stub; tools/qemu-build.sh builds it, or VGPU_QEMU names one')
        sys.exit(77)
    unittest.main(verbosity=2)
