# SPDX-License-Identifier: Apache-2.0
"""The other end of a VM's socket, written from docs/spec/wire.md and ring.md alone.

Link speaks the protocol message by message, well or badly, as a test tells it. Server is a
mediator that answers by itself. HostChannel is a channel's memory and the worker at it.
"""
import array
import collections
import fcntl
import mmap
import os
import select
import socket
import struct
import threading
import time

MAGIC = 0x55504756
HELLO, WELCOME, REFUSED, OPEN, OPENED, CLOSE, CLOSED, RESUME, RESUMED, GONE, STATE, \
    MONITOR, MONITORED, PROMISED, GRANT, GRANTED = range(1, 17)
OK, BUSY, QUARANTINED, STATUS_GONE, NO_GPU, NOT_CONFIGURED, VERSION, BAD_MESSAGE, BAD_RECORD, \
    LIMIT, FAILED, TIMEOUT, KILLED, NO_MEMORY, STARTING, DRIVER, REMOVED, INTERNAL = range(18)

HEAD = struct.Struct('<IHHII')
BODIES = {
    HELLO: (struct.Struct('<IHHQIIII72s'), 'magic major minor features carrier claimed_vm_id '
            'claimed_priority window_mib claimed_pool'),
    WELCOME: (struct.Struct('<IHHQIIIIQII72s72s'), 'magic major minor features vm_id priority '
              'weight max_channels max_data quarantined reserved pool name'),
    REFUSED: (struct.Struct('<IIQ192s'), 'status reserved retry_ns text'),
    OPEN: (struct.Struct('<IIQ40s'), 'sub_granules comp_granules data_bytes process'),
    OPENED: (struct.Struct('<II16sIIQQQQQ'), 'channel window token sub_granules comp_granules '
             'sub_offset comp_offset data_offset data_bytes total_bytes'),
    CLOSE: (struct.Struct('<II'), 'channel reserved'),
    CLOSED: (struct.Struct('<II'), 'channel reserved'),
    RESUME: (struct.Struct('<II16s'), 'channel reserved token'),
    RESUMED: (struct.Struct('<II'), 'channel reserved'),
    GONE: (struct.Struct('<II192s'), 'channel status text'),
    STATE: (struct.Struct('<IIII72s'), 'priority weight quarantined reserved pool'),
    MONITOR: (struct.Struct('<II'), 'gpu first'),
    MONITORED: (struct.Struct('<744s'), 'monitor'),
    PROMISED: (struct.Struct('<II16sIIQQQQQ'), 'channel backend_domid token sub_granules '
               'comp_granules sub_offset comp_offset data_offset data_bytes total_bytes'),
    GRANT: (struct.Struct('<IIII'), 'channel directory event_port pages'),
    GRANTED: (struct.Struct('<II'), 'channel reserved'),
}
FIELDS = {kind: collections.namedtuple('Body%d' % kind, names)
          for kind, (_, names) in BODIES.items()}
TEXTS = ('claimed_pool', 'pool', 'name', 'text', 'process', 'token', 'monitor')
OPEN_WINDOW = 1
OPEN_GRANT = 2
PLACE_STEP = 2 << 20
FEATURE_WINDOW = 4
FEATURE_GRANT = 16
Message = collections.namedtuple('Message', 'kind flags tag reserved body fds size')

WELCOME_VALUES = {'magic': MAGIC, 'major': 1, 'minor': 0, 'features': 7, 'vm_id': 7, 'priority': 2,
                  'weight': 2500, 'max_channels': 64, 'max_data': 1 << 30, 'quarantined': 0,
                  'reserved': 0, 'pool': b'A', 'name': b'VM-007'}

SEAL_SEAL, SEAL_SHRINK, SEAL_GROW, SEAL_WRITE = 1, 2, 4, 8
F_ADD_SEALS = 1033


class Hangup(Exception):
    """The other end has closed the connection."""


