# SPDX-License-Identifier: Apache-2.0
"""The Xen test bed: real Xen, a Linux dom0 and guests (PV, PVH, HVM) in one QEMU/TCG.

    with Bed() as bed:                        # a minute or so; one for several tests
        bed.run('xl list')                    # in dom0, as root; Command: status, text_output()
        bed.start_host([(1, 'A', 'high')])    # launcher, mediator, softgpu; VMs in the store
        guest = bed.create(1, 'hvm')          # or 'pv', 'pvh'; a name of yours is `name=`
        guest.wait_up()
        guest.run('vgpu-client run --all', 300)
        guest.destroy()
        bed.grants(guest.domid)               # what Xen itself says is left

Bed and XenGuest are tools/guest.py's Guest: run, spawn, put, get. create() does not wait, so that
several guests boot side by side. An HVM guest gets QEMU with vgpu-stub as its device model, unless
`device=None`; a PV or PVH guest has no device model.
Everything is made when it is not there: tools/xen.sh (Xen's packages), tools/qemu-build.sh (the
outer QEMU and Xen's device model), tools/guest-image.sh --xen; dom0's files come from VGPU_BUILD, a
build directory (tests/xen/dom0.py). VGPU_XEN_KEEP=1 keeps the run directory with all logs.
"""
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(ROOT, 'tools'), os.path.join(ROOT, 'tests/vm')]

# pylint: disable=wrong-import-position
from guest import Guest, GuestError, Line, no_core_file, wait_until  # noqa: E402
from dom0 import OWN, Parts  # noqa: E402
from host import HOST, Host  # noqa: E402

TROUBLE = re.compile(r'BUG:|WARNING: |Oops|Kernel panic|general protection|Call Trace|blocked for more'
                     r'|refcount_t|leaked|Panic on CPU')
UP_SECONDS = 240
GUEST_MIB = {'pv': 256, 'pvh': 256, 'hvm': 272}
# hvc0 carries frames once the guest is up: the kernel keeps its words to itself (dmesg has them).
GUEST_WORDS = ('vgpu.xen console=hvc0 loglevel=1 quiet lsm= cryptomgr.notests panic=-1 oops=panic')
XEN_WORDS = ('console=com1 com1=115200,8n1 dom0_mem=1G,max:1G dom0_max_vcpus=1 sync_console '
             'conring_size=1M loglvl=warning guest_loglvl=warning noreboot=0 '
             'gnttab_max_frames=128 sched=credit')
# No XSAVE, hence no AVX: with it the emulator loses vector registers where Xen switches domains, and
# sums came out wrong by just what one register holds.
CPU = 'max,-smap,-xsave,-avx,-avx2,-fma,-f16c'
DOM0_WORDS = ('console=hvc0 panic=-1 quiet nokaslr lsm= cryptomgr.notests random.trust_cpu=on '
              'no_timer_check')
DEVICE_MODEL = ['device_model_version="qemu-xen"', 'vga="none"', 'vnc=0', 'usb=0']
CONFINED = DEVICE_MODEL + ['device_model_override="/%s/xenopsd-wrapper"' % OWN, 'dm_restrict=1']


class ConsoleSocket:
    """A guest's console in dom0 as the socket that a Line wants: a command of dom0's carries it. No
    busybox cat: its sendfile from a terminal holds the pipe's lock while it waits, and with it
    whoever reads the pipe, which is dom0's guest-exec."""

    def __init__(self, bed, tty):
        self.waiting = queue.SimpleQueue()
        self.command = bed.spawn(
            'exec 3<>%s && stty raw -echo <&3 && dd bs=4k <&3 2>/dev/null & dd bs=4k 2>/dev/null >%s;'
            ' kill $!' % (tty, tty), None,
            lambda _kind, data: self.waiting.put(bytes(data)))

    def recv(self, _bytes):
        while True:
            try:
                return self.waiting.get(timeout=0.5)
            except queue.Empty:
                if self.command.over() or self.command.line.broken:
                    return b''

    def sendall(self, data):
        # A kernel whose console this is takes ^O as its magic key, unless it comes twice.
        try:
            self.command.feed(data.replace(b'\x0f', b'\x0f\x0f'))
        except GuestError as error:
            raise OSError(str(error)) from error

    def shutdown(self, _how):
        if not self.command.over():
            try:
                self.command.signal(9)
            except GuestError:
                pass
        self.waiting.put(b'')

    def close(self):
        pass


