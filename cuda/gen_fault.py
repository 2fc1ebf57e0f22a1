# SPDX-License-Identifier: Apache-2.0
"""The layer of faults in front of a driver: its exported functions, and the names of their outputs.

Each name that a driver exports has a function of its own here, which calls the real driver's of the
same name: versions, earlier names and per-thread twins are told apart as the real driver does.
"""
import re

HEAD = '/* SPDX-License-Identifier: Apache-2.0 */\n/* Made by cuda/gen.py from cuda/cuda.spec. */\n'


class Call:
    def __init__(self, name, api, per_thread):
        self.name = name
        self.api = api
        self.per_thread = per_thread


def _calls(spec):
    calls = []
    for api in spec.apis:
        calls.append(Call(api.symbol, api, False))
        calls += [Call(name, api, False) for name, _version in api.also]
        if api.twin:
            calls.append(Call(api.twin, api, True))
    return calls


def _outputs(api):
    """(name, type) of each parameter through which a caller may be given something."""
    found = []
    if api.parameters == 'void':
        return found
    for parameter in api.parameters.split(','):
        kind, name = re.match(r'\s*(.*?)\s*(\w+)\s*$', parameter).groups()
        pointee = kind[:-1].rstrip()
        if kind.endswith('*') and pointee != 'void' and (
                not pointee.startswith('const') or pointee.endswith('*')):
            found.append((name, pointee))
    return found


def _stream(api):
    """C for the stream that the call submits to, or None."""
    if re.search(r'\bCUstream \w+', api.parameters):
        return re.search(r'\bCUstream (\w+)', api.parameters).group(1)
    if 'const CUlaunchConfig *config' in api.parameters:
        return 'config ? config->hStream : NULL'
    return None


def calls_source(spec):
    out = [HEAD, '#include "cuda/cuda_api.h"\n#include "fault/plan.h"\n\n']
    for api in spec.apis:
        if _outputs(api):
            out.append('static const struct fault_argument %s_arguments[] = {\n' % api.symbol)
            out += ['    {"%s", sizeof(%s)},\n' % pair for pair in _outputs(api)]
            out.append('};\n')
    calls = _calls(spec)
    out.append('\nconst struct fault_call_name fault_call_names[] = {\n')
    for call in calls:
        arguments = call.api.symbol + '_arguments' if _outputs(call.api) else 'NULL'
        out.append('    {"%s", "%s", %s, %d},\n'
                   % (call.name, call.api.base, arguments, len(_outputs(call.api))))
    out.append('};\n\nconst unsigned fault_n_calls = %d;\n' % len(calls))
    return ''.join(out)


def _function(number, call):
    api = call.api
    stream = _stream(api)
    fields = ['.number = %d' % number]
    if stream:
        fields += ['.has_stream = true', '.stream = ' + stream]
    if call.per_thread:
        fields.append('.per_thread = true')
    out = ['CUresult %s(%s)\n{\n    __typeof__(%s) *real = fault_real[%d];\n'
           % (call.name, api.parameters, call.name, number),
           '    struct fault_call call = {%s};\n    CUresult result;\n\n' % ', '.join(fields),
           '    if (fault_before(&call, &result))\n        return result;\n',
           '    result = real(%s);\n' % ', '.join(api.argument_names)]
    outputs = _outputs(api)
    if outputs:
        out.append('    fault_after(&call, result, (void *[]){%s});\n'
                   % ', '.join('(void *)(uintptr_t)%s' % name for name, _kind in outputs))
    if api.base == 'cuGetProcAddress':
        out.append('    if (result == CUDA_SUCCESS)\n        fault_wrap(pfn);\n')
    out.append('    return result;\n}\n\n')
    return ''.join(out)


def api_source(spec):
    calls = _calls(spec)
    out = [HEAD, '#include "cuda/cuda_api.h"\n#include "fault/layer.h"\n\n',
           'void *fault_real[%d];\n\n' % len(calls)]
    out += [_function(number, call) for number, call in enumerate(calls)]
    for name, _version in spec.unsupported + spec.variants:
        out.append('CUDA_API CUresult %s(void);\nCUresult %s(void)\n{\n'
                   '    return CUDA_ERROR_NOT_SUPPORTED;\n}\n\n' % (name, name))
    out.append('void *const fault_own[] = {\n')
    out += ['    (void *)(uintptr_t)%s,\n' % call.name for call in calls]
    out.append('};\n\nconst struct cuda_symbol fault_symbols[] = {\n')
    out += ['    {%d * sizeof(void *), {"%s"}},\n' % (number, call.name)
            for number, call in enumerate(calls)]
    out.append('};\n')
    return ''.join(out)
