"""A wake-up: what ends a poll that waits, from any thread."""

import socket


class WakeUp:
    """Any number of calls are one. `receiver` is readable then, until it is drained."""

    def __init__(self) -> None:
        self.receiver, self._sender = socket.socketpair()
        self.receiver.setblocking(False)
        self._sender.setblocking(False)

    def __call__(self) -> None:
        """May be called from any thread, and when it is closed."""
        try:
            self._sender.send(b"!")
        except OSError:
            return  # The buffer is full, so that the poll ends anyway, or it is closed and nobody waits.

    def drain(self) -> None:
        """Be ready for the next."""
        try:
            while self.receiver.recv(4096):
                continue
        except BlockingIOError:
            return

    def close(self) -> None:
        """Wake nobody any longer."""
        self.receiver.close()
        self._sender.close()
