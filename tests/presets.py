"""Tiny presets that tests make in code, so that no test needs a network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.texts import BAD, FILLER, GOOD, make_reviews

VOCABULARY = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", "!", "[", "]", "item"),
    *("##" + digit for digit in "0123456789"),
    *sorted({word.lower() for word in (*GOOD, *BAD, *FILLER)}),
    *("un", "##able", "##s", "日", "é", "e"),
)
SIZES = {"num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
SPLITS = {
    name: make_reviews(n, seed=n)["review_body"].tolist()
    for name, n in (("train", 40), ("validation", 20), ("test", 10))
}
BYTE_PAIRS = ("Ġ t", "h e", "Ġt he", "g r", "gr e", "Ġ a", "e r")


def word_pieces(**options: Any) -> Any:
    """Return KerasHub's tokenizer of the tiny BERT."""
    import keras_hub

    return keras_hub.models.BertTokenizer(list(VOCABULARY), **{"lowercase": True, **options})


def byte_pairs() -> Any:
    """Return a RoBERTa tokenizer of KerasHub whose vocabulary has all bytes and a few pairs."""
    import keras_hub
    from tokenizers.pre_tokenizers import ByteLevel

    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(ByteLevel.alphabet())]
    words += [pair.replace(" ", "") for pair in BYTE_PAIRS]
    vocabulary = {word: number for number, word in enumerate(words)}
    return keras_hub.models.RobertaTokenizer(vocabulary=vocabulary, merges=list(BYTE_PAIRS))


def write_bert(folder: Path, *, num_layers: int = 2) -> Path:
    """Write a BERT with its WordPiece tokenizer in KerasHub's format."""
    import keras
    import keras_hub

    keras.utils.set_random_seed(0)
    encoder = keras_hub.models.BertBackbone(
        vocabulary_size=len(VOCABULARY), max_sequence_length=256, num_layers=num_layers, **SIZES
    )
    rng = np.random.default_rng(0)
    for weight in encoder.weights:  # With Keras' own first weights all texts are nearly equal.
        weight.assign(weight + rng.normal(0, 0.2, weight.shape))
    encoder.save_to_preset(str(folder))
    word_pieces().save_to_preset(str(folder))
    return folder


def write_text_encoder(
    path: Path, *, column: bool = False, mask: bool = True, pool: bool = True, scale: float = 1.0
) -> Path:
    """Write a Keras model that takes texts, in a column or not, and gives 6 numbers for each, or
    for each word if `pool` is false.
    """
    import keras

    from tuning.models.words import is_word, mean_over_words

    keras.utils.set_random_seed(0)
    text = keras.Input((1,) if column else (), dtype="string")
    ids = keras.layers.TextVectorization(vocabulary=[*GOOD, *BAD, *FILLER])(text)
    words = keras.layers.Embedding(99, 6, "normal")(ids)
    if pool:
        words = mean_over_words(words, is_word(ids) if mask else is_word(ids + 1))
    keras.Model(text, keras.layers.Rescaling(scale)(words)).save(path)
    return path


def write_decoder(folder: Path) -> Path:
    """Write a GPT-2 of one layer without a tokenizer in KerasHub's format."""
    import keras_hub

    keras_hub.models.GPT2Backbone(
        vocabulary_size=20,
        num_layers=1,
        num_heads=1,
        hidden_dim=4,
        intermediate_dim=4,
        max_sequence_length=16,
    ).save_to_preset(str(folder))
    return folder


def call_in_this_process(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Do what `run_child` does. A child would import Keras again."""
    return function(*arguments)
