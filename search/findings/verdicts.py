"""Verdicts as values: on recipes, on recipes in a target task, and in one of its languages.

They are made in `search.findings.judging`, and put in words in `search.findings.verdict_words`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from objectives.gains.rules import Verdict


@dataclass(frozen=True)
class JudgedGain:
    """What may be said of one gain; points are percentage points.

    Attributes:
        verdict: Whether it helps, hurts, is equivalent to none, or is undecided.
        points: The gain, the mean over seeds.
        low: Lower end of its interval at the level of the verdict, points; None where nothing is
            known.
        high: Upper end of that interval.
        p_value: Two-sided, corrected for looks and family (Holm); None with one seed.
        detectable: Minimum detectable gain at 80 % power, points; None with one seed, and above
            100 points.
        seeds: Number of seeds.
        examples: Number of examples scored; 0 where only scores are kept.
        score: Mean score of the recipe, percent.
        against: Mean score of what the recipe is held against, percent.
        family: Number of gains judged together.
        scope: The population that the interval generalises to.
        needed: Seeds of a new confirmation with one look that would probably decide a gain of
            this size; None where it is decided, or where the examples leave it open with any
            number of seeds.
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
    needed: int | None = None

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
class TaskVerdict:
    """The verdict on a recipe in one target task: on the mean gain over its languages.

    Attributes:
        trial: Number of the recipe's first trial.
        task: Target task.
        gain: Mean over its languages.
    """

    trial: int
    task: str
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
    """Families of verdicts on the same recipes, each corrected by itself.

    Attributes:
        recipes: One per recipe.
        cells: One per recipe, target task and language.
        tasks: One per recipe and target task; empty where there is one target task, as it is that
            on the recipe then.
    """

    recipes: tuple[RecipeVerdict, ...] = ()
    cells: tuple[CellVerdict, ...] = ()
    tasks: tuple[TaskVerdict, ...] = ()

    def as_json(self) -> list[dict[str, Any]]:
        """One flat row per verdict; those on whole recipes come first, without task and language.

        Storage, `report.json` and `recipe.json` keep verdicts in this form. Those on target tasks
        have no language.
        """
        whole = [(x.trial, "", "", x.gain) for x in self.recipes]
        tasks = [(x.trial, x.task, "", x.gain) for x in self.tasks]
        cells = [(x.trial, x.task, x.language, x.gain) for x in self.cells]
        return [
            {"trial": trial, "task": task, "language": language, **gain.as_json()}
            for trial, task, language, gain in whole + tasks + cells
        ]

    @classmethod
    def from_json(cls, rows: Iterable[Mapping[str, Any]]) -> Verdicts:
        """The verdicts that `as_json` made rows of."""
        recipes, tasks, cells = [], [], []
        for row in rows:
            gain = JudgedGain.from_json(row)
            if row["language"]:
                cells.append(CellVerdict(row["trial"], row["task"], row["language"], gain))
            elif row["task"]:
                tasks.append(TaskVerdict(row["trial"], row["task"], gain))
            else:
                recipes.append(RecipeVerdict(row["trial"], gain))
        return cls(tuple(recipes), tuple(cells), tuple(tasks))

    def of_trial(self, trial: int) -> Verdicts:
        """Those on one recipe."""
        return Verdicts(
            tuple(x for x in self.recipes if x.trial == trial),
            tuple(x for x in self.cells if x.trial == trial),
            tuple(x for x in self.tasks if x.trial == trial),
        )

    def gain_of(self, trial: int, task: str = "", language: str = "") -> JudgedGain | None:
        """The gain of a recipe, of it in a target task, or in one of its languages."""
        places = {
            **{(x.trial, "", ""): x.gain for x in self.recipes},
            **{(x.trial, x.task, ""): x.gain for x in self.tasks},
            **{(x.trial, x.task, x.language): x.gain for x in self.cells},
        }
        return places.get((trial, task, language))


NO_VERDICTS = Verdicts()
