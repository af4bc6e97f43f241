"""Tables on the console."""

from dataclasses import replace

import pytest

from tests.confirmations import with_repeats
from tests.stored_documents import EXPORT
from tuning.display.console import NOTEBOOK_WIDTH, console
from tuning.display.tables import print_confirmation, print_test_scores


@pytest.mark.parametrize(
    ("metric", "first", "interval"),
    [
        ("val_accuracy", "accuracy F1 AUC loss", "0.6944 [0.5556, 0.8333]"),
        ("val_f1", "F1 accuracy AUC loss", "0.6207 [0.3810, 0.8000]"),
    ],
)
def test_the_interval_of_the_test_scores_is_of_the_metric_of_the_study(
    metric: str, first: str, interval: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_test_scores(replace(EXPORT, metric=metric, comparisons={}))
    text = capsys.readouterr().out
    assert f"model epochs {first}" in " ".join(text.replace("┃", " ").split())
    assert interval in text


def test_small_score_has_the_digits_that_it_has_beside_its_interval(
    capsys: pytest.CaptureFixture[str],
) -> None:
    best = EXPORT.scores["best"]
    small = {"test": {**best.test, "f1": 0.0004}}
    bounds = {"test_intervals": {**best.test_intervals, "f1": (-0.02, 0.03)}}
    scores = {**EXPORT.scores, "best": replace(best, **small, **bounds)}
    print_test_scores(replace(EXPORT, scores=scores, comparisons={}))
    assert " 0.0004 │" in capsys.readouterr().out


def test_table_of_a_confirmation_in_a_notebook_breaks_no_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = with_repeats({2: [0.9, 0.91, 0.92, 0.93, 0.94], 0: [0.7, 0.71, 0.72, 0.73, 0.74]})
    named = [replace(each, starting_point=1, linear_ngrams=True) for each in made.finalists]
    monkeypatch.setattr(console, "soft_wrap", False)
    monkeypatch.setattr(console, "width", NOTEBOOK_WIDTH)
    print_confirmation(replace(made, finalists=named), study="s")
    table, _ = capsys.readouterr().out.split("└")
    assert " 0.9000 │ 0.9100 │ 0.9200 │ 0.9300 │ 0.9400 │" in table
