#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps man/vgpu-admin.1 and the program's tables together: same commands, same options.

Usage: test_man.py VGPU_ADMIN MAN_PAGE
"""
import re
import subprocess
import sys
import unittest

PROGRAM = PAGE = None


def help_of(*arguments):
    return subprocess.run([PROGRAM, *arguments, "--help"], capture_output=True, check=True,
                          text=True).stdout


def options_in(text):
    return set(re.findall(r"^  (--[a-z-]+)", text, re.MULTILINE))


def sections():
    """The page as {"OPTIONS": options, "set-weight": options, ...}, without troff's escapes."""
    with open(PAGE, encoding="utf-8") as file:
        text = file.read().replace("\\-", "-")
    found = {}
    for part in re.split(r"^\.S[HS] ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        tagged = re.findall(r"^\.TP\n(.*)$", body, re.MULTILINE)
        found[title.strip('"')] = set(re.findall(r"--[a-z][a-z-]*", " ".join(tagged)))
    return found


class Man(unittest.TestCase):
    def setUp(self):
        self.page = sections()
        listed = help_of().split("commands:\n")[1].split("\n\n")[0]
        self.commands = {line.split()[0] for line in listed.splitlines()}

    def test_commands_are_the_same(self):
        documented = {title for title in self.page if re.fullmatch(r"[a-z-]+", title)}
        self.assertEqual(documented, self.commands)

    def test_options_of_all_commands_are_the_same(self):
        changing, common = help_of().split("options of commands that change something:")[1].split(
            "\noptions:")
        self.assertEqual(self.page["OPTIONS"], options_in(common))
        self.assertEqual(self.page["OPTIONS OF COMMANDS THAT CHANGE"], options_in(changing))

    def test_options_of_each_command_are_the_same(self):
        for command in sorted(self.commands):
            own = help_of(command).split("\noptions of ")[0]
            with self.subTest(command=command):
                self.assertEqual(self.page[command], options_in(own))


if __name__ == "__main__":
    PROGRAM, PAGE = sys.argv[1:3]
    unittest.main(argv=sys.argv[:1])
