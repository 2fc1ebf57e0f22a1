# SPDX-License-Identifier: Apache-2.0
"""A QEMU that runs no guest code, driven from outside: its qtest and QMP sockets, its memory.

Guest memory is a file that the test maps too, so what a device writes there is seen at once. A
request that QEMU does not answer in time fails the test: a device must never stall it.
"""
import base64
import glob
import json
import mmap
import os
import select
import socket
import struct
import subprocess
import time

ANSWER_S = 20
RAM_BYTES = 64 << 20
BAD_WORDS = ('Sanitizer', 'runtime error', 'ssertion', 'Aborted', 'CRITICAL')


class QemuFailed(Exception):
    """QEMU ended, or said no."""


def until(condition, what, seconds=ANSWER_S):
    """Polls until condition() is true, and returns its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError('waited %d s for %s' % (seconds, what))
        time.sleep(0.001)


class Lines:
    """A socket that speaks lines."""

    def __init__(self, sock):
        self.sock = sock
        self.rest = b''

    def read(self, seconds=ANSWER_S):
        end = time.monotonic() + seconds
        while b'\n' not in self.rest:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                raise AssertionError('QEMU did not answer within %.1f s' % seconds)
            data = self.sock.recv(1 << 16)
            if not data:
                raise QemuFailed('QEMU closed its socket')
            self.rest += data
        line, self.rest = self.rest.split(b'\n', 1)
        return line.decode()

    def write(self, text):
        self.sock.sendall(text.encode() + b'\n')


class Qtest:
    """QEMU's qtest protocol: ports, memory, clock, interrupt lines."""

    def __init__(self, sock):
        self.lines = Lines(sock)
        self.levels = {}
        self.raised = []

    def command(self, text, seconds=ANSWER_S):
        self.lines.write(text)
        while True:
            words = self.lines.read(seconds).split()
            if words[0] == 'IRQ':
                self._interrupt(words)
            elif words[0] == 'OK':
                return words[1:]
            else:
                raise QemuFailed('%s: %s' % (text[:60], ' '.join(words)))

    def _interrupt(self, words):
        number = int(words[2])
        self.levels[number] = words[1] == 'raise'
        if words[1] == 'raise':
            self.raised.append(number)

    def port_out(self, port, value, size):
        self.command('out%s 0x%x 0x%x' % ({1: 'b', 2: 'w', 4: 'l'}[size], port, value))

    def port_in(self, port, size):
        return int(self.command('in%s 0x%x' % ({1: 'b', 2: 'w', 4: 'l'}[size], port))[0], 16)

    def store(self, address, value, size=4):
        self.command('write%s 0x%x 0x%x' % ({1: 'b', 2: 'w', 4: 'l', 8: 'q'}[size], address, value))

    def load(self, address, size=4):
        words = self.command('read%s 0x%x' % ({1: 'b', 2: 'w', 4: 'l', 8: 'q'}[size], address))
        return int(words[0], 16)

    def read(self, address, size):
        return base64.b64decode(self.command('b64read 0x%x 0x%x' % (address, size))[0])

    def write(self, address, data):
        self.command('b64write 0x%x 0x%x %s'
                     % (address, len(data), base64.b64encode(data).decode()))

    def clock_step(self, ns):
        self.command('clock_step %d' % ns)

    def intercept(self, path='ioapic'):
        self.command('irq_intercept_in ' + path)


class Qmp:
    """QEMU's monitor."""

    def __init__(self, sock):
        self.lines = Lines(sock)
        self.events = []
        assert 'QMP' in json.loads(self.lines.read())
        self.execute('qmp_capabilities')

    def execute(self, command, seconds=ANSWER_S, **arguments):
        self.lines.write(json.dumps({'execute': command, 'arguments': arguments}))
        while True:
            answer = json.loads(self.lines.read(seconds))
            if 'event' in answer:
                self.events.append(answer)
            elif 'error' in answer:
                raise QemuFailed(answer['error']['desc'])
            else:
                return answer['return']

    def wait_event(self, name, seconds=ANSWER_S):
        until(lambda: self.execute('query-status') and
              any(event['event'] == name for event in self.events), name, seconds)
        self.events = [event for event in self.events if event['event'] != name]


