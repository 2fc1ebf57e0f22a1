#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""systemd itself reads each unit of integrations/, with programs that are there in place of ours,
which are not installed. Skipped without systemd-analyze."""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
UNITS = [path for kind in ('service', 'socket', 'timer')
         for path in glob.glob(os.path.join(ROOT, 'integrations/**/*.' + kind), recursive=True)]
# What units for a dom0's systemd 219 must still say.
OLD = 'Standard output type syslog is obsolete'


def complaints(paths):
    with tempfile.TemporaryDirectory(prefix='vgpu-units-') as directory:
        copies = []
        for path in paths:
            with open(path, encoding='utf-8') as file:
                text = re.sub(r'^(Exec\w+=[-+!:@]*)/\S+', r'\1/bin/true', file.read(), flags=re.M)
            copies.append(os.path.join(directory, os.path.basename(path)))
            with open(copies[-1], 'w', encoding='utf-8') as file:
                file.write(text)
        done = subprocess.run(['systemd-analyze', 'verify', '--man=no', *copies],
                              capture_output=True, text=True, timeout=60, check=False)
        names = [os.path.basename(path) for path in paths]
        return [line for line in (done.stdout + done.stderr).splitlines()
                if any(name in line for name in names)]


def main():
    if not shutil.which('systemd-analyze'):
        print('skipped: no systemd-analyze')
        return 77
    assert UNITS, 'there are no units'
    found = []
    for directory in sorted({os.path.dirname(path) for path in UNITS}):
        of_dom0 = '/xcp-ng/' in directory
        found += [line for line in
                  complaints([path for path in UNITS if os.path.dirname(path) == directory])
                  if not (of_dom0 and OLD in line)]
    with tempfile.NamedTemporaryFile('w', prefix='vgpu-wrong-', suffix='.service') as wrong:
        wrong.write('[Service]\nExecStart=/bin/true\nNoSuchSetting=yes\n')
        wrong.flush()
        if not complaints([wrong.name]):
            found.append('a unit that is wrong passes')
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
