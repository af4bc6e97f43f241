"""The commands: parse, one library call, print. With `display.py` the only module that prints."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from tuning.cli.display import (
    PlainConsole,
    SearchDisplay,
    best_table,
    card_table,
    console,
    print_confirmation,
    print_forms,
    print_next,
    print_outcome,
    print_test_scores,
    printable,
    removable_table,
    steps,
)
from tuning.cli.logs import logging_to
from tuning.cli.options import (
    CpusPerWorker,
    Data,
    DataDir,
    DeadSeconds,
    DropStars,
    Export,
    GpusPerWorker,
    Host,
    LabelColumn,
    MovedData,
    MovedDataDir,
    Pool,
    PositiveFrom,
    RayAddress,
    Results,
    Seed,
    SilentSeconds,
    SplitSeed,
    Storage,
    Study,
    TextColumn_,
    TrialMemory,
    TrialSeconds,
    Workers,
    data_flags,
    given,
)
from tuning.config import (
    DEFAULT_TRIALS,
    METRICS,
    PRUNERS,
    SAMPLERS,
    DataConfig,
    StudyConfig,
    parse_objectives,
)
from tuning.errors import ServeError, SpaceBug, TuningError
from tuning.results import ResultsDir, StudyDir, json_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuning.confirmation.rounds import Confirmation
    from tuning.inference.manifest import Manifest
    from tuning.search.tune import Outcome, Session
    from tuning.workers.limits import TrialLimits
    from tuning.workers.pools import PoolChoice

DEFAULT_PORT, DEFAULT_SERVE_PORT = 8080, 8000
INTERRUPTED = 130  # what a shell gives a program that Ctrl-C ended

app = typer.Typer(
    name="tuning",
    help="Hyperparameter tuning for Keras text classifiers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
errors = PlainConsole(stderr=True)

RESULTS = Path("results")


def main() -> None:
    """Run the command line: 0 done, 1 a `TuningError` in one sentence, 2 bad flags, 130
    interrupted.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.captureWarnings(True)
    logging.raiseExceptions = (
        False  # a log that can't be written is no reason to stop, or to print a traceback a line
    )
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
    """Whether a `ValueError` is about what the user typed: it comes from this package's own checks,
    in one sentence.
    """
    return str(error).endswith(".") and "received" in str(error)


def _fail(message: str) -> None:
    errors.print(f"[bold red]error:[/] {escape(message)}")
    sys.exit(1)


