"""`track`, which writes a study to trackers; and the flag --log-to."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from tuning.cli.options import RESULTS, Results, Storage, Study
from tuning.display.console import console
from tuning.display.progress import steps
from tuning.results import ResultsDir

LogTo = Annotated[
    list[str] | None,
    typer.Option(
        "--log-to",
        envvar="LOG_TO",
        help=(
            "Tracker that the study is written to: mlflow:URI, tensorboard:DIR or wandb:DIR"
            " (offline); may be repeated (default: none)."
        ),
    ),
]


def track(
    *,
    study: Study = None,
    log_to: LogTo = None,
    storage: Storage = None,
    results: Results = RESULTS,
) -> None:
    """Write a running or finished study to trackers, with its export if it has one.

    A study that is written again is not duplicated.
    """
    from tuning.api import tracking

    tracking.require_trackers(log_to or ())
    root = ResultsDir(results)
    folder = root.existing(study)
    with steps() as progress:
        progress("writing to the trackers", 0.0)
        targets = tracking.track(log_to or (), folder, root, storage_url=root.storage_url(storage))
    for target in targets:
        console.print(escape(f"{folder.name} is written to {target}"))
