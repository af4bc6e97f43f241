"""Messages between the coordinator and a worker: each one is received as it was sent."""

from dataclasses import fields
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuning.config import MAX_FOLDS, TrainConfig
from tuning.data.rows import Redraw
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter
from tuning.targets.classes import Classes
from tuning.training.result import FitResult, TrainingJob
from tuning.workers.messages import Message, decode, encode


def complete(kind: type, **values: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for every field of a class, also for fields with a default."""
    return st.builds(kind, **{field.name: ... for field in fields(kind)} | values)


TARGET = st.just(Classes(("1", "2"), margin=0.5, thresholds=(0.25,)))
COUNTS = st.integers(1, 9)
TRAIN = complete(
    TrainConfig,
    **dict.fromkeys(("epochs", "batch_size", "patience", "parts_per_epoch"), COUNTS),
    n_folds=st.integers(1, MAX_FOLDS),
    class_weight=st.sampled_from(["", "balanced", "1:2,2:0.5"]),
)
JOB = complete(TrainingJob, target=TARGET, train=TRAIN, redraw=st.none() | complete(Redraw))
HYPERPARAMETERS = st.lists(complete(Hyperparameter), max_size=2).map(tuple)
OF_FIELDS = {
    "target": TARGET,
    "job": JOB,
    "space": complete(SearchSpace, hyperparameters=HYPERPARAMETERS),
    "result": complete(FitResult),
}


@pytest.mark.parametrize("kind", get_args(Message), ids=lambda kind: kind.__name__)
def test_message_is_received_as_it_was_sent(kind: type) -> None:
    names = {field.name for field in fields(kind)}
    own = {name: strategy for name, strategy in OF_FIELDS.items() if name in names}

    @settings(max_examples=30, suppress_health_check=[*HealthCheck])
    @given(complete(kind, **own))
    def check(message: Message) -> None:
        # `==` accepts an integer for a float or a boolean, and a string for a word of an enum.
        assert repr(decode(encode(message))) == repr(message)

    check()