@app.command()
def tune(
    study: Annotated[
        str | None,
        typer.Option(
            "--study",
            help=(
                "Name of the study (default: space and data set, as in"
                " baseline_lstm-movie_reviews)."
            ),
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            help=(
                "Search space: a name in search_spaces/ or the path of a file (default"
                " baseline_lstm)."
            ),
        ),
    ] = None,
    data: Data = None,
    text_column: TextColumn_ = None,
    label_column: LabelColumn = None,
    data_dir: DataDir = None,
    positive_from: PositiveFrom = None,
    drop_stars: DropStars = None,
    n_trials: Annotated[
        int | None,
        typer.Option(
            "--n-trials",
            help=(
                "Total number of finished trials of the study (default: that of the last call, or"
                f" {DEFAULT_TRIALS} for a new study)."
            ),
        ),
    ] = None,
    timeout_seconds: Annotated[
        float | None,
        typer.Option(
            "--timeout-seconds",
            help="Maximum duration of this call's search, in seconds (default: no limit).",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", help="Maximum number of epochs of a trial (default 5)."),
    ] = None,
    workers: Workers = None,
    pool: Pool = "process",
    ray_address: RayAddress = None,
    cpus_per_worker: CpusPerWorker = None,
    gpus_per_worker: GpusPerWorker = None,
    seed: Seed = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            help=f"Objective of the search, one of {', '.join(METRICS)} (default val_accuracy).",
        ),
    ] = None,
    objectives: Annotated[
        str | None,
        typer.Option(
            "--objectives",
            help=(
                "Several objectives: a metric, then n_params, latency_ms or both, as in"
                " val_accuracy,latency_ms (default: the metric)."
            ),
        ),
    ] = None,
    max_parameters: Annotated[
        int | None,
        typer.Option(
            "--max-parameters",
            help=(
                "Maximum number of parameters of a model; larger models are not trained (default:"
                " no limit)."
            ),
        ),
    ] = None,
    max_latency_ms: Annotated[
        float | None,
        typer.Option(
            "--max-latency-ms",
            help=(
                "Maximum latency of a model for a single text, in milliseconds; slower models are"
                " not trained (default: no limit)."
            ),
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            "--sampler", help=f"Optuna sampler, one of {', '.join(SAMPLERS)} (default tpe)."
        ),
    ] = None,
    pruner: Annotated[
        str | None,
        typer.Option(
            "--pruner",
            help=f"Pruner, one of {', '.join(PRUNERS)} (default: asha, or none with --objectives).",
        ),
    ] = None,
    trial_seconds: TrialSeconds = None,
    trial_memory_mb: TrialMemory = None,
    silent_seconds: SilentSeconds = None,
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going",
            help=(
                "Let an exception in the search space fail its trial alone (default: it stops the"
                " study)."
            ),
        ),
    ] = False,
    storage: Storage = None,
    join: Annotated[
        bool,
        typer.Option(
            "--join",
            help=(
                "Add this machine's workers to a study that another machine has created (default:"
                " create the study, or continue it)."
            ),
        ),
    ] = False,
    dead_seconds: DeadSeconds = None,
    confirm_best: Annotated[
        bool,
        typer.Option(
            "--confirm/--no-confirm",
            show_default=False,
            help=(
                "Train the best configurations again on fresh seeds after the search, or not"
                " (default --confirm)."
            ),
        ),
    ] = True,
    results: Results = RESULTS,
) -> None:
    """Search for the best configuration and confirm it. The same command continues a study that was
    stopped.

    A study keeps the data, search space, objective, seed, sampler, pruner and epochs that it was
    created with: for a study that exists, these are the defaults, and another value is refused.
    """
    from tuning.confirmation.rounds import Confirmation
    from tuning.search import tune as tuning_call
    from tuning.search.confirm import MIN_COMPLETE, confirm_within

    flags_of_data = data_flags(data, text_column, label_column, data_dir, positive_from, drop_stars)
    flags = given(space=space, seed=seed, metric=metric, sampler=sampler, pruner=pruner)
    flags |= given(max_parameters=max_parameters, max_latency_ms=max_latency_ms)
    if objectives is not None:
        flags |= _objectives(objectives, metric=metric, pruner=pruner)
    if flags_of_data:
        flags["data"] = flags_of_data
    if epochs is not None:
        flags["train"] = {"epochs": epochs}
    root = ResultsDir(results)
    name = study or default_study(space or "baseline_lstm", data or "movie_reviews")
    folder = root.study(name)
    _check_workers(workers)
    limits = _limits(trial_seconds, trial_memory_mb, silent_seconds)
    storage_url = root.storage_url(storage)
    if join:
        _join(folder, flags, study=study, storage=storage)
    choice = _pool(pool, ray_address, cpus_per_worker, gpus_per_worker)
    config = tuning_call.configure(name, flags, folder)
    confirmed: list[Confirmation] = []
    with logging_to(folder), contextlib.ExitStack() as shown:
        display = shown.enter_context(SearchDisplay())

        def then(session: Session, outcome: Outcome) -> None:
            shown.close()
            print_outcome(outcome, Confirmation.load(session.folder))
            if not confirm_best or join or outcome.ended == "interrupted":
                return
            if outcome.ended == "timeout":
                console.print("Not confirmed: the search is not finished.")
                return
            if outcome.summary.counts["complete"] < MIN_COMPLETE:
                console.print(f"Not confirmed: fewer than {MIN_COMPLETE} trials are complete.")
                return
            confirmed.append(_confirmed(lambda progress, **hooks: confirm_within(session, **hooks)))

        outcome = tuning_call.tune(
            config,
            results=root,
            storage_url=storage_url,
            n_trials=n_trials,
            timeout_seconds=timeout_seconds,
            n_workers=workers,
            limits=limits,
            keep_going=keep_going,
            **given(dead_seconds=dead_seconds),
            pool_choice=choice,
            progress=display.prepare,
            on_start=display.start,
            on_change=display.change,
            then=then,
        )
    if outcome.ended == "interrupted" or not all(found.is_over for found in confirmed):
        raise typer.Exit(INTERRUPTED)
    if join:
        console.print(
            "The machine that created the study confirms its best: the same `make tune` there, or"
            " `make confirm`."
        )
    print_next(folder)


