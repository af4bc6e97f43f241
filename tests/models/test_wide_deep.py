"""N-grams beside features of the words."""

from functools import partial
from typing import Any

import keras
import numpy as np
import pytest

from tests.models.classifiers import IDS, padded, spread
from tuning.models import mean_features, wide_deep_classifier
from tuning.training.architecture import ignores_padding, input_names

NGRAMS = np.array([[2, 3, 4], [5, 0, 0], [2, 6, 0], [0, 0, 0]], np.int32)


def tiny(**options: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    features = partial(mean_features, vocab_size=9, embedding_dim=3)
    return spread(wide_deep_classifier(features, ngram_vocab_size=7, **options))


@pytest.mark.parametrize(("n_classes", "unit_length"), [(2, False), (3, False), (3, True)])
def test_output_is_the_same_with_more_padding(n_classes: int, unit_length: bool) -> None:
    model = tiny(n_classes=n_classes, unit_length=unit_length)
    assert input_names(model) == ("ids", "ngrams")
    outputs = model.predict_on_batch({"ids": IDS, "ngrams": NGRAMS})
    assert ignores_padding(model)
    more = model.predict_on_batch({"ids": padded(IDS), "ngrams": padded(padded(NGRAMS))})
    np.testing.assert_allclose(more, outputs, atol=1e-6)
    assert outputs.shape == ((len(IDS), 1) if n_classes == 2 else (len(IDS), n_classes))


def test_logit_is_the_sum_of_both_parts() -> None:
    model = tiny()
    parts = keras.Model(
        model.inputs, [model.get_layer(name).output for name in ("ngram_logits", "word_logits")]
    )
    wide, deep = parts.predict_on_batch([IDS, NGRAMS])
    outputs = np.asarray(model.predict_on_batch([IDS, NGRAMS]))
    np.testing.assert_allclose(outputs, 1 / (1 + np.exp(-(wide + deep))), rtol=1e-5)
