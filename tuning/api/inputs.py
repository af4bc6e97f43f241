"""The data of a call from Python as files, which a study needs when it is continued or exported."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.atomic_io import write_bytes
from tuning.config import SPLITS, Data, DataConfig, StudyConfig, check_name, given
from tuning.errors import ArgumentError, DataError
from tuning.metrics import DEFAULT_TARGET
from tuning.results import StudyDir, safe_name
from tuning.spaces.files import short_name
from tuning.text import utf8

if TYPE_CHECKING:
    import pandas as pd

TEXT, LABEL = "text", "label"
# Number of hexadecimal digits in the names of files that are named after their content.
N_DIGITS = 8
# Maximum mean length, in characters, of the values of a further column that is kept: such columns
# contain categories, dates and numbers, but no texts.
MAX_MEAN_LENGTH = 100


def default_study(space: str | None, data: str | None) -> str:
    """Return the name of a study of this search space and data set: `text-movie_reviews`."""
    name = safe_name(short_name(space or StudyConfig.space)).lstrip("_-") or "space"
    return f"{name}-{data_stem(data)}"[:100]


def data_stem(data: str | None) -> str:
    """Return the name of a data set in names of studies: `reviews` for `data/reviews.csv.gz`."""
    return safe_name(
        Path((data or DataConfig.data).removeprefix("tfds:")).name.split(".")[0] or "data"
    )


def content_name(kind: str, content: bytes) -> str:
    """Return a name such as `data-3501b39e`, with a hash of the content."""
    return f"{kind}-{hashlib.sha256(content).hexdigest()[:N_DIGITS]}"


def write_once(folder: StudyDir, name: str, content: bytes) -> Path:
    path = (folder.path / name).absolute()
    if not path.exists():
        write_bytes(path, content)
    return path


@dataclass(frozen=True)
class Frame:
    """Rows of a call from Python as a Parquet file. The file's name is a hash of the texts, the
    labels and the columns that split or weight them: the same rows in the same order give the same
    name, so a notebook that is run again continues its study.
    """

    stem: str
    parquet: bytes

    def write(self, folder: StudyDir) -> Path:
        """Write the file and return its path; an existing file with further columns is kept."""
        from pyarrow import parquet

        path = write_once(folder, f"{self.stem}.parquet", self.parquet)
        names = set(parquet.read_schema(io.BytesIO(self.parquet)).names)
        if not names < set(parquet.read_schema(path).names) and path.read_bytes() != self.parquet:
            write_bytes(path, self.parquet)  # The same texts and labels, and other columns.
        return path


def frame_of(
    data: pd.DataFrame,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    kind: str = DEFAULT_TARGET,
    **of_rows: str | None,
) -> Frame:
    """Return the rows of a data frame. The values of other columns are kept as texts for the
    reports, except for columns of long values, unless they split or weight the rows (`of_rows`).
    Lists of labels are JSON. A column that is None is the first known name.
    """
    from tuning.data.sources import several_columns
    from tuning.data.tables import choose_column, named_column
    from tuning.targets.kinds import KINDS

    data = data.set_axis([str(name) for name in data.columns], axis=1)
    texts = choose_column(data.columns, text_column, "text")
    several = several_columns([*data], label_column, kind=kind)
    labels = several or [choose_column(data.columns, label_column, "label")]
    of_rows = {n: named_column(data.columns, c, n) for n, c in given(**of_rows).items()}
    used = [texts, *labels, *of_rows.values()]
    if texts in labels or any([*data.columns].count(name) > 1 for name in used):
        raise DataError(
            "The texts, the labels and the columns of the rows must be columns with different"
            f" names; the data frame has {', '.join(data.columns)}, of which"
            f" {', '.join(map(repr, used))} are used."
        )
    for value in data[texts].dropna():
        if not isinstance(value, str):
            raise DataError(f"The column {texts!r} must have texts; it has {value!r}.")
    rows = data.reset_index(drop=True)
    rows.attrs = {}  # Parquet would contain them, as JSON.
    if not KINDS[kind].is_exclusive:
        rows[labels] = rows[labels].map(_list_as_text)
    for name in labels:
        lists = (v for v in rows[name] if isinstance(v, Sized) and not isinstance(v, str | bytes))
        if (row := next(lists, None)) is not None:
            raise DataError(
                f"The column {name!r} must have one label a text; it has {row!r}. Choose one of the"
                " values, the argmax of one-hot labels, or kind 'labels'."
            )
        rows[name] = _encodable(rows[name])
    rows[texts] = _encodable(rows[texts])
    try:
        content = _parquet(rows[[texts, *labels]])
    except (
        TypeError,
        ValueError,
        NotImplementedError,
    ) as error:  # The classes of pyarrow's errors.
        raise DataError(
            f"The labels in the column {', '.join(map(repr, labels))} must be all texts or all"
            f" numbers; pyarrow says: {error}."
        ) from error
    needed = [str(name) for name in rows if name in of_rows.values()]
    others = {
        name: _as_texts(rows[name], is_needed=name in needed)
        for name in rows
        if name not in (texts, *labels)
    }
    kept = {str(name): column for name, column in others.items() if column is not None}
    return Frame(
        content_name(
            "data",
            _canonical(
                rows[texts],
                *(rows[name] for name in labels),
                *(rows[name].astype(str) for name in needed),
            ),
        ),
        _parquet(rows[[texts, *labels]].assign(**kept)) if kept else content,
    )


def _list_as_text(value: Any) -> Any:
    is_list = isinstance(value, Sized) and not isinstance(value, str | bytes)
    return json.dumps(sorted(map(str, value)), ensure_ascii=False) if is_list else value


def _encodable(column: pd.Series[Any]) -> pd.Series[Any]:
    import pandas as pd

    dtype = column.dtype
    if isinstance(dtype, pd.SparseDtype):  # pyarrow refuses it.
        return column.astype(dtype.subtype)
    values = dtype.categories.dtype if isinstance(dtype, pd.CategoricalDtype) else dtype
    if isinstance(values, pd.PeriodDtype | pd.IntervalDtype):  # Parquet would keep numbers.
        return column.astype(object).map(str, na_action="ignore")
    # A lone surrogate can't be encoded in UTF-8. `clean` reads the texts of files in the same way.
    if column.dtype != object or not any(isinstance(value, str) for value in column):
        return column
    return column.map(lambda value: utf8(value) if isinstance(value, str) else value)


def _canonical(texts: pd.Series[Any], labels: pd.Series[Any], *others: pd.Series[Any]) -> bytes:
    """Return columns in a form that does not depend on their dtypes and on the versions of pandas
    and Parquet.
    """
    import pandas as pd

    # The labels 1, 1.0 and True are one label.
    if pd.api.types.is_numeric_dtype(labels):
        labels = labels.astype(float)
    every = (texts, labels, *others)
    columns = [column.astype(object).where(column.notna(), None).to_list() for column in every]
    return json.dumps([*(column.name for column in every), *columns], default=str).encode()


def _parquet(rows: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    rows.to_parquet(buffer)
    return buffer.getvalue()


def _as_texts(column: pd.Series[Any] | pd.DataFrame, *, is_needed: bool) -> pd.Series[str] | None:
    """Return the values of a column as texts, with None where a value is missing; None for a column
    that the file leaves out.
    """
    import pandas as pd

    # pandas gives a data frame for a name that is not unique. In Parquet, a name with a dot means a
    # nested column.
    if not isinstance(column, pd.Series) or ("." in str(column.name) and not is_needed):
        return None
    values = column.astype(object).where(column.notna(), None)
    texts = values.map(lambda value: None if value is None else utf8(str(value)))
    return texts if is_needed or texts.str.len().mean() <= MAX_MEAN_LENGTH else None


def frame_of_lists(
    texts: Sequence[str] | None, labels: Sequence[Any] | None, *, kind: str = DEFAULT_TARGET
) -> pd.DataFrame:
    import pandas as pd

    from tuning.targets.kinds import KINDS

    for name, values in (("texts", texts), ("labels", labels)):
        if isinstance(values, str | Mapping):  # Its letters or keys would be the values.
            raise ArgumentError(
                f"{name} must be a list with one value for each row; received a"
                f" {type(values).__name__}."
            )
    _require_order(texts, labels)
    if labels is not None:
        is_exclusive = KINDS[kind].is_exclusive
        labels = _column(labels) if is_exclusive else [*map(_list_as_text, _named(labels))]
    for name, values in (("texts", texts), ("labels", labels)):
        shape = getattr(values, "shape", (1,))
        if len(shape) != 1:
            remedy = {
                "texts": "Choose one column of texts, which this program tokenizes itself.",
                "labels": "Choose one column, the argmax of one-hot labels, or kind 'labels'.",
            }
            raise ArgumentError(
                f"{name} must have one value for each row; received an array of shape {shape}."
                f" {remedy[name]}"
            )
    texts, labels = (
        None if part is None else [utf8(v) if isinstance(v, str) else v for v in part]
        for part in (texts, labels)
    )
    if texts is None or labels is None or len(texts) != len(labels):
        n_texts, n_labels = (None if part is None else len(part) for part in (texts, labels))
        raise ArgumentError(
            "texts and labels must have the same length; received"
            f" {'no' if n_texts is None else n_texts} texts and"
            f" {'no' if n_labels is None else n_labels} labels."
        )
    return pd.DataFrame({TEXT: texts, LABEL: labels})


def _require_order(texts: Any, labels: Any) -> None:
    import pandas as pd

    both = [part.index for part in (texts, labels) if isinstance(part, pd.Series | pd.DataFrame)]
    if len(both) != 2 or both[0].equals(both[1]):
        return
    # Rows with other indexes are paired by their places, as in scikit-learn.
    if both[0].isin(both[1]).all() and both[1].isin(both[0]).all():
        raise ArgumentError(
            "texts and labels must be in the same order; their indexes have the same values in"
            " another order. Pass labels.loc[texts.index], or labels.to_numpy() to keep the order."
        )


def _column(labels: Any) -> Any:
    """Return labels of shape (n, 1), which Keras takes too, as (n,)."""
    import numpy as np

    if hasattr(labels, "shape"):
        return np.asarray(labels)[:, 0] if labels.shape[1:] == (1,) else labels
    rows = [*labels]
    is_column = all(isinstance(row, list | tuple) and len(row) == 1 for row in rows)
    return [value for (value,) in rows] if is_column else rows


def _named(labels: Any) -> list[Any]:
    """Return several labels of each text as lists of names, if they are columns of 0 and 1 with or
    without names, such as those of scikit-learn's MultiLabelBinarizer, also sparse.
    """
    import pandas as pd

    if getattr(labels, "ndim", 1) != 2:
        return [*labels]
    names = getattr(labels, "columns", [f"label_{number}" for number in range(labels.shape[1])])
    of_sparse = getattr(labels, "toarray", lambda: labels)
    rows = getattr(labels, "to_numpy", of_sparse)()
    if not pd.DataFrame(rows).isin([0, 1]).all(axis=None):  # A missing value is neither.
        raise ArgumentError("labels must have the values 0 and 1 in each column of a label.")
    return [[name for name, value in zip(names, row, strict=True) if value] for row in rows]


@dataclass(frozen=True)
class Source:
    """The data of a call, before anything is written: the name or path of the data, or the name of
    the frame (None: the default data set); the rows that are written into the study's folder; and
    the given fields of a `DataConfig`, except `data`.
    """

    name: str | None
    frame: Frame | None
    settings: dict[str, Any]

    def write(self, folder: StudyDir) -> dict[str, Any]:
        """Write the rows into a study's folder, if they come from Python, and return the given
        fields of a `DataConfig`.
        """
        data = str(self.frame.write(folder)) if self.frame else self.name
        return given(data=data) | self.settings


def source_of(data: Any) -> Source:
    import numpy as np
    import pandas as pd

    from tuning.data.tables import column_name

    data = data if isinstance(data, Data) else Data(data)
    settings = given(**{item.name: getattr(data, item.name) for item in fields(DataConfig)})
    settings.pop("data", None)
    names = [str(name) for name in getattr(data.data, "columns", ())]
    # The columns of a frame are an Index, and the classes of scikit-learn's MultiLabelBinarizer an
    # array.
    several = isinstance(data.label_column, list | tuple | pd.Index | np.ndarray)
    if several and str(data.label_column) not in names:
        labels = [str(name) for name in data.label_column]
        if with_commas := [name for name in labels if "," in name]:
            raise ArgumentError(
                f"label_column must list names without commas; rename {with_commas[0]!r}."
            )
        settings["label_column"] = ",".join(labels)
    for name in SPLITS[1:]:
        if not isinstance(settings.get(name, ""), str | Path):
            raise ArgumentError(
                f"{name} must be the path of a file; received a {type(settings[name]).__name__}."
                " Put all rows into one data frame, and name their splits in a column"
                " (split_column)."
            )
    # A data frame may have numbers and tuples for names.
    columns = {n: column_name(n, value) for n, value in settings.items() if n.endswith("_column")}
    settings |= columns | {name: str(settings[name]) for name in SPLITS if name in settings}
    if data.data_dir is not None:
        settings["data_dir"] = str(Path(data.data_dir).expanduser())
    if stars := [*settings.pop("drop_stars", ())]:
        settings["drop_stars"] = stars
    if frame := _frame_of_call(data, columns):
        return Source(frame.stem, frame, settings)
    if data.data is not None and not isinstance(data.data, str | Path):
        kind = type(data.data)
        raise ArgumentError(
            f"data must be a data frame of pandas, a path or a name; received a {kind.__name__} of"
            f" {kind.__module__}. Convert it, for example with pandas.DataFrame(data) or its"
            " to_pandas(), or give texts and labels."
        )
    return Source(None if data.data is None else str(data.data), None, settings)


def _frame_of_call(data: Data, columns: Mapping[str, str]) -> Frame | None:
    import pandas as pd

    from tuning.targets.kinds import KINDS

    kind = data.kind or DEFAULT_TARGET
    check_name("kind", kind, tuple(sorted(KINDS)))
    if data.texts is None and data.labels is None:
        if not isinstance(data.data, pd.DataFrame):
            return None
        return frame_of(data.data, kind=kind, **columns)
    if data.data is not None or columns:
        raise ArgumentError(
            "texts and labels must come without data and columns; received both. Give either."
        )
    return frame_of(frame_of_lists(data.texts, data.labels, kind=kind), kind=kind)
