# SPDX-License-Identifier: Apache-2.0
"""The wire: records and answers, the worker's checks and dispatch, the guest's encoders."""
from gen_api import HEAD

SCALARS = {'u32': ('uint32_t', 4), 'i32': ('int32_t', 4), 'u64': ('uint64_t', 8),
           'f32': ('float', 4)}
HANDLES = ('ref', 'new', 'del')
WIDE = {'slice': 'struct vgpu_slice', 'blob': 'struct vgpu_blob', 'place': 'struct vgpu_place'}


def wire_type(field):
    """C type, size and alignment of a field in a record."""
    if field.kind in SCALARS:
        name, size = SCALARS[field.kind]
        return name, size, size
    if field.kind in HANDLES:
        return 'uint32_t', 4, 4
    if field.kind in ('range', 'end'):
        return 'uint64_t', 8, 8
    return WIDE[field.kind], 16, 8


def layout(fields, head_bytes):
    """Members with explicit gaps: list of (type, name, is_reserved), and the size."""
    members = []
    offset = head_bytes
    gap = 0
    for field in fields:
        ctype, size, align = wire_type(field)
        if offset % align:
            members.append(('uint32_t', 'reserved%d' % gap, True))
            gap += 1
            offset += 4
        members.append((ctype, field.name, False))
        offset += size
    if offset % 8:
        members.append(('uint32_t', 'reserved%d' % gap, True))
        offset += 4
    return members, offset


def struct_text(name, head, members, size):
    body = ''.join('    %s %s;\n' % (ctype, member) for ctype, member, _ in members)
    return 'struct %s {\n    struct %s head;\n%s};\nVGPU_ASSERT_SIZE(struct %s, %d);\n\n' % (
        name, head, body, name, size)


def wire_header(spec):
    out = [HEAD, '''/* Records and answers of cuda.spec, as they lie in the rings. docs/spec/ring.md. */
#ifndef VGPU_CUDA_OPS_H
#define VGPU_CUDA_OPS_H

#include <vgpu/cuda.h>
#include <vgpu/ring.h>

enum cuda_kind {
''']
    for name, number, _most, _type in spec.handles:
        out.append('    CUDA_KIND_%s = %d,\n' % (name.upper(), number))
    out.append('    CUDA_KINDS = %d\n};\n\n' % (max(h[1] for h in spec.handles) + 1))
    for name, _number, most, _type in spec.handles:
        out.append('#define CUDA_MAX_%sS %d\n' % (name.upper(), most))
    out.append('\nenum cuda_op {\n')
    for op in spec.ops:
        out.append('    CUDA_OP_%s = 0x%04x,\n' % (op.name.upper(), op.code))
    out.append('};\n\n')
    for op in spec.ops:
        out.append('/* %s: %s. %s */\n' % (op.name, ', '.join(sorted(op.flags)), op.help))
        members, size = layout(op.fields, 32)
        out.append(struct_text('cuda_op_' + op.name, 'vgpu_record', members, size))
        if 'post' not in op.flags:
            members, size = layout(op.results, 40)
            out.append(struct_text('cuda_re_' + op.name, 'vgpu_completion', members, size))
    for op in spec.ops:
        if op.results:
            out.append('/* The results of %s, outside of the ring. */\nstruct cuda_out_%s {\n'
                       % (op.name, op.name))
            for field in op.results:
                if field.kind == 'blob':
                    out.append('    uint32_t %s_bytes;\n' % field.name)
                else:
                    out.append('    %s %s;\n' % (SCALARS[field.kind][0], field.name))
            for field in op.results:
                if field.kind == 'blob':
                    out.append('    _Alignas(8) uint8_t %s[%s];\n' % (field.name,
                                                                     field.options['max']))
            out.append('};\n\n')
    out.append('union cuda_out {\n    uint64_t none;\n')
    for op in spec.ops:
        if op.results:
            out.append('    struct cuda_out_%s %s;\n' % (op.name, op.name))
    out.append('};\n\n#endif\n')
    return ''.join(out)


def driver_type(spec, kind):
    return next(h[3] for h in spec.handles if h[0] == kind)