def _join(
    folder: StudyDir, flags: dict[str, Any], *, study: str | None, storage: str | None
) -> None:
    """Make the folder of a study that another machine has created."""
    from tuning.study.study import fetch_study

    if study is None or storage is None:
        raise ValueError(
            "--join must say which study, and where it is, with --study and --storage; received"
            f" {study!r} and {storage!r}."
        )
    fetch_study(folder, storage_url=storage, moved=flags)


def _objectives(text: str, *, metric: str | None, pruner: str | None) -> dict[str, Any]:
    """The flags that several objectives mean; nothing is pruned unless the user says how, which the
    study's configuration refuses.
    """
    first, costs = parse_objectives(text)
    if metric not in (None, first):
        raise ValueError(
            f"--metric must be the first of --objectives, or left out; received {metric!r} and"
            f" {text!r}."
        )
    return {"metric": first, "costs": costs, "pruner": pruner or "none"}


@app.command()
def confirm(
    study: Study = None,
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            help=(
                "Number of the best configurations to train again, beside the baseline (default 5)."
            ),
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds", help="Maximum number of fresh seeds for each configuration (default 5)."
        ),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            "--share",
            help=(
                "Maximum worker time of the confirmation, as a share of the search's worker time"
                " (default 0.25, "
                "and more where three seeds of the two best and the baseline need it)."
            ),
        ),
    ] = None,
    pruned: Annotated[
        int | None,
        typer.Option(
            "--pruned",
            help=(
                "Maximum number of pruned trials to train to their last epoch, if time is left"
                " (default 5)."
            ),
        ),
    ] = None,
    workers: Workers = None,
    pool: Pool = "process",
    ray_address: RayAddress = None,
    cpus_per_worker: CpusPerWorker = None,
    gpus_per_worker: GpusPerWorker = None,
    trial_seconds: TrialSeconds = None,
    trial_memory_mb: TrialMemory = None,
    silent_seconds: SilentSeconds = None,
    storage: Storage = None,
    results: Results = RESULTS,
) -> None:
    """Train the best configurations and the baseline again on fresh seeds. The same command
    continues a confirmation that was stopped.
    """
    from tuning.search import confirm as confirming

    limits = _limits(trial_seconds, trial_memory_mb, silent_seconds)
    choice = _pool(pool, ray_address, cpus_per_worker, gpus_per_worker)
    root = ResultsDir(results)
    _check_workers(workers)
    folder = root.existing(study)
    terms = confirming.Terms(**given(top=top, n_seeds=seeds, share=share, n_pruned=pruned))
    with logging_to(folder):
        found = _confirmed(
            partial(
                confirming.confirm,
                root,
                folder,
                storage_url=root.storage_url(storage),
                terms=terms,
                n_workers=workers,
                limits=limits,
                pool_choice=choice,
            )
        )
    if not found.is_over:
        raise typer.Exit(INTERRUPTED)


def _limits(
    seconds: float | None, memory_mb: float | None, silent_seconds: float | None
) -> TrialLimits:
    from tuning.workers.limits import TrialLimits

    return TrialLimits(**given(seconds=seconds, memory_mb=memory_mb, silent_seconds=silent_seconds))


def _pool(pool: str, address: str | None, cpus: float | None, gpus: float | None) -> PoolChoice:
    from tuning.workers.pools import PoolChoice

    return PoolChoice(pool=pool, ray_address=address, cpus_per_worker=cpus, gpus_per_worker=gpus)


def _check_workers(workers: int | None) -> None:
    if workers is not None and workers < 1:
        raise ValueError(f"--workers must be 1 or more; received {workers}.")


