# SPDX-License-Identifier: Apache-2.0
"""A stand-in for vgpu-agent, for the panel's tests alone: the panel's files, and enough of
agent/openapi.json to be driven into states that a real host reaches rarely (200 VMs, a lost
connection, a hot GPU). Run as a program it serves a lively host on a port, to look at:

  mock.py PANEL [PORT]
"""
import copy
import http.server
import json
import mimetypes
import os
import queue
import re
import sys
import threading
import time
import urllib.parse

TOKENS = {'admin-token': ('alice', 'admin'), 'operate-token': ('olga', 'operate'),
          'read-token': ('rita', 'read')}
ROLES = ['read', 'operate', 'admin']
GIB = 1 << 30
CSP = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
VM_DEFAULTS = {'uuid': None, 'name': None, 'priority': 'medium', 'weight': 50.0, 'rate_per_s': 0,
               'burst': 0, 'depth': 0, 'bytes_in_flight': 0, 'job_timeout_ms': 0,
               'memory_bytes': 0, 'process_memory_bytes': 0, 'fault_threshold': 0,
               'fault_window_s': 0}
POOL_DEFAULTS = {'policy': 'wfq', 'description': '', 'weight_hundredths': 0, 'slice_us': 0,
                 'grace_us': 0, 'max_wait_ms': 0, 'urgency_us': 0, 'max_vms': 0}
MULTIPLIER = {'high': 4, 'medium': 2, 'low': 1}


class Refused(Exception):
    def __init__(self, status, code, detail):
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


def what_differs(row, other):
    """The members of a row that the other has otherwise; null for none."""
    if row is None:
        return None
    return {key: value for key, value in row.items() if not other or other.get(key) != value}


