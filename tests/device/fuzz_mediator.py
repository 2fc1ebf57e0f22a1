#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A mediator for QEMU's generic fuzzer: welcomes, opens, closes, and is never surprised.

fuzz_mediator.py SOCKET. QEMU listens there. The fuzzer forks a child for each input and
kills it at its end; all of them share one connection, so what comes here may break off anywhere:
then the rest is thrown away. Each channel's worker has left completions, good ones and others.
"""
import random
import select
import socket
import sys
import time

import mediator
from mediator import BODIES, FIELDS, HEAD, HostChannel, Link, Message


def messages(data):
    """What can be read in data; stops where it makes no sense."""
    while len(data) >= HEAD.size:
        size, kind, flags, tag, reserved = HEAD.unpack_from(data)
        layout = BODIES.get(kind, (None,))[0]
        if layout is None or size != HEAD.size + layout.size or len(data) < size:
            return
        body = FIELDS[kind](*layout.unpack_from(data, HEAD.size))
        yield Message(kind, flags, tag, reserved, body, [], size)
        data = data[size:]


def spoil(channel, generator):
    """What a worker wrote: a download, a reply, sometimes nonsense."""
    if channel.comp < 16 or channel.data < 4096:
        return
    channel.written(generator.randrange(0, 4096, 8), generator.choice((8, 100, 4096)),
                    pitch=generator.randrange(64), rows=generator.randint(1, 4), publish=False)
    channel.reply(1, b'answer', publish=False)
    if generator.random() < 0.1:
        place = channel.comp_offset + 8 * generator.randrange(channel.comp * 8)
        channel.map[place:place + 8] = generator.randbytes(8)
    channel.publish()


def place(generator):
    """In the window, seldom none, or one that cannot be."""
    kind = generator.random()
    if kind < 0.1:
        return generator.choice((0, 0xffffffff, 0x200000))
    return 1 + 512 * generator.randrange(8)


def answer(link, message, generator):
    if message.kind == mediator.HELLO:
        link.welcome(message.tag, features=7 & message.body.features)
    elif message.kind == mediator.OPEN:
        body = message.body
        if generator.random() < 0.1 or body.data_bytes > 1 << 24:
            link.refuse(message.tag, generator.choice((1, 2, 4, 14)), b'not now', 1000000)
            return
        window = place(generator) if message.flags & mediator.OPEN_WINDOW else 0
        channel = HostChannel(generator.randint(1, 1000), body.sub_granules, body.comp_granules,
                              body.data_bytes or 65536, mode_flags=0 if window else 1)
        spoil(channel, generator)
        link.opened(message, channel.number, channel, window=window)
        if generator.random() < 0.1:
            link.gone(channel.number, mediator.KILLED, b'gone')
        channel.close()
    elif message.kind == mediator.CLOSE:
        link.closed(message)
    elif message.kind == mediator.RESUME:
        link.refuse(message.tag, mediator.STATUS_GONE)


def serve(link, generator):
    link.sock.setblocking(True)
    link.sock.settimeout(5)
    while True:
        select.select([link.sock], [], [])
        data = link.sock.recv(1 << 16)
        if not data:
            return
        for message in messages(data):
            answer(link, message, generator)


def main():
    generator = random.Random(1)
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(sys.argv[1])
            serve(Link(sock), generator)
        except (OSError, mediator.Hangup, AssertionError):
            time.sleep(0.02)
        finally:
            sock.close()


if __name__ == '__main__':
    main()
