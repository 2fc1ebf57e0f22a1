# SPDX-License-Identifier: Apache-2.0
"""A xenstored for tests: the wire protocol on a Unix socket, a tree, watches. No permissions."""
import os
import select
import socket
import struct
import threading

HEAD = struct.Struct('<IIII')
(DIRECTORY, READ, WATCH, UNWATCH, WRITE, MKDIR, RM, SET_PERMS, WATCH_EVENT, ERROR, INTRODUCED) = (
    1, 2, 4, 5, 11, 12, 13, 14, 15, 16, 17)


class Xenstored:
    def __init__(self, directory):
        self.path = os.path.join(directory, 'xenstored')
        self.nodes = {}
        self.living = set()
        self.tells = True   # who lives; in a driver domain not
        self.asked = 0
        self.lock = threading.Lock()
        self.peers = {}   # socket: list of (path, token)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(8)
        self.wake, self.ring = os.pipe()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def close(self):
        os.write(self.ring, b'q')
        self.thread.join()
        for sock in list(self.peers) + [self.listener]:
            sock.close()
        os.close(self.wake)
        os.close(self.ring)

    # What a test, as toolstack or guest, does to the tree

    def write(self, path, value):
        with self.lock:
            self.put(path, value.encode())

    def read(self, path):
        with self.lock:
            return self.nodes.get(path, b'').decode()

    def remove(self, path):
        with self.lock:
            self.take_away(path)

    def take_away(self, path):
        for node in [n for n in self.nodes if n == path or n.startswith(path + '/')]:
            del self.nodes[node]
        self.fire(path)

    def put(self, path, value):
        changed = path
        self.nodes[path] = value
        while '/' in path[1:]:
            path = path.rsplit('/', 1)[0]
            self.nodes.setdefault(path, b'')
        self.fire(changed)

    # Clients

    def fire(self, changed):
        for sock, watches in self.peers.items():
            for path, token in watches:
                if changed == path or changed.startswith(path + '/'):
                    self.send(sock, WATCH_EVENT, 0, 0, '%s\0%s\0' % (changed, token))

    @staticmethod
    def send(sock, kind, request, transaction, body):
        body = body if isinstance(body, bytes) else body.encode()
        try:
            sock.sendall(HEAD.pack(kind, request, transaction, len(body)) + body)
        except OSError:
            pass

    def run(self):
        while True:
            ready = select.select([self.listener, self.wake] + list(self.peers), [], [])[0]
            if self.wake in ready:
                return
            for sock in ready:
                if sock is self.listener:
                    self.peers[sock.accept()[0]] = []
                elif not self.serve(sock):
                    with self.lock:
                        del self.peers[sock]
                    sock.close()

    @staticmethod
    def exactly(sock, size):
        data = b''
        while len(data) < size:
            try:
                more = sock.recv(size - len(data))
            except ConnectionResetError:
                return None
            if not more:
                return None
            data += more
        return data

    def serve(self, sock):
        head = self.exactly(sock, HEAD.size)
        if not head:
            return False
        kind, request, transaction, size = HEAD.unpack(head)
        words = (self.exactly(sock, size) if size else b'').split(b'\0')
        with self.lock:
            self.asked += 1
            kind, body = self.answer(sock, kind, words)
            self.send(sock, kind, request, transaction, body)
            if kind == WATCH:   # each fires once when it is set
                self.send(sock, WATCH_EVENT, 0, 0, '%s\0%s\0' % self.peers[sock][-1])
        return True

    def answer(self, sock, kind, words):
        path = words[0].decode()
        if kind == WATCH:
            self.peers[sock].append((path, words[1].decode()))
        elif kind == UNWATCH:
            self.peers[sock].remove((path, words[1].decode()))
        elif kind == INTRODUCED and not self.tells:
            return ERROR, 'EACCES\0'
        elif kind == INTRODUCED:
            return kind, 'T\0' if int(path) in self.living else 'F\0'
        elif kind == WRITE:
            self.put(path, words[1])
        elif kind == MKDIR:
            self.put(path, self.nodes.get(path, b''))
        elif kind == RM:
            self.take_away(path)
        elif kind == READ:
            return (kind, self.nodes[path]) if path in self.nodes else (ERROR, 'ENOENT\0')
        elif kind == DIRECTORY:
            if path not in self.nodes:
                return ERROR, 'ENOENT\0'
            below = {n[len(path) + 1:].split('/')[0] for n in self.nodes if n.startswith(path + '/')}
            return kind, ''.join(name + '\0' for name in sorted(below))
        return kind, 'OK\0'
