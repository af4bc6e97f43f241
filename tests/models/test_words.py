"""Operations on words: the padding changes nothing, and whole words are dropped."""

import keras
import numpy as np
import pytest

from tuning.models.words import drop_words, is_word, max_over_words, mean_over_words, zero_padding

IDS = np.array([[2, 3, 4, 0], [5, 0, 0, 0], [0, 0, 0, 0]], dtype=np.int32)
VECTORS = np.arange(24, dtype=np.float32).reshape(3, 4, 2) - 12


def dropping(rate: float) -> keras.Model:
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32")
    return keras.Model(ids, drop_words(ids, rate))


def test_operations_leave_out_the_padding() -> None:
    words = is_word(IDS)
    np.testing.assert_array_equal(np.asarray(words)[..., 0], IDS != 0)
    zeroed = np.asarray(zero_padding(VECTORS, words))
    np.testing.assert_array_equal(zeroed, VECTORS * (IDS != 0)[..., None])
    means = np.asarray(mean_over_words(VECTORS, words))
    np.testing.assert_allclose(means, [VECTORS[0, :3].mean(axis=0), VECTORS[1, 0], [0, 0]])
    maxima = np.asarray(max_over_words(VECTORS, words, lowest=-99.0))
    np.testing.assert_array_equal(maxima, [VECTORS[0, :3].max(axis=0), VECTORS[1, 0], [-99, -99]])


def test_drop_words_makes_a_share_of_the_words_unknown_and_no_padding() -> None:
    ids = np.pad(np.full((50, 80), 7, np.int32), ((0, 0), (0, 20)))
    model = dropping(0.25)
    dropped, again = (np.asarray(model(ids, training=True)) for _ in range(2))
    assert (dropped != again).any()
    np.testing.assert_array_equal(model.predict_on_batch(ids), ids)
    assert (dropped[:, 80:] == 0).all()
    assert set(np.unique(dropped[:, :80])) == {1, 7}
    assert np.mean(dropped[:, :80] == 1) == pytest.approx(0.25, abs=0.03)
