"""Verdicts: what the scores of repeated recipes say of a gain, with interval and correction.

Two families are judged, each at half of the 5 %: the mean gain of every recipe, and every recipe
in every target task and language.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from rich.table import Table
from typing_extensions import TypedDict

from objectives.gains.intervals import (
    Judgement,
    PairedOutcomes,
    SeedGains,
    Verdict,
    estimate_gains,
    gains_of_outcomes,
    judge,
    mean_gains,
)
from objectives.gains.transfer_gain import TransferGain, in_points
from objectives.scores.outcomes import unpacked
from spaces.catalogue import Catalogue, Metric
from spaces.studies import Aggregate
from storage.ledger import Ledger
from storage.tables import Confirmation, PairedScore, ScorePlace

ALPHA = 0.05
Against = Literal["reference", "baseline"]
Cell = tuple[int, str, str]
"""Recipe (the number of its first trial), target task, language."""


class VerdictRow(TypedDict):
    """One gain that was judged, in JSON's types; points are percentage points.

    Attributes:
        trial: The number of the recipe's first trial.
        task: Target task; empty in the mean over all.
        language: Empty in the mean over all.
        verdict: helps, hurts or no reliable difference.
        gain: Points.
        low: Lower end of the 95 % interval of this gain alone; None where nothing is known.
        high: Upper end.
        p_value: Adjusted for the family; None with one seed.
        detectable: Points, the smallest gain that would have been found with 80 % power.
        seeds: How many.
        examples: How many were scored; 0 where only scores are kept.
        score: Percent.
        against: Percent, of what it is held against.
        family: How many gains were judged together.
        scope: To what the interval carries over.
    """

    trial: int
    task: str
    language: str
    verdict: str
    gain: float
    low: float | None
    high: float | None
    p_value: float | None
    detectable: float | None
    seeds: int
    examples: int
    score: float
    against: float
    family: int
    scope: str


def judge_gains(
    gains: Mapping[int, TransferGain],
    ledger: Ledger,
    catalogue: Catalogue,
    languages: Iterable[str],
    against: Against = "reference",
) -> list[VerdictRow]:
    """The verdicts on recipes: first on the mean of each, then on each language.

    Args:
        gains: Recipe -> its scores. All have the same target tasks and languages.
        ledger: Has the outcomes of the scores.
        catalogue: Its tasks; those that are translations of the same examples are resampled
            alike.
        languages: Those that count.
        against: What a recipe is held against: the reference baseline (in a confirmation the
            tuned one), or its own.

    Raises:
        DataError: Scores of one cell are of different examples.
    """
    wanted = frozenset(languages)
    pairs: dict[Cell, list[PairedScore]] = {}
    for trial, gain in gains.items():
        for pair in gain.pairs:
            if pair.score.language in wanted:
                cell = trial, pair.score.task, pair.score.language
                pairs.setdefault(cell, []).append(pair)
    scores = [x for cell in pairs.values() for p in cell for x in (p.score, getattr(p, against))]
    outcomes = ledger.outcomes(scores)
    cells = gains_of_outcomes(
        {cell: _paired(cell, found, outcomes, catalogue, against) for cell, found in pairs.items()}
    )
    means = {
        trial: mean_gains([mean_gains(list(task.values())) for task in _by_task(cells, trial)])
        for trial in gains
    }
    judged_means = judge(estimate_gains(means), ALPHA / 2)
    judged_cells = judge(estimate_gains(cells, lambda cell: cell[1]), ALPHA / 2)
    rows = []
    for trial, judgement in judged_means.items():
        mine = [found for cell, found in pairs.items() if cell[0] == trial]
        rows.append(_row((trial, "", ""), judgement, mine, against))
    for cell, judgement in judged_cells.items():
        rows.append(_row(cell, judgement, [pairs[cell]], against))
    return rows


def _paired(
    cell: Cell,
    pairs: Sequence[PairedScore],
    outcomes: Mapping[ScorePlace, bytes],
    catalogue: Catalogue,
    against: Against,
) -> PairedOutcomes:
    _, task, language = cell
    sample = f"{task} {language}"
    if catalogue[task].parallel:
        sample = f"{task} {pairs[0].score.examples}"
    return PairedOutcomes(
        metric=Metric(pairs[0].score.metric),
        seeds=tuple(pair.seed for pair in pairs),
        outcomes=tuple(unpacked(outcomes[pair.score.place]) for pair in pairs),
        baselines=tuple(unpacked(outcomes[getattr(pair, against).place]) for pair in pairs),
        sample=sample,
    )


def _by_task(cells: Mapping[Cell, SeedGains], trial: int) -> list[dict[str, SeedGains]]:
    tasks: dict[str, dict[str, SeedGains]] = {}
    for (number, task, language), gains in cells.items():
        if number == trial:
            tasks.setdefault(task, {})[language] = gains
    return list(tasks.values())


def _row(
    cell: Cell, judgement: Judgement, parts: Sequence[Sequence[PairedScore]], against: Against
) -> VerdictRow:
    estimate = judgement.estimate
    low, high = estimate.interval or (None, None)
    means: dict[str, list[tuple[float, float]]] = {}
    for pairs in parts:
        own = sum(pair.score.score for pair in pairs) / len(pairs)
        other = sum(getattr(pair, against).score for pair in pairs) / len(pairs)
        means.setdefault(pairs[0].score.task, []).append((own, other))
    by_task = [
        [sum(side) / len(found) for side in zip(*found, strict=True)] for found in means.values()
    ]
    own, other = (sum(side) / len(by_task) for side in zip(*by_task, strict=True))
    return VerdictRow(
        trial=cell[0],
        task=cell[1],
        language=cell[2],
        verdict=str(judgement.verdict),
        gain=estimate.gain,
        low=low,
        high=high,
        p_value=judgement.adjusted_p_value,
        detectable=judgement.detectable,
        seeds=estimate.seeds,
        examples=estimate.examples,
        score=100 * own,
        against=100 * other,
        family=judgement.family,
        scope=estimate.scope,
    )


# --- for people


def with_interval(row: VerdictRow) -> str:
    """A gain as people read it, as in `+1.3 [+0.2, +2.4]`."""
    if row["low"] is None or row["high"] is None:
        return f"{in_points(row['gain'])} (no interval)"
    return f"{in_points(row['gain'])} [{in_points(row['low'])}, {in_points(row['high'])}]"


def means(rows: Iterable[VerdictRow]) -> list[VerdictRow]:
    """The verdicts on whole recipes."""
    return [row for row in rows if not row["task"]]


def verdict_line(row: VerdictRow, name: str) -> str:
    """One recipe's verdict in a sentence."""
    words = {
        Verdict.HELPS: "helps",
        Verdict.HURTS: "hurts",
        Verdict.UNDECIDED: "makes no reliable difference",
    }
    line = f"{name} {words[Verdict(row['verdict'])]}: {with_interval(row)} points"
    n = f"{row['seeds']} seeds, {row['examples']:,} examples"
    if row["verdict"] == Verdict.UNDECIDED and row["detectable"] is not None:
        return f"{line} ({n}; from {row['detectable']:.1f} points on it would have been found)"
    return f"{line} ({n})"


