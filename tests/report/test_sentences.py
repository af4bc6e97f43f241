"""The answer of the first screen, and the linear model, in sentences."""

import json
import re
from collections.abc import Callable
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from tests.commands import Ran
from tests.confirmations import estimated, with_repeats
from tests.stored_documents import CARD, TEST_SCORES
from tests.studies import many_trials
from tuning.atomic_io import read_json
from tuning.config import SPLITS, DataConfig, StudyConfig, TrainConfig
from tuning.confirmation.estimates import estimate
from tuning.confirmation.record import Confirmation
from tuning.documents import write
from tuning.evaluation.linear_reference import LinearReference, LinearTask
from tuning.evaluation.scores import ChosenThreshold, Comparison, TestDocument
from tuning.evaluation.statistics import Interval, interval_text
from tuning.report.confirmation import lower_mean
from tuning.report.costs import saved_sentence
from tuning.report.page import write_report
from tuning.report.sentences import (
    answer,
    behind_linear,
    comparison,
    constant_sentence,
    export_sentences,
    linear_sentences,
    verdict,
)
from tuning.report.tables import counts_sentence, data_rows, folds_sentence
from tuning.results import ResultsDir
from tuning.study.handle import StudyHandle
from tuning.study.summary import Summary, summarize
from tuning.study.trials import is_pruned_early


def reference(value: float, metric: str = "accuracy") -> LinearReference:
    return LinearReference(about="words & pairs", scores={metric: value}, seconds=1.0)


def confirmed(value: float, n_seeds: int = 3, metric: str = "val_accuracy") -> Confirmation:
    """Return a confirmation whose best, trial 3, has a mean of `value` over three seeds."""
    worse = value - 0.2 if metric == "val_accuracy" else value + 0.2
    changes = [-0.001, 0.0, 0.001][:n_seeds]
    return with_repeats(
        {3: [value + change for change in changes], 0: [worse + change for change in changes]},
        metric=metric,
    )


@pytest.fixture
def results(copied_results: ResultsDir) -> ResultsDir:
    """Return a copy of the study "s" whose data have a linear model with the accuracy 0.9876."""
    fingerprint = read_json(copied_results.study("s").config_path)["data_fingerprint"]
    write(LinearTask().path(copied_results.cache_dir(fingerprint)), reference(0.9876))
    return copied_results


@pytest.mark.parametrize(
    ("linear", "confirmation", "is_behind"),
    [
        (reference(0.889), confirmed(0.8), True),
        (reference(0.889), confirmed(0.9), False),
        (reference(0.889), confirmed(0.8, n_seeds=2), False),
        (reference(0.3, "loss"), confirmed(0.4, metric="val_loss"), True),
    ],
)
def test_confirmed_best_behind_the_linear_model_is_a_warning_with_both_values(
    linear: LinearReference, confirmation: Confirmation, is_behind: bool
) -> None:
    sentence = behind_linear(linear, confirmation, study="s")
    assert bool(sentence) == is_behind
    if is_behind and "accuracy" in linear.scores:
        assert re.search(
            r"trial 3, is behind .* val_accuracy 0\.8000 \(mean .*\) against 0\.8890\.", sentence
        )
        assert "make tune STUDY=s TRIALS=N" in sentence
        assert "make spaces` lists them): `ngrams` is" in sentence
        own = behind_linear(linear, confirmation, study="s", space="ngrams")
        assert own.endswith("`make spaces` lists them).")


@pytest.mark.parametrize(
    ("value", "n_folds", "metric", "share"),
    [
        (0.75, 1, "val_accuracy", "0.7500"),
        (0.7501, 1, "val_accuracy", ""),
        (0.79, 5, "val_accuracy", "0.8000"),
        (0.81, 5, "val_accuracy", ""),
        (0.75, 1, "val_auc", ""),
    ],
)
def test_best_that_is_no_better_than_the_largest_class_is_a_warning(
    value: float, n_folds: int, metric: str, share: str
) -> None:
    counts = {"train": [15, 65], "validation": [5, 15], "test": [50, 0]}
    card = replace(CARD, class_counts=counts)
    config = StudyConfig(study="s", metric=metric, train=TrainConfig(n_folds=n_folds))
    made = confirmed(value, metric=metric)
    sentence = constant_sentence(made, card, config)
    shown = f"Trial 3 is not better than always predicting 'positive' (val_accuracy {share})."
    assert sentence.startswith(shown) if share else sentence == ""
    # Repeats on fresh groups, and folds of groups, evaluate other rows than the card counts.
    grouped = replace(config, data=DataConfig(data="x.csv", group_column="product"))
    assert constant_sentence(made, card, grouped) == ("" if n_folds > 1 else sentence)
    assert constant_sentence(replace(made, overlap=0.25), card, grouped) == ""


