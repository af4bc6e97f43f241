"""Progress of long work: bars and a live table on a terminal, a live table in a notebook, plain
lines elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress_bar import ProgressBar

from tuning.config import MAX_TRIALS
from tuning.display.console import console, duration
from tuning.display.notebook import NotebookLive
from tuning.metrics import metric_text
from tuning.text import visible

if TYPE_CHECKING:
    from tuning.search.events import Progressed

PLAIN_SECONDS = 10  # Time between two plain lines about the rows of a file.
BAR_WIDTH = 60  # Columns of a progress bar beside or below other texts.


@contextlib.contextmanager
def steps() -> Iterator[Callable[[str, float], None]]:
    """Yield a function that shows a step's name and the share of the work that is done: as a bar on
    a terminal and in a notebook, and elsewhere as one line for each step.
    """
    if console.is_jupyter:
        with NotebookLive() as live:
            yield lambda label, share: live.update(
                Group(
                    escape(visible(label)),
                    ProgressBar(total=1.0, completed=share, width=BAR_WIDTH),
                )
            )
        return
    if not console.is_terminal:
        printed: set[str] = set()

        def line(label: str, share: float) -> None:
            if label not in printed:
                printed.add(label)
                console.print(escape(label))

        yield line
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=1.0)
        yield lambda label, share: bars.update(
            task, description=escape(visible(label)), completed=share
        )


def _count(state: Progressed) -> str:
    total = "" if state.n_trials == MAX_TRIALS else f"/{state.n_trials}"
    return f"{state.summary.n_finished}{total}"


def _time_left(state: Progressed) -> str:
    return "" if state.seconds_left is None else f" (about {duration(state.seconds_left)} left)"


def change_line(state: Progressed) -> str:
    return f"[{_count(state)}] {state.event}{_time_left(state)}"


def change_panel(state: Progressed) -> RenderableType:
    from tuning.report.sentences import gain_sentence

    summary = state.summary
    counts = (
        f"{summary.counts['complete']} complete, {summary.counts['pruned']} pruned,"
        f" {summary.counts['fail']} failed"
    )
    counts += f", {state.n_paused} paused" if state.n_paused else ""
    bar = ProgressBar(total=state.n_trials, completed=summary.n_finished, width=BAR_WIDTH)
    # Only its duration limits the search, so the bar shows time.
    if state.n_trials == MAX_TRIALS:
        elapsed, left = state.elapsed_seconds, state.seconds_left or 0.0
        bar = ProgressBar(total=elapsed + left, completed=elapsed, width=BAR_WIDTH)
    head = (
        f"[bold]{escape(summary.study)}[/]  {_count(state)} trials:"
        f" {counts}  {duration(state.elapsed_seconds)}{_time_left(state)}"
    )
    running = "running: " + ", ".join(
        f"trial {number} {state.train.step} {epoch:g}/{state.train.n_steps}"
        for number, epoch in sorted(state.running.items())
    )
    lines = filter(None, [_incumbent(state), gain_sentence(summary), running])
    return Group(head, bar, *map(escape, lines))


def _incumbent(state: Progressed) -> str:
    from tuning.spaces.ranges import value_text
    from tuning.study.trials import value_of

    best = state.summary.best
    if best is None:
        return "incumbent: none yet"
    values = ", ".join(f"{name} {value_text(value)}" for name, value in best.params.items())
    value = f"{state.summary.metric} {metric_text(value_of(best))}"
    return f"incumbent: trial {best.number}, {value}: {values}"


class RowProgress:
    """Rows and rows per second while a file is labeled: a bar on a terminal, a plain line every
    `PLAIN_SECONDS` elsewhere.
    """

    def __init__(self, stderr: Console, bars: Progress) -> None:
        self._console, self._bars = stderr, bars
        self._task = bars.add_task("", total=1.0)
        self._share, self._started, self._printed = 0.0, time.monotonic(), time.monotonic()

    def read(self, share: float) -> None:
        self._share = share

    def show(self, n_rows: int) -> None:
        now = time.monotonic()
        line = f"{n_rows:,} rows, {n_rows / max(now - self._started, 0.001):,.0f} a second"
        if self._console.is_terminal:
            self._bars.update(self._task, description=line, completed=self._share)
        elif now - self._printed >= PLAIN_SECONDS:
            self._printed = now
            self._console.print(f"{line}, {self._share:.0%}")


@contextlib.contextmanager
def row_progress() -> Iterator[RowProgress]:
    # The caller redirects standard error, because TensorFlow prints lines there when it is
    # imported, so the progress needs a copy.
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
