#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is live: the stream of events, two surfaces at a time, and what is killed meanwhile."""
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import support
from support import stack


class Stream:
    """A reader of server-sent events: (event, id, data) of each."""

    def __init__(self, client, query='', last_id=None):
        self.connection = client.connect(timeout=40)
        headers = {'Authorization': 'Bearer ' + client.token}
        if last_id:
            headers['Last-Event-ID'] = last_id
        self.connection.request('GET', '/api/v1/events' + query, headers=headers)
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200, self.answer.status

    def next(self):
        event, ident, data = 'message', None, []
        while True:
            line = self.answer.readline().decode().rstrip('\n')
            if line.startswith('event: '):
                event = line[7:]
            elif line.startswith('id: '):
                ident = line[4:]
            elif line.startswith('data: '):
                data.append(line[6:])
            elif not line and data:
                return event, ident, json.loads('\n'.join(data))
            elif not line and self.answer.isclosed():
                raise EOFError

    def until(self, wanted, seconds=20):
        """The first of those for which wanted() holds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.next()
            if wanted(*found):
                return found
        raise AssertionError('not on the stream')

    def __enter__(self):
        return self

    def __exit__(self, *_ignored):
        self.answer.close()
        self.connection.close()


def weight_is(value):
    def wanted(event, _ident, data):
        return event == 'state' and any(vm['vm_id'] == 1 and vm['weight'] == value
                                        for vm in data['vms'])
    return wanted


def test_changes_of_another_surface_are_seen_within_a_second():
    with support.running(vms=[(1, 'A', 'high')]) as (host, agent):
        with Stream(agent.client('read')) as stream:
            assert stream.next()[:1] == ('mediator',)
            first = stream.until(lambda event, _id, _data: event == 'state')[2]
            support.validator(DOCUMENT_STATUS).validate(first)
            slowest = 0
            for weight in (7, 9, 11):
                started = time.monotonic()
                host.admin('set-weight', '1', '--weight=%d' % weight)
                changed = time.monotonic()
                stream.until(weight_is(weight))
                slowest = max(slowest, time.monotonic() - changed)
                assert time.monotonic() - started < 5
            print('a change is on the stream after %.0f ms at most' % (slowest * 1000))
            assert slowest < 1, slowest
        client = agent.client()
        client.ok('PATCH', '/api/v1/vms/1', {'weight': 13}, headers={'If-Match': '*'})
        assert host.admin_json('list-vms')['vms'][0]['weight'] == 13


DOCUMENT_STATUS = support.DOCUMENT['components']['schemas']['Status']


def test_events_are_told_and_resumed():
    with support.running(vms=[(1, 'A', 'high')]) as (_host, agent):
        client = agent.client()
        with Stream(client, '?states=false') as stream:
            client.ok('PUT', '/api/v1/vms/1/quarantine', {'reason': 'one'})
            _event, ident, data = stream.until(lambda event, _id, data: event == 'event' and
                                               data['kind'] == 'vm-quarantined')
            support.validator(support.DOCUMENT['components']['schemas']['Event']).validate(data)
            assert data['vm_id'] == 1 and 'one' in data['text'], data
        client.ok('DELETE', '/api/v1/vms/1/quarantine')
        with Stream(client, '?states=false', last_id=ident) as stream:
            kinds = []
            while 'vm-released' not in kinds:
                event, _ident, data = stream.next()
                assert event != 'gap' and event != 'state', event
                kinds += [data['kind']] if event == 'event' else []
            assert 'vm-quarantined' not in kinds, kinds
        with Stream(client, '?states=false', last_id='another:9') as stream:
            stream.until(lambda event, _id, _data: event == 'gap')


def test_two_administrators_get_a_conflict_and_no_lost_update():
    with support.running(vms=[(1, 'A', 'high')]) as (host, agent):
        agent.add_token('ann', 'admin')
        agent.add_token('bob', 'admin')
        ann, bob = agent.client('ann'), agent.client('bob')
        tag = ann.get('/api/v1/vms/1').etag
        assert bob.get('/api/v1/vms/1').etag == tag
        ann.ok('PATCH', '/api/v1/vms/1', {'weight': 7}, headers={'If-Match': tag})
        reply = bob.refused(412, 'conflict', 'PATCH', '/api/v1/vms/1', {'priority': 'low'},
                            headers={'If-Match': tag})
        assert 'agent:ann' in reply.json['detail'] and 'weight' in reply.json['detail'], reply
        host.admin('set-weight', '1', '--weight=9')
        reply = ann.refused(412, 'conflict', 'PATCH', '/api/v1/vms/1', {'weight': 1},
                            headers={'If-Match': '"2"'})
        assert 'uid=' in reply.json['detail'], reply
        vm = bob.get('/api/v1/vms/1').json
        assert vm['weight'] == 9 and vm['priority'] == 'high', vm


def test_of_many_writers_one_wins_each_round():
    with support.running(vms=[(1, 'A', 'high')]) as (_host, agent):
        client = agent.client()
        done = []

        def write(weight, tag):
            reply = client.request('PATCH', '/api/v1/vms/1', {'weight': weight, 'depth': weight},
                                   headers={'If-Match': tag})
            done.append((reply.status, weight))

        for turn in range(5):
            tag = client.get('/api/v1/vms/1').etag
            del done[:]
            writers = [threading.Thread(target=write, args=(turn * 10 + n + 1, tag))
                       for n in range(8)]
            for writer in writers:
                writer.start()
            for writer in writers:
                writer.join()
            winners = [weight for status, weight in done if status == 200]
            assert len(winners) == 1 and len(done) == 8, done
            vm = client.get('/api/v1/vms/1').json
            assert vm['weight'] == vm['depth'] == winners[0], (vm, winners)


def test_the_mediator_is_killed_and_comes_back():
    with support.running(vms=[(1, 'A', 'high')]) as (host, agent):
        client = agent.client()
        with Stream(client) as stream:
            stream.until(lambda event, _id, _data: event == 'state')
            host.kill_mediator()
            stream.until(lambda event, _id, data: event == 'mediator' and not data['up'], 10)
            reply = client.refused(503, 'unavailable', 'GET', '/api/v1/gpus')
            assert int(reply.headers['Retry-After']) >= 1
            client.refused(503, 'unavailable', 'PUT', '/api/v1/vms/1/quarantine', {'reason': 'x'})
            client.refused(503, 'unavailable', 'GET', '/healthz')
            shown = client.ok('GET', '/api/v1/host').json
            assert not shown['mediator_up'] and shown['vms'] == 1, shown
            host.start_mediator()
            stack.wait_for(lambda: client.get('/api/v1/gpus').status == 200, 10, 'back')
            stream.until(lambda event, _id, data: event == 'mediator' and data['up'], 10)
            stream.until(lambda event, _id, _data: event == 'gap', 10)
            stream.until(lambda event, _id, _data: event == 'state', 10)
            assert not client.get('/api/v1/vms/1').json['quarantined']


def test_a_hung_mediator_is_not_waited_for_for_ever():
    with support.running(vms=[(1, 'A', 'high')]) as (host, agent):
        client = agent.client()
        host.mediator.send_signal(signal.SIGSTOP)
        try:
            started = time.monotonic()
            reply = client.refused(503, 'unavailable', 'GET', '/api/v1/gpus')
            assert time.monotonic() - started < 25, reply
            assert client.get('/api/v1/openapi.json').status == 200
        finally:
            host.mediator.send_signal(signal.SIGCONT)
        stack.wait_for(lambda: client.get('/api/v1/gpus').status == 200, 20, 'answers again')


def test_killing_the_agent_disturbs_no_job():
    with support.running(vms=[(1, 'A', 'high')]) as (host, agent):
        job = host.client_start(1, 'run', '--all', '--seconds', '2')
        stack.wait_for(lambda: host.admin_json('status')['vms'][0]['jobs_done'] > 0, 20, 'a job')
        agent.kill()
        before = host.admin_json('status')['vms'][0]['jobs_done']
        output, errors = job.communicate(timeout=120)
        assert job.returncode == 0, (output, errors)
        after = host.admin_json('status')['vms'][0]
        assert after['jobs_done'] > before and after['jobs_failed'] == 0, (before, after)
        agent.start()
        assert agent.client().get('/api/v1/vms/1').status == 200


# What each program of a VM does: launches, copies, memsets, explicit jobs (tests/e2e/counted.c).
COUNTED = {1: (400, 40, 7, 150), 2: (300, 60, 0, 100), 3: (200, 20, 30, 250), 4: (500, 0, 9, 50)}
COUNTERS = ('vgpu_vm_submitted_jobs_total', 'vgpu_vm_completed_jobs_total',
            'vgpu_vm_failed_jobs_total', 'vgpu_vm_copied_bytes_total')


def scraped(client):
    """{(name, labels as a sorted tuple): value} of GET /metrics."""
    reply = client.get('/metrics')
    assert reply.status == 200, reply
    found = {}
    for line in reply.body.decode().splitlines():
        if line.startswith('#'):
            continue
        name, labels, number = re.fullmatch(r'(\w+)(?:\{(.*)\})? (\S+)', line).groups()
        found[name, tuple(sorted(re.findall(r'(\w+)="([^"]*)"', labels or '')))] = float(number)
    return found


def shown(host):
    """The same of vgpu-admin metrics --json, where a series is one number."""
    return {(metric['name'], tuple(sorted(one['labels'].items()))): one['value']
            for metric in host.admin_json('metrics')['metrics'] for one in metric['series']
            if 'value' in one}


def of_vm(found, name, vm, **labels):
    return found[name, tuple(sorted({'vm': str(vm), **labels}.items()))]


def test_metrics_are_an_independent_count_under_load():
    """Programs of four VMs count what they do; the agent and vgpu-admin say the same, exactly."""
    with support.running(vms=[(vm, 'A', 'medium') for vm in COUNTED]) as (host, agent):
        client = agent.client('read')
        programs = {vm: subprocess.Popen(
            [os.path.join(host.build, 'tests/counted'), host.vm_socket(vm),
             *map(str, numbers)], stdout=subprocess.PIPE, text=True)
            for vm, numbers in COUNTED.items()}
        host.clients += programs.values()
        before, scrapes = {}, 0
        while any(program.poll() is None for program in programs.values()):
            found = scraped(client)
            for key, number in before.items():
                assert found[key] >= number, (key, number, found[key])
            before = {key: value for key, value in found.items() if key[0] in COUNTERS}
            scrapes += 1
        assert scrapes >= 2, 'there was load while it was scraped'
        copied = {vm: [int(word) for word in program.communicate()[0].split()[:2]]
                  for vm, program in programs.items()}
        stack.wait_for(lambda: all(of_vm(shown(host), 'vgpu_vm_worker_ends_total', vm,
                                         reason='closed') == 1 for vm in COUNTED), 20, 'the ends')
        for found in (scraped(client), shown(host)):
            for vm, (launches, copies, memsets, jobs) in COUNTED.items():
                every = launches + copies + copies // 2 + memsets + jobs
                assert of_vm(found, 'vgpu_vm_submitted_jobs_total', vm) == every, (vm, every)
                assert of_vm(found, 'vgpu_vm_completed_jobs_total', vm) == every, (vm, every)
                assert of_vm(found, 'vgpu_vm_failed_jobs_total', vm) == 0
                assert [of_vm(found, 'vgpu_vm_copied_bytes_total', vm, kind=kind)
                        for kind in ('to_device', 'from_device')] == copied[vm], (vm, copied[vm])
        agent_says, admin_says = scraped(client), shown(host)
        for key, number in admin_says.items():
            if key[0].startswith('vgpu_vm_') and key[0].endswith('_total'):
                assert agent_says[key] == number, (key, number, agent_says[key])


def test_the_agent_ends_with_streams_open():
    with support.running(vms=[(1, 'A', 'high')]) as (_host, agent):
        client = agent.client()
        with Stream(client) as one, Stream(client, '?states=false') as two:
            one.next()
            two.next()
            started = time.monotonic()
            assert agent.stop() == 0
            assert time.monotonic() - started < 5
            try:
                while True:
                    one.next()
            except (EOFError, OSError):
                pass
        assert not os.path.exists(agent.path('agent.sock'))


def test_only_the_agents_user_speaks_for_others():
    """Without --agent-uid the mediator refuses what is said on somebody's behalf: nothing is done."""
    with stack.Stack(vms=[(1, 'A', 'high')]) as host, support.Agent(host) as agent:
        client = agent.client()
        client.ok('GET', '/api/v1/vms/1')
        client.refused(403, 'denied', 'PUT', '/api/v1/vms/1/quarantine', {'reason': 'x'})
        assert not client.get('/api/v1/vms/1').json['quarantined']


if __name__ == '__main__':
    chosen = sys.argv[1:]
    sys.exit(stack.run([function for name, function in list(globals().items())
                        if name.startswith('test_') and (not chosen or name in chosen)]))