def test_best_that_was_ahead_of_the_linear_model_itself_on_fresh_rows_is_not_behind_it() -> None:
    """Trial 1 is the starting point that equals the linear model."""
    made = with_repeats({3: [0.78, 0.79, 0.80], 1: [0.77, 0.76, 0.79], 0: [0.7] * 3})
    values = {3: 0.76, 1: 0.79, 0: 0.7}
    searched = [replace(f, search_value=values[f.trial]) for f in made.finalists]
    fresh = replace(made, finalists=searched, overlap=0.25)
    assert not behind_linear(reference(0.79), fresh, study="s")
    assert behind_linear(reference(0.791), fresh, study="s")


def test_a_model_with_the_linear_model_s_values_is_not_behind_it_by_its_corrected_mean() -> None:
    estimates = estimate(with_repeats({3: [0.78, 0.79, 0.80], 1: [0.77, 0.76, 0.79], 0: [0.7] * 3}))
    assert estimates is not None and estimates.means[3].value < 0.79
    assert not behind_linear(reference(0.79), estimates.confirmation, study="s")
    assert behind_linear(reference(0.7901), estimates.confirmation, study="s")


def first_section(results: ResultsDir) -> str:
    """Write the report of the study "s", and return its first screen."""
    page, _ = write_report(StudyHandle.of(results, "s"))
    return page.read_text(encoding="utf-8").partition("<h2>")[0]


def test_first_screen_after_an_export_compares_on_the_test_split_alone(results: ResultsDir) -> None:
    """The confirmed best is behind the linear model on the validation split."""
    folder, before = results.study("s"), first_section(results)
    assert "on words &amp; pairs) has a validation accuracy of 0.9876" in before
    assert "is behind" not in before
    confirmed(0.5).save(folder)
    behind = first_section(results)
    assert "is behind the linear model" in behind
    assert "<code>make spaces</code> lists them" in behind
    assert "is not better than always predicting" in behind
    write(folder.test_path, compared(linear=(0.0, -0.01, 0.01)))
    first = first_section(results)
    assert "Use the exported model" in first
    assert "is not distinguishable from it (+0.0000 [-0.0100, +0.0100])" in first
    assert "is behind" not in first and "use the linear model" not in first
    assert "always predicting" not in first
    assert "validation accuracy" not in first


def test_status_shows_the_linear_model(results: ResultsDir, run_cli: Callable[..., Ran]) -> None:
    confirmed(0.5).save(results.study("s"))
    assert "is behind the linear model" in run_cli("status", "--study", "s").out
    values = json.loads(run_cli("status", "--study", "s", "--json").out)
    assert values["linear_model_value"] == 0.9876


def summary_of(n_trials: int = 8) -> Summary:
    return summarize(many_trials(n_trials), metric="val_accuracy")


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (TrialState.FAIL, "ended without a value"),
        (TrialState.PRUNED, "ended without a value"),
        (TrialState.RUNNING, "is not complete yet"),
    ],
)
def test_study_whose_baseline_has_no_value_says_so(state: TrialState, says: str) -> None:
    summary = summary_of()
    baseline = create_trial(state=state, user_attrs={"baseline": True})
    others = [t for t in summary.trials if not t.user_attrs.get("baseline")]
    text = verdict(replace(summary, trials=[*others, baseline]))
    assert f"; the baseline {says}, so nothing is compared with it." in text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.8125, "1 with val_accuracy 0.8125, against 0.8000 of the baseline (trial 0), a differ"),
        (0.75, "0 with val_accuracy 0.8000: the baseline itself. Nothing that was tried is better"),
    ],
)
def test_best_is_compared_with_the_baseline(value: float, words: str) -> None:
    study = optuna.create_study(direction="maximize")
    for number, each in enumerate((0.8, value)):
        study.add_trial(create_trial(value=each, user_attrs={"baseline": number == 0}))
    text = verdict(summarize(study, metric="val_accuracy"))
    assert text.startswith(f"The best of the search, of 2 finished trials, is trial {words}")
    assert ("a difference of +0.0125." in text) == (value > 0.8)


def test_counts_have_queued_trials_and_where_the_reasons_are() -> None:
    study = many_trials(8)
    study.enqueue_trial({"lstm_units": 4})
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"reason": "NaN loss"}))
    text = counts_sentence(summarize(study, metric="val_accuracy"))
    assert "0 paused, 1 queued. trials/NUMBER/error.txt has the reason" in text


