#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The programs for an XCP-ng dom0 (tools/dom0-build.sh): they want nothing of the C library that is
newer than glibc 2.17, no other library than its own, and SQLite 3.7.17 is in them; and they work:
VMs with GPUs, hooks and wrapper, on this host with softgpu."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAMS = ['launcher/vgpu-launcher', 'mediator/vgpu-mediator', 'mediator/vgpu-nvml',
            'worker/vgpu-worker', 'store/vgpu-store', 'xenbus/vgpu-xenbus', 'admin/vgpu-admin']
NEWEST = (2, 17)
# All of them are glibc's.
LIBRARIES = {'libc.so.6', 'libdl.so.2', 'libm.so.6', 'libpthread.so.0', 'librt.so.1',
             'ld-linux-x86-64.so.2'}
# How the source of SQLite 3.7.17 names itself.
SQLITE = b'2013-05-20 00:56:22 118a3b35693b134d56ebd780123b7fd6f1497668'
ORDINARY = os.environ.get('VGPU_BUILD', os.path.join(ROOT, 'build/check'))


def objdump(option, program):
    return subprocess.run(['objdump', option, program], check=True, capture_output=True,
                          text=True).stdout


def newer(program):
    """Symbols of a glibc that is newer than the dom0's."""
    text = objdump('-T', program)
    found = re.findall(r'GLIBC_([0-9.]+)\)?\s+(\S+)', text)
    assert found, 'no symbol of the C library: %s' % program
    return [name + '@' + version for version, name in found
            if tuple(int(part) for part in version.split('.')) > NEWEST]


def needed(program):
    return set(re.findall(r'NEEDED\s+(\S+)', objdump('-p', program)))


def test_symbols(build):
    for name in PROGRAMS:
        assert not newer(os.path.join(build, name)), (name, newer(os.path.join(build, name)))


def test_libraries(build):
    for name in PROGRAMS:
        assert needed(os.path.join(build, name)) <= LIBRARIES, name


def test_the_check_can_fail(_build):
    """What is built for this host is another matter."""
    ordinary = os.path.join(ORDINARY, 'store/vgpu-store')
    assert 'libsqlite3.so.0' in needed(ordinary)
    if os.confstr('CS_GNU_LIBC_VERSION') >= 'glibc 2.34':
        assert newer(ordinary)


def test_sqlite(build):
    for name in ('store/vgpu-store', 'admin/vgpu-admin'):
        with open(os.path.join(build, name), 'rb') as file:
            assert SQLITE in file.read(), name


def test_package(_build):
    """The RPM asks dom0 for no more than the programs do."""
    package = subprocess.run([os.path.join(ROOT, 'tools/dom0-rpm.sh')], check=True,
                             stdout=subprocess.PIPE, text=True).stdout.strip().split('\n')[-1]
    wants = subprocess.run(['rpm', '-qp', '--requires', package], check=True, capture_output=True,
                           text=True).stdout.split('\n')
    versions = [tuple(int(part) for part in found.split('.'))
                for found in re.findall(r'GLIBC_([0-9.]+)', '\n'.join(wants))]
    assert max(versions) == NEWEST, versions
    libraries = {line.split('(')[0] for line in wants if line.startswith('lib')}
    assert libraries <= LIBRARIES, libraries
    assert '/usr/bin/python3' in wants


def test_they_work(build):
    """The ordinary tests, with these programs and the guest's side of the ordinary build."""
    with tempfile.TemporaryDirectory(prefix='vgpu-dom0-') as mixed:
        os.chmod(mixed, 0o755)
        for name in ('launcher', 'mediator', 'worker', 'store', 'admin'):
            os.symlink(os.path.join(build, name), os.path.join(mixed, name))
        for name in ('guest', 'softgpu', 'tests'):
            os.symlink(os.path.join(ORDINARY, name), os.path.join(mixed, name))
        for test in ('e2e/test_clients.py', 'e2e/test_settings.py', 'e2e/test_limits.py',
                     'xcp-ng/test_wrapper.py', 'xcp-ng/test_hooks.py'):
            done = subprocess.run([sys.executable, os.path.join(ROOT, 'tests', test)],
                                  env={**os.environ, 'VGPU_BUILD': mixed}, capture_output=True,
                                  text=True, check=False)
            assert done.returncode == 0, (test, done.stdout[-3000:], done.stderr[-3000:])


def test_xenbus_works(build):
    """In its sandbox, with this host's libxenstore in the place of dom0's."""
    done = subprocess.run([sys.executable, os.path.join(ROOT, 'tests/xenbus/test_program.py'),
                           os.path.join(build, 'xenbus/vgpu-xenbus')], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


if __name__ == '__main__':
    for tool in ('objdump', 'npm'):
        if not shutil.which(tool):
            print('skipped: there is no %s here' % tool)
            sys.exit(77)
    place = subprocess.run([os.path.join(ROOT, 'tools/dom0-build.sh')], check=True,
                           stdout=subprocess.PIPE, text=True).stdout.strip().split('\n')[-1]
    tests = [value for name, value in sorted(globals().items()) if name.startswith('test_')]
    for test in tests:
        test(place)
        print('[       OK ] %s' % test.__name__)
    print('[  PASSED  ] %d test(s).' % len(tests))