def cells_table(rows: Sequence[VerdictRow], names: Mapping[int, str], title: str) -> Table:
    """Every target task and language: the gain of each recipe, its interval and its verdict."""
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("target task")
    table.add_column("language")
    table.add_column("examples", justify="right")
    for name in names.values():
        table.add_column(name, justify="right")
    marks = {Verdict.HELPS: " helps", Verdict.HURTS: " hurts", Verdict.UNDECIDED: ""}
    cells = {(row["trial"], row["task"], row["language"]): row for row in rows if row["task"]}
    for task, language in dict.fromkeys((task, language) for _, task, language in cells):
        found = [cells[trial, task, language] for trial in names]
        table.add_row(
            task,
            language,
            str(found[0]["examples"]),
            *(with_interval(row) + marks[Verdict(row["verdict"])] for row in found),
        )
    table.caption = "95 % intervals, each by itself; a verdict is corrected for all of the table"
    return table


def confirmation_lines(confirmation: Confirmation) -> list[str]:
    """A confirmation that is done, in words; of one that is not, that it was begun."""
    when = confirmation.begun_at[:10]
    if confirmation.result is None:
        return [f"confirmation begun on {when}, not finished: run the same command again"]
    plan, rows = confirmation.plan, confirmation.result["verdicts"]
    names = recipe_names(plan)
    look = "" if confirmation.look == 1 else f", look {confirmation.look} at the test splits"
    head = (
        f"confirmed on {when}{look}: test splits, fresh seeds {_range(plan['seeds'])}, against "
        f"the tuned baseline of trial {plan['baseline_trial']}"
    )
    lines = [head, *(f"  {verdict_line(row, names[row['trial']])}" for row in means(rows))]
    targets = len({row["task"] for row in rows if row["task"]})
    note = aggregate_note(plan.get("aggregate", Aggregate.MEAN), targets)
    return [*lines, f"  {note}"] if note else lines


def aggregate_note(aggregate: str, targets: int) -> str:
    """That verdicts are on the mean over target tasks, where the study goes by something else.

    A median or minimum over tasks is no sum of gains, so neither its variance nor its
    distribution is known.

    Args:
        aggregate: `target.aggregate` of the study.
        targets: How many target tasks it has.
    """
    if targets < 2 or aggregate == Aggregate.MEAN:
        return ""
    return (
        f"verdicts are on the mean gain over the {targets} target tasks, though the study chose "
        f"its recipes by the {aggregate}"
    )


def recipe_names(plan: Mapping[str, Any]) -> dict[int, str]:
    """The recipes of a confirmation's plan: trial number -> name for people."""
    return {int(x["trial"]): f"trial {x['trial']} ({x['name']})" for x in plan["recipes"]}


def _range(seeds: Sequence[int]) -> str:
    return f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
