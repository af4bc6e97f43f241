"""What training and prediction read alike: the sizes of Parquet files, and values as texts."""

from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from tuning.data.records import as_text, batch_bytes, parquet_table

LONG = "a" * 1_000_000


@pytest.mark.parametrize(
    "kind",
    [
        pyarrow.string_view(),
        pyarrow.large_string(),
        pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
    ],
)
def test_text_counts_once_a_row_whatever_holds_it(kind: pyarrow.DataType, tmp_path: Path) -> None:
    path = tmp_path / "large.parquet"
    rows = pyarrow.table({"text": pyarrow.array([LONG] * 50).cast(kind)})
    pyarrow.parquet.write_table(rows, path, compression="zstd")
    with path.open("rb") as data, parquet_table(data, path, name="", progress=None) as table:
        n_bytes = sum(map(batch_bytes, table.batches(table.columns, n_rows=7)))
    assert 50 * len(LONG) < n_bytes < 51 * len(LONG)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((value, "") for value in (None, float("nan"), "")),
        *((value, str(int(value))) for value in (True, False)),
        (5, "5"),
        (5.0, "5.0"),
        ("a\ud800", "a?"),
        ("é".encode(), "é"),
        (["é", 1, None], '["é", 1, null]'),
    ],
)
def test_value_as_text(value: Any, text: str) -> None:
    assert as_text(value) == text
