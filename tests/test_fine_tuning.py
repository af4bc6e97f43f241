"""Trainings of a pretrained encoder: the tokens of its preset, its schedule, pauses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest

from search_spaces.finetuned_encoder import FinetunedEncoder
from tests.numbered import TWO
from tests.paths import ROOT
from tests.presets import word_pieces, write_bert
from tests.texts import make_reviews
from tuning.config import TrainConfig
from tuning.errors import SpaceBug, StorageError
from tuning.inputs.contract import LabeledTexts, TokenizedTexts
from tuning.inputs.encoder_tokens import PresetTexts
from tuning.inputs.preset import from_keras_hub
from tuning.inputs.preset_tokens import encode_tokens
from tuning.spaces.hyperparameters import defaults
from tuning.spaces.loading import declare, load_hypermodel
from tuning.training.architecture import input_names
from tuning.training.fit import fit
from tuning.training.prediction import make_view
from tuning.training.result import Answer, Epoch, FitResult, TrainingJob

SPACE = ROOT / "search_spaces" / "finetuned_encoder.py"


def without_ids(n: int, presets: dict[str, PresetTexts]) -> TokenizedTexts:
    """Return `n` texts that have the tokens of presets alone."""
    others = {f"tokens of {name}": tokens for name, tokens in presets.items()}
    return TokenizedTexts(np.empty(0, np.int32), np.zeros(n + 1, np.int64), others=others)


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a preset of one layer, which trains faster than two."""
    pytest.importorskip("keras_hub", reason="the extra `pretrained` is not installed")
    return str(write_bert(tmp_path_factory.mktemp("preset") / "bert", num_layers=1))


@pytest.fixture(scope="module")
def splits(preset: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, LabeledTexts]:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    from_keras_hub(word_pieces(), preset="p").save(str(path))
    made = {}
    for name, n in (("train", 96), ("validation", 48)):
        reviews = make_reviews(n, seed=n)
        tokens = encode_tokens(path, reviews["review_body"].tolist())
        labels = (reviews["star_rating"] > 3).to_numpy(np.int64)
        made[name] = LabeledTexts(without_ids(n, {preset: tokens}), labels)
    return made


@pytest.fixture(scope="module")
def values(preset: str) -> dict[str, Any]:
    space = declare(SPACE, n_classes=2, preset=preset)
    of_tests = {"sequence_length": 64, "learning_rate": 3e-3, "batch_size": 32, "max_epochs": 3}
    return {**defaults(space.hyperparameters), **of_tests}


class Eager(FinetunedEncoder):
    """The search space without a graph, which takes longer to trace than these trainings take."""

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        model = super().build(hp)
        model.run_eagerly = True
        return model


def train(
    splits: dict[str, LabeledTexts],
    values: dict[str, Any],
    on_epoch: Callable[[Epoch], Answer] = lambda epoch: Answer.GO_ON,
    *,
    epochs: int = 3,
    eager: bool = True,
    **options: Any,
) -> tuple[keras.Model, FitResult]:
    config = TrainConfig(epochs=epochs, patience=epochs)
    job = TrainingJob(values=values, target=TWO, train=config, seed=3, **options)
    hypermodel = Eager() if eager else load_hypermodel(SPACE)
    return fit(hypermodel, job, **splits, on_epoch=on_epoch)


@pytest.mark.slow
def test_resumed_training_gives_exactly_the_metrics_of_one_that_never_paused(
    splits: dict[str, LabeledTexts], values: dict[str, Any], tmp_path: Path
) -> None:
    path = str(tmp_path / "checkpoint.npz")
    model, whole = train(splits, values, eager=False)
    assert whole.best_value > 0.6
    _, paused = train(
        splits,
        values,
        lambda epoch: Answer.PAUSE if epoch.number == 1 else Answer.GO_ON,
        checkpoint=path,
        eager=False,
    )
    assert paused.paused
    resumed_model, resumed = train(splits, values, checkpoint=path, resume=True, eager=False)
    assert [e.metrics for e in resumed.history] == [e.metrics for e in whole.history]
    for weight, resumed_weight in zip(
        model.get_weights(), resumed_model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(weight, resumed_weight)
    # The rate is 0 only after the last of the three epochs.
    assert float(resumed_model.optimizer.learning_rate) == 0.0


@pytest.mark.parametrize("answer", [Answer.GO_ON, Answer.PAUSE])
def test_training_ends_after_the_epochs_of_its_configuration(
    answer: Answer, splits: dict[str, LabeledTexts], values: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.npz"
    _, result = train(
        splits, {**values, "max_epochs": 1}, lambda epoch: answer, checkpoint=str(path)
    )
    assert (len(result.history), result.paused, result.stopped) == (1, False, False)
    assert not path.exists()


def tokens_model(*, name: str = "tokens", length: int | None = None) -> keras.Model:
    tokens = keras.Input((length,), dtype="int32", name=name)
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(99, 2)(tokens))
    model = keras.Model(tokens, keras.layers.Dense(1, activation="sigmoid")(x))
    model.compile("adam", "binary_crossentropy", run_eagerly=True)
    return model


PRESET_TEXTS = PresetTexts(np.array([5, 6, 7], np.int32), np.array([0, 3]), (1,), (2,))
VALUES = {"preset": "p", "sequence_length": 4}


def test_tokens_that_were_removed_are_named() -> None:
    with pytest.raises(StorageError, match=r"must contain the tokens of the preset 'p'"):
        make_view(tokens_model(), VALUES, without_ids(1, {}))


def test_space_that_declares_a_preset_must_take_its_tokens() -> None:
    model = tokens_model(name="ids")
    with pytest.raises(
        SpaceBug, match=r"'preset' only for models that take the tokens of a preset"
    ):
        make_view(model, {**VALUES, "vocab_size": 9}, without_ids(1, {"p": PRESET_TEXTS}))


def test_model_of_tokens_must_have_a_preset() -> None:
    with pytest.raises(SpaceBug, match=r"must declare preset and sequence_length"):
        make_view(tokens_model(), {"sequence_length": 4}, without_ids(1, {"p": PRESET_TEXTS}))


def test_input_of_tokens_must_have_any_length() -> None:
    with pytest.raises(SpaceBug, match=r"'tokens' must have the shape \(None,\).* another name"):
        input_names(tokens_model(length=4))