def input_members(spec, op):
    out = []
    for field in op.fields:
        if field.kind in SCALARS:
            out.append('    %s %s;\n' % (SCALARS[field.kind][0], field.name))
        elif field.kind == 'new':
            out.append('    uint32_t %s_handle;\n' % field.name)
        elif field.kind in ('ref', 'del'):
            out.append('    %s %s;\n    uint32_t %s_handle;\n'
                       % (driver_type(spec, field.of), field.name, field.name))
        elif field.kind in ('range', 'end'):
            out.append('    CUdeviceptr %s;\n' % field.name)
        elif field.kind == 'place':
            out.append('    struct cuda_place %s;\n' % field.name)
        elif field.kind == 'slice':
            out.append('    void *%s;\n    uint64_t %s_offset;\n    uint64_t %s_bytes;\n'
                       % ((field.name,) * 3))
        elif field.kind == 'blob':
            out.append('    const void *%s;\n    uint32_t %s_bytes;\n' % ((field.name,) * 2))
    return ''.join(out)


def input_header(spec):
    out = [HEAD, '''/*
 * What the worker's checks make of a record: private, typed, proved. Inner code takes only these.
 */
#ifndef VGPU_CUDA_IN_H
#define VGPU_CUDA_IN_H

#include "cuda/border.h"
#include "cuda/cuda_ops.h"

''']
    for op in spec.ops:
        members = input_members(spec, op)
        if members:
            out.append('struct cuda_in_%s {\n%s};\n\n' % (op.name, members))
    out.append('union cuda_in {\n    uint64_t none;\n')
    for op in spec.ops:
        if op.fields:
            out.append('    struct cuda_in_%s %s;\n' % (op.name, op.name))
    out.append('};\n\n/* The executions that are written by hand (worker/exec_*.c). */\n')
    for op in spec.ops:
        if not op.call:
            out.append(execute_prototype(op) + ';\n')
    out.append('\n#endif\n')
    return ''.join(out)


def execute_prototype(op):
    parameters = ['struct channel *channel', 'const struct cuda_call *call']
    if op.fields:
        parameters.append('const struct cuda_in_%s *in' % op.name)
    if op.results:
        parameters.append('struct cuda_out_%s *out' % op.name)
    return 'CUresult exec_%s(%s)' % (op.name, ', '.join(parameters))


def scalar_checks(op, field):
    out = []
    value = 'op->%s' % field.name
    options = field.options
    if 'min' in options:
        out.append('%s < %s' % (value, options['min']))
    if 'max' in options:
        out.append('%s > %s' % (value, options['max']))
    if 'mask' in options:
        out.append('(%s & ~(uint64_t)%s)' % (value, options['mask']))
    if 'one' in options:
        out.append('(%s)' % ' && '.join('%s != %s' % (value, v)
                                        for v in options['one'].split(',')))
    text = ''
    if out:
        text = '    if (%s)\n        return border_malformed(channel, "%s", "%s");\n' % (
            ' || '.join(out), op.name, field.name)
    return text + '    in->%s = %s;\n' % (field.name, value)


def field_check(spec, op, field):
    name = field.name
    if field.kind in SCALARS:
        return scalar_checks(op, field)
    late = '    if (late == CUDA_SUCCESS)\n        late = %s;\n'
    if field.kind == 'new':
        return ('    if (border_new(channel, CUDA_KIND_%s, op->%s) < 0)\n'
                '        return border_malformed(channel, "%s", "%s");\n'
                '    in->%s_handle = op->%s;\n'
                % (field.of.upper(), name, op.name, name, name, name))
    if field.kind in ('ref', 'del'):
        call = 'border_%s(channel, call, CUDA_KIND_%s, op->%s, %s, (void **)&in->%s)' % (
            field.kind, field.of.upper(), name,
            'true' if 'null' in field.options else 'false', name)
        return '    in->%s_handle = op->%s;\n' % (name, name) + late % call
    if field.kind == 'range':
        return '    in->%s = op->%s;\n' % (name, name) + late % (
            'border_range(channel, op->%s, %s)' % (name, field.options['bytes']))
    if field.kind == 'end':
        return '    in->%s = op->%s;\n' % (name, name) + late % (
            'border_end(channel, call, op->%s)' % name)
    if field.kind == 'place':
        return ('    if (op->%s.place > VGPU_PLACE_DATA || op->%s.reserved)\n'
                '        return border_malformed(channel, "%s", "%s");\n'
                % (name, name, op.name, name)) + (
            '    status = border_place(channel, &op->%s, %s, &in->%s);\n'
            '    if (status < 0)\n'
            '        return border_malformed(channel, "%s", "%s");\n'
            '    if (late == CUDA_SUCCESS)\n        late = (CUresult)status;\n'
            % (name, field.options['bytes'], name, op.name, name))
    if field.kind == 'slice':
        return ('    if (border_slice(channel, &op->%s, &in->%s) < 0)\n'
                '        return border_malformed(channel, "%s", "%s");\n'
                '    in->%s_offset = op->%s.offset;\n    in->%s_bytes = op->%s.bytes;\n'
                % (name, name, op.name, name, name, name, name, name))
    if field.kind == 'blob':
        return ('    status = border_blob(channel, call, record, sizeof(*op), &op->%s, %s, %s, '
                '&in->%s);\n    if (status == -ENOMEM)\n        late = CUDA_ERROR_OUT_OF_MEMORY;\n'
                '    else if (status < 0)\n'
                '        return border_malformed(channel, "%s", "%s");\n'
                '    in->%s_bytes = op->%s.size_bytes;\n'
                % (name, field.options['max'], 'true' if 'string' in field.options else 'false',
                   name, op.name, name, name, name))
    raise ValueError(field.kind)


