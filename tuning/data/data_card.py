"""The data card: what a tokenised data set holds, as `data_card.json` beside its token ids."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from tuning import documents
from tuning.documents import OMIT_NONE
from tuning.errors import StorageError

FILE_NAME = "data_card.json"


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """Where the texts were read, and what was left out: rows by reason, and lines that could not be
    read, the first of them by name.
    """

    data: str | None = field(default=None, metadata=OMIT_NONE)
    text_column: str | None = field(default=None, metadata=OMIT_NONE)
    label_column: str | None = field(default=None, metadata=OMIT_NONE)
    dropped: dict[str, int] | None = field(default=None, metadata=OMIT_NONE)
    n_broken_lines: int | None = field(default=None, metadata=OMIT_NONE)
    broken_lines: list[str] | None = field(default=None, metadata=OMIT_NONE)


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """The part of a data card that an export carries.

    `class_counts`: the number of texts of each class, by split. `length_percentiles`: tokens a
    text, by percentile. `unknown_share`: the share of the validation split's tokens that a
    vocabulary of so many rows does not have.
    """

    class_counts: dict[str, list[int]]
    length_percentiles: dict[str, int]
    unknown_share: dict[str, float]
    n_duplicates: int
    label_column: str | None = None
    dropped: dict[str, int] | None = None


@dataclass(frozen=True, kw_only=True)
class DataCard(DataSource, DataFacts):
    """The data card of a corpus. `checksums`: the CRC-32 of each of its other files; None in a card
    of an early version.
    """

    fingerprint: str
    n_rows: dict[str, int]
    class_names: list[str]
    majority_share: float
    n_tokens: int
    n_words: int
    checksums: dict[str, int] | None = field(default=None, metadata=OMIT_NONE)

    @property
    def facts(self) -> DataFacts:
        """The part that an export carries."""
        names = [field.name for field in dataclasses.fields(DataFacts)]
        return DataFacts(**{name: getattr(self, name) for name in names})


def read_card(folder: Path) -> DataCard:
    """The data card of a corpus in this folder.

    Raises:
        StorageError: the card is missing, or is not as this program writes it.
    """
    return documents.read(
        folder / FILE_NAME,
        DataCard,
        error=StorageError,
        remedy=f"Remove the folder {folder} and run `make tune` again to build it anew.",
    )
