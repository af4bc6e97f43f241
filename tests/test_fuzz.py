"""For any contents of a file, a reader succeeds or raises an error of this program.

`FUZZ_EXAMPLES` sets how many inputs each test tries; `make fuzz` tries 110,000 in all.
"""

import contextlib
import gzip
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.commands import output_of
from tests.fuzz_inputs import GOOD, READERS, read_table
from tests.stored_documents import STORED_FILES, STUDY
from tests.texts import make_reviews
from tuning.data.tables import read_files
from tuning.errors import TuningError
from tuning.inputs.contract import IdTexts, ModelInput
from tuning.inputs.corpus import encode
from tuning.inputs.kinds import NGRAMS

N_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
fuzz = settings(
    max_examples=N_EXAMPLES,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def own_error_or_success(read: Callable[[], Any]) -> None:
    """Call `read`, and accept an error of this program; every other error fails the test."""
    with contextlib.suppress(TuningError):
        read()


def mutated(good: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy for a valid file with some bytes overwritten, cut off or repeated."""

    def mutate(parts: tuple[list[tuple[int, bytes]], int, int]) -> bytes:
        changes, end, times = parts
        data = bytearray(good)
        for place, new in changes:
            data[place % len(data) : place % len(data) + len(new)] = new
        return bytes(data[: end % (len(data) + 1)] if end else data) * times

    changes = st.lists(st.tuples(st.integers(0, 2**16), st.binary(max_size=6)), max_size=4)
    return st.tuples(changes, st.integers(0, 2**16), st.integers(1, 2)).map(mutate)


@pytest.mark.parametrize("ending", GOOD)
def test_data_files(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"reviews.{ending}"

    @settings(fuzz)
    @given(st.binary(max_size=200) | mutated(GOOD[ending]))
    def read(data: bytes) -> None:
        path.write_bytes(data)
        own_error_or_success(lambda: read_table(path))

    read()


def changed(good: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for a valid JSON object of which a value, at any depth, is replaced or left
    out.
    """
    places = [path for path in _paths(good) if path]

    def change(parts: tuple[tuple[Any, ...], Any, bool]) -> dict[str, Any]:
        place, new, leave_out = parts
        made = json.loads(json.dumps(good))
        inner = made
        for step in place[:-1]:
            inner = inner[step]
        if leave_out and isinstance(inner, dict):
            del inner[place[-1]]
        else:
            inner[place[-1]] = new
        return made  # type: ignore[no-any-return]

    return st.tuples(st.sampled_from(places), JSON, st.booleans()).map(change)


def _paths(value: Any) -> list[tuple[Any, ...]]:
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [(), *((key, *path) for key, inner in items for path in _paths(inner))]


@pytest.mark.parametrize("name", READERS)
def test_documents(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    good = STORED_FILES.get(name, STUDY.path / name).read_bytes()
    some = JSON | changed(json.loads(good))

    @fuzz
    @given(some.map(lambda value: json.dumps(value).encode()) | mutated(good))
    def check(data: bytes) -> None:
        path.write_bytes(data)
        own_error_or_success(lambda: READERS[name](tmp_path))

    check()


def test_texts_to_predict() -> None:
    @fuzz
    @given(st.lists(st.text(st.characters(codec="utf-8"), max_size=40), max_size=4))
    def check(texts: list[str]) -> None:
        encoded_texts = encode(texts, ["good", "bad"])
        assert len(encoded_texts.lengths) == len(texts)
        inputs = ModelInput(vocab_size=0, sequence_length=0, truncating="pre", ngrams=2)
        ngrams = NGRAMS.encode(texts, ["good", "good bad"], inputs)["ngrams"]
        assert isinstance(ngrams, IdTexts)
        assert len(ngrams.lengths) == len(texts)
        assert set(ngrams.ids.tolist()) <= {2, 3}

    check()


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_decompression_bomb_ends_at_a_stated_size(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuning.data.files.MIN_DECOMPRESSION_BOMB_BYTES", 2**20)
    path = tmp_path / f"large.{ending}.gz"
    head = {"csv": b"text,label\n", "tsv": b"text\tlabel\n", "jsonl": b""}[ending]
    path.write_bytes(gzip.compress(head + b" " * 2**24))
    with pytest.raises(TuningError, match="must unpack to at most 100 times its size"):
        read_files(str(path))
    good = make_reviews(20_000)
    good.to_csv(tmp_path / "good.csv.gz", index=False)
    assert isinstance(read_files(str(tmp_path / "good.csv.gz")).frame, pd.DataFrame)


@pytest.mark.nightly
def test_inputs_that_follow_branches() -> None:
    """The test tries a few inputs, where `make fuzz` tries tens of thousands. Each reader is fuzzed
    in a process of its own.
    """
    printed = output_of(sys.executable, "-m", "tests.fuzz_atheris", "--runs", "100")
    assert "every one read, or refused in this program's own words" in printed
