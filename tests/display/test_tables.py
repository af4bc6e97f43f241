"""Tables on the console."""

from dataclasses import replace

import pytest

from tests.stored_documents import EXPORT
from tuning.display.tables import print_test_scores


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
