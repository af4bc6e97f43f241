"""The commands about studies: `compare`, `dashboard`, `report`, `status` and `clean`."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from tuning.api.parameters import chosen_workers, data_settings
from tuning.cli.confirm import INTERRUPTED
from tuning.cli.options import (
    HOST,
    RESULTS,
    Data,
    DataDir,
    DropStars,
    Host,
    LabelColumn,
    PositiveFrom,
    Results,
    Seed,
    SliceColumn,
    Storage,
    Study,
    TextColumn_,
)
from tuning.cli.search_options import Epochs, Pool, RayAddress, Workers
from tuning.cli.tracking import LogTo
from tuning.display.console import console, open_in_browser, printable, server_url, warn
from tuning.display.tables import best_table, removable_table
from tuning.hosts import is_loopback
from tuning.results import ResultsDir, StudyDir

if TYPE_CHECKING:
    from tuning.spaces.loading import SearchSpace
    from tuning.study.summary import CoordinatorStatus, Status, Summary

DEFAULT_PORT = 8080


def compare(
    *,
    spaces: Annotated[
        str | None,
        typer.Option(
            "--spaces",
            help=(
                "Search spaces, separated by spaces: names in search_spaces/ or paths of files"
                " (default: those of the comparison)."
            ),
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes",
            help="Duration of the search of each space, in minutes (default 10).",
        ),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            "--study",
            help="Name of the comparison (default: of the data set, as in compare-movie_reviews).",
        ),
    ] = None,
    data: Data = None,
    text_column: TextColumn_ = None,
    label_column: LabelColumn = None,
    data_dir: DataDir = None,
    positive_from: PositiveFrom = None,
    drop_stars: DropStars = None,
    seed: Seed = None,
    epochs: Epochs = None,
    workers: Workers = None,
    pool: Pool = "process",
    ray_address: RayAddress = None,
    log_to: LogTo = None,
    storage: Storage = None,
    results: Results = RESULTS,
) -> None:
    """Search several search spaces for the same time, confirm the best of each, and compare them.

    Each search space gets a study of its own. The same command continues a comparison that was
    stopped, and adds search spaces or minutes to it.
    """
    from tuning.api import trainings
    from tuning.api.comparison import comparison_name
    from tuning.comparison.document import Request

    request = Request(
        spaces=(spaces or "").split(),
        minutes=minutes,
        seed=seed,
        epochs=epochs,
        data=data_settings(
            data=data,
            text_column=text_column,
            label_column=label_column,
            data_dir=data_dir,
            positive_from=positive_from,
            drop_stars=drop_stars,
        ),
    )
    chosen = chosen_workers(workers, pool=pool, ray_address=ray_address)
    root = ResultsDir(results)
    folder = root.study(study or comparison_name(data))
    comparison = trainings.compare(
        folder, request, root, storage=storage, workers=chosen, log_to=log_to or ()
    )
    if comparison.is_interrupted:
        raise typer.Exit(INTERRUPTED)


def dashboard(
    *,
    port: Annotated[
        int,
        typer.Option(
            "--port",
            show_default=False,
            help=f"TCP port of the Dashboard (default {DEFAULT_PORT}).",
        ),
    ] = DEFAULT_PORT,
    host: Host = HOST,
    study: Study = None,
    storage: Storage = None,
    results: Results = RESULTS,
) -> None:
    """Serve Optuna Dashboard on 127.0.0.1 until Ctrl-C, and open it at a study in a browser.

    A browser is opened if this is a terminal of a graphical desktop. The Dashboard has no
    authentication: do not open it to other machines.
    """
    from tuning.report.dashboard_server import make_server, page_of

    root = ResultsDir(results)
    storage_url = root.storage_url(storage)
    server = make_server(root, storage_url=storage_url, port=port, host=host)
    if not is_loopback(host):
        warn(
            f"Optuna Dashboard has no authentication: whoever reaches port {port} on {host} can"
            " read, change and delete every study. docs/dashboard-behind-a-proxy.md shows how to"
            " put a password before it."
        )
    with server, contextlib.suppress(KeyboardInterrupt):
        url = f"{server_url(host, port)}{page_of(root, study, storage_url=storage_url)}"
        console.print(escape(f"Optuna Dashboard: {url}  (Ctrl-C ends it)"))
        # The socket of the server listens already, so the browser waits for its first answer.
        open_in_browser(url)
        server.serve_forever()


def report(
    *,
    study: Study = None,
    slice_column: SliceColumn = None,
    storage: Storage = None,
    results: Results = RESULTS,
) -> None:
    """Write report.html, one page that opens offline, and trials.csv."""
    from tuning.report.page import write_report

    root = ResultsDir(results)
    page, table = write_report(
        root,
        root.existing(study),
        storage_url=root.storage_url(storage),
        slice_column=slice_column,
    )
    console.print(escape(f"Report: {page}\nTrials: {table}"))


def status(
    *,
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
    """Print a study's best trials, the counts of its trials, and the time of each phase."""
    from tuning import documents
    from tuning.study.summary import status_of

    root = ResultsDir(results)
    folder = root.existing(study)
    facts, summary, space = status_of(root, folder, storage_url=root.storage_url(storage))
    if as_json:
        values = documents.unstructure(facts)
        sys.stdout.write(json.dumps(values, indent=2, sort_keys=True) + "\n")
    else:
        _print_status(facts, summary, space, folder=folder)
        _print_linear(root.cache_dir(facts.fingerprints["data"]), folder, summary.metric)


