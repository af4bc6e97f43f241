"""The data of the tests of the display."""

from pathlib import Path

import pytest

from tests.texts import make_reviews, splits_of
from tuning.inputs.corpus import Corpus, build_corpus


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    texts = make_reviews(100)["review_body"].tolist()
    return build_corpus(tmp_path / "abc", splits_of(texts, texts, texts))
