# SPDX-License-Identifier: Apache-2.0
"""Reads cuda.spec into lists of apis, unsupported names and variants, handle kinds, ops."""
import re


class SpecError(Exception):
    """Says file, line and what is wrong."""


class Api:
    def __init__(self, symbol, version, options, parameters):
        self.symbol = symbol
        self.version = version
        self.parameters = parameters
        self.base = re.sub(r'_v\d+$', '', symbol)
        self.is_default = 'older' not in options and 'newer' not in options
        self.member = self.base if self.is_default else symbol
        if not self.is_default and self.member == self.base:
            self.member = symbol + '_v1'
        self.twin = None
        self.twin_version = 0
        self.also = []
        self.other_base = None
        for option in options:
            key, _, value = option.partition('=')
            if key in ('ptds', 'ptsz'):
                self.twin = '%s_%s' % (symbol, key)
                self.twin_version = int(value)
            elif key == 'also':
                self.also = [(n.split(':')[0], int(n.split(':')[1])) for n in value.split(',')]
            elif key == 'base':
                self.other_base = (value.split(':')[0], int(value.split(':')[1]))
            elif key not in ('older', 'newer'):
                raise SpecError('unknown option %s of api %s' % (option, symbol))
        self.argument_names = []
        if parameters != 'void':
            for parameter in parameters.split(','):
                self.argument_names.append(re.search(r'(\w+)\s*$', parameter).group(1))


class Field:
    """One field of a record: kind, name, options."""

    def __init__(self, kind, name, options):
        self.kind, _, self.of = kind.partition(':')
        self.name = name
        self.options = options


class Op:
    def __init__(self, name, code, flags):
        self.name = name
        self.code = code
        self.flags = flags
        self.fields = []
        self.results = []
        self.call = None
        self.help = ''


class Spec:
    def __init__(self):
        self.apis = []
        self.unsupported = []
        self.variants = []
        self.handles = []
        self.ops = []

    def names(self):
        """All that a library of this interface exports."""
        names = {name for name, _version in self.unsupported + self.variants}
        for api in self.apis:
            names |= {api.symbol} | {name for name, _version in api.also}
            if api.twin:
                names.add(api.twin)
        return names


def read(path):
    spec = Spec()
    op = None
    with open(path, encoding='utf-8') as lines:
        for number, line in enumerate(lines, 1):
            text = line.split('#', 1)[0].rstrip()
            if not text:
                continue
            try:
                op = _line(spec, op, text)
            except (ValueError, IndexError, SpecError, AttributeError) as error:
                raise SpecError('%s:%d: %s: %s' % (path, number, error, line.strip())) from error
    _validate(spec)
    return spec


def _line(spec, op, text):
    if text[0] in ' \t':
        if op is None:
            raise SpecError('a field outside of an op')
        _op_line(op, text.split())
        return op
    words = text.split()
    if words[0] == 'api':
        match = re.match(r'api (\w+) (\d+)([^(]*)\((.*)\)$', text)
        spec.apis.append(Api(match.group(1), int(match.group(2)), match.group(3).split(),
                             match.group(4).strip()))
        return None
    if words[0] == 'unsupported':
        spec.unsupported.append((words[1], int(words[2])))
        return None
    if words[0] == 'variant':
        spec.variants.append((words[1], int(words[2])))
        return None
    if words[0] == 'handle':
        options = dict(w.split('=') for w in words[3:])
        spec.handles.append((words[1], int(words[2], 0), int(options['max'], 0), options['type']))
        return None
    if words[0] == 'op':
        new = Op(words[1], int(words[2], 0), set(words[3:]))
        spec.ops.append(new)
        return new
    raise SpecError('unknown statement %s' % words[0])


def _op_line(op, words):
    if words[0] == 'help':
        op.help = ' '.join(words[1:])
        return
    if words[0] == 'call':
        op.call = ' '.join(words[1:])
        return
    options = {}
    for word in words[(3 if words[0] == 'out' else 2):]:
        key, _, value = word.partition('=')
        options[key] = value
    if words[0] == 'out':
        op.results.append(Field(words[1], words[2], options))
    else:
        op.fields.append(Field(words[0], words[1], options))


def _validate(spec):
    codes = {}
    for op in spec.ops:
        if op.code in codes:
            raise SpecError('ops %s and %s have the same code' % (op.name, codes[op.code]))
        codes[op.code] = op.name
    names = set()
    for api in spec.apis:
        for name in [api.symbol] + [n for n, _ in api.also]:
            if name in names:
                raise SpecError('%s is described twice' % name)
            names.add(name)
    for api in spec.apis:
        names.add(api.twin)
    # A call that is described takes the place of its row among the variants.
    spec.variants = [row for row in spec.variants if row[0] not in names]
    for name, _version in spec.unsupported:
        if name in names:
            raise SpecError('%s is both described and unsupported' % name)
