# SPDX-License-Identifier: Apache-2.0
"""A mediator for tests of vgpu-admin: an admin socket whose answers the test gives."""
import json
import os
import socket
import threading


class FakeMediator:
    """answer(command, args) gives a result, or None: no answer; a LookupError: no such command."""

    def __init__(self, path, answer):
        self.path, self.answer = path, answer
        self.requests = []
        self.connections = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(8)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            with connection.makefile("rwb") as lines:
                for line in lines:
                    self.reply(lines, json.loads(line))
        except (OSError, ValueError):
            pass

    def reply(self, lines, request):
        self.requests.append(request)
        try:
            result = self.answer(request["command"], request["args"])
        except LookupError:
            error = {"code": "unknown-command", "errno": 95, "text": "there is no such command"}
            reply = {"ok": False, "error": error}
        else:
            if result is None:
                return
            reply = {"ok": True, "result": result}
        lines.write(json.dumps({"id": request["id"], **reply}).encode() + b"\n")
        lines.flush()

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        os.unlink(self.path)