def _confirmed(confirm: Callable[..., Confirmation]) -> Confirmation:
    """Call a confirmation with hooks that show its progress, and print what it found."""
    from tuning.report.sentences import plan

    with steps() as progress:

        def start(found: Confirmation, n_workers: int) -> None:
            text = plan(found, n_workers=n_workers)
            if text:
                console.print(escape(text))

        def say(event: str, found: Confirmation) -> None:
            progress(event, min(found.spent_seconds / found.budget_seconds, 1.0))

        progress("confirming the best on fresh seeds", 0.0)
        found = confirm(progress=progress, on_start=start, on_change=say)
    print_confirmation(found)
    if not found.is_over:
        console.print("Interrupted; the same command continues the confirmation.")
    return found


def default_study(space: str, data: str) -> str:
    """A study's name out of its space and data: `baseline_lstm-movie_reviews`."""
    stem = Path(data.removeprefix("tfds:")).name.split(".")[0] or "data"
    safe = "".join(c if (c.isalnum() and c.isascii()) or c in "_-" else "_" for c in stem)
    return f"{Path(space).stem}-{safe}"[:100]


@app.command()
def dashboard(
    port: Annotated[
        int,
        typer.Option(
            "--port",
            show_default=False,
            help=f"TCP port of the Dashboard (default {DEFAULT_PORT}).",
        ),
    ] = DEFAULT_PORT,
    host: Host = "127.0.0.1",
    storage: Storage = None,
    results: Results = RESULTS,
) -> None:
    """Serve Optuna Dashboard on 127.0.0.1 until Ctrl-C. It has no authentication: keep it on this
    machine.
    """
    from tuning.report.dashboard import is_loopback, make_server

    root = ResultsDir(results)
    server = make_server(root, storage_url=root.storage_url(storage), port=port, host=host)
    if not is_loopback(host):
        errors.print(
            "[bold yellow]warning:[/] Optuna Dashboard has no authentication: whoever reaches port"
            f" {port} on {escape(host)} can read, change and delete every study."
            " docs/dashboard-behind-a-proxy.md shows how to put a password before it."
        )
    console.print(escape(f"Optuna Dashboard: {_url(host, port)}/dashboard  (Ctrl-C ends it)"))
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


@app.command()
def report(study: Study = None, storage: Storage = None, results: Results = RESULTS) -> None:
    """Write report.html, one page that opens offline, and trials.csv."""
    from tuning.report.page import write_report

    root = ResultsDir(results)
    page, table = write_report(root, root.existing(study), storage_url=root.storage_url(storage))
    console.print(escape(f"Report: {page}\nTrials: {table}"))


@app.command("export-best")
def export_best(
    study: Study = None,
    trial: Annotated[
        int | None,
        typer.Option(
            "--trial",
            help=(
                "Number of a completed trial to export (default: the confirmed best, else the best"
                " of the search)."
            ),
        ),
    ] = None,
    data: MovedData = None,
    data_dir: MovedDataDir = None,
    storage: Storage = None,
    results: Results = RESULTS,
) -> None:
    """Retrain the best configuration, score it on the test split, and write results/STUDY/best/."""
    from tuning.workers.pool import stderr_to

    root = ResultsDir(results)
    folder = root.existing(study)
    with logging_to(folder), steps() as progress, stderr_to(folder.log_path):
        from tuning.export import export

        where = given(
            data=data, data_dir=data_dir
        )  # the same data elsewhere; their fingerprint is checked
        manifest = export.export_best(
            root,
            folder,
            storage_url=root.storage_url(storage),
            number=trial,
            moved=where,
            progress=progress,
        )
    print_test_scores(manifest)
    print_forms(manifest, folder)
    console.print(f'Next: make predict STUDY={folder.name} TEXT="I love it"')


