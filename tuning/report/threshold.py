"""What another decision threshold than 0.5 would bring."""

from __future__ import annotations

from tuning.commands import of_study, typed
from tuning.evaluation.out_of_sample import out_of_sample
from tuning.evaluation.statistics import Verdict
from tuning.evaluation.test_split import changes_text
from tuning.evaluation.thresholds import choose_thresholds
from tuning.inputs.corpus import Corpus, has_rows
from tuning.metrics import VALIDATION
from tuning.study.handle import StudyHandle
from tuning.targets.thresholds import MEASURES, Criterion


def threshold_advice(study: StudyHandle) -> str:
    """Return a sentence about the threshold with the best F1, or balanced accuracy if that is the
    study's metric, on rows on which the repeats of the best configuration were not trained. Empty
    if the threshold is not clearly better than 0.5, or if no repeat has kept predictions. Of
    several labels, that with the largest gain is named.
    """
    confirmation, trial, config = study.confirmation, study.best, study.config
    corpus = Corpus(study.results.cache_dir(study.record.data_fingerprint))
    if confirmation is None or trial is None or not has_rows(corpus.folder):
        return ""
    found = out_of_sample(study.folder, corpus, confirmation, trial=trial.trial.number)
    metric = config.metric.removeprefix(VALIDATION)
    measure = metric if metric in MEASURES else MEASURES[0]
    criterion, rows = Criterion(measure, measure), found.pooled if found else None
    chosen = choose_thresholds(corpus.target, rows, criterion, seed=config.seed) if rows else {}
    gains = {name: each.cross_fitted[measure].difference for name, each in chosen.items()}
    name = max(gains, key=lambda name: gains[name].low, default="")
    if not gains or gains[name].verdict() is not Verdict.BETTER:
        return ""
    best = chosen[name]
    command = typed("export-best", **of_study(study.folder.path), threshold=measure)
    return (
        f"At a threshold of {best.threshold:.4g} for {name},"
        f" {changes_text(best.cross_fitted)}, cross-fitted on {best.n_texts:,} texts: `{command}`."
    )
