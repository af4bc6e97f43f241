"""The results of the spaces of a comparison, which spaces can't be distinguished from the best, and
which of these to choose.

Imports neither Keras nor Plotly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from tuning.commands import typed
from tuning.comparison.document import ComparedReference, ComparedSpace, Comparison
from tuning.confirmation.estimates import RESOLUTION, estimate
from tuning.confirmation.rounds import Confirmation
from tuning.evaluation.statistics import Interval, as_shown, mean_interval
from tuning.results import ResultsDir
from tuning.spaces.ranges import Values
from tuning.study.study import recorded_space
from tuning.study.summary import read_summary
from tuning.study.trials import attributes_of, value_of, values_of


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The result of one space of a comparison.

    Attributes:
        n_trials: number of finished trials of its study.
        trial: number of its best trial, the confirmed best if there is one.
        accuracy: the corrected mean validation accuracy of that trial's repeats on fresh seeds;
            None while the finalists share fewer than three seeds.
        search_value: the best validation accuracy of the search.
        repeats: validation accuracy of the best trial by fresh seed.
        seconds: duration of one training of the best trial.
        n_parameters: number of its parameters.
        latency_ms: its latency for a single text.
        values: its configuration.
    """

    space: ComparedSpace
    n_trials: int = 0
    trial: int | None = None
    accuracy: Interval | None = None
    search_value: float | None = None
    repeats: dict[int, float] = field(default_factory=dict)
    seconds: float | None = None
    n_parameters: int | None = None
    latency_ms: float | None = None
    values: Values = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.space.name

    @property
    def state(self) -> str:
        """The reason why the space has no confirmed best; empty if it has a confirmed best."""
        if self.space.failure is not None:
            return "failed"
        if self.accuracy is not None:
            return ""
        if self.space.is_over:
            return "not confirmed"
        return "not finished" if self.space.seconds else "not started"


@dataclass(frozen=True)
class Ranking:
    """The confirmed spaces of a comparison in their order.

    Attributes:
        ranked: the confirmed spaces, the best mean first.
        behind: for each space but the best, how far it is behind the best on the seeds that both
            have repeats on, by the name of its study; its bounds are NaN with fewer than two seeds.
    """

    ranked: list[Standing]
    behind: dict[str, Interval]

    @property
    def best(self) -> Standing:
        return self.ranked[0]

    @property
    def tied(self) -> list[Standing]:
        """The spaces that can't be distinguished from the best: their interval contains 0."""
        return [entry for entry in self.ranked[1:] if not self.is_behind(entry)]

    @property
    def clearly_behind(self) -> list[Standing]:
        """The spaces whose interval lies above 0."""
        return [entry for entry in self.ranked[1:] if self.is_behind(entry)]

    @property
    def choices(self) -> list[Standing]:
        """The best, and the tied spaces that are at most `RESOLUTION` behind it by their mean.

        A tied space that is further behind has too few repeats, or too different ones.
        """
        near = [entry for entry in self.tied if self.behind[entry.space.study].value <= RESOLUTION]
        return [self.best, *near]

    @property
    def smallest(self) -> Standing:
        """The choice with the fewest parameters."""
        return min(self.choices, key=lambda entry: entry.n_parameters or 0)

    @property
    def fastest(self) -> Standing | None:
        """The choice with the lowest latency; None if the latency of a choice is not known."""
        latencies = [entry.latency_ms for entry in self.choices]
        if None in latencies:
            return None
        return min(self.choices, key=lambda entry: entry.latency_ms or 0.0)

    def is_behind(self, entry: Standing) -> bool:
        """Return whether the interval of a space's distance to the best lies above 0."""
        return as_shown(self.behind[entry.space.study]).low > 0


def standing_of(space: ComparedSpace, results: ResultsDir, *, storage_url: str) -> Standing:
    """Return the standing of a space, read from its study.

    Raises:
        StudyError: the study has a folder, but is not in the storage.
    """
    folder = results.study(space.study)
    if not folder.config_path.exists():
        return Standing(space=space)
    summary = read_summary(results, folder, storage_url=storage_url)
    best = summary.best
    if best is None:
        return Standing(space=space, n_trials=summary.n_finished)
    confirmation = Confirmation.load(folder)
    estimates = estimate(confirmation) if confirmation else None
    is_confirmed = estimates is not None and estimates.is_confirmed and space.is_over
    finalist = estimates.best if estimates and is_confirmed else None
    number = finalist.trial if finalist else best.number
    trial = next(t for t in summary.trials if t.number == number)
    declared = recorded_space(folder)
    own = values_of(trial, declared)
    searched = Standing(
        space=space,
        n_trials=summary.n_finished,
        trial=number,
        search_value=value_of(best),
        n_parameters=attributes_of(trial).get("n_parameters"),
        latency_ms=space.latency_ms if space.measured_trial in (None, number) else None,
        values={item.name: own[item.name] for item in declared.searched if item.name in own},
    )
    if estimates is None or finalist is None:
        return searched
    return replace(
        searched,
        accuracy=estimates.means[finalist.trial],
        repeats={seed: value for seed, value in finalist.repeats.items() if value is not None},
        seconds=finalist.seconds,
    )


