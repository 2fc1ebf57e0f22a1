#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vgpu-admin events against a mediator of this test's own, which restarts, forgets and lies.

Usage: test_events.py VGPU_ADMIN SCHEMA_DIRECTORY
"""
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import unittest

from fake_mediator import FakeMediator

PROGRAM = SCHEMAS = None


def event(seq, kind="fault", severity="warning", text="text", vm_id=3):
    return {"seq": seq, "time": 1790000000.123 + seq, "kind": kind, "severity": severity,
            "vm_id": vm_id, "gpu_id": None, "pool": "A", "text": f"{text} {seq}"}


class Mediator(FakeMediator):
    """Its events may be added to while it runs; it answers as docs/spec/admin.md says."""

    def __init__(self, path, boot, events, kept=4096):
        self.boot, self.kept = boot, kept
        self.events = list(events)
        self.change = threading.Condition()
        self.stopped = False
        super().__init__(path, lambda command, args: {"events": self.list}[command](**args))

    def page(self, after, limit):
        first = max(1, len(self.events) - self.kept + 1)
        found = [e for e in self.events if e["seq"] > after and e["seq"] >= first][:limit]
        return {"boot": self.boot, "first": first, "events": found,
                "next": found[-1]["seq"] if found else max(after, len(self.events))}

    def list(self, limit=256, wait_ms=0, after=None):
        with self.change:
            if after is None:
                after = len(self.events)
            ahead = after > len(self.events)
            if not self.page(after, limit)["events"] and wait_ms and not ahead:
                self.change.wait_for(lambda: self.stopped or self.page(after, limit)["events"],
                                     wait_ms / 1000)
            return self.page(after, limit)

    def add(self, *events):
        with self.change:
            self.events += events
            self.change.notify_all()

    def stop(self):
        with self.change:
            self.stopped = True
            self.change.notify_all()
        super().stop()


class Follower:
    """A vgpu-admin events --follow that runs; its lines come as they are printed."""

    def __init__(self, command, environment):
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        self.notes = queue.Queue()
        self.readers = []
        for stream, lines in ((self.process.stdout, self.lines), (self.process.stderr, self.notes)):
            self.readers.append(threading.Thread(target=self.read, args=(stream, lines),
                                                 daemon=True))
            self.readers[-1].start()

    @staticmethod
    def read(stream, lines):
        for line in stream:
            lines.put(line.rstrip("\n"))

    def line(self):
        return self.lines.get(timeout=15)

    def note(self):
        return self.notes.get(timeout=15)

    def end(self):
        self.process.terminate()
        self.process.wait(timeout=15)
        for reader in self.readers:
            reader.join()
        self.process.stdout.close()
        self.process.stderr.close()


class Events(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="vgpu-events-")
        self.socket = os.path.join(self.directory.name, "admin.sock")
        self.mediator = None
        self.follower = None

    def tearDown(self):
        if self.follower:
            self.follower.end()
        if self.mediator:
            self.mediator.stop()
        self.directory.cleanup()

    def start(self, events, boot="one", kept=4096):
        self.mediator = Mediator(self.socket, boot, events, kept)

    def restart(self, events, boot="two"):
        self.mediator.stop()
        self.start(events, boot)

    def command(self, *arguments):
        return ([PROGRAM, "events", *arguments],
                {**os.environ, "VGPU_RUN_DIR": self.directory.name, "TZ": "UTC", "LC_ALL": "C.UTF-8"})

    def run_admin(self, *arguments, code=0):
        command, environment = self.command(*arguments)
        done = subprocess.run(command, env=environment, capture_output=True, text=True,
                              check=False, timeout=30)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def follow(self, *arguments):
        command, environment = self.command("--follow", *arguments)
        self.follower = Follower(command, environment)
        # It has asked for the number to begin with before anything is added.
        while not self.mediator.requests:
            self.assertIsNone(self.follower.process.poll())
        return self.follower

    def test_events_are_listed_from_the_first_on(self):
        self.start([event(1, "mediator-started", "info", vm_id=None), event(2)])
        lines = self.run_admin().stdout.split("\n")
        self.assertEqual(lines, ["    1  2026-09-21 14:13:21.123  mediator-started  pool A  text 1",
                                 "    2  2026-09-21 14:13:22.123  fault             VM 3    text 2", ""])

    def test_events_after_a_number_and_of_a_kind(self):
        self.start([event(1), event(2, "vm-released"), event(3), event(4, "vm-connected")])
        listed = json.loads(self.run_admin("--after=1", "--kind=fault,vm-released", "--json").stdout)
        self.assertEqual([e["seq"] for e in listed["events"]], [2, 3])
        self.assertEqual((listed["next"], listed["boot"]), (4, "one"))
        self.assertEqual(listed["events"][0]["boot"], "one")

    def test_events_of_many_pages(self):
        self.start([event(i) for i in range(1, 1001)])
        self.assertEqual(self.run_admin().stdout.count("\n"), 1000)
        self.assertEqual({request["args"]["limit"] for request in self.mediator.requests}, {256})

    def test_events_that_are_no_longer_kept_are_said(self):
        self.start([event(i) for i in range(1, 31)], kept=10)
        done = self.run_admin("--after=5")
        self.assertEqual(done.stdout.count("\n"), 10)
        self.assertIn("15 events before are no longer kept", done.stderr)

    def test_events_none(self):
        self.start([])
        self.assertEqual(self.run_admin().stdout, "")

    def test_events_follow_shows_what_comes(self):
        self.start([event(1)])
        follower = self.follow()
        self.mediator.add(event(2))
        self.assertIn("text 2", follower.line())
        self.mediator.add(event(3), event(4))
        self.assertIn("text 3", follower.line())
        self.assertIn("text 4", follower.line())

    def test_events_follow_after_a_number(self):
        self.start([event(1), event(2)])
        follower = self.follow("--after=1")
        self.assertIn("text 2", follower.line())

    def test_events_follow_json_is_a_line_each(self):
        self.start([])
        follower = self.follow("--json", "--kind=fault")
        self.mediator.add(event(1, "vm-connected"), event(2))
        self.assertEqual(json.loads(follower.line()), {**event(2), "boot": "one"})

    def test_events_follow_goes_on_with_another_mediator(self):
        self.start([event(i, text="old") for i in range(1, 10)])
        follower = self.follow("--after=8")
        self.assertIn("old 9", follower.line())
        self.mediator.stop()
        self.assertIn("the mediator is gone; waiting for another", follower.note())
        self.start([event(1, "mediator-started", text="new")], "two")
        self.assertIn("another mediator runs", follower.note())
        self.assertIn("new 1", follower.line())
        self.mediator.add(event(2, text="new"))
        self.assertIn("new 2", follower.line())

    def test_events_follow_another_mediator_with_more_events(self):
        self.start([event(1, text="old")])
        follower = self.follow("--after=0")
        self.assertIn("old 1", follower.line())
        self.restart([event(i, text="new") for i in range(1, 4)])
        for i in range(1, 4):
            self.assertIn(f"new {i}", follower.line())

    def test_events_follow_same_mediator_repeats_nothing(self):
        self.start([event(1)])
        follower = self.follow("--after=0")
        self.assertIn("text 1", follower.line())
        self.restart([event(1), event(2)], boot="one")
        self.assertIn("text 2", follower.line())

    def test_events_text_is_harmless(self):
        self.start([event(1, text="a\033[31mb\nc")])
        self.assertIn("a?[31mb?c 1", self.run_admin().stdout)

    def test_events_severities_have_colours(self):
        self.start([event(1, severity="error"), event(2), event(3, severity="info")])
        lines = self.run_admin("--color=always").stdout.split("\n")
        self.assertIn("\033[31mfault", lines[0])
        self.assertIn("\033[33mfault", lines[1])
        self.assertNotIn("\033", lines[2])

    def test_events_wrong_arguments(self):
        self.start([])
        self.assertIn("no events of kind 'faults'", self.run_admin("--kind=faults", code=1).stderr)
        self.assertIn("no events of kind ''", self.run_admin("--kind=fault,", code=1).stderr)
        self.assertIn("below 0", self.run_admin("--after=-1", code=1).stderr)
        self.assertEqual(self.mediator.requests, [])

    def test_events_every_kind_of_the_schema_is_known(self):
        with open(os.path.join(SCHEMAS, "event.json"), encoding="utf-8") as file:
            kinds = json.load(file)["properties"]["kind"]["enum"]
        self.start([event(i + 1, kind) for i, kind in enumerate(kinds)])
        done = self.run_admin("--kind=" + ",".join(kinds))
        self.assertEqual(done.stdout.count("\n"), len(kinds))

    def test_events_without_a_mediator_says_what_to_do(self):
        for arguments in ([], ["--follow"]):
            done = self.run_admin(*arguments, code=1)
            self.assertIn("no mediator runs at " + self.socket, done.stderr)
            self.assertIn("systemctl start vgpu-mediator", done.stderr)
            self.assertEqual(done.stdout, "")

    def test_events_answers_that_are_wrong_are_survived(self):
        self.start([{"seq": "x", "kind": 7, "time": [], "text": {}}, 5, None])
        self.mediator.page = lambda after, limit: {"events": self.mediator.events}
        self.assertEqual(self.run_admin().stdout.count("\n"), 1)


if __name__ == "__main__":
    PROGRAM, SCHEMAS = sys.argv[1:3]
    unittest.main(argv=sys.argv[:1])
