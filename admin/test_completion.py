#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tab in real shells: bash and zsh complete vgpu-admin's command lines by its own script.

Usage: test_completion.py VGPU_ADMIN. The shells run on tmux's terminals; names come from a mediator
of this test's own.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

from fake_mediator import FakeMediator
from terminal import Terminals

PROGRAM = None

ANSWERS = {
    "list-pools": {"pools": [{"pool": "blue", "description": "for tests"}, {"pool": "bl ack"},
                             {"pool": "green"}, {"pool": "a'b\"c$d"}, {"pool": "one:two"}]},
    "list-gpus": {"gpus": [{"gpu_id": 0, "model": "H200"}, {"gpu_id": 17, "model": "L4"}]},
    "list-vms": {"vms": [{"vm_id": 1, "name": "web", "uuid": None},
                         {"vm_id": 21, "name": "mail server",
                          "uuid": "11111111-1111-4111-8111-111111111111"}]},
}


class Shell(Terminals):
    """What both shells do; a line is typed, Tab is pressed, and the line is looked at."""

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="vgpu-complete-")
        self.open_terminals(self.directory.name)
        self.mediator = FakeMediator(self.path("admin.sock"),
                                     lambda command, _args: ANSWERS[command])
        os.mkdir(self.path("bin"))
        os.symlink(PROGRAM, self.path("bin/vgpu-admin"))
        self.start()
        self.expect("ready>")

    def tearDown(self):
        self.close_terminals()
        if self.mediator:
            self.mediator.stop()
        self.directory.cleanup()

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def environment(self):
        return {"PATH": self.path("bin") + ":" + os.environ["PATH"], "HOME": self.directory.name,
                "VGPU_RUN_DIR": self.directory.name, "LC_ALL": "C.UTF-8", "TERM": "tmux-256color"}

    def completes(self, typed, line, tabs=1):
        """The line that Tab makes of what is typed; the line is given up afterwards."""
        self.tmux("send-keys", "-l", "vgpu-admin " + typed)
        self.expect(f"ready> vgpu-admin {typed}".rstrip())
        self.keys(*["Tab"] * tabs)
        # What follows the cursor shows whether there is a space.
        self.tmux("send-keys", "-l", "+")
        self.expect(f"ready> vgpu-admin {line}+")
        self.keys("C-u")
        self.keys("C-l")
        self.expect_order("ready>", without="+")

    def offers(self, typed, *words, without="\0"):
        """Tab twice lists the words."""
        self.tmux("send-keys", "-l", "vgpu-admin " + typed)
        self.keys("Tab", "Tab")
        self.expect(*words)
        self.assertNotIn(without, self.shown)
        self.keys("C-u")
        self.keys("C-l")
        self.expect_order("ready>", without=words[0])

    def test_completion_commands(self):
        self.completes("show", "show-vm ")
        self.completes("--json unassi", "--json unassign-gpu ")
        self.offers("set-p", "set-policy", "set-pool", "set-priority", without="set-rate")

    def test_completion_options(self):
        self.completes("set-priority 1 --prio", "set-priority 1 --priority=")
        self.completes("events --fo", "events --follow ")
        self.completes("set-pool --dry", "set-pool --dry-run ")
        self.offers("list-vms --", "--pool=", "--json", without="--dry-run")

    def test_completion_values(self):
        self.completes("set-priority 1 --priority=h", "set-priority 1 --priority=high ")
        self.completes("set-policy green w", "set-policy green wfq ")
        self.completes("events --kind vm-q", "events --kind vm-quarantined ")
        self.completes("--color n", "--color never ")
        self.completes("set-threshold temperature-h", "set-threshold temperature-hot ")

    def test_completion_names_of_the_mediator(self):
        self.completes("remove-pool gr", "remove-pool green ")
        self.completes("set-pool we", "set-pool web ")
        self.completes("set-pool web --pool=gr", "set-pool web --pool=green ")
        self.completes("assign-gpu --gpu-id=1", "assign-gpu --gpu-id=17 ")
        self.completes("show-vm --uuid=11", "show-vm --uuid=11111111-1111-4111-8111-111111111111 ")
        self.offers("show-vm ", "1", "21", "web")

    def test_completion_names_with_spaces_are_quoted(self):
        self.completes("set-pool ma", "set-pool mail\\ server ")
        self.completes("set-pool web --pool=bl\\ ", "set-pool web --pool=bl\\ ack ")
        self.completes("remove-pool a", "remove-pool a\\'b\\\"c\\$d ")

    def test_completion_names_with_colons(self):
        self.completes("set-pool web --pool=on", "set-pool web --pool=one:two ")
        self.completes("set-pool web --pool=one:", "set-pool web --pool=one:two ")

    def test_completion_in_quotes(self):
        self.completes("remove-pool 'bl ", "remove-pool 'bl ack' ")
        self.completes("remove-pool \"bl ", "remove-pool \"bl ack\" ")

    def test_completion_what_is_new_has_no_candidates(self):
        self.completes("create-pool gr", "create-pool gr")
        self.completes("register-vm --name=we", "register-vm --name=we")

    def test_completion_files(self):
        with open(self.path("workload.sim"), "w", encoding="utf-8"):
            pass
        self.completes("simulate workl", "simulate workload.sim ")
        self.completes("simulate x --svg=workl", "simulate x --svg=workload.sim ")

    def test_completion_without_a_mediator(self):
        self.mediator.stop()
        self.mediator = None
        self.completes("remove-pool gr", "remove-pool gr")
        self.completes("show-v", "show-vm ")

    def test_completion_of_another_socket(self):
        other = FakeMediator(self.path("other.sock"),
                             lambda _command, _args: {"pools": [{"pool": "grey"}]})
        try:
            line = "--socket=" + self.path("other.sock") + " remove-pool gr"
            self.completes(line, line + "ey ")
        finally:
            other.stop()


