#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What must not get through an agent: other sites, other names, other paths, too much, nonsense."""
import json
import os
import random
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import time

import support
from support import stack

SLOW_CLIENTS = 1000


def raw(address, data, timeout=10):
    """Sends bytes as they are; what came back until the end or the timeout."""
    with socket.create_connection(address, timeout=timeout) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        received = b''
        try:
            while len(received) < 1 << 20:
                part = connection.recv(65536)
                if not part:
                    break
                received += part
        except OSError:
            pass
        return received


def status_of(answer):
    return int(answer.split(b' ', 2)[1]) if answer.startswith(b'HTTP/1.1 ') else None


def healthy(agent):
    assert agent.process.poll() is None, (agent.process.returncode, agent.log_text()[-2000:])
    assert agent.client().get('/api/v1/host').status == 200


def test_tokens():
    with support.running() as (_host, agent):
        client = agent.client()
        nobody = support.Client(client.address)
        right = agent.tokens['admin']
        for wrong in (None, '', 'Bearer', 'Bearer ', 'Bearer x', 'Basic ' + right, right,
                      'Bearer ' + right[:-1], 'Bearer ' + right + '0', 'Bearer  ' + right,
                      'Bearer ' + right.upper(), 'Bearer ' + '0' * 1000):
            reply = nobody.get('/api/v1/host', headers={'Authorization': wrong})
            assert reply.status == 401, (wrong, reply)
            assert reply.headers['WWW-Authenticate'], reply
        assert nobody.get('/api/v1/host', headers={'Authorization': 'bearer ' + right}).status == 200
        assert nobody.get('/api/v1/host?token=' + right).status == 401
        with open(agent.path('tokens'), encoding='ascii') as text:
            kept = text.read()
        assert right not in kept and right[5:] not in kept


def test_tokens_come_and_go_at_once():
    with support.running() as (_host, agent):
        agent.add_token('late', 'read')
        client = agent.client('late')
        assert client.get('/api/v1/host').status == 200
        connection = client.connect()
        connection.request('GET', '/api/v1/events',
                           headers={'Authorization': 'Bearer ' + client.token})
        stream = connection.getresponse()
        assert agent.token_command('remove', 'late').returncode == 0
        assert client.get('/api/v1/host').status == 401
        connection.sock and connection.sock.settimeout(10)
        stream.read()  # ends with its token
        listed = agent.token_command('list').stdout
        assert 'late' not in listed and 'admin' in listed, listed
        os.chmod(agent.path('tokens'), 0o666)
        assert agent.client().get('/api/v1/host').status == 401
        os.chmod(agent.path('tokens'), 0o600)
        assert agent.client().get('/api/v1/host').status == 200


def test_token_commands():
    with support.running() as (_host, agent):
        for arguments in (['add', 'x'], ['add', 'x', '--role', 'root'], ['add'], ['list', 'x'],
                          ['remove'], [], ['steal', 'x']):
            assert agent.token_command(*arguments).returncode == 2, arguments
        for arguments in (['add', 'admin', '--role', 'read'], ['remove', 'nobody'],
                          ['add', 'a b', '--role', 'read']):
            done = agent.token_command(*arguments)
            assert done.returncode == 1 and done.stderr.startswith('vgpu-agent: '), done


def test_dns_rebinding_and_other_sites():
    with support.running() as (_host, agent):
        client = agent.client()
        port = client.address[1]
        for host in ('evil.example', 'evil.example:%d' % port, '127.0.0.1.evil.example', '',
                     'localhost.', 'localhost@evil.example', '0.0.0.0', '169.254.169.254'):
            reply = client.get('/api/v1/host', headers={'Host': host})
            assert reply.status == 421, (host, reply)
        for host in ('localhost', 'LOCALHOST:%d' % port, '127.0.0.1:9', '[::1]:%d' % port):
            assert client.get('/api/v1/host', headers={'Host': host}).status == 200, host
        for origin in ('http://evil.example', 'null', '', 'http://localhost:1',
                       'http://127.0.0.1:%d.evil.example' % port, 'http://127.0.0.1',
                       'ftp://127.0.0.1:%d' % port):
            for method, path, body in (('GET', '/api/v1/host', None), ('POST', '/api/v1/scan', None),
                                       ('GET', '/', None)):
                reply = client.request(method, path, body, headers={'Origin': origin})
                assert reply.status == 403, (origin, method, path, reply)
        assert client.get('/api/v1/host',
                          headers={'Origin': 'http://127.0.0.1:%d' % port}).status == 200
        for site in ('cross-site', 'same-site', 'x'):
            assert client.get('/api/v1/host', headers={'Sec-Fetch-Site': site}).status == 403
        # What a form of another site could send, if the browser sent a token by itself.
        for kind in ('text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data'):
            reply = client.request('PUT', '/api/v1/pools/X', '{}', headers={'Content-Type': kind})
            assert reply.status == 415, reply
        options = client.request('OPTIONS', '/api/v1/pools/X', headers={
            'Origin': 'http://evil.example', 'Access-Control-Request-Method': 'PUT'})
        assert options.status == 403
        assert not [name for name in options.headers if name.lower().startswith('access-control')]
        assert not [name for name in client.get('/api/v1/host').headers
                    if name.lower() == 'set-cookie']


