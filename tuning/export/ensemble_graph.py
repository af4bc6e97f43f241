"""An ensemble as one Keras model: the mean of the class probabilities of several trained models,
each of which takes its own view of the same token ids and n-grams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from tuning.data.corpus import Corpus
from tuning.data.tokenizer import FIRST_WORD_ID, UNKNOWN_ID
from tuning.errors import StudyError
from tuning.export.writers import Source
from tuning.inference.manifest import ModelInput
from tuning.raw_text.input_layers import without_excess
from tuning.spaces.ranges import Values
from tuning.training.architecture import IDS, NGRAMS, TEXT, TOKENS


@dataclass(frozen=True)
class WeightedModel:
    """A trained model of an ensemble, the description of its input, its weight, and the layer that
    makes probabilities of its output, if it is logits.
    """

    model: keras.Model
    inputs: ModelInput
    weight: float
    name: str
    to_probabilities: keras.layers.Layer | None = None


def common_input(inputs: Sequence[ModelInput], corpus: Corpus) -> ModelInput:
    """Return an input from which each of these inputs can be made.

    The vocabulary is the largest one. If the inputs drop the same part of a long text, the length
    is the largest one. Otherwise the middle is dropped, and either end is as long as the longest
    input. N-grams have the largest order, and as many rows as contain all n-grams of each input.
    Models that take the tokens of a preset take the same tokens, and have n-grams beside them at
    most. Models that take texts have the same input, which is returned.

    Raises:
        StudyError: some of the models take texts, and some do not; or models take the tokens of a
            preset and words, or different tokens.
    """
    if len({item.takes_texts for item in inputs}) > 1:
        raise StudyError(
            "The members of an ensemble must all take texts, or none of them; these are models of"
            " both kinds. Export the confirmed best alone."
        )
    if inputs[0].takes_texts:
        return inputs[0]
    of_words = [item for item in inputs if item.vocab_size or item.preset]
    read = {(item.preset, item.sequence_length, item.truncating) for item in of_words}
    if len(read) > 1 and any(preset for preset, *_ in read):
        raise StudyError(
            "The members of an ensemble that read words or tokens must all take the tokens of one"
            " preset, cut in one way, or all take words. Export the confirmed best alone."
        )
    of_ngrams = [item for item in inputs if item.ngrams]
    parts = {item.truncating for item in of_words}
    length = max((item.sequence_length for item in of_words), default=0)
    order = max((item.ngrams for item in of_ngrams), default=0)
    orders = _orders(corpus, order) if of_ngrams else np.zeros(0, np.uint8)
    return ModelInput(
        vocab_size=max((item.vocab_size for item in of_words), default=0),
        sequence_length=length if len(parts) < 2 else 2 * length,
        truncating="middle" if len(parts) > 1 else next(iter(parts), "pre"),
        ngrams=order,
        ngram_vocab_size=max((_n_rows(orders, item) for item in of_ngrams), default=0),
        preset=max(item.preset for item in inputs),
    )


def values_of_input(inputs: ModelInput) -> Values:
    """Return an input as the hyperparameters that describe a model's input."""
    vocabulary: Values = (
        {"preset": inputs.preset} if inputs.preset else {"vocab_size": inputs.vocab_size}
    )
    cut: Values = {"sequence_length": inputs.sequence_length, "truncating": inputs.truncating}
    words = {**vocabulary, **cut} if inputs.vocab_size or inputs.preset else {}
    ngrams: Values = {"ngrams": inputs.ngrams, "ngram_vocab_size": inputs.ngram_vocab_size}
    return {**words, **(ngrams if inputs.ngrams else {})}


