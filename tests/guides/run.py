#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Follows a guide: runs its blocks marked `run` one after another in one shell, in a directory of
its own, and compares what they print with the blocks that say so.

Usage: run.py [--verbose] GUIDE, with VGPU_BUILD in the environment. The directory goes at the end;
a host that the guide has left running is stopped with tools/local-host.sh.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

import blocks

sys.path.insert(0, os.path.join(blocks.ROOT, 'admin'))

from terminal import Terminals, wait_for  # noqa: E402

BLOCK_SECONDS = 120
TOOLS = ('curl', 'sqlite3', 'tmux')  # what guides use, and not every machine has
PROGRAMS = ('admin', 'agent', 'guest/client', 'launcher', 'mediator', 'store', 'worker')


def environment(build, directory):
    path = [os.path.join(build, folder) for folder in PROGRAMS]
    kept = {key: value for key, value in os.environ.items() if not key.startswith('VGPU_')}
    return {**kept, 'PATH': ':'.join(path + [os.environ['PATH']]), 'LC_ALL': 'C.UTF-8', 'TZ': 'UTC',
            'NO_COLOR': '1', 'VGPU_SRC': blocks.ROOT, 'VGPU_BUILD': build,
            'VGPU_TRY': directory + '/try', 'VGPU_RUN_DIR': directory + '/try'}


def needs(todo, tool):
    if tool == 'tmux':
        return any(mark.startswith('keys=') for block in todo for mark in block.marks)
    return any(re.search(r'\b%s\b' % tool, block.text) for block in todo)


class Shell:
    """One bash that sources the blocks, so that variables and jobs live on between them."""

    def __init__(self, directory, variables):
        self.directory = directory
        self.process = subprocess.Popen(['bash', '--norc', '-u'], cwd=blocks.ROOT, env=variables,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, start_new_session=True)

    def run(self, block):
        """Its output and the exit status of its first command that failed, else 0."""
        script = os.path.join(self.directory, 'block.sh')
        with open(script, 'w', encoding='utf-8') as file:
            file.write(block.text)
        output = os.path.join(self.directory, 'output')
        # Each block in the shell itself; ERR keeps the first failure, as no guide's step may be lost.
        self.process.stdin.write((
            'failed=0; set -E; trap \'code=$?; [ $failed != 0 ] || failed=$code\' ERR; '
            '. %s >%s 2>&1 </dev/null; trap - ERR; echo "ended $failed"\n' % (script, output)).encode())
        self.process.stdin.flush()
        timer = threading.Timer(BLOCK_SECONDS, self.process.kill)
        timer.start()
        line = self.process.stdout.readline().decode()
        timer.cancel()
        with open(output, encoding='utf-8', errors='replace') as file:
            text = file.read()
        if not line.startswith('ended '):
            return text + '\n(the shell ended, or took more than %d s)' % BLOCK_SECONDS, -1
        return text, int(line.split()[1])

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # what a guide has left in the background
        except ProcessLookupError:
            pass


class Screen(Terminals):
    """A block for a terminal: runs there until the screen is as expected, then gets its keys."""

    def __init__(self):
        self.cleanups = []

    def addCleanup(self, function):  # noqa: N802 - what unittest calls it
        self.cleanups.append(function)

    def run(self, directory, block, variables):
        keys = [mark.partition('=')[2] for mark in block.marks if mark.startswith('keys=')][0]
        script = os.path.join(directory, 'screen.sh')
        with open(script, 'w', encoding='utf-8') as file:
            file.write(block.text + 'echo "ended with $?"; exec cat\n')
        self.open_terminals(directory)
        try:
            self.open('bash %s' % script, 120, 40, variables)
            wait_for(lambda: blocks.missing(block.expected.lines, self.screen()) is None,
                     lambda: 'the line\n  %s\non the screen\n%s' % (
                         blocks.missing(block.expected.lines, self.shown), self.shown))
            shown = self.shown
            self.keys(*keys.split(','))
            self.expect('ended with %d' % block.status)
            return shown
        finally:
            for function in self.cleanups:
                function()


def follow(block, shell, directory, variables, verbose):
    """Runs one block; what is wrong, or None."""
    if block.expected is not None and block.expected.language == 'screen':
        try:
            output = Screen().run(directory, block, variables)
        except AssertionError as error:
            return str(error)
        status = block.status
    else:
        output, status = shell.run(block)
    if verbose:
        print('%s$ %s\n%s' % (block.where, block.text.rstrip(), output))
    if status != block.status:
        return 'exit status %d, not %d; it printed\n%s' % (status, block.status, output)
    line = blocks.missing(block.expected.lines, output) if block.expected else None
    return None if line is None else 'the line\n  %s\nis not in\n%s' % (line, output)


def stop(directory):
    """What the guide has left running."""
    kept = directory + '/try'
    if os.path.exists(kept + '/launcher.pid'):
        subprocess.run([blocks.ROOT + '/tools/local-host.sh', 'stop', kept], check=False)


def main():
    verbose = '--verbose' in sys.argv
    guide = [word for word in sys.argv[1:] if not word.startswith('--')][0]
    build = os.path.abspath(os.environ['VGPU_BUILD'])
    todo = [block for block in blocks.read(guide) if block.runs]
    lacking = [name for name in TOOLS if needs(todo, name) and not shutil.which(name)]
    if lacking:
        print('skipped: no ' + ', '.join(lacking))
        return 77
    directory = tempfile.mkdtemp(prefix='vgpu-guide.', dir='/tmp')
    os.chmod(directory, 0o755)
    variables = environment(build, directory)
    shell = Shell(directory, variables)
    try:
        for block in todo:
            wrong = follow(block, shell, directory, variables, verbose)
            if wrong:
                print('%s: %s\nthe block:\n%s' % (block.where, wrong, block.text))
                log = directory + '/try/log'
                if os.path.exists(log):
                    with open(log, encoding='utf-8', errors='replace') as text:
                        print('the end of the log:\n' + text.read()[-3000:])
                return 1
        print('docs/%s.md: %d blocks run as it says' % (guide, len(todo)))
        return 0
    finally:
        shell.end()
        stop(directory)
        shutil.rmtree(directory, ignore_errors=True)


sys.exit(main())
