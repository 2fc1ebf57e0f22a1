#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vgpu-admin doctor in surroundings that the test prepares: a root with /proc, /sys and /dev, a
QEMU, an NVML helper and a mediator of its own, all as they should be, and then one thing wrong.

Usage: test_doctor.py VGPU_ADMIN SCHEMA_DIRECTORY
"""
import fcntl
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import unittest

import test_json

PROGRAM = VERSION = None

GPU = {'index': 0, 'uuid': 'GPU-1', 'pci': '00000000:65:00.0', 'model': 'NVIDIA H200',
       'memory_bytes': 42, 'source': 'nvml', 'driver': 'nvidia', 'persistence': True}
BUS_GPU = {'index': None, 'uuid': 'PCI-10de:2335-00000000:66:00.0', 'pci': '00000000:66:00.0',
           'model': 'NVIDIA GH100', 'memory_bytes': 0, 'source': 'pci', 'driver': 'vfio-pci'}
SCAN = {'gpus': [GPU], 'driver_version': '580.1', 'nvml_error': None, 'pci_error': None}

HELPER = """#!/bin/sh
case $1 in
--scan) cat '%(dir)s/scan.json' ;;
--check-driver) test "$2" = good && { echo '{"cuda_version": 13010}'; exit; }
    echo "vgpu-nvml: cannot load it: $2" >&2; exit 1 ;;