class XenGuest(Guest):
    """One guest; made by Bed.create(). Its number is its VM's."""

    def __init__(self, bed, number, kind, name):
        super().__init__(bed.directory, number)
        self.bed = bed
        self.kind = kind
        self.name = name
        self.domid = None

    def wait_up(self, seconds=UP_SECONDS):
        try:
            self.connect(seconds)
        except GuestError as error:
            raise GuestError('guest %s: %s\n%s' % (self.name, error, self.last_words())) from None
        return self

    def connect(self, seconds=UP_SECONDS):
        self.disconnect()
        tty = self.bed.read('/local/domain/%d/console/tty' % self.domid)
        self.line = Line(ConsoleSocket(self.bed, tty))
        # A console holds little while nobody reads: ask seldom.
        self.line.greet(seconds, 2)

    def alive(self):
        return any(row['domid'] == self.domid for row in self.bed.domains())

    def destroy(self):
        """As if it had crashed: nothing in the guest gets to clean up."""
        self.disconnect()
        self.bed.run('xl destroy %d' % self.domid, 60)

    def device_model_pid(self):
        return int(self.bed.read('/local/domain/%d/image/device-model-pid' % self.domid))

    def last_words(self):
        # Frames of the line are in the log of the console as well.
        command = 'tail -c 3000 /var/log/xen/console/guest-%s.log | tr -cd " -~\\n"; ' \
                  'tail -n 20 /tmp/dm-%s.log' % (self.name, self.domid)
        return self.bed.run('{ %s; } 2>&1' % command, check=False).text_output()

    def exited(self):
        return not self.alive()

    def kill(self):
        self.destroy()

    def stop(self):
        self.destroy()


