#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The job window: explicit jobs without any driver in the guest."""
import struct
import threading

import mediator
from device import (
    DISCONNECTED, IRQ_ENABLE, IRQ_JOB, IRQ_STATUS, JOB_A, JOB_B, JOB_COUNT, JOB_GO, JOB_OP,
    JOB_RESULT, JOB_RETRY_US, JOB_RUN_US, JOB_STATE, JOB_STATUS, JOB_SUM, JOB_WAIT_US, READY,
    DeviceCase, main)
from mediator import connect
from qtest import until

IDLE, RUNNING, DONE = range(3)
VECTOR_ADD = 0x0110
RECORD = struct.Struct('<IHHQIIQ')


def parse_job(granules):
    """The operands of a job's record, checked against ring.md and calls.md."""
    size, op, flags, seq, thread, _, reserved = RECORD.unpack_from(granules)
    if op == 0:
        return parse_job(granules[size:])
    assert op == VECTOR_ADD and flags == 3 and reserved == 0 and thread >= 1, (op, flags, thread)
    assert len(granules) == (size + 63) // 64 * 64 and size % 8 == 0, (size, len(granules))
    count = struct.unpack_from('<I', granules, 32)[0]
    operands = []
    for at in (40, 56):
        offset, length, place = struct.unpack_from('<QII', granules, at)
        assert place == 0 and length == 4 * count and offset % 8 == 0, (offset, length, place)
        assert offset + length <= size
        operands.append(struct.unpack_from('<%dI' % count, granules, offset))
    return seq, operands


