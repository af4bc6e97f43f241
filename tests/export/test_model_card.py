"""The model card: front matter that YAML reads, and what a reader asks for, whatever
the names are.
"""

import re
from typing import Any

import pytest
import yaml

from tuning.export.model_card import FORM_COLUMNS, form_rows, model_card
from tuning.inference.runtimes import FORMS


def scores(accuracy: float) -> dict[str, Any]:
    names = ("accuracy", "balanced_accuracy", "f1", "auc", "loss", "expected_calibration_error")
    return {
        "test": dict.fromkeys(names, accuracy),
        "test_intervals": {name: [accuracy - 0.1, accuracy + 0.1] for name in names},
    }


def form(name: str) -> dict[str, Any]:
    about = FORMS[name]
    measured = {
        "bytes": 2_700_000,
        "max_difference": 3e-7,
        "latency_ms": 0.049,
        "first_answer_seconds": 0.17,
        "memory_mb": 74,
    }
    return {"form": name, "takes": about.takes, "needs": list(about.needs), **measured}


@pytest.fixture
def manifest() -> dict[str, Any]:
    change = {
        "change": 0.001,
        "change_low": -0.002,
        "change_high": 0.004,
        "same_label_share": 0.997,
    }
    forms = {FORMS[name].path: form(name) for name in FORMS}
    forms["model_int8.tflite"]["accuracy"] = change
    return {
        "study": "masked_lstm-reviews",
        "data": "reviews/*.csv",
        "space": "masked_lstm",
        "metric": "val_accuracy",
        "class_names": ["negative", "positive"],
        "export_number": 3,
        "created": "2026-11-25T21:06:42+00:00",
        "trial": 7,
        "seed": 5,
        "epochs": 2,
        "hyperparameters": {"dropout": 0.25, "lstm_units": 32},
        "input": {"vocab_size": 5_002, "sequence_length": 80, "truncating": "pre"},
        "n_rows": {"train": 700, "validation": 150, "test": 150},
        "data_fingerprint": "0123456789abcdef",
        "data_card": {
            "class_counts": {"train": [300, 400]},
            "length_percentiles": {"50": 12, "95": 60},
        },
        "scores": {"best": {"trial": 7, **scores(0.8)}, "baseline": {"trial": 0, **scores(0.7)}},
        "references": {"majority class": scores(0.5)},
        "test_looks": [{}],
        "versions": dict.fromkeys(
            ("tensorflow", "keras", "onnxruntime", "ai-edge-litert"), "1.2.3"
        ),
        "search": {
            "sampler": "tpe",
            "pruner": "asha",
            "n_trials": {"complete": 12, "pruned": 8, "fail": 1},
            "value": 0.8123,
            "is_baseline": False,
            "is_confirmed_best": True,
            "n_shared_seeds": 3,
            "repeats": {"1": 0.79, "2": 0.8, "3": 0.795},
            "corrected_mean": {"value": 0.795, "low": 0.78, "high": 0.81},
        },
        "forms": forms,
        "left_out": {},
        "limits": [],
        "n_parity_texts": 2_015,
    }


def front_matter(card: str) -> dict[str, Any]:
    start, middle, _ = card.split("---\n", 2)
    assert start == ""
    return dict(yaml.safe_load(middle))


def test_front_matter_has_hugging_face_s_fields(manifest: dict[str, Any]) -> None:
    found = front_matter(model_card(manifest))
    assert found["license"] == "unknown"
    assert found["library_name"] == "keras"
    assert found["pipeline_tag"] == "text-classification"
    assert found["tags"] == ["text-classification", "keras", "onnx", "tflite"]
    (entry,) = found["model-index"]
    (result,) = entry["results"]
    assert (entry["name"], result["task"]["type"]) == ("masked_lstm-reviews", "text-classification")
    assert result["dataset"] == {"name": "reviews/*.csv", "type": "reviews/*.csv", "split": "test"}
    assert [(metric["type"], metric["value"]) for metric in result["metrics"]] == [
        ("accuracy", 0.8),
        ("f1", 0.8),
    ]


