"""The preparation of a study's data: read, split and tokenized once, and cached for later calls."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from tuning.config import AUTO, AUTO_FOLDS, AUTO_FOLDS_ROWS, BALANCED, MIN_TEXTS, StudyConfig
from tuning.data.files import Progress
from tuning.data.redraw import require_folds
from tuning.data.rows import Numbers, Redraw
from tuning.data.sources import labels_in, load_reviews
from tuning.data.splits import SplitReviews, split_reviews, unweighted
from tuning.errors import ArgumentError, DataError, SpaceError, StudyError
from tuning.fidelity import parts_per_epoch
from tuning.inputs.contract import Preparation
from tuning.inputs.corpus import Corpus, build_corpus
from tuning.inputs.data_card import DataSource
from tuning.inputs.kinds import KINDS
from tuning.inputs.tokenizer import FIRST_WORD_ID
from tuning.metrics import CLASSES, metric_of
from tuning.results import ResultsDir, StudyDir
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import CLASS_WEIGHT, SMALLEST
from tuning.spaces.sizes import Sizes
from tuning.study.study import read_record

logger = logging.getLogger(__name__)

USUAL_PERCENTILE = 95  # percentage of the training texts that are not cut
# Data sets with fewer rows, test rows included, have a confirmation over splits by default. With
# 1,000, 5,000 and 20,000 rows, the accuracy that is confirmed on one split is too good by 2.0, 0.2
# and -0.1 points (docs/confirmation.md).
MAX_RESPLIT_ROWS = 20_000


def prepare_corpus(
    config: StudyConfig,
    *,
    results: ResultsDir,
    slice_column: str | None = None,
    progress: Progress | None = None,
) -> tuple[Corpus, SplitReviews]:
    """Return the tokenized data of a study, and its texts and labels by split."""
    splits, source = _read_splits(config, slice_column=slice_column, progress=progress)
    return _tokenized(splits, source, results=results, progress=progress), splits


def prepare_search(
    config: StudyConfig,
    *,
    results: ResultsDir,
    min_texts: int | None = None,
    folds: int | str | None = None,
    say: Callable[[str], None] = logger.info,
    progress: Progress | None = None,
) -> tuple[StudyConfig, Corpus]:
    """Return the configuration of a call, as `with_parts` completes it, and the tokenized data."""
    splits, source = _read_splits(config, progress=progress)
    folder = results.study(config.study)
    config = with_parts(config, folder, splits=splits, min_texts=min_texts, folds=folds, say=say)
    # The number of folds decides in which splits words are counted.
    splits = replace(splits, counts_validation=bool(config.counts_validation))
    corpus = _tokenized(splits, source, results=results, progress=progress)
    del splits  # No worker needs the texts.
    release_memory()
    return config, corpus


def _read_splits(
    config: StudyConfig, *, slice_column: str | None = None, progress: Progress | None = None
) -> tuple[SplitReviews, DataSource]:
    """Return the texts and labels of a study by split, and the entries of the data card that do not
    come from the texts.
    """
    reviews = load_reviews(config.data, slice_column=slice_column, progress=progress)
    release_memory()
    splits = replace(
        split_reviews(reviews, seed=config.seed, config=config.data),
        counts_validation=bool(config.counts_validation),
    )
    source = DataSource(
        data=config.data.data,
        text_column=reviews.text_column,
        label_column=reviews.label_column,
        class_rule=reviews.class_rule,
        split_rule=splits.sentence,
        draws_validation=splits.draws_validation,
        dropped=reviews.dropped
        | ({"whose text is in a later split": splits.n_left_out} if splits.n_left_out else {}),
    )
    del reviews  # The splits contain copies of its texts: 0.7 GiB for 1,000,000 reviews.
    release_memory()
    return splits, source


def _tokenized(
    splits: SplitReviews,
    source: DataSource,
    *,
    results: ResultsDir,
    progress: Progress | None = None,
) -> Corpus:
    return build_corpus(
        results.cache_dir(splits.fingerprint), splits, source=source, progress=progress
    )


def prepare_views(
    corpus: Corpus, space: SearchSpace, config: StudyConfig, *, progress: Progress | None = None
) -> None:
    """Build the inputs that models of the space may take beside token ids, or use the cache."""
    data = Preparation(corpus, space, lambda: _read_splits(config, progress=progress)[0], progress)
    for kind in KINDS.values():
        kind.prepare(data)
    release_memory()


def sizes_of(config: StudyConfig, corpus: Corpus) -> Sizes:
    """Return the sizes for a space that declares none."""
    lengths = corpus.split("train").texts.lengths
    return Sizes(
        vocab_size=config.vocab_size,
        sequence_length=config.sequence_length,
        all_rows=max(corpus.card.n_words + FIRST_WORD_ID, SMALLEST["vocab_size"]),
        usual_length=max(int(np.percentile(lengths, USUAL_PERCENTILE)), 1),
    )


def require_same_data(corpus: Corpus, config: StudyConfig, *, fingerprint: str, doing: str) -> None:
    """Check that the data are those of a study's search. `doing`: the subject of the message."""
    if corpus.fingerprint != fingerprint:
        raise StudyError(
            f"{doing} must use the data of its search; study {config.study!r} was tuned on"
            f" fingerprint {fingerprint}, {config.data.data} now has {corpus.fingerprint}. Put the"
            " data back, or start another study."
        )


