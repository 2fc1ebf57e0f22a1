#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What dies, in two guests: processes, the guest, workers, the mediator; QEMU stops and goes on.

The other guest, whose device has no window, is at work all the while, and loses nothing.
VGPU_LONG=1, in ./check --full: a thousand processes, 30 s for each pause, five minutes of stress, and
all of it once more with the two guests' devices exchanged.
"""
import os
import random
import signal
import time

from guests import GuestError, VmTest, main, settings, wait_for

LONG = os.environ.get('VGPU_LONG') == '1'
PROCESSES = 1000 if LONG else 40
PAUSE_SECONDS = 30 if LONG else 3
STRESS_SECONDS = 300 if LONG else 20

# Starts processes that work, a few at a time, and kills each at a random moment of its life.
KILL_AT_RANDOM = r'''
one() {
    vgpu-client run --all --no-verify >/dev/null 2>&1 &
    usleep $(( ($(od -An -N2 -tu2 /dev/urandom) * 13) ))
    kill -9 $! 2>/dev/null
    wait $! 2>/dev/null
}
many() { for i in $(seq $1); do one; done; }
for lane in 1 2 3 4; do many %d & done
wait
echo all gone
'''


# The same with programs of several threads and streams, for so many seconds.
STRESS_KILLED = r'''
end=$(( $(date +%%s) + %d ))
one() {
    stress 60 3 2 $1 /dev/vgpu0 >/dev/null 2>&1 &
    usleep $(( ($(od -An -N2 -tu2 /dev/urandom) * 20) ))
    kill -9 $! 2>/dev/null
    wait $! 2>/dev/null
}
many() { n=$1; while [ $(date +%%s) -lt $end ]; do one $n; n=$((n + 10)); echo killed; done; }
for lane in 1 2 3; do many $lane & done
wait
'''


class Faults(VmTest):
    vms = [(1, 'A', 'high'), (2, 'B', 'medium')]
    relayed = (2,)

    def free_kib(self, vm):
        """Of a guest, with what its page cache holds dropped."""
        self.guest(vm).run('sync; echo 3 >/proc/sys/vm/drop_caches')
        text = self.guest(vm).run('cat /proc/meminfo').text_output()
        return int(text.split('MemFree:')[1].split()[0])

    def reboot(self, vm):
        """Boots a guest whose QEMU has ended."""
        self.stack.boot(vm)
        self.assertIn(' verified ', self.client(vm, 'run vector_add').text_output())

    def test_vm_processes_killed_at_random_then_the_guest(self):
        self.client(1, 'run --all')  # what is loaded once is there already
        self.stack.settle()
        free = self.free_kib(1)
        neighbour = self.load(2, PROCESSES // 4)
        done = self.guest(1).run(KILL_AT_RANDOM % (PROCESSES // 4), 3000)
        self.assertIn('all gone', done.text_output())
        self.finished(neighbour, 3000)
        self.stack.settle()
        self.assert_nothing_held(1)
        self.stack.assert_same_resources(self.before)
        lost = free - self.free_kib(1)
        self.assertLess(lost, 4096, 'KiB of the guest that did not come back')
        loads = [self.load(1, 60) for _ in range(3)]
        self.stack.wait_working(1)
        self.guest(1).kill()
        self.stack.settle()
        self.assertTrue(all(not load.over() for load in loads))
        self.reboot(1)

    def assert_nothing_held(self, vm):
        """No file of the driver in that guest is open, thus none of its channels."""
        state = self.guest(vm).run('cat /sys/module/vgpu/refcnt').text_output()
        self.assertEqual(state.strip(), '0')

    def test_vm_stress_with_random_kills(self):
        """Programs with threads and streams; others beside them are killed, and so are workers."""
        self.client(1, 'run --all')
        self.stack.settle()
        free = self.free_kib(1)
        lasting = [self.guest(1).spawn('stress %d 4 3 %d /dev/vgpu0' % (STRESS_SECONDS, seed), 900)
                   for seed in (1001, 1002)]
        neighbour = self.guest(2).spawn('stress %d 2 2 7 /dev/vgpu0' % STRESS_SECONDS, 900)
        wait_for(lambda: len(self.stack.workers()) == 3, 30, 'all three have a worker')
        spared = set(self.stack.workers())
        killed = self.guest(1).spawn(STRESS_KILLED % STRESS_SECONDS, 900)
        workers = 0
        while not killed.over():
            time.sleep(random.uniform(0.2, 1.5))
            victims = sorted(set(self.stack.workers()) - spared)
            if victims:
                workers += self.end(random.choice(victims))
        self.assertEqual(killed.wait(60), 0)
        for program in (*lasting, neighbour):
            self.assertEqual(program.wait(120), 0, program.text_errors())
            self.assertRegex(program.text_output(), r'^[1-9]\d* rounds verified')
        print('%s; %d programs and %d workers killed' % (
            ', '.join(program.text_output().strip() for program in (*lasting, neighbour)),
            killed.text_output().count('killed'), workers))
        self.stack.settle()
        self.assert_nothing_held(1)
        self.assertLess(free - self.free_kib(1), 4096, 'KiB of the guest that did not come back')

    @staticmethod
    def end(pid):
        """Kills a worker; 0 if it had ended by itself."""
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return 0
        return 1

    def test_vm_worker_killed(self):
        neighbour = self.load(2, 6)
        self.stack.wait_working(2)
        others = set(self.stack.workers())
        victim = self.load(1, 60)
        self.stack.wait_working(1)
        os.kill((set(self.stack.workers()) - others).pop(), signal.SIGKILL)
        self.assertEqual(victim.wait(60), 4, victim.text_errors())
        self.assertIn('killed', victim.text_errors())
        self.client(1, 'run vector_add')
        self.finished(neighbour)

    def test_vm_mediator_killed_and_restarted(self):
        loads = [self.load(vm, 8) for vm in (1, 2)]
        self.stack.wait_working(1, 2)
        self.stack.kill_mediator()
        self.stack.start_mediator()
        wait_for(lambda: self.stack.channels() == 2, 20, 'both channels are known again')
        self.stack.wait_working(1, 2)
        for load in loads:
            self.finished(load)
        self.client(1, 'run vector_add')
        self.stack.settle()
        self.before = self.stack.resources()

    def pause(self, stop, go):
        """Guest 1 stands still for a while, in mid-work; 2 goes on, and so does 1 afterwards."""
        loads = [self.load(vm, PAUSE_SECONDS + 4) for vm in (1, 2)]
        self.stack.wait_working(1, 2)
        stop()
        try:
            before = self.stack.jobs_done(2)
            time.sleep(PAUSE_SECONDS)  # the pause itself
            self.assertGreater(self.stack.jobs_done(2), before)
        finally:
            go()
        for load in loads:
            self.finished(load)

    def test_vm_qemu_stopped_by_a_signal(self):
        pid = self.guest(1).pid()
        self.pause(lambda: os.kill(pid, signal.SIGSTOP), lambda: os.kill(pid, signal.SIGCONT))

    def test_vm_guest_paused(self):
        self.pause(lambda: self.guest(1).qmp('stop'), lambda: self.guest(1).qmp('cont'))

    def boot_id(self, vm):
        """Of a guest that may be going down, with its old programs still there, or coming up; or
        None."""
        line = self.guest(vm).line
        command = line.start('cat /proc/sys/kernel/random/boot_id')
        try:
            command.wait(5)
        except GuestError:
            try:
                line.greet_again(30)
            except GuestError:
                pass
            return None
        return command.text_output()

    def starts_anew(self, restart):
        """Guest 1 starts anew in mid-work: its channels end, and it works again afterwards."""
        neighbour = self.load(2, 10)
        loads = [self.load(1, 60) for _ in range(2)]
        self.stack.wait_working(1, 2)
        before = self.boot_id(1)
        restart()
        wait_for(lambda: self.stack.vm_status(1)['channels'] == 0, 30, 'channels of before end')
        wait_for(lambda: self.boot_id(1) not in (before, None), 120, 'the guest is up again')
        self.guest(1).line.greet_again(30)
        self.assertTrue(all(load.failure for load in loads))
        self.client(1, 'run vector_add')
        self.finished(neighbour)

    def test_vm_guest_reset_under_load(self):
        self.starts_anew(lambda: self.guest(1).qmp('system_reset'))

    def test_vm_guest_rebooted_under_load(self):
        self.starts_anew(lambda: self.guest(1).spawn('reboot -f'))

    def test_vm_second_qemu_of_a_vm_is_refused(self):
        """It ends at once and says why; the first one does not notice."""
        load = self.load(1, 4)
        self.stack.wait_working(1)
        first = self.stack.guests[1]
        second = type(first)(self.stack.run_dir, 77)
        device = first.device('A', 'high')
        self.assertEqual(self.refused(second, device), 1)
        self.assertRegex(second.last_words(), 'refuses this VM: another connection of this VM is there')
        self.finished(load)

    def refused(self, guest, device):
        guest.start(settings(), device)
        wait_for(guest.exited, 20, 'QEMU refuses to start')
        status = guest.process.returncode
        words = guest.last_words()
        guest.reap()
        print(words)
        return status

    def test_vm_removed_vm_is_refused(self):
        """A VM that the administrator removes loses its device's link; the guest lives."""
        self.stack.admin('remove-vm', '--vm=2')
        done = self.client(2, 'run vector_add', check=False)
        self.assertNotEqual(done.status, 0)
        self.assertTrue(done.text_errors())
        self.stack.admin('register-vm', '--vm-id=2', '--pool=B', '--priority=medium')
        wait_for(lambda: self.client(2, 'run vector_add', check=False).status == 0, 60,
                 'the guest is served again')


class Quarantine(VmTest):
    def test_vm_quarantined_vm_is_refused_until_cleared(self):
        neighbour = self.load(1, 6)
        self.client(2, 'run vector_add')
        self.stack.admin('quarantine', '--vm=2', '--reason=it mines')
        self.assertEqual(self.stack.vm_status(2)['state'], 'quarantined')
        done = self.client(2, 'run vector_add', check=False)
        self.assertEqual(done.status, 3, done.text_errors())
        self.assertIn('quarantin', done.text_errors())
        self.stack.admin('unquarantine', '--vm=2')
        self.client(2, 'run vector_add')
        self.finished(neighbour)


if LONG:
    class FaultsRelayed(Faults):
        """The same with the window on the other side."""
        relayed = (1,)


if __name__ == '__main__':
    main()
