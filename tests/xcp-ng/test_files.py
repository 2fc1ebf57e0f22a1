#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""That documents, examples, package and programs for XCP-ng say the same: keys, functions, hooks,
paths."""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PLACE = os.path.join(ROOT, 'integrations/xcp-ng')
sys.path.insert(0, PLACE)
sys.dont_write_bytecode = True
from vgpu_xcp_ng import config, hook, plugin, wish  # noqa: E402


def read(*parts):
    with open(os.path.join(ROOT, *parts), encoding='utf-8') as file:
        return file.read()


def section(title):
    return read('docs/xcp-ng.md').split('\n## ' + title, 1)[1].split('\n## ', 1)[0]


def first_cells(text):
    """The words in backquotes of each table row's first cell."""
    return {word for row in re.findall('^\\| ([^|]*) \\|', text, re.M)
            for word in re.findall('`([^`]*)`', row)} - {'fn', 'platform'}


def test_configuration_keys():
    text = section('/etc/vgpu/xcp-ng.conf')
    assert first_cells(text) == set(config.DEFAULTS)
    for key, least_most in config.NUMBERS.items():
        assert re.search('`%s` \\| %s \\|.*%d–%d' % (key, config.DEFAULTS[key], *least_most),
                         text), key
    example = read('integrations/xcp-ng/xcp-ng.conf')
    lines = dict(re.findall('^#([a-z-]+) = (.*)$', example, re.M))
    assert lines == config.DEFAULTS
    config.Config(re.sub('^#([a-z])', r'\1', example, flags=re.M).replace('/etc/vgpu', '#'))


def test_platform_keys():
    assert first_cells(section('Giving a VM')) == set(wish.KEYS)


def test_plugin_functions():
    assert first_cells(section('The plugin')) == set(plugin.FUNCTIONS)


def test_hooks():
    named = {word for word in first_cells(section('What runs when')) if word.startswith('vm-')}
    assert named == set(hook.HOOKS)
    line = re.search('^%define hooks (.*)$', read('integrations/xcp-ng/vgpu.spec'), re.M)
    assert set(line.group(1).split()) == set(hook.HOOKS)
    listed = re.findall('^/etc/xapi.d/([a-z-]+)/50-vgpu$', read('integrations/xcp-ng/vgpu.spec'),
                        re.M)
    assert set(listed) == set(hook.HOOKS)


def test_package_has_all():
    spec = read('integrations/xcp-ng/vgpu.spec')
    programs = {name for name in os.listdir(PLACE) if os.access(os.path.join(PLACE, name), os.X_OK)
                and os.path.isfile(os.path.join(PLACE, name))}
    assert set(re.search('for program in (.*); do', spec).group(1).split()) == programs
    for name in os.listdir(PLACE):
        if name not in programs and name != 'vgpu.spec':
            assert '$from/' + name in spec, name
    build = read('tools/dom0-build.sh')
    built = set(re.search('PROGRAMS="([^"]*)"', build).group(1).split())
    assert set(re.findall('%{vgpu_build}/([a-z/-]+)', spec)) == built


def test_paths_agree():
    """What one file says of a place that another one makes or looks in."""
    spec, tmpfiles = (read('integrations/xcp-ng', name) for name in ('vgpu.spec', 'tmpfiles.conf'))
    mediator = read('integrations/xcp-ng/systemd/vgpu-mediator.service')
    assert '%define xcp %{_libexecdir}/vgpu/xcp-ng' in spec
    assert '= /usr/libexec/vgpu/xcp-ng/qemu-wrapper-vgpu' in read('integrations/xcp-ng/50-vgpu.conf')
    for key in ('device-dir', 'state-dir'):
        assert 'd %s ' % config.DEFAULTS[key] in tmpfiles, key
    assert '--device-dir %s ' % config.DEFAULTS['device-dir'] in mediator
    assert '--run-dir %s ' % os.path.dirname(config.DEFAULTS['admin-socket']) in mediator
    name = os.path.basename(config.DEFAULTS['xenbus'])
    assert '\n%{_sbindir}/' + name in spec
    unit = read('integrations/xcp-ng/systemd/vgpu-xenbus.service')
    assert 'exec %s ' % config.DEFAULTS['xenbus'] in unit


def test_users_are_made():
    """Those that units and tmpfiles name, by the package."""
    spec = read('integrations/xcp-ng/vgpu.spec')
    users, groups = set(), set()
    for name in os.listdir(os.path.join(PLACE, 'systemd')):
        text = read('integrations/xcp-ng/systemd', name)
        users |= set(re.findall(r'\(id -[ug] ([a-z-]+)\)', text)) | set(
            re.findall('^User=(.*)$', text, re.M))
        groups |= set(re.findall('^Group=(.*)$', text, re.M))
    for user, group in re.findall(r'^d \S+ \d+ (\S+) (\S+)',
                                  read('integrations/xcp-ng/tmpfiles.conf'), re.M):
        users.add(user)
        groups.add(group)
    assert {'vgpu', 'vgpu-xenbus'} <= users and {'vgpu', 'vgpu-vm'} <= groups
    for user in users - {'root'}:
        assert re.search('useradd -r .* %s\n' % user, spec), user
    for group in groups - {'root'}:
        assert 'groupadd -r %s\n' % group in spec, group


if __name__ == '__main__':
    tests = [value for name, value in sorted(globals().items()) if name.startswith('test_')]
    for test in tests:
        test()
        print('[       OK ] %s' % test.__name__)
    print('[  PASSED  ] %d test(s).' % len(tests))
