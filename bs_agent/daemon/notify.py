"""The systemd notification protocol (sd_notify(3)), socket activation and watchdog interval, without a library.

Outside systemd each function does nothing.
"""

import os
import socket


def notify(*assignments: str) -> None:
    """Send assignments such as `READY=1` or `STATUS=...` to the service manager; never blocks and never fails."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    message = "\n".join(assignment.replace("\n", " ") for assignment in assignments).encode()
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


def inherited_socket() -> socket.socket | None:
    """Return the listening socket that systemd passed (sd_listen_fds(3)), or None; children will not see it."""
    process, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "0")
    if process != str(os.getpid()) or count == "0":
        return None
    os.set_inheritable(3, False)
    return socket.socket(fileno=3)
