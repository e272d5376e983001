"""Requests to stop: Ctrl-C, SIGTERM, and the SIGHUP of a closed terminal."""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

DOUBLED_S = 0.5
"""Signals so close to each other are one request: shells, notebooks and `make` pass on what the terminal has sent."""

PARENT = "AGENT_LAUNCHED_BY"
"""In the environment: the process id of who started this command, and without whom it is to stop."""

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interruption:
    """Counts requests to stop. It raises nothing inside a signal handler: loops look at it where they can be left.

    The end of the process that PARENT names is one as well, and in a notebook that of its kernel: they send no signal.
    """

    def __init__(self) -> None:
        self.requests = 0
        self._parent = int(os.environ.get(PARENT, "0")) or (os.getppid() if "JPY_PARENT_PID" in os.environ else None)
        self._last_s = -math.inf

    def __call__(self, number: int, _: object) -> None:
        """The signal handler."""
        now = time.monotonic()
        if now - self._last_s > DOUBLED_S:
            self.requests += 1
        self._last_s = now

    def check(self, allowed: int = 0) -> None:
        """Raise KeyboardInterrupt after more requests than `allowed`, or where nobody is left to read the result."""
        if self.requests > allowed or (self._parent is not None and os.getppid() != self._parent):
            raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Requests to stop are counted, inside."""
    interruption = Interruption()
    with handling(interruption):
        yield interruption


@contextmanager
def handling(handler: Callable[[int, object], None]) -> Iterator[None]:
    """This handler for all requests to stop, inside; a signal that is ignored, as under nohup, stays ignored."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    taken = [number for number in SIGNALS if before[number] is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, handler)
    _handled.append(taken)
    try:
        yield
    finally:
        _handled.remove(taken)
        for number in taken:
            signal.signal(number, before[number])


AGAIN_S = 1.0
"""Seconds after which a Ctrl-C that ended nothing interrupts again."""


@contextmanager
def insisting() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt inside this context, and again after AGAIN_S while the context hasn't ended.

    What is raised in a destructor Python ignores, and pyzmq looks for signals in one of its own: a command that reads
    many messages would go on. Does nothing outside of the main thread, and where Ctrl-C is handled otherwise.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "setitimer") or signal.getsignal(signal.SIGINT) != signal.default_int_handler:
        yield
        return

    alarm = signal.getsignal(signal.SIGALRM)

    def interrupt(number: int, _: object) -> None:
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if signal.getsignal(signal.SIGALRM) is interrupt:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, alarm or signal.SIG_DFL)


_handled: list[list[int]] = []
_forking = threading.local()


def _hold_back() -> None:
    """Before a fork: what comes for the child meanwhile must not meet our handlers, nor be lost as Python starts it."""
    if _handled:
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _let_in() -> None:
    mask = _forking.__dict__.pop("mask", None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _let_in_child() -> None:
    """A child that a task forks, such as a worker of a pool, ends as any process does."""
    for number in {number for taken in _handled for number in taken}:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    _let_in()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_back, after_in_parent=_let_in, after_in_child=_let_in_child)
