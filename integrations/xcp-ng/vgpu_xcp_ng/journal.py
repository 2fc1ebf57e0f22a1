# SPDX-License-Identifier: Apache-2.0
"""What these programs say: to syslog (/var/log/messages), and on standard output, which XAPI shows
with the operation that failed."""
import sys
import syslog


def say(program, text, priority=syslog.LOG_NOTICE):
    text = text.replace('\n', ' ')
    data = text.encode('utf-8', 'replace')
    syslog.openlog(program, syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(priority, data if sys.version_info[0] == 2 else data.decode('utf-8'))
    stream = getattr(sys.stdout, 'buffer', sys.stdout)
    stream.write(data + b'\n')
    stream.flush()
