# SPDX-License-Identifier: Apache-2.0
"""XAPI's plugin `vgpu`: Host.call_plugin(host, "vgpu", function, arguments), or `xe
host-call-plugin`. XAPI runs it as root for pool administrators alone, with one argument: an XML-RPC
call whose method is the function, with the session and a map of texts. The answer is XML-RPC too:
the value is a text, JSON with "schema": 1; a failure is a code and a text.
"""
import json
import os
import subprocess
import sys
try:
    from xmlrpc import client as xmlrpc
except ImportError:
    import xmlrpclib as xmlrpc

from . import config as configuration
from . import reconcile, wish
from .failure import Failure, UNREADABLE, invalid
from .mediator import Mediator
from .vms import Vms
from .xenstore import UUID, Xenstore

SCHEMA = 1
TIMEOUT_MS = 10000
SCAN_TIMEOUT_MS = 60000
ARGUMENT_BYTES_MAX = 256
REASON_BYTES_MAX = 256
CALL_BYTES_MAX = 65536  # Linux takes no argument of 131072


class Request(object):
    """One call; its arguments are taken one by one, and none may be left over."""

    def __init__(self, config, arguments, timeout_ms):
        self.config = config
        self.left = dict(arguments)
        self.mediator = Mediator(config, timeout_ms)
        self.vms = Vms(config, self.mediator)

    def take(self, name, needed=True):
        text = self.left.pop(name, None)
        if text is None and needed:
            raise invalid('argument %s is missing', name)
        return text

    def number(self, name):
        text = self.take(name, needed=False)
        if text is not None and not (text.isdigit() and len(text) < 10):
            raise invalid('%s is no number: %s', name, wish.shown(text))
        return None if text is None else int(text)

    def flag(self, name):
        text = self.take(name, needed=False) or 'false'
        if text not in ('true', 'false'):
            raise invalid('%s is not true or false: %s', name, wish.shown(text))
        return text == 'true'

    def done(self):
        if self.left:
            raise invalid('argument %s is not known', wish.shown(sorted(self.left)[0]))

    def named(self, needed=True):
        """The member that names a VM; {} without."""
        text = self.take('vm', needed)
        return {} if text is None else Vms.key(text)


def _capacity(request):
    args = {}
    pool, memory = request.take('pool', False), request.take('memory-mib', False)
    if pool is not None:
        args['pool'] = wish.pool(pool)
    if memory is not None:
        args['memory_bytes'] = wish.memory_bytes(memory)
    request.done()
    pools = request.mediator.ask('capacity', args)['pools']
    gpus = request.mediator.ask('list-gpus')['gpus']
    halted = request.config.halted_pool
    return {'pools': [p for p in pools if p['pool'] != halted], 'gpus': gpus}


def _list(request):
    pool = request.take('pool', False)
    args = {} if pool is None else {'pool': wish.pool(pool)}
    request.done()
    return {'vms': request.mediator.ask('list-vms', args)['vms']}


def _status(request):
    key = request.named(needed=False)
    request.done()
    return request.mediator.ask('show-vm' if key else 'status', key)


def _uuid_by_name(config, name):
    """XAPI's, for a name that must be that of one VM."""
    label = (u'name-label=' + name).encode('utf-8')  # whatever the locale, which XAPI sets to none
    command = [config.xe, 'vm-list', label, 'params=uuid', '--minimal']
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        output, errors = process.communicate()
    except OSError as error:
        raise Failure(UNREADABLE, 'cannot run %s: %s' % (config.xe, error.strerror))
    if process.returncode != 0:
        raise Failure(UNREADABLE, 'xe vm-list failed: ' +
                      wish.shown(errors.decode('utf-8', 'replace').strip()))
    uuids = [text for text in output.decode('utf-8', 'replace').strip().split(',') if text]
    if len(uuids) > 1:
        raise Failure('ambiguous', 'name %s is that of %d VMs; give the UUID: %s' % (
            wish.shown(name), len(uuids), ', '.join(uuids[:8])))
    if not uuids or not UUID.match(uuids[0]):
        raise Failure('not-found', 'XAPI has no VM %s' % wish.shown(name))
    return uuids[0]