def check_function(spec, op):
    members, _size = layout(op.fields, 32)
    kinds = {f.kind for f in op.fields}
    has_blob = 'blob' in kinds
    out = ['static int check_%s(struct channel *channel, struct cuda_call *call,\n'
           '    const struct vgpu_record *record, union cuda_in *input)\n{\n' % op.name]
    out.append('    const struct cuda_op_%s *op = (const struct cuda_op_%s *)record;\n'
               % (op.name, op.name))
    if op.fields:
        out.append('    struct cuda_in_%s *in = &input->%s;\n' % (op.name, op.name))
    out.append('    CUresult late = CUDA_SUCCESS;\n')
    if kinds & {'place', 'blob'}:
        out.append('    int status;\n')
    out.append('\n    if (record->size_bytes %s sizeof(*op))\n'
               '        return border_malformed(channel, "%s", "size");\n'
               % ('<' if has_blob else '!=', op.name))
    for _ctype, member, reserved in members:
        if reserved:
            out.append('    if (op->%s)\n        return border_malformed(channel, "%s", '
                       '"reserved");\n' % (member, op.name))
    if 'context' in op.flags:
        out.append('    late = border_context(channel, call);\n')
    order = {'new': 1, 'ref': 2, 'blob': 3, 'slice': 3, 'range': 4, 'place': 4, 'del': 5, 'end': 5}
    for field in sorted(op.fields, key=lambda f: order.get(f.kind, 0)):
        out.append(field_check(spec, op, field))
    out.append('    return late;\n}\n\n')
    return ''.join(out)


def execute_function(op):
    out = ['static CUresult execute_%s(struct channel *channel, const struct cuda_call *call,\n'
           '    union cuda_in *input, union cuda_out *output)\n{\n' % op.name]
    arguments = ['channel', 'call']
    if op.fields:
        arguments.append('&input->%s' % op.name)
    if op.results:
        arguments.append('&output->%s' % op.name)
    if op.call:
        out.append('    const struct cuda_driver *cu = border_driver(channel);\n')
        if op.fields:
            out.append('    const struct cuda_in_%s *in = &input->%s;\n' % (op.name, op.name))
        if op.results:
            out.append('    struct cuda_out_%s *out = &output->%s;\n' % (op.name, op.name))
        out.append('\n    return %s;\n}\n\n' % op.call)
    else:
        out.append('    return exec_%s(%s);\n}\n\n' % (op.name, ', '.join(arguments)))
    return ''.join(out)


