"""The out-of-sample predictions of a configuration, from the files of its repeats."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.report.test_quality import study_of
from tests.studies import Setting
from tuning.atomic_io import write_arrays
from tuning.config import given
from tuning.data.redraw import redrawn
from tuning.data.rows import Redraw
from tuning.evaluation.out_of_sample import OutOfSample, out_of_sample
from tuning.evaluation.predictions import write_probabilities
from tuning.inputs.corpus import Corpus
from tuning.targets.target import Array


def written(setting: Setting, *repeats: Array, is_resplit: bool = False) -> OutOfSample | None:
    """Return what is read of the repeats of trial 0, on the seeds from 1; no seed 3 is kept."""
    for seed, probabilities in enumerate(repeats, start=1):
        path = setting.folder.repeat_path(0, seed, is_resplit=is_resplit)
        path.parent.mkdir(exist_ok=True)
        write_probabilities(path, probabilities)
    corpus, _ = study_of(setting)
    confirmation = SimpleNamespace(all_seeds=[1, 2, 3], is_resplit=is_resplit)
    return out_of_sample(setting.folder, corpus, confirmation, trial=0)


def labels_of(corpus: Corpus) -> Array:
    return np.concatenate([corpus.split(name).labels for name in ("train", "validation")])


def random(n: int, seed: int) -> Array:
    positive = np.random.default_rng(seed).random(n)
    return np.stack([1 - positive, positive], axis=1).astype(np.float32)


def test_repeats_on_the_studys_split_predict_its_validation_rows(copied: Setting) -> None:
    corpus, _ = study_of(copied)
    n = len(corpus.split("validation").labels)
    first, second = random(n, 1), random(n, 2)
    found = written(copied, first, second)
    assert found is not None
    assert (found.labels == corpus.split("validation").labels).all()
    assert (found.labels == labels_of(corpus)[found.places]).all()
    assert found.predictions == pytest.approx((first + second) / 2)
    assert (found.pooled.predictions == np.concatenate([first, second])).all()
    assert (found.pooled.labels == np.tile(found.labels, 2)).all()
    assert (found.pooled.texts == np.tile(corpus.rows.texts[found.places], 2)).all()


@pytest.mark.parametrize("n_groups", [1, 9])
def test_texts_of_a_group_are_one_observation(copied: Setting, n_groups: int) -> None:
    corpus, _ = study_of(copied)
    n_train, n = (len(corpus.split(name).labels) for name in ("train", "validation"))
    # The validation rows may have a single group, which says nothing about others.
    groups = np.concatenate([np.full(n_train, n_groups), np.arange(n) % n_groups])
    write_arrays(corpus.folder / "rows.npz", given(**vars(replace(corpus.rows, groups=groups))))
    found = written(copied, random(n, 1))
    assert found is not None
    expected = groups[n_train:] if n_groups > 1 else corpus.rows.texts[n_train:]
    assert (found.pooled.observations == expected).all()
    assert (found.pooled.texts == corpus.rows.texts[n_train:]).all()


@pytest.mark.parametrize("is_resplit", [False, True])
def test_folds_predict_all_rows_but_the_first_in_time(copied: Setting, is_resplit: bool) -> None:
    labels = labels_of(study_of(copied)[0])
    kept = random(len(labels), 1)
    kept[:3] = np.nan
    found = written(copied, kept, is_resplit=is_resplit)
    assert found is not None and (found.predictions == kept[3:]).all()
    assert (found.labels == labels[3:]).all() and (found.places == np.arange(3, len(labels))).all()


def test_fresh_splits_predict_the_rows_that_their_seeds_have_drawn(copied: Setting) -> None:
    corpus, _ = study_of(copied)
    labels, n = labels_of(corpus), len(corpus.split("validation").labels)
    drawn = [
        redrawn(corpus.rows, Redraw(seed=seed), validation_share=n / len(labels))[0][1]
        for seed in (1, 2)
    ]
    kept = [random(len(places), seed) for seed, places in enumerate(drawn)]
    found = written(copied, *kept, is_resplit=True)
    assert found is not None and {*found.places} == {*drawn[0], *drawn[1]}
    assert (found.labels == labels[found.places]).all()
    known = np.full((2, len(labels), 2), np.nan)
    for number, places in enumerate(drawn):
        known[number, places] = kept[number]
    assert found.predictions == pytest.approx(np.nanmean(known[:, found.places], axis=0))


def test_files_that_are_missing_or_of_other_rows_are_left_out(copied: Setting) -> None:
    assert written(copied) is None
    n = len(study_of(copied)[0].split("validation").labels)
    assert written(copied, random(n - 1, 0)) is None
    found = written(copied, random(n - 1, 0), random(n, 1))
    assert found is not None and (found.predictions == random(n, 1)).all()