def _print_status(facts: Status, summary: Summary, space: SearchSpace, *, folder: StudyDir) -> None:
    from tuning.confirmation.rounds import Confirmation
    from tuning.report.sentences import verdict
    from tuning.report.tables import counts_sentence, timings_sentence

    console.print(f"[bold]{folder.name}[/]  {escape(counts_sentence(summary))}")
    if summary.best:
        confirmation = Confirmation.load(folder)
        console.print(best_table(summary, space, confirmation))
        console.print(escape(verdict(summary, confirmation)))
    console.print(timings_sentence(summary))
    for sentence in coordinator_sentences(facts.coordinators):
        console.print(escape(printable(sentence, 200)))


def coordinator_sentences(coordinators: list[CoordinatorStatus]) -> list[str]:
    """Return a sentence per coordinator of a study, if it had more than one."""
    if len(coordinators) < 2:
        return []
    return [
        f"Coordinator {entry.coordinator}, process {entry.pid} on {entry.host},"
        f" {entry.n_workers} workers: {'left' if entry.left else 'last heartbeat'} {entry.at}"
        for entry in coordinators
    ]


def _print_linear(corpus_dir: Path, folder: StudyDir, metric: str) -> None:
    """Print sentences about the linear model of a study's data."""
    from tuning.confirmation.rounds import Confirmation
    from tuning.evaluation.linear_reference import read_linear_reference
    from tuning.evaluation.scores import read_test_scores
    from tuning.report.sentences import linear_sentences

    reference, test = read_linear_reference(corpus_dir), read_test_scores(folder.test_path)
    confirmation = Confirmation.load(folder)
    for sentence in linear_sentences(
        reference, confirmation, study=folder.name, metric=metric, test=test
    ):
        console.print(escape(sentence))


def clean(
    *,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove the files (default: only list them).")
    ] = False,
    storage: Storage = None,
    results: Results = RESULTS,
) -> None:
    """List the files in the results folder that no study needs, or remove them with --yes."""
    from tuning.study.housekeeping import find_removable, remove

    root = ResultsDir(results)
    files = find_removable(root, storage_url=root.storage_url(storage))
    if not files:
        console.print("There is nothing to remove: every file belongs to a study.")
        return
    console.print(removable_table(files))
    total = f"{sum(file.n_bytes for file in files) / 2**20:,.1f} MB"
    if yes:
        remove(files)
        console.print(f"{total} freed.")
    else:
        console.print(f"{total} to free; add --yes (make: YES=1) to remove the files.")
