# SPDX-License-Identifier: Apache-2.0
"""Asks vgpu-mediator, over its admin socket (docs/spec/admin.md). One connection per question: a
hook asks a few and ends."""
import json
import os
import socket
import time

from .failure import Failure, MEDIATOR_DOWN

REPLY_BYTES_MAX = 16 << 20


class Mediator(object):
    def __init__(self, config, timeout_ms=None):
        self.path = config.admin_socket
        self.deadline = time.time() + (timeout_ms or config.timeout_ms) / 1000.0

    def _down(self, reason):
        return Failure(MEDIATOR_DOWN, 'vgpu-mediator does not answer at %s (%s): see systemctl '
                       'status vgpu-mediator' % (self.path, reason))

    def _left(self):
        left = self.deadline - time.time()
        if left <= 0:
            raise self._down('no answer in time')
        return left

    def _receive(self, connection):
        parts, size = [], 0
        while not parts or not parts[-1].endswith(b'\n'):
            connection.settimeout(self._left())
            part = connection.recv(65536)
            size += len(part)
            if not part:
                raise self._down('it closed the connection')
            if size > REPLY_BYTES_MAX:
                raise self._down('its answer has no end')
            parts.append(part)
        return b''.join(parts)

    def _exchange(self, line):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self._left())
            connection.connect(self.path)
            connection.sendall(line)
            return self._receive(connection)
        except socket.timeout:
            raise self._down('no answer in time')
        except socket.error as error:
            raise self._down(os.strerror(error.errno) if error.errno else str(error))
        finally:
            connection.close()

    def ask(self, command, args=None, revision=None, dry_run=False):
        """The result of a command; a refusal is a Failure with the mediator's code and text."""
        request = {'id': 1, 'command': command, 'args': args or {}}
        if revision is not None:
            request['if_revision'] = revision
        if dry_run:
            request['dry_run'] = True
        line = self._exchange(json.dumps(request).encode('ascii') + b'\n')
        try:
            reply = json.loads(line.decode('utf-8'))
            if reply['ok']:
                return reply['result']
            error = reply['error']
            code, text = error['code'], error['text']
        except (KeyError, TypeError, ValueError):
            raise self._down('its answer is none')
        raise Failure(code, text)