def _assign(request):
    text = request.take('vm')
    key = Vms.key(text)
    wanted = wish.Wish(request.take('pool'), request.take('priority', False),
                       request.take('weight', False), request.take('memory-mib', False))
    dry_run = request.flag('dry-run')
    request.done()
    uuid, name = key.get('uuid'), key.get('name')
    if name and not request.vms.is_instance_name(name):
        uuid = _uuid_by_name(request.config, name)
    running = Xenstore(request.config).running
    return {'vm': request.vms.reserve(uuid, name, wanted, running, dry_run)}


def _release(request):
    key = request.named()
    dry_run = request.flag('dry-run')
    request.done()
    vm = request.mediator.ask('show-vm', key)['vm']
    changed = request.vms.release(vm, dry_run)
    return {'vm': vm if dry_run or not changed else request.mediator.ask('show-vm', key)['vm'],
            'changed': changed}


def _changing(command, *members):
    """A command of the mediator on one VM; members: (argument, its check)."""
    def change(request):
        args = request.named()
        for name, check in members:
            args[name] = check(request.take(name))
        revision, dry_run = request.number('if-revision'), request.flag('dry-run')
        request.done()
        return request.mediator.ask(command, args, revision, dry_run)
    return change


def _reason(text):
    if not wish.clean(text, REASON_BYTES_MAX):
        raise invalid('reason is not 1 to %d bytes of text in one line', REASON_BYTES_MAX)
    return text


def _scan(request):
    request.done()
    return request.mediator.ask('scan-gpus')


def _reconcile(request):
    dry_run = request.flag('dry-run')
    request.done()
    return reconcile.Reconciler(request.config, dry_run).run()


FUNCTIONS = {
    'capacity': _capacity,
    'list': _list,
    'status': _status,
    'assign': _assign,
    'release': _release,
    'set-priority': _changing('set-priority', ('priority', wish.priority)),
    'set-weight': _changing('set-weight', ('weight', wish.weight)),
    'quarantine': _changing('quarantine', ('reason', _reason)),
    'unquarantine': _changing('unquarantine'),
    'scan': _scan,
    'reconcile': _reconcile,
}


def _text(value):
    """Texts of either Python; XML-RPC has other types, which no function takes."""
    if isinstance(value, bytes):
        value = value.decode('utf-8')
    if not isinstance(value, type(u'')):
        raise invalid('an argument is no text')
    if len(value.encode('utf-8')) > ARGUMENT_BYTES_MAX:
        raise invalid('an argument has more than %d bytes', ARGUMENT_BYTES_MAX)
    return value


def _bytes(argument):
    """As XAPI gave it; Python 3 has decoded it by the locale."""
    return argument if isinstance(argument, bytes) else os.fsencode(argument)


def _parse(data):
    if len(data) > CALL_BYTES_MAX:
        raise invalid('the call has more than %d bytes', CALL_BYTES_MAX)
    try:
        params, method = xmlrpc.loads(data)
        arguments = {_text(key): _text(value) for key, value in params[1].items()}
    except Failure:
        raise
    except Exception:  # the parser's own errors, and expat's, are of many classes
        raise invalid('not a call of a plugin')
    return method, arguments


def call(data):
    """The result of an XML-RPC call, as text."""
    method, arguments = _parse(data)
    name = (method or '').replace('_', '-')
    if name not in FUNCTIONS:
        raise Failure('unknown-function', 'there is no function %s (there are %s)' % (
            wish.shown(method or ''), ', '.join(sorted(FUNCTIONS))))
    timeout_ms = SCAN_TIMEOUT_MS if name == 'scan' else TIMEOUT_MS
    result = dict(FUNCTIONS[name](Request(configuration.load(), arguments, timeout_ms)))
    result['schema'] = SCHEMA
    return json.dumps(result, sort_keys=True)


def error_code(code):
    return 'VGPU_' + code.upper().replace('-', '_')


def main(arguments):
    try:
        if len(arguments) != 2:
            raise invalid('usage: vgpu CALL')
        answer = {'Status': 'Success', 'Value': call(_bytes(arguments[1]))}
    except Failure as failure:
        answer = {'Status': 'Failure',
                  'ErrorDescription': [error_code(failure.code), failure.text]}
    text = xmlrpc.dumps((answer,), '', True)
    stream = getattr(sys.stdout, 'buffer', sys.stdout)
    stream.write(text if isinstance(text, bytes) else text.encode('utf-8'))
    stream.flush()
    return 0
