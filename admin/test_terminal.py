#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What vgpu-admin prints on a terminal and beside one: colours, and only there.

Usage: test_terminal.py VGPU_ADMIN
"""
import os
import pty
import re
import subprocess
import sys
import tempfile
import unittest

PROGRAM = None
ESCAPE = re.compile(r"\033\[[0-9;]*m")


def read_all(descriptor):
    """Until the other side of the terminal is closed."""
    parts = []
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts).decode().replace("\r\n", "\n")


class Colours(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="vgpu-terminal-")
        self.admin("--create", "create-pool", "A")
        self.admin("register-vm", "--vm-id=1", "--pool=A", "--name=web")
        self.admin("quarantine", "1", "--reason=it mines")

    def tearDown(self):
        self.directory.cleanup()

    def command(self, *arguments, **environment):
        return ([PROGRAM, "--database", os.path.join(self.directory.name, "vgpu.db"), *arguments],
                {**{key: value for key, value in os.environ.items() if key != "NO_COLOR"},
                 "VGPU_RUN_DIR": self.directory.name, "TERM": "xterm", "LC_ALL": "C.UTF-8",
                 **environment})

    def admin(self, *arguments, **environment):
        command, env = self.command(*arguments, **environment)
        return subprocess.run(command, env=env, capture_output=True, check=True, text=True).stdout

    def on_terminal(self, *arguments, **environment):
        command, env = self.command(*arguments, **environment)
        leader, follower = pty.openpty()
        process = subprocess.Popen(command, env=env, stdin=follower, stdout=follower,
                                   stderr=subprocess.DEVNULL)
        os.close(follower)
        text = read_all(leader)
        os.close(leader)
        self.assertEqual(process.wait(), 0)
        return text

    def test_terminal_has_colours(self):
        text = self.on_terminal("list-pools")
        self.assertIn("\033[1mPOOL", text)

    def test_terminal_colours_change_no_other_character(self):
        plain = self.admin("list-vms")
        self.assertEqual(ESCAPE.sub("", self.admin("list-vms", "--color=always")), plain)
        self.assertNotIn("\033", plain)

    def test_terminal_pipe_has_none_unless_asked(self):
        self.assertNotIn("\033", self.admin("list-pools"))
        self.assertIn("\033[1mPOOL", self.admin("list-pools", "--color=always"))

    def test_terminal_can_be_asked_for_none(self):
        for arguments, environment in ((["--color=never"], {}), ([], {"NO_COLOR": "1"}),
                                       ([], {"TERM": "dumb"})):
            with self.subTest(arguments=arguments, environment=environment):
                text = self.on_terminal("list-pools", *arguments, **environment)
                self.assertIn("POOL", text)
                self.assertNotIn("\033", text)

    def test_terminal_json_has_no_colours(self):
        self.assertNotIn("\033", self.on_terminal("list-pools", "--json", "--color=always"))

    def test_terminal_quarantine_is_red(self):
        text = self.admin("list-vms", "--color=always")
        self.assertIn("\033[31mquarantined", text)

    def test_terminal_other_words_are_wrong_usage(self):
        command, env = self.command("list-vms", "--color=red")
        done = subprocess.run(command, env=env, capture_output=True, check=False, text=True)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("--color=red is not one of: always, never, auto", done.stderr)


if __name__ == "__main__":
    PROGRAM = sys.argv[1]
    unittest.main(argv=sys.argv[:1])
