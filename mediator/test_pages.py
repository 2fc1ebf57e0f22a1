#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps pages and sources together: man pages and options, docs/spec/wire.md and the headers.

Usage: test_pages.py SOURCE_ROOT PROGRAM MAN_PAGE [PROGRAM MAN_PAGE]...
"""
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = None
PROGRAMS = []


def header(name):
    return (ROOT / "include/vgpu" / name).read_text(encoding="utf-8")


class Wire(unittest.TestCase):
    def setUp(self):
        self.page = (ROOT / "docs/spec/wire.md").read_text(encoding="utf-8")
        self.sizes = {}
        for name in ("wire.h", "launch.h", "lease.h", "monitor.h"):
            text = header(name)
            self.sizes.update(re.findall(r"VGPU_ASSERT_SIZE\((struct \w+), (\d+)\)", text))
        self.assertGreater(len(self.sizes), 15)

    def test_each_structure_has_its_size(self):
        for struct, size in self.sizes.items():
            with self.subTest(struct=struct):
                lines = [line for line in self.page.splitlines() if f"`{struct}`" in line]
                self.assertTrue(lines)
                self.assertTrue(any(re.search(rf"\b{size}\b", line) for line in lines))

    def test_each_message_has_its_number_and_structure(self):
        for name in ("wire.h", "launch.h"):
            messages = re.findall(r"^\s+(VGPU_(?:MSG|LAUNCH)_\w+)\s*=\s*(\d+)", header(name),
                                  re.MULTILINE)
            self.assertGreaterEqual(len(messages), 10)
            for message, number in messages:
                with self.subTest(message=message):
                    row = re.search(rf"^\| {number} \| `{message}` \| .* \| `(struct \w+)` \| "
                                    rf"(\d+) \|", self.page, re.MULTILINE)
                    self.assertIsNotNone(row)
                    self.assertEqual(self.sizes[row[1]], row[2])

    def test_each_limit_is_named(self):
        for name, value in (("VGPU_MSG_MAX_BYTES", "1024"), ("VGPU_VM_MAX_CHANNELS", "64"),
                            ("VGPU_VM_MAX_CONNECTIONS", "64")):
            self.assertRegex(header("wire.h"), rf"{name}\s+{value}u")
            self.assertRegex(self.page, rf"{value}[^|\n]*`{name}`")


class Man(unittest.TestCase):
    def test_options_are_the_same(self):
        for program, page in PROGRAMS:
            shown = subprocess.run([program, "--help"], capture_output=True, check=True,
                                   text=True).stdout
            options = set(re.findall(r"--[a-z][a-z-]*", re.sub(r"\([^)]*\)", "", shown)))
            text = pathlib.Path(page).read_text(encoding="utf-8").replace("\\-", "-")
            body = re.split(r"^\.SH OPTIONS$", text, flags=re.MULTILINE)[1]
            tagged = re.findall(r"^\.TP\n(.*)$", re.split(r"^\.SH ", body, flags=re.MULTILINE)[0],
                                re.MULTILINE)
            with self.subTest(page=page):
                self.assertEqual(set(re.findall(r"--[a-z][a-z-]*", " ".join(tagged))), options)


if __name__ == "__main__":
    ROOT = pathlib.Path(sys.argv[1])
    PROGRAMS = list(zip(sys.argv[2::2], sys.argv[3::2]))
    unittest.main(argv=sys.argv[:1])
