"""The report's page and its tables."""

import inspect
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

import tuning
from tests.browser import Browser
from tests.commands import Ran
from tests.comparisons import confirmed, unconfirmed
from tests.stored_documents import CARD, RECORD, TEST_SCORES
from tests.studies import MANY_SPACE, many_trials
from tuning.config import MIN_TEXTS, DataConfig, StudyConfig, TrainConfig
from tuning.confirmation.record import Confirmation, Finalist
from tuning.documents import unstructure
from tuning.evaluation.predictions import Predictions, column_of
from tuning.evaluation.scores import ChosenThreshold, Mistake
from tuning.evaluation.test_split import EVALUATIONS
from tuning.fidelity import parts_per_epoch
from tuning.report.page import Measured, write_report
from tuning.report.page import page as page_of
from tuning.report.sentences import verdict
from tuning.report.tables import NO_FLAGS, best_rows, record_rows, trial_rows, trials_table
from tuning.results import ResultsDir
from tuning.search.tune import Budget, Outcome
from tuning.spaces.hyperparameters import suggest
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter
from tuning.study.handle import StudyHandle
from tuning.study.prepare import with_parts
from tuning.study.study import StudyRecord
from tuning.study.summary import summarize
from tuning.targets.classes import Classes

TITLES = [
    "Optimization history",
    "Learning curves",
    "Importances",
    "Parallel coordinates",
    "Slices",
    "Timeline",
]
TOO_FEW = ["Importances"]  # It says nothing of eight trials.


@pytest.fixture(scope="module")
def page(finished: tuple[ResultsDir, Outcome]) -> str:
    results, _ = finished
    path, _ = write_report(StudyHandle.of(results, "s"))
    return path.read_text(encoding="utf-8")


def test_page_has_every_plot_and_loads_nothing_from_elsewhere(page: str) -> None:
    text = re.sub("(<script[^>]*>).*?</script>", r"\1", page, flags=re.DOTALL)
    assert not re.search(r"\b(src|href)=", text)
    assert page.count("plotly.js v") == 1
    assert len(page) < 8_000_000
    assert [h for h in re.findall("<h2>(.*?)</h2>", text) if h in TITLES] == TITLES
    without = [
        title
        for title in TITLES
        if re.search(
            f"<h2>{title}</h2>\\s*<p class=soft>This figure needs [0-9]+ completed trials; ", page
        )
    ]
    assert without == TOO_FEW
    # The figure of the first screen has no title.
    assert page.count("<div class=plot>") == 1 + len(TITLES) - len(TOO_FEW)


def test_value_below_zero_and_hyperparameter_with_the_name_of_a_metric_stay_in_the_table() -> None:
    study = optuna.create_study()
    study.add_trial(
        create_trial(
            value=-0.5,
            params={"loss": "focal", "value": "low", "train_seconds": 9},
            distributions={
                "loss": CategoricalDistribution(["focal", "plain"]),
                "value": CategoricalDistribution(["low", "high"]),
                "train_seconds": IntDistribution(1, 9),
            },
            user_attrs={"loss": 0.123, "seconds": {"train": 2.0}},
        )
    )
    (row,) = trials_table(summarize(study, metric="val_loss")).to_dict("records")
    assert (row["value"], row["loss"], row["params_value"]) == (-0.5, "focal", "low")
    assert (row["train_seconds"], row["params_train_seconds"]) == (2.0, 9)


def test_table_calls_a_paused_trial_paused() -> None:
    study = optuna.create_study()
    for is_paused in (False, True):
        study.ask().set_user_attr("paused", is_paused)
    table = trials_table(summarize(study, metric="val_loss"))
    assert table["state"].tolist() == ["RUNNING", "PAUSED"]


def page_of_many(study: optuna.Study, record: StudyRecord = RECORD, **measured: Any) -> str:
    summary, results = summarize(study, metric="val_accuracy"), Measured(**measured)
    return page_of(study, summary, space=MANY_SPACE, record=record, card=CARD, measured=results)


