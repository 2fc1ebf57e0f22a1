#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs each subcommand with --json and checks what it prints against docs/spec/schema/.

Usage: test_json.py VGPU_ADMIN SCHEMA_DIRECTORY. Needs the standard library only; the part of JSON
Schema that the schemas use is checked here, and a schema that uses more is an error.
"""
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
from xml.etree import ElementTree

PROGRAM = SCHEMAS = None

TYPES = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "null": lambda v: v is None,
}
ANY = {"type": list(TYPES), "properties": {}, "required": [], "additionalProperties": True}
ANY["items"] = ANY
KNOWN = {"$schema", "$comment", "$ref", "title", "type", "properties", "required", "items", "enum",
         "additionalProperties", "minimum", "maximum"}


class Mismatch(Exception):
    pass


def load(name):
    with open(os.path.join(SCHEMAS, name), encoding="utf-8") as file:
        return json.load(file)


def check_number(value, schema, where):
    if not TYPES["number"](value):
        return
    if value < schema.get("minimum", value) or value > schema.get("maximum", value):
        raise Mismatch(f"{where}: {value} is out of range")


def check(value, schema, where="$"):
    """Raises Mismatch unless value is as the schema says."""
    if set(schema) - KNOWN:
        raise Mismatch(f"{where}: the schema uses {sorted(set(schema) - KNOWN)}")
    if "$ref" in schema:
        check(value, load(schema["$ref"]), where)
        return
    names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(TYPES[name](value) for name in names):
        raise Mismatch(f"{where}: {value!r} is not of type {names}")
    if "enum" in schema and value not in schema["enum"]:
        raise Mismatch(f"{where}: {value!r} is none of {schema['enum']}")
    check_number(value, schema, where)
    if isinstance(value, dict):
        missing = set(schema["required"]) - set(value)
        surplus = set(value) - set(schema["properties"])
        if missing or (surplus and schema["additionalProperties"] is False):
            raise Mismatch(f"{where}: missing {sorted(missing)}, surplus {sorted(surplus)}")
        for key, member in value.items():
            check(member, schema["properties"].get(key, ANY), f"{where}.{key}")
    if isinstance(value, list):
        for i, item in enumerate(value):
            check(item, schema["items"], f"{where}[{i}]")


STATUS = {
    "mediator": {"version": "0.1.0", "pid": 7, "uptime_s": 1.5, "driver": "softgpu",
                 "window_s": 10.0, "channels": 1, "workers": 1},
    "gpus": [{"gpu_id": 0, "uuid": "GPU-1", "model": "M", "memory_total_bytes": 2,
              "memory_used_bytes": 1, "utilization": 50, "temperature": 40, "state": "ok",
              "pools": ["A"], "holder_vm_id": 1, "spares": 1,
              "spares_wanted": 1, "spare_failures": 0, "warm_starts": 2}],
    "pools": [{"pool": "A", "policy": "wfq", "gpus": [0], "vms": 1}],
    "vms": [{"vm_id": 1, "uuid": None, "name": "web", "pool": "A", "priority": "high",
             "weight": 50.0, "quarantine_reason": None, "state": "running", "gpu_id": 0, "channels": 1,
             "connections": 1, "domid": 5, "memory_bytes": 6, "queue_depth": 2,
             "submission_rate": 12.5, "mean_job_ns": 4000,
             "jobs_done": 3, "jobs_failed": 0, "jobs_refused": 0, "gpu_time_ns": 4, "wait_ns": 5,
             "share": 1.0, "entitlement": 1.0, "faults": 2,
             "refused_by": {"rate": 1, "depth": 0, "bytes": 0, "quarantine": 0},
             "held_by": {"rate": 0, "depth": 3, "bytes": 0, "quarantine": 0},
             "memory": {"quota_bytes": 8 << 30, "granted_bytes": 5 << 30, "held_bytes": 4 << 30,
                        "spare_bytes": 1 << 20, "context_bytes": 0, "module_bytes": 4096,
                        "graph_bytes": 0, "nvml_bytes": 5 << 30,
                        "unexplained_bytes": (1 << 30) - 4096}}],
}

SCAN = """#!/bin/sh
echo '{"gpus": [{"index": 0, "uuid": "GPU-1", "pci": "00000000:65:00.0", "model": "M",
                 "memory_bytes": 42}], "driver_version": "580", "pci_error": "none here"}'
