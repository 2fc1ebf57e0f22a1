#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GPUs that come, go and move, through the whole stack on a softgpu with two devices, and on a PCI
bus that is laid out as sysfs has it.
"""
import os
import sqlite3
import sys
import tempfile

from stack import Stack, run, wait_for


class Machine:
    """What the host's NVML and PCI bus are to show."""

    def __init__(self):
        self.directory = tempfile.TemporaryDirectory(prefix='vgpu-e2e-scan-')
        os.chmod(self.directory.name, 0o777)
        os.makedirs(self.path('bus/devices'))

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def environment(self):
        return {'SOFTGPU_STATE_DIR': self.directory.name, 'VGPU_PCI': self.path('bus')}

    def state(self, index, text):
        with open(self.path('new'), 'w', encoding='ascii') as file:
            file.write(text)
        os.rename(self.path('new'), self.path('gpu%d.state' % index))

    def plug(self, address, driver):
        place = self.path('bus/devices/' + address)
        os.mkdir(place)
        for name, text in (('vendor', '0x10de'), ('device', '0x2335'), ('class', '0x030200'),
                           ('numa_node', '1'), ('irq', '0')):
            with open(os.path.join(place, name), 'w', encoding='ascii') as file:
                file.write(text + '\n')
        os.symlink('../../drivers/' + driver, os.path.join(place, 'driver'))

    def stack(self, **arguments):
        return Stack(configure=False, devices=2, environment=self.environment(), **arguments)


def gpus_of(stack):
    return stack.admin_json('list-gpus')['gpus']


def await_gpus(stack, count):
    """The mediator scans by itself when it starts."""
    return wait_for(lambda: len(gpus_of(stack)) == count and gpus_of(stack), 10, 'a first scan')


def works(stack, vm):
    done = stack.client(vm, 'vector-add', '1,2', '10,20')
    assert (done.returncode, done.stdout) == (0, '11,22\n'), (done.stdout, done.stderr)


def configure(stack):
    stack.admin('create-pool', 'A')
    stack.admin('create-pool', 'B')
    stack.admin('assign-gpu', '--gpu-id=0', '--pool=A')
    stack.admin('assign-gpu', '--gpu-id=1', '--pool=A')
    stack.admin('assign-gpu', '--gpu-id=0', '--pool=B')
    stack.admin('register-vm', '--pool=A', '--vm-id=1')
    stack.admin('register-vm', '--pool=B', '--vm-id=2')


def states_in_status(stack):
    return [gpu['state'] for gpu in stack.admin_json('status')['gpus']]


def test_e2e_scan_a_gpu_goes_and_comes_back_elsewhere():
    machine = Machine()
    machine.state(1, 'numa_node 1\nmig_mode 1\n')
    with machine.stack() as stack:
        before = await_gpus(stack, 2)
        assert [gpu['pci'] for gpu in before] == ['00000000:10:00.0', '00000000:11:00.0'], before
        assert [gpu['mig_mode'] for gpu in before] == ['disabled', 'enabled'], before
        assert [gpu['numa_node'] for gpu in before] == [None, 1], before
        configure(stack)
        works(stack, 1)
        works(stack, 2)

        machine.state(0, 'absent 1\n')
        result = stack.admin_json('scan-gpus')
        assert (result['missing'], result['added']) == ([0], []), result
        assert result['affected_pools'] == [{'pool': 'A', 'gpus': 2, 'present': 1},
                                            {'pool': 'B', 'gpus': 1, 'present': 0}], result
        assert [gpu['state'] for gpu in result['gpus']] == ['missing', 'present'], result
        assert result['gpus'][0]['pools'] == ['A', 'B'], 'its pools stay its own'
        assert states_in_status(stack) == ['missing', 'ok']
        shown = stack.admin('list-gpus')
        assert 'pool B has 0 of its 1 GPUs; missing: GPU 0 (last seen ' in shown, shown
        works(stack, 1)
        refused = stack.client(2, 'vector-add', '1,2', '10,20')
        assert refused.returncode != 0, refused.stdout

        machine.state(0, 'pci_bus 175\n')
        result = stack.admin_json('scan-gpus')
        assert (result['returned'], result['moved'], result['added']) == ([0], [0], []), result
        assert result['affected_pools'] == [], result
        assert result['gpus'][0]['pci'] == '00000000:AF:00.0', result
        assert result['gpus'][0]['uuid'] == before[0]['uuid'], result
        works(stack, 2)
        database = sqlite3.connect('file:%s?mode=ro' % stack.path('vgpu.db'), uri=True)
        try:
            who = database.execute("SELECT who FROM audit_log WHERE object = 'gpu' AND object_key = '0'"
                                   " AND command = 'record-gpus' ORDER BY seq").fetchall()
        finally:
            database.close()
        assert who[0] == ('vgpu-mediator',), who
        assert len(who) == 3 and all(row[0].startswith('uid=') for row in who[1:]), who


def test_e2e_scan_is_made_again_at_the_next_start():
    machine = Machine()
    with machine.stack() as stack:
        await_gpus(stack, 2)
        configure(stack)
        stack.kill_mediator()
        machine.state(1, 'absent 1\n')
        stack.start_mediator()
        wait_for(lambda: [g['state'] for g in gpus_of(stack)] == ['present', 'missing'], 10,
                 'the scan of the start')
        works(stack, 1)


def test_e2e_scan_waits_for_a_driver_that_is_loaded_later():
    machine = Machine()
    machine.plug('0000:10:00.0', 'nvidia')
    stack = machine.stack()
    library, stack.nvml = stack.nvml, machine.path('libnvidia-ml.so.1')
    with stack:
        result = stack.admin_json('scan-gpus')
        assert 'cannot load NVML' in result['nvml_error'], result
        assert [gpu['source'] for gpu in result['gpus']] == ['pci'], result
        os.symlink(library, stack.nvml)
        gpus = await_gpus(stack, 3)
        assert [gpu['source'] for gpu in gpus] == ['pci', 'nvml', 'nvml'], gpus
        assert [gpu['state'] for gpu in gpus] == ['missing', 'present', 'present'], gpus


def test_e2e_scan_shows_a_card_that_vfio_has():
    machine = Machine()
    machine.plug('0000:10:00.0', 'nvidia')
    machine.plug('0000:65:00.0', 'vfio-pci')
    with machine.stack() as stack:
        gpus = await_gpus(stack, 3)
        assert [gpu['driver'] for gpu in gpus] == ['nvidia', None, 'vfio-pci'], gpus
        assert [gpu['numa_node'] for gpu in gpus] == [1, None, 1], gpus
        assert gpus[2]['uuid'] == 'PCI-10de:2335-00000000:65:00.0', gpus
        configure(stack)
        refused = stack.admin_run('assign-gpu', '--gpu-id=2', '--pool=A')
        assert refused.returncode == 1 and 'vfio-pci has it' in refused.stderr, refused.stderr
        assert states_in_status(stack) == ['ok', 'ok', 'no-driver']
        works(stack, 1)


if __name__ == '__main__':
    sys.exit(run([f for n, f in list(globals().items()) if n.startswith('test_')]))
