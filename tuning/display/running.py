"""A search and a confirmation on the console: their progress and their results."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from tuning.commands import repeated
from tuning.display.console import console, print_texts, warn
from tuning.display.progress import change_line, incumbent_step, steps
from tuning.display.tables import card_table, print_confirmation, print_outcome

if TYPE_CHECKING:
    from tuning.confirmation.record import Confirmation
    from tuning.search.events import Event, Progressed
    from tuning.search.session import Session


class Display:
    """A subscriber that shows a search, its outcome, and a confirmation with its result."""

    def __init__(self, study: str, *, metric: str) -> None:
        self._study, self._metric = study, metric
        self._shown = contextlib.ExitStack()  # The bar that is shown now.
        self._step: Callable[[str, float], None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._clear()

    def __call__(self, event: Event) -> None:
        from tuning.confirmation.plan import due
        from tuning.confirmation.record import Confirmation
        from tuning.search import events

        match event:
            case events.Step(label, share):
                self._show_step(label, share)
            case events.SearchStarted(opened):
                self._start(opened)
            case events.LinearModelTrained(reference):
                print_texts(reference.sentence(self._metric))
            case events.Progressed():
                self._change(event)
            case events.SearchEnded(opened, outcome):
                self._clear()
                confirmation = Confirmation.load(opened.folder)
                print_outcome(outcome, confirmation)
            case events.NotConfirmed(reason):
                print_texts(f"Not confirmed: {reason}")
            case events.ConfirmationStarted(confirmation, n_workers):
                self._start_confirmation(confirmation, n_workers)
            case events.RepeatEnded(sentence, confirmation):
                print_texts(sentence)
                n_done = sum(len(f.repeats) for f in confirmation.finalists)
                share = n_done / (n_done + len(due(confirmation)))
                self._show_below("confirming the best on fresh seeds", share)
            case events.CallEnded(opened, _, confirmation):
                self._clear()
                if confirmation:
                    self._show_confirmation(opened, confirmation)

    def _show_step(self, label: str, share: float) -> None:
        if self._step is None:
            self._step = self._shown.enter_context(steps())
        self._step(label, share)

    def _show_below(self, label: str, share: float) -> None:
        """Show a bar below the lines of a terminal."""
        if console.is_terminal:
            self._show_step(label, share)

    def _clear(self) -> None:
        self._shown.close()
        self._step = None

    def _start(self, opened: Session) -> None:
        from tuning.report.tables import folds_sentence

        self._clear()
        corpus, space = opened.corpus, opened.space
        print_texts(*space.notes)
        console.print(card_table(corpus.card))
        if sentence := folds_sentence(opened.config, corpus.card):
            print_texts(f"{sentence} A new study with folds 1 has one split.")
        print_texts(*opened.notes)

    def _change(self, state: Progressed) -> None:
        if state.event:
            print_texts(change_line(state))
        self._show_below(*incumbent_step(state))

    def _start_confirmation(self, confirmation: Confirmation, n_workers: int) -> None:
        from tuning.report.confirmation import plan

        print_texts(plan(confirmation, n_workers=n_workers))

    def _show_confirmation(self, opened: Session, confirmation: Confirmation) -> None:
        from tuning.confirmation.plan import is_over
        from tuning.evaluation.linear_reference import LinearTask, read_linear_reference
        from tuning.report.sentences import behind_linear, constant_sentence

        print_confirmation(confirmation, study=self._study)
        if not is_over(confirmation):
            print_texts(f"Interrupted; {repeated()} continues the confirmation.")
        config, corpus = opened.config, opened.corpus
        linear = read_linear_reference(corpus.folder, LinearTask.of(config))
        names = {"study": self._study, "space": opened.space.name}
        behind = behind_linear(linear, confirmation, **names)
        for text in filter(None, (behind, constant_sentence(confirmation, corpus.card, config))):
            warn(text)