@pytest.mark.slow
def test_page_of_500_trials_stays_below_8_megabytes() -> None:
    study = many_trials(1_000)  # 500 complete
    text = page_of_many(study, replace(RECORD, config=StudyConfig(study="many")))
    assert "Pruning saved up to" in text
    assert len(text.encode()) < 8_000_000


def test_page_says_what_confirms_a_study_with_one_completed_trial() -> None:
    text = " ".join(page_of_many(many_trials(2)).split())
    assert "Not confirmed yet. A confirmation needs 2 more completed" in text


def ranged(name: str, default: float, low: float, high: float, **options: Any) -> Hyperparameter:
    kind = "float" if isinstance(low, float) else "int"
    return Hyperparameter(name=name, kind=kind, default=default, low=low, high=high, **options)


REVIEW = "It broke after a week, and nobody answers. " * 40  # 320 words
LONG_CHOICES = (
    "bidirectional_lstm_with_attention_pooling",
    "convolution_over_characters_and_words",
)
WIDE_SPACE = SearchSpace(
    "wide",
    (
        *(ranged(f"regularization_strength_of_layer_{n}", 0.1, 0.0, 1.0) for n in range(12)),
        *(
            Hyperparameter(
                name=f"encoder{n}", kind="choice", default=LONG_CHOICES[0], choices=LONG_CHOICES
            )
            for n in range(12)
        ),
        ranged("numberofunitsofthelastlayer", 8, 8, 2**31),
    ),
)


