"""The replay of searches on measured trainings."""

import math
from dataclasses import replace

import pytest

from benchmarks import replay
from benchmarks.default_space import space_path, starting_points
from tuning.spaces.loading import declare

SPACE = declare(space_path(), n_classes=2)
# The trainings of the baseline and of the starting points: the later, the better and the slower.
TRAININGS = [
    replay.Training(number, values, (0.5, 0.6 + number / 100, 0.55), 50, 100 * (1 + number))
    for number, values in enumerate(starting_points())
]
BEST = TRAININGS[-1].value


@pytest.mark.parametrize("training", TRAININGS, ids=lambda t: t.values["architecture"])
def test_distance_is_0_to_itself_and_infinite_to_another_architecture(
    training: replay.Training,
) -> None:
    for number, other in enumerate(TRAININGS):
        distance = replay.distance(training.values, other, SPACE)
        is_same_kind = other.values["architecture"] == training.values["architecture"]
        assert math.isfinite(distance) == is_same_kind
        assert (distance == 0) == (number == training.number)


def test_distance_is_in_shares_of_the_ranges() -> None:
    lstm = TRAININGS[0]
    longer = replace(lstm, values={**lstm.values, "sequence_length": 200})
    assert replay.distance(lstm.values, longer, SPACE) == pytest.approx(100 / 160)
    wider = replace(lstm, values={**lstm.values, "lstm_units": 64})
    assert replay.distance(lstm.values, wider, SPACE) == pytest.approx(math.log(2) / math.log(8))
    both = replace(lstm, values={**wider.values, "sequence_length": 200})
    assert replay.distance(lstm.values, both, SPACE) == pytest.approx(
        math.hypot(100 / 160, math.log(2) / math.log(8))
    )


@pytest.mark.nightly
@pytest.mark.parametrize("pruner", replay.PRUNERS)
@pytest.mark.parametrize("sampler", replay.SAMPLERS)
def test_search_gives_values_of_the_trainings_after_their_seconds(
    sampler: str, pruner: str
) -> None:
    search = replay.replay(
        trainings=TRAININGS, sampler=sampler, pruner=pruner, seed=0, seconds=12_000, n_workers=2
    )
    values = [value for _, value in search["best"]]
    assert values == sorted(set(values)) and set(values) <= {t.value for t in TRAININGS}
    # The two workers train the baseline (350 s) and the first starting point (650 s) first. The
    # clock counts the time of the coordinator too.
    assert search["best"][0] == (pytest.approx(350, abs=60), TRAININGS[0].value)
    assert search["best"][1] == (pytest.approx(650, abs=60), TRAININGS[1].value)
    assert (values[-1] == BEST) or pruner == "asha"
    summary = replay.summary_of([search, search], [10, 200])
    assert summary["200 minutes"] == {"mean": values[-1], "error": 0}
    assert summary["10 minutes"]["mean"] < values[-1]
    assert sum(summary["architectures"].values()) == 2
