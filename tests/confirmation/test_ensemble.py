"""The choice of the members of an ensemble, and what it adds, on made-up probabilities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.confirmation.ensemble import N_AUTO_STEPS, Repeat, choose, choose_ensemble, cross_fitted
from tuning.evaluation.metrics import Array, Labels, score


def made_up(n_models: int, *, signal: float, n: int = 400, seed: int = 0) -> tuple[Array, Labels]:
    """Return the probabilities of models with independent errors, (n_models, n, 2), and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    logits = signal * (2 * labels - 1) + rng.normal(0, 1, (n_models, n))
    positive = 1 / (1 + np.exp(-logits))
    return np.stack([1 - positive, positive], axis=2), labels


def loss(probabilities: Array, labels: Labels) -> float:
    return score(labels, probabilities)["loss"]


@pytest.mark.parametrize("n_examples", [25, pytest.param(100, marks=pytest.mark.slow)])
def test_choice_of_any_size_is_no_worse_than_the_best_model_alone(n_examples: int) -> None:
    @settings(deadline=None, max_examples=n_examples)
    @given(st.integers(1, 6), st.floats(0, 2), st.integers(0, 99))
    def check(n_models: int, signal: float, seed: int) -> None:
        probabilities, labels = made_up(n_models, signal=signal, n=60, seed=seed)
        chosen = choose(probabilities, labels, n_steps=None)
        best_alone = min(loss(model, labels) for model in probabilities)
        assert 1 <= len(chosen) <= N_AUTO_STEPS
        assert loss(probabilities[chosen].mean(axis=0), labels) <= best_alone + 1e-6

    check()


def test_choice_takes_the_model_that_helps_most_and_weights_it_by_how_often() -> None:
    labels = np.array([0, 1] * 50)
    right, wrong = np.where(labels == 1, 0.9, 0.1), np.where(labels == 1, 0.2, 0.8)
    positive = np.stack([right, wrong])
    chosen = choose(np.stack([1 - positive, positive], axis=2), labels, n_steps=4)
    assert chosen == [0, 0, 0, 0]


def test_models_with_errors_in_different_texts_are_combined() -> None:
    labels = np.array([0, 1] * 50)
    good, bad = np.where(labels == 1, 0.95, 0.05), np.full(100, 0.4)
    first_half = np.arange(100) < 50
    positive = np.stack([np.where(first_half, good, bad), np.where(first_half, bad, good)])
    probabilities = np.stack([1 - positive, positive], axis=2)
    ensemble = choose_ensemble(
        [Repeat(7, 1, probabilities[0]), Repeat(3, 2, probabilities[1])],
        labels,
        best_trial=7,
        n_steps=2,
        seed=0,
    )
    assert {(m.trial, m.seed, m.weight) for m in ensemble.members} == {(7, 1, 0.5), (3, 2, 0.5)}
    # Alone, a model is wrong for the positive texts of one half.
    assert ensemble.difference.value == pytest.approx(0.25)
    assert ensemble.difference.low > 0


def test_weights_sum_to_one_and_the_largest_is_first() -> None:
    probabilities, labels = made_up(8, signal=0.7)
    repeats = [Repeat(number, 1, model) for number, model in enumerate(probabilities)]
    ensemble = choose_ensemble(repeats, labels, best_trial=0, n_steps=7, seed=0)
    weights = [member.weight for member in ensemble.members]
    assert sum(weights) == pytest.approx(1)
    assert weights == sorted(weights, reverse=True)


def test_cross_fitting_shows_no_gain_where_there_is_none() -> None:
    """On the texts that they were chosen on, the members of an ensemble of random models seem to be
    right; on the other texts they are not.
    """
    gains, seeming = [], []
    for seed in range(20):
        probabilities, labels = made_up(60, signal=0.0, seed=seed)
        chosen = choose(probabilities, labels, n_steps=10)
        held_out = cross_fitted(probabilities, labels, n_steps=10, seed=seed)
        seeming.append(score(labels, probabilities[chosen].mean(axis=0))["accuracy"] - 0.5)
        gains.append(score(labels, held_out)["accuracy"] - 0.5)
    assert np.mean(seeming) > 0.04
    assert abs(np.mean(gains)) < 0.02


def test_best_configuration_counts_with_the_mean_of_its_repeats() -> None:
    labels = np.array([0, 1] * 50)
    always_right = np.eye(2)[labels]
    always_one = np.tile([0.4, 0.6], (100, 1))
    repeats = [Repeat(1, 1, always_right), Repeat(1, 2, always_one)]
    ensemble = choose_ensemble(repeats, labels, best_trial=1, n_steps=2, seed=0)
    # The ensemble is right for all texts, the mean repeat for 75 % of them.
    assert ensemble.difference.value == pytest.approx(0.25)


def test_more_than_two_classes() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    noisy = [np.eye(3)[labels] + rng.random((300, 3)) for _ in range(4)]
    repeats = [Repeat(n, 1, p / p.sum(axis=1, keepdims=True)) for n, p in enumerate(noisy)]
    ensemble = choose_ensemble(repeats, labels, best_trial=0, n_steps=None, seed=0)
    assert len(ensemble.members) > 1


def test_copies_of_a_text_are_in_the_same_half() -> None:
    """A model that knows texts by heart would otherwise be measured on what it was chosen on."""
    probabilities, labels = made_up(4, signal=0.5, n=60)
    codes = np.repeat(np.arange(60), 3)
    once = cross_fitted(probabilities, labels, n_steps=3, seed=0)
    copied = cross_fitted(probabilities[:, codes], labels[codes], n_steps=3, seed=0, codes=codes)
    np.testing.assert_allclose(copied, once[codes])


def test_outputs_of_several_sigmoids_are_no_likelihoods() -> None:
    """A model whose outputs are all near 1 is not sure of anything."""
    probabilities, labels = made_up(1, signal=1.0)
    sure = np.full_like(probabilities[0], 0.98)
    ensemble = choose_ensemble(
        [Repeat(1, 1, probabilities[0]), Repeat(2, 1, sure)],
        labels,
        best_trial=1,
        n_steps=None,
        seed=0,
    )
    assert [member.trial for member in ensemble.members] == [1]
