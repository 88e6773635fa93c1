"""Judging: what the scores of repeated recipes say of a gain, with interval and correction.

Families are judged one by one: the mean gain of every recipe at half of the error, and at the
other half every recipe in every target task and language; of several target tasks every recipe in
each has half of that. What the intermediate task itself does is judged beside it in the same way:
it explains a gain, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from objectives.gains.intervals import GainEstimate, Judgement, estimate_gains, judge
from objectives.gains.rules import Rules, Verdict
from objectives.gains.seed_gains import PairedOutcomes, gains_of_outcomes, mean_gains
from objectives.gains.sequential import Stage, seeds_to_decide
from objectives.gains.transfer_gain import TransferGain
from objectives.scores.outcomes import unpacked
from search.findings.verdicts import CellVerdict, JudgedGain, RecipeVerdict, TaskVerdict, Verdicts
from spaces.catalogue import Catalogue
from spaces.task import Metric
from storage.ledger import Ledger
from storage.tables import PairedScore, ScorePlace

Against = Literal["reference", "baseline"]
Cell = tuple[int, str, str]
"""Number of a recipe's first trial, target task, language (ISO 639-3)."""
Name = TypeVar("Name", int, tuple[int, str], Cell)


@dataclass(frozen=True)
class Estimated:
    """An estimate, and the mean scores behind it.

    Attributes:
        estimate: Of the gain.
        score: Mean score of the recipe, percent.
        against: Mean score of what it is held against, percent.
    """

    estimate: GainEstimate
    score: float
    against: float


@dataclass(frozen=True)
class Estimates:
    """All estimates of one look, before any is judged.

    Attributes:
        recipes: Number of a recipe's first trial -> its mean gain.
        tasks: That and a target task -> the recipe's gain in it.
        cells: That and a language -> the gain in it.
    """

    recipes: Mapping[int, Estimated] = field(default_factory=dict)
    tasks: Mapping[tuple[int, str], Estimated] = field(default_factory=dict)
    cells: Mapping[Cell, Estimated] = field(default_factory=dict)

    def with_kept(self, earlier: Estimates, trials: Collection[int]) -> Estimates:
        """These, but of recipes that were dropped at an earlier look what was found there.

        What is found of the others later would move them, as variances are drawn together.
        """
        return Estimates(
            {**self.recipes, **{x: e for x, e in earlier.recipes.items() if x in trials}},
            {**self.tasks, **{x: e for x, e in earlier.tasks.items() if x[0] in trials}},
            {**self.cells, **{x: e for x, e in earlier.cells.items() if x[0] in trials}},
        )


