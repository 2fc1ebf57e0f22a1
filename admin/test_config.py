#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vgpu-admin on a database without a mediator: dry runs and conflicts, as its users see them.

Usage: test_config.py VGPU_ADMIN. Needs the standard library only.
"""
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import unittest

PROGRAM = None


class Offline(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="vgpu-admin-config-")
        self.addCleanup(self.directory.cleanup)
        self.admin("create-pool", "A")
        self.admin("create-pool", "B")
        self.admin("register-vm", "--vm-id=1", "--pool=A", "--name=web")

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def run_admin(self, *arguments, database="vgpu.db"):
        return subprocess.run(
            [PROGRAM, "--database", self.path(database), "--create", *arguments],
            env={**os.environ, "VGPU_RUN_DIR": self.directory.name}, capture_output=True,
            check=False, text=True)

    def admin(self, *arguments, **more):
        """What it prints, where it succeeds."""
        done = self.run_admin(*arguments, **more)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def json(self, *arguments, **more):
        return json.loads(self.admin("--json", *arguments, **more))

    def refused(self, *arguments, status=1, **more):
        """What it complains of, where it fails."""
        done = self.run_admin(*arguments, **more)
        self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
        return done.stderr


class Changes(Offline):
    def test_dry_run_says_what_would_change_and_changes_nothing(self):
        before = self.json("list-vms")
        done = self.run_admin("set-rate", "web", "100", "--dry-run")
        self.assertEqual(done.stdout, "dry run: nothing is changed; this would be:\n"
                         "  VM 1 (web): rate_per_s 0 -> 100, burst 0 -> 100\n")
        self.assertEqual(done.stderr, "vgpu-admin: mediator is not running; compared with the "
                         "database only\n")
        self.assertEqual(self.json("list-vms"), before)

    def test_dry_run_of_what_is_so_already(self):
        self.assertEqual(self.admin("--dry-run", "set-pool", "web", "A"),
                         "dry run: all is as asked already\n")

    def test_dry_run_of_making_and_removing(self):
        self.assertEqual(self.admin("create-pool", "C", "--policy=strict", "--dry-run"),
                         "dry run: nothing is changed; this would be:\n"
                         "  pool C: new: pool C, policy strict\n")
        self.assertIn("  VM 1 (web): removed\n", self.admin("remove-vm", "web", "--dry-run"))

    def test_dry_run_that_would_fail_fails(self):
        self.assertIn("still has 1 VM", self.refused("remove-pool", "A", "--dry-run"))

    def test_if_revision_takes_the_one_that_is(self):
        vm = self.json("set-weight", "web", "60", "--if-revision=1")["vm"]
        self.assertEqual(vm["revision"], 2)

    def test_if_revision_says_who_was_faster(self):
        self.admin("set-weight", "web", "60")
        error = self.refused("set-weight", "web", "70", "--if-revision=1")
        self.assertRegex(error, r"^vgpu-admin: set-weight: VM 1 has revision 2, not 1; changed by: "
                         r"uid=\d+ pid=\d+ offline at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC "
                         r"\(set-weight: weight 50\.0 to 60\.0\)\n$")
        self.assertEqual(self.json("show-vm", "web")["vm"]["weight"], 60)

    def test_options_of_changes_are_for_changes(self):
        for arguments, text in (
                (("list-vms", "--dry-run"), "list-vms has no option --dry-run"),
                (("--if-revision=1", "show-vm", "web"), "show-vm has no option --if-revision"),
                (("create-pool", "C", "--if-revision=1"), "create-pool has no option"),
                (("set-depth", "web", "7", "--if-revision=0"), "is not a revision, 1 or more"),
                (("set-depth", "web", "7", "--if-revision=-1"), "is not a revision, 1 or more"),
                (("set-depth", "web", "7", "--if-revision="), "is not a revision, 1 or more"),
                (("set-depth", "web", "7", "--if-revision=9223372036854775808"),
                 "is not a revision, 1 or more"),
                (("set-depth", "web", "7", "--if-revision"), "needs a value")):
            with self.subTest(arguments=arguments):
                self.assertIn(text, self.refused(*arguments, status=2))


class Audit(Offline):
    def lines(self, *arguments):
        """What the lines say, without numbers and times, and with one blank between words."""
        lines = self.admin("audit", *arguments).splitlines()
        return [" ".join(line.split()[3:]) for line in lines]

    def test_audit_says_who_changed_what_from_what_to_what(self):
        self.admin("set-rate", "web", "100")
        self.admin("remove-vm", "web")
        lines = self.lines()
        self.assertEqual(len(lines), 5)
        self.assertRegex(lines[0], r"^uid=\d+ pid=\d+ offline create-pool pool A new: pool A, "
                         r"policy wfq$")
        self.assertRegex(lines[2], r"register-vm VM 1 \(web\) new: name web, pool A, priority "
                         r"medium, weight 50$")
        self.assertRegex(lines[3], r"set-rate VM 1 rate_per_s 0 -> 100, burst 0 -> 100$")
        self.assertRegex(lines[4], r"remove-vm VM 1 \(web\) removed$")

    def test_audit_of_one_object(self):
        self.assertEqual(len(self.lines("--vm=web")), 1)
        self.assertEqual(len(self.lines("--pool=A")), 1)
        self.admin("remove-vm", "web")
        self.assertEqual(len(self.lines("--vm=1")), 2)
        self.assertIn("VM 'web' does not exist", self.refused("audit", "--vm=web"))
        self.assertIn("only one of", self.refused("audit", "--vm=1", "--pool=A"))
        self.assertEqual(self.admin("audit", "--gpu-id=3"), "no changes\n")

    def test_audit_of_more_than_an_answer_holds(self):
        """One answer has 256 KiB of rows at most, and 1000; the limit that was asked for is kept."""
        with contextlib.closing(sqlite3.connect(self.path("vgpu.db"))) as database, database:
            database.executemany(
                "INSERT INTO audit_log (time, who, command, object, object_key, after) VALUES"
                " (1, 'w', 'c', 'vm', '77', ?)", [(json.dumps({"x": "y" * 2000}),)] * 1102)
        every = self.json("audit", "--vm=77", "--limit=100000")["audit"]
        self.assertEqual(len(every), 1102)
        seqs = [row["seq"] for row in every]
        self.assertEqual(seqs, sorted(set(seqs)))
        newest = self.json("audit", "--vm=77", "--limit=1001")
        self.assertEqual([row["seq"] for row in newest["audit"]], seqs[-1001:])
        self.assertEqual(newest["next"], seqs[-1])
        onward = self.json("audit", "--vm=77", f"--after={seqs[0]}", "--limit=1001")
        self.assertEqual([row["seq"] for row in onward["audit"]], seqs[1:1002])
        self.assertEqual(onward["next"], seqs[1001])
        for limit in (0, 100001):
            self.assertIn("1 to 100000", self.refused("audit", f"--limit={limit}"))

    def test_audit_by_pages(self):
        self.assertEqual(len(self.lines("--limit=1")), 1)
        page = self.json("audit", "--after=0", "--limit=2")
        self.assertEqual([row["seq"] for row in page["audit"]], [1, 2])
        self.assertEqual(self.json("audit", f"--after={page['next']}")["audit"][0]["seq"], 3)
        self.assertIn("1 to 100000", self.refused("audit", "--limit=100001"))


class Many(Offline):
    def test_assign_vms_says_how_many(self):
        self.assertEqual(self.admin("assign-vms", "1-7", "B", "--register"),
                         "7 VMs are now in pool B\n")
        self.assertEqual(self.admin("assign-vms", "--vms=1-7", "--pool=B"),
                         "7 VMs are already in pool B\n")
        self.assertEqual(self.admin("assign-vms", "2", "A"), "1 VM is now in pool A\n")
        self.assertEqual(self.admin("assign-vms", "1-2", "A"),
                         "2 VMs are now in pool A, 1 of them were already\n")
        self.assertEqual(self.admin("assign-vms", "2-3", "A", "--dry-run"),
                         "dry run: nothing is changed; this would be:\n"
                         "  VM 3: pool B -> A\n")

    def test_assign_vms_is_refused_whole(self):
        self.assertIn("1 of these 2 VMs are not registered: 9", self.refused("assign-vms", "1,9", "B"))
        self.assertIn("vms: a comma is missing at '+2'", self.refused("assign-vms", "1+2", "B"))
        self.assertIn("--register has no value",
                      self.refused("assign-vms", "1", "B", "--register=no", status=2))

    def test_capacity_is_a_table(self):
        self.admin("set-max-vms", "A", "1")
        self.admin("set-memory", "web", "4G")
        lines = [line.split() for line in self.admin("capacity").splitlines()]
        self.assertEqual(lines[0], "POOL VMS MOST GPUS MEMORY PROMISED NO QUOTA ONE MORE".split())
        self.assertEqual(lines[1], "A 1 1 0 0 B 4.0 GiB 0 no: it has 1 VMs and takes 1 at most".split())
        self.assertEqual(lines[2], "B 0 - 0 0 B 0 B 0 no: no GPU serves it".split())


class Files(Offline):
    def file(self, text):
        with open(self.path("config.json"), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path("config.json")

    def test_export_and_import_elsewhere_are_the_same_byte_by_byte(self):
        self.admin("set-rate", "web", "100")
        self.admin("quarantine", "web", "--reason=\u00e4 \"quoted\" reason")
        text = self.admin("export")
        self.assertEqual(self.admin("--json", "export"), text)
        self.admin("import", self.file(text), "--prune", database="other.db")
        self.assertEqual(self.admin("export", database="other.db"), text)
        self.assertEqual(self.admin("import", self.file(text), "--prune", database="other.db"),
                         "the configuration is so already\n")

    def test_import_says_what_it_changed(self):
        path = self.file('{"format": 1, "vms": [{"vm_id": 1, "pool": "B", "depth": 9},'
                         ' {"vm_id": 2, "pool": "A"}]}')
        expected = "  VM 1: pool A -> B, depth 0 -> 9\n" \
                   "  VM 2: new: pool A, priority medium, weight 50\n"
        self.assertEqual(self.admin("import", path, "--dry-run"),
                         "dry run: nothing is changed; this would be:\n" + expected)
        self.assertEqual(self.admin("import", path),
                         "configuration imported, 2 changes:\n" + expected)

    def test_import_reads_standard_input(self):
        done = subprocess.run(
            [PROGRAM, "--database", self.path("vgpu.db"), "import", "-", "--if-revision=1"],
            env={**os.environ, "VGPU_RUN_DIR": self.directory.name}, capture_output=True,
            check=False, text=True, input='{"format": 1, "pools": [{"pool": "A", "max_vms": 4}]}')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, "configuration imported, 1 change:\n"
                         "  pool A: max_vms 0 -> 4\n")

    def test_import_says_where_a_file_is_wrong(self):
        before = self.admin("export")
        for text, expected in (
                ('{"format": 1,\n "vms": [}', "config.json:2:10: "),
                ("", "config.json:1:0: "),
                ('{"format": 1, "format": 1}', "duplicate object key"),
                ('{"format": 1}\0', "config.json has a NUL byte"),
                ("[]", "'config' is not an object"),
                ('{"format": 7}', "it has format 7, this program knows 1 only"),
                ('{"format": 1, "vms": [{"vm_id": 1}, {"vm_id": 3, "pool": "C"}]}',
                 "import: vms[1]: pool 'C' does not exist (have: A, B)"),
                (" " * (2 << 20) + "{}", "is longer than 2097152 bytes")):
            with self.subTest(text=text[:40]):
                self.assertIn(expected, self.refused("import", self.file(text)))
        self.assertIn("cannot open", self.refused("import", self.path("none")))
        self.assertIn("--file=FILE is missing", self.refused("import", status=2))
        self.assertEqual(self.admin("export"), before)


if __name__ == "__main__":
    PROGRAM = sys.argv[1]
    unittest.main(argv=sys.argv[:1])
