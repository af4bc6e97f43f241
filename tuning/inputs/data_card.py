"""The card of a tokenized data set: `data_card.json` beside its token ids."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tuning import documents
from tuning.config import SPLITS
from tuning.data import random_split
from tuning.data.folders import checksums_of, passes
from tuning.data.sources import labels_in
from tuning.data.splits import SplitReviews
from tuning.documents import OMIT_DEFAULT
from tuning.errors import StorageError
from tuning.metrics import DEFAULT_TARGET
from tuning.targets.kinds import target_of
from tuning.targets.target import Target

CARD_NAME = "data_card.json"


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """The entries of a data card that do not come from the texts.

    `class_rule` says how stars became classes, `split_rule` how the rows were split. `dropped` is
    the number of rows that were left out, by reason. `draws_validation`: as in `SplitReviews`.
    """

    data: str | None = field(default=None, metadata=OMIT_DEFAULT)
    text_column: str | None = field(default=None, metadata=OMIT_DEFAULT)
    label_column: str | None = field(default=None, metadata=OMIT_DEFAULT)
    class_rule: str | None = field(default=None, metadata=OMIT_DEFAULT)
    split_rule: str = field(default=random_split.SENTENCE, metadata=OMIT_DEFAULT)
    draws_validation: bool = field(default=True, metadata=OMIT_DEFAULT)
    dropped: dict[str, int] | None = field(default=None, metadata=OMIT_DEFAULT)


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """The part of a data card that an export contains.

    `class_counts`: the number of texts of each class, by split. `length_percentiles`: the number of
    tokens of a text, by percentile. `unknown_share`: the share of the validation split's tokens
    that are unknown, by the number of rows of the vocabulary. Words that the training split does
    not have count as unknown. `counts_validation`: as in `StudyConfig`.
    """

    class_counts: dict[str, list[int]]
    length_percentiles: dict[str, int]
    unknown_share: dict[str, float]
    n_duplicates: int
    label_column: str | None = None
    class_rule: str | None = field(default=None, metadata=OMIT_DEFAULT)
    split_rule: str = field(default=random_split.SENTENCE, metadata=OMIT_DEFAULT)
    counts_validation: bool = field(default=False, metadata=OMIT_DEFAULT)
    dropped: dict[str, int] | None = None

    @property
    def counted(self) -> str:
        """Where words and n-grams are counted."""
        return f"the training{' and the validation' if self.counts_validation else ''} split"


@dataclass(frozen=True, kw_only=True)
class DataCard(DataSource, DataFacts):
    """`checksums`: as `checksums_of` returns them; None until all files are written."""

    fingerprint: str
    n_rows: dict[str, int]
    class_names: list[str]
    predicts: str = field(default=DEFAULT_TARGET, metadata=OMIT_DEFAULT)
    majority_share: float
    n_tokens: int
    n_words: int
    checksums: dict[str, int] | None = field(default=None, metadata=OMIT_DEFAULT)

    def __post_init__(self) -> None:
        _ = self.target  # Its names are checked.

    @property
    def target(self) -> Target:
        return target_of(self.class_names, self.predicts)

    @property
    def doubts(self) -> str:
        """The doubts of the target, and the classes or labels that no row of a split has."""
        doubts = [self.target.doubts(self.class_rule)]
        for split in SPLITS[1:]:
            of_names = zip(self.class_names, self.class_counts[split], strict=True)
            missing = [name for name, count in of_names if count == 0]
            if missing:
                more = f" (and of {len(missing) - 1} more)" if len(missing) > 1 else ""
                has_folds = split == "validation" and self.draws_validation
                doubts.append(
                    f"the {split} split has no row of {missing[0]!r}{more}, so its metrics say"
                    f" nothing about it{' (folds have more rows)' if has_folds else ''}"
                )
        return "; ".join(filter(None, doubts))

    @property
    def n_not_test(self) -> int:
        return sum(self.n_rows.values()) - self.n_rows["test"]

    @property
    def facts(self) -> DataFacts:
        names = [field.name for field in dataclasses.fields(DataFacts)]
        return DataFacts(**{name: getattr(self, name) for name in names})


def read_card(folder: Path) -> DataCard:
    return documents.read(
        folder / CARD_NAME,
        DataCard,
        error=StorageError,
        remedy=f"Remove the folder {folder} and search again to build it.",
    )


def describe(
    splits: SplitReviews,
    lengths: npt.NDArray[np.int64],
    *,
    n_words: int,
    unknown_share: dict[str, float],
) -> DataCard:
    """Return the data card. `lengths` is the number of tokens of each text, int64 (n_texts,)."""
    target = splits.target
    labels = {name: target.counts(labels_in(f)) for name, f in splits.frames.items()}
    totals = map(sum, zip(*labels.values(), strict=True))
    return DataCard(
        fingerprint=splits.fingerprint,
        n_rows=splits.n_rows,
        class_names=[*target.names],
        predicts=target.kind,
        class_counts=labels,
        majority_share=max(totals, default=0) / len(lengths),
        length_percentiles={
            str(p): int(np.percentile(lengths, p)) for p in (5, 25, 50, 75, 95, 99, 100)
        },
        n_tokens=int(lengths.sum()),
        n_words=n_words,
        n_duplicates=splits.n_duplicates,
        unknown_share=unknown_share,
        counts_validation=splits.counts_validation,
    )


def is_corpus_of(folder: Path, splits: SplitReviews) -> bool:
    """Return whether the folder contains a corpus of these texts, with its files as they were
    written.
    """

    def is_of_these_texts() -> bool:
        card, target = read_card(folder), splits.target
        written = (card.class_names, card.predicts, card.n_rows)
        same = written == ([*target.names], target.kind, splits.n_rows)
        # Not of the folders of n-grams and other inputs, which have checksums of their own. The
        # check of 400 MB takes 0.2 s.
        return same and card.checksums == checksums_of(folder, pattern="*")

    return (folder / CARD_NAME).exists() and passes(is_of_these_texts, folder)
