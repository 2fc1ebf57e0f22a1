#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vgpu-admin top on real terminals: keys go in, screens come out, a mediator comes and goes.

Usage: test_top_screen.py VGPU_ADMIN. The terminals are tmux's; the mediator is a thread of this
test that answers what it is told to.
"""
import os
import pty
import select
import signal
import subprocess
import sys
import tempfile
import unittest

from fake_mediator import FakeMediator
from terminal import Terminals, wait_for

PROGRAM = None


def vm(number, name, state, share, queue, **more):
    return {"vm_id": number, "uuid": None, "name": name, "pool": "A" if number < 8 else "B",
            "priority": "high", "weight": 50.0, "quarantine_reason": None, "state": state,
            "gpu_id": 0, "channels": 1, "share": share, "entitlement": 0.5, "queue_depth": queue,
            "jobs_done": number, "jobs_failed": 0, "jobs_refused": 0, "faults": 0,
            "memory": {"quota_bytes": 0, "nvml_bytes": 5 << 20}, **more}


def status(vms=None):
    if vms is None:
        vms = [vm(1, "web", "running", 0.25, 3), vm(2, "db", "waiting", 0.5, 40),
               vm(3, "mail", "quarantined", 0.0, 0, quarantine_reason="it mines")]
        vms += [vm(i, f"idle{i}", "idle", 0.0, 0) for i in range(4, 60)]
    return {"mediator": {"version": "9.8.7", "pid": 7, "uptime_s": 1.5, "driver": "softgpu",
                         "window_s": 10.0, "channels": 1, "workers": 1},
            "gpus": [{"gpu_id": 0, "uuid": "GPU-1", "model": "H200", "memory_total_bytes": 1 << 37,
                      "memory_used_bytes": 1 << 35, "utilization": 50, "temperature": 40,
                      "state": "ok", "pools": ["A", "B"], "holder_vm_id": 1}],
            "pools": [{"pool": "A", "policy": "wfq", "gpus": [0], "vms": 7},
                      {"pool": "B", "policy": "wfq", "gpus": [0], "vms": 52}],
            "vms": vms}


def metrics():
    """A page that says how long VM 2's jobs took, and nothing else; copies are fewer, and slower."""
    columns = {scope: [] for scope in ("global", "gpus", "pools")}
    columns["vms"] = [f"vgpu_job_{what}_seconds/{kind}" for what in ("wait", "run")
                      for kind in ("launch", "copy")]
    return {"format": 1, "boot": "b", "next_vm": None, "columns": columns,
            "vms": [[2, "A", "high", [9, 1, 800, 1500000, 25000000], [3, 1, 9 << 30, 9 << 30, 9 << 30],
                     [9, 1, 7000, 8000, 9000], [0, 0]]]}


class Mediator(FakeMediator):
    """Answers status; `hung` makes it accept and say nothing."""

    def __init__(self, path):
        self.status = status()
        self.more = {}
        self.hung = False
        super().__init__(path, self.say)

    def say(self, command, _args):
        return None if self.hung else {"status": self.status, **self.more}[command]


