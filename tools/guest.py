#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Virtual machines for the quick start and the tests in tests/vm: starts QEMU, runs commands in it.

    tools/guest.py accel DIR --qemu Q --kernel K --initrd I
    tools/guest.py start DIR --qemu Q --kernel K --initrd I --vm N:POOL:PRIORITY...
    tools/guest.py run [--timeout S] DIR N COMMAND...
    tools/guest.py console DIR N
    tools/guest.py stop DIR

DIR is the mediator's run directory; a guest's files are in DIR/guests: N.exec (commands, the
protocol of tools/guest/exec.c), N.console, N.qmp, N.log (what the console showed), N.qemu (QEMU's
own words), N.pid. A guest is one process, QEMU, and holds nothing on disk.
"""
import argparse
import itertools
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
import tty

MAGIC = 0x31475856
HEADER = struct.Struct('<IHHI')
PAYLOAD_MAX = 4096
PING, RUN, INPUT, SIGNAL = 1, 2, 3, 4
PONG, OUTPUT, ERRORS, EXIT, TAKEN, REFUSED = 11, 12, 13, 14, 15, 16

KERNEL_WORDS = ('console=ttyS0 quiet nokaslr mitigations=off tsc=reliable no_timer_check '
                'random.trust_cpu=on lsm= cryptomgr.notests panic=-1 oops=panic')
PROBE_SECONDS = 6
CONSOLE_LEAVE = b'\x1d'  # Ctrl-]


class GuestError(Exception):
    """Something that the caller must hear of: no answer, QEMU gone, a command refused."""


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise GuestError('not within %g s: %s' % (seconds, what))
        time.sleep(0.02)


def process_ended(pid):
    """True also for one that nobody has reaped yet."""
    try:
        with open('/proc/%d/stat' % pid, encoding='ascii', errors='replace') as text:
            return text.read().rsplit(')', 1)[1].split()[0] == 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return True


class Command:
    """A command that runs in a guest. wait() gives its exit status, negative for a signal."""

    def __init__(self, line, number, text):
        self.line = line
        self.number = number
        self.text = text
        self.output = bytearray()
        self.errors = bytearray()
        self.status = None
        self.timed_out = False
        self.failure = None
        self.taken = 0
        self.sink = None
        self.ended_at = None

    def feed(self, data):
        """Writes to its standard input; no data closes it."""
        if not data:
            self.line.send(self.number, INPUT, b'')
            return
        for start in range(0, len(data), PAYLOAD_MAX):
            part = data[start:start + PAYLOAD_MAX]
            wanted = self.taken + len(part)
            self.line.send(self.number, INPUT, part)
            self.line.wait(lambda: self.taken >= wanted or self.over(), 60,
                           '%r reads its input' % self.text)

    def signal(self, number):
        self.line.send(self.number, SIGNAL, struct.pack('<I', number))

    def over(self):
        return self.status is not None or self.failure is not None

    def wait(self, seconds=None):
        self.line.wait(self.over, seconds, '%r ends; so far: %s%s' % (
            self.text, bytes(self.output[-2000:]).decode('utf-8', 'replace'),
            bytes(self.errors[-2000:]).decode('utf-8', 'replace')))
        if self.failure:
            raise GuestError('%r: %s' % (self.text, self.failure))
        return self.status

    def text_output(self):
        return self.output.decode('utf-8', 'replace')

    def text_errors(self):
        return self.errors.decode('utf-8', 'replace')


class Line:
    """The host's end of the serial line to guest-exec; a thread of its own reads it. The line is a
    Unix socket's path, or what has a socket's recv, sendall, shutdown and close. A guest that reads
    nothing for send_seconds, though the socket is full, is given up."""

    def __init__(self, path, send_seconds=20):
        self.socket = path
        if isinstance(path, str):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO,
                                       struct.pack('ll', send_seconds, 0))
                self.socket.connect(path)
            except OSError:
                self.socket.close()
                raise
        self.changed = threading.Condition()
        self.commands = {}
        self.numbers = itertools.count(1)
        self.token = os.urandom(8)
        self.greeted = False
        self.broken = None
        self.sending = threading.Lock()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.thread.join()
        self.socket.close()

    def send(self, number, kind, payload):
        try:
            with self.sending:
                self.socket.sendall(HEADER.pack(MAGIC, kind, len(payload), number) + payload)
        except BlockingIOError as error:
            raise GuestError('the guest reads nothing') from error
        except OSError as error:
            raise GuestError('the guest is gone: %s' % error) from error

    def wait(self, condition, seconds, what):
        with self.changed:
            if not self.changed.wait_for(lambda: condition() or self.broken, seconds):
                raise GuestError('not within %s s: %s' % (seconds, what))
            if not condition():
                raise GuestError('the guest is gone: %s' % what)

    def greet(self, seconds, every=0.2):
        """A guest that is still starting does not answer; it is asked again and again."""
        deadline = time.monotonic() + seconds
        while not self.greeted:
            self.send(0, PING, self.token)
            with self.changed:
                self.changed.wait_for(lambda: self.greeted or self.broken, every)
            if self.broken:
                raise GuestError('the guest is gone')
            if time.monotonic() > deadline:
                raise GuestError('the guest does not answer within %g s' % seconds)

    def greet_again(self, seconds):
        """After the guest has started anew: what ran in it has failed."""
        with self.changed:
            for command in self.commands.values():
                command.failure = 'the guest started anew'
            self.commands.clear()
            self.greeted = False
            self.changed.notify_all()
        self.greet(seconds)

    def start(self, text, timeout=None, sink=None):
        """sink(kind, bytes): gets OUTPUT and ERRORS as they come, instead of the command."""
        with self.changed:
            command = Command(self, next(self.numbers), text)
            command.sink = sink
            self.commands[command.number] = command
        self.send(command.number, RUN,
                  struct.pack('<I', int((timeout or 0) * 1000)) + text.encode())
        return command

    def read(self):
        data = b''
        while True:
            try:
                more = self.socket.recv(65536)
            except OSError:
                more = b''
            if not more:
                with self.changed:
                    self.broken = True
                    self.changed.notify_all()
                return
            data = self.take(data + more)

    def take(self, data):
        at = 0
        with self.changed:
            while len(data) - at >= HEADER.size:
                magic, kind, size, number = HEADER.unpack_from(data, at)
                if magic != MAGIC or size > PAYLOAD_MAX:
                    at += 1
                    continue
                if len(data) - at < HEADER.size + size:
                    break
                self.frame(kind, number, data[at + HEADER.size:at + HEADER.size + size])
                at += HEADER.size + size
            self.changed.notify_all()
        return data[at:]

    def frame(self, kind, number, payload):
        if kind == PONG and payload == self.token:
            self.greeted = True
        command = self.commands.get(number)
        if command is None:
            return
        if kind in (OUTPUT, ERRORS):
            if command.sink:
                command.sink(kind, payload)
            else:
                (command.output if kind == OUTPUT else command.errors).extend(payload)
        elif kind == TAKEN:
            command.taken += struct.unpack('<I', payload)[0]
        elif kind == REFUSED:
            command.failure = 'refused: ' + os.strerror(struct.unpack('<I', payload)[0])
        elif kind == EXIT:
            status, timed_out = struct.unpack('<II', payload)
            command.timed_out = bool(timed_out)
            command.ended_at = time.monotonic()
            command.status = os.waitstatus_to_exitcode(status)
            del self.commands[number]


class Settings:
    """What guests have in common: QEMU, its firmware, kernel, image, accelerator."""

    def __init__(self, qemu, kernel, initrd, accel=None):
        self.qemu = qemu
        self.kernel = kernel
        self.initrd = initrd
        self.firmware = os.path.join(os.path.dirname(os.path.dirname(qemu)), 'firmware')
        self.accel = accel

    def command(self, accel, memory=256, words='', cpu=''):
        chosen = {'kvm': ['-accel', 'kvm', '-cpu', 'host' + cpu],
                  'tcg': ['-accel', 'tcg,thread=multi', '-cpu', 'max' + cpu]}[accel]
        return [self.qemu, '-L', self.firmware, '-machine', 'pc,usb=off', *chosen, '-m', str(memory),
                '-smp', '2', '-nodefaults', '-display', 'none', '-kernel', self.kernel,
                '-initrd', self.initrd, '-append', KERNEL_WORDS + ' ' + words]


def no_core_file():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def probe(settings):
    """Whether KVM boots the kernel; some machines have a /dev/kvm that cannot. Returns the reason
    against it, or None."""
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        return 'no /dev/kvm for this user' if os.path.exists('/dev/kvm') else 'no /dev/kvm'
    command = settings.command('kvm', words='vgpu.probe') + ['-no-reboot', '-serial', 'stdio']
    try:
        done = subprocess.run(command, capture_output=True, timeout=PROBE_SECONDS, check=False,
                              stdin=subprocess.DEVNULL, preexec_fn=no_core_file)
    except subprocess.TimeoutExpired:
        return '/dev/kvm did not boot a guest within %d s' % PROBE_SECONDS
    if b'vgpu guest is up' in done.stdout:
        return None
    words = done.stderr.decode('utf-8', 'replace').strip().split('\n')[0]
    return '/dev/kvm boots no guest: %s' % words.replace('qemu-system-x86_64: ', '')


def choose_accel(settings, cache):
    """Returns 'kvm' or 'tcg', and why. The verdict holds until the host boots anew, or QEMU or the
    kernel changes."""
    wish = os.environ.get('VGPU_ACCEL')
    if wish:
        return wish, 'VGPU_ACCEL says so'
    with open('/proc/sys/kernel/random/boot_id', encoding='ascii') as text:
        key = [text.read().strip(), os.getuid(), os.access('/dev/kvm', os.W_OK)]
    for path in (settings.qemu, settings.kernel):
        key += [path, os.stat(path).st_mtime_ns]
    try:
        with open(cache, encoding='utf-8') as text:
            known = json.load(text)
        if known['key'] == key:
            return known['accel'], known['why']
    except (OSError, ValueError, KeyError):
        pass
    reason = probe(settings)
    verdict = {'key': key, 'accel': 'tcg' if reason else 'kvm',
               'why': reason or '/dev/kvm boots a guest'}
    os.makedirs(os.path.dirname(cache), exist_ok=True)
    with open(cache + '.new', 'w', encoding='utf-8') as text:
        json.dump(verdict, text)
    os.replace(cache + '.new', cache)
    return verdict['accel'], verdict['why']


class Guest:
    """One virtual machine. The process outlives this object unless stop() or kill() is called."""

    def __init__(self, directory, number):
        self.directory = directory
        self.number = number
        self.process = None
        self.line = None
        self.log_start = 0

    def path(self, what):
        return os.path.join(self.directory, 'guests', '%d.%s' % (self.number, what))

    def device(self, pool='', priority='medium', options=''):
        socket_path = os.path.join(self.directory, 'vm', '%d.sock' % self.number)
        return ['-chardev', 'socket,id=vgpu,path=%s,reconnect=1' % socket_path,
                '-device', 'vgpu-stub,chardev=vgpu,vm_id=%d,pool_id=%s,priority=%s%s' % (
                    self.number, pool, priority, options)]

    def start(self, settings, device, memory=256, words='', reboots=False, cpu=''):
        os.makedirs(os.path.join(self.directory, 'guests'), exist_ok=True)
        command = settings.command(settings.accel, memory, words, cpu) + [
            '-name', 'vgpu-guest-%d' % self.number,
            '-chardev', 'socket,id=con,path=%s,server=on,wait=off,logfile=%s' % (
                self.path('console'), self.path('log')), '-serial', 'chardev:con',
            '-chardev', 'socket,id=exec,path=%s,server=on,wait=off' % self.path('exec'),
            '-serial', 'chardev:exec',
            '-qmp', 'unix:%s,server=on,wait=off' % self.path('qmp'), *device]
        if not reboots:
            command.append('-no-reboot')
        with open(self.path('qemu'), 'ab') as words_of_qemu:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=words_of_qemu, stderr=words_of_qemu,
                start_new_session=True, preexec_fn=no_core_file)
        with open(self.path('pid'), 'w', encoding='ascii') as text:
            text.write('%d\n' % self.process.pid)

    def exited(self):
        return self.process is not None and self.process.poll() is not None

    def wait_up(self, seconds=60):
        """Until the guest runs commands."""
        try:
            wait_until(lambda: self.exited() or self.listens(), seconds,
                       'QEMU of guest %d' % self.number)
            if self.exited():
                raise GuestError('QEMU ended with %d' % self.process.returncode)
            self.line.greet(seconds)
        except GuestError as error:
            raise GuestError('guest %d: %s\n%s' % (self.number, error, self.last_words())) from None

    def listens(self):
        """Connects, if QEMU is so far: of one that was killed the socket's file is still there."""
        self.disconnect()
        try:
            self.line = Line(self.path('exec'))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def connect(self, seconds=5):
        self.disconnect()
        self.line = Line(self.path('exec'))
        self.line.greet(seconds)

    def disconnect(self):
        if self.line:
            self.line.close()
            self.line = None

    def last_words(self):
        """The ends of what console and QEMU wrote."""
        parts = []
        for what in ('log', 'qemu'):
            try:
                with open(self.path(what), encoding='utf-8', errors='replace') as text:
                    parts.append(text.read()[-4000:].rstrip())
            except OSError:
                pass
        return '\n'.join(parts)

    def spawn(self, text, timeout=None, sink=None):
        return self.line.start(text, timeout, sink)

    def run(self, text, timeout=60, check=True):
        """Runs a command and waits; returns it. check: anything but exit status 0 is an error."""
        command = self.spawn(text, timeout)
        command.wait(timeout + 30)
        if check and command.status != 0:
            raise GuestError('guest %d: %r ended with %d%s: %s%s' % (
                self.number, text, command.status, ' (timed out)' if command.timed_out else '',
                command.text_output()[-3000:], command.text_errors()[-3000:]))
        return command

    def put(self, data, path, mode=0o755):
        command = self.spawn('cat >%s && chmod %o %s' % (path, mode, path), 60)
        command.feed(data)
        command.feed(b'')
        if command.wait(60) != 0:
            raise GuestError('guest %d: cannot write %s: %s' % (self.number, path,
                                                                command.text_errors()))

    def get(self, path):
        return bytes(self.run('cat ' + path).output)

    def qmp(self, name, seconds=10, **arguments):
        """One command on a connection of its own; returns its answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(seconds)
            link.connect(self.path('qmp'))
            lines = link.makefile('rw', encoding='utf-8')
            lines.readline()
            for request in ({'execute': 'qmp_capabilities'},
                            {'execute': name, 'arguments': arguments}):
                lines.write(json.dumps(request) + '\n')
                lines.flush()
                answer = json.loads(lines.readline())
                while 'event' in answer:
                    answer = json.loads(lines.readline())
                if 'error' in answer:
                    raise GuestError('%s: %s' % (name, answer['error']['desc']))
        return answer['return']

    def pid(self):
        if self.process:
            return self.process.pid
        with open(self.path('pid'), encoding='ascii') as text:
            return int(text.read())

    def kill(self):
        """As if the host had lost it; nothing in the guest gets to clean up."""
        self.disconnect()
        try:
            os.kill(self.pid(), signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.reap()

    def reap(self, seconds=10):
        if self.process:
            self.process.wait(seconds)
        else:
            wait_until(lambda: process_ended(self.pid()), seconds, 'QEMU ends')
        for what in ('exec', 'console', 'qmp', 'pid'):
            try:
                os.unlink(self.path(what))
            except FileNotFoundError:
                pass

    def stop(self):
        """Ends QEMU in its own way; kills it if it does not."""
        self.disconnect()
        try:
            os.kill(self.pid(), signal.SIGTERM)
            os.kill(self.pid(), signal.SIGCONT)
            self.reap()
        except (subprocess.TimeoutExpired, GuestError):
            self.kill()
            raise
        except ProcessLookupError:
            self.reap()


def guests_of(directory):
    """Those that a directory knows of."""
    try:
        names = os.listdir(os.path.join(directory, 'guests'))
    except FileNotFoundError:
        return []
    return [Guest(directory, int(name[:-4])) for name in sorted(names) if name.endswith('.pid')]


def do_accel(options):
    accel, why = choose_accel(settings_of(options), options.verdict)
    print('%s (%s)' % ({'kvm': 'KVM', 'tcg': 'TCG, which emulates the processor'}[accel], why))


def settings_of(options):
    return Settings(options.qemu, options.kernel, options.initrd)


def do_start(options):
    settings = settings_of(options)
    settings.accel, _why = choose_accel(settings, options.verdict)
    started = time.monotonic()
    guests = []
    for text in options.vm:
        number, pool, priority = text.split(':')
        guest = Guest(options.directory, int(number))
        guest.start(settings, guest.device(pool, priority), words='vgpu.shell')
        guests.append(guest)
    for guest in guests:
        guest.wait_up(120)
        guest.disconnect()
    print('%d guests up after %.1f s' % (len(guests), time.monotonic() - started))


def do_run(options):
    guest = Guest(options.directory, options.number)
    guest.connect(20)

    def sink(kind, data):
        stream = sys.stdout if kind == OUTPUT else sys.stderr
        stream.buffer.write(data)
        stream.buffer.flush()

    command = guest.spawn(' '.join(options.command), options.timeout, sink)
    status = command.wait()
    guest.disconnect()
    if command.timed_out:
        print('guest %d: stopped after %g s' % (options.number, options.timeout), file=sys.stderr)
    return status if status >= 0 else 128 - status


def do_console(options):
    guest = Guest(options.directory, options.number)
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.connect(guest.path('console'))
    print('Console of guest %d. To leave it: Ctrl-]' % options.number, flush=True)
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard) if sys.stdin.isatty() else None
    if before:
        tty.setraw(keyboard)
    try:
        link.sendall(b'\r')
        copy_console(link, keyboard)
    finally:
        if before:
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        print('\nLeft guest %d.' % options.number)


def copy_console(link, keyboard):
    """Until the person or the guest leaves."""
    while True:
        ready, _, _ = select.select([link, keyboard], [], [])
        if link in ready:
            data = link.recv(4096)
            if not data:
                return
            os.write(1, data)
        if keyboard in ready:
            data = os.read(keyboard, 1024)
            link.sendall(data.split(CONSOLE_LEAVE)[0])
            if not data or CONSOLE_LEAVE in data:
                return


def do_stop(options):
    for guest in guests_of(options.directory):
        guest.stop()


def main():
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    verdict = os.path.join(os.environ.get('VGPU_CACHE', os.path.join(here, '.cache')), 'accel.json')
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    commands = parser.add_subparsers(required=True)
    for name, function in (('accel', do_accel), ('start', do_start), ('run', do_run),
                           ('console', do_console), ('stop', do_stop)):
        sub = commands.add_parser(name)
        sub.set_defaults(function=function, verdict=verdict)
        sub.add_argument('directory')
        if name in ('accel', 'start'):
            for option in ('--qemu', '--kernel', '--initrd'):
                sub.add_argument(option, required=True)
        if name == 'start':
            sub.add_argument('--vm', action='append', required=True, metavar='N:POOL:PRIORITY')
        if name in ('run', 'console'):
            sub.add_argument('number', type=int)
        if name == 'run':
            sub.add_argument('--timeout', type=float, default=0)
            sub.add_argument('command', nargs=argparse.REMAINDER, help='for the guest\'s shell')
    options = parser.parse_args()
    if getattr(options, 'command', None) == []:
        parser.error('no command')
    try:
        sys.exit(options.function(options))
    except (GuestError, OSError) as error:
        print('guest.py: %s' % error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == '__main__':
    main()
