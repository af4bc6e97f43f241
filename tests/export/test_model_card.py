"""The model card: YAML parsers read its front matter, and it contains the expected sections for
names with any characters.
"""

import re
from dataclasses import replace
from typing import Any, TypeVar

import pytest
import yaml

from tests.stored_documents import EXPORT
from tuning.evaluation.scores import ModelScores, ReferenceScores, ScoreInterval
from tuning.export.manifest import FullManifest, MeasuredFormat, SearchFacts
from tuning.export.model_card import model_card
from tuning.inference.runtimes import FORMATS, TOKEN_IDS
from tuning.inputs.contract import ModelInput
from tuning.inputs.ngrams import Ngrams
from tuning.text import visible

S = TypeVar("S", ModelScores, ReferenceScores)


SCORES = ("accuracy", "balanced_accuracy", "f1", "auc", "loss", "expected_calibration_error")


def scored(model: S, accuracy: float, **changes: Any) -> S:
    """Return a model with this value and interval for every score."""
    return replace(
        model,
        test=dict.fromkeys(SCORES, accuracy),
        test_intervals=dict.fromkeys(SCORES, (accuracy - 0.1, accuracy + 0.1)),
        **changes,
    )


def measured(name: str) -> MeasuredFormat:
    return MeasuredFormat(
        form=name,
        takes=FORMATS[name].takes,
        needs=list(FORMATS[name].needs),
        bytes=2_700_000,
        max_difference=3e-7,
        latency_ms=0.049,
        first_answer_seconds=0.17,
        texts_per_second=1000,
        memory_mb=74,
    )


BEST, BASELINE = EXPORT.scores["best"], EXPORT.scores["baseline"]
MAJORITY = EXPORT.references["majority class"]
MANIFEST = replace(
    EXPORT,
    study="masked_lstm-reviews",
    data="reviews/*.csv",
    space="masked_lstm",
    trial=7,
    seed=5,
    hyperparameters={"dropout": 0.25, "lstm_units": 32},
    input=ModelInput(vocab_size=5_002, sequence_length=80, truncating="pre"),
    n_rows={"train": 700, "validation": 150, "test": 150},
    data_card=replace(EXPORT.data_card, class_counts={"train": [300, 400]}),
    scores={"best": scored(BEST, 0.8, trial=7), "baseline": scored(BASELINE, 0.7, trial=0)},
    references={"majority class": scored(MAJORITY, 0.5)},
    search=SearchFacts(
        sampler="tpe",
        pruner="asha",
        n_trials={"complete": 12, "pruned": 8, "fail": 1},
        value=0.8123,
        is_baseline=False,
        is_confirmed_best=True,
        n_shared_seeds=3,
        repeats={"1": 0.79, "2": 0.8, "3": 0.795},
        corrected_mean=ScoreInterval(value=0.795, low=0.78, high=0.81),
    ),
    forms={FORMATS[name].path: measured(name) for name in FORMATS},
)
WORDS = {"vocab_size": 12, "sequence_length": 9}
NGRAMS = {"ngrams": 3, "ngram_vocab_size": 12}


def prose(manifest: FullManifest) -> str:
    """Return the model card with one space for each line break: Markdown shows both alike."""
    return " ".join(model_card(manifest).split())


def front_matter(card: str) -> dict[str, Any]:
    start, middle, _ = card.split("---\n", 2)
    assert start == ""
    return dict(yaml.safe_load(middle))


def test_front_matter_has_hugging_face_s_fields() -> None:
    fields = front_matter(model_card(MANIFEST))
    assert fields["license"] == "unknown"
    assert fields["library_name"] == "keras"
    assert fields["pipeline_tag"] == "text-classification"
    assert fields["tags"] == ["text-classification", "keras", "onnx"]
    (entry,) = fields["model-index"]
    (result,) = entry["results"]
    assert (entry["name"], result["task"]["type"]) == ("masked_lstm-reviews", "text-classification")
    assert result["dataset"] == {"name": "reviews/*.csv", "type": "reviews/*.csv", "split": "test"}
    assert [(metric["type"], metric["value"]) for metric in result["metrics"]] == [
        ("accuracy", 0.8),
        ("f1", 0.8),
    ]


@pytest.mark.parametrize("data", ['a: "b" # c', "日本 😀.csv", "x\ny\x00\x1b", "- [1]", "null"])
def test_front_matter_holds_any_name(data: str) -> None:
    (entry,) = front_matter(model_card(replace(MANIFEST, data=data)))["model-index"]
    assert entry["results"][0]["dataset"]["name"] == visible(data)


def input_of(**sizes: Any) -> ModelInput:
    return ModelInput(**{"vocab_size": 0, "sequence_length": 0, "truncating": "middle", **sizes})