class Top(unittest.TestCase, Terminals):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="vgpu-top-")
        self.mediator = Mediator(self.path("admin.sock"))
        self.open_terminals(self.directory.name)

    def tearDown(self):
        self.close_terminals()
        if self.mediator:
            self.mediator.stop()
        self.directory.cleanup()

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def environment(self, **more):
        return {**{key: value for key, value in os.environ.items() if key != "NO_COLOR"},
                "VGPU_RUN_DIR": self.directory.name, "LC_ALL": "C.UTF-8", **more}

    def command(self, *arguments):
        return [PROGRAM, "--database", self.path("vgpu.db"), "top", *arguments]

    def start(self, *arguments, width=80, height=24, term="tmux-256color", **environment):
        """top in a shell that says how it ended."""
        variables = " ".join(f"{key}='{value}'" for key, value in environment.items())
        words = " ".join(f"'{word}'" for word in self.command("--interval=0.1", *arguments))
        self.open(f"TERM={term} {variables} {words}; echo ended with $?; exec cat", width, height,
                  self.environment(**environment))

    def ended(self, code=0):
        self.expect(f"ended with {code}")

    def test_top_fits_80x24(self):
        self.start()
        self.expect("mediator 9.8.7", "H200", "SHARE/DUE%", "QUEUE", "WAIT99", "web", "q quit")
        lines = self.shown.rstrip("\n").split("\n")
        self.assertEqual(len(lines), 24)
        self.assertTrue(lines[-1].startswith("VMs 1-"), lines[-1])
        self.assertIn("32G/128G", lines[2])
        self.assertIn("1 web", lines[2])

    def test_top_sorts_by_keys(self):
        self.start()
        self.expect_order("   2 db", "   1 web", "   3 mail")
        self.keys("r")
        self.expect_order("SHARE/DUE%", "   3 mail", "   4 idle4", without="   2 db")
        self.keys(">")
        self.expect_order("by QUEUE down")
        self.expect_order("   2 db", "   1 web", "   3 mail")
        for _ in range(7):
            self.keys("Left")
        self.expect_order("   2 db", "  10 idle10", "by NAME")

    def test_top_filters_by_typing(self):
        self.start()
        self.expect("2 db")
        self.keys("/", "i", "d", "l", "e", "5")
        self.expect_order("idle50", "idle59", "filter VMs: idle5_", without="idle49")
        self.keys("BSpace", "6", "Enter")
        self.expect("VMs 1-1/1 (idle6)")
        self.keys("Escape")
        self.expect("2 db", "/59")

    def test_top_scrolls_and_changes_focus(self):
        self.start()
        self.expect("2 db")
        self.keys("End")
        self.expect("59 idle59", "/59")
        self.keys("PPage")
        wait_for(lambda: "59 idle59" not in self.screen(), lambda: self.shown)
        self.keys("Tab")
        self.expect("GPUs 1-1/1 by GPU")
        self.keys("BTab", "?")
        self.expect("next section")
        self.keys("x")
        self.expect("SHARE/DUE%")

    def test_top_follows_the_terminals_size(self):
        self.start()
        self.expect("SHARE/DUE%")
        self.assertNotIn("RUN50", self.shown)
        self.tmux("resize-window", "-x", "200", "-y", "40")
        self.expect("RUN50", "QUARANTINE", "it mines", "VMs 1-32/59")
        self.tmux("resize-window", "-x", "30", "-y", "8")
        self.expect("VMs 1-")
        wait_for(lambda: len(self.screen().rstrip("\n").split("\n")) == 8, lambda: self.shown)
        self.tmux("resize-window", "-x", "3", "-y", "2")
        self.expect("vg…")
        self.tmux("resize-window", "-x", "80", "-y", "24")
        self.expect("SHARE/DUE%", "2 db")

    def test_top_shows_what_changes(self):
        self.start()
        self.expect("2 db")
        self.mediator.status = status([vm(1, "newcomer", "running", 1.0, 5)])
        self.expect("newcomer")
        self.keys("Space")
        self.expect("PAUSED")
        self.mediator.status = status([vm(1, "later", "running", 1.0, 5)])
        asked = len(self.mediator.requests)
        wait_for(lambda: len(self.mediator.requests) > asked + 6, lambda: "no more requests")
        self.assertIn("newcomer", self.screen())
        self.keys("Space")
        self.expect("later")

    def test_top_shows_percentiles_of_the_metrics(self):
        self.mediator.more = {"metrics": metrics()}
        self.start()
        self.expect("2 db", "25ms", "9.0us")
        self.keys("2")
        self.expect("WAIT50", "800ns", "1.5ms", "25ms", "7.0us", "8.0us", "9.0us")

    def test_top_with_a_thousand_vms(self):
        self.mediator.status = status([vm(i, f"vm{i}", "idle", 0.0, i) for i in range(1, 1001)])
        self.start("--sort=queue")
        self.expect("1000 vm1000", "VMs 1-16/1000")
        begun = self.cpu_of_top()
        asked = len(self.mediator.requests)
        wait_for(lambda: len(self.mediator.requests) >= asked + 10, lambda: "ten looks")
        looks = len(self.mediator.requests) - asked
        self.assertLess((self.cpu_of_top() - begun) / looks, 0.5, "seconds of CPU a look")
        self.keys("End")
        self.expect("   1 vm1 ")

    def cpu_of_top(self):
        shell = int(self.tmux("display-message", "-p", "#{pane_pid}"))
        with open(f"/proc/{shell}/task/{shell}/children", encoding="ascii") as file:
            top = file.read().split()[0]
        with open(f"/proc/{top}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def test_top_shows_health(self):
        self.mediator.more = {"health": {"gpus": [{"gpu_id": 0, "state": "draining"}]}}
        self.start()
        self.expect("draining")
        self.assertTrue(wait_for(lambda: "\033[33mdraining" in self.colours(),
                                 lambda: self.attributes))

    def test_top_survives_a_mediators_restart(self):
        self.start("--filter=web")
        self.expect("1 web", "VMs 1-1/1")
        self.mediator.stop()
        self.mediator = None
        self.expect("web", "the mediator")
        subprocess.run([PROGRAM, "--database", self.path("vgpu.db"), "--create", "create-pool",
                        "spare"], env=self.environment(), check=True, capture_output=True)
        self.expect("no mediator at", "waiting for it", "spare")
        self.mediator = Mediator(self.path("admin.sock"))
        self.expect_order("mediator 9.8.7", "1 web", "VMs 1-1/1 (web)", without="no mediator")

    def test_top_a_hung_mediator_does_not_stop_the_keys(self):
        self.start()
        self.expect("2 db")
        self.mediator.hung = True
        self.expect("the mediator has not answered for")
        self.keys("r")
        self.expect_order("   3 mail", "   4 idle4", without="   2 db")
        self.keys("q")
        self.ended()

    def test_top_gives_the_terminal_back(self):
        self.start()
        self.expect("2 db")
        self.keys("q")
        self.ended()
        self.assertNotIn("SHARE/DUE%", self.screen())
        self.keys("typed again")
        self.expect("typed again")
        self.assertEqual(self.tmux("display-message", "-p", "#{cursor_flag} #{alternate_on}").split(),
                         ["1", "0"])

    def test_top_ends_by_interrupt(self):
        self.start()
        self.expect("2 db")
        self.keys("C-c")
        self.ended()

    def test_top_colours_where_the_terminal_has_them(self):
        self.start()
        self.expect("quaran")
        wait_for(lambda: "\033[31mquaran" in self.colours(), lambda: self.attributes)
        self.assertIn("\033[32mrunning", self.attributes)

    def test_top_no_colours_where_not(self):
        for arguments, environment, term in (([], {"NO_COLOR": "1"}, "tmux-256color"),
                                             (["--color=never"], {}, "tmux-256color"),
                                             ([], {}, "vt100")):
            with self.subTest(arguments=arguments, environment=environment, term=term):
                self.start(*arguments, term=term, **environment)
                self.expect("quaran")
                self.assertNotIn("\033[3", self.colours().replace("\033[39m", ""))

    def test_top_without_utf8_is_ascii(self):
        self.mediator.status = status([vm(1, "jürgen", "running", 0.25, 3)])
        self.start(LC_ALL="C")
        self.expect("j?rgen", "##..")

    def test_top_names_are_harmless(self):
        self.mediator.status = status([vm(1, "a\033[2Jb\nc\x9bd", "running", 0.25, 3),
                                       vm(2, "日本語日本語日本語日本語日本語", "idle", 0, 1)])
        self.start()
        self.expect("a?[2Jb?c", "日本", "q quit")
        self.assertEqual(len(self.shown.rstrip("\n").split("\n")), 24)

    def test_top_once_is_plain_text(self):
        done = subprocess.run(self.command("--once", "--sort=queue", "--filter=A"),
                              env=self.environment(), capture_output=True, text=True, check=True)
        self.assertNotIn("\033", done.stdout)
        lines = done.stdout.split("\n")
        titles = next(i for i, line in enumerate(lines) if "SHARE/DUE%" in line)
        rows = [line.split() for line in lines[titles + 1:]]
        self.assertEqual([row[1] for row in rows[:3]], ["db", "web", "mail"])
        self.assertEqual(lines[0].split(",")[0], "vgpu top: mediator 9.8.7")

    def test_top_refuses_what_it_cannot_do(self):
        for arguments, text in ((["--interval=0.01"], "out of range"), (["--sort=x"], "no column"),
                                (["--filter=" + "x" * 64], "longer than 63"), ([], "a terminal")):
            with self.subTest(arguments=arguments):
                done = subprocess.run(self.command(*arguments), env=self.environment(),
                                      stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                      check=False)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertIn(text, done.stderr)
        self.start(term="dumb")
        self.expect("TERM=dumb) cannot be drawn on", "ended with 1")

    def on_closed_terminal(self, end):
        """Starts top on a terminal of its own session, calls end(process, leader)."""
        leader, follower = pty.openpty()
        process = subprocess.Popen(self.command("--interval=0.1"), stdin=follower, stdout=follower,
                                   stderr=follower, start_new_session=True,
                                   env=self.environment(TERM="xterm"))
        os.close(follower)
        text = b""
        while b"q quit" not in text:
            self.assertTrue(select.select([leader], [], [], 15)[0], text)
            text += os.read(leader, 65536)
        leader = end(process, leader)
        while leader is not None and select.select([leader], [], [], 0.05)[0]:
            try:
                os.read(leader, 65536)
            except OSError:
                break
        self.assertEqual(process.wait(timeout=15), 0)
        if leader is not None:
            os.close(leader)

    def test_top_ends_with_its_terminal(self):
        self.on_closed_terminal(lambda _process, leader: os.close(leader))

    def test_top_ends_by_sigterm(self):
        def terminate(process, leader):
            process.send_signal(signal.SIGTERM)
            return leader
        self.on_closed_terminal(terminate)


if __name__ == "__main__":
    PROGRAM = sys.argv[1]
    unittest.main(argv=sys.argv[:1])
