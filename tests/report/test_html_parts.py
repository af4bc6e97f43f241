"""Tables of the page: columns that fit the page, and long texts that are folded."""

import re

import pytest

from tuning.report.html_parts import narrow, table

REVIEW = "It broke after a week, and nobody answers. " * 40  # 320 words


@pytest.mark.parametrize("first", ["regularization_strength_of_layer_0", "trial", "seconds"])
def test_columns_that_do_not_fit_are_in_one_of_text(first: str) -> None:
    names = [first, *(f"regularization_strength_of_layer_{n}" for n in range(1, 25))]
    row = ["7", *(str(n) for n in range(25)), "3"]
    header, rows = narrow(
        ["trial", *names, "seconds"], [row, ["8", *[""] * 25, "4"]], 25, n_after=1
    )
    n_kept = len(header) - 3
    assert 3 <= n_kept <= 8
    assert header == ["trial", *names[:n_kept], "others", "seconds"]
    others = ", ".join(f"{name} {n}" for n, name in enumerate(names) if n >= n_kept)
    assert rows[0] == ["7", *(str(n) for n in range(n_kept)), others, "3"]
    assert rows[1] == ["8", *[""] * n_kept, "", "4"]


@pytest.mark.parametrize("n_seeds", [5, 9])
def test_columns_that_fit_stay_as_they_are(n_seeds: int) -> None:
    names = [f"seed {n}" for n in range(n_seeds)]
    header, rows = (
        ["trial", *names, "corrected mean"],
        [["7", *["0.7123"] * n_seeds, "0.7123 [0.7012, 0.7234]"]],
    )
    assert narrow(header, rows, n_seeds, n_after=1) == (header, rows)


def test_long_words_are_broken_and_names_of_the_default_space_are_not() -> None:
    assert 'class="long"' in table(["regularization"], [])
    assert 'class="long"' not in table(["architecture"], [["bilstm_pooling"]])


def test_long_text_is_folded_behind_its_first_part() -> None:
    cell = table(["text"], [[REVIEW]]).split("<td", maxsplit=1)[1]
    shown, rest = re.findall("<summary>(.*?)<.*?</summary>(.*?)</details>", cell)[0]
    assert 150 < len(shown) <= 200
    assert " ".join((shown + rest).split()) == REVIEW.strip()
    assert "<script" not in cell and "onclick" not in cell
    assert "<details" not in table(["text"], [["short"]]) + table(["text"], [[REVIEW]], fold=False)


def test_folded_text_is_escaped() -> None:
    cell = table(["text"], [["<b>" * 300]])
    assert "<b>" not in cell
    assert cell.count("&lt;") == cell.count("&gt;") == 300
