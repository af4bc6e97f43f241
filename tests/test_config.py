"""The configuration of a study: the values that it refuses, and the form of those that it keeps."""

import re
from typing import Any

import pytest

from tuning.config import (
    DataConfig,
    StudyConfig,
    TrainConfig,
    class_weight_text,
    is_keras_file,
    parse_objectives,
)
from tuning.documents import structure, unstructure
from tuning.errors import ArgumentError
from tuning.metrics import objectives_of

OBJECTIVES = objectives_of("classes")


@pytest.mark.parametrize(
    ("values", "unknown"),
    [
        ({"study": "s", "b": 1, "a": 2}, "must not have a, b"),
        ({"study": "s", "data": {"columns": "x"}}, "data: must not have columns"),
        ({"study": "s", "train": {"learning_rate": 0.1}}, "train: must not have learning_rate"),
    ],
)
def test_unknown_keys_of_a_config_are_refused(values: dict[str, Any], unknown: str) -> None:
    with pytest.raises(ValueError, match=unknown):
        structure(values, StudyConfig)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metric": "nonsense"}, f"metric must be one of {', '.join(OBJECTIVES)}; .*'nonsense'"),
        ({"seed": -1}, "seed must lie .* -1"),
        ({"seed": 2**31}, "seed must lie in 0..2147483647"),
        ({"costs": ("n_params",), "pruner": "asha"}, "pruner must be none"),
        ({"costs": ("n_params",), "pruner": "none", "sampler": "cmaes"}, "sampler must be"),
        ({"costs": ("seconds",), "pruner": "none"}, "cost must be one of"),
        ({"preset": ""}, "preset must be a folder, .* received ''"),
        ({"max_parameters": 0}, "max_parameters must be more than 0"),
        ({"max_latency_ms": float("nan")}, "max_latency_ms must be more than 0"),
    ],
)
def test_wrong_value_of_a_study_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        StudyConfig(study="s", **change)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "patience"])
def test_wrong_value_of_a_training_is_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match=f"{name} must be 1 or more; received 0"):
        TrainConfig(**{name: 0})


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("", ""),
        ({}, ""),
        ("balanced", "balanced"),
        ("positive: 5.0, negative:0.25", "negative:0.25,positive:5"),
        ({1: 5, 0: 1.0}, "0:1,1:5"),
    ],
)
def test_class_weights_are_kept_in_one_form(given: Any, kept: str) -> None:
    assert class_weight_text(given) == kept
    train = TrainConfig(class_weight=given)
    assert train.class_weight == kept
    assert structure(unstructure(train), TrainConfig) == train


@pytest.mark.parametrize("wrong", ["a", "a:x", "a:1,b", "a:1,a:2", ":3", "a:nan", [1, 5]])
def test_class_weight_that_is_no_table_is_refused(wrong: Any) -> None:
    says = f"class_weight must be balanced, .*{re.escape(repr(wrong))}"
    with pytest.raises(ArgumentError, match=says):
        TrainConfig(class_weight=wrong)


def test_class_weight_that_is_not_above_0_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"class_weight of 'positive' .* than 0; .* 0"):
        TrainConfig(class_weight={"positive": 0})


def test_data_must_name_a_source_and_dropped_stars_are_sorted() -> None:
    with pytest.raises(ArgumentError, match="data must name a source"):
        DataConfig(data="")
    assert DataConfig(drop_stars=(4, 3)).drop_stars == (3.0, 4.0)


def test_losses_and_costs_are_minimized() -> None:
    for metric in OBJECTIVES:
        direction = "minimize" if metric in ("val_loss", "val_brier") else "maximize"
        config = StudyConfig(
            study="s", metric=metric, costs=("latency_ms", "n_params"), pruner="none"
        )
        assert config.directions == [direction, "minimize", "minimize"]
        assert config.measures_latency and not config.limits


@pytest.mark.parametrize(
    "text",
    ["val_accuracy", "n_params,val_accuracy", "val_accuracy,val_f1", "val_f1,n_params,n_params"],
)
def test_objectives_are_a_metric_and_costs(text: str) -> None:
    assert parse_objectives("val_auc, latency_ms") == ("val_auc", ("latency_ms",))
    with pytest.raises(ArgumentError, match="objectives must be a metric"):
        parse_objectives(text)


@pytest.mark.parametrize(
    ("preset", "is_file"),
    [("encoder.keras", True), ("hf://org/name.keras", False), ("bert_small_en_uncased", False)],
)
def test_keras_model_is_a_file_and_no_address(preset: str, is_file: bool) -> None:
    assert is_keras_file(preset) == is_file
