"""From texts to the ids that an exported model takes; each export contains a copy of this file.
Only Python's standard library is needed, and the package `tokenizers` for a pretrained model.

The ids equal those of `keras.layers.TextVectorization` with its defaults: ASCII letters become
lower case, ASCII punctuation is removed, and ASCII white space separates words. The word in the
first line of `vocabulary.txt` has the id 2; 1 is an unknown word, 0 the padding after a text.

    tokenize = load_tokenizer(".")
    tokenize(["I love it"])  # {"ids": [[9, 106, 10, 0, 0, …]]}

A model may take n-grams: the ids of the distinct n-grams of a text, ascending, without unknown
n-grams, from `ngrams.txt`, with padding after them. A pretrained model takes tokens: the ids of the
tokenizer in `tokenizer.json`, each plus one, with its special tokens and then padding.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

PADDING_ID, UNKNOWN_ID, FIRST_WORD_ID = 0, 1, 2
WHITE_SPACE = b"\t\n\x0b\x0c\r "
PUNCTUATION = b"!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'"
LOWER = bytes(range(65)) + bytes(range(97, 123)) + bytes(range(91, 256))

Encoder = Callable[[str], list[int]]
_T = TypeVar("_T")


def load_tokenizer(
    folder: str | Path,
) -> Callable[[Sequence[str]], dict[str, list[list[int]]]]:
    """Return the tokenizer of an export: a function from texts to rows of ids, by the name of the
    model's input. "ids" has `sequence_length` columns, "ngrams" one more than the maximum number of
    n-grams of a text, "tokens" as many as the longest text.
    """
    inputs = json.loads((Path(folder) / "export.json").read_text(encoding="utf-8"))["input"]
    encoders = make_encoders(Path(folder), **inputs)
    lengths = {"ids": int(inputs["sequence_length"])}
    return lambda texts: encoded(texts, encoders, lengths)


def encoded(
    texts: Sequence[str], encoders: Mapping[str, Encoder], lengths: Mapping[str, int]
) -> dict[str, list[list[int]]]:
    """Return the rows of ids of each input by its name, padded to its number of columns in
    `lengths`, else to the longest row.
    """
    inputs = {}
    for name, encode in encoders.items():
        rows = [encode(text) for text in texts]
        length = lengths.get(name) or width(name, rows)
        inputs[name] = [padded(row, length) for row in rows]
    return inputs


def make_encoders(
    folder: Path,
    *,
    vocab_size: int,
    sequence_length: int,
    truncating: str,
    ngrams: int = 0,
    ngram_vocab_size: int = 0,
    preset: str = "",
) -> dict[str, Encoder]:
    """Return a function from a text to its ids for each input of an export's model: "ids" if
    `vocab_size` is not 0, "ngrams" if `ngrams` is not 0, "tokens" if the model has a preset.
    """
    encoders = {}
    if vocab_size:
        encoders["ids"] = make_encoder(
            folder / "vocabulary.txt",
            vocab_size=vocab_size,
            sequence_length=sequence_length,
            truncating=truncating,
        )
    if ngrams:
        lines = (folder / "ngrams.txt").read_bytes().split(b"\n")
        vocabulary = lines[: ngram_vocab_size - FIRST_WORD_ID]
        encoders["ngrams"] = make_ngram_encoder(vocabulary, order=ngrams)
    if preset:
        encoders["tokens"] = make_preset_encoder(
            folder / "tokenizer.json", sequence_length=sequence_length, truncating=truncating
        )
    return encoders


def make_encoder(
    vocabulary: Path, *, vocab_size: int, sequence_length: int, truncating: str
) -> Encoder:
    """Return a function from a text to its ids, at most `sequence_length`.

    `truncating` is the part of a longer text that is cut: "pre" its beginning, "post" its end,
    "middle" its middle.
    """
    words = vocabulary.read_bytes().split(b"\n")[: vocab_size - FIRST_WORD_ID]
    index = {word: number for number, word in enumerate(words, start=FIRST_WORD_ID)}

    def encode(text: str) -> list[int]:
        tokens = truncated(split(text), sequence_length, truncating)
        return [index.get(token, UNKNOWN_ID) for token in tokens]

    return encode


def make_ngram_encoder(vocabulary: Sequence[bytes], *, order: int) -> Encoder:
    """Return a function from a text to the ascending ids of its distinct n-grams of at most `order`
    words that the vocabulary contains.
    """
    index = {ngram: number for number, ngram in enumerate(vocabulary, start=FIRST_WORD_ID)}

    def encode(text: str) -> list[int]:
        tokens = split(text)
        ngrams = {
            b" ".join(tokens[start : start + length])
            for length in range(1, order + 1)
            for start in range(len(tokens) - length + 1)
        }
        return sorted(index[ngram] for ngram in ngrams if ngram in index)

    return encode


def make_preset_encoder(path: Path, *, sequence_length: int, truncating: str) -> Encoder:
    """Return a function from a text to its tokens, at most `sequence_length` with the special
    tokens before and after the text: the ids of the tokenizer in a file of the package
    `tokenizers`, each plus one, so that 0 is the padding of every model.
    """
    tokenizer = load_preset_tokenizer(path)
    first, last = special_tokens(tokenizer)

    def encode(text: str) -> list[int]:
        ids = [n + 1 for n in tokenizer.encode(as_utf8(text), add_special_tokens=False).ids]
        kept = truncated(ids, sequence_length - len(first) - len(last), truncating)
        return [*first, *kept, *last]

    return encode


def load_preset_tokenizer(path: Path) -> Any:
    """Return the `tokenizers.Tokenizer` in a file, without its cutting and padding of texts."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # The name of a special token in a text, such as [SEP], is text.
    tokenizer.encode_special_tokens = True
    return tokenizer


def special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the special tokens that a tokenizer adds before and after a text: their ids plus 1."""
    encoding = tokenizer.encode("a")
    is_special = encoding.special_tokens_mask
    start = is_special.index(0) if 0 in is_special else len(is_special)
    end = len(is_special) - (is_special[::-1].index(0) if 0 in is_special else 0)
    ids = [n + 1 for n in encoding.ids]
    return ids[:start], ids[end:]


def as_utf8(text: str) -> str:
    """Return a text with a question mark in the place of each lone surrogate."""
    return text.encode("utf-8", "replace").decode()


def split(text: str) -> list[bytes]:
    return text.encode("utf-8", "replace").translate(LOWER, PUNCTUATION).split()


def truncated(tokens: list[_T], sequence_length: int, truncating: str) -> list[_T]:
    """Return the tokens of a text that are kept, at most `sequence_length`."""
    if len(tokens) <= sequence_length:
        return tokens
    if truncating == "post":
        return tokens[:sequence_length]
    n_last = sequence_length if truncating == "pre" else sequence_length // 2
    return tokens[: sequence_length - n_last] + tokens[len(tokens) - n_last :]


def width(name: str, rows: Sequence[list[int]]) -> int:
    """Return the number of columns for the rows of an input."""
    # Every row of n-grams ends with padding, because the output of a model must not depend on
    # whether a text has padding.
    return max([0, *map(len, rows)]) + 1 if name == "ngrams" else max([1, *map(len, rows)])


def padded(ids: list[int], length: int) -> list[int]:
    return ids + [PADDING_ID] * (length - len(ids))