def encode_function(op):
    """Out structure to answer. Returns the answer's size."""
    out = ['static uint32_t encode_%s(const union cuda_out *output, uint8_t *answer)\n{\n'
           '    const struct cuda_out_%s *out = &output->%s;\n'
           '    struct cuda_re_%s *re = (struct cuda_re_%s *)answer;\n'
           '    uint32_t used = sizeof(*re);\n\n' % ((op.name,) * 5)]
    out.append('    memset((uint8_t *)re + sizeof(re->head), 0, sizeof(*re) - sizeof(re->head));\n')
    for field in op.results:
        if field.kind == 'blob':
            out.append('    re->%s.offset = used;\n    re->%s.size_bytes = out->%s_bytes;\n'
                       '    used = border_encode_blob(answer, used, out->%s, out->%s_bytes);\n'
                       % ((field.name,) * 5))
        else:
            out.append('    re->%s = out->%s;\n' % (field.name, field.name))
    out.append('    return used;\n}\n\n')
    return ''.join(out)


def check_source(spec):
    out = [HEAD, '''#include <errno.h>
#include <string.h>

#include "cuda/border.h"
#include "cuda/cuda_driver.h"
#include "cuda/cuda_in.h"
#include "cuda/extent.h"

''']
    for op in spec.ops:
        out.append(check_function(spec, op))
        out.append(execute_function(op))
        if op.results:
            out.append(encode_function(op))
    out.append('const struct cuda_op_row cuda_op_rows[] = {\n')
    for op in sorted(spec.ops, key=lambda o: o.code):
        flags = ' | '.join('CUDA_OPF_' + f.upper() for f in sorted(op.flags))
        results = ('encode_%s, sizeof(struct cuda_out_%s)' % (op.name, op.name)
                   if op.results else 'NULL, 0')
        out.append('    {0x%04x, %s, "%s", check_%s, execute_%s, %s},\n'
                   % (op.code, flags, op.name, op.name, op.name, results))
    out.append('};\n\nconst size_t cuda_op_rows_count = '
               'sizeof(cuda_op_rows) / sizeof(cuda_op_rows[0]);\n\n')
    out.append('/* Where the row of each code is, from 1; 0: no such op. */\n'
               'const uint16_t cuda_op_places[] = {\n')
    for place, op in enumerate(sorted(spec.ops, key=lambda o: o.code), 1):
        out.append('    [0x%04x] = %d,\n' % (op.code, place))
    out.append('};\n\nconst size_t cuda_op_places_count = '
               'sizeof(cuda_op_places) / sizeof(cuda_op_places[0]);\n\n')
    out.append('const struct cuda_kind_row cuda_kind_rows[CUDA_KINDS] = {\n')
    for name, number, most, _type in spec.handles:
        out.append('    [%d] = {"%s", %d},\n' % (number, name, most))
    out.append('};\n')
    return ''.join(out)


def argument_members(op):
    out = []
    for field in op.fields:
        if field.kind == 'blob':
            out.append('    const void *%s;\n    uint32_t %s_bytes;\n' % ((field.name,) * 2))
        else:
            out.append('    %s %s;\n' % (wire_type(field)[0], field.name))
    return ''.join(out)


def send_prototype(op):
    parameters = ['struct sender *sender']
    if 'either' in op.flags or 'job' in op.flags:
        parameters.append('uint16_t flags')
    if op.fields:
        parameters.append('const struct cuda_args_%s *args' % op.name)
    if op.results:
        parameters.append('struct cuda_out_%s *out' % op.name)
    return 'CUresult cuda_send_%s(%s)' % (op.name, ', '.join(parameters))


def send_header(spec):
    out = [HEAD, '''/*
 * The guest's encoders: one function for each record of cuda.spec. flags: VGPU_RECORD_*. A posted
 * record returns as soon as it is in the ring; one with VGPU_RECORD_WAIT (set here for ops that
 * always wait) returns the answer's CUresult, with *out filled on CUDA_SUCCESS.
 */
#ifndef VGPU_CUDA_SEND_H
#define VGPU_CUDA_SEND_H

#include "cuda/cuda_abi.h"
#include "cuda/cuda_ops.h"
#include "cuda/sender.h"

''']
    for op in spec.ops:
        if op.fields:
            out.append('struct cuda_args_%s {\n%s};\n' % (op.name, argument_members(op)))
        out.append(send_prototype(op) + ';\n\n')
    out.append('#endif\n')
    return ''.join(out)


