#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the names of NVML: nvml_names.py LIBRARY SPEC MAN, or nvml_names.py --header SPEC COMPILER.

The first compares what LIBRARY exports with what SPEC describes, and what SPEC carries with what
MAN lists, neither more nor less. The second compares SPEC with NVIDIA's nvml.h of version 13.0 and
with what its pynvml looks up, and cuda/nvml_abi.h with nvml.h; it exits 77 with the reason where
they are not installed (tests/nvml/requirements.txt).
"""
import glob
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, 'guest/libnvml'))
sys.path.insert(0, os.path.join(ROOT, 'tests'))

from gen import Spec  # noqa: E402
from names import exported  # noqa: E402

# Of earlier versions, and still looked up by programs.
OLDER = {'nvmlGetBlacklistDeviceCount', 'nvmlGetBlacklistDeviceInfoByIndex'}
# What nvml.h has under another name; None: ours alone.
RENAMED = {'nvmlPciInfo_v1_t': None, 'nvmlPciInfo_v2_t': None, 'nvmlPciInfoExt_t': 'nvmlPciInfoExt_v1_t',
           'nvmlUUID_t': 'nvmlUUID_v1_t'}
OWN_NUMBERS = {'NVML_PCI_INFO_EXT_V1': 'nvmlPciInfoExt_v1', 'NVML_UUID_V1': 'nvmlUUID_v1',
               'NVML_MEMORY_V2': 'nvmlMemory_v2', 'NVML_EVENT_SINGLE_BIT_ECC': 'nvmlEventTypeSingleBitEccError',
               'NVML_EVENT_DOUBLE_BIT_ECC': 'nvmlEventTypeDoubleBitEccError',
               'NVML_EVENT_XID_CRITICAL': 'nvmlEventTypeXidCriticalError', 'NVML_NO_INSTANCE': None,
               'NVML_DEVICE_PCI_BUS_ID_V1_SIZE': 'NVML_DEVICE_PCI_BUS_ID_BUFFER_V2_SIZE',
               'NVML_MEMORY_ERROR_CORRECTED': 'NVML_MEMORY_ERROR_TYPE_CORRECTED',
               'NVML_MEMORY_ERROR_UNCORRECTED': 'NVML_MEMORY_ERROR_TYPE_UNCORRECTED',
               'NVML_PAGE_RETIREMENT_SINGLE_BIT':
               'NVML_PAGE_RETIREMENT_CAUSE_MULTIPLE_SINGLE_BIT_ECC_ERRORS',
               'NVML_PAGE_RETIREMENT_DOUBLE_BIT':
               'NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR',
               'NVML_CLOCKS_GPU_IDLE': 'nvmlClocksEventReasonGpuIdle',
               'NVML_CLOCKS_APPLICATIONS_SETTING': 'nvmlClocksEventReasonApplicationsClocksSetting',
               'NVML_CLOCKS_SW_POWER_CAP': 'nvmlClocksEventReasonSwPowerCap',
               'NVML_CLOCKS_HW_SLOWDOWN': 'nvmlClocksThrottleReasonHwSlowdown',
               'NVML_CLOCKS_SYNC_BOOST': 'nvmlClocksEventReasonSyncBoost',
               'NVML_CLOCKS_SW_THERMAL': 'nvmlClocksEventReasonSwThermalSlowdown',
               'NVML_CLOCKS_HW_THERMAL': 'nvmlClocksThrottleReasonHwThermalSlowdown',
               'NVML_CLOCKS_HW_POWER_BRAKE': 'nvmlClocksThrottleReasonHwPowerBrakeSlowdown',
               'NVML_CLOCKS_DISPLAY_SETTING': 'nvmlClocksEventReasonDisplayClockSetting'}


def differ(first, second, a, b):
    for name in sorted(a - b):
        print('only in %s: %s' % (first, name))
    for name in sorted(b - a):
        print('only in %s: %s' % (second, name))
    print('%d names in %s, %d in %s' % (len(a), first, len(b), second))
    return a != b


def header():
    for place in glob.glob(os.path.join(ROOT, '.cache/nvml/lib/python3*/site-packages')):
        path = os.path.join(place, 'nvidia/cu13/include/nvml.h')
        if os.path.exists(path) and os.path.exists(os.path.join(place, 'pynvml.py')):
            return path, os.path.join(place, 'pynvml.py')
    print('skipped: no nvml.h here; install tests/nvml/requirements.txt into .cache/nvml')
    sys.exit(77)


def declared(path, compiler):
    text = subprocess.run([*compiler, '-E', '-P', '-x', 'c', '-DNVML_NO_UNVERSIONED_FUNC_DEFS', path],
                          capture_output=True, text=True, check=True).stdout
    return set(re.findall(r'\b(nvml[A-Z]\w*)\s*\([^()*]', text))


def abi_faults(path, compiler):
    """A program that compares each number and size of ours with nvml.h's must compile."""
    ours = open(os.path.join(ROOT, 'cuda/nvml_abi.h'), encoding='utf-8').read()
    types = re.findall(r'^NVML_LAYOUT\((\w+), (\d+)\)', ours, re.M)
    numbers = re.findall(r'^#define (NVML_\w+) +\S', ours, re.M) + re.findall(r'X\((NVML_\w+),', ours)
    numbers += re.findall(r'^ +(NVML_\w+) = ', ours, re.M) + ['NVML_COMPUTEMODE_DEFAULT']
    assert len(types) > 10 and len(numbers) > 60
    with tempfile.TemporaryDirectory() as folder:
        values = os.path.join(folder, 'values.c')
        with open(values, 'w', encoding='utf-8') as out:
            out.write('#include <stdio.h>\n#include "cuda/nvml_abi.h"\nint main(void)\n{\n')
            for name in numbers:
                out.write('printf("%s %%llu\\n", (unsigned long long)%s);\n' % (name, name))
            out.write('return 0;\n}\n')
        subprocess.run([*compiler, '-I', ROOT, values, '-o', os.path.join(folder, 'values')], check=True)
        printed = subprocess.run([os.path.join(folder, 'values')], capture_output=True, text=True, check=True)
        check = os.path.join(folder, 'check.c')
        with open(check, 'w', encoding='utf-8') as out:
            out.write('#include <%s>\n' % path)
            for name, size in types:
                real = RENAMED.get(name, name)
                if real:
                    out.write('_Static_assert(sizeof(%s) == %s, "%s");\n' % (real, size, name))
            for line in printed.stdout.splitlines():
                name, value = line.split()
                real = OWN_NUMBERS.get(name, name)
                if real:
                    out.write('_Static_assert((unsigned long long)(%s) == %sull, "%s");\n'
                              % (real, value, name))
        return subprocess.run([*compiler, '-fsyntax-only', '-w', check], check=False).returncode != 0


def main():
    if sys.argv[1] == '--header':
        nvml_h, pynvml = header()
        compiler = sys.argv[3:] or ['cc']
        names = Spec(sys.argv[2]).names()
        looked_up = set(re.findall(r'_nvmlGetFunctionPointer\("(nvml\w+)"', open(pynvml, encoding='utf-8').read()))
        assert len(looked_up) > 300
        missing = looked_up - names
        print('pynvml looks up %d names; not in nvml.spec: %s' % (len(looked_up), sorted(missing)))
        failed = differ('nvml.h', 'nvml.spec', declared(nvml_h, compiler), names - OLDER)
        sys.exit(1 if failed or missing or abi_faults(nvml_h, compiler) else 0)
    spec = Spec(sys.argv[2])
    page = open(sys.argv[3], encoding='utf-8').read().replace('\\-', '-')
    failed = differ('the library', 'nvml.spec', exported(sys.argv[1]), spec.names())
    failed |= differ('the page', 'what is carried', set(re.findall(r'\bnvml[A-Z]\w*', page)), spec.known)
    sys.exit(1 if failed or len(spec.names()) < 390 else 0)


if __name__ == '__main__':
    main()
