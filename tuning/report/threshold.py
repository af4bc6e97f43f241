"""What other decision thresholds than the default would bring."""

from __future__ import annotations

from tuning.commands import of_study, typed
from tuning.evaluation.out_of_sample import out_of_sample
from tuning.evaluation.statistics import Verdict
from tuning.evaluation.test_split import changes_text
from tuning.evaluation.thresholds import choose_thresholds
from tuning.inputs.corpus import Corpus, rows_in
from tuning.study.handle import StudyHandle
from tuning.targets.thresholds import F1, Criterion


def threshold_advice(study: StudyHandle) -> str:
    """Return a sentence about the threshold with the best F1 on rows on which the repeats of the
    best configuration were not trained. Empty if the change is not clear, or if no repeat has kept
    predictions. Of several labels, that with the largest gain is named.
    """
    confirmation, trial, config = study.confirmation, study.best, study.config
    corpus = Corpus(study.results.cache_dir(study.record.data_fingerprint))
    if confirmation is None or trial is None or rows_in(corpus.folder) is None:
        return ""
    found = out_of_sample(study.folder, corpus, confirmation, trial=trial.trial.number)
    if found is None:
        return ""
    chosen = choose_thresholds(corpus.target, found.pooled, Criterion(F1, F1), seed=config.seed)
    changes = {name: each.cross_fitted.get(F1) for name, each in chosen.items()}
    gains = {name: change.difference for name, change in changes.items() if change}
    name = max(gains, key=lambda name: gains[name].low, default="")
    if not gains or gains[name].verdict() is not Verdict.BETTER:
        return ""
    best = chosen[name]
    command = typed("export-best", **of_study(study.folder.path), threshold=F1)
    return (
        f"At a threshold of {best.threshold:.4g} for {name}, {changes_text(best.cross_fitted)},"
        f" cross-fitted on {best.n_texts:,} texts: `{command}`."
    )
