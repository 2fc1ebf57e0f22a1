#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The device for XCP-ng's QEMU 4.2.1 without that QEMU: the one patch for its RPM is whole, and the
sources have nothing that the gcc 4.8 of its build root lacks."""
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Of gcc 5 and later.
NEWER = re.compile(r'__has_include|__has_attribute|__builtin_(add|sub|mul)_overflow|fallthrough'
                   r'|__auto_type|<stdatomic\.h>|<threads\.h>')


def read(*parts):
    with open(os.path.join(*parts), encoding='utf-8') as file:
        return file.read()


def patch():
    return subprocess.run([os.path.join(ROOT, 'tools/qemu-xcp-ng.sh'), 'patch'], check=True,
                          capture_output=True, text=True).stdout


def sources(place):
    for directory, _, names in os.walk(place):
        for name in names:
            yield os.path.relpath(os.path.join(directory, name), place)


def old_side(text):
    """The files that a patch changes, as far as it shows them."""
    lines, name = {}, None
    for line in text.split('\n'):
        if line.startswith('--- '):
            name = line[6:]
        elif name and line[:1] in (' ', '-') and not line.startswith('+++'):
            lines.setdefault(name, []).append(line[1:])
    return lines


def test_patch_is_whole():
    hooks = read(ROOT, 'qemu/patches/qemu-4.2.1-xcp-ng.patch')
    with tempfile.TemporaryDirectory() as tree:
        for name, lines in old_side(hooks).items():
            os.makedirs(os.path.join(tree, os.path.dirname(name)), exist_ok=True)
            with open(os.path.join(tree, name), 'w', encoding='utf-8') as file:
                file.write('\n'.join(lines) + '\n')
        subprocess.run(['patch', '-p1', '-s', '-d', tree], input=patch(), text=True, check=True)
        device = os.path.join(tree, 'hw/misc/vgpu')
        names = set(sources(device))
        places = {'shared/vgpu': 'include/vgpu', 'shared/ring': 'ring', '': 'qemu'}
        for name in names:
            place = places[os.path.dirname(name)]
            assert read(device, name) == read(ROOT, place, os.path.basename(name)), name
        # What meson builds for the other versions is what make builds here.
        listed = read(ROOT, 'qemu/meson.build').split('vgpu_stub_files', 1)[1]
        listed = set(re.findall(r"'([a-z_/]+\.c)'", listed))
        assert listed == {name for name in names if name.endswith('.c')}, listed
        assert 'CONFIG_VGPU_STUB=y' in read(tree, 'default-configs/i386-softmmu.mak')


def test_patch_is_the_same_each_time():
    assert patch() == patch()


def test_nothing_newer_than_gcc_4_8():
    found = [line for line in patch().split('\n') if line.startswith('+') and NEWER.search(line)]
    # A comment may name what is left out.
    found = [line for line in found if not re.match(r'\+\s*(/?\*)', line)]
    assert not found, found


def test_shared_sources_as_gnu99():
    for name in ('ring/ring.c', 'qemu/relay_core.c', 'qemu/channel.c', 'qemu/job_ring.c'):
        # Without _GNU_SOURCE <fcntl.h> has no seals, as the dom0's has none with it.
        subprocess.run(['gcc', '-std=gnu99', '-Wall', '-Werror', '-Wdeclaration-after-statement',
                        '-Wold-style-definition', '-Wstrict-prototypes', '-Wredundant-decls',
                        '-fsyntax-only', '-I', ROOT, '-I', os.path.join(ROOT, 'include'),
                        os.path.join(ROOT, name)], check=True)


if __name__ == '__main__':
    tests = [value for name, value in sorted(globals().items()) if name.startswith('test_')]
    for test in tests:
        test()
        print('[       OK ] %s' % test.__name__)
    print('[  PASSED  ] %d test(s).' % len(tests))
    sys.exit(0)
