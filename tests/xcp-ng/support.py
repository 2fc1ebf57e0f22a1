# SPDX-License-Identifier: Apache-2.0
"""A dom0 as the programs of integrations/xcp-ng see it: xenstore and xenopsd's records are files in
a directory, `xe` and the stock wrapper are scripts that note how they were called; the mediator is
a real one. Each test function gets a Host; each runs with every Python that XCP-ng has."""
import glob
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from xmlrpc import client as xmlrpc

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAMS = os.path.join(ROOT, 'integrations/xcp-ng')
sys.path.insert(0, os.path.join(ROOT, 'tests/e2e'))
from stack import Stack  # noqa: E402

# XCP-ng 8.3 and 8.2; this one stands for all that are newer.
WANTED = ('3.6', '2.7')
VMS = [(1, 'A', 'high'), (2, 'B', 'low')]

XENSTORE_READ = """#!/bin/sh
for path; do
    echo "$path" >>'%(dir)s/read.log'
    [ -e '%(dir)s/xenstore'"$path/.value" ] || { echo "couldn't read path $path" >&2; exit 1; }
    cat '%(dir)s/xenstore'"$path/.value"; echo
done
"""
XENSTORE_LIST = """#!/bin/sh
[ -d '%(dir)s/xenstore'"$1" ] || { echo "could not list path $1" >&2; exit 1; }
ls '%(dir)s/xenstore'"$1"
"""
# vgpu-xenbus attach and detach, as far as they can be seen in xenstore.
XENBUS = """#!/bin/sh
echo "$*" >>'%(dir)s/xenbus.log'
back='%(dir)s/xenstore/local/domain/0/backend/vgpu/'"$2"
case "$1" in
attach)
    [ -e '%(dir)s/xenstore/local/domain/'"$2" ] || { echo "there is no domain $2"; exit 1; }
    [ ! -e "$back/0" ] || { echo "domain $2 has a device 0"; exit 1; }
    mkdir -p "$back/0/vm" && printf %%s "$3" >"$back/0/vm/.value" ;;
detach) rm -r "$back" ;;
*) exit 2 ;;
esac
"""
# As xenstore-watch: a line at once, one for each of a test's, and then it ends.
XENSTORE_WATCH = """#!/bin/sh
[ "$*" = @introduceDomain ] || exit 2
echo "$1"
cat '%(dir)s/introduced'
"""
# Ends each argument with a NUL, as an argument can hold anything else.
RECORDER = """#!/bin/sh
printf '%%s\\0' "$0" "$@" >'%(dir)s/%(name)s.called'
%(then)s
"""


def uuid(number):
    return '%08x-0000-4000-8000-%012x' % (number, number)


def pythons():
    """[(name, program)]: this one, and those of XCP-ng that are installed."""
    found = [('%d.%d' % sys.version_info[:2], sys.executable)]
    for version in WANTED:
        places = glob.glob(os.path.expanduser('~/.pyenv/versions/%s.*/bin/python' % version))
        program = shutil.which('python' + version)
        # A pyenv's shim is no Python where none is chosen.
        for place in places + [program] * bool(program):
            if subprocess.run([place, '-c', ''], capture_output=True, check=False).returncode == 0:
                found.append((version, place))
                break
        else:
            print('no Python %s here: not tested with it' % version)
    return found


