#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads cuda.spec and writes one generated file: gen.py SPEC KIND OUTPUT.

KIND is a key of KINDS at the end of the file. Called by cuda/meson.build; docs/spec/cuda-spec.md
describes the input.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import gen_api  # noqa: E402
import gen_fault  # noqa: E402
import gen_ops  # noqa: E402
import spec as spec_reader  # noqa: E402

KINDS = {
    'api.h': gen_api.prototypes,
    'driver.h': gen_api.driver_header,
    'driver.c': gen_api.driver_source,
    'exports.c': gen_api.exports_source,
    'ops.h': gen_ops.wire_header,
    'in.h': gen_ops.input_header,
    'check.c': gen_ops.check_source,
    'send.h': gen_ops.send_header,
    'send.c': gen_ops.send_source,
    'fault_api.c': gen_fault.api_source,
    'fault_calls.c': gen_fault.calls_source,
    'calls.md': gen_ops.calls_document,
}


def main():
    if len(sys.argv) != 4 or sys.argv[2] not in KINDS:
        sys.exit('usage: gen.py SPEC {%s} OUTPUT' % '|'.join(KINDS))
    try:
        spec = spec_reader.read(sys.argv[1])
        text = KINDS[sys.argv[2]](spec)
    except spec_reader.SpecError as error:
        sys.exit('gen.py: %s' % error)
    with open(sys.argv[3], 'w', encoding='utf-8') as output:
        output.write(text)


if __name__ == '__main__':
    main()
