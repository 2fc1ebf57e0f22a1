#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Identity, reset values, access rules: every register and every offset of every BAR."""
import random

import mediator
from device import (
    BAR0, BAR1, BAR2, COMMANDS_HIGH, COMMANDS_LOW, CONTROL, COMMAND, COUNTERS, CHANNELS_HIGH,
    CHANNELS_LOW, ERROR, ERROR_TEXT, FEATURES, IRQ_ENABLE, IRQ_STATUS, JOB_A, JOB_B,
    JOB_COUNT, JOB_GO, JOB_OP, JOB_SUM, MAGIC, MAX_CHANNELS, MAX_DATA, NAME, POOL, PRIORITY,
    READ_ONLY, READY, DISCONNECTED, STATUS, VERSION, VM_ID, WEIGHT, VECTORS, DeviceCase, main)



class Registers(DeviceCase):
    def alone(self, properties=''):
        """A device whose mediator never comes."""
        return self.start('server=on,wait=off,path=' + self.path('vm'), properties).boot()

    def bar_bytes(self, machine, bar):
        before = machine.config(0x10 + 4 * bar)
        machine.set_config(0x10 + 4 * bar, 0xffffffff)
        mask = machine.config(0x10 + 4 * bar)
        machine.set_config(0x10 + 4 * bar, before)
        return mask & 0xf, (~(mask & ~0xf) + 1) & 0xffffffff

    def test_registers_pci_identity(self):
        machine = self.alone()
        self.assertEqual(machine.config(0x00), 0x10f01af4)
        self.assertEqual(machine.config(0x08) >> 16, 0x1200, 'processing accelerator')
        self.assertEqual(machine.config(0x3d, 1), 1, 'pin A')

    def test_registers_bars(self):
        machine = self.alone()
        self.assertEqual(self.bar_bytes(machine, 0), (0, 4096))
        self.assertEqual(self.bar_bytes(machine, 1)[0], 0)
        self.assertEqual(self.bar_bytes(machine, 2), (0, 64 * 4096))

    def test_registers_msix_capability(self):
        machine = self.alone()
        at = machine.capability(0x11)
        self.assertEqual((machine.config(at + 2, 2) & 0x7ff) + 1, VECTORS)
        self.assertEqual(machine.config(at + 4) & 7, 1, 'the table lies in BAR1')
        self.assertEqual(machine.config(at + 8) & 7, 1, 'and the pending bits')

    def test_registers_reset_values(self):
        machine = self.alone()
        machine.reset()
        zero = [CONTROL, COMMAND, COMMANDS_LOW, COMMANDS_HIGH, IRQ_ENABLE, CHANNELS_LOW,
                CHANNELS_HIGH, JOB_OP, JOB_COUNT, JOB_GO] + list(range(0x30c, 0x324, 4)) + \
            list(range(COUNTERS, COUNTERS + 64, 4)) + list(range(0x400, 0x1000, 4))
        for register in zero:
            self.assertEqual(machine.load(register), 0, hex(register))
        self.assertEqual(machine.load(MAGIC), 0x55504756)
        self.assertEqual(machine.load(VERSION), 0x00010000)
        self.assertEqual(machine.load(FEATURES), 0xf)
        self.assertEqual(machine.load(STATUS), DISCONNECTED)

    def test_registers_effective_values(self):
        machine, _ = self.pair(vm_id=7, priority=2, weight=2500, max_channels=16, max_data=1 << 28,
                               pool=b'A-pool', name=b'VM-007')
        want = {STATUS: READY, ERROR: 0, VM_ID: 7, PRIORITY: 2, WEIGHT: 2500, MAX_CHANNELS: 16,
                MAX_DATA: 1 << 16}
        self.assertEqual({register: machine.load(register) for register in want}, want)
        self.assertEqual(machine.text(POOL, 72), 'A-pool')
        self.assertEqual(machine.text(NAME, 72), 'VM-007')
        self.assertEqual(machine.text(ERROR_TEXT, 192), '')

    def test_registers_texts_of_full_length(self):
        machine, _ = self.pair(pool=b'p' * 64, name=b'n' * 64)
        self.assertEqual(machine.text(POOL, 72), 'p' * 64)
        self.assertEqual(machine.text(NAME, 72), 'n' * 64)

    def test_registers_claims_go_to_the_mediator(self):
        _, server = self.pair(',vm_id=9,pool_id=Zoo,priority=high')
        body = server.hello.body
        self.assertEqual((body.magic, body.major), (mediator.MAGIC, 1))
        self.assertEqual((body.carrier, body.window_mib), (3, 8192), 'window')
        self.assertEqual((body.claimed_vm_id, body.claimed_priority), (9, 2))
        self.assertEqual(body.claimed_pool.rstrip(b'\0'), b'Zoo')

    def test_registers_no_claims(self):
        _, server = self.pair()
        body = server.hello.body
        self.assertEqual((body.claimed_vm_id, body.claimed_priority), (0, 0))
        self.assertEqual(body.claimed_pool.rstrip(b'\0'), b'')

    def test_registers_claim_of_too_long_a_pool(self):
        listener = self.listen()
        words = self.fails_to_start(self.start('path=' + listener.path, ',pool_id=' + 'x' * 72))
        self.assertIn('pool_id', words)

    def test_registers_claim_of_no_priority(self):
        listener = self.listen()
        words = self.fails_to_start(self.start('path=' + listener.path, ',priority=urgent'))
        self.assertIn('priority', words)

    def test_registers_chardev_required(self):
        machine = self.start('server=on,wait=off,path=' + self.path('vm'),
                             arguments=['-device', 'vgpu-stub,addr=05.0'])
        self.assertIn('chardev', self.fails_to_start(machine))

    def test_registers_read_only(self):
        machine, _ = self.pair()
        for first, end in READ_ONLY:
            for register in range(first, end, 4):
                before = machine.load(register)
                for value in (0xffffffff, ~before, 0):
                    machine.store(register, value)
                self.assertEqual(machine.load(register), before, hex(register))

    def test_registers_hold_what_is_written(self):
        machine = self.alone()
        for register in [IRQ_ENABLE, COMMANDS_LOW, COMMANDS_HIGH]:
            machine.store(register, 0)
            self.assertEqual(machine.load(register), 0)
        machine.store(COMMANDS_LOW, 0x12345000)
        machine.store(COMMANDS_HIGH, 0x00000056)
        self.assertEqual(machine.load(COMMANDS_LOW), 0x12345000)
        self.assertEqual(machine.load(COMMANDS_HIGH), 0x56)
        machine.store(IRQ_ENABLE, 0xffffffff)
        self.assertEqual(machine.load(IRQ_ENABLE), 0xf, 'other bits are not there')

    def test_registers_job_operands_hold(self):
        machine = self.alone()
        for start in (JOB_A, JOB_B):
            for i in range(256):
                machine.store(start + 4 * i, 0x01010101 * (i & 0xff) ^ start)
        for start in (JOB_A, JOB_B):
            for i in range(256):
                self.assertEqual(machine.load(start + 4 * i), 0x01010101 * (i & 0xff) ^ start)
        self.assertEqual(machine.load(JOB_SUM), 0)

    def test_registers_write_only_read_zero(self):
        machine, _ = self.pair()
        for register in (CONTROL, COMMAND, JOB_GO):
            machine.store(register, 0)
            self.assertEqual(machine.load(register), 0)

    def test_registers_unnamed_read_zero(self):
        machine, _ = self.pair()
        gaps = [0x02c] + list(range(0x050, 0x080, 4)) + list(range(0x0c0, 0x100, 4)) + \
            list(range(0x250, 0x300, 4)) + list(range(0x324, 0x400, 4))
        for register in gaps:
            machine.store(register, 0xffffffff)
            self.assertEqual(machine.load(register), 0, hex(register))

    def snapshot(self, machine):
        return [machine.load(register) for register in range(0, 0x1000, 4)]

    def test_registers_narrow_accesses_do_nothing(self):
        machine, _ = self.pair()
        before = self.snapshot(machine)
        for register in range(0, 0x1000, 4):
            for size in (1, 2):
                for offset in range(0, 4, size):
                    ones = (1 << 8 * size) - 1
                    machine.qtest.store(BAR0 + register + offset, ones, size)
                    self.assertEqual(machine.qtest.load(BAR0 + register + offset, size), ones,
                                     (hex(register + offset), size))
        self.assertEqual(self.snapshot(machine), before)

    def test_registers_misaligned_accesses_do_nothing(self):
        machine, _ = self.pair()
        before = self.snapshot(machine)
        for register in range(0, 0xff8, 4):
            for offset in (1, 2, 3):
                machine.qtest.store(BAR0 + register + offset, 0xffffffff)
                self.assertEqual(machine.qtest.load(BAR0 + register + offset), 0xffffffff,
                                 hex(register + offset))
        self.assertEqual(self.snapshot(machine), before)

    def test_registers_wide_accesses_do_nothing(self):
        machine, _ = self.pair()
        before = self.snapshot(machine)
        for register in range(0, 0xffc, 4):
            machine.qtest.store(BAR0 + register, 0x1111111111111111, 8)
            self.assertEqual(machine.qtest.load(BAR0 + register, 8), (1 << 64) - 1, hex(register))
        self.assertEqual(self.snapshot(machine), before)

    def test_registers_data_is_what_a_directory_reaches(self):
        machine, _ = self.pair(',window-size=0', max_data=1 << 36)
        self.assertEqual(machine.load(MAX_DATA), ((512 * 512 << 12) - (16 << 20)) >> 12)

    def test_registers_sweep_bar0(self):
        machine, _ = self.pair()
        generator = random.Random(0)
        offsets = list(range(0x1000))
        generator.shuffle(offsets)
        for offset in offsets:
            size = generator.choice((1, 2, 4, 4, 4, 8))
            if offset + size > 0x1000:
                continue
            machine.qtest.store(BAR0 + offset, generator.getrandbits(8 * size), size)
            machine.qtest.load(BAR0 + offset, size)
        machine.qemu.barrier()
        self.assertEqual(machine.load(MAGIC), 0x55504756)

    def test_registers_sweep_in_any_order(self):
        """Every register with values that mean something, at random, with a table that is RAM."""
        machine, _ = self.pair()
        generator = random.Random(1)
        values = (0, 1, 2, 3, 4, 63, 64, 65, 255, 256, 257, 0x100000, 0x80000000, 0xffffffff)
        registers = [r for r in range(0x30, 0x50, 4)] + [r for r in range(0x300, 0x324, 4)]
        for _ in range(4000):
            machine.store(generator.choice(registers), generator.choice(values))
            if generator.random() < 0.2:
                machine.ram.write(0x100000 + 1024 * generator.randrange(64),
                                  generator.randbytes(128))
        machine.reset()
        machine.qemu.barrier()
        self.assertEqual(machine.load(MAGIC), 0x55504756)

    def test_registers_sweep_doorbells(self):
        machine, _ = self.pair()
        generator = random.Random(2)
        before = self.snapshot(machine)[:0x80 // 4]
        for page in range(64):
            for _ in range(40):
                size = generator.choice((1, 2, 4, 8))
                offset = generator.randrange(4096 - size)
                machine.qtest.store(BAR2 + 4096 * page + offset, generator.getrandbits(8 * size),
                                    size)
                machine.qtest.load(BAR2 + 4096 * page + offset, size)
        machine.qemu.barrier()
        self.assertEqual(self.snapshot(machine)[:0x80 // 4], before)

    def test_registers_doorbell_counts(self):
        machine, _ = self.pair()
        for slot in (0, 1, 63):
            machine.doorbell(slot)
        self.assertEqual(machine.counter(0), 3)
        self.assertEqual(machine.counter(1), 0, 'there is no channel to look at')

    def test_registers_sweep_msix(self):
        machine, _ = self.pair()
        generator = random.Random(3)
        machine.set_config(machine.capability(0x11) + 2, 0x8000, 2)
        for offset in range(0, 4096, 4):
            machine.qtest.store(BAR1 + offset, generator.getrandbits(32))
            machine.qtest.load(BAR1 + offset)
        for slot in range(64):
            machine.store(COMMAND, slot)
        machine.qemu.barrier()
        self.assertEqual(machine.load(MAGIC), 0x55504756)

    def test_registers_no_memory_decoding(self):
        """A device that is switched off, then on: nothing is lost, nothing answers meanwhile."""
        machine, _ = self.pair()
        machine.store(JOB_A, 0x1234)
        machine.set_config(0x04, 0, 2)
        self.assertNotEqual(machine.load(MAGIC), 0x55504756)
        machine.set_config(0x04, 0x0006, 2)
        self.assertEqual(machine.load(JOB_A), 0x1234)

    def test_registers_irq_status_cleared_by_ones(self):
        machine, _ = self.pair()
        machine.command(0, 99)
        self.assertEqual(machine.load(IRQ_STATUS) & 1, 1)
        machine.store(IRQ_STATUS, 0xfffffffe)
        self.assertEqual(machine.load(IRQ_STATUS) & 1, 1)
        machine.store(IRQ_STATUS, 1)
        self.assertEqual(machine.load(IRQ_STATUS) & 1, 0)


class WithoutMediator(DeviceCase):
    def test_registers_identity_without_mediator(self):
        machine = self.start('server=on,wait=off,path=' + self.path('vm')).boot()
        for register in (VM_ID, PRIORITY, WEIGHT, MAX_CHANNELS, MAX_DATA):
            self.assertEqual(machine.load(register), 0, hex(register))
        self.assertEqual(machine.text(POOL, 72), '')

    def test_registers_identity_kept_without_mediator(self):
        """A mediator that goes leaves the values that it said."""
        machine, server = self.waiting_pair()
        values = [machine.load(register) for register in (VM_ID, PRIORITY, WEIGHT)]
        server.close()
        machine.wait_state(DISCONNECTED)
        self.assertEqual([machine.load(register) for register in (VM_ID, PRIORITY, WEIGHT)], values)


if __name__ == '__main__':
    main()
