# SPDX-License-Identifier: Apache-2.0
"""An agent beside the host side of tests/e2e/stack.py, and a client that checks each reply.

Each reply is checked against agent/openapi.json: that the document has the status for that
operation, the content type, the headers, the body. What was reached is noted, so that a test can
say which operations and statuses of the document nobody has seen.
"""
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'tests/e2e'))

import stack  # noqa: E402

try:
    import jsonschema
except ImportError:
    print('skipped: no python3-jsonschema')
    sys.exit(77)

with open(os.path.join(ROOT, 'agent/openapi.json'), encoding='utf-8') as text:
    DOCUMENT = json.load(text)

# Under a sanitizer (tests/meson.build), memory that is freed is kept for a while.
SANITIZED = 'VGPU_NO_SANDBOX' in os.environ

REACHED = set()
SECURITY_HEADERS = ('Content-Security-Policy', 'X-Content-Type-Options', 'X-Frame-Options',
                    'Referrer-Policy', 'Cache-Control')


def resolve(node):
    while '$ref' in node:
        target = DOCUMENT
        for step in node['$ref'].lstrip('#/').split('/'):
            target = target[step]
        node = target
    return node


def operation_of(method, path):
    """The document's path template, or None."""
    plain = urllib.parse.urlsplit(path).path
    best = None
    for template in DOCUMENT['paths']:
        pattern = re.sub(r'\\\{[^}]*\\\}', '[^/]+', re.escape(template))
        if re.fullmatch(pattern, plain) and method.lower() in DOCUMENT['paths'][template]:
            best = template if best is None or '{' in best else best
    return best


def validator(schema):
    return jsonschema.Draft202012Validator({**schema, 'components': DOCUMENT['components']})


class Reply:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def etag(self):
        return self.headers.get('ETag')

    def __repr__(self):
        return '<%d %s>' % (self.status, self.body[:400])


def check_reply(method, path, reply):
    template = operation_of(method, path)
    if template is None:
        return
    operation = DOCUMENT['paths'][template][method.lower()]
    where = '%s %s -> %d %s' % (method, template, reply.status, reply.body[:300])
    status = str(reply.status)
    listed = operation['responses']
    assert status in listed or (reply.status in (500, 502) and 'default' in listed), where
    REACHED.add((method.lower(), template, status))
    response = resolve(listed.get(status) or listed['default'])
    kinds = response.get('content', {})
    kind = reply.headers.get('Content-Type', '').split(';')[0]
    assert kind in kinds, (kind, where)
    for name, header in response.get('headers', {}).items():
        value = reply.headers.get(name)
        assert value is not None, (name, where)
        validator(resolve(header).get('schema', {})).validate(value)
    if kind.endswith('json'):
        errors = [error.message + ' at ' + error.json_path
                  for error in validator(kinds[kind]['schema']).iter_errors(reply.json)]
        assert not errors, (errors[:3], where)
    if kind == 'application/problem+json':
        assert reply.json['status'] == reply.status, where


class Client:
    """Requests to an agent; host and port, or a Unix socket."""

    def __init__(self, address, token=None, check=True):
        self.address = address
        self.token = token
        self.check = check

    def connect(self, timeout=30):
        if isinstance(self.address, str):
            connection = http.client.HTTPConnection('localhost', timeout=timeout)
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.settimeout(timeout)
            connection.sock.connect(self.address)
            return connection
        return http.client.HTTPConnection(*self.address, timeout=timeout)

    def request(self, method, path, body=None, headers=None, token=None):
        sent = {'Authorization': 'Bearer ' + (token or self.token)} if token or self.token else {}
        if body is not None:
            sent['Content-Type'] = ('application/merge-patch+json' if method == 'PATCH'
                                    else 'application/json')
        sent.update(headers or {})
        sent = {name: value for name, value in sent.items() if value is not None}
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        connection = self.connect()
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            reply = Reply(answer.status, answer.headers, answer.read())
        finally:
            connection.close()
        for name in SECURITY_HEADERS:
            assert reply.headers.get(name), (name, method, path, reply)
        if self.check:
            check_reply(method, path, reply)
        return reply

    def get(self, path, **more):
        return self.request('GET', path, **more)

    def ok(self, method, path, body=None, **more):
        reply = self.request(method, path, body, **more)
        assert reply.status in (200, 201), (method, path, reply)
        return reply

    def refused(self, status, code, method, path, body=None, **more):
        reply = self.request(method, path, body, **more)
        assert reply.status == status, (method, path, reply)
        assert reply.json['code'] == code, (method, path, reply)
        return reply


