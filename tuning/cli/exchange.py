"""`import-kerastuner`, `import-optuna` and `enqueue`: configurations from outside for a study; and
`export-hyperparameters`: a study's best for KerasTuner and Optuna.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from tuning.api.loading import load_study
from tuning.cli.options import RESULTS, Results, Storage, Study
from tuning.display.console import console, printable, typed, warn
from tuning.results import ResultsDir

if TYPE_CHECKING:
    from tuning.api.exchange import WarmStart

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
N_SENTENCES = 20  # maximum number of sentences about trials that are left out


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
    opened = load_study(study, results=results, storage=storage)
    added = opened.import_kerastuner(folder, as_finished=as_finished)
    _print(added, opened.name, as_finished=as_finished)


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
    opened = load_study(study, results=results, storage=storage)
    added = opened.import_optuna(url, name, as_finished=as_finished)
    _print(added, opened.name, as_finished=as_finished)


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
    opened = load_study(study, results=results, storage=storage)
    _print(opened.enqueue(file), opened.name, as_finished=False)


def _print(added: WarmStart, study: str, *, as_finished: bool) -> None:
    """Print what was added to a study and what was left out, and the command that trains it."""
    for sentence in added.left_out[:N_SENTENCES]:
        warn(printable(sentence, 300))
    if len(added.left_out) > N_SENTENCES:
        warn(f"{len(added.left_out) - N_SENTENCES} more were left out.")
    if as_finished:
        console.print(f"{added.n_added} finished trials were added to {escape(study)}.")
        return
    console.print(f"{added.n_added} configurations are queued in {escape(study)}.")
    if added.n_added:
        console.print(f"Next: {typed('tune', study=study, n_trials=added.n_trials)}")


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