class Link:
    """One connection, message by message."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.setblocking(False)

    def close(self):
        self.sock.close()

    def _bytes(self, wanted, end, fds):
        data = b''
        while len(data) < wanted:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                raise AssertionError('nothing came within the time')
            try:
                part, control, _, _ = self.sock.recvmsg(wanted - len(data),
                                                        socket.CMSG_SPACE(64 * 4))
            except ConnectionResetError as reset:
                raise Hangup() from reset
            for level, kind, payload in control:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    numbers = array.array('i')
                    numbers.frombytes(payload[:len(payload) // 4 * 4])
                    fds += list(numbers)
            if not part:
                raise Hangup()
            data += part
        return data

    def receive(self, seconds=20):
        end = time.monotonic() + seconds
        fds = []
        size, kind, flags, tag, reserved = HEAD.unpack(self._bytes(HEAD.size, end, fds))
        assert kind in BODIES, 'message of kind %d' % kind
        layout, _ = BODIES[kind]
        assert size == HEAD.size + layout.size, (kind, size)
        assert flags & ~(OPEN_WINDOW | OPEN_GRANT if kind == OPEN else 0) == 0, (kind, flags)
        assert reserved == 0, (kind, reserved)
        body = FIELDS[kind](*layout.unpack(self._bytes(layout.size, end, fds)))
        assert not fds, 'a guest sends no descriptors'
        return Message(kind, flags, tag, reserved, body, fds, size)

    def expect(self, kind, seconds=20):
        message = self.receive(seconds)
        assert message.kind == kind, 'wanted %d: %r' % (kind, message)
        return message

    def quiet(self):
        """True if nothing has come."""
        return not select.select([self.sock], [], [], 0)[0]

    def expect_hangup(self, seconds=5):
        """Until the other end closes; what it says before is thrown away."""
        end = time.monotonic() + seconds
        try:
            while True:
                self._bytes(1, end, [])
        except Hangup:
            pass

    def send_bytes(self, data, fds=(), seconds=20):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
        end = time.monotonic() + seconds
        try:
            while data:
                if not select.select([], [self.sock], [], max(0, end - time.monotonic()))[1]:
                    raise AssertionError('QEMU does not read')
                sent = self.sock.sendmsg([data], rights)
                data, rights = data[sent:], []
        except (BrokenPipeError, ConnectionResetError) as gone:
            raise Hangup() from gone

    @staticmethod
    def pack(kind, tag, flags=0, reserved=0, size=None, **values):
        layout, names = BODIES[kind]
        body = layout.pack(*[values.get(name, b'' if name in TEXTS else 0)
                             for name in names.split()])
        return HEAD.pack(HEAD.size + len(body) if size is None else size, kind, flags, tag,
                         reserved) + body

    def send(self, kind, tag, fds=(), **values):
        self.send_bytes(self.pack(kind, tag, **values), fds)

    def welcome(self, tag, **changes):
        self.send(WELCOME, tag, **{**WELCOME_VALUES, **changes})

    def greet(self, seconds=20, **changes):
        """Takes HELLO and welcomes; returns HELLO."""
        hello = self.expect(HELLO, seconds)
        changes.setdefault('features', 7 & hello.body.features)
        self.welcome(hello.tag, **changes)
        return hello

    def refuse(self, tag, status, text=b'', retry_ns=0):
        self.send(REFUSED, tag, status=status, text=text, retry_ns=retry_ns)

    def opened(self, request, number, channel=None, **changes):
        """Answers OPEN; returns the channel's host side."""
        channel = channel or HostChannel(number, request.body.sub_granules,
                                         request.body.comp_granules, request.body.data_bytes)
        self.send(OPENED, request.tag, fds=channel.fds(), **{**channel.opened_values(), **changes})
        return channel

    def closed(self, request):
        self.send(CLOSED, request.tag, channel=request.body.channel)

    def gone(self, number, status, text=b''):
        self.send(GONE, 0, channel=number, status=status, text=text)

    def state(self, **changes):
        values = {'priority': 1, 'weight': 5000, 'quarantined': 0, 'pool': b'B'}
        self.send(STATE, 0, **{**values, **changes})


def connect(path, seconds=20):
    """A link to a QEMU that listens."""
    end = time.monotonic() + seconds
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(path)
            return Link(sock)
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


class Listener:
    """A socket that QEMU connects to."""

    def __init__(self, path):
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.bind(path)
        self.sock.listen(4)

    def accept(self, seconds=20):
        if not select.select([self.sock], [], [], seconds)[0]:
            raise AssertionError('QEMU did not connect')
        return Link(self.sock.accept()[0])

    def accept_hello(self, seconds=20):
        """The next connection that says HELLO, and that; QEMU also looks whether anyone is here."""
        while True:
            link = self.accept(seconds)
            try:
                return link, link.expect(HELLO)
            except Hangup:
                link.close()

    def close(self):
        self.sock.close()
        if os.path.exists(self.path):
            os.unlink(self.path)


