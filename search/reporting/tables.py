"""Tables of a study's findings for a terminal and for the note in optuna-dashboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from objectives.gains.transfer_gain import by_task, in_points
from search.command_line.words import new_table
from search.findings.arms import ArmSummary
from search.findings.judging import Verdicts
from search.findings.stage_costs import EVALUATION, StudyCost
from search.findings.verdict_words import cell_rows
from spaces.studies import NO_INTERMEDIATE


def arms_table(summaries: Sequence[ArmSummary], languages: frozenset[str], title: str) -> Table:
    """The arms: gains in percentage points, scores in percent."""
    numbers = ("recipes", "best score", "tuned gain", "seeds", "paired gain", "mean paired")
    table = new_table(title, "arm", *numbers, "intermediate task", numbers=numbers)
    for summary in summaries:
        if summary.best is None:
            table.add_row(summary.arm, "0")
            continue
        gain, none = summary.gain, summary.arm == NO_INTERMEDIATE
        if gain is None:
            cells = ("", "no common seed", "", "", in_points(summary.mean_paired_gain))
            table.add_row(summary.arm, str(summary.recipes), *cells, summary.best.task)
            continue
        table.add_row(
            summary.arm,
            str(summary.recipes),
            f"{100 * gain.overall_score(languages):.1f}",
            in_points(summary.tuned_gain),
            str(gain.seeds),
            "-" if none else in_points(gain.overall_paired_gain(languages)),
            "-" if none else in_points(summary.mean_paired_gain),
            summary.best.task or "-",
        )
    return table


def tasks_table(summaries: Sequence[ArmSummary], languages: frozenset[str]) -> Table:
    """The tuned gains of each arm's best recipe by target task, the mean over its languages."""
    shown = [summary for summary in summaries if summary.gain]
    arms = [summary.arm for summary in shown]
    table = new_table("Tuned gains by target task", "target task", *arms, numbers=arms)
    gains = [by_task(summary.by_language, languages) for summary in shown]
    for task in gains[0] if gains else ():
        table.add_row(task, *(in_points(gain[task]) for gain in gains))
    return table


def languages_table(summaries: Sequence[ArmSummary]) -> Table:
    """The tuned gains of each arm's best recipe by language, and over how many examples."""
    shown = [summary for summary in summaries if summary.gain]
    numbers = ["examples", *(summary.arm for summary in shown)]
    table = new_table(
        "Tuned gains by language", "target task", "language", *numbers, numbers=numbers
    )
    # A gain over seven sentences must not look like one over seven hundred.
    pairs = shown[0].gain.pairs if shown and shown[0].gain else ()
    sizes = {(pair.score.task, pair.score.language): pair.score.examples for pair in pairs}
    for (task, language), examples in sizes.items():
        points = (in_points(summary.by_language[task, language]) for summary in shown)
        table.add_row(task, language, str(examples), *points)
    return table


def cells_table(verdicts: Verdicts, names: Mapping[int, str], title: str) -> Table:
    """Every target task and language: the gain of each recipe, its interval and its verdict."""
    numbers = ["examples", *names.values()]
    table = new_table(title, "target task", "language", *numbers, numbers=numbers)
    for row in cell_rows(verdicts, list(names)):
        table.add_row(*row)
    table.caption = "95 % intervals, each by itself; a verdict is corrected for all of the table"
    return table


def cost_table(cost: StudyCost, title: str) -> Table:
    """What was asked for, saved and trained."""
    numbers = ("updates", "seconds", "share")
    table = new_table(title, "", *numbers, numbers=numbers)
    parts = {
        "asked for": cost.asked,
        **{f"saved by {name}": saved for name, saved in cost.saved.items()},
        "trained": cost.trained,
    }
    if cost.spent_elsewhere.seconds:
        parts["besides, for trials that did not complete"] = cost.spent_elsewhere
    for name, part in parts.items():
        share = part.seconds / cost.asked.seconds if cost.asked.seconds else 0.0
        updates = f"{part.updates:,}" if name != f"saved by {EVALUATION}" else ""
        table.add_row(name, updates, f"{part.seconds:,.1f}", f"{share:.0%}")
    table.caption = f"{cost.trials} complete trials; {cost.ratio:.1f} times less than asked for"
    return table
