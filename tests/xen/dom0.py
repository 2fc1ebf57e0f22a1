# SPDX-License-Identifier: Apache-2.0
"""What the test bed boots: Xen, a kernel, and dom0's file system, which is all in memory.

dom0 holds busybox, Xen's tools, the host's programs of a build, QEMU as Xen's device model, XCP-ng's
wrapper of it with as much of Python as that takes, what guests boot, and the libraries of all these.
Called by bed.py. make() assembles it anew only when one of its files has changed.
"""
import fcntl
import glob
import hashlib
import lzma
import os
import re
import shutil
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get('VGPU_BUILD', os.path.join(ROOT, 'build/check'))

OWN = 'usr/libexec/vgpu'  # where dom0 has our programs
XCP_NG = os.path.join(ROOT, 'integrations/xcp-ng')
PROGRAMS = ['mediator/vgpu-mediator', 'mediator/vgpu-nvml', 'store/vgpu-store',
            'launcher/vgpu-launcher', 'worker/vgpu-worker', 'admin/vgpu-admin',
            'guest/client/vgpu-client', 'tools/guest/guest-exec', 'softgpu/libsoftgpu.so',
            'softgpu/libsoftgpu-nvml.so']
# Those that not every build has.
MORE_PROGRAMS = ['xenbus/vgpu-xenbus', 'tests/grant_host']
XEN_TOOLS = ['xl', 'xenstored', 'xenconsoled', 'xen-init-dom0', 'lsevtchn', 'libxl-save-helper',
             'xenconsole', 'xen-diag', 'xentrace']
XENSTORE = ['xenstore', 'xenstore-ls', 'xenstore-read', 'xenstore-write', 'xenstore-rm',
            'xenstore-chmod', 'xenstore-list', 'xenstore-exists', 'xenstore-watch']
MODULES = ['xen-evtchn', 'xen-gntdev', 'xen-gntalloc', 'xen-privcmd', 'xenfs/xenfs']


class Missing(Exception):
    """Something that the bed cannot be made without."""


