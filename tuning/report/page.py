"""The report of a study: `report.html`, one self-contained page that opens offline, and
`trials.csv`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import plotly.io
from markupsafe import Markup

from tuning.atomic_io import write_text
from tuning.config import weights_text
from tuning.confirmation.estimates import Estimates, estimate
from tuning.confirmation.record import Confirmation
from tuning.evaluation.linear_reference import LinearReference
from tuning.evaluation.predictions import Predictions, columns_of
from tuning.evaluation.scores import TestDocument
from tuning.evaluation.slices import calibration_error, slices_of
from tuning.evaluation.statistics import interval_text
from tuning.evaluation.test_split import BEST, evaluations_of, named_entries
from tuning.inputs.corpus import Corpus
from tuning.inputs.data_card import DataCard
from tuning.metrics import Metric, metric_of
from tuning.report import costs, quality
from tuning.report.confirmation import finalist_rows
from tuning.report.figures import report_figures
from tuning.report.html_parts import WIDTHS, narrow, plot_html, plotly_script, table
from tuning.report.labels import labels_to_check
from tuning.report.sentences import (
    answer,
    constant_sentence,
    export_sentences,
    linear_sentences,
    verdict,
)
from tuning.report.spaces import SpaceResult, compared_with, space_results, space_rows
from tuning.report.spaces import verdict as verdict_on_spaces
from tuning.report.tables import (
    N_TABLE,
    best_rows,
    counts_sentence,
    data_rows,
    folds_sentence,
    record_rows,
    searched_names,
    timings_sentence,
    trial_rows,
    trials_table,
)
from tuning.report.threshold import threshold_advice
from tuning.spaces.loading import SearchSpace
from tuning.study.handle import StudyHandle
from tuning.study.prepare import prepare_corpus, require_same_data
from tuning.study.study import StudyRecord
from tuning.study.summary import MIN_COMPLETE, Summary
from tuning.targets.labels import NO_LABEL
from tuning.targets.target import Target
from tuning.templates import render
from tuning.text import no_formula

THEMES = {"light": "plotly_white", "dark": "plotly_dark"}  # Plotly's templates


@dataclass(frozen=True)
class Measured:
    """The results of a study beside its trials."""

    linear: LinearReference | None = None
    confirmation: Confirmation | None = None
    test: TestDocument | None = None
    predictions: tuple[Predictions, str] | None = None
    spaces: Sequence[SpaceResult] = ()
    labels: tuple[pd.DataFrame, float] | None = None
    threshold: str = ""


def write_report(study: StudyHandle, *, slice_column: str | None = None) -> tuple[Path, Path]:
    """Write the page, `trials.csv`, and with folds `labels_to_check.csv`. The data are read again
    for the values of `slice_column`.
    """
    folder, summary = study.folder, study.summary
    summary.require_complete("a report")
    cache, predictions = _read(study, slice_column=slice_column)
    spaces = space_results(compared_with(study))
    write_text(
        folder.trials_csv_path, trials_table(summary).to_csv(index=False, lineterminator="\n")
    )
    if labels := labels_to_check(study):
        rows = labels[0].map(no_formula)
        write_text(folder.labels_csv_path, rows.to_csv(index=False, lineterminator="\n"))
    else:
        folder.labels_csv_path.unlink(missing_ok=True)
    test = study.test_scores
    # The advice takes seconds, and an export with chosen thresholds needs none.
    advice = "" if test and test.chosen_thresholds else threshold_advice(study)
    measured = Measured(
        linear=study.linear_reference,
        confirmation=study.confirmation,
        test=test,
        predictions=predictions,
        spaces=spaces,
        labels=labels,
        threshold=advice,
    )
    with study.opened() as opened:
        content = page(
            opened,
            summary,
            space=study.space,
            record=study.record,
            card=cache.card,
            measured=measured,
        )
    write_text(folder.report_path, content)
    return folder.report_path, folder.trials_csv_path


def _read(
    study: StudyHandle, *, slice_column: str | None
) -> tuple[Corpus, tuple[Predictions, str] | None]:
    results, record = study.results, study.record
    cache, columns = Corpus(results.cache_dir(record.data_fingerprint)), {}
    # The cache has no values of other columns, and users may remove it.
    if slice_column is not None or not cache.is_written:
        corpus, splits = prepare_corpus(record.config, results=results, slice_column=slice_column)
        require_same_data(
            corpus, record.config, fingerprint=record.data_fingerprint, doing="A report"
        )
        columns = columns_of(slice_column, splits) if slice_column is not None else {}
    return cache, quality.read_quality(study, cache, columns=columns)


def page(
    study: optuna.Study,
    summary: Summary,
    *,
    space: SearchSpace,
    record: StudyRecord,
    card: DataCard,
    measured: Measured = Measured(),
) -> str:
    config, linear, name = record.config, measured.linear, record.config.study
    confirmation, test = measured.confirmation, measured.test
    measured_by = metric_of(config.metric)
    if test:
        # An earlier version wrote fewer scores, and a metric may not be defined on the test split.
        known, metrics = test.scores[BEST].test, card.target.metrics
        measured_by = next(m for m in (measured_by, *metrics) if known.get(m.name) is not None)
    plots = [
        (title, sentence, None if figure is None else plot_html(figure))
        for title, sentence, figure in report_figures(study, summary, space)
    ]
    weights = weights_text(config.data.weight_column, config.train.class_weight)
    n_searched, architectures = len(searched_names(space)), costs.architecture_rows(summary)
    estimates = estimate(confirmation)
    constant = "" if test else constant_sentence(confirmation, card, config)
    first = answer(summary, confirmation, test, linear, constant=constant)
    return render(
        "tuning.report",
        "page.html",
        study=summary.study,
        space=space.name,
        config=config,
        evaluated_on=summary.evaluated_on,
        each_value=summary.each_value,
        answer=first,
        points=_points(summary, confirmation, test, linear, metric=measured_by),
        measure=measured_by.label,
        n_test=card.n_rows["test"],
        is_resplit=confirmation is not None and confirmation.is_resplit,
        # Before a confirmation, the verdict begins with the answer at the top of the page.
        verdict=verdict(summary, confirmation).removeprefix(first),
        linear=linear_sentences(
            linear,
            confirmation,
            test,
            study=name,
            metric=config.metric,
            space=space.name,
        )
        + [constant] * bool(constant),
        labels=_labels(*measured.labels) if measured.labels else None,
        threshold=measured.threshold,
        quality=_quality(*measured.predictions) if measured.predictions else None,
        costs=[
            (title, plot_html(figure))
            for title, figure in costs.cost_figures(summary, confirmation)
        ],
        architectures=table(*architectures) if architectures[1] else None,
        finalists=_finalists(estimates) if estimates else None,
        test=_test(test, study, config.metric, card.target) if test else None,
        plots=plots,
        n_missing=0 if confirmation else max(MIN_COMPLETE - summary.n_confirmable, 0),
        n_best=0 if summary.has_costs else min(N_TABLE, len(summary.ranked)),
        best=table(*narrow(*best_rows(summary, space, confirmation), n_searched, n_after=2)),
        counts=counts_sentence(summary),
        timings=timings_sentence(summary),
        pruning=costs.saved_sentence(summary, epochs=config.train.epochs),
        trials=table(*narrow(*trial_rows(summary, space), n_searched, n_after=1), kind="sortable"),
        spaces=_spaces(measured.spaces),
        split_rule=f"{card.split_rule} {folds_sentence(config, card)}".rstrip(),
        data=table((), data_rows(card) + [("weights", weights)] * bool(weights), kind="pairs"),
        record=table(
            (),
            record_rows(record, card, n_trials=summary.n_finished),
            kind="pairs",
            fold=False,
        ),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        widths=WIDTHS,
        plotly_script=plotly_script(),
        themes={
            name: plotly.io.templates[template].to_plotly_json()
            for name, template in THEMES.items()
        },
    )


def _points(
    summary: Summary,
    confirmation: Confirmation | None,
    test: TestDocument | None,
    linear: LinearReference | None,
    *,
    metric: Metric,
) -> Markup:
    if test:
        points = quality.points_on_test(test, metric.name)
        title = f"{metric.label} on the test split"
        return plot_html(quality.points_figure(points, title=title))
    points = quality.validation_points(summary, confirmation, linear)
    return plot_html(quality.points_figure(points, title=f"{summary.metric} on validation rows"))


def _spaces(spaces: Sequence[SpaceResult]) -> dict[str, Any] | None:
    """Return None for a study that belongs to no comparison."""
    if len(spaces) < 2:
        return None
    return {"verdict": verdict_on_spaces(spaces), "table": table(*space_rows(spaces))}


def _quality(seen: Predictions, about: str) -> dict[str, Any]:
    target = seen.target
    figures: dict[str, Any] = dict.fromkeys(("numbers", "confusion", "calibration"))
    if not target.has_decisions:
        figures["numbers"] = plot_html(quality.numbers_figure(seen))
    elif target.is_exclusive:
        figures["confusion"] = plot_html(quality.confusion_figure(seen))
    if target.has_probabilities:
        figures["calibration"] = plot_html(quality.calibration_figure(seen))
        figures["error"] = f"{calibration_error(seen):.4f}"
    return {
        "about": about,
        **figures,
        "slices": [
            (title, plot_html(quality.slices_figure(seen, slices)))
            for title, slices in slices_of(seen)
        ],
    }


def _labels(rows: pd.DataFrame, n_by_chance: float) -> dict[str, Any]:
    shown = rows.astype(str).replace({"label": {"": NO_LABEL}, "predicted": {"": NO_LABEL}})
    return {
        "n": len(rows),
        "n_by_chance": f"{n_by_chance:.1f}",
        "largest": f"{rows['probability'].max():.4f}",
        "table": table([*shown], shown.to_numpy().tolist(), kind="texts"),
    }


def _finalists(estimates: Estimates) -> str:
    header, rows = finalist_rows(estimates)
    n_seeds = sum(name.startswith("seed ") for name in header)
    n_after = len(header) - header.index("corrected mean")
    return table(*narrow(header, rows, n_seeds, n_after=n_after))


def _test(test: TestDocument, study: optuna.Study, metric: str, target: Target) -> dict[str, Any]:
    shown = target.listed_metrics(metric)
    scores = [
        [name, *(interval_text(*entry.interval(m.name)) for m in shown)]
        for name, entry in named_entries(test).items()
    ]
    mistakes = [
        [
            mistake.label or NO_LABEL,
            mistake.predicted or NO_LABEL,
            f"{mistake.probability:.3f}",
            mistake.text,
        ]
        for mistake in test.mistakes
    ]
    evaluations = evaluations_of(study) or test.test_looks
    n_times = len(evaluations)
    times = (
        f"Evaluated {'once' if n_times == 1 else f'{n_times} times'}:"
        f" {', '.join(evaluation.when for evaluation in evaluations)}."
    )
    if n_times > len(test.test_looks):  # An export was killed after its evaluation.
        times += f" The scores are those of {test.test_looks[-1].when}."
    return {
        "comparisons": export_sentences(test, metric),
        "drawn": test.drawn,
        "has_thresholds": bool(test.chosen_thresholds),
        "scores": table(["model", *(m.label for m in shown)], scores),
        "times": times,
        "mistakes": table(["class", "predicted", "probability", "text"], mistakes, kind="texts"),
        "n_mistakes": len(mistakes),
        "classes": {
            title: sorted({row[column] for row in mistakes})
            for column, title in enumerate(("true class", "predicted class"))
        },
    }
