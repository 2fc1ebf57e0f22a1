# SPDX-License-Identifier: Apache-2.0
"""Starts the host side in a directory of its own for an end-to-end test, and looks at it.

Each test makes a Stack in a `with` block; on leaving it, everything is stopped, and what is left
behind (processes, sockets, files) is an assertion failure.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def wait_for(condition, seconds, what):
    """Waits for a condition with a deadline; the only place that polls."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError('not within %g s: %s' % (seconds, what))
        time.sleep(0.01)


def alive(pid):
    try:
        with open('/proc/%d/stat' % pid, encoding='ascii', errors='replace') as stat:
            return stat.read().rsplit(')', 1)[1].split()[0] != 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid):
    try:
        with open('/proc/%d/task/%d/children' % (pid, pid), encoding='ascii') as text:
            return [int(word) for word in text.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def cpu_seconds(pid):
    with open('/proc/%d/stat' % pid, encoding='ascii', errors='replace') as stat:
        fields = stat.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def memory_kib(pid, key):
    """key: Rss or Pss, of smaps_rollup."""
    with open('/proc/%d/smaps_rollup' % pid, encoding='ascii') as text:
        for line in text:
            if line.startswith(key + ':'):
                return int(line.split()[1])
    raise AssertionError('no %s of %d' % (key, pid))


def library_path(name):
    """The file behind a library's name, as the loader finds it."""
    if os.path.exists(name):
        return name
    listing = subprocess.run(['/sbin/ldconfig', '-p'], capture_output=True, text=True, check=True)
    for line in listing.stdout.split('\n'):
        words = line.split()
        if words and words[0] == name and 'x86-64' in line:
            return os.path.realpath(words[-1])
    raise AssertionError('no library %s here' % name)


class Stack:
    def __init__(self, build=None, driver=None, nvml=None, vms=None, start=True, spares=0,
                 configure=True, devices=1, environment=None, options=()):
        self.build = build or os.environ.get('VGPU_BUILD', os.path.join(ROOT, 'build/check'))
        self.driver = driver or os.environ.get(
            'VGPU_DRIVER', os.path.join(self.build, 'softgpu/libsoftgpu.so'))
        self.nvml = nvml or os.environ.get(
            'VGPU_NVML', os.path.join(self.build, 'softgpu/libsoftgpu-nvml.so'))
        self.driver = library_path(self.driver)
        self.nvml = library_path(self.nvml)
        self.run_dir = tempfile.mkdtemp(prefix='vgpu-e2e.', dir='/tmp')
        os.chmod(self.run_dir, 0o755)
        self.log = open(os.path.join(self.run_dir, 'log'), 'ab')
        self.launcher = None
        self.mediator = None
        self.clients = []
        self.vms = [] if vms is None else vms
        self.start_wanted = start
        self.options = list(options)  # the mediator's
        self.spares = spares  # workers() counts them; tests of them ask for some
        self.configure_wanted = configure
        # Of workers and of the mediator's helpers.
        self.environment = {'SOFTGPU_DEVICES': str(devices), **(environment or {})}
        self.shown = False  # the log has been printed already

    def path(self, name):
        return os.path.join(self.run_dir, name)

    def program(self, name):
        places = {'vgpu-admin': 'admin', 'vgpu-client': 'guest/client', 'vgpu-worker': 'worker',
                  'vgpu-mediator': 'mediator', 'vgpu-launcher': 'launcher'}
        return os.path.join(self.build, places[name], name)

    def __enter__(self):
        try:
            if self.start_wanted:
                self.start_launcher()
                self.start_mediator()
                if self.configure_wanted:
                    self.configure()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def install(self):
        """Programs where the workers' users can read them; a checkout may be private."""
        os.makedirs(self.path('bin'), exist_ok=True)
        for name in ('worker/vgpu-worker', 'store/vgpu-store', 'mediator/vgpu-nvml'):
            shutil.copy(os.path.join(self.build, name), self.path('bin'))
        if self.driver.startswith(self.build):
            shutil.copy(self.driver, self.path('bin'))
            self.driver = os.path.join(self.path('bin'), os.path.basename(self.driver))

    def start_launcher(self):
        self.install()
        user = ['--base-uid', '880000'] if os.getuid() == 0 else []
        self.launcher = subprocess.Popen(
            [self.program('vgpu-launcher'), '--socket', self.path('launcher.sock'), *user,
             '--worker', self.path('bin/vgpu-worker'), '--driver', self.driver,
             *('--env=%s=%s' % pair for pair in self.environment.items())],
            stderr=self.log, stdin=subprocess.DEVNULL)
        wait_for(lambda: os.path.exists(self.path('launcher.sock')), 10, 'launcher socket')

    def mediator_command(self):
        return [self.program('vgpu-mediator'), '--run-dir', self.run_dir,
                '--database', self.path('vgpu.db'), '--create-database',
                '--launcher-socket', self.path('launcher.sock'),
                '--helper-dir', self.path('bin'), '--nvml', self.nvml,
                '--spares', str(self.spares), *self.options]

    def start_mediator(self):
        self.mediator = subprocess.Popen(self.mediator_command(), stderr=self.log,
                                         stdin=subprocess.DEVNULL,
                                         env={**os.environ, **self.environment})
        wait_for(self.admin_answers, 10, 'admin socket')

    def admin_answers(self):
        if self.mediator.poll() is not None:
            raise AssertionError('mediator exited: ' + self.log_text()[-2000:])
        probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            probe.connect(self.path('admin.sock'))
            return True
        except OSError:
            return False
        finally:
            probe.close()

    def log_text(self):
        self.log.flush()
        with open(self.path('log'), encoding='utf-8', errors='replace') as text:
            return text.read()

    def configure(self):
        """vms: list of (vm_id, pool, priority)."""
        self.admin('scan-gpus')
        for pool in sorted({pool for _vm, pool, _priority in self.vms}):
            self.admin('create-pool', '--pool=%s' % pool)
            self.admin('assign-gpu', '--gpu-id=0', '--pool=%s' % pool)
        for vm, pool, priority in self.vms:
            self.admin('register-vm', '--vm-id=%d' % vm, '--pool=%s' % pool,
                       '--priority=%s' % priority)

    def admin_run(self, *arguments):
        return subprocess.run(
            [self.program('vgpu-admin'), '--socket', self.path('admin.sock'),
             '--database', self.path('vgpu.db'), *arguments],
            capture_output=True, text=True, timeout=30, check=False)

    def admin(self, *arguments):
        done = self.admin_run(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def admin_json(self, *arguments):
        return json.loads(self.admin(*arguments, '--json'))

    def request(self, command, **arguments):
        """One request to the admin socket; the reply as it is."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as admin:
            admin.connect(self.path('admin.sock'))
            admin.sendall(json.dumps({'id': 1, 'command': command, 'args': arguments}).encode() +
                          b'\n')
            with admin.makefile(encoding='utf-8') as lines:
                return json.loads(lines.readline())

    def vm_socket(self, vm):
        return self.path('vm/%d.sock' % vm)

    def client_command(self, vm, *arguments):
        return [self.program('vgpu-client'), '--socket', self.vm_socket(vm), *arguments]

    def client(self, vm, *arguments, timeout=120):
        return subprocess.run(self.client_command(vm, *arguments), capture_output=True, text=True,
                              timeout=timeout, check=False)

    def client_start(self, vm, *arguments):
        process = subprocess.Popen(self.client_command(vm, *arguments), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        self.clients.append(process)
        return process

    def load_start(self, vm, *arguments):
        """A client whose words nobody reads: a pipe would be full in the end, and stop it."""
        process = subprocess.Popen(self.client_command(vm, *arguments), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        self.clients.append(process)
        return process

    def workers(self):
        return [pid for pid in children(self.launcher.pid) if alive(pid)]

    def kill_mediator(self):
        self.mediator.send_signal(signal.SIGKILL)
        self.mediator.wait()

    def stop(self):
        helpers = children(self.mediator.pid) if self.mediator else []
        workers = self.workers() if self.launcher else []
        for process in self.clients:
            if process.poll() is None:
                process.kill()
            process.wait()
        for process in (self.mediator, self.launcher):
            if process and process.poll() is None:
                process.terminate()
                try:
                    status = process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise AssertionError('did not end on SIGTERM: %s' % process.args[0]) from None
                assert status == 0, '%s ended with %d' % (process.args[0], status)
        for pid in helpers + workers:
            wait_for(lambda p=pid: not alive(p), 5, 'process %d gone' % pid)

    def left_behind(self):
        known = {'log', 'vgpu.db', 'vgpu.db.lock', 'vm', 'bin'}
        left = [n for n in os.listdir(self.run_dir) if n not in known and not n.startswith('keep')]
        if os.path.isdir(self.path('vm')):
            left += os.listdir(self.path('vm'))
        return left

    def __exit__(self, kind, value, trace):
        try:
            self.stop()
            if kind is None:
                assert not self.left_behind(), self.left_behind()
        except AssertionError:
            if kind is None:
                raise
        finally:
            for process in (self.mediator, self.launcher):
                if process and process.poll() is None:
                    process.kill()
            if kind is not None and not self.shown:
                print(self.log_text()[-6000:])
            self.log.close()
            shutil.rmtree(self.run_dir, ignore_errors=True)


def run(tests):
    """Runs functions whose names start with test_; prints what cmocka would; returns exit code."""
    failed = 0
    for test in tests:
        started = time.monotonic()
        try:
            test()
            print('[       OK ] %s (%.1f s)' % (test.__name__, time.monotonic() - started))
        except Exception as error:  # noqa: BLE001 - each failure is shown, the others still run
            import traceback
            traceback.print_exc()
            print('failed: %s: %s' % (test.__name__, error))
            failed += 1
    passed = len(tests) - failed
    print('[  PASSED  ] %d test(s).' % passed)
    if failed:
        print('[  FAILED  ] %d test(s).' % failed)
    return 1 if failed else 0
