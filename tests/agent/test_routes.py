#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each operation of agent/openapi.json with each status that the document has for it.

Replies are checked against the document by support.Client; the last test says what nobody reached.
"""
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time

import support
from support import DOCUMENT, stack

UUID = '01234567-89ab-cdef-0123-456789abcdef'
HEALTH = 'temperature-warm'
BODIES = {
    'setGpuPools': ['A'], 'drainGpu': {'reason': 'test'}, 'resetGpu': {'uuid': 'x'},
    'putPool': {}, 'patchPool': {}, 'assignVms': {'vms': '1'}, 'putVm': {'pool': 'A'},
    'patchVm': {}, 'quarantineVm': {'reason': 'test'}, 'setThreshold': {'action': 'warn'},
    'importConfig': {'format': 1},
}


def path_of(template, gpu_id='0', pool='A', vm_id='1', name=HEALTH):
    return template.format(gpu_id=gpu_id, pool=pool, vm_id=vm_id, name=name)


def operations():
    """(method, template, operation) of each."""
    for template, methods in DOCUMENT['paths'].items():
        for method, operation in methods.items():
            yield method.upper(), template, operation


def has(operation, status):
    return str(status) in operation['responses']


def each_with(status):
    for method, template, operation in operations():
        if has(operation, status):
            yield method, template, operation, BODIES.get(operation['operationId'])


# What a wrong request gets, for all operations alike.

def test_refusals_of_each_operation():
    with support.running(vms=[(1, 'A', 'high')]) as (_host, agent):
        client = agent.client()
        for method, template, operation, body in each_with(400):
            client.refused(400, 'invalid', method, path_of(template) + '?no-such=1', body)
        for method, template, operation, body in each_with(403):
            client.refused(403, 'bad-origin', method, path_of(template), body,
                           headers={'Origin': 'http://evil.example'})
        for method, template, operation, body in each_with(421):
            client.refused(421, 'bad-host', method, path_of(template), body,
                           headers={'Host': 'evil.example'})
        for method, template, operation, body in each_with(413):
            client.refused(413, 'too-large', method, path_of(template), b' ' * (1 << 20))
        for method, template, operation, body in each_with(415):
            client.refused(415, 'media-type', method, path_of(template), body,
                           headers={'Content-Type': 'text/plain'})


def test_unauthorized_of_each_operation():
    """Refused tokens are counted too: an agent of its own takes them slowly enough."""
    with support.running(vms=[(1, 'A', 'high')]) as (_host, agent):
        nobody = support.Client(agent.client().address)
        for method, template, operation, body in each_with(401):
            reply = nobody.request(method, path_of(template), body)
            if reply.status == 429:
                stack.wait_for(lambda: nobody.get('/api/v1/host').status == 401, 20, 'rate')
                stack.wait_for(lambda m=method, t=template, b=body:
                               nobody.request(m, path_of(t), b).status == 401, 20, 'rate')
            else:
                assert reply.status == 401, (method, template, reply)


def test_too_many_requests():
    with support.running(vms=[(1, 'A', 'high')], options=['--rate', '1']) as (_host, agent):
        client = agent.client()
        for method, template, operation, body in each_with(429):
            stack.wait_for(lambda m=method, t=template, b=body:
                           client.request(m, path_of(t) + '?no-such=1', b).status == 429, 20,
                           'too many: ' + template)
        reply = client.get('/api/v1/host')
        assert reply.status == 429 and int(reply.headers['Retry-After']) >= 1, reply


class FakeMediator:
    """Answers each request on the admin socket with the same error, or with nothing at all."""

    def __init__(self, path, error):
        self.error = error
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen(64)
        self.threads = []
        self.stopped = False
        self.accepting = threading.Thread(target=self.accept, daemon=True)
        self.accepting.start()

    def accept(self):
        while not self.stopped:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection, connection.makefile('rwb') as lines:
            for line in lines:
                reply = {'id': json.loads(line)['id'], 'ok': False, 'error': self.error}
                if callable(self.error):
                    reply = self.error(json.loads(line))
                try:
                    lines.write(json.dumps(reply).encode() + b'\n')
                    lines.flush()
                except OSError:
                    return

    def stop(self):
        self.stopped = True
        self.listener.close()


class Bare:
    """What Agent needs of a Stack, without one."""

    def __init__(self):
        self.build = os.environ.get('VGPU_BUILD', os.path.join(support.ROOT, 'build/check'))
        self.run_dir = tempfile.mkdtemp(prefix='vgpu-agent.', dir='/tmp')

    def path(self, name):
        return os.path.join(self.run_dir, name)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        support.subprocess.run(['rm', '-r', self.run_dir], check=True)


def test_commands_that_the_mediator_has_not():
    error = {'code': 'unknown-command', 'errno': 95, 'text': 'there is no such command'}
    with Bare() as host:
        fake = FakeMediator(host.path('admin.sock'), error)
        with support.Agent(host, wait=False) as agent:
            for method, template, operation, body in each_with(501):
                agent.client().refused(501, 'unknown-command', method, path_of(template), body,
                                       headers={'If-Match': '*'} if method != 'GET' else None)
        fake.stop()


def test_failures_of_the_mediator_have_their_status():
    cases = {'corrupt': 500, 'failed': 500, 'not-understood': 502, 'denied': 403, 'limit': 409,
             'a-new-one': 500}
    with Bare() as host:
        fake = FakeMediator(host.path('admin.sock'), None)
        with support.Agent(host, wait=False) as agent:
            for code, status in cases.items():
                fake.error = {'code': code, 'errno': 5, 'text': 'because'}
                path = '/api/v1/gpus' if status >= 500 else '/api/v1/pools/A/vms'
                reply = agent.client().refused(status, code, 'GET' if status >= 500 else 'POST',
                                               path, None if status >= 500 else {'vms': '1'})
                assert reply.json['detail'] == 'because'
            fake.error = lambda request: ['nonsense']
            agent.client().refused(502, 'not-understood', 'GET', '/api/v1/gpus')
            fake.error = lambda request: {'id': request['id'] + 1, 'ok': True, 'result': {}}
            agent.client().refused(502, 'not-understood', 'GET', '/api/v1/gpus')
        fake.stop()


def test_without_a_mediator():
    with Bare() as host, support.Agent(host, wait=False) as agent:
        client = agent.client()
        always = {'getHost', 'getHistory', 'streamEvents', 'getOpenapi', 'getMetrics'}
        for method, template, operation, body in each_with(503):
            if operation['operationId'] in always:
                continue
            reply = client.refused(503, 'unavailable', method, path_of(template), body,
                                   headers={'If-Match': '*'} if method != 'GET' else None)
            assert reply.headers['Retry-After'], reply
        shown = client.ok('GET', '/api/v1/host').json
        assert shown['mediator'] is None and not shown['mediator_up'], shown
        assert client.ok('GET', '/api/v1/history').json['times'] == []


def test_a_full_queue():
    """A mediator that hangs: requests wait, up to a number; the others are told to come again."""
    with support.running(vms=[(1, 'A', 'high')], options=['--max-connections', '400']) as (host,
                                                                                          agent):
        client = agent.client()
        host.mediator.send_signal(signal.SIGSTOP)
        waiting = []
        try:
            for _ in range(140):
                connection = client.connect()
                connection.request('GET', '/api/v1/gpus',
                                   headers={'Authorization': 'Bearer ' + client.token})
                waiting.append(connection)
            for path in ('/api/v1/host', '/api/v1/history', '/metrics'):
                stack.wait_for(lambda p=path: client.get(p).status == 503, 20, path)
        finally:
            host.mediator.send_signal(signal.SIGCONT)
            for connection in waiting:
                connection.close()
        stack.wait_for(lambda: client.get('/api/v1/gpus').status == 200, 30, 'answers again')


def test_a_stream_is_what_the_document_says():
    with support.running(vms=[(1, 'A', 'high')]) as (_host, agent):
        client = agent.client()
        connection = client.connect()
        connection.request('GET', '/api/v1/events',
                           headers={'Authorization': 'Bearer ' + client.token})
        stream = connection.getresponse()
        support.check_reply('GET', '/api/v1/events',
                            support.Reply(stream.status, stream.headers, b''))
        stream.close()


def test_too_many_streams():
    with support.running(vms=[(1, 'A', 'high')]) as (_host, agent):
        client = agent.client()
        streams = []
        for _ in range(32):
            connection = client.connect()
            connection.request('GET', '/api/v1/events',
                               headers={'Authorization': 'Bearer ' + client.token})
            stream = connection.getresponse()
            assert stream.status == 200
            streams.append(stream)
        client.refused(503, 'unavailable', 'GET', '/api/v1/events')
        for stream in streams:
            stream.close()


# What right requests do.

def test_reading():
    with support.running(vms=[(1, 'A', 'high'), (2, 'A', 'low')], devices=2) as (_host, agent):
        client = agent.client('read')
        admin = agent.client()
        for method, template, operation in operations():
            if method != 'GET' or template.endswith('/events'):
                continue
            reader = admin if operation['x-role'] == 'admin' else client
            reply = reader.get(path_of(template))
            assert reply.status == 200, (template, reply)
        shown = client.ok('GET', '/api/v1/host').json
        assert shown['you'] == {'name': 'read', 'role': 'read'}, shown
        assert shown['gpus']['present'] == 2 and shown['vms'] == 2, shown
        assert client.ok('GET', '/api/v1/openapi.json').json == DOCUMENT
        assert client.get('/api/v1/gpus/0').etag == '"%d"' % client.get(
            '/api/v1/gpus/0').json['revision']


def test_what_is_not_there():
    nowhere = {'gpu_id': '7', 'pool': 'nowhere', 'vm_id': '99', 'name': 'no-such'}
    with support.running(vms=[(1, 'A', 'high')]) as (_host, agent):
        client = agent.client()
        for method, template, operation, body in each_with(404):
            name = operation['operationId']
            path = path_of(template, **nowhere)
            if name == 'putVm':
                body = {'pool': 'nowhere'}
            elif name == 'listVms':
                path += '?pool=nowhere'
                if client.get(path).status == 200:
                    continue
            elif name == 'importConfig':
                body = {'format': 1, 'vms': [{'vm_id': 1, 'pool': 'nowhere'}]}
            client.refused(404, 'not-found', method, path, body,
                           headers={'If-Match': '*'} if method not in ('GET', 'POST') and
                           name != 'putVm' else None)
        for path in ('/api/v1/gpus/x', '/api/v1/gpus/64', '/api/v1/vms/0', '/api/v1/vms/01',
                     '/api/v1/vms/99999999999', '/api/v1/gpus/-1'):
            client.refused(404, 'not-found', 'GET', path)


def test_preconditions():
    with support.running(vms=[(1, 'A', 'high')]) as (_host, agent):
        client = agent.client()
        for method, template, operation, body in each_with(428):
            client.refused(428, 'precondition-required', method, path_of(template), body)
        for method, template, operation, body in each_with(412):
            if operation['operationId'] == 'setGpuPools':
                body = []
            reply = client.refused(412, 'conflict', method, path_of(template), body,
                                   headers={'If-Match': '"4711"'})
            assert reply.json['detail'], reply
            client.refused(412, 'conflict', method, path_of(template), body,
                           headers={'If-Match': '"x"'})


def test_pools():
    with support.running() as (_host, agent):
        client = agent.client()
        made = client.ok('PUT', '/api/v1/pools/B%20%C3%A4', {'policy': 'strict', 'slice_us': 5000,
                                                             'description': 'both', 'max_vms': 3})
        assert made.status == 201 and made.json['changed'], made
        pool = client.ok('GET', '/api/v1/pools/B%20%C3%A4')
        assert pool.json['pool'] == 'B ä' and pool.json['slice_us'] == 5000, pool
        assert pool.json['description'] == 'both' and pool.json['max_vms'] == 3, pool
        assert pool.etag == made.etag, (pool, made)
        again = client.ok('PUT', '/api/v1/pools/B%20%C3%A4', {
            'policy': 'strict', 'slice_us': 5000, 'description': 'both', 'max_vms': 3},
            headers={'If-Match': pool.etag})
        assert again.status == 200 and not again.json['changed'] and again.etag == pool.etag, again
        patched = client.ok('PATCH', '/api/v1/pools/B%20%C3%A4', {'slice_us': None, 'grace_us': 7},
                            headers={'If-Match': pool.etag})
        assert patched.json['pool']['slice_us'] == 0, patched
        assert patched.json['pool']['grace_us'] == 7, patched
        assert patched.json['pool']['policy'] == 'strict', patched
        bare = client.ok('PUT', '/api/v1/pools/B%20%C3%A4', {}, headers={'If-Match': '*'})
        assert bare.json['pool']['policy'] == 'wfq' and bare.json['pool']['description'] == ''
        client.refused(412, 'conflict', 'PUT', '/api/v1/pools/B%20%C3%A4', {},
                       headers={'If-None-Match': '*'})
        client.refused(412, 'conflict', 'PUT', '/api/v1/pools/C', {}, headers={'If-Match': '*'})
        client.refused(400, 'invalid', 'PUT', '/api/v1/pools/C', {'slice_us': 1})
        client.refused(400, 'invalid', 'PUT', '/api/v1/pools/C', {'no-such': 1})
        client.refused(400, 'invalid', 'PUT', '/api/v1/pools/C', [])
        client.ok('DELETE', '/api/v1/pools/B%20%C3%A4', headers={'If-Match': bare.etag})
        client.refused(404, 'not-found', 'GET', '/api/v1/pools/B%20%C3%A4')
        for i in range(64):
            client.ok('PUT', '/api/v1/pools/p%d' % i, {})
        client.refused(409, 'limit', 'PUT', '/api/v1/pools/more', {})


def test_vms():
    settings = {'pool': 'A', 'priority': 'low', 'weight': 33.33, 'name': 'web', 'uuid': UUID,
                'rate_per_s': 100, 'depth': 64, 'bytes_in_flight': 1 << 20,
                'job_timeout_ms': 2000, 'memory_bytes': 1 << 30, 'process_memory_bytes': 1 << 29,
                'fault_threshold': 3, 'fault_window_s': 600}
    with support.running(vms=[(1, 'A', 'high')]) as (_host, agent):
        client = agent.client()
        made = client.ok('PUT', '/api/v1/vms/2', settings)
        assert made.status == 201, made
        shown = client.ok('GET', '/api/v1/vms/2')
        assert {key: shown.json[key] for key in settings} == settings, shown
        assert shown.json['burst'] == 100 and shown.json['live']['state'] == 'disconnected'
        assert shown.etag == made.etag
        same = client.ok('PUT', '/api/v1/vms/2', settings, headers={'If-Match': shown.etag})
        assert not same.json['changed'] and same.etag == shown.etag, same
        patched = client.ok('PATCH', '/api/v1/vms/2', {
            'name': None, 'priority': 'high', 'rate_per_s': 7, 'weight': 50},
            headers={'If-Match': shown.etag}).json['vm']
        assert patched['name'] is None and patched['uuid'] == UUID, patched
        assert patched['rate_per_s'] == patched['burst'] == 7, patched
        assert patched['memory_bytes'] == 1 << 30, patched
        client.refused(409, 'exists', 'PUT', '/api/v1/vms/3', {'pool': 'A', 'uuid': UUID})
        client.refused(409, 'exists', 'PATCH', '/api/v1/vms/1', {'uuid': UUID},
                       headers={'If-Match': '*'})
        client.refused(400, 'invalid', 'PUT', '/api/v1/vms/3', {})
        client.refused(400, 'invalid', 'PUT', '/api/v1/vms/3', {'pool': 'A', 'weight': 101})
        client.refused(400, 'invalid', 'PATCH', '/api/v1/vms/1', {'pool': None},
                       headers={'If-Match': '*'})
        client.refused(404, 'not-found', 'GET', '/api/v1/vms/3')
        bare = client.ok('PUT', '/api/v1/vms/2', {'pool': 'A'}, headers={'If-Match': '*'})
        assert bare.json['vm']['memory_bytes'] == 0 and bare.json['vm']['uuid'] is None, bare
        client.ok('DELETE', '/api/v1/vms/2', headers={'If-Match': bare.etag})
        client.refused(404, 'not-found', 'GET', '/api/v1/vms/2')


def test_pages_of_vms():
    vms = [(n, 'A' if n < 9 else 'B', 'medium') for n in range(1, 13)]
    with support.running(vms=vms) as (_host, agent):
        client = agent.client('read')
        first = client.ok('GET', '/api/v1/vms?limit=5').json
        assert [vm['vm_id'] for vm in first['vms']] == [1, 2, 3, 4, 5] and first['next'] == 5
        rest = client.ok('GET', '/api/v1/vms?limit=7&after=5').json
        assert [vm['vm_id'] for vm in rest['vms']] == list(range(6, 13)), rest
        assert rest['next'] is None
        only = client.ok('GET', '/api/v1/vms?pool=B').json
        assert [vm['vm_id'] for vm in only['vms']] == [9, 10, 11, 12] and only['next'] is None
        for query in ('limit=0', 'limit=1025', 'limit=x', 'after=-1', 'limit=1&limit=2'):
            client.refused(400, 'invalid', 'GET', '/api/v1/vms?' + query)


def test_quarantine_and_faults():
    with support.running(vms=[(1, 'A', 'high')]) as (_host, agent):
        client = agent.client('operate')
        done = client.ok('PUT', '/api/v1/vms/1/quarantine', {'reason': 'mining'}).json
        assert done['changed'] and done['vm']['quarantined_by'] == 'agent:operate', done
        again = client.ok('PUT', '/api/v1/vms/1/quarantine', {'reason': 'mining'}).json
        assert not again['changed'], again
        client.refused(400, 'invalid', 'PUT', '/api/v1/vms/1/quarantine', {})
        client.refused(400, 'invalid', 'PUT', '/api/v1/vms/1/quarantine', {'reason': 7})
        assert client.get('/api/v1/vms/1').json['live']['state'] == 'quarantined'
        assert client.ok('DELETE', '/api/v1/vms/1/quarantine').json['changed']
        assert not client.ok('DELETE', '/api/v1/vms/1/quarantine').json['changed']
        client.ok('DELETE', '/api/v1/vms/1/faults')


def test_assignment():
    vms = [(n, 'A', 'medium') for n in range(1, 10)]
    with support.running(vms=vms, devices=2) as (_host, agent):
        client = agent.client()
        client.ok('PUT', '/api/v1/pools/B', {'max_vms': 4})
        done = client.ok('POST', '/api/v1/pools/B/vms', {'vms': '1-3,9'}).json
        assert done['changed'] and len(done['changes']) == 4, done
        assert not client.ok('POST', '/api/v1/pools/B/vms', {'vms': '1-3,9'}).json['changed']
        assert client.get('/api/v1/pools/B').json['vms'] == [1, 2, 3, 9]
        client.refused(409, 'limit', 'POST', '/api/v1/pools/B/vms', {'vms': '4'})
        client.refused(400, 'invalid', 'POST', '/api/v1/pools/B/vms', {'vms': '4-'})
        client.refused(404, 'not-found', 'POST', '/api/v1/pools/B/vms', {'vms': '77'})
        client.ok('PATCH', '/api/v1/pools/B', {'max_vms': 5}, headers={'If-Match': '*'})
        client.ok('POST', '/api/v1/pools/B/vms', {'vms': '77', 'register': True})
        client.refused(409, 'in-use', 'DELETE', '/api/v1/pools/B', headers={'If-Match': '*'})
        client.refused(409, 'limit', 'PUT', '/api/v1/vms/78', {'pool': 'B'})
        capacity = client.ok('GET', '/api/v1/pools/B/capacity').json
        assert capacity['vms'] == 5 and not capacity['admits'] and capacity['reason'], capacity
        assert client.ok('GET', '/api/v1/pools/A/capacity?memory_bytes=1048576').json['admits']
        gpu = client.get('/api/v1/gpus/1')
        done = client.ok('PUT', '/api/v1/gpus/1/pools', ['B', 'A'], headers={'If-Match': gpu.etag})
        assert done.json['gpu']['pools'] == ['A', 'B'], done
        assert done.json['gpu']['revision'] == gpu.json['revision'] + 2, done
        assert not client.ok('PUT', '/api/v1/gpus/1/pools', ['A', 'B'],
                             headers={'If-Match': done.etag}).json['changed']
        client.refused(404, 'not-found', 'PUT', '/api/v1/gpus/1/pools', ['B', 'nowhere'],
                       headers={'If-Match': '*'})
        assert client.get('/api/v1/gpus/1').json['pools'] == ['A', 'B']
        client.ok('PUT', '/api/v1/gpus/1/pools', [], headers={'If-Match': '*'})
        client.refused(400, 'invalid', 'PUT', '/api/v1/gpus/1/pools', ['B', 7],
                       headers={'If-Match': '*'})
        client.refused(400, 'invalid', 'PUT', '/api/v1/gpus/1/pools', {}, headers={'If-Match': '*'})


def test_scan():
    with support.running(devices=2, configure=False) as (_host, agent):
        client = agent.client('operate')
        tried = client.ok('POST', '/api/v1/scan?dry_run=true').json
        assert tried['dry_run'] and len(tried['gpus']) == 2, tried
        found = client.ok('POST', '/api/v1/scan').json
        assert [gpu['gpu_id'] for gpu in found['gpus']] == [0, 1], found
        assert not client.ok('POST', '/api/v1/scan').json['changed']


def test_drain_and_reset():
    with tempfile.TemporaryDirectory(prefix='vgpu-agent.') as state:
        os.chmod(state, 0o777)
        drain_and_reset({'SOFTGPU_STATE_DIR': state})


def drain_and_reset(environment):
    with support.running(vms=[(1, 'A', 'high')], environment=environment) as (_host, agent):
        client = agent.client()
        done = client.ok('PUT', '/api/v1/gpus/0/drain', {'reason': 'a fan is loud'}).json
        assert done['gpu']['drained'] and done['gpu']['drain_reason'] == 'a fan is loud', done
        assert not client.ok('PUT', '/api/v1/gpus/0/drain',
                             {'reason': 'a fan is loud'}).json['changed']
        client.refused(409, 'exists', 'POST', '/api/v1/gpus/0/reset', {'uuid': 'another'})
        uuid = client.get('/api/v1/gpus/0').json['uuid']
        agent.client().ok('POST', '/api/v1/gpus/0/reset', {'uuid': uuid})
        row = client.ok('GET', '/api/v1/audit?object=gpu&key=0').json['audit'][-1]
        assert (row['who'], row['command'], row['after']) == (
            'agent:admin', 'reset-gpu', {'outcome': 'was reset'}), row
        assert not client.ok('DELETE', '/api/v1/gpus/0/drain').json['gpu']['drained']
        states = client.ok('GET', '/api/v1/health').json['gpus']
        assert [gpu['gpu_id'] for gpu in states] == [0], states


def test_thresholds():
    with support.running() as (_host, agent):
        client = agent.client()
        path = '/api/v1/thresholds/' + HEALTH
        before = client.ok('GET', path)
        done = client.ok('PUT', path, {'value': 70, 'action': 'drain'},
                         headers={'If-Match': before.etag})
        assert done.json['threshold']['value'] == 70 and done.etag != before.etag, done
        client.refused(412, 'conflict', 'PUT', path, {}, headers={'If-Match': before.etag})
        client.refused(400, 'invalid', 'PUT', path, {'value': 1e6}, headers={'If-Match': '*'})
        tried = client.ok('PUT', path + '?dry_run=true', {}, headers={'If-Match': '*'})
        assert tried.json['dry_run'], tried
        assert client.get(path).json['value'] == 70
        client.ok('PUT', path, {}, headers={'If-Match': done.etag})
        after = client.get(path)
        assert after.json == {**before.json, 'revision': 3} and after.etag == '"3"', after


def test_audit_names_the_token():
    with support.running(vms=[(1, 'A', 'high')]) as (_host, agent):
        agent.add_token('ann', 'operate')
        client = agent.client('ann')
        client.ok('PATCH', '/api/v1/vms/1', {'weight': 7}, headers={'If-Match': '*'})
        rows = client.ok('GET', '/api/v1/audit').json['audit']
        last = rows[-1]
        assert last['who'] == 'agent:ann' and last['command'] == 'import', last
        assert last['before']['weight'] == 50 and last['after']['weight'] == 7, last
        page = client.ok('GET', '/api/v1/audit?after=0&limit=2').json
        assert [row['seq'] for row in page['audit']] == [1, 2] and page['next'] == 2, page
        back = client.ok('GET', '/api/v1/audit?before=%d&limit=2' % last['seq']).json['audit']
        assert [row['seq'] for row in back] == [last['seq'] - 2, last['seq'] - 1], back
        for query in ('after=-1', 'before=0', 'limit=0', 'limit=1001', 'object=dog'):
            client.refused(400, 'invalid', 'GET', '/api/v1/audit?' + query)


def test_export_and_import():
    with support.running(vms=[(1, 'A', 'high'), (2, 'A', 'low')]) as (_host, agent):
        client = agent.client()
        document = client.ok('GET', '/api/v1/config').json
        assert not client.ok('PUT', '/api/v1/config', document).json['changed']
        client.ok('PATCH', '/api/v1/vms/1', {'weight': 7}, headers={'If-Match': '*'})
        tried = client.ok('PUT', '/api/v1/config?dry_run=true', document).json
        assert tried['changed'] and tried['dry_run'], tried
        assert client.get('/api/v1/vms/1').json['weight'] == 7
        client.ok('PUT', '/api/v1/config?prune=true', document)
        assert client.get('/api/v1/vms/1').json['weight'] == 50
        assert client.ok('GET', '/api/v1/config').json == document
        agent.client('operate').refused(403, 'forbidden', 'GET', '/api/v1/config')
        client.ok('PATCH', '/api/v1/vms/1', {'uuid': UUID}, headers={'If-Match': '*'})
        client.refused(409, 'exists', 'PUT', '/api/v1/config', {
            'format': 1, 'vms': [{'vm_id': 2, 'uuid': UUID}]})
        client.refused(400, 'invalid', 'PUT', '/api/v1/config', {'format': 77})


def test_dry_runs_change_nothing():
    changes = [
        ('PUT', '/api/v1/pools/B', {}), ('PATCH', '/api/v1/pools/A', {'slice_us': 5000}),
        ('DELETE', '/api/v1/pools/C', None), ('POST', '/api/v1/pools/C/vms', {'vms': '1'}),
        ('PUT', '/api/v1/vms/2', {'pool': 'A'}), ('PATCH', '/api/v1/vms/1', {'weight': 7}),
        ('PUT', '/api/v1/vms/1', {'pool': 'C'}), ('DELETE', '/api/v1/vms/1', None),
        ('PUT', '/api/v1/vms/1/quarantine', {'reason': 'x'}),
        ('PUT', '/api/v1/gpus/0/pools', []),
    ]
    with support.running(vms=[(1, 'A', 'high')]) as (_host, agent):
        client = agent.client()
        client.ok('PUT', '/api/v1/pools/C', {})
        before = [client.get('/api/v1/' + what).json for what in ('pools', 'vms', 'gpus')]
        for method, path, body in changes:
            new = path in ('/api/v1/pools/B', '/api/v1/vms/2')
            done = client.ok(method, path + '?dry_run=true', body,
                             headers={'If-Match': None if new or method == 'POST' else '*'}).json
            assert done['dry_run'] and done['changed'], (method, path, done)
            assert done['changes'], (method, path, done)
        after = [client.get('/api/v1/' + what).json for what in ('pools', 'vms', 'gpus')]
        assert before == after
        client.refused(400, 'invalid', 'DELETE', '/api/v1/vms/1?dry_run=yes')


def test_history_fills():
    with support.running(vms=[(1, 'A', 'high')]) as (_host, agent):
        client = agent.client('read')
        seen = stack.wait_for(lambda: client.ok('GET', '/api/v1/history?step=5').json['times'], 20,
                              'a sample')
        assert abs(seen[-1] - time.time()) < 30, seen
        shown = client.ok('GET', '/api/v1/history?vm_id=1&minutes=1&step=5').json
        assert [vm['vm_id'] for vm in shown['vms']] == [1], shown
        assert len(shown['vms'][0]['share']) == len(shown['times']), shown
        for query in ('minutes=0', 'minutes=61', 'step=4', 'step=7', 'step=605', 'vm_id=0'):
            client.refused(400, 'invalid', 'GET', '/api/v1/history?' + query)


def test_methods_that_a_path_has_not():
    with support.running() as (_host, agent):
        client = agent.client()
        for path, allow in (('/api/v1/pools', 'GET, HEAD'), ('/api/v1/gpus/0/reset', 'POST'),
                            ('/api/v1/vms/1/faults', 'DELETE'), ('/healthz', 'GET, HEAD'),
                            ('/api/v1/gpus/0/drain', 'PUT, DELETE')):
            for method in ('OPTIONS', 'TRACE', 'PROPFIND'):
                reply = client.refused(405, 'method', method, path)
                assert reply.headers['Allow'] == allow, reply.headers
        assert client.request('HEAD', '/api/v1/gpus').body == b''


def unhurried(reply):
    """None: too many requests without a token came before."""
    return reply if reply.status != 429 else None


def test_roles():
    """Each operation with each role and with none: 401, 403, or heard. What is heard is refused for
    a parameter that there is not, so that nothing is done."""
    ranks = ['none', 'read', 'operate', 'admin']
    with support.running(vms=[(1, 'A', 'high')]) as (_host, agent):
        for method, template, operation in operations():
            need = operation['x-role']
            body = BODIES.get(operation['operationId'])
            for role in ranks:
                client = support.Client(agent.client().address, agent.tokens.get(role))
                reply = stack.wait_for(lambda c=client, m=method, t=template, b=body: unhurried(
                    c.request(m, path_of(t) + '?no-such=1', b)), 30, 'room for a request')
                if ranks.index(role) >= ranks.index(need):
                    wanted = {400, 200} if template == '/healthz' else {400}
                else:
                    wanted = {401} if role == 'none' else {403}
                assert reply.status in wanted, (method, template, role, reply)


def test_vms_are_made_by_admins():
    """By whichever way: PUT, and assignment that registers; operators move them."""
    with support.running(vms=[(1, 'A', 'high')]) as (_host, agent):
        admin, operator = agent.client(), agent.client('operate')
        path = '/api/v1/pools/B/vms'
        admin.ok('PUT', '/api/v1/pools/B', {})
        for dry in ('', '?dry_run=true'):
            operator.refused(403, 'forbidden', 'POST', path + dry, {'vms': '1-2', 'register': True})
        operator.refused(404, 'not-found', 'POST', path, {'vms': '1-2', 'register': False})
        operator.ok('POST', path, {'vms': '1'})
        admin.ok('POST', path, {'vms': '1-3', 'register': True, 'priority': 'low'})
        assert [admin.get('/api/v1/vms/%d' % vm).json['priority'] for vm in (1, 2, 3)] == [
            'high', 'low', 'low']
        admin.refused(400, 'invalid', 'POST', path, {'vms': '1', 'priority': 'low'})


def test_everything_was_reached():
    missing = []
    for method, template, operation in operations():
        for status in operation['responses']:
            if status != 'default' and (method.lower(), template, status) not in support.REACHED:
                missing.append('%s %s %s' % (method, template, status))
    assert not missing, missing


if __name__ == '__main__':
    chosen = sys.argv[1:]
    sys.exit(stack.run([function for name, function in list(globals().items())
                        if name.startswith('test_') and (not chosen or name in chosen)]))