def require_fitting(config: StudyConfig, corpus: Corpus, space: SearchSpace) -> None:
    """Check the settings that must fit the labels of the data and the search space."""
    target, class_weight = corpus.target, config.train.class_weight
    if target.width != 2 and metric_of(config.metric).is_binary:
        raise ArgumentError(
            f"metric must be another one: {config.metric} needs two classes, and the data have"
            f" {target.width}."
        )
    if class_weight and space.declares(CLASS_WEIGHT):
        raise SpaceError(
            f"class_weight must be left out, because {space.name} declares a hyperparameter of this"
            f" name; received {class_weight!r}."
        )
    if space.searches(CLASS_WEIGHT, BALANCED) and target.kind not in CLASSES:
        raise SpaceError(
            f"class_weight must not be {BALANCED!r} for kind {target.kind!r}, which has no classes;"
            f" {space.name} searches it. Take the hyperparameter out."
        )
    if class_weight:
        target.class_weights(class_weight, target.examples(target.width))
    if config.train.n_folds == 1:
        _require_metric(config.metric, corpus)


def _require_metric(metric: str, corpus: Corpus) -> None:
    """Check that the validation labels define the metric, or every trial would end without it, or
    with the same value.
    """
    target, labels = corpus.target, corpus.split("validation").labels
    constant = np.tile(target.constant(labels), (len(labels), 1))
    # The scores of linear models that make no error.
    scores = {
        number: np.where(column, 99.0, -99.0) if column.dtype == np.bool_ else column
        for number, column in target.linear_columns(labels).items()
    }
    best = target.value(labels, target.of_linear(scores, constant), metric=metric)
    # Without a positive text, F1 is 0 for all predictions.
    if np.isnan(best) or (metric_of(metric).maximized and best <= 0):
        counts = target.counts(labels)
        missing = [name for name, n in zip(target.names, counts, strict=True) if n == 0]
        reason = f", which has no row of {missing[0]!r}" if missing else ""
        raise DataError(
            f"metric must have a value on the validation split{reason}; {metric} has none. Choose"
            " another metric, or give another validation split."
        )


def release_memory() -> None:
    """Return freed memory to the system. Arrow would keep 0.7 GiB after 1,000,000 reviews."""
    pa.default_memory_pool().release_unused()


