"""What a space needs beside the token ids."""

from pathlib import Path
from typing import cast

import pytest

from tuning.config import DataConfig, StudyConfig
from tuning.data.corpus import Corpus
from tuning.data.data_card import PresetCard
from tuning.errors import SpaceError
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter
from tuning.study import prepare

PRESET = Hyperparameter(name="preset", kind="choice", default="p", choices=("p", "q"))
CORPUS = cast("Corpus", None)  # The tokens are not built in these tests.


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the presets whose tokens are built; each takes at most 128 tokens."""
    names: list[str] = []

    def build(corpus: Corpus, preset: str, **options: object) -> PresetCard:
        names.append(preset)
        return PresetCard(preset, "", "BertBackbone", 128, [2], [3])

    monkeypatch.setattr(prepare, "build_tokens", build)
    return names


def prepared(length: Hyperparameter) -> None:
    space = SearchSpace("mine", (PRESET, length))
    prepare.prepare_views(CORPUS, space, StudyConfig(study="s"))


def test_tokens_are_built_for_every_preset(built: list[str]) -> None:
    prepared(Hyperparameter(name="sequence_length", kind="int", default=64, low=3, high=128))
    assert built == ["p", "q"]


@pytest.mark.parametrize(
    "length",
    [
        Hyperparameter(name="sequence_length", kind="fixed", default=129),
        Hyperparameter(name="sequence_length", kind="fixed", default=2),
        Hyperparameter(name="sequence_length", kind="int", default=64, low=32, high=256),
        Hyperparameter(name="sequence_length", kind="choice", default=64, choices=(64, 512)),
    ],
    ids=["too_long", "too_short", "range", "choice"],
)
@pytest.mark.usefixtures("built")
def test_lengths_beyond_the_preset_are_refused(length: Hyperparameter) -> None:
    with pytest.raises(SpaceError, match=r"sequence_length must be from 3 to 128 for the preset"):
        prepared(length)


def test_texts_are_read_again_only_for_new_tokens(
    reviews_csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_texts: dict[str, int] = {}

    def build(corpus: Corpus, preset: str, *, texts: object, **options: object) -> PresetCard:
        assert callable(texts)
        n_texts.update({name: len(of_split) for name, of_split in texts().items()})
        return PresetCard(preset, "", "BertBackbone", None, [], [])

    monkeypatch.setattr(prepare, "build_tokens", build)
    config = StudyConfig(study="s", data=DataConfig(data=str(reviews_csv)))
    length = Hyperparameter(name="sequence_length", kind="fixed", default=10_000)
    prepare.prepare_views(CORPUS, SearchSpace("mine", (PRESET, length)), config)
    assert n_texts == {"train": 168, "validation": 36, "test": 36}