class Model:
    """The configuration and what is live; one lock around all of it."""

    def __init__(self, hardware=2):
        self.lock = threading.RLock()
        self.hardware = hardware
        self.gpus, self.pools, self.vms = {}, {}, {}
        self.thresholds = {'temperature': {'name': 'temperature', 'title': 'GPU temperature',
                                           'unit': '°C', 'value': 85.0, 'action': 'stop',
                                           'default_value': 90.0, 'default_action': 'warn', 'revision': 1,
                                           'is_default': False}}
        self.audit, self.events, self.seq = [], [], 0
        self.load = {}  # vm_id: what it asks for, 0-1
        self.health = {}
        self.clock = 0
        self.listeners = []
        self.who = 'agent:test'

    def now(self):
        return int(time.time())

    def event(self, kind, text, severity='info', vm_id=None, gpu_id=None, pool=None):
        self.seq += 1
        event = {'seq': self.seq, 'time': time.time(), 'kind': kind, 'severity': severity,
                 'vm_id': vm_id, 'gpu_id': gpu_id, 'pool': pool, 'text': text}
        self.events.append(event)
        for listener in self.listeners:
            listener.put(('event', event))

    def row(self, kind, key):
        table = {'gpu': self.gpus, 'pool': self.pools, 'vm': self.vms}[kind]
        if key not in table:
            raise Refused(404, 'not-found', "%s '%s' does not exist" % (kind, key))
        return table[key]

    def gpu(self, key):
        return {**self.row('gpu', key), 'pools': sorted(
            name for name, pool in self.pools.items() if key in pool['gpus'])}

    def pool(self, name):
        return {**self.row('pool', name), 'vms': sorted(
            vm['vm_id'] for vm in self.vms.values() if vm['pool'] == name)}

    def each(self):
        """What a busy VM holds: together they fit."""
        return min(3 * GIB, 100 * GIB * max(1, len(self.gpus)) // max(1, len(self.vms)))

    def shares(self):
        """What each VM gets of its GPU, and what is due to it, by priority and weight."""
        due = {}
        for gpu in self.gpus:
            pools = {n for n, p in self.pools.items() if gpu in p['gpus']}
            here = [v for v in self.vms.values() if v['pool'] in pools
                    and not v['quarantined'] and self.load.get(v['vm_id'])]
            total = sum(MULTIPLIER[v['priority']] * v['weight'] for v in here)
            for v in here:
                due[v['vm_id']] = (MULTIPLIER[v['priority']] * v['weight'] / total, gpu)
        return due

    def status(self):
        due = self.shares()
        wave = 0.04 * ((self.clock % 7) - 3) / 3
        vms = []
        for v in sorted(self.vms.values(), key=lambda v: v['vm_id']):
            part, gpu = due.get(v['vm_id'], (None, None))
            load = self.load.get(v['vm_id'], 0)
            state = 'quarantined' if v['quarantined'] else 'disconnected' if not load else \
                'running' if (v['vm_id'] + self.clock) % 3 == 0 else 'waiting'
            vms.append({
                **{k: v[k] for k in ('vm_id', 'uuid', 'name', 'pool', 'priority', 'weight',
                                     'quarantine_reason', 'faults')},
                'state': state, 'gpu_id': gpu, 'channels': int(bool(load)),
                'connections': int(bool(load)),
                'memory_bytes': int(load * self.each()) + 17 * v['vm_id'],
                'queue_depth': (v['vm_id'] * 7 + self.clock * 3) % 40 if part else 0,
                'jobs_done': self.clock * 100 if load else 0, 'jobs_failed': v['faults_total'],
                'jobs_refused': 0, 'gpu_time_ns': self.clock * 10**8, 'wait_ns': 0,
                'share': None if part is None else max(0, min(1, part * (1 + wave))),
                'entitlement': part, 'refused_by': {'rate': 0, 'depth': 0, 'bytes': 0,
                                                    'quarantine': 0},
                'held_by': {'rate': 0, 'depth': 0, 'bytes': 0, 'quarantine': 0},
                'memory': {'quota_bytes': v['memory_bytes'], 'granted_bytes': None,
                           'held_bytes': int(load * self.each()), 'spare_bytes': 0,
                           'context_bytes': 1 << 28, 'module_bytes': 1 << 20, 'graph_bytes': 0,
                           'nvml_bytes': None, 'unexplained_bytes': None}})
        busy = {gpu for _part, gpu in due.values()}
        gpus = [{'gpu_id': g, 'uuid': row['uuid'], 'model': row['model'],
                 'memory_total_bytes': row['memory_bytes'],
                 'memory_used_bytes': sum(v['memory_bytes'] for v in vms if v['gpu_id'] == g),
                 'utilization': 82.0 + 3 * (self.clock % 5) if g in busy else 0.0,
                 'temperature': 61.0 + g, 'state': 'missing' if row['state'] == 'missing' else 'ok',
                 'pools': self.gpu(g)['pools'],
                 'holder_vm_id': next((v['vm_id'] for v in vms if v['gpu_id'] == g
                                       and v['state'] == 'running'), None),
                 'spares': 1, 'spares_wanted': 1, 'spare_failures': 0, 'warm_starts': 4}
                for g, row in sorted(self.gpus.items())]
        return {'mediator': {'version': '0.1.0', 'pid': 1, 'uptime_s': 5.0, 'driver': 'softgpu',
                             'window_s': 10.0, 'channels': 1, 'workers': 1},
                'gpus': gpus,
                'pools': [{'pool': n, 'policy': p['policy'], 'gpus': p['gpus'],
                           'vms': len(self.pool(n)['vms'])} for n, p in sorted(self.pools.items())],
                'vms': vms}

    def health_list(self):
        return [{'gpu_id': g, 'state': 'missing' if row['state'] == 'missing' else 'ok',
                 'reasons': [], 'temperature': 61.0 + g, 'temperature_memory': 70.0,
                 'utilization': 80.0, 'memory_used_bytes': 0, 'power_w': 310.4,
                 'power_limit_w': 700.0, 'clock_sm_mhz': 1980, 'clock_memory_mhz': 2619,
                 'throttle': [], 'ecc_corrected': 0, 'ecc_uncorrected': 0, 'remapped_rows': 0,
                 'remap_pending': False, 'last_xid': None, 'last_xid_time': None, 'resets': 0,
                 'sampled': time.time(), **self.health.get(g, {})}
                for g, row in sorted(self.gpus.items())]

    def history(self, only=None):
        times = [self.now() - 30 * i for i in range(119, -1, -1)]

        def wave(base, i, swing):
            return max(0.0, base * (1 + swing * (((i * 37) % 19) / 9.5 - 1)))
        due = self.shares()
        vms = [v for v in sorted(self.vms) if only in (None, v)]
        return {'step_s': 30, 'times': times,
                'gpus': [{'gpu_id': g, 'utilization': [wave(80 + 5 * g, i, .1) for i in range(120)],
                          'memory_used_bytes': [wave(30 * GIB, i, .05) for i in range(120)],
                          'temperature': [wave(60 + g, i, .03) for i in range(120)]}
                         for g in sorted(self.gpus)],
                'pools': [{'pool': n, 'queue_depth': [wave(12, i, .8) for i in range(120)]}
                          for n in sorted(self.pools)],
                'vms': [{'vm_id': v, 'share': [wave(due[v][0] if v in due else 0, i, .2)
                                               for i in range(120)],
                         'entitlement': [due[v][0] if v in due else None] * 120,
                         'queue_depth': [0] * 120, 'memory_bytes': [0] * 120} for v in vms]}

    # Changes. Each works on the model that it is called for: a dry run's is a copy.

    def changed(self, changes, object_, key, before, after):
        if before == after:
            return
        changes.append({'object': object_, 'key': str(key), 'from': before, 'to': after})

    def put(self, kind, key, values, defaults, changes):
        table = {'pool': self.pools, 'vm': self.vms}[kind]
        before = copy.deepcopy(table.get(key))
        after = {**(before or {'created': self.now(), 'revision': 0}), **defaults, **values}
        after['updated'] = self.now()
        if before and {**after, 'updated': 0} == {**before, 'updated': 0}:
            return
        after['revision'] += 1
        table[key] = after
        self.changed(changes, kind, key, before, copy.deepcopy(after))

    def scan(self, changes):
        found = {'added': [], 'missing': [], 'returned': [], 'moved': []}
        for i in range(self.hardware):
            if i not in self.gpus:
                self.gpus[i] = {
                    'gpu_id': i, 'uuid': 'GPU-5f7a0000-0000-0000-0000-00000000000%d' % i,
                    'pci': '00000000:%02x:00.0' % (0x17 + i), 'model': 'NVIDIA H200',
                    'memory_bytes': 141 * GIB, 'index': i, 'state': 'present', 'revision': 1,
                    'numa_node': i, 'mig_mode': 'disabled', 'driver': 'nvidia', 'source': 'nvml',
                    'drained': False, 'drain_reason': None, 'first_seen': self.now(),
                    'last_seen': self.now()}
                found['added'].append(i)
                self.changed(changes, 'gpu', self.gpus[i]['uuid'], None, self.gpus[i])
        return {**found, 'gpus': [self.gpu(g) for g in self.gpus]}

    def set_gpu_pools(self, gpu_id, names, changes):
        for name in names:
            self.row('pool', name)
        for name, pool in self.pools.items():
            has, wanted = gpu_id in pool['gpus'], name in names
            if has != wanted:
                pair = {'pool': name, 'gpu_id': gpu_id}
                pool['gpus'] = sorted(set(pool['gpus']) ^ {gpu_id})
                pool['revision'] += 1
                self.gpus[gpu_id]['revision'] += 1
                self.changed(changes, 'pool-gpu', '%s/%d' % (name, gpu_id),
                             pair if has else None, pair if wanted else None)
        return {'gpu': self.gpu(gpu_id)}

    def settings(self, kind, values, known):
        for key, value in values.items():
            if key not in known:
                raise Refused(400, 'invalid', "unknown member '%s'" % key)
            if key == 'pool' and kind == 'vm':
                self.row('pool', value)
            if key == 'weight' and not 1 <= value <= 100:
                raise Refused(400, 'invalid', "'weight' is not in 1.0-100.0")
        return values

    def put_vm(self, vm_id, values, changes, patch=False):
        known = {*VM_DEFAULTS, 'pool'}
        values = self.settings('vm', values, known)
        values = {k: VM_DEFAULTS[k] if v is None else v for k, v in values.items()}
        fresh = {'vm_id': vm_id, 'faults': 0, 'faults_total': 0, 'last_fault': None,
                 'last_fault_kind': None, 'last_fault_text': None, 'quarantined': False,
                 'quarantine_reason': None, 'quarantine_time': None, 'quarantined_by': None}
        base = {} if patch else VM_DEFAULTS
        whole = {**self.vms.get(vm_id, {}), **values}
        if whole.get('burst') and not whole.get('rate_per_s'):
            raise Refused(400, 'invalid', "'burst' needs 'rate_per_s'")
        self.put('vm', vm_id, values, {**({} if vm_id in self.vms else fresh), **base}, changes)
        return {'vm': self.vms[vm_id]}

    def put_pool(self, name, values, changes, patch=False):
        values = self.settings('pool', values, POOL_DEFAULTS)
        fresh = {} if name in self.pools else {'pool': name, 'gpus': []}
        self.put('pool', name, values, {**fresh, **({} if patch else POOL_DEFAULTS)}, changes)
        return {'pool': self.pool(name)}

    def remove(self, kind, key, changes):
        table = {'pool': self.pools, 'vm': self.vms}[kind]
        if kind == 'pool' and self.pool(key)['vms']:
            raise Refused(409, 'in-use', "pool '%s' still has %d VMs" % (
                key, len(self.pool(key)['vms'])))
        self.changed(changes, kind, key, table.pop(key), None)
        return {}

    def assign(self, name, text, register, priority, changes):
        self.row('pool', name)
        ids = []
        for part in text.split(','):
            first, _, last = part.strip().partition('-')
            ids += range(int(first), int(last or first) + 1)
        for vm_id in ids:
            if not register:
                self.row('vm', vm_id)
            known = vm_id in self.vms
            body = {'pool': name} if known else {'pool': name, 'priority': priority or 'medium'}
            self.put_vm(vm_id, body, changes, patch=known)
        return {'pool': name, 'vms': ids}

    def quarantine(self, vm_id, reason, changes):
        vm = self.row('vm', vm_id)
        if vm['quarantined'] == (reason is not None):
            return {'vm': vm}
        before = dict(vm)
        vm.update(quarantined=reason is not None, quarantine_reason=reason,
                  quarantine_time=self.now() if reason else None,
                  quarantined_by=self.who if reason else None, revision=vm['revision'] + 1)
        if reason is None:
            vm['faults'] = 0
        self.changed(changes, 'vm', vm_id, before, dict(vm))
        return {'vm': vm}

    def drain(self, gpu_id, reason, changes):
        gpu = self.row('gpu', gpu_id)
        before = dict(gpu)
        gpu.update(drained=reason is not None, drain_reason=reason)
        if before != gpu:
            gpu['revision'] += 1
        self.changed(changes, 'gpu', gpu['uuid'], before, dict(gpu))
        return {'gpu': self.gpu(gpu_id)}

    def clear_faults(self, vm_id, changes):
        vm = self.row('vm', vm_id)
        before = dict(vm)
        vm.update(faults=0, faults_total=0)
        self.changed(changes, 'vm', vm_id, before, dict(vm))
        return {'vm': vm}

    def threshold(self, name, values, changes):
        before = dict(self.thresholds[name])
        self.thresholds[name].update(values, revision=before['revision'] + 1)
        self.changed(changes, 'threshold', name, before, dict(self.thresholds[name]))
        return {'threshold': self.thresholds[name]}

    def copy(self):
        other = Model(self.hardware)
        for name in ('gpus', 'pools', 'vms', 'thresholds', 'who'):
            setattr(other, name, copy.deepcopy(getattr(self, name)))
        return other

    def commit(self, who, command, changes):
        for change in changes:
            self.audit.append({'seq': len(self.audit) + 1, 'time': self.now(), 'who': who,
                               'command': command, 'object': change['object'],
                               'key': change['key'],
                               'before': what_differs(change['from'], change['to']),
                               'after': what_differs(change['to'], change['from'])})
        if changes:
            self.event('config-changed', '%s by %s' % (command, who))

    def last_change(self, key):
        rows = [row for row in self.audit if row['key'] == str(key)]
        return "changed by %s (%s)" % (rows[-1]['who'], rows[-1]['command']) if rows else 'changed'


ID = r'/(?P<id>\d{1,10})'
POOL = r'/(?P<pool>[^/]+)'
# method, path, role, command, kind of object that If-Match is about (None: none), needs If-Match
CHANGES = [
    ('POST', '/scan', 'operate', 'scan-gpus', None, False),
    ('PUT', '/gpus' + ID + '/pools', 'admin', 'assign-gpu', 'gpu', True),
    ('PUT', '/gpus' + ID + '/drain', 'operate', 'drain-gpu', 'gpu', False),
    ('DELETE', '/gpus' + ID + '/drain', 'operate', 'resume-gpu', 'gpu', False),
    ('PUT', '/pools' + POOL, 'admin', 'create-pool', 'pool', True),
    ('PATCH', '/pools' + POOL, 'admin', 'set-policy', 'pool', True),
    ('DELETE', '/pools' + POOL, 'admin', 'remove-pool', 'pool', True),
    ('POST', '/pools' + POOL + '/vms', 'operate', 'assign-vms', None, False),
    ('PUT', '/vms' + ID, 'admin', 'register-vm', 'vm', True),
    ('PATCH', '/vms' + ID, 'operate', 'set-priority', 'vm', True),
    ('DELETE', '/vms' + ID, 'admin', 'remove-vm', 'vm', True),
    ('PUT', '/vms' + ID + '/quarantine', 'operate', 'quarantine', 'vm', False),
    ('DELETE', '/vms' + ID + '/quarantine', 'operate', 'unquarantine', 'vm', False),
    ('DELETE', '/vms' + ID + '/faults', 'operate', 'clear-faults', 'vm', False),
    ('PUT', r'/thresholds/(?P<name>[a-z_-]+)', 'admin', 'set-threshold', 'threshold', True),
]


def perform(model, command, key, body, changes):
    table = {
        'scan-gpus': lambda: model.scan(changes),
        'assign-gpu': lambda: model.set_gpu_pools(key, body, changes),
        'drain-gpu': lambda: model.drain(key, body['reason'], changes),
        'resume-gpu': lambda: model.drain(key, None, changes),
        'create-pool': lambda: model.put_pool(key, body, changes),
        'set-policy': lambda: model.put_pool(key, body, changes, patch=True),
        'remove-pool': lambda: model.remove('pool', key, changes),
        'assign-vms': lambda: model.assign(key, body['vms'], body.get('register'),
                                            body.get('priority'), changes),
        'register-vm': lambda: model.put_vm(key, body, changes),
        'set-priority': lambda: model.put_vm(key, body, changes, patch=True),
        'remove-vm': lambda: model.remove('vm', key, changes),
        'quarantine': lambda: model.quarantine(key, body['reason'], changes),
        'unquarantine': lambda: model.quarantine(key, None, changes),
        'clear-faults': lambda: model.clear_faults(key, changes),
        'set-threshold': lambda: model.threshold(key, body, changes),
    }
    return table[command]()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *arguments):
        pass

    @property
    def model(self):
        return self.server.model

    def answer(self, status, body, kind='application/json', headers=()):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(data)))
        self.send_header('Content-Security-Policy', CSP)
        self.send_header('X-Content-Type-Options', 'nosniff')
        for pair in headers:
            self.send_header(*pair)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.handle_one('GET')

    def do_PUT(self):
        self.handle_one('PUT')

    def do_POST(self):
        self.handle_one('POST')

    def do_PATCH(self):
        self.handle_one('PATCH')

    def do_DELETE(self):
        self.handle_one('DELETE')

    def handle_one(self, method):
        path, _, query = self.path.partition('?')
        length = int(self.headers.get('Content-Length') or 0)
        raw = self.rfile.read(length)
        try:
            if not path.startswith('/api/v1/'):
                self.static(path)
                return
            if self.server.down:
                self.close_connection = True
                return
            role = self.authorize()
            query = dict(urllib.parse.parse_qsl(query))
            path = path[len('/api/v1'):]
            if method == 'GET' and path == '/events':
                self.stream()
            elif method == 'GET':
                self.read(path, query, role)
            else:
                self.change(method, path, query, role, json.loads(raw) if raw else None)
        except Refused as refused:
            self.answer(refused.status, {'type': 'about:blank', 'title': refused.code,
                                         'status': refused.status, 'detail': refused.detail,
                                         'code': refused.code}, 'application/problem+json')

    def static(self, path):
        name = 'index.html' if path == '/' else path.lstrip('/')
        full = os.path.realpath(os.path.join(self.server.panel, name))
        if not full.startswith(os.path.realpath(self.server.panel) + os.sep) or \
                not os.path.isfile(full):
            raise Refused(404, 'not-found', 'no such file')
        kind = 'text/javascript' if full.endswith('.js') else \
            mimetypes.guess_type(full)[0] or 'application/octet-stream'
        with open(full, 'rb') as data:
            self.answer(200, data.read(), kind)

    def authorize(self):
        token = (self.headers.get('Authorization') or '').removeprefix('Bearer ')
        if token not in self.server.tokens:
            raise Refused(401, 'unauthorized', 'no such token')
        self.who, role = self.server.tokens[token]
        return role

    def read(self, path, query, role):
        model = self.model
        with model.lock:
            match = re.fullmatch(r'/vms/(\d+)', path)
            if match:
                vm = model.row('vm', int(match[1]))
                live = next(v for v in model.status()['vms'] if v['vm_id'] == vm['vm_id'])
                body = {**vm, 'last_faults': [], 'live': live}
            elif re.fullmatch(r'/gpus/\d+', path):
                body = model.gpu(int(path.split('/')[2]))
            elif re.fullmatch(r'/pools/[^/]+', path):
                body = model.pool(urllib.parse.unquote(path.split('/')[2]))
            else:
                body = self.lists(path, query, role)
            self.answer(200, body, headers=self.tags(body))

    def tags(self, body):
        return [('ETag', '"%d"' % body['revision'])] if 'revision' in body else []

    def lists(self, path, query, role):
        model = self.model
        if path == '/host':
            return {'hostname': 'gpu-host-01',
                    'agent': {'version': '0.1.0', 'pid': 1, 'uptime_s': 9},
                    'mediator': model.status()['mediator'], 'mediator_up': True,
                    'gpus': {'present': len(model.gpus), 'missing': 0, 'unhealthy': 0},
                    'pools': len(model.pools), 'vms': len(model.vms),
                    'you': {'name': self.who, 'role': role}}
        if path == '/gpus':
            return {'gpus': [model.gpu(g) for g in sorted(model.gpus)]}
        if path == '/pools':
            return {'pools': [model.pool(n) for n in sorted(model.pools)]}
        if path == '/vms':
            after, limit = int(query.get('after', 0)), int(query.get('limit', 100))
            rest = [model.vms[v] for v in sorted(model.vms) if v > after]
            more = len(rest) > limit
            return {'vms': rest[:limit], 'next': rest[limit - 1]['vm_id'] if more else None}
        if path == '/capacity':
            return {'pools': [{'pool': n, 'vms': len(model.pool(n)['vms']),
                               'admits': bool(p['gpus']),
                               'reason': None if p['gpus'] else 'it has no GPU'}
                              for n, p in model.pools.items()]}
        if path == '/status':
            return model.status()
        if path == '/health':
            return {'gpus': model.health_list()}
        if path == '/thresholds':
            return {'thresholds': list(model.thresholds.values())}
        if path.startswith('/thresholds/'):
            return model.thresholds[path.split('/')[2]]
        if path == '/audit':
            return {'audit': model.audit[-int(query.get('limit', 100)):], 'next': len(model.audit)}
        if path == '/history':
            return model.history(int(query['vm_id']) if 'vm_id' in query else None)
        raise Refused(404, 'not-found', 'no such path')

    def change(self, method, path, query, role, body):
        for wanted, pattern, least, command, kind, guarded in CHANGES:
            match = re.fullmatch(pattern, path)
            if method == wanted and match:
                break
        else:
            raise Refused(404, 'not-found', 'no such path')
        if ROLES.index(role) < ROLES.index(least):
            raise Refused(403, 'forbidden', 'needs a token of role %s' % least)
        groups = match.groupdict()
        key = int(groups['id']) if 'id' in groups else \
            urllib.parse.unquote(groups.get('pool') or groups.get('name') or '')
        model = self.model
        with model.lock:
            if kind:
                self.precondition(kind, key, method, command, guarded)
            trial, changes = model.copy(), []
            trial.who = self.who
            result = perform(trial, command, key, body, changes)
            if query.get('dry_run') != 'true':
                changes = []
                model.who = self.who
                result = perform(model, command, key, body, changes)
                model.commit('agent:' + self.who, command, changes)
                model.tell()
            self.answer(200, {'changed': bool(changes), 'changes': changes,
                              **({'dry_run': True} if query.get('dry_run') == 'true' else {}),
                              **copy.deepcopy(result)},
                        headers=self.tags(next(iter(result.values()))
                                          if command == 'set-threshold' else {}))

    def precondition(self, kind, key, method, command, guarded):
        model = self.model
        table = {'gpu': model.gpus, 'pool': model.pools, 'vm': model.vms,
                 'threshold': model.thresholds}[kind]
        creates = command in ('create-pool', 'register-vm')
        if key not in table:
            if not creates:
                self.model.row(kind, key)
            return
        if creates and self.headers.get('If-None-Match') == '*':
            raise Refused(412, 'exists', "%s '%s' exists already" % (kind, key))
        wanted = self.headers.get('If-Match')
        if wanted is None and guarded:
            raise Refused(428, 'precondition-required', 'it exists: send If-Match')
        if wanted not in (None, '*', '"%d"' % table[key]['revision']):
            raise Refused(412, 'conflict', "%s %s was %s since you read it" % (
                kind, key, self.model.last_change(key)))

    def stream(self):
        inbox = queue.Queue()
        with self.model.lock:
            self.model.listeners.append(inbox)
            inbox.put(('state', self.model.status()))
        self.send_response(200)
        self.send_header('Content-Type', 'text/event-stream')
        self.send_header('Connection', 'close')
        self.end_headers()
        try:
            while not self.server.down:
                try:
                    kind, value = inbox.get(timeout=0.2)
                except queue.Empty:
                    self.wfile.write(b': here\n\n')
                    continue
                head = 'id: boot:%d\n' % value['seq'] if kind == 'event' else ''
                self.wfile.write(('%sevent: %s\ndata: %s\n\n' % (head, kind, json.dumps(value)))
                                 .encode())
                self.wfile.flush()
        except OSError:
            pass
        finally:
            self.model.listeners.remove(inbox)
            self.close_connection = True


