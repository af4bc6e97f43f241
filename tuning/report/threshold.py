"""What other decision thresholds than the default would bring."""

from __future__ import annotations

from tuning.commands import of_study, typed
from tuning.evaluation.out_of_sample import out_of_sample
from tuning.evaluation.scores import default_rule
from tuning.evaluation.statistics import Verdict
from tuning.evaluation.test_split import changes_text
from tuning.evaluation.thresholds import choose_thresholds
from tuning.inputs.corpus import Corpus, rows_in
from tuning.metrics import VALIDATION
from tuning.study.handle import StudyHandle
from tuning.targets.thresholds import KAPPA, MEASURES, Criterion


def threshold_advice(study: StudyHandle) -> str:
    """Return a sentence about the threshold with the best F1, or with the best value of the study's
    metric if that is balanced accuracy or kappa, on rows on which the repeats of the best
    configuration were not trained. Empty if the change is not clear, or if no repeat has kept
    predictions. Of several labels, that with the largest gain is named.
    """
    confirmation, trial, config = study.confirmation, study.best, study.config
    corpus = Corpus(study.results.cache_dir(study.record.data_fingerprint))
    if confirmation is None or trial is None or rows_in(corpus.folder) is None:
        return ""
    found = out_of_sample(study.folder, corpus, confirmation, trial=trial.trial.number)
    metric = config.metric.removeprefix(VALIDATION)
    if found is None:
        return ""
    measure = metric if metric in (*MEASURES, KAPPA) else MEASURES[0]
    criterion, rows = Criterion(measure, measure), found.pooled
    cuts = corpus.target.cuts(rows.labels, rows.predictions).values()
    if not all(map(criterion.suits, cuts)):  # The metric of ordered classes is not their kappa.
        return ""
    chosen = choose_thresholds(corpus.target, rows, criterion, seed=config.seed)
    changes = {name: each.cross_fitted.get(measure) for name, each in chosen.items()}
    gains = {name: change.difference for name, change in changes.items() if change}
    name = max(gains, key=lambda name: gains[name].low, default="")
    if not gains or gains[name].verdict() is not Verdict.BETTER:
        return ""
    best = chosen[name]
    shown = ", ".join(f"{threshold:.4g}" for threshold in best.thresholds)
    gain = changes_text(best.cross_fitted, default_rule(chosen))
    command = typed("export-best", **of_study(study.folder.path), threshold=measure)
    return (
        f"At {'thresholds' if len(best.thresholds) > 1 else 'a threshold'} of {shown} for {name},"
        f" {gain}, cross-fitted on {best.n_texts:,} texts: `{command}`."
    )
