#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How soon a change of configuration is in force: bench/live.py [--vms N]... prints a table.

Registers N VMs, one of which works (softgpu), and makes each kind of change again and again. Timed is
from the request on the admin socket to its answer, which comes when the change is durable and in
force; and the time of the mediator's own that each change takes, in which nobody else is served.
Exits 1 if half the changes of one kind took longer than --most milliseconds.
"""
import argparse
import json
import os
import socket
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../tests/e2e'))

from stack import Stack, cpu_seconds, wait_for  # noqa: E402

TIMES = 200
# Name, arguments: i is the number of the change, so that each changes something.
CHANGES = [('set-weight', lambda i: {'vm_id': 1, 'weight': 10 + i % 50}),
           ('set-depth', lambda i: {'vm_id': 1, 'depth': 100 + i}),
           ('set-rate', lambda i: {'vm_id': 1, 'rate_per_s': 100000 + i}),
           ('set-slice', lambda i: {'pool': 'A', 'slice_us': 5000 + i})]


class Admin:
    def __init__(self, stack):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(stack.path('admin.sock'))
        self.lines = self.socket.makefile(encoding='utf-8')

    def ask(self, command, arguments):
        """Seconds until the answer, which must be that all is well."""
        started = time.monotonic()
        self.socket.sendall(json.dumps({'id': 1, 'command': command,
                                        'args': arguments}).encode() + b'\n')
        reply = json.loads(self.lines.readline())
        took = time.monotonic() - started
        if not reply['ok']:
            sys.exit('%s: %s' % (command, reply['error']['text']))
        return took


def measure(stack, admin, most_ms):
    late = False
    for command, arguments in CHANGES:
        used = cpu_seconds(stack.mediator.pid)
        took = sorted(1000 * admin.ask(command, arguments(i)) for i in range(TIMES))
        used = (cpu_seconds(stack.mediator.pid) - used) * 1000 / TIMES
        median = statistics.median(took)
        print('%6d  %-10s  %8.2f  %8.2f  %8.2f' %
              (len(stack.admin_json('list-vms')['vms']), command, median, took[TIMES * 99 // 100],
               used))
        late = late or median > most_ms
    return late


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--vms', type=int, action='append')
    parser.add_argument('--most', type=float, default=10, metavar='MS')
    arguments = parser.parse_args()
    late = False
    print('   VMs  change       p50, ms   p99, ms   mediator, ms')
    for n in arguments.vms or [30, 256, 1024]:
        with Stack(vms=[(1, 'A', 'medium')]) as stack:
            admin = Admin(stack)
            for vm in range(2, n + 1):
                admin.ask('register-vm', {'vm_id': vm, 'pool': 'A'})
            client = stack.load_start(1, 'run', '--all', '--seconds', '60')
            wait_for(lambda: stack.admin_json('show-vm', '1')['live']['jobs_done'] > 5, 30, 'load')
            late = measure(stack, admin, arguments.most) or late
            client.kill()
    return 1 if late else 0


if __name__ == '__main__':
    sys.exit(main())
