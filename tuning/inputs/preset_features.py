"""The features of a corpus for a preset: its encoder reads every text once, and trials read what it
gave.

A child process computes them, because the coordinator must not run Keras. They are float32, as the
encoder of an export computes them: float16 changes the probabilities of a trial by up to 0.0004
(all-MiniLM-L6-v2, Amazon reviews, 2 and 14 classes), and an export may differ by 0.0001. An
interrupted process goes on after the last whole block of texts.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tuning import documents
from tuning.atomic_io import translated
from tuning.config import SPLITS
from tuning.data.files import Progress
from tuning.data.folders import is_as_written, locked, rebuilt, write_checksums
from tuning.errors import SpaceError, StorageError
from tuning.inputs.arrow_tokenizer import map_ids
from tuning.inputs.contract import Rows
from tuning.inputs.corpus import Corpus
from tuning.inputs.encoder_tokens import PresetTexts, TokenView
from tuning.inputs.features import TRUNCATING
from tuning.inputs.preset import read_preset_card
from tuning.inputs.preset_tokens import encode_tokens, source_of, tokens_dir
from tuning.processes import ChildFailed, run_child, send

logger = logging.getLogger(__name__)

CARD = "features.json"
# Number of texts that are sorted by length and written together.
BLOCK_TEXTS = 2_048
BATCH_TEXTS = 64

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FeatureCard:
    """The facts that are stored beside features. `source` is a digest of the files of a preset that
    is a folder, with its weights; `length` the maximum number of tokens of a text.
    """

    preset: str
    source: str
    length: int


def _read_card(folder: Path) -> FeatureCard:
    remedy = "Search again to build the features."
    return documents.read(folder / CARD, FeatureCard, error=StorageError, remedy=remedy)


def build_features(
    corpus: Corpus, preset: str, *, length: int, progress: Progress | None = None
) -> None:
    """Write the features of a corpus, whose tokens for the preset exist, unless they exist and
    their files are as they were written.
    """
    tokens = tokens_dir(corpus, preset)
    folder = corpus.features_dir / f"{tokens.name}-{length}"
    card = FeatureCard(preset, source_of(preset, with_weights=True), length)

    def is_current(of: Path) -> bool:
        with contextlib.suppress(StorageError):
            return _read_card(of) == card
        return False

    def report(n_done: int) -> None:
        if progress:
            progress("encoding for the preset", n_done / sum(corpus.card.n_rows.values()))

    with locked(folder):
        if is_as_written(folder, is_current=lambda: is_current(folder)):
            return
        with rebuilt(folder, goes_on=is_current) as temporary:
            documents.write(temporary / CARD, card)
            report(0)
            try:
                run_child(main, preset, str(tokens), str(temporary), length, on_message=report)
            except ChildFailed as error:
                raise SpaceError(
                    f"preset must be an encoder that fits into the memory; encoding the texts with"
                    f" {preset!r} gave: {error}"
                ) from error
            write_checksums(temporary)
    logger.info("encoded the texts of %s with the preset %s", corpus.fingerprint, preset)


def map_features(corpus: Corpus, folder: Path, split: str) -> tuple[FeatureCard, Features]:
    """Return the card of features, and those of a split on a memory map, float32 (n, width)."""
    values = np.memmap(folder / f"{split}.bin", np.float32, "r")
    return _read_card(folder), values.reshape(corpus.card.n_rows[split], -1)


def main(preset: str, tokens: str, folder: str, length: int) -> None:
    """Write the features of each split, in the child process."""
    card, encoder, n_done = read_preset_card(Path(tokens)), _Encoder(preset), 0
    for name in SPLITS:
        ids = PresetTexts(*map_ids(Path(tokens) / name), tuple(card.first), tuple(card.last))
        path, n_bytes = Path(folder) / f"{name}.bin", 4 * encoder.width * BLOCK_TEXTS
        # Not in the mode "a": the child of a command that was killed may still write its block.
        with translated(path), path.open("r+b" if path.exists() else "wb") as file:
            n_blocks = path.stat().st_size // n_bytes
            file.truncate(file.seek(n_bytes * n_blocks))
            for start in range(n_blocks * BLOCK_TEXTS, len(ids), BLOCK_TEXTS):
                rows = np.arange(start, min(start + BLOCK_TEXTS, len(ids)))
                file.write(encoder.features_of(ids, rows, length=length).tobytes())
                file.flush()
                send(n_done + start + len(rows))
        n_done += len(ids)


def encode_features(preset: str, path: Path, texts: Sequence[str], *, length: int) -> Features:
    """Return the features of new texts, float32 (n, width). `path` is the preset's tokenizer."""
    rows = np.arange(len(texts))
    return _Encoder(preset).features_of(encode_tokens(path, texts), rows, length=length)


class _Encoder:
    """The encoder of a preset, without dropout."""

    def __init__(self, preset: str) -> None:
        import tensorflow as tf

        from tuning.models.transformer import frozen_encoder

        # On a graphics card, products would have 10 bits of precision, and in an export 23.
        tf.config.experimental.enable_tensor_float_32_execution(False)
        model = frozen_encoder(preset)
        self.width = int(model.output.shape[-1])
        self._step = tf.function(
            partial(model, training=False),
            input_signature=[tf.TensorSpec((None, None), tf.int32)],
            autograph=False,
        )

    def features_of(self, texts: PresetTexts, rows: Rows, *, length: int) -> Features:
        view = TokenView(texts, length, TRUNCATING)
        values = np.empty((len(rows), self.width), dtype=np.float32)
        # The texts of a batch have similar lengths, because the encoder computes the padding too.
        order = np.argsort(view.lengths_of(rows), kind="stable")
        for start in range(0, len(rows), BATCH_TEXTS):
            batch = order[start : start + BATCH_TEXTS]
            values[batch] = self._step(view.batch(rows[batch]))
        return values