class HostChannel:
    """A channel's memory on the host, and a worker at it."""

    SUB_HEAD, SUB_WAITING, SUB_TAIL, SUB_PARKED = 64, 68, 128, 132
    COMP_HEAD, COMP_WAITING, COMP_TAIL, COMP_PARKED = 192, 196, 256, 260
    ISSUED, CREDIT, POISONED, STATE = 320, 328, 336, 340

    def __init__(self, number, sub=64, comp=64, data=65536, seals=SEAL_SEAL | SEAL_SHRINK |
                 SEAL_GROW, mode_flags=0x1):
        self.number = number
        self.token = struct.pack('<IIQ', number, ~number & 0xffffffff, 0x746f6b656e)
        self.sub, self.comp, self.data = sub, comp, data
        self.sub_offset = 4096
        self.comp_offset = self.sub_offset + sub * 64
        self.data_offset = (self.comp_offset + comp * 64 + 4095) // 4096 * 4096
        self.total = self.data_offset + data
        self.memfd = os.memfd_create('channel', os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.fchmod(self.memfd, 0o600)
        os.ftruncate(self.memfd, self.total)
        self.map = mmap.mmap(self.memfd, self.total)
        struct.pack_into('<II', self.map, 0, MAGIC, 1)
        self.map[8:56] = self.geometry()
        struct.pack_into('<I', self.map, 56, mode_flags)
        self.set_u32(self.STATE, 1)
        self.set_u32(self.SUB_PARKED, 1)
        if seals:
            fcntl.fcntl(self.memfd, F_ADD_SEALS, seals)
        self.submit_kick = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.completion_kick = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.sub_tail = self.comp_head = 0

    def geometry(self):
        return struct.pack('<IIQQQQQ', self.sub, self.comp, self.sub_offset, self.comp_offset,
                           self.data_offset, self.data, self.total)

    def opened_values(self):
        return {'channel': self.number, 'token': self.token, 'sub_granules': self.sub,
                'comp_granules': self.comp, 'sub_offset': self.sub_offset,
                'comp_offset': self.comp_offset, 'data_offset': self.data_offset,
                'data_bytes': self.data, 'total_bytes': self.total}

    def fds(self):
        return [self.memfd, self.submit_kick, self.completion_kick]

    def u32(self, offset):
        return struct.unpack_from('<I', self.map, offset)[0]

    def set_u32(self, offset, value):
        struct.pack_into('<I', self.map, offset, value & 0xffffffff)

    def set_u64(self, offset, value):
        struct.pack_into('<Q', self.map, offset, value)

    def data_read(self, offset, size):
        return self.map[self.data_offset + offset:self.data_offset + offset + size]

    def data_write(self, offset, data):
        start = self.data_offset + offset
        self.map[start:start + len(data)] = data

    def kicked(self):
        """Takes kicks of the submission side; how many there were."""
        try:
            return os.eventfd_read(self.submit_kick)
        except BlockingIOError:
            return 0

    def kick(self):
        os.eventfd_write(self.completion_kick, 1)

    def take(self):
        """The granules of the submission ring that are published and not yet taken."""
        head = self.u32(self.SUB_HEAD)
        count = (head - self.sub_tail) & 0xffffffff
        assert count <= self.sub, (head, self.sub_tail)
        out = b''
        for _ in range(count):
            start = self.sub_offset + self.sub_tail % self.sub * 64
            out += self.map[start:start + 64]
            self.sub_tail = (self.sub_tail + 1) & 0xffffffff
        self.set_u32(self.SUB_TAIL, self.sub_tail)
        return out

    def free(self):
        """Granules that a completion may take."""
        return self.comp - ((self.comp_head - self.u32(self.COMP_TAIL)) & 0xffffffff)

    def put(self, entry):
        """Writes one entry of the completion ring, a pad before it where it does not fit."""
        granules = (len(entry) + 63) // 64
        at = self.comp_head % self.comp
        if at + granules > self.comp:
            self._put_at(at, struct.pack('<IH', (self.comp - at) * 64, 0))
            self.comp_head += self.comp - at
            at = 0
        self._put_at(at, entry)
        self.comp_head = (self.comp_head + granules) & 0xffffffff

    def _put_at(self, granule, data):
        start = self.comp_offset + granule * 64
        self.map[start:start + len(data)] = data

    def publish(self, kick=True):
        self.set_u32(self.COMP_HEAD, self.comp_head)
        if kick:
            self.kick()

    def reply(self, seq, payload=b'', status=0, result=0, kind=1, publish=True):
        payload += b'\0' * (-len(payload) % 8)
        self.put(struct.pack('<IHHQiIQQ', 40 + len(payload), kind, status, seq, result, 0, 11, 22)
                 + payload)
        if publish:
            self.publish()

    def written(self, offset, row_bytes, pitch=0, rows=1, slice_pitch=0, slices=1, publish=True,
                size=None):
        self.put(struct.pack('<IHHQiIQQ', 80 if size is None else size, 4, 0, 0, 0, 0, 0, 0) +
                 struct.pack('<QQQQII', offset, row_bytes, pitch, slice_pitch, rows, slices))
        if publish:
            self.publish()

    def close(self):
        self.map.close()
        for number in self.fds():
            os.close(number)


class Server:
    """A mediator that answers by itself, in a thread of its own, on one connection."""

    def __init__(self, link, channels=None, **welcome):
        self.link = link
        self.welcome = welcome
        self.hello = None
        self.channels = {} if channels is None else channels  # those that may be resumed, too
        self.open_numbers = set()
        self.log = []
        self.hooks = {}
        self.failure = None
        self.ended = False
        self.next_place = 0  # in the window; None: there is no room
        self.places = {}
        self.next_number = max(self.channels, default=0) + 1
        self._stop_read, self._stop_write = os.pipe()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def hook(self, kind, action):
        """action(message) answers instead; it returns true if it did."""
        self.hooks[kind] = action

    def _run(self):
        try:
            while True:
                ready = select.select([self.link.sock, self._stop_read], [], [])[0]
                if self._stop_read in ready:
                    return
                self._answer(self.link.receive())
        except (Hangup, OSError):
            self.ended = True
        except BaseException as failure:  # pylint: disable=broad-except
            self.failure = failure

    def _answer(self, message):
        self.log.append(message)
        if message.kind in self.hooks and self.hooks[message.kind](message):
            return
        getattr(self, '_on_%d' % message.kind)(message)

    def _on_1(self, message):
        self.link.welcome(message.tag, **{'features': 7 & message.body.features, **self.welcome})
        self.hello = message

    def _on_4(self, message):
        number = self.next_number
        self.next_number += 1
        windowed = message.flags & OPEN_WINDOW and self.next_place is not None
        channel = HostChannel(number, message.body.sub_granules, message.body.comp_granules,
                              message.body.data_bytes or 65536, mode_flags=0 if windowed else 1)
        self.channels[number] = channel
        self.open_numbers.add(number)
        window = 0
        if windowed:
            window = 1 + self.next_place // 4096
            self.places[number] = self.next_place
            self.next_place += (channel.total + PLACE_STEP - 1) // PLACE_STEP * PLACE_STEP
        self.link.opened(message, number, channel, window=window)

    def _on_6(self, message):
        self.open_numbers.discard(message.body.channel)
        self.link.closed(message)

    def _on_8(self, message):
        channel = self.channels.get(message.body.channel)
        if channel and channel.token == message.body.token:
            self.open_numbers.add(channel.number)
            self.link.send(RESUMED, message.tag, channel=channel.number)
        else:
            self.link.refuse(message.tag, STATUS_GONE, b'not there')

    def count(self, kind):
        return sum(1 for message in list(self.log) if message.kind == kind)

    def stop(self):
        """Stops answering; the connection stays."""
        if self.thread.is_alive():
            os.write(self._stop_write, b'x')
        self.thread.join(20)
        if self.failure:
            raise self.failure

    def close(self, channels=True):
        """Hangs up. Without `channels`, those stay open, as when a mediator dies."""
        if self.link is None:
            return
        failure = None
        try:
            self.stop()
        except BaseException as seen:  # pylint: disable=broad-except
            failure = seen
        self.link.close()
        self.link = None
        os.close(self._stop_read)
        os.close(self._stop_write)
        if channels:
            for channel in self.channels.values():
                channel.close()
            self.channels = {}
        if failure:
            raise failure
