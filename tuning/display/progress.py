"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from tuning.config import MAX_TRIALS
from tuning.display.console import console, duration, print_texts
from tuning.metrics import metric_text
from tuning.text import counted, visible

if TYPE_CHECKING:
    from tuning.search.events import Progressed


@contextlib.contextmanager
def steps(shown: Console = console) -> Iterator[Callable[[str, float], None]]:
    """Yield a function that shows a step's name and the share of the work that is done: as a bar on
    a terminal, and elsewhere as one line for each step.
    """
    if not shown.is_terminal:
        printed: set[str] = set()

        def line(label: str, share: float) -> None:
            if label not in printed:
                printed.add(label)
                print_texts(visible(label), shown=shown)

        yield line
        return
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn()
    # Rows that a command writes to a file or a pipe must not go to the terminal.
    is_shared = sys.stdout.isatty()
    with Progress(*columns, console=shown, transient=True, redirect_stdout=is_shared) as bars:
        task = bars.add_task("", total=1.0)
        yield lambda label, share: bars.update(
            task, description=escape(visible(label)), completed=share
        )


@contextlib.contextmanager
def stderr_console() -> Iterator[Console]:
    """Yield a console on a copy of standard error, for a caller that redirects standard error
    because TensorFlow prints lines there when it is imported.
    """
    with os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace") as stderr:
        yield Console(file=stderr, highlight=False, soft_wrap=True, emoji=False)


def change_line(state: Progressed) -> str:
    total = "" if state.n_trials == MAX_TRIALS else f"/{state.n_trials}"
    left = state.seconds_left
    time_left = "" if left is None else f" (about {duration(left)} left)"
    return f"[{state.summary.n_finished}{total}] {state.event}{time_left}"


def incumbent_step(state: Progressed) -> tuple[str, float]:
    """Return the label of a search's bar, and the share of the search that is done."""
    from tuning.study.trials import value_of

    summary, left = state.summary, state.seconds_left
    n, n_failed = summary.n_finished, summary.counts["fail"]
    is_endless = state.n_trials == MAX_TRIALS  # Only its duration limits the search.
    share = n / state.n_trials
    parts = [counted(n, "trial") if is_endless else f"{n}/{counted(state.n_trials, 'trial')}"]
    # A narrow terminal cuts the end of the label.
    if left is not None:
        parts.append(f"{duration(left)} left")
        if is_endless:
            share = state.elapsed_seconds / max(state.elapsed_seconds + left, 1.0)
    best = "none yet"
    if summary.best is not None:
        value = metric_text(value_of(summary.best))
        best = f"trial {summary.best.number}, {summary.metric} {value}"
    parts.append(f"incumbent: {best}")
    if n_failed:
        parts.append(f"{n_failed} failed")
    return ", ".join(parts), share