def tool(*command):
    """A script of tools/: the lines that it prints; what it complains of goes to standard error."""
    done = subprocess.run([os.path.join(ROOT, 'tools', command[0]), *command[1:]],
                          stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Missing('tools/%s failed' % ' '.join(command))
    return done.stdout.strip().split('\n')


def settings(*command):
    return dict(line.split('=', 1) for line in tool(*command) if '=' in line)


def python_files():
    """The interpreter, and what the wrapper imports, each at the place that it has here."""
    text = ('import sys; sys.path.insert(0, %r); import vgpu_xcp_ng.wrapper, encodings.idna; '
            'print(sys.executable); '
            '[print(m.__file__) for m in list(sys.modules.values()) if getattr(m, "__file__", None)]')
    done = subprocess.run([sys.executable, '-I', '-S', '-B', '-c', text % XCP_NG],
                          stdout=subprocess.PIPE, text=True, check=True)
    interpreter, *modules = done.stdout.split()
    ours = [(path, OWN + '/xcp-ng' + path[len(XCP_NG):]) for path in modules
            if path.startswith(XCP_NG + '/')]
    theirs = [(path, path[1:]) for path in modules if not path.startswith(XCP_NG + '/')]
    return ours + theirs + [
        (os.path.realpath(interpreter), 'usr/bin/python3'),
        (os.path.join(XCP_NG, 'qemu-wrapper-vgpu'), OWN + '/xcp-ng/qemu-wrapper-vgpu')]


class Parts:
    """Paths of what is booted; all of it is made if it is not there yet."""

    def __init__(self):
        self.qemu = os.environ.get('VGPU_XEN_OUTER') or tool('qemu-build.sh', '7.2')[-1]
        self.firmware = os.path.join(os.path.dirname(os.path.dirname(self.qemu)), 'firmware')
        self.source = os.path.join(os.path.dirname(os.path.dirname(self.qemu)), 'source')
        xen = settings('xen.sh')
        self.tree = xen['XEN_TREE']
        self.xen = xen['XEN']
        self.modules = xen['MODULES']
        guest = settings('guest-image.sh', '--xen', BUILD)
        self.bzimage = guest['KERNEL']
        self.kernel = unpacked_kernel(self.bzimage, os.path.join(os.path.dirname(self.xen), 'vmlinux'))
        self.guest_image = guest['INITRD']
        self.device_model = os.environ.get('VGPU_XEN_DM') or tool('qemu-build.sh', '--xen', '7.2')[-1]
        self.dom0 = make(self)


def unpacked_kernel(bzimage, out):
    """Xen and its tools take a kernel's ELF file as well, and under TCG each unpacking of it takes
    long: it is done once, here, where it is the usual compression (else bzimage itself)."""
    if os.path.exists(out) and os.stat(out).st_mtime_ns >= os.stat(bzimage).st_mtime_ns:
        return out
    with open(bzimage, 'rb') as data:
        image = data.read()
    setup_sectors = image[0x1f1] or 4
    offset, length = struct.unpack_from('<II', image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    if image[start:start + 6] != b'\xfd7zXZ\0':
        return bzimage
    elf = lzma.LZMADecompressor().decompress(image[start:start + length])
    with open(out + '.new', 'wb') as data:
        data.write(elf)
    os.replace(out + '.new', out)
    return out


def xen_libexec(tree):
    """Where Debian keeps the tools of this version of Xen: /usr/lib/xen-VERSION."""
    found = glob.glob(os.path.join(tree, 'usr/lib/xen-*/bin'))
    if not found:
        raise Missing('no xen-utils below %s' % tree)
    return os.path.dirname(found[0])


def files_of(parts):
    """(path here, path in dom0) of each file, without libraries."""
    xen = xen_libexec(parts.tree)
    in_dom0 = os.path.relpath(xen, parts.tree)
    found = [(shutil.which('busybox') or '/bin/busybox', 'bin/busybox'),
             (os.path.join(HERE, 'dom0-init'), 'init'),
             (os.path.join(HERE, 'qemu-wrapper'), OWN + '/qemu-wrapper'),
             (os.path.join(HERE, 'xenopsd-wrapper'), OWN + '/xenopsd-wrapper'),
             (os.path.join(HERE, 'stock-wrapper'), OWN + '/stock-wrapper'),
             (parts.device_model, OWN + '/qemu-system-i386'),
             (parts.kernel, 'guest/vmlinux'), (parts.bzimage, 'guest/vmlinuz'), (parts.guest_image, 'guest/image.cpio'),
             (os.path.join(xen, 'boot/hvmloader'), in_dom0 + '/boot/hvmloader'),
             (os.path.join(parts.tree, 'usr/share/seabios/bios-256k.bin'),
              'usr/share/seabios/bios-256k.bin')]
    found += [(os.path.join(BUILD, name), os.path.join(OWN, os.path.basename(name)))
              for name in PROGRAMS + [m for m in MORE_PROGRAMS
                                      if os.path.exists(os.path.join(BUILD, m))]]
    found += [(os.path.join(xen, 'bin', name), os.path.join(in_dom0, 'bin', name))
              for name in XEN_TOOLS]
    found += [(os.path.join(parts.tree, 'usr/bin', name), 'bin/' + name) for name in XENSTORE]
    found += [(os.path.join(parts.modules, 'kernel/drivers/xen', name + '.ko'),
               'lib/modules/%s.ko' % os.path.basename(name)) for name in MODULES]
    found += [(path, 'usr/share/qemu/' + os.path.basename(path))
              for path in sorted(glob.glob(os.path.join(parts.firmware, '*.bin')))]
    keymaps = os.path.join(parts.source, 'pc-bios/keymaps')
    found += [(os.path.join(keymaps, name), 'usr/share/qemu/keymaps/' + name)
              for name in sorted(os.listdir(keymaps)) if name != 'meson.build']
    found += python_files()
    for path, _inside in found:
        if not os.path.exists(path):
            raise Missing('there is no %s' % path)
    return found


def is_program(path):
    with open(path, 'rb') as data:
        return data.read(4) == b'\x7fELF' and not path.endswith('.ko')


def libraries(parts, paths):
    """What the loader needs for them: those of the machine and those of Xen's packages."""
    xen = xen_libexec(parts.tree)
    places = [os.path.join(parts.tree, 'usr/lib/x86_64-linux-gnu'),
              os.path.join(parts.tree, 'lib/x86_64-linux-gnu'),
              os.path.join(xen, 'lib/x86_64-linux-gnu')]
    done = subprocess.run(['ldd', *paths], capture_output=True, text=True, check=False,
                          env={**os.environ, 'LD_LIBRARY_PATH': ':'.join(places)})
    lost = sorted(set(re.findall(r'^\s*(\S+) => not found', done.stdout, re.M)))
    if lost:
        raise Missing('no library ' + ', '.join(lost))
    found = set(re.findall(r'^\s*(?:\S+ => )?(/\S+) \(0x', done.stdout, re.M))
    # The C library loads this one by itself, when a thread is cancelled.
    found |= {os.path.join(os.path.dirname(path), 'libgcc_s.so.1') for path in found
              if os.path.basename(path) == 'libc.so.6'}
    return sorted(found)


def place(path, inside, root):
    target = os.path.join(root, inside)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copyfile(path, target)
    shutil.copymode(path, target)
    if is_program(path) and not inside.endswith(('hvmloader', '.bin')):
        os.chmod(target, 0o755)
        subprocess.run(['strip', '-g', target], check=False, stderr=subprocess.DEVNULL)


def assemble(parts, files, root):
    shutil.rmtree(root, ignore_errors=True)
    for directory in ('dev', 'etc/vgpu', 'etc/xen', 'lib', 'proc', 'run', 'sys', 'tmp', 'var/lib/xen',
                      'var/lib/xenstored', 'var/log/xen/console', 'var/lib/vgpu', 'var/xen/qemu'):
        os.makedirs(os.path.join(root, directory))
    for path, inside in files:
        place(path, inside, root)
    for path in libraries(parts, [path for path, _inside in files if is_program(path)
                                  and not path.endswith(('.bin', 'hvmloader'))]):
        place(path, 'lib/' + os.path.basename(path), root)
    os.symlink('lib', os.path.join(root, 'lib64'))
    os.symlink('../run', os.path.join(root, 'var/run'))
    os.symlink('../run/lock', os.path.join(root, 'var/lock'))
    os.symlink(os.path.basename(xen_libexec(parts.tree)), os.path.join(root, 'usr/lib/xen'))
    for name in subprocess.run([os.path.join(root, 'bin/busybox'), '--list'], capture_output=True,
                               text=True, check=True).stdout.split():
        if not os.path.lexists(os.path.join(root, 'bin', name)):
            os.symlink('busybox', os.path.join(root, 'bin', name))
    with open(os.path.join(root, 'etc/passwd'), 'w', encoding='ascii') as text:
        text.write('root:x:0:0:root:/:/bin/sh\nvgpu:x:990:990:vgpu:/:/bin/false\n'
                   # The first of the users that device models become, one for each domain.
                   'xen-qemuuser-range-base:x:65536:65536:QEMU:/:/bin/false\n')
    with open(os.path.join(root, 'etc/group'), 'w', encoding='ascii') as text:
        text.write('root:x:0:\nvgpu:x:990:\n')
    with open(os.path.join(root, 'etc/xen/xl.conf'), 'w', encoding='ascii') as text:
        text.write('autoballoon="off"\nrun_hotplug_scripts=0\n')
    with open(os.path.join(root, 'etc/vgpu/xcp-ng.conf'), 'w', encoding='ascii') as text:
        text.write('stock-wrapper = /%s/stock-wrapper\nxenstore-read = /bin/xenstore-read\n'
                   'xenstore-list = /bin/xenstore-list\ntimeout-ms = 30000\n' % OWN)


def make(parts):
    """dom0's file system as an archive that a kernel boots; returns its path."""
    out = os.path.join(BUILD, 'xen')
    os.makedirs(out, exist_ok=True)
    image = os.path.join(out, 'dom0.cpio')
    with open(os.path.join(out, 'lock'), 'w', encoding='ascii') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        files = files_of(parts)
        stamp = hashlib.sha256(repr(
            [(path, inside, os.stat(path).st_mtime_ns, os.stat(path).st_size)
             for path, inside in files + [(os.path.abspath(__file__), '')]]).encode()).hexdigest()
        try:
            with open(image + '.stamp', encoding='ascii') as text:
                if text.read() == stamp and os.path.exists(image):
                    return image
        except FileNotFoundError:
            pass
        root = os.path.join(out, 'root')
        assemble(parts, files, root)
        subprocess.run('find . | sort | cpio -o -H newc -R 0:0 --quiet >"%s.new"' % image,
                       shell=True, cwd=root, check=True)
        shutil.rmtree(root)
        os.replace(image + '.new', image)
        with open(image + '.stamp', 'w', encoding='ascii') as text:
            text.write(stamp)
    return image
