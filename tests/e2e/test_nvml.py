#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""NVML in VMs, end to end: pynvml on our libnvidia-ml.so.1, CUDA programs beside it.

Exits 77 with the reason where pynvml is not installed (tests/nvml/requirements.txt).
"""
import ctypes
import json
import os
import re
import subprocess
import sys

from stack import ROOT, Stack, run, wait_for

PYTHON = os.path.join(ROOT, '.cache/nvml/bin/python')
MIB = 1 << 20
NOT_SUPPORTED = 3
VMS = [(1, 'A', 'medium'), (2, 'A', 'medium')]


class Program:
    """A program of a VM that reads lines and answers lines."""

    def __init__(self, stack, vm, *command):
        environment = dict(os.environ, VGPU_SOCKET=stack.vm_socket(vm), LD_LIBRARY_PATH=os.path.join(
            stack.build, 'guest/libnvml'))
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=environment)
        stack.clients.append(self.process)

    def line(self):
        line = self.process.stdout.readline()
        assert line, 'it ended'
        return json.loads(line)

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(20) == 0
        self.process.stdout.close()


class Monitor(Program):
    def __init__(self, stack, vm):
        super().__init__(stack, vm, PYTHON, os.path.join(ROOT, 'tests/nvml/ask.py'))

    def ask(self, *calls):
        self.process.stdin.write(json.dumps(calls) + '\n')
        self.process.stdin.flush()
        return self.line()

    def use(self):
        memory, utilization, processes = self.ask(
            ['nvmlDeviceGetMemoryInfo', 'device'], ['nvmlDeviceGetUtilizationRates', 'device'],
            ['nvmlDeviceGetComputeRunningProcesses', 'device'])
        return memory, utilization, processes


def hold(stack, vm, mib):
    program = Program(stack, vm, sys.executable, os.path.join(ROOT, 'tests/nvml/cuda_hold.py'),
                      os.path.join(stack.build, 'guest/libvgpu/libcuda.so.1'), str(mib))
    return program, program.line()


def test_nvml_agrees_with_cuda():
    with Stack(vms=VMS) as stack:
        monitor = Monitor(stack, 1)
        count, cuda, driver, nvml, name, uuid, pci, capability, memory = monitor.ask(
            ['nvmlDeviceGetCount'], ['nvmlSystemGetCudaDriverVersion_v2'],
            ['nvmlSystemGetDriverVersion'], ['nvmlSystemGetNVMLVersion'],
            ['nvmlDeviceGetName', 'device'], ['nvmlDeviceGetUUID', 'device'],
            ['nvmlDeviceGetPciInfo', 'device'], ['nvmlDeviceGetCudaComputeCapability', 'device'],
            ['nvmlDeviceGetMemoryInfo', 'device'])
        assert count == 1
        assert stack.workers() == [], 'monitoring needs no worker'
        program, told = hold(stack, 1, 1)
        assert cuda == told['version']
        assert re.fullmatch(r'\d+\.[\d.]+', driver) and nvml == '13.' + driver
        assert name == told['name']
        assert uuid[4:].replace('-', '') == told['uuid']
        assert pci['busId'].lower().endswith(told['bus'].lower())
        assert capability == told['capability']
        assert memory['total'] == told['total']
        by_uuid, by_bus, by_serial = monitor.ask(
            ['nvmlDeviceGetHandleByUUID', uuid], ['nvmlDeviceGetHandleByPciBusId', told['bus']],
            ['nvmlDeviceGetHandleBySerial', '1'])
        assert 'error' not in (by_uuid or {}) and 'error' not in (by_bus or {})
        assert by_serial == {'error': 6}
        program.end()
        monitor.end()


def test_each_vm_sees_its_own_use():
    with Stack(vms=VMS) as stack:
        mine, other = Monitor(stack, 1), Monitor(stack, 2)
        before, quiet = mine.use(), other.use()
        assert before[0]['used'] == 0 and before[2] == []
        program, told = hold(stack, 1, 64)
        wait_for(lambda: mine.use()[0]['used'] >= 64 * MIB, 10, 'the allocation in its own VM')
        memory, _utilization, processes = mine.use()
        assert memory['total'] == before[0]['total']
        assert memory['free'] == memory['total'] - memory['used']
        assert [p['pid'] for p in processes] == [told['pid']]
        assert processes[0]['usedGpuMemory'] == memory['used']
        name, = mine.ask(['nvmlSystemGetProcessName', told['pid']])
        assert 'python' in name
        assert other.use() == quiet
        program.end()
        wait_for(lambda: mine.use()[0]['used'] == 0 and mine.use()[2] == [], 10, 'its end')
        mine.end()
        other.end()


def test_utilisation_is_of_the_vm():
    with Stack(vms=VMS) as stack:
        mine, other = Monitor(stack, 1), Monitor(stack, 2)
        busy = stack.load_start(1, 'run', 'spin', '--seconds', '60', '--no-verify')
        wait_for(lambda: mine.use()[1]['gpu'] > 10, 30, 'utilisation of a VM at work')
        assert mine.use()[1]['gpu'] <= 100
        assert other.use()[1] == {'gpu': 0, 'memory': 0}
        assert other.use()[0]['used'] == 0
        busy.kill()
        mine.end()
        other.end()


def test_what_would_tell_of_others_is_not_supported():
    with Stack(vms=VMS) as stack:
        monitor = Monitor(stack, 1)
        calls = [['nvmlDeviceGetTemperature', 'device', 0], ['nvmlDeviceGetPowerUsage', 'device'],
                 ['nvmlDeviceGetClockInfo', 'device', 0], ['nvmlDeviceGetFanSpeed', 'device'],
                 ['nvmlDeviceGetBAR1MemoryInfo', 'device'],
                 ['nvmlDeviceGetTotalEccErrors', 'device', 0, 0],
                 ['nvmlDeviceGetPcieThroughput', 'device', 0], ['nvmlDeviceGetSerial', 'device'],
                 ['nvmlDeviceGetTotalEnergyConsumption', 'device'],
                 ['nvmlDeviceGetProcessUtilization', 'device', 0],
                 ['nvmlDeviceSetPersistenceMode', 'device', 1], ['nvmlDeviceGetMigMode', 'device']]
        for call, answer in zip(calls, monitor.ask(*calls)):
            assert answer == {'error': NOT_SUPPORTED}, (call, answer)
        monitor.end()


def test_monitoring_goes_on_after_a_restart():
    with Stack(vms=VMS) as stack:
        monitor = Monitor(stack, 1)
        program, told = hold(stack, 1, 8)
        wait_for(lambda: monitor.use()[0]['used'] >= 8 * MIB, 10, 'the allocation')
        stack.kill_mediator()
        stack.start_mediator()
        memory, _utilization, processes = monitor.use()
        assert memory['used'] >= 8 * MIB, memory
        assert [p['pid'] for p in processes] == [told['pid']]
        program.end()
        monitor.end()


def test_no_host_is_no_driver():
    with Stack(vms=VMS) as stack:
        library = ctypes.CDLL(os.path.join(stack.build, 'guest/libnvml/libnvidia-ml.so.1'))
        os.environ['VGPU_SOCKET'] = stack.path('nobody.sock')
        try:
            assert library.nvmlInit_v2() == 9
            assert library.nvmlDeviceGetTemperature() == 1
        finally:
            del os.environ['VGPU_SOCKET']


def test_nvml_shows_the_quota():
    with Stack(vms=VMS) as stack:
        monitor = Monitor(stack, 1)
        device = monitor.use()[0]['total']
        reply = stack.request('set-memory', vm_id=1, memory_bytes=64 * MIB)
        assert reply['ok'], reply
        assert monitor.use()[0]['total'] == 64 * MIB
        program, told = hold(stack, 1, 8)
        assert told['total'] == 64 * MIB, told
        memory = monitor.use()[0]
        assert memory['used'] >= 8 * MIB and memory['free'] == 64 * MIB - memory['used'], memory
        stack.request('set-memory', vm_id=1, memory_bytes=0)
        assert monitor.use()[0]['total'] == device
        program.end()


if __name__ == '__main__':
    if not os.path.exists(PYTHON):
        print('skipped: no pynvml here; install tests/nvml/requirements.txt into .cache/nvml')
        sys.exit(77)
    sys.exit(run([value for name, value in sorted(globals().items()) if name.startswith('test_')]))
