"""Verdicts: what the scores of repeated recipes say of a gain, with interval and correction.

Two families are judged, each at half of the 5 %: the mean gain of every recipe, and every recipe
in every target task and language.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from objectives.gains.intervals import Judgement, Verdict, estimate_gains, judge
from objectives.gains.seed_gains import PairedOutcomes, SeedGains, gains_of_outcomes, mean_gains
from objectives.gains.transfer_gain import TransferGain
from objectives.scores.outcomes import unpacked
from spaces.catalogue import Catalogue
from spaces.task import Metric
from storage.ledger import Ledger
from storage.tables import PairedScore, ScorePlace

ALPHA = 0.05
Against = Literal["reference", "baseline"]
Cell = tuple[int, str, str]
"""Number of a recipe's first trial, target task, language (ISO 639-3)."""


@dataclass(frozen=True)
class JudgedGain:
    """What may be said of one gain; points are percentage points.

    Attributes:
        verdict: Whether it helps, hurts, or makes no reliable difference.
        points: The gain, the mean over seeds.
        low: Lower end of its own 95 % interval, points; None where nothing is known.
        high: Upper end of that interval.
        p_value: Two-sided, corrected for the family (Holm); None with one seed.
        detectable: Minimum detectable effect at 80 % power, points; None with one seed.
        seeds: Number of seeds.
        examples: Number of examples scored; 0 where only scores are kept.
        score: Mean score of the recipe, percent.
        against: Mean score of what the recipe is held against, percent.
        family: Number of gains judged together.
        scope: The population that the interval generalises to.
    """

    verdict: Verdict
    points: float
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

    def as_json(self) -> dict[str, Any]:
        """In JSON's types, by the names that storage and `report.json` have for them."""
        values = {**asdict(self), "verdict": str(self.verdict)}
        return {("gain" if name == "points" else name): value for name, value in values.items()}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> JudgedGain:
        """The gain of a row that has the fields of `as_json`, others among them."""
        names = [field.name for field in fields(cls) if field.name not in {"verdict", "points"}]
        rest = {name: row[name] for name in names}
        return cls(verdict=Verdict(row["verdict"]), points=row["gain"], **rest)


@dataclass(frozen=True)
class RecipeVerdict:
    """The verdict on a whole recipe: on its mean gain over all target tasks.

    Attributes:
        trial: Number of the recipe's first trial.
        gain: Mean over target tasks, each the mean over its languages.
    """

    trial: int
    gain: JudgedGain


@dataclass(frozen=True)
class CellVerdict:
    """The verdict on a recipe in one target task and language.

    Attributes:
        trial: Number of the recipe's first trial.
        task: Target task.
        language: ISO 639-3.
        gain: On the examples of that language.
    """

    trial: int
    task: str
    language: str
    gain: JudgedGain


@dataclass(frozen=True)
class Verdicts:
    """Two families of verdicts on the same recipes, each corrected by itself.

    Attributes:
        recipes: One per recipe.
        cells: One per recipe, target task and language.
    """

    recipes: tuple[RecipeVerdict, ...] = ()
    cells: tuple[CellVerdict, ...] = ()

    def as_json(self) -> list[dict[str, Any]]:
        """One flat row per verdict; those on whole recipes come first, without task and language.

        Storage, `report.json` and `recipe.json` keep verdicts in this form.
        """
        whole = [(x.trial, "", "", x.gain) for x in self.recipes]
        cells = [(x.trial, x.task, x.language, x.gain) for x in self.cells]
        return [
            {"trial": trial, "task": task, "language": language, **gain.as_json()}
            for trial, task, language, gain in whole + cells
        ]

    @classmethod
    def from_json(cls, rows: Iterable[Mapping[str, Any]]) -> Verdicts:
        """The verdicts that `as_json` made rows of."""
        recipes, cells = [], []
        for row in rows:
            gain = JudgedGain.from_json(row)
            if row["task"]:
                cells.append(CellVerdict(row["trial"], row["task"], row["language"], gain))
            else:
                recipes.append(RecipeVerdict(row["trial"], gain))
        return cls(tuple(recipes), tuple(cells))

    def of_trial(self, trial: int) -> Verdicts:
        """Those on one recipe."""
        return Verdicts(
            tuple(x for x in self.recipes if x.trial == trial),
            tuple(x for x in self.cells if x.trial == trial),
        )


NO_VERDICTS = Verdicts()


def judge_gains(
    gains: Mapping[int, TransferGain],
    ledger: Ledger,
    catalogue: Catalogue,
    languages: Iterable[str],
    against: Against = "reference",
) -> Verdicts:
    """The verdicts on recipes: on the mean gain of each, and on each target task and language.

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
    means = {
        trial: mean_gains([mean_gains(of_task) for of_task in _by_task(cells, trial)])
        for trial in gains
    }
    judged_means = judge(estimate_gains(means), ALPHA / 2)
    judged_cells = judge(estimate_gains(cells, lambda cell: cell[1]), ALPHA / 2)
    return Verdicts(
        tuple(
            RecipeVerdict(
                trial, _judged(judgement, [pairs[x] for x in pairs if x[0] == trial], against)
            )
            for trial, judgement in judged_means.items()
        ),
        tuple(
            CellVerdict(*cell, _judged(judgement, [pairs[cell]], against))
            for cell, judgement in judged_cells.items()
        ),
    )


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


def _by_task(cells: Mapping[Cell, SeedGains], trial: int) -> list[list[SeedGains]]:
    tasks: dict[str, list[SeedGains]] = {}
    for (number, task, _), gains in cells.items():
        if number == trial:
            tasks.setdefault(task, []).append(gains)
    return list(tasks.values())


def _judged(
    judgement: Judgement, parts: Sequence[Sequence[PairedScore]], against: Against
) -> JudgedGain:
    estimate = judgement.estimate
    low, high = estimate.interval or (None, None)
    means: dict[str, list[tuple[float, float]]] = {}
    for pairs in parts:
        own = sum(pair.score.score for pair in pairs) / len(pairs)
        other = sum(getattr(pair, against).score for pair in pairs) / len(pairs)
        means.setdefault(pairs[0].score.task, []).append((own, other))
    by_task = [
        [sum(side) / len(of_task) for side in zip(*of_task, strict=True)]
        for of_task in means.values()
    ]
    own, other = (sum(side) / len(by_task) for side in zip(*by_task, strict=True))
    return JudgedGain(
        verdict=judgement.verdict,
        points=estimate.gain,
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
