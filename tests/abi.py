#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares cuda/cuda_abi.h with NVIDIA's cuda.h where that is installed: values, sizes, offsets.

abi.py COMPILER. Looks in $CUDA_HOME/include, /usr/local/cuda/include and .cache/cuda/include.
Exits 77 with the reason when there is no cuda.h of version 13.0.
"""
import glob
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HEADERS = ['cuda/cuda_abi.h', 'cuda/cuda_attribute.h', 'cuda/cuda_result.h']
STRUCTS = ['CUdevprop', 'CUDA_MEMCPY2D', 'CUDA_MEMCPY3D', 'CUDA_MEMCPY3D_PEER', 'CUlaunchAttribute', 'CUlaunchConfig',
           'CUctxCreateParams', 'CUuuid', 'CUlaunchAttributeValue', 'CUaccessPolicyWindow', 'CUmemLocation',
           'CUmemAccessDesc', 'CUmemAllocationProp', 'CUmemPoolProps',
           'CUDA_KERNEL_NODE_PARAMS',
           'CUDA_KERNEL_NODE_PARAMS_v1', 'CUDA_MEMSET_NODE_PARAMS', 'CUDA_HOST_NODE_PARAMS',
           'CUgraphNodeParams', 'CUgraphEdgeData', 'CUgraphExecUpdateResultInfo',
           'CUDA_GRAPH_INSTANTIATE_PARAMS']
NESTED = ['CUgraphNodeParams']  # only their size


def find_header():
    places = [os.path.join(os.environ.get('CUDA_HOME', '/nonexistent'), 'include'),
              '/usr/local/cuda/include', os.path.join(ROOT, '.cache/cuda/include')]
    places += glob.glob(os.path.join(ROOT, '.cache/*/lib/python3*/site-packages/nvidia/cu13/include'))
    for place in places:
        path = os.path.join(place, 'cuda.h')
        if os.path.exists(path):
            with open(path, encoding='utf-8', errors='replace') as text:
                if '#define CUDA_VERSION 13000' in text.read():
                    return place
    return None


def names_and_fields():
    text = ''
    for name in HEADERS:
        with open(os.path.join(ROOT, name), encoding='utf-8') as header:
            text += header.read()
    names = re.findall(r'^\s*(CU_[A-Z0-9_a-z]+)\s*=', text, re.M)
    names += re.findall(r'X\((CUDA_\w+),', text)
    names += re.findall(r'#define (CU_(?:MEMHOST|EVENT_)\w+)\s+0x', text)
    fields = []
    for body, name in re.findall(r'typedef struct \{\n(.*?)\n\} (\w+);', text, re.S):
        if name in STRUCTS and name not in NESTED:
            inner = None
            while inner != body:
                inner, body = body, re.sub(r'(struct|union) \{[^{}]*\} \w+;', '', body)
            for line in body.split('\n'):
                for field in re.findall(r'\b(\w+)(?:\[[^]]*\])?(?=[,;])', line):
                    if field not in ('pad', 'value', 'cigParams'):
                        fields.append((name, field))
    return names, fields


def values(compiler, include, names, fields):
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, 'abi.c')
        with open(source, 'w', encoding='utf-8') as out:
            out.write('#include <stdio.h>\n#include <stddef.h>\n#include "%s"\nint main(void)\n{\n'
                      % include[1])
            for name in names:
                out.write('printf("%s %%lld\\n", (long long)%s);\n' % (name, name))
            for struct in STRUCTS:
                out.write('printf("%s %%zu\\n", sizeof(%s));\n' % (struct, struct))
            for struct, field in fields:
                out.write('printf("%s.%s %%zu\\n", offsetof(%s, %s));\n'
                          % (struct, field, struct, field))
            out.write('return 0;\n}\n')
        binary = os.path.join(folder, 'abi')
        subprocess.run(compiler + ['-I', include[0], '-o', binary, source], check=True)
        return subprocess.run([binary], capture_output=True, text=True, check=True).stdout.split('\n')


def main():
    compiler = sys.argv[1:] or ['cc']
    header = find_header()
    if not header:
        print('skipped: no cuda.h of CUDA 13.0 here; install tools/ptx-requirements.txt into .cache/cuda')
        sys.exit(77)
    names, fields = names_and_fields()
    ours = values(compiler, (ROOT, 'cuda/cuda_abi.h'), names, fields)
    theirs = values(compiler, (header, 'cuda.h'), names, fields)
    wrong = [(a, b) for a, b in zip(ours, theirs) if a != b]
    for a, b in wrong:
        print('ours: %s, cuda.h: %s' % (a, b))
    print('%d values and %d fields compared, %d differ' % (len(names), len(fields), len(wrong)))
    sys.exit(1 if wrong or len(names) < 300 or len(fields) < 40 else 0)


if __name__ == '__main__':
    main()