class Bash(Shell, unittest.TestCase):
    def start(self):
        with open(self.path("rc"), "w", encoding="utf-8") as file:
            file.write("PS1='ready> '\nbind 'set bell-style none'\ncd ~\n"
                       'eval "$(vgpu-admin completion bash)"\n')
        self.open(f"exec bash --noprofile --rcfile {self.path('rc')}", 100, 24, self.environment())

    def test_completion_without_equals_as_a_separator(self):
        self.tmux("send-keys", "-l", "COMP_WORDBREAKS=${COMP_WORDBREAKS//=}; clear\n")
        self.expect_order("ready>", without="COMP_WORDBREAKS")
        self.completes("set-pool web --pool=gr", "set-pool web --pool=green ")


@unittest.skipUnless(shutil.which("zsh"), "no zsh here")
class Zsh(Shell, unittest.TestCase):
    def start(self):
        functions = self.path("functions")
        os.mkdir(functions)
        with open(os.path.join(functions, "_vgpu-admin"), "w", encoding="utf-8") as file:
            file.write(subprocess.run([PROGRAM, "completion", "zsh"], check=True,
                                      capture_output=True, text=True).stdout)
        with open(self.path(".zshrc"), "w", encoding="utf-8") as file:
            file.write(f"PS1='ready> '\nunsetopt beep\nfpath=({functions} $fpath)\ncd ~\n"
                       "autoload -Uz compinit\ncompinit -u -D\n")
        self.open("exec zsh -d", 100, 24, self.environment())


class Words(unittest.TestCase):
    """What the scripts ask."""

    def ask(self, *words):
        return subprocess.run([PROGRAM, "__complete", *words], capture_output=True, text=True,
                              check=False, env={"VGPU_RUN_DIR": "/nowhere"})

    def test_completion_wrong_questions_are_refused(self):
        for words in ([], ["bash"], ["bash", "x", "vgpu-admin"], ["bash", "0", "vgpu-admin"],
                      ["bash", "2", "vgpu-admin", "list"], ["bash", "-1", "vgpu-admin", "list"],
                      ["bash", "99999999999999999999", "vgpu-admin", "list"]):
            with self.subTest(words=words):
                done = self.ask(*words)
                self.assertEqual((done.returncode, done.stdout, done.stderr), (2, "", ""))

    def test_completion_lines_of_any_kind_are_survived(self):
        pieces = ["", "=", ":", "--", "-", "--pool", "--pool=", "'", "\"", "\\", "set-pool", "x" * 999,
                  "--socket", "--=", "==", "a=b=c", "--json=1", "\xff"]
        for i, first in enumerate(pieces):
            for second in (first, pieces[i - 1], pieces[i - 7]):
                for shell in ("bash", "zsh"):
                    done = self.ask(shell, "2", "vgpu-admin", first, second)
                    self.assertIn(done.returncode, (0, 10), (first, second))

    def test_completion_every_command_and_option_is_offered(self):
        shown = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True,
                               check=True).stdout
        commands = [line.split()[0] for line in
                    shown.split("commands:\n")[1].split("\n\n")[0].splitlines()]
        self.assertEqual(self.ask("bash", "1", "vgpu-admin", "").stdout.split(), commands)
        for command in commands:
            shown = subprocess.run([PROGRAM, command, "--help"], capture_output=True, text=True,
                                   check=True).stdout
            options = {line.split()[0].split("=")[0].split("[")[0] for line in shown.splitlines()
                       if line.startswith("  --")}
            offered = self.ask("bash", "2", "vgpu-admin", command, "--").stdout.split()
            self.assertEqual({option.rstrip("=") for option in offered}, options, command)

    def test_completion_other_shells_are_refused(self):
        done = subprocess.run([PROGRAM, "completion", "fish"], capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no completion for 'fish': bash or zsh", done.stderr)


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv[1])
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