def rank_spaces(standings: Sequence[Standing]) -> Ranking | None:
    """Order the confirmed spaces by their means, and compare each with the best on shared seeds.

    The difference of two spaces is the mean of their differences on the seeds that both have
    repeats on, with Student's interval of paired differences.

    Returns:
        The ranking; None if no space is confirmed.
    """
    confirmed = [(entry.accuracy.value, entry) for entry in standings if entry.accuracy is not None]
    if not confirmed:
        return None
    ranked = [
        entry
        for _, entry in sorted(confirmed, key=lambda pair: (-pair[0], pair[1].n_parameters or 0))
    ]
    best = ranked[0]
    return Ranking(ranked, {entry.space.study: difference(best, entry) for entry in ranked[1:]})


def difference(first: Standing, second: Standing) -> Interval:
    """Return the mean lead of the first space over the second on the seeds that both have."""
    shared = sorted(set(first.repeats) & set(second.repeats))
    if not shared:
        return Interval(math.nan, math.nan, math.nan)
    return mean_interval([first.repeats[seed] - second.repeats[seed] for seed in shared])


def verdict(comparison: Comparison, standings: Sequence[Standing]) -> list[str]:
    """Return the result of a comparison in sentences: what to choose first, then why."""
    ranking = rank_spaces(standings)
    if ranking is None:
        return [f"No space has a confirmed best yet. {_incomplete(standings)}".strip()]
    texts = [_choice(ranking), _best_sentence(ranking)]
    if comparison.references:
        texts.append(_references_sentence(comparison.references, ranking))
    texts += [_tied_sentence(ranking), _behind_sentence(ranking), _incomplete(standings)]
    return [text for text in texts if text]


def _choice(ranking: Ranking) -> str:
    """Return a sentence with the spaces to choose: the smallest and the fastest of the spaces that
    are as good as the best.
    """
    smallest, fastest = ranking.smallest, ranking.fastest
    if len(ranking.ranked) == 1:
        return f"{ranking.best.name} is the only space with a confirmed best."
    if len(ranking.choices) == 1:
        return f"Choose {ranking.best.name}: no other space was shown to be as good."
    if fastest is None:
        return f"Choose {smallest.name}: {_size(smallest)}, the smallest of {_names(ranking)}."
    if fastest is smallest:
        return (
            f"Choose {smallest.name}: {_size(smallest)} and {_speed(smallest)}, the smallest and"
            f" fastest of {_names(ranking)}."
        )
    return (
        f"Choose {smallest.name} where size matters ({_size(smallest)}), and {fastest.name} where"
        f" speed matters ({_speed(fastest)}): they are the smallest and the fastest of"
        f" {_names(ranking)}."
    )


def _names(ranking: Ranking) -> str:
    return f"the {len(ranking.choices)} spaces that can't be distinguished from the best"


def _size(entry: Standing) -> str:
    return f"{entry.n_parameters or 0:,} parameters"


def _speed(entry: Standing) -> str:
    return f"{entry.latency_ms or 0.0:.2g} ms a text"


def _best_sentence(ranking: Ranking) -> str:
    best = ranking.best
    return (
        f"{best.name} has the best mean: {best.accuracy} validation accuracy over"
        f" {len(best.repeats)} fresh seeds."
    )


def _tied_sentence(ranking: Ranking) -> str:
    if not ranking.tied:
        return ""
    tied = _list(_gap(entry, ranking) for entry in ranking.tied)
    text = f"Not distinguishable from it on shared seeds: {tied}."
    far = [entry for entry in ranking.tied if entry not in ranking.choices]
    if far:
        studies = _list(
            f"`{typed('confirm', study=entry.space.study, seeds=10, share=1)}`"
            for entry in (ranking.best, *far)
        )
        text += (
            f" {_list(entry.name for entry in far)} may still be worse: more seeds would show it"
            f" ({studies}, then this command again)."
        )
    return text


def _behind_sentence(ranking: Ranking) -> str:
    behind = _list(
        f"{entry.name} by {ranking.behind[entry.space.study]}" for entry in ranking.clearly_behind
    )
    return f"Behind it: {behind}." if behind else ""


def _gap(entry: Standing, ranking: Ranking) -> str:
    """Return the distance of a tied space to the best, with its interval."""
    gap = ranking.behind[entry.space.study]
    if math.isnan(gap.value):
        return f"{entry.name} (no shared seed)"
    return f"{entry.name} (behind by {as_shown(gap)})"


def _references_sentence(references: Sequence[ComparedReference], ranking: Ranking) -> str:
    """Return a sentence that compares the best reference with the best space."""
    reference, best = max(references, key=lambda entry: entry.accuracy), ranking.best.accuracy
    assert best is not None  # for mypy: ranked spaces have a mean
    bar = f"The best linear reference ({reference.name}) has {reference.accuracy:.4f}"
    if best.low > reference.accuracy:
        return f"{bar}, below the interval of {ranking.best.name}."
    if best.high < reference.accuracy:
        return f"{bar}, above the interval of {ranking.best.name}."
    return f"{bar}, inside the interval of {ranking.best.name}."


def _incomplete(standings: Sequence[Standing]) -> str:
    """Return a sentence with the spaces that have no confirmed best; empty without such spaces."""
    missing = [f"{entry.name} ({entry.state})" for entry in standings if entry.state]
    return f"Without a confirmed best: {_list(missing)}." if missing else ""


def _list(words: Iterable[str]) -> str:
    """Return words as a part of a sentence: "a, b and c"; empty without words."""
    *first, last = [*words] or [""]
    return f"{', '.join(first)} and {last}" if first else last