class JobCase(DeviceCase):
    def put(self, machine, a, b, count=None):
        machine.store(JOB_OP, 1)
        machine.store(JOB_COUNT, len(a) if count is None else count)
        for i, (first, second) in enumerate(zip(a, b)):
            machine.store(JOB_A + 4 * i, first)
            machine.store(JOB_B + 4 * i, second)

    def go(self, machine):
        machine.store(JOB_GO, 1)

    def wait(self, machine):
        until(lambda: machine.load(JOB_STATE) == DONE, 'the job')
        return machine.load(JOB_STATUS)

    def record(self, server):
        """The record of a job in a channel of the device's own."""
        found = []

        def look():
            for number in list(server.open_numbers):
                granules = server.channels[number].take()
                if granules:
                    found.append((server.channels[number], granules))
            return found

        until(look, 'its record')
        return found[0]

    def answer(self, host, granules):
        seq, (a, b) = parse_job(granules)
        total = [(x + y) & 0xffffffff for x, y in zip(a, b)]
        payload = struct.pack('<QII', 56, 4 * len(total), 0) + struct.pack('<%dI' % len(total),
                                                                           *total)
        host.put(struct.pack('<IHHQiIQQ', (40 + len(payload) + 7) // 8 * 8, 1, 0, seq, 0, 0,
                             5000000, 7000000) + payload.ljust((len(payload) + 7) // 8 * 8, b'\0'))
        host.publish()

    def sums(self, machine, count):
        return [machine.load(JOB_SUM + 4 * i) for i in range(count)]


class Job(JobCase):
    def test_job_adds(self):
        machine, server = self.pair()
        a = [i * 7 for i in range(256)]
        b = [0xffffffff - i for i in range(256)]
        self.put(machine, a, b)
        self.assertEqual(machine.load(JOB_STATE), IDLE)
        self.go(machine)
        self.assertEqual(machine.load(JOB_STATE), RUNNING)
        host, granules = self.record(server)
        self.assertGreater(host.kicked(), 0)
        self.answer(host, granules)
        self.assertEqual(self.wait(machine), 0)
        self.assertEqual(self.sums(machine, 256), [(x + y) & 0xffffffff for x, y in zip(a, b)])
        self.assertEqual(machine.load(JOB_RESULT), 0)
        self.assertEqual((machine.load(JOB_WAIT_US), machine.load(JOB_RUN_US)), (5000, 7000))
        self.assertEqual(machine.load(IRQ_STATUS) & IRQ_JOB, IRQ_JOB)

    def test_job_without_bus_master(self):
        """The window needs no DMA."""
        machine, server = self.pair()
        machine.set_config(0x04, 0x0002, 2)
        self.put(machine, [1], [2])
        self.go(machine)
        self.answer(*self.record(server))
        self.assertEqual(self.wait(machine), 0)
        self.assertEqual(self.sums(machine, 1), [3])

    def test_job_interrupts(self):
        machine, server = self.pair()
        machine.enable_msix()
        machine.store(IRQ_ENABLE, IRQ_JOB)
        self.put(machine, [1], [2])
        self.go(machine)
        self.answer(*self.record(server))
        machine.wait_message(0)

    def test_job_one_after_the_other(self):
        machine, server = self.pair()
        for number in range(50):
            self.put(machine, [number] * 3, [number] * 3)
            self.go(machine)
            self.answer(*self.record(server))
            self.assertEqual(self.wait(machine), 0)
            self.assertEqual(self.sums(machine, 3), [2 * number] * 3)
        self.assertEqual(server.count(mediator.OPEN), 1, 'one channel serves them')

    def test_job_counts_out_of_range(self):
        machine, server = self.pair()
        for count in (0, 257, 1024, 0x80000000, 0xffffffff):
            with self.subTest(count=count):
                self.put(machine, [1], [1], count)
                self.go(machine)
                self.assertEqual(self.wait(machine), mediator.LIMIT)
        self.assertEqual(server.count(mediator.OPEN), 0)

    def test_job_operation_unknown(self):
        machine, server = self.pair()
        for op in (0, 2, 0x0110, 0xffffffff):
            self.put(machine, [1], [1])
            machine.store(JOB_OP, op)
            self.go(machine)
            self.assertEqual(self.wait(machine), mediator.BAD_MESSAGE)
        self.assertEqual(server.count(mediator.OPEN), 0)

    def test_job_go_of_other_values(self):
        machine, _ = self.pair()
        self.put(machine, [1], [1])
        for value in (0, 2, 0xfffffffe):
            machine.store(JOB_GO, value)
            self.assertEqual(machine.load(JOB_STATE), IDLE)

    def test_job_go_while_running(self):
        machine, server = self.pair()
        self.put(machine, [1, 2], [3, 4])
        self.go(machine)
        host, granules = self.record(server)
        for _ in range(100):
            self.go(machine)
        self.put(machine, [9, 9], [9, 9], 1)
        machine.qemu.barrier()
        self.assertEqual(host.take(), b'', 'one at a time')
        self.answer(host, granules)
        self.assertEqual(self.wait(machine), 0)
        self.assertEqual(self.sums(machine, 2), [4, 6], 'operands of when it began')

    def test_job_statuses_of_the_worker(self):
        machine, server = self.pair()
        for status in range(1, 18):
            with self.subTest(status=status):
                self.put(machine, [1], [1])
                self.go(machine)
                host, granules = self.record(server)
                seq, _ = parse_job(granules)
                host.put(struct.pack('<IHHQiIQQ', 40, 1, status, seq, -status, 0, 3000000, 0))
                host.publish()
                self.assertEqual(self.wait(machine), status)
                self.assertEqual(machine.load(JOB_RESULT), (-status) & 0xffffffff)
                if status == mediator.BUSY:
                    self.assertEqual(machine.load(JOB_RETRY_US), 3000)

    def test_job_refused_by_the_mediator(self):
        machine, link = self.linked()
        for status, retry in ((mediator.QUARANTINED, 0), (mediator.BUSY, 250000000),
                              (mediator.NO_GPU, 0), (mediator.STARTING, 1000000)):
            with self.subTest(status=status):
                self.put(machine, [1], [1])
                self.go(machine)
                link.refuse(link.expect(mediator.OPEN).tag, status, b'no', retry)
                self.assertEqual(self.wait(machine), status)
                if retry:
                    self.assertEqual(machine.load(JOB_RETRY_US), retry // 1000)

    def test_job_worker_gone(self):
        machine, server = self.pair()
        self.put(machine, [1], [1])
        self.go(machine)
        self.record(server)
        server.link.gone(1, mediator.KILLED, b'killed')
        self.assertEqual(self.wait(machine), mediator.KILLED)
        self.go(machine)
        self.answer(*self.record(server))
        self.assertEqual(self.wait(machine), 0)

    def test_job_without_mediator(self):
        machine = self.start('server=on,wait=off,path=' + self.path('vm')).boot()
        self.put(machine, [1], [1])
        self.go(machine)
        self.assertEqual(self.wait(machine), mediator.STARTING)
        self.serve(connect(self.path('vm')))
        machine.wait_state(READY)

    def test_job_mediator_dies_before_opened(self):
        machine = self.start('server=on,wait=off,path=' + self.path('vm')).boot()
        link = connect(self.path('vm'))
        link.greet()
        machine.wait_state(READY)
        self.put(machine, [1], [1])
        self.go(machine)
        link.expect(mediator.OPEN)
        link.close()
        self.assertEqual(self.wait(machine), mediator.STARTING)

    def test_job_survives_the_mediator(self):
        """The worker lives, and answers."""
        machine, server = self.waiting_pair()
        self.put(machine, [1], [1])
        self.go(machine)
        host, granules = self.record(server)
        server.close(channels=False)
        self.addCleanup(host.close)
        machine.wait_state(DISCONNECTED)
        self.answer(host, granules)
        self.assertEqual(self.wait(machine), 0)
        self.assertEqual(self.sums(machine, 1), [2])

    def test_job_reset_while_opening(self):
        machine, link = self.linked()
        self.put(machine, [1], [1])
        self.go(machine)
        request = link.expect(mediator.OPEN)
        machine.reset()
        self.assertEqual(machine.load(JOB_STATE), IDLE)
        link.opened(request, 1).close()
        self.assertEqual(link.expect(mediator.CLOSE).body.channel, 1)

    def test_job_reset_while_running(self):
        machine, server = self.pair()
        self.put(machine, [1], [1])
        self.go(machine)
        host, granules = self.record(server)
        machine.reset()
        self.assertEqual(machine.load(JOB_STATE), IDLE)
        until(lambda: not server.open_numbers, 'its channel to be closed')
        self.answer(host, granules)
        machine.qemu.barrier()
        self.assertEqual(machine.load(JOB_STATE), IDLE)
        self.assertEqual(machine.load(JOB_SUM), 0)

    def test_job_beside_channels(self):
        """It takes no slot of the guest's."""
        machine, server = self.pair()
        for slot in range(4):
            machine.channel(slot)
        self.put(machine, [5], [6])
        self.go(machine)
        self.answer(*self.record(server))
        self.assertEqual(self.wait(machine), 0)
        self.assertEqual(self.sums(machine, 1), [11])

    def test_job_hostile_answers(self):
        machine, server = self.pair()

        def raw(data, granules=1):
            def action(host, _seq):
                host.map[host.comp_offset:host.comp_offset + len(data)] = data
                host.set_u32(host.COMP_HEAD, granules)
                host.kick()
            return action

        def sized(offset, length, place):
            def action(host, seq):
                host.put(struct.pack('<IHHQiIQQQIII', 64, 1, 0, seq, 0, 0, 0, 0, offset, length,
                                     place, 0)[:60] + b'\0' * 4)
                host.publish()
            return action

        def another(host, seq):
            host.put(struct.pack('<IHHQiIQQ', 40, 1, 0, seq + 1, 0, 0, 0, 0))
            host.publish()

        def short(host, seq):
            host.put(struct.pack('<IHHQiIQQ', 40, 1, 0, seq, 0, 0, 0, 0))
            host.publish()

        for name, action in {
                'head beyond': lambda host, seq: host.set_u32(host.COMP_HEAD, 0x7fffffff) or
                host.kick(), 'no size': raw(b'\0' * 16), 'small': raw(struct.pack('<IH', 8, 1)),
                'huge': raw(struct.pack('<IH', 0xfffffff8, 1)),
                'odd': raw(struct.pack('<IH', 41, 1)),
                'no sum': short, 'sum beyond the end': sized(56, 4096, 0),
                'sum before the head': sized(0, 8, 0), 'sum far away': sized((1 << 64) - 8, 8, 0),
                'sum in the data': sized(0, 8, 1), 'sum too small': sized(56, 4, 0),
                'answer to nobody': another,
                'tail beyond': lambda host, seq: host.set_u32(host.SUB_TAIL, 0x7fffffff) or
                host.kick()}.items():
            with self.subTest(name):
                self.put(machine, [1, 2], [3, 4])
                self.go(machine)
                host, granules = self.record(server)
                seq, _ = parse_job(granules)
                action(host, seq)
                machine.qemu.barrier()
                if machine.load(JOB_STATE) == RUNNING:
                    self.assertIn(name, ('answer to nobody', 'tail beyond'))
                    machine.reset()
                else:
                    self.assertNotEqual(machine.load(JOB_STATUS), 0)
                    machine.reset()
                until(lambda: not server.open_numbers, 'its channel to be closed')

    def test_job_from_many_threads_of_the_guest(self):
        """Writers that know nothing of each other: the window stays one job at a time."""
        machine, server = self.pair()
        stop = threading.Event()

        def work():
            while not stop.is_set():
                for channel in list(server.channels.values()):
                    granules = channel.take()
                    if granules:
                        self.answer(channel, granules)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            for i in range(400):
                machine.store(JOB_OP, 1)
                machine.store(JOB_COUNT, 1 + i % 256)
                self.go(machine)
                if i % 7 == 0:
                    self.go(machine)
                if i % 50 == 0:
                    until(lambda: machine.load(JOB_STATE) == DONE, 'the job')
        finally:
            stop.set()
            worker.join()
        self.assertIn(machine.load(JOB_STATE), (RUNNING, DONE))


if __name__ == '__main__':
    main()
