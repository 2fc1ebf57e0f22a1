#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a C source with each given PTX file as a NUL-terminated array.

    ptx-embed.py OUTPUT.c NAME.ptx...

defines `const char workload_ptx_NAME[]`, declared in guest/client/workload_ptx.h. Called by meson.
"""
import pathlib
import sys


def array(path):
    # A PTX image carries no length: it ends at its NUL.
    data = path.read_bytes() + b"\0"
    lines = [f"const char workload_ptx_{path.stem}[] = {{"]
    for at in range(0, len(data), 24):
        lines.append("    " + ",".join(str(byte) for byte in data[at : at + 24]) + ",")
    lines.append("};")
    return "\n".join(lines)


def main():
    output, *inputs = map(pathlib.Path, sys.argv[1:])
    text = ["/* SPDX-License-Identifier: Apache-2.0 */", "/* Written by tools/ptx-embed.py. */",
            '#include "guest/client/workload_ptx.h"', ""]
    for path in inputs:
        if any(byte == 0 or byte > 126 for byte in path.read_bytes()):
            sys.exit(f"ptx-embed: {path} is not plain ASCII")
        text.append(array(path))
    output.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
