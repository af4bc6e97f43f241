"""Messages between the coordinator and a worker: each one is received as it was sent."""

import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args

import pytest

from tests.stored_documents import wrong_values
from tuning.config import TrainConfig
from tuning.data.rows import Redraw
from tuning.outcomes import FailureReason
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter
from tuning.spaces.sizes import Sizes
from tuning.targets.classes import Classes
from tuning.training.result import Answer, Epoch, FitResult, TrainingJob
from tuning.workers.messages import (
    Declare,
    EpochEnded,
    ErrorRaised,
    Message,
    ModelRefused,
    Reply,
    SpaceDeclared,
    Train,
    TrainingEnded,
    TrainingFailed,
    decode,
    encode,
)

SPACE = SearchSpace(
    "reviews",
    (
        Hyperparameter(
            name="lstm_units",
            kind="int",
            default=32,
            low=4,
            high=128,
            step=2,
            log=True,
            choices=(4, 8.5, "é", True),
            conditions=(("cell", ("lstm", "gru")), ("is_deep", (True,))),
        ),
    ),
    source_sha256="ab12",
    starting_points=({"lstm_units": 64, "dropout": 0.5, "cell": "gru", "is_deep": False},),
    linear_points=(1,),
    notes=("The file does not declare vocab_size.",),
    takes_texts=True,
)
JOB = TrainingJob(
    values={"lstm_units": 32, "dropout": 0.25, "cell": "lstm", "is_deep": True},
    target=Classes(("1", "2"), margin=0.5, thresholds=(0.25,)),
    train=TrainConfig(
        epochs=7,
        batch_size=64,
        patience=3,
        parts_per_epoch=4,
        evaluates_fitted=True,
        n_folds=2,
        class_weight="1:2,2:0.5",
    ),
    n_epochs=0.25,
    seed=11,
    metric="val_loss",
    known=("lstm_units", "dropout"),
    limits={"n_parameters": 1_000.0},
    measure_latency=True,
    checkpoint="/results/s/trials/0001/checkpoint.npz",
    resume=True,
    with_validation=True,
    redraw=Redraw(seed=5, n_folds=3, ignores_columns=True),
    weights="/tmp/0.npz",
    predictions="/results/s/repeats/0001-5.npz",
)
EPOCH = Epoch(0.25, {"loss": 0.5, "val_accuracy": 0.75}, 1.5)
RESULT = FitResult(
    history=[EPOCH, Epoch(1, {"loss": 0.25}, 2.0)],
    best_epoch=0.25,
    best_value=0.75,
    metrics={"val_accuracy": 0.75},
    folds=[EPOCH],
    n_fold_epochs=2,
    stopped=True,
    paused=True,
    n_parameters=682_937,
    latency_ms=1.25,
    n_fused_layers=2,
    in_bfloat16=True,
    n_tokens=10_000,
    seconds={"build": 0.5, "train": 3.5},
    peak_memory_mb=640.5,
)
MESSAGES: tuple[Message, ...] = (
    Declare(
        "spaces/café.py",
        Classes(("1", "2"), margin=0.5, thresholds=(0.25,)),
        preset="bert_tiny",
        sizes=Sizes(vocab_size=900, sequence_length=80, all_rows=5_000, usual_length=120),
        is_weighted=True,
    ),
    Train("spaces/reviews.py", "results/cache/ab12", JOB, takes_texts=True),
    Reply(Answer.PAUSE, n_threads=2),
    SpaceDeclared(SPACE),
    EpochEnded(EPOCH),
    TrainingEnded(RESULT),
    ModelRefused(RESULT),
    TrainingFailed(FailureReason.NAN_LOSS, "the loss is NaN"),
    ErrorRaised("SpaceBug", "KeyError: 'cell'", "Traceback:\n  line 1"),
)


def defaults_in(value: Any) -> Iterator[str]:
    """Yield the fields that have their default, in a message or in an object inside of it."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from defaults_in(item)
    for field in fields(value) if is_dataclass(value) else ():
        inner = getattr(value, field.name)
        default = field.default_factory() if callable(field.default_factory) else field.default
        if default is not MISSING and inner == default:
            yield f"{type(value).__name__}.{field.name}"
        yield from defaults_in(inner)


def test_messages_of_the_tests_are_complete() -> None:
    """There is a message of each kind, and no field has its default."""
    assert {type(message) for message in MESSAGES} == set(get_args(Message))
    assert [name for message in MESSAGES for name in defaults_in(message)] == []


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_message_is_received_as_it_was_sent(message: Message) -> None:
    received = decode(encode(message))
    assert received == message
    # `==` accepts an integer for a float or a boolean, and a string for a word of an enum.
    assert repr(received) == repr(message)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_wrong_value_of_a_message_is_named_by_its_path(message: Message) -> None:
    values = json.loads(encode(message))
    kind = values.pop("kind")
    for path_pattern, wrong in wrong_values(values):
        pattern = re.sub("n_classes|class_names|margin|thresholds", r"target: \g<0>", path_pattern)
        with pytest.raises(ValueError, match=f"^{pattern}: ") as refused:
            decode(json.dumps({"kind": kind, **wrong}).encode())
        assert "\n" not in str(refused.value)
