"""The formats of a model, written and compared at once."""

from pathlib import Path

import keras

from tuning.data.corpus import Corpus
from tuning.evaluation.metrics import Labels
from tuning.export import formats
from tuning.export.manifest import WrittenFormats
from tuning.spaces.ranges import Values


def write_formats(
    folder: Path,
    model: keras.Model,
    values: Values,
    corpus: Corpus,
    *,
    test_texts: list[str],
    test_labels: Labels,
    to_probabilities: keras.layers.Layer | None = None,
) -> WrittenFormats:
    """Write every format, as an export does, and return the formats that passed their checks."""
    with formats.write_formats(
        folder, model, values, corpus, test_texts=test_texts, to_probabilities=to_probabilities
    ) as compare:
        pass
    return compare(test_labels)