def average(models: Sequence[WeightedModel], common: ModelInput, corpus: Corpus) -> keras.Model:
    """Return a model whose output is the weighted mean of the class probabilities of these models,
    (batch, n_classes).

    Its inputs are the inputs of `common`: "ids", int32 (batch, sequence_length), or "tokens", int32
    (batch, n_tokens), and "ngrams", int32 (batch, n_ngrams); or "text", strings (batch,).
    """
    arrays = {}
    if common.preset:
        arrays[TOKENS] = keras.Input((None,), dtype="int32", name=TOKENS)
    if common.vocab_size:
        arrays[IDS] = keras.Input((common.sequence_length,), dtype="int32", name=IDS)
    if common.ngrams:
        arrays[NGRAMS] = keras.Input((None,), dtype="int32", name=NGRAMS)
    if common.takes_texts:
        arrays[TEXT] = keras.Input((), dtype="string", name="text")
    orders = _orders(corpus, common.ngrams) if common.ngrams else np.zeros(0, np.uint8)
    terms = []
    for item in models:
        source = Source.of(item.model, item.inputs, corpus, item.to_probabilities)
        source.graph.name = item.name  # The layers of a Keras model need different names.
        own = {TEXT: arrays[TEXT]} if item.inputs.takes_texts else {}
        if item.inputs.preset:
            own[TOKENS] = arrays[TOKENS]
        if item.inputs.vocab_size:
            own[IDS] = _own_ids(arrays[IDS], common, item.inputs)
        if item.inputs.ngrams:
            own[NGRAMS] = _own_ngrams(arrays[NGRAMS], orders, common, item)
        output = source.probabilities(source.call(own))
        # The outputs of several sigmoids do not sum to 1.
        total = keras.ops.sum(output, axis=1, keepdims=True)
        terms.append(output / keras.ops.maximum(total, 1e-7) * item.weight)
    return keras.Model(list(arrays.values()), sum(terms[1:], terms[0]), name="ensemble")


def _own_ids(ids: Any, common: ModelInput, own: ModelInput) -> Any:
    """Return the token ids as a model of the ensemble takes them."""
    ops = keras.ops
    if (own.sequence_length, own.truncating) != (common.sequence_length, common.truncating):
        ids = without_excess(ids, own.sequence_length, own.truncating)
    return (
        ids
        if own.vocab_size == common.vocab_size
        else ops.where(ops.less(ids, own.vocab_size), ids, UNKNOWN_ID)
    )


def _own_ngrams(
    ngrams: Any, orders: npt.NDArray[np.uint8], common: ModelInput, item: WeightedModel
) -> Any:
    """Return the ids of the n-grams as a model of the ensemble takes them: 0 in the place of
    n-grams that its vocabulary does not contain.
    """
    ops, own = keras.ops, item.inputs
    if own.ngrams != common.ngrams:
        # An n-gram of lower order has another rank among the n-grams of lower order.
        is_kept = orders[: common.ngram_vocab_size - FIRST_WORD_ID] <= own.ngrams
        ranks = np.where(is_kept, np.cumsum(is_kept) + FIRST_WORD_ID - 1, 0)
        table = np.concatenate([np.zeros(FIRST_WORD_ID), ranks])[:, None]
        # Integers, because LiteRT's int8 weights would round numbers of any other kind.
        layer = keras.layers.Embedding(
            common.ngram_vocab_size,
            1,
            embeddings_initializer="zeros",
            trainable=False,
            dtype="int32",
            name=f"{item.name}_ngrams",
        )
        layer.build()
        layer.set_weights([table.astype(np.int32)])
        ngrams = ops.squeeze(layer(ngrams), -1)
    return ops.where(ops.less(ngrams, own.ngram_vocab_size), ngrams, 0)


def _orders(corpus: Corpus, order: int) -> npt.NDArray[np.uint8]:
    """Return the number of words of each n-gram of at most `order` words, the most frequent first,
    uint8 (n_ngrams,).
    """
    orders = corpus.ngram_orders[FIRST_WORD_ID:]
    return orders[orders <= order]


def _n_rows(orders: npt.NDArray[np.uint8], inputs: ModelInput) -> int:
    """Return the number of rows of a vocabulary with these orders that contain all n-grams of an
    input.
    """
    (places,) = np.nonzero(orders <= inputs.ngrams)
    n_kept = min(inputs.ngram_vocab_size - FIRST_WORD_ID, len(places))
    return int(places[n_kept - 1]) + 1 + FIRST_WORD_ID if n_kept else FIRST_WORD_ID + 1
