"""The configuration of a study: the values that it refuses, and its round trip through JSON."""

import json
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from hypothesis import given, settings

from tests.configs import study_configs
from tuning.config import (
    PRUNERS,
    SAMPLERS,
    DataConfig,
    StudyConfig,
    TrainConfig,
    check_name,
    differences,
    parse_objectives,
)
from tuning.documents import structure, unstructure
from tuning.errors import ArgumentError
from tuning.metrics import OBJECTIVES


@settings(derandomize=True, deadline=None)
@given(study_configs)
def test_study_config_round_trips_through_a_dict(config: StudyConfig) -> None:
    assert structure(unstructure(config), StudyConfig) == config


@settings(derandomize=True, deadline=None)
@given(study_configs)
def test_study_config_round_trips_through_json(config: StudyConfig) -> None:
    assert structure(json.loads(json.dumps(unstructure(config))), StudyConfig) == config


@settings(derandomize=True, deadline=None)
@given(study_configs)
def test_differences_of_a_config_and_its_json_are_none(config: StudyConfig) -> None:
    assert differences(json.loads(json.dumps(unstructure(config))), unstructure(config)) == []


def test_study_config_defaults_are_the_baseline() -> None:
    config = StudyConfig(study="s")
    assert (config.space, config.metric, config.sampler, config.pruner) == (
        "reviews",
        "val_accuracy",
        "tpe",
        "asha",
    )
    assert (config.train.epochs, config.train.batch_size) == (5, 128)
    assert (config.data.data, config.data.positive_from) == ("movie_reviews", 3.0)


def test_study_config_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        StudyConfig(study="s").seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "unknown"),
    [
        ({"study": "s", "n_trials": 3}, "must not have n_trials"),
        ({"study": "s", "b": 1, "a": 2}, "must not have a, b"),
        ({"study": "s", "data": {"columns": "x"}}, "data: must not have columns"),
        ({"study": "s", "train": {"learning_rate": 0.1}}, "train: must not have learning_rate"),
    ],
)
def test_unknown_keys_of_a_config_are_refused(values: dict[str, Any], unknown: str) -> None:
    with pytest.raises(ValueError, match=unknown):
        structure(values, StudyConfig)


def test_missing_keys_of_a_config_have_their_defaults() -> None:
    assert structure({"study": "s", "train": {"epochs": 2}}, StudyConfig) == StudyConfig(
        study="s", train=TrainConfig(epochs=2)
    )


@pytest.mark.parametrize(
    ("kind", "allowed"), [("metric", OBJECTIVES), ("sampler", SAMPLERS), ("pruner", PRUNERS)]
)
def test_study_config_lists_the_names_of_a_bad(kind: str, allowed: tuple[str, ...]) -> None:
    with pytest.raises(
        ArgumentError, match=f"^{kind} must be one of {', '.join(allowed)}; received 'nonsense'"
    ):
        StudyConfig(study="s", **{kind: "nonsense"})  # type: ignore[arg-type]


def test_check_name_accepts_an_allowed_name() -> None:
    check_name("metric", "val_f1", OBJECTIVES)


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_study_config_refuses_seed_outside_31_bits(seed: int) -> None:
    with pytest.raises(ArgumentError, match=f"seed must lie in 0..2147483647; received {seed}"):
        StudyConfig(study="s", seed=seed)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "patience"])
@pytest.mark.parametrize("value", [0, -3])
def test_train_config_refuses_less_than_one(name: str, value: int) -> None:
    with pytest.raises(ArgumentError, match=f"{name} must be 1 or more; received {value}"):
        TrainConfig(**{name: value})


def test_data_config_refuses_empty_source() -> None:
    with pytest.raises(ArgumentError, match="data must name a source"):
        DataConfig(data="")


def test_data_config_sorts_dropped_stars() -> None:
    assert DataConfig(drop_stars=(4, 3)).drop_stars == (3.0, 4.0)


@pytest.mark.parametrize(
    ("metric", "direction"),
    [(m, "minimize" if m == "val_loss" else "maximize") for m in OBJECTIVES],
)
def test_direction_follows_the_metric(metric: str, direction: str) -> None:
    assert StudyConfig(study="s", metric=metric).directions == [direction]


def test_costs_are_minimized() -> None:
    config = StudyConfig(
        study="s", metric="val_f1", costs=("latency_ms", "n_params"), pruner="none"
    )
    assert config.directions == ["maximize", "minimize", "minimize"]
    assert config.measures_latency and not config.limits


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"costs": ("n_params",), "pruner": "asha"}, "pruner must be none"),
        ({"costs": ("n_params",), "pruner": "none", "sampler": "cmaes"}, "sampler must be"),
        ({"costs": ("seconds",), "pruner": "none"}, "cost must be one of"),
        ({"max_parameters": 0}, "max_parameters must be more than 0"),
        ({"max_latency_ms": float("nan")}, "max_latency_ms must be more than 0"),
    ],
)
def test_objectives_and_limits_that_make_no_sense_are_refused(
    change: dict[str, Any], words: str
) -> None:
    with pytest.raises(ArgumentError, match=words):
        StudyConfig(study="s", **change)


@pytest.mark.parametrize(
    "text",
    [
        "val_accuracy",
        "n_params,val_accuracy",
        "val_accuracy,val_f1",
        "val_accuracy,n_params,n_params",
        "",
    ],
)
def test_objectives_are_a_metric_and_costs(text: str) -> None:
    assert parse_objectives("val_auc, latency_ms") == ("val_auc", ("latency_ms",))
    with pytest.raises(ArgumentError, match="objectives must be a metric"):
        parse_objectives(text)


def test_differences_name_nested_values_by_dots() -> None:
    recorded = StudyConfig(study="s")
    requested = replace(recorded, seed=1, train=TrainConfig(epochs=2))
    assert differences(unstructure(recorded), unstructure(requested)) == [
        "seed: the study has 0, this command has 1",
        "train.epochs: the study has 5, this command has 2",
    ]


def test_differences_show_a_key_of_one_side_only() -> None:
    assert differences({"a": 1}, {"b": 2}) == [
        "a: the study has 1, this command has None",
        "b: the study has None, this command has 2",
    ]


def test_differences_see_tuple_and_list_as_equal() -> None:
    assert differences({"drop_stars": [3.0]}, {"drop_stars": (3.0,)}) == []


def test_differences_see_another_order_in_a_list() -> None:
    assert differences({"x": [1, 2]}, {"x": (2, 1)}) == [
        "x: the study has [1, 2], this command has (2, 1)"
    ]
