"""Tells the service manager how the process is (sd_notify(3)); without one, tells nobody.

The protocol is one datagram of text: the packages for it on the index saw no release for years.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping


class Notifier:
    """READY, STATUS, WATCHDOG and STOPPING of this process."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Take the variables away, so that no child process speaks for this one."""
        address = environment.pop("NOTIFY_SOCKET", "")
        limit_us = environment.pop("WATCHDOG_USEC", "")
        mine = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        # A leading @ stands for the NUL of Linux's abstract names.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        #: seconds between two signs of life, half of what is allowed; None: nobody waits for any
        self.every_s = int(limit_us) / 2e6 if limit_us.isdigit() and mine and address else None
        self._last = ("", 0.0)

    def ready(self) -> None:
        """The service answers."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The service drains."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; said again only when it changed."""
        if text != self._last[0]:
            self._last = (text, self._last[1])
            self._send(f"STATUS={text}")

    def alive(self) -> None:
        """A sign of life, sent no oftener than it is waited for."""
        now = time.monotonic()
        if self.every_s is not None and now - self._last[1] >= self.every_s:
            self._last = (self._last[0], now)
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            try:
                to.sendto(text.encode(), self._address)
            except OSError:
                return  # the manager restarts and asks nothing of this process meanwhile
