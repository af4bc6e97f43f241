"""Exports that are missing, unfinished or of another version."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.servers import MANIFEST
from tuning.documents import write
from tuning.errors import ExportError
from tuning.inference.load import MAX_CHARACTERS, batches, fastest_format, load


def test_format_that_was_left_out_has_its_reason(tmp_path: Path) -> None:
    manifest = replace(MANIFEST, left_out={"model.h5": "Keras can't load it."})
    write(tmp_path / "export.json", manifest, version=2)
    with pytest.raises(
        ExportError, match=r"model\.h5; the format was left out: Keras can't load it\.$"
    ):
        load(tmp_path, format_name="h5")


def test_unknown_format_lists_the_formats(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keras, saved_model, h5, onnx, litert, litert_int8"):
        load(tmp_path, format_name="pickle")


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


@settings(derandomize=True, deadline=None)
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
