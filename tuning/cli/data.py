"""`data-card` and `spaces`: descriptions of the data and of the search spaces."""

from __future__ import annotations

from rich.markup import escape

from tuning.api.parameters import data_settings
from tuning.cli.options import (
    RESULTS,
    Data,
    DataDir,
    DropStars,
    LabelColumn,
    PositiveFrom,
    Results,
    SplitSeed,
    TextColumn_,
)
from tuning.config import DataConfig, StudyConfig, given
from tuning.display.console import console
from tuning.display.progress import steps
from tuning.display.tables import card_table, space_table
from tuning.results import ResultsDir


def data_card(
    *,
    data: Data = None,
    text_column: TextColumn_ = None,
    label_column: LabelColumn = None,
    data_dir: DataDir = None,
    positive_from: PositiveFrom = None,
    drop_stars: DropStars = None,
    seed: SplitSeed = None,
    results: Results = RESULTS,
) -> None:
    """Describe the data: rows, classes, lengths, duplicates, unknown tokens."""
    from tuning.study.prepare import prepare_corpus

    flags = data_settings(
        data=data,
        text_column=text_column,
        label_column=label_column,
        data_dir=data_dir,
        positive_from=positive_from,
        drop_stars=drop_stars,
    )
    config = StudyConfig(study="data-card", data=DataConfig(**flags), **given(seed=seed))
    with steps() as progress:
        corpus, _ = prepare_corpus(config, results=ResultsDir(results), progress=progress)
    console.print(card_table(corpus.card))


def spaces() -> None:
    """List the search spaces: hyperparameters, ranges, defaults and number of starting points."""
    from tuning.workers.pools import declared_spaces

    for name, (path, space) in declared_spaces(n_classes=2).items():
        n = len(space.starting_points)
        points = f"{n} starting point{'' if n == 1 else 's'}"
        console.print(space_table(f"{escape(name)}  {points}  [dim]{escape(str(path))}[/]", space))
