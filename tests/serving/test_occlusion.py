"""Hidden words, and the probability that the label loses without them."""

from dataclasses import replace

import numpy as np
import pytest

from tests.numbered import TWO
from tests.servers import fake
from tuning.inputs.contract import ModelInput
from tuning.serving import occlusion
from tuning.serving.occlusion import effects, hide_words

HIDDEN = "\ue000"
NINE = ModelInput(vocab_size=99, sequence_length=9, truncating="pre")
TEXTS = ModelInput(vocab_size=0, sequence_length=0, truncating="pre")
PRESET = replace(TEXTS, sequence_length=2, preset="bert")


def test_each_different_word_is_hidden_wherever_it_stands() -> None:
    hidden = hide_words("Good - good!\ttoo", NINE)
    assert (hidden.words, hidden.counts) == (("good", "too"), (2, 1))
    assert hidden.texts == ("Good good! too", f"{HIDDEN} {HIDDEN} too", f"Good good! {HIDDEN}")


@pytest.mark.parametrize(
    ("truncating", "words"), [("pre", ("c", "d")), ("post", ("a", "b")), ("middle", ("a", "d"))]
)
def test_words_that_the_model_does_not_see_are_not_hidden(
    truncating: str, words: tuple[str, ...]
) -> None:
    assert (
        hide_words("a b c d", replace(NINE, sequence_length=2, truncating=truncating)).words
        == words
    )


def test_all_words_of_a_text_are_in_its_ngrams() -> None:
    inputs = replace(NINE, sequence_length=2, ngrams=2, ngram_vocab_size=9)
    assert hide_words("a b c d", inputs).words == ("a", "b", "c", "d")


@pytest.mark.parametrize("inputs", [TEXTS, PRESET])
def test_model_with_another_tokenizer_gets_the_whole_text(inputs: ModelInput) -> None:
    hidden = hide_words(" Good -\n good!\t:) too\n", inputs)
    assert (hidden.words, hidden.counts) == (("good", "too"), (2, 1))
    assert hidden.texts == (
        " Good -\n good!\t:) too\n",
        f" {HIDDEN} -\n {HIDDEN}\t:) too\n",
        f" Good -\n good!\t:) {HIDDEN}\n",
    )
    assert hide_words("!?", inputs).texts == ("!?",)


def test_words_over_the_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occlusion, "MAX_WORDS", 3)
    hidden = hide_words("a b c d e a", NINE)
    assert (hidden.words, len(hidden.texts), hidden.n_left_out) == (("a", "b", "c"), 4, 2)


def test_explanation_of_a_long_text_hides_fewer_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occlusion, "MAX_CHARACTERS", 30)
    hidden = hide_words("aaaa bbbb cccc dddd", NINE)
    assert (len(hidden.words), hidden.n_left_out) == (1, 3)


@pytest.mark.parametrize("text", ["", " \n", "!? --"])
def test_text_without_a_word_has_nothing_to_hide(text: str) -> None:
    assert hide_words(text, NINE).texts == ("",)


def test_effect_is_what_the_label_loses_without_the_word() -> None:
    hidden = hide_words("good but bad", NINE)
    word_effects = effects(hidden, fake(hidden.texts), TWO)
    assert [(word.word, word.effect) for word in word_effects] == [
        ("bad", 0.4),
        ("good", -0.3),
        ("but", 0.0),
    ]


def test_word_without_which_the_model_gives_nan_has_no_effect() -> None:
    hidden = hide_words("good phone", NINE)
    words = effects(hidden, np.array([[0.2, 0.8], [np.nan, np.nan], [0.3, 0.7]]), TWO)
    assert [word.word for word in words] == ["phone"]
