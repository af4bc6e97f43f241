"""`import-kerastuner`, `import-optuna` and `enqueue`: configurations from outside for a study; and
`export-hyperparameters`: a study's best for KerasTuner and Optuna.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from tuning.cli.options import RESULTS, Results, Storage, Study
from tuning.display.console import console, printable, typed, warn
from tuning.results import ResultsDir, StudyDir

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
    from tuning.api import exchange
    from tuning.config import sign
    from tuning.spaces.keras_tuner_files import read_project

    root = ResultsDir(results)
    own = root.existing(study)
    with exchange.opened(root, own, storage_url=root.storage_url(storage)) as target:
        metric = target.config.metric
        trials, left_out = read_project(folder, metric=metric, sign=sign(metric))
        source = f"the KerasTuner project {folder.absolute().name}"
        added = exchange.add(target, trials, source=source, as_finished=as_finished)
        _print(added, left_out, target, own, as_finished=as_finished)


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

    root = ResultsDir(results)
    own = root.existing(study)
    with exchange.opened(root, own, storage_url=root.storage_url(storage)) as target:
        trials = exchange.read_study(
            url, name, target.config, target.space, same_objectives=as_finished
        )
        source = f"the Optuna study {name}"
        added = exchange.add(target, trials, source=source, as_finished=as_finished)
        _print(added, [], target, own, as_finished=as_finished)


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
    from tuning.spaces.foreign_trials import read_rows

    root = ResultsDir(results)
    own = root.existing(study)
    with exchange.opened(root, own, storage_url=root.storage_url(storage)) as target:
        trials, left_out = read_rows(file, target.space.hyperparameters)
        added = exchange.add(target, trials, source=file.name)
        _print(added, left_out, target, own, as_finished=False)


def _print(
    added: WarmStart, left_out: list[str], target: Target, folder: StudyDir, *, as_finished: bool
) -> None:
    """Print what was added to a study and what was left out, and the command that trains it."""
    from tuning.study.summary import summarize

    sentences = [*left_out, *added.left_out]
    for sentence in sentences[:N_SENTENCES]:
        warn(printable(sentence, 300))
    if len(sentences) > N_SENTENCES:
        warn(f"{len(sentences) - N_SENTENCES} more were left out.")
    if as_finished:
        console.print(f"{added.n_added} finished trials were added to {escape(folder.name)}.")
        return
    console.print(f"{added.n_added} configurations are queued in {escape(folder.name)}.")
    if added.n_added:
        summary = summarize(target.study, metric=target.config.metric)
        n_trials = summary.n_finished + summary.counts["running"] + summary.counts["waiting"]
        console.print(f"Next: {typed('tune', study=folder.name, n_trials=n_trials)}")


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
    folder = root.existing(study)
    best, paths = write_best_values(
        root, folder, storage_url=root.storage_url(storage), output=output or Path()
    )
    console.print(f"Trial {best.trial.number}, the {best.name}:")
    for path in paths:
        console.print(escape(str(path)))
