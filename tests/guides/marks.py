#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps the guides' marks: which blocks no test runs and why (not-run.txt), and that operations.md
has a section for each alert of integrations/prometheus/rules.yml.

Usage: marks.py [--write], the latter to write not-run.txt anew.
"""
import collections
import glob
import os
import re
import sys
import unittest

import blocks

LIST = os.path.join(blocks.ROOT, 'tests/guides/not-run.txt')
HEAD = ['# Blocks of the guides that no test runs: guide, reason (docs/guides.md), how many.',
        '# A block more or less fails the test marks; `marks.py --write` writes this file anew.']


def present():
    return [guide for guide in blocks.GUIDES
            if os.path.exists(os.path.join(blocks.ROOT, 'docs', guide + '.md'))]


def not_run():
    counts = collections.Counter()
    for guide in present():
        for block in blocks.read(guide):
            if block.language == 'sh' and not block.runs:
                counts[guide, block.marks[1]] += 1
    return HEAD + ['%s %s %d' % (*key, count) for key, count in sorted(counts.items())]


def prose(guide):
    with open(os.path.join(blocks.ROOT, 'docs', guide + '.md'), encoding='utf-8') as text:
        return text.read()


def headings(guide):
    return re.findall(r'^#+ (.*)$', prose(guide), re.M)


class Marks(unittest.TestCase):
    def test_list_of_blocks_that_are_not_run(self):
        with open(LIST, encoding='utf-8') as text:
            self.assertEqual(text.read().splitlines(), not_run())

    def test_all_guides_are_there_and_run_something(self):
        self.assertEqual(present(), blocks.GUIDES)
        for guide in blocks.GUIDES:
            self.assertTrue(any(block.runs for block in blocks.read(guide)), guide)

    def test_files_that_are_named_are_there(self):
        tops = set(os.listdir(blocks.ROOT)) - {'build'}
        lost = []
        for guide in blocks.GUIDES + ['guides']:
            for name in re.findall(r'`([\w.*/-]+)`', prose(guide)):
                inside = '/' in name and name.split('/')[0] in tops and 'NAME' not in name
                if inside and not glob.glob(os.path.join(blocks.ROOT, name)):
                    lost.append((guide, name))
                if re.fullmatch(r'[\w-]+\.md', name) and not os.path.exists(
                        os.path.join(blocks.ROOT, 'docs', name)):
                    lost.append((guide, name))
        self.assertEqual(lost, [])

    def test_each_alert_has_its_section(self):
        path = os.path.join(blocks.ROOT, 'integrations/prometheus/rules.yml')
        with open(path, encoding='utf-8') as text:
            alerts = re.findall(r'- alert: (\w+)', text.read())
        sections = [name for name in headings('operations') if name.startswith('Vgpu')]
        self.assertEqual(sorted(sections), sorted(alerts))
        self.assertGreater(len(alerts), 10)


class Units(unittest.TestCase):
    def test_options_of_units_and_settings_are_in_the_man_pages(self):
        texts = [prose('deployment')]
        for name in glob.glob(os.path.join(blocks.ROOT, 'integrations/systemd/*')):
            with open(name, encoding='utf-8') as text:
                texts.append(text.read())
        used = set()
        for text in texts:
            text = text.replace('\\\n', ' ')
            used |= {(program, option) for program, rest in re.findall(
                r'^ExecStart=.*/usr/sbin/vgpu-(\w+)(.*)$', text, re.M)
                     for option in re.findall(r'--([\w-]+)', rest)}
            used |= {(program.lower(), option) for program, rest in re.findall(
                r'^VGPU_(\w+)_OPTIONS=(.*)$', text, re.M)
                     for option in re.findall(r'--([\w-]+)', rest)}
        self.assertGreater(len(used), 12)
        for program, option in sorted(used):
            with open(os.path.join(blocks.ROOT, 'man/vgpu-%s.8' % program),
                      encoding='utf-8') as page:
                known = re.findall(r'^\.BI? .*\\-\\-([\w\\-]+)', page.read(), re.M)
            self.assertIn(option, [name.replace('\\', '') for name in known], program)


class Comparison(unittest.TestCase):
    def test_lines_in_order(self):
        self.assertIsNone(blocks.missing(['a  b', 'c'], 'x\na b\ny\nc\n'))
        self.assertEqual(blocks.missing(['c', 'a'], 'a\nc\n'), 'a')

    def test_any_text(self):
        self.assertIsNone(blocks.missing(['GPU … ok'], ' GPU 0 (H200) ok\n'))
        self.assertEqual(blocks.missing(['GPU … ok'], 'GPU 0 lost\n'), 'GPU … ok')

    def test_a_part_of_a_line_is_not_the_line(self):
        self.assertEqual(blocks.missing(['ok'], 'not ok\n'), 'ok')

    def test_marks_that_are_wrong(self):
        for language, marks in (('sh', []), ('sh', ['not-run']), ('sh', ['not-run', 'lazy']),
                                ('sh', ['run', 'stauts=1']), ('', []), ('output', [])):
            block = blocks.Block('a', 1, language, marks, [])
            self.assertIsNotNone(blocks.fault(block, None), (language, marks))

    def test_marks_that_are_right(self):
        run = blocks.Block('a', 1, 'sh', ['run', 'status=3'], [])
        self.assertIsNone(blocks.fault(run, None))
        self.assertEqual(run.status, 3)
        self.assertIsNone(blocks.fault(blocks.Block('a', 2, 'output', [], []), run))
        self.assertIsNotNone(blocks.fault(blocks.Block('a', 2, 'screen', [], []), run))


if __name__ == '__main__':
    if '--write' in sys.argv:
        with open(LIST, 'w', encoding='utf-8') as text:
            text.write('\n'.join(not_run()) + '\n')
    else:
        unittest.main()
