"""What the commands show: progress bars, a live table of a search, tables of trials and of the
data.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tuning.results import StudyDir, visible

if TYPE_CHECKING:
    from tuning.confirmation.rounds import Confirmation
    from tuning.data.corpus import Corpus
    from tuning.data.data_card import DataCard
    from tuning.export.manifest import FullManifest
    from tuning.search.loop import Progressed
    from tuning.search.tune import Outcome
    from tuning.spaces.loading import SearchSpace
    from tuning.study.housekeeping import Removable
    from tuning.study.summary import Summary


class PlainConsole(Console):
    """A console on which text out of data has no effect but to be shown: no escape sequences, and
    no emoji for `:words:`.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, soft_wrap=True, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str("\n".join(map(visible, text.split("\n"))), **options)


console = PlainConsole()


def printable(text: str, width: int) -> str:
    """One line of text without control characters, cut to `width`."""
    line = visible(text[: 4 * width])
    return line if len(line) <= width else f"{line[: width - 1]}…"


@contextlib.contextmanager
def steps() -> Iterator[Callable[[str, float], None]]:
    """A progress bar for a row of steps on a terminal; a plain line a step elsewhere."""
    if not console.is_terminal:
        seen: set[str] = set()

        def line(label: str, share: float) -> None:
            if label not in seen:
                seen.add(label)
                console.print(escape(label))

        yield line
        return
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as bars:
        task = bars.add_task("", total=1.0)
        yield lambda label, share: bars.update(
            task, description=escape(visible(label)), completed=share
        )


