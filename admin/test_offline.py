#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Without a mediator every command works on the database and says so, or says what to start.

Usage: test_offline.py VGPU_ADMIN. A command that is not named here is run without arguments, and
must do one of the two, or need arguments.
"""
import os
import subprocess
import sys
import tempfile
import unittest

PROGRAM = None

# What neither mediator nor database are needed for.
ALONE = {"completion", "doctor", "simulate"}

ARGUMENTS = {
    "assign-gpu": ["--gpu-id=0", "--pool=A"],
    "assign-vms": ["1", "A"],
    "clear-faults": ["1"],
    "create-pool": ["B"],
    "drain-gpu": ["--gpu-id=0", "--reason=dust"],
    "quarantine": ["1", "--reason=it mines"],
    "register-vm": ["--vm-id=2", "--pool=A"],
    "remove-pool": ["A"],
    "remove-vm": ["1"],
    "reset-gpu": ["--gpu-id=0", "--yes"],
    "resume-gpu": ["--gpu-id=0"],
    "set-bytes": ["1", "1G"],
    "set-depth": ["1", "9"],
    "set-faults": ["1", "9"],
    "set-max-vms": ["A", "9"],
    "set-memory": ["1", "1G"],
    "set-policy": ["A", "strict"],
    "set-pool": ["1", "A"],
    "set-pool-weight": ["A", "9"],
    "set-priority": ["1", "high"],
    "set-rate": ["1", "9"],
    "set-slice": ["A", "9ms"],
    "set-threshold": ["temperature-hot", "90"],
    "set-timeout": ["1", "9s"],
    "set-weight": ["1", "9"],
    "show-vm": ["1"],
    "top": ["--once"],
    "unassign-gpu": ["--gpu-id=0"],
    "unquarantine": ["1"],
}

# What the database of the test does not have: these fail for their own reason.
REASONS = {"remove-pool": "still has", "assign-gpu": "GPU 0 does not exist",
           "unassign-gpu": "GPU 0 does not exist", "drain-gpu": "GPU 0 does not exist",
           "resume-gpu": "GPU 0 does not exist", "scan-gpus": "vgpu-nvml"}


class Offline(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="vgpu-offline-")
        self.admin("--create", "create-pool", "A")
        self.admin("register-vm", "--vm-id=1", "--pool=A")

    def tearDown(self):
        self.directory.cleanup()

    def admin(self, *arguments):
        return subprocess.run(
            [PROGRAM, "--database", os.path.join(self.directory.name, "vgpu.db"), *arguments],
            capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
            env={"VGPU_RUN_DIR": self.directory.name, "PATH": "/nowhere"})

    def commands(self):
        listed = self.admin("--help").stdout.split("commands:\n")[1].split("\n\n")[0]
        return [line.split()[0] for line in listed.splitlines()]

    def check(self, command, done):
        said = "mediator is not running" in done.stderr
        tells = ("no mediator runs at " + self.directory.name in done.stderr and
                 "start it with: systemctl start vgpu-mediator" in done.stderr)
        if done.returncode == 0:
            self.assertTrue(said, f"{command} does not say that no mediator runs: {done.stderr}")
        elif done.returncode == 2:
            self.assertNotIn(command, ARGUMENTS, done.stderr)
        else:
            reason = REASONS.get(command)
            self.assertTrue(tells or (reason and reason in done.stderr), (command, done.stderr))

    def test_offline_every_command_says_so(self):
        for command in self.commands():
            if command in ALONE:
                continue
            with self.subTest(command=command):
                self.check(command, self.admin(command, *ARGUMENTS.get(command, [])))
                # The same once more: "already" is said of the database alone, too.
                if command not in ("register-vm", "create-pool", "remove-vm"):
                    self.check(command, self.admin(command, *ARGUMENTS.get(command, []), "--json"))
                if command == "remove-vm":
                    self.admin("register-vm", "--vm-id=1", "--pool=A")

    def test_offline_without_a_database_says_what_to_do(self):
        os.unlink(os.path.join(self.directory.name, "vgpu.db"))
        for command in ("list-vms", "status", "top", "set-weight"):
            with self.subTest(command=command):
                done = self.admin(command, *ARGUMENTS.get(command, []))
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertIn("no mediator runs at", done.stderr)
                self.assertIn("--create", done.stderr)


if __name__ == "__main__":
    PROGRAM = sys.argv[1]
    unittest.main(argv=sys.argv[:1])
