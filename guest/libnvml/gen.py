#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes from nvml.spec what is the same for each function: gen.py SPEC api.h|names.c OUTPUT.

api.h has the prototypes of what is written by hand, names.c the functions under further names and
those that are not supported. The head of nvml.spec says what its lines mean.
"""
import re
import sys

REASONS = ('absent', 'machine', 'others', 'setting')
API = re.compile(r'api (\w+)((?: also=\w+)*)(?: -> (.+?))? \((.*)\)$')
HEAD = '/* SPDX-License-Identifier: Apache-2.0 */\n/* Made by guest/libnvml/gen.py from nvml.spec. */\n'


class Function:
    def __init__(self, name, also, result, parameters):
        self.name = name
        self.also = also
        self.result = result
        self.parameters = parameters

    def arguments(self):
        if self.parameters == 'void':
            return ''
        return ', '.join(re.search(r'(\w+)$', p).group(1) for p in self.parameters.split(','))

    def prototype(self, name):
        space = '' if self.result.endswith('*') else ' '
        return '%s%s%s(%s)' % (self.result, space, name, self.parameters)


class Spec:
    def __init__(self, path):
        self.functions = []
        self.unsupported = {}  # name: reason
        self.known = set()  # names of what is written by hand
        with open(path, encoding='utf-8') as text:
            for number, line in enumerate(text, 1):
                line = line.strip()
                if line and not line.startswith('#'):
                    self.take('%s:%d' % (path, number), line)

    def take(self, where, line):
        match = API.match(line)
        words = line.split()
        if match:
            also = re.findall(r'also=(\w+)', match.group(2))
            names = [match.group(1), *also]
            self.functions.append(Function(match.group(1), also, match.group(3) or 'nvmlReturn_t',
                                           match.group(4)))
        elif len(words) == 2 and words[0] in REASONS:
            names = [words[1]]
        else:
            sys.exit('%s: not understood: %s' % (where, line))
        for name in names:
            if not re.match(r'nvml[A-Z]\w*$', name) or name in self.names():
                sys.exit('%s: %s is no name, or there already' % (where, name))
            if not match:
                self.unsupported[name] = words[0]
            else:
                self.known.add(name)

    def names(self):
        return self.known | set(self.unsupported)


def api_h(spec):
    yield HEAD + '#ifndef VGPU_LIBNVML_API_H\n#define VGPU_LIBNVML_API_H\n\n'
    yield '#include "cuda/nvml_abi.h"\n\n'
    yield '#define NVML_API __attribute__((visibility("default")))\n\n'
    for function in spec.functions:
        for name in [function.name, *function.also]:
            yield 'NVML_API %s;\n' % function.prototype(name)
    yield '\n#endif\n'


def names_c(spec):
    yield HEAD + '#include "guest/libnvml/library.h"\n#include "guest/libnvml/nvml_api.h"\n'
    for function in spec.functions:
        for name in function.also:
            yield '\n%s\n{\n    return %s(%s);\n}\n' % (function.prototype(name), function.name,
                                                         function.arguments())
    # Callers pass arguments; by the calling conventions of Linux who takes none need not know.
    for name in sorted(spec.unsupported):
        yield ('\nNVML_API nvmlReturn_t %s(void);\nnvmlReturn_t %s(void)\n{\n'
               '    return library_unsupported();\n}\n' % (name, name))


def main():
    made = {'api.h': api_h, 'names.c': names_c}[sys.argv[2]](Spec(sys.argv[1]))
    with open(sys.argv[3], 'w', encoding='utf-8') as output:
        output.write(''.join(made))


if __name__ == '__main__':
    main()
