#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input gets a clear message and a non-zero exit, and changes nothing."""
import hashlib
import os
import socket
import struct
import subprocess
import sys

from stack import Stack, run

VMS = [(1, 'A', 'high'), (2, 'A', 'low')]


def digest(path):
    with open(path, 'rb') as data:
        return hashlib.sha256(data.read()).hexdigest()


def refused(done, *words):
    assert done.returncode not in (0, -11, -6), done
    for word in words:
        assert word in done.stderr, (word, done.stderr)


def mediator_once(stack, *changes):
    command = [word for word in stack.mediator_command() if word not in changes]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_bad_missing_database():
    with Stack(start=False) as stack:
        stack.start_launcher()
        done = mediator_once(stack, '--create-database')
        refused(done, 'vgpu.db')
        assert not os.path.exists(stack.path('vgpu.db'))


def test_bad_corrupt_database():
    with Stack(start=False) as stack:
        stack.start_launcher()
        with open(stack.path('vgpu.db'), 'wb') as database:
            database.write(b'SQLite format 3\0' + os.urandom(8192))
        before = digest(stack.path('vgpu.db'))
        refused(mediator_once(stack), 'vgpu.db')
        assert digest(stack.path('vgpu.db')) == before


def test_bad_second_mediator():
    with Stack(vms=VMS) as stack:
        done = mediator_once(stack)
        refused(done, 'mediator')
        assert stack.admin_json('status')['vms'], 'the first one goes on'


def test_bad_socket_in_use():
    with Stack(start=False) as stack:
        stack.start_launcher()
        squatter = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        squatter.bind(stack.path('admin.sock'))
        squatter.listen(1)
        try:
            refused(mediator_once(stack), 'admin.sock')
            assert os.path.exists(stack.path('admin.sock')), 'it is not ours to remove'
        finally:
            squatter.close()
            os.unlink(stack.path('admin.sock'))


def test_bad_admin_arguments():
    with Stack(vms=VMS) as stack:
        before = stack.admin_json('list-vms')
        gpus = stack.admin_json('list-gpus')
        cases = [
            (('register-vm', '--vm-id=3', '--pool=Z', '--priority=high'), "'Z'"),
            (('assign-gpu', '--gpu-id=7', '--pool=A'), '7'),
            (('set-weight', '--vm=1', '--weight=0.5'), '1.0'),
            (('set-weight', '--vm=1', '--weight=100.1'), '100'),
            (('set-priority', '--vm=1', '--priority=urgent'), 'urgent'),
            (('register-vm', '--vm-id=1', '--pool=A', '--priority=low'), '1'),
            (('set-pool', '--vm=1', '--pool=Z'), "'Z'"),
            (('remove-vm', '--vm=99'), '99'),
            (('no-such-command',), 'no-such-command'),
        ]
        for arguments, word in cases:
            refused(stack.admin_run(*arguments), word)
        assert stack.admin_json('list-vms') == before
        assert stack.admin_json('list-gpus') == gpus


def test_bad_ptx():
    with Stack(vms=VMS) as stack:
        with open(stack.path('keep.ptx'), 'w', encoding='ascii') as text:
            text.write('.version 7.0\n.target sm_75\n.address_size 64\nthis is not PTX\n')
        refused(stack.client(1, 'launch', stack.path('keep.ptx'), 'f'), 'PTX', '4')


def good_ptx(stack):
    with open(stack.path('keep.ptx'), 'w', encoding='ascii') as text:
        text.write('.version 7.0\n.target sm_75\n.address_size 64\n'
                   '.visible .entry f(.param .u32 n)\n{\nret;\n}\n')
    return stack.path('keep.ptx')


def test_bad_kernel_name():
    with Stack(vms=VMS) as stack:
        refused(stack.client(1, 'launch', good_ptx(stack), 'g', 'u32:1'), "'g'")


def test_bad_argument_list():
    with Stack(vms=VMS) as stack:
        path = good_ptx(stack)
        assert stack.client(1, 'launch', path, 'f', 'u32:1').returncode == 0
        refused(stack.client(1, 'launch', path, 'f'), '1')
        refused(stack.client(1, 'launch', path, 'f', 'u32:1', 'u32:2'), '1')
        refused(stack.client(1, 'launch', path, 'f', 'f64:1'), '4')
        refused(stack.client(1, 'launch', path, 'f', 'u32:x'), 'x')


def test_bad_wire_version():
    """A HELLO from the future is refused with a status and a text, by hand-made bytes."""
    with Stack(vms=VMS) as stack:
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        peer.settimeout(5)
        peer.connect(stack.vm_socket(1))
        body = struct.pack('<IHHQIIII72s', 0x55504756, 99, 0, 0, 1, 0, 0, 0, b'')
        peer.sendall(struct.pack('<IHHII', 16 + len(body), 1, 0, 7, 0) + body)
        answer = peer.recv(4096)
        size, kind, _flags, tag, _reserved, status = struct.unpack_from('<IHHIII', answer)
        assert (size, kind, tag, status) == (len(answer), 3, 7, 6), answer
        assert b'version' in answer[32:]
        assert peer.recv(16) == b'', 'the connection is closed'
        peer.close()


if __name__ == '__main__':
    wanted = sys.argv[1:]
    found = [f for n, f in sorted(globals().items())
             if n.startswith('test_') and (not wanted or n in wanted)]
    sys.exit(run(found))
