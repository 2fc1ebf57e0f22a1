# SPDX-License-Identifier: Apache-2.0
"""The fenced blocks of a guide, for run.py and marks.py, and what marks them (docs/guides.md).

A block of commands (language sh) either says `run`, or, in one word of REASONS, why no test runs it.
Other languages are no commands: `output` and `screen` are what the block before must show.
"""
import dataclasses
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GUIDES = ['first-ten-minutes', 'deployment', 'operations', 'troubleshooting', 'tuning', 'technical']
REASONS = {'systemd', 'root', 'gpu', 'vm', 'network', 'long', 'example'}
SHOWN = {'output', 'screen'}
TEXTS = {'text', 'ini', 'xml', 'json', 'yaml', 'c', 'diff'}
FENCE = re.compile(r'^```(.*)$')


@dataclasses.dataclass
class Block:
    guide: str
    line: int
    language: str
    marks: list
    lines: list
    expected: object = None  # the Block of what it must show

    @property
    def where(self):
        return 'docs/%s.md:%d' % (self.guide, self.line)

    @property
    def runs(self):
        return self.marks[:1] == ['run']

    @property
    def text(self):
        return '\n'.join(self.lines) + '\n'

    @property
    def status(self):
        """The exit status that its last command must have."""
        for mark in self.marks[1:]:
            if mark.startswith('status='):
                return int(mark.partition('=')[2])
        return 0


def fault(block, before):
    """What is wrong with a block's marks, or None."""
    if block.language == 'sh':
        if block.runs:
            known = all(re.fullmatch(r'status=\d+|keys=\S+', mark) for mark in block.marks[1:])
            return None if known else 'unknown marks: %s' % ' '.join(block.marks)
        if len(block.marks) == 2 and block.marks[0] == 'not-run' and block.marks[1] in REASONS:
            return None
        return 'commands are marked `run` or `not-run REASON`'
    if block.language in SHOWN:
        if not (before and before.runs and before.expected is None):
            return 'no command that is run stands before it'
        keys = any(mark.startswith('keys=') for mark in before.marks)
        return None if keys == (block.language == 'screen') else '`screen` goes with `keys=`'
    return None if block.language in TEXTS else "the language '%s' is not known" % block.language


def read(guide):
    """All blocks of a guide, in their order."""
    found, block = [], None
    with open(os.path.join(ROOT, 'docs', guide + '.md'), encoding='utf-8') as text:
        for number, line in enumerate(text, 1):
            fence = FENCE.match(line.rstrip('\n'))
            if block is None and fence:
                words = fence.group(1).split()
                block = Block(guide, number, words[0] if words else '', words[1:], [])
            elif fence:
                before = found[-1] if found else None
                wrong = fault(block, before)
                if wrong:
                    raise SystemExit('%s: %s' % (block.where, wrong))
                if block.language in SHOWN:
                    before.expected = block
                else:
                    found.append(block)
                block = None
            elif block is not None:
                block.lines.append(line.rstrip('\n'))
    if block is not None:
        raise SystemExit('%s: the block does not end' % block.where)
    return found


def missing(expected, output):
    """The first expected line that the output does not have after those before it, or None. `…`
    stands for any text in a line; a line of it alone for any lines, as between any two lines. Blanks
    count as one."""
    lines = [' '.join(line.split()) for line in output.split('\n')]
    at = 0
    for line in expected:
        wanted = ' '.join(line.split())
        if wanted in ('', '…'):
            continue
        pattern = re.compile('.*'.join(re.escape(part) for part in wanted.split('…')))
        while at < len(lines) and not pattern.fullmatch(lines[at]):
            at += 1
        if at == len(lines):
            return line
        at += 1
    return None
