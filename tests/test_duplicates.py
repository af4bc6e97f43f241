"""Configurations that are the same on a study's data."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.duplicates import Configurations

values = st.fixed_dictionaries(
    {"vocab_size": st.integers(3, 60), "sequence_length": st.integers(1, 60), "units": st.integers(1, 2), "rate": st.floats(0, 1)}
)


def test_vocabulary_beyond_the_corpus_is_the_same() -> None:
    known = Configurations(n_rows=20, longest=9)
    known.add(4, {"vocab_size": 25, "sequence_length": 5})
    assert known.first({"vocab_size": 20, "sequence_length": 5}) == 4
    assert known.first({"vocab_size": 19, "sequence_length": 5}) is None


def test_length_beyond_the_longest_text_is_the_same_only_where_padding_is_ignored() -> None:
    known = Configurations(n_rows=20, longest=9)
    known.add(1, {"vocab_size": 5, "sequence_length": 12}, ignores_padding=True)
    known.add(2, {"vocab_size": 6, "sequence_length": 12}, ignores_padding=False)
    assert known.first({"vocab_size": 5, "sequence_length": 9}) == 1
    assert known.first({"vocab_size": 6, "sequence_length": 9}) is None
    assert known.first({"vocab_size": 6, "sequence_length": 12}) == 2


def test_failed_trial_is_forgotten() -> None:
    known = Configurations(n_rows=20, longest=9)
    known.add(1, {"vocab_size": 5, "sequence_length": 3})
    known.forget(1)
    assert known.first({"vocab_size": 5, "sequence_length": 3}) is None


@settings(derandomize=True, deadline=None)
@given(one=values, two=values, ignores=st.booleans())
def test_first_finds_what_the_key_says(one: dict, two: dict, ignores: bool) -> None:
    known = Configurations(n_rows=20, longest=9)
    known.add(7, one, ignores_padding=ignores)
    same = known.key(one, ignores_padding=ignores) == known.key(two, ignores_padding=ignores)
    assert known.first(two) == (7 if same else None)
    assert known.first(one) == 7
