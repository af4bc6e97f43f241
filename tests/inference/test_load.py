"""The format of an export that is loaded, and the batches of texts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuning.inference.load import MAX_CHARACTERS, batches, fastest_format


@pytest.mark.parametrize(
    ("paths", "format_name"),
    [
        (["saved_model", "model.onnx", "model.keras"], "onnx"),
        (["saved_model", "model.keras"], "keras"),
        (["saved_model", "model.h5"], "saved_model"),
    ],
)
def test_fastest_format_is_chosen_among_those_of_the_export(
    paths: list[str], format_name: str
) -> None:
    assert fastest_format(paths) == format_name


lengths = st.lists(st.integers(0, 2 * MAX_CHARACTERS) | st.integers(0, 300), max_size=40)


@given(lengths=lengths, max_rows=st.integers(1, 9))
def test_batches_have_every_text_once_and_are_not_too_large(
    lengths: list[int], max_rows: int
) -> None:
    places = [*batches(lengths, max_rows=max_rows)]
    assert sorted(np.concatenate([[], *places]).astype(int)) == [*range(len(lengths))]
    in_order = [lengths[place] for batch in places for place in batch]
    assert in_order == sorted(lengths)
    for batch in places:
        width = max(lengths[place] for place in batch)
        assert 1 <= len(batch) <= max_rows
        assert len(batch) == 1 or len(batch) * width <= MAX_CHARACTERS
