"""TensorFlow Datasets: a data set that its code has written, and data sets that can't be read."""

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.shared import shared_folder
from tuning.config import DataConfig
from tuning.data import sources, tfds
from tuning.data.sources import Reviews, load_reviews
from tuning.data.tables import Table
from tuning.data.tfds import read_tfds
from tuning.errors import DataError
from tuning.processes import ChildFailed

pytestmark = pytest.mark.slow

# A data set whose name begins as that of a withdrawn one, of which a copy may be prepared.
STORED = "amazon_us_reviews_copy"
N_TRAIN, N_TEST, N_UNLABELED = 1000, 60, 70


def write_data_set(data_dir: Path) -> None:
    """Write a data set in the format of TensorFlow Datasets."""
    import tensorflow_datasets as library
    from tensorflow_datasets import features

    scores = features.Tensor(shape=(2,), dtype=np.int64)
    names = features.ClassLabel(names=["neg", "pos"])
    numbers = {"code": np.int64, "share": np.float32, "scores": scores, "data": {"votes": np.int64}}
    library.dataset_builders.store_as_tfds_dataset(
        name=STORED,
        version="1.0.0",
        features=features.FeaturesDict({"text": features.Text(), "label": names, **numbers}),
        split_datasets={
            "train": [stored_row(i, "train é", i % 2) for i in range(N_TRAIN)],
            "test": [stored_row(i, "test", i % 2) for i in range(N_TEST)],
            "unsupervised": [stored_row(i, "none", -1) for i in range(N_UNLABELED)],
        },
        data_dir=str(data_dir),
    )


def stored_row(number: int, text: str, label: int) -> tuple[int, dict[str, Any]]:
    nested = {"data": {"votes": number}}
    values = {"code": number % 3 - 1, "share": 0.5, "scores": [number, number], **nested}
    return number, {"text": f"{text} {number}", "label": label, **values}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_folder(tmp_path_factory, "tfds", write_data_set)


@dataclass(frozen=True)
class Read:
    """A data set that was read, its source table, and the progress of reading."""

    reviews: Reviews
    frame: pd.DataFrame
    progress: list[tuple[str, float]]


@pytest.fixture(scope="module")
def stored(data_dir: Path) -> Read:
    tables: list[Table] = []
    shares: list[tuple[str, float]] = []

    def read(name: str, **options: Any) -> Table:
        tables.append(read_tfds(name, **options))
        return tables[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "read_tfds", read)
        reviews = load_reviews(
            DataConfig(data=f"tfds:{STORED}", data_dir=str(data_dir)),
            progress=lambda *both: shares.append(both),
        )
    return Read(reviews, tables[0].frame, shares)


class Refusing(http.server.BaseHTTPRequestHandler):
    """A web server without pages."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module", autouse=True)
def offline() -> Iterator[None]:
    """Redirect each download to a server on this machine that has no file."""
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in ("http_proxy", "https_proxy"):
            patch.setenv(name, f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()


def refusal(name: str, data_dir: Path | None) -> str:
    with pytest.raises(DataError) as error:
        load_reviews(DataConfig(data=name, data_dir=str(data_dir) if data_dir else None))
    return str(error.value)


# A prepared data set


def test_splits_are_read_together_with_the_names_of_their_classes(stored: Read) -> None:
    reviews = stored.reviews
    assert len(reviews.frame) == N_TRAIN + N_TEST
    assert {text.split()[0] for text in reviews.frame["text"]} == {"train", "test"}
    assert reviews.target.names == ("neg", "pos")
    numbers = [int(text.split()[-1]) for text in reviews.frame["text"]]
    assert reviews.labels.tolist() == [number % 2 for number in numbers]
    assert reviews.dropped == {"without a label": N_UNLABELED}
    n_rows = N_TRAIN + N_TEST + N_UNLABELED
    assert stored.progress[0] == (f"reading tfds:{STORED}", pytest.approx(1000 / n_rows))


def test_rows_of_a_new_study_have_the_name_of_their_split(data_dir: Path) -> None:
    config = DataConfig(data=f"tfds:{STORED}", data_dir=str(data_dir)).with_own_splits()
    frame = load_reviews(config).frame
    assert frame["split"].tolist() == [text.split()[0] for text in frame["text"]]


def test_scalars_are_kept_as_they_are(stored: Read) -> None:
    assert set(stored.frame.columns) == {"text", "label", "code", "share", "data/votes"}
    numbers = [int(text.split()[-1]) for text in stored.frame["text"]]
    assert stored.frame["code"].tolist() == [str(number % 3 - 1) for number in numbers]
    assert stored.frame["data/votes"].tolist() == [*map(str, numbers)]
    assert set(stored.frame["share"]) == {"0.5"}


# Data sets that can't be read


@pytest.mark.parametrize(
    ("name", "reason", "remedy"),
    [
        ("tfds:no_such_set_here", "no_such_set_here not found", "use movie_reviews or your own"),
        (
            "tfds:amazon_us_reviews/Mobile_Electronics_v1_00",
            "its bucket no longer exists",
            "Amazon withdrew this data set in 2023",
        ),
    ],
)
def test_data_set_that_can_not_be_read_says_why(
    name: str, reason: str, remedy: str, tmp_path: Path
) -> None:
    message = refusal(name, tmp_path)
    assert message.startswith(f"{name} must be prepared below {tmp_path}")
    assert reason in message
    assert remedy in message


def test_asking_leaves_tensorflow_out_of_this_process(tmp_path: Path) -> None:
    source = (
        "import sys; from tuning.data.tfds import read_tfds; from tuning.errors import"
        " DataError\ntry: read_tfds('no_such_set_here', data_dir=sys.argv[1])\nexcept DataError:"
        " sys.exit(bool({'tensorflow', 'tensorflow_datasets'} & set(sys.modules)))\nsys.exit('no"
        " error')"
    )
    command = [sys.executable, "-c", source, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.timeout(60)
def test_data_set_that_is_not_found_on_the_web_says_so(tmp_path: Path) -> None:
    reason = refusal("tfds:imdb_reviews", tmp_path).split("TensorFlow Datasets reported: ")[1]
    assert "ai.stanford.edu" in reason
    assert "404" in reason


def test_process_that_ends_early_gives_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise ChildFailed("its process ended with signal 9.")

    monkeypatch.setattr(tfds, "run_child", fail)
    assert "reported: its process ended with signal 9." in refusal("tfds:anything", tmp_path)
