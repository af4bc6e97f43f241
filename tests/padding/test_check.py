"""Graphs of operations that skip the padding, graphs that read it, and random graphs: a graph that
is said to ignore the padding gives the same with more of it.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.padding.graphs import (
    IDS,
    PADDING_IS_IGNORED,
    PADDING_IS_READ,
    POOLS,
    STEPS,
    random_graph,
)
from tuning.padding.check import takes_any_length
from tuning.training.architecture import ignores_padding


def difference(model: keras.Model) -> float:
    """Return how much more padding changes the outputs. The weights are large, so that a value
    that is read at the padding makes a difference.
    """
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(0.3, 1, weight.shape))
    longer = np.pad(IDS, ((0, 0), (0, 4)))
    return float(np.abs(np.asarray(model(longer)) - np.asarray(model(IDS))).max())


@pytest.mark.parametrize("name", PADDING_IS_IGNORED)
def test_graph_that_skips_the_padding_is_recognized(name: str) -> None:
    model = PADDING_IS_IGNORED[name]()
    assert ignores_padding(model)
    assert difference(model) < 1e-5


@pytest.mark.parametrize("name", PADDING_IS_READ)
def test_graph_that_may_read_the_padding_is_refused(name: str) -> None:
    assert not ignores_padding(PADDING_IS_READ[name]())


@pytest.mark.parametrize(("options", "takes"), [({}, True), ({"unroll": True}, False)])
@pytest.mark.parametrize("wrapped", [lambda layer: layer, keras.layers.Bidirectional])
def test_unrolled_layer_needs_a_fixed_length(
    wrapped: Callable[[Any], Any], options: dict[str, bool], takes: bool
) -> None:
    embedding = keras.layers.Embedding(9, 3, mask_zero=True)
    chain = [embedding, wrapped(keras.layers.LSTM(2, **options))]
    assert takes_any_length(chain) is takes


def test_loaded_model_is_recognized_like_the_saved_one(tmp_path: Any) -> None:
    model = PADDING_IS_IGNORED["mean with dropped words"]()
    model.save(tmp_path / "model.keras")
    assert ignores_padding(keras.models.load_model(tmp_path / "model.keras"))


@pytest.mark.slow
@settings(max_examples=60)
@given(
    steps=st.lists(st.sampled_from(sorted(STEPS)), max_size=5), pool=st.sampled_from(sorted(POOLS))
)
def test_random_graph_that_is_said_to_ignore_padding_does(steps: list[str], pool: str) -> None:
    model = random_graph(steps, pool)
    if ignores_padding(model):
        assert difference(model) < 1e-5