class Bed(Host, Guest):
    """The outer machine; as a Guest, its dom0."""

    def __init__(self, memory_mib=3072):
        super().__init__(tempfile.mkdtemp(prefix='vgpu-xen.', dir='/tmp'), 0)
        self.memory_mib = memory_mib
        self.parts = None
        self.guests = {}
        self.last_domid = 0

    # The machine

    def __enter__(self):
        try:
            self.parts = Parts()
            try:
                self.boot()
            except GuestError as error:
                # Rarely the emulator loses a byte, and with it what was to boot. Once more then.
                print('the bed did not come up: %s' % error, flush=True)
                self.boot()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.show()
        self.end()
        if os.environ.get('VGPU_XEN_KEEP'):
            print('kept: %s' % self.directory)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def end(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.disconnect()

    def boot(self):
        self.end()
        os.makedirs(os.path.join(self.directory, 'guests'), exist_ok=True)
        parts = self.parts
        command = [parts.qemu, '-L', parts.firmware, '-accel', 'tcg,thread=multi',
                   '-cpu', CPU, '-machine', 'pc,usb=off', '-m', str(self.memory_mib),
                   '-smp', '1', '-nodefaults', '-display', 'none', '-no-reboot',
                   '-chardev', 'socket,id=xen,path=%s,server=on,wait=off,logfile=%s' % (
                       self.path('xen'), self.path('log')), '-serial', 'chardev:xen',
                   '-chardev', 'socket,id=exec,path=%s,server=on,wait=off' % self.path('exec'),
                   '-serial', 'chardev:exec',
                   '-qmp', 'unix:%s,server=on,wait=off' % self.path('qmp'),
                   '-kernel', parts.xen, '-append', XEN_WORDS,
                   '-initrd', '%s %s,%s' % (parts.kernel, DOM0_WORDS, parts.dom0)]
        with open(self.path('qemu'), 'ab') as words:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=words,
                                            stderr=words, preexec_fn=no_core_file)
        started = time.monotonic()
        self.wait_up(UP_SECONDS)
        print('dom0 up after %.0f s' % (time.monotonic() - started), flush=True)

    def show(self):
        """For a failure: the ends of the logs."""
        print('--- Xen and dom0\n%s' % self.last_words()[-3000:])
        if not self.line or self.line.broken:
            return
        for guest in self.guests.values():
            try:
                print('--- %s\n%s' % (guest.name, guest.last_words()))
            except GuestError as error:
                print(error)
        print('--- host side\n%s' % self.run('tail -n 40 %s/log; tail -n 8 /tmp/dm-*.log' % HOST,
                                             check=False).text_output(), flush=True)

    # Guests

    def create(self, number, kind, name=None, device='', config=(), memory=None, words='',
               attach=True, platform=None, before=None, ramdisk='/guest/image.cpio',
               like=XenGuest):
        """Starts guest `number`, and does not wait until it is up. device: options for vgpu-stub of
        an HVM guest, or None for no such device; config: further lines of its configuration;
        attach: tell vgpu-xenbus of it, once start_host() has started that; platform: the lines of
        VM.platform, for an HVM guest whose device model starts as XCP-ng starts it; before:
        called with its domain before it runs; ramdisk: in dom0; like: the class of what is returned."""
        guest = like(self, number, kind, name or '%s%d' % (kind, number))
        lines = ['name="%s"' % guest.name, 'type="%s"' % kind, 'vcpus=1',
                 'memory=%d' % (memory or GUEST_MIB[kind]),
                 'kernel="/guest/vmlinu%s"' % ('z' if kind == 'hvm' else 'x'),
                 'ramdisk="%s"' % ramdisk, 'extra="%s %s"' % (GUEST_WORDS, words),
                 'on_crash="preserve"', 'on_reboot="destroy"', *config]
        if kind != 'pv':
            lines.append('tsc_mode="native"')
        if kind == 'hvm':
            lines += self.device_model(number, device) if platform is None else CONFINED
        path = '/tmp/%s.cfg' % guest.name
        self.put('\n'.join(lines).encode() + b'\n', path, 0o644)
        if platform is not None:
            # Domains are numbered upwards, and nobody else makes one.
            self.put(platform.encode(), '/tmp/platform-%d' % (self.last_domid + 1), 0o644)
        self.run('xl create -p %s' % path, 180)
        guest.domid = int(self.run('xl domid %s' % guest.name).text_output())
        self.guests[number] = guest
        self.last_domid = guest.domid
        # A guest's driver looks for its keys when it is loaded: they are there before it runs.
        if self.with_xenbus and attach:
            self.run('vgpu-xenbus attach %d %d' % (guest.domid, number))
        if before:
            before(guest.domid)
        self.run('xl unpause %d' % guest.domid)
        return guest

    @staticmethod
    def device_model(number, device):
        """Lines of the configuration of an HVM guest."""
        lines = DEVICE_MODEL + ['device_model_override="/%s/qemu-wrapper"' % OWN]
        if device is not None:
            arguments = ['-chardev', 'socket,id=vgpu,path=%s/vm/%d.sock,reconnect=1' % (HOST, number),
                         '-device', 'vgpu-stub,chardev=vgpu,vm_id=%d,addr=0x10%s' % (number, device)]
            lines.append('device_model_args_hvm=[%s]' % ', '.join('"%s"' % a for a in arguments))
        return lines

    def domains(self):
        """xl list: name, domid, memory, vcpus, state, seconds."""
        rows = []
        for text in self.run('xl list').text_output().strip().split('\n')[1:]:
            name, domid, mib, vcpus, state, seconds = text.rsplit(None, 5)
            rows.append({'name': name, 'domid': int(domid), 'mib': int(mib), 'vcpus': int(vcpus),
                         'state': state, 'seconds': float(seconds)})
        return rows

    # What Xen itself says

    def read(self, path):
        """A key of xenstore."""
        return self.run('xenstore-read %s' % path).text_output().strip()

    def list(self, path):
        """All keys below a path of xenstore: {path below it: value}; empty if there is none."""
        done = self.run('xenstore-ls -f %s' % path, check=False)
        pairs = re.findall(r'^(/\S+) = "(.*)"$', done.text_output(), re.M)
        return {key[len(path):].lstrip('/'): value for key, value in pairs}

    def hypervisor_says(self, key):
        """What a debug key of Xen's prints on its console."""
        self.run('xl dmesg -c >/dev/null; xl debug-keys %s' % key)
        return self.run('xl dmesg').text_output()

    def grants(self, domid=None):
        """Grants in use, as Xen's own dump has them: rows {granter, ref, words}; of one granter if
        domid is given."""
        return [row for row in parse_grants(self.hypervisor_says('g'))
                if domid is None or row['granter'] == domid]

    def event_channels(self, domid=0):
        """lsevtchn: {port: words}, the free ones left out."""
        text = self.run('lsevtchn %d' % domid, check=False).text_output()
        return {int(port): words for port, words in re.findall(r'^\s*(\d+): (.*)$', text, re.M)}

    def mappings(self, pattern):
        """Lines of /proc/*/maps in dom0 that a pattern of grep -E finds."""
        return self.run('grep -HE "%s" /proc/[0-9]*/maps 2>/dev/null' % pattern,
                        check=False).text_output().split('\n')[:-1]

    def trouble(self):
        """Complaints of Xen's and of dom0's kernel."""
        with open(self.path('log'), encoding='utf-8', errors='replace') as text:
            found = [line for line in text if TROUBLE.search(line)]
        return found + [line for line in self.run('dmesg').text_output().split('\n')
                        if TROUBLE.search(line)]

    def wait(self, condition, seconds, what):
        """Until a condition that looks into dom0 holds; each look takes a while by itself."""
        return wait_until(condition, seconds, what)


def parse_grants(text):
    """Rows of Xen's `g` dump: entries that somebody has mapped or copies from now."""
    rows = []
    granter = None
    for line in text.split('\n'):
        head = re.search(r'grant-table for remote (?:domain:?\s*)?d?(\d+)', line)
        if head:
            granter = int(head.group(1))
            continue
        entry = re.search(r'\[0x([0-9a-f]+)\]\s+(.*)', line)
        if entry and granter is not None:
            rows.append({'granter': granter, 'ref': int(entry.group(1), 16),
                         'words': entry.group(2)})
    return rows
