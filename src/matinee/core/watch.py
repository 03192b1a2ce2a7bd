"""A watch over work in which one call may be long: what time there is, what is done, and Ctrl-C acting at once.

Python runs no handler of a signal before a call of a numerical library returns, which may be minutes. On the command
line a thread then ends the process, with a true sentence; so nothing may be half-written meanwhile.
"""

from __future__ import annotations

import math
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from matinee.core.errors import Interrupted
from matinee.core.progress import Progress, seconds

SIGNALS = (signal.SIGINT, signal.SIGTERM)
TELL_AFTER = 3.0  # seconds until it is worth saying what takes so long
LEAVE = 1.2  # seconds that a signal leaves the work to stop by itself
_enders: list[Callable[[str], None]] = []  # how the command line ends this process with a sentence; none in a library


class Watch:
    """What work may take, in seconds, and where it says what it does and what it leaves out.

    stopped: what is true once a signal has stopped it, for Interrupted, which is raised then; without it,
    KeyboardInterrupt is. notes: what there was no time for, in sentences for the report.
    """

    def __init__(self, progress: Progress | None = None, time_left: float = math.inf, stopped: str = "") -> None:
        self.progress, self.stopped = progress or Progress(quiet=True), stopped
        self.until = time.perf_counter() + time_left
        self.notes: list[str] = []
        self._doing = [""]

    def left(self) -> float:
        """Seconds that are left; infinite where nobody counts them, below 0 where they are over."""
        return self.until - time.perf_counter()

    def part(self, share: float) -> Watch:
        """A watch for a part of the work, with a share of the time that is left; it tells in the same place."""
        one = Watch(self.progress, share * self.left(), self.stopped)
        one.notes, one._doing = self.notes, self._doing
        return one

    def tell(self, words: str) -> None:
        """Say what is being done now; shown where it takes long."""
        self._doing[0] = words

    def shortened(self, words: str) -> None:
        """Note down what was left out because the time did not suffice."""
        self.notes.append(words)
        self.progress.note(f"note: {words}")

    @contextmanager
    def over(self, doing: str) -> Iterator[None]:
        """While this runs, what takes long is told, and Ctrl-C and SIGTERM act within two seconds.

        doing: what is done, where `tell` says nothing closer. Nothing in here may leave a file half-written.
        """
        self.tell(doing)
        began, ended = time.perf_counter(), threading.Event()
        here, there = socket.socketpair()
        thread = threading.Thread(target=self._stand_by, args=(here, ended, began), daemon=True)
        before = _raise_on_signals(there)
        thread.start()
        try:
            yield
        except KeyboardInterrupt:
            if not self.stopped:
                raise
            raise Interrupted(self.stopped) from None
        finally:
            ended.set()
            _restore(before)
            with there, here:
                there.shutdown(socket.SHUT_RDWR)  # wakes the thread
                thread.join()
            self.progress.clear()

    def _stand_by(self, here: socket.socket, ended: threading.Event, began: float) -> None:
        pause, first = TELL_AFTER, True
        while not ended.is_set():
            heard = here.recv(16) if select.select([here], [], [], pause)[0] else None
            if heard is None:
                spent = time.perf_counter() - began
                self.progress.live(f"{self._doing[0]}, {seconds(spent)}", at_once=first)
                pause, first = 1.0, False
            elif any(number in SIGNALS for number in heard) and not ended.wait(LEAVE) and _enders:
                _enders[-1](self.stopped or "interrupted.")


@contextmanager
def ending(end: Callable[[str], None]) -> Iterator[None]:
    """Within, a process that does not heed a signal is ended by `end`, which is given a sentence."""
    _enders.append(end)
    try:
        yield
    finally:
        _enders.remove(end)


Handlers = tuple[int, dict[int, Any]]


def _raise_on_signals(there: socket.socket) -> Handlers | None:
    """Let signals that Python handles raise KeyboardInterrupt and tell a socket; None outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return None
    there.setblocking(False)
    told = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
    ours = [number for number in SIGNALS if callable(signal.getsignal(number))]
    return told, {number: signal.signal(number, signal.default_int_handler) for number in ours}


def _restore(before: Handlers | None) -> None:
    if before is not None:
        for number, handler in before[1].items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before[0])