"""


class Json(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="vgpu-admin-json-")
        self.scan = os.path.join(self.directory.name, "nvml")
        with open(self.scan, "w", encoding="utf-8") as file:
            file.write(SCAN)
        os.chmod(self.scan, 0o700)

    def tearDown(self):
        self.directory.cleanup()

    def run_text(self, *arguments):
        done = subprocess.run(
            [PROGRAM, "--database", os.path.join(self.directory.name, "vgpu.db"), "--create",
             *arguments],
            env={**os.environ, "VGPU_RUN_DIR": self.directory.name}, capture_output=True,
            check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.decode()

    def run_json(self, command, *arguments):
        """Runs the command and gives what it printed, checked against its schema."""
        result = json.loads(self.run_text("--json", command, *arguments))
        check(result, load(command + ".json"))
        return result

    def configure(self):
        self.run_json("scan-gpus", "--nvml-helper=" + self.scan)
        self.run_json("create-pool", "A", "--policy=strict", "--description=d")
        self.run_json("assign-gpu", "--gpu-id=0", "--pool=A")
        self.run_json("register-vm", "--pool=A", "--vm-id=1", "--name=web")

    def test_every_command_without_a_mediator(self):
        self.configure()
        self.run_json("set-priority", "web", "--priority=high")
        self.run_json("set-weight", "web", "--weight=33.33")
        self.run_json("create-pool", "B")
        self.run_json("assign-vms", "1-3", "B", "--register")
        self.assertEqual(self.run_json("assign-vms", "--vms=1,3", "--pool=A")["vms"], [1, 3])
        self.assertTrue(self.run_json("capacity", "A", "--memory=1M")["pools"][0]["reason"])
        self.assertIsNone(self.run_json("capacity")["pools"][0]["gpus_healthy"])
        self.run_json("remove-vm", "2")
        self.run_json("remove-vm", "3")
        self.run_json("set-pool", "web", "--pool=B")
        self.assertEqual(self.run_json("list-vms")["vms"][0]["weight"], 33.33)
        self.assertEqual(self.run_json("list-gpus")["gpus"][0]["pools"], ["A"])
        self.assertEqual(len(self.run_json("list-pools")["pools"]), 2)
        self.assertIsNone(self.run_json("status")["mediator"])
        self.assertIsNone(self.run_json("top")["vms"][0]["queue_depth"])
        self.run_json("unassign-gpu", "--gpu-id=0")
        self.assertEqual(self.run_json("audit", "--limit=1")["audit"][0]["object"], "pool-gpu")
        self.settings()
        self.assertTrue(self.run_json("set-max-vms", "B", "3", "--dry-run")["dry_run"])
        self.assertEqual(self.run_json("set-max-vms", "B", "7")["pool"]["max_vms"], 7)
        self.run_json("remove-vm", "web")
        self.run_json("remove-pool", "B")

    def test_simulate_gives_shares_and_draws(self):
        workload = os.path.join(self.directory.name, "workload")
        drawing = os.path.join(self.directory.name, "drawing.svg")
        with open(workload, "w", encoding="utf-8") as file:
            file.write("duration 1s\nvm a priority high arrive closed 2 job fixed 1ms\n"
                       "vm b priority low arrive closed 2 job fixed 1ms\n")
        result = self.run_json("simulate", workload, "--svg=" + drawing)
        self.assertAlmostEqual(result["gpus"][0]["vms"][0]["share"], 0.8, delta=0.02)
        root = ElementTree.parse(drawing).getroot()
        texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        self.assertLess({"a", "b", "share of the GPU time"}, set(texts))

    def test_simulate_divides_a_host(self):
        workload = os.path.join(self.directory.name, "workload")
        drawing = os.path.join(self.directory.name, "drawing.svg")
        with open(workload, "w", encoding="utf-8") as file:
            file.write("duration 100ms\npool p\npool q\ngpu x pools p\ngpu y pools p q\n"
                       "vm a pool p arrive closed 2 job fixed 1ms\n"
                       "vm b pool q arrive closed 2 job fixed 1ms\n")
        gpus = self.run_json("simulate", workload, "--svg=" + drawing)["gpus"]
        self.assertEqual([(gpu["gpu"], gpu["pools"], [vm["name"] for vm in gpu["vms"]])
                          for gpu in gpus], [("x", ["p"], ["a"]), ("y", ["p", "q"], ["b"])])
        root = ElementTree.parse(drawing).getroot()
        texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        self.assertLess({"GPU x (pools p)", "GPU y (pools p q)", "a", "b"}, set(texts))

    def settings(self):
        self.run_json("set-rate", "web", "100", "200")
        path = os.path.join(self.directory.name, "config.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.run_json("export"), file)
        self.assertFalse(self.run_json("import", path, "--prune")["changed"])
        self.run_json("set-depth", "web", "64")
        self.run_json("set-bytes", "web", "256M")
        self.run_json("set-timeout", "web", "2s")
        self.run_json("set-memory", "web", "4G", "--process=1.5G")
        self.run_json("set-faults", "web", "3", "10m")
        self.run_json("quarantine", "web", "--reason=it mines")
        shown = self.run_json("show-vm", "web")
        self.assertIsNone(shown["live"])
        self.assertEqual(shown["vm"], self.run_json("list-vms")["vms"][0])
        expected = {"rate_per_s": 100, "burst": 200, "depth": 64, "bytes_in_flight": 256 << 20,
                    "job_timeout_ms": 2000, "memory_bytes": 4 << 30,
                    "process_memory_bytes": 3 << 29, "fault_threshold": 3, "fault_window_s": 600,
                    "quarantined": True, "quarantine_reason": "it mines"}
        self.assertEqual({key: shown["vm"][key] for key in expected}, expected)
        self.assertEqual(self.run_json("status")["vms"][0]["quarantine_reason"], "it mines")
        self.run_json("unquarantine", "web")
        self.run_json("clear-faults", "web")
        self.run_json("set-policy", "B", "strict")
        self.run_json("set-slice", "B", "5ms", "--grace=1ms", "--max-wait=1s", "--urgency=2ms")
        pool = self.run_json("set-pool-weight", "B", "2.5")["pool"]
        expected = {"policy": "strict", "weight_hundredths": 250, "slice_us": 5000,
                    "grace_us": 1000, "max_wait_ms": 1000, "urgency_us": 2000}
        self.assertEqual({key: pool[key] for key in expected}, expected)

    def test_gpus_are_drained_and_thresholds_set(self):
        self.configure()
        gpu = self.run_json("drain-gpu", "0", "--reason=new fans")["gpu"]
        self.assertEqual((gpu["drained"], gpu["drain_reason"]), (True, "new fans"))
        self.assertTrue(self.run_json("resume-gpu", "0", "--dry-run")["dry_run"])
        self.assertFalse(self.run_json("resume-gpu", "0")["gpu"]["drained"])
        rule = self.run_json("set-threshold", "temperature-hot", "80.5", "drain")["threshold"]
        self.assertEqual((rule["value"], rule["action"], rule["is_default"]), (80.5, "drain", False))
        self.assertIn(rule, self.run_json("list-thresholds")["thresholds"])

    def test_health_of_a_mediator_is_passed_on_whole(self):
        unknown = {key: None for key, schema in
                   load("health.json")["properties"]["gpus"]["items"]["properties"].items()
                   if "null" in schema["type"]}
        gpu = {"gpu_id": 0, "uuid": "GPU-1", "model": "M", "state": "stopped", "since": 5,
               "reasons": ["temperature: 91 C, the limit is 90 C (temperature-hot)"], "resets": 0}
        known = {**unknown, **gpu, "temperature": 91, "power_w": 75.5, "throttle": ["thermal"],
                 "ecc_corrected": 1, "remap_pending": False, "last_xid": 48, "sampled": 7}
        for row in ({**unknown, **gpu}, known):
            result = {"gpus": [row]}
            self.assertEqual(self.answer_of_a_mediator(result, "health"), result)
            os.unlink(os.path.join(self.directory.name, "admin.sock"))

    def test_reset_of_a_mediator_is_passed_on(self):
        for result, flag in (({"gpu_id": 3, "changed": True, "changes": []}, "--yes"),
                             ({"gpu_id": 3, "changed": True, "changes": [], "dry_run": True},
                              "--dry-run")):
            self.assertEqual(self.answer_of_a_mediator(result, "reset-gpu", "3", flag), result)
            os.unlink(os.path.join(self.directory.name, "admin.sock"))

    def test_what_only_a_mediator_knows_or_does_fails_without_one(self):
        for arguments in (("health",), ("reset-gpu", "0", "--yes"), ("reset-gpu", "0")):
            done = subprocess.run(
                [PROGRAM, "--database", os.path.join(self.directory.name, "vgpu.db"), "--create",
                 *arguments], env={**os.environ, "VGPU_RUN_DIR": self.directory.name},
                stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("--yes" if len(arguments) == 2 else "no mediator", done.stderr)

    def test_lists_of_an_empty_store(self):
        for command in ("list-vms", "list-gpus", "list-pools", "status"):
            self.run_json(command)

    def answer_of_a_mediator(self, result, command, *arguments):
        """What the command prints where a mediator answers with that result."""
        return self.with_a_mediator(result, self.run_json, command, *arguments)

    def with_a_mediator(self, result, run, *arguments):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.join(self.directory.name, "admin.sock"))
            listener.listen(1)

            def serve():
                connection, _ = listener.accept()
                with connection, connection.makefile("rwb") as lines:
                    request = json.loads(lines.readline())
                    reply = {"id": request["id"], "ok": True, "result": result}
                    lines.write(json.dumps(reply).encode() + b"\n")

            server = threading.Thread(target=serve)
            server.start()
            printed = run(*arguments)
            server.join()
            return printed

    def test_status_of_a_mediator_is_passed_on_whole(self):
        self.assertEqual(self.answer_of_a_mediator(STATUS, "status"), STATUS)

    def test_status_has_a_column_of_domains_on_xen_only(self):
        for domid, shown in ((5, True), (None, False)):
            status = {**STATUS, "vms": [{**STATUS["vms"][0], "domid": domid}]}
            text = self.with_a_mediator(status, self.run_text, "status")
            self.assertEqual("DOMID" in text, shown)
            if shown:
                titles, row = [line for line in text.splitlines()
                               if line.split()[-1:] in (["DOMID"], ["5"])]
                self.assertEqual(titles.index("DOMID") + 4, row.rindex("5"))
            os.unlink(os.path.join(self.directory.name, "admin.sock"))

    def test_reload_config_is_passed_on_whole(self):
        result = {"changed": True, "gpus": 1, "pools": 2, "vms": 3,
                  "changes": [{"object": "pool", "key": "A", "change": "changed"}]}
        self.assertEqual(self.answer_of_a_mediator(result, "reload-config"), result)

    def test_events_are_passed_on(self):
        event = {"seq": 7, "time": 1790000000.125, "kind": "fault", "severity": "warning",
                 "vm_id": 3, "gpu_id": None, "pool": "A", "text": "an out-of-range copy"}
        page = {"boot": "0123", "first": 1, "next": 7, "events": [event]}
        shown = self.answer_of_a_mediator(page, "events")
        self.assertEqual(shown, {**page, "events": [{**event, "boot": "0123"}]})

    def test_top_has_what_status_says(self):
        shown = self.answer_of_a_mediator(STATUS, "top")
        self.assertEqual(shown["mediator"], STATUS["mediator"])
        self.assertEqual(shown["gpus"][0]["holder_name"], "web")
        expected = {key: STATUS["vms"][0][key] for key in ("share", "queue_depth", "jobs_done")}
        self.assertEqual({key: shown["vms"][0][key] for key in expected}, expected)
        self.assertEqual(shown["vms"][0]["memory_quota_bytes"], 8 << 30)
        self.assertEqual(shown["pools"][0]["running"], 1)

    def test_metrics_of_a_mediator_are_those_that_it_names(self):
        page = {"format": 1, "boot": "b", "next_vm": None,
                "columns": {"global": ["vgpu_mediator_uptime_seconds"], "gpus": [], "pools": [],
                            "vms": ["vgpu_vm_refused_jobs_total/depth", "vgpu_of_another_time",
                                    "vgpu_job_run_seconds/launch"]},
                "global": [["0.1.0", 1500000000]],
                "vms": [[7, "A", "high", 3, 4, [2, 3000, 1000, 2000, 2000]]]}
        found = {}
        for metric in self.answer_of_a_mediator(page, "metrics")["metrics"]:
            for series in metric["series"]:
                labels = series.pop("labels")
                found[metric["name"], labels.get("vm"), labels.get("reason")] = series
        self.assertEqual(found, {
            ("vgpu_mediator_uptime_seconds", None, None): {"value": 1.5},
            ("vgpu_vm_refused_jobs_total", "7", "depth"): {"value": 3},
            ("vgpu_job_run_seconds", "7", None): {
                "count": 2, "sum": 0.000003,
                "quantiles": {"0.5": 0.000001, "0.95": 0.000002, "0.99": 0.000002}}})

    def test_show_vm_has_what_a_mediator_knows(self):
        self.configure()
        shown = self.run_json("show-vm", "web")
        live = load("show-vm.json")["properties"]["live"]["properties"]
        shown["live"] = {key: STATUS["vms"][0][key] for key in live}
        self.assertEqual(self.answer_of_a_mediator(shown, "show-vm", "web"), shown)

    def test_show_vm_and_status_have_the_same_live_members(self):
        row = load("status.json")["properties"]["vms"]["items"]["properties"]
        live = load("show-vm.json")["properties"]["live"]["properties"]
        own = {"vm_id", "uuid", "name", "pool", "priority", "weight", "quarantine_reason"}
        self.assertEqual({key: row[key] for key in row if key not in own}, live)

    def test_there_is_a_schema_for_every_command_and_no_other(self):
        output = subprocess.run([PROGRAM, "--help"], capture_output=True, check=True, text=True)
        listed = output.stdout.split("commands:\n")[1].split("\n\n")[0]
        commands = {line.split()[0] for line in listed.splitlines()}
        parts = {"affected-pool", "change", "event", "gpu", "pool", "threshold", "vm"}
        schemas = {name[:-5] for name in os.listdir(SCHEMAS)} - parts
        commands.remove("completion")  # prints a script, whatever it is asked for
        self.assertEqual(commands, schemas)

    def test_the_check_itself_refuses(self):
        vm = {**STATUS["vms"][0]}
        schema = load("status.json")["properties"]["vms"]["items"]
        check(vm, schema)
        for key, value in (("weight", 101), ("priority", "top"), ("name", 7), ("extra", 1),
                           ("channels", True), ("share", -0.1)):
            with self.subTest(key=key), self.assertRaises(Mismatch):
                check({**vm, key: value}, schema)
        del vm["pool"]
        with self.assertRaises(Mismatch):
            check(vm, schema)


if __name__ == "__main__":
    PROGRAM, SCHEMAS = sys.argv[1:3]
    unittest.main(argv=sys.argv[:1])
