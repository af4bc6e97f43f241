"""The data of the tests of the display."""

from pathlib import Path

import pytest

from tests.texts import make_reviews
from tuning.data.splits import SplitReviews
from tuning.inputs.corpus import Corpus, build_corpus
from tuning.targets.classes import Classes


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    frame = make_reviews(100).rename(columns={"review_body": "text"})
    frame["label"] = (frame["star_rating"] >= 3).astype(int)
    frames = dict.fromkeys(("train", "validation", "test"), frame)
    return build_corpus(tmp_path / "abc", SplitReviews(frames, Classes(("a", "b")), 0, "abc"))
