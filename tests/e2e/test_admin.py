#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What vgpu-admin shows of a mediator that lives: its events over a restart, its configuration read
again, one screen of top, and names for a shell's Tab.
"""
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading

from stack import ROOT, Stack, run, wait_for

sys.path.insert(0, os.path.join(ROOT, 'admin'))
import test_json

VMS = [(1, 'A', 'high'), (2, 'A', 'low')]

test_json.SCHEMAS = os.path.join(ROOT, 'docs/spec/schema')


def check(value, schema):
    test_json.check(value, test_json.load(schema))


class Follower:
    """vgpu-admin events --follow --json, with what it has printed so far."""

    def __init__(self, stack):
        self.process = subprocess.Popen(
            [stack.program('vgpu-admin'), '--socket', stack.path('admin.sock'), 'events',
             '--follow', '--after=0', '--json'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True)
        self.events = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def of_kind(self, kind):
        return [event for event in self.events if event['kind'] == kind]

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(10)
        self.reader.join()
        self.process.stdout.close()


def change_behind_its_back(stack, statement):
    """As somebody with sqlite3 in a shell would."""
    database = sqlite3.connect(stack.path('vgpu.db'), timeout=10)
    try:
        with database:
            database.execute(statement)
    finally:
        database.close()


def test_e2e_admin_reload_config_takes_in_what_differs():
    with Stack(vms=VMS) as stack:
        again = stack.admin_json('reload-config')
        check(again, 'reload-config.json')
        assert again == {'changed': False, 'gpus': 1, 'pools': 1, 'vms': 2, 'changes': []}, again
        change_behind_its_back(stack, 'UPDATE vms SET weight_hundredths = 700 WHERE vm_id = 2')
        change_behind_its_back(stack, "UPDATE pools SET policy = 'strict'")
        change_behind_its_back(stack, "INSERT INTO thresholds VALUES ('slowdown', 2, 'warn', 2)")
        tried = stack.admin_json('reload-config', '--dry-run')
        check(tried, 'reload-config.json')
        assert tried.pop('dry_run') and 'would be' in stack.admin('reload-config', '--dry-run')
        status = stack.admin_json('status')
        assert [vm['weight'] for vm in status['vms']] == [50, 50]
        again = stack.admin_json('reload-config')
        check(again, 'reload-config.json')
        assert again == tried, (tried, again)
        assert again['changes'] == [{'object': 'pool', 'key': 'A', 'change': 'changed'},
                                    {'object': 'threshold', 'key': 'slowdown', 'change': 'changed'},
                                    {'object': 'vm', 'key': '2', 'change': 'changed'}], again
        status = stack.admin_json('status')
        assert [vm['weight'] for vm in status['vms']] == [50, 7]
        assert status['pools'][0]['policy'] == 'strict'
        assert not stack.admin_json('reload-config')['changed']
        events = stack.admin_json('events', '--kind=config-changed')['events']
        assert 'read again by uid=' in events[-1]['text'], events[-1]


def test_e2e_admin_reload_config_disturbs_no_job():
    with Stack(vms=VMS) as stack:
        client = stack.load_start(1, 'run', 'saxpy', '--seconds', '3')
        wait_for(lambda: stack.admin_json('status')['vms'][0]['jobs_done'] > 0, 30, 'a job')
        for priority in ('low', 'medium', 'high') * 5:
            change_behind_its_back(stack, "UPDATE vms SET priority = '%s'" % priority)
            assert stack.admin_json('reload-config')['vms'] == 2
        assert client.wait(60) == 0
        assert stack.admin_json('status')['vms'][0]['jobs_failed'] == 0


def test_e2e_admin_without_a_mediator_says_what_to_do():
    with Stack(vms=VMS) as stack:
        stack.mediator.terminate()
        stack.mediator.wait(10)
        for command in (['reload-config'], ['events'], ['events', '--follow']):
            done = stack.admin_run(*command)
            assert done.returncode == 1 and not done.stdout, done
            assert 'start it with: systemctl start vgpu-mediator' in done.stderr, done
        done = stack.admin_run('top', '--once')
        assert done.returncode == 0 and 'the configuration only' in done.stdout, done
        assert 'read from the database only' in done.stderr, done
        stack.start_mediator()


def test_e2e_admin_events_follow_a_restart():
    with Stack(vms=VMS) as stack:
        follower = Follower(stack)
        try:
            wait_for(lambda: follower.of_kind('mediator-started'), 15, 'the start')
            stack.admin('set-weight', '1', '--weight=7')
            wait_for(lambda: follower.of_kind('config-changed'), 15, 'the change')
            stack.kill_mediator()
            stack.start_mediator()
            wait_for(lambda: len(follower.of_kind('mediator-started')) == 2, 15, 'the restart')
            stack.admin('quarantine', '2', '--reason=it mines')
            wait_for(lambda: follower.of_kind('vm-quarantined'), 15, 'the quarantine')
        finally:
            follower.end()
        assert len({event['boot'] for event in follower.events}) == 2
        for event in follower.events:
            check(event, 'event.json')
        for boot in {event['boot'] for event in follower.events}:
            seqs = [event['seq'] for event in follower.events if event['boot'] == boot]
            assert seqs == list(range(1, len(seqs) + 1)), seqs


def test_e2e_admin_top_shows_what_runs():
    with Stack(vms=VMS) as stack:
        client = stack.load_start(1, 'run', 'saxpy', '--seconds', '3')
        wait_for(lambda: stack.admin_json('status')['vms'][0]['jobs_done'] > 0, 30, 'a job')
        model = stack.admin_json('top')
        check(model, 'top.json')
        assert model['vms'][0]['jobs_done'] > 0 and model['vms'][1]['jobs_done'] == 0, model
        lines = stack.admin('top', '--once', '--sort=-vm').splitlines()
        assert lines[0].startswith('vgpu top: mediator'), lines
        assert client.wait(60) == 0


def test_e2e_admin_completes_names_of_the_mediator():
    with Stack(vms=VMS) as stack:
        environment = {**os.environ, 'VGPU_RUN_DIR': stack.run_dir}
        for words, expected in ((['remove-pool', ''], ['A']), (['show-vm', ''], ['1', '2']),
                                (['assign-gpu', '--gpu-id='], ['--gpu-id=0'])):
            done = subprocess.run(
                [stack.program('vgpu-admin'), '__complete', 'zsh', str(len(words)), 'vgpu-admin',
                 *words], env=environment, capture_output=True, text=True, check=True)
            assert [line.split('\t')[0] for line in done.stdout.splitlines()] == expected, done


if __name__ == '__main__':
    sys.exit(run([value for name, value in list(globals().items())
                  if name.startswith('test_e2e')]))
