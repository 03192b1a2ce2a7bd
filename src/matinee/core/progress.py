"""Progress: bars and live lines on standard error, in a terminal, in a notebook or in a log file.

Standard output is for answers alone. A bar is redrawn at most ten times a second, whatever the rate of the work.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

REDRAW = 0.1  # seconds between two drawings of a live line
LOG_EVERY = 15.0  # seconds between two lines of a bar where nothing can be redrawn


class Progress:
    """Where a verb says what it is doing. `quiet` says nothing but warnings."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._line = _live_line()
        self._drawn = 0.0
        self._logged = time.perf_counter()

    def note(self, words: str) -> None:
        """A line that stays."""
        if not self.quiet:
            self._say(words)

    def warn(self, words: str) -> None:
        """A line that stays, even where all else is quiet."""
        self._say(f"warning: {words}")

    def _say(self, words: str) -> None:
        self._show("", "")
        with suppress(OSError, ValueError):
            print(words, file=sys.stderr, flush=True)

    def _show(self, words: str, log: str) -> None:
        """Nobody may be there to look any more: no reason to stop the work."""
        with suppress(OSError, ValueError):
            self._line(words, log)

    def due(self) -> bool:
        """Whether the live line is worth drawing again: ask before computing what it shows."""
        now, log = time.perf_counter(), self._line is _in_log
        return not self.quiet and (now - self._logged >= LOG_EVERY if log else now - self._drawn >= REDRAW)

    def live(self, words: str, *, at_once: bool = False) -> None:
        """A line that the next one replaces; in a log file, one every now and then, or this one `at_once`."""
        if self.quiet:
            return
        now = time.perf_counter()
        self._drawn = now
        log = words if at_once or now - self._logged >= LOG_EVERY else ""
        if log:
            self._logged = now
        self._show(words, log)

    def clear(self) -> None:
        """Take the live line away."""
        self._show("", "")

    @contextmanager
    def bar(self, title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
        """A function (done, total) that draws a bar with the rate and the time left."""
        started = time.perf_counter()

        def draw(done: int, total: int) -> None:
            if not self.due():
                return
            spent = time.perf_counter() - started
            rate = done / spent if spent else 0.0
            left = f", {seconds((total - done) / rate)} left" if done and rate else ""
            share = done / total if total else 1.0
            blocks = "█" * int(20 * share) + "░" * (20 - int(20 * share))
            self.live(f"{title} {blocks} {done:,}/{total:,} {unit}, {rate:,.0f}/s{left}")

        yield draw
        self.clear()


def seconds(count: float) -> str:
    """A time in words: 8 s, 3 min 20 s, 2 h 5 min."""
    whole = round(count)
    if whole < 60:
        return f"{whole} s" if count >= 9.5 else f"{count:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _live_line() -> Callable[[str, str], None]:
    """Draws (live words, words for a log): in place where the place can be redrawn."""
    notebook = _notebook_display()
    if notebook is not None:
        return notebook
    if sys.stderr is not None and sys.stderr.isatty():
        return _in_terminal
    return _in_log


def _in_terminal(words: str, log: str) -> None:
    import shutil

    width = shutil.get_terminal_size().columns - 1
    sys.stderr.write("\r\x1b[2K" + words[:width])
    sys.stderr.flush()


def _in_log(words: str, log: str) -> None:
    if log and sys.stderr is not None:
        print(log, file=sys.stderr, flush=True)


def _notebook_display() -> Callable[[str, str], None] | None:
    """In a notebook, one output cell that is updated in place."""
    shell = sys.modules.get("IPython")
    instance: Any = shell.get_ipython() if shell is not None else None
    if instance is None or type(instance).__name__ != "ZMQInteractiveShell":
        return None
    from IPython.display import display

    handle: list[Any] = []

    def draw(words: str, log: str) -> None:
        content = {"text/plain": words}
        if handle:
            handle[0].update(content, raw=True)
        elif words:
            handle.append(display(content, raw=True, display_id=True))

    return draw