SEARCH = MANIFEST.search
OF_WORDS, OF_NGRAMS = {"input": input_of(**WORDS)}, {"input": input_of(**NGRAMS)}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "700 texts for training, 150 for validation, 150 for the test"),
        ({}, "negative 300, positive 400"),
        ({}, "The license of the data is not recorded."),
        ({}, "| exported model, trial 7 | 0.8000 [0.7000, 0.9000] |"),
        ({}, "| baseline, trial 0 | 0.7000 [0.6000, 0.8000] |"),
        ({}, "| majority class | 0.5000"),
        ({}, "Only the last 80 words"),
        ({}, "at most 5,000 words"),
        ({}, "sampler `tpe` and the pruner `asha`, seed 5"),
        ({}, "12 are complete, 8 pruned, 1 failed"),
        ({}, "fresh seeds (1, 2, 3), the configuration had a corrected mean of 0.7950 [0.7800,"),
        ({}, "Trial 7 had val_accuracy 0.8123."),
        ({"search": replace(SEARCH, n_folds=5)}, "val_accuracy 0.8123, the mean over 5 folds of"),
        ({}, "- `dropout`: 0.25 - `lstm_units`: 32 - epochs: 2"),
        ({}, "| model.onnx | token ids | onnxruntime | 2.7 | 3.0e-07 | 0.05 | 0.17 | 74 |"),
        (OF_WORDS, "vocabulary has at most 10 words"),
        (OF_WORDS, "first and the last words, in all 9"),
        (OF_NGRAMS, "pairs and triples of words"),
        (OF_NGRAMS, "`ngrams.txt`"),
        (
            {"input": input_of(ngrams=1, ngram_vocab_size=12)},
            "which words a text contains, at",
        ),
        (
            {"search": replace(SEARCH, corrected_mean=None, repeats={})},
            "not confirmed on fresh seeds",
        ),
        ({"search": replace(SEARCH, is_baseline=True)}, "This trial is the baseline"),
        ({"search": replace(SEARCH, starting_point=2)}, "This trial is starting point 2 of the"),
        ({"weight_column": "votes"}, "In the training, rows were weighted by the column votes"),
        ({"class_weight": "bad:1,<b>:5"}, "had the weights bad:1,&lt;b&gt;:5. Half"),
        ({"test_looks": MANIFEST.test_looks * 3}, "This is evaluation number 3 on the test split"),
    ],
)
def test_card_contains(changes: dict[str, Any], sentence: str) -> None:
    assert sentence in prose(replace(MANIFEST, **changes))
    assert not changes or sentence not in prose(MANIFEST)


@pytest.mark.parametrize("preset", ["/home/me/encoder.keras", "/home/me/bert", "bert"])
def test_card_names_the_encoder_without_its_folders(preset: str) -> None:
    inputs = ModelInput(**WORDS, **NGRAMS, truncating="post", preset=preset)
    card = prose(replace(MANIFEST, input=inputs, hyperparameters={"preset": preset}))
    name = preset.removeprefix("/home/me/")
    assert f"the pretrained encoder `{name}`. What is known of its license" in card
    assert f"- `preset`: {name} - epochs" in card and "/home" not in card
    assert ("first 9 tokens" in card) != ("The encoder tokenizes the texts" in card)
    assert "at most 10 words" in card and "pairs and triples of words" in card


def test_card_names_the_inputs_that_a_saved_model_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = ModelInput(**WORDS | NGRAMS, truncating="pre")
    assert "a signature is `text`" in prose(replace(MANIFEST, input=inputs))
    monkeypatch.setattr(Ngrams, "has_layers", False)
    assert "a signature is `ids` and `ngrams`:" in prose(replace(MANIFEST, input=inputs))


def test_card_has_no_snippet_of_a_format_that_was_left_out() -> None:
    forms = {path: form for path, form in MANIFEST.forms.items() if path != "model.h5"}
    manifest = replace(
        MANIFEST,
        forms=forms,
        left_out={"model.h5": "Unknown layer: 'NotEqual' | <b>"},
        limits=["The model gives NaN for ''."],
    )
    card = model_card(manifest)
    assert 'load_model("model.h5"' not in card
    assert "`model.h5` is not in this export: Unknown layer: 'NotEqual' \\| &lt;b&gt;" in card
    assert "- The model gives NaN for ''." in card
    assert card.count("```python") == len(forms)


@pytest.mark.parametrize("takes_ids", [False, True])
def test_card_describes_how_to_load_each_format(takes_ids: bool) -> None:
    """Every format of a model with an input without `layers` takes token ids."""
    changes = {"takes": TOKEN_IDS} if takes_ids else {}
    forms = {path: replace(form, **changes) for path, form in MANIFEST.forms.items()}
    blocks = re.findall(
        r"^`(.*?)`, checked with .*?:\n```python\n(.*?)\n```$",
        model_card(replace(MANIFEST, forms=forms)),
        re.DOTALL | re.MULTILINE,
    )
    assert [path for path, _ in blocks] == [known.path for known in FORMATS.values()]
    for path, code in blocks:
        compile(code, path, "exec")
        assert f'("{path}"' in code
        assert ("load_tokenizer" in code) == (forms[path].takes == TOKEN_IDS)