def estimate_recipes(
    gains: Mapping[int, TransferGain],
    ledger: Ledger,
    catalogue: Catalogue,
    languages: Iterable[str],
    against: Against = "reference",
) -> Estimates:
    """The estimates of recipes: of the mean gain of each, and in each target task and language.

    Args:
        gains: Number of a recipe's first trial -> its scores. All have the same target tasks and
            languages.
        ledger: Where the outcomes of the scores, example by example, are kept.
        catalogue: The study's tasks; languages of a task whose texts are translations of the same
            examples are resampled alike.
        languages: Languages (ISO 639-3) whose gains count (`Standings.judged_on`).
        against: What a recipe is held against: the reference baseline (in a confirmation the
            tuned one), or the recipe's own.

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
        {
            cell: _paired(cell, of_cell, outcomes, catalogue, against)
            for cell, of_cell in pairs.items()
        }
    )
    tasks = {
        place: mean_gains([gain for cell, gain in cells.items() if cell[:2] == place])
        for place in dict.fromkeys((trial, task) for trial, task, _ in cells)
    }
    means = {
        trial: mean_gains([gain for place, gain in tasks.items() if place[0] == trial])
        for trial in gains
    }

    def scored(name: Sequence[Any], estimate: GainEstimate) -> Estimated:
        of_name = [pairs[x] for x in pairs if x[: len(name)] == name]
        return Estimated(estimate, *_scores(of_name, against))

    return Estimates(
        {x: scored((x,), e) for x, e in estimate_gains(means).items()},
        {x: scored(x, e) for x, e in estimate_gains(tasks, lambda x: x[1]).items()},
        {x: scored(x, e) for x, e in estimate_gains(cells, lambda x: x[1]).items()},
    )


def judge_estimates(estimates: Estimates, rules: Rules) -> Verdicts:
    """The verdicts on recipes at a look, family by family."""
    several = len({task for _, task in estimates.tasks}) > 1
    rest = rules.alpha / (4 if several else 2)
    recipes = _family(estimates.recipes, rules.alpha / 2, rules)
    cells = _family(estimates.cells, rest, rules)
    tasks = _family(estimates.tasks, rest, rules) if several else {}
    return Verdicts(
        tuple(RecipeVerdict(trial, gain) for trial, gain in recipes.items()),
        tuple(CellVerdict(*cell, gain) for cell, gain in cells.items()),
        tuple(TaskVerdict(*place, gain) for place, gain in tasks.items()),
    )


def _family(
    family: Mapping[Name, Estimated], alpha: float, rules: Rules
) -> dict[Name, JudgedGain]:
    estimates = {name: x.estimate for name, x in family.items()}
    stages = {
        name: Stage(rules.looks, rules.looks.index(estimate.seeds))
        for name, estimate in estimates.items()
    }
    judged = judge(estimates, alpha, stages, rules.margin)
    return {name: _judged(judged[name], x, rules.margin, alpha) for name, x in family.items()}


def _paired(
    cell: Cell,
    pairs: Sequence[PairedScore],
    outcomes: Mapping[ScorePlace, bytes],
    catalogue: Catalogue,
    against: Against,
) -> PairedOutcomes:
    _, task, language = cell
    own = [unpacked(outcomes[pair.score.place]) for pair in pairs]
    other = [unpacked(outcomes[getattr(pair, against).place]) for pair in pairs]
    sample = f"{task} {language}"
    if catalogue[task].parallel:
        sample = f"{task} {pairs[0].score.examples}"
    return PairedOutcomes(
        metric=Metric(pairs[0].score.metric),
        seeds=tuple(pair.seed for pair in pairs),
        outcomes=tuple(x for x, _ in own),
        baselines=tuple(x for x, _ in other),
        sample=sample,
        groups=own[0][1],
    )


def _scores(parts: Sequence[Sequence[PairedScore]], against: Against) -> tuple[float, float]:
    """Mean scores of a recipe and of what it is held against over cells, in percent."""
    means: dict[str, list[tuple[float, float]]] = {}
    for pairs in parts:
        own = sum(pair.score.score for pair in pairs) / len(pairs)
        other = sum(getattr(pair, against).score for pair in pairs) / len(pairs)
        means.setdefault(pairs[0].score.task, []).append((own, other))
    by_task = [
        [sum(side) / len(of_task) for side in zip(*of_task, strict=True)]
        for of_task in means.values()
    ]
    own, other = (100 * sum(side) / len(by_task) for side in zip(*by_task, strict=True))
    return own, other


def _judged(judgement: Judgement, known: Estimated, margin: float, alpha: float) -> JudgedGain:
    estimate = judgement.estimate
    low, high = judgement.interval or (None, None)
    needed = None
    if judgement.verdict is Verdict.UNDECIDED and estimate.p_value is not None:
        distance = abs(estimate.gain)
        needed = seeds_to_decide(
            max(distance, margin - distance),
            alpha / judgement.family,
            (estimate.seeds_variance or 0.0) * estimate.seeds,
            estimate.examples_variance or 0.0,
        )
    return JudgedGain(
        verdict=judgement.verdict,
        points=estimate.gain,
        low=low,
        high=high,
        p_value=judgement.adjusted_p_value,
        detectable=judgement.detectable,
        seeds=estimate.seeds,
        examples=estimate.examples,
        score=known.score,
        against=known.against,
        family=judgement.family,
        scope=estimate.scope,
        needed=needed,
    )
