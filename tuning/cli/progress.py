"""How far `make predict FILE=` is: rows and rows a second, on standard error."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

PLAIN_SECONDS = 10


class RowProgress:
    """Rows and rows a second while a file is read: a bar on a terminal, a plain line every ten
    seconds elsewhere.
    """

    def __init__(self, stderr: Console, bars: Progress) -> None:
        self._console, self._bars = stderr, bars
        self._task = bars.add_task("", total=1.0)
        self._share, self._started, self._said = 0.0, time.monotonic(), time.monotonic()

    def read(self, share: float) -> None:
        """So much of the bytes is read."""
        self._share = share

    def show(self, n_rows: int) -> None:
        """So many rows are written."""
        now = time.monotonic()
        line = f"{n_rows:,} rows, {n_rows / max(now - self._started, 0.001):,.0f} a second"
        if self._console.is_terminal:
            self._bars.update(self._task, description=line, completed=self._share)
        elif now - self._said >= PLAIN_SECONDS:
            self._said = now
            self._console.print(f"{line}, {self._share:.0%}")


@contextlib.contextmanager
def row_progress() -> Iterator[RowProgress]:
    """The progress of one file. It has a standard error of its own: TensorFlow's start-up lines are
    sent elsewhere.
    """
    with os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace") as stderr:
        own = Console(file=stderr, highlight=False, soft_wrap=True)
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=own, transient=True, disable=not own.is_terminal) as bars:
            yield RowProgress(own, bars)
