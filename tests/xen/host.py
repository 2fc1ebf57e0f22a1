# SPDX-License-Identifier: Apache-2.0
"""The host's programs in a domain of the test bed: launcher, mediator, vgpu-xenbus, softgpu. The
domain is dom0 (bed.py) or a driver domain (test_xen_driver_domain.py)."""
import json

from dom0 import OWN
from guest import wait_until

HOST = '/run/vgpu'  # the host side's directory
XENBUS_UID = 881000


class Host:
    """What a Guest is besides, whose run() is in that domain."""
    with_xenbus = False

    def start_host(self, vms=(), options='', launcher_options='', environment=''):
        """Launcher, mediator, vgpu-xenbus and softgpu; vms: (number, pool, priority[, name]) for the
        store."""
        self.run('mkdir -p %s/bin && chmod 755 %s && cp /%s/vgpu-* /%s/libsoftgpu* %s/bin/' % (
            HOST, HOST, OWN, OWN, HOST))
        self.start_launcher(launcher_options, environment)
        self.start_mediator(options)
        self.start_xenbus()
        self.admin('scan-gpus')
        for pool in sorted({vm[1] for vm in vms}):
            self.admin('create-pool --pool=%s' % pool)
            self.admin('assign-gpu --gpu-id=0 --pool=%s' % pool)
        for number, pool, priority, *name in vms:
            self.admin('register-vm --vm-id=%d --pool=%s --priority=%s%s' % (
                number, pool, priority, ' --name=' + name[0] if name else ''))

    def start_launcher(self, options='', environment=''):
        self.start_daemon('launcher', '%s %s/bin/vgpu-launcher --socket %s/launcher.sock '
                          '--base-uid 880000 --worker %s/bin/vgpu-worker --driver '
                          '%s/bin/libsoftgpu.so --grant-device /dev/xen/gntdev '
                          '--event-device /dev/xen/evtchn %s' % (environment, HOST, HOST, HOST, HOST,
                                                                 options),
                          'launcher.sock')

    def start_mediator(self, options=''):
        self.start_daemon('mediator', '%s/bin/vgpu-mediator --run-dir %s --database %s/vgpu.db '
                          '--create-database --launcher-socket %s/launcher.sock --helper-dir %s/bin '
                          '--nvml %s/bin/libsoftgpu-nvml.so --driver-name softgpu --spares 0 '
                          '--overrun-ms 60000 --xenbus-uid %d %s' % ((HOST,) * 6 + (XENBUS_UID, options)),
                          'admin.sock')

    def start_xenbus(self):
        """It is up when the mediator has it, one more than the log has of those before it."""
        connects = 'grep -c event=xenbus-connect %s/log' % HOST
        before = int(self.run(connects, check=False).text_output())
        self.start_daemon('xenbus', 'vgpu-xenbus --run-dir %s --uid %d --gid 0' % (HOST, XENBUS_UID))
        wait_until(lambda: int(self.run(connects, check=False).text_output()) > before, 60,
                   'the mediator has vgpu-xenbus')
        self.with_xenbus = True

    def start_daemon(self, name, command, waits_for=None):
        """In a session of its own; its pid goes to NAME.pid, and it is up when a socket is there."""
        self.run('{2} setsid {3} </dev/null >>{0}/log 2>&1 & echo $! >{0}/{1}.pid'.format(
            HOST, name, 'rm -f %s/%s;' % (HOST, waits_for) if waits_for else '', command))
        if waits_for:
            self.run('for i in $(seq 300); do [ -S {0}/{1} ] && exit; sleep 0.1; done; '
                     'tail -n 5 {0}/log; exit 1'.format(HOST, waits_for), 60)

    def kill_mediator(self, signal=9):
        self.run('kill -{1} $(cat {0}/mediator.pid); '
                 'while kill -0 $(cat {0}/mediator.pid) 2>/dev/null; do usleep 20000; done'.format(
                     HOST, signal))

    def admin(self, words, check=True):
        return self.run('vgpu-admin --socket %s/admin.sock --database %s/vgpu.db %s' % (
            HOST, HOST, words), 60, check).text_output()

    def status(self):
        return json.loads(self.admin('status --json'))

    def vm_status(self, number):
        return next(row for row in self.status()['vms'] if row['vm_id'] == number)

    def workers(self):
        """Their pids."""
        return [int(pid) for pid in self.run('pidof vgpu-worker', check=False).text_output().split()]
