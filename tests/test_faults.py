"""A short fault run: the driver of `make faults` injects every kind of fault once or twice."""

import pytest

from tests.faults.__main__ import run

pytestmark = pytest.mark.alone


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_study_survives_twenty_faults() -> None:
    report = run(n_faults=20, seed=2)
    assert report.counts.total() == 20
    assert report.n_finished > 20
