"""Read a data set of TensorFlow Datasets in a child process, because the coordinator must not run
TensorFlow.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tuning.config import TFDS_SPLIT
from tuning.data.files import Progress
from tuning.data.tables import Table, read_files
from tuning.errors import DataError
from tuning.processes import ChildFailed, run_child, send
from tuning.text import first_line

WITHDRAWN = "amazon_us_reviews"


def read_tfds(
    name: str, *, data_dir: str | None, by_split: bool = False, progress: Progress | None = None
) -> Table:
    """Read all splits of a TFDS data set into one table. A nested feature becomes a column such as
    `data/review_body`. `by_split`: the splits follow each other, and a column has their names.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "table.parquet"

        def on_message(message: tuple[str, int, int]) -> None:
            doing, done, total = message
            if progress:
                progress(f"{doing} tfds:{name}", done / max(total, 1))

        try:
            arguments = name, data_dir or None, str(out), by_split
            # Without a GPU: TensorFlow would reserve almost all of its memory.
            run_child(main, *arguments, on_message=on_message, CUDA_VISIBLE_DEVICES="")
        except (ChildFailed, DataError) as error:
            remedy = "Name the folder of a prepared copy (data_dir), or use movie_reviews"
            if name.startswith(WITHDRAWN):
                remedy = (
                    "Amazon withdrew this data set in 2023 (tensorflow/datasets issue 5044): name"
                    " the folder of a copy that was prepared earlier (data_dir), or use"
                    " movie_reviews, tfds:yelp_polarity_reviews"
                )
            raise DataError(
                f"tfds:{name} must be prepared below {data_dir or '~/tensorflow_datasets'} or be"
                f" downloadable; TensorFlow Datasets reported: {error} {remedy} or your own file."
            ) from error
        return read_files(str(out))


def main(name: str, data_dir: str | None, out: str, by_split: bool) -> None:
    import pandas as pd
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
        if name.startswith(WITHDRAWN) and not builder.is_prepared():
            # The library would try to download the data set for minutes.
            raise DataError("it is not prepared there, and its bucket no longer exists.")
        if not builder.is_prepared():
            doing = "downloading (takes minutes, and fails after minutes without a network)"
            send((doing, 0, 1))
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
        total = sum(split.num_examples for split in builder.info.splits.values())
        rows = []
        # "all" mixes the rows of all splits in an order on which the splits of studies depend.
        for split in builder.info.splits if by_split else ["all"]:
            for example in tfds.as_numpy(builder.as_dataset(split=split)):
                row = dict(_flat(example, builder.info.features, ""))
                rows.append({**row, TFDS_SPLIT: split} if by_split else row)
                if len(rows) % 1000 == 0:
                    send(("reading", len(rows), total))
    except DataError:
        raise
    # The library's exceptions have no common base class, and concern the user's data.
    except Exception as error:
        raise DataError(f"{type(error).__name__}: {first_line(error)}") from error
    pd.DataFrame(rows).to_parquet(out)


def _flat(example: Any, features: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the paths and values of an example's scalars. The value of a class label is its name,
    or empty for -1, which marks a text without a label.
    """
    for key, value in example.items():
        feature, name = features[key], f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flat(value, feature, f"{name}/")
        elif isinstance(value, bytes):
            yield name, value.decode("utf-8", "replace")
        elif getattr(value, "ndim", 1) == 0:
            names = getattr(feature, "names", None)
            plain = value.item()
            yield name, ("" if plain < 0 else names[plain]) if names else plain
