"""Comparisons of search spaces with values in the place of trainings."""

from dataclasses import replace

from tuning.comparison.document import ComparedReference, ComparedSpace, Comparison
from tuning.comparison.standings import Standing
from tuning.config import DataConfig
from tuning.evaluation.statistics import mean_interval
from tuning.search.progress import Progressed
from tuning.study.summary import Summary

REFERENCES = [
    ComparedReference(
        name="TF-IDF + logistic regression", about="100,000 terms", accuracy=0.8790, seconds=21.0
    ),
    ComparedReference(
        name="tuned n-grams + logistic regression", about="C = 10", accuracy=0.8891, seconds=38.0
    ),
]
# name → mean accuracy, differences of the seeds from it, training seconds, parameters, latency
SPACES: dict[str, tuple[float, list[float], float, int, float]] = {
    "baseline_lstm": (0.8312, [0.004, -0.006, 0.001, 0.003, -0.002], 92.0, 682_937, 3.1),
    "masked_lstm": (0.8461, [0.001, 0.002, -0.004, 0.000, 0.001], 88.0, 702_001, 3.4),
    "cnn": (0.8588, [0.002, -0.001, 0.001, -0.001, -0.001], 61.0, 1_946_113, 1.2),
    "wide_deep": (0.8935, [0.001, -0.001, 0.000, 0.001, -0.001], 75.0, 2_871_554, 1.9),
    "reviews": (0.8931, [0.000, 0.001, -0.002, 0.002, -0.001], 70.0, 1_204_882, 1.6),
}


def standing(
    name: str,
    mean: float,
    changes: list[float],
    *,
    seconds: float = 10.0,
    n_parameters: int = 1_000,
    latency_ms: float | None = 1.0,
) -> Standing:
    """A confirmed space, whose repeats on the seeds 1, 2, … differ from the mean by `changes`."""
    values = [mean + change for change in changes]
    curve = [(20.0, mean - 0.03), (95.0, mean - 0.01), (410.0, mean + 0.004)]
    space = ComparedSpace(
        space=name,
        study=f"compare-reviews-{name}",
        seconds=600.0,
        curve=curve,
        is_searched=True,
        is_over=True,
        latency_ms=latency_ms,
    )
    return Standing(
        space=space,
        n_trials=31,
        trial=7,
        accuracy=mean_interval(values),
        search_value=mean + 0.004,
        repeats=dict(enumerate(values, start=1)),
        seconds=seconds,
        n_parameters=n_parameters,
        latency_ms=latency_ms,
        values={"vocab_size": 30_000, "sequence_length": 150, "learning_rate": 0.001},
    )


def unconfirmed(name: str, **changes: object) -> Standing:
    """A space of which nothing is known; `changes` are values of its `ComparedSpace`."""
    space = ComparedSpace(space=name, study=f"compare-reviews-{name}")
    return Standing(space=replace(space, **changes))  # type: ignore[arg-type]


def standings() -> list[Standing]:
    """Five confirmed spaces."""
    return [
        standing(name, mean, changes, seconds=seconds, n_parameters=n, latency_ms=latency)
        for name, (mean, changes, seconds, n, latency) in SPACES.items()
    ]


def comparison_of(standings: list[Standing]) -> Comparison:
    return Comparison(
        minutes=10.0,
        seed=0,
        data=DataConfig(data="amazon_reviews_*.csv.gz"),
        spaces=[space_standing.space for space_standing in standings],
        data_fingerprint="0123456789abcdef",
        references=REFERENCES,
    )


def progressed(values: dict[int, list[float]]) -> Progressed:
    """A search whose running trials have these values of their epochs."""
    return Progressed(
        summary=Summary.of("s", "val_accuracy", []),
        n_trials=9,
        epochs=5,
        running={},
        values=values,
        n_paused=0,
        elapsed_seconds=1.0,
        seconds_left=None,
    )
