"""What was found, in words: of a search, of its confirmation, of a look at the test split, of what
pruning cost.
"""

from __future__ import annotations

import math

from scipy import stats

from tuning.config import sign
from tuning.confirmation.estimates import RESOLUTION, Judgement, judge
from tuning.confirmation.rounds import MIN_ROUNDS, Confirmation, Finalist, expected
from tuning.evaluation.scores import Comparison
from tuning.evaluation.statistics import LEVEL
from tuning.study.summary import Summary, best_of
from tuning.study.trials import busy_seconds, is_over_limit, is_pruned_early, value_of


def verdict(summary: Summary, found: Confirmation | None = None) -> str:
    """What the search found, in one or two sentences; what its confirmation says, where there are
    repeats.
    """
    judgement, chosen = judge(found) if found else None, best_of(summary, found)
    newer = ""
    if found and judgement:
        if chosen is None or chosen.is_confirmed or not judgement.is_confirmed:
            return " ".join(sentences(found, judgement))
        newer = (
            f" It is newer than the confirmation, whose best is trial {judgement.best.trial}: `make"
            " confirm` repeats it."
        )
    best, baseline = summary.best, summary.baseline
    if best is None:
        over = (
            f" {summary.n_over_limit} are over a limit: raise it, or search smaller models."
            if summary.n_over_limit
            else ""
        )
        return f"No trial is complete yet.{over}"
    value = f"{summary.metric} {value_of(best):.4f}"
    text = (
        f"The best of the search, of {summary.n_finished} finished trials, is trial {best.number}"
        f" with {value}"
    )
    if baseline is None:
        return f"{text}; the baseline is not complete yet.{newer}"
    if best is baseline:
        return (
            f"{text}: the baseline itself. Nothing that was tried is"
            f" better.{_front_sentence(summary)}{newer}"
        )
    change = value_of(best) - value_of(baseline)
    over = ", over a limit" if is_over_limit(baseline) else ""
    return (
        f"{text}, against {value_of(baseline):.4f} of the baseline (trial {baseline.number}{over}),"
        f" a difference of {change:+.4f}. Each is one training with one seed on the validation"
        f" split, so a small difference may be chance.{_front_sentence(summary)}{newer}"
    )


def _front_sentence(summary: Summary) -> str:
    if not summary.has_costs:
        return ""
    numbers = ", ".join(str(trial.number) for trial in summary.front)
    return f" On the Pareto front: trials {numbers}. make export-best TRIAL=N takes one of them."


def comparison(name: str, found: Comparison, *, trial: int) -> str:
    """A sentence on the model that is exported, of a trial, against another on the test split."""
    change = found.accuracy_difference
    size = (
        f"{change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}] accuracy, McNemar's"
        f" p = {found.p_value:.2g}"
    )
    if change.low > 0:
        return (
            f"The exported model (trial {trial}) is ahead of the {name} on the test split: {size}."
        )
    if change.high < 0:
        return f"The exported model (trial {trial}) is behind the {name} on the test split: {size}."
    return (
        f"The exported model (trial {trial}) can't be told from the {name} on the test split:"
        f" {size}."
    )


def plan(found: Confirmation, *, n_workers: int) -> str:
    """What a confirmation is going to train and about how long that takes; empty where nothing is
    left to train.
    """
    n_trainings, seconds = expected(found, n_workers=n_workers)
    if not n_trainings:
        return ""
    others = ", ".join(
        f"trial {one.trial}" for one in found.finalists if one.is_alive and not one.is_baseline
    )
    names = " and ".join(filter(None, [others, "the baseline" if found.baseline else ""]))
    time = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
    budget = (
        f"budget: {found.budget_seconds / found.search_seconds:.0%} of the search's worker seconds"
        if found.search_seconds
        else ""
    )
    trainings = (
        f"about {counted(n_trainings, 'training')}, {time} with {counted(n_workers, 'worker')}"
    )
    return (
        f"Confirming {names} on up to {counted(len(found.seeds), 'fresh seed')}: {trainings}"
        f" ({budget})."
    )


