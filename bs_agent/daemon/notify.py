"""The systemd notification protocol (sd_notify(3)), socket activation and watchdog interval, without a library.

Outside systemd each function does nothing.
"""

import os
import socket

FIRST_PASSED, MOST_PASSED = 3, 64


def notify(*assignments: str) -> None:
    """Send assignments such as `READY=1` or `STATUS=...` to the service manager; never blocks and never fails."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    message = "\n".join(assignment.replace("\n", " ") for assignment in assignments).encode(errors="replace")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as channel:
        try:
            channel.sendto(message, "\0" + path[1:] if path.startswith("@") else path)
        except OSError:
            return  # the manager is gone or busy: the service goes on all the same


def watchdog_interval() -> float | None:
    """Return how often to feed the watchdog, in seconds (a third of its time-out), or None when there is none."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 3e6 if microseconds.isdigit() and int(microseconds) else None


def inherited_sockets() -> list[socket.socket]:
    """Return the listening TCP sockets that systemd passed (sd_listen_fds(3)); children will not see them.

    Others, which nobody could connect to as to a web server, are closed.
    """
    process, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "0")
    if process != str(os.getpid()) or not count.isdecimal():
        return []
    last = FIRST_PASSED + min(int(count), MOST_PASSED)
    passed = [_take(descriptor) for descriptor in range(FIRST_PASSED, last)]
    return [found for found in passed if found is not None]


def _take(descriptor: int) -> socket.socket | None:
    try:
        os.set_inheritable(descriptor, False)
        found = socket.socket(fileno=descriptor)
    except OSError:  # no socket
        return None
    is_tcp = found.family in {socket.AF_INET, socket.AF_INET6} and found.type == socket.SOCK_STREAM
    if is_tcp and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return found
    found.close()
    return None
