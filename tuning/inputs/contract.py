"""The contract of an input: how texts are prepared once, how a trial sees them, and how a new text
becomes the same array.

Everything else asks the contract. The kinds are in `kinds`.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from tuning.config import is_keras_file
from tuning.documents import OMIT_DEFAULT
from tuning.errors import StorageError
from tuning.inputs.tokenizer import FIRST_WORD_ID, UNKNOWN_ID
from tuning.targets.target import Labels

if TYPE_CHECKING:
    from tuning.data.files import Progress
    from tuning.data.splits import SplitReviews
    from tuning.inputs.corpus import Corpus
    from tuning.spaces.loading import SearchSpace

# The part of a long text that is dropped.
TRUNCATING = ("pre", "post", "middle")
# Number of rows that are copied at a time, because the places in a copy need 8 bytes for each id.
SELECTED_ROWS = 16_384

T = TypeVar("T")
Rows = npt.NDArray[np.int64]
Values = Mapping[str, Any]
Shape = tuple[int | None, ...]


class Stored(Protocol):
    """An input of n texts as it is stored: a frozen dataclass of arrays, or of memory maps."""

    def __len__(self) -> int: ...
    def __add__(self, other: Self) -> Self: ...
    def rows(self, rows: Rows) -> Self: ...


@dataclass(frozen=True)
class IdTexts:
    """Ids of n texts, one after the other.

    Attributes:
        ids: int32 (n_ids,), or uint8 for bytes.
        offsets: int64 (n + 1,); text i has the ids from `offsets[i]` to `offsets[i + 1]`.
    """

    ids: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __add__(self, other: Self) -> Self:
        return replace(
            self,
            ids=np.concatenate([self.ids, other.ids]),
            offsets=np.concatenate([self.offsets, other.offsets[1:] + self.offsets[-1]]),
        )

    def rows(self, rows: Rows) -> Self:
        lengths = self.lengths_of(rows)
        ends = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        copied = np.empty(ends[-1], dtype=self.ids.dtype)
        for first in range(0, len(rows), SELECTED_ROWS):
            part = slice(first, first + SELECTED_ROWS)
            # The place in `ids` minus the place in the copy, which all ids of a row have in common.
            moved = np.repeat(self.offsets[rows[part]] - ends[:-1][part], lengths[part])
            places = np.arange(ends[first], ends[first] + len(moved))
            copied[places] = self.ids[places + moved]
        return replace(self, ids=copied, offsets=ends)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return np.diff(self.offsets)

    def lengths_of(self, rows: Rows) -> npt.NDArray[np.int64]:
        lengths: npt.NDArray[np.int64] = self.offsets[rows + 1] - self.offsets[rows]
        return lengths


@dataclass(frozen=True)
class TokenizedTexts(IdTexts):
    """The token ids of n texts: 1 is an unknown word, 2 the most frequent word; 0 does not occur.

    `others` has the other inputs of the same texts that were prepared, by their keys
    (`Input.key`).
    """

    others: Mapping[str, Stored] = field(default_factory=dict, kw_only=True)

    def other(self, key: str, kind: type[T], *, what: str) -> T:
        stored = self.others.get(key)
        if not isinstance(stored, kind):
            raise StorageError(
                f"The cache of the tokenized data must contain {what}, which were removed. Search"
                " again to build them."
            )
        return stored

    def __add__(self, other: Self) -> Self:
        # `Input.stored` leaves out an input of a split whose files are damaged.
        both = self.others.keys() & other.others.keys()
        joined = super().__add__(other)
        return replace(joined, others={key: self.others[key] + other.others[key] for key in both})

    def rows(self, rows: Rows) -> Self:
        others = {key: stored.rows(rows) for key, stored in self.others.items()}
        return replace(super().rows(rows), others=others)


@dataclass(frozen=True)
class LabeledTexts:
    """The texts and labels of a split; `labels` are (n,). `weights` are the weights of the texts in
    the loss, float32 (n,), or None if all are equal.
    """

    texts: TokenizedTexts
    labels: Labels
    weights: npt.NDArray[np.float32] | None = None

    def __add__(self, other: LabeledTexts) -> LabeledTexts:
        weights = None
        if self.weights is not None and other.weights is not None:
            weights = np.concatenate([self.weights, other.weights])
        labels = np.concatenate([self.labels, other.labels])
        return LabeledTexts(self.texts + other.texts, labels, weights)

    def rows(self, rows: Rows) -> LabeledTexts:
        weights = None if self.weights is None else self.weights[rows]
        return LabeledTexts(self.texts.rows(rows), self.labels[rows], weights)

    def in_memory(self) -> LabeledTexts:
        """Return a copy with plain arrays in the place of memory maps."""
        others = {key: _plain(stored) for key, stored in self.texts.others.items()}
        texts = replace(_plain(self.texts), others=others)
        return replace(self, texts=texts, labels=np.asarray(self.labels))


def _plain(stored: Any) -> Any:
    values = {item.name: getattr(stored, item.name) for item in fields(stored)}
    arrays = {name: np.asarray(v) for name, v in values.items() if isinstance(v, np.ndarray)}
    return replace(stored, **arrays)


class InputView(abc.ABC):
    """One trial's view of an input of n texts, by default of int32 ids with batches as wide as
    their longest text.

    Attributes:
        texts: the stored input.
        dtype: the type of a batch in TensorFlow.
        has_padding: whether the columns of a batch are tokens, followed by padding.
        is_encoder: whether the model is a pretrained encoder, which computes the padding too.
    """

    texts: Sized
    dtype: ClassVar[str] = "int32"
    has_padding: ClassVar[bool] = False
    is_encoder: ClassVar[bool] = False

    @property
    def shape(self) -> Shape:
        """The shape of a text in a batch, with None for a size that differs between batches."""
        return (None,)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of tokens of each text that are kept, int64 (n,)."""
        return self.lengths_of(np.arange(len(self.texts)))

    @abc.abstractmethod
    def lengths_of(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Return the number of tokens of these rows that are kept, int64 (n_rows,)."""

    @abc.abstractmethod
    def width(self, rows: Rows) -> int:
        """Return the number of columns of a batch of these rows."""

    @abc.abstractmethod
    def batch(self, rows: Rows) -> npt.NDArray[Any]:
        """Return an array (n_rows, *shape)."""

    def n_bytes(self, rows: Rows) -> int:
        return len(rows) * self.width(rows) * np.dtype(np.int32).itemsize


@dataclass(frozen=True, kw_only=True)
class ModelInput:
    """The description of a model's input, which is made from texts, in an export's manifest.

    `vocab_size` is the number of rows of its vocabulary, `sequence_length` the number of tokens,
    and `truncating` the part of a longer text that is dropped ("pre", "post" or "middle"); both
    numbers are 0 for a model that takes no token ids. `ngrams` is the maximum number of words of
    its n-grams, and `ngram_vocab_size` the number of rows of their vocabulary; both are 0 for a
    model that takes no n-grams. `preset` is the pretrained encoder of a model that takes the
    tokens of the tokenizer in the export, and empty for a model without an encoder. A model with
    none of these takes the texts themselves, and so does an export whose encoder is a Keras model:
    it makes the words and n-grams of its head from them. `trained_layers` is the number of the
    encoder's last layers in a model that takes what the other layers give, and 0 in an export,
    which has the whole encoder.
    """

    vocab_size: int
    sequence_length: int
    truncating: str
    ngrams: int = field(default=0, metadata=OMIT_DEFAULT)
    ngram_vocab_size: int = field(default=0, metadata=OMIT_DEFAULT)
    preset: str = field(default="", metadata=OMIT_DEFAULT)
    trained_layers: int = field(default=0, metadata=OMIT_DEFAULT)

    @property
    def exported(self) -> ModelInput:
        """The input of an export, which has the whole encoder."""
        return replace(self, trained_layers=0)

    @property
    def takes_texts(self) -> bool:
        return is_keras_file(self.preset) or not (self.vocab_size or self.ngrams or self.preset)


@dataclass(frozen=True)
class Preparation:
    """What the inputs of a search are prepared from."""

    corpus: Corpus
    space: SearchSpace
    read_again: Callable[[], SplitReviews]
    progress: Progress | None = None

    def splits(self) -> SplitReviews:
        # The texts are not kept in memory after they were tokenized, and the user may have changed
        # the file since then.
        read = self.read_again()
        read.require_fingerprint(self.corpus.fingerprint)
        return read


class Input(abc.ABC):
    """A kind of input.

    Attributes:
        name: the name of the model's input. An input with a name of no kind takes token ids.
        key: the key of the stored input in `TokenizedTexts.others`.
        hyperparameters: names that a configuration of a model with this input must have.
        declared_by: the hyperparameter that a space declares only for models with this input.
        what: what the model reads, in messages.
        stands_beside: whether a model may have inputs of other kinds beside this one.
        is_cut: whether a text has at most `sequence_length` columns.
        varies: whether the number of columns differs between texts, so that the model's input must
            have the shape (None,).
        has_layers: whether Keras' layers can make the input from a text, so that a `.keras` file
            and a SavedModel take texts.
        file: the vocabulary or tokenizer in the folder of an export; empty if it has none.
    """

    name: ClassVar[str]
    key: ClassVar[str] = ""
    hyperparameters: ClassVar[tuple[str, ...]] = ()
    declared_by: ClassVar[str | None] = None
    what: ClassVar[str]
    stands_beside: ClassVar[bool] = False
    is_cut: ClassVar[bool] = False
    varies: ClassVar[bool] = False
    has_layers: ClassVar[bool] = False
    file: ClassVar[str] = ""

    def is_taken_by(self, space: SearchSpace) -> bool:
        return not space.takes_texts and space.declares(self.declared_by or "")

    def key_in(self, values: Values) -> str:
        """Return the key of the stored input that a model with this configuration may take."""
        return self.key

    def prepare(self, data: Preparation) -> None:
        """Build the input of all texts beside their token ids, or use the files that exist."""
        return

    def stored(self, corpus: Corpus, split: str) -> dict[str, Stored]:
        """Return the input of a split by its key; nothing if it was not prepared, or if one of its
        files is damaged: the models of a space may not need it.
        """
        return {}

    @abc.abstractmethod
    def view(
        self, texts: TokenizedTexts, values: Values, *, shape: Shape, ignores_padding: bool
    ) -> InputView:
        """Return the texts as a model with this configuration takes them. `shape` is the shape of a
        text in the model's input, or () if the model declares none.
        """

    def example(
        self, values: Values, *, shape: Shape, n_rows: int, n_tokens: int
    ) -> npt.NDArray[Any]:
        """Return the input for texts of `n_tokens` unknown words, by default their ids."""
        return np.full((n_rows, n_tokens), UNKNOWN_ID, dtype=np.int32)

    @abc.abstractmethod
    def is_in(self, inputs: ModelInput) -> bool: ...

    def describe(self, values: Values) -> dict[str, Any]:
        """Return the fields of `ModelInput` for a configuration, by default `hyperparameters`."""
        return {name: int(values[name]) for name in self.hyperparameters}

    def vocabulary(self, corpus: Corpus, inputs: ModelInput) -> Any:
        """Return what a new text needs to become this input: the entries for the ids 2, 3, …, or
        the path of a tokenizer.
        """
        return None

    def write(self, vocabulary: Any, folder: Path) -> None:
        """Write the file of an export (`file`)."""
        (folder / self.file).write_bytes("\n".join(vocabulary).encode())

    @abc.abstractmethod
    def encode(
        self, texts: Sequence[str], vocabulary: Any, inputs: ModelInput
    ) -> dict[str, Stored]:
        """Return the input of new texts by its key."""

    def layers(self, text: Any, vocabulary: Any, inputs: ModelInput) -> Any:
        """Return the input as a symbolic tensor, made by Keras' layers from the symbolic tensor of
        texts, (batch,), if `has_layers`.
        """
        raise NotImplementedError

    def words(self, folder: Path, inputs: ModelInput) -> set[bytes] | None:
        """Return the words of the vocabulary of an export in `folder`; None for a model that splits
        texts into words, or parts of words, of its own.
        """
        return None


def resplit(
    train: LabeledTexts, validation: LabeledTexts, new: tuple[Rows, Rows]
) -> tuple[LabeledTexts, LabeledTexts]:
    """Return the rows of `new` for training and for validation. Their numbers count the rows of
    `train` and then of `validation`.
    """
    n = len(train.labels)
    new_train, new_validation = (
        train.rows(rows[rows < n]) + validation.rows(rows[rows >= n] - n) for rows in new
    )
    return new_train, new_validation


def words_of(vocabulary: Path, n_rows: int) -> set[bytes]:
    """Return the single words of a vocabulary with `n_rows` rows."""
    lines = vocabulary.read_bytes().split(b"\n")[: n_rows - FIRST_WORD_ID]
    return {line for line in lines if b" " not in line}


def kept_ids(
    texts: IdTexts, rows: Rows, *, n_max: int, truncating: str, n_columns: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Return the ids of texts that are cut to `n_max` ids, one text after the other, and whether
    each column of a batch has an id, (n_texts, n_columns).
    """
    if truncating not in TRUNCATING:  # The value of a hyperparameter of this name.
        raise ValueError(
            f"truncating must be one of {', '.join(TRUNCATING)}; received {truncating!r}."
        )
    lengths, columns = texts.lengths_of(rows), np.arange(n_columns)
    kept = np.minimum(lengths, n_max)
    places = texts.offsets[rows][:, None] + columns
    if truncating != "post":
        first = 0 if truncating == "pre" else n_max - n_max // 2
        places += np.where(columns >= first, (lengths - kept)[:, None], 0)
    inside = columns < kept[:, None]
    return texts.ids[places[inside]], inside
