#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the unit tests of the panel's pure modules with node; skipped where there is none."""
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    node = shutil.which('node')
    if not node:
        print('skipped: no node here')
        sys.exit(77)
    sys.exit(subprocess.run([node, '--test', os.path.join(HERE, 'unit')], check=False).returncode)


if __name__ == '__main__':
    main()
