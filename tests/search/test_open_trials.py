"""Configurations that a study has already recorded."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.search.open_trials import Configurations

values = st.fixed_dictionaries(
    {
        "vocab_size": st.integers(3, 6),
        "sequence_length": st.integers(1, 3),
        "units": st.integers(1, 2),
        "kind": st.sampled_from("ab"),
    }
)


def test_failed_trial_is_removed() -> None:
    known = Configurations()
    known.add(1, {"vocab_size": 5, "sequence_length": 3})
    known.remove(1)
    assert known.first({"vocab_size": 5, "sequence_length": 3}) is None


@settings(derandomize=True, deadline=None)
@given(known_values=values, proposed_values=values)
def test_only_equal_values_are_the_same_configuration(
    known_values: dict, proposed_values: dict
) -> None:
    """A vocabulary or a length beyond the data is another configuration, because a space may use
    either value for any purpose.
    """
    known = Configurations()
    known.add(7, known_values)
    assert known.first(proposed_values) == (7 if known_values == proposed_values else None)


def test_order_of_the_values_does_not_matter() -> None:
    known = Configurations()
    known.add(2, {"vocab_size": 5, "units": 3})
    assert known.first({"units": 3, "vocab_size": 5}) == 2
