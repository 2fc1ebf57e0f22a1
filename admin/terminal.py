# SPDX-License-Identifier: Apache-2.0
"""Terminals for tests, by tmux: keys go in, screens come out.

A test's class takes Terminals as a base and calls open_terminals() in setUp(); open() makes a
terminal, and the rest is about the one that was opened last.
"""
import os
import subprocess
import time


def wait_for(condition, what, seconds=int(os.environ.get("VGPU_TEST_PATIENCE", "15"))):
    """Waits for a condition with a deadline; the only place that polls."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what()}")
        time.sleep(0.02)


def has_ended(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Terminals:
    def open_terminals(self, directory):
        self.terminal_directory = directory
        self.n_terminals = 0  # each has a server of its own
        self.terminal_environment = None
        self.shown = ""
        self.attributes = ""
        self.addCleanup(self.close_terminals)  # also where setUp() fails after this

    def close_terminals(self):
        for self.n_terminals in range(self.n_terminals, 0, -1):
            server = self.tmux("display-message", "-p", "#{pid} #{pane_pid}", check=False).split()
            self.tmux("kill-server", check=False)
            # What ran there writes its history as it ends, into a directory that is removed next.
            for pid in server:
                wait_for(lambda p=pid: has_ended(p), lambda p=pid: f"the end of process {p}")

    def tmux(self, *arguments, check=True):
        path = os.path.join(self.terminal_directory, f"tmux{self.n_terminals}")
        env = {key: value for key, value in (self.terminal_environment or os.environ).items()
               if key not in ("TMUX", "TMUX_PANE")}
        return subprocess.run(["tmux", "-S", path, "-f", "/dev/null", *arguments], env=env,
                              check=check, timeout=30, capture_output=True, text=True).stdout

    def open(self, command, width=80, height=24, environment=None):
        """A terminal in which the shell runs the command."""
        self.n_terminals += 1
        self.terminal_environment = environment
        self.tmux("new-session", "-d", "-x", str(width), "-y", str(height), command)

    def screen(self):
        self.shown = self.tmux("capture-pane", "-p")
        return self.shown

    def colours(self):
        self.attributes = self.tmux("capture-pane", "-p", "-e")
        return self.attributes

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def expect(self, *texts):
        wait_for(lambda: all(text in self.screen() for text in texts),
                 lambda: f"{texts} on\n{self.shown}")

    def expect_order(self, *texts, without="\0"):
        def ordered():
            found = [self.screen().find(text) for text in texts]
            return -1 not in found and found == sorted(found) and without not in self.shown
        wait_for(ordered, lambda: f"{texts} in this order on\n{self.shown}")
