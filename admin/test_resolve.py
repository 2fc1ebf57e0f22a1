#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Names of VMs that only XCP-ng or libvirt know: vgpu-admin with programs xe and virsh in its PATH.

Usage: test_resolve.py VGPU_ADMIN. The programs are scripts of this test, which answer as the real
ones do and note how they were asked; where the real virsh is there, its test driver is asked too.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = None

WEB = "11111111-1111-4111-8111-111111111111"
DB = "22222222-2222-4222-8222-222222222222"
OTHER = "33333333-3333-4333-8333-333333333333"

FAKE = """#!{python}
import json, os, sys, time
here = {here!r}
kind = os.path.basename(sys.argv[0])
with open(os.path.join(here, kind + ".log"), "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
with open(os.path.join(here, kind + ".json")) as file:
    vms = json.load(file)
args = sys.argv[1:]
if isinstance(vms, str):
    exec(vms)
    sys.exit(0)
if kind == "xe" and args[0] == "vm-list":
    assert args[1].startswith("name-label=") and args[2:] == ["params=uuid", "--minimal"], args
    name = args[1].partition("=")[2]
    print(",".join(uuid for uuid, its in vms if its.lower() == name.lower()))
elif kind == "xe":
    assert args[0] == "vm-param-get" and args[2:] == ["param-name=name-label"], args
    found = [its for uuid, its in vms if "uuid=" + uuid == args[1]]
    print(found[0]) if found else sys.exit(1)
elif args == ["-q", "list", "--all", "--uuid", "--name"]:
    for uuid, its in vms:
        print("%-36s %-30s" % (uuid, its))
else:
    assert args[:2] == ["-q", "domname"] and len(args) == 3, args
    found = [its for uuid, its in vms if uuid == args[2]]
    print(found[0]) if found else sys.exit(1)
"""


