"""The formats of a model, written and compared at once."""

from collections.abc import Callable
from pathlib import Path

import keras

from tuning.export import formats
from tuning.export.manifest import WrittenFormats
from tuning.export.writers import Source
from tuning.inputs.corpus import Corpus
from tuning.spaces.ranges import Values
from tuning.targets.target import Array, Labels


def write_formats(
    folder: Path,
    model: keras.Model,
    values: Values,
    corpus: Corpus,
    *,
    test_texts: list[str],
    test_labels: Labels,
    to_probabilities: keras.layers.Layer | None = None,
    expect: Callable[[list[str]], Array] | None = None,
) -> WrittenFormats:
    """Write every format, as an export does, and return the formats that passed their checks."""
    source = Source(model, values, corpus, corpus.target, to_probabilities)
    with formats.write_formats(folder, source, test_texts=test_texts, expect=expect) as compare:
        pass
    return compare(test_labels)