class Mock(http.server.ThreadingHTTPServer):
    """Serves the panel and a model of a host on 127.0.0.1; a context manager."""
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, panel, hardware=2, port=0):
        super().__init__(('127.0.0.1', port), Handler)
        self.panel, self.model, self.down = panel, Model(hardware), False
        self.tokens = dict(TOKENS)
        self.model.tell = self.tell
        self.url = 'http://127.0.0.1:%d/' % self.server_address[1]
        self.ending = threading.Event()

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def tell(self):
        """The state to all that listen."""
        with self.model.lock:
            self.model.clock += 1
            for inbox in self.model.listeners:
                inbox.put(('state', self.model.status()))

    def fill(self, vms=20, split=7, pools=('A', 'B'), names=True):
        """Pools on a GPU each, VMs in them, most of them busy."""
        model, changes = self.model, []
        with model.lock:
            model.scan(changes)
            for i, name in enumerate(pools):
                model.put_pool(name, {'description': ['training', 'inference'][i % 2]}, changes)
                model.set_gpu_pools(i % len(model.gpus), sorted(
                    n for n in model.pools
                    if i % len(model.gpus) in model.pools[n]['gpus']) + [name], changes)
            for vm in range(1, vms + 1):
                model.put_vm(vm, {'pool': pools[0] if vm <= split else pools[1 % len(pools)],
                                  'priority': ['high', 'medium', 'low'][vm % 3],
                                  **({'name': 'render-%02d' % vm} if names else {})}, changes)
                model.load[vm] = 0 if vm % 6 == 0 else 1
            model.commit('uid=0 pid=42', 'import', changes)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *arguments):
        self.down = True
        self.shutdown()
        self.server_close()


def main():
    with Mock(sys.argv[1], port=int(sys.argv[2]) if len(sys.argv) > 2 else 8080) as mock:
        mock.fill()
        print(mock.url, 'token: admin-token', flush=True)
        while True:
            time.sleep(1)
            mock.tell()


if __name__ == '__main__':
    main()