def wide_study() -> optuna.Study:
    """Return a study of 25 hyperparameters with completed, pruned and failed trials."""
    study, drawn = optuna.create_study(direction="maximize"), optuna.create_study()
    states = [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    for number in range(16):
        trial, state, value = drawn.ask(), states[number % 4], 0.8 + number / 1000
        suggest(trial, WIDE_SPACE.hyperparameters)
        has_failed = state == TrialState.FAIL
        attributes: dict[str, Any] = {"seconds": {"train": 1234.5}, "n_epochs": 3, "best_epoch": 2}
        attributes |= {"reason": "out of memory"} if has_failed else {}
        study.add_trial(
            create_trial(
                state=state,
                value=None if has_failed else value,
                intermediate_values={} if has_failed else {1: 0.7, 2: value},
                user_attrs={"baseline": number == 0, **attributes},
                params=trial.params,
                distributions=trial.distributions,
            )
        )
    return study


def wide_page(measured: Measured | None = None, *, metric: str = "val_balanced_accuracy") -> str:
    """Return the page of that study after a confirmation on 20 seeds and evaluations of four models
    on long reviews.
    """
    summary = summarize(wide_study(), metric=metric)
    finalists = [
        Finalist(
            t.number,
            dict(t.params),
            0.81,
            1.0,
            repeats={s: 0.7 + s / 1000 + t.number / 999 for s in range(1, 21)},
            is_baseline=not n,
        )
        for n, t in enumerate(summary.ranked[:6])
    ]
    confirmation = Confirmation(metric, [*range(1, 21)], [], finalists)
    scores = ("accuracy", "balanced_accuracy", "f1", "auc", "loss", "expected_calibration_error")
    intervals = dict.fromkeys(scores, (0.8012, 0.8234))
    of_test = {**dict.fromkeys(scores, 0.8123), "auc": None if metric == "val_auc" else 0.8123}
    wide = {"test": of_test, "test_intervals": intervals}
    mistake = Mistake(label="negative" * 10, predicted="positive", probability=0.99, text=REVIEW)
    seen = replace(
        TEST_SCORES,
        scores={
            name: replace(model_scores, **wide) for name, model_scores in TEST_SCORES.scores.items()
        },
        references={
            name: replace(reference, **wide) for name, reference in TEST_SCORES.references.items()
        },
        comparisons={},
        mistakes=[
            mistake,
            replace(mistake, label="positive", predicted="negative", text="word" * 200),
        ],
    )
    train = TrainConfig(class_weight="balanced")
    config = StudyConfig(study="wide", metric=metric, train=train)
    return page_of(
        wide_study(),
        summary,
        space=WIDE_SPACE,
        record=replace(RECORD, config=config),
        card=CARD,
        measured=replace(measured or Measured(), confirmation=confirmation, test=seen),
    )


@pytest.mark.parametrize(
    ("metric", "shown"),
    [
        ("val_balanced_accuracy", "balanced accuracy"),
        ("val_brier", "accuracy"),
        ("val_auc", "accuracy"),
    ],
    ids=["of the study", "not in the document of an earlier version", "not defined"],
)
def test_the_first_figure_is_of_the_metric_of_the_study(metric: str, shown: str) -> None:
    text = wide_page(metric=metric)
    assert f'"{shown} on the test split"' in text
    assert f"<p class=soft>{shown.capitalize()} on the 36 texts of the test split" in text


@pytest.mark.parametrize("has_threshold", [False, True])
def test_the_first_figure_names_the_rule_of_the_models_without_the_threshold(
    has_threshold: bool,
) -> None:
    chosen = {"positive": ChosenThreshold(threshold=0.2, criterion="f1")}
    test = replace(TEST_SCORES, chosen_thresholds=chosen if has_threshold else {})
    text = page_of_many(many_trials(6), test=test)
    said = "with its own thresholds, the other models at 0.5." in text.partition("<h2>")[0]
    assert said is has_threshold


def test_page_counts_an_evaluation_of_an_export_that_was_killed_later() -> None:
    study = many_trials(6)
    (look,) = TEST_SCORES.test_looks
    later = replace(look, when="2026-02-02")
    for n_times, words in ((1, "once: "), (2, f"2 times: {look.when}, 2026-02-02. The scores are")):
        study.set_user_attr(EVALUATIONS, [unstructure(each) for each in (look, later)[:n_times]])
        text = page_of_many(study, test=TEST_SCORES)
        assert f"Evaluated {words}" in text
    assert f"The scores are those of {look.when}." in text


def test_mistakes_and_labels_to_check_name_a_text_without_labels() -> None:
    mistake = Mistake(label="", predicted="parcel", probability=0.9, text="a box")
    to_check = {"label": "parcel", "predicted": "", "probability": 0.1, "text": "it is late"}
    text = page_of_many(
        many_trials(6),
        test=replace(TEST_SCORES, mistakes=[mistake]),
        labels=(pd.DataFrame([to_check]), 1.0),
    )
    assert len(re.findall("<td[^>]*>no label<", text)) == 2
    assert re.findall('<option value="(.*?)">', text) == ["", "no label", "", "parcel"]


def test_the_data_of_a_study_name_its_weights(page: str) -> None:
    text = wide_page()
    cells = r"<t[dh]>weights</t[dh]>\s*<t[dh]>classes had balanced weights</t[dh]>"
    assert re.search(cells, text) and "had balanced weights" not in page


def test_search_spaces_of_a_comparison_are_a_section() -> None:
    other = confirmed("wide", 0.8, [0.0, 0.001, -0.001, 0.0, 0.0])
    text = wide_page(Measured(spaces=[confirmed("<b>", 0.9), other, unconfirmed("c")]))
    _, _, after = text.partition("<h2>Other search spaces on the same data</h2>")
    section = after.partition("<h2>")[0]
    assert "&lt;b&gt; has the best mean val_accuracy" in section
    assert section.count("<tr>") == 4
    assert "Other search spaces" not in wide_page(Measured(spaces=[other]))


def predictions_of_wide_names() -> tuple[Predictions, str]:
    """Return predictions of 600 texts of three classes, with a column of 25 long values."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 600)
    probabilities = rng.dirichlet(np.ones(3), 600) + np.eye(3)[labels]
    values = [f"{LONG_CHOICES[number % 2]}_{number % 25}" for number in range(600)]
    return (
        Predictions(
            labels,
            rng.integers(1, 3_000, 600),
            probabilities / probabilities.sum(axis=1, keepdims=True),
            column=column_of("product_category_of_the_review", values),
            target=Classes(("negative", LONG_CHOICES[0], "positive" * 20)),
        ),
        "The exported model on the 600 texts of the test split",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "media"), [(1280, "screen"), (400, "screen"), (400, "dark"), (720, "print")]
)
def test_page_fits_and_answers_on_the_first_screen(
    width: int, media: str, chromium: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    measured = Measured(predictions=predictions_of_wide_names())
    path.write_text(wide_page(measured), encoding="utf-8")
    with Browser(chromium) as browser:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if media == "dark" else "light"}
        browser.call(
            "Emulation.setEmulatedMedia",
            media="print" if media == "print" else "",
            features=[scheme],
        )
        browser.open(path.as_uri())
        browser.wait_for("document.querySelectorAll('.figures .main-svg').length >= 10")
        if media == "print":
            browser.run("dispatchEvent(new Event('beforeprint'))")
            widths = "[...document.querySelectorAll('.figures .main-svg')].map(e => e.clientWidth)"
            browser.wait_for(f"{widths}.every(width => width === 320)")
        root = "document.documentElement"
        assert browser.run(f"{root}.scrollWidth <= {root}.clientWidth")
        if media != "print":
            tables = "[...document.querySelectorAll('.scroll')]"
            assert browser.run(f"{tables}.every(e => e.scrollWidth <= e.clientWidth)")
        assert browser.run("document.querySelector('.plot').getBoundingClientRect().bottom") < 900
        paper = browser.run("getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(17, 17, 17)" if media == "dark" else "rgb(255, 255, 255)")
        heights = "[...document.querySelectorAll('.figures .main-svg')].map(e => e.clientHeight)"
        assert min(browser.run(heights)) > 100
        assert browser.problems == []


@pytest.mark.slow
def test_mistakes_are_filtered_by_words_and_by_classes(chromium: list[str], tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(wide_page(), encoding="utf-8")
    shown = "[...document.querySelectorAll('.texts tbody tr')].filter(row => !row.hidden).length"
    with Browser(chromium) as browser:
        browser.open(path.as_uri())
        assert browser.run(shown) == 2
        # The whole review is searched, also where the page folds it.
        browser.type(".filter input", (" ".join(REVIEW.split()[:60])).upper())
        assert browser.run(shown) == 1
        assert browser.run("document.querySelector('.filter output').textContent") == "1 of 2"
        browser.run("document.querySelector('.filter input').value = ''")
        choose = (
            "{const s = document.querySelectorAll('.filter select')[%d]; s.selectedIndex = %d;"
            " s.dispatchEvent(new Event('change'))}"
        )
        # The places of the chosen true and predicted class → the number of mistakes.
        expected = {(1, 0): 1, (2, 0): 1, (0, 1): 1, (0, 2): 1, (1, 1): 0, (2, 1): 1, (0, 0): 2}
        for places, n_shown in expected.items():
            for column, place in enumerate(places):
                browser.run(choose % (column, place))
            assert browser.run(shown) == n_shown, places
        assert browser.problems == []


@pytest.mark.journey
def test_page_in_chromium_draws_its_plots(
    finished: tuple[ResultsDir, Outcome], page: str, chromium: list[str]
) -> None:
    url = finished[0].study("s").report_path.absolute().as_uri()
    command = [*chromium, "--virtual-time-budget=20000", "--dump-dom", url]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert dom.count('class="main-svg"') >= len(TITLES) - len(TOO_FEW)


def test_hyperparameter_under_two_conditions_stands_in_the_table() -> None:
    space = SearchSpace(
        "x",
        (
            Hyperparameter(name="cell", kind="choice", default="a", choices=("a", "b")),
            ranged("units", 4, 4, 9, conditions=(("cell", ("a",)),)),
            ranged("units", 40, 40, 90, conditions=(("cell", ("b",)),)),
        ),
    )
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    assert suggest(trial, space.hyperparameters)
    study.tell(trial, 0.5)
    header, (row,) = best_rows(summarize(study, metric="val_accuracy"), space)
    all_header, all_rows = trial_rows(summarize(study, metric="val_accuracy"), space)
    assert all_rows[0][all_header.index("units")]
    assert row[header.index("units")] == str(
        next(v for k, v in study.trials[0].params.items() if k.startswith("units"))
    )


def test_a_paused_trial_is_not_running() -> None:
    study = optuna.create_study(direction="maximize")
    study.ask().set_user_attr("paused", True)
    study.ask()
    header, rows = trial_rows(summarize(study, metric="val_accuracy"), SearchSpace("x", ()))
    assert [row[header.index("state")] for row in rows] == ["paused", "running"]


def test_seconds_of_a_trial_do_not_count_waiting() -> None:
    study = many_trials(8)
    trial = study.trials[3]
    trial.value = 0.99
    trial.user_attrs["seconds"] = {"train": 3.0, "evaluate": 0.2, "idle": 900.0}
    study.add_trial(trial)
    summary = summarize(study, metric="val_accuracy")
    header, rows = best_rows(summary, MANY_SPACE)
    assert rows[0][header.index("seconds")] == "3"
    header, rows = trial_rows(summary, MANY_SPACE)
    assert rows[-1][header.index("seconds")] == "3"


def test_report_names_the_trials_of_starting_points() -> None:
    study = many_trials(8)
    pruned, best = study.trials[2:4]
    pruned.user_attrs["starting_point"] = 1
    best.user_attrs.update(starting_point=2, linear_ngrams=True)
    best.value = 0.95
    study.add_trials([pruned, best])
    summary = summarize(study, metric="val_accuracy")
    labels = [row[0] for row in best_rows(summary, MANY_SPACE)[1]]
    assert labels[0] == "9 (starting point 2)"
    states = [row[1] for row in trial_rows(summary, MANY_SPACE)[1]]
    assert states[7:] == [
        "complete",
        "pruned after epoch 1 (starting point 1)",
        "complete (starting point 2, the linear model's n-grams)",
    ]
    assert (
        "is trial 9 (starting point 2, the linear model's n-grams) with val_accuracy 0.9500"
        in verdict(summary)
    )
    rows = trials_table(summary).to_csv(index=False).splitlines()
    column = rows[0].split(",").index("starting_point")
    cells = [row.split(",")[column] for row in rows[1:]]
    assert cells == [*[""] * 8, "1", "2"]
    column = rows[0].split(",").index("linear_ngrams")
    assert [row.split(",")[column] for row in rows[1:]] == [*[""] * 9, "True"]


@pytest.mark.parametrize("is_damaged", [False, True])
def test_report_builds_the_cache_again(is_damaged: bool, copied_results: ResultsDir) -> None:
    (card,) = (copied_results.path / "cache").glob("*/data_card.json")
    if is_damaged:
        card.write_text(card.read_text()[:200])
    else:
        shutil.rmtree(card.parent)
    page, _ = write_report(StudyHandle.of(copied_results, "s"))
    assert page.exists()


DEFAULT = StudyConfig(study="s")
# Another value for a setting of each type.
ANOTHER: dict[str, Callable[[str, Any], Any]] = {
    "bool": lambda name, default: default is False,
    "int": lambda name, default: (default or 0) + 1,
    "float": lambda name, default: (default or 0) + 0.5,
    "str": lambda name, default: f"the user's {name}",
}
# Settings without a flag, and settings that can't be set together with the others.
UNCHANGED = {
    *("costs", "batch_size", "patience", "kind", "split_column", "n_folds"),
    "counts_validation",
}


def changed(kind: type[Any], **by_hand: Any) -> Any:
    """Return a configuration of which each setting has another value than its default: the value
    that is given by hand, or one of the setting's type.
    """
    derived = {
        field.name: ANOTHER[str(field.type).removesuffix(" | None")](field.name, field.default)
        for field in fields(kind)
        if field.name not in UNCHANGED | {*by_hand}
    }
    made = kind(**derived, **by_hand)
    default = kind(study="study") if kind is StudyConfig else kind()
    assert all(getattr(made, name) != getattr(default, name) for name in (*derived, *by_hand))
    return made


OTHER = changed(
    StudyConfig,
    study="other",
    space="cnn",
    metric="val_loss",
    sampler="random",
    pruner="median",
    preset="hf://name/model",
    vocab_size=500,
    data=changed(DataConfig, data="my reviews/*.csv", positive_from=0.0, drop_stars=(2.5, 3.0)),
    train=changed(TrainConfig, class_weight="it's, a class:2"),
)
COSTS = replace(
    DEFAULT,
    costs=("n_params", "latency_ms"),
    pruner="none",
    train=TrainConfig(evaluates_fitted=True),
    resplit=True,
)


# The epochs of a study with folds have no parts. Stars keep their numbers in another kind.
FOLDS = StudyConfig(
    study="s",
    data=DataConfig(kind="order"),
    resplit=True,
    counts_validation=True,
    train=TrainConfig(n_folds=3, evaluates_fitted=True),
)


@pytest.mark.parametrize("config", [OTHER, COSTS, FOLDS])
def test_command_of_the_report_has_every_setting(
    config: StudyConfig, run_cli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line reads the command, and gives a search the same settings."""
    rows = record_rows(replace(RECORD, config=config), CARD, n_trials=7)
    words = shlex.split(dict(rows)["command"])
    assert words[:4] == ["python", "-m", "tuning", "tune"]
    calls: list[tuple[StudyConfig, ResultsDir, Budget]] = []

    def search(config: StudyConfig, root: ResultsDir, *, budget: Budget, **_: object) -> Any:
        calls.append((config, root, budget))
        return SimpleNamespace(is_complete=False)

    monkeypatch.setattr("tuning.workers.server.start_server", lambda: None)
    monkeypatch.setattr("tuning.search.tune.tune", search)
    assert run_cli("tune", *words[4:]).code == 130
    ((again, root, budget),) = calls
    splits: Any = SimpleNamespace(n_rows=CARD.n_rows, rows=None, draws_validation=True)
    folder = root.study(again.study)
    monkeypatch.setattr("tuning.study.prepare.require_folds", lambda rows, redraw: None)
    min_texts, folds = budget.min_texts, budget.folds
    made = with_parts(again, folder, splits=splits, min_texts=min_texts, folds=folds)
    assert made == config
    assert budget.n_trials == 7


def test_setting_without_a_flag_is_no_parameter_of_tune() -> None:
    assert not {*inspect.signature(tuning.tune).parameters} & {*NO_FLAGS, *UNCHANGED}


@pytest.mark.parametrize(("parts", "min_texts"), [(4, None), (1, 100_001), (8, 12_500)])
def test_command_of_the_report_divides_an_epoch_as_the_study(
    parts: int, min_texts: int | None
) -> None:
    """100,001 training texts are divided into 4 parts by default."""
    config = replace(DEFAULT, train=TrainConfig(parts_per_epoch=parts))
    card = replace(CARD, n_rows={**CARD.n_rows, "train": 100_001})
    command = dict(record_rows(replace(RECORD, config=config), card, n_trials=7))["command"]
    expected = [] if min_texts is None else [str(min_texts)]
    assert re.findall("--min-texts ([0-9]+)", command) == expected
    assert parts_per_epoch(100_001, min_texts=min_texts or MIN_TEXTS) == parts
