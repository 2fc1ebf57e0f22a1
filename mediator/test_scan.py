#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Scans by vgpu-nvml's own protocol: softgpu's NVML, whose devices the test takes away and moves,
and a PCI bus that the test lays out as sysfs has it.

Usage: test_scan.py VGPU_NVML NVML_LIBRARY DRIVER_LIBRARY HAS_PCI
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

HELPER = LIBRARY = DRIVER = None
HAS_PCI = False


class Scan(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix='vgpu-scan-')
        self.bus = os.path.join(self.directory.name, 'bus')
        os.makedirs(os.path.join(self.bus, 'devices'))
        self.helper = None
        self.last_id = 0

    def tearDown(self):
        if self.helper:
            self.helper.stdin.close()
            self.assertEqual(self.helper.wait(10), 0)
            self.helper.stdout.close()
        self.directory.cleanup()

    def environment(self):
        return {**os.environ, 'SOFTGPU_DEVICES': '2', 'SOFTGPU_STATE_DIR': self.directory.name}

    def start(self, nvml=None):
        # pylint: disable=consider-using-with
        self.helper = subprocess.Popen(
            [HELPER, '--nvml', nvml or LIBRARY, '--pci', self.bus], env=self.environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, command):
        self.last_id += 1
        self.helper.stdin.write(json.dumps({'id': self.last_id, 'command': command}) + '\n')
        self.helper.stdin.flush()
        reply = json.loads(self.helper.stdout.readline())
        self.assertEqual(reply['id'], self.last_id)
        return reply

    def scan(self):
        reply = self.ask('scan')
        self.assertTrue(reply['ok'], reply)
        return reply['result']

    def sample(self):
        return self.ask('sample')['result']['gpus']

    def state(self, index, text):
        path = os.path.join(self.directory.name, 'gpu%d.state' % index)
        with open(path + '.new', 'w', encoding='ascii') as file:
            file.write(text)
        os.rename(path + '.new', path)

    def plug(self, address, driver=None, node=-1, device='0x2335', kind='0x030200'):
        place = os.path.join(self.bus, 'devices', address)
        os.mkdir(place)
        for name, text in (('vendor', '0x10de'), ('device', device), ('class', kind),
                           ('numa_node', str(node)), ('irq', '0')):
            with open(os.path.join(place, name), 'w', encoding='ascii') as file:
                file.write(text + '\n')
        if driver:
            os.symlink('../../drivers/' + driver, os.path.join(place, 'driver'))

    def need_pci(self):
        if not HAS_PCI:
            self.skipTest('built without libpci')

    def test_scan_tells_what_nvml_knows(self):
        self.start()
        self.state(1, 'numa_node 1\nmig_mode 1\npersistence_mode 0\n')
        found = self.scan()
        self.assertEqual([gpu['index'] for gpu in found['gpus']], [0, 1])
        self.assertEqual([gpu['mig_mode'] for gpu in found['gpus']], ['disabled', 'enabled'])
        self.assertEqual([gpu['numa_node'] for gpu in found['gpus']], [None, 1])
        self.assertEqual([gpu['persistence'] for gpu in found['gpus']], [True, False])
        self.assertEqual({gpu['source'] for gpu in found['gpus']}, {'nvml'})
        self.assertTrue(found['driver_version'])
        self.assertIsNone(found['nvml_error'])

    def test_scan_finds_what_has_gone_moved_and_come(self):
        self.start()
        uuids = [gpu['uuid'] for gpu in self.scan()['gpus']]
        self.state(0, 'absent 1\n')
        self.assertEqual(len(self.sample()), 2)  # until a scan NVML has what it had
        self.assertEqual([gpu['uuid'] for gpu in self.scan()['gpus']], uuids[1:])
        self.assertEqual([gpu['uuid'] for gpu in self.sample()], uuids[1:])
        self.state(0, 'pci_bus 175\n')
        gpus = self.scan()['gpus']
        self.assertEqual([gpu['uuid'] for gpu in gpus], uuids)
        self.assertEqual(gpus[0]['pci'], '00000000:AF:00.0')

    def test_xids_from_before_a_scan_are_told(self):
        self.start()
        self.scan()
        with open(os.path.join(self.directory.name, 'gpu1.xid'), 'a', encoding='ascii') as file:
            file.write('79\n')
        self.assertEqual([gpu['xids'] for gpu in self.scan()['gpus']], [[], [79]])
        self.assertEqual([gpu['xids'] for gpu in self.scan()['gpus']], [[], []])
        with open(os.path.join(self.directory.name, 'gpu1.xid'), 'a', encoding='ascii') as file:
            file.write('31\n')
        self.assertEqual([gpu['xids'] for gpu in self.sample()], [[], [31]])

    def test_gpu_that_is_lost_is_told_as_who_it_was(self):
        self.start()
        uuids = [gpu['uuid'] for gpu in self.scan()['gpus']]
        self.state(0, 'lost 1\n')
        gpus = self.scan()['gpus']
        self.assertEqual([gpu['uuid'] for gpu in gpus], uuids)
        self.assertEqual([gpu['lost'] for gpu in gpus], [True, False])

    def test_nvml_that_comes_later_is_used(self):
        library = os.path.join(self.directory.name, 'libnvidia-ml.so.1')
        self.start(library)
        self.assertFalse(self.ask('sample')['ok'])
        os.symlink(LIBRARY, library)
        self.assertEqual(len(self.sample()), 2)

    def test_bus_adds_driver_and_node_to_what_nvml_sees(self):
        self.need_pci()
        self.start()
        self.state(1, 'numa_node 7\n')
        self.plug('0000:10:00.0', 'nvidia', 1)
        gpus = self.scan()['gpus']
        self.assertEqual([gpu['driver'] for gpu in gpus], ['nvidia', None])
        self.assertEqual([gpu['numa_node'] for gpu in gpus], [1, 7])

    def test_bus_shows_what_nvml_does_not_see(self):
        self.need_pci()
        self.start()
        self.plug('0000:65:00.0', 'vfio-pci', 1)
        self.plug('0000:65:00.1', 'snd_hda_intel', kind='0x040300')
        self.plug('0000:66:00.0')
        self.assertEqual([gpu['source'] for gpu in self.sample()], ['nvml', 'nvml'])
        gpus = self.scan()['gpus'][2:]
        self.assertEqual([gpu['uuid'] for gpu in gpus],
                         ['PCI-10de:2335-00000000:65:00.0', 'PCI-10de:2335-00000000:66:00.0'])
        self.assertEqual([gpu['driver'] for gpu in gpus], ['vfio-pci', None])
        self.assertEqual([gpu['numa_node'] for gpu in gpus], [1, None])
        self.assertEqual([gpu['index'] for gpu in gpus], [None, None])

    def test_bus_alone_will_do(self):
        self.need_pci()
        self.start('/nonexistent')
        self.plug('0000:65:00.0', 'nouveau')
        found = self.scan()
        self.assertEqual([gpu['driver'] for gpu in found['gpus']], ['nouveau'])
        self.assertIn('cannot load NVML', found['nvml_error'])
        self.assertIsNone(found['driver_version'])

    def test_nvml_alone_will_do(self):
        os.rename(self.bus, self.bus + '.away')
        self.start()
        found = self.scan()
        self.assertEqual(len(found['gpus']), 2)
        self.assertTrue(found['pci_error'])

    def test_without_both_it_is_an_error(self):
        os.rename(self.bus, self.bus + '.away')
        self.start('/nonexistent')
        reply = self.ask('scan')
        self.assertFalse(reply['ok'])
        self.assertIn('cannot load NVML', reply['error']['text'])

    def once(self, *options):
        return subprocess.run([HELPER, '--pci', self.bus, *options], env=self.environment(),
                              capture_output=True, text=True, check=False)

    def test_scan_option_prints_the_same(self):
        done = self.once('--nvml', LIBRARY, '--scan')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.start()
        self.assertEqual(json.loads(done.stdout), self.scan())

    def test_check_driver_tells_version_or_reason(self):
        done = self.once('--check-driver', DRIVER)
        self.assertEqual(json.loads(done.stdout)['cuda_version'], 13000)
        done = self.once('--check-driver', LIBRARY)
        self.assertEqual((done.returncode, done.stdout), (1, ''))
        self.assertIn('no CUDA driver: it lacks cuInit', done.stderr)
        done = self.once('--check-driver', '/nonexistent')
        self.assertEqual(done.returncode, 1)
        self.assertIn('cannot load it', done.stderr)


if __name__ == '__main__':
    HELPER, LIBRARY, DRIVER = (os.path.realpath(path) for path in sys.argv[1:4])
    HAS_PCI = sys.argv[4] == 'true'
    unittest.main(argv=sys.argv[:1])