class SearchDisplay:
    """Progress of a search: a live table on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._step: Callable[[str, float], None] | None = None
        self._live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def prepare(self, label: str, share: float) -> None:
        """Show a step before the search."""
        if self._step is None:
            self._step = self._stack.enter_context(steps())
        self._step(label, share)

    def start(self, corpus: Corpus, space: SearchSpace) -> None:
        """The steps are over: show the data, then the search."""
        self._stack.close()
        console.print(card_table(corpus.card))
        if console.is_terminal:
            self._live = self._stack.enter_context(
                Live(console=console, refresh_per_second=4, transient=True)
            )

    def change(self, state: Progressed) -> None:
        """Show the search as it stands now."""
        if self._live:
            self._live.update(self._panel(state))
        elif state.event:
            console.print(
                escape(
                    f"[{state.summary.n_finished}/{state.n_trials}]"
                    f" {state.event}{self._left(state)}"
                )
            )

    def _left(self, state: Progressed) -> str:
        return "" if state.seconds_left is None else f" (about {duration(state.seconds_left)} left)"

    def _panel(self, state: Progressed) -> RenderableType:
        from tuning.spaces.hyperparameters import value_text
        from tuning.study.trials import value_of

        summary = state.summary
        counts = (
            f"{summary.counts['complete']} complete, {summary.counts['pruned']} pruned,"
            f" {summary.counts['fail']} failed"
        )
        counts += f", {state.n_paused} paused" if state.n_paused else ""
        times = f"{duration(state.elapsed_seconds)}{self._left(state)}"
        head = (
            f"[bold]{escape(summary.study)}[/]  {summary.n_finished}/{state.n_trials} trials:"
            f" {counts}  {times}"
        )
        best = summary.best
        incumbent = "incumbent: none yet"
        if best:
            params = ", ".join(f"{name} {value_text(value)}" for name, value in best.params.items())
            incumbent = (
                f"incumbent: trial {best.number}, {summary.metric} {value_of(best):.4f}: {params}"
            )
        running = "running: " + ", ".join(
            f"trial {n} epoch {e}/{state.epochs}" for n, e in sorted(state.running.items())
        )
        return Group(
            head,
            ProgressBar(total=state.n_trials, completed=summary.n_finished, width=60),
            escape(incumbent),
            escape(running),
        )


def duration(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def print_outcome(outcome: Outcome, found: Confirmation | None = None) -> None:
    """How a search ended, and its best trials; `found` marks the confirmed best of an
    earlier call.
    """
    from tuning.report.next_ranges import near_bounds
    from tuning.report.sentences import verdict

    summary = outcome.summary
    ended = {
        "finished": f"All {outcome.n_trials} trials are finished.",
        "timeout": "The time is up; the same command goes on where this one stopped.",
        "interrupted": "Interrupted; the same command goes on where this one stopped.",
        "exhausted": "Every point of the grid is finished.",
    }[outcome.ended]
    console.print(ended)
    if summary.best is not None:
        console.print(best_table(summary, outcome.space, found))
    console.print(escape(verdict(summary)))
    for advice in near_bounds(summary, outcome.space, found):
        console.print(escape(advice.sentence))


def print_confirmation(found: Confirmation) -> None:
    """The finalists with their repeats, and the verdict."""
    from tuning.confirmation.estimates import judge
    from tuning.report.sentences import rows, sentences

    judgement = judge(found)
    if judgement is None and not found.is_over:
        return
    if judgement is None:
        least = min(one.seconds for one in found.finalists)
        console.print(
            "Nothing is confirmed yet: there is no seed that all finalists have had. A repeat"
            f" takes {duration(least)} or more of a worker, and the budget is"
            f" {duration(found.budget_seconds)}. Type `make confirm`, with SHARE=1 for a larger"
            " budget."
        )
        return
    header, cells = rows(found, judgement)
    table = Table(title="The confirmation: fresh seeds, the same splits", title_justify="left")
    for column in header:
        table.add_column(column, justify="right", no_wrap=column in ("trial", "corrected mean"))
    for row in cells:
        table.add_row(*map(escape, row))
    console.print(table)
    for line in sentences(found, judgement):
        console.print(escape(line))


def print_test_scores(manifest: FullManifest) -> None:
    """What the test split says of the best, the baseline and the references, and whether the best
    is ahead of each.
    """
    from tuning.evaluation.scores import ModelScores
    from tuning.evaluation.statistics import interval_text
    from tuning.evaluation.test_split import BEST, named_entries
    from tuning.report.sentences import comparison

    table = Table(
        title=f"Test split, {manifest.n_rows['test']:,} texts, 95 % intervals",
        title_justify="left",
    )
    for column in ("model", "epochs", "accuracy", "F1", "AUC", "loss"):
        table.add_column(
            column, justify="left" if column == "model" else "right", no_wrap=column == "accuracy"
        )
    for name, one in named_entries(manifest).items():
        test = [one.test[score] for score in ("f1", "auc", "loss")]
        accuracy = interval_text(*one.interval("accuracy"))
        shown = ["" if value is None else f"{value:.4f}" for value in test]
        epochs = str(one.epochs) if isinstance(one, ModelScores) else ""
        table.add_row(escape(name), epochs, accuracy, *shown)
    console.print(table)
    for name, found in manifest.comparisons.items():
        console.print(escape(comparison(name, found, trial=manifest.scores[BEST].trial)))
    if len(manifest.test_looks) > 1:
        earlier = ", ".join(seen.when for seen in manifest.test_looks[:-1])
        console.print(
            f"This is look number {len(manifest.test_looks)} at the test split, which makes its"
            f" scores too good; before: {earlier}."
        )


def print_forms(manifest: FullManifest, folder: StudyDir) -> None:
    """Every form of an export with its size, its difference and its speed; what was left out; what
    the model can't do.
    """
    from tuning.export.model_card import FORM_COLUMNS, form_rows
    from tuning.export.versions import earlier

    title = (
        f"Export {manifest.export_number}: {folder.best_dir}/, compared on"
        f" {manifest.n_parity_texts:,} texts"
    )
    table = Table(title=escape(title), title_justify="left")
    shown = [
        number for number, column in enumerate(FORM_COLUMNS) if column not in ("takes", "needs")
    ]  # they fit a terminal; the card has all
    for number in shown:
        table.add_column(FORM_COLUMNS[number], justify="right" if number else "left", no_wrap=True)
    for row in form_rows(manifest):
        table.add_row(*(row[number] for number in shown))
    console.print(table)
    int8 = manifest.forms.get("model_int8.tflite")
    if int8 and int8.accuracy:
        change = int8.accuracy
        bounds = f"[{change.change_low:+.4f}, {change.change_high:+.4f}]"
        console.print(escape(f"int8 weights change the accuracy by {change.change:+.4f} {bounds}."))
    for name, reason in manifest.left_out.items():
        console.print(f"{name} left out: {escape(reason)}")
    for limit in manifest.limits:
        console.print(escape(limit))
    kept = ", ".join(f"{path.name}/" for path in earlier(folder.best_dir).values())
    if kept:
        console.print(f"Earlier exports are kept in {kept}.")


def print_next(folder: StudyDir) -> None:
    """The commands to type after a search."""
    name = folder.name
    console.print(
        f"Next:\n  make dashboard\n  make report STUDY={name}\n  make export-best STUDY={name}"
    )


def best_table(summary: Summary, space: SearchSpace, found: Confirmation | None = None) -> Table:
    """One column a trial, so that five of them and the baseline fit a terminal however many
    hyperparameters there are.
    """
    from tuning.report.tables import best_rows

    header, rows = best_rows(summary, space, found)
    table = Table(
        title=f"The best of the search, of {summary.n_finished} finished trials",
        title_justify="left",
    )
    table.add_column(header[0], no_wrap=True)
    for row in rows:
        table.add_column(escape(row[0]), justify="right")
    for number, name in enumerate(header[1:], start=1):
        table.add_row(escape(name), *(escape(row[number]) for row in rows))
    return table


def card_table(card: DataCard) -> Table:
    """The data card."""
    from tuning.report.tables import data_rows

    table = Table(title="Data", title_justify="left", show_header=False)
    for name, value in data_rows(card):
        table.add_row(name, escape(printable(value, 400)))
    return table


def removable_table(found: list[Removable]) -> Table:
    """What no study needs, with its size."""
    table = Table(title="What no study needs", title_justify="left")
    for column in ("MB", "path", "why"):
        table.add_column(column, justify="right" if column == "MB" else "left", overflow="fold")
    for one in found:
        table.add_row(f"{one.n_bytes / 2**20:,.1f}", escape(printable(str(one.path), 400)), one.why)
    return table