def with_folds(
    config: StudyConfig,
    folder: StudyDir,
    *,
    splits: SplitReviews,
    folds: int | str | None,
    say: Callable[[str], None],
) -> StudyConfig:
    """Return the configuration of a call with the number of folds of each trial. `AUTO` is the
    existing study's own number; for a new study it is `AUTO_FOLDS` if the data have fewer than
    `AUTO_FOLDS_ROWS` rows that are not test, and these rows can be drawn and divided. `say` gets a
    sentence if they can't.
    """
    is_auto, is_new = folds == AUTO, not folder.config_path.exists()
    is_large = splits.n_rows["train"] + splits.n_rows["validation"] >= AUTO_FOLDS_ROWS
    if folds is None or (is_auto and (is_large or not is_new)):
        return config
    n_folds = AUTO_FOLDS if is_auto else int(folds)
    new, reason = replace(config, train=replace(config.train, n_folds=n_folds)), ""
    if n_folds > 1 and not splits.draws_validation:
        reason = "the validation split is given"
        if not is_auto:
            raise ArgumentError(f"folds must be left out where {reason}; received {folds}.")
    elif n_folds > 1 and is_new:
        try:
            drawn = require_folds(splits.rows, Redraw(seed=config.seed, n_folds=n_folds))
            if config.data.weight_column:
                _require_weights(splits, [train for train, _ in drawn])
        except DataError as error:
            if not is_auto:
                raise
            reason = str(error)
    if reason:
        say(f"Each trial is trained on one split and not on folds: {reason.rstrip('.')}.")
        return config
    return new


def _require_weights(splits: SplitReviews, of_folds: Sequence[Numbers]) -> None:
    frame = splits.frame_of_rows
    labels, weights = labels_in(frame), frame["weight"].to_numpy()
    for number, train in enumerate(of_folds, start=1):
        if unused := unweighted(splits.target, labels[train], weights[train]):
            raise DataError(
                f"Each of {len(of_folds)} folds must have training rows with weights above 0; in"
                f" fold {number}, all {unused} have 0. Give these rows weights, or folds=1 for one"
                " split."
            )


def with_parts(
    config: StudyConfig,
    folder: StudyDir,
    *,
    splits: SplitReviews,
    min_texts: int | None,
    folds: int | str | None = None,
    say: Callable[[str], None] = logger.info,
) -> StudyConfig:
    """Return the configuration of a call with the number of its folds (`with_folds`) and of the
    parts of an epoch, which is computed from `min_texts`, else taken from the existing study, else
    computed from `config.MIN_TEXTS`; with folds it is 1. An existing study evaluates fitted models,
    splits rows again and counts words as before.
    """
    config = with_folds(config, folder, splits=splits, folds=folds, say=say)
    known = read_record(folder).config if folder.config_path.exists() else None
    counts = (known or config).counts_validation
    if counts is None and not known and config.train.n_folds > 1:
        counts = True
    resplit = config.resplit
    if not known:
        draws = splits.draws_validation
        resplit = resplits(resplit, config, n_rows=splits.n_rows, draws_validation=draws)
    elif resplit in (None, bool(known.resplit)):
        resplit = known.resplit
    if min_texts is None and config.train.n_folds > 1:
        parts = 1
    elif min_texts is None and known:
        parts = known.train.parts_per_epoch
    else:
        n_texts = splits.n_rows["train"]
        parts = parts_per_epoch(n_texts, min_texts=MIN_TEXTS if min_texts is None else min_texts)
    evaluates = known is None or known.train.evaluates_fitted
    train = replace(config.train, parts_per_epoch=parts, evaluates_fitted=evaluates)
    return replace(config, train=train, resplit=resplit, counts_validation=counts)


def resplits(
    requested: bool | None,
    config: StudyConfig,
    *,
    n_rows: Mapping[str, int],
    draws_validation: bool,
) -> bool:
    """Return whether each seed of a new confirmation draws training and validation rows of its own,
    as requested or by default.
    """
    reason = ""
    if not draws_validation:
        reason = "its validation rows are given, and models are compared on these"
    elif config.data.time_column:
        reason = "its validation rows are the last in time, and no draw can change them"
    if requested and reason:
        raise ArgumentError(f"resplit must be left out of study {config.study!r}: {reason}.")
    is_default = config.train.n_folds > 1 or sum(n_rows.values()) < MAX_RESPLIT_ROWS
    return is_default and not reason if requested is None else requested