@pytest.mark.parametrize("counts", [False, True])
def test_data_say_in_which_rows_words_are_counted(counts: bool) -> None:
    card = replace(CARD, counts_validation=counts)
    rows, both = dict(data_rows(card)), "in the training and the validation split"
    assert rows["words"].endswith(both if counts else "in the training split")
    assert ("lacks count as unknown" in rows["unknown tokens"]) == counts
    config = StudyConfig(study="s", train=TrainConfig(n_folds=5))
    said = folds_sentence(config, card)
    assert ("n-grams are counted in all these rows" in said) == counts
    assert "the rows before it" not in said
    timed = replace(config, data=DataConfig(time_column="day"))
    assert "Each fold is trained on the rows before it" in folds_sentence(timed, card)


def test_data_of_many_classes_begin_with_their_doubts() -> None:
    names = ["None", "none", *(f"a category name {n}" for n in range(48))]
    counts = {split: [n + 1 for n in range(50)] for split in SPLITS}
    card = replace(CARD, class_names=names, class_counts=counts)
    text = dict(data_rows(card))["classes"]
    assert text.startswith("'None' and 'none' differ")
    assert text.endswith("and 40 more, of which None is the rarest with 3")
    assert len(text) < 700


@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_data_begin_with_the_names_that_a_split_lacks(kind: str) -> None:
    counts = {"train": [9, 9, 9], "validation": [5, 5, 0], "test": [0, 5, 0]}
    card = replace(CARD, class_names=[*"abc"], class_counts=counts, predicts=kind)
    text = dict(data_rows(card))[kind]
    of_validation = "the validation split has no row of 'c', so its metrics say nothing about it"
    assert text.startswith(f"{of_validation} (folds have more rows); the test split has no row of")
    assert "'a' (and of 1 more), so its metrics say nothing about it; " in text
    # A study with given validation rows has no folds.
    text = dict(data_rows(replace(card, draws_validation=False)))[kind]
    assert text.startswith(f"{of_validation}; ")


def test_pruned_trial_without_seconds_saved_none() -> None:
    """A trial that was paused, whose worker died, and that is then pruned, has no seconds."""
    summary = summary_of()
    expected = saved_sentence(summary, epochs=5)
    pruned = [trial for trial in summary.trials if is_pruned_early(trial)]
    seconds = pruned[0].user_attrs.pop("seconds")
    assert f"({len(pruned)} trials)" in expected
    assert f"({len(pruned)} trials)" in saved_sentence(summary, epochs=5)
    pruned[0].user_attrs["seconds"] = seconds
    assert saved_sentence(summary, epochs=5) == expected


def compared(**changes: tuple[float, float, float]) -> TestDocument:
    """Return scores on the test split with these differences to the other models."""
    some = TEST_SCORES.comparisons["baseline"]
    names = {"linear": "TF-IDF + logistic regression"}
    return replace(
        TEST_SCORES,
        comparisons={
            names.get(name, name): replace(some, accuracy_difference=Interval(*change))
            for name, change in changes.items()
        },
    )


def around(value: float) -> tuple[float, float, float]:
    return value, value - 0.01, value + 0.01


@pytest.mark.parametrize("metric", ["accuracy", "auc"])
def test_answer_of_an_export_with_a_threshold_has_one_sentence_for_each_score(metric: str) -> None:
    """The threshold changes the accuracy. AUC is the same with and without."""
    test = compared(baseline=(0.0, 0.0, 0.0))
    baseline, own = (test.scores[name].interval(metric) for name in ("baseline", "best"))
    assert baseline[0] is not None and own[0] is not None
    gain = Interval(0.1 if metric == "accuracy" else own[0] - baseline[0], 0.0, 0.9)
    result = replace(test.comparisons["baseline"], accuracy_difference=gain, metric_difference=gain)
    chosen = {"positive": ChosenThreshold(threshold=0.2, criterion="f1")}
    test = replace(test, comparisons={"baseline": result}, chosen_thresholds=chosen)
    sentence = answer(replace(summary_of(), metric=f"val_{metric}"), None, test, None)
    at_default = f"{baseline[0] + 0.1:.4f} at 0.5"
    shown = at_default if metric == "accuracy" else interval_text(*own)
    assert f" is {shown}, not distinguishable from the baseline ({gain.signed})." in sentence
    added = f" With its own threshold it is {interval_text(*own)}."
    assert sentence.endswith(added) == (metric == "accuracy")