def test_paths_do_not_leave_the_panel():
    with stack.Stack(options=['--agent-uid', str(os.getuid())]) as host:
        web = host.path('keep-web')
        os.makedirs(os.path.join(web, 'assets'))
        for name, content in (('index.html', '<!doctype html><title>x</title>'),
                              ('assets/app.js', 'void 0;'), ('.hidden', 'secret')):
            with open(os.path.join(web, name), 'w', encoding='ascii') as file:
                file.write(content)
        os.symlink('/etc/passwd', os.path.join(web, 'passwd'))
        with open(host.path('keep-beside.txt'), 'w', encoding='ascii') as file:
            file.write('secret')
        with support.Agent(host, web=web) as agent:
            nobody = support.Client(agent.client().address)
            page = nobody.get('/')
            assert page.status == 200 and page.headers['Content-Type'].startswith('text/html')
            policy = page.headers['Content-Security-Policy']
            assert "default-src 'none'" in policy and 'unsafe' not in policy, policy
            assert "frame-ancestors 'none'" in policy and 'http' not in policy, policy
            again = nobody.get('/', headers={'If-None-Match': page.etag})
            assert again.status == 304 and again.body == b'', again
            assert nobody.get('/assets/app.js').headers['Content-Type'].startswith(
                'text/javascript')
            for path in ('/../keep-beside.txt', '/..%2fkeep-beside.txt', '/%2e%2e/keep-beside.txt',
                         '/assets/../../keep-beside.txt', '/assets/..%2f..%2fkeep-beside.txt',
                         '/%2e%2e%2f%2e%2e%2fetc/passwd', '//etc/passwd', '/passwd', '/.hidden',
                         '/assets', '/assets/', '/index.html/', '/index.html%00.js', '/..\\..\\x',
                         '/%c0%ae%c0%ae/x', '/....//x', '/assets/%2e%2e/index.html', '/file:///etc'):
                reply = nobody.get(path)
                assert reply.status in (400, 404), (path, reply)
                assert b'secret' not in reply.body and b'root:' not in reply.body, path
            for method in ('PUT', 'POST', 'DELETE', 'PATCH'):
                assert nobody.request(method, '/index.html').status in (404, 405), method


def test_sizes():
    with support.running() as (_host, agent):
        client = agent.client()
        body = b'{"description": "' + b'x' * (64 * 1024) + b'"}'
        client.refused(413, 'too-large', 'PUT', '/api/v1/pools/X', body)
        exact = b'{}' + b' ' * (64 * 1024 - 2)
        assert client.request('PUT', '/api/v1/pools/X', exact).status == 201
        client.refused(400, 'invalid', 'PUT', '/api/v1/pools/Y', b'[' * 17 + b']' * 17)
        client.refused(400, 'invalid', 'GET', '/api/v1/host', b'{}')
        client.refused(400, 'invalid', 'PUT', '/api/v1/pools/Y')
        assert client.get('/' + 'a' * 4096).status == 414
        for size in (30000, 200000):
            answer = raw(client.address, b'GET /api/v1/host HTTP/1.1\r\nHost: localhost\r\nX: ' +
                         b'x' * size + b'\r\n\r\n')
            assert status_of(answer) in (None, 413, 414, 431), answer[:80]
        many = b''.join(b'X-%d: y\r\n' % n for n in range(5000))
        answer = raw(client.address, b'GET /healthz HTTP/1.1\r\nHost: localhost\r\n' + many +
                     b'\r\n')
        assert status_of(answer) in (None, 413, 414, 431), answer[:80]
        # A length that is not true, none at all, or two; and a chunked body, which hides its size.
        head = b'PUT /api/v1/pools/Y HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ' + \
            client.token.encode() + b'\r\nContent-Type: application/json\r\n'
        for rest in (b'Content-Length: 99999999999999999999\r\n\r\n{}',
                     b'Content-Length: -1\r\n\r\n{}', b'Content-Length: 2\r\nContent-Length: 2'
                     b'\r\n\r\n{}', b'Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n',
                     b'Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n'):
            assert status_of(raw(client.address, head + rest)) in (None, 400, 413), rest
        raw(client.address, head + b'Content-Length: 2000\r\n\r\n{')
        client.refused(404, 'not-found', 'GET', '/api/v1/pools/Y')
        for doubled in (b'Host: localhost\r\n', b'Authorization: Bearer x\r\n'):
            answer = raw(client.address, b'GET /api/v1/host HTTP/1.1\r\nHost: localhost\r\n'
                         b'Authorization: Bearer ' + client.token.encode() + b'\r\n' + doubled +
                         b'\r\n')
            assert status_of(answer) == 400, answer[:80]
        healthy(agent)


