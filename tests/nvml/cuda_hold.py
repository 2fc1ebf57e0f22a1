#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A CUDA program of a VM: cuda_hold.py LIBCUDA MIB. Allocates, says what CUDA tells, waits for stdin's end."""
import ctypes
import json
import os
import sys


def main():
    cuda = ctypes.CDLL(sys.argv[1])

    def call(name, *arguments):
        result = getattr(cuda, name)(*arguments)
        assert result == 0, (name, result)

    version, major, minor, context = (ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), ctypes.c_void_p())
    name, bus = ctypes.create_string_buffer(100), ctypes.create_string_buffer(32)
    uuid, total, address = (ctypes.c_ubyte * 16)(), ctypes.c_size_t(), ctypes.c_uint64()
    call('cuInit', 0)
    call('cuDriverGetVersion', ctypes.byref(version))
    call('cuDeviceGetName', name, 100, 0)
    call('cuDeviceGetPCIBusId', bus, 32, 0)
    call('cuDeviceGetUuid_v2', uuid, 0)
    call('cuDeviceTotalMem_v2', ctypes.byref(total), 0)
    call('cuDeviceComputeCapability', ctypes.byref(major), ctypes.byref(minor), 0)
    call('cuDevicePrimaryCtxRetain', ctypes.byref(context), 0)
    call('cuCtxPushCurrent_v2', context)
    call('cuMemAlloc_v2', ctypes.byref(address), ctypes.c_size_t(int(sys.argv[2]) << 20))
    print(json.dumps({
        'pid': os.getpid(), 'version': version.value, 'name': name.value.decode(),
        'bus': bus.value.decode(), 'uuid': bytes(uuid).hex(), 'total': total.value,
        'capability': [major.value, minor.value]}), flush=True)
    sys.stdin.read()


if __name__ == '__main__':
    main()