class Ram:
    """Guest memory from address 0, as the test sees it."""

    def __init__(self, path):
        with open(path, 'r+b') as backing:
            self.map = mmap.mmap(backing.fileno(), RAM_BYTES)
        self.words = memoryview(self.map).cast('I')

    def u32(self, address):
        return self.words[address // 4]

    def set_u32(self, address, value):
        self.words[address // 4] = value & 0xffffffff

    def u64(self, address):
        return struct.unpack_from('<Q', self.map, address)[0]

    def set_u64(self, address, value):
        struct.pack_into('<Q', self.map, address, value)

    def read(self, address, size):
        return self.map[address:address + size]

    def write(self, address, data):
        self.map[address:address + len(data)] = data

    def close(self):
        self.words.release()
        self.map.close()


class Qemu:
    """One QEMU process in a directory of its own."""

    def __init__(self, directory, arguments, machine='pc', accel=('qtest',), firmware=b''):
        self.directory = directory
        self.accel = accel
        self.firmware = firmware
        self.ram_path = os.path.join(directory, 'ram')
        self.errors_path = os.path.join(directory, 'stderr')
        self.qtest = self.qmp = self.ram = None
        self.open_maps = None
        self._prepare()
        listeners = {name: self._listen(name) for name in ('qtest', 'qmp')}
        errors = open(self.errors_path, 'w', encoding='utf-8')
        with errors:
            self.process = subprocess.Popen(
                self._command(machine) + list(arguments), stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=errors)
        self.listeners = listeners

    def _prepare(self):
        with open(self.ram_path, 'wb') as backing:
            backing.truncate(RAM_BYTES)
        with open(os.path.join(self.directory, 'bios'), 'wb') as bios:
            bios.write(self.firmware.rjust(128 << 10, b'\0'))

    def _listen(self, name):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(os.path.join(self.directory, name))
        listener.listen(1)
        return listener

    def _command(self, machine):
        path = lambda name: os.path.join(self.directory, name)
        return [os.environ['VGPU_QEMU'], '-nodefaults', '-display', 'none', '-accel', *self.accel,
                '-machine', machine + ',memory-backend=ram', '-m', '64', '-bios', path('bios'),
                '-object', 'memory-backend-file,id=ram,share=on,size=64M,mem-path=' + path('ram'),
                '-chardev', 'socket,id=qmp,path=' + path('qmp'), '-mon', 'chardev=qmp,mode=control',
                '-qtest', 'unix:' + path('qtest'), '-qtest-log', '/dev/null']

    def wait_ready(self):
        """Until both sockets are there and the machine is complete."""
        self.qmp = Qmp(self._accept('qmp'))
        self.qtest = Qtest(self._accept('qtest'))
        self.qtest.command('endianness')
        self.ram = Ram(self.ram_path)
        return self

    def _accept(self, name):
        listener = self.listeners.pop(name)
        with listener:
            end = time.monotonic() + ANSWER_S
            while not select.select([listener], [], [], 0.05)[0]:
                if self.process.poll() is not None:
                    raise QemuFailed(self.errors())
                if time.monotonic() > end:
                    raise AssertionError('QEMU did not start')
            return listener.accept()[0]

    def wait_end(self, seconds=ANSWER_S):
        """The exit status of a QEMU that ends by itself."""
        return self.process.wait(seconds)

    def errors(self):
        with open(self.errors_path, encoding='utf-8', errors='replace') as text:
            return text.read()

    def barrier(self):
        """Whatever was due in QEMU's main loop has run when this returns."""
        for _ in range(4):
            self.qmp.execute('query-status')
            self.qtest.command('endianness')

    def descriptors(self):
        """Names of what QEMU has open, and of the memory objects that it has mapped."""
        names = []
        for link in glob.glob('/proc/%d/fd/*' % self.process.pid):
            try:
                names.append(os.readlink(link))
            except FileNotFoundError:
                pass
        with open('/proc/%d/maps' % self.process.pid, encoding='utf-8') as maps:
            names += ['map ' + line.split()[-1] for line in maps if 'memfd:' in line]
        return sorted(name.split('[')[0] for name in names)

    def close(self):
        """Ends it in good order; a crash or a sanitizer's report is an error."""
        for listener in self.listeners.values():
            listener.close()
        self.listeners = {}
        try:
            if self.process.poll() is None and self.qmp:
                self.qmp.execute('quit')
                self.process.wait(ANSWER_S)
        except (QemuFailed, OSError):
            pass
        finally:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
            for part in (self.qmp, self.qtest):
                if part:
                    part.lines.sock.close()
            if self.ram:
                self.ram.close()
        text = self.errors()
        if self.qmp and self.process.returncode != 0:
            raise AssertionError('QEMU ended with %d: %s' % (self.process.returncode, text[-6000:]))
        if any(word in text for word in BAD_WORDS):
            raise AssertionError('QEMU said: ' + text[-6000:])