@app.command()
def predict(
    study: Study = None,
    text: Annotated[
        str | None,
        typer.Option("--text", help="Text to label (default: none; --file must be given)."),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            help=(
                "Path or pattern of data files, or path of a .txt file with one text a line"
                " (default: none; --text must be given)."
            ),
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help=(
                "File for the labelled rows of --file (default: NAME.predictions.csv in the current"
                " folder; standard output with --json)."
            ),
        ),
    ] = None,
    text_column: Annotated[
        str | None,
        typer.Option(
            "--text-column",
            help=(
                "Name of the column of texts in --file (default: that of the training data, or else"
                " a known name such as review_body)."
            ),
        ),
    ] = None,
    export: Export = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Write one JSON object a line (default: words for --text, CSV for --file).",
        ),
    ] = False,
    results: Results = RESULTS,
) -> None:
    """Label one text, or each row of a file, with an exported model."""
    from tuning.export.versions import newest
    from tuning.inference.manifest import read_manifest

    if (text is None) == (file is None):
        raise ValueError(
            "predict needs either --text or --file (make: TEXT= or FILE=); received"
            f" {'both' if text else 'neither'}."
        )
    folder = export or newest(ResultsDir(results).existing(study))
    manifest = read_manifest(folder)
    if text is not None:
        _predict_text(folder, text, as_json=as_json)
    else:
        _predict_file(
            folder, manifest, file or "", output=output, text_column=text_column, as_json=as_json
        )


def _predict_text(folder: Path, text: str, *, as_json: bool) -> None:
    from tuning.data.stream import MAX_CHARACTERS, problem_of
    from tuning.inference import load as predicting
    from tuning.workers.pool import stderr_to

    problem = problem_of(text)
    if problem:
        raise ValueError(
            f"--text must be UTF-8 with 1 to {MAX_CHARACTERS:,} characters; received {problem}."
        )
    with stderr_to(Path(os.devnull)):
        (found,) = predicting.classify(folder, [text])
    if as_json:
        line = {
            "label": found.label,
            "probability": round(found.probability, 6),
            "text": found.text,
        }
        sys.stdout.write(json_line(line) + "\n")
    else:
        console.print(f"{escape(printable(found.label, 80))}  {found.probability:.4f}")


def _predict_file(
    folder: Path,
    manifest: Manifest,
    pattern: str,
    *,
    output: Path | None,
    text_column: str | None,
    as_json: bool,
) -> None:
    from tuning.cli.progress import row_progress
    from tuning.data.stream import stream_rows
    from tuning.inference import label_files
    from tuning.inference import load as predicting
    from tuning.workers.pool import stderr_to

    if output is None and not as_json:
        output = label_files.default_output(pattern)
    with row_progress() as progress, stderr_to(Path(os.devnull)):
        rows = stream_rows(
            pattern,
            text_column=text_column,
            trained_on=manifest.text_column,
            on_read=progress.read,
        )
        label_files.check_output(output, pattern)
        probabilities = predicting.load(
            folder, form=predicting.fastest_form(manifest.forms), manifest=manifest
        )
        labelled = label_files.label(rows, probabilities, manifest.class_names)
        write = label_files.write_json_rows if as_json else label_files.write_csv_rows
        with (
            label_files.whole_file(output) if output else contextlib.nullcontext(sys.stdout)
        ) as file:
            counts = write(labelled, file, lambda counts: progress.show(counts.n_rows))
    say = console if output else errors  # standard output holds the rows, and nothing else
    say.print(escape(printable(label_files.sentence(counts), 1_000)))
    if output:
        say.print(escape(f"Predictions: {output}"))


@app.command()
def serve(
    study: Study = None,
    export: Export = None,
    host: Host = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            "--port",
            show_default=False,
            help=f"TCP port of the server (default {DEFAULT_SERVE_PORT}).",
        ),
    ] = DEFAULT_SERVE_PORT,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            help=(
                "Further host name that may stand in the URL of a request, such as"
                " reviews.example.org; may be repeated (default: "
                "localhost, 127.0.0.1 and the value of --host alone)."
            ),
        ),
    ] = None,
    results: Results = RESULTS,
) -> None:
    """Serve an export's predictions on 127.0.0.1 until Ctrl-C. It has no authentication: keep it on
    this machine.
    """
    serving = _serving()
    from tuning.export.versions import newest
    from tuning.inference import load as predicting
    from tuning.inference.manifest import read_manifest

    folder = export or newest(ResultsDir(results).existing(study))
    manifest = read_manifest(folder)
    is_local = serving.is_loopback(host)
    with serving.listen(host, port) as listening:
        probabilities = predicting.load(folder, form="onnx", manifest=manifest)
        hosts = {*serving.LOCAL, host.lower(), *(name.lower() for name in allow_host or [])}
        app_of_model = serving.make_app(
            probabilities, manifest, hosts=hosts, any_address=not is_local
        )
        if not is_local:
            errors.print(
                f"[bold yellow]warning:[/] {escape(host)} is open to other machines, and the server"
                " has no authentication."
            )
        console.print(escape(f"{folder}: {_url(host, port)}  (Ctrl-C ends it)"))
        serving.run(app_of_model, listening)


