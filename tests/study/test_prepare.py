"""What a space needs beside the token ids."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from tests.stored_documents import CARD, RECORD
from tests.studies import Setting
from tests.texts import make_reviews
from tuning.atomic_io import write_json
from tuning.config import DataConfig, StudyConfig, TrainConfig
from tuning.data.splits import SplitReviews
from tuning.errors import ArgumentError, DataError, SpaceError
from tuning.inputs import preset_tokens
from tuning.inputs.corpus import Corpus
from tuning.inputs.preset import PresetCard
from tuning.results import ResultsDir
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter
from tuning.study import prepare
from tuning.study.handle import StudyHandle
from tuning.targets.kinds import target_of

PRESET = Hyperparameter(name="preset", kind="choice", default="p", choices=("p", "q"))
CORPUS = cast("Corpus", None)  # The tokens are not built in these tests.


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the presets whose tokens are built; each takes at most 128 tokens."""
    names: list[str] = []

    def build(corpus: Corpus, preset: str, **options: object) -> PresetCard:
        names.append(preset)
        return PresetCard(preset, "", "BertBackbone", 128, [2], [3])

    monkeypatch.setattr(preset_tokens, "build_tokens", build)
    return names


def prepared(length: Hyperparameter) -> None:
    space = SearchSpace("mine", (PRESET, length))
    prepare.prepare_views(CORPUS, space, StudyConfig(study="s"))


def test_tokens_are_built_for_every_preset(built: list[str]) -> None:
    prepared(Hyperparameter(name="sequence_length", kind="int", default=64, low=3, high=128))
    assert built == ["p", "q"]


def test_tokens_are_not_built_for_presets_that_no_model_reads(built: list[str]) -> None:
    length = Hyperparameter(name="sequence_length", kind="fixed", default=64)
    for presets in (["q"], []):
        space = SearchSpace("mine", (PRESET, length)).with_presets(presets)
        prepare.prepare_views(CORPUS, space, StudyConfig(study="s"))
    assert built == ["q"]


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


