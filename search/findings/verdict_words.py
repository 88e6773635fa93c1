"""Verdicts and confirmations as sentences, the same on page, card, note and terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from objectives.gains.rules import ALPHA, LARGEST, Verdict
from objectives.gains.transfer_gain import in_points
from search.command_line.words import in_hours
from search.findings.confirmation import ConfirmationPlan, ConfirmationResult, Look
from search.findings.verdicts import JudgedGain, RecipeVerdict, Verdicts
from spaces.stage_specs import Aggregate

_MARKS = {
    Verdict.HELPS: " helps",
    Verdict.HURTS: " hurts",
    Verdict.EQUIVALENT: " equivalent",
    Verdict.UNDECIDED: "",
}
"""What follows an interval in a table of many, where most verdicts are undecided."""


def with_interval(gain: JudgedGain, margin: float = 0.0) -> str:
    """A gain as people read it, as in `+1.3 [+0.2, +2.4]`."""
    return points_with_interval(gain.points, gain.low, gain.high, margin)


def points_with_interval(
    gain: float, low: float | None, high: float | None, margin: float = 0.0
) -> str:
    """A gain in points and its interval, whose ends are None or NaN where there is none."""
    if low is None or high is None or math.isnan(low):
        return f"{in_points(gain)} (no interval)"
    return f"{in_points(gain)} {interval_in_words(low, high, margin)}"


def interval_in_words(low: float, high: float, margin: float = 0.0) -> str:
    """An interval in points, as in `[+0.2, +2.4]`.

    An end has as many decimals as show on which side of 0 and of the margin it lies, so that no
    words beside it contradict it.
    """
    marks = (0.0, margin, -margin)
    return f"[{_end(low, marks)}, {_end(high, marks)}]"


def _end(value: float, marks: Sequence[float]) -> str:
    def sides(of: float) -> list[int]:
        return [(of > mark) - (of < mark) for mark in marks]

    for decimals in (1, 2, 3):
        if sides(round(value, decimals)) == sides(value):
            return f"{round(value, decimals) + 0.0:+.{decimals}f}"
    return f"{value:+.2g}"


def cell_rows(verdicts: Verdicts, trials: Sequence[int], margin: float) -> list[list[str]]:
    """A row for every target task and language: its examples, each recipe's gain and verdict.

    Of several target tasks each has a row of its own, over all its languages.
    """
    of_tasks = [(x.task, "", x.trial, x.gain) for x in verdicts.tasks]
    of_cells = [(x.task, x.language, x.trial, x.gain) for x in verdicts.cells]
    gains = {(task, language, trial): g for task, language, trial, g in of_tasks + of_cells}
    rows = []
    for task, language in sorted(dict.fromkeys((x[0], x[1]) for x in gains)):
        of_row = [gains[task, language, trial] for trial in trials]
        shown = [with_interval(gain, margin) + _MARKS[gain.verdict] for gain in of_row]
        rows.append([task, language or "all", str(of_row[0].examples), *shown])
    return rows


def verdict_line(verdict: RecipeVerdict, name: str, margin: float) -> str:
    """The verdict on a whole recipe in a sentence."""
    return gain_line(verdict.gain, name, margin)


def gain_line(gain: JudgedGain, name: str, margin: float) -> str:
    """The verdict on a gain in a sentence; of an undecided one what it would take to know."""
    words = {
        Verdict.HELPS: "helps",
        Verdict.HURTS: "hurts",
        Verdict.EQUIVALENT: f"is equivalent to none within {margin:g} points",
        Verdict.UNDECIDED: "is undecided",
    }
    line = f"{name} {words[gain.verdict]}: {with_interval(gain, margin)} points"
    facts = [_counted(gain.seeds, "seed"), f"{gain.examples:,} examples"]
    if gain.verdict is Verdict.UNDECIDED:
        facts += [f"minimum detectable gain {detectable_in_words(gain)} at 80 % power"]
    return f"{line} ({', '.join(facts)})"


def detectable_in_words(gain: JudgedGain) -> str:
    """As in `2.4 points`; no gain is above 100."""
    if gain.detectable is None:
        return f"unknown: {_counted(gain.seeds, 'seed')} cannot tell any gain"
    return f"{gain.detectable:.1f} points"


def needed_line(gain: JudgedGain, seconds_a_seed: float | None) -> str:
    """What it would take to know of an undecided gain; empty of others."""
    if gain.verdict is not Verdict.UNDECIDED:
        return ""
    if gain.needed is None:
        return (
            "no number of seeds below 200 would decide a gain of this size: it takes more test "
            "examples, or a wider margin"
        )
    hours = f", about {in_hours(gain.needed * seconds_a_seed)}" if seconds_a_seed else ""
    return f"a gain of this size would take about {_counted(gain.needed, 'fresh seed')}{hours}"


def parts_line(verdicts: Verdicts, paired: Verdicts, trial: int, margin: float) -> str:
    """How much of a gain is the intermediate task itself, and how much the target stage."""
    gain, itself = verdicts.gain_of(trial), paired.gain_of(trial)
    if gain is None or itself is None:
        return ""
    word = "" if itself.verdict is Verdict.UNDECIDED else f", which {_itself_word(itself)}"
    return (
        f"by the intermediate task itself {with_interval(itself, margin)}{word}; by its target "
        f"stage {in_points(gain.points - itself.points)}"
    )


def _itself_word(gain: JudgedGain) -> str:
    return "is equivalent to none" if gain.verdict is Verdict.EQUIVALENT else str(gain.verdict)


def confirmation_lines(look: Look, remarks: Sequence[str] = ()) -> list[str]:
    """A confirmation in words, its heading first; of one without a result, that it began.

    Args:
        look: The confirmation.
        remarks: What else is known of the test splits (`test_split_lines`).
    """
    when, plan, result = look.begun_at[:10], look.plan, look.result
    if result is None:
        return [f"confirmation begun on {when}, not finished: search.confirm goes on with it"]
    number = "" if look.number == 1 else f", look {look.number} at the test splits"
    seeds = plan.seeds[: result.seeds]
    head = (
        f"confirmed on {when}{number}: test splits, fresh seeds {_range(seeds)}, against "
        f"the best direct training"
    )
    note = aggregate_note(plan.aggregate, len({cell.task for cell in result.verdicts.cells}))
    further = [state_line(look, result), *([note] if note else []), *remarks]
    lines = [head]
    for verdict, below in verdict_sentences(look, result):
        lines += [f"  {verdict}", *(f"    {line}" for line in below)]
    return [*lines, *(f"  {line}" for line in further)]


def verdict_sentences(look: Look, result: ConfirmationResult) -> list[tuple[str, list[str]]]:
    """The verdict on each recipe of a confirmation, with what it consists of."""
    plan = look.plan
    sentences = []
    per_seed = plan.outlook.seconds[-1] / plan.looks[-1] if plan.outlook.seconds else None
    for x in result.verdicts.recipes:
        tasks = [t for t in result.verdicts.tasks if t.trial == x.trial]
        parts = parts_line(result.verdicts, result.paired, x.trial, plan.margin)
        needed = needed_line(x.gain, per_seed and per_seed / len(plan.recipes))
        below = [gain_line(t.gain, f"in {t.task}", plan.margin) for t in tasks]
        below += [line for line in (parts, needed) if line]
        sentences.append((verdict_line(x, plan.names[x.trial], plan.margin), below))
    return sentences


def state_line(look: Look, result: ConfirmationResult) -> str:
    """At which look it ended and why, what it took, and how much error it has spent."""
    plan, total = look.plan, len(look.plan.recipes)
    words = {
        "decided": f"all {total} decided" if total > 1 else "decided",
        "seeds": "all planned seeds used",
        "hours": "stopped by --gpu-hours: search.confirm goes on with it",
        "": "not finished: search.confirm goes on with it",
    }
    return (
        f"{result.seeds} of at most {plan.looks[-1]} seeds, {words[result.ended]}; confirming "
        f"took {in_hours(result.seconds)}; of {_percent(ALPHA)} error {_percent(look.spent)} is "
        f"spent"
    )


def error_left_line(left: float) -> str:
    """What another confirmation of the study may still spend."""
    if not left:
        return "no error is left for another look at these test splits"
    return f"another look (--again) has {_percent(left)} error left, of {_percent(ALPHA)}"


def outlook_lines(plan: ConfirmationPlan) -> list[str]:
    """What a plan can find and what it will take, before a test split is scored."""
    told, names = plan.outlook, ", ".join(plan.names.values())
    lines = [
        f"to confirm: {names}; looks after {looks_in_words(plan.looks)}, "
        f"margin {plan.margin:g} points, {_percent(plan.alpha)} error for all looks"
    ]
    if told.detectable:
        found = dict(zip(plan.looks, told.detectable, strict=True))
        ends = [
            f"{_at_most(found[seeds])} points after {_counted(seeds, 'seed')}"
            for seeds in dict.fromkeys((plan.looks[0], plan.looks[-1]))
        ]
        line = f"minimum detectable gain at 80 % power: {', '.join(ends)}"
        if told.half_width is not None:
            width = min(told.half_width, LARGEST)
            line += f"; interval of an idle recipe after the last: +-{width:.1f} points"
        lines.append(line)
    else:
        lines.append("what it can detect is not known: no recipe of the search has two seeds")
    if told.seconds:
        lines.append(
            f"about {in_hours(told.seconds[0])} to the first look, at most "
            f"{in_hours(told.seconds[-1])}, by what the search's stages took"
        )
    else:
        lines.append("how long it takes is not known: the search kept no costs of such stages")
    return lines


def progress_line(plan: ConfirmationPlan, result: ConfirmationResult) -> str:
    """What a look has found."""
    found = (f"{plan.names[x.trial]} {x.gain.verdict}" for x in result.verdicts.recipes)
    return f"after {_counted(result.seeds, 'seed')}: {', '.join(found)}"


def aggregate_note(aggregate: Aggregate, targets: int) -> str:
    """That verdicts are on the mean over target tasks, where the study goes by something else.

    A median or minimum over tasks is no sum of gains, so neither its variance nor its
    distribution is known.
    """
    if targets < 2 or aggregate is Aggregate.MEAN:
        return ""
    return (
        f"verdicts are on the mean gain over the {targets} target tasks, though the study chose "
        f"its recipes by the {aggregate}"
    )


def _range(seeds: Sequence[int]) -> str:
    return f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _at_most(points: float) -> str:
    return f"{points:.1f}" if points <= LARGEST else f"over {LARGEST:.0f}"


def looks_in_words(looks: Sequence[int]) -> str:
    """After how many seeds is looked, as in `each of 3 to 12 seeds, then 18, 20`."""
    run = next((i for i, seeds in enumerate(looks) if seeds != looks[0] + i), len(looks))
    if run < 3:
        return f"{', '.join(map(str, looks))} {'seed' if looks[-1] == 1 else 'seeds'}"
    rest = [f", then {', '.join(map(str, looks[run:]))}"] if run < len(looks) else []
    return "".join([f"each of {looks[0]} to {looks[run - 1]} seeds", *rest])


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
