#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Native against mediated in one run: bench/compare.py [--rounds N] [--max-size SIZE] [--plot FILE].

Runs cuda_bench on the driver itself and on the guest's libcuda.so.1 (local carrier, mediator, worker),
in turn, and prints a table: medians over the rounds, their ratio, and the lowest and highest ratio of
a round. The driver is softgpu, or the one that VGPU_DRIVER names (libcuda.so.1 where there is a GPU).
Under it, where the time of a record goes by stage, for each group that misses a target, or for all
with --stages (man/libvgpu.7). --json FILE keeps all figures, --plot FILE draws the ratios (needs python3-matplotlib), and
--from FILE prints and draws what an earlier run kept. Exits 1 if a
figure is missing on one side.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../tests/e2e'))

from stack import Stack  # noqa: E402

# What the project promises on an H200 (mediated / native, medians unless p99 is said).
TARGETS = {
    ('launch and synchronise', 0, 'p50'): 1.25,
    ('launch and synchronise', 0, 'p99'): 1.5,
    ('issue of a launch, bursts of 64', 0, 'p50'): 0.2,
    ('launch, 200,000 back to back', 0, 'p50'): 1.05,
    ('graph of 100 nodes, replay and synchronise', 0, 'p50'): 1.15,
    ('upload, page-locked', 1 << 30, 'p50'): 1.03,
    ('download, page-locked', 1 << 30, 'p50'): 1.03,
    ('upload, pageable', 1 << 30, 'p50'): 0.8,
    ('download, pageable', 1 << 30, 'p50'): 0.9,
    ('upload, pageable', 4, 'p50'): 1.3,
    ('download, pageable', 4, 'p50'): 1.3,
    ('idle synchronise', 0, 'p50'): 2.0,
    ('event record and query', 0, 'p50'): 1.0,
    ('program: chain of matrix products', 0, 'p50'): 1.02,
    ('program: stencil', 0, 'p50'): 1.02,
    ('program: decode, many small kernels', 0, 'p50'): 1.02,
}


def parse_size(text):
    match = re.fullmatch(r'(\d+)([KMG]?)', text)
    if not match:
        raise argparse.ArgumentTypeError('not a size: %s' % text)
    return int(match[1]) << {'': 0, 'K': 10, 'M': 20, 'G': 30}[match[2]]


def size_text(count):
    for unit, step in (('GiB', 1 << 30), ('MiB', 1 << 20), ('KiB', 1 << 10)):
        if count >= step and count % step == 0:
            return '%d %s' % (count // step, unit)
    return '%d B' % count if count else ''


# The groups of cuda_bench whose figures have a target, by how their names begin.
GROUPS = [('latency', ('launch and synchronise', 'issue of', 'idle', 'event record')),
          ('floods', ('launch in a flood', 'launch, 200,000')), ('graph', ('graph',)),
          ('copies', ('upload', 'download')), ('products', ('program: chain',)),
          ('stencil', ('program: stencil',)), ('decode', ('program: decode',))]
STAGES = ['encode', 'room', 'ring', 'take', 'check', 'issue', 'driver', 'mark', 'complete', 'poll',
          'sleep']


def measure(command, env=None):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=600, check=True,
                          env={**os.environ, **(env or {})})
    return {(row['name'], row['bytes']): row for row in json.loads(done.stdout)['results']}


