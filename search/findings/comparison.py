"""Two studies of one storage side by side: what differs, what either found, what either cost.

Gains are percentage points over each study's own best direct training, on its own target
languages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from objectives.gains.rules import Verdict
from search.findings.answer import ArmFinding, answer_of
from search.findings.missing_rows import missing_lines
from search.findings.recommendation import RecipeEvidence, best_confirmed, best_of_search
from search.findings.stage_costs import study_cost
from search.findings.standings import judged_languages
from search.findings.test_splits import test_split_lines
from search.findings.verdicts import JudgedGain
from search.studies.stored_study import StoredStudy, open_stored_study
from spaces.errors import SpecError

T = TypeVar("T")
Both = tuple[T, T]
"""One of each study, in the order given."""


@dataclass(frozen=True)
class ComparedStudy:
    """What a study is about.

    Attributes:
        name: Name in the storage.
        question: The question of its file.
        pocket: Whether its figures are of the pocket corpora, and must be named so.
    """

    name: str
    question: str
    pocket: bool


@dataclass(frozen=True)
class ComparedArm:
    """What a study's search found in one arm, on validation splits.

    Attributes:
        tried: Number of its intermediate tasks that were tried.
        tasks: Number of its intermediate tasks.
        gain: Gain of its recommended recipe; None while it has none.
        low: Lower end of its 95 % interval.
        high: Upper end of it.
        trial: Number of that recipe's first trial; None while it has none.
        best: Intermediate task of that recipe; empty while it has none.
    """

    tried: int
    tasks: int
    gain: float | None
    low: float | None
    high: float | None
    trial: int | None
    best: str


@dataclass(frozen=True)
class ComparedGain:
    """A gain, and its verdict where it may be given; the fields are those of a `JudgedGain`.

    Attributes:
        verdict: None where nothing is confirmed: a verdict by the scores that a recipe was chosen
            by says nothing.
    """

    gain: float
    low: float | None
    high: float | None
    seeds: int
    examples: int
    score: float
    against: float
    verdict: Verdict | None

    @classmethod
    def of(cls, judged: JudgedGain, is_confirmed: bool) -> ComparedGain:
        """A judged gain without what makes sense within its own study alone."""
        fields_of_it = judged.as_json() | {"verdict": judged.verdict if is_confirmed else None}
        return cls(**{field.name: fields_of_it[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class BestRecipe:
    """The best recipe of a study.

    Attributes:
        trial: Number of its first trial.
        recipe: Its choices, in words.
        split: Split that its gain is of: test where both studies are confirmed, else validation.
        confirmed: Whether a confirmation found the gain.
        gain: Its gain over all target tasks.
        itself: How much of it is the intermediate task itself, percentage points, by the
            confirmation; None before there is one.
        margin: Points below which its gain counts as none; 0 before a confirmation.
        test_splits: What else was seen of the study's test splits, which other studies have them,
            and what error is left, in words; empty before a confirmation.
    """

    trial: int
    recipe: str
    split: str
    confirmed: bool
    gain: ComparedGain
    itself: float | None
    margin: float
    test_splits: tuple[str, ...]


@dataclass(frozen=True)
class ComparedCell:
    """The best recipes' gains in a target task and language that both studies have.

    Attributes:
        task: Target task.
        language: ISO 639-3.
        gains: Gain of either best recipe.
        difference: The second gain less the first, percentage points.
    """

    task: str
    language: str
    gains: Both[ComparedGain]
    difference: float


@dataclass(frozen=True)
class ComparedCost:
    """What a study cost.

    Attributes:
        complete_trials: Number of complete trials.
        updates_trained: Optimizer steps that these trained.
        seconds_trained: Wall seconds of training and scoring.
        seconds_asked_for: Wall seconds, had trials shared nothing.
        seconds_elsewhere: Wall seconds of trials that did not complete.
    """

    complete_trials: int
    updates_trained: int
    seconds_trained: float
    seconds_asked_for: float
    seconds_elsewhere: float


@dataclass(frozen=True)
class StudyComparison:
    """Two studies side by side.

    Attributes:
        studies: What they are about.
        warnings: Why they cannot be compared, or only in part.
        differences: Dotted name of a field that defines a study -> its two values.
        arms: Arm -> what either search found in it; None where a study has not the arm.
        best: Their best recipes.
        languages: Those recipes' gains in each target task and language that both studies have.
        cost: What either cost.
    """

    studies: Both[ComparedStudy]
    warnings: tuple[str, ...]
    differences: Mapping[str, Both[Any]]
    arms: Mapping[str, Both[ComparedArm | None]]
    best: Both[BestRecipe]
    languages: tuple[ComparedCell, ...]
    cost: Both[ComparedCost]

    def as_json(self) -> dict[str, Any]:
        """In JSON's types, pairs as lists of two, a best recipe's gain beside its other fields."""
        plain = asdict(self)
        for best in plain["best"]:
            best |= best.pop("gain")
        return plain


def compare_stored(storage: str, names: Both[str]) -> StudyComparison:
    """Two studies of a storage side by side.

    Raises:
        UnknownNameError: The storage has no such study.
        SpecError: Both names are of the same study.
        StorageError: A study has no complete trial.
    """
    first, second = (open_stored_study(storage, name) for name in names)
    if first.name == second.name:
        raise SpecError("compare", "two studies", f"{first.name!r} twice")
    return compare_studies(first, second)


def compare_studies(first: StoredStudy, second: StoredStudy) -> StudyComparison:
    """Two studies side by side.

    Gains are those of test splits where both are confirmed, else those that the searches saw.

    Raises:
        StorageError: A study has no complete trial.
    """
    warnings = [
        f"{study.name}: {line}"
        for study in (first, second)
        for line in missing_lines(study.name, study.storage)
    ]
    warnings += _warnings(first, second)
    confirmed = best_confirmed(first), best_confirmed(second)
    if confirmed[0] is not None and confirmed[1] is not None:
        best = confirmed[0], confirmed[1]
    else:
        best = best_of_search(first), best_of_search(second)
        if any(confirmed):
            warnings.append("only one of them is confirmed, so both gains are those of the search")
    arms = _arms(first), _arms(second)
    mine, theirs = _defining(first), _defining(second)
    return StudyComparison(
        studies=(
            ComparedStudy(first.name, first.spec.question, first.is_pocket),
            ComparedStudy(second.name, second.spec.question, second.is_pocket),
        ),
        warnings=tuple(warnings),
        differences={
            name: (mine.get(name), theirs.get(name))
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name) != theirs.get(name)
        },
        arms={name: (arms[0].get(name), arms[1].get(name)) for name in {**arms[0], **arms[1]}},
        best=(_best(first, best[0]), _best(second, best[1])),
        languages=_languages(*best),
        cost=(_cost(first), _cost(second)),
    )


def _warnings(first: StoredStudy, second: StoredStudy) -> list[str]:
    warnings = []
    if first.is_pocket != second.is_pocket:
        warnings.append("one is of the pocket corpora, the other of real ones")
    mine, theirs = (set(study.spec.target.tasks) for study in (first, second))
    if mine != theirs:
        warnings.append(
            f"their target tasks differ ({', '.join(sorted(mine))}; "
            f"{', '.join(sorted(theirs))}), so that gains of all together do not compare"
        )
    for name in sorted(mine & theirs):
        metrics = [str(study.catalogue[name].metric) for study in (first, second)]
        if metrics[0] != metrics[1]:
            warnings.append(f"{name} is scored by {metrics[0]} and by {metrics[1]}")
    corpora = [study.definition.corpora for study in (first, second)]
    shared = corpora[0].keys() & corpora[1].keys()
    if others := sorted(name for name in shared if corpora[0][name] != corpora[1][name]):
        have = "split has" if len(others) == 1 else "splits have"
        more = ", ..." * (len(others) > 3)
        warnings.append(f"{len(others)} {have} other content ({', '.join(others[:3])}{more})")
    judged = [judged_languages(study.spec, study.catalogue) for study in (first, second)]
    if mine & theirs and not judged[0] & judged[1]:
        warnings.append("they have no target language in common")
    return warnings


def _defining(study: StoredStudy) -> dict[str, Any]:
    """Dotted names of what defines a study, as far as people chose it."""
    definition = study.definition
    fields = _flat(definition.spec)
    fields["backbone"] = list(study.spec.backbone)
    fields["encoders"] = sorted(key[:8] for key in definition.backbones.values())
    fields["data"] = definition.source
    fields["precision"] = definition.precision
    return fields


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        flat |= (
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return flat


def _arms(study: StoredStudy) -> dict[str, ComparedArm]:
    found = answer_of(study)
    return {} if found is None else {arm: _arm(x) for arm, x in found.arms.items()}


def _arm(finding: ArmFinding) -> ComparedArm:
    known, recipe = finding.known, finding.recipe
    return ComparedArm(
        tried=known.tried if known else 0,
        tasks=finding.tasks,
        gain=known.gain if known else None,
        low=known.interval[0] if known else None,
        high=known.interval[1] if known else None,
        trial=recipe.first.number if recipe else None,
        best=recipe.task if recipe else "",
    )


def _best(study: StoredStudy, evidence: RecipeEvidence) -> BestRecipe:
    recipe = next(x for x in study.recipes if x.first.number == evidence.trial)
    itself = evidence.paired.gain_of(evidence.trial)
    return BestRecipe(
        trial=evidence.trial,
        recipe=recipe.in_words,
        split=evidence.split,
        confirmed=evidence.confirmation is not None,
        gain=ComparedGain.of(evidence.verdict.gain, evidence.confirmation is not None),
        itself=itself.points if itself else None,
        margin=evidence.margin,
        test_splits=tuple(test_split_lines(study)) if evidence.confirmation else (),
    )


def _languages(first: RecipeEvidence, second: RecipeEvidence) -> tuple[ComparedCell, ...]:
    mine, theirs = (
        {(cell.task, cell.language): cell.gain for cell in evidence.verdicts.cells}
        for evidence in (first, second)
    )
    return tuple(
        ComparedCell(
            task=task,
            language=language,
            gains=(
                ComparedGain.of(gain, first.confirmation is not None),
                ComparedGain.of(theirs[task, language], second.confirmation is not None),
            ),
            difference=theirs[task, language].points - gain.points,
        )
        for (task, language), gain in mine.items()
        if (task, language) in theirs
    )


def _cost(study: StoredStudy) -> ComparedCost:
    cost = study_cost(study.ledger, study.name)
    return ComparedCost(
        complete_trials=cost.trials,
        updates_trained=cost.trained.updates,
        seconds_trained=cost.trained.seconds,
        seconds_asked_for=cost.asked.seconds,
        seconds_elsewhere=cost.spent_elsewhere.seconds,
    )