def test_replayed_changes_are_conflicts():
    with support.running(vms=[(1, 'A', 'high')]) as (_host, agent):
        client = agent.client()
        tag = client.get('/api/v1/vms/1').etag
        client.ok('PATCH', '/api/v1/vms/1', {'weight': 7}, headers={'If-Match': tag})
        client.ok('PATCH', '/api/v1/vms/1', {'weight': 9}, headers={'If-Match': '*'})
        client.refused(412, 'conflict', 'PATCH', '/api/v1/vms/1', {'weight': 7},
                       headers={'If-Match': tag})
        assert client.get('/api/v1/vms/1').json['weight'] == 9


def test_names_with_markup_stay_data():
    name = '<script>alert(1)</script>"&'
    with support.running(vms=[(1, 'A', 'high')]) as (_host, agent):
        client = agent.client()
        client.ok('PATCH', '/api/v1/vms/1', {'name': name}, headers={'If-Match': '*'})
        reply = client.get('/api/v1/vms/1')
        assert reply.json['name'] == name
        assert reply.headers['Content-Type'] == 'application/json', reply.headers
        assert reply.headers['X-Content-Type-Options'] == 'nosniff'
        problem = client.get('/api/v1/pools/%3Cscript%3E')
        assert problem.headers['Content-Type'] == 'application/problem+json', problem.headers


def slow_connections(address, count):
    connections = []
    for n in range(count):
        connection = socket.socket()
        connection.setblocking(False)
        try:
            connection.connect(address)
        except BlockingIOError:
            pass
        connections.append(connection)
    return connections


def trickle(connections, data):
    for connection in connections:
        try:
            connection.send(data)
        except OSError:
            pass


