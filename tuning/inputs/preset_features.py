"""The features of a corpus for a preset: its encoder, or the first layers of it, or a Keras model,
read every text once, and trials read what they gave. A text that another corpus of the same cache
contains is not read again: its features are copied.

A child process computes them, because the coordinator must not run Keras. They are float32, as the
encoder of an export computes them: float16 changes the probabilities of a trial by up to 0.0004
(all-MiniLM-L6-v2, Amazon reviews, 2 and 14 classes), and an export may differ by 0.0001. An
interrupted process goes on after the last whole block of texts.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tuning import documents
from tuning.atomic_io import read_json, translated
from tuning.config import SPLITS, is_keras_file
from tuning.data.files import Progress
from tuning.data.folders import CHECKSUMS, build_once, is_whole
from tuning.documents import OMIT_DEFAULT
from tuning.errors import SpaceError, StorageError
from tuning.inputs.contract import InputView, ModelInput, Rows, Values
from tuning.inputs.corpus import Corpus
from tuning.inputs.encoder_tokens import ENCODER_BATCH_SIZE, TokenView
from tuning.inputs.features import TRUNCATING, FeatureTexts, VectorView
from tuning.inputs.preset import TOKENIZER
from tuning.inputs.preset_tokens import encode_tokens, map_tokens, source_of, tokens_dir
from tuning.inputs.texts import SplitTexts, TextView, map_texts
from tuning.processes import ChildFailed, run_child, send
from tuning.text import counted

logger = logging.getLogger(__name__)

CARD = "features.json"
# Number of texts that are sorted by length and written together.
BLOCK_TEXTS = 1_024

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FeatureCard:
    """The facts that are stored beside features. `source` is a digest of the files of a preset that
    is a folder, with its weights, or of the file of a Keras model; `length` the maximum number of
    tokens of a text, or 0 for a Keras model, which gives one vector for the whole text. The
    features of a preset are the means of the vectors of a text's tokens if `trained_layers` is 0,
    and otherwise the vectors below the encoder's last layers, as many as `trained_layers`.
    """

    preset: str
    source: str
    length: int
    trained_layers: int = field(default=0, metadata=OMIT_DEFAULT)

    @property
    def values(self) -> Values:
        return {
            "preset": self.preset,
            "feature_length": self.length,
            "trained_layers": self.trained_layers,
        }


def _read_card(folder: Path) -> FeatureCard:
    remedy = "Search again to build the features."
    return documents.read(folder / CARD, FeatureCard, error=StorageError, remedy=remedy)


def build_features(
    corpus: Corpus,
    preset: str,
    *,
    length: int,
    trained_layers: int = 0,
    below: int = 0,
    progress: Progress | None = None,
) -> None:
    """Write the features of a corpus, unless they have been written. Its tokens for the preset must
    exist, or its texts for a Keras model. If `below` is not 0, the vectors below the encoder's last
    layers, as many as `below`, must exist too, and the features are made from them instead of the
    tokens.
    """
    tokens = _texts_dir(corpus, preset)
    card = FeatureCard(preset, source_of(preset, with_weights=True), length, trained_layers)
    start = _folder_of(corpus, replace(card, trained_layers=below)) if below else tokens
    n_texts = sum(corpus.card.n_rows.values())

    def is_current(folder: Path) -> bool:
        with contextlib.suppress(StorageError):
            return _read_card(folder) == card
        return False

    def report(numbers: tuple[int, int]) -> None:
        n_done, n_new = numbers
        if progress:
            known = f" (copying {n_texts - n_new})" if n_new < n_texts else ""
            progress(f"encoding {counted(n_new, 'text')} for the preset{known}", n_done / n_texts)

    def write(folder: Path) -> None:
        documents.write(folder / CARD, card)
        report((0, n_texts))
        try:
            n_new = run_child(main, str(tokens), str(start), str(folder), on_message=report)
        except ChildFailed as error:
            raise SpaceError(
                f"Encoding the texts with the preset {preset!r} failed: {error}; if memory ran out,"
                " choose a smaller encoder."
            ) from error
        n_mb = sum(path.stat().st_size for path in folder.glob("*.bin")) / 1e6
        counts = f"{n_new} of {n_texts}"
        logger.info(
            "encoded %s texts of %s with %s: %.0f MB", counts, corpus.fingerprint, preset, n_mb
        )

    build_once(_folder_of(corpus, card), write, is_current=is_current, goes_on=is_current)


def _folder_of(corpus: Corpus, card: FeatureCard) -> Path:
    name = f"{tokens_dir(corpus, card.preset).name}-{card.length}"
    below = f"-below-{card.trained_layers}" if card.trained_layers else ""
    return corpus.features_dir / f"{name}{below}"


def _texts_dir(corpus: Corpus, preset: str) -> Path:
    """Return the folder with what an encoder reads: texts, or the tokens of its preset."""
    return corpus.texts_dir if is_keras_file(preset) else tokens_dir(corpus, preset)


def map_features(corpus: Corpus, folder: Path, split: str) -> tuple[FeatureCard, FeatureTexts]:
    card = _read_card(folder)
    tokens = _text_view(_texts_dir(corpus, card.preset), split, card)
    return card, _mapped(folder, card, split, tokens)


def _mapped(folder: Path, card: FeatureCard, split: str, tokens: InputView) -> FeatureTexts:
    lengths = _n_vectors(tokens, card)
    vectors = np.asarray(np.memmap(folder / f"{split}.bin", np.float32, "r"))
    return FeatureTexts.of(vectors.reshape(lengths.sum(), -1), lengths)


def _text_view(folder: Path, split: str, card: FeatureCard) -> InputView:
    if is_keras_file(card.preset):
        texts = map_texts(folder, split)
        return TextView(texts, texts, is_column=False)
    return TokenView(map_tokens(folder, split)[1], card.length, TRUNCATING)


def _n_vectors(tokens: InputView, card: FeatureCard) -> Rows:
    return tokens.lengths if card.trained_layers else np.ones_like(tokens.lengths)


def _digests(view: InputView) -> Iterator[bytes]:
    """Yield a digest of each text as the encoder gets it."""
    n_texts = len(view.texts)
    for first in range(0, n_texts, BLOCK_TEXTS):
        rows = np.arange(first, min(first + BLOCK_TEXTS, n_texts))
        for text, length in zip(view.batch(rows), view.lengths_of(rows), strict=True):
            content = text.encode() if isinstance(text, str) else text[:length].tobytes()
            yield hashlib.blake2b(content, digest_size=16).digest()


def _known_texts(
    corpus: Corpus, card: FeatureCard, views: Mapping[str, InputView]
) -> tuple[FeatureTexts, dict[str, Rows]]:
    """Return the features of other corpora in the same cache, and for each split the row of each
    text in them, or -1.
    """
    # Encoding a text beside others changes the last bits of its vectors: by up to 4e-6 where the
    # largest value is 10.5 (all-MiniLM-L6-v2 without two layers, alone and in a batch of 64).
    none = np.empty(0, dtype=np.int64)
    known = FeatureTexts((), none, none, none)
    folders = _folders_like(corpus, card)
    if not folders:
        return known, {name: np.full(len(view.texts), -1) for name, view in views.items()}
    digests = {name: [*_digests(view)] for name, view in views.items()}
    places = dict.fromkeys(chain(*digests.values()), -1)
    for folder in folders:
        texts = _texts_dir(Corpus(folder.parents[1]), card.preset)
        # Another process may remove the folder, or build it again.
        with contextlib.suppress(OSError, ValueError, EOFError, StorageError):
            if not is_whole(texts):
                continue
            others = {split: _text_view(texts, split, card) for split in SPLITS}
            found = enumerate(chain.from_iterable(map(_digests, others.values())), len(known))
            rows = {digest: row for row, digest in found if places.get(digest) == -1}
            mapped = known
            for split, view in others.items():
                mapped += _mapped(folder, card, split, view)
            if rows and is_whole(folder) and _read_card(folder) == card:
                known, places = mapped, places | rows
    rows_of = {
        name: np.array([places[digest] for digest in of_split], dtype=np.int64)
        for name, of_split in digests.items()
    }
    return known, rows_of


def _folders_like(corpus: Corpus, card: FeatureCard) -> list[Path]:
    """Return the features of other corpora for the same encoder and tokenizer."""
    # The encoder at an address may have changed since. KerasHub's own names have versions.
    if not card.source and "://" in card.preset:
        return []
    tokens, name = _texts_dir(corpus, card.preset), _folder_of(corpus, card).name
    folders = []
    for folder in sorted(corpus.folder.parent.glob(f"*/{corpus.features_dir.name}/{name}")):
        texts = _texts_dir(Corpus(folder.parents[1]), card.preset)
        with contextlib.suppress(OSError, ValueError, StorageError):
            # Equal ids of another tokenizer are other texts.
            if _read_card(folder) == card and _tokenizer_in(texts) == _tokenizer_in(tokens):
                folders.append(folder)
    return folders


def _tokenizer_in(folder: Path) -> int | None:
    """Return the checksum of the tokenizer beside tokens; None for texts."""
    checksum: int | None = read_json(folder / CHECKSUMS).get(TOKENIZER)
    return checksum


def main(tokens: str, start: str, folder: str) -> int:
    """Write the features of each split, and return the number of texts that were encoded. `tokens`
    is the folder of the tokens, or of the texts for a Keras model; `start` is the same folder, or
    that of the vectors from which the features are made.
    """
    card, given = _read_card(Path(folder)), None if start == tokens else _read_card(Path(start))
    text_views = {name: _text_view(Path(tokens), name, card) for name in SPLITS}
    lengths = {name: _n_vectors(view, card) for name, view in text_views.items()}
    known, places = _known_texts(Corpus(Path(folder).parents[1]), card, text_views)
    n_done, n_new = 0, int(sum(np.count_nonzero(rows < 0) for rows in places.values()))
    send((n_done, n_new))
    last = given.trained_layers if given else 0
    # Loading an encoder takes seconds.
    encoder = _Encoder(card, last=last) if n_new else None
    width = encoder.width if encoder else known.n_columns
    row_bytes = np.dtype(np.float32).itemsize * width
    _require_space(Path(folder), card, sum(map(np.sum, lengths.values())) * row_bytes)
    for name, view in text_views.items():
        source = VectorView(_mapped(Path(start), given, name, view)) if given else view
        ends = np.cumsum([0, *lengths[name]])[::BLOCK_TEXTS] * row_bytes
        path, n_texts = Path(folder) / f"{name}.bin", len(lengths[name])
        # Not in the mode "a": the child of a command that was killed may still write its block.
        with translated(path), path.open("r+b" if path.exists() else "wb") as file:
            # A process that was ended may have written a part of its last block.
            n_blocks = int(np.searchsorted(ends, path.stat().st_size, side="right")) - 1
            file.truncate(file.seek(int(ends[n_blocks])))
            for first in range(n_blocks * BLOCK_TEXTS, n_texts, BLOCK_TEXTS):
                rows = np.arange(first, min(first + BLOCK_TEXTS, n_texts))
                of_rows, is_new = lengths[name][rows], places[name][rows] < 0
                copied = [known.of_text(row) for row in places[name][rows[~is_new]]]
                vectors = np.empty((of_rows.sum(), width), dtype=np.float32)
                of_new = np.repeat(is_new, of_rows)
                if encoder:
                    vectors[of_new] = encoder.features_of(source, rows[is_new], of_rows[is_new])
                if copied:
                    vectors[~of_new] = np.concatenate(copied)
                if np.isnan(vectors).any():
                    raise SpaceError(_of_nan(card.preset))
                file.write(vectors.data)
                file.flush()
                send((n_done + first + len(rows), n_new))
        n_done += n_texts
    return n_new


def _of_nan(preset: str) -> str:
    problem = f"preset must give numbers for each text; {preset!r} gives NaN for one"
    if not is_keras_file(preset):
        return f"{problem}. Choose another preset."
    return (
        f"{problem}, as GlobalAveragePooling1D does where a mask leaves no word. Divide the sum of"
        " the words by their number, at least 1."
    )


def _require_space(folder: Path, card: FeatureCard, n_bytes: int) -> None:
    n_bytes -= sum(path.stat().st_size for path in folder.glob("*.bin"))
    free = shutil.disk_usage(folder).free
    shorter = ", or give sequence_length a smaller value"
    if n_bytes > free:
        raise StorageError(
            f"The results folder must have {n_bytes / 1e6:,.0f} MB of space for the features of the"
            f" preset {card.preset!r}; it has {free / 1e6:,.0f} MB. Free some space, choose another"
            f" folder (results){'' if is_keras_file(card.preset) else shorter}."
        )


def encode_features(
    texts: Sequence[str], path: Path, inputs: ModelInput
) -> tuple[FeatureCard, FeatureTexts]:
    """Return the features of new texts. `path` is the preset's tokenizer, which a Keras model does
    not read.
    """
    card = FeatureCard(inputs.preset, "", inputs.sequence_length, inputs.trained_layers)
    view: InputView
    if is_keras_file(card.preset):
        raw = SplitTexts.of(texts)
        view = TextView(raw, raw, is_column=False)
    else:
        view = TokenView(encode_tokens(path, texts), card.length, TRUNCATING)
    lengths = _n_vectors(view, card)
    vectors = _Encoder(card).features_of(view, np.arange(len(texts)), lengths)
    return card, FeatureTexts.of(vectors, lengths)


class _Encoder:
    """The encoder of a preset, without dropout, or the part of it that gives the features of a
    card. `last`: the number of its last layers that the given vectors are below of; 0 for tokens.
    """

    def __init__(self, card: FeatureCard, *, last: int = 0) -> None:
        import tensorflow as tf

        from tuning.models.transformer import frozen_encoder

        # On a graphics card, products would have 10 bits of precision, and in an export 23.
        tf.config.experimental.enable_tensor_float_32_execution(False)
        model = frozen_encoder(card.preset, last=last, without=card.trained_layers)
        self.width = int(model.output.shape[-1])
        self._step = tf.function(
            partial(model, training=False),
            input_signature=[tf.TensorSpec(model.input.shape, model.input.dtype)],
            autograph=False,
        )
        if is_keras_file(card.preset):
            self._require_one_vector(card.preset)

    def _require_one_vector(self, path: str) -> None:
        texts = np.array(["good", "good " * 100], dtype=object)
        alone, beside = self._step(texts[:1]).numpy(), self._step(texts).numpy()[:1]
        tolerance = 1e-4 * np.abs(np.nan_to_num(alone)).max()
        if not np.allclose(alone, beside, rtol=0, atol=tolerance, equal_nan=True):
            raise SpaceError(
                "preset must give a text the same vector beside other texts;"
                f" {path!r} reads the padding of shorter texts. Mask the padding, as in"
                " Embedding(mask_zero=True)."
            )

    def features_of(self, view: InputView, rows: Rows, lengths: Rows) -> Vectors:
        """Return the vectors of these rows, one text after the other; `lengths` are their numbers
        of vectors.
        """
        ends = np.cumsum(lengths)
        vectors = np.empty((lengths.sum(), self.width), dtype=np.float32)
        # The texts of a batch have similar lengths, because the encoder computes the padding too.
        order = np.argsort(view.lengths_of(rows), kind="stable")
        for first in range(0, len(rows), ENCODER_BATCH_SIZE):
            batch = order[first : first + ENCODER_BATCH_SIZE]
            outputs = self._step(view.batch(rows[batch])).numpy()
            outputs = outputs.reshape(len(batch), -1, self.width)
            for row, of_text in zip(batch, outputs, strict=True):
                vectors[ends[row] - lengths[row] : ends[row]] = of_text[: lengths[row]]
        return vectors
