#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a text file as a C array with a NUL behind: embed.py INPUT OUTPUT NAME."""
import sys


def main():
    source, target, name = sys.argv[1:]
    with open(source, 'rb') as text:
        data = text.read() + b'\0'
    rows = [', '.join('%d' % byte for byte in data[i:i + 16]) for i in range(0, len(data), 16)]
    with open(target, 'w', encoding='ascii') as output:
        output.write('/* SPDX-License-Identifier: Apache-2.0 */\n'
                     '/* Made by worker/embed.py from %s. */\n' % source.rsplit('/', 1)[-1])
        output.write('static const unsigned char %s[] = {\n    %s,\n};\n'
                     % (name, ',\n    '.join(rows)))


if __name__ == '__main__':
    main()