class Host:
    def __init__(self, stack, python):
        self.stack = stack
        self.python = python
        self.dir = os.path.join(stack.run_dir, 'keep-dom0')
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.path('xenstore/local/domain/0'))
        os.makedirs(self.path('xenopsd'))
        self.script('xenstore-read', XENSTORE_READ)
        self.script('xenstore-list', XENSTORE_LIST)
        self.script('xenstore-watch', XENSTORE_WATCH)
        self.script('vgpu-xenbus', XENBUS)
        self.write('introduced', '')
        self.script('stock-wrapper', RECORDER, then='umask; exit 7')
        self.script('xe', RECORDER, then="cat '%s'" % self.path('xe.answer'))
        self.write('xe.answer', '')
        self.configure()

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as file:
            file.write(text if isinstance(text, bytes) else text.encode('utf-8', 'surrogateescape'))

    def read(self, name):
        with open(self.path(name), 'rb') as file:
            return file.read()

    def script(self, name, text, **values):
        self.write(name, text % {'dir': self.dir, 'name': name, **values})
        os.chmod(self.path(name), 0o755)

    def configure(self, **values):
        lines = {'admin-socket': self.stack.path('admin.sock'), 'state-dir': self.path('state'),
                 'xenopsd-dir': self.path('xenopsd'), 'stock-wrapper': self.path('stock-wrapper'),
                 'xenstore-read': self.path('xenstore-read'), 'xe': self.path('xe'),
                 'xenstore-list': self.path('xenstore-list'), 'timeout-ms': '5000',
                 'xenstore-watch': self.path('xenstore-watch'), 'xenbus': self.path('vgpu-xenbus')}
        lines.update({key.replace('_', '-'): value for key, value in values.items()})
        self.write('xcp-ng.conf', ''.join('%s = %s\n' % pair for pair in lines.items()))

    def called(self, name):
        """How a script was called, once; None: it was not."""
        try:
            data = self.read(name + '.called')
        except FileNotFoundError:
            return None
        os.unlink(self.path(name + '.called'))
        return [word.decode('utf-8', 'surrogateescape') for word in data.split(b'\0')[:-1]]

    # -- what XAPI and xenopsd do

    def record(self, number, name, platform=None, as_pairs=False, kind=None):
        """xenopsd's record of a VM, which it writes before the first hook."""
        platform = {'acpi': '1', **(platform or {})}
        self.write('xenopsd/%s/config' % uuid(number), json.dumps({
            'id': uuid(number), 'name': name,
            'platformdata': [list(pair) for pair in platform.items()] if as_pairs else platform,
            'xsdata': {'vm-data/vgpu-pool': 'B'}, **({'ty': [kind, {}]} if kind else {})}))

    def xenstore(self, path, value):
        self.write('xenstore%s/.value' % path, value)

    def domain(self, domid, number, platform=None):
        """A domain that has been built, and what its guest has written about itself."""
        top = '/local/domain/%d' % domid
        self.xenstore(top + '/vm', '/vm/' + uuid(number))
        self.xenstore(top + '/name', 'domain %d' % domid)
        self.xenstore(top + '/platform/acpi', '1')
        self.xenstore(top + '/vm-data/vgpu-pool', 'B')
        self.xenstore(top + '/data/vgpu-pool', 'B')
        for key, value in (platform or {}).items():
            self.xenstore('%s/platform/%s' % (top, key), value)

    def end_domain(self, domid):
        shutil.rmtree(self.path('xenstore/local/domain/%d' % domid))

    def run(self, program, *arguments, locale='C'):
        environment = {'PATH': os.environ['PATH'], 'LC_ALL': locale,
                       'VGPU_XCP_NG_CONF': self.path('xcp-ng.conf'), 'PYTHONDONTWRITEBYTECODE': '1'}
        started = time.monotonic()
        done = subprocess.run([self.python, program, *arguments], capture_output=True, timeout=60,
                              env=environment, check=False, umask=0o022)
        self.took = time.monotonic() - started
        assert b'Traceback' not in done.stderr, done.stderr.decode()
        return done.returncode, done.stdout.decode('utf-8')

    def hook(self, name, number, reason='none', *more):
        """As xenopsd runs it: by the link in its directory."""
        place = self.path('xapi.d/%s/50-vgpu' % name)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if not os.path.lexists(place):
            os.symlink(os.path.join(PROGRAMS, 'vgpu-hook'), place)
        return self.run(place, '-vmuuid', uuid(number), '-reason', reason, *more)

    def wrapper(self, *arguments):
        return self.run(os.path.join(PROGRAMS, 'qemu-wrapper-vgpu'), *arguments)

    def plugin_raw(self, call):
        status, text = self.run(os.path.join(PROGRAMS, 'vgpu-plugin'), call)
        assert status == 0
        (answer,), method = xmlrpc.loads(text)
        assert method is None
        return answer

    def plugin(self, function, **arguments):
        """The result, or ('VGPU_…', text)."""
        arguments = {key.replace('_', '-'): value for key, value in arguments.items()}
        answer = self.plugin_raw(xmlrpc.dumps(('OpaqueRef:session', arguments), function))
        if answer['Status'] == 'Success':
            result = json.loads(answer['Value'])
            assert result['schema'] == 1
            return result
        assert answer['Status'] == 'Failure' and 'Value' not in answer
        return tuple(answer['ErrorDescription'])

    def reconcile(self):
        return self.run(os.path.join(PROGRAMS, 'vgpu-reconcile'))

    def attach(self):
        """The service, until its xenstore-watch ends."""
        return self.run(os.path.join(PROGRAMS, 'vgpu-attach'))

    # -- what became of it

    def xenbus(self):
        """How vgpu-xenbus was called since it was asked last."""
        try:
            lines = self.read('xenbus.log').decode().splitlines()
        except FileNotFoundError:
            return []
        os.unlink(self.path('xenbus.log'))
        return lines

    def vms(self):
        return {vm['vm_id']: vm for vm in self.stack.admin_json('list-vms')['vms']}

    def settled(self):
        """All that a refusal must leave as it was."""
        return self.stack.admin_json('export')

    def reset(self):
        for vm_id in self.vms():
            if vm_id not in (1, 2):
                self.stack.admin('remove-vm', str(vm_id))
        self.stack.admin('set-max-vms', 'A', '0')


def run(tests):
    """Each test on a host of its own, with each Python."""
    failed = passed = 0
    with Stack(vms=VMS) as stack:
        for version, python in pythons():
            for test in tests:
                host = Host(stack, python)
                try:
                    test(host)
                    passed += 1
                    print('[       OK ] %s (Python %s)' % (test.__name__, version))
                except Exception:
                    traceback.print_exc()
                    print('[  FAILED  ] %s (Python %s)' % (test.__name__, version))
                    failed += 1
                if stack.mediator.poll() is not None:
                    stack.start_mediator()
                host.reset()
    print('[  PASSED  ] %d test(s).' % passed)
    return 1 if failed else 0