def test_tokens_are_not_built_of_data_that_have_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The texts are read again for a preset, which may be downloaded before for minutes."""
    path = tmp_path / "reviews.csv"
    make_reviews().to_csv(path, index=False)
    config = StudyConfig(study="s", data=DataConfig(data=str(path)))
    corpus, _ = prepare.prepare_corpus(config, results=ResultsDir(tmp_path / "results"))
    read: list[dict[str, list[str]]] = []
    card = PresetCard("p", "", "BertBackbone", 128, [2], [3])
    monkeypatch.setattr(
        preset_tokens, "build_tokens", lambda *_, texts, progress: [read.append(texts()), card][1]
    )
    length = Hyperparameter(name="sequence_length", kind="fixed", default=64)
    space = SearchSpace("mine", (PRESET, length))
    prepare.prepare_views(corpus, space, config)
    for texts in read:
        n_texts = {name: len(of_split) for name, of_split in texts.items()}
        assert n_texts == {"train": 168, "validation": 36, "test": 36}
    assert len(read) == 2
    make_reviews().iloc[1:].to_csv(path, index=False)
    with pytest.raises(DataError, match="must not change while they are read"):
        prepare.prepare_views(corpus, space, config)


def require_fitting(
    names: str, *items: Hyperparameter, validation: Any = None, **settings: Any
) -> None:
    """Check the settings of a study of classes with these names, or of numbers without names.
    `validation` are the labels of the validation split, by default some of each name.
    """
    config = StudyConfig(study="s", **settings)
    target = target_of(names, config.data.kind if names else "number")
    labels = target.examples(3) if validation is None else np.array(validation, target.dtype)
    splits = {"train": target.examples(12), "validation": labels}
    corpus = SimpleNamespace(target=target, split=lambda name: SimpleNamespace(labels=splits[name]))
    space = SearchSpace("mine", items)
    prepare.require_fitting(config, cast("Corpus", corpus), space)


@pytest.mark.parametrize(
    ("names", "settings", "says"),
    [
        ("abc", {"metric": "val_recall_at_precision_0.9"}, "needs two classes, .* have 3"),
        ("ab", {"train": TrainConfig(class_weight="c:2")}, r"the data \(a, b\); received 'c'"),
        ("", {"train": TrainConfig(class_weight="c:2")}, "left out for kind 'number'"),
    ],
)
def test_settings_that_do_not_fit_the_classes_are_refused(
    names: str, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ArgumentError, match=says):
        require_fitting(names, **settings)
    weighted = TrainConfig(class_weight="a:2")
    require_fitting("ab", metric="val_recall_at_precision_0.9", train=weighted)


@pytest.mark.parametrize(
    ("names", "settings", "validation", "reason"),
    [
        ("abc", {"metric": "val_auc"}, (0, 1, 1), ", which has no row of 'c'; val_auc has none"),
        ("ab", {"metric": "val_f1"}, (0, 0), ", which has no row of 'b'; val_f1 has none"),
        ("ab", {"metric": "val_recall_at_precision_0.9"}, (1, 1), ", which has no row of 'a'"),
        ("ab", {"metric": "val_precision_at_recall_0.9"}, (1, 1), ", which has no row of 'a'"),
        ("123", {"data": DataConfig(kind="order")}, (0, 0), ".* of '2'; val_quadratic_kappa has"),
        ("ab", {"data": DataConfig(kind="labels")}, [[0, 0]] * 3, ".* of 'a'; val_f1_micro has"),
        ("", {"metric": "val_r2", "data": DataConfig(kind="number")}, (2.5, 2.5), "; val_r2 has"),
    ],
)
def test_metric_that_the_validation_split_does_not_define_is_refused(
    names: str, settings: dict[str, Any], validation: Any, reason: str
) -> None:
    with pytest.raises(DataError, match=f"^metric must .* on the validation split{reason}"):
        require_fitting(names, validation=validation, **settings)
    require_fitting(names, **settings)
    # The validation rows of folds are others.
    require_fitting(names, validation=validation, train=TrainConfig(n_folds=5), **settings)


def test_metric_of_the_classes_that_the_validation_split_has_is_taken() -> None:
    for metric in ("val_accuracy", "val_f1", "val_loss"):
        require_fitting("abc", metric=metric, validation=(0, 1, 1))


def test_class_weights_that_a_space_searches_need_classes_and_no_setting() -> None:
    item = Hyperparameter(
        name="class_weight", kind="choice", default="none", choices=("none", "balanced")
    )
    require_fitting("ab", item)
    with pytest.raises(SpaceError, match=r"'balanced' for kind 'number'.*; mine searches it"):
        require_fitting("", item)
    with pytest.raises(SpaceError, match="class_weight must be left out, because mine"):
        require_fitting("ab", item, train=TrainConfig(class_weight="b:2"))


def splits_of(n_rows: int, *, draws_validation: bool = True) -> SplitReviews:
    counts = {"train": n_rows - 300, "validation": 150, "test": 150}
    frames = {name: pd.DataFrame(index=range(n)) for name, n in counts.items()}
    return SplitReviews(frames, CARD.target, 0, "f" * 16, draws_validation=draws_validation)


SMALL, LARGE, LARGE_IN_FOLDS = splits_of(19_999), splits_of(20_000), splits_of(20_000)
GIVEN = splits_of(1000, draws_validation=False)
BY_GROUP, BY_TIME = DataConfig(group_column="product"), DataConfig(time_column="day")


@pytest.mark.parametrize(
    ("splits", "data", "by_default"),
    [
        (SMALL, DataConfig(), True),
        (SMALL, BY_GROUP, True),
        (LARGE, DataConfig(), False),
        (SMALL, BY_TIME, False),
        (GIVEN, DataConfig(), False),
        (GIVEN, BY_TIME, False),  # The column then moves no row.
        (LARGE_IN_FOLDS, DataConfig(), True),
    ],
)
def test_new_study_records_whether_its_confirmation_draws_fresh_splits(
    splits: SplitReviews, data: DataConfig, by_default: bool, tmp_path: Path
) -> None:
    train = TrainConfig(n_folds=5 if splits is LARGE_IN_FOLDS else 1)
    config, folder = StudyConfig(study="s", data=data, train=train), ResultsDir(tmp_path).study("s")

    def recorded(**changes: Any) -> bool | None:
        changed = replace(config, **changes)
        return prepare.with_parts(changed, folder, splits=splits, min_texts=None).resplit

    assert recorded() is by_default
    assert recorded(resplit=False) is False
    if data == BY_TIME or splits is GIVEN:
        reason = "its validation rows are " + ("given" if splits is GIVEN else "the last in time")
        with pytest.raises(ArgumentError, match=f"resplit must be left out of study 's': {reason}"):
            recorded(resplit=True)
    else:
        assert recorded(resplit=True) is True


def test_study_of_an_earlier_version_stays_without_fresh_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ResultsDir(tmp_path).study("s")
    folder.path.mkdir()
    write_json(folder.config_path, {})
    monkeypatch.setattr(prepare, "read_record", lambda _: SimpleNamespace(config=RECORD.config))
    config = prepare.with_parts(RECORD.config, folder, splits=SMALL, min_texts=None)
    assert RECORD.config.resplit is config.resplit is None


def with_folds(
    results: ResultsDir,
    *,
    folds: int | str | None,
    n: int = 240,
    say: Callable[[str], None] = pytest.fail,
    **data: str,
) -> StudyConfig:
    """Return the settings of a new study with `n` reviews of eight products."""
    path = results.path.parent / "reviews.csv"
    table = make_reviews(n).assign(product=[f"p{row // 2 % 8}" for row in range(n)])
    table["votes"] = (table["product"] == "p2").astype(int)
    table["part"] = [*["train"] * 4, *["validation"] * 2, *["test"] * 2] * (n // 8)
    table.to_csv(path, index=False)
    config = StudyConfig(study="s", data=DataConfig(data=str(path), **data))
    return prepare.prepare_search(config, results=results, folds=folds, say=say)[0]


GIVEN_SPLIT, FEW_GROUPS = {"split_column": "part"}, {"group_column": "part"}
FEW = "group_column must have 5 groups or more"
NO_WEIGHTS = "5 folds must have training rows with weights above 0"


@pytest.mark.parametrize(
    ("folds", "data", "expected", "reason"),
    [
        (None, {}, 1, None),
        ("auto", {}, 5, None),
        (3, {}, 3, None),
        (1, {}, 1, None),
        ("auto", {"group_column": "product"}, 5, None),
        ("auto", GIVEN_SPLIT, 1, "the validation split is given"),
        ("auto", FEW_GROUPS, 1, FEW),
        ("auto", {"group_column": "product", "weight_column": "votes"}, 1, NO_WEIGHTS),
    ],
)
def test_number_of_folds(
    folds: int | str | None,
    data: dict[str, str],
    expected: int,
    reason: str | None,
    tmp_path: Path,
) -> None:
    said: list[str] = []
    config = with_folds(ResultsDir(tmp_path / "results"), folds=folds, say=said.append, **data)
    assert config.train.n_folds == expected
    assert [reason in sentence for sentence in said] == [True] * (reason is not None)


def test_large_data_have_one_split_unless_folds_are_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(prepare, "AUTO_FOLDS_ROWS", 204)  # the rows that are not test
    results = ResultsDir(tmp_path / "results")
    assert with_folds(results, folds="auto").train.n_folds == 1
    assert with_folds(results, folds=2).train.n_folds == 2


@pytest.mark.parametrize(
    ("folds", "data", "error", "message"),
    [
        (21, {}, ArgumentError, "folds must be a number from 1 to 20, or 'auto'; received 21"),
        (0, {}, ArgumentError, "received 0"),
        (5, {"split_column": "part"}, ArgumentError, "the validation split is given; received 5"),
        (8, {"group_column": "product"}, DataError, "8"),
        (
            3,
            {"group_column": "product", "weight_column": "votes"},
            DataError,
            r"3 folds must have .* weights above 0; in fold \d, all rows have 0. .* or folds=1",
        ),
    ],
)
def test_folds_that_cannot_be_drawn_are_refused(
    folds: int, data: dict[str, str], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        with_folds(ResultsDir(tmp_path / "results"), folds=folds, **data)


def test_words_are_counted_in_all_rows_that_are_not_test_where_a_new_study_has_folds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each text has a word of its own. A study of an earlier version keeps its token ids."""
    path, results = tmp_path / "reviews.csv", ResultsDir(tmp_path / "results")
    make_reviews().to_csv(path, index=False)
    config = StudyConfig(study="s", data=DataConfig(data=str(path)))

    def words(folds: int | None = None, known: StudyConfig | None = None) -> tuple[str, set[str]]:
        prepared, corpus = prepare.prepare_search(known or config, results=results, folds=folds)
        again, splits = prepare.prepare_corpus(prepared, results=results)
        assert corpus.fingerprint == again.fingerprint == splits.fingerprint
        assert bool(prepared.counts_validation) == corpus.card.counts_validation
        return corpus.fingerprint, set(corpus.words(10_000))

    def own_words(*names: str) -> set[str]:
        frames = prepare.prepare_corpus(config, results=results)[1].frames
        return {text.split()[-1].rstrip(".") for name in names for text in frames[name]["text"]}

    one_split, folds = words(1), words(5)
    assert own_words("validation") <= folds[1] - one_split[1]
    assert own_words("train") <= one_split[1]
    assert not own_words("test") & folds[1]
    results.study("s").path.mkdir(parents=True)
    write_json(results.study("s").config_path, {})
    for counts, expected in ((None, one_split), (True, folds)):
        train = replace(config.train, n_folds=5)
        known = replace(config, train=train, counts_validation=counts)
        record = SimpleNamespace(config=known)
        monkeypatch.setattr(prepare, "read_record", lambda _, record=record: record)
        assert words(known=replace(known, counts_validation=None)) == words(5) == expected


@pytest.mark.parametrize("folds", ["auto", 5])
def test_existing_study_keeps_its_folds(folds: int | str, copied: Setting) -> None:
    handle = StudyHandle.of(copied.results, "s")
    config, _ = prepare.prepare_search(handle.config, results=copied.results, folds=folds)
    assert config.train.n_folds == (1 if folds == "auto" else 5)  # 5 is refused later
