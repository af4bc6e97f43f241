"""A short fault run: the driver of `make faults` injects every kind of fault once or twice."""

import pytest

from tests.faults.__main__ import Report, run, table

pytestmark = pytest.mark.alone


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_study_survives_twenty_faults() -> None:
    report = run(n_faults=20, seed=2)
    assert report.counts.total() == 20
    assert report.n_finished > 20


def test_table_names_every_fault_and_why_some_were_not_injected() -> None:
    report = Report(skipped={"fill_disk": "mounting is not allowed here"})
    report.counts["kill_worker"] = 3
    text = table(report)
    assert "| kill worker | 3 |" in text
    assert "Not injected: fill disk, mounting is not allowed here." in text