@pytest.mark.parametrize(
    ("change", "verdict", "lead"),
    [
        (0.02, "better than", "Use the exported model (trial 2): its accuracy"),
        (0.005, "not distinguishable from", "Use the exported model (trial 2): its accuracy"),
        (-0.02, "worse than", "Do not use the exported model (trial 2) yet: its accuracy"),
    ],
)
def test_exported_model_is_compared_with_the_linear_model(
    change: float, verdict: str, lead: str
) -> None:
    test = compared(baseline=around(0.02), linear=around(change))
    first, second, *remedy = linear_sentences(
        reference(0.95), confirmed(0.8), metric="val_accuracy", test=test, study="s"
    )
    assert first.startswith("The best linear model on the test split is TF-IDF + logistic")
    assert first.endswith(", with accuracy 0.9722 [0.9160, 1.0000].")
    shown = Interval(*around(change)).signed
    assert second == f"The exported model (trial 2) is {verdict} it ({shown})."
    assert bool(remedy) is (verdict == "worse than")
    sentence = answer(summary_of(), None, test, None)
    assert sentence.startswith(f"{lead} on the test split is 0.6944 [")
    assert "better than the baseline (+0.0200 [+0.0100, +0.0300]) and " in sentence
    assert sentence.endswith(f"{verdict} the TF-IDF + logistic regression ({shown}).")


def test_metric_that_is_not_defined_on_the_test_split_is_said_so() -> None:
    """The test split of a study by groups may lack a class, without which AUC is not defined."""
    test = compared(baseline=around(0.0), linear=around(0.0))
    test = replace(
        test,
        scores={n: replace(s, test={**s.test, "auc": None}) for n, s in test.scores.items()},
        references={
            n: replace(s, test={**s.test, "auc": None}) for n, s in test.references.items()
        },
        comparisons=dict.fromkeys(test.comparisons, Comparison()),
    )
    summary = replace(summary_of(), metric="val_auc")
    sentence = answer(summary, None, test, None)
    assert sentence.endswith("its AUC on the test split is not defined.")
    first, *_ = linear_sentences(None, None, test=test, study="s", metric="val_auc")
    assert first.endswith(", with AUC not defined.")
    assert not [text for text in export_sentences(test, "val_auc") if "AUC" in text]


@pytest.mark.parametrize(("p_value", "shown"), [(0.0625, "p = 0.062."), (0.0, "p < 1e-300.")])
def test_p_value_is_never_zero(p_value: float, shown: str) -> None:
    result = Comparison(p_value=p_value, accuracy_difference=Interval(1.0, 1.0, 1.0))
    sentence = comparison("baseline", result, exported="The model", metric="val_accuracy")
    assert sentence.endswith(shown)


def test_mcnemar_s_test_is_named_only_beside_the_accuracy() -> None:
    change = Interval(0.1, 0.05, 0.2)
    result = Comparison(p_value=0.6, accuracy_difference=change, metric_difference=change)
    assert "McNemar" not in comparison("baseline", result, exported="A", metric="val_f1_macro")
    assert "McNemar" in comparison("baseline", result, exported="A", metric="val_accuracy")


def test_answer_of_a_confirmed_baseline_behind_the_linear_model() -> None:
    summary = summary_of()
    assert summary.baseline is not None
    best = summary.baseline.number
    others = {trial.number: [0.7, 0.701, 0.702] for trial in summary.ranked}
    confirmation = with_repeats(others | {best: [0.9, 0.901, 0.902]})
    sentence = answer(summary, confirmation, None, reference(0.95))
    assert sentence.startswith(f"Do not use trial {best} yet. Trial {best} is the confirmed best")
    assert sentence.endswith("The linear model has 0.9500.")
    ahead = answer(summary, confirmation, None, reference(0.5))
    assert ahead.startswith(f"Use trial {best}. Trial {best} is the confirmed best")
    no_better = answer(summary, confirmation, None, reference(0.5), constant="Not better.")
    assert no_better.startswith(f"Do not use trial {best} yet.")