def test_1000_slow_clients():
    """They send their requests byte by byte; others are served, memory stays as it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    with support.running(options=['--receive-s', '4']) as (_host, agent):
        client = agent.client()
        for _ in range(50):
            client.get('/api/v1/host')
        before = agent.rss_kib()
        connections = slow_connections(client.address, SLOW_CLIENTS)
        most, slowest = 0, 0.0
        started = time.monotonic()
        text = b'GET /api/v1/host HTTP/1.1\r\nHost: localhost\r\nX-Slow: '
        for n in range(12):
            trickle(connections, text[n:n + 1] if n < 5 else b'x')
            asked = time.monotonic()
            assert client.get('/api/v1/host').status == 200
            slowest = max(slowest, time.monotonic() - asked)
            most = max(most, agent.rss_kib())
            time.sleep(0.5)
        print('memory %d KiB, with %d slow clients at most %d KiB; slowest answer %.0f ms in %.1f s'
              % (before, SLOW_CLIENTS, most, slowest * 1000, time.monotonic() - started))
        agent.expect_growth(before, 8, most)
        assert slowest < 2, slowest
        assert agent.unix_client().get('/api/v1/host').status == 200
        stack.wait_for(lambda: len(os.listdir('/proc/%d/fd' % agent.process.pid)) < 64, 15,
                       'slow clients are sent away')
        for connection in connections:
            connection.close()


def test_a_reader_that_does_not_read():
    """A stream whose client takes nothing holds one text, and is ended; others go on."""
    with support.running(vms=[(n, 'A', 'high') for n in range(1, 40)]) as (_host, agent):
        client = agent.client()
        before = agent.rss_kib()
        readers = []
        for _ in range(20):
            connection = socket.create_connection(client.address)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(b'GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n'
                               b'Authorization: Bearer ' + client.token.encode() + b'\r\n\r\n')
            readers.append(connection)
        for n in range(60):
            client.ok('PATCH', '/api/v1/vms/%d' % (n % 39 + 1), {'weight': 1 + n},
                      headers={'If-Match': '*'})
        agent.expect_growth(before, 16)
        for connection in readers:
            connection.close()
        healthy(agent)


def mutated(random_, data):
    data = bytearray(data)
    for _ in range(random_.randint(1, 8)):
        at = random_.randrange(len(data) + 1)
        choice = random_.randrange(5)
        if choice == 0 and data:
            data[at % len(data)] = random_.randrange(256)
        elif choice == 1:
            data[at:at] = bytes([random_.randrange(256)]) * random_.randint(1, 300)
        elif choice == 2:
            del data[at:at + random_.randint(1, 20)]
        elif choice == 3:
            data[at:at] = random_.choice([b'\r\n', b'\n', b'\0', b': ', b'%00', b'%2e', b'?', b'&',
                                          b'"', b'[[[[[[', b'{"a":', b'\xff\xfe', b'1e999'])
        else:
            data[at:at] = data[:random_.randint(0, 60)]
    return bytes(data)


def test_mutated_requests():
    seed = int(os.environ.get('VGPU_SEED', '7'))
    random_ = random.Random(seed)
    with support.running(vms=[(1, 'A', 'high')], options=['--receive-s', '1']) as (_host,
                                                                                   agent):
        client = agent.client()
        token = client.token.encode()
        body = b'{"weight": 7, "name": "web", "rate_per_s": 5}'
        valid = [b'PATCH /api/v1/vms/1?dry_run=true HTTP/1.1\r\nHost: localhost\r\n'
                 b'Authorization: Bearer ' + token + b'\r\nIf-Match: *\r\nConnection: close\r\n'
                 b'Content-Type: application/merge-patch+json\r\nContent-Length: %d\r\n\r\n' %
                 len(body) + body,
                 b'GET /api/v1/vms?pool=A&limit=5 HTTP/1.1\r\nHost: localhost\r\nConnection: close'
                 b'\r\nAuthorization: Bearer ' + token + b'\r\n\r\n']
        for request in valid:
            assert status_of(raw(client.address, request)) == 200, raw(client.address, request)
        before = agent.rss_kib()
        for n in range(300):
            answer = raw(client.address, mutated(random_, valid[n % 2]), timeout=0.3)
            assert status_of(answer) is None or status_of(answer) < 500 or \
                status_of(answer) in (501, 505), (seed, n, answer[:200])
        agent.expect_growth(before, 8)
        healthy(agent)


def junk(random_, depth=0):
    choice = random_.randrange(9 if depth < 4 else 6)
    if choice < 6:
        return random_.choice([None, True, -1, 0, 1 << 62, 1e308, '', 'x' * 300, '\u0001', 'A',
                               '../..', 'high', 0.1])
    if choice < 8:
        return {random_.choice(['pool', 'weight', 'name', 'uuid', 'vms', 'reason', 'x', '']):
                junk(random_, depth + 1) for _ in range(random_.randint(0, 4))}
    return [junk(random_, depth + 1) for _ in range(random_.randint(0, 4))]


def test_mutated_bodies():
    random_ = random.Random(int(os.environ.get('VGPU_SEED', '7')))
    with support.running(vms=[(1, 'A', 'high')]) as (_host, agent):
        client = agent.client()
        targets = [('PUT', '/api/v1/pools/Z'), ('PATCH', '/api/v1/pools/A'),
                   ('PUT', '/api/v1/vms/9'), ('PATCH', '/api/v1/vms/1'),
                   ('PUT', '/api/v1/vms/1/quarantine'), ('PUT', '/api/v1/gpus/0/pools'),
                   ('POST', '/api/v1/pools/A/vms'), ('PUT', '/api/v1/gpus/0/drain'),
                   ('POST', '/api/v1/gpus/0/reset'), ('PUT', '/api/v1/config')]
        for n in range(400):
            method, path = targets[n % len(targets)]
            reply = client.request(method, path + '?dry_run=true' if 'reset' not in path else path,
                                   json.dumps(junk(random_)), headers={'If-Match': '*'}
                                   if random_.random() < 0.7 else None)
            assert reply.status < 500 or reply.status == 501, (n, method, path, reply)
        healthy(agent)


def test_the_agent_can_do_little():
    if support.SANITIZED:
        print('skipped: sanitizers need more system calls than the filter lets through')
        return
    with support.running(options=['--verbose']) as (_host, agent):
        healthy(agent)
        tasks = '/proc/%d/task' % agent.process.pid
        for task in os.listdir(tasks):
            with open('%s/%s/status' % (tasks, task), encoding='ascii') as text:
                facts = dict(line.split(':', 1) for line in text.read().splitlines())
            assert facts['Seccomp'].strip() == '2', (task, facts['Seccomp'])
            assert facts['NoNewPrivs'].strip() == '1', task
            for kind in ('CapEff', 'CapPrm', 'CapInh', 'CapAmb'):
                assert int(facts[kind], 16) == 0, (task, kind, facts[kind])
        log = agent.log_text()
        assert 'event=request status=200 token=admin' in log, log
        assert agent.tokens['admin'] not in log and agent.tokens['admin'][5:] not in log


def test_only_loopback_without_tls():
    with support.running() as (_host, agent):
        for options, status in ((['--listen', '0.0.0.0:0'], 2), (['--listen', '[::]:0'], 2),
                                (['--listen', '10.0.0.1:0'], 2), (['--tls-key', '/x'], 2),
                                (['--listen', 'localhost:1'], 2), (['--rate', '0'], 2),
                                (['--max-connections', '15'], 2), (['--receive-s', '0'], 2),
                                (['--unix', 'none', '--listen', 'none'], 2), (['x'], 2),
                                (['--allow-host', 'a:1'], 2), (['--no-such'], 2)):
            done = subprocess.run([agent.program(), *options], capture_output=True, text=True,
                                  timeout=20, check=False)
            assert done.returncode == status and done.stderr, (options, done)


def certificate(directory):
    if not shutil.which('openssl'):
        return None
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2',
                    '-subj', '/CN=gpu.example', '-addext', 'subjectAltName=DNS:gpu.example',
                    '-keyout', directory + '/key.pem', '-out', directory + '/cert.pem'],
                   check=True, capture_output=True)
    return ['--tls-certificate', directory + '/cert.pem', '--tls-key', directory + '/key.pem']


def test_tls():
    with stack.Stack(options=['--agent-uid', str(os.getuid())]) as host:
        os.makedirs(host.path('keep-tls'))
        options = certificate(host.path('keep-tls'))
        if not options:
            print('skipped: no openssl here')
            return
        options += ['--listen', '0.0.0.0:0', '--allow-host', 'gpu.example']
        bare = support.Agent(host, options=options, roles=(), name='keep-none')
        os.makedirs(bare.directory)
        done = subprocess.run(bare.command(), capture_output=True, text=True, timeout=20,
                              check=False)
        assert done.returncode == 1 and 'token' in done.stderr, done
        with support.Agent(host, options=options, wait=False) as agent:
            port = agent.ports()[0]
            context = ssl.create_default_context(cafile=host.path('keep-tls/cert.pem'))
            with socket.create_connection(('127.0.0.1', port), timeout=10) as plain:
                with context.wrap_socket(plain, server_hostname='gpu.example') as secure:
                    assert secure.version() in ('TLSv1.2', 'TLSv1.3'), secure.version()
                    secure.sendall(b'GET /api/v1/host HTTP/1.1\r\nHost: gpu.example\r\n'
                                   b'Authorization: Bearer ' + agent.tokens['read'].encode() +
                                   b'\r\nConnection: close\r\n\r\n')
                    answer = b''
                    while part := secure.recv(65536):
                        answer += part
            assert status_of(answer) == 200, answer
            assert status_of(raw(('127.0.0.1', port), b'GET / HTTP/1.0\r\n\r\n')) != 200
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
            try:
                with socket.create_connection(('127.0.0.1', port), timeout=10) as plain:
                    old.wrap_socket(plain)
                raise AssertionError('TLS 1.1 was accepted')
            except (ssl.SSLError, OSError):
                pass


if __name__ == '__main__':
    chosen = sys.argv[1:]
    sys.exit(stack.run([function for name, function in list(globals().items())
                        if name.startswith('test_') and (not chosen or name in chosen)]))
