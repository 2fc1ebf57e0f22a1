#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What cuda.spec says of the fields of each record, for the hostile client.

shapes.py FOLDER-OF-SPEC.PY CUDA.SPEC OUTPUT.C
"""
import sys

sys.path.insert(0, sys.argv[1])
import gen_ops  # noqa: E402
import spec as spec_reader  # noqa: E402

WHAT = {'u32': '4', 'i32': '4', 'f32': '4', 'u64': '8', 'ref': 'h', 'del': 'd', 'new': 'n',
        'range': 'a', 'end': 'a', 'place': 'p', 'slice': 'l', 'blob': 'b'}
LARGEST = dict.fromkeys(('u32', 'i32', 'f32'), str(2**32 - 1))


def number(text):
    return int(text, 0)


def rule(field):
    options = field.options
    ones = [number(v) for v in options['one'].split(',')] if 'one' in options else []
    kind = 'CUDA_KIND_' + field.of.upper() if field.kind in ('ref', 'new', 'del') else '0'
    numeric = WHAT[field.kind] in '48'
    text = "{.what = '%s', .kind = %s, .null = %d, .ones = %d, .min = %du, .max = %du, " % (
        WHAT[field.kind], kind, 'null' in options, len(ones),
        number(options.get('min', '0')) if numeric else 0,
        number(options.get('max', LARGEST.get(field.kind, str(2**64 - 1)))) if numeric
        else 2**64 - 1)
    return text + '.mask = %du, .one = {%s}}' % (
        number(options['mask']) if 'mask' in options else 2**64 - 1,
        ', '.join('%du' % value for value in ones or [0]))


def rules(op):
    members, _size = gen_ops.layout(op.fields, 32)
    fields = {field.name: field for field in op.fields}
    return ["{.what = 'z'}" if reserved else rule(fields[name])
            for _type, name, reserved in members]


def main():
    spec = spec_reader.read(sys.argv[2])
    lines = ['/* SPDX-License-Identifier: Apache-2.0 */',
             '/* Made by worker/shapes.py from cuda/cuda.spec. */',
             '#include "worker/test_hostile_client.h"', '',
             'const struct hostile_rules hostile_rules[] = {']
    for op in spec.ops:
        made = rules(op)
        lines.append('    {CUDA_OP_%s, "%s", %d, {%s}},' % (
            op.name.upper(), op.name, len(made), ',\n      '.join(made) or '{0}'))
    lines += ['};', '',
              'const size_t hostile_rules_count = sizeof(hostile_rules) / sizeof(hostile_rules[0]);',
              '']
    with open(sys.argv[3], 'w', encoding='ascii') as out:
        out.write('\n'.join(lines))


main()
