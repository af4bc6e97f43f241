"""From texts to the token ids that an exported model takes; each export contains a copy of this
file. Only Python's standard library is needed.

The ids equal those of `keras.layers.TextVectorization` with its defaults: ASCII letters become
lower case, ASCII punctuation is removed, and ASCII white space separates words. The word in the
first line of `vocabulary.txt` has the id 2; 1 is an unknown word, 0 the padding after a text.

    tokenize = load_tokenizer(".")
    tokenize(["I love it"])  # [[9, 106, 10, 0, 0, …]]
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

PADDING_ID, UNKNOWN_ID, FIRST_WORD_ID = 0, 1, 2
WHITE_SPACE = b"\t\n\x0b\x0c\r "
PUNCTUATION = b"!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'"
LOWER = bytes(range(65)) + bytes(range(97, 123)) + bytes(range(91, 256))


def load_tokenizer(folder: str | Path) -> Callable[[Sequence[str]], list[list[int]]]:
    """The tokenizer of an export: a function from texts to rows of `sequence_length` ids."""
    inputs = json.loads((Path(folder) / "export.json").read_text(encoding="utf-8"))["input"]
    length = int(inputs["sequence_length"])
    encode = make_encoder(Path(folder) / "vocabulary.txt", **inputs)
    return lambda texts: [padded(encode(text), length) for text in texts]


def make_encoder(
    vocabulary: Path, *, vocab_size: int, sequence_length: int, truncating: str
) -> Callable[[str], list[int]]:
    """A function from a text to its ids, at most `sequence_length`.

    `truncating` says which end of a longer text is cut: "pre" its beginning, "post" its end.
    """
    words = vocabulary.read_bytes().split(b"\n")[: vocab_size - FIRST_WORD_ID]
    index = {word: number for number, word in enumerate(words, start=FIRST_WORD_ID)}
    kept = slice(-sequence_length, None) if truncating == "pre" else slice(sequence_length)

    def encode(text: str) -> list[int]:
        tokens = text.encode("utf-8", "replace").translate(LOWER, PUNCTUATION).split()
        return [index.get(token, UNKNOWN_ID) for token in tokens[kept]]

    return encode


def padded(ids: list[int], length: int) -> list[int]:
    """The ids, followed by padding to `length`."""
    return ids + [PADDING_ID] * (length - len(ids))
