# SPDX-License-Identifier: Apache-2.0
"""What the tests on real Xen have in common: one bed for all tests of a class, and what is to be as
before when one of them has ended."""
import unittest

from bed import Bed, TROUBLE, wait_until

WORK_SECONDS = 400  # for what takes some seconds of an idle machine: all share one emulated processor


class BedTest(unittest.TestCase):
    """prepare() makes what the tests of a class share, in cls.stack, the bed."""

    @classmethod
    def prepare(cls):
        raise NotImplementedError

    @classmethod
    def setUpClass(cls):
        cls.stack = Bed()
        cls.stack.__enter__()
        cls.failed = False
        try:
            cls.prepare()
        except BaseException as error:
            cls.stack.__exit__(type(error), error, None)
            raise

    @classmethod
    def tearDownClass(cls):
        cls.stack.__exit__(AssertionError if cls.failed else None, None, None)


class LeavesNothing(BedTest):
    """With host and guests: each test ends with the guests that it began with, and with no more
    grants, event channels, mappings, workers and GPU memory in use than before, as Xen itself, dom0's
    kernel and the mediator say."""
    VMS = ()    # for start_host()
    KINDS = {}  # of guests, by number

    def setUp(self):
        self.before = self.settled()

    def tearDown(self):
        after = self.settled()
        for what, value in self.before.items():
            self.assertEqual(after[what], value, what)
        self.assertEqual([line for line in self.stack.trouble()
                          if 'CONSOLE OUTPUT IS SYNCHRONOUS' not in line], [])
        for number in self.KINDS:
            words = self.guest(number).run('dmesg').text_output().split('\n')
            self.assertEqual([line for line in words if TROUBLE.search(line)], [])

    def guest(self, number):
        return self.stack.guests[number]

    def settled(self):
        """What is in use once no channel and no worker is left."""
        wait_until(lambda: not self.stack.workers(), 60, 'no workers')
        status = self.stack.status()
        self.assertEqual([row['channels'] for row in status['vms']], [0] * len(self.VMS))
        grants = self.stack.grants()
        return {
            'GPU memory': sum(row['memory_used_bytes'] or 0 for row in status['gpus']),
            'grants by kind': {self.KINDS[number]: len([row for row in grants
                                                        if row['granter'] == guest.domid])
                               for number, guest in self.stack.guests.items()},
            'granters': len({row['granter'] for row in grants}),
            'event channels': len(self.stack.event_channels()),
            # The reason of the last refusal stays there.
            'backends': len([key for key in self.stack.list('/local/domain/0/backend/vgpu')
                             if not key.endswith('/error')]),
            'mappings': len(self.stack.mappings('gntdev')),
        }

    def load(self, number, arguments, seconds=WORK_SECONDS):
        return self.guest(number).spawn(arguments + ' 2>&1', seconds)

    def finished(self, command, seconds=WORK_SECONDS):
        self.assertEqual(command.wait(seconds), 0, command.text_output()[-3000:])
        return command.text_output()

    def wait_working(self, *numbers, more=2):
        """Until each of these has completed some more jobs than now."""
        def done():
            return {row['vm_id']: row['jobs_done'] for row in self.stack.status()['vms']}
        before = done()
        wait_until(lambda: all(done()[n] >= before[n] + more for n in numbers), 120,
                   'VMs %s do jobs' % (numbers,))
