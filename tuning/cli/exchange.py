"""`import-kerastuner`, `import-optuna` and `enqueue`, which add configurations to a study; and
`export-hyperparameters`, which writes a study's best configuration for KerasTuner and Optuna.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from tuning.cli.options import RESULTS, Results, Storage, Study
from tuning.commands import typed
from tuning.display.console import console, printable, warn
from tuning.results import ResultsDir

if TYPE_CHECKING:
    from tuning.api.exchange import Target, WarmStart

AsFinished = Annotated[
    bool,
    typer.Option(
        "--as-finished",
        help=(
            "Add the trials with their scores, as finished trials of a study with the same"
            " objective (default: queue their configurations, to train them here)."
        ),
    ),
]
N_SENTENCES = 20  # Maximum number of sentences about trials that are left out.
N_FURTHER = 20  # Number of new configurations that the next command trains, as `make tune` does.


def import_kerastuner(
    *,
    folder: Annotated[
        Path,
        typer.Option(
            "--dir",
            help="Folder of a KerasTuner project, with its oracle.json (default: none; required).",
        ),
    ],
    as_finished: AsFinished = False,
    study: Study = None,
    storage: Storage = None,
    results: Results = RESULTS,
) -> None:
    """Queue the configurations of a KerasTuner project in a study, the best first."""
    from tuning.api import exchange

    with _opened(study, results=results, storage=storage) as target:
        added = exchange.import_kerastuner(target, folder, as_finished=as_finished)
    _print(added, target.config.study, as_finished=as_finished)


def import_optuna(
    *,
    url: Annotated[
        str,
        typer.Option(
            "--from",
            envvar="FROM",
            help="URL of the Optuna storage that contains the study (default: none; required).",
        ),
    ],
    name: Annotated[
        str,
        typer.Option("--name", help="Name of the study in that storage (default: none; required)."),
    ],
    as_finished: AsFinished = False,
    study: Study = None,
    storage: Storage = None,
    results: Results = RESULTS,
) -> None:
    """Queue the configurations of another Optuna study in a study, the best first."""
    from tuning.api import exchange

    with _opened(study, results=results, storage=storage) as target:
        added = exchange.import_optuna(target, url, name, as_finished=as_finished)
    _print(added, target.config.study, as_finished=as_finished)


def enqueue(
    *,
    file: Annotated[
        Path,
        typer.Option(
            "--file",
            help=(
                "CSV file whose columns are hyperparameters and whose rows are configurations; an"
                " empty cell takes its default (default: none; required)."
            ),
        ),
    ],
    study: Study = None,
    storage: Storage = None,
    results: Results = RESULTS,
) -> None:
    """Queue the configurations of a CSV file in a study."""
    from tuning.api import exchange

    with _opened(study, results=results, storage=storage) as target:
        added = exchange.enqueue(target, file)
    _print(added, target.config.study, as_finished=False)


@contextlib.contextmanager
def _opened(study: str | None, *, results: Path, storage: str | None) -> Iterator[Target]:
    """Open the study of a command to add trials to it."""
    from tuning.api.exchange import opened

    root = ResultsDir(results)
    with opened(root, root.existing(study), storage_url=root.storage_url(storage)) as target:
        yield target


def _print(added: WarmStart, study: str, *, as_finished: bool) -> None:
    """Print how many trials were added to a study, which were left out, and the next command."""
    for sentence in added.left_out[:N_SENTENCES]:
        warn(printable(sentence, 300))
    if len(added.left_out) > N_SENTENCES:
        warn(f"{len(added.left_out) - N_SENTENCES} more were left out.")
    if as_finished:
        console.print(f"{added.n_added} finished trials were added to {escape(study)}.")
    else:
        console.print(f"{added.n_added} configurations are queued in {escape(study)}.")
    if added.n_added:
        further = typed("tune", study=study, n_trials=added.n_trials + N_FURTHER)
        console.print(f"Next: {further}, which trains {N_FURTHER} new configurations as well")


def export_hyperparameters(
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="Folder for the two files (default: the current folder).",
        ),
    ] = None,
    study: Study = None,
    storage: Storage = None,
    results: Results = RESULTS,
) -> None:
    """Write the hyperparameters of the best trial as JSON for KerasTuner and for Optuna."""
    from tuning.api.exchange import write_best_values

    root = ResultsDir(results)
    best, paths = write_best_values(
        root,
        root.existing(study),
        storage_url=root.storage_url(storage),
        output=output or Path(),
    )
    console.print(f"Trial {best.trial.number}, the {best.name}:")
    for path in paths:
        console.print(escape(str(path)))