def counted(n: int, noun: str) -> str:
    """A number with its noun, in the plural where it is not one."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def sentences(found: Confirmation, judgement: Judgement) -> list[str]:
    """The verdict in words: the best against the baseline, the search's optimism, and what the
    repeats cost.
    """
    best, value = judgement.best, judgement.means[judgement.best.trial]
    if judgement.is_confirmed:
        head = (
            f"Trial {best.trial} is the confirmed best: {found.metric} {value} over"
            f" {judgement.n_shared} fresh seeds."
        )
    else:
        head = (
            f"Trial {best.trial} is ahead after {counted(judgement.n_shared, 'fresh seed')}:"
            f" {found.metric} {value}. Nothing is confirmed with fewer than {MIN_ROUNDS} seeds."
        )
    lines = [
        " ".join([head, _against_the_baseline(found, judgement), *_lower_mean(found, judgement)])
    ]
    if judgement.optimism is not None:
        naive, mean = judgement.naive, judgement.means[judgement.naive.trial].value
        too_good = sign(found.metric) * judgement.optimism
        found_by = f"The search's best value, {naive.search_value:.4f} of trial {naive.trial}"
        size = (
            f"too good by {too_good:.4f}" if too_good > 0 else f"not too good, by {too_good:+.4f}"
        )
        lines.append(
            f"{found_by}, is {size}: the corrected mean of the same configuration is {mean:.4f}."
        )
    if found.has_costs:
        front = ", ".join(
            f"trial {one.trial} ({judgement.means[one.trial].value:.4f})" for one in judgement.front
        )
        name = "confirmed Pareto front" if judgement.is_confirmed else "Pareto front so far"
        lines.append(f"On the {name}: {front}. make export-best TRIAL=N takes one of them.")
    lines += missed_sentences(found, judgement)
    lines.append(f"The repeats cost {found.share:.0%} of the search.")
    return lines


def _lower_mean(found: Confirmation, judgement: Judgement) -> list[str]:
    """A warning where the corrected means put the baseline before the best, which is chosen by its
    mean over the shared seeds.
    """
    baseline, towards = found.baseline, sign(found.metric)
    if (
        baseline is None
        or judgement.best.is_baseline
        or baseline.is_over_limit
        or baseline.trial not in judgement.means
    ):
        return []
    own, other = judgement.means[judgement.best.trial].value, judgement.means[baseline.trial].value
    if towards * own >= towards * other:
        return []
    return [
        f"Its corrected mean is worse than the baseline's, {other:.4f}: that it is ahead on the"
        " shared seeds may be luck."
    ]


def missed_sentences(found: Confirmation, judgement: Judgement) -> list[str]:
    """How many of the pruned trials that were trained to the end are better than the search's best;
    none where none was.

    The interval of the rate is Clopper and Pearson's (1934, `scipy.stats.binomtest`).
    """
    values = [value for one in found.pruned for value in one.found]
    if not values:
        return []
    towards, best = sign(found.metric), judgement.naive.search_value
    n_better = sum(towards * value > towards * best for value in values)
    rate = stats.binomtest(n_better, len(values)).proportion_ci(LEVEL)
    what = (
        f"{len(values)} pruned trial{' was' if len(values) == 1 else 's were'} trained to the end"
    )
    return [
        f"{what}, drawn at random: {n_better or 'none'} better than the search's best, {best:.4f}"
        f" (between {rate.low:.0%} and {rate.high:.0%} of all that were pruned)."
    ]


def saved_sentence(summary: Summary, *, epochs: int) -> str:
    """What pruning saved, where every trial had trained for all its epochs; empty where nothing was
    pruned.
    """
    pruned = [t for t in summary.trials if is_pruned_early(t)]
    if not pruned:
        return ""
    saved = sum(
        busy_seconds(t.user_attrs["seconds"]) * (epochs / t.user_attrs["n_epochs"] - 1)
        for t in pruned
    )
    spent = sum(busy_seconds(t.user_attrs.get("seconds", {})) for t in summary.trials)
    return (
        f"Pruning saved up to {saved:.0f} s of the workers, {saved / (saved + spent):.0%} of what"
        f" the search would have cost without it ({len(pruned)} trials)."
    )


def _against_the_baseline(found: Confirmation, judgement: Judgement) -> str:
    if judgement.best.is_baseline:
        return (
            "It is the baseline: nothing that was tried is"
            f" {'better' if judgement.is_confirmed else 'ahead of it'}."
        )
    over = " (which is over a limit)" if found.baseline and found.baseline.is_over_limit else ""
    change, n = judgement.difference, judgement.n_pairs
    if change is None:
        return "The baseline has no repeat to compare with."
    seeds = f"on {counted(n, 'shared seed')}"
    if math.isnan(change.low):
        return (
            f"Against the baseline{over} it has {change.value:+.4f} {seeds}, too few to say whether"
            " that is chance."
        )
    if change.excludes_zero and judgement.is_confirmed:
        low, high = sorted((abs(change.low), abs(change.high)))
        word = "better" if sign(found.metric) * change.value > 0 else "worse"
        return (
            f"It is {word} than the baseline{over} by {abs(change.value):.4f} [{low:.4f},"
            f" {high:.4f}] {seeds}."
        )
    more = (
        f"; {judgement.seeds_to_resolve} more seeds would resolve {RESOLUTION:g}"
        if judgement.seeds_to_resolve
        else ""
    )
    interval = f"{change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}] {seeds}"
    if change.excludes_zero:
        return f"Against the baseline{over} it has {interval}{more}."
    return f"It is not distinguishable from the baseline{over} on these data: {interval}{more}."


def rows(found: Confirmation, judgement: Judgement) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table of the finalists: value in the search, each repeat, corrected mean
    with its interval.
    """
    seeds = [seed for seed in found.seeds if any(seed in one.repeats for one in found.finalists)]
    costs = ["other objectives"] if found.has_costs else []
    header = [
        "trial",
        "in the search",
        *costs,
        *(f"seed {seed}" for seed in seeds),
        "corrected mean",
        "given up",
    ]
    table = []
    for one in found.finalists:
        label = f"{one.trial} (baseline)" if one.is_baseline else str(one.trial)
        repeats = [_cell(one, seed) for seed in seeds]
        mean = judgement.means.get(one.trial)
        end = (
            f"after seed {found.seeds[one.dropped_in - 1]}"
            if one.dropped_in
            else ", ".join(one.failures.values())
        )
        others = [", ".join(f"{cost:,.5g}" for cost in one.costs)] if costs else []
        table.append(
            [label, f"{one.search_value:.4f}", *others, *repeats, str(mean) if mean else "", end]
        )
    if not any(row[-1] for row in table):
        return header[:-1], [row[:-1] for row in table]
    return header, table


def _cell(one: Finalist, seed: int) -> str:
    value = one.repeats.get(seed)
    return one.failures.get(seed, "") if value is None else f"{value:.4f}"
