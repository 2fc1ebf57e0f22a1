#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A monitoring program of a VM, on NVIDIA's pynvml: ask.py, a line of answers for each line of stdin.

A line is a list of [function, argument...]; "device" stands for the first device. A call's answer is
what the function returned, or {"error": its NVML number}.
"""
import ctypes
import json
import sys

import pynvml


def plain(value):
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, ctypes.Structure):
        return {field[0]: plain(getattr(value, field[0])) for field in value._fields_}
    if hasattr(value, '__dict__'):
        return {key: plain(part) for key, part in vars(value).items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value if isinstance(value, (int, float, str, type(None))) else str(type(value).__name__)


def main():
    pynvml.nvmlInit()
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    for line in sys.stdin:
        answers = []
        for name, *arguments in json.loads(line):
            arguments = [device if a == 'device' else a for a in arguments]
            try:
                answers.append(plain(getattr(pynvml, name)(*arguments)))
            except pynvml.NVMLError as error:
                answers.append({'error': error.value})
        print(json.dumps(answers), flush=True)
    pynvml.nvmlShutdown()


if __name__ == '__main__':
    main()
