"""A search and a confirmation with their progress and their results on the console."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from rich.markup import escape

from tuning.commands import repeated, typed
from tuning.display.console import console
from tuning.display.progress import LinearDisplay, SearchDisplay, steps
from tuning.display.tables import print_confirmation, print_outcome, warn_if_behind
from tuning.outcomes import SearchEnd

if TYPE_CHECKING:
    from tuning.confirmation.rounds import Confirmation
    from tuning.inputs.corpus import Corpus
    from tuning.search.progress import Progressed
    from tuning.search.session import Session
    from tuning.search.tune import Outcome
    from tuning.spaces.loading import SearchSpace


def search_and_confirm(search: Callable[..., Outcome], *, metric: str, confirms: bool) -> bool:
    """Run a search, show its progress and outcome, and confirm its best trials with the same
    workers; return False if the user interrupted one of them.
    """
    from tuning.confirmation.rounds import Confirmation
    from tuning.report.dashboard import annotate
    from tuning.search.confirm import confirm_within
    from tuning.search.tune import TuneHooks

    confirmations: list[Confirmation] = []
    with contextlib.ExitStack() as shown, LinearDisplay(metric) as linear:
        display = shown.enter_context(SearchDisplay())

        def start(corpus: Corpus, space: SearchSpace) -> None:
            display.start(corpus, space)
            linear.start(corpus)

        def change(state: Progressed) -> None:
            if any(state.running.values()):
                linear.train()
            linear.show()
            display.change(state)

        def then(session: Session, outcome: Outcome) -> None:
            shown.close()
            linear.train()
            print_outcome(outcome, session.corpus.card, Confirmation.load(session.folder))
            name = session.folder.name
            if confirms and _can_be_confirmed(outcome):
                confirm = partial(confirm_within, session, min_complete=outcome.min_complete)
                confirmations.append(run_confirmation(confirm, study=name))
            if confirmations or outcome.ended in (SearchEnd.FINISHED, SearchEnd.EXHAUSTED):
                linear.wait(lambda: session.interrupt.requested)
            for confirmation in confirmations:
                warn_if_behind(linear.reference, confirmation, study=name)

        hooks = TuneHooks(
            progress=display.prepare, on_start=start, on_change=change, then=then, drawing=annotate
        )
        outcome = search(hooks=hooks)
    return outcome.ended != SearchEnd.INTERRUPTED and all(c.is_over for c in confirmations)


def _can_be_confirmed(outcome: Outcome) -> bool:
    from tuning.search.confirm import n_confirmable

    if outcome.ended == SearchEnd.INTERRUPTED:
        return False
    if outcome.summary.counts["running"] > outcome.summary.n_paused:
        console.print("Not confirmed: trials of the study are running on other machines.")
        return False
    if n_confirmable(outcome.summary) < outcome.min_complete:
        console.print(
            f"Not confirmed: a confirmation needs {outcome.min_complete} or more completed trials"
            " that were trained here. Continue the search with more trials or more time."
        )
        return False
    return True


def run_confirmation(confirm: Callable[..., Confirmation], *, study: str) -> Confirmation:
    """Run a confirmation, show its progress, and print its result. `confirm` runs it with the
    keyword argument `hooks`, a `ConfirmHooks`.
    """
    from tuning.report.confirmation import plan
    from tuning.report.dashboard import annotate
    from tuning.search.confirm import ConfirmHooks

    spent: list[float] = []
    with steps() as progress:

        def start(confirmation: Confirmation, n_workers: int) -> None:
            spent.append(confirmation.spent_seconds)
            text = plan(confirmation, n_workers=n_workers)
            if text:
                console.print(escape(text))

        def change(event: str, confirmation: Confirmation) -> None:
            budget = confirmation.budget_seconds  # 0 if no trial of the study has times.
            progress(event, min(confirmation.spent_seconds / budget, 1.0) if budget else 1.0)

        progress("confirming the best on fresh seeds", 0.0)
        hooks = ConfirmHooks(progress=progress, on_start=start, on_change=change, drawing=annotate)
        confirmation = confirm(hooks=hooks)
    print_confirmation(confirmation, study=study)
    if not confirmation.is_over:
        console.print(f"Interrupted; {repeated()} continues the confirmation.")
    elif confirmation.is_short and confirmation.rounds and confirmation.spent_seconds in spent:
        used = confirmation.budget_seconds / confirmation.search_seconds
        larger = typed("confirm", study=study, share=math.floor(used) + 1)
        console.print(
            escape(f"Nothing was trained: the budget is used up. `{larger}` trains further seeds.")
        )
    return confirmation
