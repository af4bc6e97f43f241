"""Short fault runs: the driver of `make faults` injects every kind of fault once or twice."""

import pytest

from tests.faults.__main__ import DATABASE_MB, N_MACHINES, run
from tests.postgresql import programs, server

pytestmark = pytest.mark.alone


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_study_survives_twenty_faults() -> None:
    report = run(n_faults=20, seed=2)
    assert report.counts.total() == 20
    assert report.n_finished > 20


@pytest.mark.nightly
@pytest.mark.timeout(1500)
def test_study_of_three_machines_survives_ten_faults() -> None:
    bin_dir = programs()
    if bin_dir is None:
        pytest.skip("no PostgreSQL on this machine; .ci/run installs Debian's")
    with server(bin_dir, disk_mb=DATABASE_MB) as database:
        report = run(n_faults=10, seed=0, database=database, n_machines=N_MACHINES)
    assert report.counts.total() == 10
