"""The plan of a confirmation, and the repeats that it takes over from an earlier one."""

from dataclasses import replace

import pytest

from tests.confirmations import begin, play
from tuning.confirmation.plan import covers, with_repeats
from tuning.confirmation.rounds import Confirmation
from tuning.outcomes import LASTING, FailureReason


def failing(reason: FailureReason) -> Confirmation:
    """Return a finished confirmation whose first repeat of trial 1 has failed for a reason."""
    confirmation, _ = play(
        begin(0.9, 0.8, 0.5), lambda trial, seed: None if (trial, seed) == (1, 1) else 0.7
    )
    return replace(
        confirmation,
        finalists=[
            replace(finalist, failures=dict.fromkeys(finalist.failures, reason))
            for finalist in confirmation.finalists
        ],
    )


@pytest.mark.parametrize("reason", FailureReason)
def test_repeat_is_trained_again_unless_its_configuration_is_the_cause(
    reason: FailureReason,
) -> None:
    old = failing(reason)
    new = begin(0.9, 0.8, 0.5)
    new = replace(new, finalists=with_repeats(new.finalists, old.finalists))
    is_lasting = reason in LASTING
    assert covers(old, new) == is_lasting
    first = next(finalist for finalist in new.finalists if finalist.trial == 1)
    assert first.is_remaining == (not is_lasting)
    again, done = play(new, lambda trial, seed: 0.7)
    assert ((1, 1) in done) == (not is_lasting)
    # The other repeats are not trained again.
    assert not any(trial != 1 and seed == 1 for trial, seed in done)
    assert covers(again, new)