def decode_lines(op):
    """Answers are decoded on failure too: logs come with it. No answer leaves *out zero."""
    blobs = [f for f in op.results if f.kind == 'blob']
    out = ['    memset(out, 0, sizeof(*out));\n    if (wait.answer_bytes >= sizeof(struct cuda_re_%s)) {\n'
           '        const struct cuda_re_%s *re = (const void *)wait.answer;\n\n'
           % (op.name, op.name)]
    for field in op.results:
        if field.kind != 'blob':
            out.append('        out->%s = re->%s;\n' % (field.name, field.name))
    for field in blobs:
        out.append('        if (!sender_answer_blob(&wait, &re->%s, out->%s, %s, &out->%s_bytes))\n'
                   '            result = CUDA_ERROR_UNKNOWN;\n'
                   % (field.name, field.name, field.options['max'], field.name))
    out.append('    }\n')
    return ''.join(out)


def send_function(op):
    blobs = [f for f in op.fields if f.kind == 'blob']
    has_flags = 'either' in op.flags or 'job' in op.flags
    flags = 'flags' if has_flags else '0'
    extra = [] if 'wait' not in op.flags else ['VGPU_RECORD_WAIT']
    extra += ['SENDER_' + f.upper() for f in ('job', 'report', 'query') if f in op.flags]
    if extra:
        flags = ' | '.join((['flags'] if has_flags else []) + extra)
    answered = 'post' not in op.flags
    out = [send_prototype(op) + '\n{\n']
    out.append('    struct sender_wait wait;\n    struct cuda_op_%s *op;\n    CUresult result;\n\n'
               % op.name)
    out.append('    result = sender_begin(sender, &wait, CUDA_OP_%s, %s, sizeof(*op));\n'
               % (op.name.upper(), flags))
    for field in blobs:
        out.append('    if (result == CUDA_SUCCESS)\n        result = sender_blob(&wait, args->%s, '
                   'args->%s_bytes);\n' % (field.name, field.name))
    out.append('    if (result == CUDA_SUCCESS)\n        result = sender_reserve(&wait, '
               '(void **)&op);\n    if (result != CUDA_SUCCESS)\n        return result;\n')
    index = 0
    for field in op.fields:
        if field.kind == 'blob':
            out.append('    op->%s = *sender_placed(&wait, %d);\n' % (field.name, index))
            index += 1
        else:
            out.append('    op->%s = args->%s;\n' % (field.name, field.name))
    if not answered:
        out.append('    return sender_commit(&wait);\n}\n\n')
        return ''.join(out)
    out.append('    result = sender_commit(&wait);\n')
    if op.results:
        out.append(decode_lines(op) + '    sender_end(&wait);\n    return result;\n}\n\n')
    else:
        out.append('    sender_end(&wait);\n    return result;\n}\n\n')
    return ''.join(out)


def send_source(spec):
    out = [HEAD, '#include <string.h>\n\n#include "cuda/cuda_send.h"\n\n']
    for op in spec.ops:
        out.append(send_function(op))
    return ''.join(out)


def calls_document(spec):
    out = ['<!-- Made by cuda/gen.py from cuda/cuda.spec; a test compares. -->\n'
           '# The CUDA driver API as carried\n\n## Supported calls\n\n'
           '| call | symbol | CUDA version | per-thread twin |\n| --- | --- | --- | --- |\n']
    for api in spec.apis:
        out.append('| %s | %s | %d.%d | %s |\n' % (api.base, api.symbol, api.version // 1000,
                                                 api.version % 1000 // 10, api.twin or ''))
    out.append('\n## Records\n\nFields in order; gaps are reserved and zero. `docs/spec/ring.md` '
               'has the heads.\n\n| record | code | kind | fields | answer |\n'
               '| --- | --- | --- | --- | --- |\n')
    for op in spec.ops:
        fields = ', '.join('%s %s' % (f.kind + (':' + f.of if f.of else ''), f.name)
                           for f in op.fields)
        results = ', '.join('%s %s' % (f.kind, f.name) for f in op.results)
        out.append('| %s | 0x%04x | %s | %s | %s |\n' % (op.name, op.code,
                                                       ' '.join(sorted(op.flags)), fields,
                                                       results))
    out.append('\n## Not supported\n\nEach answers CUDA_ERROR_NOT_SUPPORTED and is reported once '
               'by name.\n\n')
    out.append(', '.join(name for name, _version in spec.unsupported) + '\n')
    out.append('\nNor do these versions and per-thread twins:\n\n')
    out.append(', '.join(name for name, _version in spec.variants) + '\n')
    return ''.join(out)