def _serving() -> Any:
    """The module that needs the extra `serve`."""
    try:
        from tuning.serving import app as serving
    except ModuleNotFoundError as error:
        raise ServeError(
            f"serve needs the packages of the extra serve; {error.name} is not there. Type `make"
            " serve`, which installs them, or pip install 'keras-text-tuning[serve]'."
        ) from error
    return serving


@app.command()
def status(
    study: Study = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print one JSON object, for scripts (default: tables and sentences)."
        ),
    ] = False,
    storage: Storage = None,
    results: Results = RESULTS,
) -> None:
    """Print a study's best trials, its counts of trials, and where the time went."""
    from tuning.study.summary import status_of

    root = ResultsDir(results)
    folder = root.existing(study)
    values, summary, space = status_of(root, folder, storage_url=root.storage_url(storage))
    if as_json:
        sys.stdout.write(json.dumps(values, indent=2, sort_keys=True) + "\n")
        return
    from tuning.confirmation.rounds import Confirmation
    from tuning.report.sentences import verdict
    from tuning.report.tables import clock_sentence, coordinator_sentences, counts_sentence

    console.print(f"[bold]{folder.name}[/]  {escape(counts_sentence(summary))}")
    if summary.best:
        found = Confirmation.load(folder)
        console.print(best_table(summary, space, found))
        console.print(escape(verdict(summary, found)))
    console.print(clock_sentence(summary))
    for sentence in coordinator_sentences(values["coordinators"]):
        console.print(escape(printable(sentence, 200)))


@app.command()
def clean(
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove these files (default: only list them).")
    ] = False,
    storage: Storage = None,
    results: Results = RESULTS,
) -> None:
    """List the files in the results folder that no study needs, with their sizes, or remove them
    with --yes.
    """
    from tuning.study.housekeeping import removable, remove

    root = ResultsDir(results)
    found = removable(root, storage_url=root.storage_url(storage))
    console.print(removable_table(found) if found else "Nothing: every file is some study's.")
    if yes:
        remove(found)
    total = sum(one.n_bytes for one in found) / 2**20
    if found:
        console.print(
            f"{total:,.1f} MB freed."
            if yes
            else f"{total:,.1f} MB to free; type it again with --yes (make: YES=1) to remove it."
        )


@app.command("data-card")
def data_card(
    data: Data = None,
    text_column: TextColumn_ = None,
    label_column: LabelColumn = None,
    data_dir: DataDir = None,
    positive_from: PositiveFrom = None,
    drop_stars: DropStars = None,
    seed: SplitSeed = None,
    results: Results = RESULTS,
) -> None:
    """Describe the data: rows, classes, lengths, duplicates, unknown tokens."""
    from tuning.data.prepare import prepare_corpus

    flags = data_flags(data, text_column, label_column, data_dir, positive_from, drop_stars)
    config = StudyConfig(study="data-card", data=DataConfig(**flags), **given(seed=seed))
    with steps() as progress:
        corpus, _ = prepare_corpus(config, results=ResultsDir(results), progress=progress)
    console.print(card_table(corpus.card))


@app.command()
def spaces() -> None:
    """List the search spaces with their hyperparameters, ranges and defaults."""
    from tuning.search.tune import declared_spaces

    for name, (path, space) in declared_spaces(n_classes=2).items():
        table = Table(title=f"{escape(name)}  [dim]{escape(str(path))}[/]", title_justify="left")
        for column in ("hyperparameter", "range", "default", "only where"):
            table.add_column(column)
        for item in space.hyperparameters:
            where = ", ".join(
                f"{parent} is {' or '.join(map(str, allowed))}"
                for parent, allowed in item.conditions
            )
            table.add_row(*map(escape, (item.name, item.range_text(), str(item.default), where)))
        console.print(table)