def stages(command, env):
    """What a record of the command took by stage: a run apart, so that groups do not mix."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, 'stages')
        measure(command, {**env, 'VGPU_STATS': path})
        with open(path, encoding='utf-8') as lines:
            return json.loads(lines.readlines()[-1])


def missed_groups(rows, options):
    missed = [row[0] for row in rows if row[8] is not None and row[5] > row[8]]
    return [group for group, names in GROUPS if options.only in (None, group) and (
        options.stages or any(name.startswith(names) for name in missed))]


def print_stages(table):
    print('\nns a record, by stage\n\n| group | records | %s |' % ' | '.join(STAGES))
    print('| --- | --- |%s' % (' --- |' * len(STAGES)))
    for group, line in table.items():
        print('| %s | %d | %s |' % (group, line['records'],
                                    ' | '.join('%.0f' % line[stage] for stage in STAGES)))


def gather(options):
    """Driver, two lists of rounds (native and mediated), their rows, and stages by group."""
    native, mediated = [], []
    with Stack(vms=[(1, 'A', 'medium')]) as stack:
        soft = 'softgpu' in os.path.basename(stack.driver)
        command = [os.path.join(stack.build, 'bench/cuda_bench'), '--samples', str(options.samples),
                   '--max-size', str(options.max_size), *(['--quick'] if soft else []),
                   *(['--only', options.only] if options.only else [])]
        library = os.path.join(stack.build, 'guest/libvgpu', options.library)
        env = {'VGPU_SOCKET': stack.vm_socket(1), 'VGPU_DATA_BYTES': str(options.data_size)}
        for _ in range(options.rounds):
            native.append(measure([*command, stack.driver]))
            mediated.append(measure([*command, library], env))
        if any(set(one) != set(native[0]) for one in native + mediated):
            sys.exit('a figure is missing on one side')
        rows = compare(native, mediated, {} if soft else TARGETS)
        by_group = {group: stages([*command, '--only', group, library], env)
                    for group in missed_groups(rows, options)}
        return os.path.basename(stack.driver), native, mediated, rows, by_group


def earlier(path):
    """The same of an earlier run, which --json kept."""
    with open(path, encoding='utf-8') as kept:
        kept = json.load(kept)
    native, mediated = ([{(row['name'], row['bytes']): row for row in one} for one in kept[way]]
                        for way in ('native', 'mediated'))
    rows = compare(native, mediated, {} if 'softgpu' in kept['driver'] else TARGETS)
    return kept['driver'], native, mediated, rows, kept['stages']


def compare(native, mediated, targets):
    """Rows (name, bytes, quantile, native us, mediated us, ratio, lowest, highest, target)."""
    rows = []
    for name, count in native[0]:
        for quantile in ('p50', 'p99'):
            target = targets.get((name, count, quantile))
            if quantile == 'p99' and (name, count, quantile) not in TARGETS:
                continue
            base = [one[name, count][quantile + '_us'] for one in native]
            ours = [one[name, count][quantile + '_us'] for one in mediated]
            ratios = [b / a for a, b in zip(base, ours)]
            rows.append((name, count, quantile, statistics.median(base), statistics.median(ours),
                         statistics.median(ours) / statistics.median(base), min(ratios),
                         max(ratios), target))
    return rows


def print_table(rows):
    print('| what | bytes | | native µs | mediated µs | ratio | of the rounds | target | '
          'mediated GB/s |')
    print('| --- | --- | --- | --- | --- | --- | --- | --- | --- |')
    for name, count, quantile, base, ours, ratio, low, high, target in rows:
        text = '' if target is None else ('%g' if ratio <= target else '**%g missed**') % target
        print('| %s | %s | %s | %.2f | %.2f | %.2f | %.2f–%.2f | %s | %s |' % (
            name, size_text(count), quantile, base, ours, ratio, low, high, text,
            '%.2f' % (count / ours / 1e3) if count > 4096 else ''))


def plot(rows, path, title):
    import matplotlib  # pylint: disable=import-outside-toplevel
    matplotlib.use('Agg')
    matplotlib.rcParams.update({'svg.fonttype': 'none', 'svg.hashsalt': 'compare'})
    from matplotlib import pyplot  # pylint: disable=import-outside-toplevel
    rows = [row for row in reversed(rows) if row[2] == 'p50']
    figure, axes = pyplot.subplots(figsize=(9, 0.24 * len(rows) + 1.5))
    at = range(len(rows))
    ratios = [row[5] for row in rows]
    spread = [[max(0, row[5] - row[6]) for row in rows], [max(0, row[7] - row[5]) for row in rows]]
    axes.barh(at, ratios, xerr=spread, color='#4878a8', ecolor='#333333', capsize=2)
    for y, row in zip(at, rows):
        if row[8] is not None:
            axes.plot([row[8]] * 2, [y - 0.4, y + 0.4], color='#c03030')
    axes.axvline(1, color='black', linewidth=0.8)
    axes.set_yticks(list(at), ['%s %s' % (row[0], size_text(row[1])) for row in rows], fontsize=7)
    axes.set_xscale('log')
    axes.set_xlabel('time mediated / native (median; lowest and highest round; red: target)')
    axes.set_title(title)
    figure.tight_layout()
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--samples', type=int, default=200)
    parser.add_argument('--max-size', type=parse_size, default='64M')
    parser.add_argument('--data-size', type=parse_size, default='4G',
                        help='data area of the mediated channel')
    parser.add_argument('--only', help='one group: latency, floods, graph, copies, objects, products, '
                        'stencil, decode')
    parser.add_argument('--stages', action='store_true',
                        help='show where time goes for every group')
    parser.add_argument('--library', default='libcuda.so.1', help=argparse.SUPPRESS)
    parser.add_argument('--json', metavar='FILE')
    parser.add_argument('--plot', metavar='FILE')
    parser.add_argument('--from', dest='kept', metavar='FILE',
                        help='runs nothing: prints and draws what --json kept')
    options = parser.parse_args()
    driver, native, mediated, rows, by_group = (earlier(options.kept) if options.kept
                                                else gather(options))
    print('driver %s, %d rounds, native and mediated in turn\n' % (driver, len(native)))
    print_table(rows)
    if by_group:
        print_stages(by_group)
    if options.json:
        with open(options.json, 'w', encoding='utf-8') as out:
            json.dump({'driver': driver, 'native': [list(one.values()) for one in native],
                       'mediated': [list(one.values()) for one in mediated],
                       'stages': by_group}, out, indent=1)
    if options.plot:
        plot(rows, options.plot, 'driver %s, %d rounds' % (driver, len(native)))


if __name__ == '__main__':
    main()
