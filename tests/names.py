#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the names of the driver API: names.py LIBRARY SPEC, or names.py --header SPEC COMPILER.

The first compares what LIBRARY exports with what SPEC describes, neither more nor less. The second
compares SPEC with what NVIDIA's cuda.h and its companions declare, for each default stream and each
version of a call; it exits 77 with the reason when there is no cuda.h of version 13.0.
"""
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, 'cuda'))
sys.path.insert(0, os.path.join(ROOT, 'tests'))

import spec as spec_reader  # noqa: E402
from abi import find_header  # noqa: E402

HEADERS = ('cuda.h', 'cudaProfiler.h', 'cudaGL.h', 'cudaEGL.h', 'cudaVDPAU.h')
# Headers that the companions include; for names alone they may be empty.
STAND_INS = ('GL/gl.h', 'EGL/egl.h', 'EGL/eglext.h', 'vdpau/vdpau.h')
MODES = ([], ['-DCUDA_API_PER_THREAD_DEFAULT_STREAM'], ['-D__CUDA_API_VERSION_INTERNAL'],
         ['-D__CUDA_API_VERSION_INTERNAL', '-D__CUDA_API_PER_THREAD_DEFAULT_STREAM'])
# An inline function of cuda.h, no library's.
NOT_EXPORTED = {'cuGetProcAddress_v2_ptsz'}
# NVIDIA's library still has them, for programs that were linked with it long ago.
UNDECLARED = {'cuProfilerInitialize'}


def exported(library):
    text = subprocess.run(['nm', '-D', '--defined-only', library], capture_output=True, text=True,
                          check=True).stdout
    return {line.split()[2].split('@')[0] for line in text.splitlines()
            if line.split()[1] in 'TWDBRV'}


def declared(include, compiler):
    names = set()
    with tempfile.TemporaryDirectory() as folder:
        for name in STAND_INS:
            os.makedirs(os.path.join(folder, os.path.dirname(name)), exist_ok=True)
            open(os.path.join(folder, name), 'w', encoding='utf-8').close()
        present = [h for h in HEADERS if os.path.exists(os.path.join(include, h))]
        source = ''.join('#include <%s>\n' % h for h in present)
        for mode in MODES:
            text = subprocess.run(compiler + ['-E', '-P', '-x', 'c', *mode, '-I', include, '-I', folder, '-'],
                                  input=source, capture_output=True, text=True, check=True).stdout
            names |= set(re.findall(r'\bCUresult\s+(cu[A-Z]\w*)\s*\(', text))
    return names - NOT_EXPORTED, present


def report(first, second, a, b):
    for name in sorted(a - b):
        print('only in %s: %s' % (first, name))
    for name in sorted(b - a):
        print('only in %s: %s' % (second, name))
    print('%d names in %s, %d in %s' % (len(a), first, len(b), second))
    sys.exit(0 if a == b and len(a) > 600 else 1)


def main():
    if sys.argv[1] == '--header':
        include = find_header()
        if not include:
            print('skipped: no cuda.h of CUDA 13.0 here; '
                  'install tools/ptx-requirements.txt into .cache/cuda')
            sys.exit(77)
        names, present = declared(include, sys.argv[3:] or ['cc'])
        described = spec_reader.read(sys.argv[2]).names() - UNDECLARED
        if 'cudaProfiler.h' not in present:
            names |= {'cuProfilerStart', 'cuProfilerStop'}
        if 'cudaGL.h' not in present:
            described = {n for n in described if not re.search('GL|Egl|VDPAU', n)}
        report('cuda.h', 'cuda.spec', names, described)
    report('the library', 'cuda.spec', exported(sys.argv[1]), spec_reader.read(sys.argv[2]).names())


if __name__ == '__main__':
    main()