@pytest.mark.parametrize(("linear", "is_behind"), [(0.895, False), (0.905, True)])
def test_answer_after_fresh_splits_compares_with_the_linear_model_on_its_rows(
    linear: float, is_behind: bool
) -> None:
    """The linear model has the study's own split, as the search's value, 0.9, has. The mean over
    fresh splits is 0.87.
    """
    summary = summary_of()
    assert summary.baseline is not None
    baseline = summary.baseline.number
    number = next(t.number for t in summary.ranked if t is not summary.baseline)
    others = {t.number: [0.7, 0.701, 0.702] for t in summary.ranked}
    means = {number: [0.87, 0.871, 0.869], baseline: [0.6, 0.601, 0.599]}
    confirmation = replace(with_repeats(others | means), overlap=0.2)
    sentence = answer(summary, confirmation, None, reference(linear))
    assert sentence.startswith(f"{'Do not use' if is_behind else 'Use'} trial {number}")
    own = f"The linear model has {linear:.4f} on the study's own split."
    assert own in sentence
    assert bool(behind_linear(reference(linear), confirmation, study="s")) is is_behind


def test_answer_of_a_study_with_folds_says_on_what_its_values_are() -> None:
    summary = summary_of()
    for trial in summary.trials:
        trial.user_attrs["n_folds"] = 3
    number = next(t.number for t in summary.ranked if t is not summary.baseline)
    others = {t.number: [0.7, 0.701, 0.702] for t in summary.ranked}
    confirmation = with_repeats(others | {number: [0.87, 0.871, 0.869]})
    fresh = replace(confirmation, overlap=0.25)
    sentence = answer(summary, fresh, None, reference(0.5))
    assert sentence.endswith("The linear model has 0.5000 on the study's own folds.")
    assert "Each value is of one seed on the folds" in answer(summary, None, None, None)


def test_answer_advises_against_a_best_whose_mean_is_below_the_baseline_s() -> None:
    summary = summary_of()
    first, second, third = [t.number for t in summary.ranked if t is not summary.baseline][:3]
    confirmation = with_repeats(
        {
            0: [0.880, 0.880, 0.881],
            first: [0.895, 0.871, 0.879],
            second: [0.80, 0.85, 0.86],
            third: [0.79, 0.84, 0.85],
        }
    )
    assert lower_mean(estimated(confirmation)) == pytest.approx(0.8803, abs=5e-5)
    sentence = answer(summary, confirmation, None, None)
    assert sentence.startswith(f"Do not use trial {first} yet.")
    assert "is worse than the baseline's, 0.8803: " in sentence


def test_answer_names_the_confirmation_before_a_newer_trial() -> None:
    study = optuna.create_study(direction="maximize")
    for number, value in enumerate([0.8, 0.85, 0.9]):
        study.add_trial(create_trial(value=value, user_attrs={"baseline": number == 0}))
    confirmation = with_repeats({0: [0.8, 0.8, 0.8], 1: [0.85, 0.86, 0.85]})
    sentence = answer(summarize(study, metric="val_accuracy"), confirmation, None, None)
    assert "is trial 2 with val_accuracy 0.9000" in sentence
    assert "It is newer than the confirmation, whose best is trial 1: " in sentence


@pytest.mark.parametrize(
    ("metric", "change", "lead"),
    [
        ("val_balanced_accuracy", (0.3, 0.2, 0.4), "Use the exported model"),
        ("val_balanced_accuracy", (-0.3, -0.4, -0.2), "Do not use the exported model"),
        ("val_loss", (-0.3, -0.4, -0.2), "Use the exported model"),
        ("val_loss", (0.3, 0.2, 0.4), "Do not use the exported model"),
    ],
)
def test_answer_after_an_export_is_by_the_study_s_metric(
    metric: str, change: tuple[float, float, float], lead: str
) -> None:
    """A baseline that predicts the most frequent class has the higher accuracy."""
    test = compared(baseline=(-0.05, -0.07, -0.03), linear=(-0.05, -0.07, -0.03))
    test = replace(
        test,
        comparisons={
            name: replace(item, metric_difference=Interval(*change))
            for name, item in test.comparisons.items()
        },
    )
    summary = summarize(many_trials(8), metric=metric)
    sentence = answer(summary, None, test, None)
    assert sentence.startswith(lead)
    assert f"its {metric[4:].replace('_', ' ')} on the test split" in sentence
    _, second, *_ = linear_sentences(None, None, test=test, study="s", metric=metric)
    assert ("is better than it" in second) is (lead == "Use the exported model")


def test_baseline_over_a_limit_is_no_reason_against_the_exported_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    test = compared(baseline=(-0.03, -0.04, -0.02))
    assert answer(summary_of(), None, test, None).startswith("Do not use")
    monkeypatch.setattr("tuning.report.sentences.is_over_limit", lambda trial: True)
    sentence = answer(summary_of(), None, test, None)
    assert sentence.startswith("Use the exported model")
    assert "worse than the baseline (which is over a limit) (-0.0300" in sentence
