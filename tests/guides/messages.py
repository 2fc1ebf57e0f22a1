#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each message that troubleshooting.md quotes is in the sources, word by word.

A quoted message is a heading in backquotes, or a table's first cell in them; `…` stands where the
source has a conversion of printf's. `event=NAME` is a line of a program's log.
"""
import os
import re
import subprocess
import sys
import unittest

import blocks

PLACES = ('admin', 'agent', 'carrier', 'common', 'fault', 'guest', 'include', 'launcher', 'mediator',
          'qemu', 'store', 'tools', 'worker', 'cuda', 'quickstart', 'softgpu', 'xenbus')
CONVERSION = re.compile(r'%[-+ #0]*[\d*]*(?:\.[\d*]+)?(?:hh|h|ll|l|z|j|t)?[a-zA-Z]')


def texts_of(source):
    """The string literals of C source, joined as the compiler does, conversions as `…`."""
    source = re.sub(r'"\s*PRI\w+\s*"', 'd', source)
    source = re.sub(r'"\s*PRI\w+', 'd"', source)
    source = re.sub(r'(?<!\\)"\s*\\?\n\s*"', '', source)
    for literal in re.findall(r'"((?:[^"\\\n]|\\.)*)"', source):
        plain = literal.replace('%%', '\0').replace('\\"', '"').replace('\\n', '')
        yield re.sub('…+', '…', CONVERSION.sub('…', plain)).replace('\0', '%')


def sources():
    names = subprocess.run(['git', 'ls-files', '--cached', '--others', '--exclude-standard',
                            *PLACES], cwd=blocks.ROOT, capture_output=True, text=True, check=True)
    for name in names.stdout.split('\n'):
        base = os.path.basename(name)
        if base.startswith(('test_', 'fuzz_', 'fake_')) or not os.path.isfile(
                os.path.join(blocks.ROOT, name)):
            continue
        if name.endswith(('.c', '.h', '.py', '.sh', '.spec')) or name == 'quickstart':
            with open(os.path.join(blocks.ROOT, name), encoding='utf-8') as text:
                yield from texts_of(text.read())


def quoted(page):
    found = []
    for line in page.split('\n'):
        heading = re.match(r'#+ (.*)$', line)
        if heading:
            found += re.findall(r'`([^`]+)`', heading.group(1))
        else:
            cell = re.match(r'\| (`.*?) \|', line)
            found += re.findall(r'`([^`]+)`', cell.group(1)) if cell else []
    return found


def lost(wanted, literals):
    """Of these messages, those that no literal has; events are whole ones."""
    whole, known = set(literals), '\n'.join(literals)
    return [message for message in wanted
            if (message[6:] not in whole if message.startswith('event=') else message not in known)]


class Messages(unittest.TestCase):
    def test_each_quoted_message_is_in_the_sources(self):
        with open(os.path.join(blocks.ROOT, 'docs/troubleshooting.md'), encoding='utf-8') as text:
            wanted = quoted(text.read())
        self.assertGreater(len(wanted), 30)
        self.assertEqual(lost(wanted, list(sources())), [])

    def test_literals_are_joined(self):
        source = 'f(err, "VM %" PRIu32 " has %llu%s"\n    "; see \\"x\\"", 1); g("100%%");'
        self.assertEqual(list(texts_of(source)), ['VM … has …; see "x"', '100%'])

    def test_what_is_not_there_is_lost(self):
        literals = ['VM … does not exist', 'adopted']
        wanted = ['VM … does not exist', 'event=adopt', 'VM 1 does not exist']
        self.assertEqual(lost(wanted, literals), wanted[1:])

    def test_messages_are_found_in_a_page(self):
        page = '### `a …` or `b`\ntext `c`\n| `d`, `e` | f `g` |\n'
        self.assertEqual(quoted(page), ['a …', 'b', 'd', 'e'])


if __name__ == '__main__':
    sys.exit(unittest.main())