class Agent:
    """A running agent beside a Stack; in a directory of the stack's."""

    def __init__(self, host, options=(), web=None, roles=('read', 'operate', 'admin'), wait=True,
                 name='keep-agent'):
        self.host = host
        self.directory = host.path(name)
        self.options = list(options)
        self.web = web
        self.roles = roles
        self.wait = wait
        self.process = None
        self.tokens = {}

    def path(self, name):
        return os.path.join(self.directory, name)

    def program(self):
        return os.environ.get('VGPU_AGENT', os.path.join(self.host.build, 'agent/vgpu-agent'))

    def token_command(self, *arguments):
        return subprocess.run([self.program(), 'token', *arguments, '--tokens',
                               self.path('tokens')], capture_output=True, text=True, check=False,
                              timeout=30)

    def add_token(self, name, role):
        done = self.token_command('add', name, '--role', role)
        assert done.returncode == 0, done.stderr
        self.tokens[name] = done.stdout.strip()
        return self.tokens[name]

    def command(self):
        sandbox = ['--no-sandbox'] if SANITIZED else []
        return [self.program(), '--admin-socket', self.host.path('admin.sock'), '--tokens',
                self.path('tokens'), '--unix', self.path('agent.sock'), *sandbox,
                *(['--web', self.web] if self.web else []),
                *([] if '--listen' in self.options else ['--listen', '127.0.0.1:0']),
                *([] if '--rate' in self.options else ['--rate', '5000']), *self.options]

    def start(self):
        with open(self.path('log'), 'wb') as log:
            self.process = subprocess.Popen(self.command(), stderr=log, stdin=subprocess.DEVNULL)
        stack.wait_for(self.ports, 15, 'the agent listens: ' + self.log_text())

    def log_text(self):
        with open(self.path('log'), encoding='utf-8', errors='replace') as text_file:
            return text_file.read()

    def ports(self):
        assert self.process.poll() is None, (self.process.returncode, self.log_text())
        found = re.findall(r'event=listen on=\S*?:(\d+) ', self.log_text().replace('"', ''))
        found = found or re.findall(r' listen .*?on=[^/ ]*?:(\d+) ', self.log_text())
        return [int(port) for port in found]

    def client(self, role='admin', check=True):
        return Client(('127.0.0.1', self.ports()[0]), self.tokens.get(role), check)

    def unix_client(self, role='admin'):
        return Client(self.path('agent.sock'), self.tokens.get(role))

    def rss_kib(self):
        return stack.memory_kib(self.process.pid, 'Rss')

    def expect_growth(self, before_kib, most_mib, now_kib=None):
        grown = (now_kib or self.rss_kib()) - before_kib
        assert SANITIZED or grown < most_mib * 1024, (before_kib, grown)

    def __enter__(self):
        os.makedirs(self.directory, exist_ok=True)
        for role in self.roles:
            self.add_token(role, role)
        self.start()
        if self.wait:
            stack.wait_for(lambda: self.client().get('/healthz').status == 200, 15,
                           'the agent sees the mediator')
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        return self.process.wait(20)

    def __exit__(self, kind, value, trace):
        try:
            if self.process.poll() is None:
                status = self.stop()
                assert kind is not None or status == 0, (status, self.log_text())
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if kind is not None:
                print(self.log_text()[-3000:])


@contextlib.contextmanager
def running(vms=None, devices=1, options=(), web=None, environment=None, **more):
    """A host with its mediator, and an agent."""
    with stack.Stack(vms=vms, devices=devices, environment=environment,
                     options=['--agent-uid', str(os.getuid())], **more) as host:
        with Agent(host, options=options, web=web) as agent:
            yield host, agent