esac
"""
QEMU = """#!/bin/sh
case $1 in
--version) echo 'QEMU emulator version 7.2.9 (Debian)' ;;
-device) echo 'name "vgpu-stub", bus PCI' ;;
esac
"""


class Mediator:
    """Answers what doctor asks; a member of answers that is None hangs up."""

    def __init__(self, path, answers):
        self.answers = answers
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        os.chmod(path, 0o660)
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, connection.makefile('rw', encoding='utf-8') as lines:
                for line in lines:
                    request = json.loads(line)
                    result = self.answers.get(request['command'])
                    if result is None:
                        break
                    lines.write(json.dumps({'id': request['id'], 'ok': True, 'result': result}) +
                                '\n')
                    lines.flush()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


class Doctor(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix='vgpu-doctor-')
        self.root = self.path('root')
        self.mediator = None
        self.closing = []
        self.make_host()
        self.make_driver()
        self.write('nvml', HELPER % {'dir': self.directory.name}, 0o755)
        self.write('qemu', QEMU, 0o755)
        self.write('scan.json', json.dumps(SCAN))
        self.make_service()

    def tearDown(self):
        if self.mediator:
            self.mediator.close()
        for thing in self.closing:
            thing.close()
        self.directory.cleanup()

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def write(self, name, text, mode=0o644):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)
        os.chmod(path, mode)

    def device(self, name):
        os.makedirs(self.path('root/dev'), exist_ok=True)
        os.symlink('/dev/null', self.path('root/dev/' + name))

    def make_host(self):
        self.write('root/proc/sys/kernel/osrelease', '6.1.0-30\n')
        self.write('root/proc/meminfo', 'MemTotal:  65536000 kB\nMemFree: 1 kB\n'
                                        'MemAvailable: 60000000 kB\n')
        self.write('root/sys/devices/system/cpu/online', '0-3,8\n')
        self.write('root/sys/fs/cgroup/cgroup.controllers', 'cpuset cpu io memory pids\n')
        self.device('kvm')

    def make_driver(self):
        self.write('root/sys/module/nvidia/version', '580.1\n')
        self.write('root/sys/module/nvidia_uvm/parameters/uvm_disable_hmm', 'Y\n')
        for name in ('nvidiactl', 'nvidia-uvm', 'nvidia0', 'nvidia-modeset'):
            self.device(name)

    def make_service(self):
        os.makedirs(self.path('run/vm'))
        os.chmod(self.path('run'), 0o755)
        self.offline('scan-gpus', '--create', '--nvml-helper=' + self.path('nvml'))
        self.offline('create-pool', 'A')
        self.offline('assign-gpu', '--gpu-id=0', '--pool=A')
        self.offline('register-vm', '--pool=A', '--vm-id=7')
        lists = {'list-' + what: self.offline('list-' + what) for what in ('gpus', 'pools', 'vms')}
        self.answers = {**lists, 'status': {'mediator': {
            'version': VERSION, 'pid': 7, 'uptime_s': 5.0, 'workers': 2}}}
        self.mediator = Mediator(self.path('run/admin.sock'), self.answers)
        for name, mode in (('launcher.sock', 0o600), ('vm/7.sock', 0o660)):
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(self.path('run/' + name))
            os.chmod(self.path('run/' + name), mode)
            self.closing.append(listener)
        self.write('root/proc/net/unix', 'Num  RefCount Protocol Flags Type St Inode Path\n'
                   '0000000000000000: 00000002 00000000 00000000 0002 01 1 /x\n'
                   '0000000000000000: 00000002 00000000 00010000 0005 01 2 %s\n'
                   % self.path('run/launcher.sock'))
        self.hold_lock()

    def hold_lock(self):
        """As the mediator's store helper does."""
        self.lock = open(self.path('vgpu.db.lock'), 'w', encoding='ascii')
        self.closing.append(self.lock)
        self.lock.write('a store helper (pid 8)\n')
        self.lock.flush()
        fcntl.flock(self.lock, fcntl.LOCK_EX)

    def stop_mediator(self):
        self.mediator.close()
        self.mediator = None
        os.unlink(self.path('run/admin.sock'))

    def offline(self, *arguments):
        done = subprocess.run([PROGRAM, '--socket=' + self.path('none'),
                               '--database=' + self.path('vgpu.db'), '--json', *arguments],
                              capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def run_doctor(self, *options):
        own = {'root': self.root, 'driver': 'good', 'qemu': self.path('qemu'),
               'nvml-helper': self.path('nvml')}
        own = ['--%s=%s' % pair for pair in own.items()
               if not any(option.startswith('--%s=' % pair[0]) for option in options)]
        options = [option for option in options if not option.endswith('=')]  # the default
        return subprocess.run(
            [PROGRAM, '--socket=' + self.path('run/admin.sock'),
             '--database=' + self.path('vgpu.db'), 'doctor', *own, *options],
            capture_output=True, text=True, check=False, timeout=60)

    def checks(self, *options):
        done = self.run_doctor('--json', *options)
        result = json.loads(done.stdout)
        test_json.check(result, test_json.load('doctor.json'))
        self.assertEqual(done.returncode, 1 if result['failed'] else 0, done.stderr)
        for key, outcome in (('ok', 'ok'), ('warnings', 'warning'), ('failed', 'failed'),
                             ('skipped', 'skipped')):
            self.assertEqual(result[key],
                             sum(c['outcome'] == outcome for c in result['checks']))
        return {check['check']: check for check in result['checks']}

    def expect(self, name, outcome, found, advice=None, options=(), also=()):
        """That check says so, and no other (but `also`) is anything else than ok."""
        checks = self.checks(*options)
        self.assertEqual(checks[name]['outcome'], outcome, checks[name])
        self.assertIn(found, checks[name]['found'])
        if outcome in ('warning', 'failed'):
            self.assertIn(advice or '', checks[name]['advice'])
            self.assertTrue(checks[name]['advice'])
        else:
            self.assertIsNone(checks[name]['advice'])
        others = {c['check'] for c in checks.values() if c['outcome'] != 'ok'} - {name}
        self.assertEqual(others, set(also))

    def test_good_host_has_nothing_to_do(self):
        for check in self.checks().values():
            self.assertEqual(check['outcome'], 'ok', check)
        done = self.run_doctor()
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertIn('  ok       kernel        Linux 6.1.0-30\n', done.stdout)
        self.assertTrue(done.stdout.endswith(', warnings: 0, failed: 0, skipped: 0\n'))

    def test_failure_is_told_with_advice(self):
        self.write('root/proc/sys/kernel/osrelease', '4.18.0\n')
        done = self.run_doctor()
        self.assertEqual(done.returncode, 1)
        self.assertIn('  failed   kernel        Linux 4.18.0 is older than 4.19\n', done.stdout)
        self.assertIn(' -> use Linux 4.19 or later\n', done.stdout)
        self.assertRegex(done.stderr, r'^vgpu-admin: doctor: 1 of \d+ checks failed\n$')

    def test_it_changes_nothing(self):
        def look():
            found = {}
            for place, _, names in os.walk(self.directory.name):
                for name in names:
                    stat = os.lstat(os.path.join(place, name))
                    found[os.path.join(place, name)] = (stat.st_mtime_ns, stat.st_size)
            return found
        before = look()
        self.checks()
        self.assertEqual(look(), before)
        self.lock.close()
        self.checks()
        self.assertEqual(look(), before)

    def test_host_is_looked_at(self):
        cases = [
            ('root/proc/sys/kernel/osrelease', 'nonsense', 'kernel', 'skipped', 'not known'),
            ('root/sys/devices/system/cpu/online', '0\n', 'cores', 'warning', '1 online'),
            ('root/proc/meminfo', 'MemTotal: 2097152 kB\nMemAvailable: 1048575 kB\n', 'memory',
             'warning', '1.0 of 2.0 GiB available'),
            ('root/sys/fs/cgroup/cgroup.controllers', 'cpu\n', 'cgroup', 'warning',
             'without the memory controller'),
        ]
        for name, text, check, outcome, found in cases:
            with self.subTest(check=check):
                with open(self.path(name), encoding='utf-8') as file:
                    good = file.read()
                self.write(name, text)
                self.expect(check, outcome, found)
                self.write(name, good)

    def test_cgroup_of_version_1(self):
        os.unlink(self.path('root/sys/fs/cgroup/cgroup.controllers'))
        self.expect('cgroup', 'warning', 'none', 'mount cgroup version 2')
        os.mkdir(self.path('root/sys/fs/cgroup/memory'))
        self.expect('cgroup', 'warning', 'version 1')

    def test_kvm_is_missing_or_not_needed(self):
        os.unlink(self.path('root/dev/kvm'))
        self.expect('kvm', 'warning', 'there is no /dev/kvm')
        self.write('root/dev/kvm', '')
        self.expect('kvm', 'failed', '/dev/kvm is no device')
        self.write('root/proc/xen/capabilities', 'control_d\n')
        self.expect('kvm', 'skipped', 'this is Xen')

    def test_nvml_that_cannot_be_loaded(self):
        self.write('scan.json', json.dumps({**SCAN, 'gpus': [], 'driver_version': None,
                                            'nvml_error': 'cannot load NVML: no such file'}))
        self.expect('nvml', 'failed', 'cannot load NVML', "install NVIDIA's driver",
                    also=['persistence'])

    def test_nvml_without_gpus(self):
        self.write('scan.json', json.dumps({**SCAN, 'gpus': []}))
        self.expect('nvml', 'failed', 'shows no GPU', also=['persistence'])

    def test_helper_that_is_missing(self):
        os.unlink(self.path('nvml'))
        self.expect('nvml', 'failed', 'cannot start', '--nvml-helper',
                    also=['cards', 'cuda', 'persistence'])

    def test_qemu_that_is_not_installed_is_no_failure(self):
        """A host of containers needs none."""
        path = os.environ['PATH']
        os.environ['PATH'] = self.path('run')
        try:
            checks = self.checks('--qemu=')
        finally:
            os.environ['PATH'] = path
        self.assertEqual(checks['qemu']['outcome'], 'warning', checks['qemu'])
        self.assertIn('cannot start qemu-system-x86_64', checks['qemu']['found'])
        self.assertIn('Containers of this host need none', checks['qemu']['advice'])

    def test_module_of_another_version(self):
        self.write('root/sys/module/nvidia/version', '570.2\n')
        self.expect('module', 'failed', 'the kernel module is 570.2, NVML is 580.1',
                    'of the same version')

    def test_softgpu_needs_no_module(self):
        for name in ('nvidia/version', 'nvidia_uvm/parameters/uvm_disable_hmm'):
            os.unlink(self.path('root/sys/module/' + name))
        os.rmdir(self.path('root/sys/module/nvidia_uvm/parameters'))
        os.rmdir(self.path('root/sys/module/nvidia_uvm'))
        os.rmdir(self.path('root/sys/module/nvidia'))
        self.expect('module', 'skipped', 'softgpu', also=['devices', 'hmm'])

    def test_card_that_vfio_has(self):
        self.write('scan.json', json.dumps({**SCAN, 'gpus': [GPU, BUS_GPU]}))
        self.expect('cards', 'warning', 'NVIDIA GH100 (00000000:66:00.0) has: vfio-pci',
                    'take the card from the driver')

    def test_bus_that_cannot_be_looked_at(self):
        self.write('scan.json', json.dumps({**SCAN, 'pci_error': 'built without libpci'}))
        self.expect('cards', 'skipped', 'built without libpci')

    def test_cuda_driver_that_cannot_be_loaded(self):
        self.expect('cuda', 'failed', 'cannot load it: bad', '--driver', ['--driver=bad'])

    def test_hmm(self):
        parameter = 'root/sys/module/nvidia_uvm/parameters/uvm_disable_hmm'
        self.write(parameter, 'N\n')
        self.expect('hmm', 'warning', 'uvm_disable_hmm is off', 'uvm_disable_hmm=1')
        self.write('root/proc/sys/kernel/osrelease', '5.10.0\n')
        self.expect('hmm', 'ok', 'this kernel is too old')
        os.unlink(self.path(parameter))
        self.expect('hmm', 'ok', 'no heterogeneous memory management')

    def test_devices_that_workers_cannot_open(self):
        os.unlink(self.path('root/dev/nvidia0'))
        self.expect('devices', 'failed', 'there is no /dev/nvidia0', 'nvidia-modprobe')
        self.write('root/dev/nvidia0', '')
        self.expect('devices', 'failed', '/dev/nvidia0 is no device')
        os.unlink(self.path('root/dev/nvidiactl'))
        self.expect('devices', 'failed', 'there is no /dev/nvidiactl')
        if os.path.exists('/dev/console') and os.stat('/dev/console').st_mode & 0o006 != 0o006:
            os.symlink('/dev/console', self.path('root/dev/nvidiactl'))
            self.expect('devices', 'warning', 'only in its group', '--gpu-gid=')

    def test_persistence_that_is_off(self):
        self.write('scan.json', json.dumps({**SCAN, 'gpus': [{**GPU, 'persistence': False}]}))
        self.expect('persistence', 'warning', 'off on GPU-1', 'nvidia-persistenced')

    def test_qemu_without_the_device(self):
        self.write('qemu', QEMU.replace('vgpu-stub', 'virtio-gpu'), 0o755)
        self.expect('vgpu-stub', 'failed', 'does not have the device', 'tools/qemu-build.sh')

    def test_qemu_that_is_old_fails_or_is_missing(self):
        self.write('qemu', QEMU.replace('7.2.9', '4.1.0'), 0o755)
        self.expect('qemu', 'failed', 'older than 4.2')
        self.write('qemu', '#!/bin/sh\necho broken >&2\nexit 3\n', 0o755)
        self.expect('qemu', 'failed', 'failed: broken', also=['vgpu-stub'])
        self.expect('qemu', 'failed', 'cannot start', '--qemu', ['--qemu=/nonexistent'],
                    also=['vgpu-stub'])

    def test_qemu_that_prints_without_end_is_stopped(self):
        self.write('qemu', '#!/bin/sh\nexec cat /dev/zero\n', 0o755)
        self.expect('qemu', 'failed', 'printed more than', also=['vgpu-stub'])

    def test_run_directory_that_anybody_may_write(self):
        os.chmod(self.path('run'), 0o757)
        self.expect('run-dir', 'failed', '0757: anybody can put sockets there')

    def test_admin_socket_that_anybody_may_open(self):
        os.chmod(self.path('run/admin.sock'), 0o666)
        self.expect('admin-socket', 'failed', '0666: too many may open it', 'group')

    def test_mediator_that_does_not_run(self):
        self.stop_mediator()
        self.lock.truncate(0)
        self.lock.close()
        self.expect('mediator', 'failed', 'cannot connect to the mediator', 'start vgpu-mediator',
                    also=['admin-socket', 'vm-sockets'])

    def test_mediator_that_hangs_up(self):
        self.answers['status'] = None
        self.expect('mediator', 'failed', 'closed the connection', also=['lock', 'vm-sockets'])

    def test_mediator_of_another_version(self):
        self.answers['status']['mediator']['version'] = '0.0.1'
        self.expect('mediator', 'warning', 'it is version 0.0.1', 'restart it')

    def test_launcher_that_nobody_is(self):
        self.write('root/proc/net/unix', 'Num  RefCount Protocol Flags Type St Inode Path\n')
        self.expect('launcher', 'failed', 'nobody listens', 'start vgpu-launcher')
        os.unlink(self.path('run/launcher.sock'))
        self.expect('launcher', 'skipped', '--launcher-socket')

    def test_launcher_that_others_may_open(self):
        os.chmod(self.path('run/launcher.sock'), 0o660)
        self.expect('launcher', 'failed', 'too many may open it')

    def test_vm_socket_that_is_missing_or_open(self):
        os.chmod(self.path('run/vm/7.sock'), 0o666)
        self.expect('vm-sockets', 'failed', '7.sock is')
        os.unlink(self.path('run/vm/7.sock'))
        self.expect('vm-sockets', 'failed', 'there is no')

    def test_database_that_is_missing_or_broken(self):
        os.rename(self.path('vgpu.db'), self.path('away'))
        self.expect('database', 'failed', 'No such file', '--create-database',
                    also=['foreign-keys', 'lock'])
        self.write('vgpu.db', 'nonsense' * 1000)
        self.expect('database', 'failed', '', also=['foreign-keys'])

    def change_database(self, script):
        database = sqlite3.connect(self.path('vgpu.db'))
        database.executescript(script)
        database.close()

    def test_database_of_an_earlier_schema(self):
        self.change_database('PRAGMA user_version = 99')
        self.expect('database', 'failed', '', also=['foreign-keys'])

    def test_foreign_keys_that_dangle(self):
        self.change_database("UPDATE vms SET pool = 'gone'")
        self.expect('foreign-keys', 'failed', '1 rows name what does not exist')

    def test_lock_that_the_mediator_does_not_have(self):
        self.lock.close()
        self.expect('lock', 'failed', 'a mediator runs, but not on', '--database')

    def test_lock_that_another_program_has(self):
        self.stop_mediator()
        self.expect('lock', 'warning', 'a store helper (pid 8) has it open',
                    also=['mediator', 'admin-socket', 'vm-sockets'])

    def test_gpu_that_serves_and_is_missing(self):
        self.answers['list-gpus']['gpus'][0]['state'] = 'missing'
        self.expect('gpus', 'failed', 'GPU 0 (GPU-1) serves a pool and is missing, last seen 20',
                    'unassign-gpu')

    def test_gpu_that_is_missing_without_a_mediator(self):
        self.stop_mediator()
        self.change_database("UPDATE gpus SET state = 'missing'")
        self.expect('gpus', 'failed', 'GPU 0 (GPU-1)',
                    also=['mediator', 'admin-socket', 'vm-sockets', 'lock'])

    def test_missing_gpu_that_serves_nobody_is_no_failure(self):
        self.answers['list-gpus']['gpus'][0].update(state='missing', pools=[])
        self.expect('gpus', 'ok', '0 of 1 serve pools')

    def test_pool_without_gpus(self):
        self.answers['list-pools']['pools'][0]['gpus'] = []
        self.expect('pools', 'warning', 'pool A has 1 VMs and no GPU', 'assign-gpu')

    def test_control_characters_are_not_passed_on(self):
        self.write('scan.json', json.dumps({**SCAN, 'nvml_error': 'a\x1b[31mb'}))
        self.assertIn('a?[31mb', self.run_doctor().stdout)
        self.assertNotIn('\x1b', self.run_doctor().stdout)


if __name__ == '__main__':
    PROGRAM, test_json.SCHEMAS = sys.argv[1:3]
    PROGRAM = os.path.realpath(PROGRAM)
    VERSION = subprocess.run([PROGRAM, '--version'], capture_output=True, text=True,
                             check=True).stdout.split()[1]
    unittest.main(argv=sys.argv[:1])