class Resolve(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="vgpu-resolve-")
        os.mkdir(self.path("bin"))
        self.admin("--create", "create-pool", "A")
        self.admin("register-vm", "--vm-id=1", "--pool=A", "--uuid=" + WEB)

    def tearDown(self):
        self.directory.cleanup()

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def fake(self, kind, vms):
        """vms: a list of (UUID, name), or Python that is run instead of an answer."""
        with open(self.path(kind + ".json"), "w", encoding="utf-8") as file:
            json.dump(vms, file)
        script = self.path("bin/" + kind)
        with open(script, "w", encoding="utf-8") as file:
            file.write(FAKE.format(python=sys.executable, here=self.directory.name))
        os.chmod(script, 0o700)

    def asked(self, kind):
        try:
            with open(self.path(kind + ".log"), encoding="utf-8") as file:
                return [json.loads(line) for line in file]
        except FileNotFoundError:
            return []

    def run_admin(self, *arguments, path=None):
        return subprocess.run(
            [PROGRAM, "--database", self.path("vgpu.db"), *arguments], capture_output=True,
            text=True, check=False, timeout=60,
            env={"VGPU_RUN_DIR": self.directory.name, "LC_ALL": "C.UTF-8",
                 "PATH": path or self.path("bin")})

    def admin(self, *arguments):
        done = self.run_admin(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def fails(self, *arguments):
        done = self.run_admin(*arguments)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        return done.stderr

    def vm(self, number):
        vms = json.loads(self.admin("list-vms", "--json"))["vms"]
        return next(vm for vm in vms if vm["vm_id"] == number)

    def test_resolve_name_that_xe_knows(self):
        self.fake("xe", [(DB, "db"), (WEB, "web")])
        self.admin("set-priority", "web", "high")
        self.assertEqual(self.vm(1)["priority"], "high")
        self.assertEqual(self.asked("xe")[0],
                         ["vm-list", "name-label=web", "params=uuid", "--minimal"])

    def test_resolve_name_that_virsh_knows(self):
        self.fake("virsh", [(DB, "web2"), (WEB, "web")])
        self.admin("set-weight", "--name=web", "--weight=7")
        self.assertEqual(self.vm(1)["weight"], 7)
        self.assertIn("VM 1", self.admin("show-vm", "web"))

    def test_resolve_both_programs_may_know_it(self):
        self.fake("xe", [(WEB, "web")])
        self.fake("virsh", [(WEB, "web")])
        self.admin("set-priority", "web", "low")

    def test_resolve_what_the_store_knows_is_not_asked(self):
        self.fake("xe", [(DB, "1"), (DB, WEB)])
        self.admin("set-priority", "1", "low")
        self.admin("set-priority", WEB, "high")
        self.assertIn("does not exist", self.fails("set-priority", DB, "high"))
        self.assertIn("'B' does not exist", self.fails("set-pool", "1", "B"))
        self.assertEqual(self.asked("xe"), [])

    def test_resolve_strange_names_are_one_argument(self):
        names = ["a'b\"c", "one,two", "with  two spaces", "$(reboot)", "-q", "a=b", "*", "naïve",
                 "back\\slash", ";ls"]
        for name in names:
            for kind in ("xe", "virsh"):
                with self.subTest(name=name, kind=kind):
                    self.fake(kind, [(OTHER, name + "x"), (WEB, name)])
                    words = ["set-priority", "--vm=" + name, "--priority=high"]
                    self.assertIn("VM 1", self.admin(*words))
                    os.unlink(self.path("bin/" + kind))

    def test_resolve_name_with_a_newline(self):
        self.fake("xe", [(WEB, "two\nlines")])
        self.admin("set-priority", "two\nlines", "high")

    def test_resolve_other_case_is_another_name(self):
        self.fake("xe", [(WEB, "web")])
        self.assertIn("'WEB' does not exist", self.fails("set-priority", "WEB", "high"))

    def test_resolve_spaces_at_the_end_count(self):
        self.fake("virsh", [(WEB, "web ")])
        self.assertIn("does not exist", self.fails("set-priority", "web", "high"))
        self.admin("set-priority", "web ", "high")

    def test_resolve_two_of_a_name_are_listed(self):
        self.fake("xe", [(WEB, "web"), (DB, "web")])
        text = self.fails("set-priority", "web", "high")
        self.assertIn(f"'web' fits 2 VMs: {WEB} (xe), {DB} (xe); choose one with --uuid", text)
        self.fake("xe", [(WEB, "web")])
        self.fake("virsh", [(DB, "web")])
        self.assertIn(f"{DB} (virsh)", self.fails("set-priority", "web", "high"))
        self.assertEqual(self.vm(1)["priority"], "medium")

    def test_resolve_one_that_is_not_registered(self):
        self.fake("xe", [(DB, "db")])
        text = self.fails("set-priority", "db", "high")
        self.assertIn(f"'db' is the VM with UUID {DB}, which is not registered", text)
        self.assertIn("register-vm --uuid=" + DB, text)

    def test_resolve_none_and_no_program(self):
        plain = self.fails("set-priority", "web", "high")
        self.assertIn("VM 'web' does not exist; see: vgpu-admin list-vms", plain)
        self.fake("xe", [(DB, "db")])
        self.assertEqual(self.fails("set-priority", "web", "high"), plain)

    def test_resolve_programs_that_fail(self):
        for script, text in (("sys.exit(3)", "xe failed (exit status 3)"),
                             ("os.kill(os.getpid(), 9)", "xe failed (signal 9)"),
                             ("print('nonsense')", "the answer of xe is not understood"),
                             ("print('x' * 262145)", "xe printed more than 262144 bytes"),
                             ("print(','.join('%08x-0000-4000-8000-000000000000' % i"
                              " for i in range(65)))", "more than 64 VMs")):
            with self.subTest(script=script):
                self.fake("xe", script)
                self.assertIn(text, self.fails("set-priority", "web", "high"))

    def test_resolve_a_program_that_fails_makes_no_choice(self):
        self.fake("xe", "sys.exit(1)")
        self.fake("virsh", [(WEB, "web")])
        self.assertIn("xe failed", self.fails("set-priority", "web", "high"))

    def test_resolve_a_program_that_hangs_is_ended(self):
        self.fake("xe", "open(here + '/pid', 'w').write(str(os.getpid())); time.sleep(600)")
        begun = time.monotonic()
        self.assertIn("xe did not end within 10 s", self.fails("set-priority", "web", "high"))
        self.assertLess(time.monotonic() - begun, 30)
        with open(self.path("pid"), encoding="utf-8") as file:
            self.assertFalse(os.path.exists("/proc/" + file.read()))

    def test_resolve_register_takes_over_the_uuid(self):
        self.fake("xe", [(DB, "db")])
        self.admin("register-vm", "--vm-id=2", "--pool=A", "--name=db")
        self.assertEqual((self.vm(2)["uuid"], self.vm(2)["name"]), (DB, "db"))

    def test_resolve_register_takes_over_the_name(self):
        self.fake("virsh", [(DB, "db")])
        self.admin("register-vm", "--vm-id=2", "--pool=A", "--uuid=" + DB.upper())
        self.assertEqual((self.vm(2)["uuid"], self.vm(2)["name"]), (DB, "db"))

    def test_resolve_register_leaves_out_a_name_that_cannot_be_kept(self):
        self.fake("xe", [(DB, "two\nlines")])
        self.admin("register-vm", "--vm-id=2", "--pool=A", "--uuid=" + DB)
        self.assertIsNone(self.vm(2)["name"])

    def test_resolve_register_with_both_asks_nobody(self):
        self.fake("xe", [(OTHER, "db")])
        self.admin("register-vm", "--vm-id=2", "--pool=A", "--uuid=" + DB, "--name=db")
        self.assertEqual(self.asked("xe"), [])

    def test_resolve_register_with_two_of_a_name_is_refused(self):
        self.fake("xe", [(DB, "db"), (OTHER, "db")])
        self.assertIn("fits 2 VMs", self.fails("register-vm", "--vm-id=2", "--pool=A", "--name=db"))

    def test_resolve_register_says_that_it_could_not_ask(self):
        self.fake("xe", "sys.exit(1)")
        done = self.run_admin("register-vm", "--vm-id=2", "--pool=A", "--name=db")
        self.assertEqual(done.returncode, 0)
        self.assertIn("'db' could not be looked up: xe failed (exit status 1)", done.stderr)
        self.assertIsNone(self.vm(2)["uuid"])

    @unittest.skipUnless(shutil.which("virsh"), "no virsh here")
    def test_resolve_by_the_real_virsh(self):
        wrapper = self.path("bin/virsh")
        with open(wrapper, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\nexec {shutil.which('virsh')} -c test:///default \"$@\"\n")
        os.chmod(wrapper, 0o700)
        self.admin("register-vm", "--vm-id=2", "--pool=A", "--name=test")
        self.assertEqual(self.vm(2)["uuid"], "6695eb01-f6a4-8304-79aa-97f2502e193f")


if __name__ == "__main__":
    PROGRAM = sys.argv[1]
    unittest.main(argv=sys.argv[:1])
