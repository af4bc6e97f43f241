"""The tiny corpus of the tests of the formats."""

import keras
import pytest

from tests.export.models import Reviews
from tests.texts import make_reviews
from tuning.config import DataConfig
from tuning.data.sources import load_reviews
from tuning.data.splits import split_reviews
from tuning.inputs.corpus import build_corpus
from tuning.inputs.ngram_vocabulary import build_ngrams


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Reviews:
    folder = tmp_path_factory.mktemp("corpus")
    make_reviews().to_csv(folder / "r.csv", index=False)
    splits = split_reviews(load_reviews(DataConfig(data=str(folder / "r.csv"))), seed=0)
    corpus = build_corpus(folder / splits.fingerprint, splits)
    build_ngrams(corpus)
    return Reviews(splits, corpus)


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Draw the same weights each time."""
    keras.utils.set_random_seed(0)