@pytest.mark.parametrize("data", ['a: "b" # c', "日本 😀.csv", "x\ny\x00\x1b", "- [1]", "null"])
def test_front_matter_holds_any_name(manifest: dict[str, Any], data: str) -> None:
    (entry,) = front_matter(model_card(manifest | {"data": data}))["model-index"]
    shown = "".join(c if c.isprintable() else "?" for c in data)
    assert entry["results"][0]["dataset"]["name"] == shown


@pytest.mark.parametrize(
    "said",
    [
        "700 texts for training,\n150 for validation, 150 for the test",
        "negative 300, positive 400",
        "The licence of the data is not recorded here; fill it in",
        "| exported model, trial 7 | 0.8000 [0.7000, 0.9000] |",
        "| baseline, trial 0 | 0.7000 [0.6000, 0.8000] |",
        "| majority class | 0.5000",
        "A text of more than 80 words loses its beginning.",
        "Its vocabulary has 5,000 words, the most frequent of the training split",
        "sampler `tpe` and the pruner `asha`, seed 5",
        "12 are complete, 8 pruned, 1 failed",
        "Trial 7 had val_accuracy 0.8123.",
        (
            "on fresh seeds (1, 2, 3) it had a corrected mean of 0.7950 [0.7800, 0.8100]. It is the"
            " confirmed best."
        ),
        "- `dropout`: 0.25\n- `lstm_units`: 32\n- epochs: 2",
        "| model.onnx | token ids | onnxruntime | 2.7 | 3.0e-07 | 0.05 | 0.17 | 74 |",
        (
            "With int8 weights the accuracy changes by 0.0010 [-0.0020, 0.0040]; 99.70% of the"
            " labels stay."
        ),
        "was not tested with TensorFlow Serving itself",
    ],
)
def test_card_says(manifest: dict[str, Any], said: str) -> None:
    assert said in model_card(manifest)


def test_card_says_that_nothing_was_confirmed(manifest: dict[str, Any]) -> None:
    manifest["search"] |= {"corrected_mean": None, "repeats": {}, "is_baseline": True}
    card = model_card(manifest)
    assert "It was not confirmed on fresh seeds" in card
    assert "It is the baseline" in card


def test_card_has_no_snippet_of_a_form_that_was_left_out(manifest: dict[str, Any]) -> None:
    del manifest["forms"]["model.h5"], manifest["forms"]["model_int8.tflite"]
    card = model_card(
        manifest
        | {
            "left_out": {"model.h5": "Unknown layer: 'NotEqual' | <b>"},
            "limits": ["The model gives NaN for ''."],
        }
    )
    assert 'load_model("model.h5"' not in card
    assert "int8 weights" not in card
    assert "`model.h5` is not here: Unknown layer: 'NotEqual' \\| &lt;b&gt;" in card
    assert "- The model gives NaN for ''." in card
    assert card.count("```python") == len(manifest["forms"])


def test_card_counts_the_evaluations_on_the_test_split(manifest: dict[str, Any]) -> None:
    assert "This is evaluation number 3 on the test split" in model_card(
        manifest | {"test_looks": [{}, {}, {}]}
    )


def test_rows_have_the_columns_of_the_table(manifest: dict[str, Any]) -> None:
    assert {len(row) for row in form_rows(manifest)} == {len(FORM_COLUMNS)}


def test_card_says_how_to_load_each_form(manifest: dict[str, Any]) -> None:
    blocks = re.findall(
        r"^`(.*?)`, checked with .*?:\n```python\n(.*?)\n```$",
        model_card(manifest),
        re.DOTALL | re.MULTILINE,
    )
    assert [path for path, _ in blocks] == [form.path for form in FORMS.values()]
    for path, code in blocks:
        compile(code, path, "exec")
        assert f'("{path}"' in code
